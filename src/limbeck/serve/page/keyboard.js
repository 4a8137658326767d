// Keys: / to the search box, arrows or j and k through the answers, left and right to the other side, Esc to close.

import { $ } from "./dom.js";

const STEPS = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 };

export function pressed(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("door").open) return;
  const isQuery = target === $("query");
  const isOther = !isQuery && target.matches("select, input:not([type=checkbox])");
  if ((isOther && key !== "Escape") || (isQuery && key.length === 1)) return;
  if (act(key, target.closest("[data-id]"), isQuery)) event.preventDefault();
}

// Whether the key meant something here
function act(key, row, isQuery) {
  if (key === "/") return focused($("query"), (box) => box.select());
  if (key === "Escape") return close(row, isQuery);
  if (key in STEPS) return walk(row, STEPS[key]);
  return row !== null && ["ArrowLeft", "ArrowRight"].includes(key) && cross(row);
}

function focused(element, then = () => {}) {
  element?.focus();
  if (element) then(element);
  return Boolean(element);
}

const button = (row) => row?.querySelector(".open");

// Who has walked to an answer stays there when newer answers come: at the same document, or else at its rank
export function keepingFocus(change) {
  const row = document.activeElement.closest("[data-id]");
  const place = [...(row?.parentElement.children ?? [])].indexOf(row);
  change();
  if (!row) return;
  const rows = [...($("results").querySelector("ol")?.children ?? [])];
  const same = rows.find((one) => one.dataset.id === row.dataset.id);
  focused(button(same ?? rows[place] ?? rows.at(-1)) ?? $("query"));
}

function walk(row, step) {
  const rows = [...((row?.closest("ol") ?? $("results").querySelector("ol"))?.children ?? [])];
  const next = row ? rows.indexOf(row) + step : step - 1;
  if (next < 0) return rows.length > 0 && focused($("query"));
  return focused(button(rows[Math.min(next, rows.length - 1)]));
}

function cross(row) {
  const other = [...$("results").querySelectorAll("ol")].find((list) => !list.contains(row));
  const rows = [...(other?.children ?? [])];
  const same = rows.find((one) => one.dataset.id === row.dataset.id);
  return focused(button(same ?? rows[[...row.parentElement.children].indexOf(row)] ?? rows.at(-1)));
}

function close(row, isQuery) {
  const open = row?.matches(".is-open") ? row : $("results").querySelector(".is-open");
  if (!open) return !isQuery && focused($("query"));
  button(open).click();
  return focused(button(open));
}
