// The networks of a decoder (spec 8): from the integers of layers to a latent, and from that to pixels.

import { CELL } from "./container.js";
import { HYPER, type Cells, type Integers } from "./integers.js";
import type { Block, Features, Kernels, Linear, Up } from "./kernels.js";
import type { Model } from "./model.js";
import { noise } from "./noise.js";
import { sizeOf, tiles, widened, type Area, type Tile } from "./tiles.js";

const SIDE = 64; // cells along a side of a tile: 1024 pixels, for which the networks have 80 MB
const HYPER_REACH = 2; // positions of the hyper-latent that its synthesis sees around one
const CLAMP = 127;
// ORDER[g][p]: the place (row * 2 + column in each 2x2 group of cells) that channel group g has in pass p.
const ORDER = [[0, 3, 1, 2], [3, 0, 2, 1], [1, 2, 0, 3], [2, 1, 3, 0]];
const GROUPS = ORDER.length;

/** The latent of a picture, to which layers are added: float32 [h, w, M + 2], the last two presence and level. */
export class Latent {
  readonly data: Float32Array;
  readonly stride: number;

  constructor(readonly height: number, readonly width: number, channels: number) {
    this.stride = channels + 2;
    this.data = new Float32Array(height * width * this.stride);
  }
}

/** What turns the integers of a layer into its part of a latent. */
export class LatentDecoder {
  private readonly hyper: { first: Linear; coarse: Block; up: Up; fine: Block; last: Up };
  private readonly entries: Linear[];
  private readonly trunk: Block[];
  private readonly exits: { block: Block; last: Linear }[];
  private readonly logInverse: Float32Array; // [levels, M]

  constructor(private readonly kernels: Kernels, private readonly model: Model, private readonly side = SIDE) {
    this.hyper = {
      first: kernels.loadLinear(model, "hyper_synthesis.layers.0"),
      coarse: kernels.loadBlock(model, "hyper_synthesis.layers.1"),
      up: kernels.loadUp(model, "hyper_synthesis.layers.2", 2),
      fine: kernels.loadBlock(model, "hyper_synthesis.layers.3"),
      last: kernels.loadUp(model, "hyper_synthesis.layers.4", 2),
    };
    const passes = [0, 1, 2, 3];
    this.entries = passes.map((pass) => kernels.loadLinear(model, `context.entries.${pass}`));
    this.trunk = kernels.loadBlocks(model, "context.trunk", model.shape.context_blocks);
    this.exits = passes.map((pass) => ({
      block: kernels.loadBlock(model, `context.exits.${pass}.0`),
      last: kernels.loadLinear(model, `context.exits.${pass}.1`),
    }));
    this.logInverse = model.floats("gain.log_inverse");
  }

  /** Adds a layer (spec 8.2). It is computed on the windows around the layer's cells alone. */
  add(latent: Latent, integers: Integers, cells: Cells, quality: number): void {
    const walk = new ContextWalk(latent, integers, cells, this.model.shape.latent, (2 * (quality - 1)) / 99 - 1);
    const own = (row: number, column: number): boolean => walk.owns(row * cells.width + column);
    const reach = this.trunk.length + 1;
    const windows = tiles(own, cells.height, cells.width, reach, this.side).map((tile) => ({
      tile, input: walk.input(tile.outer, this.hyperFeatures(integers.z, cells, tile.outer)),
    }));
    for (let pass = 0; pass < GROUPS; pass++)
      for (const { tile, input } of windows) {
        if (pass > 0) walk.learn(pass - 1, tile.outer, input);
        this.runPass(pass, tile, input, walk);
      }
    walk.scale(this.gains(quality));
  }

  private runPass(pass: number, tile: Tile, input: Float32Array, walk: ContextWalk): void {
    const { kernels } = this;
    kernels.scratch(() => {
      const { h, w } = sizeOf(tile.outer);
      const known = kernels.features(h, w, this.entries[pass].inputs);
      kernels.numbers(known).set(input);
      const body = kernels.linear(this.entries[pass], known);
      kernels.blocks(this.trunk, body);
      kernels.block(this.exits[pass].block, body);
      walk.decode(pass, tile, kernels.numbers(kernels.linear(this.exits[pass].last, body)));
    });
  }

