// Drags that the server keeps: to go on with, or to delete.

import { call, failureOf, getJson } from "../api.js";
import { button, h } from "../dom.js";
import { ago, counted } from "../format.js";
import { addressOf } from "./live.js";

const SHOWN = 8;

export class Kept {
  /** @param {{removing: (key: string) => void, removed: (key: string) => void, stayed: (key: string, failure: object) => void, failed: (failure: object) => void}} told */
  constructor(told) {
    this.told = told;
    this.list = h("ul.drag-kept");
    this.more = h("button.quiet.small", { type: "button", onclick: () => this.showAll() });
    this.element = h("section.drag-part", { "aria-label": "Kept drags", hidden: true }, h("h2", {}, "Kept"), this.list, this.more);
  }

  /** Read anew what is kept. @param {string} key of the one that is shown */
  async look(key) {
    this.key = key;
    try {
      const { sessions } = await getJson("/api/drag");
      this.show(sessions, this.key);
    } catch (error) {
      this.told.failed(failureOf(error));
    }
  }

  /** @param {object[]} sessions as the server lists them @param {string} key of the one that is shown */
  show(sessions, key) {
    this.sessions = sessions;
    this.key = key;
    const shown = this.all ? sessions : sessions.filter((one, index) => index < SHOWN || one.key === key);
    this.element.hidden = sessions.length === 0;
    this.more.hidden = shown.length === sessions.length;
    this.more.textContent = `Show all ${sessions.length}`;
    this.list.replaceChildren(...shown.map((one) => this.row(one, one.key === key)));
  }

  showAll() {
    this.all = true;
    this.show(this.sessions, this.key);
  }

  row({ key, generator, seed, steps, changed }, current) {
    const canvas = h("canvas", { width: 64, height: 64 });
    const name = seed === null ? "photo" : `${generator} ${seed}`;
    const link = h("a", { href: `#/drag/${key}`, "aria-current": current ? "page" : null }, canvas,
      h("span.drag-kept-name", {}, h("strong", {}, name), h("span.counts", {}, `${counted(steps, "step")} · ${ago(changed)}`)));
    const remove = button({ icon: "bin", label: `Delete ${name}`, kind: "quiet.small", onclick: () => this.remove(key) });
    this.picture(key, canvas);
    return h("li", {}, link, remove);
  }

  async picture(key, canvas) {
    try {
      const bitmap = await createImageBitmap(await (await call(addressOf(key, "thumbnail"))).blob());
      canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      bitmap.close();
    } catch {
      canvas.hidden = true; // it was never rendered
    }
  }

  async remove(key) {
    this.told.removing(key);
    try {
      await call(addressOf(key), { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) {
        this.told.stayed(key, failureOf(error));
        return;
      }
    }
    this.told.removed(key);
  }
}
