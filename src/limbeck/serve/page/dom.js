// Elements, numbers and stores. Children given as strings become text, never markup.

export const $ = (id) => document.getElementById(id);

export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A bar of this share of its row; the policy of the page forbids style attributes, not properties
export function bar(share, kind) {
  const made = el("i", { class: kind });
  made.style.setProperty("--share", share);
  return made;
}

export const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });
export const points = (value) => value.toFixed(3).replace("-", "−");
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
export const milliseconds = (value) => `${value < 100 ? value.toFixed(1) : number(value)} ms`;

export function bytes(count) {
  if (count < 1e4) return plural(Math.round(count), "byte");
  const step = count < 1e6 ? 1 : count < 1e9 ? 2 : 3;
  const value = count / 1e3 ** step;
  return `${value < 100 ? value.toFixed(1) : number(value)} ${["", "kB", "MB", "GB"][step]}`;
}

const suffixes = { one: "st", two: "nd", few: "rd", other: "th" };
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
export const ordinal = (value) => `${number(value)}${suffixes[ordinals.select(value)]}`;

export function kept(store, key) {
  try {
    return window[store].getItem(key);
  } catch {
    return null; // the browser forbids it
  }
}

export function keep(store, key, value) {
  try {
    window[store].setItem(key, value);
  } catch {
    // the page works without
  }
}
