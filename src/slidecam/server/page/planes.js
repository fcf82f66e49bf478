// The planes of a volume: which one is shown, where it lies, and what the classifier says along all of them.

import { at, isolated, memory, rgb } from "./dom.js";

const HUNG = {
  axial: "Axial, upwards. The patient's right is on the left.",
  coronal: "Coronal, backwards. The patient's right is on the left.",
  sagittal: "Sagittal, to the patient's left. The face is on the left.",
};

let volume = null; // as the server tells it; null where a slide is open
let plane = 0;
let turned = () => {};
let profile = null; // one {share, color} for each plane, or null where it was not classified

export function listenToPlanes(onTurn) {
  turned = onTurn;
  at("plane").addEventListener("input", () => turnTo(Number(at("plane").value)));
  at("profile").addEventListener("pointerdown", (event) => {
    const box = at("profile").getBoundingClientRect();
    turnTo(Math.floor(((event.clientX - box.left) / box.width) * volume.planes));
  });
  new ResizeObserver(draw).observe(at("profile"));
}

/** Take up the volume that was opened, or none; it begins in its middle, or where it stood before a reload. */
export function usePlanes(told, keep) {
  volume = told;
  profile = null;
  at("planes").hidden = !volume;
  document.querySelector(".view").classList.toggle("stacked", Boolean(volume));
  if (!volume) return;
  const before = keep ? memory.get("plane") : null;
  at("plane").max = volume.planes - 1;
  plane = Math.min(before ?? Math.floor(volume.planes / 2), volume.planes - 1);
  tellPlane();
}

export const currentPlane = () => (volume ? plane : 0);
export const isVolume = () => Boolean(volume);
export const hung = () => HUNG[volume.axis];

export function turnTo(wanted) {
  const next = Math.min(volume.planes - 1, Math.max(0, wanted));
  if (next === plane) return;
  plane = next;
  memory.set("plane", plane);
  tellPlane();
  turned(plane);
}

/** Show what the classifier says of one class along the planes. */
export function useProfile(layer, index) {
  if (!volume) return;
  const shares = layer.along(volume.planes, index);
  const color = rgb(layer.classes[index].color);
  profile = { name: layer.classes[index].name, shares, color };
  tellPlane();
}

/** The plane with the largest share of the profile's class. */
export function decisivePlane() {
  const known = profile.shares.map((share) => share ?? -1);
  return known.indexOf(Math.max(...known));
}

function tellPlane() {
  const share = profile?.shares[plane];
  const said = [`Slice ${plane + 1} of ${volume.planes}`, `${volume.positions_mm[plane].toFixed(1).replace("-", "−")} mm`];
  if (volume.missing.includes(plane)) said.push("not in the file");
  else if (profile) said.push(share === null ? "not classified" : `${isolated(profile.name)} ${share.toFixed(3)}`);
  at("plane").value = plane;
  at("plane").setAttribute("aria-valuetext", said.join(", "));
  at("plane-told").textContent = said.join(" · ");
  draw();
}

function draw() {
  const canvas = at("profile");
  canvas.hidden = !profile;
  if (!profile || !volume) return;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.scale(ratio, ratio);
  const step = width / volume.planes;
  context.fillStyle = style.getPropertyValue("--line");
  context.fillRect(0, height - 1, width, 1);
  context.fillRect(plane * step, 0, Math.max(2, step), height);
  context.fillStyle = profile.color;
  profile.shares.forEach((share, i) => {
    if (share === null) return;
    const tall = Math.max(1.5, share * (height - 2));
    context.fillRect(i * step + step * 0.1, height - tall, Math.max(1, step * 0.8), tall);
  });
}
