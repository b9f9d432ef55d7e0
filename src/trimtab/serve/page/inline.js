// Markdown within a line: code, bold, italic, links. Linear in the text's length, whatever a model writes.

import { h } from "./dom.js";

const MOST_NESTED = 6;
const LONGEST_LABEL = 300;
const MARKS = ["***", "**", "__", "*", "_", "~~"];
const TAGS = { "***": "strong", "**": "strong", __: "strong", "*": "em", _: "em", "~~": "s" };

/**
 * Give the nodes of a line.
 * @param {string} text
 * @param {number} [depth]
 * @returns {(Node|string)[]}
 */
export function inline(text, depth = 0) {
  const nodes = [];
  const missing = new Set(); // closers that are known not to follow, so that none is looked for twice
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const found = depth < MOST_NESTED ? span(text, at, missing, depth) : null;
    if (found) {
      if (plain) nodes.push(plain);
      plain = "";
      nodes.push(found.node);
      at = found.end;
    } else {
      const escaped = text[at] === "\\" && /[\\`*_~[\]#>.!()-]/.test(text[at + 1] ?? "");
      const run = escaped ? text[at + 1] : markAt(text, at);
      plain += run;
      at += run.length + (escaped ? 1 : 0);
    }
  }
  if (plain) nodes.push(plain);
  return nodes;
}

/** A run of equal marks is taken whole, so that "****" is not looked at four times. */
function markAt(text, at) {
  let end = at + 1;
  if (text[at] === "`") while (text[end] === "`") end += 1;
  return text.slice(at, end);
}

function span(text, at, missing, depth) {
  const first = text[at];
  if (first === "`") return code(text, at, missing);
  if (first === "[") return link(text, at, missing, depth);
  if (first !== "*" && first !== "_" && first !== "~") return null;
  const mark = MARKS.find((one) => text.startsWith(one, at));
  return mark ? emphasis(text, at, { mark, missing, depth }) : null;
}

function code(text, at, missing) {
  const mark = markAt(text, at);
  const begin = at + mark.length;
  const end = find(text, mark, begin, missing);
  if (end < 0) return null;
  const inner = text.slice(begin, end);
  return { node: h("code", {}, inner.replace(/^ (.*\S.*) $/s, "$1")), end: end + mark.length };
}

function emphasis(text, at, { mark, missing, depth }) {
  const begin = at + mark.length;
  const isWord = (character) => /[\p{L}\p{N}]/u.test(character ?? "");
  if (!text[begin]?.trim()) return null;
  if (mark[0] === "_" && isWord(text[at - 1])) return null; // snake_case is not italic
  let end = find(text, mark, begin, missing);
  // "*a **b** c*": a single mark is not closed by a double one
  while (end >= 0 && mark.length === 1 && (text[end + 1] === mark || !text[end - 1].trim())) {
    end = find(text, mark, end + (text[end + 1] === mark ? 2 : 1), missing);
  }
  if (end <= begin || (mark[0] === "_" && isWord(text[end + mark.length]))) return null;
  const inner = inline(text.slice(begin, end), depth + 1);
  const node = h(TAGS[mark], {}, ...(mark === "***" ? [h("em", {}, ...inner)] : inner));
  return { node, end: end + mark.length };
}

function link(text, at, missing, depth) {
  const middle = find(text, "](", at + 1, missing);
  if (middle < 0 || middle - at > LONGEST_LABEL) return null;
  const end = find(text, ")", middle + 2, missing);
  if (end < 0) return null;
  const address = text.slice(middle + 2, end).trim().split(/\s/)[0];
  if (!/^https?:\/\//i.test(address)) return null; // no javascript:, no data:, nothing of this server
  const properties = { href: address, target: "_blank", rel: "noopener noreferrer nofollow" };
  return { node: h("a", properties, ...inline(text.slice(at + 1, middle), depth + 1)), end: end + 1 };
}

function find(text, mark, from, missing) {
  if (missing.has(mark)) return -1;
  const end = text.indexOf(mark, from);
  if (end < 0) missing.add(mark);
  return end;
}
