// Runs the reader for tests/web/test_web.py. A JSON object a line in, one a line out:
//   {memory: true}                                       how many bytes this process has
//   {model: path}                                        makes a model known
//   {file: path, limits}                                 what each section of a file holds: an error, or a hash
//   {file: path, pixels: path, speed, side, ...options}  the picture, its RGBA written to `pixels`, or an error

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Container, PIXEL_MASK } from "../src/container.ts";
import { Decoder } from "../src/decoder.ts";
import { ObicError } from "../src/errors.ts";
import { labelMap, pixelMask } from "../src/masks.ts";
import { inRanges } from "../src/source.ts";

const NOWHERE = "http://nowhere.invalid/";
globalThis.fetch = async () => new Response(null, { status: 404 }); // no model comes from a network
const models = [];
const decoders = new Map();

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  console.log(JSON.stringify(await answer(request)));
}

function answer(request) {
  if (request.memory) return { bytes: process.memoryUsage().rss };
  if (request.model) return attempt(() => addModel(request.model));
  return request.pixels ? picture(request) : sections(request);
}

function addModel(path) {
  const data = readFileSync(path);
  new Decoder(NOWHERE).add(data);
  models.push(data);
  decoders.clear();
  return {};
}

function decoderFor(speed, side) {
  const key = `${speed} ${side}`;
  if (!decoders.has(key)) {
    decoders.set(key, new Decoder(NOWHERE, { speed, side }));
    for (const model of models) decoders.get(key).add(model);
  }
  return decoders.get(key);
}

async function picture({ file, pixels, speed, side, ...options }) {
  const found = await attempt(() => decoderFor(speed, side).decode(source(file), options));
  if (found.error) return found;
  const { data, ...rest } = found;
  writeFileSync(pixels, data);
  return rest;
}

async function sections({ file, limits }) {
  const container = await attempt(() => Container.open(source(file), limits));
  if (container.error) return { header: container };
  const { totalBytes, maskBytes, partBytes, header } = container;
  const { mask, parts, ...facts } = header;
  const labels = await attempt(() => labelMap(header));
  const part = await attempt(() => container.readPart(PIXEL_MASK));
  const readable = part && !part.error && !labels.error;
  const pixels = readable ? await attempt(() => pixelMask(part, labels, header.width, header.height)) : part?.error && part;
  return {
    header: { ...facts, bytes: { total: totalBytes, mask: maskBytes, parts: partBytes } },
    labels: summary(labels),
    pixelMask: pixels ? summary(pixels) : null,
    ...(await layersOf(container, labels)),
    end: (await attempt(() => container.checkEnd())) ?? null,
  };
}

/** The integers of each layer, and those of all as the golden files have them. */
async function layersOf(container, labels) {
  const { header } = container;
  const codec = models.length ? await decoderFor().codec(header.model).catch(() => null) : null;
  const all = createHash("sha256");
  const layers = [];
  for (const { index, quality, length } of header.layers) {
    if (length === null) continue;
    const stream = await attempt(() => container.readLayer(index));
    const readable = !stream.error && !labels.error && codec;
    const integers = readable ? await attempt(() => integersOf(codec, stream, labels, index, quality)) : stream;
    for (const array of readable && !integers.error ? integers : []) all.update(bytesOf(array));
    layers.push(integers.error ? integers : readable ? hash(...integers) : null);
  }
  return { layers, symbols: all.digest("hex") };
}

/** z, and r on the whole grid. */
function integersOf(codec, stream, labels, index, quality) {
  const places = Uint32Array.from(labels.data.keys()).filter((cell) => labels.data[cell] === index);
  const { z, r } = codec.integers.decode(stream, { ...labels, places }, quality);
  const [channels, cells] = [codec.model.shape.latent, labels.data.length];
  const whole = new Int32Array(channels * cells);
  for (let c = 0; c < channels; c++) places.forEach((cell, i) => (whole[c * cells + cell] = r[c * places.length + i]));
  return [z, whole];
}

function source(path) {
  return inRanges(new Uint8Array(readFileSync(path)));
}

function summary(plane) {
  return plane.error ? plane : hash(plane.data);
}

function hash(...arrays) {
  const digest = createHash("sha256");
  for (const array of arrays) digest.update(bytesOf(array));
  return digest.digest("hex");
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** What the work gives, or the error that the package raises on purpose; any other ends the program. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ObicError)) throw error;
    return { error: error.name, message: error.message };
  }
}
