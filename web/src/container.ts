// The container (spec 3): a file in, its header and any one sub-stream out, reading no more than those ranges.

import {
  ChecksumError, FormatError, HeaderError, LimitError, NotObicError, TruncatedError, UnsupportedError, UsageError,
} from "./errors.js";
import type { ByteSource, Range } from "./source.js";

export const CELL = 16; // pixels along a side of a cell (spec 4.1)
export const PIXEL_MASK = 5; // kind of an optional part (spec 3.5)

const SIGNATURE = [0x8f, 0x6f, 0x62, 0x0d, 0x0a, 0x1a];
const VERSION = 1;
const MAX_SIDE = 2 ** 24 - 1;
const MAX_LAYERS = 255;
const MAX_32 = 2 ** 32 - 1; // of a length, and of a model
const LONG_STREAM = 32768;
const FIXED_FIELDS = 5; // version, width, height, model, mask
const NAMES = 1; // kinds of optional parts
const FIRST_CRITICAL = 64;
const MAX_PART_KIND = 127;
const MAX_NAME_BYTES = 63;

/** What a reader accepts before it allocates anything; a larger file gives a LimitError. */
export interface Limits {
  maxPixels: number;
  maxHeaderBytes: number;
  maxLayers: number;
  /** of one optional part */
  maxPartBytes: number;
}

export const LIMITS: Readonly<Limits> = {
  maxPixels: 2 ** 27, maxHeaderBytes: 2 ** 20, maxLayers: MAX_LAYERS, maxPartBytes: 2 ** 24,
};

/** A layer as the header lists it. `length`: bytes of its sub-stream; null: it is absent from this file. */
export interface Layer {
  index: number;
  name: string;
  quality: number;
  length: number | null;
}

/** An optional part: its bytes stand in the header (`inline`), or behind the layers (`length` of them). */
export interface Part {
  kind: number;
  length: number;
  inline: Uint8Array | null;
}

/** What a file says about itself. `layers[i]` has the label i of the label map; `mask` is that map as it is coded. */
export interface Header {
  width: number;
  height: number;
  /** the fingerprint of the weights */
  model: number;
  mask: Uint8Array | null;
  layers: Layer[];
  parts: Part[];
}

export class Container {
  readonly totalBytes: number;
  private readonly layerOffsets = new Map<number, number>();
  private readonly partOffsets = new Map<number, number>();

  private constructor(private readonly source: ByteSource, readonly header: Header, prologue: number) {
    let offset = prologue;
    for (const layer of fileOrder(header.layers)) {
      this.layerOffsets.set(layer.index, offset);
      offset += withChecksum(layer.length ?? 0);
    }
    for (const part of header.parts) {
      if (part.inline) continue;
      this.partOffsets.set(part.kind, offset);
      offset += withChecksum(part.length);
    }
    this.totalBytes = offset;
  }

  /** Reads and checks the header, and nothing behind it; a file that is cut off later still opens. */
  static async open(source: ByteSource, limits: Partial<Limits> = {}): Promise<Container> {
    const bounds = { ...LIMITS, ...limits };
    const { start, length } = await readLength(source);
    if (length > bounds.maxHeaderBytes)
      throw new LimitError(`the header has ${length} bytes; the limit is ${bounds.maxHeaderBytes}`);
    const end = start + length;
    const data = await source.read(0, withChecksum(end));
    if (data.length < withChecksum(end)) throw new TruncatedError("the file ends within the header");
    if (!sumFits(data, end)) throw new ChecksumError("the header is damaged: the checksum differs");
    return new Container(source, parseHeader(data.slice(start, end), bounds), withChecksum(end));
  }

  /** The bytes of the coded label map. */
  get maskBytes(): number {
    return this.header.mask?.length ?? 0;
  }

  /** The bytes of the optional parts, with their list in the header and their checksums. */
  get partBytes(): number {
    const { parts } = this.header;
    const listed = parts.map((part) => 1 + (part.inline ? sizeOf(part.length, 0) + part.length : sizeOf(part.length, 128)));
    const behind = parts.map((part) => (part.inline ? 0 : withChecksum(part.length)));
    const heads = parts.length === 0 ? 0 : parts.length < 8 ? 1 : 3;
    return [...listed, ...behind].reduce((sum, bytes) => sum + bytes, heads);
  }

