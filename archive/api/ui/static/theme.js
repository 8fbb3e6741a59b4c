// Runs before the page is drawn, so that it is drawn once.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('owl-theme'); } catch { /* a browser may forbid to remember */ }
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
