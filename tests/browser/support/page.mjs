// One Chromium per test file, one fresh context per page; every page is watched: an error in the console, an exception,
// a violation of the content security policy or a request to elsewhere fails the test that opened it.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'];
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser = null;
let home = null; // the browser's own files: it must not meet a user's
after(async () => {
  await browser?.close();
  if (home) rmSync(home, { recursive: true, force: true });
});

// Starts the browser; `flags` are for the first call only (the microphone needs some).
export async function launch(flags = []) {
  if (browser) return browser;
  home = mkdtempSync(join(tmpdir(), 'sonde-browser-'));
  mkdirSync(join(home, 'run'), { mode: 0o700 });
  browser = await chromium.launch({ executablePath: process.env.SONDE_CHROMIUM ?? '/usr/bin/chromium', args: [...FLAGS, ...flags],
    env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: join(home, 'run') } });
  return browser;
}

// A page in a context of its own. lang, theme: what a user once chose (null: nothing yet); allow: console errors that the
// test provokes, as a RegExp (a stopped server makes every request one).
export async function open(server, path = '/', { lang = 'en', theme = 'light', width = 1280, height = 900, allow = null,
  locale = 'en-US', before = null, ...context } = {}) {
  const running = await launch();
  const here = await running.newContext({ viewport: { width, height }, locale, acceptDownloads: true, ...context });
  const page = await here.newPage();
  const troubles = [];
  const note = (text) => { if (!allow?.test(text) && !/^Canvas2D: Multiple readback/.test(text)) troubles.push(text); };
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) note(`${message.text()} ${message.location().url}`); });
  page.on('pageerror', (error) => note(`exception: ${error.message}`));
  page.on('request', (request) => {
    if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).host !== new URL(server.url).host) note(`asks elsewhere: ${request.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  if (lang || theme) {
    await page.addInitScript((chosen) => {
      if (!localStorage.getItem('sonde.settings')) localStorage.setItem('sonde.settings', chosen);
    }, JSON.stringify({ lang, theme }));
  }
  if (before) await before(page);
  await page.goto(new URL(path, server.url).href);
  page.setDefaultTimeout(60_000); // other tests run beside it
  return {
    page, context: here, troubles,
    // The end of every test: nothing went wrong behind the scenes.
    async close() {
      await here.close();
      assert.deepEqual(troubles, []);
    },
  };
}

// Opens a page, hands it over, closes it, and looks at what the console said.
export async function withPage(server, path, options, use) {
  const opened = await open(server, path, options);
  try {
    await use(opened.page, opened);
  } catch (error) {
    error.message += `\nconsole: ${JSON.stringify(opened.troubles)}\npage: ${(await opened.page.locator('body').innerText().catch(() => '')).slice(0, 800)}`;
    await opened.context.close();
    throw error;
  }
  await opened.close();
}

// Nothing sticks out to the side.
export async function assertFits(page, where = '') {
  const [inner, outer, culprits] = await page.evaluate(() => {
    const root = document.documentElement;
    const wide = root.scrollWidth <= root.clientWidth ? [] : [...document.querySelectorAll('body *')]
      .filter((one) => one.getBoundingClientRect().right > root.clientWidth + 0.5)
      .map((one) => `${one.tagName}.${one.className}`).slice(0, 5);
    return [root.scrollWidth, root.clientWidth, wide];
  });
  assert.ok(inner <= outer, `${where}: ${inner} px wide in ${outer} px: ${culprits}`);
}

// No finding of axe that is serious or critical.
export async function assertAccessible(page, where = '') {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    await Promise.all(document.getAnimations().map((one) => one.finished.catch(() => null)).slice(0, 50).map((one) =>
      Promise.race([one, new Promise((done) => setTimeout(done, 400))])));
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'], preload: false });
    return violations.filter((one) => ['serious', 'critical'].includes(one.impact))
      .map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ''}`).slice(0, 3).join(' | ')}`);
  });
  assert.deepEqual(found, [], where);
}

export const choose = (page, files) => page.getByTestId('file-input').setInputFiles(files);
export const resultPage = (page, status = 'done') => page.locator(`[data-testid=result][data-status=${status}]`).waitFor();
