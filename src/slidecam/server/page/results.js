// What a run has found, laid over its slide: the classes of its tiles, its heatmaps, and what is said of them.

import { bytes, get } from "./api.js";
import { changedLayer, forgetComparison, isFlipped, listenToComparing, offerRuns } from "./compare.js";
import { announce, at, isolated, make, rgb, showProblem } from "./dom.js";
import { paintScale } from "./heat.js";
import { ClassLayer, HeatLayer } from "./layers.js";
import { currentPlane, decisivePlane, isVolume, listenToPlanes, turnTo, useProfile } from "./planes.js";
import { regionLayer } from "./region.js";
import { othersOf } from "./runs.js";
import { shown } from "./shown.js";
import { show, tilesOf } from "./slide.js";
import { extent, redraw, showPlane, tell } from "./viewer.js";

const CONFLICT = 409;
const MOST_NAMES = 24;
const HEAT = ["heat-layer", "heat-form", "heat-scale-row", "heat-shows"];
let hidden = new Set(); // names of classes that are switched off
let checked = null; // the run that was held against its slide
let fetching = new AbortController();

export function listenToLayers() {
  for (const id of ["show-classes", "classes-opacity", "show-heat", "heat-opacity"]) at(id).addEventListener("input", repaint);
  at("heat-class").addEventListener("change", () => { followProfile(); loadHeat(); });
  at("heat-method").addEventListener("change", () => { fillClasses(); loadHeat(); });
  at("show-heat").addEventListener("change", () => { if (at("show-heat").checked && !shown.heat) loadHeat(); });
  at("decisive").addEventListener("click", () => turnTo(decisivePlane()));
  at("least").addEventListener("input", () => { filter(); fillLegend(); repaint(); });
  listenToPlanes(turned);
  listenToComparing(() => {
    if (!shown.classes) return;
    shown.classes.turn(currentPlane());
    filter();
    fillLegend();
    repaint();
  });
}

/** Leave nothing of a run on the screen. */
export function forgetResults() {
  fetching.abort();
  checked = null;
  forgetComparison();
  Object.assign(shown, { classes: null, heat: null, heatmaps: [] });
  for (const id of ["layers", "called", "decisive"]) at(id).hidden = true;
  at("show-heat").checked = false;
  hidden = new Set();
  at("least").value = 0;
  repaint();
}

const least = () => at("least").value / 100;

/** Show the classes that are switched on, from the threshold on. */
function filter() {
  const { classes } = shown;
  const places = classes.classes.map((one, i) => (hidden.has(one.name) ? i : -1)).filter((i) => i >= 0);
  classes.filter(new Set(places), least());
  at("least-told").textContent = least() ? least().toFixed(2) : "any";
}

function switched(name, on) {
  if (on) hidden.delete(name);
  else hidden.add(name);
  filter();
  repaint();
}

const base = () => `/v1/jobs/${shown.job.id}/slides/${encodeURIComponent(shown.job.slide)}`;

/** Hold what lies under the path against the run: its tiles are of one slide, and are laid over no other. */
async function showClassified(signal) {
  const { job, slide } = shown;
  const query = new URLSearchParams({ path: slide.path, job: job.id, slide: job.slide });
  const opened = await get(`/v1/slides/open?${query}`, { signal });
  if (opened.id !== slide.id) await show(opened, slide.path, { keep: true, signal });
  checked = job.id;
}

/** Show the tiles that have a result by now. */
export async function showTiles(signal) {
  if (checked !== shown.job.id) await showClassified(signal);
  const told = await get(`${base()}/tiles`, { signal });
  if (signal.aborted) return;
  shown.classes = new ClassLayer(told, shown.slide);
  shown.classes.turn(currentPlane());
  filter();
  followProfile();
  at("layers").hidden = false;
  if (!shown.heatmaps.length) for (const id of HEAT) at(id).hidden = true;
  fillLegend();
  redraw();
}

function fillLegend() {
  const { classes } = shown;
  const [all, counts] = [classes.counts(), classes.counts(least())];
  const rows = classes.classes.slice(0, MOST_NAMES).map((one, i) => legendRow(one, counts[i], all[i]));
  const more = classes.classes.length - rows.length;
  if (more > 0) rows.push(make("li", { className: "muted more" }, `${more} more classes are not listed here; the report has all.`));
  const stood = document.activeElement?.dataset.name;
  at("legend").replaceChildren(...rows);
  if (stood) [...at("legend").querySelectorAll("input")].find((one) => one.dataset.name === stood)?.focus();
}

function legendRow(one, count, all) {
  const box = make("input", { type: "checkbox", checked: !hidden.has(one.name), onchange: () => switched(one.name, box.checked) });
  box.dataset.name = one.name;
  const told = count === all ? tilesOf(all) : `${count} of ${tilesOf(all)}`;
  return make(
    "li", {},
    make("label", {}, box, make("span", { className: "swatch", style: `background: ${rgb(one.color)}` }), make("bdi", {}, one.name)),
    make("span", { className: "count" }, told),
  );
}

