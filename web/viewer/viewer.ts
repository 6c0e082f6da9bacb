// The page that shows a file: its picture, its layers, the mask, where the bytes are.

import { CELL, open, UnsupportedError, type Decoded, type Input, type Look, type ObicFile } from "../src/index.js";

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const picture = element<HTMLCanvasElement>("picture");
const overlay = element<HTMLCanvasElement>("overlay");
const mask = element<HTMLInputElement>("mask");
const save = element<HTMLButtonElement>("save");
const WHOLE = "all"; // in place of a layer's index

/** The file that is open, and the pictures made of it so far, by layer and look. */
interface Shown {
  file: ObicFile;
  name: string;
  pictures: Map<string, Decoded>;
}

let shown: Shown | undefined;
let newest = 0; // which wish of the user is the last; what older ones bring is dropped

// --- opening ----------------------------------------------------------------------------------------------------------

async function show(input: Input, name: string): Promise<void> {
  const wish = ++newest;
  tell(`Opening ${name} …`);
  try {
    const file = await open(input);
    if (wish !== newest) return;
    shown = { file, name, pictures: new Map() };
    describe(shown);
    await draw();
  } catch (error) {
    if (wish === newest) complain(error);
  }
}

/** All of the page that needs no pixels. */
function describe({ file, name }: Shown): void {
  document.title = `${name} · obic viewer`;
  element("viewer").hidden = false;
  [picture.width, picture.height] = [file.width, file.height];
  listLayers(file);
  listBytes(file);
  paintMask(file);
  overlay.hidden = !mask.checked;
  for (const radio of radios("look")) {
    radio.disabled = false;
    radio.checked = radio.value === "faithful";
  }
}

/** Draws what is chosen, from the pictures there are or anew: the objects first, if the background is slow to come. */
async function draw(): Promise<void> {
  if (!shown) return;
  const { file, name, pictures } = shown;
  const wish = ++newest;
  const [layer, look] = [chosen("layer"), chosen("look") as Look];
  const title = layer === WHOLE ? name : `${name}, ${file.layers[Number(layer)].name} alone`;
  const key = `${layer} ${look}`;
  const start = performance.now();
  save.disabled = true;
  const anew = !pictures.has(key);
  if (anew) tell(`Decoding ${title} …`);
  const partial = (decoded: Decoded): void => {
    if (wish !== newest) return;
    paint(decoded, title);
    tell(`${names(file, decoded.missing)} still to come …`);
  };
  try {
    const layers = layer === WHOLE ? undefined : [Number(layer)];
    const decoded = pictures.get(key) ?? (await file.decode({ look, layers, damaged: layers ? "error" : "skip", onPartial: partial }));
    pictures.set(key, decoded);
    if (wish !== newest) return;
    paint(decoded, title);
    save.disabled = false;
    const own = layers ? `${number(file.layers[layers[0]].length!)} of ` : "";
    const time = anew ? `, decoded in ${((performance.now() - start) / 1000).toFixed(1)} s` : "";
    tell(`${title}: ${file.width} × ${file.height} pixels, ${own}${number(file.bytes.total)} bytes${time}`);
    complainOf(file, decoded, layers !== undefined);
  } catch (error) {
    if (wish !== newest) return;
    if (look !== "faithful" && error instanceof UnsupportedError) return withoutLook(look, error);
    complain(error);
  }
}

/** A look that the model does not have: back to the faithful one. */
async function withoutLook(look: Look, error: Error): Promise<void> {
  for (const radio of radios("look")) {
    radio.disabled ||= radio.value === look;
    radio.checked = radio.value === "faithful";
  }
  await draw();
  complain(error);
}

/** Damage and absence, in a picture that is there all the same. */
function complainOf(file: ObicFile, decoded: Decoded, alone: boolean): void {
  const lost = alone ? [] : decoded.missing.filter((index) => file.layers[index].length !== null);
  if (lost.length) complain(new Error(`${names(file, lost)} is damaged or cut off, and left out`));
  else if (decoded.maskDamaged) complain(new Error("the pixel mask is damaged: edges follow the grid"));
}

// --- the page ---------------------------------------------------------------------------------------------------------

function paint(decoded: Decoded, title: string): void {
  picture.getContext("2d")!.putImageData(decoded.image, 0, 0);
  picture.setAttribute("aria-label", `${title}, ${decoded.image.width} by ${decoded.image.height} pixels`);
}

function listLayers(file: ObicFile): void {
  const choices = file.layers.length > 1 ? [...file.layers.slice(1), file.layers[0]] : [];
  const list = element("layers");
  list.replaceChildren(list.firstElementChild!);
  addChoice(list, WHOLE, "whole picture", "", true, false);
  for (const { index, name, quality, length } of choices) {
    const note = length === null ? "not in this file" : `quality ${quality}, ${number(length)} bytes`;
    addChoice(list, `${index}`, name, note, false, length === null);
  }
}

