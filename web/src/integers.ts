// The integers of a layer (spec 5.4 and 6): the same in every reader.

import { RangeDecoder, sumsOf } from "./coder.js";
import type { Model } from "./model.js";

export const HYPER = 4; // cells along a side of a hyper-latent position
const CLAMP = 127;
const ORDER = [[0, 0], [1, 1], [0, 1], [1, 0]]; // row and column of each pass over z in 2x2 positions
const QUALITIES = 100;

/** A layer's place on the grid of cells: which it owns, in raster order. */
export interface Cells {
  width: number;
  height: number;
  places: Uint32Array;
}

/** z: [Cz, h4, w4] on the grid of the hyper-latent; r: [M, n] on the layer's cells. */
export interface Integers {
  z: Int32Array;
  r: Int32Array;
}

/** What a model knows of integers. */
export class IntegerModel {
  private readonly sums: Uint32Array;
  private readonly prior: HyperPrior;
  private readonly scales: ScaleMap;

  constructor(model: Model) {
    this.sums = sumsOf(Int32Array.from(model.array("tables")));
    this.prior = new HyperPrior(model);
    this.scales = new ScaleMap(model);
  }

  /** The integers in a sub-stream. A FormatError unless it is the one that a writer makes of them. */
  decode(stream: Uint8Array, cells: Cells, quality: number): Integers {
    const coder = new RangeDecoder(stream, this.sums);
    const grid = new HyperGrid(cells);
    const z = this.prior.decode(coder, grid, quality);
    const r = coder.group(this.scales.rows(z, grid, cells, quality));
    coder.finish();
    return { z, r };
  }
}

/** The grid of the hyper-latent, and the positions that a layer touches. */
class HyperGrid {
  readonly width: number;
  readonly height: number;
  readonly touched: Uint32Array;

  constructor(cells: Cells) {
    this.width = Math.ceil(cells.width / HYPER);
    this.height = Math.ceil(cells.height / HYPER);
    const found = new Uint8Array(this.width * this.height);
    for (const cell of cells.places) found[this.under(cell, cells.width)] = 1;
    this.touched = Uint32Array.from(found.keys()).filter((position) => found[position]);
  }

  get size(): number {
    return this.width * this.height;
  }

  /** The position that covers a cell. */
  under(cell: number, width: number): number {
    return Math.floor(Math.floor(cell / width) / HYPER) * this.width + Math.floor((cell % width) / HYPER);
  }
}

/** How z is predicted and coded, pass by pass (spec 5.4). */
class HyperPrior {
  private readonly index: Uint8Array; // [passes, 100, Cz]
  private readonly offset: Float64Array; // [100, Cz]
  private readonly weight: Float64Array | null; // [passes - 1, Cz, 9 Cz]
  private readonly shift: number;
  private readonly channels: number;
  private readonly passes: number;

  constructor(model: Model) {
    this.index = Uint8Array.from(model.array("hyper_index"));
    this.offset = model.integers("hyper_offset");
    this.channels = model.shapeOf("hyper_offset")[1];
    this.weight = model.has("hyper_context.weight") ? model.integers("hyper_context.weight") : null;
    this.shift = this.weight ? model.array("hyper_context.shift")[0] : 0;
    this.passes = this.weight ? ORDER.length : 1;
  }

  decode(coder: RangeDecoder, grid: HyperGrid, quality: number): Int32Array {
    const { channels } = this;
    const z = new Int32Array(channels * grid.size);
    const offset = this.offset.subarray((quality - 1) * channels, quality * channels);
    const known = new Deviations(grid, channels);
    for (let pass = 0; pass < this.passes; pass++) {
      const now = this.passes === 1 ? grid.touched : grid.touched.filter((position) => isOfPass(position, grid.width, pass));
      const means = pass ? this.means(pass, known, now, offset) : repeated(offset, now.length);
      const row = (pass * QUALITIES + quality - 1) * channels;
      const values = coder.group(Uint8Array.from(repeated(this.index.subarray(row, row + channels), now.length)));
      for (let c = 0, i = 0; c < channels; c++)
        for (const position of now) {
          const value = means[i] + values[i++];
          z[c * grid.size + position] = value;
          known.note(c, position, value - offset[c]);
        }
    }
    return z;
  }

  /** [Cz, n]: what is known around each position says what to expect there. */
  private means(pass: number, known: Deviations, now: Uint32Array, offset: Float64Array): Float64Array {
    const { channels } = this;
    const means = new Float64Array(channels * now.length);
    const half = 2 ** (this.shift - 1);
    now.forEach((position, i) => {
      const around = known.around(position);
      for (let c = 0; c < channels; c++) {
        const row = ((pass - 1) * channels + c) * around.length;
        let sum = half;
        for (let k = 0; k < around.length; k++) sum += this.weight![row + k] * around[k];
        means[c * now.length + i] = offset[c] + Math.floor(sum / (2 * half));
      }
    });
    return means;
  }
}

