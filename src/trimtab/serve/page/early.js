// Runs before the first paint, so that a page whose theme was chosen by hand never flashes in the other one.
try {
  const chosen = localStorage.getItem("trimtab.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage can be switched off in a browser; the system's theme then stands.
}
