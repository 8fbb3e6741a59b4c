// The charts of a pair: one direction above the axis of times, the other mirrored
// below it, both to the same scale. What is drawn is what was measured: where
// nothing was, there is a gap, and no line across it.

import { colour, el } from './dom.js';
import * as format from './format.js';

const gutter = 62; // pixels, for the axis of delays
const font = '12px system-ui, sans-serif';

/** Draws charts into a parent; returns what ends them. */
export class Charts {
  constructor(parent, { onSelect, onZoom, onCursor }) {
    this.parent = parent;
    this.onSelect = onSelect;
    this.onZoom = onZoom;
    this.onCursor = onCursor;
    this.plots = [];
    this.peak = null; // the greatest delay, if it is in a lane of its own
    this.dragged = null; // the chart that a drag began on
  }

  clear() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.parent.replaceChildren();
  }

  /** Shows another time than that of the data, until those come. */
  show({ min, max }) {
    for (const plot of this.plots) plot.setScale('x', { min, max });
  }

  /** Lines and bands, or a heatmap where heat has one for each direction. */
  draw(data, { scale, heat }) {
    this.clear();
    this.data = data;
    const narrow = this.parent.clientWidth < 600;
    // Both directions are seen at once where there is room for them.
    const room = innerHeight - this.parent.getBoundingClientRect().top - scrollY - 300;
    const height = narrow ? 150 : Math.max(130, Math.min(240, room / 2));
    const ranges = heat ? heatRanges(heat, scale) : delayRanges(data.directions, scale);
    this.peak = heat ? null : peakOf(data.directions, ranges);
    data.directions.forEach((d, i) => {
      const down = i === 1;
      const parts = [
        () => this.parent.append(el('h3', { class: 'of' }, `${down ? '↓' : '↑'} ${name(d)}`, el('span', {}, d.key === '' ? ' not measured' : `${d.kind === 'rtt' ? ' round trip' : ' one-way delay'} in ${small(ranges[i]) ? 'µs' : 'ms'}, and loss`))),
        () => (heat
          ? this.heatmap(heat[i], { d, down, height, range: ranges[i], scale })
          : this.delays(d, { down, height, range: ranges[i], scale })),
        () => this.losses(d, { down, height: narrow ? 62 : 76 }),
      ];
      for (const part of down ? parts.reverse() : parts) part();
    });
  }

  /**
   * A chart of delays: the median in a band from p5 to p95, least and greatest, and
   * the error of the clocks. Where the greatest is beyond the range, all that are
   * have a lane at the edge instead of a band that would cover everything.
   */
  delays(d, { down, height, range, scale }) {
    const c = columns(d, this.data.window);
    const { peak: greatest } = this;
    const [low, high] = range;
    const end = greatest === null ? high : low + (high - low) / fitted;
    const inRange = (_, all) => all.map((v) => (v > high ? null : v));
    const beside = (sign) => c.median.map((m, i) => (m === null || c.clock_error[i] === null ? null : m + sign * c.clock_error[i]));
    const [above, below] = [beside(1), beside(-1)];
    const drawable = (v) => (v === null || (scale === 'log' && v <= 0) ? null : Math.min(v, high));
    const line = (label, stroke, width, dash) => ({ label, stroke, width, dash, spanGaps: false, points: alone(stroke) });
    const edge = (label) => ({ label, width: 0, points: { show: false }, spanGaps: false });
    const [median, band, peak, shade, clock, error] = ['median', 'band', 'peak', 'above', 'clock', 'clock-edge'].map(colour);
    return this.add({
      label: `${name(d)}: delay over time${greatest === null ? '' : `, the greatest up to ${format.delay(greatest)}`}`, height, down,
      data: [c.x, ...[above, below, c.max, c.p95, c.p5, c.min, above, below, c.median].map((all) => all.map(drawable))],
      scales: { y: { range: () => [low, end], dir: down ? -1 : 1, distr: scale === 'log' ? 3 : 1 } },
      series: [
        edge('clock error'), edge('clock error'), greatest === null ? line('max', peak, 1) : edge('max'), edge('p95'), edge('p5'),
        line('min', peak, 1, [4, 3]), line('clock error', error, 1, [2, 3]), line('clock error', error, 1, [2, 3]), line('median', median, 2),
      ],
      bands: [{ series: [1, 2], fill: clock }, ...(greatest === null ? [{ series: [3, 4], fill: shade }] : []), { series: [4, 5], fill: band }],
      y: greatest === null ? delayAxis(scale) : { ...delayAxis(scale), filter: inRange, grid: { filter: inRange }, ticks: { filter: inRange } },
      draw: (u) => beyond(u, c, range, greatest, this.data.window),
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
      scales: { y: { range: () => [0, root(1) * lanes], dir: down ? -1 : 1 } },
      series: [
        { label: 'worst', fill: worst, width: 0, paths: bars, points: { show: false } },
        { label: 'loss', fill: loss, width: 0, paths: bars, points: { show: false } },
      ],
      y: { splits: () => [0, root(0.001), root(0.1), root(1)], values: (_, all) => all.map((v) => ['', '0.1 %', '10 %', '100 %'][[0, 0.001, 0.1, 1].findIndex((s) => Math.abs(root(s) - v) < 1e-9)]) },
      draw: (u) => marks(u, c),
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
      y: delayAxis(scale),
      draw: (u) => paint(u, h, range, down),
      d,
    });
  }

  add({ label, height, axis, data, scales, series, bands, y, draw, d }) {
    const { from, to } = this.data;
    const [ink, line] = ['muted', 'line'].map(colour);
    const box = el('div', { class: 'plot', role: 'img', 'aria-label': label });
    this.parent.append(box);
    const shared = { stroke: ink, font, ticks: { stroke: line, width: 1, size: 4 }, grid: { stroke: line, width: 1 } };
    const u = new uPlot({
      width: this.parent.clientWidth,
      height: height + (axis ? 34 : 0),
      padding: [6, 26, 6, 0],
      tzDate: (ts) => (format.zone.name ? uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC') : new Date(ts * 1000)),
      legend: { show: false },
      cursor: { sync: { key: 'pair', scales: ['x', null] }, drag: { x: true, y: false, setScale: false }, y: false, points: { show: false } },
      scales: { x: { time: true, range: () => [from, to] }, ...scales },
      series: [{}, ...series],
      bands,
      axes: [
        { ...shared, show: Boolean(axis), size: 34, space: 70, values: (_, all, __, ___, step) => ticks(all, step) },
        { ...shared, size: gutter, space: 26, ...y, grid: { ...shared.grid, ...y.grid }, ticks: { ...shared.ticks, ...y.ticks } },
      ],
      hooks: {
        drawClear: [(plot) => gaps(plot, d.gaps)],
        draw: [draw, (plot) => reasons(plot, d.gaps)],
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
      this.onZoom(at, by);
    }, { passive: false });
    this.plots.push(u);
    return u;
  }
}

const name = (d) => `${d.source.name} → ${d.destination.name}`;

/** Losses by the cube root: one in a thousand is seen beside all of them. */
const root = Math.cbrt;

/** How much of a chart is its range, where the rest is a lane for what is beyond it. */
const fitted = 0.76;

/** How much higher a strip is than all of the packets: above are the lanes of what was reordered and duplicated. */
const lanes = 1.6;

const measures = ['sent', 'lost', 'worst', 'min', 'p5', 'median', 'p95', 'max', 'reordered', 'duplicated', 'clock_error'];

/** A direction's columns, at the middle of their windows, with a row of nulls wherever windows are missing. */
function columns(d, window) {
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

/**
 * The ranges of delays of both directions. Fitted, peaks are left out, which have a
 * lane at the edge, but no median is, and each direction has its own range of the same length;
 * else both have one.
 */
function delayRanges(directions, scale) {
  const of = (d, m, p) => quantile(present(d[m] ?? []), p);
  if (scale !== 'fit') return ranges(directions.map((d) => [of(d, 'min', 0), of(d, 'max', 1)]), scale);
  return ranges(directions.map((d) => {
    const [low, high] = [least(of(d, 'p5', 0.01), of(d, 'median', 0)), most(of(d, 'p95', 0.98), of(d, 'median', 1))];
    // What the clocks may be wrong by is seen, unless it would make all else small.
    const wrong = low === null ? null : of(d, 'clock_error', 0.99);
    return [wrong === null ? low : low - Math.min(wrong, (high - low) / 3), high];
  }), scale);
}

/** The greatest delay of both directions, if any is beyond its range; else null. */
function peakOf(directions, ranges) {
  const greatest = directions.map((d) => quantile(present(d.max ?? []), 1));
  return greatest.some((v, i) => v !== null && v > ranges[i][1]) ? most(...greatest) : null;
}

const least = (...all) => (present(all).length ? Math.min(...present(all)) : null);
const most = (...all) => (present(all).length ? Math.max(...present(all)) : null);

function heatRanges(heat, scale) {
  return ranges(heat.map((h) => {
    const bins = h.columns.flatMap((column) => column.flatMap((v, i) => (i % 2 ? [] : [[v, column[i + 1]]]))).sort((a, b) => a[0] - b[0]);
    if (bins.length === 0) return [null, null];
    const total = bins.reduce((n, [, count]) => n + count, 0);
    const at = (p) => {
      let rest = p * total;
      return (bins.find(([, count]) => (rest -= count) <= 0) ?? bins.at(-1))[0];
    };
    return scale === 'fit' ? [at(0.001) - h.width, at(0.998)] : [bins[0][0] - h.width, bins.at(-1)[0]];
  }), scale);
}

function ranges(both, scale) {
  const known = both.filter(([low]) => low !== null);
  if (known.length === 0) return both.map(() => (scale === 'log' ? [1, 10] : [0, 1]));
  const all = [Math.min(...known.map(([low]) => low)), Math.max(...known.map(([, high]) => high))];
  if (scale === 'log') {
    const low = Math.max(all[0], 0.001);
    return both.map(() => [low * 0.8, Math.max(all[1], low) * 1.25]);
  }
  const length = scale === 'fit' ? Math.max(...known.map(([low, high]) => high - low)) : all[1] - all[0];
  const pad = Math.max(length * 0.12, 0.001);
  return both.map((own) => {
    const [low] = scale === 'fit' && own[0] !== null ? own : all;
    return [low >= 0 ? Math.max(0, low - pad) : low - pad, low + length + pad];
  });
}

/** Whether a range of delays is told in microseconds. */
const small = ([low, high]) => Math.max(Math.abs(low), Math.abs(high)) < 1;

/** The axis of delays: logarithmic, it has a 1, a 2 and a 5 of each power of ten. */
function delayAxis(scale) {
  if (scale !== 'log') return { values: delayTicks };
  return {
    values: delayTicks,
    filter: (_, all) => all,
    splits: (_, __, low, high) => {
      const all = [];
      for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) all.push(power, 2 * power, 5 * power);
      return all.filter((v) => v >= low && v <= high);
    },
  };
}

/** Delays on the axis, with as many digits as tell them apart. */
function delayTicks(u, all, _, __, step) {
  const by = small([u.scales.y.min, u.scales.y.max]) ? 1000 : 1;
  let digits = 0;
  while (digits < 4 && Math.abs(by * step * 10 ** digits - Math.round(by * step * 10 ** digits)) > 1e-6) digits++;
  return all.map((v) => (v === null ? null : u.scales.y.distr === 3 ? String(Number((by * v).toPrecision(3))) : (by * v).toFixed(digits)));
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

/** Hatches the gaps. */
function gaps(u, all) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const gap of all) {
    const { left, width } = extent(u, gap);
    ctx.fillStyle = hatch(ctx, gap.reason ? 'gap' : 'nothing');
    ctx.fillRect(left, bbox.top, width, bbox.height);
  }
  ctx.restore();
}

