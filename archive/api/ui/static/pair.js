// Two hosts: what goes from one to the other above, what comes back below.

import * as api from './api.js';
import { byId, choice, el } from './dom.js';
import * as format from './format.js';
import { Charts, heatColours } from './plots.js';
import * as state from './state.js';

let root;
let charts;
let data = null;
let heat = null; // of both directions, in the mode heat
let wanted = null; // the times that were zoomed to, as long as their data have not come
let pending = 0;

const modes = [['lines', 'Lines'], ['heat', 'Heatmap']];
const scales = [['fit', 'Fitted', 'Without peaks, which have a lane at the edge'], ['all', 'All', 'From the least to the greatest'], ['log', 'Log', 'Logarithmic']];

export function enter(view) {
  root = view;
  [data, heat] = [null, null];
  byId('title').textContent = 'Pair';
  const area = el('div', { class: 'plots' });
  root.replaceChildren(
    el('div', { class: 'bar', id: 'pair-bar' }),
    el('div', { class: 'figures', id: 'figures' }, el('p', { class: 'wait' }, 'Reading…')),
    area,
    el('ul', { class: 'legend', id: 'legend', 'aria-label': 'What is drawn' }),
    el('section', { class: 'gaps', id: 'gaps', 'aria-label': 'Gaps' }),
    el('p', { class: 'links', id: 'links' }));
  charts = new Charts(area, { onSelect: zoomTo, onZoom: zoomAt, onCursor: figuresAt });
}

export function leave() {
  for (const name of ['pair', 'heat0', 'heat1']) api.stop(name);
  clearTimeout(pending);
  [pending, wanted] = [0, null];
  charts.clear();
}

export async function load(s, { from, to, live }) {
  const is = (t) => wanted !== null && t.from === wanted.min && t.to === wanted.max;
  if (pending === 0 && !is({ from, to })) wanted = null; // somebody wants something else
  const query = { source: s.source, destination: s.destination, test: s.test, back: s.back, from, to };
  for (const name of ['heat0', 'heat1']) api.stop(name); // or the heatmaps of before would come later than what is asked for now
  const answer = await api.get('pair', 'pair', query);
  const maps = s.mode === 'heat'
    ? await Promise.all(answer.directions.map((d, i) => (d.key ? api.get(`heat${i}`, 'heatmap', { test: d.key, from, to }) : { time: [], columns: [], width: 1, window: 1 })))
    : null;
  [data, heat] = [answer, maps];
  if (is(answer)) wanted = null;
  if (live) sinceItBegan();
  draw();
  return data;
}

/** Of what has just begun, shows no time before. */
function sinceItBegan() {
  const measured = data.directions.filter((d) => d.key !== '');
  if (measured.length === 0 || !measured.every((d) => d.begins > 0)) return;
  data.from = Math.max(data.from, Math.min(...measured.map((d) => d.begins)) - data.window);
}

export function draw() {
  if (!data) return;
  const s = state.read();
  if ((s.mode === 'heat') !== (heat !== null)) return; // what is to be drawn has not come yet
  const [there] = data.directions;
  byId('title').replaceChildren(el('a', { class: 'to-grid', href: './' }, 'All'), ` › ${there.source.name} ⇄ ${there.destination.name}`);
  document.title = `${there.source.name} ⇄ ${there.destination.name} – Owl`;
  bar(s);
  figures(data.directions.map((d) => d.totals), `${format.span(data.from, data.to)} ${format.zone.label}`);
  charts.draw(data, { scale: s.scale, heat });
  legend();
  if (wanted) charts.show(wanted);
  gapList();
  links(s);
}

const ofLines = [['median', 'median'], ['band', 'p5 to p95'], ['least', 'least']];
const ofClocks = ['clock', 'error of the clocks'];
const ofBoth = [['loss', 'lost'], ['worst', 'worst measurement'], ['reordered', 'reordered'], ['duplicated', 'duplicated'], ['gap', 'gap, and why']];

