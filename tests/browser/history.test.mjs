// The history: search, filters, paging, deleting several, the address that keeps it all (A1, C3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, withPage } from './support/page.mjs';

const s = samples();
const server = await serve();
const { readFileSync } = await import('node:fs');
const bytes = readFileSync(s.silence('silence.wav', 2));
for (let i = 0; i < 6; i++) // 60 copies of one recording, ten to a request
  await upload(server, Array.from({ length: 10 }, (_, k) => ({ name: `call ${String(i * 10 + k).padStart(2, '0')}.wav`, bytes })), { path: '/api/v1/uploads' });
await finished(server, (await upload(server, s.synthetic)).body.id);
await finished(server, (await upload(server, s.noise())).body.id);
await until(async () => (await ask(server, '/api/v1/analyses?status=done&limit=200')).body.items.length === 61);
const rows = (page) => page.getByTestId('history-list').getByTestId('analysis-row');
const shows = (page, count) => page.waitForFunction((n) => document.querySelectorAll('[data-testid=history-list] [data-testid=analysis-row]').length === n, count);

test('search and filters find, are kept in the address, and can be reset', () => withPage(server, '/history', {}, async (page) => {
  await shows(page, 50);
  await page.getByTestId('search').fill('call 3');
  await shows(page, 10);
  assert.match(page.url(), /q=call/);
  await page.reload();
  await shows(page, 10);
  await page.getByTestId('filter-verdict').selectOption('synthetic');
  await page.getByText('Nothing matches').waitFor();
  await page.getByRole('button', { name: /Clear|Reset/ }).click();
  await shows(page, 50);
  await page.getByTestId('filter-status').selectOption('failed');
  await shows(page, 1);
  await page.getByText('The content is not audio.').waitFor();
  await assertAccessible(page, 'filtered');
}));

test('it pages on, and a row leads to its answer and back', () => withPage(server, '/history', {}, async (page) => {
  await shows(page, 50);
  await page.getByRole('button', { name: 'Show more' }).click();
  await shows(page, 62);
  await page.getByText('generated.wav').click();
  await page.getByTestId('verdict').waitFor();
  await page.goBack();
  await rows(page).first().waitFor();
}));

test('several are deleted at once, after a question; Russian counts them right', () => withPage(server, '/history?q=call+5', { lang: 'ru', width: 390 }, async (page) => {
  await shows(page, 10);
  for (const i of [0, 1]) await rows(page).nth(i).getByRole('checkbox').check();
  await page.getByText('Выбрано 2').waitFor();
  await assertFits(page, 'selection');
  await page.getByRole('button', { name: 'Удалить выбранные' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Удалить 2 анализа?').waitFor();
  await assertAccessible(page, 'question');
  await dialog.getByRole('button', { name: 'Оставить' }).click();
  await shows(page, 10);
  await page.getByRole('button', { name: 'Удалить выбранные' }).click();
  await dialog.getByRole('button', { name: 'Удалить', exact: true }).click();
  await shows(page, 8);
  assert.equal((await ask(server, '/api/v1/analyses?q=call+5')).body.items.length, 8);
}));

test('the export has what the filters select', () => withPage(server, '/history?q=call+4', {}, async (page) => {
  await shows(page, 10);
  const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export CSV' }).click()]);
  assert.equal(readFileSync(await saved.path(), 'utf8').trim().split('\n').length, 11);
}));
