// Chat: one conversation with one model, or with two side by side.

import { failureOf } from "../api.js";
import { ask } from "../chat/ask.js";
import { Composer } from "../chat/composer.js";
import { Drawer } from "../chat/drawer.js";
import { Models, readModels } from "../chat/models.js";
import { Sidebar } from "../chat/sidebar.js";
import * as store from "../chat/store.js";
import { TurnView } from "../chat/turn.js";
import { noModel, welcome } from "../chat/welcome.js";
import { button, h } from "../dom.js";

export const title = "Chat";
export const path = "chat";

/** Made once: answers go on being written while another view is looked at. @type {Chat|null} */
let chat = null;

export function mount(root, context) {
  chat ??= new Chat();
  chat.enter(root, context);
}

export function unmount() {
  chat.leave();
}

class Chat {
  constructor() {
    this.all = store.readAll();
    this.conversation = store.begin();
    /** @type {AbortController|null} */
    this.working = null;
    this.follows = true;
    this.models = new Models(() => this.arrange());
    this.composer = new Composer({ send: (text) => this.send(text), stop: () => this.stop() });
    this.drawer = new Drawer({ system: (text) => this.instruct(text) });
    this.sidebar = new Sidebar({ fresh: () => this.fresh(), open: (id) => this.open(id), forget: (id) => this.forget(id) });
    this.compare = button({ icon: "columns", label: "Side by side", text: "Side by side", kind: "quiet.edged", onclick: () => this.models.toggle() });
    this.settings = button({ icon: "sliders", label: "Settings", text: "Settings", kind: "quiet.edged", onclick: () => this.drawer.open(this.conversation.system) });
    this.log = h("div.log", { role: "log", "aria-live": "off", "aria-label": "Conversation", tabindex: "0", onscroll: () => this.scrolled() });
    const bar = h("div.bar", {}, this.sidebar.opener, this.models.element, h("span.grow"), this.compare, this.settings);
    this.element = h("div.chat", {}, this.sidebar.element, this.sidebar.backdrop, h("div.desk", {}, bar, this.log, this.composer.element), this.drawer.element);
    this.onKey = (event) => this.key(event);
    addEventListener("pagehide", () => this.close());
    store.watch((all) => {
      this.all = all;
      this.sidebar.draw(all, this.conversation.id);
    });
    this.arrange();
    this.draw();
    this.look();
  }

  enter(root, context) {
    this.context = context;
    root.append(this.element);
    addEventListener("keydown", this.onKey);
    if (matchMedia("(pointer: fine)").matches) this.composer.field.focus(); // no keyboard pops up on a phone
    this.toEnd();
  }

  leave() {
    this.drawer.element.close();
    removeEventListener("keydown", this.onKey);
  }

  /** Ask the server which models there are. */
  async look() {
    try {
      const found = await readModels();
      this.models.offer(found);
      this.missing = found.length ? null : { message: "No model is being served", advice: "Start the server with one, as in: trimtab serve smollm2" };
    } catch (error) {
      this.missing = failureOf(error);
    }
    this.compare.disabled = this.models.all.length < 2;
    this.arrange();
    if (!this.conversation.turns.length) this.draw();
  }

  /** Show the settings of the moment in the frame. */
  arrange() {
    this.compare.setAttribute("aria-pressed", String(this.models.wide));
    this.element.toggleAttribute("data-side-by-side", this.models.wide);
  }

  draw() {
    this.views = this.conversation.turns.map((turn, index) => this.viewOf(turn, index));
    const again = () => this.look();
    const empty = this.missing ? noModel(this.missing, again) : welcome((text) => this.composer.write(text));
    this.log.replaceChildren(...(this.views.length ? this.views.map((view) => view.element) : [empty]));
    this.sidebar.draw(this.all, this.conversation.id);
    this.follows = true;
    this.toEnd();
  }

