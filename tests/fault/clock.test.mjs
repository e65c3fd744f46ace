// Clocks that jump (C9): an hour and two days, forwards and back, while jobs wait and between two runs. Nothing is lost,
// nothing expires by the jump, nothing runs hot, ids stay unique.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, everything, recordings, sleep, sql, variant } from './support/support.mjs';

const dir = scratch();
const library = join(dir, 'clock.so');
execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, join(dirname(fileURLToPath(import.meta.url)), 'support/clock.c')]);
const pool = recordings(dir, { human: 4 });
const human = pool[0], long = pool.find((r) => r.name === 'long.wav');
const HOUR = 3600, DAY = 86400;

// A clock on the wall that `set` moves, in seconds from now; the steady clock goes on as it does on a real machine.
function clock(name) {
  const file = join(dir, name), bytes = Buffer.alloc(8);
  writeFileSync(file, bytes);
  const set = (seconds) => {
    const fd = openSync(file, 'r+'); // in place: it is mapped
    bytes.writeDoubleLE(seconds);
    writeSync(fd, bytes);
    closeSync(fd);
  };
  return { set, env: { LD_PRELOAD: library, CLOCK_OFFSET: file } };
}

// Seconds of processor time that the process has used.
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function hour(server) { return Date.parse((await ask(server, '/healthz')).headers.get('date')); }

async function load(server, tag, n = 3) {
  const sent = [];
  for (let i = 0; i < n; i++) {
    const right = i % 2 ? human : long;
    const { status, body } = await upload(server, { name: `${tag}-${i}.wav`, bytes: variant(right.bytes, `${tag} ${i}`) });
    assert.equal(status, 202, JSON.stringify(body));
    sent.push([body.id, right]);
  }
  return sent;
}

async function allRight(server, sent) {
  for (const [id, right] of sent) {
    await finished(server, id, { timeout: 30_000 }).catch(async (error) => assert.fail(`${error.message}: ${JSON.stringify((await ask(server, `/api/v1/analyses/${id}`)).body)} ${JSON.stringify(sql(server.data, 'SELECT * FROM queue_messages'))}`));
    assertRight((await ask(server, `/api/v1/analyses/${id}`)).body, right);
  }
}

for (const [what, jump] of [['an hour forwards', HOUR], ['an hour back', -HOUR], ['two days forwards', 2 * DAY], ['two days back', -2 * DAY]]) {
  test(`the clock jumps ${what} while jobs wait`, { timeout: 90_000 }, async (t) => {
    const { set, env } = clock(`during${jump}`);
    const server = await serve({ env, args: ['--jobs', '1'] });
    const before = await load(server, 'before', 5);
    set(jump);
    const seen = await hour(server);
    assert.ok(Math.abs(seen - Date.now() - jump * 1000) < 10_000, 'the server sees the jump');
    const after = await load(server, 'after');
    await allRight(server, [...before, ...after]);
    set(0); // and back again
    const last = await load(server, 'last');
    await allRight(server, last);
    await sleep(500);
    const used = cpu(server.pid);
    await sleep(3000);
    const idle = (cpu(server.pid) - used) / 3;
    assert.ok(idle < 0.15, `idle, it uses ${idle} of a processor`);
    const all = await everything(server);
    assert.equal(all.length, before.length + after.length + last.length);
    assert.equal(new Set(all.map((a) => a.id)).size, all.length);
    assert.ok(!all.some((a) => a.error));
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assertClean(server.data);
    t.diagnostic(`idle: ${(idle * 100).toFixed(1)} % of a processor`);
  });

  test(`the clock jumps ${what} between two runs`, { timeout: 90_000 }, async () => {
    const { set, env } = clock(`between${jump}`), data = dataFolder();
    let server = await serve({ data, env, args: ['--jobs', '1'] });
    const sent = [];
    for (let i = 0; i < 4; i++) sent.push(...await load(server, `first-${i}`, 2));
    await server.kill(); // leased, waiting, and in the outbox
    const waited = sql(data, "SELECT count(*) AS n FROM analyses WHERE status IN ('queued', 'running')")[0].n;
    assert.ok(waited > 2, `${waited} were waiting`);
    set(jump);
    server = await serve({ data, env, args: ['--jobs', '1'] });
    sent.push(...await load(server, 'second'));
    await allRight(server, sent);
    await server.stop();
    set(0);
    server = await serve({ data, env });
    sent.push(...await load(server, 'third'));
    await allRight(server, sent);
    const all = await everything(server);
    assert.equal(all.length, sent.length);
    assert.equal(new Set(all.map((a) => a.id)).size, all.length);
    await server.stop();
    assertClean(data);
  });
}

test('a job that waits for its next try is not held up by a clock that is set back', { timeout: 60_000 }, async () => {
  const { set, env } = clock('delayed'), data = dataFolder();
  set(2 * DAY);
  // A decoder that is not there: the job fails and waits.
  let server = await serve({ data, env: { ...env, SONDE_DECODER: '/bin/false', SONDE_QUEUE_BACKOFF: '5' } });
  const { body } = await upload(server, { name: 'a.wav', bytes: variant(human.bytes, 'delayed') });
  await until(() => server.log().some((l) => /trying again/.test(l.message)), { timeout: 10_000 });
  await server.kill();
  set(0);
  server = await serve({ data, env });
  await finished(server, body.id, { timeout: 15_000 });
  assertRight((await ask(server, `/api/v1/analyses/${body.id}`)).body, human);
  await server.stop();
  assertClean(data);
});
