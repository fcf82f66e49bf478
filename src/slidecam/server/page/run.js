// A run: sent, followed while it goes, and what it came to.

import { get, lines, remove, sendJson } from "./api.js";
import { announce, at, make, memory, showProblem } from "./dom.js";
import { chosenRegion } from "./region.js";
import { forgetResults, showResults, showTiles } from "./results.js";
import { shown } from "./shown.js";
import { tilesOf } from "./slide.js";
import { look, returned } from "./watch.js";
import { settledSpacing, useRunsSpacing } from "./spacing.js";

const REFRESH = 1200;
const POLL = 700;
const GONE = 404;
const LINED_UP = "Waiting for the run before it…";
const OUTCOMES = {
  done: "Done.", partly: "Done, but some tiles gave no result.", failed: "It did not work.",
  cancelled: "Cancelled. What was classified is kept.", skipped: "There is nothing to classify on it.",
  unfinished: "Not finished: it was stopped, or is at work elsewhere.",
};
const WITHOUT_HEAT = ["failed", "cancelled", "unfinished", "skipped"];
let model;
let onOtherModel = () => {};
let following = new AbortController();
let refreshing = null;

/** Send and follow runs; `otherModel` is called where another model than before lies in the server's folder. */
export function openRun(status, otherModel) {
  useModel(status.model);
  onOtherModel = otherModel;
  at("run-form").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  at("cancel").addEventListener("click", cancel);
}

export const useModel = (told) => { model = told; };

/** Leave the run that is followed; it goes on without anybody looking. */
export function forgetRun() {
  following.abort();
  clearTimeout(refreshing);
  [shown.job, refreshing] = [null, null];
  memory.set("job", null);
  for (const id of ["progress", "outcome", "report"]) at(id).hidden = true;
  at("run-form").hidden = false;
  at("warnings").replaceChildren();
  useRunsSpacing(null);
  forgetResults();
}

export async function start() {
  const { path, images } = shown.slide;
  const options = { heatmap: at("method").value };
  if (!model.sees_pictures) {
    options.overlap = Number(at("overlap").value);
    const spacing = settledSpacing();
    if (spacing === undefined) return;
    if (spacing) options.mpp = spacing;
  }
  const mask = shown.slide.volume ? null : chosenRegion();
  if (mask === undefined) return;
  if (mask) options.mask = mask;
  at("files").open = false; // now, by a click, and never below the hand of whoever looks for another slide meanwhile
  forgetRun();
  showProblem(at("slide-error"), null);
  if (images.length > 1) options.image = String(images.find((one) => one.shown).number);
  try {
    const told = await sendJson("/v1/jobs", { slides: [path], options });
    if (told.model_digest !== model.digest) await onOtherModel();
    if (shown.slide?.path === path) follow(told);
  } catch (error) {
    if (shown.slide?.path === path) showProblem(at("slide-error"), error);
  }
}

/** Follow a run from its first event to its end, and lay what it finds of a slide over it; of several, of the named one. */
export async function follow(told, slide = null) {
  following.abort();
  following = new AbortController();
  const { signal } = following;
  shown.job = { ...told, wanted: told.slides.length > 1 ? slide : null };
  memory.set("job", told.id);
  look();
  busy(true);
  beginning(told.status);
  if (told.status === "queued") awaitTurn(signal);
  let last = 0;
  let over = false;
  while (!over && !signal.aborted) {
    try {
      for await (const event of lines(`${told.events}?after=${last}`, signal)) {
        await take(event, signal);
        last = event.seq;
        over = event.event === "JobEnded";
      }
      if (!over) await get(`/v1/jobs/${told.id}`, { signal }); // it broke off: is the server still there?
    } catch (error) {
      if (signal.aborted) return;
      if (error.status !== 0) return lose(error);
      stage("The server does not answer. This goes on when it is back…", null);
      await returned(signal);
    }
  }
}

