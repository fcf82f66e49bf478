// A slide: chosen from a folder, looked at, classified while one watches, and its layers.

import { bytes, get, lines, remove, sendJson } from "./api.js";
import { announce, at, make, memory, rgb, showProblem } from "./dom.js";
import { paintScale } from "./heat.js";
import { ClassLayer, HeatLayer } from "./layers.js";
import { currentPlane, decisivePlane, hung, isVolume, listenToPlanes, turnTo, usePlanes, useProfile } from "./planes.js";
import { extent, openSlide, redraw, showPlane, tell } from "./viewer.js";

const REFRESH = 1200;
const POLL = 700;
const CONFLICT = 409;
let status;
let slide = null;
let job = null;
let classes = null;
let heat = null;
let heatmaps = [];
let following = null;
let checked = null;
let fetching = null;

export async function openSlides(told) {
  status = told;
  if (!told.deep_zoom) {
    at("blank").textContent =
      "This installation has no slide viewer (OpenSeadragon was not built into it). Slides can still be classified here, and pictures work.";
  }
  fillMethods();
  listen();
  await browse(memory.get("folder") ?? (told.roots.length === 1 ? told.roots[0] : "")).catch(() => browse(""));
  await restore();
}

function fillMethods() {
  const options = Object.entries(status.methods.slides).filter(([name]) => name !== "finer-cam");
  const { usual, slides } = status.methods; // the one that leads first
  if (usual.length > 1) options.unshift([usual.join(), usual.map((name) => slides[name]).join(" and ")]);
  at("method").replaceChildren(...[...(status.model.has_map ? options : []), ["none", "none"]].map(([value, text]) =>
    make("option", { value, selected: value === (usual.join() || "none") }, text)));
  for (const id of ["overlap", "mpp", "mpp-label"]) at(id).hidden = status.model.sees_pictures;
  document.querySelector("label[for=overlap]").hidden = status.model.sees_pictures;
}

function listen() {
  at("run-form").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  at("cancel").addEventListener("click", cancel);
  at("image").addEventListener("change", () => choose(slide.path, { image: at("image").value }));
  for (const id of ["show-classes", "classes-opacity", "show-heat", "heat-opacity"]) {
    at(id).addEventListener("input", repaint);
  }
  at("heat-class").addEventListener("change", () => { followProfile(); loadHeat(); });
  listenToPlanes(turned);
  at("heat-method").addEventListener("change", () => { fillClasses(); loadHeat(); });
  at("show-heat").addEventListener("change", () => { if (at("show-heat").checked && !heat) loadHeat(); });
}

/** Take up what was open before a reload; what is gone is told of and forgotten. */
async function restore() {
  const [path, name] = [memory.get("slide"), memory.get("job")];
  if (!path) return;
  await choose(path, { keep: true, image: memory.get("image") });
  if (!name) return;
  try {
    follow(await get(`/v1/jobs/${name}`));
  } catch {
    memory.set("job", null);
  }
}

async function browse(folder) {
  const told = await get(`/v1/slides?folder=${encodeURIComponent(folder)}`);
  memory.set("folder", told.folder ?? "");
  at("folder").textContent = told.folder ?? "Folders that the server may read";
  const rows = told.folders.map((one) => entry(one, "folder", () => go(one.path)));
  const upwards = told.folder && (told.parent || status.roots.length > 1);
  if (upwards) rows.unshift(entry({ name: "one folder up" }, "up", () => go(told.parent ?? "")));
  rows.push(...told.slides.map((one) => entry(one, "slide", () => choose(one.path))));
  if (!told.folders.length && !told.slides.length) rows.push(make("li", { className: "muted" }, "Nothing in this folder that slidecam reads."));
  at("entries").replaceChildren(...rows);
  mark();
}

/** Go into a folder that was chosen; who did it with the keyboard stands at its first entry then. */
async function go(folder) {
  try {
    await browse(folder);
    at("entries").querySelector("button")?.focus();
    announce(`${at("folder").textContent}: ${at("entries").querySelectorAll("button").length} entries`);
  } catch (error) {
    showProblem(at("slide-error"), error);
  }
}

function entry(one, kind, onclick) {
  const button = make("button", { type: "button", className: kind, onclick }, one.name);
  if (one.path) button.dataset.path = one.path;
  return make("li", {}, button);
}

