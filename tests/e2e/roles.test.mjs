// sonde as several processes on PostgreSQL, S3, RabbitMQ and Redis (A2, A3, A5, A7, B4, B5, B10, C9): what goes in through one
// is analysed by another and seen through a third, and whatever process or server dies, nothing that was accepted is lost.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect } from '../api/support/ws.mjs';
import { long } from '../api/support/api.mjs';
import { freePort, ready, sleep } from '../servers/server.mjs';
import { variant } from '../fault/support/support.mjs';
import { cluster, lacking } from './support/cluster.mjs';
import { ask, finished, until, upload } from './support/serve.mjs';
import { jsonLines, scratch, sonde, syntheticSpeech } from './support/sonde.mjs';

const skip = lacking();
const slow = /san/.test(process.env.SONDE_BUILD ?? '') ? 4 : 1;
const dir = scratch();
const wav = readFileSync(syntheticSpeech(join(dir, 'it.wav')));
const right = jsonLines(sonde(['detect', '--json', join(dir, 'it.wav')]).out)[0];
let told = 0;
const fresh = () => ({ name: `${++told}.wav`, bytes: variant(wav, `roles ${told}`) }); // other bytes, the same answer
const lasting = skip ? null : { name: 'lasting.mp3', bytes: long(dir, 30 / slow) };

const c = skip ? null : await cluster({
  roles: [['upload'], ['upload'], ['inference', 'keeper'], ['inference', 'keeper']],
  settings: { server: { drain: '2', jobs: '1' } },
  options: { redis: { password: 'of-redis' } },
  env: { SONDE_QUEUE_BACKOFF: '0.2' },
});
const [a, b, w1, w2] = c?.processes ?? [];

const ticketed = async (from, at) => {
  const { status, body } = await ask(from, '/api/v1/events/tickets', { method: 'POST' });
  assert.equal(status, 201);
  const ws = await connect({ port: at.port });
  ws.send({ type: 'hello', ticket: body.ticket });
  await ws.next((m) => m.type === 'welcome');
  return ws;
};
const done = async (at, id, options) => {
  const status = await finished(at, id, { timeout: 60_000 * slow, ...options });
  assert.equal(status.status, 'done', JSON.stringify(status));
  return status;
};
const send = async (at, file, options) => {
  const reply = await upload(at, file, options);
  assert.equal(reply.status, 202, reply.text);
  return reply.body.id;
};
const count = async (sql) => Number((await c.psql(sql))[0][0]);
// The worker that is at an analysis: it has the only message.
const atWork = () => until(async () => {
  for (const w of [w1, w2]) {
    if (!w.server.child.pid || w.server.child.exitCode !== null || w.server.child.signalCode) continue;
    const text = (await ask(w, '/metrics')).text;
    if (/^sonde_queue_messages\{queue="ml_inference",state="leased"\} [1-9]/m.test(text)) return w;
  }
  return null;
}, { timeout: 30_000 * slow });

test('through one, analysed by another, seen at once through a third', { skip }, async () => {
  const ws = await ticketed(a, b); // a ticket of one opens a connection of the other
  const began = performance.now();
  const id = await send(a, fresh());
  const seen = await ws.next((m) => m.type === 'analysis' && m.analysis.id === id && m.analysis.status === 'done', 20_000 * slow);
  assert.equal(seen.analysis.verdict, right.verdict);
  assert.ok(performance.now() - began < 5000 * slow, `${performance.now() - began} ms`);
  for (const at of [a, b]) {
    const { body } = await ask(at, `/status?id=${id}`);
    assert.equal(body.probability, Number(right.p_synthetic.toPrecision(6)));
  }
  ws.drop();
});

test('waiting for an answer works whoever works it out', { skip }, async () => {
  const reply = await upload(b, fresh(), { wait: 30 });
  assert.equal(reply.status, 200, reply.text);
  assert.equal(reply.body.verdict, right.verdict);
  const picture = await ask(a, reply.body.links.picture); // drawn by a process that judges nothing
  assert.equal(picture.status, 200, picture.text);
});

test('each process says what it is, and answers for its roles only', { skip }, async () => {
  const checks = async (p) => (await ask(p, '/readyz')).body.checks.map((one) => one.name);
  assert.deepEqual(await checks(a), ['db', 'blob', 'queue', 'cache']);
  assert.deepEqual(await checks(w1), ['model', 'db', 'blob', 'queue', 'cache']);
  assert.equal((await ask(w1, '/healthz')).text, 'ok\n');
  assert.match((await ask(w1, '/metrics')).text, /^sonde_build_info/m);
  for (const path of ['/', '/upload', '/api/v1/info', '/status?id=x', '/openapi.json', '/none']) {
    const reply = await ask(w1, path);
    assert.equal(reply.status, 404, path);
    assert.match(reply.body.detail, /role upload/);
  }
  assert.equal((await upload(w1, fresh())).status, 404);
  const info = (await ask(a, '/api/v1/info')).body;
  assert.match(info.model.sha256, /^[0-9a-f]{64}$/); // the model is told where nothing is judged, too
});

