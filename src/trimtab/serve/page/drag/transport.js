// What moves the drag: start and pause, a step, back and forth, and the slider between before and after.

import { button, h, icon } from "../dom.js";
import { counted, whole } from "../format.js";

const ENDS = { arrived: "Arrived", lost: "Stopped: the points that are left are lost", steps: "Stopped at the limit of steps; start goes on" };

export class Transport {
  /** @param {{start: () => void, pause: () => void, step: () => void, cancel: () => void, undo: () => void, redo: () => void, goTo: (moment: number) => void, split: (share: number) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.running = false;
    this.go = h("button.primary.drag-go", { type: "button", onclick: () => (this.inverting ? actions.cancel() : this.running ? actions.pause() : actions.start()) });
    this.step = button({ icon: "step", label: "One step", kind: "quiet.edged", onclick: () => actions.step() });
    this.undo = button({ icon: "undo", label: "Undo one step", kind: "quiet.edged", onclick: () => actions.undo() });
    this.redo = button({ icon: "redo", label: "Redo one step", kind: "quiet.edged", onclick: () => actions.redo() });
    this.history = h("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "History", oninput: () => actions.goTo(Number(this.history.value)) });
    this.split = h("input", { type: "range", min: 0, max: 100, step: 1, value: 0, "aria-label": "Before and after", oninput: () => actions.split(Number(this.split.value) / 100) });
    this.count = h("output.counts.drag-count");
    this.said = h("p.counts.drag-said", { role: "status" });
    this.element = h("div.drag-transport", {},
      h("div.row", {}, this.go, this.step, this.undo, this.redo),
      h("label.drag-range", {}, h("span", {}, "History"), this.history, this.count),
      h("label.drag-range", {}, h("span", {}, "Before"), this.split, h("span.counts.drag-count", {}, "after")),
      this.said);
    this.showGo();
  }

  /** @param {object|null} status as the server gives it @param {{count: number, changed: boolean}} points */
  show(status, points) {
    const open = Boolean(status) && ["idle", "running"].includes(status.state);
    this.running = status?.state === "running";
    this.inverting = status?.state === "inverting";
    this.showGo();
    const moment = status?.moment ?? 0;
    const moments = status?.moments ?? 1;
    const ready = open && (points.changed ? points.count > 0 : status.edit !== null && !["arrived", "lost"].includes(status.end));
    this.go.disabled = !(ready || this.running || this.inverting);
    this.step.disabled = !ready || this.running;
    this.undo.disabled = !open || moment === 0;
    this.redo.disabled = !open || moment >= moments - 1;
    this.history.disabled = !open || moments < 2;
    this.split.disabled = !open || moment === 0;
    this.history.max = moments - 1;
    if (document.activeElement !== this.history || this.running) this.history.value = moment;
    this.count.textContent = `${whole(moment)} of ${whole(moments - 1)}`;
    this.said.textContent = words(status, points);
  }

  showGo() {
    const [name, text] = this.inverting ? ["close", "Cancel"] : this.running ? ["pause", "Pause"] : ["play", "Start"];
    if (this.go.textContent === text) return;
    this.go.replaceChildren(icon(name), h("span", {}, text));
  }
}

function words(status, points) {
  if (!status) return "Connecting";
  const { progress, state, end, step, shared } = status;
  if (progress?.of === 1) return progress.what;
  if (progress) return `${progress.what}: ${whole(progress.done)} of ${whole(progress.of)}${progress.psnr_db ? `, ${progress.psnr_db.toFixed(1)} dB to the photo` : ""}`;
  if (state === "loading") return "Loading the generator";
  if (state === "failed") return "";
  const turns = shared ? ". Another picture is being worked on; they take turns" : "";
  if (state === "running") return `${counted(step, "step")}${turns}`;
  if (points.changed && points.count) return `${counted(points.count, "point")} set. Start pulls ${points.count > 1 ? "them" : "it"}`;
  if (end) return `${ENDS[end]}, ${counted(step, "step")}`;
  return points.count ? `Paused after ${counted(step, "step")}` : "Press on the picture where something is, and pull to where it should be";
}
