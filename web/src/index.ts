// The package's API: `open`, `decode`, `extract`.

import { Container, type Layer, type Limits, type Part } from "./container.js";
import type { DecodeOptions, Picture } from "./decoder.js";
import { LocalEngine, WorkerEngine, type Engine } from "./engine.js";
import { labelMap, type Plane } from "./masks.js";
import { inRanges, originOf, type Input, type Origin } from "./source.js";

export { CELL, LIMITS, type Layer, type Limits, type Part } from "./container.js";
export type { DecodeOptions } from "./decoder.js";
export {
  ChecksumError, FormatError, HeaderError, LimitError, NotObicError, ObicError, TruncatedError, UnsupportedError, UsageError,
} from "./errors.js";
export type { Plane } from "./masks.js";
export type { Look } from "./model.js";
export type { Input } from "./source.js";

/** A decoded picture, and what it lacks. */
export interface Decoded {
  image: ImageData;
  /** Indices of layers that are not in it; their part of the picture is transparent. */
  missing: number[];
  /** The alpha follows the grid, because the pixel mask is damaged. */
  maskDamaged: boolean;
}

export interface Options extends DecodeOptions {
  /** Is given what there is while the bytes of the next layer are on their way: the objects before the background. */
  onPartial?: (decoded: Decoded) => void;
}

/** An open file: its header has been read and checked. */
export class ObicFile {
  constructor(private readonly origin: Origin, private readonly container: Container, private readonly limits: Partial<Limits>) {}

  get width(): number { return this.container.header.width; }
  get height(): number { return this.container.header.height; }
  /** The fingerprint of the model that the file needs. */
  get model(): number { return this.container.header.model; }
  /** By index; layer 0 is the background. */
  get layers(): readonly Layer[] { return this.container.header.layers; }
  get parts(): readonly Part[] { return this.container.header.parts; }

  /** Where the file's bytes are: in all, of the label map, of the optional parts; what is left carries no picture. */
  get bytes(): { total: number; mask: number; parts: number; overhead: number } {
    const { totalBytes: total, maskBytes: mask, partBytes: parts } = this.container;
    const layers = this.layers.reduce((sum, layer) => sum + (layer.length ?? 0), 0);
    return { total, mask, parts, overhead: total - mask - parts - layers };
  }

  /** The label map: which layer owns each cell of 16x16 pixels. A FormatError if it is damaged. */
  labels(): Plane {
    return labelMap(this.container.header);
  }

  /** The layers that a name or an index means, by index. A UsageError if there are none. */
  find(layer: string | number): number[] {
    return this.container.layerIndices(layer);
  }

  /** The picture of all layers, or of some. */
  decode(options: Options = {}): Promise<Decoded> {
    return run(this.origin, { limits: this.limits, ...options });
  }
}

/** Opens a file: bytes, a Blob, or an address, of which the header alone is fetched (a request for a range). */
export async function open(input: Input, limits: Partial<Limits> = {}): Promise<ObicFile> {
  const origin = originOf(input);
  return new ObicFile(origin, await Container.open(inRanges(origin), limits), limits);
}

/**
 * The pixels of a file, RGBA: transparent where layers are missing. Of an address, the file is read once from its start;
 * with `layers` the ranges of those alone, behind the header. Raises the errors of this package, or what `fetch` raises.
 */
export async function decode(input: Input, options: Options = {}): Promise<ImageData> {
  return (await run(originOf(input), options)).image;
}

/** The pixels of one layer, or of several together, on nothing: RGBA. Fetches the header and those layers. */
export function extract(input: Input, layer: string | number | (string | number)[], options: Options = {}): Promise<ImageData> {
  return decode(input, { ...options, layers: Array.isArray(layer) ? layer : [layer] });
}

let models: string | URL = new URL("./models/", import.meta.url);
let worker: Worker | string | URL | false = new URL("./worker.js", import.meta.url);
let engine: Engine | undefined;

/**
 * models: the address of the folder with the model files; "models/" beside this module.
 * worker: the address of worker.js, or a worker that runs it; false: decode in the thread that asks, which is what happens where there are no workers.
 */
export function configure(settings: { models?: string | URL; worker?: Worker | string | URL | false }): void {
  if (settings.models !== undefined) models = new URL(settings.models, globalThis.document?.baseURI);
  if (settings.worker !== undefined) {
    worker = settings.worker;
    engine = undefined;
  }
}

/** Makes a model known by the bytes of its file, so that it is not fetched. */
export function addModel(data: Uint8Array): Promise<void> {
  return engineHere().addModel(data);
}

function engineHere(): Engine {
  engine ??= worker === false || typeof Worker === "undefined" ? new LocalEngine() : new WorkerEngine(worker);
  return engine;
}

async function run(origin: Origin, { onPartial, ...options }: Options): Promise<Decoded> {
  const partial = onPartial && ((picture: Picture): void => onPartial(decodedOf(picture)));
  return decodedOf(await engineHere().decode({ origin, options, models: new URL(models).href }, partial));
}

function decodedOf({ width, height, data, missing, maskDamaged }: Picture): Decoded {
  const image = typeof ImageData === "undefined" ? { width, height, data, colorSpace: "srgb" } : new ImageData(data, width, height);
  return { image: image as ImageData, missing, maskDamaged };
}
