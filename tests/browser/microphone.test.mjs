// From the microphone to a verdict; the browser's microphone is a file (A1, C2).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ffmpeg } from '../e2e/support/sonde.mjs';
import { serve } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, launch, resultPage, withPage } from './support/page.mjs';

const s = samples();
ffmpeg('-i', s.synthetic, '-ar', '48000', '-ac', '1', s.at('microphone.wav'));
await launch(['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${s.at('microphone.wav')}`]);
const server = await serve();

test('recorded, listened to, sent, judged', () => withPage(server, '/', { permissions: ['microphone'], width: 390 }, async (page) => {
  await page.getByRole('button', { name: 'Record' }).click();
  await page.locator('[data-testid=recorder][data-step=recording]').waitFor();
  await assertFits(page, 'recording');
  await page.waitForFunction(() => Number(/scaleX\((.*)\)/.exec(document.querySelector('.meter-bar').style.transform)?.[1]) > 0.3); // it hears
  await page.waitForFunction(() => document.querySelector('[data-testid=record-time]').textContent >= '0:05');
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('[data-testid=recorder][data-step=ready] audio').waitFor();
  await assertAccessible(page, 'recorded');
  await page.getByRole('button', { name: 'Check this recording' }).click();
  await resultPage(page);
  assert.equal(await page.getByTestId('verdict').getAttribute('data-verdict'), 'synthetic');
  assert.match(await page.getByRole('heading', { level: 1 }).innerText(), /^microphone-\d{4}-\d\d-\d\d-\d{6}\.webm$/);
}));

test('refused: says where to allow it', () => withPage(server, '/', { lang: 'ru', before: (page) => page.addInitScript(() => {
  navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
}) }, async (page) => {
  await page.getByRole('button', { name: 'Записать' }).click();
  await page.getByText('Микрофон для этой страницы запрещён.').waitFor();
  await page.getByRole('button', { name: 'Закрыть' }).click();
  assert.equal(await page.getByTestId('recorder').count(), 0);
}));
