// A full disk, and one that may not be written (C9): uploads are refused in words and with a time to come again, what was
// accepted is done once there is room, nothing is left behind, and the server lives through it.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { program, scratch, sonde } from '../e2e/support/sonde.mjs';
import { ask, dataFolder, finished, serve, until, upload } from '../e2e/support/serve.mjs';
import { assertClean, assertRight, filesUnder, has, recordings, root, sleep, variant } from './support/support.mjs';

const dir = scratch();
const pool = recordings(dir, { human: 3 });
const human = pool[0], long = pool.find((r) => r.name === 'long.wav');

const mounts = [], disks = mkdtempSync(join(tmpdir(), 'sonde-disks-'));
after(() => {
  for (const at of mounts) spawnSync('umount', ['-l', at]);
  rmSync(disks, { recursive: true });
});

// A disk of so many megabytes, or null where mounting is not permitted.
function smallDisk(megabytes) {
  const at = join(disks, String(mounts.length));
  mkdirSync(at);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', at]).status !== 0) return null;
  mounts.push(at);
  return at;
}

function freeBytes(at) {
  return Number(execFileSync('stat', ['-f', '-c', '%a', at])) * Number(execFileSync('stat', ['-f', '-c', '%S', at]));
}

// Fills the disk up to `left` bytes. Each file has its own name: writing one anew would make room first.
let fillers = 0;
function fill(at, left) {
  for (let size = freeBytes(at) - left; size > 4096;) {
    const some = Math.min(size, 1 << 20);
    writeFileSync(join(at, `filler-${fillers++}`), Buffer.alloc(some));
    size -= some;
  }
}

const makeRoom = (at) => { for (const f of readdirSync(at)) if (f.startsWith('filler')) rmSync(join(at, f)); };

const noMount = !root && 'mounting a small disk needs root';

test('uploads are refused before the disk is full', { skip: noMount }, async (t) => {
  const at = smallDisk(24);
  if (!at) return t.skip('mount is not permitted here');
  const data = join(at, 'data');
  const server = await serve({ data, args: ['--min-free', '8M'] });
  const first = await upload(server, { name: 'a.wav', bytes: variant(human.bytes, 'room') }, { wait: 20 });
  assertRight(first.body, human);
  fill(at, 4 << 20);
  await sleep(1300); // it looks each second
  const refused = await upload(server, { name: 'b.wav', bytes: variant(human.bytes, 'none') });
  assert.equal(refused.status, 503);
  assert.equal(refused.body.code, 'no_space');
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.match(refused.headers.get('content-type'), /problem\+json/);
  assert.equal((await ask(server, `/api/v1/analyses/${first.body.id}`)).status, 200); // reading goes on
  makeRoom(at);
  await sleep(1300);
  assertRight((await upload(server, { name: 'b.wav', bytes: variant(human.bytes, 'again') }, { wait: 20 })).body, human);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assertClean(data, { small: true });
});

test('a disk that gets full in the middle of things', { skip: noMount, timeout: 120_000 }, async (t) => {
  const at = smallDisk(24);
  if (!at) return t.skip('mount is not permitted here');
  const data = join(at, 'data');
  const server = await serve({ data, args: ['--min-free', '0', '--jobs', '1'] });
  const accepted = [], codes = {};
  // Waiting behind a long one, so that their results come when there is no room.
  for (let i = 0; i < 4; i++) {
    const { status, body } = await upload(server, { name: `l${i}.wav`, bytes: variant(long.bytes, `full ${i}`) });
    assert.equal(status, 202);
    accepted.push([body.id, long]);
  }
  fill(at, 300 << 10);
  await Promise.all(Array.from({ length: 30 }, async (_, i) => {
    const { status, headers, body } = await upload(server, { name: `h${i}.wav`, bytes: variant(i % 3 ? human.bytes : long.bytes, `h ${i}`) });
    codes[`${status} ${body.code ?? ''}`] = (codes[`${status} ${body.code ?? ''}`] ?? 0) + 1;
    if (status === 202) return accepted.push([body.id, i % 3 ? human : long]);
    assert.equal(status, 503, JSON.stringify(body));
    assert.equal(body.code, 'no_space', JSON.stringify(body));
    assert.ok(Number(headers.get('retry-after')) > 0, 'Retry-After');
    return undefined;
  }));
  assert.ok(Object.keys(codes).some((c) => c.startsWith('503')), JSON.stringify(codes));
  fill(at, 0);
  await sleep(6000); // more than one try
  assert.equal((await ask(server, '/healthz')).status, 200);
  // A busy machine may take longer until there is a result that does not fit.
  await until(async () => (await ask(server, '/readyz')).status === 503, { timeout: 30_000, pause: 300 });
  makeRoom(at);
  const from = performance.now();
  for (const [id, right] of accepted) {
    await finished(server, id, { timeout: 50_000 });
    assertRight((await ask(server, `/api/v1/analyses/${id}`)).body, right);
  }
  t.diagnostic(`${JSON.stringify(codes)}; ${accepted.length} accepted, all done ${Math.round(performance.now() - from)} ms after there was room`);
  await until(async () => (await ask(server, '/readyz')).status === 200, { timeout: 10_000, pause: 300 });
  assertRight((await upload(server, { name: 'end.wav', bytes: variant(human.bytes, 'end') }, { wait: 20 })).body, human);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assertClean(data, { small: true });
});

