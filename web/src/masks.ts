// The label map (spec 4.3), the pixel mask (4.4), and the alpha of layers that are shown alone (9).

import { RangeDecoder, SYMBOLS } from "./coder.js";
import { CELL, type Header } from "./container.js";
import { ONE_IN_256 } from "./contexts.js";
import { FormatError } from "./errors.js";

const MAX_PLANE_CELLS = 2 ** 24;
const MAX_MASK_PIXELS = 2 ** 22;

/** A plane of bytes, in raster order. */
export interface Plane {
  data: Uint8Array;
  width: number;
  height: number;
}

/** The size of the grid of cells. */
export function gridOf(header: { width: number; height: number }): { w: number; h: number } {
  return { w: Math.ceil(header.width / CELL), h: Math.ceil(header.height / CELL) };
}

// --- the label map ----------------------------------------------------------------------------------------------------

// The counts 253, 1, 1, 1 of 256 as sums, in place of table row 0, which nothing else uses.
const MODES = Uint32Array.from({ length: SYMBOLS + 1 }, (_, k) => ([0, 253, 254, 255][k] ?? 256) * 2 ** 16);

/** Which layer owns each cell. */
export function labelMap(header: Header): Plane {
  const { w, h } = gridOf(header);
  const n = header.layers.length;
  const labels: Plane = { data: new Uint8Array(w * h), width: w, height: h };
  if (n === 1) return labels;
  const coder = new RangeDecoder(header.mask!, MODES);
  readMode(coder, labels, n);
  if (labels.data.some((label) => label >= n)) throw new FormatError("header: the label map is damaged");
  coder.finish();
  return labels;
}

function readMode(coder: RangeDecoder, labels: Plane, n: number): void {
  const { data, width: w, height: h } = labels;
  const mode = coder.symbol(0);
  if (mode === 0) readPlanes(coder, labels, n);
  else if (mode === 1) for (let cell = 0; cell < data.length; cell++) data[cell] = coder.number(n);
  else if (mode === 2) data.fill(coder.number(n));
  else {
    const [label, top, left, bottom, right] = [n, h, w, h, w].map((size) => coder.number(size));
    if (!label || top > bottom || left > right || bottom >= h || right >= w)
      throw new FormatError("header: the label map's rectangle is empty");
    for (let y = top; y <= bottom; y++) data.fill(label, y * w + left, y * w + right + 1);
  }
}

function readPlanes(coder: RangeDecoder, labels: Plane, n: number): void {
  if (labels.data.length * (n - 1) > MAX_PLANE_CELLS)
    throw new FormatError("header: the label map is too large to be coded in planes");
  for (let label = 1; label < n; label++) {
    const coded = labels.data.map((own) => (own ? 0 : label));
    walk(labels, coded, (context) => coder.bit(ONE_IN_256[context] << 16));
  }
}

/** Gives each place where `coded` has a label that label or 0, as read(context) says; in raster order. */
function walk(plane: Plane, coded: Uint8Array, read: (context: number) => number): void {
  const { width, height } = plane;
  const stride = width + 4; // two columns and two rows of zeros around
  const padded = new Uint8Array((height + 2) * stride);
  for (let y = 0; y < height; y++) padded.set(plane.data.subarray(y * width, (y + 1) * width), (y + 2) * stride + 2);
  const near = [2 * stride + 1, 2 * stride, 2 * stride - 1, stride + 2, stride + 1, stride, stride - 1, stride - 2, 2, 1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const label = coded[y * width + x];
      if (!label) continue;
      const at = (y + 2) * stride + x + 2;
      let context = 0;
      for (const back of near) context = 2 * context + (padded[at - back] === label ? 1 : 0);
      plane.data[y * width + x] = padded[at] = read(context) ? label : 0;
    }
}

// --- the pixel mask ---------------------------------------------------------------------------------------------------

const MIXED_IN_256 = [18, 61, 228]; // "mixed": deep inside a label, a corner to another one, a side to it

/** 1 where a pixel is part of the object that owns its cell. */
export function pixelMask(part: Uint8Array, labels: Plane, width: number, height: number): Plane {
  if (part[0] !== 0) throw new FormatError("pixel mask: it is coded in a way this reader does not know");
  const bits = new AdaptiveBits(new RangeDecoder(part.subarray(1)));
  const mixed = labels.data.map((label, cell) => (label ? bits.read(ONE_IN_256.length + surroundings(labels, cell)) : 0));
  const mask: Plane = { data: new Uint8Array(width * height), width, height };
  const coded = new Uint8Array(width * height);
  let pixels = 0;
  eachPixel(labels, mask, (pixel, cell) => {
    if (mixed[cell]) pixels++;
    (mixed[cell] ? coded : mask.data)[pixel] = labels.data[cell];
  });
  if (pixels > MAX_MASK_PIXELS) throw new FormatError("pixel mask: it has too many mixed cells");
  walk(mask, coded, (context) => bits.read(context));
  const holes = new Uint8Array(mixed.length);
  eachPixel(labels, mask, (pixel, cell) => (holes[cell] |= mask.data[pixel] ? 0 : 1));
  if (mixed.some((isMixed, cell) => isMixed && !holes[cell])) throw new FormatError("pixel mask: it is damaged");
  bits.coder.finish();
  return { ...mask, data: mask.data.map((label) => (label ? 1 : 0)) };
}

