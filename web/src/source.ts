// Where the bytes of a file come from: memory, a Blob, ranges of an address, an address read from its start.

import { plain } from "./bytes.js";
import { ObicError } from "./errors.js";

export interface ByteSource {
  /** The bytes from `offset` on, shorter than `length` only where the file ends. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Whether `read` would give them without waiting for a network. */
  has(offset: number, length: number): boolean;
  /** What will be read, so that what stands together comes with one request. */
  prefetch(ranges: Range[]): Promise<void>;
  /** Nothing will be read any more: what is still on its way need not come. */
  close(): void;
}

export interface Range {
  offset: number;
  length: number;
}

/** What `open` and `decode` take: the file itself, or its address. */
export type Input = ArrayBuffer | Uint8Array | Blob | string | URL;

/** An `Input` as it can be sent to a worker. */
export type Origin = Uint8Array | Blob | string;

export function originOf(input: Input): Origin {
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (input instanceof Uint8Array) return plain(input);
  if (input instanceof Blob) return input;
  return new URL(input, globalThis.document?.baseURI).href;
}

/** A source for which each range is a request of its own, if the origin is an address. */
export function inRanges(origin: Origin): ByteSource {
  return typeof origin === "string" ? new RangeSource(origin) : inMemory(origin);
}

/** A source that is read once, from its start, and gives what has arrived. */
export function asStream(origin: Origin): ByteSource {
  return typeof origin === "string" ? new StreamSource(origin) : inMemory(origin);
}

function inMemory(origin: Uint8Array | Blob): ByteSource {
  return origin instanceof Uint8Array ? new BytesSource(origin) : new BlobSource(origin);
}

class BytesSource implements ByteSource {
  constructor(private readonly data: Uint8Array) {}

  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.data.subarray(offset, offset + length);
  }

  has(): boolean {
    return true;
  }

  async prefetch(): Promise<void> {}

  close(): void {}
}

class BlobSource implements ByteSource {
  constructor(private readonly blob: Blob) {}

  async read(offset: number, length: number): Promise<Uint8Array> {
    return new Uint8Array(await this.blob.slice(offset, offset + length).arrayBuffer());
  }

  has(): boolean {
    return true;
  }

  async prefetch(): Promise<void> {}

  close(): void {}
}

const FIRST_REQUEST = 256; // bytes: the whole header of a usual file, and seldom more than the first part of a layer

class RangeSource implements ByteSource {
  private spans: { offset: number; data: Uint8Array }[] = [];
  private end = Infinity; // of the file, once it is known

  constructor(private readonly address: string) {}

  async read(offset: number, length: number): Promise<Uint8Array> {
    const missing = this.missing(offset, length);
    if (missing.length > 0) await this.request(missing.offset, missing.offset ? missing.length : Math.max(missing.length, FIRST_REQUEST));
    return this.known(offset, length);
  }

  has(offset: number, length: number): boolean {
    return this.missing(offset, length).length === 0;
  }

  async prefetch(ranges: Range[]): Promise<void> {
    const joined: Range[] = [];
    for (const { offset, length } of [...ranges].sort((a, b) => a.offset - b.offset)) {
      const last = joined.at(-1);
      if (last && last.offset + last.length === offset) last.length += length;
      else joined.push({ offset, length });
    }
    await Promise.all(joined.map(({ offset, length }) => this.read(offset, length)));
  }

  close(): void {}

  /** The bytes from `offset` on that are here, as far as they go without a gap. */
  private known(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    let filled = 0;
    for (let more = true; more && filled < length; ) {
      more = false;
      for (const span of this.spans) {
        const from = offset + filled - span.offset;
        if (from < 0 || from >= span.data.length) continue;
        const piece = span.data.subarray(from, from + length - filled);
        data.set(piece, filled);
        filled += piece.length;
        more = true;
      }
    }
    return data.subarray(0, filled);
  }

  private missing(offset: number, length: number): Range {
    const here = this.known(offset, length).length;
    return { offset: offset + here, length: Math.max(0, Math.min(offset + length, this.end) - offset - here) };
  }

  private async request(offset: number, length: number): Promise<void> {
    const response = await fetch(this.address, { headers: { Range: `bytes=${offset}-${offset + length - 1}` } });
    if (response.status === 416) {
      // The answer to a range behind the end, which lies where the file has it, or else at `offset`.
      const size = /\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
      this.end = size ? Number(size[1]) : offset;
      return;
    }
    const data = new Uint8Array(await checked(this.address, response).arrayBuffer());
    if (response.status !== 206) {
      this.spans = [{ offset: 0, data }]; // a server without ranges sends the whole
      this.end = data.length;
      return;
    }
    this.spans.push({ offset, data });
    if (data.length < length) this.end = offset + data.length;
  }
}

class StreamSource implements ByteSource {
  private data = new Uint8Array(1 << 14);
  private received = 0;
  private finished = false;
  private failure: unknown;
  private arrived: Promise<void> = Promise.resolve();
  private wake = (): void => {};
  private readonly stop = new AbortController();

  constructor(private readonly address: string) {
    this.sleep();
    void this.pump();
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    while (!this.has(offset, length)) await this.arrived;
    if (this.failure && this.received < offset + length) throw this.failure;
    return this.data.subarray(offset, Math.min(offset + length, this.received));
  }

  has(offset: number, length: number): boolean {
    return this.finished || this.received >= offset + length;
  }

  async prefetch(): Promise<void> {}

  close(): void {
    this.stop.abort();
  }

  private sleep(): void {
    this.arrived = new Promise((resolve) => (this.wake = resolve));
  }

  private async pump(): Promise<void> {
    try {
      const reader = checked(this.address, await fetch(this.address, { signal: this.stop.signal })).body!.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) this.append(part.value);
    } catch (error) {
      this.failure = error;
    }
    this.finished = true;
    this.wake();
  }

  private append(piece: Uint8Array): void {
    if (this.received + piece.length > this.data.length) {
      const larger = new Uint8Array(Math.max(2 * this.data.length, this.received + piece.length));
      larger.set(this.data.subarray(0, this.received));
      this.data = larger;
    }
    this.data.set(piece, this.received);
    this.received += piece.length;
    this.wake();
    this.sleep();
  }
}

function checked(address: string, response: Response): Response {
  if (!response.ok) throw new ObicError(`${address}: HTTP ${response.status} ${response.statusText}`.trimEnd());
  return response;
}
