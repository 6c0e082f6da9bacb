// <obic-img src="photo.obic" layer="object" look="vivid" alt="a cat">: a picture in a page, as <img> is.

import { decode, type Look } from "./index.js";

const STYLE = new CSSStyleSheet(); // not an element: a page may forbid those
STYLE.replaceSync(":host { display: inline-block } canvas { display: block; width: 100%; height: auto }");

/**
 * Attributes: src, layer (names or indices, separated by commas), look, alt, loading ("lazy" waits until it is near the
 * window). Events: "partial" when there is something to see, "load" when all is there, "error" with the error as `detail`.
 */
export class ObicImage extends HTMLElement {
  static readonly observedAttributes = ["src", "layer", "look", "alt", "loading"];

  private readonly canvas = document.createElement("canvas");
  private shown = 0; // which change of the attributes the picture belongs to
  private readonly watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) void this.show();
  }, { rootMargin: "50%" });

  constructor() {
    super();
    this.canvas.setAttribute("part", "canvas");
    this.canvas.width = this.canvas.height = 0;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    root.append(this.canvas);
  }

  connectedCallback(): void {
    this.update();
  }

  disconnectedCallback(): void {
    this.watch.disconnect();
  }

  attributeChangedCallback(name: string): void {
    if (name === "alt") this.describe();
    else if (this.isConnected) this.update();
  }

  /** The canvas that holds the pixels. */
  get pixels(): HTMLCanvasElement {
    return this.canvas;
  }

  private update(): void {
    this.describe();
    this.shown++;
    this.watch.disconnect();
    if (!this.getAttribute("src")) return;
    if (this.getAttribute("loading") === "lazy") this.watch.observe(this);
    else void this.show();
  }

  private describe(): void {
    const alt = this.getAttribute("alt");
    this.canvas.setAttribute("role", alt === "" ? "presentation" : "img");
    this.canvas.setAttribute("aria-label", alt ?? "");
  }

  private async show(): Promise<void> {
    this.watch.disconnect();
    const change = this.shown;
    const draw = (image: ImageData, event: string): void => {
      if (change !== this.shown) return;
      [this.canvas.width, this.canvas.height] = [image.width, image.height];
      this.canvas.getContext("2d")!.putImageData(image, 0, 0);
      this.dispatchEvent(new Event(event));
    };
    const layers = this.getAttribute("layer")?.split(",").map((layer) => layer.trim());
    try {
      const look = (this.getAttribute("look") ?? "faithful") as Look;
      const image = await decode(this.getAttribute("src")!, { layers, look, onPartial: (decoded) => draw(decoded.image, "partial") });
      draw(image, "load");
    } catch (error) {
      if (change === this.shown) this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }
}

if (!customElements.get("obic-img")) customElements.define("obic-img", ObicImage);