function legend() {
  const item = ([name, text]) => el('li', {}, el('i', { class: `swatch draws-${name}` }), text);
  const ramp = heatColours().map((c) => {
    const swatch = el('i', { class: 'swatch' });
    swatch.style.background = c;
    return swatch;
  });
  byId('legend').replaceChildren(...(heat ? [el('li', {}, 'few packets', ramp, 'many')] : [...ofLines, charts.peak === null ? ['above', 'up to the greatest'] : ['peak', 'greatest, in a logarithmic lane at the edge'], ofClocks].map(item)), ...ofBoth.map(item));
}

function bar(s) {
  const button = (text, title, act) => el('button', { type: 'button', title, 'aria-label': title, onclick: act }, text);
  byId('pair-bar').replaceChildren(
    choice('Show', modes, s.mode, (mode) => state.go({ mode })),
    choice('Scale', scales, s.scale, (scale) => state.change({ scale })),
    el('div', { class: 'choice', role: 'group', 'aria-label': 'Time' },
      button('◀', 'Earlier (←)', keys.ArrowLeft), button('▶', 'Later (→)', keys.ArrowRight),
      button('−', 'Zoom out (−)', keys['-']), button('+', 'Zoom in (+)', keys['+']), button('⇅', 'Swap the hosts (x)', keys.x)));
}

const labels = [
  ['sent', 'sent', (t) => format.number(t.sent)],
  ['lost', 'lost', (t) => format.number(t.lost)],
  ['ratio', 'loss', (t) => format.percent(t.lost, t.sent)],
  ['worst', 'worst', (t) => (t.worst === null ? '–' : format.percent(t.worst, 1))],
  ['median', 'median', (t) => format.delay(t.median)],
  ['p5', 'p5', (t) => format.delay(t.p5)],
  ['p95', 'p95', (t) => format.delay(t.p95)],
  ['min', 'least', (t) => format.delay(t.min)],
  ['max', 'greatest', (t) => format.delay(t.max)],
  ['reordered', 'reordered', (t) => format.number(t.reordered)],
  ['duplicated', 'duplicated', (t) => format.number(t.duplicated)],
  ['clock', 'clock error', (t) => (t.clock_error === null ? '–' : `± ${format.delay(t.clock_error)}`)],
];

/** Writes the figures of both directions: of all that is shown, or of one window. */
function figures(both, when) {
  const area = byId('figures');
  if (area.dataset.keys !== data.directions.map((d) => `${d.source.id} ${d.key}`).join(' ')) {
    area.dataset.keys = data.directions.map((d) => `${d.source.id} ${d.key}`).join(' ');
    area.replaceChildren(el('p', { class: 'when', id: 'when' }), ...data.directions.map((d, i) => el('section', { class: 'direction' },
      el('h2', {}, i === 0 ? '↑ ' : '↓ ', `${d.source.name} → ${d.destination.name}`),
      tests(d, i),
      d.key === '' ? el('p', { class: 'wait' }, 'Not measured.') : el('dl', {}, labels.map(([key, label]) => el('div', { class: `of-${key}` }, el('dt', {}, label), el('dd', { id: `${key}-${i}` })))))));
  }
  byId('when').textContent = when;
  both.forEach((t, i) => {
    if (data.directions[i].key === '') return;
    for (const [key, , text] of labels) byId(`${key}-${i}`).textContent = t ? text(t) : '–';
  });
}

/** The tests of a direction to choose from, where there are several. */
function tests(d, i) {
  if (d.tests.length < 2) return null;
  return el('label', {}, 'test ', el('select', { onchange: (e) => state.go(i === 0 ? { test: e.target.value } : { back: e.target.value }) },
    d.tests.map((t) => el('option', { value: t.key, selected: t.key === d.key }, t.name))));
}

/** Shows the figures of the window under the pointer, or of all. */
function figuresAt(t) {
  if (t === null) {
    figures(data.directions.map((d) => d.totals), `${format.span(data.from, data.to)} ${format.zone.label}`);
    return;
  }
  const start = Math.floor(t / data.window) * data.window;
  let gap = '';
  const rows = data.directions.map((d) => {
    const why = d.gaps.find((g) => g.from <= t && t < g.to);
    if (why) gap += ` · ${d.source.name} → ${d.destination.name}: ${why.reason || 'no data'}`;
    const i = d.time.findIndex((at) => at <= t && t < at + data.window);
    if (i < 0) return null;
    return Object.fromEntries(Object.entries(d).filter(([, v]) => Array.isArray(v)).map(([name, v]) => [name, v[i] ?? null]));
  });
  figures(rows, `${format.span(start, start + data.window)} ${format.zone.label}${gap}`);
}

