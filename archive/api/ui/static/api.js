// Where the data come from.

/** The address of a data endpoint. */
export function url(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== '' && value !== null && value !== undefined) query.set(name, value);
  }
  const text = query.toString();
  return `api/${path}${text ? `?${text}` : ''}`;
}

const running = new Map();

/**
 * Gets JSON. A request that is made while another of the same name runs takes its
 * place; the one before then fails with an AbortError.
 */
export async function get(name, path, parameters) {
  running.get(name)?.abort();
  const control = new AbortController();
  running.set(name, control);
  try {
    const answer = await fetch(url(path, parameters), { signal: control.signal, headers: { Accept: 'application/json' } });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail ?? `the archive answers ${answer.status}`);
    return body;
  } finally {
    if (running.get(name) === control) running.delete(name);
  }
}

/** Ends what runs under a name. */
export function stop(name) { running.get(name)?.abort(); }
