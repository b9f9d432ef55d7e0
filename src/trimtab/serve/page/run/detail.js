// One run: its curves as they grow, and what is known about it.

import { alarm, call, failureOf, getJson } from "../api.js";
import { button, h, icon } from "../dom.js";
import { ago, bytes, duration, loss, rate, small, whole } from "../format.js";
import { heldToken } from "../token.js";
import { Curves } from "./curves.js";
import { planSection } from "./plan.js";
import { Polling } from "./polling.js";
import { badge, heldOut, secondsLeft, shareDone } from "./states.js";

const EVERY_MS = 1500;
const SHOWN_ANSWERS = 3;

export class RunDetail {
  /** @param {string} name */
  constructor(name, context) {
    this.name = name;
    this.address = `/api/runs/${encodeURIComponent(name)}`;
    this.context = context;
    this.curves = new Curves(this.address);
    this.head = h("header.sheet-head");
    this.trouble = h("div");
    this.tiles = h("dl.tiles");
    this.below = h("div");
    const back = h("a.back", { href: "#/runs" }, icon("back"), "Runs");
    this.element = h("div.sheet", {}, back, this.trouble, this.head, this.tiles, this.curves.element, this.below);
    this.curves.element.hidden = true;
    context.entitle(name);
    this.polling = new Polling(() => this.look(), EVERY_MS);
  }

  /** @returns {Promise<boolean>} whether more may come */
  async look() {
    try {
      const [run] = await Promise.all([getJson(this.address), this.curves.look()]);
      this.trouble.replaceChildren();
      this.draw(run);
      return run.state === "running" || run.state === "empty";
    } catch (error) {
      this.trouble.replaceChildren(alarm(failureOf(error)));
      return error.status !== 404;
    }
  }

  draw(run) {
    if (this.state && this.state !== run.state) this.context.announce(`${this.name}: ${run.state}`);
    this.state = run.state;
    this.curves.element.hidden = false;
    this.head.replaceChildren(
      h("div.row.apart.wrap", {}, h("div.row", {}, h("h1", {}, run.name), badge(run.state)), this.reportLink(run)),
      h("p.soft", {}, subtitle(run)), progress(run) ?? "");
    this.tiles.replaceChildren(...tiles(run, this.curves.meanRate(run)));
    const found = JSON.stringify([run.config, run.plan, run.answers, this.curves.truth(run)]);
    if (found === this.drawn) return; // text that somebody may be selecting
    this.drawn = found;
    const sections = [planSection(run.plan, this.curves.truth(run)), answers(run.answers), settings(run.config)];
    this.below.replaceChildren(...sections.filter(Boolean));
  }

  /** A tab of its own; where the server wants a token, which a link cannot carry, a file. */
  reportLink(run) {
    if (!run.report) return "";
    const address = `${this.address}/report`;
    if (!heldToken()) return h("a.button", { href: address, target: "_blank", rel: "noopener" }, "Report", icon("out"));
    return button({ label: "Save the report", text: "Save the report", kind: "edged", onclick: () => this.saveReport(address) });
  }

  async saveReport(address) {
    try {
      const file = URL.createObjectURL(await (await call(address)).blob());
      h("a", { href: file, download: `${this.name}-report.html` }).click();
      setTimeout(() => URL.revokeObjectURL(file), 60_000);
    } catch (error) {
      this.context.announce(failureOf(error).message);
    }
  }

  close() {
    this.polling.stop();
    this.curves.close();
  }
}

function subtitle(run) {
  const config = run.config ?? {};
  const parts = [config.method, config.method === "qlora" ? config.quant_type : null, config.rank ? `rank ${config.rank}` : null];
  return [...parts.filter(Boolean), `last change ${ago(run.updated)}`].join(" · ");
}

function progress(run) {
  const share = shareDone(run);
  if (run.state !== "running" || share === null) return null;
  const left = secondsLeft(run);
  const bar = h("progress", { max: 1, value: share, "aria-label": "Done" });
  return h("div.progress", {}, bar, h("span.counts", {}, `${Math.round(share * 100)} %${left ? `, about ${duration(left)} left` : ""}`));
}

function tiles(run, mean) {
  const shown = [
    ["Held-out loss", heldOut(run)],
    ["Training loss", loss(run.loss)],
    ["Steps", run.steps ? `${whole(run.step)} of ${whole(run.steps)}` : whole(run.step)],
    ["Tokens/s, mean", rate(mean)],
    ["Peak memory", bytes(run.memory_bytes)],
    ["Time in training", duration(run.elapsed_s)],
  ];
  return shown.map(([name, value]) => h("div.tile", {}, h("dt", {}, name), h("dd", {}, value)));
}

function answers(all) {
  if (!all?.length) return null;
  const column = (name, text, kind) => h("div", {}, h("h4.answer-name", {}, h(`i.dot.${kind}`), name), h("p", {}, text || "–"));
  const items = all.map(({ prompt, before, after }) =>
    h("li", {}, h("p.answered-prompt", {}, prompt.trim()), h("div.before-after", {}, column("before", before, "base"), column("after", after, "tuned"))));
  const rest = items.splice(SHOWN_ANSWERS);
  const more = rest.length ? h("details", {}, h("summary", {}, `${rest.length} more`), h("ul.answered", {}, ...rest)) : null;
  return h("section.part", {}, h("h2", {}, "Held-out prompts, before and after"), h("ul.answered", {}, ...items), more);
}

function settings(config) {
  const known = Object.entries(config ?? {});
  if (!known.length) return null;
  const written = (value) => (typeof value === "number" && !Number.isInteger(value) ? small(value) : Array.isArray(value) ? value.join(", ") || "all" : String(value));
  const items = known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, written(value) || "–")));
  return h("section.part", {}, h("h2", {}, "Settings"), h("dl.settings", {}, ...items));
}
