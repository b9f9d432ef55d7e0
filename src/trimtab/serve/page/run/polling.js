// Asking again and again, one at a time, and not while nobody looks.

export class Polling {
  /**
   * @param {() => Promise<boolean>} look gives false when there is nothing more to come
   * @param {number} every_ms
   */
  constructor(look, every_ms) {
    this.look = look;
    this.every_ms = every_ms;
    this.stopped = false;
    this.seen = () => {
      if (!document.hidden && this.timer === null) this.turn();
    };
    document.addEventListener("visibilitychange", this.seen);
    this.turn();
  }

  async turn() {
    this.timer = null;
    if (this.stopped || document.hidden || this.asking) return;
    this.asking = true;
    const more = await this.look();
    this.asking = false;
    if (!more) this.stop();
    if (!this.stopped) this.timer = setTimeout(() => this.turn(), this.every_ms);
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
  }
}
