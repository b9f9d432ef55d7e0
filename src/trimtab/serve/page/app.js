// The shell: shows the view that the address names, and nothing of what views do.

import { h } from "./dom.js";
import { themeSwitch } from "./theme.js";
import { VIEWS } from "./views.js";

const root = document.getElementById("view");
const announcer = document.getElementById("announcer");
const links = new Map(VIEWS.map((view) => [view, h("a", { href: `#/${view.path}` }, view.title)]));
/** @type {{unmount: () => void}|null} */
let shown = null;

/** What a view is given besides its place. */
const context = (rest) => ({ rest, announce, entitle });

/** Say something to a screen reader. */
function announce(text) {
  announcer.textContent = text;
}

/** Name what is shown, for the tab and the history of the browser. */
function entitle(name) {
  document.title = name ? `${name} · trimtab` : "trimtab";
}

function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return []; // a broken escape in an address that was typed
  }
}

function show() {
  if (location.hash && !location.hash.startsWith("#/")) return; // a link within the page
  const [path, ...rest] = parts();
  const view = VIEWS.find((one) => one.path === path) ?? VIEWS[0];
  shown?.unmount();
  root.replaceChildren();
  for (const [one, link] of links) link.setAttribute("aria-current", one === view ? "page" : "false");
  entitle(view.title);
  shown = view;
  view.mount(root, context(rest));
}

document.getElementById("views").append(...links.values());
document.getElementById("tools").append(themeSwitch());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  root.focus();
});
addEventListener("hashchange", show);
show();
