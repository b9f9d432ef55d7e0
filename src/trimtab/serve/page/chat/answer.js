// How one answer looks: whose it is, its text as it grows, what it cost, what can be done with it.

import { alarm } from "../api.js";
import { button, copyFrom, h } from "../dom.js";
import { counted, duration, rate } from "../format.js";
import { Prose } from "../prose.js";
import { speedOf } from "./ask.js";

const ENDINGS = {
  stopped: "Stopped.",
  cut: "Cut at the longest answer allowed; the settings say how long that is.",
};

export class AnswerView {
  /**
   * @param {import("./store.js").Answer} answer
   * @param {{regenerate: (() => void)|null}} actions null where turns follow, which asking again would remove
   */
  constructor(answer, { regenerate }) {
    this.answer = answer;
    this.prose = new Prose();
    this.foot = h("div.answer-foot");
    this.regenerate = regenerate;
    this.pending = 0;
    const name = h("h3.answer-name", {}, h(`i.dot.${answer.kind === "tuned" ? "tuned" : "base"}`), answer.model);
    this.body = h("div.answer-body", { "aria-live": "polite", "aria-label": `Answer of ${answer.model}` }, this.prose.element);
    this.element = h("article.answer", {}, name, this.body, this.foot);
    this.refresh();
  }

  /** Show more text, at most once a frame: a fast model writes more often than a screen draws. */
  grow() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.prose.show(this.answer.text);
    });
  }

  /** Show the whole as it stands. */
  refresh() {
    const { answer } = this;
    const writing = answer.state === "writing";
    this.prose.show(answer.text);
    this.element.dataset.state = answer.state;
    this.body.setAttribute("aria-busy", String(writing)); // read out when it is whole, not syllable by syllable
    this.foot.replaceChildren(...(writing ? [] : [this.failure(), this.line()].filter(Boolean)));
  }

  failure() {
    const { error, state } = this.answer;
    if (state !== "failed" || !error) return null;
    return alarm(error, this.again({ label: "Try again", text: "Try again", kind: "quiet.small.edged" }));
  }

  /** The button that asks once more. */
  again(look) {
    return this.regenerate && button({ icon: "again", ...look, onclick: this.regenerate });
  }

  line() {
    const { answer } = this;
    if (answer.state === "failed" && !answer.text) return null;
    const copy = button({ icon: "copy", label: "Copy answer", kind: "quiet.small", onclick: () => copyFrom(copy, answer.text) });
    const again = this.again({ label: "Regenerate", kind: "quiet.small" });
    const ending = ENDINGS[answer.state] ?? (answer.text ? null : "The model had nothing to say.");
    const counts = answer.counts ? h("p.counts", {}, ...countsLine(answer.counts)) : null;
    const said = h("div.grow", {}, counts, ending ? h("p.counts", {}, ending) : null);
    return h("div.answer-line", {}, said, h("div.row.tight", {}, copy, again));
  }
}

/** "128 tokens", "24.3 tokens/s", "first after 0.21 s", "prompt 45, 32 cached" */
function countsLine(counts) {
  const speed = speedOf(counts);
  const parts = [["count", counted(counts.tokens, "token")]];
  if (speed) parts.push(["speed", `${rate(speed)} tokens/s`]);
  parts.push(["first", `first after ${duration(counts.first_s)}`]);
  const cached = counts.cached ? `, ${counts.cached} cached` : "";
  parts.push(["asked", `prompt ${counts.prompt}${cached}`]);
  return parts.map(([name, text]) => h(`span.${name}`, {}, text));
}
