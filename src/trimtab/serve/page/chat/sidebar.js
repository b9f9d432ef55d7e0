// Earlier conversations. On a narrow screen they lie over the page until one is chosen.

import { button, h } from "../dom.js";
import { ago } from "../format.js";

export class Sidebar {
  /** @param {{fresh: () => void, open: (id: string) => void, forget: (id: string) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.list = h("ul.talks");
    const fresh = button({ icon: "plus", label: "New conversation", text: "New conversation", kind: "edged.wide", onclick: () => this.chosen(actions.fresh) });
    const close = button({ icon: "close", label: "Close the list", kind: "quiet.narrow-only", onclick: () => this.show(false) });
    this.element = h("aside.sidebar", { "aria-label": "Conversations" }, h("div.row", {}, fresh, close), this.list,
      h("p.counts.where", {}, "Kept in this browser only."));
    this.backdrop = h("div.backdrop", { onclick: () => this.show(false) });
    this.opener = button({ icon: "list", label: "Conversations", kind: "quiet.narrow-only", onclick: () => this.show(true), "aria-expanded": "false" });
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOpen) return;
      event.stopPropagation();
      this.show(false);
    });
  }

  get isOpen() {
    return this.element.hasAttribute("data-open");
  }

  /** Lay the list over a narrow page, or take it away; wide pages show it always. */
  show(open) {
    if (open === this.isOpen) return;
    this.element.toggleAttribute("data-open", open);
    this.backdrop.toggleAttribute("data-open", open);
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) this.element.querySelector("button").focus();
    else this.opener.focus();
  }

  /** @param {import("./store.js").Conversation[]} all @param {string} current */
  draw(all, current) {
    this.list.replaceChildren(...all.map((one) => this.row(one, one.id === current)));
    if (!all.length) this.list.append(h("li.empty", {}, "Conversations appear here."));
  }

  row({ id, title, changed }, current) {
    const open = h("button.talk", { type: "button", "aria-current": current ? "true" : null, onclick: () => this.chosen(() => this.actions.open(id)) },
      h("span.talk-title", {}, title || "Untitled"), h("span.counts", {}, ago(changed)));
    const forget = button({ icon: "bin", label: `Delete "${title}"`, kind: "quiet.small", onclick: () => this.actions.forget(id) });
    return h("li", {}, open, forget);
  }

  chosen(act) {
    this.show(false);
    act();
  }
}
