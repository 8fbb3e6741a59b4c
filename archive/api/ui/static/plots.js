// The charts of a pair: one direction above the axis of times, the other mirrored
// below it, both to the same scale. What is drawn is what was measured: where
// nothing was, there is a gap, and no line across it.

import { colour, el } from './dom.js';
import * as format from './format.js';

const gutter = 62; // pixels, for the axis of delays
const font = '12px system-ui, sans-serif';

/** Draws charts into a parent; returns what ends them. */
export class Charts {
  constructor(parent, { onSelect, onCursor }) {
    this.parent = parent;
    this.onSelect = onSelect;
    this.onCursor = onCursor;
    this.plots = [];
    this.dragged = null; // the chart that a drag began on
  }

  clear() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.parent.replaceChildren();
  }

  /** Lines and bands, or a heatmap where heat has one for each direction. */
  draw(data, { scale, heat }) {
    this.clear();
    this.data = data;
    const narrow = this.parent.clientWidth < 600;
    const height = narrow ? 150 : 210;
    const range = heat ? heatRange(heat, scale) : delayRange(data.directions, scale);
    const unit = data.directions.some((d) => d.kind === 'rtt') ? 'round trip' : 'delay';
    data.directions.forEach((d, i) => {
      const down = i === 1;
      const chart = () => (heat
        ? this.heatmap(heat[i], { d, down, height, range, scale })
        : this.delays(d, { down, height, range, scale, unit }));
      const strip = () => this.losses(d, { down, height: narrow ? 46 : 58 });
      if (down) { strip(); chart(); } else { chart(); strip(); }
    });
  }

  /** A chart of delays: the median in a band from p5 to p95, least and greatest, and the error of the clocks. */
  delays(d, { down, height, range, scale, unit }) {
    const c = columns(d, this.data.window);
    const error = c.median.map((m, i) => (m === null || c.clock_error[i] === null ? null : c.clock_error[i]));
    const low = c.median.map((m, i) => (error[i] === null ? null : m - error[i]));
    const high = c.median.map((m, i) => (error[i] === null ? null : m + error[i]));
    const positive = (all) => (scale === 'log' ? all.map((v) => (v === null || v <= 0 ? null : v)) : all);
    const line = (label, stroke, width, dash) => ({ label, stroke, width, dash, spanGaps: false, points: alone(stroke) });
    const none = { points: { show: false }, spanGaps: false };
    const [median, band, peak, clock] = ['median', 'band', 'peak', 'clock'].map(colour);
    return this.add({
      label: `${name(d)}: ${unit} over time`, height, down,
      data: [c.x, ...[high, low, c.p95, c.p5, c.min, c.max, c.median].map(positive)],
      scales: { y: { range: () => range, dir: down ? -1 : 1, distr: scale === 'log' ? 3 : 1 } },
      series: [
        { label: 'clock error', ...none, stroke: clock, width: 1, dash: [2, 3] },
        { label: 'clock error', ...none, stroke: clock, width: 1, dash: [2, 3] },
        { label: 'p95', ...none, width: 0 },
        { label: 'p5', ...none, width: 0 },
        line('min', peak, 1, [4, 3]), line('max', peak, 1), line('median', median, 2),
      ],
      bands: [{ series: [1, 2], fill: `${clock}22` }, { series: [3, 4], fill: band }],
      y: { values: (_, all) => all.map((v) => (v === null ? null : format.milliseconds(v))), label: `${unit}, ms` },
      draw: (u) => beyond(u, c, range, down),
      d,
    });
  }

  /** A strip of losses: how much was lost, the worst measurement behind it, and marks for what was reordered or duplicated. */
  losses(d, { down, height }) {
    const c = columns(d, this.data.window);
    const bars = uPlot.paths.bars({ size: [1, Infinity, 1], gap: 0 });
    const [loss, worst] = ['loss', 'worst'].map(colour);
    const ratio = c.sent.map((n, i) => (n ? root(c.lost[i] / n) : null));
    return this.add({
      label: `${name(d)}: loss over time`, height, down, axis: !down,
      data: [c.x, c.worst.map((v) => (v === null ? null : root(v))), ratio],
      scales: { y: { range: () => [0, root(1) * 1.04], dir: down ? -1 : 1 } },
      series: [
        { label: 'worst', fill: worst, width: 0, paths: bars, points: { show: false } },
        { label: 'loss', fill: loss, width: 0, paths: bars, points: { show: false } },
      ],
      y: { splits: () => [0, root(0.001), root(0.1), root(1)], values: (_, all) => all.map((v) => ['', '0.1 %', '10 %', '100 %'][[0, 0.001, 0.1, 1].findIndex((s) => Math.abs(root(s) - v) < 1e-9)]), label: 'loss' },
      draw: (u) => marks(u, c, down),
      d,
    });
  }

  /** A chart of how many packets had which delay. */
  heatmap(h, { d, down, height, range, scale }) {
    return this.add({
      label: `${name(d)}: how many packets had which delay over time`, height, down,
      data: [[this.data.from, this.data.to], [null, null]],
      scales: { y: { range: () => range, dir: down ? -1 : 1, distr: scale === 'log' ? 3 : 1 } },
      series: [{ label: 'packets', points: { show: false } }],
      y: { values: (_, all) => all.map((v) => (v === null ? null : format.milliseconds(v))), label: 'delay, ms' },
      draw: (u) => paint(u, h, range, down),
      d,
    });
  }

  add({ label, height, axis, data, scales, series, bands, y, draw, d, down }) {
    const { from, to } = this.data;
    const [ink, line] = ['muted', 'line'].map(colour);
    const box = el('div', { class: 'plot', role: 'img', 'aria-label': label });
    this.parent.append(box);
    const shared = { stroke: ink, font, ticks: { stroke: line, width: 1, size: 4 }, grid: { stroke: line, width: 1 } };
    const u = new uPlot({
      width: this.parent.clientWidth,
      height: height + (axis ? 34 : 0),
      padding: [6, 10, 6, 0],
      tzDate: (ts) => (format.zone.name ? uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC') : new Date(ts * 1000)),
      legend: { show: false },
      cursor: { sync: { key: 'pair', scales: ['x', null] }, drag: { x: true, y: false, setScale: false }, y: false, points: { show: false } },
      scales: { x: { time: true, range: () => [from, to] }, ...scales },
      series: [{}, ...series],
      bands,
      axes: [
        { ...shared, show: Boolean(axis), size: 34, space: 70, values: (_, all, __, ___, step) => ticks(all, step) },
        { ...shared, size: gutter, space: 26, labelSize: 0, ...y, label: undefined },
      ],
      hooks: {
        drawClear: [(plot) => gaps(plot, d.gaps)],
        draw: [draw, (plot) => caption(plot, `${down ? '↓' : '↑'} ${name(d)}, ${y.label}`, down)],
        setCursor: [(plot) => { if (plot.cursor.event) this.onCursor(plot.cursor.left < 0 ? null : plot.posToVal(plot.cursor.left, 'x')); }],
        setSelect: [(plot) => {
          if (this.dragged !== plot || plot.select.width < 4) return;
          this.dragged = null;
          this.onSelect(plot.posToVal(plot.select.left, 'x'), plot.posToVal(plot.select.left + plot.select.width, 'x'));
        }],
      },
    }, data, box);
    u.over.addEventListener('mousedown', () => { this.dragged = u; });
    u.over.addEventListener('mouseleave', () => this.onCursor(null));
    u.over.addEventListener('wheel', (event) => {
      event.preventDefault();
      const at = u.posToVal(event.offsetX, 'x');
      const by = event.deltaY > 0 ? 1.5 : 1 / 1.5;
      this.onSelect(at - (at - from) * by, at + (to - at) * by);
    }, { passive: false });
    this.plots.push(u);
    return u;
  }
}

