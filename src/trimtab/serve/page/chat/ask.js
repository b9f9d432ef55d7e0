// One answer, streamed.

import { ApiError, call } from "../api.js";
import { events } from "../sse.js";

/**
 * Ask a model and hand on its text as it comes.
 * @param {{model: string, messages: object[], sampling: object, signal: AbortSignal}} request
 * @param {(text: string) => void} onText what was added
 * @returns {Promise<{reason: string, counts: import("./store.js").Counts|undefined}>}
 */
export async function ask({ model, messages, sampling, signal }, onText) {
  const began = performance.now();
  const body = { model, messages, ...sampling, stream: true, stream_options: { include_usage: true } };
  const response = await call("/v1/chat/completions", { method: "POST", body, signal });
  let first = 0;
  let last = 0;
  let reason = "";
  let usage = null;
  for await (const chunk of chunks(response, signal)) {
    const [choice] = chunk.choices ?? [];
    if (choice?.delta?.content) {
      last = performance.now();
      first ||= last;
      onText(choice.delta.content);
    }
    reason = choice?.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  if (!reason) throw broken();
  return { reason, counts: usage ? countsOf(usage, began, first || performance.now(), last) : undefined };
}

async function* chunks(response, signal) {
  try {
    for await (const data of events(response)) {
      if (data === "[DONE]") continue; // the server closes; leaving now would look like a broken connection
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(String(chunk.error.message), "Try again; the server's terminal may say more.");
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw broken(); // the network's own words ("network error") help nobody
  }
}

const broken = () =>
  new ApiError("The answer broke off before its end.", "What arrived is kept. See whether the server still runs, then try again.");

function countsOf(usage, began, first, last) {
  return {
    tokens: usage.completion_tokens ?? 0,
    prompt: usage.prompt_tokens ?? 0,
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
    first_s: (first - began) / 1000,
    writing_s: Math.max(0, last - first) / 1000,
  };
}

/** Tokens a second while it wrote: the first one is what the clock starts at. @param {import("./store.js").Counts} counts */
export function speedOf({ tokens, writing_s }) {
  return tokens > 1 && writing_s > 0 ? (tokens - 1) / writing_s : null;
}
