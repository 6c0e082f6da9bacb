// Where decoding happens: in a worker, so that a page stays alive, or in the thread that asks.

import { Decoder, type DecodeOptions, type Picture } from "./decoder.js";
import { ObicError, revived } from "./errors.js";
import { asStream, inRanges, type Origin } from "./source.js";

/** One picture to decode. Layers by name come in ranges, a whole picture as a stream. */
export interface Job {
  origin: Origin;
  options: DecodeOptions;
  /** the address of the folder with the model files */
  models: string;
}

export interface Engine {
  decode(job: Job, partial?: (picture: Picture) => void): Promise<Picture>;
  addModel(data: Uint8Array): Promise<void>;
}

/** What goes to the worker, and what comes back. */
export type Request = { id: number } & ({ job: Job; partial: boolean } | { model: Uint8Array });
export type Reply = { id: number } & (
  | { partial: Picture } | { picture: Picture } | { known: true } | { error: { name: string; message: string } }
);

export class LocalEngine implements Engine {
  private readonly decoder = new Decoder("");

  async decode(job: Job, partial?: (picture: Picture) => void): Promise<Picture> {
    this.decoder.models = job.models;
    const source = job.options.layers ? inRanges(job.origin) : asStream(job.origin);
    try {
      return await this.decoder.decode(source, job.options, partial);
    } finally {
      source.close();
    }
  }

  async addModel(data: Uint8Array): Promise<void> {
    this.decoder.add(data);
  }
}

interface Waiting {
  partial?: (picture: Picture) => void;
  resolve(picture?: Picture): void;
  reject(error: Error): void;
}

export class WorkerEngine implements Engine {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor(worker: Worker | string | URL) {
    this.worker = worker instanceof Worker ? worker : new Worker(worker, { type: "module", name: "obic" });
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => this.receive(data);
    this.worker.onerror = (event) => {
      const error = new ObicError(`the decoder's worker failed: ${event.message || "it could not be loaded"}`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
  }

  async decode(job: Job, partial?: (picture: Picture) => void): Promise<Picture> {
    return (await this.send({ job, partial: partial !== undefined }, partial))!;
  }

  async addModel(data: Uint8Array): Promise<void> {
    await this.send({ model: data });
  }

  private send(request: { job: Job; partial: boolean } | { model: Uint8Array }, partial?: (picture: Picture) => void): Promise<Picture | undefined> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { partial, resolve, reject });
      this.worker.postMessage({ id, ...request } satisfies Request);
    });
  }

  private receive(reply: Reply): void {
    const waiting = this.waiting.get(reply.id);
    if (!waiting) return;
    if ("partial" in reply) return waiting.partial?.(reply.partial);
    this.waiting.delete(reply.id);
    if ("error" in reply) waiting.reject(revived(reply.error));
    else waiting.resolve("picture" in reply ? reply.picture : undefined);
  }
}