const mostGaps = 50;

/** Lists the gaps, longest first, for those who do not see the charts, and with all that is known. */
function gapList() {
  const all = data.directions.flatMap((d) => d.gaps.map((g) => ({ ...g, d }))).sort((a, b) => (b.to - b.from) - (a.to - a.from) || a.from - b.from);
  const omitted = data.directions.reduce((n, d) => n + d.gaps_omitted, 0) + Math.max(0, all.length - mostGaps);
  byId('gaps').replaceChildren(...(all.length === 0 ? [] : [
    el('details', { open: all.length <= 5 },
      el('summary', {}, `${format.number(all.length)} ${all.length === 1 ? 'gap' : 'gaps'}`),
      el('ol', {}, all.slice(0, mostGaps).map((g) => el('li', {},
        el('b', {}, g.reason || 'no reason is known'), ` ${g.d.source.name} → ${g.d.destination.name}, ${format.span(g.from, g.to)} (${format.length(g.to - g.from)})`,
        g.text ? el('span', { class: 'why' }, g.text) : null))),
      omitted ? el('p', {}, `${format.number(omitted)} shorter ones are not listed.`) : null)]));
}

function links(s) {
  const query = { source: s.source, destination: s.destination, test: s.test, back: s.back, from: data.from, to: data.to };
  const rest = data.directions.filter((d) => d.uri).map((d) => [' · ', el('a', { href: d.uri.slice(1) }, `archive: ${d.source.name} → ${d.destination.name}`)]);
  const note = data.directions.flatMap((d) => d.omitted).filter((n, i, all) => all.indexOf(n) === i);
  byId('links').replaceChildren(
    `One point stands for ${format.length(data.window)}`,
    `, the worst loss is that of ${format.length(data.worst_window)}`,
    note.length ? `; too many points for ${note.join(', ')}: look at less time` : '',
    '. The same as ',
    el('a', { href: api.url('pair', query) }, 'JSON'), ', ', el('a', { href: api.url('pair.csv', query) }, 'CSV'), ...rest.flat());
}

/** Shows from one time to another: at least a minute, and nothing of what is to come. */
function zoomTo(from, to) {
  const now = Math.floor(Date.now() / 1000);
  let [a, b] = [Math.floor(from), Math.ceil(to)];
  if (b - a < 60) { a = Math.floor((a + b) / 2) - 30; b = a + 60; }
  if (b > now) { a = Math.max(0, a - (b - now)); b = now; }
  wanted = { min: a, max: b };
  charts.show(wanted);
  clearTimeout(pending);
  pending = setTimeout(() => { pending = 0; state.go({ from: a, to: b }); }, 150); // a wheel turns more than once
}

/** The times that are shown, of which the data may not have come yet. */
const times = () => wanted ?? { min: data.from, max: data.to };

/** Shows so many times as much, around a time that stays where it is. */
function zoomAt(at, by) {
  const { min, max } = times();
  zoomTo(at - (at - min) * by, at + (max - at) * by);
}

function zoom(by) {
  const { min, max } = times();
  zoomAt((min + max) / 2, by);
}

function pan(by) {
  const { min, max } = times();
  const step = (max - min) * by;
  zoomTo(min + step, max + step);
}

const after = (all, value) => all[(all.findIndex(([v]) => v === value) + 1) % all.length][0];

export const keys = {
  ArrowLeft: () => pan(-0.5), ArrowRight: () => pan(0.5),
  '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), '_': () => zoom(2),
  0: () => state.go({ from: '', to: '', range: '3600' }),
  h: () => state.go({ mode: after(modes, state.read().mode) }),
  y: () => state.change({ scale: after(scales, state.read().scale) }),
  x: () => { const s = state.read(); state.go({ source: s.destination, destination: s.source, test: s.back, back: s.test }); },
  Escape: () => state.go({ source: '', destination: '', test: '', back: '' }),
};
