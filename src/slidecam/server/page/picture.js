// One picture: its class, its confidence, and where the classifier looks, by two methods side by side.

import { Refusal, send } from "./api.js";
import { announce, at, make, percent, rgb, showProblem } from "./dom.js";
import { enlarged, paintScale, raster } from "./heat.js";

const WIDE = 640;
const HIGH = 960;
const MOST_BARS = 24;
let status;
let current = null; // {answer, bitmap, chosen, maps by method}
let asking = null;
let last = null; // {file, by}: what was looked at last, and what chooses another picture of it
let round = 0;
const seen = []; // {name, answer, bitmap}, the newest first
const REMEMBERED = 40;

export function openPictures(told) {
  status = told;
  at("drop").classList.add("empty");
  at("file").addEventListener("change", (event) => takeAll([...event.target.files]));
  at("history-save").addEventListener("click", saveHistory);
  at("page-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (at("which").value) take(last.file, `&${last.by}=${at("which").value}`);
  });
  at("picture-opacity").addEventListener("input", () => {
    at("picture-opacity-told").textContent = `${at("picture-opacity").value} %`;
    draw();
  });
  for (const kind of ["dragover", "dragleave", "drop"]) at("drop").addEventListener(kind, dragged);
  document.addEventListener("paste", (event) => {
    if (!at("picture").hidden) takeAll([...event.clipboardData.files]);
  });
  paintScale(at("picture-scale"), false);
}

function dragged(event) {
  event.preventDefault();
  at("drop").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") takeAll([...event.dataTransfer.files]);
}

/** Take pictures one after the other; those that are chosen later take their place. */
async function takeAll(files) {
  round += 1;
  const mine = round;
  for (const file of files) {
    if (mine === round) await take(file);
  }
}

async function take(file, which = "") {
  if (!file) return;
  const name = which ? `${file.name}, ${which.slice(1).replace("=", " ")}` : file.name;
  asking?.abort();
  if (!which) offer(file, []);
  asking = new AbortController();
  const { signal } = asking;
  showProblem(at("picture-error"), null);
  at("file").value = "";
  announce(`Looking at ${name}`);
  at("picture-result").setAttribute("aria-busy", "true");
  try {
    if (!file.size) throw new Refusal(400, "it is empty.", "Choose another file.");
    if (file.size > status.limits.body_bytes) {
      const most = Math.round(status.limits.body_bytes / 1e6);
      throw new Refusal(413, `it is larger than ${most} MB.`, "Open it as a slide, or choose a smaller one.");
    }
    // The cheap method answers at once; the costly one comes after it.
    const [first, ...costlier] = status.methods.pictures;
    const answer = await ask(file, `${encodeURIComponent(first ?? "none")}&shown=${HIGH}${which}`, signal);
    offer(file, answer.choices);
    const bitmap = await bitmapOf(answer);
    if (signal.aborted) return;
    show(name, answer, bitmap, costlier);
    remember(name, answer, bitmap);
    for (const method of costlier) current.answer.maps.push(...(await ask(file, encodeURIComponent(method) + which, signal)).maps);
    showMaps([]);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.choices?.length) offer(file, error.choices);
    if (!current || at("picture-result").getAttribute("aria-busy") === "true") at("picture-result").hidden = true;
    at("drop").classList.toggle("empty", at("picture-result").hidden);
    error.message = `${name}: ${error.message}`;
    if (error.status === 415) error.remedy += " Whole slides and volumes are opened under “Slide”.";
    showProblem(at("picture-error"), error);
  } finally {
    if (!signal.aborted) at("picture-result").setAttribute("aria-busy", "false");
  }
}

/** Of a file of several pictures or planes, let another one be chosen. */
function offer(file, [by]) {
  last = { file, by };
  if (!by) at("which").value = "";
  at("page-form").hidden = !by;
}

const ask = (file, methods, signal) => send(`/v1/image?methods=${methods}`, file, { signal });

