// SIGKILL at random moments while clients upload, and an account of everything that they were told: the shape shared by
// the short and the long test.
//
// Each file has a name of its own, so the list tells who sent what. A client notes what it is about to do before it does
// it; an answer that was lost on the way leaves "maybe", which is all that is permitted then: once or not at all. With an
// Idempotency-Key it repeats the request until it is answered, and then it is exactly once.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { descendants, program } from '../../e2e/support/sonde.mjs';
import { ask, dataFolder, serve, until, upload } from '../../e2e/support/serve.mjs';
import { alive, assertClean, assertRight, dice, everything, recordings, sleep, variant, zipOf } from './support.mjs';

class Account {
  sent = new Map(); // file name -> { right, id, state: 'maybe' | 'accepted' | 'refused', deleted: undefined | 'maybe' | 'yes' }
  counts = { uploads: 0, zips: 0, lost: 0, refused: 0, replays: 0, deletes: 0 };

  note(name, right, group) { this.sent.set(name, { name, right, state: 'maybe', group }); }
  accept(name, id) { Object.assign(this.sent.get(name), { state: 'accepted', id }); }
  refuse(names) { for (const name of names) this.sent.get(name).state = 'refused'; this.counts.refused++; }
}

// What one client does, again and again, until `load.over`.
async function client(number, load) {
  const { account, roll, pool } = load;
  for (let i = 0; !load.over; i++) {
    const tag = `c${number}-${i}`;
    const make = (suffix) => {
      const base = roll.of(pool);
      const name = `${tag}${suffix}.wav`;
      account.note(name, base, tag);
      return { name, bytes: base.wav && roll() < 0.7 ? variant(base.bytes, `${load.seed} ${name}`) : base.bytes };
    };
    const what = roll();
    if (what < 0.12) await erase(load);
    else if (what < 0.22) await send(load, { files: [make('-a'), make('-b'), make('-c')], zip: true });
    else if (what < 0.5) await send(load, { files: [make('')], key: `key ${load.seed} ${tag}` });
    else await send(load, { files: [make('')] });
    await sleep(roll() * load.pause);
    if (!alive(load.server.pid)) await until(() => alive(load.server.pid) || load.failed, { timeout: 60_000, pause: 5 });
  }
}

// One upload; with a key, until there is an answer.
async function send(load, { files, key, zip }) {
  const { account } = load;
  const names = files.map((file) => file.name);
  account.counts[zip ? 'zips' : 'uploads']++;
  for (let first = true; !load.failed; first = false) {
    const server = load.server;
    try {
      const reply = await upload(server, zip ? { name: 'many.zip', bytes: zipOf(files) } : files, { path: zip ? '/api/v1/uploads' : '/upload',
        headers: key ? { 'Idempotency-Key': key } : {} });
      if (reply.headers.get('idempotent-replay')) account.counts.replays++;
      if (reply.status === 202) {
        const ids = zip ? reply.body.analyses.map((a) => a.id) : [reply.body.id];
        assert.equal(ids.length, names.length, JSON.stringify(reply.body));
        return names.forEach((name, i) => account.accept(name, ids[i]));
      }
      assert.equal(reply.status, 503, JSON.stringify(reply.body));
      assert.ok(reply.headers.get('retry-after'), 'a 503 says when to come again');
      if (reply.body.code !== 'outcome_unknown' && first) return account.refuse(names);
      if (!key) return undefined;
    } catch (error) {
      if (error.code === 'ERR_ASSERTION') throw error;
      if (first && error.cause?.code === 'ECONNREFUSED' && !key) return account.refuse(names); // nobody was there
      if (first) account.counts.lost++;
      if (!key) return undefined; // nobody knows: stays "maybe"
    }
    await until(() => load.server !== server || (load.over && !load.failed), { timeout: 60_000, pause: 5 });
  }
  return undefined;
}

async function erase(load) {
  const { account, roll } = load;
  const there = [...account.sent.values()].filter((s) => s.state === 'accepted' && !s.deleted);
  if (!there.length) return;
  const one = roll.of(there);
  one.deleted = 'maybe';
  account.counts.deletes++;
  try {
    const { status } = await ask(load.server, `/api/v1/analyses/${one.id}`, { method: 'DELETE' });
    if (status === 204) one.deleted = 'yes';
  } catch { /* lost on the way: either is right */ }
}

