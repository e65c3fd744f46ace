// How it looks and reads: languages, themes, narrow and enlarged, keyboard only, less motion, from a folder (A1, A7, C5).
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { source } from '../e2e/support/sonde.mjs';
import { finished, serve, upload } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, resultPage, withPage } from './support/page.mjs';

const s = samples();
const server = await serve();
const analysed = async (file) => {
  const { body } = await upload(server, file);
  await finished(server, body.id);
  return body.id;
};
const views = {
  start: '/', history: '/history', about: '/about',
  result: `/a/${await analysed(s.synthetic)}`,
  'long name': `/a/${await analysed(s.named(`${'a'.repeat(120)}${' б'.repeat(40)}.wav`))}`,
  inconclusive: `/a/${await analysed(s.short())}`,
  failed: `/a/${await analysed(s.noise())}`,
};
const ready = { start: '[data-testid=recent]', history: '[data-testid=history-list]', about: '.figures' };

for (const [lang, theme, width] of [['en', 'light', 390], ['ru', 'dark', 390], ['ru', 'light', 320], ['en', 'dark', 1440], ['ru', 'light', 1440]])
  test(`every view in ${lang}, ${theme}, ${width} px: fits, and axe finds nothing serious`, () => withPage(server, '/about', { lang, theme, width }, async (page) => {
    for (const [name, path] of Object.entries(views)) {
      await page.goto(new URL(path, server.url).href);
      await page.locator(ready[name] ?? '[data-testid=result]').first().waitFor();
      if (name === 'result' || name === 'long name') await page.getByTestId('verdict').waitFor();
      await assertFits(page, `${name} ${width}`);
      await assertAccessible(page, name);
    }
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
    assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
  }));

test('the language follows the browser, can be chosen, and stays chosen', () => withPage(server, '/', { lang: null, theme: null, locale: 'ru-RU' }, async (page) => {
  await page.getByRole('heading', { name: 'Голос записан или создан машиной?' }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'ru');
  await page.getByTestId('lang').selectOption('en');
  await page.getByRole('heading', { name: 'Was this voice recorded, or generated?' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Was this voice recorded, or generated?' }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'en');
}));

test('the theme follows the system, can be chosen, and stays chosen without a flash', () => withPage(server, '/', { lang: 'en', theme: null, colorScheme: 'dark' }, async (page) => {
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  assert.equal(await paper(), 'rgb(20, 22, 25)');
  await page.getByTestId('theme').selectOption('light');
  assert.equal(await paper(), 'rgb(247, 246, 243)');
  await page.reload({ waitUntil: 'commit' });
  await page.waitForFunction(() => document.documentElement.dataset.theme);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
}));

test('by keyboard alone: skip link, menu, dialog and back to where one was', () => withPage(server, views.result, {}, async (page) => {
  await resultPage(page);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'More' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('menu').waitFor();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Keep');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.ok(await page.getByTestId('verdict').isVisible());
}));

test('the trace has no stripes where a pixel of the page is not one of the screen', () => withPage(server, views.result, { deviceScaleFactor: 1.25 }, async (page) => {
  await resultPage(page);
  const trace = page.locator('canvas.chart-trace');
  await trace.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => { const c = document.querySelector('canvas.chart-trace'); return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v); });
  const { filled, half } = await trace.evaluate((c) => {
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height), alpha = (x, y) => data[4 * (y * c.width + x) + 3];
    let filled = 0, half = 0; // next to the line in the middle, above and below
    for (const y of [Math.round(c.height / 2) - 4, Math.round(c.height / 2) + 4])
      for (let x = 0; x < c.width; x++) { filled += alpha(x, y) === 255; half += alpha(x, y) > 0 && alpha(x, y) < 255; }
    return { filled, half };
  });
  assert.ok(filled > 100, `${filled} columns`);
  assert.equal(half, 0);
}));

test('enlarged to 200 % and with less motion', () => withPage(server, views.result, { width: 640, height: 450, deviceScaleFactor: 2, reducedMotion: 'reduce' }, async (page) => {
  await page.locator('[data-testid=stability][data-status=done]').waitFor();
  await assertFits(page, '200 %');
  const slowest = await page.evaluate(() => Math.max(0, ...[...document.querySelectorAll('*')].map((one) => parseFloat(getComputedStyle(one).transitionDuration))));
  assert.ok(slowest < 0.01, `${slowest} s`);
}));

test('an address of the page that does not exist, reached inside it', () => withPage(server, '/', {}, async (page) => {
  await page.evaluate(() => { history.pushState({}, '', '/nowhere'); dispatchEvent(new PopStateEvent('popstate')); });
  await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
  await page.getByRole('link').filter({ hasText: /start/i }).last().click();
  await page.getByTestId('drop').waitFor();
}));

test('the page can be served from a folder', async (t) => {
  const dist = [join(source, '.cache', 'web', 'dist'), join(source, 'web', 'dist')].find((dir) => existsSync(join(dir, 'index.html')));
  if (!dist) return t.skip('no built page beside the program');
  cpSync(dist, s.at('web'), { recursive: true });
  const index = s.at('web/index.html');
  writeFileSync(index, readFileSync(index, 'utf8').replace('<title>sonde</title>', '<title>from a folder</title>'));
  assert.ok(readdirSync(s.at('web')).length > 1);
  const other = await serve({ args: ['--web', s.at('web')] });
  assert.match(await (await fetch(other.url)).text(), /from a folder/);
  await withPage(other, '/', {}, (page) => page.getByTestId('drop').waitFor());
  await other.stop();
});
