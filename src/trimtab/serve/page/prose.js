// What a model writes, shown. Text becomes text nodes only; there is no way from here to markup.

import { split } from "./blocks.js";
import { button, copyFrom, h } from "./dom.js";
import { inline } from "./inline.js";

const MOST_QUOTED = 4;

/** A place where a growing text is shown; blocks that no longer change are left alone, and so is a selection in them. */
export class Prose {
  constructor() {
    this.element = h("div.prose");
    /** @type {string[]} */
    this.drawn = [];
  }

  /** Show a text in place of the one before. @param {string} source */
  show(source) {
    const blocks = split(source);
    let same = 0;
    while (same < blocks.length && blocks[same].raw === this.drawn[same]) same += 1;
    const old = [...this.element.children].slice(same); // one child a block
    for (const node of old) node.remove();
    this.element.append(...blocks.slice(same).map((block) => draw(block)));
    this.drawn = blocks.map((block) => block.raw);
  }
}

function draw(block, depth = 0) {
  if (block.kind === "code") return codeBlock(block);
  if (block.kind === "heading") return h(`h${Math.min(6, block.level + 2)}`, {}, ...inline(block.text));
  if (block.kind === "rule") return h("hr");
  if (block.kind === "list") return list(block.items);
  if (block.kind === "quote" && depth < MOST_QUOTED)
    return h("blockquote", {}, ...split(block.text).map((inner) => draw(inner, depth + 1)));
  return h("p", {}, ...lines(block.text));
}

/** A line break that a model writes is meant; chat is not typeset. */
function lines(text) {
  return text.split("\n").flatMap((line, index) => [...(index ? [h("br")] : []), ...inline(line.trim())]);
}

function codeBlock({ language, text }) {
  const copy = button({ icon: "copy", label: "Copy code", kind: "quiet.small", onclick: () => copyFrom(copy, text) });
  return h("figure.code", {},
    h("figcaption", {}, h("span", {}, language || "text"), copy),
    h("pre", { tabindex: "0" }, h("code", {}, text)));
}

/** @param {import("./blocks.js").Item[]} items */
function list(items) {
  const [first] = items;
  const element = h(first.ordered ? "ol" : "ul", { start: first.ordered && first.start > 1 ? first.start : null });
  let at = 0;
  while (at < items.length) {
    const item = items[at];
    let end = at + 1;
    while (end < items.length && items[end].depth > item.depth + 1) end += 1;
    const inner = items.slice(at + 1, end);
    element.append(h("li", {}, ...lines(item.text), inner.length ? list(inner) : null));
    at = end;
  }
  return element;
}
