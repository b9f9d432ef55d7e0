// The points in words and numbers: how far each is from its target, and whether it is lost.

import { button, h } from "../dom.js";
import { wayOf } from "./points.js";

export class PointList {
  /** @param {import("./points.js").Points} points @param {{edited: () => void, chosen: () => void}} told */
  constructor(points, told) {
    this.points = points;
    this.told = told;
    this.list = h("ol.drag-points");
    this.none = h("p.help", {}, "None yet. Press on the picture where something is, pull to where it should be, and let go.");
    this.clear = button({ icon: "bin", label: "Remove all points", text: "Clear", kind: "quiet.small", onclick: () => this.empty() });
    this.element = h("section.drag-part", { "aria-label": "Points" }, h("div.row.apart", {}, h("h2", {}, "Points"), this.clear), this.none, this.list);
    this.rows = [];
    this.show();
  }

  show() {
    const { all, chosen } = this.points;
    this.none.hidden = all.length > 0;
    this.clear.hidden = all.length === 0;
    while (this.rows.length > all.length) this.rows.pop().element.remove();
    while (this.rows.length < all.length) this.add(this.rows.length);
    all.forEach((point, index) => this.fill(this.rows[index], point, index === chosen));
  }

  add(index) {
    const far = h("span.drag-far");
    const state = h("span.drag-state");
    const pick = h("button.drag-pick", { type: "button", onclick: () => this.choose(index) }, h("span.drag-number", {}, String(index + 1)), far, state);
    const remove = button({ icon: "close", label: `Remove point ${index + 1}`, kind: "quiet.small", onclick: () => this.remove(index) });
    const element = h("li", {}, pick, remove);
    this.list.append(element);
    this.rows.push({ element, pick, far, state });
  }

  fill({ pick, far, state }, point, chosen) {
    far.textContent = `${wayOf(point).toFixed(1)} px`;
    state.textContent = point.lost ? "lost" : point.arrived ? "arrived" : point.left === null ? "" : "left";
    state.dataset.state = point.lost ? "lost" : point.arrived ? "arrived" : "";
    pick.title = point.lost ? "Nothing near looks like it any more. It waits; the others go on." : "";
    pick.setAttribute("aria-pressed", String(chosen));
  }

  choose(index) {
    this.points.chosen = index;
    this.show();
    this.told.chosen();
  }

  remove(index) {
    this.points.remove(index);
    this.told.edited();
  }

  empty() {
    this.points.clear();
    this.told.edited();
  }
}
