// Drag: a generated picture, and points in it that are pulled to where they are wanted.

import { call, failureOf, getJson } from "../api.js";
import { h } from "../dom.js";
import { Draft } from "../drag/draft.js";
import { Exports } from "../drag/exports.js";
import { keysOf } from "../drag/keys.js";
import { Kept } from "../drag/kept.js";
import { Live } from "../drag/live.js";
import { Mask } from "../drag/mask.js";
import { Pictures } from "../drag/pictures.js";
import { Photo } from "../drag/photo.js";
import { PointList } from "../drag/pointlist.js";
import { Points } from "../drag/points.js";
import { Stage } from "../drag/stage.js";
import { Tools } from "../drag/tools.js";
import { Transport } from "../drag/transport.js";
import { Trouble } from "../drag/trouble.js";

export const title = "Drag";
export const path = "drag";

/** @type {DragView|null} */
let view = null;

export function mount(root, context) {
  view = new DragView(context);
  root.append(view.element);
  view.open(context.rest[0] ?? "");
}

export function unmount() {
  view.close();
  view = null;
}

class DragView {
  constructor(context) {
    this.context = context;
    this.key = "";
    this.status = null;
    this.points = new Points();
    this.mask = new Mask();
    this.draft = new Draft();
    const edited = () => this.edited();
    this.stage = new Stage(this, { edited, painted: () => this.arrange(), missed: () => context.announce("Pull from the handle to its target"), chosen: () => this.list.show() });
    this.list = new PointList(this.points, { edited, chosen: () => this.stage.draw() });
    this.transport = new Transport({
      start: () => this.pull("start"),
      step: () => this.pull("step"),
      pause: () => this.live?.say({ do: "pause" }),
      undo: () => this.travel({ do: "undo" }),
      cancel: () => this.kept.remove(this.key),
      redo: () => this.travel({ do: "redo" }),
      goTo: (moment) => this.travel({ do: "go_to", moment }),
      split: (share) => this.divide(share),
    });
    this.tools = new Tools({ mode: (mode) => this.stage.choose(mode), size: (size) => Object.assign(this.stage, { brush: size }), invert: () => this.repaint("invert"), clear: () => this.repaint("clear") });
    this.pictures = new Pictures({ begin: (asked) => this.begin(asked), failed: (failure) => this.tell(failure) });
    this.photo = new Photo({ generator: () => this.pictures.chosen.generator, begun: (key) => this.show(key), strength: (value) => this.live?.say({ do: "strength", value }) });
    this.exports = new Exports((failure) => this.tell(failure));
    this.kept = new Kept({ removing: (key) => this.leave(key), removed: (key) => this.removed(key), stayed: (key, failure) => this.stay(key, failure), failed: (failure) => this.tell(failure) });
    this.trouble = new Trouble();
    const parts = [this.tools, this.list, this.pictures, this.photo, this.exports, this.kept].map(({ element }) => element);
    this.element = h("div.drag", {}, h("div.drag-desk", {}, this.trouble.element, this.stage.element, this.transport.element), h("div.drag-panel", {}, ...parts));
    this.photo.takeDrops(this.element);
    this.onKey = keysOf(this.transport, () => this.points.takeBack() && (this.edited(), true));
    addEventListener("keydown", this.onKey);
    this.arrange();
  }

  /** Show a session; without one begin with the picture that was looked at last. */
  async open(key) {
    try {
      const { generators, sessions } = await getJson("/api/drag");
      if (this.closed) return;
      this.pictures.offer(generators);
      this.kept.show(sessions, key);
      if (key) this.connect(key);
      else if (generators.length) this.pictures.begin();
      else this.trouble.tellNothing(null);
    } catch (error) {
      this.trouble.tellNothing(error);
    }
  }

  close() {
    this.closed = true;
    this.live?.close();
    this.pictures.close();
    this.photo.close();
    this.stage.watch.disconnect();
    this.stage.forget();
    removeEventListener("keydown", this.onKey);
  }

  async begin(asked) {
    this.beginning = asked;
    try {
      const { key } = await (await call("/api/drag/sessions", { method: "POST", body: asked })).json();
      if (this.closed || this.beginning !== asked) return;
      this.show(key);
    } catch (error) {
      if (!this.closed && this.beginning === asked) this.tell(failureOf(error));
    }
  }

