// Configuration: file, environment, flags, `sonde config`, and secrets that appear nowhere (B2-B12's settings, C9).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { jsonLines, program, scratch, sonde, source, syntheticSpeech } from './support/sonde.mjs';
import { ask, dataFolder, until, upload } from './support/serve.mjs';

const dir = scratch();
const secret = 'Marked-Secret-4711';
let count = 0;
function conf(text, mode = 0o600) { // writes a sonde.conf
  const path = join(dir, `sonde-${++count}.conf`);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}
const config = (verb, file, args = [], env = {}) => sonde(['config', verb, ...(file ? ['--config', file] : []), ...args], { env });
const printed = (file, args, env) => Object.fromEntries(jsonLines(config('print', file, ['--json', ...(args ?? [])], env).out)
  .map((row) => [`${row.section}.${row.key}`, row]));

// Nothing listens on it (a port that was free a moment ago).
async function closedPort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.on('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

test('default < file < environment < flag, for a setting of each kind', () => {
  const rows = [ // section.key, default, file, variable, its value, flag, its value
    ['server.role', 'all', 'upload', 'SONDE_SERVER_ROLE', 'inference', '--role', 'upload keeper'],
    ['server.listen', '127.0.0.1:8080', '127.0.0.1:1', 'SONDE_LISTEN', '127.0.0.1:2', '--listen', '127.0.0.1:3'],
    ['server.data', null, '/a', 'SONDE_DATA', '/b', '--data', '/c'],
    ['server.workers', '8', '1', 'SONDE_WORKERS', '2', '--workers', '3'],
    ['server.min_free', '512M', '1M', 'SONDE_MIN_FREE', '2M', '--min-free', '3M'],
    ['server.drain', '0', '1m', 'SONDE_SERVER_DRAIN', '2m', '--drain', '3m'],
    ['log.level', 'info', 'debug', 'SONDE_LOG_LEVEL', 'warn', '--log-level', 'error'],
    ['retention.results', 'forever', '10', 'SONDE_KEEP_RESULTS', '20', '--keep-results', '30'],
    ['detector.prior', null, '0.1', 'SONDE_PRIOR', '0.2', '--prior', '0.3'],
    ['detector.model', null, '/a', 'SONDE_MODEL', '/b', '--model', '/c'],
    ['db.url', null, 'postgres://a/x', 'SONDE_DB_URL', 'postgres://b/x'],
    ['db.replicas', null, 'postgres://a/x postgres://c/x', 'SONDE_DB_REPLICAS', 'postgres://b/x'],
    ['blob.host_style', 'no', 'yes', 'SONDE_BLOB_HOST_STYLE', 'no'],
    ['blob.key_id', null, 'a', 'SONDE_BLOB_KEY_ID', 'b'],
  ];
  const text = rows.map(([name, , value]) => { const [section, key] = name.split('.'); return `[${section}]\n${key} = ${value}\n`; }).join('');
  const file = conf(text), lines = text.split('\n');
  const env = Object.fromEntries(rows.map((r) => [r[3], r[4]]));
  const flags = rows.flatMap((r) => r[5] ? [r[5], r[6]] : []);
  const [none, byFile, byEnv, byFlag] = [printed(conf('')), printed(file), printed(file, [], env), printed(file, flags, env)];
  for (const [name, initial, inFile, variable, inEnv, flag, inFlag] of rows) {
    const line = lines.indexOf(`[${name.split('.')[0]}]`, 0);
    if (name !== 'server.data') assert.deepEqual([none[name].value, none[name].from], [initial, 'default'], name);
    assert.equal(byFile[name].value, inFile, name);
    assert.ok(line >= 0 && byFile[name].from.startsWith(`${file}:`), byFile[name].from);
    assert.equal(lines[byFile[name].from.split(':').at(-1) - 1], `${name.split('.')[1]} = ${inFile}`, 'the line that is named is the one');
    assert.deepEqual([byEnv[name].value, byEnv[name].from], [inEnv, variable], name);
    assert.deepEqual([byFlag[name].value, byFlag[name].from], flag ? [inFlag, flag] : [inEnv, variable], name);
  }
  assert.equal(printed(null, [], { SONDE_CONFIG: file })['server.workers'].value, '1', 'SONDE_CONFIG names the file, too');
  assert.equal(printed(file, [], { SONDE_CONFIG: '/nowhere' })['server.workers'].value, '1', '--config goes before it');
});

test('print shows every setting, and no secret', () => {
  const kept = join(dir, 'kept');
  writeFileSync(kept, `${secret}-file\n`);
  const file = conf(`[db]\nurl = postgres://u:${secret}@h:5432/d?password=${secret}\npassword = ${secret}\n` +
    `[queue]\nurl = amqp://u:${secret}@h\npassword_file = ${kept}\n[blob]\nurl = s3://h\nkey_id = visible\n`);
  for (const json of [[], ['--json']]) {
    const r = config('print', file, json, { SONDE_BLOB_SECRET: `${secret}-env` });
    assert.equal(r.code, 0, r.err);
    assert.ok(!(r.out + r.err).includes(secret), r.out);
    assert.match(r.out, /postgres:\/\/u:\*{8}@h:5432\/d\?password=\*{8}/);
    assert.match(r.out, /amqp:\/\/u:\*{8}@h/);
    assert.match(r.out, /visible/);
    assert.ok(r.out.includes(kept), 'where a secret is may be shown');
  }
  const rows = printed(file, [], { SONDE_BLOB_SECRET: secret });
  assert.deepEqual([rows['blob.secret'].value, rows['blob.secret'].from], ['********', 'SONDE_BLOB_SECRET']);
  const docs = readFileSync(join(source, 'src/conf/settings.def'), 'utf8');
  assert.equal(Object.keys(rows).length, docs.match(/^SETTING\(/gm).length);
});

test('check finds each kind of mistake, names its place, and repeats no secret', () => {
  const wrong = [
    ['[sever]\n', /:1: there is no section \[sever\]; did you mean \[server\]\?/],
    ['[server]\nlisen = x\n', /:2: \[server\] has no setting lisen; did you mean listen\?/],
    ['[server]\nworkers = 2\nworkers = 3\n', /:3: workers is set in line 2 already/],
    ['[server]\nworkers = many\n', /:2: workers: 'many' is not a whole number/],
    ['[server]\nworkers = 0\n', /:2: workers: 0 is outside 1 to 256/],
    ['[server]\nrole = uploads\n', /:2: role: 'uploads' is none of: upload inference keeper all/],
    ['[server]\nlisten = "127.0.0.1:1"\n', /:2: listen: .*without quotes/],
    ['[server]\nworkers\n', /:2: neither \[section\], nor key = value/],
    ['workers = 2\n', /:1: a setting stands in a section/],
    [`[db]\nurl = mysql://u:${secret}@h/d\n`, /:2: url: .*postgres postgresql sqlite/],
    [`[db]\npassword = ${secret}\npassword_file = /run/x\n`, /both set/],
    [`[db]\npassword ${secret}\n`, /:2: neither/],
    ['[db]\npassword_file = /nowhere/db\n', /:2: password_file: \/nowhere\/db: cannot open it/],
    ['[detector]\nmodel = /nowhere/model\n', /:2: \[detector\] model: \/nowhere\/model: No such file/],
    ['[blob]\nurl = s3://h\n', /needs key_id/],
    ['[server]\nrole = upload\n', /set \[db\] url/],
    [Buffer.from('[server]\nlisten = \xff\n', 'latin1'), /:2: not readable as UTF-8/],
    ['[server]\0\n', /:1: there is a zero byte/],
    [`[server]\nlisten = ${'x'.repeat(5000)}\n`, /:2: the line is longer than 4096 bytes/],
    ['#'.repeat(64).concat('\n').repeat(20000), /larger than 1048576 bytes/],
  ];
  for (const [text, told] of wrong) {
    const file = conf(text), r = config('check', file);
    assert.equal(r.code, 2, `${text}: ${r.out}${r.err}`);
    assert.match(r.out, told);
    assert.match(r.out, /^PROBLEM /m);
    assert.ok(r.out.includes(file) && !r.out.includes(secret), r.out);
  }
  const missing = config('check', join(dir, 'missing.conf'));
  assert.deepEqual([missing.code, /missing\.conf: cannot open it/.test(missing.out)], [2, true]);
  const all = config('check', conf('[server]\nworkers = a\n[log]\nlevel = b\n'), [], { SONDE_QUEUE_MAX: 'c' });
  assert.match(all.out, /workers[^]*level[^]*SONDE_QUEUE_MAX[^]*3 problems/);
  const open = config('check', conf(`[db]\nurl = postgres://h/d\npassword = ${secret}\n`, 0o644));
  assert.equal(open.code, 0, open.out);
  assert.match(open.out, /^warning .*chmod 600/m);
  const typo = config('check', conf(''), [], { SONDE_DB_PASWORD: secret });
  assert.match(typo.out, /^warning  SONDE_DB_PASWORD: no such setting; did you mean SONDE_DB_PASSWORD\?/m);
  const sound = config('check', conf('\ufeff[server]\r\nworkers = 3\r\n'));
  assert.deepEqual([sound.code, sound.out.startsWith('The configuration is sound')], [0, true], sound.out);
});

test('a server with a wrong configuration does not start, and tells all of it', () => {
  const r = sonde(['serve', '--config', conf('[server]\nworkers = a\nlissten = b\n'), '--data', join(dir, 'unmade')]);
  assert.equal(r.code, 2);
  assert.match(r.err, /:2: workers: [^]*:3: .*lissten/);
  assert.equal(existsSync(join(dir, 'unmade')), false);
  assert.equal(sonde(['serve', '--config', join(dir, 'none.conf')]).code, 2);
  for (const command of [['jobs'], ['doctor'], ['backup', join(dir, 'b')], ['restore', join(dir, 'b')]])
    assert.equal(sonde([...command, '--config', conf('[server]\ncolour = red\n')]).code, 2, command[0]);
});

test('the sample is sound, and docs/operations.md holds the table', () => {
  const sample = sonde(['config', 'docs', '--sample']).out;
  assert.equal(config('check', conf(sample)).code, 0);
  const page = readFileSync(join(source, 'docs/operations.md'), 'utf8');
  const inPage = /<!-- settings -->\n([^]*?)<!-- \/settings -->/.exec(page);
  assert.ok(inPage, 'the markers are there');
  assert.equal(inPage[1], sonde(['config', 'docs']).out, 'run: sonde config docs, and put it between the markers');
});

test('man page, completion and help follow the table', () => {
  const man = sonde(['man']).out, completion = sonde(['completion', 'bash']).out, help = sonde(['serve', '--help']).out;
  for (const flag of ['config', 'role', 'drain', 'keep-audio', 'max-memory']) {
    assert.ok(help.includes(`--${flag} `), flag);
    assert.ok(completion.includes(` --${flag}`), flag);
    assert.ok(man.includes(`\\-\\-${flag.replaceAll('-', '\\-')}`), flag);
  }
  assert.match(completion, /print check docs/);
  assert.match(help, /SONDE_SERVER_ROLE/);
  assert.match(help, /\/etc\/sonde\/sonde\.conf/);
  for (const wrong of [['config'], ['config', 'burn'], ['config', 'print', 'x']]) assert.equal(sonde(wrong).code, 2);
});

// Starts `sonde serve` with nothing but a file; the tests' own helper always adds flags.
function start(file, env = {}) {
  const child = spawn(program, ['serve', '--config', file], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const s = { child, out: '', err: '', exited: new Promise((done) => child.on('exit', (code, signal) => done({ code, signal }))) };
  child.stdout.on('data', (d) => { s.out += d; });
  child.stderr.on('data', (d) => { s.err += d; });
  return s;
}
const address = (s) => until(async () => (s.url = /open (http:\/\/\S+)/.exec(s.out)?.[1]), { timeout: 60_000 });

test('twelve lines of embedded settings are a server', async () => {
  const home = dataFolder();
  const file = conf(`# embedded
[server]
listen = 127.0.0.1:0
data = ${home}
upload_max = 3M
[retention]
audio = 7
[log]
format = json
level = warn
[detector]
prior = 0.3
`);
  const s = start(file);
  try {
    await address(s);
    const { body } = await ask(s, '/api/v1/info');
    assert.equal(body.retention.audio_days, 7);
    assert.equal(body.limits.upload_bytes, 3 << 20);
    const done = await upload(s, syntheticSpeech(join(dir, 'it.wav')), { wait: 60 });
    assert.equal(done.body.status, 'done');
    assert.ok(existsSync(join(home, 'sonde.db')));
    assert.equal(sonde(['jobs', '--config', file]).code, 0);
    const doctor = sonde(['doctor', '--config', file]);
    assert.equal(doctor.code, 0, doctor.out);
    assert.match(doctor.out, /^ok +configuration .*\.conf$/m);
    const backup = join(dir, 'backup');
    assert.equal(sonde(['backup', backup, '--config', file]).code, 0);
    const other = join(dir, 'restored');
    mkdirSync(other);
    assert.equal(sonde(['restore', backup, '--config', file, '--data', other]).code, 0, 'a flag goes before the file');
  } finally {
    s.child.kill('SIGTERM');
    assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
  }
  assert.ok(!/"log.level":"info"/.test(s.err), 'level = warn holds');
});

test('servers that do not answer: doctor tells each, and no secret appears anywhere', async () => {
  const port = await closedPort(), kept = join(dir, 'kept-2');
  writeFileSync(kept, `${secret}\n`);
  const file = conf(`[server]
listen = 127.0.0.1:0
data = ${dataFolder()}
[db]
url = postgres://u:${secret}@127.0.0.1:${port}/d
[blob]
url = s3+http://127.0.0.1:${port}
key_id = visible
secret = ${secret}
[queue]
url = amqp://u@127.0.0.1:${port}
password_file = ${kept}
[cache]
url = redis://:${secret}@127.0.0.1:${port}
`);
  const env = { SONDE_CACHE_PASSWORD: secret };
  const doctor = sonde(['doctor', '--config', file], { env, timeout: 120_000 });
  assert.equal(doctor.code, 3);
  for (const part of ['database', 'recordings', 'queue', 'cache'])
    assert.match(doctor.out, new RegExp(`^PROBLEM +${part} .*127\\.0\\.0\\.1:${port}.*\\n +-> `, 'm'));
  assert.match(doctor.out, /4 problems/);
  const jobs = sonde(['jobs', '--config', file], { env }), backup = sonde(['backup', join(dir, 'b2'), '--config', file], { env });
  const restore = sonde(['restore', join(dir, 'b2'), '--config', file], { env });
  assert.deepEqual([jobs.code, backup.code, restore.code], [3, 3, 3]);
  assert.equal(existsSync(join(dir, 'b2')), false, 'no half of a backup');
  assert.match(restore.err, /pg_restore/);
  const s = start(file, { ...env, SONDE_LOG_LEVEL: 'debug' });
  let end = null;
  s.exited.then((how) => { end = how; });
  await until(async () => /waiting for the queue/.test(s.err) || end, { timeout: 60_000 });
  assert.equal(end, null, 'it waits for its servers');
  s.child.kill('SIGTERM');
  await s.exited;
  for (const text of [doctor.out, doctor.err, jobs.err, backup.err, restore.err, s.out, s.err])
    assert.ok(!text.includes(secret), text);
});

test('a secret is not in the metrics or answers of a server that works', async () => {
  const file = conf(`[server]\nlisten = 127.0.0.1:0\ndata = ${dataFolder()}\n[log]\nlevel = debug\n[db]\npassword = ${secret}\n` +
    `[blob]\nsecret = ${secret}\n[queue]\npassword = ${secret}\n[cache]\npassword = ${secret}\n`);
  const s = start(file);
  try {
    await address(s);
    for (const path of ['/metrics', '/readyz', '/api/v1/info', '/openapi.json'])
      assert.ok(!(await ask(s, path)).text.includes(secret), path);
  } finally {
    s.child.kill('SIGTERM');
    await s.exited;
  }
  assert.ok(!(s.out + s.err).includes(secret), s.err);
});

test('doctor on real servers: each mistake by itself, the other parts go on', async (t) => {
  const { postgresBin, startPostgres } = await import('../servers/postgres.mjs');
  if (!postgresBin() || !existsSync('/usr/bin/redis-server') || !existsSync('/usr/bin/swift-proxy-server'))
    return t.skip('PostgreSQL, Redis or Swift is not installed');
  const { startRedis } = await import('../servers/redis.mjs');
  const { startSwift } = await import('../servers/swift.mjs');
  const servers = [];
  try {
    const at = (name) => join(dir, 'servers', name);
    mkdirSync(join(dir, 'servers'), { mode: 0o711 });
    chmodSync(dir, 0o711); // the database runs as another user
    for (const started of await Promise.allSettled([startPostgres({ dir: at('postgres'), password: secret }), startRedis({ dir: at('redis'), password: secret }), startSwift({ dir: at('swift') })])) {
      if (started.status === 'rejected') throw started.reason;
      servers.push(started.value);
    }
    const [postgres, redis, swift] = servers;
    const home = dataFolder();
    const env = { ...postgres.settings, ...redis.settings, ...swift.settings, SONDE_DATA: home, SONDE_BLOB_MAKE_BUCKETS: 'no' };
    const doctor = (more = {}) => sonde(['doctor', '--role', 'upload', '--config', conf('')], { env: { ...env, ...more }, timeout: 120_000 });
    const part = (r, name) => new RegExp(`^(ok|PROBLEM) +${name} .*(\\n +->.*)?`, 'm').exec(r.out)?.[0] ?? r.out + r.err;
    const fresh = doctor();
    assert.match(part(fresh, 'recordings'), /^PROBLEM .*sonde-raw/, 'a missing bucket is named');
    const s = start(conf('[server]\nlisten = 127.0.0.1:0\n'), { ...env, SONDE_BLOB_MAKE_BUCKETS: 'yes' });
    await address(s); // makes tables and buckets
    const good = doctor();
    s.child.kill('SIGTERM');
    assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
    assert.equal(good.code, 0, good.out + good.err);
    for (const name of ['database', 'recordings', 'cache']) assert.match(part(good, name), /^ok .*answers in \d+\.\d ms/);
    const url = new URL(env.SONDE_DB_URL), other = Object.assign(new URL(url), { pathname: '/nothing' }).href;
    const cases = [ // the settings that are wrong, the part that is told, what of it
      [{ SONDE_DB_PASSWORD: 'wrong' }, 'database', /password/i],
      [{ SONDE_DB_URL: other }, 'database', /nothing/],
      [{ SONDE_DB_URL: `postgres://sonde@127.0.0.1:${await closedPort()}/sonde` }, 'database', /listen|running|reach/],
      [{ SONDE_CACHE_PASSWORD: 'wrong' }, 'cache', /password|WRONGPASS/i],
      [{ SONDE_BLOB_SECRET: 'wrong' }, 'recordings', /secret|signature/i],
      [{ SONDE_BLOB_PREFIX: 'none-' }, 'recordings', /none-raw/],
    ];
    for (const [more, name, told] of cases) {
      const r = doctor(more), said = part(r, name);
      assert.equal(r.code, 3, r.out + r.err);
      assert.match(said, /^PROBLEM .*\n +-> /, said);
      assert.match(said, told);
      for (const rest of ['database', 'recordings', 'cache'].filter((n) => n !== name)) assert.match(part(r, rest), /^ok /, `${rest} goes on`);
      assert.ok(!(r.out + r.err).includes(secret) && !(r.out + r.err).includes(encodeURIComponent(secret)), r.out);
    }
    const all = { SONDE_CONFIG: conf(''), ...env };
    assert.equal(sonde(['jobs'], { env: all }).code, 0);
    const backup = sonde(['backup', join(dir, 'b3')], { env: all });
    assert.deepEqual([backup.code, existsSync(join(dir, 'b3'))], [3, false]);
    assert.match(backup.err, /pg_dump|base backup/);
  } finally {
    for (const server of servers) await server.stop();
  }
});