const name = (d) => `${d.source.name} → ${d.destination.name}`;

/** Losses by the cube root: one in a thousand is seen beside all of them. */
const root = Math.cbrt;

const measures = ['sent', 'lost', 'worst', 'min', 'p5', 'median', 'p95', 'max', 'reordered', 'duplicated', 'clock_error'];

/** A direction's columns, at the middle of their windows, with a row of nulls wherever windows are missing. */
export function columns(d, window) {
  const c = { x: [] };
  for (const m of measures) c[m] = [];
  d.time.forEach((t, i) => {
    const before = d.time[i - 1];
    if (i > 0 && t - before > 1.5 * window) {
      c.x.push(before + 1.5 * window);
      for (const m of measures) c[m].push(null);
    }
    c.x.push(t + window / 2);
    for (const m of measures) c[m].push(d[m][i]);
  });
  return c;
}

/** Points only where there is no line: those without neighbours. */
const alone = (stroke) => ({
  show: true, size: 4, stroke, fill: stroke,
  filter: (u, series) => {
    const all = u.data[series];
    const there = (v) => v !== null && v !== undefined;
    return all.flatMap((v, i) => (there(v) && !there(all[i - 1]) && !there(all[i + 1]) ? [i] : []));
  },
});

const present = (all) => all.filter((v) => v !== null && v !== undefined);

