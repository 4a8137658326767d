// The search page: a change of the controls goes into the URL and to the server, and its answers onto the page.

import * as answers from "./answers.js";
import { board } from "./beside.js";
import { address, agree, asked, clearFilters, openFilters, readAddress, request, showControls } from "./controls.js";
import { $, keep, kept } from "./dom.js";
import { keepingFocus, pressed } from "./keyboard.js";
import { ask, Failure } from "./server.js";
import { matcher } from "./words.js";

const PAUSE = 120; // ms after a key, before it is searched
const SETTLED = 2000; // ms without a key, after which the next one begins a new entry of the history
const THEME = "limbeck-theme";

let about = null; // what the server says of its index
let current = null; // the AbortController of the search under way
let pausing = 0;
let settling = 0;
let isSettled = true;
let hasFailed = false;

// Searching

async function search() {
  clearTimeout(pausing);
  current?.abort();
  if (!about) return start();
  const { signal } = (current = new AbortController());
  const now = asked();
  if (!now.text.trim()) return show({ title: null, content: answers.start(about) });
  $("results").setAttribute("aria-busy", "true");
  try {
    const found = await findings(now, signal);
    if (!signal.aborted) showFound(found);
  } catch (error) {
    if (!signal.aborted) showFailure(error);
  }
}

async function findings(now, signal) {
  const body = request(now, about);
  const codes = await ask("search", body, signal);
  const exact = now.beside ? await ask("search", { ...body, exact: true }, signal) : null; // after it: both are timed
  if (codes.generation !== about.generation) about = await ask("index", null, signal);
  return { about, asked: now, codes, exact, isMatch: matcher(now.text), whys: new Map() };
}

function schedule() {
  clearTimeout(pausing);
  $("results").setAttribute("aria-busy", "true");
  pausing = setTimeout(search, PAUSE);
}

function typed() {
  remember();
  isSettled = false;
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLED);
  schedule();
}

function changed() {
  agree();
  settle();
  remember();
  search();
}

function settle() {
  isSettled = true;
}

// Keys that follow each other quickly are one entry of the history
function remember() {
  if (!about) return;
  const now = address(asked(), about);
  if (now !== (location.search || location.pathname)) history[isSettled ? "pushState" : "replaceState"](null, "", now);
}

// Showing

function showFound(found) {
  const { asked: now, codes, exact } = found;
  show({
    title: now.text,
    count: answers.counted(found),
    figures: answers.figures(found),
    isWide: exact !== null,
    content: !codes.answers.length ? answers.nothing(found) : exact ? board(found) : answers.list(codes.answers, found),
  });
}

function show({ title, count = "", figures = [], isWide = false, content }) {
  const name = about.name || "Limbeck";
  document.title = title === null ? name : `${title} · ${name}`;
  document.body.classList.toggle("is-wide", isWide);
  $("count").textContent = count;
  $("figures").replaceChildren(...figures);
  keepingFocus(() => $("results").replaceChildren(content));
  $("results").classList.remove("is-old");
  $("results").setAttribute("aria-busy", "false");
  $("failure").hidden = true;
  hasFailed = false;
}

function showFailure(error) {
  hasFailed = true;
  $("failure").textContent = error.message;
  $("failure").hidden = false;
  $("results").classList.add("is-old");
  $("results").setAttribute("aria-busy", "false");
  if (!(error instanceof Failure)) throw error;
  if (error.again) pausing = setTimeout(search, 1000 * error.again);
}

// Dark mode

const darkness = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (kept("localStorage", THEME) ?? (darkness.matches ? "dark" : "light")) === "dark";

function paint(isNowDark = isDark()) {
  document.documentElement.dataset.theme = isNowDark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(isNowDark));
}

function turn() {
  const isNowDark = $("theme").getAttribute("aria-pressed") === "false";
  keep("localStorage", THEME, isNowDark ? "dark" : "light");
  paint(isNowDark);
}

// Starting

async function start() {
  try {
    const found = await ask("index");
    if (about) return; // another key was quicker
    about = found;
  } catch (error) {
    return showFailure(error);
  }
  $("name").textContent = about.name || "Limbeck";
  $("about").textContent = ["Limbeck", about.recipe, about.encoder, about.generation].filter(Boolean).join(" · ");
  const early = $("query").value; // typed before the server answered
  showControls(about);
  readAddress(about);
  if (early) $("query").value = early;
  $("query").focus();
  search();
}

function listen() {
  darkness.addEventListener("change", () => paint());
  $("theme").onclick = turn;
  $("query").oninput = (event) => event.isComposing || typed();
  $("query").addEventListener("compositionend", typed);
  $("query").onblur = settle;
  $("form").onsubmit = (event) => {
    event.preventDefault();
    settle();
    search();
  };
  $("filters").onsubmit = (event) => event.preventDefault();
  $("filters").onchange = changed;
  $("options").onchange = changed;
  $("filtersButton").onclick = () => openFilters($("filters").hidden);
  document.addEventListener("click", ({ target }) => {
    if (!target.matches(".clear")) return;
    clearFilters();
    changed();
    $("query").focus();
  });
  document.addEventListener("keydown", (event) => {
    pressed(event);
    if (hasFailed && !$("door").open) schedule();
  });
  window.addEventListener("popstate", () => {
    settle();
    readAddress(about);
    search();
  });
}

paint();
listen();
start();
