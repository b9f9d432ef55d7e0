// Runs: all of them, or one.

import { RunDetail } from "../run/detail.js";
import { RunList } from "../run/list.js";

export const title = "Runs";
export const path = "runs";

/** @type {RunList|RunDetail|null} */
let shown = null;

export function mount(root, context) {
  shown = context.rest.length ? new RunDetail(context.rest[0], context) : new RunList(context);
  root.append(shown.element);
}

export function unmount() {
  shown.close();
}
