// From numbers to places, and the round numbers in between.

const TICKS = 4;

/**
 * @typedef {{low: number, high: number, ticks: number[], place: (value: number) => number, log?: boolean}} Scale
 *   place gives 0 to 1, on a logarithmic one to numbers above 0 only
 */

/** @param {number[]} values @returns {Scale} */
export function linear(values) {
  const [least, most] = extent(values);
  const span = most - least || Math.abs(most) || 1;
  const rough = span / TICKS;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((one) => one >= rough * 0.999);
  const first = Math.floor(least / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(most / step - 1e-9));
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  const low = ticks[0];
  const high = ticks.at(-1);
  return { low, high, ticks, place: (value) => (value - low) / (high - low) };
}

/** Powers of ten, with what lies between where there are few; linear where no number is above 0. @returns {Scale} */
export function logarithmic(values) {
  const above = values.filter((value) => value > 0);
  if (!above.length) return linear(values);
  const [least, most] = extent(above);
  const low = Math.log10(least) - 0.02;
  const high = Math.max(Math.log10(most) + 0.02, low + 0.1);
  const factors = high - low > 2.5 ? [1] : high - low > 0.9 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1)
    for (const factor of factors) {
      const value = Number((factor * 10 ** power).toPrecision(6));
      if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push(value);
    }
  return { low: 10 ** low, high: 10 ** high, ticks, log: true, place: (value) => (Math.log10(value) - low) / (high - low) };
}

/** Steps run from the first to the last, with round numbers between; nothing is gained by room beyond the last. */
export function steps(values) {
  const [low, most] = extent(values);
  const high = most > low ? most : low + 1;
  const ticks = linear([low, high]).ticks.filter((tick) => tick >= low && tick <= high && Number.isInteger(tick));
  return { low, high, ticks, place: (value) => (value - low) / (high - low) };
}

function extent(values) {
  let least = Infinity;
  let most = -Infinity;
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return least <= most ? [least, most] : [0, 1];
}

/** Each point averaged with those before it, over a fifth of the run: as in the report. @param {[number, number][]} points */
export function averaged(points) {
  const window = Math.max(1, Math.floor(points.length / 5));
  let sum = 0;
  return points.map(([x, y], index) => {
    sum += y - (index >= window ? points[index - window][1] : 0);
    return [x, sum / Math.min(index + 1, window)];
  });
}

/** At most two points a pixel, the lowest and the highest there, so that no spike is lost. */
export function thinned(points, width) {
  if (points.length <= 2 * width) return points;
  const size = Math.ceil(points.length / width);
  const left = [];
  for (let at = 0; at < points.length; at += size) {
    const part = points.slice(at, at + size);
    const least = part.reduce((a, b) => (b[1] < a[1] ? b : a));
    const most = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    left.push(...(least[0] < most[0] ? [least, most] : most === least ? [least] : [most, least]));
  }
  return left;
}

/** The index of the point nearest to a step. @param {[number, number][]} points in the order of their steps */
export function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - points[low - 1][0] < points[low][0] - step ? low - 1 : low;
}
