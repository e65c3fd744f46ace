// `sonde backup` while uploads and deletions go on (C9): the copy is of one moment, a server starts on it, and jobs that
// waited then go on.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { program, scratch, sonde, spawn } from '../e2e/support/sonde.mjs';
import { ask, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, dice, everything, recordings, sql, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 8 });
const long = pool.find((r) => r.name === 'long.wav');

function run(args) {
  return new Promise((done) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (d) => { out += d; });
    child.stderr.on('data', (d) => { out += d; });
    child.on('close', (code) => done({ code, out }));
  });
}

test('backups under load are whole, and their jobs go on', { timeout: 120_000 }, async (t) => {
  const seed = Number(process.env.SONDE_SEED) || Date.now() % 1e6, roll = dice(seed);
  t.diagnostic(`seed ${seed} (SONDE_SEED)`);
  const server = await serve({ args: ['--jobs', '1'] });
  const sent = new Map(); // name -> { right, id, accepted, deleting, deleted }: the moments
  let over = false;
  const clients = Promise.all(Array.from({ length: 4 }, async (_, c) => {
    for (let i = 0; !over; i++) {
      const there = [...sent.values()].filter((s) => s.id && !s.deleting);
      if (there.length > 4 && roll() < 0.3) {
        const one = roll.of(there);
        one.deleting = performance.now();
        assert.equal((await ask(server, `/api/v1/analyses/${one.id}`, { method: 'DELETE' })).status, 204);
        one.deleted = performance.now();
      } else {
        const right = roll.of(pool), name = `c${c}-${i}.wav`, one = { right };
        sent.set(name, one);
        const { status, body } = await upload(server, { name, bytes: right.wav ? variant(right.bytes, name) : right.bytes });
        assert.equal(status, 202, JSON.stringify(body));
        Object.assign(one, { id: body.id, accepted: performance.now() });
      }
    }
  }));
  const backups = [];
  for (let n = 0; n < 4; n++) {
    for (let i = 0; i < 3; i++) // there is always something waiting
      sent.set(`w${n}-${i}.wav`, { right: long, id: (await upload(server, { name: `w${n}-${i}.wav`, bytes: variant(long.bytes, `w${n}-${i}`) })).body.id,
        accepted: performance.now() });
    const folder = join(dir, `backup-${n}`), from = performance.now();
    const { code, out } = await run(['backup', folder, '--data', server.data]);
    assert.equal(code, 0, out);
    backups.push({ folder, from, to: performance.now() });
  }
  over = true;
  await clients;
  await server.stop();

  let waited = 0;
  for (const { folder, from, to } of backups) {
    const data = `${folder}-restored`;
    const restored = await run(['restore', folder, '--data', data]);
    assert.equal(restored.code, 0, restored.out);
    waited += sql(data, "SELECT count(*) AS n FROM analyses WHERE status IN ('queued', 'running')")[0].n;
    const copy = await serve({ data });
    let all;
    await until(async () => {
      all = await everything(copy);
      return all.every((a) => a.status === 'done' || a.status === 'failed');
    }, { timeout: 40_000, pause: 100 }).catch(() => assert.fail(JSON.stringify(all.filter((a) => !a.finished_at))));
    const names = new Set(all.map((a) => a.file.name));
    assert.equal(names.size, all.length);
    for (const [name, one] of sent) { // what was so before it began is in it, and what came after it ended is not
      if (one.accepted < from && !(one.deleting < to)) assert.ok(names.has(name), `${name} is missing`);
      if (one.deleted < from) assert.ok(!names.has(name), `${name} was deleted before`);
      if (one.accepted > to + 5000) assert.ok(!names.has(name), `${name} came later`);
    }
    for (const a of all) {
      const one = sent.get(a.file.name);
      // A recording that was deleted while it was being copied is not in the backup; what waited for it says so. It may have
      // been asked for before the backup began, but was not answered yet.
      if (!a.file.kept) assert.ok(one.deleting < to && !(one.deleted < from), `the recording of ${a.file.name} is not kept: ${JSON.stringify({ from, to, ...one, right: 0 })}`);
      if (a.file.kept || a.status === 'done') assertRight(a, one.right, a.file.name);
      else assert.ok(['gone', one.right.error].includes(a.error.code), JSON.stringify(a.error));
    }
    await copy.stop();
    assertClean(data);
  }
  assert.ok(waited > 4, `${waited} were waiting`);
  const whole = sonde(['doctor', '--deep', '--data', server.data]);
  assert.equal(whole.code, 0, whole.out);
  t.diagnostic(`${backups.length} backups of up to ${sent.size} files, ${backups.map((b) => Math.round(b.to - b.from))} ms each; ${waited} jobs went on`);
});

test('a backup into a folder that exists, of a folder that is none, and one that was cut off', { timeout: 30_000 }, async () => {
  const server = await serve();
  await upload(server, { name: 'a.wav', bytes: pool[0].bytes }, { wait: 20 });
  const folder = join(dir, 'twice');
  assert.equal((await run(['backup', folder, '--data', server.data])).code, 0);
  const again = await run(['backup', folder, '--data', server.data]);
  assert.equal(again.code, 3);
  assert.match(again.out, /cannot make the folder/);
  await server.stop();
  const nothing = await run(['backup', join(dir, 'of-nothing'), '--data', join(dir, 'nowhere')]);
  assert.equal(nothing.code, 3);
  assert.match(nothing.out, /no sonde data/);
  const cut = join(dir, 'cut');
  const child = spawn(program, ['backup', cut, '--data', server.data], { stdio: 'ignore' });
  await new Promise((r) => { setTimeout(r, 3); });
  child.kill('SIGKILL');
  const end = await new Promise((r) => { child.on('close', (code, signal) => r(signal ?? code)); });
  if (end === 'SIGKILL') {
    const refused = await run(['restore', cut, '--data', join(dir, 'from-cut')]);
    assert.equal(refused.code, 3, refused.out);
    assert.match(refused.out, /no finished backup/);
  }
});
