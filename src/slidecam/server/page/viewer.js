// The slide itself: OpenSeadragon over tiles that the server cuts, and a canvas above it for the layers.

import { headers } from "./api.js";
import { at } from "./dom.js";

const SCRIPT = "/page/openseadragon/openseadragon.min.js";
let viewer = null;
let slide = null;
let pointer = null;
let plane = 0;
let loading = false;
let wanted = null; // the slide that was chosen last, which may still be on its way
let opening = Promise.resolve();
let given = null;
const PATIENCE = 3000;
const RULER = 150;
let layers = () => [];
let onPlace = () => {};

/** Load OpenSeadragon once; it is not part of every installation. */
function load() {
  if (window.OpenSeadragon) return Promise.resolve();
  return new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: SCRIPT, onload: done, onerror: failed }));
  });
}

/** Show a slide; `visible` returns [layer, opacity] pairs, `told` is given the place of level 0 that is pointed at. */
export async function openSlide(facts, visible, told, first) {
  wanted = facts;
  opening = opening.catch(() => {}).then(() => open(facts, visible, told, first));
  await opening;
}

/** One slide is opened after the other, and of those that were wanted meanwhile the last one alone. */
async function open(facts, visible, told, first) {
  await load();
  if (wanted !== facts) return;
  viewer ??= make();
  [slide, layers, onPlace, plane, loading] = [facts, visible, told, first, false];
  await new Promise((done, failed) => {
    viewer.addOnceHandler("open", done);
    viewer.addOnceHandler("open-failed", (event) => failed(new Error(event.message)));
    viewer.open(tileSource(facts, first));
  });
  if (wanted !== facts) {
    viewer.close(); // it came although it was closed meanwhile
    return;
  }
  at("tools").hidden = false;
  at("blank").textContent = "Reading the slide…";
  at("blank").hidden = false;
  viewer.addOnceHandler("tile-drawn", () => { if (wanted === facts) at("blank").hidden = true; });
  redraw();
  tell();
}

/** Show nothing but some words: neither the slide of before nor what lay over it. */
export function closeSlide(words) {
  [wanted, slide, given] = [null, null, null];
  viewer?.close();
  at("blank").textContent = words;
  at("blank").hidden = false;
  for (const id of ["tools", "ruler", "values"]) at(id).hidden = true;
  redraw();
}

/** Ask for all tiles again: those that failed while the server was away would stay blurred. */
export const reload = () => viewer?.world.resetItems();

/** Take so many µm per pixel for the bar, in place of the file's; null for those. */
export function useSpacing(spacing) {
  given = spacing;
  redraw();
}

function make() {
  const made = window.OpenSeadragon({
    element: at("viewer"),
    drawer: "canvas",
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "BOTTOM_RIGHT",
    navigatorSizeRatio: 0.16,
    navigatorAutoFade: false,
    navigatorOpacity: 1,
    navigatorBackground: "var(--paper)",
    navigatorBorderColor: "var(--line)",
    navigatorDisplayRegionColor: "#4a3fa8",
    loadTilesWithAjax: true,
    ajaxHeaders: headers(),
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.3,
    gestureSettingsMouse: { clickToZoom: false },
  });
  for (const event of ["update-viewport", "resize", "open"]) made.addHandler(event, redraw);
  made.addHandler("animation-finish", () => { if (!pointer) tell(); });
  new window.OpenSeadragon.MouseTracker({
    element: made.container,
    moveHandler: (event) => { pointer = event.position; tell(); },
    leaveHandler: () => { pointer = null; tell(); },
  });
  at("zoom-in").onclick = () => zoom(1.6);
  at("zoom-out").onclick = () => zoom(1 / 1.6);
  at("zoom-home").onclick = () => made.viewport.goHome();
  return made;
}

function zoom(factor) {
  viewer.viewport.zoomBy(factor);
  viewer.viewport.applyConstraints();
}

function tileSource(facts, shown) {
  const maxLevel = Math.ceil(Math.log2(Math.max(facts.width, facts.height, 1)));
  const getTileUrl = (level, x, y) => `/v1/slides/${facts.id}_files/${level}/${x}_${y}.jpeg${shown ? `?plane=${shown}` : ""}`;
  return { width: facts.width, height: facts.height, tileSize: 512, tileOverlap: 0, minLevel: Math.min(8, maxLevel), maxLevel, getTileUrl };
}

/** Turn to another plane of a volume where one stands; the old one stays until the new one is there. */
export function showPlane(wanted) {
  plane = wanted;
  if (viewer && !loading) turn();
}

