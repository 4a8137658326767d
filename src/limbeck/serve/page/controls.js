// What is asked: it stands in the controls, and from there in the URL and in requests.

import { $, el, number, plural } from "./dom.js";

const CHIPS = 12; // values of a filter before "more"
const MODES = { dense: "Meaning", lexical: "Words", hybrid: "Both" };

const filterBoxes = () => document.querySelectorAll("#filters [data-field]");

// The modes that take a text
export function textModes(about) {
  return about.takes_text ? about.modes : about.modes.filter((mode) => mode === "lexical");
}

export function asked() {
  const where = Object.create(null); // a field may be called __proto__
  for (const box of filterBoxes()) {
    const { field, bound } = box.dataset;
    if (bound && box.value !== "") (where[field] ??= {})[bound] = Number(box.value);
    if (!bound && box.checked) (where[field] ??= { any: [] }).any.push(box.value);
  }
  return {
    text: $("query").value,
    mode: document.querySelector("#modes input:checked")?.value ?? "dense",
    k: Number($("k").value),
    beside: $("beside").checked && !$("beside").disabled,
    where,
  };
}

export function address({ text, mode, k, beside, where }, about) {
  const given = new URLSearchParams();
  if (text.trim()) given.set("q", text);
  if (mode !== textModes(about)[0]) given.set("mode", mode);
  if (k !== 10) given.set("k", k);
  if (beside) given.set("beside", "1");
  for (const [field, { any = [], least, most }] of Object.entries(where)) {
    for (const value of any) given.append(`is:${field}`, value);
    if (least !== undefined) given.set(`least:${field}`, least);
    if (most !== undefined) given.set(`most:${field}`, most);
  }
  return given.size ? `?${given}` : location.pathname;
}

export function readAddress(about) {
  const given = new URLSearchParams(location.search);
  const modes = textModes(about);
  const mode = modes.includes(given.get("mode")) ? given.get("mode") : modes[0];
  const counts = [...$("k").options].map((option) => option.value);
  $("query").value = given.get("q") ?? "";
  $("k").value = counts.includes(given.get("k")) ? given.get("k") : "10";
  $("beside").checked = given.get("beside") === "1" && !$("besideLabel").hidden;
  for (const choice of document.querySelectorAll("#modes input")) choice.checked = choice.value === mode;
  for (const box of filterBoxes()) {
    const { field, bound } = box.dataset;
    if (bound) box.value = given.get(`${bound}:${field}`) ?? "";
    else box.checked = given.getAll(`is:${field}`).includes(box.value);
  }
  agree();
}

export function request({ text, mode, k, where }, about) {
  const numeric = new Set(about.fields.filter((field) => field.least !== null).map((field) => field.name));
  const both = (value) => (isNumber(value) ? [value, Number(value)] : [value]); // `values` names numbers as texts
  const conditions = Object.entries(where).map(([field, condition]) => [
    field,
    condition.any && numeric.has(field) ? { any: condition.any.flatMap(both) } : condition,
  ]);
  return { text, mode, k, ...(conditions.length && { where: Object.fromEntries(conditions) }) };
}

const isNumber = (text) => text.trim() !== "" && isFinite(text);

// Controls that follow from others
export function agree() {
  const { mode, where } = asked();
  const active = Object.keys(where).length;
  $("beside").disabled = mode !== "dense";
  $("besideLabel").title = mode === "dense" ? "" : "Only a search by meaning has an exact side.";
  $("filtersButton").replaceChildren("Filters ", active ? el("b", {}, String(active)) : "");
  for (const button of document.querySelectorAll("#filters .clear")) button.hidden = !active;
}

export function clearFilters() {
  for (const box of filterBoxes()) {
    if (box.dataset.bound) box.value = "";
    else box.checked = false;
  }
}

export function openFilters(isOpen) {
  $("filters").hidden = !isOpen;
  $("filtersButton").setAttribute("aria-expanded", String(isOpen));
}

// The controls that this index has a use for
export function showControls(about) {
  const modes = textModes(about);
  const choice = (mode) => el("label", {}, el("input", { type: "radio", name: "mode", value: mode }), MODES[mode]);
  $("modes").append(...modes.map(choice));
  $("modes").hidden = modes.length < 2;
  $("besideLabel").hidden = !(about.keeps_vectors && about.takes_text);
  $("query").disabled = !modes.length;
  $("query").placeholder = modes.length ? `Search ${plural(about.documents, "document")}` : "Not searchable by text";
  $("options").hidden = !modes.length;
  const filters = about.fields.map(filter).filter((made) => made !== null);
  const clear = el("button", { class: "clear quiet", type: "button", hidden: true }, "Clear filters");
  $("filters").replaceChildren(...filters, clear);
  $("filtersButton").hidden = !filters.length;
}

function filter({ name, values, least, most }) {
  const listed = Object.keys(values ?? {});
  const isRange = least !== null && least < most && listed.every(isNumber);
  if (!isRange && listed.length < 2) return null;
  return el("fieldset", {}, el("legend", {}, name), ...(isRange ? bounds(name, least, most) : chips(name, values)));
}

function bounds(field, least, most) {
  const box = (bound, label, hint) =>
    el(
      "label",
      {},
      label,
      el("input", { type: "number", step: "any", placeholder: hint, "data-field": field, "data-bound": bound }),
    );
  return [box("least", "from", least), box("most", "to", most)];
}

function chips(field, values) {
  const made = Object.entries(values).map(([value, count], n) =>
    el(
      "label",
      { class: "chip", hidden: n >= CHIPS },
      el("input", { type: "checkbox", "data-field": field, value }),
      el("span", {}, value.trim() ? value : "(empty)"),
      el("small", {}, number(count)),
    ),
  );
  if (made.length <= CHIPS) return made;
  const more = el("button", { type: "button", class: "quiet" }, `${made.length - CHIPS} more`);
  more.onclick = () => {
    for (const chip of made) chip.hidden = false;
    more.remove();
  };
  return [...made, more];
}
