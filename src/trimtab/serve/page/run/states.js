// How a run stands, in a word and a colour.

import { h } from "../dom.js";
import { isNumber, loss } from "../format.js";

const WORDS = { running: "Running", finished: "Finished", stopped: "Stopped", empty: "Not begun" };

/** @param {string} state */
export const badge = (state) => h(`span.badge.${state}`, {}, WORDS[state] ?? state);

/** The loss on what was held out: before and after, once a step was made. */
export function heldOut({ eval_loss_before, eval_loss, step }) {
  const moved = isNumber(eval_loss_before) && isNumber(eval_loss) && step > 0;
  return moved ? `${loss(eval_loss_before)} → ${loss(eval_loss)}` : loss(eval_loss);
}

/** How much is done, from 0 to 1, by whichever limit is nearer; null where no limit is known. */
export function shareDone({ state, step, steps, elapsed_s, time_limit_s }) {
  if (state === "finished") return 1;
  const shares = [isNumber(steps) && steps > 0 ? step / steps : null, time_limit_s && isNumber(elapsed_s) ? elapsed_s / time_limit_s : null];
  const known = shares.filter((share) => share !== null);
  return known.length ? Math.min(1, Math.max(...known)) : null;
}

/** Seconds that are left, at the pace so far. */
export function secondsLeft(run) {
  const share = shareDone(run);
  return share && share < 1 && run.elapsed_s ? run.elapsed_s * (1 / share - 1) : null;
}
