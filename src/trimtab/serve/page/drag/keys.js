// Keys that work anywhere on the drag view, but where something is typed or pressed.

const TAKEN = "input, select, textarea, button, a";

/**
 * @param {import("./transport.js").Transport} transport its buttons do nothing where they are disabled
 * @param {() => boolean} takeBack takes back what the server was not told; false where there is nothing
 * @returns {(event: KeyboardEvent) => void} a listener
 */
export function keysOf(transport, takeBack) {
  return (event) => {
    if (event.target.matches?.(TAKEN) || document.querySelector("dialog[open]")) return;
    const undo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
    if (undo && event.shiftKey) transport.redo.click();
    else if (undo && !takeBack()) transport.undo.click();
    else if (event.key === " ") transport.go.click();
    else if (!undo) return;
    event.preventDefault();
  };
}