function mark() {
  for (const button of at("entries").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(Boolean(slide) && button.dataset.path === slide.path));
  }
}

/** Open a slide: of a file of several pictures the one of that number, else the one that the server takes. */
async function choose(path, { keep = false, image = null } = {}) {
  showProblem(at("slide-error"), null);
  if (!keep) forgetRun();
  try {
    const query = new URLSearchParams(image ? { path, image } : { path });
    await show(await get(`/v1/slides/open?${query}`), path, keep);
    memory.set("slide", path);
    memory.set("image", image);
    announce(`${slide.name} is open, ${slide.width} by ${slide.height} pixels`);
  } catch (error) {
    memory.set("slide", null);
    showProblem(at("slide-error"), error);
  }
  mark();
}

async function show(opened, path, keep) {
  slide = { ...opened, path };
  usePlanes(status.deep_zoom ? slide.volume : null, keep);
  describe();
  if (status.deep_zoom) await openSlide(slide, visible, tellValues, currentPlane());
}

/** Hold what lies under the path against the run: its tiles are of one slide, and are laid over no other. */
async function showClassified() {
  const query = new URLSearchParams({ path: slide.path, job: job.id, slide: job.slide });
  const opened = await get(`/v1/slides/open?${query}`);
  if (opened.id !== slide.id) await show(opened, slide.path, true);
  checked = job.id;
}

function describe() {
  const spacing = slide.spacing_um_px ? `${short(slide.spacing_um_px)} µm/px` : "unknown scale";
  at("run").hidden = false;
  at("slide-name").textContent = slide.name;
  at("slide-facts").textContent = slide.volume
    ? `${slide.volume.voxels.join(" × ")} voxels of ${slide.volume.spacing_mm.map(short).join(" × ")} mm, read by ${slide.reader}. ${isVolume() ? hung() : ""}`
    : `${slide.width} × ${slide.height} px, ${spacing}, read by ${slide.reader}`;
  at("slide-notes").replaceChildren(...slide.notes.map((note) => make("li", {}, note)));
  at("image-form").hidden = !slide.images.length;
  at("image").replaceChildren(...slide.images.map(pictureOption));
  at("start").textContent = slide.volume ? "Classify this volume" : "Classify this slide";
  at("mpp").required = !slide.spacing_um_px && !status.model.sees_pictures;
}

const pictureOption = (one) =>
  make("option", { value: one.number, selected: one.shown }, `${one.number}: ${one.name || "no name"}, ${one.width} × ${one.height} px`);

/** The picture that is looked at, where the file has several. */
const shownPicture = () => slide.images.find((one) => one.shown);

const short = (value) => Number(value.toPrecision(4));

/** What the classifier sees one of at a time. */
const tilesOf = (count) => `${count} ${slide.volume && status.model.sees_pictures ? "slice" : "tile"}${count === 1 ? "" : "s"}`;

/** Show another plane: the picture, the tiles on it, its heat. */
function turned(plane) {
  showPlane(plane);
  classes?.turn(plane);
  repaint();
  if (heat) loadHeat();
}

/** Lay the class that is looked at along the planes. */
function followProfile() {
  if (!isVolume() || !classes?.count) return;
  const shown = heatmaps.length ? chosenMap().classes[Number(at("heat-class").value)] : classes.volume?.called;
  useProfile(classes, Math.max(0, classes.classes.findIndex((one) => one.name === shown)));
}

function forgetRun() {
  following?.abort();
  [job, classes, heat, heatmaps, checked] = [null, null, null, [], null];
  memory.set("job", null);
  for (const id of ["layers", "progress", "outcome", "called", "report"]) at(id).hidden = true;
  at("run-form").hidden = false;
  at("show-heat").checked = false;
  at("warnings").replaceChildren();
  repaint();
}

async function start() {
  const { path, images } = slide;
  forgetRun();
  showProblem(at("slide-error"), null);
  const options = { heatmap: at("method").value };
  if (!status.model.sees_pictures) options.overlap = Number(at("overlap").value);
  if (images.length > 1) options.image = String(shownPicture().number);
  if (at("mpp").value) options.mpp = Number(at("mpp").value);
  try {
    follow(await sendJson("/v1/jobs", { slides: [path], options }));
  } catch (error) {
    showProblem(at("slide-error"), error);
  }
}

