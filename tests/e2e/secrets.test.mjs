// Secrets appear nowhere (C9): marked random ones, right and wrong, in the file, in urls, in the environment and in files of
// their own, through a normal day with uploads, webhooks, errors and servers that go away, at level debug. What is looked
// through: all output, every answer, metrics, command lines, the files of each process, the stored objects.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as ws } from '../api/support/ws.mjs';
import { within } from '../servers/server.mjs';
import { cluster, lacking, writeConf } from './support/cluster.mjs';
import { ask, finished, until, upload } from './support/serve.mjs';
import { descendants, program, scratch, syntheticSpeech } from './support/sonde.mjs';

const skip = lacking();
const slow = /san/.test(process.env.SONDE_BUILD ?? '') ? 4 : 1;
const dir = scratch();

// Each with characters that a url has to write otherwise; every spelling of it is looked for.
const marks = new Map();
function mark(what) {
  const text = `mk${randomBytes(9).toString('hex')}/${what}`;
  return keep(what, text, text.split('/')[0]);
}
// Not the beginning of any secret: of one made by the program that may be two letters, which are everywhere.
function keep(what, text, ...parts) {
  const bytes = Buffer.from(text);
  marks.set(what, [text, encodeURIComponent(text), ...parts, bytes.toString('base64').replace(/=+$/, ''), bytes.toString('hex')]);
  return text;
}
const seen = []; // { where, text }
const keepSeen = (where, text) => { seen.push({ where, text: Buffer.isBuffer(text) ? text.toString('latin1') : String(text) }); return text; };
function found() {
  const list = [];
  for (const { where, text } of seen)
    for (const [what, spellings] of marks)
      for (const one of spellings)
        if (text.includes(one)) list.push(`${what} in ${where}: …${text.slice(Math.max(0, text.indexOf(one) - 80), text.indexOf(one) + 40)}…`);
  return list;
}

// Runs sonde to its end, or for a while; its command line is looked at, too.
async function run(args, env = {}, seconds = 20 * slow) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (d) => { text += d; });
  child.stderr.on('data', (d) => { text += d; });
  const exited = new Promise((resolve) => child.on('close', (code) => resolve({ code })));
  let end = await within(150, exited);
  if (!end) commandLines(child.pid);
  end ??= await within(seconds * 1000, exited);
  if (!end) { child.kill('SIGTERM'); end = await within(15_000, exited); if (!end) { child.kill('SIGKILL'); end = await exited; } }
  keepSeen(`sonde ${args.join(' ')} with ${Object.keys(env).join(' ')}`, text);
  return { code: end.code, text };
}

function commandLines(pid) {
  for (const one of [pid, ...descendants(pid)]) {
    try { keepSeen(`/proc/${one}/cmdline`, readFileSync(`/proc/${one}/cmdline`)); keepSeen(`/proc/${one}/comm`, readFileSync(`/proc/${one}/comm`)); } catch { /* gone */ }
  }
}

function files(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) keepSeen(join(entry.path, entry.name), readFileSync(join(entry.path, entry.name)));
}

test('what is looked for would be found', () => {
  const text = mark('trial');
  for (const one of [text, encodeURIComponent(text), `x${Buffer.from(text).toString('base64')}`]) {
    seen.push({ where: 'trial', text: `before ${one} behind` });
    assert.notEqual(found().length, 0, one);
    seen.pop();
  }
  marks.delete('trial');
});

