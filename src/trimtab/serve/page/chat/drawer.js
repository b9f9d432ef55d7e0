// Settings: what the model is told first, and how its words are drawn.

import { button, h } from "../dom.js";
import { keep, kept } from "../storage.js";

const KEY = "sampling";
const FIELDS = [
  { name: "temperature", label: "Temperature", help: "0 always takes the likeliest token.", low: 0, high: 2, step: 0.05, start: 0.7 },
  { name: "top_p", label: "Top p", help: "Draws among the likeliest tokens of this share.", low: 0.05, high: 1, step: 0.05, start: 0.95 },
  { name: "max_tokens", label: "Longest answer, in tokens", help: "", low: 1, high: 8192, step: 1, start: 512, plain: true },
  { name: "seed", label: "Seed", help: "The same number gives the same answer; empty draws anew each time.", low: 0, high: 2147483647, step: 1, start: null, plain: true },
];

export class Drawer {
  /** @param {{system: (text: string) => void}} actions */
  constructor({ system }) {
    this.values = { ...defaults(), ...valid(kept(KEY, {})) };
    this.system = h("textarea", { id: "system", rows: "5", placeholder: "You are a patient teacher of arithmetic.", oninput: () => system(this.system.value) });
    this.inputs = new Map();
    this.fields = h("div", {}, ...FIELDS.map((field) => this.field(field)));
    const close = button({ icon: "close", label: "Close the settings", onclick: () => this.element.close() });
    const reset = h("button.quiet.small.edged", { type: "button", onclick: () => this.reset() }, "Reset to the defaults");
    this.element = h("dialog.drawer", { "aria-label": "Settings" },
      h("div.row.apart", {}, h("h2", {}, "Settings"), close),
      h("div.field", {}, h("label", { for: "system" }, "System prompt"), this.system, h("p.help", {}, "Told before this conversation; it counts from the next message on.")),
      this.fields, reset);
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close(); // the backdrop is the dialog itself
    });
  }

  /** Open, with the system prompt of a conversation. */
  open(system) {
    this.system.value = system;
    this.element.showModal();
  }

  /** What is sent with a request; no seed where none is wanted. */
  get sampling() {
    return Object.fromEntries(Object.entries(this.values).filter(([, value]) => value !== null));
  }

  field({ name, label, help, low, high, step, plain }) {
    const bounds = { min: low, max: high, step };
    const number = h("input", { type: "number", id: name, inputmode: "decimal", ...bounds, oninput: () => this.set(name, number) });
    const range = plain ? null : h("input", { type: "range", "aria-label": label, ...bounds, oninput: () => this.set(name, range) });
    this.inputs.set(name, [number, range].filter(Boolean));
    this.fill(name);
    return h("div.field", {}, h("div.row.apart", {}, h("label", { for: name }, label), number), range, help ? h("p.help", {}, help) : null);
  }

  set(name, input) {
    const field = FIELDS.find((one) => one.name === name);
    const value = input.value.trim() === "" ? field.start : Number(input.value);
    input.setAttribute("aria-invalid", String(!fits(field, value)));
    if (!fits(field, value)) return;
    this.values[name] = value;
    keep(KEY, this.values);
    for (const other of this.inputs.get(name)) if (other !== input) other.value = value ?? "";
  }

  fill(name) {
    for (const input of this.inputs.get(name)) {
      input.value = this.values[name] ?? "";
      input.removeAttribute("aria-invalid");
    }
  }

  reset() {
    this.values = defaults();
    keep(KEY, this.values);
    for (const { name } of FIELDS) this.fill(name);
  }
}

const defaults = () => Object.fromEntries(FIELDS.map(({ name, start }) => [name, start]));

function fits({ low, high, step, start }, value) {
  if (value === null) return start === null;
  return Number.isFinite(value) && value >= low && value <= high && (step < 1 || Number.isInteger(value));
}

function valid(values) {
  return Object.fromEntries(FIELDS.filter((field) => field.name in values && fits(field, values[field.name])).map(({ name }) => [name, values[name]]));
}
