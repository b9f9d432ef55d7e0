// Which models there are, and which of them are asked.

import { getJson } from "../api.js";
import { h } from "../dom.js";
import { keep, kept } from "../storage.js";

/** @typedef {{name: string, kind: "base"|"tuned"}} Model */

/** @returns {Promise<Model[]>} the base first; what has a parent is that one, tuned */
export async function readModels() {
  const { data } = await getJson("/v1/models");
  const models = data.map(({ id, parent }) => ({ name: id, kind: parent ? "tuned" : "base" }));
  return models.sort((a, b) => a.kind.localeCompare(b.kind));
}

/** One or two pickers; two ask two models the same thing side by side. */
export class Models {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Model[]} */
    this.all = [];
    this.sideBySide = kept("side-by-side", false);
    this.chosen = kept("models", []);
    this.element = h("div.models");
  }

  /** @param {Model[]} all */
  offer(all) {
    this.all = all;
    const names = all.map(({ name }) => name);
    const tuned = all.find(({ kind }) => kind === "tuned")?.name ?? names[1] ?? names[0];
    this.chosen = [names[0], tuned].map((fallback, index) => (names.includes(this.chosen[index]) ? this.chosen[index] : fallback));
    this.draw();
  }

  /** Whether two answer: somebody wanted it, and there are two. */
  get wide() {
    return this.sideBySide && this.all.length > 1;
  }

  /** The models that are to answer. @returns {Model[]} */
  get asked() {
    if (!this.all.length) return [];
    return this.chosen.slice(0, this.wide ? 2 : 1).map((name) => this.all.find((model) => model.name === name));
  }

  /** Ask one model, or two. */
  toggle() {
    this.sideBySide = !this.sideBySide;
    keep("side-by-side", this.sideBySide);
    this.draw();
    this.changed();
  }

  draw() {
    if (!this.all.length) return;
    const labels = this.wide ? ["Left model", "Right model"] : ["Model"];
    this.element.replaceChildren(...labels.map((label, index) => this.picker(label, index)));
  }

  picker(label, index) {
    const options = this.all.map(({ name }) => h("option", { value: name }, name));
    const select = h("select", { "aria-label": label, onchange: () => this.choose(index, select.value) }, ...options);
    select.value = this.chosen[index];
    return h("span.picker", {}, h(`i.dot.${this.asked[index].kind}`), select);
  }

  choose(index, name) {
    this.chosen[index] = name;
    keep("models", this.chosen);
    this.draw();
    this.element.querySelectorAll("select")[index].focus();
    this.changed();
  }
}