/** Writes into gaps why they are, where there is room. */
function reasons(u, all) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${11 * dpr}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  for (const gap of all) {
    const { left, width } = extent(u, gap);
    const text = gap.reason || 'no data';
    const room = ctx.measureText(text).width + 8 * dpr;
    const upright = width < room; // then it is written from below to above
    if (upright ? width < 18 * dpr || bbox.height < room : bbox.height < 70 * dpr) continue;
    ctx.save();
    ctx.translate(left + width / 2, bbox.top + bbox.height / 2);
    if (upright) ctx.rotate(-Math.PI / 2);
    ctx.fillStyle = colour('panel');
    ctx.fillRect(-room / 2, -8 * dpr, room, 16 * dpr);
    ctx.fillStyle = colour('ink');
    ctx.fillText(text, 0, 0);
    ctx.restore();
  }
  ctx.restore();
}

/** Where a gap is in a chart: what of it is shown, and as wide as can be seen. */
function extent(u, gap) {
  const { left: first, width: all } = u.bbox;
  const left = Math.max(first, u.valToPos(gap.from, 'x', true));
  return { left, width: Math.max(2, Math.min(first + all, u.valToPos(gap.to, 'x', true)) - left) };
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

/**
 * Draws what the range leaves out. The greatest have a lane at the edge, from the
 * end of the range to the greatest of all, which is written beside it; the scale of
 * the lane is logarithmic. What is below the range is marked at the other edge.
 */
function beyond(u, c, [low, high], greatest, window) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  const y = (v) => u.valToPos(v, 'y', true);
  const x = (t) => Math.round(u.valToPos(t, 'x', true));
  ctx.save();
  ctx.fillStyle = colour('peak');
  if (greatest !== null) {
    const [base, end] = [y(high), y(u.scales.y.max)];
    const height = (v) => (end - base) * (Math.log1p((v - high) / (high - low)) / Math.log1p((greatest - high) / (high - low)));
    ctx.fillRect(bbox.left, base - dpr / 2, bbox.width, dpr);
    ctx.globalAlpha = 0.65; // a lane that is full does not outshine the median
    c.max.forEach((v, i) => {
      if (v === null || v <= high) return;
      const left = Math.max(bbox.left, x(c.x[i] - window / 2));
      const right = Math.min(bbox.left + bbox.width, x(c.x[i] + window / 2));
      if (right >= left) ctx.fillRect(left, base, Math.max(dpr, right - left), height(v));
    });
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour('muted');
    ctx.font = `${12 * dpr}px system-ui, sans-serif`;
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    ctx.fillText(format.milliseconds(small([low, high]) ? 1000 * greatest : greatest), bbox.left - 9 * dpr, end);
  }
  const [edge, size] = [y(low), 6 * dpr * Math.sign(y(high) - y(low))];
  ctx.fillStyle = colour('peak');
  c.min.forEach((v, i) => {
    if (v === null || v >= low) return;
    const at = x(c.x[i]);
    ctx.beginPath();
    ctx.moveTo(at, edge);
    ctx.lineTo(at - 4 * dpr, edge + size);
    ctx.lineTo(at + 4 * dpr, edge + size);
    ctx.fill();
  });
  ctx.restore();
}