/** Show what a run that has ended found: all its tiles, what it called a volume, its heatmaps. */
export async function showResults(withHeat, signal) {
  checked = null; // held against its slide once more, now that all of it is laid over that
  try {
    await showTiles(signal);
  } catch (error) {
    if (error.status === CONFLICT) return refuse(error);
    if (signal.aborted) throw error;
  }
  tellCall();
  if (shown.classes && !shown.slide.volume) offerRuns(othersOf(shown.slide.path, shown.job));
  if (!withHeat) return;
  const { heatmaps } = await get(`${base()}/heatmaps`, { signal });
  if (signal.aborted) return;
  shown.heatmaps = heatmaps;
  for (const id of HEAT) at(id).hidden = !heatmaps.length;
  if (!heatmaps.length) return;
  at("heat-method").replaceChildren(...heatmaps.map((one) => make("option", { value: one.name }, one.title)));
  fillClasses();
  at("show-heat").checked = true;
  at("show-classes").checked = false;
  followProfile();
  await loadHeat();
}

/** Another slide lies under the path: nothing of the run is shown over it. */
function refuse(error) {
  Object.assign(shown, { classes: null, heat: null, heatmaps: [] });
  at("layers").hidden = true;
  repaint();
  showProblem(at("slide-error"), error);
}

/** Of a volume, what it was called as a whole, and where the slice is that decided most: nobody is taken there. */
function tellCall() {
  const told = shown.classes?.volume;
  if (!told) return;
  const called = told.called_classes ?? [told.called].filter(Boolean); // a run of before names one at most
  const shares = Object.entries(told.probabilities).map(([name, share]) => `${isolated(name)} ${share.toFixed(3)}`);
  at("called").textContent = `Called ${called.map(isolated).join(" + ") || "nothing"}: ${shares.join(", ")}; ${told.pooling}.`;
  at("called").hidden = false;
  announce(`${at("outcome").textContent} ${at("called").textContent}`);
}

/** Lay the class that is looked at along the planes. */
function followProfile() {
  const { classes, heatmaps } = shown;
  if (!isVolume() || !classes?.count) return;
  const name = heatmaps.length ? chosenMap().classes[Number(at("heat-class").value)] : classes.volume?.called;
  useProfile(classes, Math.max(0, classes.classes.findIndex((one) => one.name === name)));
  at("decisive").textContent = `Go to slice ${decisivePlane() + 1}, where it is highest`;
  at("decisive").hidden = false;
}

const chosenMap = () => shown.heatmaps.find((one) => one.name === at("heat-method").value) ?? shown.heatmaps[0];

function fillClasses() {
  const { classes } = shown;
  const counts = classes.counts();
  const most = chosenMap().classes.map((name) => counts[classes.classes.findIndex((one) => one.name === name)]);
  const best = most.indexOf(Math.max(...most));
  at("heat-class").replaceChildren(...chosenMap().classes.map((name, i) => make("option", { value: i, selected: i === best }, name)));
}

async function loadHeat() {
  const [map, index, plane] = [chosenMap(), Number(at("heat-class").value), currentPlane()];
  fetching.abort();
  fetching = new AbortController();
  const { signal } = fetching;
  try {
    const values = await bytes(`${base()}/heatmaps/${encodeURIComponent(map.name)}/${index}?plane=${plane}`, fetching);
    if (signal.aborted) return;
    shown.heat = new HeatLayer(map, values, map.classes[index], plane);
    at("heat-low").textContent = map.signed ? "−1" : "0";
    at("heat-shows").textContent = [map.shows, map.notes[index] && `Here it is ${map.notes[index]}.`, map.measured].filter(Boolean).join(" ");
    paintScale(at("heat-scale"), map.signed);
    repaint();
  } catch (error) {
    if (!signal.aborted) showProblem(at("slide-error"), error);
  }
}

/** Show another plane: the picture, the tiles on it, its heat. */
function turned(plane) {
  showPlane(plane);
  shown.classes?.turn(plane);
  repaint();
  if (shown.heat) loadHeat();
}

/** Draw the layers again. Under heat a slide is pale and grey, as in reports: its own colours would pass for heat. */
export function repaint() {
  document.querySelector(".view").classList.toggle("pale", warmed() && !isVolume());
  redraw();
  tell();
}

/** The layers that are switched on, from below to above, with their opacities. */
export function visible() {
  const { classes, heat } = shown;
  const layers = [];
  if (classes && at("show-classes").checked) layers.push([classes, at("classes-opacity").value / 100]);
  if (warmed()) layers.push([heat, at("heat-opacity").value / 100]);
  return [...layers, [changedLayer, 1], [regionLayer, 1]];
}

/** Whether heat is seen: it is of the run that is shown, and not of one beside it. */
const warmed = () => shown.heat?.plane === currentPlane() && at("show-heat").checked && !isFlipped();

/** Say what the layers hold at a place of level 0, which is pointed at or lies in the middle. */
export function tellValues(x, y, pointed) {
  const { classes, heat, slide } = shown;
  const [columns, rows] = extent(slide);
  const inside = x >= 0 && y >= 0 && x < columns && y < rows;
  const told = inside ? [classes?.at(x, y), warmed() && heat.at(x, y)].filter(Boolean) : [];
  const unit = slide.volume ? `voxel, slice ${currentPlane() + 1}` : "px";
  const place = `${pointed ? "" : "Middle: "}${Math.floor(x)}, ${Math.floor(y)} ${unit}`;
  at("values").hidden = !inside;
  at("values").textContent = [place, ...told].join("   ·   ");
}
