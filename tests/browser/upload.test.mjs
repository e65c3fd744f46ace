// Giving recordings to the page: one, several, a zip, what is refused, what is cancelled (A1, A7, C2).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { serve, upload } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, choose, resultPage, withPage } from './support/page.mjs';

const s = samples();
const server = await serve({ args: ['--upload-max', '2M'] });

// Makes the browser's line slow; bytes per second upwards.
async function slow({ page, context }, up) {
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 20, downloadThroughput: -1, uploadThroughput: up });
}

test('empty: the page asks for a recording and says that there is none yet', () => withPage(server, '/', {}, async (page) => {
  await page.getByText('Nothing has been analysed yet').waitFor();
  await page.getByText('Up to 2').waitFor(); // the server's own limit: 2 MiB in MB
  assert.equal(await page.title(), 'sonde');
  await assertFits(page, 'empty');
  await assertAccessible(page, 'empty');
}));

test('one file opens its answer by itself, and the way back leads to the start', () => withPage(server, '/', {}, async (page) => {
  await choose(page, s.synthetic);
  await resultPage(page);
  assert.match(page.url(), /\/a\/[0-9a-f-]{36}$/);
  assert.equal(await page.getByTestId('verdict').getAttribute('data-verdict'), 'synthetic');
  await page.goBack();
  await page.getByTestId('recent').getByText('generated.wav').waitFor();
  await page.goForward();
  await resultPage(page);
}));

test('an upload shows its progress, can be cancelled, and tried again', () => withPage(server, '/', {}, async (page, opened) => {
  await slow(opened, 50_000); // many seconds: the check of accessibility takes its time
  await choose(page, [s.synthetic, s.named('second.wav')]);
  const row = page.getByTestId('upload-row').first();
  await page.waitForFunction(() => Number(document.querySelector('[data-testid=upload-row] [role=progressbar]')?.getAttribute('aria-valuenow')) > 5);
  await assertAccessible(page, 'uploading');
  await row.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('[data-testid=upload-row][data-state=canceled]').waitFor();
  await slow(opened, -1);
  await row.getByRole('button', { name: 'Try again' }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-testid=upload-row][data-state=accepted]').length === 2);
}));

test('several files at once: each has its row, and leads to its answer', () => withPage(server, '/', {}, async (page) => {
  await choose(page, [s.short(), s.silence(), s.noise()]);
  await page.waitForFunction(() => document.querySelectorAll('[data-testid=upload-row][data-state=accepted]').length === 3);
  assert.match(page.url(), /\/$/); // several do not open by themselves
  await page.getByTestId('recent').locator('[data-status=failed]').waitFor();
  await page.getByTestId('upload-row').nth(1).getByRole('link', { name: 'Open' }).click();
  await resultPage(page);
}));

test('a zip becomes its recordings; a broken one says what to do', () => withPage(server, '/', {}, async (page) => {
  s.named('in-zip-1.wav'); s.silence('in-zip-2.wav', 2);
  execFileSync('python3', ['-c', 'import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1],"w")\n[z.write(p,p.split("/")[-1]) for p in sys.argv[2:]]\nz.close()',
    s.at('two.zip'), s.at('in-zip-1.wav'), s.at('in-zip-2.wav')]);
  await choose(page, s.at('two.zip'));
  await page.getByText('Accepted: 2 recordings').waitFor();
  await page.getByTestId('recent').getByText('in-zip-2.wav').waitFor();
  const bytes = readFileSync(s.at('two.zip'));
  await choose(page, { name: 'broken.zip', mimeType: 'application/zip', buffer: bytes.subarray(0, bytes.length - 60) });
  await page.getByText('broken.zip: The file is damaged').first().waitFor();
}));

test('what cannot be taken is said before it is sent: empty, too large', () => withPage(server, '/', { lang: 'ru' }, async (page) => {
  await choose(page, [{ name: 'пусто.wav', mimeType: 'audio/wav', buffer: Buffer.alloc(0) },
    { name: 'большой.wav', mimeType: 'audio/wav', buffer: Buffer.alloc(2_200_000) }]);
  await page.getByText('Файл пуст.').waitFor();
  await page.getByText(/предел – 2/).waitFor();
  await assertFits(page, 'refused');
}));

test('the same bytes again: the answer is copied, and says from where', () => withPage(server, '/', {}, async (page) => {
  await choose(page, s.named('again.wav'));
  await resultPage(page);
  await page.getByTestId('reused').getByRole('link').click();
  await page.getByRole('heading', { level: 1 }).filter({ hasNotText: 'again.wav' }).waitFor();
}));

test('HTML in a name is text, in every view', () => withPage(server, '/', { width: 390 }, async (page) => {
  const name = '<img src=x onerror=alert(1)><b>bold.wav';
  page.on('dialog', () => assert.fail('script ran'));
  await choose(page, s.named(name));
  await resultPage(page);
  assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), name);
  await assertFits(page, 'result');
  for (const view of ['/', '/history']) {
    await page.goto(new URL(view, server.url).href);
    await page.getByText(name).first().waitFor();
    assert.equal(await page.locator('img').count(), 0);
  }
}));

test('a full queue is waited for, and the file is not lost', async () => {
  const small = await serve({ args: ['--queue-max', '1', '-j', '1'] });
  const long = s.long('long.mp3', 900);
  await upload(small, long);
  await withPage(small, '/', { allow: /503/ }, async (page) => {
    await choose(page, [s.named('a.wav'), s.named('b.wav', s.hasHuman ? s.human : s.synthetic), s.short()]);
    await page.locator('[data-testid=upload-row][data-state=pausing]').first().waitFor();
    await page.getByText('The queue is full.').first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll('[data-testid=upload-row][data-state=accepted]').length === 3, null, { timeout: 60_000 });
  });
});

test('no space: said in words', async () => {
  const full = await serve({ args: ['--min-free', '900T'] });
  await withPage(full, '/', { allow: /503|507/ }, async (page) => {
    await choose(page, s.synthetic);
    await page.getByText('The server has no room left.').waitFor();
  });
});
