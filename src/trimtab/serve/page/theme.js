// Light, dark, or as the system has it.

import { button, icon } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const LOOKS = { system: "system", light: "sun", dark: "moon" };

/** Make the switch that goes round the three. */
export function themeSwitch() {
  const made = button({ icon: "system", label: "Theme", onclick: turn });
  show(made, current());
  return made;

  function turn() {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("trimtab.theme", next);
    } catch {
      // The choice then lasts as long as the page.
    }
    show(made, next);
  }
}

const current = () => document.documentElement.dataset.theme ?? "system";

function show(made, theme) {
  made.querySelector(".icon").replaceWith(icon(LOOKS[theme]));
  const label = theme === "system" ? "Theme: as the system" : `Theme: ${theme}`;
  made.setAttribute("aria-label", label);
  made.title = label;
}