function isOfPass(position: number, width: number, pass: number): boolean {
  return Math.floor(position / width) % 2 === ORDER[pass][0] && (position % width) % 2 === ORDER[pass][1];
}

/** Each value n times. */
function repeated(values: ArrayLike<number>, n: number): Float64Array {
  return Float64Array.from({ length: values.length * n }, (_, i) => values[Math.floor(i / n)]);
}

/** How far z is from its offset where it is known, else 0; with a border of zeros. */
class Deviations {
  private readonly stride: number;
  private readonly plane: number;
  private readonly data: Float64Array;

  constructor(private readonly grid: HyperGrid, private readonly channels: number) {
    this.stride = grid.width + 2;
    this.plane = this.stride * (grid.height + 2);
    this.data = new Float64Array(channels * this.plane);
  }

  note(channel: number, position: number, deviation: number): void {
    this.data[channel * this.plane + this.corner(position) + this.stride + 1] = clamped(deviation);
  }

  /** [9 Cz]: channel-major, then raster over 3x3. */
  around(position: number): Float64Array {
    const result = new Float64Array(9 * this.channels);
    const corner = this.corner(position);
    for (let c = 0, i = 0; c < this.channels; c++)
      for (let dy = 0; dy < 3; dy++)
        for (let dx = 0; dx < 3; dx++) result[i++] = this.data[c * this.plane + corner + dy * this.stride + dx];
    return result;
  }

  private corner(position: number): number {
    return Math.floor(position / this.grid.width) * this.stride + (position % this.grid.width);
  }
}

/** From z to the table row of each residual (spec 6). */
class ScaleMap {
  private readonly weight: Float64Array; // [16 M, Cz]
  private readonly bias: Float64Array; // [100, M]
  private readonly divisor: number;
  private readonly hidden: { into: Float64Array; bias: Float64Array; out: Float64Array; units: number } | null = null;
  private readonly channels: number;
  private readonly inputs: number;

  constructor(model: Model) {
    this.weight = model.integers("scale_map.weight");
    this.bias = model.integers("scale_map.bias");
    this.divisor = 2 ** model.array("scale_map.shift")[0];
    this.channels = model.shapeOf("scale_map.bias")[1];
    this.inputs = model.shapeOf("scale_map.weight")[1];
    if (model.has("scale_map.into_hidden")) {
      const [into, bias, out] = ["into_hidden", "hidden_bias", "from_hidden"].map((name) => model.integers(`scale_map.${name}`));
      this.hidden = { into, bias, out, units: model.shapeOf("scale_map.into_hidden")[0] };
    }
  }

  /** uint8 [M, n]: the rows of the residuals at a layer's cells. */
  rows(z: Int32Array, grid: HyperGrid, cells: Cells, quality: number): Uint8Array {
    const { channels } = this;
    const n = cells.places.length;
    const rows = new Uint8Array(channels * n);
    const below: number[][] = Array.from(grid.touched, () => []);
    const order = new Map(Array.from(grid.touched, (position, i) => [position, i]));
    cells.places.forEach((cell, i) => below[order.get(grid.under(cell, cells.width))!].push(i));
    grid.touched.forEach((position, p) => {
      const index = this.index(Float64Array.from({ length: this.inputs }, (_, m) => clamped(z[m * grid.size + position])), quality);
      for (const i of below[p]) {
        const cell = cells.places[i];
        const place = HYPER * (Math.floor(cell / cells.width) % HYPER) + ((cell % cells.width) % HYPER);
        for (let c = 0; c < channels; c++) rows[c * n + i] = index[c * HYPER ** 2 + place];
      }
    });
    return rows;
  }

  /** uint8 [16 M] at one position, whose z is given. All sums are integers that a double holds exactly. */
  private index(z: Float64Array, quality: number): Uint8Array {
    const sums = product(this.weight, z);
    if (this.hidden) {
      const { into, bias, out, units } = this.hidden;
      const unit = product(into, z).map((sum, u) => Math.min(Math.max(Math.floor((sum + bias[(quality - 1) * units + u]) / 16), 0), 65535));
      product(out, unit).forEach((sum, k) => (sums[k] += Math.floor(sum / 256)));
    }
    const row = (quality - 1) * this.channels;
    return Uint8Array.from(sums, (sum, k) => Math.min(Math.max(Math.floor((sum + this.bias[row + Math.floor(k / 16)]) / this.divisor), 0), 63));
  }
}

/** A matrix of rows times a vector. */
function product(matrix: Float64Array, vector: Float64Array): Float64Array {
  const n = vector.length;
  const result = new Float64Array(matrix.length / n);
  for (let row = 0, at = 0; row < result.length; row++) {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += matrix[at++] * vector[k];
    result[row] = sum;
  }
  return result;
}

function clamped(value: number): number {
  return Math.min(Math.max(value, -CLAMP), CLAMP);
}