class AdaptiveBits {
  private readonly ones = Uint32Array.from([...ONE_IN_256, ...MIXED_IN_256]);
  private readonly seen = new Uint32Array(this.ones.length).fill(256);

  constructor(readonly coder: RangeDecoder) {}

  read(context: number): number {
    const seen = this.seen[context];
    const share = Math.floor((4096 * this.ones[context] + (seen >> 1)) / seen);
    const bit = this.coder.bit(Math.min(Math.max(share, 1), 4095) << 12);
    this.seen[context] += 32;
    this.ones[context] += 32 * bit;
    return bit;
  }
}

/** 2 where one of the four cells beside, above and below has another label, else 1 where one at a corner has, else 0. */
function surroundings(labels: Plane, cell: number): number {
  const { data, width, height } = labels;
  const [y, x] = [Math.floor(cell / width), cell % width];
  let found = 0;
  for (let dy = -1; dy <= 1; dy++)
    for (let dx = -1; dx <= 1; dx++) {
      const [ny, nx] = [Math.min(Math.max(y + dy, 0), height - 1), Math.min(Math.max(x + dx, 0), width - 1)];
      if (data[ny * width + nx] !== data[cell]) found = Math.max(found, dy && dx ? 1 : 2);
    }
  return found;
}

function eachPixel(labels: Plane, picture: { width: number; height: number }, visit: (pixel: number, cell: number) => void): void {
  for (let y = 0, pixel = 0; y < picture.height; y++)
    for (let x = 0; x < picture.width; x++, pixel++) visit(pixel, (y >> 4) * labels.width + (x >> 4));
}

// --- alpha ------------------------------------------------------------------------------------------------------------

/** The alpha of layers shown together, to the pixel: `mask` as `pixelMask` gives it, without seams between objects. */
export function alphaFromMask(mask: Plane, labels: Plane, shown: number[]): Uint8Array {
  const { width, height } = mask;
  const owner = new Uint8Array(width * height);
  eachPixel(labels, mask, (pixel, cell) => {
    if (shown.includes(labels.data[cell])) owner[pixel] = labels.data[cell];
  });
  const part = mask.data.map((bit, pixel) => (owner[pixel] ? bit : 0));
  const joined = part.slice();
  for (let y = 0; y < height; y++) closeGaps(part, owner, joined, y * width, 1, width);
  for (let x = 0; x < width; x++) closeGaps(part, owner, joined, x, width, height);
  return joined.map((bit) => 255 * bit);
}

/** Along a row or column: joins parts of two objects where at most a cell lies between, none of it background. */
function closeGaps(part: Uint8Array, owner: Uint8Array, joined: Uint8Array, start: number, step: number, length: number): void {
  let last = -1;
  for (let i = 0; i < length; i++) {
    const at = start + i * step;
    if (!part[at]) continue;
    const other = last >= 0 && i - last <= CELL + 1 && owner[start + last * step] !== owner[at];
    for (let k = last + 1; other && k < i; k++) if (owner[start + k * step]) joined[start + k * step] = 1;
    last = i;
  }
}

/** The alpha of layers shown together, from their cells: interpolated between centres, the slope smoothed. */
export function alphaFromCells(labels: Plane, shown: number[], width: number, height: number): Uint8Array {
  const f = Math.fround; // float32, as the reference computes
  const inside = labels.data.map((label) => (shown.includes(label) ? 1 : 0));
  const columns = Array.from({ length: width }, (_, x) => between(x, labels.width));
  const alpha = new Uint8Array(width * height);
  const tall = new Float32Array(labels.width);
  for (let y = 0; y < height; y++) {
    const { lower, upper, weight } = between(y, labels.height);
    for (let x = 0; x < labels.width; x++)
      tall[x] = f(f(inside[lower * labels.width + x] * (1 - weight)) + f(inside[upper * labels.width + x] * weight));
    columns.forEach(({ lower, upper, weight }, x) => {
      const slope = f(f(tall[lower] * (1 - weight)) + f(tall[upper] * weight));
      alpha[y * width + x] = roundHalfEven(f(f(f(255 * slope) * slope) * f(3 - 2 * slope)));
    });
  }
  return alpha;
}

/** Between which two of n centres of cells a pixel lies, and how near to the second. */
function between(pixel: number, n: number): { lower: number; upper: number; weight: number } {
  const place = Math.min(Math.max((pixel + 0.5) / CELL - 0.5, 0), n - 1);
  const lower = Math.floor(place);
  return { lower, upper: Math.min(lower + 1, n - 1), weight: place - lower };
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
