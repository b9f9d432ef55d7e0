// Points that were set and not pulled yet, kept in this tab so that a reload does not lose them.

const KEY = "trimtab.drag-draft";

/** @typedef {{key: string, points: import("./points.js").Draft}} Kept */

export class Draft {
  constructor() {
    this.last = null;
  }

  /** Keep how points stand that the server does not know, or that there are none. */
  keep(key, points) {
    const text = points.changed ? JSON.stringify({ key, points: points.draft }) : "";
    if (text === this.last) return;
    this.last = text;
    try {
      if (text) sessionStorage.setItem(KEY, text);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Kept in this page's memory alone.
    }
  }

  /** Set the points of a session as they were kept. */
  restore(key, points) {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY));
      if (kept?.key === key) points.resume(kept.points);
    } catch {
      // There is no memory.
    }
  }
}
