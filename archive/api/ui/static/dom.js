// Elements, made in one line.

/** An element with attributes, properties in on…, and children; null children are left out. */
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'class') e.className = value;
    else if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return e;
}

export const byId = (id) => document.getElementById(id);

/** A group of buttons of which one is chosen. */
export function choice(label, options, chosen, choose) {
  return el('div', { class: 'choice', role: 'group', 'aria-label': label },
    el('span', { class: 'choice-label' }, label),
    options.map(([value, text, title]) => el('button', {
      type: 'button', title, 'data-value': value, 'aria-pressed': String(value === chosen), onclick: () => choose(value),
    }, text)));
}

/** A colour of the style sheet. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
