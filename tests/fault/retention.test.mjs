// Retention and deletion really delete (C9, B5): files, rows, and what is left of them in the database file.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, filesUnder, has, recordings, sha256, sleep, sql, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 4 });
const human = pool[0], long = pool.find((r) => r.name === 'long.wav');

// Where one of `texts` stands in any column of any table.
function rowsWith(data, texts) {
  const found = [];
  for (const { name } of sql(data, "SELECT name FROM sqlite_schema WHERE type = 'table'"))
    for (const row of sql(data, `SELECT * FROM "${name}"`))
      for (const text of texts) if (JSON.stringify(row).includes(text)) found.push(`${name}: ${JSON.stringify(row).slice(0, 200)}`);
  return found;
}

test('--keep-audio 0: a recording is gone from the disk right after its analysis', async () => {
  const server = await serve({ args: ['--keep-audio', '0'] });
  const done = await upload(server, { name: 'a.wav', bytes: variant(human.bytes, 'keep 0') }, { wait: 30 });
  assertRight(done.body, human);
  await until(() => filesUnder(server.data, 'blobs/raw').length === 0, { timeout: 5000 });
  const { body } = await ask(server, `/api/v1/analyses/${done.body.id}`);
  assert.equal(body.file.kept, false);
  const audio = await ask(server, `/api/v1/analyses/${done.body.id}/audio`);
  assert.equal(audio.status, 410);
  assert.equal(audio.body.code, 'gone');
  assert.equal((await ask(server, `/api/v1/analyses/${done.body.id}/rerun`, { method: 'POST' })).status, 410);
  const broken = await upload(server, { name: 'b.wav', bytes: Buffer.from('no recording at all') }, { wait: 30 });
  assert.equal(broken.body.status, 'failed');
  await until(() => filesUnder(server.data, 'blobs/raw').length === 0, { timeout: 5000 }); // of a failed one, too
  const twice = await upload(server, { name: 'a.wav', bytes: variant(human.bytes, 'keep 0') }, { wait: 30 });
  assert.equal(twice.body.reused_from, done.body.id);
  await until(() => filesUnder(server.data, 'blobs/raw').length === 0, { timeout: 5000 }); // of a copied answer, too
  await server.stop();
  assertClean(server.data);
});

test('--keep-audio 0 with kills in between: none stays', async () => {
  const data = dataFolder(), args = ['--keep-audio', '0', '--jobs', '1'];
  const ids = [];
  for (let round = 0; round < 5; round++) {
    const server = await serve({ data, args });
    for (let i = 0; i < 4; i++)
      ids.push((await upload(server, { name: `${round}-${i}.wav`, bytes: variant(human.bytes, `kill ${round} ${i}`) })).body.id);
    await sleep(30 * round);
    await server.kill();
  }
  const server = await serve({ data, args });
  for (const id of ids) assert.equal((await finished(server, id)).status, 'done');
  await until(() => filesUnder(data, 'blobs/raw').length === 0, { timeout: 10_000 })
    .catch(() => assert.fail(`kept: ${filesUnder(data, 'blobs/raw')}`));
  await server.stop();
  assertClean(data);
});

test('--keep-audio and --keep-results in fractions of a day', async () => {
  const data = dataFolder();
  let server = await serve({ data });
  const { body } = await upload(server, { name: 'old.wav', bytes: variant(human.bytes, 'old') }, { wait: 30 });
  const waiting = await upload(server, { name: 'other.wav', bytes: variant(long.bytes, 'other') }, { wait: 30 });
  await server.stop();
  // As if they had been done a while ago: 0.0001 days are 8.64 s, and the keeper looks each minute and at its start.
  await sleep(9000);
  server = await serve({ data, args: ['--keep-audio', '0.0001'] });
  await until(async () => !(await ask(server, `/api/v1/analyses/${body.id}`)).body.file.kept, { timeout: 5000 });
  assert.deepEqual(filesUnder(data, 'blobs/raw'), []);
  const fresh = await upload(server, { name: 'new.wav', bytes: variant(human.bytes, 'new') }, { wait: 30 });
  assert.equal(fresh.body.file.kept, true); // not before its time
  assert.equal((await ask(server, `/api/v1/analyses/${body.id}`)).body.verdict, human.verdict); // the result stays
  await server.stop();
  server = await serve({ data, args: ['--keep-results', '0.0001'] });
  await until(async () => (await ask(server, `/api/v1/analyses/${waiting.body.id}`)).status === 404, { timeout: 5000 });
  assert.equal((await ask(server, `/api/v1/analyses/${body.id}`)).status, 404);
  await server.stop();
  assert.deepEqual(rowsWith(data, ['old.wav']), []);
  assertClean(data);
});