test('a disk that is full from the start', { skip: noMount }, async (t) => {
  const at = smallDisk(2);
  if (!at) return t.skip('mount is not permitted here');
  fill(at, 0);
  const refused = sonde(['serve', '--listen', '127.0.0.1:0', '--data', join(at, 'data')]);
  assert.equal(refused.code, 3, refused.err);
  assert.match(refused.err, /No space|full/i);
  assert.match(refused.err, /free some disk space/);
});

// --- read-only

const nobody = 65534;
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
const noUser = !root ? 'changing the user needs root' : !has('setpriv') ? 'setpriv is not installed'
  : spawnSync(asNobody[0], [...asNobody.slice(1), program, '--version']).status !== 0 && 'the program cannot be run by another user here';

// Gives everything in the folder to nobody, with these rights for folders and files.
function own(path, folders, files) {
  const is = lstatSync(path).isDirectory();
  chownSync(path, nobody, nobody);
  if (is) for (const f of readdirSync(path)) own(join(path, f), folders, files);
  chmodSync(path, is ? folders : files);
}

test('a folder that may not be written: said at the start, with what to do', { skip: noUser }, async () => {
  const data = dataFolder();
  chmodSync(data, 0o500);
  chownSync(data, nobody, nobody);
  const run = () => spawnSync(asNobody[0], [...asNobody.slice(1), program, 'serve', '--listen', '127.0.0.1:0', '--data', data],
    { timeout: 20_000, encoding: 'utf8' });
  const refused = run();
  assert.equal(refused.status, 3, refused.stderr);
  assert.ok(refused.stderr.includes(data), refused.stderr);
  assert.match(refused.stderr, /writable|may read|write/);
  chmodSync(data, 0o700);
  const server = await serve({ data, prefix: asNobody });
  const { body } = await upload(server, { name: 'a.wav', bytes: human.bytes }, { wait: 20 });
  assertRight(body, human);
  await server.stop();
  for (const f of readdirSync(data)) if (f.startsWith('sonde.db')) chmodSync(join(data, f), 0o400); // the database alone
  const again = run();
  assert.equal(again.status, 3, again.stderr);
  assert.match(again.stderr, /sonde\.db.*(writ|permi)/is);
  assert.match(again.stderr, /writable/);
});

test('a read-only disk at the start', { skip: noMount }, async (t) => {
  const at = smallDisk(8), data = at && join(at, 'data');
  if (!at) return t.skip('mount is not permitted here');
  const server = await serve({ data, args: ['--min-free', '0'] });
  await server.stop();
  execFileSync('mount', ['-o', 'remount,ro', at]);
  const refused = sonde(['serve', '--listen', '127.0.0.1:0', '--data', data]);
  assert.equal(refused.code, 3, refused.err);
  assert.match(refused.err, /read-only/i);
  assert.match(refused.err, /make the data folder writable/);
  const looked = sonde(['doctor', '--data', data]);
  assert.equal(looked.code, 3);
  assert.match(looked.out, /PROBLEM/);
  execFileSync('mount', ['-o', 'remount,rw', at]);
  await (await serve({ data, args: ['--min-free', '0'] })).stop();
});

test('storage that becomes read-only while running', { skip: noUser, timeout: 60_000 }, async () => {
  const data = dataFolder();
  chownSync(data, nobody, nobody);
  const server = await serve({ data, prefix: asNobody, args: ['--jobs', '1'] });
  const before = await upload(server, { name: 'a.wav', bytes: variant(human.bytes, 'before') }, { wait: 20 });
  assertRight(before.body, human);
  const waiting = [];
  for (let i = 0; i < 3; i++) waiting.push((await upload(server, { name: `${i}.wav`, bytes: variant(long.bytes, `ro ${i}`) })).body.id);
  own(data, 0o500, 0o400);
  const refused = await upload(server, { name: 'b.wav', bytes: variant(human.bytes, 'ro') });
  assert.equal(refused.status, 503, JSON.stringify(refused.body));
  assert.equal(refused.body.code, 'read_only');
  const ready = await until(async () => {
    const reply = await ask(server, '/readyz');
    return reply.status === 503 && reply.body;
  }, { timeout: 5000, pause: 300 });
  assert.ok(ready.checks.some((c) => !c.ok && c.error), JSON.stringify(ready));
  assert.equal((await ask(server, `/api/v1/analyses/${before.body.id}`)).status, 200);
  await sleep(2500); // jobs meet it, too
  own(data, 0o700, 0o600);
  for (const id of waiting) {
    await finished(server, id, { timeout: 40_000 });
    assertRight((await ask(server, `/api/v1/analyses/${id}`)).body, long);
  }
  await until(async () => (await ask(server, '/readyz')).status === 200, { timeout: 10_000, pause: 300 });
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.ok(existsSync(data) && filesUnder(data, 'spool').length === 0);
  assertClean(data);
});
