// What lies over a slide: the classes of its tiles and its heatmaps, drawn from numbers, so that a place can be asked.

import { isolated, rgb } from "./dom.js";
import { raster } from "./heat.js";
import { extent } from "./viewer.js";

const UNREADABLE = [70, 70, 78];
const UNDECIDED = [206, 208, 212];
const LONGEST = 4096;
const FULL = 32767;
const NOTHING = -32768;

/** Numbers that were sent as base64. */
export function unpacked(text, Kind) {
  const binary = atob(text);
  const content = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) content[i] = binary.charCodeAt(i);
  return new Kind(content.buffer);
}

/** Tiles with their classes, as a picture with one cell for each and as a table to look places up in. */
export class ClassLayer {
  constructor(told, slide) {
    this.classes = told.classes;
    this.boxes = unpacked(told.boxes, Int32Array);
    this.winners = unpacked(told.winners, Int16Array);
    this.called = unpacked(told.called, Uint8Array);
    this.failed = unpacked(told.failed, Uint8Array);
    this.probabilities = unpacked(told.probabilities, Float32Array);
    this.disagreement = told.disagreement ? unpacked(told.disagreement, Float32Array) : null;
    this.count = told.tiles;
    this.planes = unpacked(told.planes, Int32Array);
    this.volume = told.volume;
    this.extent = extent(slide);
    this.step = [this.#step(0), this.#step(1)];
    this.hidden = new Set();
    this.least = 0;
    this.turn(0);
  }

  /** Show the tiles alone that are of no hidden class, and whose class has at least so large a value. */
  filter(hidden, least) {
    [this.hidden, this.least] = [hidden, least];
    this.turn(this.plane);
  }

  #passes(i) {
    const winner = this.winners[i];
    if (winner < 0 || this.failed[i]) return this.least === 0;
    return !this.hidden.has(winner) && this.probabilities[i * this.classes.length + winner] >= this.least;
  }

  /** The distance from one tile to the next, or a tile's edge where there is one only. */
  #step(axis) {
    const places = new Set();
    for (let i = 0; i < this.count; i += 1) places.add(this.boxes[4 * i + axis]);
    const sorted = [...places].sort((a, b) => a - b);
    let step = this.count ? this.boxes[2 + axis] : 1;
    for (let i = 1; i < sorted.length; i += 1) step = Math.min(step, sorted[i] - sorted[i - 1]);
    return step;
  }

  #centre(i) {
    return [this.boxes[4 * i] + this.boxes[4 * i + 2] / 2, this.boxes[4 * i + 1] + this.boxes[4 * i + 3] / 2];
  }

  #key([x, y]) {
    const origin = this.origin;
    return `${Math.round((x - origin[0]) / this.step[0])} ${Math.round((y - origin[1]) / this.step[1])}`;
  }

  /** Show the tiles on a plane of a volume; a slide has plane 0 alone. */
  turn(plane) {
    this.plane = plane;
    this.origin = this.count ? this.#centre(0) : [0, 0];
    this.places = new Map();
    const cells = Math.max(this.extent[0] / this.step[0], this.extent[1] / this.step[1]);
    const cell = Math.max(1, Math.min(8, Math.floor(LONGEST / cells)));
    this.scale = [cell / this.step[0], cell / this.step[1]];
    const [width, height] = [this.extent[0] * this.scale[0], this.extent[1] * this.scale[1]].map(Math.ceil);
    this.canvas = Object.assign(document.createElement("canvas"), { width: Math.max(1, width), height: Math.max(1, height) });
    const context = this.canvas.getContext("2d");
    for (let i = 0; i < this.count; i += 1) {
      if (this.planes[i] !== plane) continue;
      const centre = this.#centre(i);
      this.places.set(this.#key(centre), i);
      if (!this.#passes(i)) continue;
      context.fillStyle = rgb(this.#colour(i));
      const left = Math.round(centre[0] * this.scale[0] - cell / 2);
      context.fillRect(left, Math.round(centre[1] * this.scale[1] - cell / 2), cell, cell);
    }
  }

  #colour(i) {
    if (this.failed[i]) return UNREADABLE;
    return this.winners[i] < 0 ? UNDECIDED : this.classes[this.winners[i]].color;
  }

  paint(context, frame, opacity) {
    context.imageSmoothingEnabled = false;
    context.globalAlpha = opacity;
    context.drawImage(this.canvas, frame.x, frame.y, (this.canvas.width / this.scale[0]) * frame.zoom[0], (this.canvas.height / this.scale[1]) * frame.zoom[1]);
  }

  /** How many tiles are called each class, with at least so large a value; one that is called several counts for each. */
  counts(least = 0) {
    const counts = this.classes.map(() => 0);
    for (let i = 0; i < this.called.length; i += 1) {
      if (this.called[i] && this.probabilities[i] >= least) counts[i % counts.length] += 1;
    }
    return counts;
  }

  /** The largest probability of a class on each of so many planes; null where nothing was classified. */
  along(planes, index) {
    const shares = Array(planes).fill(null);
    for (let i = 0; i < this.count; i += 1) {
      if (this.failed[i]) continue;
      const share = this.probabilities[i * this.classes.length + index];
      shares[this.planes[i]] = Math.max(share, shares[this.planes[i]] ?? 0);
    }
    return shares;
  }

  /** The probabilities of the tile whose cell a place of level 0 lies in, as words; nothing where there is none. */
  at(x, y) {
    const i = this.places.get(this.#key([x, y]));
    if (i === undefined) return "";
    if (this.failed[i]) return "tile could not be read";
    const row = this.probabilities.subarray(i * this.classes.length, (i + 1) * this.classes.length);
    const order = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 4);
    const words = order.map((k) => `${isolated(this.classes[k].name)} ${row[k].toFixed(3)}`);
    if (this.disagreement) words.push(`members' disagreement ${this.disagreement[i].toFixed(3)} of 1`);
    return words.join(" · ");
  }
}

/** One class of one heatmap. */
export class HeatLayer {
  constructor(told, buffer, name, plane) {
    this.plane = plane;
    const stored = new Int16Array(buffer);
    this.values = Float32Array.from(stored, (value) => (value === NOTHING ? NaN : value / FULL));
    Object.assign(this, { width: told.width, height: told.height, pitch: told.pitch, signed: told.signed, name });
    this.title = told.title;
    this.canvas = raster(this.values, told.width, told.height, told.signed);
  }

  paint(context, frame, opacity) {
    context.imageSmoothingEnabled = true;
    context.globalAlpha = opacity;
    const [across, down] = frame.zoom.map((zoom) => zoom * this.pitch);
    context.drawImage(this.canvas, frame.x, frame.y, this.width * across, this.height * down);
  }

  at(x, y) {
    const [column, row] = [Math.floor(x / this.pitch), Math.floor(y / this.pitch)];
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return "";
    const value = this.values[row * this.width + column];
    return Number.isNaN(value) ? "" : `${this.title} of ${isolated(this.name)} ${value.toFixed(3)}`;
  }
}
