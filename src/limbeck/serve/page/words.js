// Which words of a document are words of the query, and marking them.

import { el } from "./dom.js";

const CUT = 360; // characters of an excerpt
const SCANNED = 20_000; // characters in which an excerpt looks for its place

const WORD = /\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+/gu; // Chinese by characters
const COMMON = new Set(
  "a an and are as at be by can do does for from how i in is it my of on or that the this to was what when where which who why with you 的 了 是 在 和 与 吗 呢".split(
    " ",
  ),
);

function fold(word) {
  const plain = word.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  return plain.toUpperCase().toLowerCase(); // ß is ss, and both small sigmas are one
}

// Enough for marking: "copies", "copied" and "copying" are one word, and so are "compression" and "compressed"
export function stem(word) {
  if (word.length < 4 || !/^[a-z]+$/.test(word)) return word;
  const single = word
    .replace(/ie[sd]$/, "y")
    .replace(/(ss|x|z|ch|sh)es$/, "$1")
    .replace(/([^sui])s$/, "$1");
  const root = single.replace(/(?<=[aeiouy].*[^e])(ing|ed|(?<=[st])ion)$/, "");
  const undoubled = root === single ? root : root.replace(/([bdgmnprt])\1$/, "$1");
  return undoubled.replace(/(?<=...)e$/, "");
}

// A function that says of a word whether the query holds it, or ends in its beginning: it may still be typed
export function matcher(query) {
  const words = (query.match(WORD) ?? []).map(fold);
  const telling = words.filter((word) => !COMMON.has(word));
  const stems = new Set((telling.length ? telling : words).map(stem));
  const last = words.at(-1) ?? "";
  const begun = last.length > 2 && !COMMON.has(last) && fold(query).endsWith(last) ? last : null;
  const known = new Map();
  const holds = (folded) => stems.has(stem(folded)) || (begun !== null && folded.startsWith(begun));
  return (word) => {
    if (!known.has(word)) known.set(word, holds(fold(word)));
    return known.get(word);
  };
}

// The text as nodes, its matching words in <mark>
export function marked(text, isMatch) {
  const nodes = [];
  let done = 0;
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (!isMatch(word)) continue;
    const before = nodes.at(-1);
    if (index === done && before instanceof Element) before.append(word);
    else nodes.push(text.slice(done, index), el("mark", {}, word));
    done = index + word.length;
  }
  return [...nodes, text.slice(done)];
}

// The part of a text where its first matching word is
export function excerpt(text, isMatch) {
  const first = [...text.slice(0, SCANNED).matchAll(WORD)].find(({ 0: word }) => isMatch(word))?.index ?? 0;
  const from = first < CUT / 2 ? 0 : text.lastIndexOf(" ", first - 40) + 1 || first;
  const cut = text.slice(from, from + CUT);
  return `${from ? "… " : ""}${cut}${from + CUT < text.length ? "…" : ""}`;
}
