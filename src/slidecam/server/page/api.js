// The server, as the page calls it. Its key comes for a code behind the # of the link, and is kept for this tab alone.

const KEY = "slidecam-token";
const SIBLINGS = 300; // ms that other tabs of this page are waited for

/** Something the server refused, with what to do about it. */
export class Refusal extends Error {
  constructor(status, problem, remedy, choices = []) {
    super(problem);
    Object.assign(this, { status, remedy, choices });
  }
}

/** What stood behind the # of the address: a code, or a place that is linked to. */
export const arrival = new URLSearchParams(location.hash.slice(1));

/**
 * Take the key: from the link, whose code the server exchanges once; from before a reload; or from another tab of
 * this page. False where there is none.
 */
export async function takeToken() {
  const told = arrival;
  history.replaceState(null, "", location.pathname); // what stood there is in no list of places that were visited
  const given = told.get("token") ?? (await exchanged(told.get("code")));
  if (given) sessionStorage.setItem(KEY, given);
  else if (!sessionStorage.getItem(KEY)) await askSiblings();
  if (!sessionStorage.getItem(KEY)) return false;
  answerSiblings();
  return true;
}

async function exchanged(code) {
  if (!code) return null;
  const response = await fetch("/session", { method: "POST", headers: { Authorization: `Code ${code}` } });
  if (response.ok) return (await response.json()).token;
  if (sessionStorage.getItem(KEY)) return null; // used before, by this tab
  await askSiblings();
  if (sessionStorage.getItem(KEY)) return null;
  const refused = await response.json();
  throw new Refusal(response.status, refused.error, refused.remedy);
}

/** Other tabs of this very page may have the key; no other page can hear what is said here. */
async function askSiblings() {
  const channel = new BroadcastChannel(KEY);
  const heard = new Promise((done) => { channel.onmessage = ({ data }) => { if (data.key) done(data.key); }; });
  channel.postMessage({ wanted: true });
  const key = await Promise.race([heard, new Promise((done) => setTimeout(done, SIBLINGS))]);
  channel.close();
  if (key) sessionStorage.setItem(KEY, key);
}

function answerSiblings() {
  const channel = new BroadcastChannel(KEY);
  channel.onmessage = ({ data }) => { if (data.wanted) channel.postMessage({ key: sessionStorage.getItem(KEY) }); };
}

let onLost = () => {};
/** Have somebody called when the server does not answer. */
export const whenLost = (call) => { onLost = call; };

function unanswered() {
  onLost();
  return new Refusal(0, "The server does not answer.", "Is slidecam serve still running?");
}

/** Headers that every call to /v1/ needs. */
export const headers = () => ({ Authorization: `Bearer ${sessionStorage.getItem(KEY)}` });

async function answered(method, path, options) {
  let response;
  try {
    response = await fetch(path, { method, ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unanswered();
  }
  if (response.ok) return response;
  const told = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return { error: response.statusText, remedy: "" };
  });
  throw new Refusal(response.status, told.error, told.remedy, told.choices);
}

export const get = async (path, options = {}) => (await answered("GET", path, options)).json();
export const bytes = async (path, { signal } = {}) => (await answered("GET", path, { signal })).arrayBuffer();
export const remove = async (path) => (await answered("DELETE", path, {})).json();
export const send = async (path, body, options = {}) => (await answered("POST", path, { body, ...options })).json();
export const sendJson = (path, value) =>
  send(path, JSON.stringify(value), { headers: { "Content-Type": "application/json" } });

/** Yield the objects of a stream of JSON lines as they come; a Refusal of status 0 where it breaks off. */
export async function* lines(path, signal) {
  const reader = (await answered("GET", path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      throw unanswered();
    });
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}
