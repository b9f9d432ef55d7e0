// Elements without markup: text given here can only ever become text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} kind tag, with classes after dots: "button.quiet.small"
 * @param {Record<string, any>} [properties] on* are listeners; null and false leave an attribute out
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  return dress(element, properties, children);
}

/** The same for a part of a drawing. @returns {SVGElement} */
export function s(tag, properties = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), properties, children);
}

function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  plus: "M8 3v10M3 8h10",
  send: "M8 13V3M3.5 7.5 8 3l4.5 4.5",
  stop: "M4.5 4.5h7v7h-7z",
  copy: "M6 6h7v7H6zM3 10V3h7",
  check: "m3 8.5 3.2 3L13 4.5",
  again: "M13 8a5 5 0 1 1-1.5-3.6L13 6M13 2.5V6H9.5",
  edit: "m3 13 .7-3L10.5 3.2l2.3 2.3L6 12.3 3 13Z",
  bin: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  sliders: "M2.5 5h5M11.5 5h2M2.5 11h2M8.5 11h5M7.5 5a2 2 0 1 0 4 0 2 2 0 1 0-4 0M4.5 11a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
  columns: "M2.5 3h4.3v10H2.5zM9.2 3h4.3v10H9.2z",
  list: "M2.5 4h11M2.5 8h11M2.5 12h7",
  close: "m4 4 8 8M12 4l-8 8",
  back: "M9.5 3.5 5 8l4.5 4.5",
  out: "M6 3.5H3.5v9h9V10M9 3h4v4M13 3 7.5 8.5",
  play: "M5 3.2v9.6L12.6 8Z",
  pause: "M5 3.5v9M11 3.5v9",
  step: "M4 3.2v9.6L10.4 8ZM12.5 3.5v9",
  undo: "M6 3 3 6l3 3M3 6h6a3.8 3.8 0 0 1 0 7.5H6.5",
  redo: "m10 3 3 3-3 3M13 6H7a3.8 3.8 0 0 0 0 7.5h2.5",
  point: "M4.5 9.5a2 2 0 1 0 0 4 2 2 0 1 0 0-4M6 10l5-5M7.5 4.5H11.5V8.5",
  brush: "M13.3 2.7 7.2 8.8M7.2 8.8a2.4 2.4 0 0 0-3.4.5c-.7 1-.5 2.3-1.8 3.4 2 1 4.6.6 5.7-.6a2.3 2.3 0 0 0-.5-3.3Z",
  eraser: "m6.5 13 6.8-6.8-3.5-3.5L3 9.5 6.5 13ZM6.4 6.1l3.5 3.5M6.5 13h6.5",
  invert: "M8 2.5a5.5 5.5 0 1 0 0 11ZM8 2.5a5.5 5.5 0 0 1 0 11",
  dice: "M3 3h10v10H3zM5.8 5.8h.01M10.2 5.8h.01M8 8h.01M5.8 10.2h.01M10.2 10.2h.01",
  photo: "M2.5 4.5h3L6.8 3h2.4l1.3 1.5h3v8h-11zM8 6.2a2.3 2.3 0 1 0 0 4.6 2.3 2.3 0 1 0 0-4.6",
  save: "M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.2h10",
  next: "m6.5 3.5 4.5 4.5-4.5 4.5",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 1 0 0-5.6M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5Z",
  system: "M2.5 3.5h11v7h-11zM6 13h4M8 10.5V13",
};

/** Draw an icon; it says nothing to a screen reader, its button does. */
export function icon(name) {
  const path = s("path", { d: ICONS[name] });
  return s("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, path);
}

/**
 * Make a button with an icon.
 * @param {{icon: string, label: string, text?: string, kind?: string, onclick: (event: Event) => void}} options
 */
export function button({ icon: name, label, text = "", kind = "quiet", onclick, ...rest }) {
  const shown = text ? h("span", {}, text) : null;
  const properties = { type: "button", "aria-label": label, title: label, onclick, ...rest };
  return h(`button.${kind}`, properties, name ? icon(name) : null, shown);
}

/** Copy text and say so on the button that was pressed. */
export async function copyFrom(pressed, text) {
  const drawn = pressed.querySelector(".icon");
  const said = pressed.getAttribute("aria-label");
  let name = "check";
  try {
    await navigator.clipboard.writeText(text);
    pressed.setAttribute("aria-label", "Copied");
  } catch {
    name = "close";
    pressed.setAttribute("aria-label", "The browser did not allow copying; select the text instead");
  }
  const answer = icon(name);
  drawn.replaceWith(answer);
  setTimeout(() => {
    answer.replaceWith(drawn);
    pressed.setAttribute("aria-label", said);
  }, 1400);
}
