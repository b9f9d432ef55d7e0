// The points of a drag: where each handle is, and where it is to go, in pixels of the picture.

/** @typedef {{at: [number, number], to: [number, number], left: number|null, lost: boolean, arrived: boolean, added: boolean}} Point ``added`` by hand, and the server was not told */
/** @typedef {{all: Point[], touched: boolean}} Draft */

export class Points {
  constructor() {
    /** @type {Point[]} */
    this.all = [];
    this.size = 1024;
    this.chosen = -1;
    this.touched = false; // moved or removed by hand, since the server was told
  }

  /** Whether the server is to be told of them. */
  get changed() {
    return this.touched || this.all.some(({ added }) => added);
  }

  /** The server knows them, or is to say what they are. */
  settle() {
    this.touched = false;
    for (const point of this.all) point.added = false;
  }

  /** Take what the server says, unless the person has changed something since. */
  take({ resolution, points, stop_px }) {
    this.size = resolution;
    if (this.changed || !points) return;
    this.all = points.map(({ at, to, left_px, lost }) => ({ at, to, left: left_px, lost, arrived: !lost && left_px <= stop_px, added: false }));
    this.chosen = Math.min(this.chosen, this.all.length - 1);
  }

  forget() {
    this.all = [];
    this.chosen = -1;
    this.touched = false;
  }

  /** @returns {number} the index of the new point */
  add(at, to) {
    this.all.push(fresh(this.inside(at), this.inside(to), true));
    this.chosen = this.all.length - 1;
    return this.chosen;
  }

  /** Move one end of a point. @param {"at"|"to"} end */
  move(index, end, place) {
    const { at, to, added } = this.all[index];
    this.all[index] = fresh(at, to, added);
    this.all[index][end] = this.inside(place);
    if (!added) this.touched = true;
    this.chosen = index;
  }

  remove(index) {
    const [{ added }] = this.all.splice(index, 1);
    this.chosen = Math.min(this.chosen, this.all.length - 1);
    if (!added) this.touched = true;
  }

  /** Remove the point that was added last, unless the server knows it. @returns {boolean} whether there was one */
  takeBack() {
    const index = this.all.findLastIndex(({ added }) => added);
    if (index >= 0) this.remove(index);
    return index >= 0;
  }

  /** What of them the server does not know. @returns {Draft} */
  get draft() {
    return { all: this.all, touched: this.touched };
  }

  /** Take up what was set before. @param {Draft} draft */
  resume({ all, touched }) {
    Object.assign(this, { all, touched });
  }

  /** Remember how they are now. @returns {() => void} makes them so again */
  memory() {
    const { all, chosen, touched } = this;
    const copies = all.map((point) => ({ ...point }));
    return () => Object.assign(this, { all: copies, chosen, touched });
  }

  clear() {
    this.forget();
    this.touched = true;
  }

  /** What the server is to pull; null where it knows already. */
  get pulls() {
    if (!this.changed) return null;
    this.settle();
    return this.all.map(({ at, to }) => [...at, ...to]);
  }

  /**
   * Find the end of a point that is near a place.
   * @returns {{index: number, end: "at"|"to"}|null}
   */
  near(place, reach) {
    let best = null;
    let least = reach;
    this.all.forEach((point, index) => {
      for (const end of ["to", "at"]) {
        const far = Math.hypot(point[end][0] - place[0], point[end][1] - place[1]);
        if (far <= least) {
          least = far;
          best = { index, end };
        }
      }
    });
    return best;
  }

  inside(place) {
    return place.map((part) => Math.min(Math.max(part, 0), this.size - 1));
  }
}

const fresh = (at, to, added) => ({ at, to, left: null, lost: false, arrived: false, added });

/** How far a handle is from its target. */
export const wayOf = ({ at, to, left }) => left ?? Math.hypot(to[0] - at[0], to[1] - at[1]);