test('a day with secrets', { skip, timeout: 300_000 * slow }, async (t) => {
  const conf = join(dir, 'day.conf');
  const c = await cluster({
    roles: [['upload', 'inference'], ['keeper', 'upload']],
    options: { postgres: { password: mark('db') }, redis: { password: mark('cache') } },
    args: ['--log-level', 'debug'], env: { SONDE_QUEUE_BACKOFF: '0.2' }, conf: writeConf(conf, { server: { jobs: '1' } }), secretFiles: true,
  });
  t.after(() => c.stop());
  const [a, b] = c.processes;
  keep('s3', c.servers.swift.secret);
  keep('queue', c.servers.rabbitmq.password);
  assert.ok(readFileSync(join(c.dir, 'secrets', 'SONDE_DB_PASSWORD'), 'utf8').includes(marks.get('db')[0]), 'they are in use');

  const headers = { Authorization: `Bearer ${mark('authorization')}`, Cookie: `session=${mark('cookie')}`, 'X-Api-Key': mark('api key') };
  const get = async (at, path, options = {}) => { const reply = await ask(at, path, { headers, ...options }); keepSeen(`answer of ${path}: ${reply.status}`, reply.text + JSON.stringify([...reply.headers])); return reply; };
  const all = async () => { for (const at of [a, b]) for (const path of ['/metrics', '/readyz', '/healthz', '/api/v1/info', '/openapi.json', '/', '/docs', '/api/v1/analyses', '/api/v1/webhooks', '/nothing', '/status?id=nothing', '/api/v1/analyses/0']) await get(at, path); };

  // A webhook, whose secret is told once; uploads that work and that do not; live events.
  const heard = [];
  const receiver = createServer((request, response) => { let body = ''; request.on('data', (d) => { body += d; }); request.on('end', () => { heard.push({ ...request.headers, body }); response.writeHead(heard.length % 2 ? 500 : 204).end(); }); }).listen(0, '127.0.0.1');
  await new Promise((resolve) => receiver.on('listening', resolve));
  t.after(() => receiver.close());
  const hook = await ask(a, '/api/v1/webhooks', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ url: `http://127.0.0.1:${receiver.address().port}/hook` }) });
  assert.equal(hook.status, 201, hook.text);
  keep('webhook', hook.body.secret.replace('whsec_', ''));
  await get(a, '/api/v1/webhooks', { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify({ url: `http://user:${encodeURIComponent(mark('in a webhook'))}@example.org/` }) });
  const ticket = (await ask(a, '/api/v1/events/tickets', { method: 'POST' })).body.ticket;
  keep('ticket', ticket);
  const live = await ws({ port: b.port });
  live.send({ type: 'hello', ticket });
  await live.next((m) => m.type === 'welcome');
  const wav = readFileSync(syntheticSpeech(join(dir, 'it.wav')));
  const sent = await upload(a, { name: 'it.wav', bytes: wav }, { headers });
  keepSeen('upload', sent.text);
  const letter = await upload(b, { name: 'letter.txt', bytes: Buffer.from('a letter') }, { headers });
  await finished(a, sent.body.id, { timeout: 60_000 * slow });
  await finished(a, letter.body.id, { timeout: 60_000 * slow });
  await until(() => heard.length >= 2, { timeout: 30_000 * slow });
  await get(a, `/api/v1/webhooks/${hook.body.id}/deliveries`);
  await get(b, `/status?id=${letter.body.id}`);
  live.drop();
  await all();
  for (const p of c.processes) commandLines(p.pid);

  // Each server goes away and comes back.
  for (const [name, away, back] of [['postgres', () => c.servers.postgres.kill(), () => c.servers.postgres.restart()], ['redis', () => c.servers.redis.kill(), () => c.servers.redis.restart()],
    ['swift', () => c.servers.swift.kill(), () => c.servers.swift.restart()]]) {
    await away();
    await Promise.all([get(a, '/readyz'), get(b, '/api/v1/analyses?limit=1'), upload(a, { name: `${name}.wav`, bytes: wav.subarray(0, 2000) }, { headers }).then((r) => keepSeen(`upload without ${name}`, r.text))]);
    await get(b, '/readyz');
    await back();
  }
  await c.ready();
  // A password that is changed under a running process.
  await c.servers.postgres.sql(c.servers.postgres.nodes[0], `ALTER ROLE sonde PASSWORD '${mark('of another')}'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'sonde'`).catch(() => {});
  await until(async () => (await get(a, '/readyz')).status === 503, { timeout: 30_000 * slow });
  await get(a, '/api/v1/analyses');
  await all();

  for (const bucket of ['sonde-raw', 'sonde-processed'])
    for (const { key } of await c.objects(bucket)) keepSeen(`object ${key}`, (await c.servers.swift.request({ path: `/${bucket}/${key}` })).body);
  for (const p of c.processes) { keepSeen(`log of ${p.name}`, JSON.stringify(p.log())); files(p.data); }
  assert.ok(c.processes.every((p) => p.log().some((line) => line['log.level'] === 'debug')), 'level debug holds');
  for (const p of c.processes) { await p.stop(); keepSeen(`log of ${p.name}`, JSON.stringify(p.log())); }
  assert.deepEqual(found(), []);
});

