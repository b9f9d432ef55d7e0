// The server's token, where it wants one: kept for this tab only, and gone when the tab is closed.

import { h } from "./dom.js";

const KEY = "trimtab.token";
let held = read();
/** @type {Promise<boolean>|null} */
let asking = null;

function read() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** The token that calls are to carry; empty where none was needed so far. */
export const heldToken = () => held;

/** Drop a token that the server does not take. */
export function forgetToken() {
  hold("");
}

function hold(token) {
  held = token;
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Kept in this page's memory alone.
  }
}

/**
 * Ask the person; calls that come together ask once.
 * @param {boolean} refused whether a token was just turned away
 * @returns {Promise<boolean>} whether one was given
 */
export function askForToken(refused) {
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(refused) {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
  const form = h("form", { method: "dialog" },
    h("h2", {}, refused ? "That token was not accepted" : "This server asks for a token"),
    h("p.soft", {}, "It was printed in the terminal where trimtab serve was started, or stands in the file given with --token-file."),
    h("label", { for: "token" }, "Token"),
    field,
    h("div.row.end", {}, h("button.primary", { type: "submit", value: "given" }, "Continue")));
  const dialog = h("dialog.box", { "aria-label": "Token" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const token = dialog.returnValue === "given" ? field.value.trim() : "";
      if (token) hold(token);
      dialog.remove();
      resolve(Boolean(token));
    });
  });
}
