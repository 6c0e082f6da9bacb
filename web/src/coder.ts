// The range decoder (spec 5.1), and groups of values (5.3).

import { fromBase64 } from "./bytes.js";
import { FormatError } from "./errors.js";
import { coder as compiled } from "./wasm.js";

const ROWS = 64;
export const SYMBOLS = 130;
const MAX_SYMBOL = 64;
const ESCAPE = MAX_SYMBOL + 1;
const ESCAPE_LENGTH_BITS = 5;
const MAX_ESCAPE_BITS = 19;
const PAGE = 65536; // bytes

interface Exports {
  memory: WebAssembly.Memory;
  sums(): number;
  stream(): number;
  start(bytes: number): void;
  symbol(row: number): number;
  bit(one: number): number;
  uniform(bits: number): number;
  read(): number;
  value(): bigint;
  above(): bigint;
  width(): bigint;
}

let module: WebAssembly.Module | undefined;

/** The counts of the 64 tables (spec 5.2) as sums: uint32 [64, 131], of each row the sum below a symbol. */
export function sumsOf(counts: Int32Array): Uint32Array {
  const sums = new Uint32Array(ROWS * (SYMBOLS + 1));
  for (let row = 0; row < ROWS; row++)
    for (let k = 0; k < SYMBOLS; k++) {
      const at = row * (SYMBOLS + 1) + k;
      sums[at + 1] = sums[at] + counts[row * SYMBOLS + k];
    }
  return sums;
}

/** One stream. `sums`: the tables, for streams that use them. A stream no writer makes is a FormatError. */
export class RangeDecoder {
  private readonly coder: Exports;
  private begun = false;

  constructor(private readonly data: Uint8Array, sums?: Uint32Array) {
    module ??= new WebAssembly.Module(fromBase64(compiled));
    const coder = new WebAssembly.Instance(module).exports as unknown as Exports;
    const missing = coder.stream() + data.length - coder.memory.buffer.byteLength;
    if (missing > 0) coder.memory.grow(Math.ceil(missing / PAGE));
    new Uint8Array(coder.memory.buffer).set(data, coder.stream());
    if (sums) new Uint32Array(coder.memory.buffer, coder.sums(), sums.length).set(sums);
    coder.start(data.length);
    this.coder = coder;
  }

  /** The next symbol of a row of the tables. */
  symbol(row: number): number {
    return this.checked(this.coder.symbol(row));
  }

  /** The next bit, where a 1 has the count `one` of 2^24. */
  bit(one: number): number {
    return this.checked(this.coder.bit(one));
  }

  /** The next of 2^bits equally likely symbols. */
  uniform(bits: number): number {
    return this.checked(this.coder.uniform(bits));
  }

  /** A number below n: number(n) of spec 4.3. */
  number(n: number): number {
    let value = 0;
    for (let bits = 32 - Math.clz32(n - 1); bits > 0; bits--) value = 2 * value + this.uniform(1);
    return value;
  }

  /** The values of a list of rows (spec 5.3). */
  group(rows: Uint8Array): Int32Array {
    const values = new Int32Array(rows.length);
    const escaped: number[] = [];
    for (const place of coded(rows)) {
      const value = this.symbol(rows[place]) - MAX_SYMBOL;
      values[place] = value;
      if (value === ESCAPE) escaped.push(place);
    }
    const lengths = escaped.map(() => this.uniform(ESCAPE_LENGTH_BITS));
    if (lengths.some((bits) => bits > MAX_ESCAPE_BITS)) throw new FormatError(`an escape has more than ${MAX_ESCAPE_BITS} bits`);
    const negative = escaped.map(() => this.uniform(1));
    escaped.forEach((place, i) => {
      let excess = 1;
      for (let bits = lengths[i]; bits > 0; bits--) excess = 2 * excess + this.uniform(1);
      values[place] = negative[i] ? -(MAX_SYMBOL + excess) : MAX_SYMBOL + excess;
    });
    return values;
  }

  /** A FormatError unless the stream is the one that a writer makes of these symbols (spec 5.1, "the end"). */
  finish(): void {
    if (!this.isShortest()) throw new FormatError("the range-coded bytes are damaged, or were made with other tables");
  }

  private isShortest(): boolean {
    const { data, coder } = this;
    if (!this.begun) return data.length === 0;
    if (data.length > coder.read() || data[data.length - 1] === 0) return false;
    // The interval and the stream's value differ in their last 64 bits only: all that matters is how they lie there.
    const value = BigInt.asUintN(64, coder.value());
    const low = value - BigInt.asUintN(64, coder.above());
    const high = low + BigInt.asUintN(64, coder.width());
    for (let free = 64n; ; free -= 8n) {
      const candidate = -(-low >> free) << free; // rounded up
      if (candidate < high) return candidate === value;
    }
  }

  private checked(symbol: number): number {
    this.begun = true;
    if (symbol < 0) throw new FormatError("the range-coded bytes are not valid");
    return symbol;
  }
}

/** The places with a row above 0, by row and then in order. */
function coded(rows: Uint8Array): Uint32Array {
  const starts = new Uint32Array(ROWS + 1);
  for (const row of rows) starts[row + 1]++;
  const skipped = starts[1];
  starts[1] = 0;
  for (let row = 1; row <= ROWS; row++) starts[row] += starts[row - 1];
  const order = new Uint32Array(rows.length - skipped);
  for (let place = 0; place < rows.length; place++) if (rows[place]) order[starts[rows[place]]++] = place;
  return order;
}