  /** Go to a session that was begun just now. */
  show(key) {
    history.replaceState(null, "", `#/drag/${key}`);
    this.connect(key);
    this.kept.look(this.key);
  }

  connect(key) {
    this.live?.close();
    this.key = key;
    this.status = null;
    this.fresh = true;
    this.stage.forget();
    this.points.forget();
    this.tell(null);
    this.live = new Live(key, {
      parcel: (status, frames) => this.take(status, frames),
      lost: (again, error) => this.lost(again, error),
    });
    this.arrange();
  }

  /** Take what is new from the server. */
  take(status, frames) {
    const before = this.status;
    this.status = status;
    if (before?.state === "gone") this.tell(null);
    if (status.resolution && status.resolution !== this.mask.size) this.mask.resize(status.resolution);
    this.learn(status);
    for (const frame of frames) this.stage.show(frame);
    if (status.moment === 0) this.stage.showBefore();
    if (this.fresh && status.resolution) this.greet(status);
    if (status.problem) this.tell({ message: status.problem, advice: "" });
    for (const { text } of status.notes) this.tell({ message: text, advice: "" });
    if (before && status.saved && !before.saved) this.kept.look(this.key);
    if (before?.state === "running" && status.state !== "running") this.context.announce(this.transport.said.textContent || "Paused");
    this.arrange();
  }

  /** Take the points as the server has them, unless they were changed by hand. */
  learn(status) {
    if (!status?.resolution) return;
    this.points.take(status);
    if (status.edit === null && this.points.all.length) this.points.touched = true; // to be asked anew
  }

  /** The first word of a session that was opened. */
  async greet(status) {
    this.fresh = false;
    this.pictures.reflect(status);
    this.draft.restore(this.key, this.points);
    this.mask.clear();
    this.mask.settle();
    this.context.entitle(`Drag ${status.generator} ${status.seed ?? ""}`);
    if (!status.masked) return;
    const { key } = this;
    const wanted = () => !this.closed && this.key === key;
    try {
      await this.mask.fetch(key, wanted);
    } catch (error) {
      if (wanted()) this.tell(failureOf(error));
    }
    this.arrange();
  }

  /** The drag is to be deleted: that its connection ends is no trouble. */
  leave(key) {
    if (key === this.key && this.live) this.live.leaving = true;
  }

  stay(key, failure) {
    if (key === this.key) this.live?.stay();
    this.tell(failure);
  }

  removed(key) {
    this.kept.look(this.key);
    if (key === this.key) this.pictures.begin();
  }

  lost(again, error) {
    const { status } = this;
    if (status) this.status = { ...status, state: "gone" };
    this.trouble.tellLost(again, error);
    if (error?.status === 404) this.kept.look(this.key);
    this.arrange();
  }

  /** Start or step; what was painted is sent before. */
  async pull(word) {
    this.tell(null);
    const { live } = this;
    try {
      if ((await this.mask.send(this.key)) && this.points.all.length) this.points.touched = true; // another mask is another edit
    } catch (error) {
      this.tell(failureOf(error));
      return;
    }
    if (live !== this.live) return; // another picture is shown by now
    const points = this.points.pulls;
    live?.say(points ? { do: word, points } : { do: word });
  }

  travel(message) {
    this.points.settle();
    this.live?.say(message);
  }

  edited() {
    if (this.status?.state === "running") this.live.say({ do: "pause" });
    this.learn(this.status);
    this.arrange();
  }

  repaint(what) {
    this.mask[what]();
    this.arrange();
  }

  divide(share) {
    this.stage.split = share;
    this.stage.draw();
  }

  /** Make everything around the picture fit how things stand. */
  arrange() {
    const { status, points } = this;
    if (this.key && !this.fresh) this.draft.keep(this.key, points);
    const changed = points.changed || (this.mask.changed && points.all.length > 0);
    this.transport.show(status, { count: points.all.length, changed });
    this.list.show();
    this.tools.show(this.mask.used);
    this.exports.show(this.key, { open: ["idle", "running"].includes(status?.state), moment: status?.moment ?? 0, portrait: Boolean(status?.portrait) });
    this.photo.show(status?.portrait ?? null);
    this.element.dataset.state = status?.state ?? "loading";
    if (status?.moment === 0 && this.stage.split) this.divide((this.transport.split.value = 0));
    this.stage.draw();
  }

  tell(failure) {
    this.trouble.tell(failure);
  }
}
