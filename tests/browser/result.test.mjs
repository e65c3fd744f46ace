// A result as its reader uses it: verdict, drawings, player, stability, actions, what was deleted or is not kept (A1, B1, C3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { samples } from './support/samples.mjs';
import { assertAccessible, assertFits, resultPage, withPage } from './support/page.mjs';

const s = samples();
const server = await serve();
const analysed = async (file, at = server) => {
  const { body } = await upload(at, file, { path: '/upload?fresh=1' });
  await finished(at, body.id);
  return body.id;
};
const synthetic = await analysed(s.synthetic);
const here = (id) => `/a/${id}`;

test('human: the verdict, its figure and what it means', { skip: !s.hasHuman && 'asterisk prompts are not installed' }, async () => {
  const id = await analysed(s.human);
  const { body } = await ask(server, `/api/v1/analyses/${id}`);
  await withPage(server, here(id), {}, async (page) => {
    await resultPage(page);
    assert.equal(await page.getByTestId('verdict').getAttribute('data-verdict'), 'human');
    assert.equal(await page.getByTestId('probability').innerText(), `${Math.round(body.probability * 100)}%`);
    await page.getByText('Probably a human recording', { exact: true }).last().waitFor();
    await assertAccessible(page, 'human');
  });
});

test('synthetic: the drawings are painted, a click and the keys seek, playing moves the cursor', () => withPage(server, here(synthetic), {}, async (page) => {
  await resultPage(page);
  await page.waitForFunction(() => {
    const canvas = document.querySelector('.chart-spectrum');
    if (!canvas || canvas.width < 300) return false;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4 * 97) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return colours.size > 30;
  });
  const wave = await page.evaluate(() => { // the waveform has ink above and below its middle
    const canvas = document.querySelector('.chart-wave'), at = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < at.data.length; i += 4) if (at.data[i] > 200) inked++;
    return inked / (canvas.width * canvas.height);
  });
  assert.ok(wave > 0.05, `waveform covers ${wave}`);
  const area = page.getByTestId('seek');
  const time = async () => Number(await area.getAttribute('aria-valuenow'));
  const box = await area.boundingBox();
  const duration = Number(await area.getAttribute('aria-valuemax'));
  await page.waitForFunction(() => document.querySelector('audio').readyState > 0);
  await page.mouse.click(box.x + box.width / 2, box.y + 40);
  assert.ok(Math.abs(await time() - duration / 2) < 0.2, `${await time()} of ${duration}`);
  await area.press('ArrowLeft');
  assert.ok(Math.abs(await time() - (duration / 2 - 1)) < 0.2);
  await area.press('Home');
  assert.equal(await time(), 0);
  await page.getByTestId('parts').getByRole('button').first().click();
  await area.press('Space');
  await page.waitForFunction(() => Number(document.querySelector('[data-testid=seek]').getAttribute('aria-valuenow')) > 0.5);
  assert.notEqual(await page.evaluate(() => document.querySelector('.cursor').style.transform), 'translateX(0px)');
  await page.getByTestId('play').click();
  await page.waitForFunction(() => document.querySelector('audio').paused);
}));

test('the stability panel arrives without asking for it', () => withPage(server, here(synthetic), {}, async (page) => {
  await page.locator('[data-testid=stability][data-status=done]').waitFor({ timeout: 30_000 });
  assert.equal(await page.getByTestId('stability-table').locator('tbody tr').count(), 7);
  await page.getByText(/The scores lie .* apart/).waitFor();
  await assertAccessible(page, 'stability');
}));

test('inconclusive: too short says why, and nothing is coloured by scores', async () => {
  const id = await analysed(s.short());
  await withPage(server, here(id), {}, async (page) => {
    await resultPage(page);
    assert.equal(await page.getByTestId('verdict').getAttribute('data-verdict'), 'inconclusive');
    await page.getByTestId('reasons').locator('[data-code=too_short]').waitFor();
    assert.equal(await page.locator('.chart-trace').count(), 0);
    await assertAccessible(page, 'inconclusive');
  });
});

