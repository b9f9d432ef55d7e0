// Where a message is written.

import { button, h, icon } from "../dom.js";

const HIGHEST_PX = 240;

/** Make a field as high as its text, up to a limit. */
export function fit(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, HIGHEST_PX)}px`;
}

export class Composer {
  /** @param {{send: (text: string) => boolean, stop: () => void}} actions */
  constructor({ send, stop }) {
    this.busy = false;
    this.actions = { send, stop };
    this.field = h("textarea", { "aria-label": "Message", placeholder: "Write a message", rows: "1", enterkeyhint: "send" });
    this.press = button({ icon: "send", label: "Send", kind: "primary.round", onclick: () => this.pressed() });
    this.field.addEventListener("input", () => this.typed());
    this.field.addEventListener("keydown", (event) => this.key(event));
    const keys = [["Enter", "sends"], ["Shift Enter", "new line"], ["Esc", "stops"], ["Ctrl K", "new conversation"]];
    const hint = h("p.keys", { "aria-hidden": "true" }, ...keys.map(([key, does]) => h("span", {}, h("kbd", {}, key), ` ${does}`)));
    this.element = h("form.composer", { onsubmit: (event) => event.preventDefault() }, h("div.composer-box", {}, this.field, this.press), hint);
    this.typed();
  }

  /** Show whether answers are being written. */
  work(busy) {
    this.busy = busy;
    this.press.replaceChildren(icon(busy ? "stop" : "send"));
    const label = busy ? "Stop" : "Send";
    this.press.setAttribute("aria-label", label);
    this.press.title = label;
    this.typed();
  }

  /** Put text into the field. */
  write(text) {
    this.field.value = text;
    this.typed();
    this.field.focus();
  }

  typed() {
    this.press.disabled = !this.busy && !this.field.value.trim();
    if (this.field.isConnected) fit(this.field);
  }

  pressed() {
    if (this.busy) this.actions.stop();
    else this.send();
  }

  send() {
    const text = this.field.value.trim();
    if (!text || this.busy || !this.actions.send(text)) return;
    this.field.value = "";
    this.typed();
    this.field.focus();
  }

  key(event) {
    // While an input method composes a word, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.send();
  }
}
