// A photo of one's own: sent, its square placed, then made a picture of the generator.

import { alarm, call, failureOf } from "../api.js";
import { button, h } from "../dom.js";
import { Square } from "./square.js";

const KINDS = "image/jpeg,image/png,image/webp,image/bmp,image/gif,image/tiff";
const NO_FACE = { message: "No face was found.", advice: "Place the square by hand: over the whole head, the eyes a little above its middle." };

export class Photo {
  /** @param {{generator: () => string, begun: (key: string) => void, strength: (value: number) => void}} told */
  constructor(told) {
    this.told = told;
    this.square = new Square();
    this.file = h("input.unseen", { type: "file", accept: KINDS, tabindex: "-1", "aria-label": "Photo", onchange: () => this.send(this.file.files[0]) });
    this.choose = button({ icon: "photo", label: "Use a photo of your own", text: "Use a photo", kind: "quiet.small.edged", onclick: () => this.file.click() });
    this.strength = h("input", { type: "range", min: 0, max: 1.5, step: 0.05, value: 1, "aria-label": "Strength of the photo's adapter", oninput: () => this.change() });
    this.drawn = h("output.counts.drag-count");
    this.near = h("p.help");
    this.adapter = h("div.drag-brush", { hidden: true }, h("label.drag-range", { title: "How much of what makes the photo itself is added to the generator" }, h("span", {}, "Strength"), this.strength, this.drawn), this.near);
    this.trouble = h("div");
    this.use = h("button.primary", { type: "button", onclick: () => this.place() }, "Use this square");
    const cancel = h("button.quiet.edged", { type: "button", onclick: () => this.dialog.close() }, "Cancel");
    this.dialog = h("dialog.box.drag-photo", { "aria-label": "Photo" },
      h("h2", {}, "Place the square"), h("p.help", {}, "Drag it over the head. The corner changes its size, the knob turns it. The generator knows faces from the front; hats, hands and glasses come out worse."),
      this.trouble, this.square.canvas, h("div.row.end", {}, cancel, this.use));
    this.element = h("section.drag-part", { "aria-label": "Photo" }, h("div.row.apart", {}, h("h2", {}, "Photo"), this.choose, this.file), this.problem = h("div"), this.adapter, this.dialog);
  }

  /** Take a photo that is dropped on something. */
  takeDrops(element) {
    element.addEventListener("dragover", (event) => event.preventDefault());
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.send(event.dataTransfer.files[0]);
    });
  }

  /** Show the adapter of what stands. @param {object|null} portrait as the server describes it */
  show(portrait) {
    this.adapter.hidden = !portrait;
    if (!portrait) return;
    if (document.activeElement !== this.strength) this.strength.value = portrait.strength;
    this.drawn.textContent = Number(this.strength.value).toFixed(2);
    this.near.textContent = `${portrait.psnr_db.toFixed(1)} dB to the photo; ${portrait.psnr_styles_db.toFixed(1)} dB without the adapter.`;
  }

  change() {
    this.drawn.textContent = Number(this.strength.value).toFixed(2);
    this.told.strength(Number(this.strength.value));
  }

  /** Send a file; the server opens it and looks for a face. @param {Blob|undefined} file */
  async send(file) {
    this.file.value = ""; // so that the same one can be chosen again
    if (!file) return;
    this.choose.disabled = true;
    this.problem.replaceChildren(h("p.help", { role: "status" }, "Looking at the photo"));
    try {
      const found = await (await call("/api/drag/photos", { method: "POST", raw: file.slice() })).json();
      const bitmap = await createImageBitmap(await (await call(`/api/drag/photos/${found.photo}`)).blob());
      if (this.closed) {
        bitmap.close();
        return;
      }
      this.found = found;
      this.problem.replaceChildren();
      this.trouble.replaceChildren(...(found.placement ? [] : [alarm(NO_FACE)]));
      this.dialog.showModal();
      this.square.show({ ...found, bitmap });
      this.square.canvas.focus();
    } catch (error) {
      this.problem.replaceChildren(alarm(failureOf(error)));
    }
    this.choose.disabled = false;
  }

  close() {
    this.closed = true;
    this.dialog.close();
  }

  async place() {
    this.use.disabled = true;
    try {
      const body = { generator: this.told.generator(), ...this.square.place };
      const { key } = await (await call(`/api/drag/photos/${this.found.photo}`, { method: "POST", body })).json();
      this.dialog.close();
      this.told.begun(key);
    } catch (error) {
      this.trouble.replaceChildren(alarm(failureOf(error)));
    }
    this.use.disabled = false;
  }
}
