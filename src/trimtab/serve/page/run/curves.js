// The measurements of a run, fetched bit by bit and drawn; one pointer reads out all charts.

import { getJson } from "../api.js";
import { button, h } from "../dom.js";
import { bytes, isNumber, loss, rate, round, roundBytes, small } from "../format.js";
import { keep, kept } from "../storage.js";
import { Chart } from "./chart.js";
import { averaged } from "./scale.js";

const OTHERS = [
  ["lr", "Learning rate", small],
  ["tokens_per_s", "Tokens/s", rate, round],
  ["memory_bytes", "Peak memory", bytes, roundBytes],
];

export class Curves {
  /** @param {string} address of the run */
  constructor(address) {
    this.address = address;
    this.forget();
    const point = (step) => this.charts.forEach((chart) => chart.read(step));
    this.loss = new Chart({ title: "Loss", format: loss, tick: round, height: 280, point });
    this.others = OTHERS.map(([, title, format, tick = format]) => new Chart({ title, format, tick, point }));
    this.charts = [this.loss, ...this.others];
    this.log = kept("log-loss", false);
    this.switch = button({ label: "Logarithmic scale", text: "log", kind: "quiet.small.edged", onclick: () => this.turn() });
    this.loss.tools.append(this.switch);
    this.arrange();
    this.element = h("section.curves", { "aria-label": "Curves" }, ...this.charts.map((chart) => chart.element));
  }

  forget() {
    this.next = 0;
    this.version = "";
    /** @type {object[]} */
    this.rows = [];
  }

  /** Fetch what is new. */
  async look() {
    for (let more = true; more; ) {
      const part = await getJson(`${this.address}/metrics?after=${this.next}`);
      if (this.version && part.version !== this.version) {
        this.forget(); // the run was taken up: its file was written anew
        continue;
      }
      this.version = part.version;
      this.next = part.next;
      this.rows.push(...part.rows);
      ({ more } = part);
      if (part.rows.length || !this.shown) this.draw();
      this.shown = true;
    }
  }

  draw() {
    const train = this.points("loss");
    this.loss.show([
      { name: "", style: "train", points: train, quiet: true },
      { name: "training, averaged", style: "smooth", points: averaged(train) },
      { name: "held out", style: "held", points: this.points("eval_loss"), dots: true },
    ]);
    this.others.forEach((chart, index) => chart.show([{ name: "", style: "smooth", points: this.points(OTHERS[index][0]) }]));
  }

  points(key) {
    return this.rows.filter((row) => isNumber(row[key])).map((row) => [row.step, row[key]]);
  }

  /** What happened, for the plan: the middle one of the times that steps took. */
  truth({ memory_bytes }) {
    const times = this.points("seconds").map(([, seconds]) => seconds).sort((a, b) => a - b);
    return { memory_bytes, seconds_a_step: times[times.length >> 1] ?? null };
  }

  /** Tokens a second over the whole run. */
  meanRate({ elapsed_s, tokens_per_s }) {
    const tokens = this.points("tokens").reduce((sum, [, count]) => sum + count, 0);
    return tokens && elapsed_s ? tokens / elapsed_s : tokens_per_s;
  }

  turn() {
    this.log = !this.log;
    keep("log-loss", this.log);
    this.arrange();
  }

  arrange() {
    this.switch.setAttribute("aria-pressed", String(this.log));
    this.loss.scale(this.log);
  }

  close() {
    for (const chart of this.charts) chart.close();
  }
}
