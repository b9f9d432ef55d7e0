// What the pointer does on the picture: pull points, paint what may move, rub it out.

import { button, h, icon } from "../dom.js";

const MODES = [
  { mode: "points", icon: "point", label: "Points" },
  { mode: "paint", icon: "brush", label: "Brush" },
  { mode: "erase", icon: "eraser", label: "Eraser" },
];

export class Tools {
  /** @param {{mode: (mode: string) => void, size: (size: number) => void, invert: () => void, clear: () => void}} actions */
  constructor(actions) {
    this.radios = MODES.map(({ mode, label, icon: name }) => {
      const input = h("input.unseen", { type: "radio", name: "drag-mode", value: mode, onchange: () => this.choose(mode, actions) });
      return { mode, input, element: h("label.drag-mode", { title: label }, input, icon(name), h("span", {}, label)) };
    });
    const size = h("input", { type: "range", min: 8, max: 240, value: 60, "aria-label": "Size of the brush", oninput: () => actions.size(Number(size.value)) });
    const invert = button({ icon: "invert", label: "Invert what may move", text: "Invert", kind: "quiet.small.edged", onclick: actions.invert });
    this.clear = button({ icon: "bin", label: "Clear what was painted", text: "Clear", kind: "quiet.small.edged", onclick: actions.clear });
    this.about = h("p.help");
    this.brush = h("div.drag-brush", {}, h("label.drag-range", {}, h("span", {}, "Size"), size), h("div.row", {}, invert, this.clear));
    this.element = h("section.drag-part", { "aria-label": "Tools" },
      h("div.drag-modes", { role: "radiogroup", "aria-label": "What the pointer does" }, ...this.radios.map(({ element }) => element)),
      this.brush, this.about);
    this.choose("points", actions);
  }

  choose(mode, actions) {
    for (const radio of this.radios) radio.input.checked = radio.mode === mode;
    this.mode = mode;
    actions.mode(mode);
    this.show(this.painted);
  }

  /** @param {boolean} painted whether a mask is in use */
  show(painted) {
    this.painted = painted;
    this.brush.hidden = this.mode === "points" && !painted;
    this.clear.disabled = !painted;
    const what = painted ? "Only what is not veiled may move." : "Nothing is painted: everything may move.";
    this.about.hidden = this.mode === "points" && !painted;
    this.about.textContent = what;
  }
}