test('progress of one process is seen at another', { skip }, async () => {
  const ws = await ticketed(b, b);
  const id = await send(a, lasting);
  const seen = await ws.next((m) => m.type === 'progress' && m.analysis_id === id && m.progress > 0, 30_000 * slow);
  assert.ok(seen.progress < 1);
  const { body } = await ask(b, `/status?id=${id}`);
  if (body.status === 'running') assert.ok(body.progress > 0 && body.progress < 1, JSON.stringify(body));
  assert.equal((await ask(a, `/api/v1/analyses/${id}`, { method: 'DELETE' })).status, 204);
  await until(async () => Object.values(await c.queues()).every((q) => q.unsettled === 0), { timeout: 20_000 * slow }); // it stops listening
  ws.drop();
});

test('a worker that is killed in the middle: the other goes on within seconds', { skip }, async (t) => {
  const id = await send(a, { ...lasting, name: 'killed.mp3' }, { path: '/upload?fresh=1' });
  const worker = await atWork();
  await until(async () => (await ask(b, `/status?id=${id}`)).body.progress > 0.05, { timeout: 30_000 * slow });
  await worker.kill();
  const killed = performance.now();
  const other = worker === w1 ? w2 : w1;
  await until(async () => (await c.psql(`SELECT runs FROM analyses WHERE id = '${id}'`))[0][0] === '2', { timeout: 10_000 * slow });
  t.diagnostic(`taken over after ${Math.round(performance.now() - killed)} ms`);
  await done(b, id, { timeout: 120_000 * slow });
  assert.equal(await count(`SELECT count(*) FROM results WHERE analysis_id = '${id}'`), 1);
  await until(async () => (await c.psql('SELECT owner FROM leases')).length === 1 &&
    other.log().some((line) => line.message === 'this process is the keeper'), { timeout: 30_000 * slow });
  await worker.start();
});

test('a worker that slept through it changes nothing when it wakes', { skip, timeout: 240_000 * slow }, async (t) => {
  const id = await send(b, { ...lasting, name: 'slept.mp3' }, { path: '/upload?fresh=1' });
  const worker = await atWork();
  await until(async () => (await ask(b, `/status?id=${id}`)).body.progress > 0.05, { timeout: 30_000 * slow });
  worker.pause();
  const paused = performance.now();
  try {
    await done(a, id, { timeout: 180_000 * slow });
    t.diagnostic(`done elsewhere after ${Math.round((performance.now() - paused) / 1000)} s`);
  } finally {
    worker.resume();
  }
  const [before] = await c.psql(`SELECT finished_ms, runs, status FROM analyses WHERE id = '${id}'`);
  await ready('the worker that slept', async () => (await fetch(`${worker.url}/readyz`)).ok, { timeout: 60_000 });
  await sleep(3000);
  assert.deepEqual((await c.psql(`SELECT finished_ms, runs, status FROM analyses WHERE id = '${id}'`))[0], before);
  assert.equal(await count(`SELECT count(*) FROM results WHERE analysis_id = '${id}'`), 1);
  await done(b, await send(a, fresh()));
});

test('what one deletes, the other does not answer from the cache', { skip }, async () => {
  const id = await send(a, fresh());
  await done(a, id);
  for (const at of [a, b]) {
    assert.equal((await ask(at, `/status?id=${id}`)).status, 200);
    assert.equal((await ask(at, `/api/v1/analyses/${id}/result`)).status, 200);
  }
  assert.equal((await c.keys(`*${id}`)).length, 2, 'both answers are in the cache');
  // Read on while it is deleted.
  let reading = true;
  const readers = [a, b, a, b].map(async (at) => { while (reading) await ask(at, `/status?id=${id}`); });
  await sleep(50);
  assert.equal((await ask(a, `/api/v1/analyses/${id}`, { method: 'DELETE' })).status, 204);
  for (const at of [a, b]) {
    assert.equal((await ask(at, `/status?id=${id}`)).status, 404);
    assert.equal((await ask(at, `/api/v1/analyses/${id}/result`)).status, 404);
  }
  reading = false;
  await Promise.all(readers);
  assert.equal((await ask(b, `/status?id=${id}`)).status, 404);
  assert.deepEqual(await c.keys(`*${id}`), []);
  assert.equal((await c.objects('sonde-raw')).some((o) => o.key.includes(id)), false);
});

