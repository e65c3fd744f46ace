// Prefer: wait, and Idempotency-Key (A2, A3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, form, long, nobody, slow, sleep, speech, variant } from './support/api.mjs';

const dir = scratch();
const server = await serve();
const api = await client(server);
const wav = speech(dir), hour = long(dir, 60 * slow);
let count = 0;
const fresh = () => variant(wav, `waiting ${process.pid} ${count++}`);
const more = () => Buffer.concat([hour, Buffer.from(String(count++))]); // other bytes behind the last frame
const waiting = (path, bytes, wait) => api.form(path, [{ name: 'a.wav', bytes }], { Prefer: wait });

test('an upload that waits is answered with the whole analysis', async () => {
  const reply = await waiting('/upload', fresh(), 'wait=30');
  assert.equal(reply.status, 200);
  assert.equal(reply.headers['preference-applied'], 'wait');
  assert.equal(reply.body.status, 'done');
  assert.ok(reply.body.result);
  const failed = await waiting('/upload', 'no recording', 'wait=30');
  assert.deepEqual([failed.status, failed.body.status, failed.body.error.code], [200, 'failed', 'not_audio']);
  const raw = await api.raw('/upload?name=a.wav', fresh(), { Prefer: 'respond-async, wait = 30' });
  assert.deepEqual([raw.status, raw.body.status], [200, 'done']);
});

test('waiting for an analysis that is running, and for one that is final', async () => {
  const id = await api.upload(fresh());
  const done = await api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=30' });
  assert.equal(done.body.status, 'done');
  const again = await api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=30' });
  assert.equal(again.body.status, 'done');
  assert.equal((await api.get(`/api/v1/analyses/${nobody}`, { Prefer: 'wait=30' })).body.code, 'no_such');
});

