// All runs, one a line.

import { alarm, failureOf, getJson } from "../api.js";
import { h } from "../dom.js";
import { ago, loss, whole } from "../format.js";
import { sparkline } from "./chart.js";
import { Polling } from "./polling.js";
import { badge, heldOut } from "./states.js";

const EVERY_MS = 2500;
const NO_FOLDER = { message: "The server was started without a folder of runs.", advice: "Start it with one, as in: trimtab serve --runs runs" };

export class RunList {
  /** @param {{entitle: (name: string) => void}} context */
  constructor(context) {
    this.drawn = "";
    this.body = h("div", { "aria-busy": "true" });
    this.element = h("div.sheet", {}, h("header.sheet-head", {}, h("h1", {}, "Runs"), h("p.soft", {}, "What trimtab train has done, and is doing.")), this.body);
    context.entitle("Runs");
    this.polling = new Polling(() => this.look(), EVERY_MS);
  }

  async look() {
    try {
      const { runs } = await getJson("/api/runs");
      const found = JSON.stringify(runs);
      if (found !== this.drawn) this.body.replaceChildren(runs.length ? h("ul.runs", {}, ...runs.map(row)) : nothing());
      this.drawn = found;
    } catch (error) {
      this.drawn = "";
      this.body.replaceChildren(alarm(error.status === 404 ? NO_FOLDER : failureOf(error)));
    }
    this.body.setAttribute("aria-busy", "false");
    return true;
  }

  close() {
    this.polling.stop();
  }
}

function row(run) {
  const of = run.steps ? ` of ${whole(run.steps)}` : "";
  return h("li", {}, h("a.run", { href: `#/runs/${encodeURIComponent(run.name)}` },
    h("span.run-name", {}, h("strong", {}, run.name), h("span.soft", {}, [run.method, ago(run.updated)].filter(Boolean).join(" · "))),
    badge(run.state),
    sparkline(run.curve),
    cell("steps", `${whole(run.step)}${of}`),
    cell("loss", loss(run.loss)),
    cell("held out", heldOut(run))));
}

const cell = (name, value) => h("span.cell", {}, h("span.counts", {}, name), h("b", {}, value));

function nothing() {
  return h("div.welcome", {},
    h("h2", {}, "No run yet"),
    h("p.soft", {}, "A run appears here as soon as it has begun, while it trains:"),
    h("pre.command", { tabindex: "0" }, h("code", {}, "trimtab train smollm2 --data examples/data/chat.jsonl --out runs/mine")));
}
