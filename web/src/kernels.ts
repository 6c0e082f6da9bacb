// The WebAssembly of the networks, its memory, and the pieces that networks are made of (spec 8.1).

import { fromBase64 } from "./bytes.js";
import { UnsupportedError } from "./errors.js";
import type { Model } from "./model.js";
import { networks, networksSimd } from "./wasm.js";

interface Exports {
  memory: WebAssembly.Memory;
  heap(): number;
  linear(x: number, places: number, inputs: number, w: number, b: number, scale: number, y: number, outputs: number, mode: number): void;
  damping(x: number, places: number, channels: number, g: number, scale: number): void;
  depthwise(x: number, h: number, w: number, channels: number, weight: number, bias: number, y: number): void;
  shuffle(x: number, h: number, w: number, factor: number, channels: number, y: number): void;
  pixels(x: number, h: number, w: number, factor: number, y: number): void;
}

const PAGE = 65536; // bytes
const PANEL = 8; // outputs that are computed together
const [STORE, SILU, ADD, GLU] = [0, 1, 2, 3]; // what becomes of them

/** Features in the memory of the kernels: float32 [h, w, channels]. */
export interface Features {
  at: number;
  h: number;
  w: number;
  channels: number;
}

export interface Linear {
  w: number;
  b: number;
  inputs: number;
  outputs: number;
}

export interface Block {
  mixIn: Linear;
  depthwise: { w: number; b: number };
  mixOut: Linear;
  gate: Linear;
  gateOut: Linear;
  /** g of either branch, or null in a network that is not damped */
  damping: Float32Array | null;
}

export interface Up {
  conv: Linear;
  factor: number;
}

/** Which build runs here, with SIMD or without. */
export type Speed = "simd" | "plain";

const BUILDS: [Speed, string][] = [["simd", networksSimd], ["plain", networks]];

export class Kernels {
  private top: number;

  private constructor(private readonly wasm: Exports, readonly speed: Speed) {
    this.top = wasm.heap();
  }

  /** The fastest build that this machine can run, or the one that is asked for. */
  static async open(wanted?: Speed): Promise<Kernels> {
    for (const [speed, text] of BUILDS) {
      const bytes = fromBase64(text);
      if ((wanted && wanted !== speed) || !WebAssembly.validate(bytes)) continue;
      const { instance } = await WebAssembly.instantiate(bytes);
      return new Kernels(instance.exports as unknown as Exports, speed);
    }
    throw new UnsupportedError(`no build of the networks runs here${wanted ? `: not "${wanted}"` : ""}`);
  }

  // --- memory: what is allocated inside `scratch` is free behind it ---

  scratch<T>(work: () => T): T {
    const top = this.top;
    try {
      return work();
    } finally {
      this.top = top;
    }
  }

  alloc(bytes: number): number {
    const at = (this.top + 15) & ~15;
    this.top = at + bytes;
    const missing = this.top - this.wasm.memory.buffer.byteLength;
    if (missing > 0) this.wasm.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }

  features(h: number, w: number, channels: number): Features {
    return { at: this.alloc(4 * h * w * channels), h, w, channels };
  }

  /** The numbers of features, valid until the next allocation. */
  numbers({ at, h, w, channels }: Features): Float32Array {
    return new Float32Array(this.wasm.memory.buffer, at, h * w * channels);
  }

  private put(values: Float32Array): number {
    const at = this.alloc(values.byteLength);
    new Float32Array(this.wasm.memory.buffer, at, values.length).set(values);
    return at;
  }

  // --- pieces, by the names of their arrays in a model ---

  /** A 1x1 convolution. order: which output each is computed as; gated: values and their gates stand side by side. */
  loadLinear(model: Model, name: string, order: (output: number) => number = (output) => output, gated = false): Linear {
    const [weight, bias] = [model.floats(`${name}.weight`), model.floats(`${name}.bias`)];
    const inputs = weight.length / bias.length;
    const outputs = gated ? bias.length / 2 : bias.length;
    const wide = gated ? PANEL / 2 : PANEL;
    const panels = Math.ceil(outputs / wide);
    const [w, b] = [new Float32Array(panels * inputs * PANEL), new Float32Array(panels * PANEL)];
    for (let slot = 0; slot < panels * PANEL; slot++) {
      const place = Math.floor(slot / PANEL) * wide + (slot % wide); // among the outputs
      if (place >= outputs) continue; // what fills up the last panel stays 0
      const row = order(place) + (slot % PANEL >= wide ? outputs : 0);
      b[slot] = bias[row];
      const to = Math.floor(slot / PANEL) * inputs * PANEL + (slot % PANEL);
      for (let k = 0; k < inputs; k++) w[to + k * PANEL] = weight[row * inputs + k];
    }
    return { w: this.put(w), b: this.put(b), inputs, outputs };
  }

