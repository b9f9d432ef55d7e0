// The socket of one drag: what is new comes in parcels, and the next one comes when this one has been shown.

import { getJson } from "../api.js";
import { heldToken } from "../token.js";

const PROTOCOL = "trimtab-drag";
const TOKEN = "trimtab-token.";
const HEADER_BYTES = 16;
const WHOLE = 1;
const START = 2;
const WAITS_MS = [300, 1000, 2000, 4000, 8000];
const PASSING = [409, 429, 503]; // statuses of what is over soon
const AWAY = 1001;
const RUBBISH = 1008;
const LATEST = ["go_to", "strength"]; // of several that are asked for in a row only the last one is wanted

/** Where a session's things are. */
export const addressOf = (key, name = "") => `/api/drag/sessions/${encodeURIComponent(key)}${name ? `/${name}` : ""}`;

export class Live {
  /**
   * @param {string} key
   * @param {{parcel: (status: object, frames: Frame[]) => void, lost: (again: boolean, error: Error|null) => void}} told
   */
  constructor(key, told) {
    this.key = key;
    this.told = told;
    this.tries = 0;
    this.closed = false;
    this.leaving = false; // the person ends it
    this.dropped = false; // while that was so
    this.begin();
    this.connect();
  }

  begin() {
    this.asked = false; // something of ``LATEST``, and no parcel has come since
    this.later = new Map();
    this.last = ""; // what was said, until a parcel comes
  }

  /**
   * Say something; what is said while there is no connection is lost, and the page shows that there is none.
   *
   * A slider tells more places than can be shown: only one is on its way at a time, then the newest.
   */
  say(message) {
    const word = message.do;
    if (word === "pause" && this.last === "pause") return;
    if (LATEST.includes(word) && this.asked) {
      this.later.set(word, message);
      return;
    }
    this.catchUp();
    this.send(message);
  }

  /** Say what was held back. */
  catchUp() {
    const messages = [...this.later.values()];
    this.later.clear();
    for (const message of messages) this.send(message);
  }

  send(message) {
    if (message.do !== "ack") this.last = message.do;
    if (LATEST.includes(message.do)) this.asked = true;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  async connect() {
    try {
      await getJson(addressOf(this.key)); // asks for the token where one is needed, and says what is wrong in words
    } catch (error) {
      if (!this.closed) this.fail(error);
      return;
    }
    if (this.closed) return;
    this.begin();
    const token = heldToken();
    const protocols = token ? [PROTOCOL, TOKEN + base64Url(token)] : [PROTOCOL];
    this.socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${addressOf(this.key, "live")}`, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => this.receive(data));
    this.socket.addEventListener("close", ({ code, reason }) => this.drop(code, reason));
  }

  receive(data) {
    if (typeof data === "string") {
      this.status = JSON.parse(data);
      this.frames = [];
    } else this.frames.push(data);
    if (this.frames.length === this.status.frames) this.deliver(this.status, this.frames);
  }

  async deliver(status, contents) {
    this.tries = 0;
    const frames = await Promise.all(contents.map(decode));
    if (this.closed) {
      for (const { bitmap } of frames) bitmap.close();
      return;
    }
    this.last = "";
    this.asked = false;
    this.told.parcel(status, frames);
    this.send({ do: "ack", parcel: status.parcel });
    this.catchUp();
  }

  drop(code, reason) {
    if (this.closed) return;
    if (code === RUBBISH) this.told.lost(false, new Error(reason || "The server ended the connection."));
    else this.retry(code === AWAY && reason ? new Error(sentence(reason)) : null);
  }

  /** Go on after all; the connection may have ended meanwhile. */
  stay() {
    this.leaving = false;
    if (this.dropped) this.retry(null);
  }

  fail(error) {
    if (!error.status) this.retry(null);
    else if (PASSING.includes(error.status)) this.retry(error);
    else this.told.lost(false, error);
  }

  retry(error) {
    this.dropped = this.leaving;
    if (this.leaving) return;
    this.told.lost(true, error);
    this.timer = setTimeout(() => this.connect(), WAITS_MS[Math.min(this.tries, WAITS_MS.length - 1)]);
    this.tries += 1;
  }
}

/** @typedef {{step: number, whole: boolean, start: boolean, width: number, height: number, bitmap: ImageBitmap}} Frame */

/** @returns {Promise<Frame>} */
async function decode(content) {
  const [step, flags, width, height] = new Uint32Array(content.slice(0, HEADER_BYTES));
  const bitmap = await createImageBitmap(new Blob([content.slice(HEADER_BYTES)], { type: "image/jpeg" }));
  return { step, whole: Boolean(flags & WHOLE), start: Boolean(flags & START), width, height, bitmap };
}

const sentence = (words) => words[0].toUpperCase() + words.slice(1);

/** Names of protocols hold few characters, so the token is written in others. */
const base64Url = (token) => btoa(token).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
