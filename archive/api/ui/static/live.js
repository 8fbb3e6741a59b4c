// What an agent in the same process measures right now, second by second.

import * as api from './api.js';
import { byId, colour, el } from './dom.js';
import * as format from './format.js';
import * as state from './state.js';

const seconds = 120; // that a strip shows
const most = 8; // strips

let source = null;
let listening = ''; // to what
let strips = new Map(); // name of a stream → its last seconds
let total = 0;

/** Listens to what the state is about, if there is anything live. */
export function show(available, s) {
  const address = available ? api.url('live', state.isPair(s) ? { source: s.source, destination: s.destination } : {}) : '';
  if (address === listening) return;
  listening = address;
  source?.close();
  source = null;
  strips = new Map();
  byId('live').replaceChildren();
  byId('live').hidden = true;
  if (!available) return;
  source = new EventSource(address);
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    byId('live').classList.add('broken');
    if (source.readyState === EventSource.CLOSED) listening = ''; // refused, as when too many watch: asked for again with the next data
  };
}

function take(second) {
  total = second.total;
  byId('live').classList.remove('broken');
  for (const stream of second.streams.slice(0, most)) {
    const name = `${stream.source_name} → ${stream.destination_name} ${stream.direction}`;
    if (!strips.has(name)) strips.set(name, []);
    strips.get(name).push({ at: second.time / 1000, ...stream });
  }
  for (const [name, all] of strips) {
    while (all.length && all[0].at < second.time / 1000 - seconds) all.shift();
    if (!all.length) strips.delete(name);
  }
  draw();
}

export function draw() {
  const area = byId('live');
  area.hidden = strips.size === 0;
  if (area.hidden) return;
  if (area.children.length !== strips.size + 1) {
    area.replaceChildren(el('h2', {}, 'Live ', el('span', { id: 'live-total' })), ...[...strips.keys()].map(() => el('div', { class: 'strip' },
      el('span', { class: 'strip-name' }), el('canvas', { role: 'img', 'aria-label': 'delay and loss of the last two minutes' }), el('span', { class: 'strip-figures' }))));
  }
  byId('live-total').textContent = total > strips.size ? `${strips.size} of ${format.number(total)} streams` : '';
  [...strips].forEach(([name, all], i) => {
    const [label, canvas, told] = area.children[i + 1].children;
    const last = all.at(-1);
    label.textContent = `${last.source_name} → ${last.destination_name}`;
    told.textContent = `${format.delay(last.median)}, max ${format.delay(last.max)}, ${format.number(last.received)} received, ${format.number(last.lost)} lost`;
    paint(canvas, all);
  });
}

/** A strip: the median as a line, the greatest as a shade above, losses as bars from the top. */
function paint(canvas, all) {
  const dpr = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * dpr, canvas.clientHeight * dpr];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const ctx = canvas.getContext('2d');
  ctx.clearRect(0, 0, width, height);
  const now = all.at(-1).at;
  const known = all.filter((s) => s.median !== null);
  const [low, high] = [Math.min(...known.map((s) => s.median)), Math.max(...known.map((s) => s.p95 ?? s.median))];
  const x = (at) => width * (1 - (now - at) / seconds);
  const y = (ms) => height - 3 * dpr - ((Math.min(ms, high) - low) / Math.max(high - low, 0.001)) * (height - 8 * dpr);
  const step = Math.ceil(width / seconds);
  ctx.fillStyle = colour('band');
  for (const s of known) ctx.fillRect(x(s.at) - step, y(s.p95 ?? s.median), step, Math.max(1, y(s.median) - y(s.p95 ?? s.median)));
  ctx.fillStyle = colour('loss');
  for (const s of all) if (s.lost > 0) ctx.fillRect(x(s.at) - step, 0, step, Math.max(4 * dpr, height * (s.lost / (s.lost + s.received))));
  ctx.strokeStyle = colour('median');
  ctx.lineWidth = 1.5 * dpr;
  ctx.beginPath();
  let before = null;
  for (const s of known) {
    if (before !== null && s.at - before < 2.5) ctx.lineTo(x(s.at), y(s.median));
    else ctx.moveTo(x(s.at), y(s.median));
    before = s.at;
  }
  ctx.stroke();
}
