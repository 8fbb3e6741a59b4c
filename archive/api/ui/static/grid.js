// The grid: a row for each source, a column for each destination.

import * as api from './api.js';
import { byId, choice, el } from './dom.js';
import * as format from './format.js';
import * as state from './state.js';

// What a cell may be coloured by: the class of a cell, from 0 on, is how many of
// the steps it reaches.
const metrics = {
  loss: {
    label: 'Loss', steps: [0, 0.001, 0.01, 0.1], palette: 'loss',
    value: (c) => (c.sent ? c.lost / c.sent : null),
    reaches: (v, step) => (step === 0 ? v > 0 : v >= step),
    legend: ['none', 'below 0.1 %', '0.1 % to 1 %', '1 % to 10 %', '10 % and more'],
  },
  delay: {
    label: 'Delay', steps: [1, 5, 20, 50, 100, 200], palette: 'delay',
    value: (c) => c.median,
    reaches: (v, step) => v >= step,
    legend: ['below 1 ms', '1 to 5 ms', '5 to 20 ms', '20 to 50 ms', '50 to 100 ms', '100 to 200 ms', '200 ms and more'],
  },
  spread: {
    label: 'Spread', steps: [0.1, 0.5, 1, 5, 20, 50], palette: 'delay',
    value: (c) => (c.p95 === null ? null : c.p95 - c.p5),
    reaches: (v, step) => v >= step,
    legend: ['below 0.1 ms', '0.1 to 0.5 ms', '0.5 to 1 ms', '1 to 5 ms', '5 to 20 ms', '20 to 50 ms', '50 ms and more'],
  },
};

const unmeasured = 'not measured';
const compactFrom = 25; // columns: beyond, a cell has room for one figure
let root;
let suffix = ''; // of the names of all hosts
let data = null;
let shown = { rows: [], columns: [] }; // hosts, by their index
let cells = new Map(); // "row column" → element
let built = ''; // what the table was built for
let at = { row: 0, column: 0 }; // the cell that has the focus

export function enter(view) {
  root = view;
  [data, built] = [null, ''];
  document.title = 'Owl';
  byId('title').textContent = 'All measurements';
  root.replaceChildren(
    el('div', { class: 'bar' },
      choice('Colour by', Object.entries(metrics).map(([name, m]) => [name, m.label]), '', (metric) => state.change({ metric })),
      el('label', { class: 'filter' }, 'Filter ', el('input', {
        id: 'filter', type: 'search', placeholder: 'from, > to, from > to', autocomplete: 'off', spellcheck: 'false',
        oninput: (e) => state.change({ filter: e.target.value }),
      })),
      el('ul', { class: 'legend', id: 'legend', 'aria-label': 'Colours' })),
    el('p', { class: 'told', id: 'told' }),
    el('div', { class: 'scroll', id: 'scroll' }, el('p', { class: 'wait' }, 'Reading…')),
    el('p', { class: 'links', id: 'links' }));
}

export function leave() { api.stop('grid'); }

export async function load(s, { from, to }) {
  data = await api.get('grid', 'grid', { from, to });
  draw();
  return data;
}

/** Draws the grid; cells that are there stay, and with them the focus. */
export function draw() {
  if (!data) return;
  const s = state.read();
  const metric = metrics[s.metric] ?? metrics.loss;
  for (const b of root.querySelectorAll('.bar [data-value]')) b.setAttribute('aria-pressed', String(metrics[b.dataset.value] === metric));
  if (byId('filter').value !== s.filter) byId('filter').value = s.filter;
  byId('legend').replaceChildren(...legend(metric));
  const wanted = filtered(s.filter);
  const layout = JSON.stringify([wanted, data.hosts]);
  if (layout !== built) {
    build(wanted);
    built = layout;
  }
  root.querySelector('.grid')?.setAttribute('aria-label', `${metric.label} from row to column`);
  fill(metric);
  links();
}

const matches = (host, words) => words.every((w) => `${host.name} ${host.id}`.toLowerCase().includes(w));

/** The hosts whose rows and columns are shown: the sources that the filter names, and the destinations behind its >. */
function filtered(filter) {
  const [left, right = []] = filter.toLowerCase().split('>').map((part) => part.trim().split(/\s+/).filter(Boolean));
  const rows = new Set();
  const columns = new Set();
  for (const c of data.cells) {
    if (matches(data.hosts[c.source], left) && matches(data.hosts[c.destination], right)) {
      rows.add(c.source);
      columns.add(c.destination);
    }
  }
  const sorted = (set) => [...set].sort((a, b) => a - b);
  return { rows: sorted(rows), columns: sorted(columns) };
}