  viewOf(turn, index) {
    const last = index === this.conversation.turns.length - 1;
    return new TurnView(turn, {
      resend: (text) => this.resend(index, text),
      regenerate: last ? () => this.resend(index, turn.ask) : null,
    });
  }

  send(text) {
    if (!this.models.asked.length) {
      this.look();
      return false;
    }
    this.resend(this.conversation.turns.length, text);
    return true;
  }

  /** Ask from a turn on; what stood there and after it is replaced. */
  async resend(index, text) {
    this.stop();
    const answers = this.models.asked.map(({ name, kind }) => ({ model: name, kind, text: "", state: "writing" }));
    const turn = { ask: text, answers };
    this.conversation.turns.splice(index, Infinity, turn);
    this.draw();
    this.context.announce(`${answers.map(({ model }) => model).join(" and ")} ${answers.length > 1 ? "are" : "is"} answering`);
    const working = new AbortController();
    this.working = working;
    this.composer.work(true);
    this.keep();
    const { conversation } = this;
    const { views } = this.views[index];
    await Promise.all(answers.map((answer, column) => this.write(conversation, { answer, column, index, view: views[column], signal: working.signal })));
    this.keepOn(conversation);
    if (this.working !== working) return; // another one was begun in between
    this.working = null;
    this.composer.work(false);
    this.context.announce("Answered");
    if (this.conversation === conversation) this.sidebar.draw(this.all, conversation.id);
  }

  /** Let one model write one answer. */
  async write(conversation, { answer, column, index, view, signal }) {
    const messages = store.messagesFor(conversation, column, index);
    const add = (text) => {
      answer.text += text;
      view.grow();
      this.toEnd();
    };
    try {
      const { reason, counts } = await ask({ model: answer.model, messages, sampling: this.drawer.sampling, signal }, add);
      answer.state = reason === "length" ? "cut" : "done";
      answer.counts = counts;
    } catch (error) {
      answer.state = signal.aborted ? "stopped" : "failed";
      if (!signal.aborted) answer.error = failureOf(error);
    }
    view.refresh();
    this.toEnd();
  }

  stop() {
    this.working?.abort();
    this.working = null;
    this.composer.work(false);
  }

  /** The page goes: what came so far stays, as after a stop. */
  close() {
    if (!this.working) return;
    this.keepOn(this.conversation);
    this.stop();
  }

  keep(conversation = this.conversation) {
    this.all = store.save(this.all, conversation);
    this.sidebar.draw(this.all, this.conversation.id);
  }

  /** Keep, unless it was deleted meanwhile. */
  keepOn(conversation) {
    if (this.all.some((one) => one.id === conversation.id)) this.keep(conversation);
  }

  instruct(text) {
    this.conversation.system = text;
    if (this.conversation.turns.length) this.keep();
  }

  fresh() {
    this.stop();
    const { system } = this.conversation;
    this.conversation = { ...store.begin(), system };
    this.draw();
    this.composer.write("");
  }

  open(id) {
    if (id === this.conversation.id) return;
    this.stop();
    this.conversation = this.all.find((one) => one.id === id) ?? store.begin();
    this.draw();
    this.composer.field.focus();
  }

  forget(id) {
    this.all = store.remove(this.all, id);
    if (id === this.conversation.id) this.fresh();
    else this.sidebar.draw(this.all, this.conversation.id);
  }

  /**
   * Whoever scrolls up to read is left there; at the end the page follows the text.
   * Only a way up counts: of the page's own scroll the browser tells late, when the text may have grown on.
   */
  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    if (scrollHeight - scrollTop - clientHeight < 48) this.follows = true;
    else if (scrollTop < this.top) this.follows = false;
    this.top = scrollTop;
  }

  toEnd() {
    requestAnimationFrame(() => {
      if (this.follows) this.log.scrollTop = this.log.scrollHeight; // asked now: a scroll is told just before a frame
    });
  }

  key(event) {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) this.stop();
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.fresh();
    }
  }
}
