// One folder, one server; and how a server ends (C9): a second one on the same folder, a port that is taken, SIGTERM under
// load, a second SIGTERM.
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { descendants, scratch, sonde } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, serve, until, upload } from '../e2e/support/serve.mjs';
import { alive, assertClean, assertRight, everything, recordings, sleep, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 4 });
const long = pool.find((r) => r.name === 'long.wav');

test('a second server on the same folder is told who uses it', async () => {
  const server = await serve();
  const second = sonde(['serve', '--listen', '127.0.0.1:0', '--data', server.data]);
  assert.equal(second.code, 3);
  assert.match(second.err, new RegExp(`is used by process ${server.pid}`));
  assert.match(second.err, /stop it first|another --data/);
  assert.equal(descendants(server.pid).length > 0, true);
  assert.equal((await ask(server, '/readyz')).status, 200); // the first has not noticed
  await server.stop();
  const third = await serve({ data: server.data });
  await third.stop();
});

test('a port that is taken is named, and the folder is free again', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await until(() => taken.listening);
  const listen = `127.0.0.1:${taken.address().port}`, data = dataFolder();
  const refused = sonde(['serve', '--listen', listen, '--data', data]);
  taken.close();
  assert.equal(refused.code, 3);
  assert.ok(refused.err.includes(listen), refused.err);
  assert.match(refused.err, /in use/i);
  const server = await serve({ data });
  await server.stop();
});

test('SIGTERM under load: every request is answered, jobs are handed back, and they go on after the restart', async (t) => {
  const server = await serve({ args: ['--jobs', '1'] });
  const sent = [];
  let over = false;
  const clients = Array.from({ length: 4 }, async (_, c) => {
    for (let i = 0; !over; i++) {
      const right = i % 3 ? pool[(i + c) % pool.length] : long;
      const name = `c${c}-${i}.wav`, one = { name, right };
      sent.push(one);
      try {
        const reply = await upload(server, { name, bytes: right.wav ? variant(right.bytes, name) : right.bytes },
          { wait: i % 2 ? 0 : 30 });
        Object.assign(one, { status: reply.status, code: reply.body.code, id: reply.body.id });
        if (reply.status === 503) return;
      } catch (error) {
        one.error = error.cause?.code ?? String(error);
        return;
      }
    }
  });
  await sleep(1500);
  const family = descendants(server.pid), from = performance.now();
  const end = await server.stop();
  const took = performance.now() - from;
  over = true;
  await Promise.all(clients);
  assert.deepEqual(end, { code: 0, signal: null });
  assert.ok(took < 12_000, `it took ${took} ms to end`);
  assert.deepEqual(family.filter(alive), []);
  for (const one of sent) // an answer, or nobody listened any more
    assert.ok([200, 202].includes(one.status) || (one.status === 503 && one.code === 'shutting_down') ||
      ['ECONNREFUSED', 'UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(one.error), JSON.stringify({ ...one, right: one.right.name }));
  const accepted = sent.filter((s) => s.status === 200 || s.status === 202);
  assert.ok(accepted.length > 4);
  const cut = sent.filter((s) => s.error && s.error !== 'ECONNREFUSED');
  assert.ok(!server.log().some((l) => /settled|gave up/.test(l.message)), 'no job failed for the ending');

  const again = await serve({ data: server.data });
  let all;
  await until(async () => {
    all = await everything(again);
    return all.every((a) => a.status === 'done' || a.status === 'failed');
  }, { timeout: 40_000, pause: 100 });
  for (const one of accepted) assertRight(all.find((a) => a.id === one.id), one.right, one.name);
  // A connection that the ending closed had nothing under way: the server had not begun with what it was sending.
  for (const one of cut) assert.ok(!all.some((a) => a.file.name === one.name), `${one.name} was taken in and not answered`);
  assert.equal(all.length, accepted.length);
  assert.deepEqual(await again.stop(), { code: 0, signal: null });
  assertClean(server.data);
  t.diagnostic(`ended ${Math.round(took)} ms after SIGTERM, ${accepted.length} accepted`);
});

test('a second SIGTERM ends at once, and loses nothing', async () => {
  const server = await serve({ args: ['--jobs', '1'] });
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push((await upload(server, { name: `${i}.wav`, bytes: variant(long.bytes, `second ${i}`) })).body.id);
  // A request that is on its way keeps the server from ending by itself.
  const slow = connect(server.port, '127.0.0.1');
  slow.on('error', () => {}); // the end of the server
  slow.write('POST /upload?name=slow.wav HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nabc');
  await sleep(400);
  server.child.kill('SIGTERM');
  await sleep(300);
  const from = performance.now();
  server.child.kill('SIGTERM');
  const end = await server.exited;
  const took = performance.now() - from;
  slow.destroy();
  assert.deepEqual(end, { code: 130, signal: null });
  assert.ok(took < 500, `${took} ms`);
  const again = await serve({ data: server.data });
  for (const id of ids)
    assertRight(await until(async () => {
      const { body } = await ask(again, `/api/v1/analyses/${id}`);
      return (body.status === 'done' || body.status === 'failed') && body;
    }), long);
  await again.stop();
  assertClean(server.data);
});
