// Uses the page as people do, in a headless Chromium, and prints what was not as it
// should be: a JSON list of lines.
//
//	node page.cjs PLAYWRIGHT CHROMIUM PROFILE URL

const [, , playwright, executablePath, profile, base] = process.argv;
const { chromium } = require(playwright);

const wrong = [];
const check = (ok, text) => { if (!ok) wrong.push(text); };
const equal = (got, want, text) => check(JSON.stringify(got) === JSON.stringify(want), `${text}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);

/** What a cell of the grid is to look like, from its data. */
function expected(c) {
  if (c.state !== 'fresh') return c.state;
  const rate = c.lost / c.sent;
  if (rate === 0) return 'loss-0';
  if (rate < 0.001) return 'loss-1';
  if (rate < 0.01) return 'loss-2';
  return rate < 0.1 ? 'loss-3' : 'loss-4';
}

/** The contrasts of texts to what is behind them that are below what WCAG AA wants. */
const faint = () => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest('.skip, noscript, dialog')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
  }
  return [...found];
};

/** How many colours each canvas has. */
const colours = () => [...document.querySelectorAll('.plot canvas')].map((c) => {
  const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
  const all = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 0) all.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  return all.size;
});

/** How many pixels of a chart have a colour of the style sheet. */
const pixels = ([chart, name]) => {
  const canvas = document.querySelectorAll('.plot canvas')[chart];
  const ctx = canvas.getContext('2d');
  const { data } = ctx.getImageData(0, 0, canvas.width, canvas.height);
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const want = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  let n = 0;
  for (let i = 0; i < data.length; i += 4) if (want.every((v, k) => data[i + k] === v)) n++;
  return n;
};

const wide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;

async function open(browser, name, options, address) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  if (name === 'phone') { // it remembers nothing
    await page.addInitScript(() => Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } }));
  }
  page.setDefaultTimeout(15000);
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') wrong.push(`${name}: console: ${m.text()}`); });
  page.on('pageerror', (e) => wrong.push(`${name}: ${e.stack}`));
  page.on('request', (r) => { if (!r.url().startsWith(base)) wrong.push(`${name}: asks for ${r.url()}`); });
  page.on('response', (r) => { if (r.status() >= 400) wrong.push(`${name}: ${r.status()} of ${r.url()}`); });
  const answer = page.waitForResponse((r) => r.url().includes(address.includes('source=') ? '/api/pair?' : '/api/grid?'));
  await page.goto(base + address);
  const data = await (await answer).json();
  await page.waitForSelector(address.includes('source=') ? '.plot canvas' : '.cell b');
  return { page, context, data };
}

async function grid(browser) {
  const { page, context, data } = await open(browser, 'grid', { viewport: { width: 1280, height: 900 } }, '');
  equal(await page.locator('.cell').count(), new Set(data.cells.map((c) => c.source)).size * new Set(data.cells.map((c) => c.destination)).size, 'cells');
  const looks = new Map();
  for (const c of data.cells) {
    const cell = page.locator(`#cell-${c.source}-${c.destination}`);
    const seen = await cell.evaluate((e) => ({ look: e.className, text: e.innerText, label: e.getAttribute('aria-label'), ground: getComputedStyle(e).backgroundColor }));
    const name = `${data.hosts[c.source].name} → ${data.hosts[c.destination].name}`;
    equal(seen.look, `cell ${expected(c)}`, name);
    looks.set(expected(c), seen.ground);
    check(seen.label.startsWith(name), `${name}: is called ${seen.label}`);
    if (c.state === 'none') { equal(seen.text, 'no data', name); continue; }
    check(seen.text.startsWith(`${c.lost}/${c.sent.toLocaleString('en')}`), `${name}: ${seen.text}, want ${c.lost}/${c.sent}`);
    if (c.state === 'stale') check(seen.text.includes('◷'), `${name}: ${seen.text}, want how old it is`);
    else check(seen.text.replace('−', '-').includes(`${c.median.toFixed(Math.abs(c.median) < 10 ? 2 : 1)} ms`), `${name}: ${seen.text}, want ${c.median} ms`);
  }
  for (const look of ['none', 'stale', 'loss-0', 'loss-1']) check(looks.has(look), `the data have no cell ${look}`);
  equal(new Set(looks.values()).size, looks.size, 'grounds of cells');
  const none = page.locator('.cell.none').first();
  const [r, g, b] = (await none.evaluate((e) => getComputedStyle(e).color)).match(/\d+/g).map(Number);
  check(!(g > r + 20 && g > b + 20), 'no data is green');
  check((await none.evaluate((e) => getComputedStyle(e).backgroundImage)).includes('gradient'), 'no data has no pattern');
  equal(await page.evaluate(faint), [], 'too faint in the light');
  equal(await page.evaluate(wide), 0, 'wider than the window by');

  // By the keyboard alone: to a cell, to the pair, back, and what else there is.
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowUp');
  const label = await page.evaluate(() => document.activeElement.getAttribute('aria-label'));
  equal(await page.textContent('#told'), label, 'told of the cell with the focus');
  await page.keyboard.press('d');
  await page.waitForSelector('.cell[class*=delay-]');
  equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), label, 'the focus after another metric');
  equal(await page.evaluate(faint), [], 'too faint, delays');
  check((await page.textContent('.cell.negative')).includes('−'), 'a negative delay has no sign');
  await page.keyboard.press('l');
  await page.keyboard.press('?');
  check(await page.locator('#help').evaluate((e) => e.open), '? does not open the keys');
  await page.keyboard.press('Escape');
  check(!await page.locator('#help').evaluate((e) => e.open), 'Esc does not close the keys');
  await page.click('#help-open');
  await page.click('#help button');
  check(!await page.locator('#help').evaluate((e) => e.open), 'the button does not close the keys');
  await page.keyboard.press('/');
  await page.keyboard.type('fra > lon');
  equal(await page.locator('.cell').count(), 1, 'cells from fra to lon');
  check(page.url().includes('filter=fra'), 'the filter is not in the address');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await page.locator('.cell:not(.untested)').first().focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('.plot canvas');
  const [source, destination] = label.split(/ → |:/);
  equal(await page.textContent('#title'), `All › ${source} ⇄ ${destination}`, 'title of the pair');
  check(new URL(page.url()).searchParams.get('source') !== null, `the pair is not in the address ${page.url()}`);
  await page.keyboard.press('Escape');
  await page.waitForSelector('.cell b');

  // What is measured right now.
  await page.waitForSelector('.strip-figures');
  equal(await page.textContent('.strip-figures'), '1.50 ms, max 9.00 ms, 10 received, 1 lost', 'live');
  await context.close();
}