/** The run cannot be followed any further. */
function lose(error) {
  busy(false);
  if (error.status !== GONE) return showProblem(at("slide-error"), error);
  memory.set("job", null);
  const words = "The server was started anew, and this run ended with the one before.";
  return showProblem(at("slide-error"), { message: words, remedy: "What was classified is kept: continue it in the list of runs." });
}

function beginning(status) {
  stage(status === "queued" ? LINED_UP : shown.slide.volume ? "Reading the volume…" : "Looking for tissue…", null);
}

/** A run that is put in line begins at once where none is before it, and no event tells when. */
async function awaitTurn(signal) {
  while (!signal.aborted && at("stage").textContent === LINED_UP) {
    const told = await get(`/v1/jobs/${shown.job.id}`, { signal }).catch(() => null);
    if (told?.status === "running" && at("stage").textContent === LINED_UP) beginning(told.status);
    await new Promise((done) => setTimeout(done, POLL));
  }
}

/** Show the progress in place of the form, or the form again; whoever stood in the one stands in the other. */
function busy(running) {
  const [hidden, given] = running ? ["run-form", "cancel"] : ["progress", "start"];
  const stood = at(hidden).contains(document.activeElement);
  at("run-form").hidden = running;
  at("progress").hidden = !running;
  at("cancel").disabled = false;
  if (stood) at(given).focus();
}

function stage(text, share) {
  at("stage").textContent = text;
  if (share === null) at("bar").removeAttribute("value");
  else at("bar").value = share;
}

async function take(event, signal) {
  if (signal.aborted) return;
  const { wanted } = shown.job;
  if (wanted && event.slide && event.slide !== wanted) {
    stage(`${event.slide} is at work, another slide of this run`, null);
  } else if (event.event === "Planned") {
    shown.job.slide = event.slide;
    useRunsSpacing(event.spacing);
    stage(`${tilesOf(event.tiles)} to classify`, 0);
    announce(at("stage").textContent);
  } else if (event.event === "BatchDone") {
    stage(`${event.done} of ${tilesOf(event.total)}`, event.done / event.total);
    if (event.done === event.total) stage("Painting heatmaps and writing…", 1);
    refreshSoon(signal);
  } else if (event.event === "Warned") {
    if (!shown.slide.notes.includes(event.message)) at("warnings").append(make("li", {}, event.message));
  } else if (event.event === "Waiting") {
    const seconds = Math.round(event.seconds);
    stage(`Nothing for ${seconds} s while it is ${event.stage}: its disk or share does not answer.`, null);
    announce(at("stage").textContent);
  } else if (["SlideFailed", "Error"].includes(event.event)) {
    showProblem(at("slide-error"), { message: event.problem, remedy: event.remedy });
  } else if (event.event === "JobEnded") {
    await ended(event, signal);
  }
}

function refreshSoon(signal) {
  refreshing ??= setTimeout(async () => {
    refreshing = null;
    if (!signal.aborted) await showTiles(signal).catch(() => {}); // what failed now is shown with the next batch, or said at the end
  }, REFRESH);
}

async function ended(event, signal) {
  const name = shown.job.slide;
  const told = await get(`/v1/jobs/${shown.job.id}`, { signal });
  if (signal.aborted) return;
  shown.job = { ...told, slide: name };
  busy(false);
  look();
  at("outcome").textContent = OUTCOMES[event.status];
  at("outcome").className = `outcome ${event.status}`;
  at("outcome").hidden = false;
  at("report").hidden = !told.report;
  if (told.report) at("report").href = told.report;
  announce(OUTCOMES[event.status]);
  if (!name) return;
  await showResults(!WITHOUT_HEAT.includes(event.status), signal);
}

async function cancel() {
  at("cancel").disabled = true;
  stage("Stopping after the batch at work…", null);
  await remove(`/v1/jobs/${shown.job.id}`).catch((error) => showProblem(at("slide-error"), error));
  look();
}
