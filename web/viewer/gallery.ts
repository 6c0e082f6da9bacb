// The page of `obic serve`: every file of a folder, decoded when it comes into view.

import "../src/element.js";

interface Facts {
  folder: string;
  files: { name: string; problem?: string; width: number; height: number; bytes: number; layers: { name: string }[] }[];
}

const facts = JSON.parse(document.getElementById("facts")!.textContent!) as Facts;
const gallery = document.getElementById("gallery")!;

function add<K extends keyof HTMLElementTagNameMap>(parent: Element, tag: K, text = ""): HTMLElementTagNameMap[K] {
  return parent.appendChild(Object.assign(document.createElement(tag), { textContent: text }));
}

document.title = `${facts.folder} · obic`;
document.getElementById("title")!.textContent = facts.folder;
const total = facts.files.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
document.getElementById("summary")!.textContent = facts.files.length
  ? `${facts.files.length} pictures, ${total.toLocaleString("en")} bytes` : "No .obic files here. Make one: obic encode photo.png";

for (const file of facts.files) {
  const item = add(gallery, "li");
  if (file.problem) {
    add(item, "b", file.name);
    add(item, "p", file.problem);
    continue;
  }
  const address = `/files/${file.name.split("/").map(encodeURIComponent).join("/")}`;
  const link = add(item, "a");
  link.href = `/viewer/?src=${encodeURIComponent(address)}`;
  const picture = document.createElement("obic-img");
  picture.style.aspectRatio = `${file.width} / ${file.height}`;
  for (const [name, value] of Object.entries({ src: address, alt: file.name, loading: "lazy" })) picture.setAttribute(name, value);
  link.append(picture);
  const caption = add(link, "span");
  add(caption, "b", file.name);
  add(caption, "small", `${file.width} × ${file.height}, ${file.bytes.toLocaleString("en")} bytes, ${file.layers.length} ${file.layers.length === 1 ? "layer" : "layers"}`);
  picture.addEventListener("error", (event) => add(caption, "p", (event as unknown as CustomEvent<Error>).detail.message));
}
