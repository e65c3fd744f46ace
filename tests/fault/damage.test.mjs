// A damaged database, and a damaged recording (C9): clear errors that say what to do, never a crash, never a wrong result;
// and the way back from a backup.
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, cpSync, fstatSync, openSync, readFileSync, readSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, sonde } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, dice, everything, filesUnder, recordings, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 6, long: false });
const whole = join(dir, 'whole'), backup = join(dir, 'backup');
const right = new Map(); // id -> what is right for it

// One folder with 40 analyses, and a backup of it; each test damages a copy.
{
  const server = await serve({ data: whole });
  for (let i = 0; i < 40; i++) {
    const one = pool[i % pool.length];
    const { body } = await upload(server, { name: `${i}.wav`, bytes: one.wav ? variant(one.bytes, `damage ${i}`) : one.bytes }, { wait: 30 });
    right.set(body.id, one);
  }
  await server.stop();
  const r = sonde(['backup', backup, '--data', whole]);
  assert.equal(r.code, 0, r.err);
}

function copy() {
  const data = dataFolder();
  cpSync(whole, data, { recursive: true });
  return data;
}

function overwrite(path, at, bytes) {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

// Starts a server on what may be damaged. When it refuses, it does so in words; when it serves, each answer is right or
// says that the database is damaged. Returns which.
async function startDamaged(data) {
  let server;
  try {
    server = await serve({ data });
  } catch (error) {
    assert.match(error.message, /"code":3,"signal":null/, error.message); // an orderly refusal
    assert.match(error.message, /database|malformed|damaged|not a database/i);
    assert.match(error.message, /sonde doctor|sonde restore/);
    return 'refused';
  }
  let damaged = 0;
  for (const [id, one] of right) {
    const { status, body } = await ask(server, `/api/v1/analyses/${id}`);
    if (status === 200) assertRight(body, one);
    else {
      assert.ok([500, 404, 503].includes(status), `${status} ${JSON.stringify(body)}`);
      assert.ok(['database_damaged', 'no_such', 'database'].includes(body.code), JSON.stringify(body));
      damaged++;
    }
  }
  const list = await ask(server, '/api/v1/analyses?limit=200');
  assert.ok(list.status === 200 || list.body.code === 'database_damaged', JSON.stringify(list.body));
  const sent = await upload(server, { name: 'more.wav', bytes: variant(pool[0].bytes, 'more') }, { wait: 20 });
  if (sent.status === 200 && sent.body.status === 'done') assertRight(sent.body, pool[0]);
  const end = await server.stop();
  assert.deepEqual(end, { code: 0, signal: null });
  return damaged ? 'damaged' : 'served';
}

const doctor = (data) => sonde(['doctor', '--deep', '--data', data]);

test('bytes overwritten in the middle of the database', { timeout: 120_000 }, async (t) => {
  const seed = Number(process.env.SONDE_SEED) || 20261121, roll = dice(seed), seen = {};
  const size = readFileSync(join(whole, 'sonde.db')).length, pages = size / 4096;
  for (let round = 0; round < 8; round++) {
    const data = copy(), bytes = Buffer.alloc(4096 * (1 + (round & 1)));
    for (let i = 0; i < bytes.length; i++) bytes[i] = roll.below(256);
    const page = round === 0 ? 1 : 1 + roll.below(pages - 3);
    overwrite(join(data, 'sonde.db'), page * 4096, bytes);
    const looked = doctor(data);
    assert.equal(looked.code, 3, `page ${page}: ${looked.out}${looked.err}`);
    assert.match(looked.out, /PROBLEM +database/);
    assert.match(looked.out, /sonde restore/);
    const how = await startDamaged(data);
    seen[how] = (seen[how] ?? 0) + 1;
  }
  t.diagnostic(`seed ${seed}: ${JSON.stringify(seen)}`);
});

for (const [what, damage] of [
  ['a database that ends in the middle', (path) => truncateSync(path, Math.floor(readFileSync(path).length / 8192) * 4096)],
  ['a database that ends within a page', (path) => truncateSync(path, 4096 * 5 + 777)],
  ['a garbage header', (path) => overwrite(path, 0, Buffer.from('this is no database file, whatever its name says'))],
  ['a database of zeros', (path) => overwrite(path, 0, Buffer.alloc(readFileSync(path).length))],
]) {
  test(what, { timeout: 60_000 }, async (t) => {
    const data = copy();
    damage(join(data, 'sonde.db'));
    const looked = doctor(data);
    assert.equal(looked.code, 3, looked.out + looked.err);
    assert.match(looked.out, /PROBLEM +database/);
    t.diagnostic(await startDamaged(data));
  });
}

test('an empty database file where recordings are stored is not taken for a new folder', { timeout: 60_000 }, async () => {
  const data = copy();
  truncateSync(join(data, 'sonde.db'), 0);
  const before = filesUnder(data, 'blobs/raw').length;
  assert.ok(before > 0);
  await assert.rejects(serve({ data }), /sonde restore/);
  assert.equal(filesUnder(data, 'blobs/raw').length, before, 'the recordings are still there');
  rmSync(join(data, 'sonde.db'));
  await assert.rejects(serve({ data }), /sonde restore/);
  assert.equal(filesUnder(data, 'blobs/raw').length, before, 'the recordings are still there');
  const looked = doctor(data);
  assert.equal(looked.code, 3);
});

test('a backup is restored into a new folder, and everything is there', { timeout: 60_000 }, async () => {
  const data = join(dir, 'restored');
  const r = sonde(['restore', backup, '--data', data]);
  assert.equal(r.code, 0, r.err);
  const server = await serve({ data });
  const all = await everything(server);
  assert.equal(all.length, right.size);
  for (const a of all) assertRight(a, right.get(a.id));
  await server.stop();
  assertClean(data);
  const again = sonde(['restore', backup, '--data', data]); // never over data
  assert.equal(again.code, 3);
  assert.match(again.err, /has data already/);
});

test('a damaged backup is not restored', async () => {
  const bad = join(dir, 'bad'), data = join(dir, 'from-bad');
  cpSync(backup, bad, { recursive: true });
  const [raw] = filesUnder(bad, 'blobs/raw');
  flip(join(bad, raw));
  const r = sonde(['restore', bad, '--data', data]);
  assert.equal(r.code, 3);
  assert.match(r.err, /not what was uploaded/);
  copyFileSync(join(backup, raw), join(bad, raw));
  overwrite(join(bad, 'sonde.db'), 4096, Buffer.alloc(4096, 0xa5));
  const damaged = sonde(['restore', bad, '--data', join(dir, 'from-bad-2')]);
  assert.equal(damaged.code, 3);
  assert.match(damaged.err, /damaged/);
});

function flip(path) {
  const fd = openSync(path, 'r+'), byte = Buffer.alloc(1), at = fstatSync(fd).size >> 1;
  readSync(fd, byte, 0, 1, at);
  byte[0] ^= 0x40;
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
}

test('a byte of a stored recording changes: it is not judged again, and doctor names it', { timeout: 60_000 }, async () => {
  const data = copy();
  const server = await serve({ data, env: { SONDE_QUEUE_BACKOFF: '0.1' } });
  const id = [...right].find(([, one]) => one.wav)[0];
  const hash = (await ask(server, `/api/v1/analyses/${id}`)).body.file.sha256;
  const uploadId = filesUnder(data, 'blobs/raw').find((path) => {
    const r = sonde(['detect', '--json', join(data, path)]);
    return r.out.includes(hash);
  });
  flip(join(data, uploadId));
  const rerun = await ask(server, `/api/v1/analyses/${id}/rerun`, { method: 'POST' });
  assert.equal(rerun.status, 202);
  const failed = await until(async () => {
    const { body } = await ask(server, `/api/v1/analyses/${rerun.body.id}`);
    return (body.status === 'done' || body.status === 'failed') && body;
  }, { timeout: 20_000 });
  assert.equal(failed.status, 'failed');
  assert.match(failed.error.text, /not what was uploaded/);
  assert.equal((await ask(server, `/api/v1/analyses/${id}`)).body.status, 'done'); // what was judged before stays
  const looked = doctor(data);
  assert.equal(looked.code, 3);
  assert.match(looked.out, /1 (is|are) not as uploaded/);
  assert.ok(looked.out.includes(uploadId.split('/').at(-1)), looked.out);
  await server.stop();
  writeFileSync(join(data, uploadId), 'x'); // and a shorter one is seen without reading it
  assert.match(sonde(['doctor', '--data', data]).out, /1 (is|are) not as uploaded/);
});
