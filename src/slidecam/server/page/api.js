// The server, as the page calls it. The token comes once, behind the # of the link, and is kept for this tab alone.

const KEY = "slidecam-token";

/** Something the server refused, with what to do about it. */
export class Refusal extends Error {
  constructor(status, problem, remedy) {
    super(problem);
    Object.assign(this, { status, remedy });
  }
}

/** Take the token from the link, or from before a reload; false where there is none. */
export function takeToken() {
  const told = new URLSearchParams(location.hash.slice(1)).get("token");
  if (told) {
    sessionStorage.setItem(KEY, told);
    history.replaceState(null, "", location.pathname);
  }
  return Boolean(sessionStorage.getItem(KEY));
}

/** Headers that every call to /v1/ needs. */
export const headers = () => ({ Authorization: `Bearer ${sessionStorage.getItem(KEY)}` });

async function answered(method, path, options) {
  let response;
  try {
    response = await fetch(path, { method, ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer.", "Is slidecam serve still running?");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({ error: response.statusText, remedy: "" }));
  throw new Refusal(response.status, told.error, told.remedy);
}

export const get = async (path, options = {}) => (await answered("GET", path, options)).json();
export const bytes = async (path, { signal } = {}) => (await answered("GET", path, { signal })).arrayBuffer();
export const remove = async (path) => (await answered("DELETE", path, {})).json();
export const send = async (path, body, options = {}) => (await answered("POST", path, { body, ...options })).json();
export const sendJson = (path, value) =>
  send(path, JSON.stringify(value), { headers: { "Content-Type": "application/json" } });

/** Yield the objects of a stream of JSON lines as they come. */
export async function* lines(path, signal) {
  const reader = (await answered("GET", path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}
