// What to begin with: a generator, a seed out of a strip of small pictures, how far from the mean.

import { call, failureOf } from "../api.js";
import { button, h } from "../dom.js";
import { keep, kept } from "../storage.js";

const KEY = "drag";
const SHOWN = 8;
const MOST_SEED = 2 ** 32 - 1;

export class Pictures {
  /** @param {{begin: (asked: {generator: string, seed: number, truncation: number}) => void, failed: (failure: object) => void}} told */
  constructor(told) {
    this.told = told;
    const { generator = "", seed = 0, truncation = 0.7 } = kept(KEY, {});
    this.chosen = { generator, seed, truncation };
    this.first = seed - (seed % SHOWN);
    this.generators = h("select", { "aria-label": "Generator", onchange: () => this.pick({ generator: this.generators.value }, true) });
    this.seed = h("input.drag-seed", { type: "number", min: 0, max: MOST_SEED, step: 1, "aria-label": "Seed", value: seed, onchange: () => this.typed() });
    this.truncation = h("input", { type: "range", min: 0, max: 1.2, step: 0.05, value: truncation, "aria-label": "Truncation", oninput: () => this.showTruncation(), onchange: () => this.pick({ truncation: Number(this.truncation.value) }, true) });
    this.drawn = h("output.counts.drag-count");
    this.strip = h("ul.drag-strip", { "aria-label": "Pictures to begin with" });
    const turn = (icon, label, by) => button({ icon, label, kind: "quiet.small.edged", onclick: () => this.turn(by) });
    const random = button({ icon: "dice", label: "A random seed", kind: "quiet.small.edged", onclick: () => this.goTo(Math.floor(Math.random() * 1e6)) });
    this.element = h("section.drag-part", { "aria-label": "Picture" },
      h("div.row.apart", {}, h("h2", {}, "Picture"), this.generators),
      h("div.row.drag-seeds", {}, h("label.drag-field", {}, "Seed", this.seed), random, h("span.grow"), turn("back", "Earlier seeds", -SHOWN), turn("next", "Later seeds", SHOWN)),
      this.strip,
      h("label.drag-range", { title: "0 is the mean picture, 1 all variety" }, h("span", {}, "Variety"), this.truncation, this.drawn));
    this.showTruncation();
  }

  /** Offer what the server has. @param {string[]} names */
  offer(names) {
    this.generators.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    if (!names.includes(this.chosen.generator)) [this.chosen.generator = ""] = names;
    this.generators.value = this.chosen.generator;
    this.generators.hidden = names.length < 2;
    this.element.hidden = names.length === 0;
    this.draw();
  }

  /** Show what a session that was opened began with. */
  reflect({ generator, seed, truncation }) {
    if (seed === null || seed === undefined) this.chosen.seed = null;
    else if (generator !== this.chosen.generator || seed !== this.chosen.seed || truncation !== this.chosen.truncation) {
      this.chosen = { generator, seed, truncation };
      this.generators.value = generator;
      this.truncation.value = truncation;
      this.showTruncation();
      this.first = seed - (seed % SHOWN);
      this.draw();
    }
    this.seed.value = seed ?? "";
    this.mark();
  }

  begin() {
    const { generator, truncation } = this.chosen;
    const seed = this.chosen.seed ?? 0;
    keep(KEY, { generator, seed, truncation });
    this.told.begin({ generator, seed, truncation });
  }

  pick(change, redraw = false) {
    this.chosen = { ...this.chosen, ...change };
    this.seed.value = this.chosen.seed ?? "";
    if (redraw) this.draw();
    this.mark();
    this.begin();
  }

  typed() {
    const seed = Math.trunc(Number(this.seed.value));
    if (this.seed.value !== "" && seed >= 0 && seed <= MOST_SEED) this.goTo(seed);
  }

  goTo(seed) {
    this.first = seed - (seed % SHOWN);
    this.pick({ seed }, true);
  }

  turn(by) {
    this.first = Math.min(Math.max(0, this.first + by), MOST_SEED - SHOWN + 1);
    this.draw();
  }

  /** Fill the strip, one picture after the other. */
  async draw() {
    const drawing = {};
    this.drawing = drawing;
    const { generator, truncation } = this.chosen;
    const seeds = Array.from({ length: SHOWN }, (_, index) => this.first + index);
    const cells = seeds.map((seed) => {
      const canvas = h("canvas", { width: 128, height: 128 });
      const press = h("button.drag-thumb", { type: "button", "aria-label": `Seed ${seed}`, title: `Seed ${seed}`, "data-seed": seed, onclick: () => this.pick({ seed }) }, canvas);
      return { seed, canvas, element: h("li", {}, press) };
    });
    this.strip.replaceChildren(...cells.map(({ element }) => element));
    this.mark();
    for (const { seed, canvas } of cells) {
      try {
        const query = new URLSearchParams({ generator, seed: String(seed), truncation: String(truncation) });
        const picture = await createImageBitmap(await (await call(`/api/drag/thumbnail?${query}`)).blob());
        if (this.drawing !== drawing) {
          picture.close();
          return;
        }
        canvas.width = picture.width;
        canvas.height = picture.height;
        canvas.getContext("2d").drawImage(picture, 0, 0);
        picture.close();
      } catch (error) {
        if (this.drawing === drawing) this.told.failed(failureOf(error));
        return;
      }
    }
  }

  /** Fetch no more. */
  close() {
    this.drawing = null;
  }

  mark() {
    for (const press of this.strip.querySelectorAll("button")) press.setAttribute("aria-pressed", String(Number(press.dataset.seed) === this.chosen.seed));
  }

  showTruncation() {
    this.drawn.textContent = Number(this.truncation.value).toFixed(2);
  }
}