async function follow(told) {
  job = told;
  memory.set("job", job.id);
  following?.abort();
  following = new AbortController();
  const { signal } = following;
  busy(true);
  beginning(job.status);
  if (job.status === "queued") awaitTurn(signal);
  try {
    for await (const event of lines(job.events, signal)) await take(event, signal);
  } catch (error) {
    if (signal.aborted) return;
    showProblem(at("slide-error"), error);
    busy(false);
  }
}

const LINED_UP = "Waiting for the run before it…";

function beginning(told) {
  stage(told === "queued" ? LINED_UP : slide.volume ? "Reading the volume…" : "Looking for tissue…", null);
}

/** A run that is put in line begins at once where none is before it, and no event tells when. */
async function awaitTurn(signal) {
  while (!signal.aborted && at("stage").textContent === LINED_UP) {
    const told = await get(`/v1/jobs/${job.id}`).catch(() => null);
    if (told?.status === "running" && at("stage").textContent === LINED_UP) beginning(told.status);
    await new Promise((done) => setTimeout(done, POLL));
  }
}

function busy(running) {
  at("run-form").hidden = running;
  at("progress").hidden = !running;
  at("cancel").disabled = false;
}

function stage(text, share) {
  at("stage").textContent = text;
  if (share === null) at("bar").removeAttribute("value");
  else at("bar").value = share;
}

async function take(event, signal) {
  if (event.event === "Planned") {
    job.slide = event.slide;
    stage(`${tilesOf(event.tiles)} to classify`, 0);
    announce(at("stage").textContent);
  } else if (event.event === "BatchDone") {
    stage(`${event.done} of ${tilesOf(event.total)}`, event.done / event.total);
    if (event.done === event.total) stage("Painting heatmaps and writing…", 1);
    refreshSoon(signal);
  } else if (event.event === "Warned") {
    if (!slide.notes.includes(event.message)) at("warnings").append(make("li", {}, event.message));
  } else if (event.event === "Waiting") {
    const seconds = Math.round(event.seconds);
    stage(`Nothing for ${seconds} s while it is ${event.stage}: its disk or share does not answer.`, null);
    announce(at("stage").textContent);
  } else if (event.event === "SlideFailed") {
    showProblem(at("slide-error"), { message: event.problem, remedy: event.remedy });
  } else if (event.event === "Error") {
    showProblem(at("slide-error"), { message: event.problem, remedy: event.remedy });
  } else if (event.event === "JobEnded") {
    await ended(event, signal);
  }
}

let waiting = null;
function refreshSoon(signal) {
  waiting ??= setTimeout(async () => {
    waiting = null;
    if (!signal.aborted) await showTiles().catch(() => {});
  }, REFRESH);
}

const OUTCOMES = {
  done: "Done.", partly: "Done, but some tiles gave no result.", failed: "It did not work.",
  cancelled: "Cancelled. What was classified is kept.",
};

async function ended(event, signal) {
  const name = job.slide;
  job = { ...(await get(`/v1/jobs/${job.id}`)), slide: name };
  if (signal.aborted) return;
  busy(false);
  at("outcome").textContent = OUTCOMES[event.status];
  at("outcome").className = `outcome ${event.status}`;
  at("outcome").hidden = false;
  at("report").hidden = !job.report;
  if (job.report) at("report").href = job.report;
  announce(OUTCOMES[event.status]);
  if (!name) return;
  checked = null; // held against the run once more, now that all of it is laid over the slide
  try {
    await showTiles();
  } catch (error) {
    if (error.status === CONFLICT) return refuse(error);
  }
  tellCall();
  if (event.status === "failed" || event.status === "cancelled") return;
  heatmaps = (await get(`${base()}/heatmaps`)).heatmaps;
  at("heat-layer").hidden = at("heat-form").hidden = at("heat-scale-row").hidden = at("heat-shows").hidden = !heatmaps.length;
  if (!heatmaps.length) return;
  at("heat-method").replaceChildren(...heatmaps.map((one) => make("option", { value: one.name }, one.title)));
  fillClasses();
  at("show-heat").checked = true;
  at("show-classes").checked = false;
  at("files").open = false;
  followProfile();
  if (isVolume()) turnTo(decisivePlane());
  await loadHeat();
}

/** Another slide lies under the path: nothing of the run is shown over it. */
function refuse(error) {
  [classes, heat, heatmaps] = [null, null, []];
  at("layers").hidden = true;
  repaint();
  showProblem(at("slide-error"), error);
}

