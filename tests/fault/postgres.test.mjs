// PostgreSQL with two replicas, where a commit is confirmed when one replica has it, too (B9, C9): the primary killed and a
// replica promoted, killed and restarted, stopped for a while; replicas killed and stopped. db_probe.c writes and reads
// meanwhile: what was confirmed is there once, what failed is not there, what is uncertain is there once at most; reading
// falls back to the primary. Recovery times are printed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { postgresBin, startPostgres } from '../servers/postgres.mjs';
import { ready, sleep } from '../servers/server.mjs';

const probe = join(process.env.SONDE_BUILD ?? 'build', 'tests/unit/driver/db_probe');
const skip = postgresBin() ? (existsSync(probe) ? false : `SKIP: there is no ${probe}`) : 'SKIP: postgresql-15 is not installed';
const dir = mkdtempSync(join(tmpdir(), 'sonde-pg-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function startProbe(pg) {
  const child = spawn(probe, [], { env: { ...process.env, ...pg.settings }, stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = [];
  let rest = '', errors = '';
  child.stdout.on('data', (data) => {
    const parts = (rest + data).split('\n');
    rest = parts.pop();
    for (const part of parts) lines.push(JSON.parse(part));
  });
  child.stderr.on('data', (data) => { errors += data; });
  const exited = new Promise((resolve) => child.on('close', resolve));
  return {
    lines,
    seen: (what, fits, from = 0, timeout = 30_000) => ready(what, () => lines.find((l) => l.t >= from && fits(l)), { timeout, pause: 10 }),
    get errors() { return [...new Set(errors.trim().split('\n'))].slice(0, 12).join('\n'); },
    async end() {
      child.stdin.end();
      assert.equal(await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 60_000, 'still running').unref())]), 0, errors.slice(-2000));
    },
  };
}

const confirmed = (l) => 'write' in l && l.code === '';

// What the primary holds agrees with every answer.
async function compare(t, pg, node, lines) {
  const rows = await pg.sql(node, 'SELECT id, count(*) FROM probe GROUP BY id');
  const there = new Map(rows.split('\n').filter(Boolean).map((row) => row.split('|').map(Number)));
  const counts = { confirmed: 0, uncertain: 0, 'uncertain, and there': 0, failed: 0 };
  const wrong = [];
  for (const { write, code } of lines.filter((l) => 'write' in l)) {
    const n = there.get(write) ?? 0;
    if (code === '') counts.confirmed++; else if (code === 'outcome_unknown') { counts.uncertain++; counts['uncertain, and there'] += n; } else counts.failed++;
    if (code === '' ? n !== 1 : code === 'outcome_unknown' ? n > 1 : n !== 0) wrong.push({ write, code, n });
  }
  assert.deepEqual(wrong, []);
  t.diagnostic(JSON.stringify(counts));
  return counts;
}

test('the primary is killed, a replica promoted: nothing confirmed is lost, nothing doubled', { skip, timeout: 180_000 }, async (t) => {
  const pg = await startPostgres({ dir: join(dir, 'failover'), replicas: 2, synchronous: true });
  try {
    const run = startProbe(pg);
    await run.seen('a write', confirmed);
    await run.seen('a reading on a replica', (l) => l.read === 'stale' && l.port === pg.nodes[1].port);
    await run.seen('a reading on the other', (l) => l.read === 'stale' && l.port === pg.nodes[2].port);
    await sleep(1000);

    const killed = Date.now();
    await pg.nodes[0].kill();
    await sleep(300); // what a watchdog would need
    // The one that has more: with ANY 1, only it is sure to have everything that was confirmed.
    const has = await Promise.all([1, 2].map(async (i) => Number(await pg.sql(pg.nodes[i], "SELECT pg_last_wal_receive_lsn() - '0/0'"))));
    const next = has[0] >= has[1] ? 1 : 2;
    await pg.promote(next);
    const promoted = Date.now();
    const again = await run.seen('a write on the new primary', confirmed, promoted);
    await run.seen('a fresh reading', (l) => l.read === 'fresh' && l.code === '' && l.port === pg.nodes[next].port, promoted);
    await run.seen('a reading on the replica that is left', (l) => l.read === 'stale' && l.port === pg.nodes[3 - next].port, promoted);
    t.diagnostic(`writing again ${again.t - killed} ms after the kill, ${again.t - promoted} ms after the promotion`);
    await sleep(1000);
    await run.end();
    const counts = await compare(t, pg, pg.nodes[next], run.lines);
    assert.ok(counts.confirmed > 100);
    assert.ok(again.t - promoted < 5000, `${again.t - promoted} ms after the promotion`);
  } finally { await pg.stop(); }
});

test('the primary restarts, and stands still; replicas die: answers stay exact, reading goes on', { skip, timeout: 180_000 }, async (t) => {
  const pg = await startPostgres({ dir: join(dir, 'restart'), replicas: 2 });
  try {
    const run = startProbe(pg);
    await run.seen('a reading on a replica', (l) => l.read === 'stale' && l.port === pg.nodes[1].port);
    for (let i = 0; i < 3; i++) {
      await sleep(500);
      const killed = Date.now();
      await pg.nodes[0].kill();
      await pg.nodes[0].restart();
      const up = Date.now();
      const again = await run.seen('a write after the restart', confirmed, up);
      t.diagnostic(`killed: writing again ${again.t - killed} ms after the kill, ${again.t - up} ms after the server was up`);
    }
    await sleep(500);
    pg.nodes[0].pause();
    await sleep(3000);
    const resumed = Date.now();
    pg.nodes[0].resume();
    const again = await run.seen('a write after the pause', confirmed, resumed);
    t.diagnostic(`stopped for 3 s: writing again ${again.t - resumed} ms after it went on`);

    // The primary lives: no list fails from here on.
    await run.seen('a reading on a replica', (l) => l.read === 'stale' && l.port === pg.nodes[1].port, resumed);
    const from = Date.now();
    await pg.nodes[1].kill();
    pg.nodes[2].pause();
    await sleep(5000);
    pg.nodes[2].resume();
    const since = Date.now();
    await run.seen('a reading on the replica that went on', (l) => l.read === 'stale' && l.port === pg.nodes[2].port, since);
    const stale = run.lines.filter((l) => l.read === 'stale' && l.t >= from);
    const slowest = Math.max(...stale.map((l) => l.ms));
    t.diagnostic(`replicas killed and stopped: ${stale.length} lists, the slowest took ${slowest} ms`);
    assert.deepEqual(stale.filter((l) => l.code !== ''), []);
    assert.ok(stale.some((l) => l.port === pg.nodes[0].port), 'on the primary meanwhile');
    assert.ok(slowest < 6000);
    await run.end();
    const counts = await compare(t, pg, pg.nodes[0], run.lines);
    assert.equal(counts.uncertain, 0, 'the same server can tell what became of a commit');
  } finally { await pg.stop(); }
});