function turn() {
  const [opened, turning] = [slide, plane];
  loading = true;
  const settle = () => {
    if (opened !== slide || !loading) return;
    loading = false;
    while (viewer.world.getItemCount() > 1) viewer.world.removeItem(viewer.world.getItemAt(0));
    redraw();
    if (plane !== turning) turn();
  };
  viewer.addTiledImage({
    tileSource: tileSource(slide, turning),
    success: ({ item }) => {
      // A plane that cannot be read never comes: it is shown as nothing.
      setTimeout(settle, PATIENCE);
      if (item.getFullyLoaded()) settle();
      else item.addOnceHandler("fully-loaded-change", settle);
    },
    error: settle,
  });
}

/** Where level 0 lies on the screen: its corner, and screen pixels per pixel of level 0 across and down. */
function frame() {
  const item = viewer.world.getItemAt(0);
  const corner = item.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(0, 0));
  const far = item.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(slide.width, slide.height));
  const [columns, rows] = extent(slide);
  return { x: corner.x, y: corner.y, zoom: [(far.x - corner.x) / columns, (far.y - corner.y) / rows], right: far.x, bottom: far.y };
}

/** Columns and rows of level 0; voxels that are no squares are shown stretched. */
export const extent = (facts) => (facts.volume ? facts.volume.voxels : [facts.width, facts.height]);

/** Draw the layers anew on a clear canvas, where they lie now. */
export function redraw() {
  const canvas = at("overlay");
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!slide || !viewer?.world.getItemCount()) return;
  const place = frame();
  context.save(); // a clip is kept, and the next one would be cut by it
  context.beginPath();
  context.rect(place.x, place.y, place.right - place.x, place.bottom - place.y);
  context.clip();
  for (const [layer, opacity] of layers()) layer.paint(context, place, opacity);
  context.restore();
  showRuler(place.zoom[0]);
}

/** A bar of 1, 2 or 5 times a power of ten, as long as fits; none where the scale is not known. */
function showRuler(zoom) {
  // Along the bar, which lies: pixels need not be square.
  const spacing = slide.volume ? 1000 * slide.volume.spacing_mm[0] : (given ?? slide.pixel_um?.[0]);
  at("ruler").hidden = !spacing;
  if (!spacing) return;
  const most = (RULER * spacing) / zoom;
  const ten = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].find((times) => times * ten <= most) * ten;
  at("ruler").style.width = `${(length * zoom) / spacing}px`;
  at("ruler").textContent = length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(1))} µm`;
}

/** The place of level 0 under a place of the view. */
export function toLevel(x, y) {
  const place = frame();
  return [(x - place.x) / place.zoom[0], (y - place.y) / place.zoom[1]];
}

/** The corners of what is seen, on level 0. */
export function viewBox() {
  const [width, height] = [at("viewer").clientWidth, at("viewer").clientHeight];
  return [[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) => toLevel(x, y));
}

/** The middle of what is seen, and how much of level 0 it is across. */
export function viewCentre() {
  const [left, right] = [viewBox()[0], viewBox()[2]];
  return { x: (left[0] + right[0]) / 2, y: (left[1] + right[1]) / 2, width: right[0] - left[0] };
}

/** Look at a place of level 0, so much of it across. */
export function lookAt({ x, y, width }) {
  const item = viewer.world.getItemAt(0);
  const height = (width * at("viewer").clientHeight) / at("viewer").clientWidth;
  viewer.viewport.fitBounds(item.imageToViewportRectangle(x - width / 2, y - height / 2, width, height), true);
  redraw();
  tell();
}

/** What is seen now, the slide and its layers, on one canvas; and how many of its pixels are one of the screen. */
export function picture() {
  redraw();
  const [below, above] = [document.querySelector(".openseadragon-canvas canvas"), at("overlay")];
  const canvas = Object.assign(document.createElement("canvas"), { width: above.width, height: above.height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.filter = document.querySelector(".view.pale") ? "grayscale(1) opacity(.55)" : "none";
  context.drawImage(below, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  context.drawImage(above, 0, 0);
  return { canvas, ratio: above.width / above.clientWidth };
}

/** Tell the place that is pointed at, or the middle of the view for those who use the keyboard. */
export function tell() {
  if (!slide || !viewer?.world.getItemCount()) return;
  const middle = () => viewer.viewport.viewportToViewerElementCoordinates(viewer.viewport.getCenter());
  const there = viewer.world.getItemAt(0).viewerElementToImageCoordinates(pointer ?? middle());
  const [columns, rows] = extent(slide);
  onPlace((there.x * columns) / slide.width, (there.y * rows) / slide.height, Boolean(pointer));
}