  loadBlock(model: Model, name: string): Block {
    const filters = model.floats(`${name}.depthwise.weight`); // [C, 3, 3]
    const channels = filters.length / 9;
    const turned = Float32Array.from(filters, (_, i) => filters[(i % channels) * 9 + Math.floor(i / channels)]);
    return {
      mixIn: this.loadLinear(model, `${name}.mix_in`),
      depthwise: { w: this.put(turned), b: this.put(model.floats(`${name}.depthwise.bias`)) },
      mixOut: this.loadLinear(model, `${name}.mix_out`),
      gate: this.loadLinear(model, `${name}.gate`, undefined, true),
      gateOut: this.loadLinear(model, `${name}.gate_out`),
      damping: model.has(`network.${name}.log_damping`) ? model.floats(`${name}.log_damping`).map(Math.exp) : null,
    };
  }

  loadBlocks(model: Model, name: string, count: number): Block[] {
    return Array.from({ length: count }, (_, i) => this.loadBlock(model, `${name}.${i}`));
  }

  /** Its outputs stand as [f, f, C], where the model has [C, f, f]. */
  loadUp(model: Model, name: string, factor: number): Up {
    const channels = model.shapeOf(`network.${name}.conv.bias`)[0] / factor ** 2;
    const order = (output: number): number => (output % channels) * factor ** 2 + Math.floor(output / channels);
    return { conv: this.loadLinear(model, `${name}.conv`, order), factor };
  }

  // --- the pieces at work ---

  linear(piece: Linear, x: Features): Features {
    const y = this.features(x.h, x.w, piece.outputs);
    this.apply(piece, x, 0, y, STORE);
    return y;
  }

  /** In place. */
  block(piece: Block, x: Features): void {
    this.scratch(() => {
      const [a, b] = [this.features(x.h, x.w, x.channels), this.features(x.h, x.w, x.channels)];
      const scale = piece.damping ? this.alloc(4 * x.h * x.w) : 0;
      const damp = (branch: number): void => {
        if (piece.damping) this.wasm.damping(x.at, x.h * x.w, x.channels, piece.damping[branch], scale);
      };
      damp(0);
      this.apply(piece.mixIn, x, scale, a, SILU);
      this.wasm.depthwise(a.at, x.h, x.w, x.channels, piece.depthwise.w, piece.depthwise.b, b.at);
      this.apply(piece.mixOut, b, 0, x, ADD);
      damp(1);
      this.apply(piece.gate, x, scale, a, GLU);
      this.apply(piece.gateOut, a, 0, x, ADD);
    });
  }

  blocks(pieces: Block[], x: Features): void {
    for (const piece of pieces) this.block(piece, x);
  }

  up(piece: Up, x: Features): Features {
    const { factor: f, conv } = piece;
    const y = this.features(f * x.h, f * x.w, conv.outputs / f ** 2);
    this.scratch(() => this.wasm.shuffle(this.linear(conv, x).at, x.h, x.w, f, y.channels, y.at));
    return y;
  }

  /** The last step up, to RGBA: bytes [f h, f w, 4], valid until the next allocation. */
  pixels(piece: Up, x: Features): Uint8Array {
    const deep = this.linear(piece.conv, x);
    const bytes = x.h * x.w * piece.factor ** 2 * 4;
    const at = this.alloc(bytes);
    this.wasm.pixels(deep.at, x.h, x.w, piece.factor, at);
    return new Uint8Array(this.wasm.memory.buffer, at, bytes);
  }

  private apply(piece: Linear, x: Features, scale: number, y: Features, mode: number): void {
    this.wasm.linear(x.at, x.h * x.w, piece.inputs, piece.w, piece.b, scale, y.at, piece.outputs, mode);
  }
}