test('a job of a newer program is given back; one that a dead process left is published by the keeper', { skip }, async () => {
  const id = await send(a, fresh());
  await done(a, id);
  const insert = (v, message) => c.psql(`INSERT INTO outbox (id, queue, body, created_ms, origin) VALUES ('${message}', 'medical_data',
    '{"v":${v},"analysis":"${id}","later":true}', (extract(epoch FROM now()) * 1000)::bigint - 20000, 'dead')`);
  await insert(1, randomUUID());
  await until(async () => (await count('SELECT count(*) FROM outbox')) === 0);
  await insert(2, randomUUID());
  await until(() => [w1, w2].some((w) => w.log().some((line) => /newer sonde/.test(line.message))));
  await sleep(1500);
  // It is taken and given back all the time: between two looks of the broker it may be in no count.
  await until(async () => {
    const { ready, unsettled } = (await c.queues()).medical_data;
    return ready + unsettled === 1;
  }, { timeout: 10_000 });
  assert.equal(await count(`SELECT count(*) FROM analyses WHERE id = '${id}' AND status = 'done'`), 1);
  const lines = [w1, w2].flatMap((w) => w.log()).filter((line) => /newer sonde/.test(line.message));
  assert.ok(lines.length <= 2, `${lines.length} lines of it`);
  assert.equal(await done(b, await send(a, fresh())).then((s) => s.verdict), right.verdict); // others go on
});

test('without the cache: uploads go on, pages poll, answers come from the database', { skip }, async () => {
  const known = await send(a, fresh());
  await done(a, known);
  await ask(b, `/status?id=${known}`);
  await c.servers.redis.kill();
  try {
    const id = await send(a, fresh());
    assert.equal((await done(b, id)).verdict, right.verdict);
    assert.equal((await ask(b, `/status?id=${known}`)).status, 200);
    const ticket = await ask(b, '/api/v1/events/tickets', { method: 'POST' });
    assert.equal(ticket.status, 503);
    const ok = await until(async () => {
      const reply = await ask(a, '/readyz');
      return reply.body.checks.find((one) => one.name === 'cache').ok === false && reply;
    });
    assert.equal(ok.status, 200, 'still ready');
    assert.equal((await ask(a, `/api/v1/analyses/${known}`, { method: 'DELETE' })).status, 204);
    assert.equal((await ask(b, `/status?id=${known}`)).status, 404);
  } finally {
    await c.servers.redis.restart();
  }
  await until(async () => (await ask(b, '/api/v1/events/tickets', { method: 'POST' })).status === 201, { timeout: 20_000 });
  const ws = await until(() => ticketed(a, b).catch(() => null), { timeout: 20_000 });
  const id = await send(a, fresh());
  await ws.next((m) => m.type === 'analysis' && m.analysis.id === id && m.analysis.status === 'done', 20_000 * slow);
  ws.drop();
});

const blamed = () => [w1, w2].flatMap((p) => p.log())
  .filter((line) => ['job gave up', 'job failed, trying again'].includes(line.message)).map((line) => line['error.message'] ?? line.message);

test('without storage: 503, and what waits counts no try', { skip, timeout: 180_000 * slow }, async () => {
  const before = blamed();
  const id = await send(a, { ...lasting, name: 'storage.mp3' }, { path: '/upload?fresh=1' });
  await atWork();
  const next = await Promise.all([1, 2, 3].map(() => send(a, fresh())));
  c.servers.swift.pause();
  let refused;
  try {
    refused = upload(a, fresh()).catch((error) => ({ status: 0, error }));
    await sleep(5000);
  } finally {
    c.servers.swift.resume();
  }
  const reply = await refused;
  assert.ok(reply.status === 503 || reply.status === 202, `${reply.status} ${reply.text ?? reply.error}`);
  if (reply.status === 503) assert.ok(Number(reply.headers.get('retry-after')) > 0);
  for (const one of [id, ...next]) await done(b, one, { timeout: 120_000 * slow });
  assert.deepEqual(blamed(), before);
});