  /** float32 [h, w, C] of a window of cells, from the part of z that it needs. */
  private hyperFeatures(z: Int32Array, cells: Cells, window: Area): Float32Array {
    const { kernels, hyper } = this;
    const grid = { h: Math.ceil(cells.height / HYPER), w: Math.ceil(cells.width / HYPER) };
    const needed = widened(inPositions(window), grid.h, grid.w, HYPER_REACH);
    const size = sizeOf(needed);
    return kernels.scratch(() => {
      const coded = kernels.features(size.h, size.w, hyper.first.inputs);
      const numbers = kernels.numbers(coded);
      for (let i = 0, at = 0; i < size.h; i++)
        for (let j = 0; j < size.w; j++)
          for (let c = 0; c < coded.channels; c++) {
            const value = z[(c * grid.h + needed.top + i) * grid.w + needed.left + j];
            numbers[at++] = Math.min(Math.max(value, -CLAMP), CLAMP);
          }
      const coarse = kernels.linear(hyper.first, coded);
      kernels.block(hyper.coarse, coarse);
      const fine = kernels.up(hyper.up, coarse);
      kernels.block(hyper.fine, fine);
      const finest = kernels.up(hyper.last, fine);
      return cut(kernels.numbers(finest), finest, {
        top: window.top - HYPER * needed.top, left: window.left - HYPER * needed.left,
        bottom: window.bottom - HYPER * needed.top, right: window.right - HYPER * needed.left,
      });
    });
  }

  /** What each channel of a decoded layer is multiplied with: a table of logarithms, read at the level. */
  private gains(quality: number): Float32Array {
    const { latent: channels, levels } = this.model.shape;
    const level = ((quality - 1) * (levels - 1)) / 99;
    const low = Math.min(Math.floor(level), levels - 2);
    const share = level - low;
    const at = (row: number, channel: number): number => this.logInverse[row * channels + channel];
    return Float32Array.from({ length: channels }, (_, c) => Math.exp(at(low, c) * (1 - share) + at(low + 1, c) * share));
  }
}

/** The smallest area of positions of the hyper-latent that covers an area of cells. */
function inPositions(cells: Area): Area {
  return {
    top: Math.floor(cells.top / HYPER), left: Math.floor(cells.left / HYPER),
    bottom: Math.ceil(cells.bottom / HYPER), right: Math.ceil(cells.right / HYPER),
  };
}

/** A copy of an area of features. */
function cut(numbers: Float32Array, { w, channels }: Features, area: Area): Float32Array {
  const size = sizeOf(area);
  const result = new Float32Array(size.h * size.w * channels);
  for (let i = 0; i < size.h; i++) {
    const from = ((area.top + i) * w + area.left) * channels;
    result.set(numbers.subarray(from, from + size.w * channels), i * size.w * channels);
  }
  return result;
}

/** The four passes over one layer: what the context is given, and what becomes of its answer. */
class ContextWalk {
  private readonly rank: Int32Array; // of each cell among the layer's, or -1

  constructor(
    private readonly latent: Latent, private readonly integers: Integers, private readonly cells: Cells,
    private readonly channels: number, private readonly level: number,
  ) {
    this.rank = new Int32Array(cells.width * cells.height).fill(-1);
    cells.places.forEach((cell, i) => (this.rank[cell] = i));
  }

  owns(cell: number): boolean {
    return this.rank[cell] >= 0;
  }

  /** The input of a window before the first pass: nothing decoded, the hyper features, the conditions. */
  input(window: Area, hyper: Float32Array): Float32Array {
    const { h, w } = sizeOf(window);
    const [width, wide] = [hyper.length / (h * w), this.channels + hyper.length / (h * w) + 2];
    const input = new Float32Array(h * w * wide);
    this.each(window, (cell, i) => {
      const at = i * wide + this.channels;
      input.set(hyper.subarray(i * width, (i + 1) * width), at);
      if (!this.owns(cell)) return;
      input[at + width] = 1;
      input[at + width + 1] = this.level;
    });
    return input;
  }

  /** Puts what a pass has decoded into the input of a window. */
  learn(pass: number, window: Area, input: Float32Array): void {
    const { h, w } = sizeOf(window);
    const [wide, { data, stride }] = [input.length / (h * w), this.latent];
    this.each(window, (cell, i) => {
      if (!this.owns(cell)) return;
      const { start, stop } = this.group(pass, cell);
      for (let c = start; c < stop; c++) input[i * wide + c] = data[cell * stride + c];
    });
  }

