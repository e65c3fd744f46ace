// How the page follows the server: queue, progress, outages, no WebSocket, two tabs (A1, C2, C4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, finished, serve, upload } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, choose, resultPage, withPage } from './support/page.mjs';

const s = samples();
const long = s.long('long.mp3', 1800);
const mode = (page, wanted) => page.locator(`[data-testid=connection][data-mode=${wanted}]`).waitFor({ state: 'attached', timeout: 30_000 });
const noSocket = (page) => page.addInitScript(() => {
  window.WebSocket = class extends EventTarget { constructor() { super(); setTimeout(() => this.onclose?.({}), 5); } close() {} send() {} };
});

test('queued and running: both are shown, with progress, and become the answer', async () => {
  const server = await serve({ args: ['-j', '1'] });
  const first = (await upload(server, long)).body.id;
  const second = (await upload(server, s.synthetic)).body.id;
  await withPage(server, `/a/${second}`, {}, async (page) => {
    await resultPage(page, 'queued');
    await page.getByRole('heading', { name: 'Waiting in the queue' }).waitFor();
    await withPage(server, `/a/${first}`, { lang: 'ru', width: 390 }, async (running) => {
      await resultPage(running, 'running');
      const now = () => running.locator('[role=progressbar][aria-valuenow]').getAttribute('aria-valuenow').then(Number);
      const before = await now();
      await assertFits(running, 'running');
      await running.waitForFunction((value) => Number(document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow') ?? 1e3) > value, before);
      await resultPage(running, 'done');
      await running.waitForFunction(() => document.querySelector('.chart-spectrum')?.width > 100);
      await assertFits(running, 'an hour');
    });
    await resultPage(page);
  });
  await server.stop();
});

test('without a WebSocket it asks every few seconds, quietly', async () => {
  const server = await serve();
  await withPage(server, '/', { before: noSocket }, async (page) => {
    await mode(page, 'polling');
    await choose(page, s.named('polled.wav'));
    await resultPage(page);
    await page.locator('[data-testid=stability][data-status=done]').waitFor({ timeout: 30_000 });
    assert.equal(await page.getByTestId('connection').innerText(), '');
  });
  await server.stop();
});

test('a tab follows what another one does', async () => {
  const server = await serve();
  await withPage(server, '/', {}, (one) => withPage(server, '/history', { lang: 'ru' }, async (two) => {
    await mode(two, 'live');
    await choose(one, s.named('two tabs.wav'));
    await resultPage(one);
    await two.getByTestId('history-list').getByText('two tabs.wav').waitFor();
    await two.getByTestId('history-list').getByText('Машина', { exact: true }).waitFor();
  }));
  await server.stop();
});

test('the server dies under an open result and an upload: said quietly, then made good', async () => {
  let server = await serve();
  const { body } = await upload(server, s.synthetic);
  await finished(server, body.id);
  const allow = /ERR_|WebSocket|Failed to load/;
  await withPage(server, `/a/${body.id}`, { allow }, (open) => withPage(server, '/', { allow }, async (page, { context }) => {
    await resultPage(open);
    const cdp = await context.newCDPSession(page);
    await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 20, downloadThroughput: -1, uploadThroughput: 150_000 });
    await choose(page, s.named('survivor.wav'));
    await page.waitForFunction(() => Number(document.querySelector('[data-testid=upload-row] [role=progressbar]')?.getAttribute('aria-valuenow')) > 5);
    await server.kill();
    await mode(open, 'offline');
    await open.getByText('Nothing that was accepted is lost.').waitFor();
    assert.equal(await open.getByTestId('verdict').count(), 1); // what was shown stays
    await assertAccessible(open, 'offline');
    await page.locator('[data-testid=upload-row][data-state=pausing]').waitFor();
    await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    server = await serve({ data: server.data, listen: `127.0.0.1:${server.port}` });
    await resultPage(page); // sent again by itself, and opened
    await mode(open, 'live');
    const { body: list } = await ask(server, '/api/v1/analyses?q=survivor');
    assert.equal(list.items.length, 1);
  }));
  await server.stop();
});
