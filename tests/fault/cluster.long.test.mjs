// Several processes on real servers under load, and everything that can happen to them (A5, B4, B12, C9): each server
// killed, paused, cut off, stalled, slowed, full, restarted; two at once; processes killed, paused, ended; and fifty random
// kills. After each: nothing that was accepted is lost, doubled or wrong. Times of recovery are printed.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { lacking } from '../e2e/support/cluster.mjs';
import { scratch } from '../e2e/support/sonde.mjs';
import { clusterLoad } from './support/cluster_load.mjs';
import { cutOff, everyServer, filled, killed, ownDisks, paused, restarted, slowed, stalled } from './support/cluster_faults.mjs';
import { recordings, root, sleep } from './support/support.mjs';

const skip = lacking();
const noDisks = skip || (root ? false : 'disks of their own need root');
const only = process.env.SONDE_FAULT ? new RegExp(process.env.SONDE_FAULT) : /./; // by hand: some of the rounds
const dir = scratch();
const pool = skip ? [] : recordings(dir, { human: 8, long: false });
const pairs = everyServer.flatMap((a, i) => everyServer.slice(i + 1).map((b) => [a, b]));
let l, disks, home;

before(async () => {
  if (skip) return;
  home = mkdtempSync(join(tmpdir(), 'sonde-disks-'));
  if (root) disks = ownDisks(home, ['postgres', 'swift']);
  l = await clusterLoad({ t: { diagnostic: (text) => console.log(`# ${text}`) }, pool, proxies: true, options: disks ? {
    postgres: { dir: disks.at('postgres'), lines: ['wal_keep_size = 0', "max_wal_size = '64MB'", "min_wal_size = '32MB'"] },
    swift: { dir: disks.at('swift') },
  } : {} });
});
after(async () => {
  await l?.stopAll();
  disks?.undo();
  if (home) rmSync(home, { recursive: true, force: true });
});

// What fails in one round would be found in every later one, too.
function round(name, fault, options = {}) {
  test(name, { skip: options.skip ?? (only.test(name) ? skip : 'not asked for'), timeout: 600_000 }, async (t) => {
    l.t = t;
    if (l.failed) return t.skip(`an earlier round failed: ${String(l.failed.message ?? l.failed).slice(0, 200)}`);
    return l.ride(name, fault, options);
  });
}

for (const name of everyServer) {
  round(`${name} killed`, () => killed(l, name, { away: 2000 }));
  round(`${name} paused for 5 s`, () => paused(l, name, 5000));
  round(`${name} paused for 15 s`, () => paused(l, name, 15_000));
  round(`${name} cut off for 6 s`, () => cutOff(l, name, 6000));
  round(`${name} stalled for 12 s`, () => stalled(l, name, 12_000));
  round(`${name} slowed by 200 ms`, () => slowed(l, name, 8000));
  round(`${name} full for 8 s`, () => filled(l, name, 8000, disks?.at(name)), /postgres|swift/.test(name) && noDisks ? { skip: noDisks } : {});
  round(`${name} restarted in good order`, () => restarted(l, name));
}
for (const [a, b] of pairs) {
  round(`${a} and ${b} killed`, () => killed(l, [a, b]));
  round(`${a} and ${b} cut off for 4 s`, () => cutOff(l, [a, b], 4000));
}
for (const role of ['upload', 'inference', 'keeper']) {
  round(`${role}: one killed`, () => l.killProcess(l.c.of(role)[0], { away: 1000 }));
  round(`${role}: one paused for 20 s`, () => l.sleepProcess(l.c.of(role)[0], 20_000));
  round(`${role}: ended and started`, () => l.restartProcess(l.c.of(role).at(-1)));
}
round('both workers paused for 20 s', () => Promise.all(l.c.of('inference').map((p) => l.sleepProcess(p, 20_000))));
round('all processes killed', () => Promise.all(l.c.processes.map((p) => l.killProcess(p))));
round('everything killed', () => Promise.all([killed(l, everyServer), ...l.c.processes.map((p) => l.killProcess(p, { away: 25_000 }))]));

round('fifty random kills', async () => {
  const kinds = [...everyServer, ...l.c.processes];
  for (let i = 0; i < 50 && !l.failed; i++) {
    await sleep(l.roll() < 0.3 ? l.roll() * 100 : 100 + l.roll() * 2000);
    const what = l.roll.of(kinds);
    if (typeof what === 'string') await killed(l, what, { away: l.roll() * 1000 });
    else if (l.roll() < 0.2) await l.restartProcess(what);
    else await l.killProcess(what, { away: l.roll() * 500 });
  }
});

test('it ends in good order, and nothing is left over', { skip, timeout: 300_000 }, async (t) => {
  l.t = t;
  assert.equal(l.failed, null, 'an earlier round failed');
  await l.finish();
  assert.ok(l.accepted() > 10 * l.rounds.length, `${l.accepted()} accepted in ${l.rounds.length} rounds: hardly a load`);
});
