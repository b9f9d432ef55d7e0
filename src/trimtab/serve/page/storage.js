// What the browser keeps. Storage may be switched off or full; the page then works without a memory.

/** Read a value that was kept, or give the other one. */
export function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`trimtab.${key}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keep a value. @returns {boolean} whether the browser took it */
export function keep(key, value) {
  try {
    localStorage.setItem(`trimtab.${key}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
