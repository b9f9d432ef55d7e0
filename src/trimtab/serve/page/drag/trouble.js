// What goes wrong while a picture is dragged, in words over it.

import { alarm, failureOf } from "../api.js";
import { h } from "../dom.js";

const NO_GENERATOR = { message: "There is no generator of pictures here.", advice: "Fetch one with: trimtab models add face" };
const LOST = "The connection to the server is lost.";

export class Trouble {
  constructor() {
    this.element = h("div.drag-trouble");
  }

  /** @param {import("../api.js").Failure|null} failure none clears it */
  tell(failure) {
    this.element.replaceChildren(...(failure ? [alarm(failure)] : []));
  }

  /** Nothing can be dragged. @param {Error|null} error why that is so, where the server did not just say it */
  tellNothing(error) {
    this.tell(!error || error.status === 404 ? NO_GENERATOR : failureOf(error));
  }

  /** The connection ended. @param {boolean} again whether the page tries again */
  tellLost(again, error) {
    if (again) this.tell({ message: error?.message ?? LOST, advice: "The page tries again." });
    else this.tell(error.advice === undefined ? { message: error.message, advice: "Reload the page to go on." } : failureOf(error));
  }
}
