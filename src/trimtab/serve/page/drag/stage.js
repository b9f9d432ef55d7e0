// The canvas: the picture as large as there is room, and a person's hands on it.

import { h } from "../dom.js";
import { drawBrush, drawDivider, drawPoints } from "./paint.js";

const REACH_PX = 14;
const TOUCH_REACH_PX = 26;
const LEAST_DRAG_PX = 5;
const VEIL = "#10181d8c";
const KEYS = "Arrow keys move the target of the chosen point, with Alt its handle, with Shift by ten pixels. N adds a point, Tab in the list chooses one, Delete removes it.";
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  /**
   * @param {{points: import("./points.js").Points, mask: import("./mask.js").Mask}} models
   * @param {{edited: () => void, painted: () => void, missed: () => void, chosen: () => void}} told
   */
  constructor({ points, mask }, told) {
    this.points = points;
    this.mask = mask;
    this.told = told;
    this.mode = "points";
    this.brush = 60; // of a picture of 1024 pixels
    this.split = 0;
    /** @type {ImageBitmap|null} */
    this.before = null;
    /** @type {ImageBitmap|null} */
    this.now = null;
    this.canvas = h("canvas.drag-canvas", { tabindex: "0", role: "application", "aria-label": "Picture with points", "aria-description": KEYS });
    this.element = h("div.drag-stage", {}, this.canvas);
    for (const [name, act] of [["pointerdown", this.down], ["pointermove", this.move], ["pointerup", this.up], ["pointercancel", this.abandon], ["pointerleave", this.leave]])
      this.canvas.addEventListener(name, (event) => act.call(this, event));
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.element);
  }

  /** Show a picture. */
  show({ bitmap, start }) {
    const old = [this.before, this.now];
    if (start) this.before = bitmap;
    if (!start || !this.now) this.now = bitmap;
    this.release(old);
    this.draw();
  }

  /** Show the picture before any edit as the one that stands. */
  showBefore() {
    const old = [this.now];
    if (this.before) this.now = this.before;
    this.release(old);
    this.draw();
  }

  forget() {
    const old = [this.before, this.now];
    this.before = null;
    this.now = null;
    this.release(old);
    this.draw();
  }

  /** Free what is shown no more: decoded pictures are large, and wait long to be collected. */
  release(bitmaps) {
    for (const one of bitmaps) if (one && one !== this.before && one !== this.now) one.close();
  }

  choose(mode) {
    this.mode = mode;
    this.canvas.dataset.mode = mode;
    this.draw();
  }

  fit() {
    const { width, height } = this.element.getBoundingClientRect();
    const side = Math.max(1, Math.floor(Math.min(width, height)));
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.style.width = `${side}px`;
    this.canvas.style.height = `${side}px`;
    const pixels = Math.round(side * this.ratio);
    if (this.canvas.width !== pixels) this.canvas.width = this.canvas.height = pixels;
    this.paint();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const pen = this.canvas.getContext("2d");
    const side = this.canvas.width;
    const scale = side / this.points.size;
    const seen = ([x, y]) => [(x + 0.5) * scale, (y + 0.5) * scale];
    pen.clearRect(0, 0, side, side);
    pen.imageSmoothingQuality = "high";
    if (this.now) pen.drawImage(this.now, 0, 0, side, side);
    this.mask.veil(pen, side, VEIL);
    if (this.split > 0 && this.before) this.paintBefore(pen, side);
    if (this.split < 1) drawPoints(pen, this.points, { seen, ratio: this.ratio });
    if (this.hover && this.mode !== "points") drawBrush(pen, seen(this.hover), (this.width / 2) * scale, this.ratio);
  }

  paintBefore(pen, side) {
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, this.split * side, side);
    pen.clip();
    pen.drawImage(this.before, 0, 0, side, side);
    pen.restore();
    drawDivider(pen, this.split * side, side, this.ratio);
  }

  /** Width of the brush in pixels of the picture. */
  get width() {
    return (this.brush * this.points.size) / 1024;
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.points.size / box.width;
    return [(event.clientX - box.left) * scale - 0.5, (event.clientY - box.top) * scale - 0.5];
  }

  down(event) {
    if (!event.isPrimary) this.abandon(); // a second finger: the page is to be zoomed
    if (!event.isPrimary || !this.now || event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.placeOf(event);
    if (this.mode !== "points") this.held = { last: place };
    else {
      const reach = ((event.pointerType === "touch" ? TOUCH_REACH_PX : REACH_PX) * this.points.size) / this.canvas.clientWidth;
      const near = this.points.near(place, reach);
      this.held = { from: place, x: event.clientX, y: event.clientY, near, restore: this.points.memory() };
      if (near) {
        this.points.chosen = near.index;
        this.told.chosen();
      }
    }
    this.move(event);
  }

  move(event) {
    if (!event.isPrimary) return;
    const place = this.placeOf(event);
    this.hover = place;
    if (this.held && this.mode !== "points") {
      this.mask.stroke(this.held.last, place, { width: this.width, erase: this.mode === "erase" });
      this.held.last = place;
    } else if (this.held) this.pull(event, place);
    else if (this.mode === "points") this.canvas.classList.toggle("over", Boolean(this.points.near(place, (REACH_PX * this.points.size) / this.canvas.clientWidth)));
    this.draw();
  }

  pull(event, place) {
    const { held } = this;
    if (!held.moved && Math.hypot(event.clientX - held.x, event.clientY - held.y) < LEAST_DRAG_PX) return;
    held.moved = true;
    held.near ??= { index: this.points.add(held.from, place), end: "to" };
    this.points.move(held.near.index, held.near.end, place);
    this.told.edited();
  }

  up(event) {
    if (!event.isPrimary) return;
    const { held } = this;
    this.held = null;
    if (!held) return;
    if (event.pointerType === "touch") this.hover = null;
    if (this.mode !== "points") this.told.painted();
    else if (!held.moved && !held.near) this.told.missed();
    this.draw();
  }

  /** Let go as if nothing had been pulled. */
  abandon() {
    const { held } = this;
    this.cancel();
    if (!held?.moved) return;
    held.restore();
    this.told.edited();
  }

  cancel() {
    this.held = null;
    this.hover = null;
    this.draw();
  }

  leave() {
    if (!this.held) this.cancel();
  }

  key(event) {
    const { points } = this;
    const step = STEPS[event.key];
    if (event.key === "n" && !event.ctrlKey && !event.metaKey) {
      const middle = points.size / 2;
      points.add([middle, middle], [middle, middle + points.size / 16]);
    } else if (step && points.chosen >= 0) {
      const end = event.altKey ? "at" : "to";
      const far = event.shiftKey ? 10 : 1;
      const place = points.all[points.chosen][end];
      points.move(points.chosen, end, [place[0] + far * step[0], place[1] + far * step[1]]);
    } else if (["Delete", "Backspace"].includes(event.key) && points.chosen >= 0) points.remove(points.chosen);
    else return;
    event.preventDefault();
    this.told.edited();
    this.draw();
  }
}