function quantile(all, p) {
  if (all.length === 0) return null;
  const sorted = Float64Array.from(all).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
}

/** The range of delays of both directions. Fitted, it leaves out peaks, which are marked at the edge. */
function delayRange(directions, scale) {
  const of = (m) => directions.flatMap((d) => present(d[m]));
  const [low, high] = scale === 'fit'
    ? [quantile(of('p5'), 0.01), Math.max(quantile(of('p95'), 0.98), quantile(of('median'), 1))]
    : [quantile(of('min'), 0), quantile(of('max'), 1)];
  return padded(low, high, scale);
}

function heatRange(heat, scale) {
  const all = [];
  for (const h of heat) for (const column of h.columns) for (let i = 0; i < column.length; i += 2) all.push(column[i]);
  const width = Math.max(...heat.map((h) => h.width), 0.001);
  if (scale === 'fit') return padded(quantile(all, 0.005), quantile(all, 0.9), scale);
  return padded(quantile(all, 0) - width, quantile(all, 1), scale);
}

function padded(low, high, scale) {
  if (low === null || high === null || low === undefined) return scale === 'log' ? [1, 10] : [0, 1];
  if (scale === 'log') {
    const least = Math.max(low, 0.001);
    return [10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(Math.max(high, least * 1.01)))];
  }
  const pad = Math.max((high - low) * 0.12, Math.abs(high) * 0.01, 0.005);
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

/** Times on the axis; a date where a day begins and at the first. */
function ticks(all, step) {
  let day = '';
  return all.map((t) => {
    const text = format.time(t);
    const date = text.slice(0, 10);
    const clock = text.slice(11);
    if (step >= 86400) return step >= 27 * 86400 ? date.slice(0, 7) : date.slice(5);
    const first = date !== day;
    day = date;
    return first ? `${clock}\n${date}` : clock;
  });
}

/** Hatches the gaps, and writes into them why, where there is room. */
function gaps(u, all) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const dpr = devicePixelRatio || 1;
  for (const gap of all) {
    const left = u.valToPos(gap.from, 'x', true);
    const width = Math.max(2, u.valToPos(gap.to, 'x', true) - left);
    ctx.fillStyle = hatch(ctx, gap.reason ? 'gap' : 'nothing');
    ctx.fillRect(left, bbox.top, width, bbox.height);
    const text = gap.reason || 'no data';
    ctx.font = `${11 * dpr}px system-ui, sans-serif`;
    const room = ctx.measureText(text).width + 8 * dpr;
    if (width < room || bbox.height < 70 * dpr) continue;
    const [x, y] = [left + width / 2, bbox.top + bbox.height / 2];
    ctx.fillStyle = colour('panel');
    ctx.fillRect(x - room / 2, y - 9 * dpr, room, 18 * dpr);
    ctx.fillStyle = colour('ink');
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText(text, x, y);
  }
  ctx.restore();
}

function hatch(ctx, name) {
  const size = 8 * (devicePixelRatio || 1);
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const t = tile.getContext('2d');
  t.strokeStyle = colour(name);
  t.lineWidth = size / 6;
  t.beginPath();
  for (const shift of [-size, 0, size]) {
    t.moveTo(shift, size);
    t.lineTo(shift + size, 0);
  }
  t.stroke();
  return ctx.createPattern(tile, 'repeat');
}