function addChoice(list: HTMLElement, value: string, text: string, note: string, checked: boolean, disabled: boolean): void {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "layer", value, checked, disabled });
  const small = Object.assign(document.createElement("small"), { textContent: note });
  label.append(input, text, small);
  list.append(label);
}

function listBytes(file: ObicFile): void {
  const { total, mask, parts, overhead } = file.bytes;
  const layers = [...file.layers.slice(1), file.layers[0]];
  const rows = [
    ...layers.map(({ index, name, length }) => ({ name, bytes: length ?? 0, colour: colour(index) })),
    { name: "label map", bytes: mask, colour: "#2a9d8f" },
    { name: "optional parts", bytes: parts, colour: "#b08968" },
    { name: "overhead", bytes: overhead, colour: "#444b59" },
  ].filter(({ bytes }) => bytes > 0);
  const [bar, legend] = [element("bar"), element("legend")];
  bar.replaceChildren();
  legend.replaceChildren();
  for (const { name, bytes, colour } of rows) {
    const part = bar.appendChild(document.createElement("div"));
    const row = legend.appendChild(document.createElement("tr"));
    const cells = [name, number(bytes), `${((100 * bytes) / total).toFixed(1)} %`].map((text, i) =>
      Object.assign(document.createElement(i ? "td" : "th"), { textContent: text }));
    cells[0].setAttribute("scope", "row");
    row.append(...cells);
    for (const each of [part, cells[0]]) each.style.setProperty("--colour", colour);
    part.style.setProperty("--bytes", `${bytes}`);
  }
}

/** The label map over the picture, a pixel a cell; its last row and column may stand for less than a cell. */
function paintMask(file: ObicFile): void {
  const { data, width, height } = file.labels();
  [overlay.width, overlay.height] = [width, height];
  overlay.style.width = `${(100 * CELL * width) / file.width}%`;
  overlay.style.height = `${(100 * CELL * height) / file.height}%`;
  const paint = overlay.getContext("2d")!;
  data.forEach((label, cell) => {
    if (label === 0) return;
    paint.fillStyle = colour(label);
    paint.fillRect(cell % width, Math.floor(cell / width), 1, 1);
  });
}

function colour(index: number): string {
  return index === 0 ? "#7d8597" : `hsl(${(18 + 137.5 * (index - 1)) % 360} 78% 55%)`;
}

function number(value: number): string {
  return value.toLocaleString("en");
}

function names(file: ObicFile, indices: number[]): string {
  return indices.map((index) => file.layers[index].name).join(", ");
}

function radios(name: string): NodeListOf<HTMLInputElement> {
  return document.querySelectorAll(`input[name="${name}"]`);
}

function chosen(name: string): string {
  return [...radios(name)].find((radio) => radio.checked)!.value;
}

function tell(message: string): void {
  element("status").textContent = message;
  element("problem").hidden = true;
}

function complain(error: unknown): void {
  const problem = element("problem");
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
  if (element("status").textContent!.endsWith("…")) element("status").textContent = "";
}

// --- the user ---------------------------------------------------------------------------------------------------------

function showFile(file: File | null | undefined): void {
  if (file) void show(file, file.name);
}

function showAddress(text: string): void {
  try {
    const address = new URL(text, document.baseURI);
    void show(address, decodeURIComponent(address.pathname.split("/").at(-1)!) || address.href);
  } catch {
    complain(new Error(`"${text}" is no address`));
  }
}

element<HTMLFormElement>("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element<HTMLInputElement>("address").value.trim();
  if (text) showAddress(text);
});
element<HTMLInputElement>("file").addEventListener("change", (event) => showFile((event.target as HTMLInputElement).files?.[0]));
element("layers").addEventListener("change", () => void draw());
element("looks").addEventListener("change", () => void draw());
mask.addEventListener("change", () => (overlay.hidden = !mask.checked));

save.addEventListener("click", () => {
  picture.toBlob((blob) => {
    const link = document.createElement("a");
    const layer = chosen("layer");
    const suffix = layer === WHOLE ? "" : `-${shown!.file.layers[Number(layer)].name}`;
    link.download = shown!.name.replace(/\.obic$/i, "") + `${suffix}.png`;
    link.href = URL.createObjectURL(blob!);
    link.click();
    URL.revokeObjectURL(link.href);
  }, "image/png");
});

document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData!;
  const text = event.clipboardData!.getData("text").trim();
  if (files.length) showFile(files[0]);
  else if (/^\S+$/.test(text) && event.target !== element("address")) showAddress(text);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const { files } = event.dataTransfer!;
  const text = event.dataTransfer!.getData("text/uri-list").split("\n")[0].trim();
  if (files.length) showFile(files[0]);
  else if (text) showAddress(text);
});

const asked = new URLSearchParams(location.search).get("src");
if (asked) {
  element<HTMLInputElement>("address").value = asked;
  showAddress(asked);
}