test('a deleted analysis is nowhere any more', { skip: !has('sqlite3') && 'sqlite3 is not installed' }, async () => {
  const server = await serve({ args: ['--jobs', '1'] });
  const secret = 'Krankenakte-Zwirbelhuber-4711', key = 'idempotency-Zwirbelhuber';
  const bytes = variant(human.bytes, 'deleted'), hash = sha256(bytes);
  const keep = await upload(server, { name: 'stays.wav', bytes: variant(human.bytes, 'stays') }, { wait: 30 });
  const hook = await ask(server, '/api/v1/webhooks', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ url: 'http://127.0.0.1:9/hook' }) });
  assert.equal(hook.status, 201, JSON.stringify(hook.body));
  const done = await upload(server, { name: `${secret}.wav`, bytes }, { wait: 30, headers: { 'Idempotency-Key': key } });
  assertRight(done.body, human);
  // A short recording's picture is drawn and kept when somebody looks; the copy of an answer brings it along.
  for (const reply of [keep, done]) assert.equal((await ask(server, reply.body.links.picture)).status, 200);
  const again = await upload(server, { name: `${secret}-2.wav`, bytes }, { wait: 30 }); // a copy of the answer
  assert.equal(again.body.reused_from, done.body.id);
  // One whose analysis is under way, and one that waits behind it.
  const running = await upload(server, { name: `${secret}-3.wav`, bytes: variant(long.bytes, 'running') });
  const queued = await upload(server, { name: `${secret}-4.wav`, bytes: variant(human.bytes, 'queued') });
  await until(async () => (await ask(server, `/status?id=${running.body.id}`)).body.status !== 'queued', { pause: 5 });
  const ids = [done, again, running, queued].map((reply) => reply.body.id);
  for (const id of ids) assert.equal((await ask(server, `/api/v1/analyses/${id}`, { method: 'DELETE' })).status, 204);
  for (const id of ids) {
    assert.equal((await ask(server, `/api/v1/analyses/${id}`)).status, 404);
    assert.equal((await ask(server, `/status?id=${id}`)).status, 404);
    assert.equal((await ask(server, `/api/v1/analyses/${id}/picture`)).status, 404);
    assert.equal((await ask(server, `/api/v1/analyses/${id}/audio`)).status, 404);
  }
  assert.deepEqual((await ask(server, `/api/v1/analyses?q=Zwirbelhuber`)).body.items, []);
  await until(() => filesUnder(server.data, 'blobs/raw').length === 1, { timeout: 10_000 });
  await until(() => sql(server.data, 'SELECT count(*) AS n FROM queue_messages').every((row) => row.n === 0) ||
    sql(server.data, 'SELECT queue FROM queue_messages').every((row) => row.queue === 'webhook'), { timeout: 20_000, pause: 200 });
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  // What remains of an id is that it was deleted, for pages that were not there to see it.
  const rows = rowsWith(server.data, [secret, hash, key, secret.toLowerCase(), ...ids]);
  assert.deepEqual(rows.filter((row) => !/^events: .*"deleted":1/.test(row) && !/^queue_messages: .*"webhook"/.test(row)), []);
  assert.deepEqual(rows.filter((row) => /Zwirbelhuber/i.test(row)), []);
  for (const file of filesUnder(server.data)) {
    const content = readFileSync(join(server.data, file)).toString('latin1').toLowerCase();
    for (const text of [secret, key, hash]) assert.ok(!content.includes(text.toLowerCase()), `${file} still holds ${text}`);
  }
  assert.ok(filesUnder(server.data, 'blobs/processed').length === 1);
  assertClean(server.data);
  assert.equal((await (async () => { // and the one that was not deleted is whole
    const last = await serve({ data: server.data });
    const { body } = await ask(last, `/api/v1/analyses/${keep.body.id}`);
    await last.stop();
    return body;
  })()).verdict, human.verdict);
});