/** Of a volume, what it was called as a whole. */
function tellCall() {
  const told = classes?.volume;
  if (!told) return;
  const called = told.called_classes ?? [told.called].filter(Boolean); // a run of before names one at most
  const shares = Object.entries(told.probabilities).map(([name, share]) => `${name} ${share.toFixed(3)}`);
  at("called").textContent = `Called ${called.join(" + ") || "nothing"}: ${shares.join(", ")}; ${told.pooling}.`;
  at("called").hidden = false;
  announce(`${at("outcome").textContent} ${at("called").textContent}`);
}

const base = () => `/v1/jobs/${job.id}/slides/${encodeURIComponent(job.slide)}`;

async function showTiles() {
  if (checked !== job.id) await showClassified();
  classes = new ClassLayer(await get(`${base()}/tiles`), slide);
  classes.turn(currentPlane());
  followProfile();
  at("layers").hidden = false;
  if (!heatmaps.length) at("heat-layer").hidden = at("heat-form").hidden = at("heat-scale-row").hidden = at("heat-shows").hidden = true;
  const counts = classes.counts();
  at("legend").replaceChildren(...classes.classes.map((one, i) => legendRow(one, counts[i])).slice(0, 24));
  redraw();
}

const legendRow = (one, count) => make(
  "li", {},
  make("span", { className: "swatch", style: `background: ${rgb(one.color)}` }), one.name,
  make("span", { className: "count" }, tilesOf(count)),
);

const chosenMap = () => heatmaps.find((one) => one.name === at("heat-method").value) ?? heatmaps[0];

function fillClasses() {
  const counts = classes.counts();
  const most = chosenMap().classes.map((name) => counts[classes.classes.findIndex((one) => one.name === name)]);
  const best = most.indexOf(Math.max(...most));
  at("heat-class").replaceChildren(...chosenMap().classes.map((name, i) => make("option", { value: i, selected: i === best }, name)));
}

async function loadHeat() {
  const [map, index, plane] = [chosenMap(), Number(at("heat-class").value), currentPlane()];
  fetching?.abort();
  fetching = new AbortController();
  try {
    const values = await bytes(`${base()}/heatmaps/${encodeURIComponent(map.name)}/${index}?plane=${plane}`, fetching);
    heat = new HeatLayer(map, values, map.classes[index], plane);
    at("heat-low").textContent = map.signed ? "−1" : "0";
    at("heat-shows").textContent = [map.shows, map.notes[index] && `Here it is ${map.notes[index]}.`, map.measured].filter(Boolean).join(" ");
    paintScale(at("heat-scale"), map.signed);
    repaint();
  } catch (error) {
    if (error.name !== "AbortError") showProblem(at("slide-error"), error);
  }
}

/** Draw the layers again. Under heat a slide is pale and grey, as in reports: its own colours would pass for heat. */
function repaint() {
  document.querySelector(".view").classList.toggle("pale", Boolean(heat) && !isVolume() && at("show-heat").checked);
  redraw();
  tell();
}

/** The layers that are switched on, from below to above, with their opacities. */
function visible() {
  const shown = [];
  if (classes && at("show-classes").checked) shown.push([classes, at("classes-opacity").value / 100]);
  if (heat?.plane === currentPlane() && at("show-heat").checked) shown.push([heat, at("heat-opacity").value / 100]);
  return shown;
}

function tellValues(x, y, pointed) {
  const [columns, rows] = extent(slide);
  const inside = x >= 0 && y >= 0 && x < columns && y < rows;
  const warm = at("show-heat").checked && heat?.plane === currentPlane();
  const told = inside ? [classes?.at(x, y), warm && heat.at(x, y)].filter(Boolean) : [];
  const unit = slide.volume ? `voxel, slice ${currentPlane() + 1}` : "px";
  const place = `${pointed ? "" : "Middle: "}${Math.floor(x)}, ${Math.floor(y)} ${unit}`;
  at("values").hidden = !inside;
  at("values").textContent = [place, ...told].join("   ·   ");
}

async function cancel() {
  at("cancel").disabled = true;
  stage("Stopping after the batch at work…", null);
  await remove(`/v1/jobs/${job.id}`).catch((error) => showProblem(at("slide-error"), error));
}