  /** What a pass decodes of a tile. answer: [cells of the outer window, 2 M], means and then steps. */
  decode(pass: number, { inner, outer }: Tile, answer: Float32Array): void {
    const { channels, integers, latent, cells } = this;
    const { w } = sizeOf(outer);
    this.each(inner, (cell) => {
      if (!this.owns(cell)) return;
      const row = Math.floor(cell / cells.width) - outer.top;
      const at = (row * w + (cell % cells.width) - outer.left) * 2 * channels;
      const { start, stop } = this.group(pass, cell);
      for (let c = start; c < stop; c++) {
        const r = integers.r[c * cells.places.length + this.rank[cell]];
        latent.data[cell * latent.stride + c] = answer[at + c] + (r && 2 ** Math.tanh(answer[at + channels + c]) * r);
      }
    });
  }

  /** Ends the walk: multiplies the channels with their gains, and adds the conditions. */
  scale(gains: Float32Array): void {
    const { data, stride } = this.latent;
    for (const cell of this.cells.places) {
      const at = cell * stride;
      gains.forEach((gain, c) => (data[at + c] *= gain));
      data[at + this.channels] = 1;
      data[at + this.channels + 1] = this.level;
    }
  }

  /** The channels that a pass decodes in a cell. */
  private group(pass: number, cell: number): { start: number; stop: number } {
    const place = (Math.floor(cell / this.cells.width) % 2) * 2 + ((cell % this.cells.width) % 2);
    const group = ORDER.findIndex((places) => places[pass] === place);
    return { start: (group * this.channels) / GROUPS, stop: ((group + 1) * this.channels) / GROUPS };
  }

  private each(area: Area, visit: (cell: number, i: number) => void): void {
    for (let row = area.top, i = 0; row < area.bottom; row++)
      for (let column = area.left; column < area.right; column++) visit(row * this.cells.width + column, i++);
  }
}

/** What turns a latent into pixels (spec 8.3). grain: planes of noise behind its other inputs, of another look (8.5). */
export class Synthesis {
  private readonly first: Linear;
  private readonly coarse: Block[];
  private readonly up: Up;
  private readonly fine: Block[];
  private readonly last: Up;

  constructor(private readonly kernels: Kernels, model: Model, private readonly side = SIDE) {
    this.first = kernels.loadLinear(model, "synthesis.layers.0");
    this.coarse = kernels.loadBlocks(model, "synthesis.layers.1", model.shape.coarse_blocks);
    this.up = kernels.loadUp(model, "synthesis.layers.2", 2);
    this.fine = kernels.loadBlocks(model, "synthesis.layers.3", model.shape.fine_blocks);
    this.last = kernels.loadUp(model, "synthesis.layers.4", CELL / 2);
  }

  /** RGBA [height, width, 4], opaque. */
  run(latent: Latent, height: number, width: number): Uint8ClampedArray<ArrayBuffer> {
    const picture = new Uint8ClampedArray(height * width * 4);
    const grain = noise(this.first.inputs - latent.stride, latent.height * latent.width);
    const reach = Math.ceil(this.coarse.length + this.fine.length / 2);
    for (const tile of tiles(() => true, latent.height, latent.width, reach, this.side))
      this.kernels.scratch(() => paste(picture, height, width, this.tile(latent, grain, tile.outer), tile));
    return picture;
  }

  private tile(latent: Latent, grain: Float32Array[], area: Area): Uint8Array {
    const { kernels } = this;
    const { h, w } = sizeOf(area);
    const input = kernels.features(h, w, this.first.inputs);
    const numbers = kernels.numbers(input);
    for (let i = 0, at = 0; i < h; i++)
      for (let j = 0; j < w; j++, at += input.channels) {
        const cell = (area.top + i) * latent.width + area.left + j;
        numbers.set(latent.data.subarray(cell * latent.stride, (cell + 1) * latent.stride), at);
        grain.forEach((plane, k) => (numbers[at + latent.stride + k] = plane[cell]));
      }
    const coarse = kernels.linear(this.first, input);
    kernels.blocks(this.coarse, coarse);
    const fine = kernels.up(this.up, coarse);
    kernels.blocks(this.fine, fine);
    return kernels.pixels(this.last, fine);
  }
}

/** Copies the inner part of a tile's pixels into the picture, which may end within a cell. */
function paste(picture: Uint8ClampedArray, height: number, width: number, pixels: Uint8Array, { inner, outer }: Tile): void {
  const stride = CELL * sizeOf(outer).w;
  const left = CELL * inner.left;
  const count = Math.min(CELL * inner.right, width) - left;
  for (let y = CELL * inner.top; y < Math.min(CELL * inner.bottom, height); y++) {
    const from = (y - CELL * outer.top) * stride + left - CELL * outer.left;
    picture.set(pixels.subarray(4 * from, 4 * (from + count)), 4 * (y * width + left));
  }
}
