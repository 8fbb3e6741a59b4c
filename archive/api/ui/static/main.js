// The page: what all views share, and which view there is.

import { byId } from './dom.js';
import * as format from './format.js';
import * as grid from './grid.js';
import { keep } from './keep.js';
import * as live from './live.js';
import * as pair from './pair.js';
import * as state from './state.js';

const refresh = 10_000; // milliseconds, while the time shown moves on, and ten times as long as it takes
let view = null;
let timer = 0;
let loaded = 0;

async function show() {
  const s = state.read();
  const next = state.isPair(s) ? pair : grid;
  if (next !== view) {
    view?.leave();
    view = next;
    view.enter(byId('view'));
    byId('title').focus({ preventScroll: true });
  }
  marks(s);
  await load();
}

/** Loads what is shown; an error stays on the page until it has gone. */
async function load() {
  clearTimeout(timer);
  const s = state.read();
  const times = state.times(s);
  const [shown, begun] = [view, performance.now()];
  document.body.setAttribute('aria-busy', 'true');
  try {
    const answer = await shown.load(s, times);
    loaded = Date.now();
    problem('');
    live.show(answer.live, s);
  } catch (error) {
    if (error.name === 'AbortError') return;
    problem(`No new data: ${error.message}`);
  }
  document.body.removeAttribute('aria-busy');
  age();
  if (times.live) timer = setTimeout(load, Math.max(refresh, 10 * (performance.now() - begun)));
}

function problem(text) {
  byId('problem').textContent = text;
  byId('problem').hidden = text === '';
}

/** Shows in the bar of times what is chosen. */
function marks(s) {
  const { from, to, live: moves } = state.times(s);
  for (const b of document.querySelectorAll('[data-range]')) b.setAttribute('aria-pressed', String(moves && b.dataset.range === s.range));
  byId('from').value = format.toInput(from);
  byId('to').value = format.toInput(to);
  byId('zone').textContent = format.zone.name ?? 'local';
  byId('zone').title = `Times in ${format.zone.label} (u)`;
}

function age() {
  const { live: moves } = state.times();
  byId('age').textContent = loaded === 0 ? '' : `${moves ? 'up to now' : 'a fixed time'}, read at ${format.time(Math.floor(loaded / 1000)).slice(11)}`;
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

function toggleTheme() {
  const next = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  keep('owl-theme', next);
  redraw();
}

function toggleZone() {
  format.zone.toggle();
  marks(state.read());
  redraw();
}

/** Draws what is there once more: colours, sizes or the zone have changed. */
function redraw() {
  view?.draw();
  live.draw();
  age();
}

for (const b of document.querySelectorAll('[data-range]')) {
  b.addEventListener('click', () => state.go({ range: b.dataset.range, from: '', to: '' }));
}
byId('dates').addEventListener('submit', (event) => {
  event.preventDefault();
  const [from, to] = [format.fromInput(byId('from').value), format.fromInput(byId('to').value)];
  if (from === null || to === null || from >= to) problem('The first time has to be before the second.');
  else state.go({ from, to });
});
byId('theme').addEventListener('click', toggleTheme);
byId('zone').addEventListener('click', toggleZone);
byId('help-open').addEventListener('click', () => byId('help').showModal());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);

// The way to the grid keeps the time that is shown; that into a new tab is the browser's.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a.to-grid');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  state.go({ source: '', destination: '', test: '', back: '' });
});

document.addEventListener('keydown', (event) => {
  if (byId('help').open || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches('input, select, textarea');
  if (typing && event.key !== 'Escape') return;
  if (typing) { event.target.blur(); return; }
  if (['Enter', ' '].includes(event.key) && event.target.matches('button, a, summary')) return;
  const keys = { '?': () => byId('help').showModal(), t: toggleTheme, u: toggleZone };
  const act = keys[event.key] ?? view?.keys[event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});

addEventListener('popstate', show);
addEventListener('owl:state', show);
addEventListener('owl:drawing', redraw);
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return; // a phone hides its bars: nothing is wider for it
  width = innerWidth;
  redraw();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && state.times().live) load();
});
show();
