// All runs: of this page, of other tabs, of before a restart, of the command line and napari; each can be looked at.

import { remove, send } from "./api.js";
import { announce, at, make, showProblem } from "./dom.js";
import { look } from "./watch.js";

const SHOWN = 60;
const OPENED = ["queued", "running", "done", "partly"];
const COMPARED = ["done", "partly", "cancelled", "unfinished"];
const WORDS = {
  queued: "waiting", running: "running", done: "done", partly: "done, some tiles without a result", failed: "failed",
  cancelled: "cancelled", unfinished: "not finished (stopped, or at work elsewhere)", skipped: "nothing to classify",
};
let rows = [];
let written = "";
let onOpen = () => {};
let onContinued = () => {};

/** `open` is given a run that is chosen, `continued` the job that goes on with one and its slide's path. */
export function listenToRuns(open, continued) {
  [onOpen, onContinued] = [open, continued];
}

/** The newest run of a slide that has something to show, or will have. */
export const runOf = (path) => rows.find((one) => one.path === path && OPENED.includes(one.status));

/** Other runs of a slide than the given one that have classified something, the newest first. */
export const othersOf = (path, { id, out }) =>
  rows.filter((one) => one.path === path && one.id !== id && one.out !== out && COMPARED.includes(one.status));

/** Show the runs as the server tells them; nothing is touched where nothing has changed. */
export function showRuns(told) {
  const text = JSON.stringify(told);
  if (text === written) return;
  [written, rows] = [text, told.runs];
  const before = document.activeElement?.dataset.does;
  const items = rows.slice(0, SHOWN).map(item);
  const more = rows.length - items.length + told.left_out;
  if (more > 0) items.push(make("li", { className: "muted" }, `${more} older runs are not listed.`));
  if (told.search_ended_early) items.push(make("li", { className: "muted" }, "There are too many folders to search all of them; a root of fewer shows the others."));
  if (!items.length) items.push(make("li", { className: "muted" }, "None yet: neither here nor below the folders that the server may read."));
  at("run-entries").replaceChildren(...items);
  at("runs-count").textContent = rows.length ? ` (${rows.length})` : "";
  if (before) [...at("run-entries").querySelectorAll("[data-does]")].find((one) => one.dataset.does === before)?.focus();
}

function item(one) {
  const parts = [action(one, "open", one.slide, () => onOpen(one))];
  const share = one.status === "running" && one.total ? ` ${Math.floor((100 * one.done) / one.total)} %` : "";
  const when = new Date(one.created);
  const words = [WORDS[one.status] + share, Number.isNaN(when.valueOf()) ? "" : when.toLocaleString()].filter(Boolean).join(" · ");
  parts.push(make("span", { className: "muted small", title: one.out }, make("bdi", {}, one.model), ` · ${words}`));
  const more = make("span", { className: "does" });
  if (one.can_cancel) more.append(action(one, "cancel", "Cancel", () => doing(remove(`/v1/jobs/${one.id}`), "It stops after the batch at work.")));
  if (one.can_continue) more.append(action(one, "continue", "Continue", () => goOn(one)));
  if (one.report) more.append(make("a", { href: one.report, target: "_blank", rel: "noopener" }, "Report"));
  const row = make("li", {}, ...parts, more);
  row.dataset.run = one.id;
  row.dataset.status = one.status;
  return row;
}

function action(one, does, text, onclick) {
  const button = make("button", { type: "button", onclick }, text);
  if (does !== "open") button.setAttribute("aria-label", `${text} ${one.slide}`);
  button.dataset.does = `${does} ${one.id} ${one.slide}`;
  button.className = does;
  return button;
}

async function doing(asked, words) {
  showProblem(at("slide-error"), null);
  try {
    const told = await asked;
    announce(words);
    await look();
    return told;
  } catch (error) {
    showProblem(at("slide-error"), error);
    return null;
  }
}

async function goOn(one) {
  const told = await doing(send(`/v1/jobs/${one.id}/continue`, ""), `${one.slide} goes on.`);
  if (told) onContinued(told, one.path);
}
