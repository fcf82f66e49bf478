// What is classified: the whole slide, what is seen of it now, or an area that is drawn on it.

import { announce, at } from "./dom.js";
import { shown } from "./shown.js";
import { redraw, toLevel, viewBox } from "./viewer.js";

const FEWEST = 3; // places of a ring
let ring = []; // of level 0
let going = false;

export function listenToRegion() {
  at("region").addEventListener("change", choose);
  const pad = at("pad");
  pad.addEventListener("pointerdown", (event) => {
    if (pad.dataset.does) return; // somebody else chooses a place
    pad.setPointerCapture(event.pointerId);
    [ring, going] = [[place(event)], true];
  });
  pad.addEventListener("pointermove", (event) => {
    if (!going) return;
    ring.push(place(event));
    redraw();
  });
  pad.addEventListener("pointerup", end);
  pad.addEventListener("keydown", (event) => { if (event.key === "Escape" && !pad.dataset.does) forgetRegion(); });
}

const place = (event) => toLevel(event.offsetX, event.offsetY);

function choose() {
  const drawn = at("region").value === "drawn";
  ring = [];
  at("pad").hidden = !drawn;
  if (drawn) {
    at("region-words").textContent = "Draw round an area on the slide.";
    at("pad").focus();
  } else at("region-words").textContent = "";
  redraw();
}

function end() {
  if (!going) return undefined;
  going = false;
  at("pad").hidden = true;
  if (ring.length < FEWEST) return forgetRegion();
  at("region-words").textContent = "The drawn area will be classified.";
  announce(at("region-words").textContent);
  at("start").focus();
  return redraw();
}

/** Classify all of a slide again. */
export function forgetRegion() {
  [ring, going] = [[], false];
  at("region").value = "whole";
  at("region-words").textContent = "";
  at("pad").hidden = true;
  redraw();
}

/** Return what is to be classified as GeoJSON on the whole slide; null for all of it, undefined where nothing is drawn. */
export function chosenRegion() {
  const kind = at("region").value;
  if (kind === "whole" || !shown.slide) return null;
  const area = kind === "view" ? viewBox() : ring;
  if (area.length < FEWEST) {
    at("region-words").textContent = "Nothing is drawn: draw round an area, or choose the whole slide.";
    return undefined;
  }
  const { width, height } = shown.slide;
  const inside = area.map(([x, y]) => [Math.min(width, Math.max(0, Math.round(x))), Math.min(height, Math.max(0, Math.round(y)))]);
  const geometry = { type: "Polygon", coordinates: [[...inside, inside[0]]] };
  // On what it was drawn: not on a slide that is cropped to its scanned bounds.
  return { type: "FeatureCollection", slidecam: { image: { size_px: [width, height] } }, features: [{ type: "Feature", properties: {}, geometry }] };
}

/** The drawn area as a layer. */
export const regionLayer = {
  paint(context, frame) {
    if (ring.length < 2) return;
    context.globalAlpha = 1;
    context.lineWidth = 2.5;
    context.strokeStyle = "#111";
    context.beginPath();
    ring.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](frame.x + x * frame.zoom[0], frame.y + y * frame.zoom[1]));
    if (!going) context.closePath();
    context.stroke();
    context.lineWidth = 1;
    context.strokeStyle = "#fff";
    context.stroke();
  },
};