/** What a chart is of, in its corner. */
function caption(u, text, down) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `600 ${12 * dpr}px system-ui, sans-serif`;
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  const y = down ? bbox.top + bbox.height - 11 * dpr : bbox.top + 11 * dpr;
  const width = ctx.measureText(text).width;
  ctx.globalAlpha = 0.8;
  ctx.fillStyle = colour('panel');
  ctx.fillRect(bbox.left + 4 * dpr, y - 9 * dpr, width + 8 * dpr, 18 * dpr);
  ctx.globalAlpha = 1;
  ctx.fillStyle = colour('ink');
  ctx.fillText(text, bbox.left + 8 * dpr, y);
  ctx.restore();
}

/** Marks at the edge what the scale leaves out, with the greatest written beside. */
function beyond(u, c, [, high], down) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  const edge = down ? bbox.top + bbox.height : bbox.top;
  const size = 5 * dpr * (down ? -1 : 1);
  let [top, at] = [high, null];
  ctx.save();
  ctx.fillStyle = colour('peak');
  c.max.forEach((v, i) => {
    if (v === null || v <= high) return;
    const x = u.valToPos(c.x[i], 'x', true);
    ctx.beginPath();
    ctx.moveTo(x, edge);
    ctx.lineTo(x - Math.abs(size) * 0.7, edge + size);
    ctx.lineTo(x + Math.abs(size) * 0.7, edge + size);
    ctx.fill();
    if (v > top) [top, at] = [v, x];
  });
  if (at !== null) {
    ctx.font = `${11 * dpr}px system-ui, sans-serif`;
    const text = format.delay(top);
    const right = at + ctx.measureText(text).width + 12 * dpr < bbox.left + bbox.width;
    ctx.textAlign = right ? 'left' : 'right';
    ctx.textBaseline = down ? 'bottom' : 'top';
    ctx.fillStyle = colour('ink');
    ctx.fillText(text, at + (right ? 7 : -7) * dpr, edge + (down ? -2 : 2) * dpr);
  }
  ctx.restore();
}

/** Diamonds where packets were reordered, rings where they were duplicated. */
function marks(u, c, down) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  const y = down ? bbox.top + bbox.height - 22 * dpr : bbox.top + 22 * dpr;
  ctx.save();
  ctx.fillStyle = colour('reordered');
  ctx.strokeStyle = colour('duplicated');
  ctx.lineWidth = 1.5 * dpr;
  c.x.forEach((t, i) => {
    const x = u.valToPos(t, 'x', true);
    const r = 3.5 * dpr;
    if (c.reordered[i] > 0) {
      ctx.beginPath();
      ctx.moveTo(x, y - r);
      ctx.lineTo(x + r, y);
      ctx.lineTo(x, y + r);
      ctx.lineTo(x - r, y);
      ctx.fill();
    }
    if (c.duplicated[i] > 0) {
      ctx.beginPath();
      ctx.arc(x, y + (down ? -10 : 10) * dpr, r, 0, 2 * Math.PI);
      ctx.stroke();
    }
  });
  ctx.restore();
}

/** Paints a heatmap: the more packets, the stronger; what is beyond the scale is a line at the edge. */
function paint(u, h, [low, high], down) {
  const { ctx, bbox } = u;
  const ramp = colour('heat').split(/\s+/);
  let most = 1;
  for (const column of h.columns) for (let i = 1; i < column.length; i += 2) most = Math.max(most, column[i]);
  const shade = (n) => ramp[Math.min(ramp.length - 1, Math.floor((Math.log(n) / Math.log(most + 1)) * ramp.length))];
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  h.columns.forEach((column, at) => {
    const left = u.valToPos(h.time[at], 'x', true);
    const width = Math.max(1, u.valToPos(h.time[at] + h.window, 'x', true) - left);
    for (let i = 0; i < column.length; i += 2) {
      const [value, n] = [column[i], column[i + 1]];
      ctx.fillStyle = shade(n);
      if (value > high || value < low) { // none is hidden
        const top = (value > high) !== down;
        ctx.fillRect(left, top ? bbox.top : bbox.top + bbox.height - 4, width, 4);
        continue;
      }
      const a = u.valToPos(value, 'y', true);
      const b = u.valToPos(Math.max(value - h.width, low), 'y', true);
      ctx.fillRect(left, Math.min(a, b), Math.ceil(width), Math.max(1, Math.abs(a - b)));
    }
  });
  ctx.restore();
}
