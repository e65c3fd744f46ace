// Redis killed, paused, restarted, failed over (B10, C9), with cache_probe.c on it: every call ends within its time-outs, while
// Redis is away calls fail at once, no answer is ever wrong, listening goes on. Recovery times are printed.
//
// What a client cannot prevent: a replica that lagged becomes the master, and what was deleted in that moment is back. The
// counts call it "old"; it may only happen by a fail-over.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ready, sleep } from '../servers/server.mjs';
import { startRedis } from '../servers/redis.mjs';
import { has } from './support/support.mjs';

const probe = join(process.env.SONDE_BUILD ?? 'build', 'tests/unit/driver/cache_probe');
const skip = has('redis-server') ? existsSync(probe) ? false : `SKIP: there is no ${probe}` : 'SKIP: redis-server is not installed';
const slow = /asan|tsan/.test(probe) ? 3 : 1;
const callMs = 2000 + 700 * slow; // connecting and the command; and a loaded machine
const dir = mkdtempSync(join(tmpdir(), 'sonde-redis-'));
after(() => rmSync(dir, { recursive: true, force: true }));

// The probe on `redis`; lines: what it printed so far.
function startProbe(redis, threads = 4) {
  const env = { ...process.env, ...(redis.password ? { SONDE_CACHE_PASSWORD: redis.password } : {}), ...(redis.ca ? { SONDE_CACHE_CA_FILE: redis.ca } : {}) };
  const child = spawn(probe, [redis.url, String(threads)], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = [];
  let rest = '', errors = '';
  child.stdout.on('data', (data) => {
    const parts = (rest + data).split('\n');
    rest = parts.pop();
    lines.push(...parts.map((line) => JSON.parse(line)));
  });
  child.stderr.on('data', (data) => { errors += data; });
  const exited = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  return {
    lines,
    drop: () => child.kill('SIGKILL'),
    // The first line after `from` (ms since 1970) that `fits`.
    seen: (what, fits, from, timeout = 20_000) => ready(what, () => lines.find((l) => l.t >= from && fits(l)), { timeout, pause: 10 }),
    async end() {
      child.stdin.end();
      const code = await Promise.race([exited, sleep(20_000).then(() => { child.kill('SIGKILL'); return 'killed'; })]);
      assert.equal(code, 0, errors);
      return { ...lines.find((l) => l.done), closeMs: lines.find((l) => l.closeMs !== undefined).closeMs, wrong: lines.filter((l) => l.wrong) };
    },
  };
}

const works = (l) => l.ok === 1, fails = (l) => l.ok === 0, listens = (l) => l.listening;

// How long after `from` calls work again, and listening is back.
async function recovery(t, p, what, from) {
  const up = await p.seen('a call that works', works, from), again = await p.seen('listening', listens, from);
  t.diagnostic(`${what}: calls work again after ${up.t - from} ms, listening after ${again.t - from} ms`);
  return { calls: up.t - from, listening: again.t - from };
}

function assertRight(t, end, { failedOver = false } = {}) {
  t.diagnostic(JSON.stringify(end));
  assert.equal(end.foreign, 0, 'a value that was never written there');
  assert.equal(end.expired, 0, 'a value after its end');
  if (!failedOver) {
    assert.equal(end.old, 0, 'a value that was deleted or replaced');
    assert.equal(end.miscounted, 0);
  }
  assert.ok(end.mostMs <= callMs, `a call took ${end.mostMs} ms`);
  assert.ok(end.closeMs < 1000, `closing took ${end.closeMs} ms`);
  assert.ok(end.values > 200, 'hardly a value was seen: the test proves nothing');
}


for (const appendonly of [false, true]) {
  test(`killed and restarted, ${appendonly ? 'with its values' : 'empty'}`, { skip, timeout: 120_000 }, async (t) => {
    const redis = await startRedis({ dir: join(dir, `kill-${appendonly}`), password: 'secret', appendonly });
    const p = startProbe(redis);
    try {
      await p.seen('listening', listens, 0);
      for (const away of [0, 300, 3000]) {
        await sleep(1000);
        const from = Date.now();
        await redis.kill();
        await p.seen('a call that fails', fails, from);
        await sleep(away);
        const back = Date.now();
        await redis.restart();
        const took = await recovery(t, p, `away for ${away} ms`, back);
        assert.ok(took.calls < 3500 && took.listening < 3500);
      }
      await sleep(1000);
      const end = await p.end();
      assertRight(t, end);
      assert.ok(end.lateErrors <= 4, `${end.lateErrors} failures were late`);
      assert.ok(end.errors > 500);
      assert.ok(end.resyncs >= 4 && end.heard > 0);
    } finally { p.drop(); await redis.stop(); }
  });
}

test('paused: calls end in time, then fail at once', { skip, timeout: 120_000 }, async (t) => {
  const redis = await startRedis({ dir: join(dir, 'pause'), password: 'secret' });
  const p = startProbe(redis, 6);
  try {
    await p.seen('listening', listens, 0);
    for (const away of [600, 6000]) {
      await sleep(1000);
      const from = Date.now();
      redis.pause();
      await sleep(away);
      const failed = p.lines.some((l) => l.t >= from && fails(l));
      const resumed = Date.now();
      redis.resume();
      assert.equal(failed, away > 2000);
      if (failed) {
        const took = await recovery(t, p, `paused for ${away} ms`, resumed);
        assert.ok(took.calls < 4500 && took.listening < 4500);
      }
    }
    await sleep(1500);
    const end = await p.end();
    assertRight(t, end);
    // Each thread's one call that was under way, twice at most; the mender's tries are not calls.
    assert.ok(end.lateErrors <= 12, `${end.lateErrors} failures were late`);
    assert.ok(end.errors > 1000);
  } finally { p.drop(); redis.resume(); await redis.stop(); }
});

test('connections that are cut cost a moment', { skip, timeout: 60_000 }, async (t) => {
  const redis = await startRedis({ dir: join(dir, 'cut'), tls: true });
  const p = startProbe(redis);
  try {
    await p.seen('listening', listens, 0);
    for (let i = 0; i < 5; i++) {
      await sleep(400);
      const from = Date.now();
      await redis.cli(redis.nodes[0].port, 'client', 'kill', 'type', 'normal');
      await redis.cli(redis.nodes[0].port, 'client', 'kill', 'type', 'pubsub');
      await p.seen('listening', listens, from);
    }
    await sleep(500);
    const end = await p.end();
    assertRight(t, end);
    assert.equal(end.lateErrors, 0);
    assert.ok(end.resyncs >= 6);
    assert.ok(end.calls - end.errors > 1000);
  } finally { p.drop(); await redis.stop(); }
});

test('a fail-over by Sentinels, killed and paused', { skip, timeout: 180_000 }, async (t) => {
  const redis = await startRedis({ dir: join(dir, 'sentinel'), password: 'secret', replicas: 2, sentinels: 3 });
  const p = startProbe(redis);
  try {
    await p.seen('listening', listens, 0);
    for (const how of ['killed', 'paused']) {
      await sleep(1500);
      const before = await redis.master();
      const from = Date.now();
      if (how === 'killed') await before.kill(); else before.pause();
      await p.seen('a call that fails', fails, from);
      const took = await recovery(t, p, `the master is ${how}`, from);
      assert.ok(took.calls < 15_000 && took.listening < 15_000);
      // The old one comes back as a replica, and nobody takes it for the master.
      if (how === 'killed') before.start(); else before.resume();
      await ready('the old master as a replica', async () => (await redis.cli(before.port, 'role')).startsWith('slave'), { timeout: 30_000 });
      await sleep(1000);
      assert.notEqual(await redis.master(), before);
    }
    // A Sentinel that is away is passed over.
    await redis.sentinels[0].kill();
    const from = Date.now();
    await redis.cli((await redis.master()).port, 'client', 'kill', 'type', 'normal');
    await redis.cli((await redis.master()).port, 'client', 'kill', 'type', 'pubsub');
    await p.seen('listening', listens, from);
    await sleep(1500);
    const end = await p.end();
    assertRight(t, end, { failedOver: true });
    t.diagnostic(`values that a fail-over brought back: ${end.old}`);
    assert.ok(end.lateErrors <= 40, `${end.lateErrors} failures were late`);
    const last = p.lines.filter((l) => l.ok !== undefined).at(-1);
    assert.equal(last.ok, 1);
  } finally { p.drop(); for (const n of redis.nodes) n.resume(); await redis.stop(); }
});
