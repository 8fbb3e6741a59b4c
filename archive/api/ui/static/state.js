// What the page shows is what its address says: a link to it shows the same.

const defaults = { source: '', destination: '', test: '', back: '', metric: 'loss', filter: '', range: '3600', from: '', to: '', mode: 'lines', scale: 'fit' };

/** The state in the address. */
export function read() {
  const query = new URLSearchParams(location.search);
  const s = {};
  for (const [name, value] of Object.entries(defaults)) s[name] = query.get(name) ?? value;
  return s;
}

/** An address with changes to the state in this one. */
export function address(changes) {
  const s = { ...read(), ...changes };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(s)) {
    if (name in defaults && value !== defaults[name] && value !== null) query.set(name, value);
  }
  const text = query.toString();
  return text ? `?${text}` : './';
}

/** Goes to a changed state, of which other data are shown. */
export function go(changes) {
  history.pushState(null, '', address(changes));
  dispatchEvent(new Event('owl:state'));
}

/** Changes how the data are shown that are there: not worth a step back. */
export function change(changes) {
  history.replaceState(null, '', address(changes));
  dispatchEvent(new Event('owl:drawing'));
}

/** The times that the state stands for, in Unix seconds; live says that they move on. */
export function times(s = read()) {
  const [from, to] = [Number(s.from), Number(s.to)];
  if (s.from && s.to && Number.isSafeInteger(from) && Number.isSafeInteger(to) && from < to) return { from, to, live: false };
  const now = Math.floor(Date.now() / 1000);
  const range = Number.isSafeInteger(Number(s.range)) && Number(s.range) > 0 ? Number(s.range) : 3600;
  return { from: now - range, to: now, live: true };
}

export const isPair = (s = read()) => s.source !== '' && s.destination !== '';