test('failed: what is wrong and what to do, in both languages', async () => {
  const id = await analysed(s.noise());
  for (const [lang, what] of [['en', 'The content is not audio.'], ['ru', 'Содержимое – не аудио.']])
    await withPage(server, here(id), { lang }, async (page) => {
      await resultPage(page, 'failed');
      await page.getByRole('alert').getByText(what).waitFor();
      await assertAccessible(page, 'failed');
    });
});

test('a format that no browser plays says so and offers the file', async () => {
  const id = await analysed(s.amr());
  await withPage(server, here(id), {}, async (page) => {
    await page.getByText('Your browser cannot play this format.').waitFor();
    assert.equal(await page.getByTestId('play').count(), 0);
  });
});

test('a shared link opens in a fresh browser, copied by the button', () => withPage(server, here(synthetic), { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.getByText('Link copied').waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(link, page.url());
  await withPage(server, new URL(link).pathname, { lang: null, theme: null }, (other) => resultPage(other));
}));

test('analysed again: a new analysis; the downloads are there', () => withPage(server, here(synthetic), {}, async (page) => {
  await page.getByRole('button', { name: 'More' }).click();
  const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('menuitem', { name: 'JSON' }).click()]);
  assert.equal(saved.suggestedFilename(), 'generated.json');
  await page.getByRole('button', { name: 'More' }).click();
  await page.getByRole('menuitem', { name: 'Analyse again' }).click();
  await page.waitForURL((url) => !url.pathname.endsWith(synthetic));
  await resultPage(page);
}));

test('deleted: asked first, gone from both tabs, and its link says so', async () => {
  const id = await analysed(s.silence('doomed.wav', 2));
  await withPage(server, here(id), {}, async (other) => {
    await resultPage(other);
    await withPage(server, here(id), {}, async (page) => {
      await resultPage(page);
      await page.getByRole('button', { name: 'More' }).click();
      await page.getByRole('menuitem', { name: 'Delete' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
      await page.waitForURL('**/history');
      await other.getByTestId('missing').waitFor();
    });
  });
  await withPage(server, here(id), { allow: /404/ }, async (page) => {
    await page.getByTestId('missing').waitFor();
    await assertAccessible(page, 'missing');
  });
  await withPage(server, '/no/such/page', { allow: /404/ }, async (page) => {
    await page.getByTestId('missing').waitFor();
  });
});

test('retention 0: the recording is gone, the answer stays', async () => {
  const brief = await serve({ args: ['--keep-audio', '0'] });
  const id = await analysed(s.synthetic, brief);
  await until(async () => (await ask(brief, `/api/v1/analyses/${id}`)).body.file.kept === false);
  await withPage(brief, here(id), {}, async (page) => {
    await page.getByTestId('not-kept').waitFor();
    await page.getByText('no longer stored').nth(1).waitFor();
    assert.equal(await page.locator('audio').count(), 0);
    await assertFits(page, 'not kept');
    await assertAccessible(page, 'not kept');
  });
  await brief.stop();
});

test('printed from the dark theme it is light', () => withPage(server, here(synthetic), { theme: 'dark' }, async (page) => {
  await resultPage(page);
  await page.waitForFunction(() => document.querySelector('.chart-spectrum')?.width > 300);
  const corner = () => page.evaluate(() => { // silence at the very end: the colour of the paper
    const canvas = document.querySelector('.chart-spectrum');
    return Math.max(...canvas.getContext('2d').getImageData(canvas.width - 2, 1, 1, 1).data.slice(0, 3));
  });
  await page.waitForFunction(() => document.querySelector('.chart-spectrum').getContext('2d').getImageData(10, 10, 1, 1).data[3] === 255);
  assert.ok(await corner() < 100);
  await page.emulateMedia({ media: 'print' });
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  assert.ok(await corner() > 200);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.verdict')).backgroundColor), 'rgb(255, 255, 255)');
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
}));
