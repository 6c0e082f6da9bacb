// Files to pictures: the container, the model and the networks joined.

import { Container, fileOrder, PIXEL_MASK, type Limits } from "./container.js";
import { FormatError } from "./errors.js";
import { IntegerModel, type Cells } from "./integers.js";
import { Kernels, type Speed } from "./kernels.js";
import { alphaFromCells, alphaFromMask, labelMap, pixelMask, type Plane } from "./masks.js";
import { fetchModel, Model, type Look } from "./model.js";
import { Latent, LatentDecoder, Synthesis } from "./networks.js";
import type { ByteSource } from "./source.js";

/** What to decode, and how. */
export interface DecodeOptions {
  /** Names or indices; without, all layers that the file has. */
  layers?: (string | number)[];
  /** "faithful" (the default) or "vivid": sharp instead of smooth at low rates, with detail that is made up. */
  look?: Look;
  /** What becomes of a layer that is damaged or cut off: an error (the default), or it is left out. */
  damaged?: "error" | "skip";
  limits?: Partial<Limits>;
}

/** A decoded picture: RGBA, and what it lacks. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Indices of layers that are not in it; their part of the picture is transparent. */
  missing: number[];
  /** The alpha follows the grid, because the pixel mask is damaged. */
  maskDamaged: boolean;
}

/** How the networks run; pictures are the same but for rounding. */
export interface Tuning {
  /** which build: the fastest that runs here */
  speed?: Speed;
  /** of a tile, in cells */
  side?: number;
}

/** Models, and the networks made of them, each loaded when a file first needs it. */
export class Decoder {
  private readonly added = new Map<string, Model>();
  private readonly codecs = new Map<number, Promise<Codec>>();

  /** models: the address of the folder with the model files. */
  constructor(public models: string, private readonly tuning: Tuning = {}) {}

  /** Makes a model known by the bytes of its file, so that nothing is fetched. */
  add(data: Uint8Array): void {
    const model = new Model(data);
    this.added.set(keyOf(model.fingerprint, model.look), model);
  }

  /** The picture of a file. partial: is given what there is while the bytes of the next layer are still on their way. */
  async decode(source: ByteSource, options: DecodeOptions = {}, partial?: (picture: Picture) => void): Promise<Picture> {
    const decoding = new Decoding(await Container.open(source, options.limits), options);
    const [codec] = await Promise.all([this.codec(decoding.model), decoding.prefetch()]);
    return decoding.run(codec, partial);
  }

  codec(fingerprint: number): Promise<Codec> {
    let codec = this.codecs.get(fingerprint);
    if (!codec) {
      codec = this.loadCodec(fingerprint);
      this.codecs.set(fingerprint, codec);
      codec.catch(() => this.codecs.delete(fingerprint));
    }
    return codec;
  }

  private async loadCodec(fingerprint: number): Promise<Codec> {
    const load = async (look: Look): Promise<Model> =>
      this.added.get(keyOf(fingerprint, look)) ?? fetchModel(this.models, fingerprint, look);
    const [kernels, model] = await Promise.all([Kernels.open(this.tuning.speed), load("faithful")]);
    return new Codec(kernels, model, load, this.tuning.side);
  }
}

function keyOf(fingerprint: number, look: Look): string {
  return `${fingerprint} ${look}`;
}

/** All that a decoder knows of one model. */
export class Codec {
  readonly integers: IntegerModel;
  private readonly latents: LatentDecoder;
  private readonly looks = new Map<Look, Promise<Synthesis>>();

  constructor(
    private readonly kernels: Kernels, private readonly model: Model,
    private readonly load: (look: Look) => Promise<Model>, private readonly side?: number,
  ) {
    this.integers = new IntegerModel(model);
    this.latents = new LatentDecoder(kernels, model, side);
    this.looks.set("faithful", Promise.resolve(new Synthesis(kernels, model, side)));
  }

  latent(height: number, width: number): Latent {
    return new Latent(height, width, this.model.shape.latent);
  }

  /** Adds a layer to a latent, which stays as it is if the sub-stream is damaged. */
  add(latent: Latent, stream: Uint8Array, cells: Cells, quality: number): void {
    this.latents.add(latent, this.integers.decode(stream, cells, quality), cells, quality);
  }

