// The points of a drag: where each handle is, and where it is to go, in pixels of the picture.

/** @typedef {{at: [number, number], to: [number, number], left: number|null, lost: boolean, arrived: boolean}} Point */

export class Points {
  constructor() {
    /** @type {Point[]} */
    this.all = [];
    this.size = 1024;
    this.chosen = -1;
    this.changed = false; // by hand, since the server was told
  }

  /** Take what the server says, unless the person has changed something since. */
  take({ resolution, points, stop_px }) {
    this.size = resolution;
    if (this.changed || !points) return;
    this.all = points.map(({ at, to, left_px, lost }) => ({ at, to, left: left_px, lost, arrived: !lost && left_px <= stop_px }));
    this.chosen = Math.min(this.chosen, this.all.length - 1);
  }

  forget() {
    this.all = [];
    this.chosen = -1;
    this.changed = false;
  }

  /** @returns {number} the index of the new point */
  add(at, to) {
    this.all.push(fresh(this.inside(at), this.inside(to)));
    this.changed = true;
    this.chosen = this.all.length - 1;
    return this.chosen;
  }

  /** Move one end of a point. @param {"at"|"to"} end */
  move(index, end, place) {
    const { at, to } = this.all[index];
    this.all[index] = fresh(at, to);
    this.all[index][end] = this.inside(place);
    this.changed = true;
    this.chosen = index;
  }

  remove(index) {
    this.all.splice(index, 1);
    this.chosen = Math.min(this.chosen, this.all.length - 1);
    this.changed = true;
  }

  clear() {
    this.forget();
    this.changed = true;
  }

  /** What the server is to pull; null where it knows already. */
  get pulls() {
    if (!this.changed) return null;
    this.changed = false;
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

const fresh = (at, to) => ({ at, to, left: null, lost: false, arrived: false });

/** How far a handle is from its target. */
export const wayOf = ({ at, to, left }) => left ?? Math.hypot(to[0] - at[0], to[1] - at[1]);
