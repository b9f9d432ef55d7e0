// What the browser keeps. Storage may be switched off or full; the page then works without a memory.

const PREFIX = "trimtab.";

/** Whether the browser's own key is that of a value; null stands for all of them. */
export const isKeyOf = (own, key) => own === null || own === PREFIX + key;

/** Read a value that was kept, or give the other one. */
export function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keep a value. @returns {boolean} whether the browser took it */
export function keep(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
