// The folders that the server may read, and what of them can be opened.

import { get } from "./api.js";
import { announce, at, make, memory, showProblem } from "./dom.js";

let roots = [];
let choose = () => {};
let chosen = null;
let listing = new AbortController(); // of the folder that was chosen last: an earlier one comes too late

const isLate = (error) => error.name === "AbortError";

/** List the folder of before a reload, or the roots; `onChoose` is given the path of a slide that is chosen. */
export async function openFolders(status, onChoose) {
  [roots, choose] = [status.roots, onChoose];
  const first = memory.get("folder") ?? (roots.length === 1 ? roots[0] : "");
  await browse(first).catch((error) => (isLate(error) ? null : browse("")));
}

async function browse(folder) {
  listing.abort();
  listing = new AbortController();
  const told = await get(`/v1/slides?folder=${encodeURIComponent(folder)}`, { signal: listing.signal });
  memory.set("folder", told.folder ?? "");
  at("folder").textContent = told.folder ?? "Folders that the server may read";
  const rows = told.folders.map((one) => entry(one, "folder", () => go(one.path)));
  const upwards = told.folder && (told.parent || roots.length > 1);
  if (upwards) rows.unshift(entry({ name: "one folder up" }, "up", () => go(told.parent ?? "")));
  rows.push(...told.slides.map((one) => entry(one, "slide", () => choose(one.path))));
  rows.push(...remarks(told).map((text) => make("li", { className: "muted" }, text)));
  at("entries").replaceChildren(...rows);
  mark(chosen);
}

function remarks(told) {
  const said = [];
  if (!told.folders.length && !told.slides.length) said.push("Nothing in this folder that slidecam reads.");
  for (const [kind, count] of Object.entries(told.left_out ?? {})) {
    if (count) said.push(`The list ends here: ${count.toLocaleString("en")} more ${kind} lie in this folder. Move them into folders of fewer.`);
  }
  return said;
}

/** Go into a folder that was chosen; who did it with the keyboard stands at its first entry then. */
async function go(folder) {
  showProblem(at("slide-error"), null);
  try {
    await browse(folder);
    at("entries").querySelector("button")?.focus();
    announce(`${at("folder").textContent}: ${at("entries").querySelectorAll("button").length} entries`);
  } catch (error) {
    if (!isLate(error)) showProblem(at("slide-error"), error);
  }
}

function entry(one, kind, onclick) {
  const button = make("button", { type: "button", className: kind, onclick }, one.name);
  if (one.path) button.dataset.path = one.path;
  return make("li", {}, button);
}

/** Mark the slide that is chosen; none for null. */
export function mark(path) {
  chosen = path;
  for (const button of at("entries").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(Boolean(path) && button.dataset.path === path));
  }
}
