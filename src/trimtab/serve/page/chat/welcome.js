// What is seen before anything was asked, and where nothing can be asked.

import { h } from "../dom.js";

const EXAMPLES = [
  "A box holds 8 eggs. How many eggs are in 4 boxes?",
  "Explain what a trim tab does, in three short sentences.",
  "Write a haiku about a lighthouse in fog.",
];

/** An empty conversation. @param {(text: string) => void} take */
export function welcome(take) {
  return h("div.welcome", {},
    h("img", { src: "/page/mark.svg", alt: "", width: 56, height: 56 }),
    h("h1", {}, "What shall we ask?"),
    h("p.soft", {}, "The model runs where the server runs; nothing leaves it."),
    h("ul.examples", {}, ...EXAMPLES.map((text) => h("li", {}, h("button.example", { type: "button", onclick: () => take(text) }, text)))));
}

/** No model to talk to. @param {{message: string, advice: string}} reason @param {() => void} again */
export function noModel({ message, advice }, again) {
  return h("div.welcome", {},
    h("img", { src: "/page/mark.svg", alt: "", width: 56, height: 56 }),
    h("h1", {}, message),
    h("p.soft", {}, advice),
    h("button.edged", { type: "button", onclick: again }, "Look again"));
}
