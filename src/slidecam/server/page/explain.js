// One place of a slide, or the slice that is shown, explained by several methods, with how far to trust each map.

import { get } from "./api.js";
import { announce, at, isolated, make, showProblem } from "./dom.js";
import { enlarged, raster } from "./heat.js";
import { currentPlane, isVolume } from "./planes.js";
import { shown } from "./shown.js";
import { givenSpacing } from "./spacing.js";
import { toLevel } from "./viewer.js";

const OPACITY = 0.75;
let asking = new AbortController();
let answer = null;
let tile = null;

export function listenToExplaining() {
  at("explain").addEventListener("click", begin);
  at("pad").addEventListener("click", (event) => { if (isOurs()) ask(toLevel(event.offsetX, event.offsetY)); });
  at("pad").addEventListener("keydown", (event) => {
    if (!isOurs()) return;
    if (event.key === "Enter") ask(toLevel(at("pad").clientWidth / 2, at("pad").clientHeight / 2));
    if (event.key === "Escape") end();
  });
  at("explained-close").addEventListener("click", forgetPlace);
  at("explained-class").addEventListener("change", draw);
}

const isOurs = () => at("pad").dataset.does === "explain";

function begin() {
  if (isVolume()) return ask(null);
  at("pad").dataset.does = "explain";
  at("pad").hidden = false;
  at("pad").focus();
  return announce("Choose a place on the slide; Enter takes the middle.");
}

function end() {
  delete at("pad").dataset.does;
  at("pad").hidden = true;
  at("explain").focus();
}

/** Leave nothing of a place that was explained. */
export function forgetPlace() {
  asking.abort();
  [answer, tile] = [null, null];
  at("explained").hidden = true;
}

async function ask(place) {
  if (place) end();
  forgetPlace();
  asking = new AbortController();
  const { signal } = asking;
  const query = new URLSearchParams({ path: shown.slide.path });
  if (place) {
    query.set("x", Math.round(place[0]));
    query.set("y", Math.round(place[1]));
    if (givenSpacing()) query.set("mpp", givenSpacing());
  } else query.set("plane", currentPlane());
  if (shown.slide.images.length > 1) query.set("image", shown.slide.images.find((one) => one.shown).number);
  at("explained").hidden = false;
  at("explained-title").textContent = place ? "This place…" : "This slice…";
  at("explained-words").textContent = "Explaining it by several methods: some seconds.";
  at("explained-maps").replaceChildren();
  try {
    answer = await get(`/v1/explain?${query}`, { signal });
    tile = Object.assign(new Image(), { src: answer.shown });
    await tile.decode();
    if (!signal.aborted) show();
  } catch (error) {
    if (signal.aborted) return;
    forgetPlace();
    showProblem(at("slide-error"), error);
  }
}

function show() {
  at("explained-title").textContent = answer.name;
  const order = [...answer.classes].sort((a, b) => b.probability - a.probability).slice(0, 4);
  const said = order.map((one) => `${isolated(one.name)} ${one.probability.toFixed(3)}`).join(", ");
  at("explained-words").textContent = `${answer.caption}. ${said}.`;
  const names = answer.maps[0]?.classes ?? [];
  at("explained-class").replaceChildren(...names.map((name) => make("option", { value: name, selected: name === answer.foremost }, name)));
  draw();
  announce(`${answer.name}: ${at("explained-words").textContent}`);
}

function draw() {
  const name = at("explained-class").value;
  const figures = answer.maps.map((map) => figure(map, name));
  const plain = make("canvas", { width: tile.naturalWidth, height: tile.naturalHeight, ariaLabel: "The tile as the classifier sees it" });
  plain.getContext("2d").drawImage(tile, 0, 0);
  at("explained-maps").replaceChildren(make("figure", {}, plain, make("figcaption", {}, "Tile")), ...figures);
}

function figure(map, name) {
  const rows = map.values[map.classes.indexOf(name)];
  const largest = Math.max(...map.values.flat(2).map(Math.abs)) || 1;
  const canvas = make("canvas", { width: tile.naturalWidth, height: tile.naturalHeight, ariaLabel: `${map.title} of ${name}` });
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(tile, 0, 0);
  context.filter = "none";
  context.globalAlpha = OPACITY;
  const shares = enlarged(rows, canvas.width, canvas.height).map((value) => value / largest);
  context.drawImage(raster(shares, canvas.width, canvas.height, map.signed), 0, 0);
  const trust = name === answer.foremost ? answer.faithfulness[map.method] : null;
  const words = trust ? `deletion ${trust.deletion.toFixed(2)}, insertion ${trust.insertion.toFixed(2)}` : "";
  return make("figure", {}, canvas, make("figcaption", {}, make("strong", {}, map.title), make("br"), make("span", { className: "muted" }, words)));
}
