// Asking the server, with a token where it wants one.

import { $, keep, kept } from "./dom.js";

const KEY = "limbeck-token";

let token = kept("sessionStorage", KEY);
let door = null; // the promise of a token, while the page asks for it

export class Failure extends Error {
  constructor(message, again = null) {
    super(message);
    this.again = again; // seconds after which another try is worth it
  }
}

// The answer to a GET, or to a POST of `body`, as JSON; raises Failure, or AbortError once the signal says so
export async function ask(path, body = null, signal = null) {
  for (;;) {
    const sent = token;
    const response = await send(path, body, signal, sent);
    if (response.status !== 401) return read(response);
    if (sent === token) await askForToken();
  }
}

async function send(path, body, signal, sent) {
  const headers = new Headers(body ? { "content-type": "application/json" } : {});
  if (sent) headers.set("authorization", `Bearer ${inBytes(sent)}`);
  try {
    return await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. The next key tries again.");
  }
}

async function read(response) {
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const message = answer?.error?.message ?? `The server answered with status ${response.status}.`;
  throw new Failure(message, response.status === 503 ? Number(response.headers.get("retry-after")) || 1 : null);
}

const inBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text)); // what a header may hold

function askForToken() {
  door ??= new Promise((resolve, reject) => {
    const dialog = $("door");
    if (token !== null) $("doorNote").textContent = "That was not the token of this server.";
    $("token").value = "";
    $("doorForm").onsubmit = (event) => {
      event.preventDefault();
      token = $("token").value.trim();
      keep("sessionStorage", KEY, token);
      dialog.close();
      resolve();
    };
    dialog.onclose = () => reject(new Failure("This server wants a token. The next key asks for it again."));
    dialog.showModal();
  }).finally(() => {
    door = null;
  });
  return door;
}
