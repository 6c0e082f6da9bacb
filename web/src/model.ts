// A model (spec 7.1): its arrays, from a file that `python -m obic.web` makes, fetched once and kept.
//
// A model file is made of: "OBICMODEL" and the digit 1 (10 bytes), two zeros, the length of a JSON object (uint32), the
// object, spaces to a multiple of 8, then the arrays, each at a multiple of 8, and the CRC-32 of it all. Little-endian.
// The object: {"fingerprint", "look", "shape", "arrays": {name: {"type", "shape", "offset" behind the object}}}.

import { plain } from "./bytes.js";
import { crc32 } from "./container.js";
import { FormatError, ObicError, UnsupportedError } from "./errors.js";

/** Widths and depths of the networks, by the names of the reference implementation. */
export interface Shape {
  fine: number;
  fine_blocks: number;
  coarse: number;
  coarse_blocks: number;
  latent: number;
  hyper: number;
  hyper_width: number;
  context: number;
  context_blocks: number;
  levels: number;
  damped?: number;
  scale_hidden?: number;
}

export type Look = "faithful" | "vivid";

type Numbers = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Float32Array;

interface Description {
  fingerprint: string;
  look: Look;
  shape: Shape;
  arrays: Record<string, { type: string; shape: number[]; offset: number }>;
}

const MAGIC = "OBICMODEL1\0\0";
const TYPES = {
  "|i1": Int8Array, "|u1": Uint8Array, "<i2": Int16Array, "<f2": Uint16Array, "<i4": Int32Array, "<f4": Float32Array,
};

export class Model {
  readonly fingerprint: number;
  readonly look: Look;
  readonly shape: Shape;
  private readonly arrays: Description["arrays"];
  private readonly start: number;
  private readonly data: Uint8Array;

  /** Raises FormatError if the bytes are no model file. */
  constructor(bytes: Uint8Array) {
    const data = (this.data = plain(bytes));
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const magic = String.fromCharCode(...data.subarray(0, MAGIC.length));
    if (magic !== MAGIC || data.length < MAGIC.length + 8) throw new FormatError("these bytes are no model file");
    if (view.getUint32(data.length - 4, true) !== crc32(data.subarray(0, -4))) throw new FormatError("the model file is damaged");
    const from = MAGIC.length + 4;
    this.start = from + view.getUint32(MAGIC.length, true);
    const description = JSON.parse(new TextDecoder().decode(data.subarray(from, this.start))) as Description;
    this.fingerprint = parseInt(description.fingerprint, 16);
    this.look = description.look;
    this.shape = description.shape;
    this.arrays = description.arrays;
  }

  has(name: string): boolean {
    return name in this.arrays;
  }

  shapeOf(name: string): number[] {
    return this.arrays[name].shape;
  }

  /** The numbers of an array as they are stored. */
  array(name: string): Numbers {
    const entry = this.arrays[name];
    const Type = TYPES[entry?.type as keyof typeof TYPES];
    if (!Type) throw new FormatError(`the model file has no array ${name} that this reader knows`);
    const length = entry.shape.reduce((product, side) => product * side, 1);
    const at = this.start + entry.offset;
    return new Type(this.data.slice(at, at + length * Type.BYTES_PER_ELEMENT).buffer);
  }

  /** The same as integers that sums of them fit in. */
  integers(name: string): Float64Array {
    return Float64Array.from(this.array(name));
  }

  /** A parameter of the networks. */
  floats(name: string): Float32Array {
    const numbers = this.array(`network.${name}`);
    return numbers instanceof Uint16Array ? fromHalves(numbers) : Float32Array.from(numbers);
  }
}

let halves: Float32Array | undefined;

function fromHalves(bits: Uint16Array): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, i) => {
    const exponent = (i >> 10) & 31;
    const fraction = (i & 1023) / 1024;
    const size = exponent === 31 ? (fraction ? NaN : Infinity) : exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return i >> 15 ? -size : size;
  });
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = halves[bits[i]];
  return values;
}

/** The name of a model's file: model-91f4fc28.bin, model-91f4fc28-vivid.bin. */
export function fileName(fingerprint: number, look: Look): string {
  const suffix = look === "faithful" ? "" : `-${look}`;
  return `model-${fingerprint.toString(16).padStart(8, "0")}${suffix}.bin`;
}

const CACHE = "obic-models"; // of the Cache API, where a page may use it

/** A model's file from the folder at `base`, from the cache if it has been fetched before. */
export async function fetchModel(base: string, fingerprint: number, look: Look): Promise<Model> {
  const address = new URL(fileName(fingerprint, look), base).href;
  const cache = await globalThis.caches?.open(CACHE).catch(() => undefined); // private windows may refuse
  const kept = await cache?.match(address);
  const response = kept ?? (await fetch(address));
  if (response.status === 404)
    throw new UnsupportedError(`the file needs model ${fileName(fingerprint, look)}, which ${base} does not have`);
  if (!response.ok) throw new ObicError(`${address}: HTTP ${response.status}`);
  const copy = kept ? undefined : response.clone();
  const model = new Model(new Uint8Array(await response.arrayBuffer()));
  if (copy) await cache?.put(address, copy).catch(() => undefined); // without room it is fetched again
  return model;
}