  /** The layers that a name or an index means: one, or where none is called so, those called "name-1", "name-2", ... */
  layerIndices(wanted: string | number): number[] {
    const layers = this.header.layers;
    const named = layers.filter((layer) => layer.name === wanted);
    if (named.length) return [named[0].index];
    const group = layers.filter((layer) => {
      const dash = layer.name.lastIndexOf("-");
      return layer.name.slice(0, dash) === wanted && dash >= 0 && /^\p{Nd}+$/u.test(layer.name.slice(dash + 1));
    });
    if (group.length) {
      const present = group.filter((layer) => layer.length !== null);
      return (present.length ? present : group).map((layer) => layer.index);
    }
    const index = typeof wanted === "string" && /^[0-9]+$/.test(wanted) ? Number(wanted) : wanted;
    if (typeof index === "number" && layers[index]) return [index];
    throw new UsageError(`there is no layer "${wanted}"; the file has ${layers.map((l) => `${l.index} ${l.name}`).join(", ")}`);
  }

  /** Whether the sub-stream of a layer can be read without waiting. */
  hasLayer(index: number): boolean {
    return this.source.has(...this.rangeOf(index));
  }

  /** The sub-stream of a layer, checked. */
  async readLayer(index: number): Promise<Uint8Array> {
    const layer = this.header.layers[index];
    if (layer.length === null) throw new UsageError(`layer ${index} (${layer.name}) is absent from this file`);
    return this.read(this.layerOffsets.get(index)!, layer.length, `layer ${index}`);
  }

  /** The bytes of an optional part, checked; null if the file has none. */
  async readPart(kind: number): Promise<Uint8Array | null> {
    const part = this.header.parts.find((part) => part.kind === kind);
    if (!part) return null;
    return part.inline ?? this.read(this.partOffsets.get(kind)!, part.length, `optional part ${kind}`);
  }

  /** Tells the source which layers and parts will be read. */
  async prefetch(layers: number[], parts: number[]): Promise<void> {
    const ranges = layers.map((index) => this.rangeOf(index));
    for (const part of this.header.parts)
      if (!part.inline && parts.includes(part.kind)) ranges.push([this.partOffsets.get(part.kind)!, withChecksum(part.length)]);
    const wanted: Range[] = ranges.filter(([, length]) => length > 0).map(([offset, length]) => ({ offset, length }));
    await this.source.prefetch(wanted);
  }

  /** A FormatError if bytes follow the end of the file's last part. */
  async checkEnd(): Promise<void> {
    if ((await this.source.read(this.totalBytes, 1)).length)
      throw new FormatError(`byte ${this.totalBytes}: bytes follow the end of the picture`);
  }

  private rangeOf(index: number): [number, number] {
    return [this.layerOffsets.get(index)!, withChecksum(this.header.layers[index].length ?? 0)];
  }

  private async read(offset: number, length: number, section: string): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array();
    const data = await this.source.read(offset, withChecksum(length));
    if (data.length < withChecksum(length))
      throw new TruncatedError(`${section}, byte ${offset + data.length}: the file ends here`);
    if (!sumFits(data, length))
      throw new ChecksumError(`${section}, byte ${offset}: the bytes are damaged: the checksum differs`);
    return data.subarray(0, length);
  }
}

/** Layers in the order of their sub-streams: objects first, the background last (spec 3.3). */
export function fileOrder(layers: Layer[]): Layer[] {
  return [...layers.slice(1), layers[0]];
}

// --- the header ------------------------------------------------------------------------------------------------------

/** Where the header starts and how many bytes it has (spec 3.1). */
async function readLength(source: ByteSource): Promise<{ start: number; length: number }> {
  const first = await source.read(0, SIGNATURE.length + 1);
  if (SIGNATURE.some((byte, i) => i < first.length && first[i] !== byte))
    throw new NotObicError("not an .obic file: the signature is missing");
  if (first.length <= SIGNATURE.length) throw new TruncatedError("the file ends within the signature");
  const lead = first[SIGNATURE.length];
  const more = lead < 0x80 ? 0 : { 0xcc: 1, 0xcd: 2, 0xce: 4 }[lead];
  if (more === undefined) throw new HeaderError("the header's length is not valid");
  const start = SIGNATURE.length + 1 + more;
  const data = await source.read(0, start);
  if (data.length < start) throw new TruncatedError("the file ends within the header's length");
  return { start, length: new Unpacker(data, SIGNATURE.length).value() as number };
}

