// The queue on RabbitMQ while the broker is killed, restarted, stopped and out of memory: what was confirmed is settled, what comes
// twice is counted; and what a killed consumer held comes again within a second (A5, C9).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { build, scratch } from '../e2e/support/sonde.mjs';
import { startRabbit } from '../servers/rabbitmq.mjs';
import { ready, sleep } from '../servers/server.mjs';

const missing = existsSync('/usr/lib/rabbitmq/bin/rabbitmq-server') ? false : 'no RabbitMQ here; tools/setup.sh test installs it';
const dir = scratch(); // not within before(): it would be gone after that
let rabbit;
before(async () => { if (!missing) rabbit = await startRabbit({ dir }); });
after(async () => { await rabbit?.stop(); });

// One queue_load: `seen` counts its lines as { what: Map(id -> times) }.
function load(prefix, ...args) {
  const child = spawn(join(build, 'tests/contract/queue_load'), args.map(String),
    { env: { ...process.env, ...rabbit.settings, SONDE_QUEUE_URL: `${rabbit.url()}?prefix=${prefix}.` }, stdio: ['ignore', 'pipe', 'pipe'] });
  const one = { child, seen: { P: new Map(), R: new Map(), A: new Map(), C: new Map(), D: new Map(), E: new Map() }, last: 0, delivery: 0, err: '' };
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [what, id, n] = line.split(' ');
    one.seen[what]?.set(id, (one.seen[what].get(id) ?? 0) + 1);
    one.last = performance.now();
    one.delivery = Number(n);
  });
  child.stderr.on('data', (text) => { one.err = (one.err + text).slice(-2000); });
  one.ended = new Promise((resolve) => child.on('close', resolve));
  one.kill = async () => { child.kill('SIGKILL'); await one.ended; };
  return one;
}

const settledAgain = (consumer, count, what) => {
  const from = consumer.seen.A.size;
  return ready(what, () => consumer.seen.A.size > from + count, { timeout: 60_000 });
};

const troubles = {
  'killed and started again': async () => { await rabbit.kill(); await sleep(500); await rabbit.restart(); },
  'restarted in good order': async () => { await rabbit.restart(); },
  'stopped for 5 s': async () => { rabbit.pause(); await sleep(5000); rabbit.resume(); },
  'without memory for 4 s': async () => { await rabbit.block(); await sleep(4000); await rabbit.unblock(); },
};

test('nothing that was confirmed is lost', { skip: missing, timeout: 300_000 }, async (t) => {
  const publisher = load('lost', 'publish'), consumer = load('lost', 'consume', 8);
  await settledAgain(consumer, 200, 'the consumer');
  for (const [name, trouble] of Object.entries(troubles)) {
    const errors = new Map(publisher.seen.E);
    await trouble();
    const from = performance.now(), before = publisher.seen.P.size;
    await ready(`publishing after the broker was ${name}`, () => publisher.seen.P.size > before + 100, { timeout: 60_000 });
    await settledAgain(consumer, 100, `settling after the broker was ${name}`);
    const told = [...publisher.seen.E].map(([slug, n]) => [slug, n - (errors.get(slug) ?? 0)]).filter(([, n]) => n);
    t.diagnostic(`${name}: goes on after ${((performance.now() - from) / 1000).toFixed(1)} s; publishing failed with ${JSON.stringify(Object.fromEntries(told))}`);
    if (name.startsWith('without memory')) assert.ok(told.some(([slug]) => slug === 'unavailable'), publisher.err);
    assert.ok(told.every(([slug]) => ['unavailable', 'outcome_unknown'].includes(slug)), JSON.stringify(told));
  }
  await publisher.kill();
  const confirmed = publisher.seen.P;
  const missed = () => [...confirmed.keys()].filter((id) => !consumer.seen.A.has(id));
  await ready('settling the rest', () => !missed().length || performance.now() - consumer.last > 30_000, { timeout: 120_000 });
  await consumer.kill();
  const dead = load('lost', 'dead');
  await dead.ended;
  assert.deepEqual(missed().filter((id) => !dead.seen.D.has(id)), []);
  const doubled = [...consumer.seen.R.values()].filter((n) => n > 1).length;
  t.diagnostic(`${confirmed.size} confirmed, ${consumer.seen.A.size} settled, ${doubled} delivered more than once, ${dead.seen.D.size} dead letters`);
  assert.ok(confirmed.size > 1000, `${confirmed.size} confirmed`);
  assert.ok(doubled < confirmed.size / 10);
});

test('what a killed consumer held comes again within a second', { skip: missing, timeout: 60_000 }, async (t) => {
  const holder = load('held', 'hold');
  const publisher = load('held', 'publish');
  await ready('the holder', () => holder.seen.R.size === 1);
  const [held] = holder.seen.R.keys();
  await ready('messages', () => publisher.seen.P.size > 20);
  await publisher.kill();
  const consumer = load('held', 'consume', 4);
  await ready('an empty queue', () => consumer.seen.A.size && performance.now() - consumer.last > 1000);
  assert.ok(!consumer.seen.R.has(held));
  const from = performance.now();
  holder.child.kill('SIGKILL');
  await ready('the message of the dead', () => consumer.seen.A.has(held), { pause: 5 });
  const took = consumer.last - from;
  t.diagnostic(`after ${took.toFixed(0)} ms`);
  assert.ok(took < 1000, `${took} ms`);
  assert.equal(consumer.delivery, 2);
  await consumer.kill();
});
