// How figures and times are written.

import { keep, kept } from './keep.js';

const count = new Intl.NumberFormat('en', { useGrouping: true });

/** A count with its thousands set apart. */
export const number = (n) => (n === null || n === undefined ? '–' : count.format(n));

/** Milliseconds with as many digits as are worth reading, without the unit. */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return '–';
  const size = Math.abs(ms);
  let text = size.toFixed(0);
  if (size > 0 && size < 0.01) text = size.toPrecision(1);
  else if (size > 0 && size < 10) text = size.toFixed(2);
  else if (size > 0 && size < 1000) text = size.toFixed(1);
  return ms < 0 ? `−${text}` : text;
}

/** A delay with its unit, which is µs below a millisecond. */
export function delay(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms !== 0 && Math.abs(ms) < 1) return `${milliseconds(Math.round(ms * 1e6) / 1e3)} µs`;
  return `${milliseconds(ms)} ms`;
}

/** lost/sent as a percentage that is never rounded to nothing, nor to all. */
export function percent(lost, sent) {
  if (!sent) return '–';
  const p = (100 * lost) / sent;
  if (p === 0) return '0 %';
  if (p < 0.001) return '<0.001 %';
  if (p < 0.1) return `${p.toFixed(3)} %`;
  if (p < 10) return `${p.toFixed(2)} %`;
  if (p > 99.9 && p < 100) return '>99.9 %';
  return `${p.toFixed(p === 100 ? 0 : 1)} %`;
}

/** A length of time in its two greatest units, or in so many. */
export function length(seconds, units = 2) {
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, name] of [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]) {
    const n = Math.floor(rest / unit);
    rest -= n * unit;
    if (n) parts.push(`${n} ${name}`);
    if (parts.length === units) break;
  }
  return parts.join(' ') || '0 s';
}

let local = kept('owl-zone') === 'local';

/** The time zone that times are written in: UTC, or the device's own. */
export const zone = {
  get name() { return local ? undefined : 'UTC'; },
  get label() { return this.name ?? Intl.DateTimeFormat().resolvedOptions().timeZone; },
  toggle() {
    local = !local;
    keep('owl-zone', local ? 'local' : 'utc');
  },
};

function fields(unix) {
  const format = new Intl.DateTimeFormat('en-CA', {
    timeZone: zone.name, hourCycle: 'h23',
    year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit',
  });
  return Object.fromEntries(format.formatToParts(unix * 1000).map((p) => [p.type, p.value]));
}

/** A time as 2026-05-01 12:00:00; seconds only where there are any. */
export function time(unix) {
  const f = fields(unix);
  return `${f.year}-${f.month}-${f.day} ${f.hour}:${f.minute}${f.second === '00' ? '' : `:${f.second}`}`;
}

/** From when to when, with a date that is the same told once. */
export function span(from, to) {
  const whole = to - from >= 7200 ? 60 : 1; // seconds do not matter of hours
  const [a, b] = [time(from - (from % whole)), time(to - (to % whole))];
  return a.slice(0, 10) === b.slice(0, 10) ? `${a} – ${b.slice(11)}` : `${a} – ${b}`;
}

/** A time as a datetime-local input has it, and back. */
export function toInput(unix) {
  const f = fields(unix);
  return `${f.year}-${f.month}-${f.day}T${f.hour}:${f.minute}:${f.second}`;
}
export function fromInput(text) {
  const parsed = Date.parse(zone.name ? `${text}Z` : text);
  return Number.isNaN(parsed) ? null : Math.floor(parsed / 1000);
}