/** Bytes of a canonical integer; below `single` it needs no byte but the first. */
function sizeOf(value: number, single: number): number {
  return value < single ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : 5;
}

type Value = number | Uint8Array | Value[] | null;

/** Reads the canonical msgpack that a header is made of (spec 3.2), and refuses any other. */
class Unpacker {
  constructor(private readonly data: Uint8Array, public at = 0) {}

  /** `lists`: how many arrays may lie in one another. */
  value(lists = 2): Value {
    const first = this.bytes(1)[0];
    if (first < 0x80) return first;
    switch (first) {
      case 0xc0: return null;
      case 0xcc: return this.number(1, 0x80);
      case 0xcd: return this.number(2, 0x100);
      case 0xce: return this.number(4, 0x10000);
      case 0xc4: return this.bytes(this.number(1, 0));
      case 0xc5: return this.bytes(this.number(2, 0x100));
      case 0xc6: return this.bytes(this.number(4, 0x10000));
      case 0xdc: return this.list(this.number(2, 16), lists);
    }
    if (first >= 0x90 && first <= 0x9f) return this.list(first - 0x90, lists);
    throw new HeaderError("the header is not in canonical form");
  }

  bytes(length: number): Uint8Array {
    if (length > this.data.length - this.at) throw new HeaderError("the header is not msgpack");
    this.at += length;
    return this.data.subarray(this.at - length, this.at);
  }

  /** An integer of so many bytes, none of which could be spared. */
  private number(size: number, least: number): number {
    const value = this.bytes(size).reduce((value, byte) => value * 256 + byte, 0);
    if (value < least) throw new HeaderError("the header is not in canonical form");
    return value;
  }

  private list(length: number, lists: number): Value[] {
    if (lists === 0) throw new HeaderError("the header has arrays in arrays in arrays");
    const items: Value[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(lists - 1));
    return items;
  }
}

const INTEGERS = /^([0-7]|c[c-f]|d[0-3]|[ef])/; // first bytes of msgpack's integers, in hexadecimal

/** The header's bytes, checked against every rule of spec 3.2 and 3.5. */
function parseHeader(data: Uint8Array, limits: Limits): Header {
  checkVersion(data);
  const unpacker = new Unpacker(data);
  const fields = unpacker.value();
  if (unpacker.at !== data.length) throw new HeaderError("bytes follow the header's array");
  if (!Array.isArray(fields)) throw new HeaderError("the header is not an array");
  const header = headerOf(fields);
  if (header.width * header.height > limits.maxPixels)
    throw new LimitError(`${header.width}x${header.height} is more than ${limits.maxPixels} pixels; maxPixels raises the limit`);
  if (header.layers.length > limits.maxLayers)
    throw new LimitError(`${header.layers.length} layers; the limit is ${limits.maxLayers}`);
  for (const part of header.parts)
    if (part.length > limits.maxPartBytes)
      throw new LimitError(`optional part ${part.kind} has ${part.length} bytes; the limit is ${limits.maxPartBytes}`);
  return header;
}

/** Another version may be made of anything behind its number. */
function checkVersion(data: Uint8Array): void {
  const at = data[0] >= 0x90 && data[0] <= 0x9f ? 1 : data[0] === 0xdc ? 3 : Infinity;
  const first = data[at];
  if (first === undefined || first === VERSION) return;
  if (!INTEGERS.test(first.toString(16).padStart(2, "0"))) throw new HeaderError("the header does not begin with a version");
  if (first < 0xcc || first > 0xce || new Unpacker(data, at).value() !== VERSION)
    throw new UnsupportedError(`this file is of another version of the format; this reader knows version ${VERSION}`);
}

