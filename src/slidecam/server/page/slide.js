// A slide or volume: chosen from a folder, and looked at.

import { arrival, get } from "./api.js";
import { announce, at, make, memory, showModel, showProblem } from "./dom.js";
import { mark, openFolders } from "./folders.js";
import { currentPlane, hung, isVolume, usePlanes } from "./planes.js";
import { forgetPlace, listenToExplaining } from "./explain.js";
import { forgetRegion, listenToRegion } from "./region.js";
import { goTo, linkedPlace, listenToSaving } from "./saving.js";
import { listenToLayers, tellValues, visible } from "./results.js";
import { follow, forgetRun, openRun, start, useModel } from "./run.js";
import { listenToRuns, runOf, showRuns } from "./runs.js";
import { shown } from "./shown.js";
import { listenToSpacing, short, takeSpacing } from "./spacing.js";
import { closeSlide, openSlide, reload } from "./viewer.js";
import { watchServer } from "./watch.js";

let status;
let visit = new AbortController(); // of the slide that was chosen last: the answer for an earlier one comes too late

export async function openSlides(told) {
  status = told;
  leave(told.deep_zoom ? at("blank").textContent :
    "This installation has no slide viewer (OpenSeadragon was not built into it). Slides can still be classified here, and pictures work.");
  fillMethods();
  openRun(told, renewModel);
  listenToLayers();
  listenToSpacing(start);
  listenToRegion();
  listenToExplaining();
  listenToSaving();
  at("image").addEventListener("change", () => choose(shown.slide.path, { image: at("image").value }));
  listenToRuns((one) => choose(one.path, { run: one }), (job, path) => choose(path, { run: job }));
  await openFolders(told, choose);
  await watchServer(showRuns, reload);
  await restore();
}

function fillMethods() {
  const options = Object.entries(status.methods.slides).filter(([name]) => name !== "finer-cam");
  const { usual, slides } = status.methods; // the one that leads first
  if (usual.length > 1) options.unshift([usual.join(), usual.map((name) => slides[name]).join(" and ")]);
  at("method").replaceChildren(...[...(status.model.has_map ? options : []), ["none", "none"]].map(([value, text]) =>
    make("option", { value, selected: value === (usual.join() || "none") }, text)));
  for (const id of ["overlap", "mpp", "mpp-label", "region", "region-label"]) at(id).hidden = status.model.sees_pictures;
  document.querySelector("label[for=overlap]").hidden = status.model.sees_pictures;
}

/** Another model lies in the server's folder than before: whatever is said of it is said anew. */
async function renewModel() {
  status = await get("/v1/status");
  showModel(status);
  fillMethods();
  useModel(status.model);
  const words = `The model in its folder was replaced: ${status.model.name} classifies now.`;
  at("warnings").append(make("li", {}, words));
  announce(words);
}

/** Take up what was open before a reload; what is gone is told of and forgotten. */
async function restore() {
  const linked = linkedPlace(arrival);
  if (linked) {
    await choose(linked.path);
    return goTo(shown.slide && linked.place);
  }
  const [path, id] = [memory.get("slide"), memory.get("job")];
  if (path) return choose(path, { keep: true, image: memory.get("image"), run: id && { id } });
  return undefined;
}

/** Leave nothing of the slide that was open: neither its picture, nor its run, nor what would classify it. */
function leave(words) {
  Object.assign(shown, { slide: null });
  at("run").hidden = true;
  usePlanes(null, false);
  forgetPlace();
  forgetRegion();
  closeSlide(words);
}

/**
 * Open a slide, and lay the given run over it, or the newest there is: of a file of several pictures the one of that
 * number, else the one that the server takes. `keep` stays on the plane that a volume was turned to.
 */
async function choose(path, { keep = false, image = null, run = null } = {}) {
  visit.abort();
  visit = new AbortController();
  const { signal } = visit;
  showProblem(at("slide-error"), null);
  forgetRun();
  leave("Opening…");
  mark(path);
  try {
    const query = new URLSearchParams(image ? { path, image } : { path });
    const opened = await get(`/v1/slides/open?${query}`, { signal });
    if (signal.aborted) return;
    await show(opened, path, { keep, signal });
    if (signal.aborted) return;
    memory.set("slide", path);
    memory.set("image", image);
    announce(`${shown.slide.name} is open, ${shown.slide.width} by ${shown.slide.height} pixels`);
    await takeUp(run, image ? null : runOf(path), signal);
  } catch (error) {
    if (signal.aborted) return;
    forgetRun();
    leave("It could not be opened. Choose another slide or volume from the list.");
    mark(null);
    memory.set("slide", null);
    showProblem(at("slide-error"), error);
  }
}

/** Lay a run over the slide that is open: the given one if it is known still, else the newest. */
async function takeUp(run, newest, signal) {
  for (const one of [run, newest].filter(Boolean)) {
    const told = await get(`/v1/jobs/${one.id}`, { signal }).catch(() => null);
    if (signal.aborted) return;
    if (told) return void follow(told, one.slide);
  }
}

/** Show a slide that the server has opened; `keep` stays on the plane that a volume was turned to. */
export async function show(opened, path, { keep, signal }) {
  if (signal.aborted) return;
  shown.slide = { ...opened, path };
  usePlanes(status.deep_zoom ? opened.volume : null, keep);
  describe();
  takeSpacing();
  if (status.deep_zoom) await openSlide(shown.slide, visible, tellValues, currentPlane());
  else at("blank").textContent = `${opened.name} is open; this installation has no slide viewer to show it.`;
}

function describe() {
  const { slide } = shown;
  at("run").hidden = false;
  at("slide-name").replaceChildren(make("bdi", {}, slide.name));
  if (slide.volume) {
    at("slide-facts").textContent =
      `${slide.volume.voxels.join(" × ")} voxels of ${slide.volume.spacing_mm.map(short).join(" × ")} mm, read by ${slide.reader}. ${isVolume() ? hung() : ""}`;
  }
  at("slide-notes").replaceChildren(...slide.notes.map((note) => make("li", {}, note)));
  at("image-form").hidden = !slide.images.length;
  at("image").replaceChildren(...slide.images.map(pictureOption));
  at("start").textContent = slide.volume ? "Classify this volume" : "Classify this slide";
  at("mpp").required = !slide.spacing_um_px && !status.model.sees_pictures;
}

const pictureOption = (one) =>
  make("option", { value: one.number, selected: one.shown }, `${one.number}: ${one.name || "no name"}, ${one.width} × ${one.height} px`);

/** What the classifier sees one of at a time. */
export const tilesOf = (count) =>
  `${count} ${shown.slide.volume && status.model.sees_pictures ? "slice" : "tile"}${count === 1 ? "" : "s"}`;
