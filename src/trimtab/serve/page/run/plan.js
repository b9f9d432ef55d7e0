// What was expected against what happened, and what the memory was planned for.

import { h } from "../dom.js";
import { bytes, duration, isNumber } from "../format.js";

/**
 * @param {{peak_bytes: number, limit_bytes: number, seconds_a_step: number|null, parts: Record<string, number>}|null} plan
 * @param {{memory_bytes: number|null, seconds_a_step: number|null}} truth
 */
export function planSection(plan, truth) {
  if (!plan || !isNumber(plan.peak_bytes)) return null;
  const rows = [row("Peak memory", plan.peak_bytes, truth.memory_bytes, bytes)];
  if (isNumber(plan.seconds_a_step)) rows.push(row("Time a step", plan.seconds_a_step, truth.seconds_a_step, duration));
  const heads = ["", "planned", "happened", "plan was off by"].map((text) => h("th", { scope: text ? "col" : null }, text));
  const table = h("table.figures", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
  return h("section.part", {}, h("h2", {}, "Plan and truth"), table, memory(plan));
}

function row(name, planned, happened, write) {
  const off = isNumber(happened) && happened > 0 ? (planned - happened) / happened : null;
  const percent = off === null ? "–" : `${off < 0 ? "−" : "+"}${Math.abs(Math.round(off * 100))} %`;
  const cells = [write(planned), write(happened), percent].map((text) => h("td", {}, text));
  return h("tr", {}, h("th", { scope: "row" }, name), ...cells);
}

function memory({ parts, peak_bytes }) {
  const known = Object.entries(parts ?? {}).filter(([, count]) => isNumber(count) && count > 0).sort(([, a], [, b]) => b - a);
  const bar = h("div.parts-bar", { "aria-hidden": "true" }, ...known.map(([, count], index) => {
    const piece = h(`span.tone-${index % 8}`);
    piece.style.flexGrow = String(count / peak_bytes);
    return piece;
  }));
  const key = h("dl.parts-key", {}, ...known.map(([name, count], index) =>
    h("div", {}, h("dt", {}, h(`i.swatch.tone-${index % 8}`), name), h("dd", {}, bytes(count)))));
  return h("div.parts", {}, h("h3", {}, "Planned memory"), bar, key);
}
