// What is seen, taken along: a picture with its scale bar and legend, and a link to the place.

import { hasOutlines, isFlipped, otherRun } from "./compare.js";
import { announce, at, rgb, showProblem } from "./dom.js";
import { shown } from "./shown.js";
import { lookAt, picture, viewCentre } from "./viewer.js";

const MARGIN = 14;
const LINE = 20;
const FONT = "14px system-ui, sans-serif";
const LINKED = ["slide", "x", "y", "width"];

export function listenToSaving() {
  at("save-picture").addEventListener("click", save);
  at("copy-link").addEventListener("click", copyLink);
  at("full-screen").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.querySelector(".view").requestFullscreen();
  });
  document.addEventListener("fullscreenchange", () => {
    at("full-screen").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement)));
  });
}

/** Lines that say what the picture shows: the slide, the layers that are on, and by what. */
function legend() {
  const { classes, heat, slide, job } = shown;
  const lines = [{ text: slide.name }];
  if (job) lines.push({ text: isFlipped() ? `classified in another run: ${otherRun()}` : `classified by ${job.model}` });
  if (classes && at("show-classes").checked) {
    classes.classes.forEach((one, i) => { if (!classes.hidden.has(i)) lines.push({ text: one.name, color: rgb(one.color) }); });
    if (classes.least) lines.push({ text: `from ${classes.least.toFixed(2)}` });
  }
  if (hasOutlines()) lines.push({ text: isFlipped() ? "outlined: of another class in the run that is shown" : `outlined: of another class in ${otherRun()}` });
  if (heat && at("show-heat").checked && !isFlipped()) lines.push({ text: `${heat.title} of ${heat.name}` });
  lines.push({ text: "Research use only" });
  return lines;
}

function save() {
  const seen = picture();
  const lines = legend();
  const [ratio, bar] = [seen.ratio, !at("ruler").hidden];
  const height = seen.canvas.height / ratio + 2 * MARGIN + LINE * (lines.length + Number(bar));
  const canvas = Object.assign(document.createElement("canvas"), { width: seen.canvas.width, height: Math.ceil(height * ratio) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(seen.canvas, 0, 0);
  context.scale(ratio, ratio);
  context.font = FONT;
  context.fillStyle = "#111";
  let y = seen.canvas.height / ratio + MARGIN + LINE / 2;
  if (bar) {
    context.fillRect(MARGIN, y - 3, at("ruler").getBoundingClientRect().width, 4);
    context.fillText(at("ruler").textContent, MARGIN + at("ruler").getBoundingClientRect().width + 10, y + 4);
    y += LINE;
  }
  for (const { text, color } of lines) {
    if (color) {
      context.fillStyle = color;
      context.fillRect(MARGIN, y - 7, 12, 12);
    }
    context.fillStyle = "#111";
    context.fillText(text, MARGIN + (color ? 20 : 0), y + 4);
    y += LINE;
  }
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${shown.slide.name}.png` });
    link.click();
    URL.revokeObjectURL(link.href);
    announce(`${link.download} is saved.`);
  });
}

/** Put a link to this place of this slide on the clipboard; it holds no key, and works where the page is open. */
async function copyLink() {
  const { x, y, width } = viewCentre();
  const told = new URLSearchParams({ slide: shown.slide.path, x: Math.round(x), y: Math.round(y), width: Math.round(width) });
  const link = `${location.origin}/#${told}`;
  try {
    await navigator.clipboard.writeText(link);
    at("said").textContent = "The link is copied. It works in a browser in which this page is open.";
  } catch {
    showProblem(at("slide-error"), { message: "The browser does not let this page copy.", remedy: link });
  }
}

/** What a link leads to: a slide's path and the place; null where it leads to none. */
export function linkedPlace(told) {
  if (!told.get("slide")) return null;
  const [path, ...numbers] = LINKED.map((name) => told.get(name));
  const [x, y, width] = numbers.map(Number);
  return { path, place: numbers.every(Boolean) ? { x, y, width } : null };
}

export const goTo = (place) => { if (place) lookAt(place); };