test('without the database: 503 with Retry-After, nothing half-stored, and all goes on after it', { skip, timeout: 180_000 * slow }, async () => {
  const before = blamed();
  const waiting = await Promise.all([1, 2, 3, 4].map(() => send(a, fresh())));
  const objects = async () => (await c.objects('sonde-raw')).length;
  await Promise.all(waiting.map((id) => done(b, id)));
  const stored = await objects(), rows = await count('SELECT count(*) FROM uploads');
  const running = await send(a, { ...lasting, name: 'database.mp3' }, { path: '/upload?fresh=1' });
  await atWork();
  await c.servers.postgres.kill();
  const reply = await upload(a, fresh());
  assert.equal(reply.status, 503, reply.text);
  assert.ok(Number(reply.headers.get('retry-after')) > 0);
  await until(async () => (await ask(a, '/readyz')).status === 503, { timeout: 20_000 });
  assert.equal((await ask(a, '/healthz')).status, 200);
  await sleep(3000);
  await c.servers.postgres.restart();
  await until(async () => (await ask(a, '/readyz')).status === 200, { timeout: 60_000 });
  await done(b, running, { timeout: 120_000 * slow });
  await done(b, await send(a, fresh()), { timeout: 60_000 * slow });
  assert.equal(await count('SELECT count(*) FROM uploads'), rows + 2);
  assert.equal(await objects(), stored + 2, 'the refused upload left no file');
  assert.deepEqual(blamed(), before);
  const log = [a, b, w1, w2].flatMap((p) => p.log()).filter((line) => /error|warn/.test(line['log.level']));
  assert.ok(log.length < 400, `${log.length} lines of warnings: ${JSON.stringify(log.slice(-5))}`);
});

test('both upload processes restart under load, one after the other, and no request fails', { skip, timeout: 240_000 * slow }, async (t) => {
  const port = await freePort();
  const conf = join(dir, 'haproxy.cfg');
  writeFileSync(conf, `global\n  maxconn 2000\ndefaults\n  mode http\n  option redispatch 1\n  retry-on conn-failure\n  retries 3
  timeout connect 2s\n  timeout check 5s\n  timeout client 60s\n  timeout server 90s\n  timeout queue 10s
frontend f\n  bind 127.0.0.1:${port}\n  default_backend s
backend s\n  balance roundrobin\n  option httpchk\n  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost\n  http-check expect status 200
  default-server inter 300ms fall 1 rise 1\n  server a 127.0.0.1:${a.port} check\n  server b 127.0.0.1:${b.port} check\n`);
  const proxy = spawn('haproxy', ['-db', '-f', conf], { stdio: 'ignore' });
  after(() => proxy.kill('SIGKILL'));
  const front = { url: `http://127.0.0.1:${port}`, port };
  await ready('haproxy', async () => (await ask(front, '/healthz')).status === 200);
  let on = true, sent = 0;
  const wrong = [], ids = [];
  const uploads = async () => {
    while (on) {
      try {
        const reply = await upload(front, fresh());
        sent++;
        if (reply.status === 202) ids.push(reply.body.id);
        else wrong.push(`${reply.status} ${reply.text}`);
      } catch (error) { wrong.push(String(error.cause ?? error)); }
      await sleep(60);
    }
  };
  const asking = async () => {
    while (on) {
      try {
        const reply = await ask(front, '/api/v1/analyses?limit=5');
        sent++;
        if (reply.status !== 200) wrong.push(`${reply.status} ${reply.text}`);
      } catch (error) { wrong.push(String(error.cause ?? error)); }
      await sleep(5);
    }
  };
  const load = [uploads(), uploads(), asking(), asking()];
  await sleep(1000);
  for (const p of [a, b]) {
    await p.restart();
    await sleep(1500);
  }
  on = false;
  await Promise.all(load);
  proxy.kill('SIGKILL');
  t.diagnostic(`${sent} requests, ${ids.length} uploads`);
  assert.deepEqual(wrong, []);
  assert.ok(ids.length > 20);
  for (const id of ids) await done(a, id, { timeout: 120_000 * slow });
});

test('it all ends in order, and nothing is left over', { skip, timeout: 120_000 * slow }, async () => {
  assert.equal(await count("SELECT count(*) FROM analyses WHERE status NOT IN ('done')"), 0);
  assert.equal(await count("SELECT value FROM counters WHERE name = 'waiting'"), 0);
  assert.equal(await count('SELECT count(*) FROM outbox'), 0);
  assert.equal(await count('SELECT count(*) FROM results'), await count('SELECT count(*) FROM analyses'));
  const ends = await Promise.all([a, b, w1, w2].map((p) => p.stop()));
  for (const end of ends) assert.deepEqual(end, { code: 0, signal: null });
  assert.equal(await count('SELECT count(*) FROM leases'), 0, 'the lease was given up');
});