/** The picture as the classifier saw it, on a canvas that a screen holds. */
async function bitmapOf(answer) {
  const image = Object.assign(new Image(), { src: answer.shown });
  await image.decode();
  const zoom = Math.min(WIDE / answer.size[0], HIGH / answer.size[1]);
  const [width, height] = answer.size.map((side) => Math.max(2, Math.round(side * zoom)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return canvas;
}

function show(name, answer, bitmap, waiting) {
  const winner = answer.classes.find((one) => one.name === answer.foremost);
  const scores = answer.probabilities === "no probabilities";
  const share = (one) => (scores ? one.logit.toFixed(3) : percent(one.probability));
  current = { answer, bitmap, chosen: winner.name };
  at("picture-result").hidden = false;
  at("drop").classList.remove("empty");
  at("picture-name").textContent = name;
  at("predicted").textContent = answer.caption;
  const members = answer.disagreement ?? null;
  const apart = members === null ? "" : ` Members' disagreement: ${members.toFixed(2)} (0 to 1).`;
  at("calibration").textContent = scores ? `Values are scores, ${answer.probabilities}.` : `Probabilities: ${answer.probabilities}.${apart}`;
  const order = [...answer.classes].sort((a, b) => b.probability - a.probability).slice(0, MOST_BARS);
  const more = answer.classes.length - order.length;
  const notes = more ? [...answer.notes, `The ${more} least likely of ${answer.classes.length} classes are not listed here.`] : answer.notes;
  at("picture-notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  at("bars").replaceChildren(...order.map((one) => bar(one, share(one), scores)));
  choose(winner.name);
  showMaps(waiting);
  announce(`${name}: ${at("predicted").textContent}. ${order.map((one) => `${one.name} ${share(one)}`).join(", ")}`);
}

function bar(one, share, scores) {
  const filled = make("span", { style: `width: ${scores ? 0 : 100 * one.probability}%; background: ${rgb(one.color)}` });
  const button = make(
    "button",
    { type: "button", onclick: () => choose(one.name), onkeydown: rove },
    make("span", { className: "name" }, one.name),
    make("span", { className: "share" }, share),
    make("span", { className: "track" }, filled),
  );
  button.setAttribute("role", "radio");
  button.dataset.name = one.name;
  return button;
}

function rove(event) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...at("bars").children];
  const next = all[(all.indexOf(event.currentTarget) + step + all.length) % all.length];
  next.focus();
  choose(next.dataset.name);
}

function choose(name) {
  current.chosen = name;
  for (const button of at("bars").children) {
    button.setAttribute("aria-checked", String(button.dataset.name === name));
    button.tabIndex = button.dataset.name === name ? 0 : -1;
  }
  showNeighbours();
  draw();
}

function showMaps(waiting) {
  const figures = current.answer.maps.map((map) => figure(map));
  const titles = waiting.map((name) => make("figure", {}, make("figcaption", {}, status.methods.titles[name]), hourglass()));
  at("maps").replaceChildren(...figures, ...titles);
  if (!figures.length && !waiting.length) at("maps").replaceChildren(plainFigure());
  at("picture").querySelector(".controls").hidden = !figures.length;
  draw();
}

const hourglass = () => make("div", { className: "waiting" }, "Looking closer…");

function plainFigure() {
  current.bitmap.setAttribute("role", "img");
  current.bitmap.setAttribute("aria-label", "The picture");
  return make("figure", {}, make("figcaption", {}, "This model has no heatmap"), current.bitmap);
}

function figure(map) {
  const canvas = Object.assign(document.createElement("canvas"), { width: current.bitmap.width, height: current.bitmap.height });
  canvas.setAttribute("role", "img");
  map.canvas = canvas;
  const flat = map.values.flat(2);
  map.largest = flat.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  map.told = make("span", {}, "");
  canvas.addEventListener("pointermove", (event) => tellValue(map, event));
  canvas.addEventListener("pointerleave", () => { map.told.textContent = cost(map); });
  map.told.textContent = cost(map);
  return make("figure", {}, make("figcaption", { title: map.shows }, map.title, map.told), canvas);
}

const cost = (map) => `${map.facts.approximate ? "approximate, " : ""}${map.passes} pass${map.passes === 1 ? "" : "es"}`;

function tellValue(map, event) {
  const rows = map.values[map.classes.indexOf(current.chosen)];
  if (!rows) return;
  const box = map.canvas.getBoundingClientRect();
  const place = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  const row = rows[place((event.clientY - box.top) / box.height, rows.length)];
  const value = row[place((event.clientX - box.left) / box.width, row.length)];
  map.told.textContent = `${(value / (map.largest || 1)).toFixed(3)} (raw ${value.toPrecision(3)})`;
}

function draw() {
  if (!current) return;
  const opacity = at("picture-opacity").value / 100;
  for (const map of current.answer.maps) {
    if (!map.canvas) continue;
    const context = map.canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(current.bitmap, 0, 0);
    const rows = map.values[map.classes.indexOf(current.chosen)];
    map.canvas.setAttribute("aria-label", `${map.title} of ${current.chosen}, laid over the picture`);
    if (!rows) continue;
    const [width, height] = [map.canvas.width >> 1, map.canvas.height >> 1];
    const shares = enlarged(rows, width, height).map((value) => value / (map.largest || 1));
    context.globalAlpha = opacity;
    context.drawImage(raster(shares, width, height, map.signed), 0, 0, map.canvas.width, map.canvas.height);
  }
}

function showNeighbours() {
  const told = current.answer.neighbours;
  at("neighbours").hidden = !told;
  if (!told) return;
  const account = told.accounts.find((one) => one.class === current.chosen) ?? told.accounts[0];
  const colours = Object.fromEntries(current.answer.classes.map((one) => [one.name, rgb(one.color)]));
  const items = account.neighbours.map((one) => {
    const facts = `likeness ${one.similarity.toFixed(3)}, adds ${signedNumber(one.contribution)}`;
    const name = one.name || `training cell ${one.index}`;
    const shown = told.pictures[one.index];
    const picture = shown ? [make("img", { src: shown, alt: `training cell ${name}`, width: 64, height: 64 })] : [];
    return make("li", { style: `border-left-color: ${colours[one.class]}` }, ...picture, make("b", {}, one.class), name, make("br"), facts);
  });
  const terms = `logit of ${account.class} ${signedNumber(account.logit)} = own picture ${signedNumber(account["own picture"])}, ` +
    `bias ${signedNumber(account.bias)}, and what each neighbour adds`;
  at("neighbours").replaceChildren(
    make("h2", {}, `The ${items.length} training cells most like this one`),
    make("p", { className: "muted small" }, Object.keys(told.pictures).length ? `${terms}.` : `${terms}. The bundle holds no pictures of them.`),
    make("ol", {}, ...items),
    make("p", { className: "muted small" }, told.explained),
  );
}

const signedNumber = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** Keep a picture in the list of those that were seen. */
function remember(name, answer, bitmap) {
  seen.unshift({ name, answer, bitmap });
  seen.splice(REMEMBERED);
  at("history").hidden = seen.length < 2;
  at("history-entries").replaceChildren(...seen.map((one) => {
    const best = one.answer.classes.find((each) => each.name === one.answer.foremost);
    const value = one.answer.probabilities === "no probabilities" ? best.logit.toFixed(2) : percent(best.probability);
    const small = make("canvas", { width: 44, height: 44 });
    small.setAttribute("aria-hidden", "true");
    small.getContext("2d").drawImage(one.bitmap, 0, 0, 44, 44);
    const words = make("span", {}, make("bdi", {}, one.name), make("br"), make("span", { className: "muted" }, `${one.answer.caption} · ${value}`));
    return make("li", {}, make("button", { type: "button", onclick: () => show(one.name, one.answer, one.bitmap, []) }, small, words));
  }));
}

const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Save what was said of all pictures as a table: a row each, a column for each class's value. */
function saveHistory() {
  const names = [...new Set(seen.flatMap((one) => one.answer.classes.map((each) => each.name)))];
  const rows = [["picture", "model", "called", ...names]];
  for (const one of [...seen].reverse()) {
    const values = Object.fromEntries(one.answer.classes.map((each) => [each.name, each.probability]));
    rows.push([one.name, one.answer.model, one.answer.called_classes.join(" + "), ...names.map((name) => values[name]?.toPrecision(6) ?? "")]);
  }
  const text = rows.map((row) => row.map(cell).join(",")).join("\n");
  const href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href, download: "pictures.csv" }).click();
  URL.revokeObjectURL(href);
}
