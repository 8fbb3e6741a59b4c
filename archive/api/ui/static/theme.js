// Runs before the page is drawn, so that it is drawn once.
(() => {
  const chosen = localStorage.getItem('owl-theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