function build(wanted) {
  shown = wanted;
  suffix = commonSuffix(data.hosts.map((h) => h.name));
  cells = new Map();
  const focus = document.activeElement.closest('.cell')?.id;
  const compact = shown.columns.length >= compactFrom;
  const longest = Math.max(...data.hosts.map((h) => h.name.length - suffix.length), 0);
  const table = el('div', { class: `grid${compact ? ' compact' : ''}${compact || longest > 9 ? ' upright' : ''}`, role: 'grid', 'aria-rowcount': shown.rows.length + 1, 'aria-colcount': shown.columns.length + 1 });
  table.style.setProperty('--columns', shown.columns.length);
  table.style.setProperty('--first', `${Math.max(8, Math.min(22, longest)) + 2}ch`);
  table.append(el('div', { class: 'row heads', role: 'row', 'aria-rowindex': 1 },
    el('div', { class: 'corner', role: 'columnheader', 'aria-colindex': 1 }, el('span', {}, 'from ↓ to →', suffix ? el('small', {}, suffix) : null)),
    shown.columns.map((h, i) => head(data.hosts[h], 'columnheader', i + 2))));
  shown.rows.forEach((r, y) => table.append(el('div', { class: 'row', role: 'row', 'aria-rowindex': y + 2 },
    head(data.hosts[r], 'rowheader', 1),
    shown.columns.map((c, x) => {
      const cell = el('div', { class: 'cell untested', role: 'gridcell', id: `cell-${r}-${c}`, 'aria-colindex': x + 2, 'aria-label': unmeasured, tabindex: -1, 'data-row': y, 'data-column': x });
      cells.set(`${r} ${c}`, cell);
      return cell;
    }))));
  table.addEventListener('click', (e) => open(e.target.closest('.cell')));
  table.addEventListener('focusin', (e) => { const c = e.target.closest('.cell'); if (c) focused(c); });
  table.addEventListener('mouseover', (e) => { const c = e.target.closest('.cell'); if (c) tell(c); });
  table.addEventListener('mouseleave', () => { const c = document.activeElement.closest('.cell'); if (c) tell(c); else summary(); });
  byId('scroll').replaceChildren(shown.rows.length ? table : el('p', { class: 'wait' }, data.cells.length ? 'No host matches the filter.' : 'Nothing has been stored here yet. Results appear as soon as they are written.'));
  if (!data.cells.some((c) => shown.rows[at.row] === c.source && shown.columns[at.column] === c.destination)) {
    const first = data.cells.find((c) => cells.has(`${c.source} ${c.destination}`)); // where there is something to be seen
    at = first ? { row: shown.rows.indexOf(first.source), column: shown.columns.indexOf(first.destination) } : { row: 0, column: 0 };
  }
  current()?.setAttribute('tabindex', '0');
  if (focus) (byId(focus) ?? current())?.focus();
}

const head = (host, role, index) => el('div', {
  class: 'head', role, 'aria-colindex': index, 'aria-label': host.name, title: host.name === host.id ? host.id : `${host.name} (${host.id})`,
}, el('span', {}, host.name.slice(0, host.name.length - suffix.length)));

/** The domain that all names end in, with its dot; empty if there is none. */
function commonSuffix(names) {
  if (names.length < 2 || names.some((n) => /[:\s]|\d$/.test(n))) return '';
  let domain = names[0].split('.').slice(1);
  for (const n of names) {
    while (domain.length && !n.endsWith(`.${domain.join('.')}`)) domain = domain.slice(1);
  }
  return domain.length ? `.${domain.join('.')}` : '';
}

function legend(metric) {
  const all = metric.legend.map((text, i) => [`${metric.palette}-${i}`, text]);
  if (metric === metrics.delay) all.push(['negative', 'negative: clocks disagree']);
  all.push(['stale', 'stale'], ['none', 'no data'], ['untested', unmeasured]);
  return all.map(([look, text]) => el('li', {}, el('i', { class: `swatch ${look}` }), text));
}

/** Writes the figures into the cells. */
function fill(metric) {
  const compact = shown.columns.length >= compactFrom;
  const gone = new Set([...cells.values()].filter((cell) => cell.data));
  for (const c of data.cells) {
    const cell = cells.get(`${c.source} ${c.destination}`);
    if (!cell) continue;
    gone.delete(cell);
    cell.data = c;
    const look = appearance(c, metric);
    const signature = JSON.stringify([look, compact, c]);
    if (cell.signature === signature) continue;
    cell.signature = signature;
    cell.className = `cell ${look}`;
    cell.setAttribute('aria-label', sentence(c));
    cell.replaceChildren(...(compact ? short(c, metric) : long(c)));
  }
  for (const cell of gone) {
    [cell.data, cell.signature, cell.className] = [null, '', 'cell untested'];
    cell.setAttribute('aria-label', unmeasured);
    cell.replaceChildren();
  }
  const c = document.activeElement.closest('.cell');
  if (c) tell(c);
  else summary();
}

/** Tells of all cells, as long as none is looked at. */
function summary() {
  const n = (state) => data.cells.filter((c) => c.state === state).length;
  const lossy = data.cells.filter((c) => c.state === 'fresh' && c.lost > 0).length;
  byId('told').textContent = data.cells.length === 0 ? '' : `${format.number(data.cells.length)} pairs: ${n('fresh')} up to date, ${lossy} of them with loss; ${n('stale')} stale; ${n('none')} without data`;
}