test('many wait for one', async () => {
  const id = await api.upload(fresh());
  const all = await Promise.all(Array.from({ length: 40 }, () => api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=30' })));
  for (const { status, body } of all) assert.deepEqual([status, body.status], [200, 'done']);
});

test('time is up: the answer is what it would have been without', async () => {
  const began = Date.now();
  const reply = await waiting('/upload', more(), 'wait=1');
  const took = Date.now() - began;
  assert.equal(reply.status, 202);
  assert.equal(reply.headers['preference-applied'], undefined);
  assert.equal(reply.headers.location, reply.body.links.self);
  assert.ok(took >= 1000 && took < 1000 + 3000 * slow, `${took} ms`);
  const still = await api.get(reply.body.links.self, { Prefer: 'wait=1' });
  assert.equal(still.status, 200);
  assert.match(still.body.status, /queued|running/);
  assert.equal(still.body.result, null);
  assert.equal(still.headers['preference-applied'], undefined);
  await api.remove(reply.body.links.self);
});

test('deleted while somebody waits: 404, at once', async () => {
  const id = await api.upload(more());
  await until(async () => (await api.one(id)).status === 'running');
  const began = Date.now();
  const pending = api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=50' });
  await sleep(300);
  assert.equal((await api.remove(`/api/v1/analyses/${id}`)).status, 204);
  assert.equal((await pending).body.code, 'no_such');
  assert.ok(Date.now() - began < 5000 * slow);
});

test('a Prefer that cannot be read is no Prefer', async () => {
  for (const prefer of ['wait', 'wait=', 'wait=ten', 'wait=-5', 'wait=1.5', 'waiting=5', 'wait=5x', '=', ',;,', 'return=minimal']) {
    const began = Date.now();
    assert.equal((await waiting('/upload', fresh(), prefer)).status, 202, prefer);
    assert.ok(Date.now() - began < 900 * slow, prefer);
  }
  assert.equal((await waiting('/upload', fresh(), 'wait=0')).status, 202);
  const huge = await waiting('/upload', fresh(), 'wait=99999999999999999999'); // cut to the most there is
  assert.equal(huge.body.status, 'done');
});

// --- Idempotency-Key

const keyed = (key, files, path = '/upload') => api.form(path, files, { 'Idempotency-Key': key });

test('the same key with the same bytes is answered as the first time', async () => {
  const bytes = fresh();
  const first = await keyed('key one', [{ name: 'a.wav', bytes }]);
  const second = await keyed('key one', [{ name: 'a.wav', bytes }]);
  assert.equal(first.headers['idempotent-replay'], undefined);
  assert.equal(second.headers['idempotent-replay'], 'true');
  assert.equal(second.status, 202);
  assert.equal(second.body.id, first.body.id);
  const waited = await api.form('/upload', [{ name: 'a.wav', bytes }], { 'Idempotency-Key': 'key one', Prefer: 'wait=30' });
  assert.deepEqual([waited.status, waited.body.id, waited.body.status], [200, first.body.id, 'done']);
  assert.equal((await api.list(`q=${waited.body.file.sha256}`)).length, 1);
  const other = await keyed('key two', [{ name: 'a.wav', bytes }]);
  assert.notEqual(other.body.id, first.body.id);
});

test('the same key with other bytes is refused, and nothing comes of it', async () => {
  await keyed('key three', [{ name: 'a.wav', bytes: fresh() }]);
  const before = (await api.list()).length;
  const refused = await keyed('key three', [{ name: 'a.wav', bytes: fresh() }]);
  assert.deepEqual([refused.status, refused.body.code], [422, 'idempotency_mismatch']);
  assert.equal((await keyed('key three', [{ name: 'a.wav', bytes: fresh() }], '/api/v1/uploads')).body.code, 'idempotency_mismatch');
  assert.equal((await api.list()).length, before);
});

test('a batch is replayed as a whole, in its order', async () => {
  const files = ['a', 'b', 'c'].map((name) => ({ name, bytes: fresh() }));
  const first = await keyed('batch', files, '/api/v1/uploads'), second = await keyed('batch', files, '/api/v1/uploads');
  assert.deepEqual(second.body.analyses.map((a) => a.id), first.body.analyses.map((a) => a.id));
  assert.equal(second.headers['idempotent-replay'], 'true');
  assert.equal((await keyed('batch', [...files].reverse(), '/api/v1/uploads')).body.code, 'idempotency_mismatch');
});

test('the same key many times at once is one analysis', async () => {
  const made = form([{ name: 'a.wav', bytes: fresh() }]);
  const all = await Promise.all(Array.from({ length: 20 }, () => api.post('/upload', { ...made.headers, 'Idempotency-Key': 'parallel' }, made.body)));
  assert.deepEqual([...new Set(all.map((r) => r.status))], [202]);
  assert.equal(new Set(all.map((r) => r.body.id)).size, 1);
  assert.equal(all.filter((r) => !r.headers['idempotent-replay']).length, 1);
});

test('keys have 1 to 200 characters', async () => {
  const files = [{ name: 'a.wav', bytes: fresh() }];
  assert.equal((await keyed('', files)).body.code, 'bad_request');
  assert.equal((await keyed('k'.repeat(201), files)).body.code, 'bad_request');
  assert.equal((await keyed('k'.repeat(200), files)).status, 202);
  assert.equal((await keyed("'; DROP TABLE idempotency; --", files)).status, 202);
});

test('a key whose analysis was deleted is forgotten with it', async () => {
  const bytes = fresh(), first = await keyed('deleted', [{ name: 'a.wav', bytes }]);
  await api.final(first.body.id);
  await api.remove(first.body.links.self);
  const again = await keyed('deleted', [{ name: 'a.wav', bytes }]);
  assert.deepEqual([again.status, again.headers['idempotent-replay']], [202, undefined]);
  assert.notEqual(again.body.id, first.body.id);
  assert.equal((await api.final(again.body.id)).status, 'done');
});

test('the queue is full: 503 with one Retry-After, and what waits goes on', async () => {
  const small = await serve({ args: ['--queue-max', '1'] });
  const there = await client(small);
  const first = await there.upload(more());
  await sleep(1500); // the count that uploads are refused by is a second old at most
  for (const path of ['/upload', '/api/v1/uploads']) {
    const refused = await there.form(path, [{ name: 'b.wav', bytes: fresh() }]);
    assert.equal(refused.body.code, 'queue_full');
    assert.equal(refused.headers['retry-after'], '10');
  }
  await there.remove(`/api/v1/analyses/${first}`);
  await until(async () => (await there.form('/upload', [{ name: 'b.wav', bytes: fresh() }])).status === 202, { timeout: 10_000 });
  const two = await there.form('/api/v1/uploads', [{ name: 'b.wav', bytes: fresh() }, { name: 'c.wav', bytes: fresh() }]);
  assert.equal(two.body.code, 'queue_full'); // more than there is room for, whatever waits
  assert.deepEqual(await small.stop(), { code: 0, signal: null });
});

test('the disk is full: 503 no_space', async () => {
  const small = await serve({ args: ['--min-free', '900T'] });
  const there = await client(small);
  await sleep(1200);
  for (const path of ['/upload', '/api/v1/uploads']) {
    const refused = await there.form(path, [{ name: 'b.wav', bytes: fresh() }]);
    assert.equal(refused.body.code, 'no_space');
  }
  assert.deepEqual(await small.stop(), { code: 0, signal: null });
});

test('who waits at the end of the server is answered, and the job is kept', async () => {
  const id = await api.upload(more());
  await until(async () => (await api.one(id)).status === 'running');
  const pending = api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=50' });
  await sleep(300);
  const end = await server.stop();
  const reply = await pending;
  assert.ok(reply.status === 200 || reply.body.code === 'shutting_down', reply.text);
  assert.deepEqual(end, { code: 0, signal: null });
});