/** Diamonds where packets were reordered, rings where they were duplicated, each in a lane. */
function marks(u, c) {
  const { ctx } = u;
  const dpr = devicePixelRatio || 1;
  const [reordered, duplicated] = [1.2, 1.45].map((lane) => u.valToPos(root(1) * lane, 'y', true));
  const r = 3 * dpr;
  ctx.save();
  ctx.fillStyle = colour('reordered');
  ctx.strokeStyle = colour('duplicated');
  ctx.lineWidth = 1.5 * dpr;
  c.x.forEach((t, i) => {
    const x = u.valToPos(t, 'x', true);
    ctx.beginPath();
    if (c.reordered[i] > 0) {
      ctx.moveTo(x, reordered - r);
      ctx.lineTo(x + r, reordered);
      ctx.lineTo(x, reordered + r);
      ctx.lineTo(x - r, reordered);
      ctx.fill();
    }
    ctx.beginPath();
    if (c.duplicated[i] > 0) {
      ctx.arc(x, duplicated, r, 0, 2 * Math.PI);
      ctx.stroke();
    }
  });
  ctx.restore();
}

/** The colours of a heatmap, from few packets to many. */
export const heatColours = () => colour('heat').split(/\s+/);

/** Paints a heatmap: the more packets, the stronger; what is beyond the scale is a line at the edge. */
function paint(u, h, [low, high], down) {
  const { ctx, bbox } = u;
  const ramp = heatColours();
  let most = 1;
  for (const column of h.columns) for (let i = 1; i < column.length; i += 2) most = Math.max(most, column[i]);
  const shade = (n) => ramp[Math.min(ramp.length - 1, Math.floor((Math.log(n) / Math.log(most + 1)) * ramp.length))];
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  h.columns.forEach((column, at) => {
    // Whole pixels, or there are seams between the spots.
    const left = Math.round(u.valToPos(h.time[at], 'x', true));
    const width = Math.max(1, Math.round(u.valToPos(h.time[at] + h.window, 'x', true)) - left);
    for (let i = 0; i < column.length; i += 2) {
      const [value, n] = [column[i], column[i + 1]];
      ctx.fillStyle = shade(n);
      if (value > high || value < low) { // none is hidden
        const top = (value > high) !== down;
        ctx.fillRect(left, top ? bbox.top : bbox.top + bbox.height - 4, width, 4);
        continue;
      }
      const a = Math.round(u.valToPos(value, 'y', true));
      const b = Math.round(u.valToPos(Math.max(value - h.width, low), 'y', true));
      ctx.fillRect(left, Math.min(a, b), width, Math.max(1, Math.abs(a - b)));
    }
  });
  ctx.restore();
}
