// µm per pixel: what a slide says of itself, and what a person says of this one slide.

import { at, memory } from "./dom.js";
import { shown } from "./shown.js";
import { useSpacing } from "./viewer.js";

const FAR = 0.05; // what is further from the file's is asked about
const FIGURES = 4;
let onSettled = () => {};
let agreed = null; // what was typed, asked about and meant
let ofRun = null;

const key = () => `mpp ${shown.slide.path}`;
/** What a person wrote for the slide that is open; null where nothing is. */
export const givenSpacing = () => ofRun ?? typed();
const typed = () => Number(at("mpp").value) || null;
export const short = (value) => Number(value.toPrecision(FIGURES));

export function listenToSpacing(settled) {
  onSettled = settled;
  at("mpp").addEventListener("input", () => {
    memory.set(key(), at("mpp").value);
    agreed = null;
    at("mpp-question").hidden = true;
    follow();
  });
  at("mpp-given").addEventListener("click", () => { agreed = typed(); answer(); });
  at("mpp-file").addEventListener("click", () => {
    at("mpp").value = "";
    memory.set(key(), "");
    follow();
    answer();
  });
}

function answer() {
  at("mpp-question").hidden = true;
  at("start").focus();
  onSettled();
}

/** Take up the slide that was opened: the field holds what was typed for it before, and never what was for another. */
export function takeSpacing() {
  agreed = null;
  at("mpp").value = memory.get(key()) ?? "";
  at("mpp-question").hidden = true;
  follow();
}

/** What a run is given beside what the file says; undefined while a person must be asked which of both is meant. */
export function settledSpacing() {
  const [given, told] = [typed(), shown.slide.spacing_um_px];
  if (!given || !told || Math.abs(given / told - 1) <= FAR || agreed === given) return given;
  const times = given > told ? given / told : told / given;
  at("mpp-words").textContent =
    `The file says ${short(told)} µm per pixel, and you wrote ${short(given)}: ${short(times)} times ${given > told ? "as much" : "less"}. ` +
    "Every class depends on it.";
  at("mpp-given").textContent = `Use ${short(given)}`;
  at("mpp-file").textContent = `Use the file's ${short(told)}`;
  at("mpp-question").hidden = false;
  at("mpp-file").focus();
  return undefined;
}

/** The run that is shown was made at so many µm per pixel; null where none is. */
export function useRunsSpacing(spacing) {
  ofRun = spacing;
  if (shown.slide) follow();
}

/** The bar's length, and what is said of it, follow what holds now. */
function follow() {
  const { slide } = shown;
  const given = ofRun ?? typed();
  const differs = given && (!slide.spacing_um_px || Math.abs(given / slide.spacing_um_px - 1) > 1e-3);
  useSpacing(differs ? given : null);
  if (!slide.volume) at("slide-facts").textContent = `${slide.width} × ${slide.height} px, ${inWords(differs && given)}, read by ${slide.reader}`;
}

function inWords(given) {
  const { spacing_um_px: told } = shown.slide;
  if (given) return `${short(given)} µm/px as given (the file says ${told ? short(told) : "nothing of it"})`;
  return told ? `${short(told)} µm/px` : "unknown scale";
}