function appearance(c, metric) {
  if (c.state !== 'fresh') return c.state; // whatever it was before
  const v = metric.value(c);
  let look = 'none';
  if (v === null && c.sent > 0 && c.lost >= c.sent) look = 'loss-4'; // all lost: no delay, and no doubt
  else if (v !== null) look = v < 0 ? 'negative' : `${metric.palette}-${metric.steps.filter((step) => metric.reaches(v, step)).length}`;
  return look;
}

function long(c) {
  if (c.state === 'none') return [el('b', {}, 'no data')];
  return [
    el('b', {}, c.sent === null ? '–' : `${format.number(c.lost)}/${format.number(c.sent)}`),
    el('span', {}, c.state === 'stale' ? `◷ ${ago(c)}` : format.delay(c.median)),
  ];
}

function short(c, metric) {
  if (c.state === 'none') return [el('b', {}, '×')];
  if (c.state === 'stale') return [el('b', {}, '◷')];
  if (metric === metrics.loss) return [el('b', {}, c.lost === null ? '–' : c.lost > 9999 ? '>9k' : String(c.lost))];
  const v = metric.value(c);
  return [el('b', {}, v === null ? '–' : format.milliseconds(v))];
}

const ago = (c) => format.length(Math.max(0, data.now - c.last), 1);

/** All that is known of a cell, in a sentence. */
function sentence(c) {
  const names = `${data.hosts[c.source].name} → ${data.hosts[c.destination].name}`;
  if (c.state === 'none') return `${names}: no data in this time${c.updated ? `, last written ${format.length(data.now - c.updated)} ago` : ', nothing ever written'}`;
  const loss = c.sent === null ? 'loss unknown' : `lost ${format.number(c.lost)}/${format.number(c.sent)} (${format.percent(c.lost, c.sent)}, worst ${format.percent(c.worst, 1)})`;
  const delays = c.median === null ? 'no delays' : `${c.kind === 'rtt' ? 'round trip ' : ''}median ${format.delay(c.median)}, p5 ${format.milliseconds(c.p5)}, p95 ${format.milliseconds(c.p95)}, max ${format.milliseconds(c.max)}`;
  return `${names}: ${loss}, ${delays}${c.state === 'stale' ? `, stale: nothing for ${ago(c)}` : ''}${c.tests > 1 ? `, ${c.tests} tests, the busiest shown` : ''}`;
}

/** Tells of a cell above the grid. */
function tell(cell) {
  const c = cell.data;
  const [row, column] = [data.hosts[shown.rows[cell.dataset.row]], data.hosts[shown.columns[cell.dataset.column]]];
  byId('told').textContent = c ? sentence(c) : `${row.name} → ${column.name}: ${unmeasured}`;
}

const cellAt = (row, column) => cells.get(`${shown.rows[row]} ${shown.columns[column]}`);
const current = () => cellAt(at.row, at.column);

function focused(cell) {
  current()?.setAttribute('tabindex', '-1');
  at = { row: Number(cell.dataset.row), column: Number(cell.dataset.column) };
  cell.setAttribute('tabindex', '0');
  tell(cell);
}

function move(rows, columns) {
  const inside = (n, end) => Math.max(0, Math.min(end - 1, n));
  cellAt(inside(at.row + rows, shown.rows.length), inside(at.column + columns, shown.columns.length))?.focus();
}

/** Opens the pair of a cell. */
function open(cell) {
  const c = cell?.data;
  if (!c) return;
  const back = data.cells.find((b) => b.source === c.destination && b.destination === c.source);
  const test = (of) => (of?.tests > 1 ? of.key : '');
  state.go({ source: data.hosts[c.source].id, destination: data.hosts[c.destination].id, test: test(c), back: test(back) });
}

function links() {
  const query = { from: data.from, to: data.to };
  byId('links').replaceChildren(
    `${format.span(data.from, data.to)} ${format.zone.label}${data.tests_omitted ? `, without ${format.number(data.tests_omitted)} tests that are too many` : ''}. The same as `,
    el('a', { href: api.url('grid', query) }, 'JSON'), ' or ', el('a', { href: api.url('grid.csv', query) }, 'CSV'), '.');
}

const choose = (metric) => () => state.change({ metric });

export const keys = {
  ArrowUp: () => move(-1, 0), ArrowDown: () => move(1, 0), ArrowLeft: () => move(0, -1), ArrowRight: () => move(0, 1),
  PageUp: () => move(-10, 0), PageDown: () => move(10, 0), Home: () => move(0, -Infinity), End: () => move(0, Infinity),
  Enter: () => open(document.activeElement.closest('.cell')),
  ' ': () => open(document.activeElement.closest('.cell')),
  l: choose('loss'), d: choose('delay'), s: choose('spread'),
  '/': () => byId('filter')?.focus(),
  Escape: () => state.change({ filter: '' }),
};
