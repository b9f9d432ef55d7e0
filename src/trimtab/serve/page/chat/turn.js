// One turn: what was asked, and the answers to it side by side.

import { button, h } from "../dom.js";
import { AnswerView } from "./answer.js";
import { fit } from "./composer.js";

export class TurnView {
  /**
   * @param {import("./store.js").Turn} turn
   * @param {{resend: (text: string) => void, regenerate: (() => void)|null}} actions
   */
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.asked = h("div.asked");
    this.answers = h("div.answers");
    this.element = h("section.turn", { "aria-label": "Turn" }, this.asked, this.answers);
    this.showAsked();
    this.showAnswers();
  }

  /** Draw the answers anew. @returns {AnswerView[]} */
  showAnswers() {
    this.views = this.turn.answers.map((answer) => new AnswerView(answer, this.actions));
    this.answers.replaceChildren(...this.views.map((view) => view.element));
    this.answers.dataset.columns = String(this.views.length);
    return this.views;
  }

  showAsked() {
    const edit = button({ icon: "edit", label: "Edit and send again", kind: "quiet.small", onclick: () => this.edit() });
    this.asked.replaceChildren(h("p.asked-text", {}, this.turn.ask), edit);
  }

  edit() {
    const field = h("textarea", { "aria-label": "Edit the message", rows: "1", value: this.turn.ask });
    const leave = () => {
      this.showAsked();
      this.asked.querySelector("button").focus();
    };
    const send = () => {
      const text = field.value.trim();
      if (text) this.actions.resend(text);
    };
    field.addEventListener("input", () => fit(field));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation(); // leaves the field; it does not stop an answer
        leave();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    const cancel = h("button.quiet.small", { type: "button", onclick: leave }, "Cancel");
    const submit = h("button.primary.small", { type: "button", onclick: send }, "Send from here");
    const hint = h("p.counts", {}, "What follows this message is removed.");
    this.asked.replaceChildren(h("div.editing", {}, field, h("div.row.end", {}, hint, cancel, submit)));
    fit(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}
