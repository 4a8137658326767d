// Why a document stands where it stands: one sentence, both scores, and what each part of its code adds.

import { bar, drawn, el, number, ordinal, points } from "./dom.js";
import { ask } from "./server.js";

const MOST = 64; // documents of one request
const BEYOND = 1001; // a rank that the server does not name
const SAME = 0.0005; // scores are shown to three digits

// A section that fills itself. All answers on the page are asked about at once, and only once
export function whySection(id, found) {
  const section = el(
    "section",
    { class: "why", "aria-label": "Why it is here" },
    el("p", {}, "Asking why it is here …"),
  );
  explanationOf(id, found).then(
    (why) => section.replaceChildren(...explanation(why, found)),
    (error) => section.replaceChildren(el("p", {}, error.message)),
  );
  return section;
}

async function explanationOf(id, { asked, codes, exact, whys }) {
  if (!whys.has(id)) {
    const others = [...codes.answers, ...(exact?.answers ?? [])].map((answer) => answer.id);
    const ids = [...new Set([id, ...others])].slice(0, MOST);
    const { explanations } = await ask("explain", { text: asked.text, ids });
    for (const one of explanations) whys.set(one.id, one);
  }
  return whys.get(id);
}

function explanation(why, { asked, codes, whys }) {
  const isFound = codes.answers.some(({ id }) => id === why.id);
  const caveats = [];
  if (asked.mode !== "dense") caveats.push("This is what the vectors say; the search above also reads words.");
  if (Object.keys(asked.where).length)
    caveats.push("Ranks count all documents, also those that the filters leave out.");
  return [
    el("p", { class: "because" }, sentence(why, [...whys.values()], isFound)),
    ...caveats.map((caveat) => el("p", { class: "caveat" }, caveat)),
    el("div", { class: "sides" }, ...sides(why)),
    ...(why.parts.length ? [chart(why)] : []),
  ];
}

const place = (rank) => (rank === null ? "beyond 1,000" : number(rank));
const errorOf = (why) => why.decoded_score - why.exact_score;
const rates = (error) => (error > 0 ? "overrate" : "underrate");
const size = (error) => points(Math.abs(error));

function sentence(why, all, isFound) {
  if (!why.probed && !isFound) {
    return `The search stops before it: its list is the ${ordinal(why.list_place)} nearest to the query.`;
  }
  if (why.exact_score === null) {
    return `Codes give it ${points(why.decoded_score)}, which is rank ${place(why.rank)} of all documents.`;
  }
  const error = errorOf(why);
  const middle = median(all.map(errorOf));
  const moved = (why.exact_rank ?? BEYOND) - (why.rank ?? BEYOND);
  const itself =
    Math.abs(error) < SAME ? "Codes rate it as the vectors do" : `Codes ${rates(error)} it by ${size(error)}`;
  if (moved === 0) return `${itself}; its rank is ${place(why.rank)} by both.`;
  const isExpected = Math.sign(error - middle) === Math.sign(moved);
  const path = `it ${moved > 0 ? "rises" : "falls"} from ${place(why.exact_rank)} to ${place(why.rank)}`;
  return `${itself}${theOthers(error, middle)}, ${isExpected ? "so" : "yet"} ${path}.`;
}

function theOthers(error, middle) {
  if (Math.abs(middle) < SAME) return "";
  const isAlike = Math.abs(error) >= SAME && Math.sign(error) === Math.sign(middle);
  return ` and ${isAlike ? "" : `${rates(middle)} `}the answers here by ${size(middle)} (median)`;
}

function median(values) {
  const sorted = values.sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function sides(why) {
  const most = Math.max(Math.abs(why.decoded_score), Math.abs(why.exact_score ?? 0)) || 1;
  const side = (name, kind, score, rank) => [
    el("span", {}, name),
    el("span", {}, `rank ${place(rank)}`),
    bar(Math.abs(score) / most, kind),
    el("span", { class: "score" }, points(score)),
  ];
  const codes = side("Codes", "codes", why.decoded_score, why.rank);
  return why.exact_score === null ? codes : [...codes, ...side("Exact", "vectors", why.exact_score, why.exact_rank)];
}

function chart({ parts, rest, list, list_place: listPlace }) {
  const [low, high] = [Math.min(0, ...parts), Math.max(0, ...parts)];
  const y = (value) => ((high - value) / (high - low || 1)) * 48;
  const column = (part, n) =>
    drawn(
      "rect",
      {
        class: part < 0 ? "minus" : "plus",
        x: n + 0.12,
        width: 0.76,
        y: y(Math.max(part, 0)),
        height: Math.max(0.5, Math.abs(y(part) - y(0))),
      },
      drawn("title", {}, `part ${n + 1}: ${points(part)}`),
    );
  const range = `${points(Math.min(...parts))} to ${points(Math.max(...parts))}`;
  const root = list === null ? "" : `, on top of ${points(rest)} from its list (visited ${ordinal(listPlace)})`;
  const said = `Each of the ${parts.length} parts of its code adds ${range}${root}.`;
  const frame = { viewBox: `0 0 ${parts.length} 48`, preserveAspectRatio: "none", role: "img", "aria-label": said };
  return el("figure", {}, drawn("svg", frame, ...parts.map(column)), el("figcaption", {}, said));
}
