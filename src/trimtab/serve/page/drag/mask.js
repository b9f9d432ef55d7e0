// What may move, painted by hand. Where nothing is painted at all, everything may.

import { call } from "../api.js";
import { addressOf } from "./live.js";

export class Mask {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.shade = document.createElement("canvas");
    this.resize(1);
  }

  /** Begin with nothing painted, for pictures of a size. */
  resize(size) {
    this.size = size;
    for (const canvas of [this.canvas, this.shade]) {
      canvas.width = size;
      canvas.height = size;
    }
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.used = false;
    this.edits = 0; // how often it was changed by hand
    this.told = 0; // of these the server knows
  }

  /** Whether the server does not know what is painted. */
  get changed() {
    return this.edits !== this.told;
  }

  /** The server knows what was painted until some edit, by default all. */
  settle(edits = this.edits) {
    this.told = edits;
  }

  /** Paint or rub out along a line, with a round brush. */
  stroke(from, to, { width, erase }) {
    const pen = this.pen;
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.lineCap = "round";
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(from[0] + 0.5, from[1] + 0.5);
    pen.lineTo(to[0] + 0.5, to[1] + 0.5);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
    this.note();
  }

  invert() {
    const pen = this.pen;
    pen.globalCompositeOperation = "xor";
    pen.fillRect(0, 0, this.size, this.size);
    pen.globalCompositeOperation = "source-over";
    this.note();
  }

  clear() {
    this.pen.clearRect(0, 0, this.size, this.size);
    this.used = false;
    this.edits += 1;
  }

  note() {
    this.used = true;
    this.edits += 1;
  }

  /** Let the server know what was painted since. @returns {Promise<boolean>} whether anything was */
  async send(key) {
    if (!this.changed) return false;
    const { edits } = this;
    const asked = this.used ? { method: "PUT", raw: this.pack() } : { method: "DELETE" };
    await call(addressOf(key, "mask"), asked);
    this.settle(edits); // what was painted meanwhile is still to be told
    return true;
  }

  /** Show the mask that the server has, unless something is painted meanwhile. @param {() => boolean} wanted still, when it has come */
  async fetch(key, wanted) {
    const bits = await (await call(addressOf(key, "mask"))).arrayBuffer();
    if (wanted() && !this.changed) this.unpack(new Uint8Array(bits));
  }

  /** One bit a pixel, row by row, the highest bit first. */
  pack() {
    const { data } = this.pen.getImageData(0, 0, this.size, this.size);
    const bits = new Uint8Array((this.size * this.size) / 8);
    for (let pixel = 0; pixel < this.size * this.size; pixel += 1)
      if (data[4 * pixel + 3] > 127) bits[pixel >> 3] |= 128 >> (pixel & 7);
    return bits;
  }

  /** Show a mask that the server has. */
  unpack(bits) {
    const image = this.pen.createImageData(this.size, this.size);
    for (let pixel = 0; pixel < this.size * this.size; pixel += 1)
      image.data[4 * pixel + 3] = bits[pixel >> 3] & (128 >> (pixel & 7)) ? 255 : 0;
    this.pen.putImageData(image, 0, 0);
    this.used = true;
    this.settle();
  }

  /** Draw a veil over what is to stay. */
  veil(target, side, colour) {
    if (!this.used) return;
    const pen = this.shade.getContext("2d");
    pen.globalCompositeOperation = "copy";
    pen.fillStyle = colour;
    pen.fillRect(0, 0, this.size, this.size);
    pen.globalCompositeOperation = "destination-out";
    pen.drawImage(this.canvas, 0, 0);
    target.drawImage(this.shade, 0, 0, side, side);
  }
}
