// Numbers for a person: few digits, always a unit.

const NONE = "–";

/** @param {number|null|undefined} value */
export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three decimals, as losses are read. */
export const loss = (value) => (isNumber(value) ? value.toFixed(3) : NONE);

/** A rate: two digits are enough above ten. */
export function rate(value) {
  if (!isNumber(value)) return NONE;
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(value >= 10 ? 1 : 2);
}

/** A small number such as a learning rate. */
export function small(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return "0";
  const short = Number(value.toPrecision(3));
  return Math.abs(value) < 1e-3 ? short.toExponential().replace("e-", "e−") : short.toString();
}

/** Bytes in decimal units, as the report writes them. */
export function bytes(count) {
  const [number, unit] = inUnit(count);
  return unit === "GB" ? `${number.toFixed(2)} GB` : scaled(number, unit, 3);
}

/** Bytes on an axis, where neighbours must differ. */
export const roundBytes = (count) => scaled(...inUnit(count), 4);

const scaled = (number, unit, digits) => (unit ? `${Number(number.toPrecision(digits))} ${unit}` : NONE);

function inUnit(count) {
  if (!isNumber(count)) return [0, ""];
  const units = ["B", "kB", "MB", "GB"];
  let at = 0;
  for (; at < units.length - 1 && Math.abs(count) >= 999.5; at += 1) count /= 1000;
  return [count, units[at]];
}

/** Seconds as the two largest units that matter. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** A round number on an axis. */
export const round = (value) => Number(value.toPrecision(4)).toLocaleString("en");

/** Whole numbers with separators. */
export const whole = (value) => (isNumber(value) ? Math.round(value).toLocaleString("en") : NONE);

/** How long ago, in words. @param {number} at seconds since 1970 */
export function ago(at) {
  if (!isNumber(at)) return NONE;
  const passed = Math.max(0, Date.now() / 1000 - at);
  if (passed < 45) return "just now";
  const steps = [[60, "minute"], [3600, "hour"], [86400, "day"]];
  const [length, name] = steps.findLast(([least]) => passed >= least * 0.9) ?? steps[0];
  const count = Math.max(1, Math.round(passed / length));
  if (name === "day" && count > 6) return new Date(at * 1000).toLocaleDateString("en", { dateStyle: "medium" });
  return `${count} ${name}${count > 1 ? "s" : ""} ago`;
}

/** Words in a sentence: "1 token", "2 tokens". */
export const counted = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
