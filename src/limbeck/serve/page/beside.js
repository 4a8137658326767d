// Compressed answers beside the exact ones, with a line for each document that both sides have.

import { list } from "./answers.js";
import { bytes, drawn, el, milliseconds } from "./dom.js";

export function board(found) {
  const { about, codes, exact } = found;
  const [left, right] = [codes, exact].map(({ answers }) => new Map(answers.map(({ id, rank }) => [id, rank])));
  const lines = drawn("svg", { class: "lines", "aria-hidden": "true" });
  const made = el(
    "div",
    { class: "board" },
    column("Codes", `${bytes(about.bytes_per_document)} each`, codes, found, (answer) => move(answer, right)),
    lines,
    column("Exact", `${about.keeps_vectors} vectors`, exact, found, ({ id }) => (left.has(id) ? null : badge("lost"))),
  );
  let linked = null;
  const choose = (row) => {
    linked = row ?? document.activeElement.closest("[data-id]");
    link(made, linked);
  };
  made.addEventListener("pointerover", ({ target }) => choose(target.closest("[data-id]")));
  made.addEventListener("pointerleave", () => choose(null));
  made.addEventListener("focusin", ({ target }) => choose(target.closest("[data-id]")));
  new ResizeObserver(() => {
    draw(made, lines, left, right);
    link(made, linked);
  }).observe(made);
  return made;
}

function column(name, note, { answers, milliseconds: spent }, found, more) {
  const head = el("header", {}, el("h2", {}, name), el("span", {}, `${note} · search ${milliseconds(spent.search)}`));
  return el("section", { "aria-label": name }, head, list(answers, found, { kind: "brief", more }));
}

const badge = (name) => el("span", { class: `move ${name}` }, name);

function move({ id, rank }, exact) {
  if (!exact.has(id)) return badge("new");
  const steps = exact.get(id) - rank;
  if (steps === 0) return null;
  const way = steps > 0 ? "up" : "down";
  const said = el("span", { class: "unseen" }, `${way} ${Math.abs(steps)}`);
  return el(
    "span",
    { class: `move ${way}` },
    el("span", { "aria-hidden": "true" }, `${steps > 0 ? "▲" : "▼"} ${Math.abs(steps)}`),
    said,
  );
}

function draw(made, lines, left, right) {
  const frame = lines.getBoundingClientRect();
  const height = (row) => {
    const { top, bottom } = row.querySelector(".head").getBoundingClientRect();
    return (top + bottom) / 2 - frame.top;
  };
  const [from, to] = [...made.querySelectorAll("ol")].map(
    (rows) => new Map([...rows.children].map((row) => [row.dataset.id, height(row)])),
  );
  const [half, width] = [frame.width / 2, frame.width];
  const line = (id, kind, d) => drawn("path", { class: kind, d, "data-line": id });
  const stub = (y, start, length) => `M${start} ${y}h${length}m0 -3v6`;
  const across = (a, b) => `M0 ${a}C${half} ${a} ${half} ${b} ${width} ${b}`;
  const kind = (id) => ["down", "same", "up"][Math.sign(right.get(id) - left.get(id)) + 1];
  lines.replaceChildren(
    ...[...from].map(([id, y]) =>
      to.has(id) ? line(id, kind(id), across(y, to.get(id))) : line(id, "new", stub(y, 0, half / 2)),
    ),
    ...[...to].filter(([id]) => !from.has(id)).map(([id, y]) => line(id, "lost", stub(y, width, -half / 2))),
  );
}

// One document stands out on both sides, and the line between them
function link(made, row) {
  for (const one of made.querySelectorAll("[data-id], [data-line]")) {
    one.classList.toggle("is-linked", (one.dataset.id ?? one.dataset.line) === row?.dataset.id);
  }
}
