// Recordings that kill who reads them (C9, B12): after four tries they are dead letters, with the reason, and everything
// else goes on unharmed; `sonde jobs` brings them back, or forgets them.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { build, jsonLines, scratch, sonde } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, recordings, sleep, sql, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 6, long: false });
const human = pool[0];
const marker = 'tastes of almonds';

const library = join(dir, 'poison.so');
execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, join(dirname(fileURLToPath(import.meta.url)), 'support/poison.c')]);
const decoder = join(dir, 'decoder');
writeFileSync(decoder, `#!/bin/sh\nLD_PRELOAD='${library}' POISON='${marker}' POISON_SIGNAL=5 exec '${join(build, 'sonde-decoder')}' "$@"\n`);
chmodSync(decoder, 0o755);

const poisoned = (tag) => variant(human.bytes, `${marker} ${tag}`);
const letters = (data) => jsonLines(sonde(['jobs', 'list', '--json', '--data', data]).out);
const analysis = async (server, id) => (await ask(server, `/api/v1/analyses/${id}`)).body;

test('a recording that kills the decoder each time is given up; the others are not harmed', { timeout: 60_000 }, async (t) => {
  const env = { SONDE_DECODER: decoder, SONDE_QUEUE_BACKOFF: '0.3' };
  let server = await serve({ env });
  const { data } = server, sent = [], from = performance.now();
  const bad = await upload(server, { name: 'bad.wav', bytes: poisoned(1) });
  const worse = await upload(server, { name: 'worse.wav', bytes: poisoned(2) });
  for (let i = 0; i < 12; i++) {
    const right = pool[i % pool.length];
    sent.push([(await upload(server, { name: `${i}.wav`, bytes: right.wav ? variant(right.bytes, `ok ${i}`) : right.bytes })).body.id, right]);
  }
  for (const [id, right] of sent) {
    await finished(server, id);
    assertRight(await analysis(server, id), right);
  }
  for (const id of [bad.body.id, worse.body.id]) {
    assert.equal((await finished(server, id)).status, 'failed');
    const { error } = await analysis(server, id);
    assert.equal(error.code, 'gave_up');
    assert.match(error.text, /tried 4 times.*killed by SIG/);
  }
  t.diagnostic(`given up ${Math.round(performance.now() - from)} ms after the upload`);
  const dead = letters(data);
  assert.equal(dead.length, 2);
  const letter = dead.find((l) => l.body.analysis === bad.body.id), other = dead.find((l) => l !== letter);
  assert.equal(letter.deliveries, 4);
  assert.equal(letter.queue, 'ml_inference');
  assert.match(letter.reason, /killed by SIG/);
  assert.equal(letter.history.length, 4);
  const shown = sonde(['jobs', '--data', data]);
  assert.ok(shown.out.includes(letter.id) && shown.out.includes(bad.body.id) && /killed by SIG/.test(shown.out), shown.out);
  assert.match(sonde(['doctor', '--data', data]).out, /PROBLEM +queue .*2 dead letters/);

  // Tried again with the cause still there: four tries more, and the history grows.
  assert.equal(sonde(['jobs', 'retry', letter.id, '--data', data]).code, 0);
  await until(async () => (await analysis(server, bad.body.id)).status !== 'failed', { timeout: 5000, pause: 5 }).catch(() => {});
  await until(() => letters(data).length === 2, { timeout: 10_000, pause: 100 });
  await until(async () => (await analysis(server, bad.body.id)).error?.code === 'gave_up');
  assert.equal(letters(data).find((l) => l.id === letter.id).history.length, 8);
  await server.stop();

  // With the cause gone: while the server runs.
  server = await serve({ data });
  assert.match(sonde(['jobs', 'retry', letter.id, '--data', data]).out, /1 dead letter put back/);
  await until(async () => (await analysis(server, bad.body.id)).status === 'done', { timeout: 10_000 });
  assertRight(await analysis(server, bad.body.id), human);
  assert.match(sonde(['jobs', 'drop', other.id, '--data', data]).out, /1 dead letter dropped/);
  assert.deepEqual(letters(data), []);
  assert.equal((await analysis(server, worse.body.id)).status, 'failed'); // forgotten is not repaired
  const none = sonde(['jobs', 'retry', other.id, '--data', data]);
  assert.equal(none.code, 3);
  assert.match(none.err, /no dead letter/);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assertClean(data);
});

test('the pauses between tries are those of the queue when nobody cuts them', { timeout: 20_000 }, async () => {
  const server = await serve({ env: { SONDE_DECODER: decoder } });
  const { body } = await upload(server, { name: 'bad.wav', bytes: poisoned('slow') });
  await until(() => server.log().some((l) => /trying again/.test(l.message)), { timeout: 5000 });
  await sleep(2500);
  assert.equal(server.log().filter((l) => /trying again/.test(l.message)).length, 1); // the second comes after about 5 s
  assert.ok(['queued', 'running'].includes((await ask(server, `/status?id=${body.id}`)).body.status));
  assert.equal((await ask(server, `/api/v1/analyses/${body.id}`, { method: 'DELETE' })).status, 204);
  await server.stop();
});

test('a recording that kills the server each time is given up after four deaths', { timeout: 60_000 }, async (t) => {
  const data = dataFolder();
  const env = { LD_PRELOAD: library, POISON: marker, SONDE_QUEUE_BACKOFF: '0.2' };
  let server = await serve({ data, env, args: ['--jobs', '1'] });
  const good = await upload(server, { name: 'good.wav', bytes: variant(human.bytes, 'good') });
  // The server may be dead before it has answered; what kills it is stored by then.
  await upload(server, { name: 'bad.wav', bytes: poisoned('server') }).catch(() => null);
  const later = await upload(server, { name: 'later.wav', bytes: variant(pool[1].bytes, 'later') }).catch(() => null);
  const [{ id: bad }] = sql(data, "SELECT a.id FROM analyses a JOIN uploads u ON u.id = a.upload_id WHERE u.file_name = 'bad.wav'");
  let deaths = 0;
  for (; deaths < 8; deaths++) {
    const end = await Promise.race([server.exited, (async () => {
      await until(() => analysis(server, bad).then((a) => a.status === 'failed', () => false), { timeout: 8000 });
      return null;
    })().catch(() => server.exited)]);
    if (!end) break;
    assert.equal(end.signal, 'SIGKILL');
    server = await serve({ data, env, args: ['--jobs', '1'] }).catch(async (error) => { // it may die before it is ready
      assert.match(error.message, /SIGKILL/);
      return { exited: Promise.resolve({ signal: 'SIGKILL' }), url: 'http://127.0.0.1:1' };
    });
  }
  assert.equal(deaths, 4);
  t.diagnostic(`${deaths} deaths`);
  const { error } = await analysis(server, bad);
  assert.equal(error.code, 'gave_up');
  assert.match(error.text, /4 tries/);
  await finished(server, good.body.id);
  assertRight(await analysis(server, good.body.id), human);
  if (later?.status === 202) {
    await finished(server, later.body.id);
    assertRight(await analysis(server, later.body.id), pool[1]);
  }
  const [letter, ...more] = letters(data);
  assert.deepEqual(more, []);
  assert.equal(letter.body.analysis, bad);
  assert.equal(letter.deliveries, 4);
  await server.stop();
  server = await serve({ data });
  assert.equal(sonde(['jobs', 'retry', '--all', '--data', data]).code, 0);
  await until(async () => (await analysis(server, bad)).status === 'done', { timeout: 10_000 });
  assertRight(await analysis(server, bad), human);
  await server.stop();
  assertClean(data);
});
