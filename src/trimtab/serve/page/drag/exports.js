// What a person takes home.

import { call, failureOf } from "../api.js";
import { button, h } from "../dom.js";
import { addressOf } from "./live.js";

const KINDS = [
  { name: "picture.png", text: "PNG", label: "Save the picture as PNG" },
  { name: "drag.gif", text: "GIF", label: "Save the way there as an animated GIF", moved: true },
  { name: "drag.webp", text: "WebP", label: "Save the way there as an animated WebP", moved: true },
  { name: "latent.safetensors", text: "Latent", label: "Save the latent code" },
  { name: "adapter.safetensors", text: "Adapter", label: "Save the photo's adapter", portrait: true },
  { name: "recipe.json", text: "Recipe", label: "Save the recipe that makes it again", moved: true },
];

export class Exports {
  /** @param {(failure: object|null) => void} tell */
  constructor(tell) {
    this.tell = tell;
    this.key = "";
    this.buttons = KINDS.map((kind) => button({ icon: "save", label: kind.label, text: kind.text, kind: "quiet.small.edged", onclick: () => this.save(kind) }));
    this.element = h("section.drag-part", { "aria-label": "Save" }, h("h2", {}, "Save"), h("div.row.wrap", {}, ...this.buttons));
  }

  show(key, how) {
    this.key = key;
    this.how = how;
    this.fill(how);
  }

  fill({ open, moment, portrait }) {
    this.buttons.forEach((one, index) => {
      one.hidden = Boolean(KINDS[index].portrait) && !portrait;
      one.disabled = !open || this.busy || (KINDS[index].moved && moment === 0);
    });
  }

  async save({ name }) {
    const { key } = this;
    this.busy = true;
    this.fill(this.how);
    try {
      const response = await call(addressOf(key, name));
      download(await response.blob(), `${key}-${name}`);
      this.tell(null);
    } catch (error) {
      this.tell(failureOf(error));
    }
    this.busy = false;
    this.fill(this.how);
  }
}

function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
