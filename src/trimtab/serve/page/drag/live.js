// The socket of one drag: what is new comes in parcels, and the next one comes when this one has been shown.

import { getJson } from "../api.js";
import { heldToken } from "../token.js";

const PROTOCOL = "trimtab-drag";
const TOKEN = "trimtab-token.";
const HEADER_BYTES = 16;
const WHOLE = 1;
const START = 2;
const WAITS_MS = [300, 1000, 2000, 4000, 8000];

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
    this.connect();
  }

  /** Say something; what is said while there is no connection is lost, and the page shows that there is none. */
  say(message) {
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
    if (this.closed) return;
    this.told.parcel(status, frames);
    this.say({ do: "ack", parcel: status.parcel });
  }

  drop(code, reason) {
    if (this.closed) return;
    if (code === 1008) this.told.lost(false, new Error(reason || "The server ended the connection."));
    else this.retry();
  }

  fail(error) {
    if (error.status) this.told.lost(false, error);
    else this.retry();
  }

  retry() {
    this.told.lost(true, null);
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

/** Names of protocols hold few characters, so the token is written in others. */
const base64Url = (token) => btoa(token).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