  synthesis(look: Look): Promise<Synthesis> {
    let synthesis = this.looks.get(look);
    if (!synthesis) {
      synthesis = this.load(look).then((model) => new Synthesis(this.kernels, model, this.side));
      this.looks.set(look, synthesis);
      synthesis.catch(() => this.looks.delete(look));
    }
    return synthesis;
  }
}

/** One file being decoded. Raises at once what its header, its label map and the choice of layers have to say. */
class Decoding {
  private readonly labels: Plane;
  private readonly wanted: number[]; // layers by index, in the order of the file
  private readonly shown: number[] = [];
  private nextPartial = 0; // when there may be one, so that they take half of the time at most

  constructor(private readonly container: Container, private readonly options: DecodeOptions) {
    const { header } = container;
    const named = options.layers && new Set(options.layers.flatMap((layer) => container.layerIndices(layer)));
    this.labels = labelMap(header);
    this.wanted = fileOrder(header.layers)
      .filter((layer) => (named ? named.has(layer.index) : layer.length !== null))
      .map((layer) => layer.index);
  }

  get model(): number {
    return this.container.header.model;
  }

  prefetch(): Promise<void> {
    return this.container.prefetch(this.wanted, this.wanted.includes(0) ? [] : [PIXEL_MASK]);
  }

  async run(codec: Codec, partial?: (picture: Picture) => void): Promise<Picture> {
    const { container, options, labels } = this;
    const latent = codec.latent(labels.height, labels.width);
    const synthesis = codec.synthesis(options.look ?? "faithful");
    const picture = async (whole: boolean): Promise<Picture> => this.picture(latent, await synthesis, whole);
    let failure: unknown;
    for (const index of this.wanted) {
      if (partial && this.shown.length && !container.hasLayer(index)) await this.showPartial(() => picture(false), partial);
      try {
        await this.add(latent, codec, index);
      } catch (error) {
        if (options.damaged !== "skip" || !(error instanceof FormatError)) throw error;
        failure = error;
      }
    }
    if (!this.shown.length) throw failure ?? new FormatError("the file holds no layer");
    if (!options.layers && options.damaged !== "skip") await container.checkEnd();
    return picture(true);
  }

  private async showPartial(picture: () => Promise<Picture>, partial: (picture: Picture) => void): Promise<void> {
    const start = performance.now();
    if (start < this.nextPartial) return;
    partial(await picture());
    this.nextPartial = 2 * performance.now() - start;
  }

  private async add(latent: Latent, codec: Codec, index: number): Promise<void> {
    const { container, labels } = this;
    const stream = await container.readLayer(index);
    const places = Uint32Array.from(labels.data.keys()).filter((cell) => labels.data[cell] === index);
    try {
      codec.add(latent, stream, { ...labels, places }, container.header.layers[index].quality);
    } catch (error) {
      throw error instanceof FormatError ? new FormatError(`layer ${index}: ${error.message}`) : error;
    }
    this.shown.push(index);
  }

  private async picture(latent: Latent, synthesis: Synthesis, whole: boolean): Promise<Picture> {
    const { width, height, layers } = this.container.header;
    const data = synthesis.run(latent, height, width);
    const missing = layers.map((layer) => layer.index).filter((index) => !this.shown.includes(index));
    const { alpha, maskDamaged } = await this.alpha(missing, whole);
    alpha?.forEach((value, pixel) => (data[4 * pixel + 3] = value));
    return { width, height, data, missing, maskDamaged };
  }

  /** The alpha of what is shown, null where nothing that can be seen is missing. whole: the file has been read. */
  private async alpha(missing: number[], whole: boolean): Promise<{ alpha: Uint8Array | null; maskDamaged: boolean }> {
    const { container, labels, shown, options } = this;
    const { width, height } = container.header;
    if (!options.layers && !labels.data.some((label) => missing.includes(label))) return { alpha: null, maskDamaged: false };
    try {
      const part = whole && !shown.includes(0) ? await container.readPart(PIXEL_MASK) : null;
      if (part) return { alpha: alphaFromMask(pixelMask(part, labels, width, height), labels, shown), maskDamaged: false };
    } catch (error) {
      if (options.damaged !== "skip" || !(error instanceof FormatError)) throw error;
      return { alpha: alphaFromCells(labels, shown, width, height), maskDamaged: true };
    }
    return { alpha: alphaFromCells(labels, shown, width, height), maskDamaged: false };
  }
}
