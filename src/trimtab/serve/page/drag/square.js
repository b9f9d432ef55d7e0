// The square of a photo that becomes the picture: moved, sized and turned by pointer or keys.

import { h } from "../dom.js";
import { drawSquare } from "./paint.js";

const KNOB_PX = 18;
const REACH_PX = 24;
const LEAST_PX = 32;
const KEYS = "Arrow keys move the square, plus and minus change its size, comma and full stop turn it; with Shift by larger steps.";
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Square {
  constructor() {
    this.canvas = h("canvas.drag-photo-canvas", { tabindex: "0", role: "application", "aria-label": "Photo with a square", "aria-description": KEYS });
    for (const [name, act] of [["pointerdown", this.down], ["pointermove", this.move], ["pointerup", this.up], ["pointercancel", this.up]])
      this.canvas.addEventListener(name, (event) => act.call(this, event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {{bitmap: ImageBitmap, width: number, height: number, placement: object|null}} photo */
  show({ bitmap, width, height, placement }) {
    const side = 0.8 * Math.min(width, height);
    this.photo?.bitmap.close();
    this.photo = { bitmap, width, height };
    this.place = placement ?? { x: width / 2, y: height / 2, size: side, angle: 0 };
    this.canvas.width = bitmap.width;
    this.canvas.height = bitmap.height;
    this.draw();
  }

  draw() {
    const { canvas, place, photo } = this;
    const pen = canvas.getContext("2d");
    const scale = canvas.width / photo.width;
    pen.drawImage(photo.bitmap, 0, 0);
    const centre = [place.x * scale, place.y * scale];
    drawSquare(pen, { centre, half: (place.size * scale) / 2, angle: place.angle, side: canvas.width + canvas.height }, this.ratio);
  }

  /** Pixels of the canvas for one of the screen. */
  get ratio() {
    return this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
  }

  /** A place in the photo's pixels. */
  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.photo.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.placeOf(event);
    const pixel = this.photo.width / this.canvas.clientWidth;
    const half = this.place.size / 2;
    const near = (x, y) => Math.hypot(...this.turned([x, y]).map((part, axis) => part - at[axis])) < REACH_PX * pixel;
    const kind = near(half, half) ? "size" : near(0, -half - KNOB_PX * pixel) ? "angle" : "move";
    this.held = { kind, at, was: { ...this.place } };
  }

  move(event) {
    if (!this.held) return;
    const { kind, at, was } = this.held;
    const now = this.placeOf(event);
    const from = [now[0] - was.x, now[1] - was.y];
    if (kind === "move") this.set({ x: was.x + now[0] - at[0], y: was.y + now[1] - at[1] });
    else if (kind === "size") this.set({ size: Math.SQRT2 * Math.hypot(...from) });
    else this.set({ angle: (Math.atan2(from[0], -from[1]) * 180) / Math.PI });
  }

  up() {
    this.held = null;
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1;
    const step = (this.photo.width / 400) * far;
    const move = MOVES[event.key];
    if (move) this.set({ x: this.place.x + step * move[0], y: this.place.y + step * move[1] });
    else if ("+=".includes(event.key)) this.set({ size: this.place.size + step });
    else if (event.key === "-") this.set({ size: this.place.size - step });
    else if (event.key === ",") this.set({ angle: this.place.angle - far });
    else if (event.key === ".") this.set({ angle: this.place.angle + far });
    else return;
    event.preventDefault();
  }

  set(change) {
    const { width, height } = this.photo;
    const { x, y, size, angle } = { ...this.place, ...change };
    const within = (value, least, most) => Math.min(Math.max(value, least), most);
    const turn = ((((angle + 180) % 360) + 360) % 360) - 180;
    this.place = { x: within(x, 0, width), y: within(y, 0, height), size: within(size, LEAST_PX, 2 * Math.max(width, height)), angle: turn };
    this.draw();
  }

  /** From the square's own axes to the photo's. */
  turned([x, y]) {
    const angle = (this.place.angle * Math.PI) / 180;
    return [this.place.x + x * Math.cos(angle) - y * Math.sin(angle), this.place.y + x * Math.sin(angle) + y * Math.cos(angle)];
  }
}
