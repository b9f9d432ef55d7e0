// Conversations, kept in this browser and nowhere else.

import { isKeyOf, keep, kept } from "../storage.js";

/**
 * @typedef {{tokens: number, prompt: number, cached: number, first_s: number, writing_s: number}} Counts
 * @typedef {{model: string, kind: string, text: string, state: "writing"|"done"|"stopped"|"cut"|"failed",
 *   counts?: Counts, error?: {message: string, advice: string}}} Answer
 * @typedef {{ask: string, answers: Answer[]}} Turn
 * @typedef {{id: string, title: string, changed: number, system: string, turns: Turn[]}} Conversation
 */

const KEY = "conversations";
const MOST = 100;
const LONGEST_TITLE = 60;

/** @returns {Conversation[]} the last changed first; what is not one (from another version, say) is left out */
export function readAll() {
  return stored([]);
}

/** Be told when another tab has kept or removed one. @param {(all: Conversation[]) => void} changed */
export function watch(changed) {
  addEventListener("storage", ({ key }) => isKeyOf(key, KEY) && changed(readAll()));
}

/** @returns {Conversation} */
export function begin() {
  // Not randomUUID: browsers offer it over HTTPS and on loopback only.
  const id = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
  return { id, title: "", changed: Date.now() / 1000, system: "", turns: [] };
}

/**
 * Put a conversation first and keep all; where there are too many or the browser's room is used up, the oldest go.
 * @param {Conversation[]} all as this page knows them; what other tabs have kept since is left as it is
 */
export function save(all, conversation) {
  conversation.changed = Date.now() / 1000;
  conversation.title = titleOf(conversation);
  const others = stored(all).filter((one) => one.id !== conversation.id);
  return keepAll([conversation, ...others]);
}

/** @param {Conversation[]} all as of ``save`` */
export function remove(all, id) {
  return keepAll(stored(all).filter((one) => one.id !== id));
}

function keepAll(all) {
  let left = all.slice(0, MOST);
  while (!keep(KEY, left) && left.length > 1) left = left.slice(0, Math.floor(left.length * 0.8));
  return left;
}

/** What is kept now, by whichever tab; where the browser keeps nothing, what this page remembers. */
function stored(remembered) {
  const found = kept(KEY, null);
  return Array.isArray(found) ? found.filter(isConversation).map(settled) : remembered;
}

/** What the model is told: for one column, its own answers; where it has none of its own, the first one's. */
export function messagesFor(conversation, column, upTo) {
  const messages = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  conversation.turns.slice(0, upTo + 1).forEach((turn, index) => {
    messages.push({ role: "user", content: turn.ask });
    const answer = turn.answers[column] ?? turn.answers[0];
    if (index < upTo && answer?.text) messages.push({ role: "assistant", content: answer.text });
  });
  return messages;
}

function titleOf({ turns }) {
  const line = (turns[0]?.ask ?? "").trim().split("\n")[0];
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1).trimEnd()}…` : line;
}

function isConversation(value) {
  const isTurn = (turn) => typeof turn?.ask === "string" && Array.isArray(turn.answers) && turn.answers.every(isAnswer);
  const isAnswer = (answer) => typeof answer?.text === "string" && typeof answer.model === "string";
  return typeof value?.id === "string" && typeof value.system === "string" && Array.isArray(value.turns) && value.turns.every(isTurn);
}

/** An answer that was being written when the page was closed was stopped by that. */
function settled(conversation) {
  for (const turn of conversation.turns)
    for (const answer of turn.answers) if (answer.state === "writing") answer.state = "stopped";
  return conversation;
}