// A start that is cut off before it is over.
async function stillborn(load) {
  const child = spawn(program, ['serve', '--listen', '127.0.0.1:0', '--data', load.data, ...load.args], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  await sleep(load.roll() * 150);
  await pull({ pid: child.pid, kill: () => { child.kill('SIGKILL'); return exited; } });
}

async function pull(server) {
  const family = descendants(server.pid);
  await server.kill();
  await until(() => !family.some(alive), { timeout: 5000, pause: 10 })
    .catch(() => assert.fail(`processes outlive the server: ${family.filter(alive)}`));
}

// Starts on the folder; how long that takes until something is answered.
async function start(load) {
  const started = performance.now();
  const server = await serve({ data: load.data, args: load.args });
  assert.equal((await ask(server, '/healthz')).status, 200);
  load.recoveries.push(Math.round(performance.now() - started));
  load.server = server;
  return server;
}

// What must hold at the end, from outside and from inside.
async function settle(load) {
  const { account } = load;
  const restarted = performance.now();
  const open = (list) => list.filter((a) => a.status !== 'done' && a.status !== 'failed');
  let all = await everything(load.server), moved = restarted;
  while (open(all).length) { // what a dead process held starts again at once, not when its lease of a minute is over
    const before = open(all).length;
    await sleep(100);
    all = await everything(load.server);
    if (open(all).length < before) moved = performance.now();
    assert.ok(performance.now() - moved < 45_000, `nothing moves: ${JSON.stringify(open(all))} ${JSON.stringify(load.server.log().slice(-20))}`);
  }
  const drained = Math.round(performance.now() - restarted);
  for (const one of [...account.sent.values()].filter((s) => s.deleted === 'maybe')) { // it was never answered: ask again
    const { status } = await ask(load.server, `/api/v1/analyses/${one.id}`, { method: 'DELETE' });
    assert.ok(status === 204 || status === 404, `deleting ${one.name} again: ${status}`);
    one.deleted = 'yes';
  }
  all = await everything(load.server);
  const byName = new Map();
  for (const a of all) {
    assert.ok(account.sent.has(a.file.name), `nobody sent ${a.file.name}`);
    assert.ok(!byName.has(a.file.name), `${a.file.name} is there twice`);
    byName.set(a.file.name, a);
  }
  for (const one of account.sent.values()) {
    const a = byName.get(one.name);
    if (one.deleted) assert.equal(a, undefined, `${one.name} was deleted`);
    else if (one.state === 'refused') assert.equal(a, undefined, `${one.name} was refused`);
    else if (one.state === 'accepted') assert.equal(a?.id, one.id, `${one.name} was accepted`);
    if (a) assertRight(a, one.right, one.name);
  }
  for (const one of account.sent.values()) // of a zip whose answer was lost: all or nothing
    if (one.state === 'maybe')
      for (const other of [...account.sent.values()].filter((s) => s.group === one.group))
        assert.equal(byName.has(other.name), byName.has(one.name), `half of the zip ${one.group}`);
  for (const a of all.filter((one) => one.status === 'done'))
    assert.equal((await ask(load.server, a.links.picture)).status, 200, `the picture of ${a.file.name}`);
  return { all, drained };
}

export async function killsUnderLoad({ t, dir, kills, clients = 4, seed = Number(process.env.SONDE_SEED) || Date.now() % 1e6 }) {
  const load = { kills, seed, roll: dice(seed), pool: recordings(dir), account: new Account(), data: dataFolder(), recoveries: [],
    args: ['--jobs', '1'], pause: 60, over: false, failed: false };
  t.diagnostic(`seed ${seed} (SONDE_SEED)`);
  await start(load);
  load.recoveries.length = 0; // the first one made the folder
  const all = Promise.all(Array.from({ length: clients }, (_, i) => client(i, load)));
  all.catch(() => { load.failed = true; });
  let early = 0;
  for (let killed = 0; killed < kills && !load.failed; killed++) {
    await sleep(load.roll() < 0.3 ? load.roll() * 100 : 100 + load.roll() * 900);
    const server = load.server;
    await pull(server);
    if (load.roll() < 0.2 && ++killed < kills) { await stillborn(load); early++; }
    await start(load);
  }
  load.over = true;
  await all;
  await pull(load.server); // once more, with whatever is waiting now
  await start(load);
  const { all: list, drained } = await settle(load);
  assert.deepEqual(await load.server.stop(), { code: 0, signal: null });
  assertClean(load.data);
  const states = [...load.account.sent.values()], count = (f) => states.filter(f).length;
  const sorted = load.recoveries.sort((a, b) => a - b);
  const c = load.account.counts;
  t.diagnostic(`${kills + 1} kills, ${early} of them while starting; ${c.uploads} uploads and ${c.zips} zips of ${states.length} files: ` +
    `${count((s) => s.state === 'accepted')} accepted, ${c.refused} refused, ${c.lost} answers lost, ${c.replays} replayed, ` +
    `${count((s) => s.deleted)} deleted; ${list.length} analyses in the end, 0 lost, 0 doubled`);
  t.diagnostic(`restart to first answer: median ${sorted[sorted.length >> 1]} ms, most ${sorted.at(-1)} ms; ` +
    `to a drained queue after the last: ${drained} ms`);
  assert.ok(count((s) => s.state === 'accepted') > kills, 'there was a load');
}
