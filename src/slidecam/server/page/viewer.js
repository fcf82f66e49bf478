// The slide itself: OpenSeadragon over tiles that the server cuts, and a canvas above it for the layers.

import { headers } from "./api.js";
import { at } from "./dom.js";

const SCRIPT = "/page/openseadragon/openseadragon.min.js";
let viewer = null;
let slide = null;
let pointer = null;
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
export async function openSlide(facts, visible, told) {
  await load();
  [slide, layers, onPlace] = [facts, visible, told];
  viewer ??= make();
  await new Promise((done, failed) => {
    viewer.addOnceHandler("open", done);
    viewer.addOnceHandler("open-failed", (event) => failed(new Error(event.message)));
    viewer.open(tileSource(facts));
  });
  at("tools").hidden = false;
  at("blank").textContent = "Reading the slide…";
  at("blank").hidden = false;
  viewer.addOnceHandler("tile-drawn", () => { at("blank").hidden = true; });
  redraw();
}

function make() {
  const made = window.OpenSeadragon({
    element: at("viewer"),
    drawer: "canvas",
    showNavigationControl: false,
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

function tileSource(facts) {
  const maxLevel = Math.ceil(Math.log2(Math.max(facts.width, facts.height, 1)));
  const getTileUrl = (level, x, y) => `/v1/slides/${facts.id}_files/${level}/${x}_${y}.jpeg`;
  return { width: facts.width, height: facts.height, tileSize: 512, tileOverlap: 0, minLevel: Math.min(8, maxLevel), maxLevel, getTileUrl };
}

/** Where level 0 lies on the screen: its corner, and screen pixels per pixel of level 0. */
function frame() {
  const corner = viewer.viewport.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(0, 0));
  const far = viewer.viewport.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(slide.width, 0));
  return { x: corner.x, y: corner.y, zoom: (far.x - corner.x) / slide.width };
}

export function redraw() {
  if (!viewer?.world.getItemCount()) return;
  const canvas = at("overlay");
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const place = frame();
  for (const [layer, opacity] of layers()) layer.paint(context, place, opacity);
}

/** Tell the place that is pointed at, or the middle of the view for those who use the keyboard. */
export function tell() {
  if (!viewer?.world.getItemCount()) return;
  const at0 = pointer
    ? viewer.viewport.viewerElementToImageCoordinates(pointer)
    : viewer.viewport.viewportToImageCoordinates(viewer.viewport.getCenter());
  onPlace(at0.x, at0.y, Boolean(pointer));
}
