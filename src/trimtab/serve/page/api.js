// The server, from this page's own origin only: every path here begins with a slash.

import { h } from "./dom.js";
import { askForToken, forgetToken, heldToken } from "./token.js";

/** A failure in words: what happened, and what to do about it. */
export class ApiError extends Error {
  /** @param {string} message @param {string} advice @param {{status?: number, wait?: number}} [more] */
  constructor(message, advice, { status = 0, wait = 0 } = {}) {
    super(message);
    this.advice = advice;
    this.status = status;
    this.wait = wait;
  }
}

/**
 * Call the server; where it wants a token, ask for it once and call again.
 * @param {string} path
 * @param {{method?: string, body?: any, raw?: BodyInit, signal?: AbortSignal}} [options] ``body`` is sent as JSON, ``raw`` as it is
 * @returns {Promise<Response>} with a good status
 */
export async function call(path, options = {}) {
  let refused = false;
  for (;;) {
    const used = heldToken();
    const response = await reach(path, options, used);
    if (response.ok) return response;
    if (response.status !== 401) throw await explain(response);
    // Another call may have been given a token while this one was on its way.
    if (heldToken() === used) {
      if (used) forgetToken();
      if (!(await askForToken(refused))) throw new ApiError("This server needs a token.", "Reload the page to enter it.");
    }
    refused = true;
  }
}

/** Call and read JSON. */
export const getJson = async (path, options) => (await call(path, options)).json();

async function reach(path, { method = "GET", body, raw, signal }, token) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  else if (raw !== undefined) headers["Content-Type"] = "application/octet-stream";
  try {
    return await fetch(path, { method, headers, signal, body: body === undefined ? raw : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

/** The server did not answer at all. */
export const unreachable = () =>
  new ApiError("The server does not answer.", "See whether trimtab serve still runs where it was started, then try again.");

async function explain(response) {
  const { status } = response;
  const wait = Number(response.headers.get("Retry-After")) || 0;
  const said = await saidIn(response);
  if (said.code === "context_length_exceeded")
    return new ApiError(said.message, "Begin a new conversation, or edit an earlier message to make this one shorter.", { status });
  const [message, advice] = words(status, wait);
  return new ApiError(said.message || message, advice, { status, wait });
}

/** @typedef {{message: string, advice: string}} Failure */

/** Words for what went wrong, also where nobody foresaw it. @returns {Failure} */
export function failureOf(error) {
  if (error instanceof ApiError) return { message: error.message, advice: error.advice };
  console.error(error);
  return { message: "The page failed.", advice: "Reload it; the browser's console says more." };
}

/** Show a failure, and what can be done about it. @param {Failure} failure @param {...(Node|null)} more */
export const alarm = ({ message, advice }, ...more) =>
  h("div.failure", { role: "alert" }, h("p", {}, h("strong", {}, message), " ", advice), ...more);

async function saidIn(response) {
  try {
    const { error } = await response.json();
    return { message: String(error.message ?? ""), code: error.code };
  } catch {
    return { message: "", code: null };
  }
}

function words(status, wait) {
  if (status === 429) return ["The server is busy: its queue is full.", `Try again in ${wait > 1 ? `${wait} seconds` : "a moment"}.`];
  if (status === 503) return ["The server is shutting down.", "Start it again, then try again."];
  if (status === 404) return ["The server does not have this.", "Reload the page to see what it has now."];
  if (status === 413) return ["The message is too long for the server.", "Shorten it, or begin a new conversation."];
  if (status >= 500) return [`The server failed (${status}).`, "Its terminal says why. Try again, or restart it."];
  return [`The server refused the request (${status}).`, "Change what was sent, then try again."];
}
