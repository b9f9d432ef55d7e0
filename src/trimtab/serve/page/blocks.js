// Markdown's blocks: what a text is made of, line by line.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RESULT = /^[\s\d.,:/%$€£+-]+$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;

/**
 * @typedef {{kind: "code"|"heading"|"rule"|"list"|"quote"|"text", raw: string, language?: string, level?: number,
 *   text?: string, items?: Item[]}} Block
 * @typedef {{depth: number, ordered: boolean, start: number, text: string}} Item
 */

/**
 * Split a text into blocks. A text that is still being written is split as if it ended here.
 * @param {string} source
 * @returns {Block[]}
 */
export function split(source) {
  const lines = source.replace(/\r\n?/g, "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, end] = take(lines, at);
    blocks.push({ ...block, raw: lines.slice(at, end).join("\n") });
    at = end;
  }
  return blocks;
}

function take(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return takeCode(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading && !isResult(heading)) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (ITEM.test(line)) return takeList(lines, at);
  if (QUOTE.test(line)) return takeQuote(lines, at);
  return takeText(lines, at);
}

/** "#### 42" is how worked problems end in many data sets: the marks are part of the answer. */
const isResult = ([, marks, text]) => marks.length === 4 && RESULT.test(text);

function takeCode(lines, at, [, mark, language]) {
  let end = at + 1;
  while (end < lines.length && !isClosing(lines[end], mark)) end += 1;
  const text = lines.slice(at + 1, end).join("\n");
  return [{ kind: "code", language, text }, Math.min(end + 1, lines.length)];
}

function isClosing(line, mark) {
  const word = line.trim();
  return word.length >= mark.length && word === mark[0].repeat(word.length);
}

function takeList(lines, at) {
  const items = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const found = RULE.test(lines[end]) ? null : ITEM.exec(lines[end]);
    if (found) items.push(itemOf(found));
    else if (!lines[end].trim()) {
      // One empty line may stand between items; anything else ends the list.
      if (!ITEM.test(lines[end + 1] ?? "")) break;
    } else if (/^\s{2,}/.test(lines[end]) || !begins(lines[end])) items.at(-1).text += `\n${lines[end].trim()}`;
    else break;
  }
  return [{ kind: "list", items }, end];
}

function itemOf([, indent, mark, text]) {
  const depth = indent.replace(/\t/g, "    ").length;
  return { depth, ordered: /\d/.test(mark), start: Number.parseInt(mark, 10) || 1, text };
}

function takeQuote(lines, at) {
  let end = at;
  const inner = [];
  for (; end < lines.length; end += 1) {
    const found = QUOTE.exec(lines[end]);
    if (!found) break;
    inner.push(found[1]);
  }
  return [{ kind: "quote", text: inner.join("\n") }, end];
}

function takeText(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end])) end += 1;
  return [{ kind: "text", text: lines.slice(at, end).join("\n") }, end];
}

/** Whether a line begins a block of its own, even right after text. */
function begins(line) {
  return [FENCE, HEADING, RULE, ITEM, QUOTE].some((pattern) => pattern.test(line));
}