function headerOf(fields: Value[]): Header {
  if (fields.length < FIXED_FIELDS + 2) throw new HeaderError("the header lists no layer");
  const pairs = Math.floor((fields.length - FIXED_FIELDS) / 2);
  const width = integer(fields[1], 1, MAX_SIDE, "width");
  const height = integer(fields[2], 1, MAX_SIDE, "height");
  const model = integer(fields[3], 0, MAX_32, "model");
  integer(pairs, 1, MAX_LAYERS, "number of layers");
  const layers: Layer[] = [];
  for (let position = 0; position < pairs; position++) {
    const index = (position + 1) % pairs; // layers 1, 2, ..., then 0
    const [quality, length] = fields.slice(FIXED_FIELDS + 2 * position);
    layers[index] = {
      index,
      name: "",
      quality: integer(quality, 1, 100, `quality of layer ${index}`),
      length: length === null ? null : integer(length, 0, MAX_32, `length of layer ${index}`),
    };
  }
  const mask = fields[4];
  if ((mask === null) !== (pairs === 1) || !(mask === null || mask instanceof Uint8Array))
    throw new HeaderError("a label map must be there exactly when there are two or more layers");
  const parts = fields.length % 2 === FIXED_FIELDS % 2 ? [] : partsOf(fields.at(-1)!);
  const names = namesOf(parts, pairs);
  layers.forEach((layer) => (layer.name = names[layer.index]));
  return { width, height, model, mask, layers, parts };
}

function partsOf(listing: Value): Part[] {
  if (!Array.isArray(listing) || !listing.length || listing.length % 2)
    throw new HeaderError("the list of optional parts is not an array of pairs");
  const parts: Part[] = [];
  for (let i = 0; i < listing.length; i += 2) {
    const kind = integer(listing[i], 1, MAX_PART_KIND, "kind of an optional part");
    const place = listing[i + 1];
    if (kind <= (parts.at(-1)?.kind ?? 0)) throw new HeaderError("optional parts are not in ascending order");
    const inline = place instanceof Uint8Array ? place : null;
    const length = inline ? inline.length : integer(place, 1, MAX_32, `length of optional part ${kind}`);
    if (kind === NAMES && !inline) throw new HeaderError("the layer names are not in the header");
    if (kind > NAMES && kind <= PIXEL_MASK && inline)
      throw new HeaderError(`optional part ${kind} must stand behind the layers`);
    if (kind >= FIRST_CRITICAL) throw new UnsupportedError(`critical part ${kind} is unknown to this reader`);
    parts.push({ kind, length, inline });
  }
  return parts;
}

/** The name of each layer by index: the file's own, or the default ones (spec 3.5). */
function namesOf(parts: Part[], n: number): string[] {
  const part = parts.find((part) => part.kind === NAMES);
  if (!part) {
    if (n === 1) return ["picture"];
    if (n === 2) return ["background", "object"];
    return Array.from({ length: n }, (_, index) => (index ? `object-${index}` : "background"));
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(part.inline!);
  } catch {
    throw new HeaderError("the layer names are not text");
  }
  const names = text.split("\n");
  if (names.length !== n || new Set(names).size !== n)
    throw new HeaderError("there must be one name for each layer, all different");
  for (const name of names) {
    const bytes = new TextEncoder().encode(name).length;
    if (bytes < 1 || bytes > MAX_NAME_BYTES || /^\p{Nd}+$/u.test(name) || /[\p{C}\p{Z}]/u.test(name.replaceAll(" ", "")))
      throw new HeaderError(`${JSON.stringify(name)} cannot name a layer`);
  }
  return names;
}

function integer(value: Value | undefined, lowest: number, highest: number, what: string): number {
  if (typeof value !== "number" || value < lowest || value > highest)
    throw new HeaderError(`${what} is not an integer in ${lowest}..${highest}`);
  return value;
}

// --- checksums (spec 3.4) ---------------------------------------------------------------------------------------------

function withChecksum(length: number): number {
  return length + (length === 0 ? 0 : length < LONG_STREAM ? 2 : 4);
}

/** Whether the checksum behind the first `length` bytes is theirs. */
function sumFits(data: Uint8Array, length: number): boolean {
  const sum = data.subarray(length, withChecksum(length)).reduce((value, byte) => value * 256 + byte, 0);
  const covered = data.subarray(0, length);
  return sum === (length < LONG_STREAM ? crc16(covered) : crc32(covered));
}

function crc16(data: Uint8Array): number {
  let crc = 0xffff;
  for (const byte of data) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc;
}

let table32: Uint32Array | undefined;

/** CRC-32 as in PNG and gzip. */
export function crc32(data: Uint8Array): number {
  table32 ??= Uint32Array.from({ length: 256 }, (_, value) => {
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
  });
  let crc = ~0;
  for (let i = 0; i < data.length; i++) crc = table32[(crc ^ data[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
