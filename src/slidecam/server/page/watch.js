// Whether the server is there, and what its runs do: looked at every few seconds, as long as somebody looks at the page.

import { get, whenLost } from "./api.js";
import { announce, at } from "./dom.js";

const EVERY = 4000;
const SOON = 1200;
const UNAUTHORISED = 401;
let lost = false;
let timer = null;
let take = () => {};
let back = [];
let onBack = () => {};

/** Look at the server from now on: `taken` is given its runs each time, `returned` is called when it is back. */
export function watchServer(taken, returned) {
  [take, onBack] = [taken, returned];
  whenLost(() => show(true));
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") look(); });
  look();
}

/** Look now; whoever has changed something wants to see it. */
export async function look() {
  clearTimeout(timer);
  try {
    const told = await get("/v1/runs");
    if (lost) show(false);
    take(told);
  } catch (error) {
    if (error.status === UNAUTHORISED) startedAnew();
  }
  clearTimeout(timer);
  if (document.visibilityState === "visible") timer = setTimeout(look, lost ? SOON : EVERY);
}

/** Wait until the server answers again. */
export const returned = (signal) => new Promise((done) => {
  if (!lost) setTimeout(done, SOON);
  else back.push(done);
  signal.addEventListener("abort", done);
});

function show(isLost) {
  if (lost === isLost) return;
  lost = isLost;
  at("gone").hidden = !lost;
  if (lost) {
    at("gone-words").textContent = "The server does not answer.";
    at("gone-remedy").textContent = "Is slidecam serve still running? This page goes on by itself when it is back.";
    clearTimeout(timer);
    timer = setTimeout(look, SOON);
  } else {
    announce("The server is back.");
    for (const done of back.splice(0)) done();
    onBack();
  }
}

function startedAnew() {
  at("gone").hidden = false;
  at("gone-words").textContent = "The server was started anew.";
  at("gone-remedy").textContent = "This page has the key of the one before: open it by the new link, or by the file that slidecam serve names.";
}