async function pair(browser, address) {
  const { page, context, data } = await open(browser, 'pair', { viewport: { width: 1280, height: 900 } }, address);
  for (const [i, d] of data.directions.entries()) {
    const text = (id) => page.textContent(`#${id}-${i}`);
    equal(await text('sent'), d.totals.sent.toLocaleString('en'), 'sent');
    equal(await text('lost'), d.totals.lost.toLocaleString('en'), 'lost');
    equal(await text('median'), `${d.totals.median.toFixed(1)} ms`, 'median');
    equal(await text('max'), `${d.totals.max.toFixed(1)} ms`, 'greatest');
    equal(await text('reordered'), String(d.totals.reordered), 'reordered');
  }
  equal(await page.locator('.plot canvas').count(), 4, 'charts');
  for (const [i, n] of (await page.evaluate(colours)).entries()) check(n > 4, `chart ${i} has ${n} colours`);
  const gaps = await page.textContent('#gaps');
  check(/peer_unreachable.*\(50 min\).*no route to host/.test(gaps), `gaps: ${gaps}`);
  equal(await page.evaluate(faint), [], 'too faint');
  const links = await page.locator('#links a').evaluateAll((all) => all.map((a) => a.getAttribute('href')));
  check(links[0].startsWith('api/pair?') && links[1].startsWith('api/pair.csv?') && links[2] === data.directions[0].uri.slice(1), `links: ${links}`);

  // The figures of a window, and of a gap, under the pointer.
  const area = await page.locator('.u-over').first().boundingBox();
  await page.mouse.move(area.x + area.width * 0.6, area.y + 40);
  await page.waitForFunction((all) => document.getElementById('sent-0').textContent !== all, data.directions[0].totals.sent.toLocaleString('en'));
  equal(await page.textContent('#sent-0'), '600', 'sent in a minute');
  const gap = data.directions[0].gaps.find((g) => g.reason === 'peer_unreachable');
  await page.mouse.move(area.x + (area.width * ((gap.from + gap.to) / 2 - data.from)) / (data.to - data.from), area.y + 40);
  await page.waitForFunction(() => document.getElementById('when').textContent.includes('peer_unreachable'));

  // Zoom by dragging, by the wheel and by a key, and back by the browser.
  const shown = () => { const q = new URL(page.url()).searchParams; return Number(q.get('to')) - Number(q.get('from')); };
  const [left, right] = [0.25, 0.75].map((part) => area.x + area.width * part);
  await page.mouse.move(left, area.y + 50);
  await page.mouse.down();
  await page.mouse.move(right, area.y + 50, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/from=/);
  check(Math.abs(shown() - (data.to - data.from) / 2) < 200, `zoomed to ${shown()} s by dragging over the half of ${data.to - data.from}`);
  const dragged = shown();
  const changed = async (act) => {
    const before = page.url();
    const answer = page.waitForResponse(/api\/pair\?/);
    await act();
    await page.waitForURL((u) => u.href !== before);
    await answer;
  };
  await changed(() => page.mouse.wheel(0, -100));
  check(shown() < dragged, 'the wheel does not zoom');
  const wheeled = shown();
  await changed(() => page.keyboard.press('-'));
  check(Math.abs(shown() / wheeled - 2) < 0.05, `- shows ${shown()} s of ${wheeled} before, want twice as much`);
  await changed(() => page.goBack());
  equal(shown(), wheeled, 'a step back');

  // Peaks beyond a scale that is fitted have a lane; only where the scale has all of them, a band.
  const greatest = () => page.locator('.plot').first().getAttribute('aria-label');
  check(/the greatest up to [\d.]+ ms/.test(await greatest()), `no peak is beyond the scale: ${await greatest()}`);
  equal(await page.evaluate(pixels, [0, 'above']), 0, 'pixels of a band up to peaks that are beyond the scale');
  check((await page.textContent('#legend')).includes('lane'), 'the legend does not tell of the lane');
  await page.keyboard.press('y');
  check(page.url().includes('scale=all'), 'y does not change the scale');
  check(!(await greatest()).includes('greatest'), `all is to the scale, but for ${await greatest()}`);
  check(await page.evaluate(pixels, [0, 'above']) > 100, 'there is no band up to the greatest');
  await page.keyboard.press('h');
  await page.waitForURL(/mode=heat/);
  await page.waitForFunction(() => document.querySelector('.plot')?.getAttribute('aria-label').includes('how many packets'));
  check((await page.evaluate(colours))[0] > 4, 'the heatmap is empty');
  await page.keyboard.press('x');
  await page.waitForURL((u) => u.searchParams.get('source') === data.directions[1].source.id);
  await context.close();
}

async function variants(browser, address) {
  for (const [name, options] of [['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }], ['phone', { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }]]) {
    for (const query of ['', address]) {
      const { page, context } = await open(browser, name, options, query);
      equal(await page.evaluate(wide), 0, `${name} ${query}: wider than the window by`);
      equal(await page.evaluate(faint), [], `${name} ${query}: too faint`);
      if (name === 'phone') {
        const before = await page.textContent('#zone');
        await page.click('#zone');
        check(await page.textContent('#zone') !== before, 'phone: the time zone cannot be chosen');
      }
      if (name === 'dark') {
        const [r] = (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g);
        check(Number(r) < 60, `dark: the ground is ${r}`);
        await page.click('#theme');
        equal(await page.evaluate(faint), [], 'light by choice: too faint');
      }
      await context.close();
    }
  }
}

(async () => {
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath, headless: false,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  }).then((context) => context.browser() ?? context);
  const address = '?source=192.0.2.10&destination=198.51.100.40&range=21600';
  await Promise.all([grid(browser), pair(browser, address)]);
  await variants(browser, address);
  await browser.close();
})().catch((error) => wrong.push(String(error.stack))).finally(() => {
  console.log(JSON.stringify(wrong));
  process.exit(0);
});
