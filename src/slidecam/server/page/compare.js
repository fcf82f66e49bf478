// Another run of the slide that is open, held against the one that is shown: flipped between, and what changed outlined.

import { get } from "./api.js";
import { announce, at, isolated, make, percent, showProblem } from "./dom.js";
import { ClassLayer, unpacked } from "./layers.js";
import { shown } from "./shown.js";
import { lookAt } from "./viewer.js";

const WIDER = 6; // times a tile's width that is looked at round a changed one
let others = []; // runs that can be held against the one that is shown
let own = null; // the classes of the run that is shown
let other = null; // {layer, words} of the one beside it
let asking = new AbortController();
let onShown = () => {};

/** `changed` is called when other classes than before are to be drawn. */
export function listenToComparing(changed) {
  onShown = changed;
  at("compare-with").addEventListener("change", compare);
  at("flip").addEventListener("click", () => flip(shown.classes === own));
  at("show-changed").addEventListener("change", onShown);
}

/** Whether the classes that are drawn are those of the other run; no heat is, then. */
export const isFlipped = () => Boolean(other) && shown.classes === other.layer;

/** When and by what the other run was made. */
export const otherRun = () => other?.words;

/** Whether tiles are outlined. */
export const hasOutlines = () => Boolean(other) && changedLayer.boxes.length > 0 && at("show-changed").checked;

/** Offer other runs of the slide, `{id, slide, model, created, out}`, beside the one that is shown. */
export function offerRuns(runs) {
  forgetComparison();
  others = runs;
  at("compare").hidden = !runs.length;
  const options = runs.map((one, i) => make("option", { value: i }, `${new Date(one.created).toLocaleString()}, ${one.model}`));
  at("compare-with").replaceChildren(make("option", { value: "" }, "no other run"), ...options);
}

export function forgetComparison() {
  asking.abort();
  if (isFlipped()) shown.classes = own;
  [own, other, others] = [null, null, []];
  changedLayer.use(null);
  for (const id of ["compare", "compared"]) at(id).hidden = true;
  press(false);
}

async function compare() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  flip(false);
  other = null;
  changedLayer.use(null);
  at("compared").hidden = true;
  const one = others[at("compare-with").value];
  if (!one) return onShown();
  const { job } = shown;
  const query = new URLSearchParams({ before: one.id, before_slide: one.slide });
  try {
    const slide = encodeURIComponent(job.slide);
    const told = await get(`/v1/jobs/${job.id}/slides/${slide}/compared?${query}`, { signal });
    const tiles = await get(`/v1/jobs/${one.id}/slides/${encodeURIComponent(one.slide)}/tiles`, { signal });
    if (signal.aborted) return;
    own = shown.classes;
    other = { layer: new ClassLayer(tiles, shown.slide), words: at("compare-with").selectedOptions[0].textContent };
    changedLayer.use(told);
    show(told);
    onShown();
  } catch (error) {
    if (!signal.aborted) showProblem(at("slide-error"), error);
  }
}

function show(told) {
  const kappa = told.kappa === null ? "" : `, kappa ${told.kappa.toFixed(2)}`;
  const agreed = told.agreement === null ? "" : ` (agreement ${percent(told.agreement)}${kappa})`;
  at("compare-words").textContent = `${told.changed} of ${told.tiles} tiles are of another class${agreed}.`;
  at("compare-classes").replaceChildren(...told.classes.map(share));
  const rows = told["changed tiles"].map(tile);
  if (told.left_out) rows.push(make("li", { className: "muted" }, `${told.left_out} more are outlined and not listed; slidecam compare --json has all.`));
  at("compare-tiles").replaceChildren(...rows);
  at("compare-notes").replaceChildren(...told.notes.map((note) => make("li", {}, note)));
  at("compared").hidden = false;
  announce(at("compare-words").textContent);
}

const share = (one) =>
  make("tr", {}, make("td", {}, make("bdi", {}, one.name)), make("td", {}, percent(one.share_before)), make("td", {}, percent(one.share_after)));

function tile(one) {
  const words = `${isolated(one.before)} ${one.p_before.toFixed(3)} → ${isolated(one.after)} ${one.p_after.toFixed(3)}`;
  return make("li", {}, make("button", { type: "button", onclick: () => visit(one) }, words));
}

function visit(one) {
  const [x, y, width, height] = one.box;
  lookAt({ x: x + width / 2, y: y + height / 2, width: WIDER * width });
}

/** Draw the classes of the other run, or again those of the one that is shown. */
function flip(away) {
  if (!other) return;
  shown.classes = away ? other.layer : own;
  press(away);
  if (away) at("show-classes").checked = true;
  onShown();
  announce(away ? `Classes of the other run: ${other.words}` : "Classes of the run that is shown");
}

function press(away) {
  at("flip").setAttribute("aria-pressed", String(away));
  at("flip").textContent = away ? "Show this run again" : "Show the other run";
}

/** The outlines of the tiles that are of another class than in the other run. */
export const changedLayer = {
  boxes: new Int32Array(),
  use(told) {
    this.boxes = told ? unpacked(told.boxes, Int32Array) : new Int32Array();
  },
  paint(context, frame) {
    if (!hasOutlines()) return;
    for (const [colour, width] of [["#000", 3], ["#ffe14d", 1.5]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.beginPath();
      for (let i = 0; i < this.boxes.length; i += 4) {
        const [x, y, across, down] = this.boxes.subarray(i, i + 4);
        context.rect(frame.x + x * frame.zoom[0], frame.y + y * frame.zoom[1], across * frame.zoom[0], down * frame.zoom[1]);
      }
      context.stroke();
    }
  },
};
