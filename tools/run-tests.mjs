// Runs every test and counts: the Meson tests of build/ and build-asan/ (TAP programs), the node
// tests of tests/e2e, tests/fault and tests/browser, those of tests/api against build-asan/,
// the page's own, and the checks on the sources. What takes long runs in one of the two builds only (once, below). --long runs it in both
// and adds build-tsan/: what threads share, and tests/api. One failing program
// without a failing point counts as one failure. The last line is `N passed, N failed, N skipped`, the one before tells where the time went.
//
// The contracts of the drivers are also held against real servers (tests/servers), started once for all Meson tests when one of
// them needs them, and given to them as SONDE_TEST_… . tests/e2e, tests/fault and the like start their own.
//   node tools/run-tests.mjs [--long] [--only REGEX]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve, dirname } from 'node:path';
import { everyKind, kinds, lacking, startServers } from '../tests/servers/all.mjs';

const root = resolve(dirname(new URL(import.meta.url).pathname), '..');
const long = process.argv.includes('--long');
const onlyAt = process.argv.indexOf('--only');
const only = onlyAt > 0 ? new RegExp(process.argv[onlyAt + 1]) : /./;
const counts = { passed: 0, failed: 0, skipped: 0 };
const failures = [], skips = [];

// Runs one command in its own process group; on time-out the whole group is killed.
function run(command, { env = {}, timeout = 60, cwd = root } = {}) {
  return new Promise((done) => {
    const began = performance.now();
    const child = spawn(command[0], command.slice(1),
      { cwd, env: { ...process.env, ...env }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '', err = '', timedOut = false;
    child.stdout.on('data', (d) => { out += d; });
    child.stderr.on('data', (d) => { err += d; });
    const kill = () => { try { process.kill(-child.pid, 'SIGKILL'); } catch { /* already gone */ } };
    const timer = setTimeout(() => { timedOut = true; kill(); }, timeout * 1000);
    child.on('error', (e) => { err += e.message; });
    child.on('close', (code, signal) => {
      clearTimeout(timer); kill();
      done({ code, signal, out, err, timedOut, seconds: (performance.now() - began) / 1000 });
    });
  });
}

// TAP points of cmocka and of node:test. node nests suites by indentation: only leaves count,
// which are the points that no deeper point came directly before.
function tapPoints(text) {
  const points = [];
  let depthBefore = -1;
  for (const line of text.split('\n')) {
    const m = /^(\s*)(not ok|ok)\s+\d+\s*-?\s*(.*)$/.exec(line);
    if (!m) continue;
    const depth = m[1].length;
    const parent = depth < depthBefore;
    depthBefore = depth;
    if (parent) continue;
    // node: "ok 1 - name # SKIP reason"; cmocka: "not ok 1 # SKIP name", the reason in a line of its own.
    const skip = /#\s*SKIP\s*(.*)$/i.exec(m[3]);
    const before = m[3].replace(/\s*#.*$/, '');
    points.push({ name: before || (skip?.[1] ?? ''), skip: skip ? (before && skip[1]) || 'no reason given' : null, ok: m[2] === 'ok' });
  }
  return points;
}

// What to show of a failed program: each failing point with what follows it, and the end of stderr.
function excerpt({ out, err }) {
  const lines = out.split('\n'), kept = [];
  lines.forEach((line, i) => { if (/^\s*not ok/.test(line)) kept.push(...lines.slice(i, i + 14)); });
  return [...kept.slice(0, 150), ...err.split('\n').slice(-60)].filter((line) => line.trim());
}

function record(label, result, points) {
  let failedHere = 0;
  const reasons = [...(result.out + '\n' + result.err).matchAll(/SKIP: (.*)/g)].map((m) => m[1]);
  for (const point of points) {
    if (point.skip !== null) {
      counts.skipped++;
      const reason = point.skip === 'no reason given' ? reasons.shift() ?? point.skip : point.skip;
      skips.push(`${label}: ${point.name}: ${reason}`);
    } else if (point.ok) counts.passed++;
    else { counts.failed++; failedHere++; }
  }
  const bad = result.timedOut ? 'timed out' : result.code !== 0 ? `ended with ${result.signal ?? result.code}` : points.length ? null : 'reported no test';
  if (bad && !failedHere) { counts.failed++; failedHere++; }
  const verdict = failedHere ? 'FAIL' : 'ok';
  console.log(`${verdict.padEnd(5)}${label} (${points.length})${result.seconds >= 1 ? ` ${result.seconds.toFixed(0)} s` : ''}`);
  if (failedHere) {
    failures.push(label);
    console.log(`      ${bad ?? ''}\n${excerpt(result).map((l) => '      ' + l).join('\n')}`);
  }
}

// A program that prints no points is one.
const asOne = (name, result) => [{ name, skip: null, ok: result.code === 0 }];

async function check(label, command) {
  if (!only.test(label)) return;
  const result = await run(command);
  record(label, result, asOne(label, result));
}

// Sanitizers end the program at the first finding.
const sanitizers = {
  // Its fake stack aligns to 32 bytes only, and vectors of 64 bytes on the stack then fault.
  asan: { ASAN_OPTIONS: 'exitcode=99:detect_stack_use_after_return=0:detect_leaks=1', UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
  tsan: { TSAN_OPTIONS: `halt_on_error=1:exitcode=66:second_deadlock_stack=1:suppressions=${join(root, 'tests/support/tsan.supp')}` },
};
const sanitizer = (build) => sanitizers[/asan|tsan/.exec(build)?.[0]] ?? {};
// The Meson tests of what threads share; the rest has nothing to race about, and takes long under it.
const shared = /^(base|os|obs|driver|store|http|role|lib|media_service|nn_model|db|queue|blob|cache|mail)/;

// --- the real servers

// What they are for: the drivers' contracts and own tests, and the store's.
const onServers = (test) => test.suites.includes('contract') || /^(store|driver)/.test(test.name);
let servers; // a promise of their environment
let stopServers = async () => {};

function needServers() {
  servers ??= (async () => {
    const here = everyKind.filter((name) => kinds[name].installed());
    if (lacking()) {
      console.log(`SKIP servers: ${lacking()}`);
      skips.push(`servers: ${lacking()}: tools/setup.sh test installs them`);
      counts.skipped++;
    }
    const dir = mkdtempSync(join(tmpdir(), 'sonde-servers-'));
    const started = await startServers({ dir, servers: here, partial: true, options: { swift: { tls: true }, rabbitmq: { tls: true } } });
    stopServers = async () => { await started.stop(); rmSync(dir, { recursive: true, force: true }); };
    console.log(`ok   servers: ${Object.entries(started.seconds).map(([name, s]) => `${name} ${s.toFixed(1)} s`).join(', ')}`);
    for (const why of started.failed) {
      counts.failed++;
      failures.push(`servers: ${why}`);
      console.log(`FAIL servers: ${why}`);
    }
    return started.env;
  })();
  return servers;
}

// --- Meson

// What takes long runs where it finds most: what is fed damaged files, under the sanitizers; what waits for a database, without.
const once = { build: /^media_(damage|through|formats)/, 'build-asan': /^store_together/ };
const elsewhere = (build, name) => !long && once[build]?.test(name);

function mesonSelection(build) {
  if (!existsSync(join(root, build, 'build.ninja'))) return [];
  return JSON.parse(execFileSync('meson', ['introspect', build, '--tests'], { cwd: root }))
    .map((test) => ({ ...test, build, label: `${build}/${test.name}`, suites: test.suite.map((s) => s.split(':').pop()),
      timeout: test.timeout * (/tsan/.test(build) ? 10 : /asan/.test(build) ? 4 : 1) }))
    .filter((test) => only.test(test.label) && !elsewhere(build, test.name) && (long || !test.suites.includes('long')) && (!build.includes('tsan') || shared.test(test.name)));
}

// Those that measure time or use all processors themselves, and are not to be disturbed.
const alone = /^(os_parallel|nn_model|media_service|http_)/;

// More at a time than two processors, because most tests wait now and then: two hands take from the front of the list, `atEnd`
// from its end. Those that wait most belong in front, those that work all the time at the end.
async function sideBySide(list, atEnd, one) {
  const left = [...list];
  const hand = async (take) => { for (let next = take(); next; next = take()) await one(next); };
  await Promise.all([hand(() => left.shift()), hand(() => left.shift()), ...Array.from({ length: atEnd }, () => hand(() => left.pop()))]);
}

async function mesonTests(builds) {
  const tests = builds.flatMap(mesonSelection);
  if (tests.some(onServers)) needServers();
  const one = async (test) => {
    const env = { ...test.env, CMOCKA_MESSAGE_OUTPUT: 'TAP', ...sanitizer(test.build), ...(onServers(test) ? await needServers() : {}) };
    const result = await run(test.cmd, { env, timeout: test.timeout });
    record(test.label, result, test.protocol === 'tap' ? tapPoints(result.out) : asOne(test.name, result));
  };
  const together = tests.filter((test) => !alone.test(test.name)).sort((a, b) => b.timeout - a.timeout);
  // A test shares the servers with its like of another build, so those of one build come after those of the other.
  const served = builds.flatMap((build) => together.filter((test) => test.build === build && onServers(test)));
  await sideBySide([...served, ...together.filter((test) => !onServers(test)).reverse()], 2, one);
  for (const test of tests.filter((t) => alone.test(t.name))) await one(test);
}

// --- programs that node runs: { label, tap, run }

function nodeTests(build, folder) {
  const dir = join(root, 'tests', folder);
  if (!existsSync(dir)) return [];
  const env = { SONDE_BUILD: join(root, build), SONDE_SOURCE: root, ...sanitizer(build) };
  return readdirSync(dir).filter((f) => f.endsWith('.test.mjs') && (long || !isLong(f))).sort().map((file) => ({ label: `${build}/${folder}/${file}`, tap: true,
    run: () => run(['node', '--test', '--test-reporter=tap', join(dir, file)], { env, timeout: isLong(file) ? 3600 : 600 }) }));
}
const isLong = (file) => file.endsWith('.long.test.mjs');

// The page's own: its types, and the tests of its logic. The build has installed what they need.
const pageTests = [['types', false, 'run', '--silent', 'check'], ['tests', true, 'test', '--silent', '--', '--reporter=tap-flat']]
  .map(([name, tap, ...args]) => ({ label: `web/${name}`, tap, run: () => run(['npm', ...args], { cwd: join(root, 'web'), timeout: 120 }) }));

// They take a minute or so, and begin, lest one of them is left running by itself at the end.
const lasting = /e2e\/(doctor-servers|hostile|roles|secrets)|fault\/cluster|api\/events/;
// Those that ask how fast a process ends; and the long ones, which fill the machine by themselves.
const undisturbed = (job) => /fault\/processes/.test(job.label) || isLong(job.label);

async function programs(jobs) {
  const one = async (job) => { const result = await job.run(); record(job.label, result, job.tap ? tapPoints(result.out) : asOne(job.label, result)); };
  const wanted = jobs.filter((job) => only.test(job.label)).sort((a, b) => lasting.test(b.label) - lasting.test(a.label));
  await sideBySide(wanted.filter((job) => !undisturbed(job)), 1, one); // with two a server is too slow for the doctor at times
  for (const job of wanted.filter(undisturbed)) await one(job);
}

const times = [];
async function part(name, work) {
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1000;
  if (seconds >= 0.5) times.push(`${name} ${seconds.toFixed(0)}`);
}

await part('sources', async () => { await check('format', ['tools/format.sh']); await check('layers', ['node', 'tools/check-layers.mjs']); });
await part('units', () => mesonTests(['build', 'build-asan']));
if (long) await part('build-tsan', () => mesonTests(['build-tsan']));
await part('stopping servers', () => stopServers());
// The browser works most of the time, so its tests are at the end.
await part('programs', () => programs([...nodeTests('build', 'fault'), ...nodeTests('build', 'e2e'), ...(long ? nodeTests('build', 'api') : []),
  ...nodeTests('build-asan', 'api'), ...(long ? nodeTests('build-tsan', 'api') : []), ...pageTests, ...nodeTests('build', 'browser')]));

for (const skip of skips) console.log(`SKIPPED ${skip}`);
for (const failure of failures) console.log(`FAILED  ${failure}`);
console.log(`seconds: ${times.join(', ')}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed ? 1 : 0);