test('wrong and right secrets, wherever they are written', { skip, timeout: 300_000 * slow }, async (t) => {
  const c = await cluster({ roles: [], options: { postgres: { password: mark('db-2') }, redis: { password: mark('cache-2') } } });
  t.after(() => c.stop());
  const s = c.settings, wrong = mark('wrong'), e = encodeURIComponent(wrong);
  keep('s3', s.SONDE_BLOB_SECRET);
  keep('queue', s.SONDE_QUEUE_PASSWORD);
  const at = (url) => new URL(url.replace(/^[\w+]+:/, 'http:')).host;
  const [db, s3, amqp, redis] = [s.SONDE_DB_URL, s.SONDE_BLOB_URL, s.SONDE_QUEUE_URL, s.SONDE_CACHE_URL].map(at);
  const secret = join(dir, 'secret');
  writeFileSync(secret, `${wrong}\nand a second line ${wrong}\n`, { mode: 0o600 });
  const kept = join(dir, 'kept');
  writeFileSync(kept, `${wrong}\n`, { mode: 0o600 });
  const none = { SONDE_DB_PASSWORD: '', SONDE_QUEUE_PASSWORD: '', SONDE_CACHE_PASSWORD: '' };
  const cases = [
    s,
    { ...s, SONDE_DB_PASSWORD: wrong, SONDE_BLOB_SECRET: wrong, SONDE_QUEUE_PASSWORD: wrong, SONDE_CACHE_PASSWORD: wrong },
    { ...s, ...none, SONDE_DB_PASSWORD_FILE: kept, SONDE_BLOB_SECRET: '', SONDE_BLOB_SECRET_FILE: kept, SONDE_QUEUE_PASSWORD_FILE: kept, SONDE_CACHE_PASSWORD_FILE: kept },
    { ...s, ...none, SONDE_DB_PASSWORD_FILE: secret, SONDE_BLOB_SECRET: '', SONDE_BLOB_SECRET_FILE: secret, SONDE_QUEUE_PASSWORD_FILE: secret, SONDE_CACHE_PASSWORD_FILE: secret },
    { ...s, ...none, SONDE_DB_URL: `postgres://sonde:${e}@${db}/sonde`, SONDE_BLOB_URL: `s3+http://key:${e}@${s3}`, SONDE_QUEUE_URL: `amqp://sonde:${e}@${amqp}/`, SONDE_CACHE_URL: `redis://:${e}@${redis}` },
    // Not written as a url wants it.
    { ...s, ...none, SONDE_DB_URL: `postgres://sonde:${wrong}@${db}/sonde`, SONDE_QUEUE_URL: `amqp://sonde:${wrong}@${amqp}/`, SONDE_CACHE_URL: `redis://:${wrong}@${redis}` },
    { ...s, ...none, SONDE_DB_URL: `postgres://sonde:x@${e}@${db}:z/sonde`, SONDE_QUEUE_URL: `amqp://sonde:x@${e}@${amqp}:z/`, SONDE_CACHE_URL: `redis://:x@${e}@${redis}:z` },
    { ...s, ...none, SONDE_DB_URL: `postgres://sonde@${db}/sonde?password=${e}&sslmode=nonsense`, SONDE_QUEUE_URL: `amqp://sonde@${amqp}/?password=${e}`, SONDE_CACHE_URL: `redis://${redis}/0?password=${e}` },
    { ...s, ...none, SONDE_DB_URL: `mysql://sonde:${e}@${db}/sonde`, SONDE_BLOB_URL: `gs://key:${e}@${s3}`, SONDE_QUEUE_URL: `kafka://sonde:${e}@${amqp}/`, SONDE_CACHE_URL: `memcached://:${e}@${redis}` },
    { ...s, SONDE_DB_REPLICAS: `postgres://sonde:${e}@127.0.0.1:1/sonde postgres://sonde:${e}@${db}/sonde` },
    { ...s, SONDE_DB_PASWORD: wrong, SONDE_BLOB_SECRETS: wrong, SONDE_CACHE_URL: `redis://:${e}@127.0.0.1:1` },
  ];
  let n = 0;
  for (const settings of cases) {
    const file = join(dir, `c${++n}.conf`), sections = {}, data = join(dir, `data-${n}`);
    mkdirSync(data);
    for (const [name, value] of Object.entries(settings)) { const [, section, key] = /^SONDE_([A-Z]+)_(\w+)$/.exec(name); if (value) (sections[section.toLowerCase()] ??= {})[key.toLowerCase()] = value; }
    sections.server = { listen: '127.0.0.1:0', data, role: 'keeper' };
    sections.log = { level: 'debug' };
    writeConf(file, sections);
    const env = { ...settings, SONDE_SERVER_DATA: data, SONDE_DATA: data, SONDE_LISTEN: '127.0.0.1:0', SONDE_SERVER_ROLE: 'keeper', SONDE_LOG_LEVEL: 'debug' };
    const ways = [[['--config', file], {}], [[], env]];
    await Promise.all(ways.map(async ([args, more]) => {
      for (const command of [['config', 'print'], ['config', 'print', '--json'], ['config', 'check'], ['doctor'], ['jobs'], ['backup', join(dir, `backup-${n}`)]]) await run([...command, ...args], more);
    }));
    const r = await run(['serve', '--config', file], {}, 3 * slow);
    if (n === 1) assert.match(r.text, /ready/, r.text);
    files(data);
  }
  const doctor = seen.find((one) => one.where.startsWith('sonde doctor'));
  assert.match(doctor.text, /All is well/, doctor.text);
  assert.deepEqual(found(), []);
});
