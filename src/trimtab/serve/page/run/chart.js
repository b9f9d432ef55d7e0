// A line chart that reads like an instrument: the values at the pointer stand in its key, not over its lines.

import { h, s } from "../dom.js";
import { linear, logarithmic, nearest, steps, thinned } from "./scale.js";

const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;

/**
 * @typedef {{name: string, style: string, points: [number, number][], dots?: boolean, quiet?: boolean}} Line
 *   quiet: drawn, but not read out
 */
export class Chart {
  /** @param {{title: string, format: (value: number) => string, tick?: (value: number) => string, height?: number, point: (step: number|null) => void}} options */
  constructor({ title, format, tick = format, height = 150, point }) {
    Object.assign(this, { title, format, tick, height, point, lines: [], log: false, at: null, width: 0 });
    this.key = h("div.chart-key");
    this.step = h("span.chart-step");
    this.tools = h("div.row.tight");
    this.drawing = s("svg", { class: "chart-drawing", role: "img", tabindex: "0" });
    const head = h("figcaption.chart-head", {}, h("h3", {}, title), this.key, this.step, this.tools);
    this.element = h("figure.chart", {}, head, this.drawing);
    this.drawing.addEventListener("pointermove", (event) => this.pointed(event));
    this.drawing.addEventListener("pointerleave", () => point(null));
    this.drawing.addEventListener("keydown", (event) => this.walk(event));
    this.drawing.addEventListener("blur", () => point(null));
    // Drawn for the width it has: text and lines are never stretched.
    this.watcher = new ResizeObserver(([entry]) => this.resize(Math.round(entry.contentRect.width)));
    this.watcher.observe(this.element);
  }

  /** @param {Line[]} lines */
  show(lines) {
    this.lines = lines.filter((line) => line.points.length);
    this.draw();
  }

  /** Linear, or in powers of ten. */
  scale(log) {
    this.log = log;
    this.draw();
  }

  /** Read out the values at a step; null reads out the last ones. */
  read(step) {
    this.at = step;
    this.readOut();
    this.drawCursor();
  }

  resize(width) {
    if (!width || width === this.width) return;
    this.width = width;
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const { width, height, drawing, lines } = this;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("height", String(height));
    drawing.replaceChildren();
    this.readOut();
    if (!lines.length) {
      drawing.append(s("text", { class: "chart-none", x: width / 2, y: height / 2 }, "Nothing measured yet"));
      return;
    }
    const values = lines.flatMap((line) => line.points.map(([, y]) => y));
    this.y = this.log ? logarithmic(values) : linear(values);
    this.x = steps(lines.flatMap((line) => [line.points[0][0], line.points.at(-1)[0]]));
    drawing.append(...this.ruling(), ...lines.flatMap((line) => this.drawn(line)));
    this.cursor = s("g", { class: "chart-cursor" });
    drawing.append(this.cursor);
    this.drawCursor();
  }

  place([x, y]) {
    const across = LEFT + this.x.place(x) * (this.width - LEFT - RIGHT);
    const down = this.height - BOTTOM - this.y.place(y) * (this.height - TOP - BOTTOM);
    return [across, down];
  }

  ruling() {
    const rules = this.y.ticks.flatMap((tick) => {
      const [, y] = this.place([this.x.low, tick]);
      const label = s("text", { x: LEFT - 9, y: y + 4, class: "chart-y" }, this.tick(tick));
      return [s("line", { x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }), label];
    });
    const most = Math.max(2, Math.floor((this.width - LEFT) / 48));
    const stride = Math.ceil(this.x.ticks.length / most);
    const along = this.x.ticks.filter((_, index) => index % stride === 0).map((tick) => {
      const [x] = this.place([tick, this.y.low]);
      return s("text", { x, y: this.height - 6, class: "chart-x" }, tick.toLocaleString("en"));
    });
    return [...rules, ...along];
  }

  drawn({ points, style, dots }) {
    const shown = this.y.log ? points.filter(([, y]) => y > 0) : points;
    const places = thinned(shown, this.width).map((point) => this.place(point));
    const path = places.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const line = s("path", { d: path, class: `line ${style}` });
    const alone = places.length === 1 || dots;
    return [line, ...(alone ? places.map(([x, y]) => s("circle", { cx: x, cy: y, r: 3.5, class: style })) : [])];
  }

  drawCursor() {
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    if (this.at === null || !this.lines.length) return;
    const [x] = this.place([this.at, this.y.low]);
    this.cursor.append(s("line", { x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM }));
    for (const line of this.lines.filter((one) => !one.quiet)) {
      const point = line.points[nearest(line.points, this.at)];
      if (point[0] !== this.at || (this.y.log && point[1] <= 0)) continue;
      const [across, down] = this.place(point);
      this.cursor.append(s("circle", { cx: across, cy: down, r: 3.5, class: line.style }));
    }
  }

  readOut() {
    const read = this.lines.filter((line) => !line.quiet).map((line) => {
      const [step, value] = this.at === null ? line.points.at(-1) : line.points[nearest(line.points, this.at)];
      // Held-out loss is measured now and then: the nearest value says which step it is of.
      const elsewhere = this.at !== null && step !== this.at ? ` at ${step.toLocaleString("en")}` : "";
      return h("span", {}, h(`i.swatch.${line.style}`), line.name ? `${line.name} ` : "", h("b", {}, this.format(value)), elsewhere);
    });
    this.key.replaceChildren(...read);
    this.step.textContent = this.at === null ? "" : `step ${this.at.toLocaleString("en")}`;
    this.drawing.setAttribute("aria-label", `${this.title}. ${this.key.textContent} ${this.step.textContent}. Left and right arrow keys read out steps.`);
  }

  pointed(event) {
    if (!this.lines.length) return;
    const { left } = this.drawing.getBoundingClientRect();
    const share = (event.clientX - left - LEFT) / (this.width - LEFT - RIGHT);
    const { points } = this.lines[0];
    this.point(points[nearest(points, this.x.low + share * (this.x.high - this.x.low))][0]);
  }

  /** Arrow keys do what the pointer does. */
  walk(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move || !this.lines.length) return;
    event.preventDefault();
    const { points } = this.lines[0];
    const from = this.at === null ? points.length - (move < 0 ? 0 : 1) : nearest(points, this.at);
    this.point(points[Math.min(points.length - 1, Math.max(0, from + move))][0]);
  }

  /** Stop watching its own size. */
  close() {
    this.watcher.disconnect();
  }
}

/** A curve without axes, for a line of a list. @param {[number, number][]} points */
export function sparkline(points, width = 120, height = 28) {
  const drawing = s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  if (points.length < 2) return drawing;
  const x = steps(points.map(([step]) => step));
  const values = points.map(([, y]) => y);
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const path = points.map(([step, y], index) => {
    const down = height - 3 - ((y - low) / span) * (height - 6);
    return `${index ? "L" : "M"}${(2 + x.place(step) * (width - 4)).toFixed(1)} ${down.toFixed(1)}`;
  });
  drawing.append(s("path", { d: path.join("") }));
  return drawing;
}
