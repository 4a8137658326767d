// What is seen of a search: `found` is {about, asked, codes, exact, isMatch, whys}.

import { bar, bytes, el, milliseconds, number, plural, points } from "./dom.js";
import { textModes } from "./controls.js";
import { whySection } from "./why.js";
import { excerpt, marked } from "./words.js";

const TITLE = 300; // characters of a title
const TEXT = 1_500; // characters of an open text, before all of it is asked for
const BRIEF = 400; // the same beside the exact answers
const LONGEST = 200_000; // characters of any text on the page
const TAGS = 4; // short values of the metadata under an answer
const TAG = 30; // characters of one

// Before anything is asked
export function start(about) {
  const isSearchable = textModes(about).length > 0;
  const key = (name) => el("kbd", {}, name);
  const [codes, vectors] = sizes(about);
  return el(
    "div",
    { class: "start" },
    el("h1", {}, isSearchable ? `${plural(about.documents, "document")} to search` : "No text can be searched here"),
    el(
      "p",
      {},
      isSearchable
        ? `${bytes(about.bytes_per_document)} each, where a vector takes ${bytes(about.vector_bytes)}.`
        : "This index was made from vectors and has no query encoder. Send a vector to /search instead.",
    ),
    el("div", { class: "compared" }, ...size("codes", codes, vectors), ...size("vectors", vectors, vectors)),
    el(
      "ul",
      { class: "hints" },
      el("li", {}, key("/"), "goes to the search box"),
      el("li", {}, key("↓"), key("↑"), "or", key("j"), key("k"), "walk through the answers"),
      el("li", {}, key("Enter"), "opens one and says why it is there"),
      el("li", {}, key("Esc"), "closes it"),
    ),
  );
}

const sizes = (about) => [about.documents * about.bytes_per_document, about.documents * about.vector_bytes];
const size = (name, count, most) => [
  el("span", {}, name),
  bar(Math.min(1, count / most), name),
  el("span", {}, bytes(count)),
];

export function nothing({ asked }) {
  const isFiltered = Object.keys(asked.where).length > 0;
  return el(
    "div",
    { class: "start" },
    el("h1", {}, "Nothing found"),
    el("p", {}, isFiltered ? "No document passes these filters." : "No document holds any of these words."),
    isFiltered ? el("button", { type: "button", class: "clear" }, "Clear filters") : null,
  );
}

export function counted({ codes, exact }) {
  const count = codes.answers.length ? plural(codes.answers.length, "answer") : "No answers";
  if (!exact || !codes.answers.length) return count;
  const places = new Map(exact.answers.map(({ id, rank }) => [id, rank]));
  const both = codes.answers.filter(({ id }) => places.has(id));
  const moved = both.filter(({ id, rank }) => places.get(id) !== rank).length;
  return `${count}, ${both.length === codes.answers.length ? "all" : both.length} shared with exact, ${moved} moved`;
}

// Time and bytes
export function figures({ about, asked, codes }) {
  const spent = Object.entries(codes.milliseconds);
  const total = spent.reduce((sum, [, time]) => sum + time, 0);
  const legend = spent.map(([name, time]) => el("span", { class: name }, `${name} ${time.toFixed(1)}`));
  const time = figure(
    milliseconds(total),
    spent.map(([name, part]) => bar(part / total, name)),
    legend,
  );
  if (asked.mode === "lexical") return [time];
  const [small, large] = sizes(about);
  const note = `instead of ${bytes(large)}${asked.mode === "hybrid" ? ", and BM25" : ""}`;
  return [time, figure(bytes(small), [bar(Math.min(1, small / large), "codes")], [el("span", {}, note)])];
}

function figure(value, bars, notes) {
  return el("p", {}, el("b", {}, value), el("span", { class: "meter", "aria-hidden": "true" }, ...bars), ...notes);
}

// A list of answers; `more(answer)` gives what stands beside a title, or null
export function list(answers, found, { kind = "", more = () => null } = {}) {
  return el("ol", { class: `answers ${kind}` }, ...answers.map((answer) => item(answer, found, more(answer))));
}

let items = 0;

function item(answer, found, beside) {
  const id = `more-${(items += 1)}`;
  const title = (answer.title || answer.id).slice(0, TITLE);
  const open = el(
    "button",
    { type: "button", class: "open", dir: "auto", "aria-expanded": "false", "aria-controls": id },
    ...marked(title, found.isMatch),
  );
  const made = el(
    "li",
    { "data-id": answer.id },
    el("span", { class: "rank" }, String(answer.rank)),
    el("div", { class: "head" }, el("h2", {}, open), beside),
    el("span", { class: "score", title: "score" }, points(answer.score)),
    el("p", { class: "excerpt", dir: "auto" }, ...marked(excerpt(answer.text, found.isMatch), found.isMatch)),
    tags(answer),
    el("div", { class: "more", id, hidden: true }),
  );
  open.onclick = () => toggle(made, answer, found);
  return made;
}

function tags({ id, metadata }) {
  const isShort = (value) =>
    ["string", "number"].includes(typeof value) && `${value}`.trim() && `${value}`.length <= TAG;
  const short = Object.entries(metadata).filter(([, value]) => isShort(value));
  const tag = ([field, value]) => el("span", { class: "tag", title: field }, String(value));
  return el("p", { class: "tags" }, el("code", {}, id), ...short.slice(0, TAGS).map(tag));
}

function toggle(made, answer, found) {
  const more = made.querySelector(".more");
  if (more.hidden && !more.childElementCount) more.append(...whole(answer, found));
  more.hidden = !more.hidden;
  made.querySelector(".open").setAttribute("aria-expanded", String(!more.hidden));
  made.classList.toggle("is-open", !more.hidden);
}

// Beside the exact answers the question is why; elsewhere it is what the document says
function whole(answer, found) {
  const why = found.about.takes_text ? [whySection(answer.id, found)] : [];
  const text = [fullText(answer.text, found.exact ? BRIEF : TEXT, found.isMatch), facts(answer)];
  return found.exact ? [...why, ...text] : [...text, ...why];
}

function fullText(text, most, isMatch) {
  const made = el("p", { class: "text", dir: "auto" }, ...marked(text.slice(0, most), isMatch));
  if (text.length <= most) return made;
  const all = el("button", { type: "button", class: "quiet" }, `all ${number(text.length)} characters`);
  const cut = text.length > LONGEST ? ` … (${number(text.length - LONGEST)} characters more)` : "";
  all.onclick = () => made.replaceChildren(...marked(text.slice(0, LONGEST), isMatch), cut);
  made.append("… ", all);
  return made;
}

function facts({ id, metadata }) {
  const rows = [["id", id], ...Object.entries(metadata)];
  return el("dl", {}, ...rows.flatMap(([field, value]) => [el("dt", {}, field), el("dd", {}, ...readable(value))]));
}

function readable(value) {
  if (Array.isArray(value)) return [el("ul", {}, ...value.map((one) => el("li", {}, ...readable(one))))];
  if (typeof value !== "string") return [JSON.stringify(value)];
  if (!/^https?:\/\/\S+$/i.test(value)) return [value.slice(0, LONGEST)];
  return [el("a", { href: value, target: "_blank", rel: "noopener noreferrer" }, value)];
}
