// What a browser remembers of a choice, if it is allowed to remember anything.

/** What was kept under a name; null if nothing was, or nothing may be. */
export function kept(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

/** Keeps a text under a name; where that is forbidden, the choice holds for this page alone. */
export function keep(name, text) {
  try { localStorage.setItem(name, text); } catch { /* the page works without */ }
}
