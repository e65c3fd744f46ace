// Wrong settings and servers in trouble (C9, B9-B12): for each, `sonde doctor` and the log of `sonde serve` name the part, the
// cause and the cure in one line, soon. What can be had is a real server; versions that no package here has, and a clock that
// is wrong, are scripted. SONDE_TABLE=1 prints what is said.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lacking, startServers } from '../servers/all.mjs';
import { startPostgres } from '../servers/postgres.mjs';
import { startRedis } from '../servers/redis.mjs';
import { makeCertificates, startTlsFront } from '../servers/swift.mjs';
import { within } from '../servers/server.mjs';
import { writeConf } from './support/cluster.mjs';
import { program } from './support/sonde.mjs';

const skip = lacking();
const slow = /san/.test(process.env.SONDE_BUILD ?? '') ? 4 : 1;
const dir = mkdtempSync(join(tmpdir(), 'sonde-doctor-'));
const ends = [], running = new Set();
after(async () => {
  for (const child of running) child.kill('SIGKILL');
  const failures = [];
  for (const end of ends.reverse()) await Promise.resolve().then(end).catch((error) => failures.push(error)); // all of them: none may be left running
  rmSync(dir, { recursive: true, force: true });
  if (failures.length) throw failures[0];
});

// --- servers that are not what they should be

// On a free port; `talk` gets each connection.
async function scripted(talk) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    talk(socket);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  ends.push(() => { for (const socket of sockets) socket.destroy(); server.close(); });
  return server.address().port;
}

async function closedPort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// PostgreSQL's protocol as far as a client's first questions.
function oldPostgres(socket) {
  const message = (type, ...parts) => { const body = Buffer.concat(parts.map((p) => Buffer.from(p))); const head = Buffer.alloc(5); head.write(type); head.writeInt32BE(body.length + 4, 1); return Buffer.concat([head, body]); };
  const told = (name, value) => message('S', `${name}\0${value}\0`);
  const idle = message('Z', 'I');
  let greeted = false;
  socket.on('data', (data) => {
    if (!greeted && data.length === 8) return socket.write('N'); // no TLS
    if (!greeted) {
      greeted = true;
      return socket.write(Buffer.concat([message('R', [0, 0, 0, 0]), told('server_version', '9.6.24'), told('server_encoding', 'UTF8'), told('client_encoding', 'UTF8'), idle]));
    }
    const column = Buffer.concat([Buffer.from([0, 1]), Buffer.from('transaction_read_only\0'), Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0])]);
    if (data[0] === 0x51) socket.write(Buffer.concat([message('T', column), message('D', [0, 1, 0, 0, 0, 3], 'off'), message('C', 'SHOW\0'), idle]));
  });
}

// Refuses every request for its date, which is an hour and a half from its own.
function lateS3(socket) {
  const body = '<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>';
  const date = () => new Date(Date.now() + 90 * 60_000).toUTCString();
  socket.on('data', () => socket.write(`HTTP/1.1 403 Forbidden\r\nDate: ${date()}\r\nContent-Type: application/xml\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
}

// --- what is said

function start(args, more = {}) {
  const env = { ...process.env, ...secrets, ...more };
  for (const [name, value] of Object.entries(env)) if (value === null) delete env[name];
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const s = { child, out: '', err: '', exited: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal }))) };
  child.stdout.on('data', (d) => { s.out += d; });
  child.stderr.on('data', (d) => { s.err += d; });
  s.lines = () => s.err.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  running.add(child);
  s.exited.then(() => running.delete(child));
  return s;
}

async function doctor(more) {
  const began = performance.now(), s = start(['doctor', '--config', file], more);
  const end = await within(60_000 * slow, s.exited);
  assert.ok(end, `no end of doctor: ${s.out}`);
  return { ...end, out: s.out, err: s.err, seconds: (performance.now() - began) / 1000 };
}
const part = (out, name) => new RegExp(`^\\w+ +${name} [^]*?(?=\\n\\w|\\n\\n|$(?![^]))`, 'm').exec(out)?.[0] ?? `nothing of ${name}: ${out}`;

let folders = 0;
const serve = (more, ...args) => start(['serve', '--config', file, '--data', join(dir, `data-${++folders}`), '--log-format', 'json', ...args], more);
const parts = { database: 'the database', recordings: "the recordings' store", queue: 'the queue', cache: 'the cache' };

let file, c, secrets = {}, cases = [];
async function prepare() {
  mkdirSync(dir, { recursive: true });
  execFileSync('chmod', ['711', dir]);
  c = await startServers({ dir: join(dir, 'servers'), options: { swift: { tls: true }, rabbitmq: { tls: true }, redis: { password: 'of-redis' } } });
  ends.push(() => c.stop());
  const conf = { server: { listen: '127.0.0.1:0', data: join(dir, 'data'), role: 'keeper' } };
  for (const [name, value] of Object.entries(c.settings)) {
    const [, section, key] = /^SONDE_([A-Z]+)_(\w+)$/.exec(name);
    if (/PASSWORD|SECRET/.test(key)) secrets[name] = value;
    else (conf[section.toLowerCase()] ??= {})[key.toLowerCase()] = value;
  }
  file = writeConf(join(dir, 'sonde.conf'), conf);
  const pg = await startPostgres({ dir: join(dir, 'tls-postgres'), tls: true });
  ends.push(() => pg.stop());
  const redis = await startRedis({ dir: join(dir, 'tls-redis'), tls: true });
  ends.push(() => redis.stop());
  const full = await startRedis({ dir: join(dir, 'full-redis'), lines: ['maxmemory 1', 'maxmemory-policy noeviction'] });
  ends.push(() => full.stop());
  const pair = await startPostgres({ dir: join(dir, 'pair'), replicas: 1, password: c.postgres.password });
  ends.push(() => pair.stop());
  const other = makeCertificates(join(dir, 'other')).ca;
  const closed = await closedPort(), hole = await scripted(() => {});
  const ports = { postgres: c.postgres.nodes[0].port, redis: c.redis.nodes[0].port, rabbitmq: c.rabbitmq.port, swift: c.swift.port };
  const db = (host, more = '') => ({ SONDE_DB_URL: `postgres://sonde@${host}/sonde${more}` });
  await c.postgres.sql(c.postgres.nodes[0], 'CREATE DATABASE frozen', 'postgres');
  await c.postgres.sql(c.postgres.nodes[0], 'ALTER DATABASE frozen SET default_transaction_read_only = on', 'postgres');
  await c.postgres.sql(c.postgres.nodes[0], "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", 'postgres');
  await c.postgres.sql(c.postgres.nodes[0], "CREATE ROLE stranger LOGIN PASSWORD 'of-stranger'", 'postgres');
  const at = (url, more = {}) => ({ SONDE_QUEUE_URL: url, ...more });
  const s3 = (port, more = {}) => ({ SONDE_BLOB_URL: `s3+http://127.0.0.1:${port}`, ...more });
  const cache = (port, more = {}) => ({ SONDE_CACHE_URL: `redis://127.0.0.1:${port}`, ...more });
  // part, what is wrong, the settings, what is told of it; `waits`: it may come, so serve waits.
  const waits = true;
  cases = [
    ['database', 'wrong password', { SONDE_DB_PASSWORD: 'wrong' }, /password of the user is wrong, or there is no user sonde/],
    ['database', 'no password', { SONDE_DB_PASSWORD: null }, /wants a password; set SONDE_DB_PASSWORD/],
    ['database', 'unknown user', { SONDE_DB_URL: `postgres://nobody@127.0.0.1:${ports.postgres}/sonde` }, /or there is no user nobody/],
    ['database', 'user without rights', { SONDE_DB_URL: `postgres://stranger@127.0.0.1:${ports.postgres}/postgres`, SONDE_DB_PASSWORD: 'of-stranger' }, /permission denied .* make the user the owner/],
    ['database', 'closed port', db(`127.0.0.1:${closed}`), /nobody listens there; is it running/, waits],
    ['database', 'black hole', db(`127.0.0.1:${hole}`), /does not answer; is it up/, waits],
    ['database', 'unknown host name', db('no-such-host.invalid'), /host name is unknown/, waits],
    ['database', 'no such database', { SONDE_DB_URL: `postgres://sonde@127.0.0.1:${ports.postgres}/nothing` }, /no such database; createdb makes one/],
    ['database', 'other CA', db(`127.0.0.1:${pg.nodes[0].port}`, `?sslmode=verify-full&sslrootcert=${other}`), /certificate is of another authority; check sslrootcert/],
    ['database', 'missing CA file', db(`127.0.0.1:${pg.nodes[0].port}`, '?sslmode=verify-full&sslrootcert=/nowhere/ca.pem'), /file of sslrootcert is not there/],
    ['database', 'no TLS there', db(`127.0.0.1:${ports.postgres}`, '?sslmode=require'), /speaks no TLS; turn ssl on there/],
    ['database', 'TLS wanted there', db(`127.0.0.1:${pg.nodes[0].port}`, '?sslmode=disable'), /pg_hba\.conf .*TLS \(sslmode\)/],
    ['database', 'it is Redis', db(`127.0.0.1:${ports.redis}`), /is that PostgreSQL's port/, waits],
    ['database', 'it is RabbitMQ', db(`127.0.0.1:${ports.rabbitmq}`), /what answers there is not PostgreSQL/, waits],
    ['database', 'it is S3', db(`127.0.0.1:${ports.swift}`), /PostgreSQL's port|not PostgreSQL/, waits],
    ['database', 'read-only', { SONDE_DB_URL: `postgres://sonde@127.0.0.1:${ports.postgres}/frozen` }, /takes no writes; .*default_transaction_read_only/, waits],
    ['database', 'a standby', db(`127.0.0.1:${pair.nodes[1].port}`), /takes no writes; (name the primary|a replica must be promoted)/, waits],
    ['database', 'not UTF-8', { SONDE_DB_URL: `postgres://sonde@127.0.0.1:${ports.postgres}/latin` }, /encoded in LATIN1; make one with ENCODING/],
    ['database', 'too old', db(`127.0.0.1:${await scripted(oldPostgres)}`), /version 9; sonde needs 14/],
    ['recordings', 'wrong secret', { SONDE_BLOB_SECRET: 'wrong' }, /SONDE_BLOB_SECRET is not that of key test:tester/],
    ['recordings', 'unknown key', { SONDE_BLOB_KEY_ID: 'nobody:here' }, /key nobody:here, there is no such key/],
    ['recordings', 'closed port', s3(closed), /cannot be reached .*is it up/, waits],
    ['recordings', 'black hole', s3(hole), /no answer in time: is it up/, waits],
    ['recordings', 'unknown host name', { SONDE_BLOB_URL: 's3+http://no-such-host.invalid:9000' }, /resolve host/, waits],
    ['recordings', 'no such bucket', { SONDE_BLOB_PREFIX: 'none-', SONDE_BLOB_MAKE_BUCKETS: 'no' }, /no bucket none-raw: make it/],
    ['recordings', 'other CA', { SONDE_BLOB_URL: c.swift.front.url, SONDE_BLOB_CA_FILE: other }, /SONDE_BLOB_CA_FILE must hold who signed/, waits],
    ['recordings', 'missing CA file', { SONDE_BLOB_URL: c.swift.front.url, SONDE_BLOB_CA_FILE: '/nowhere/ca.pem' }, /cannot read \/nowhere\/ca\.pem \(SONDE_BLOB_CA_FILE\)/],
    ['recordings', 'no TLS there', { SONDE_BLOB_URL: `s3://127.0.0.1:${ports.swift}` }, /no TLS .* use s3\+http/, waits],
    ['recordings', 'TLS wanted there', s3(c.swift.front.port), /If it speaks TLS, use s3:/, waits],
    ['recordings', 'it is PostgreSQL', s3(ports.postgres), /is it an S3 server/, waits],
    ['recordings', 'it is Redis', s3(ports.redis), /is it an S3 server/, waits],
    ['recordings', 'it is RabbitMQ', s3(ports.rabbitmq), /speaks no HTTP/, waits],
    ['recordings', 'clocks apart', s3(await scripted(lateS3)), /clock is (89|90) minutes ahead of this machine's; set both \(NTP\)/],
    ['queue', 'wrong password', { SONDE_QUEUE_PASSWORD: 'wrong' }, /refuses user sonde: wrong name or password/],
    ['queue', 'unknown user', at(`amqp://nobody@127.0.0.1:${ports.rabbitmq}`), /refuses user nobody: wrong name or password/],
    ['queue', 'closed port', at(`amqp://sonde@127.0.0.1:${closed}`), /nobody listens there; is it running/, waits],
    ['queue', 'black hole', at(`amqp://sonde@127.0.0.1:${hole}`), /says nothing: is it RabbitMQ/, waits],
    ['queue', 'unknown host name', at('amqp://sonde@no-such-host.invalid'), /host name of the broker at no-such-host\.invalid:5672 is unknown/, waits],
    ['queue', 'no such vhost', at(`amqp://sonde@127.0.0.1:${ports.rabbitmq}/nothing`), /no virtual host "nothing" for user sonde; add it/],
    ['queue', 'other CA', at(`amqps://sonde@localhost:${c.rabbitmq.tlsPort}/`, { SONDE_QUEUE_CA_FILE: other }), /not signed by .*other\/ca\.pem: set SONDE_QUEUE_CA_FILE/, waits],
    ['queue', 'missing CA file', at(`amqps://sonde@localhost:${c.rabbitmq.tlsPort}/`, { SONDE_QUEUE_CA_FILE: '/nowhere/ca.pem' }), /\/nowhere\/ca\.pem holds no certificates/],
    ['queue', 'no TLS there', at(`amqps://sonde@127.0.0.1:${ports.rabbitmq}`), /no TLS .*5671/, waits],
    ['queue', 'TLS wanted there', at(`amqp://sonde@127.0.0.1:${c.rabbitmq.tlsPort}`), /hangs up: is it RabbitMQ, or a port for TLS/, waits],
    ['queue', 'it is PostgreSQL', at(`amqp://sonde@127.0.0.1:${ports.postgres}`), /is it RabbitMQ/, waits],
    ['queue', 'it is Redis', at(`amqp://sonde@127.0.0.1:${ports.redis}`), /is it RabbitMQ/, waits],
    ['queue', 'it is S3', at(`amqp://sonde@127.0.0.1:${ports.swift}`), /is it RabbitMQ/, waits],
    ['queue', 'AMQP 1.0 only', at(`amqp://sonde@127.0.0.1:${await scripted((s) => s.once('data', () => s.end('AMQP\0\x01\0\0')))}`), /does not speak AMQP 0-9-1: is it RabbitMQ/, waits],
    ['cache', 'wrong password', { SONDE_CACHE_PASSWORD: 'wrong' }, /refuses the user or the password; check SONDE_CACHE_PASSWORD/],
    ['cache', 'no password', { SONDE_CACHE_PASSWORD: null }, /wants a password; set SONDE_CACHE_PASSWORD/],
    ['cache', 'unknown user', { SONDE_CACHE_URL: `redis://nobody@127.0.0.1:${ports.redis}` }, /refuses the user or the password; .*and the user in the URL/],
    ['cache', 'closed port', cache(closed), /Connection refused/],
    ['cache', 'black hole', cache(hole), /no answer in time/],
    ['cache', 'unknown host name', { SONDE_CACHE_URL: 'redis://no-such-host.invalid' }, /looking up no-such-host\.invalid/],
    ['cache', 'no such number', { SONDE_CACHE_URL: `redis://127.0.0.1:${ports.redis}/99` }, /fewer databases than the number in the URL/],
    ['cache', 'other CA', { SONDE_CACHE_URL: `rediss://127.0.0.1:${redis.nodes[0].port}`, SONDE_CACHE_CA_FILE: other, SONDE_CACHE_PASSWORD: null }, /certificate; check the CA file/],
    ['cache', 'missing CA file', { SONDE_CACHE_URL: `rediss://127.0.0.1:${redis.nodes[0].port}`, SONDE_CACHE_CA_FILE: '/nowhere/ca.pem' }, /\/nowhere\/ca\.pem' holds no certificates/, 'ends'],
    ['cache', 'no TLS there', { SONDE_CACHE_URL: `rediss://127.0.0.1:${ports.redis}` }, /no TLS comes back; without TLS the url is redis:/],
    ['cache', 'TLS wanted there', cache(redis.nodes[0].port), /hangs up; is it Redis, or a port for TLS/],
    ['cache', 'it is PostgreSQL', cache(ports.postgres), /is it Redis/],
    ['cache', 'it is RabbitMQ', cache(ports.rabbitmq), /does not speak Redis's protocol/],
    ['cache', 'it is S3', cache(ports.swift), /does not speak Redis's protocol/],
    ['cache', 'memory full', cache(full.nodes[0].port, { SONDE_CACHE_PASSWORD: null }), /memory is full; raise its maxmemory/],
    ['cache', 'too old for users', { SONDE_CACHE_URL: `redis://someone@127.0.0.1:${await scripted((s) => s.on('data', () => s.write("-ERR wrong number of arguments for 'auth' command\r\n")))}` }, /older than 6\.0 and knows no users/],
  ];
}
if (!skip) await prepare();
let endless;
if (!skip) {
  const began = performance.now();
  endless = serve({ SONDE_QUEUE_URL: `amqp://sonde@127.0.0.1:${await closedPort()}` });
  endless.exited.then(() => { endless.seconds = (performance.now() - began) / 1000; });
}


// Both at once, since each waits for the other side most of the time.
async function tell([name, what, more, told, mode]) {
  const s = serve(more), began = performance.now();
  const line = (async () => {
    for (;;) {
      const found = s.lines().find((one) => one.message.includes(parts[name]));
      if (found) return found;
      if (await within(50, s.exited)) return s.lines().find((one) => one.message.includes(parts[name])) ?? null;
    }
  })();
  const r = await doctor(more), said = part(r.out, name);
  const logged = await within(15_000 * slow, line), seconds = (performance.now() - began) / 1000;
  if (process.env.SONDE_TABLE) console.log(`${name} | ${what} | ${r.seconds.toFixed(1)} s\n${said}\n${logged?.['log.level']}: ${logged?.message}; ${logged?.['error.message']} -> ${logged?.['labels.cure']}\n`);
  assert.equal(r.code, 3, r.out + r.err);
  assert.match(said, /^PROBLEM [^\n]*\n +-> [^\n]+$/, said);
  assert.match(said.split('\n')[0], told);
  assert.ok(r.seconds < 15 * slow, `${r.seconds} s`);
  for (const rest of Object.keys(parts).filter((one) => one !== name)) assert.match(part(r.out, rest), /^ok /, `${rest} goes on: ${r.out}`);
  assert.ok(logged, `nothing of ${parts[name]}: ${s.err}`);
  assert.match(logged['error.message'], told);
  assert.ok(logged['labels.cure'].length > 20);
  assert.ok(seconds < 15 * slow, `${seconds} s`);
  // It either ends, or goes on without the part, or waits; and does what it is told meanwhile.
  const goes = mode === true ? 'waits' : mode ?? (name === 'cache' ? 'works' : 'ends');
  assert.match(logged.message, { waits: /^waiting for /, works: / does not work: sonde goes on without it/, ends: /^cannot start without / }[goes]);
  if (goes === 'ends') {
    assert.deepEqual(await within(15_000 * slow, s.exited), { code: 3, signal: null });
    assert.equal(s.out, '');
    return;
  }
  for (const until = performance.now() + 20_000 * slow; goes === 'works' && !/ready/.test(s.out) && performance.now() < until;) await within(50, s.exited);
  assert.equal(/ready/.test(s.out), goes === 'works', s.out + s.err);
  s.child.kill('SIGTERM');
  assert.deepEqual(await within(15_000 * slow, s.exited), { code: 0, signal: null }, s.err);
}

for (const name of Object.keys(parts))
  test(`${name}: each mistake is told, with its cure`, { skip, timeout: 300_000 * slow }, async (t) => {
    const left = cases.filter((one) => one[0] === name), again = [], wrong = [];
    const lane = async () => { for (let one; (one = left.shift());) await tell(one).catch(() => again.push(one)); };
    await Promise.all([lane(), lane(), lane()]);
    // On a busy machine a server may be too slow for a moment, and is then told to be away, which is right: once more, by itself.
    if (again.length) t.diagnostic(`asked again: ${again.map((one) => one[1])}`);
    for (const one of again) await tell(one).catch((error) => wrong.push(`${one[0]}, ${one[1]}: ${error.message}`));
    assert.deepEqual(wrong, []);
  });

test('before the first start nothing is wrong, and after it neither', { skip, timeout: 120_000 * slow }, async () => {
  await c.postgres.sql(c.postgres.nodes[0], 'CREATE DATABASE fresh', 'postgres');
  const fresh = { SONDE_DB_URL: `postgres://sonde@127.0.0.1:${c.postgres.nodes[0].port}/fresh`, SONDE_BLOB_PREFIX: 'fresh-', SONDE_QUEUE_URL: `${c.rabbitmq.url()}?prefix=fresh.` };
  const before = await doctor(fresh);
  assert.equal(before.code, 0, before.out);
  assert.match(before.out, /^ok +tables +none yet: the first start/m);
  assert.match(before.out, /^ok +recordings +buckets are missing: the start of the server makes them/m);
  const s = serve(fresh);
  for (const until = performance.now() + 30_000 * slow; !/ready/.test(s.out) && performance.now() < until;) await within(50, s.exited);
  const after = await doctor(fresh);
  s.child.kill('SIGTERM');
  assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
  assert.equal(after.code, 0, after.out);
  assert.match(after.out, /^ok +tables +tables and constraints are sound/m);
});

test('servers that come later are waited for; all that are missing are told', { skip, timeout: 180_000 * slow }, async () => {
  await c.redis.kill();
  await c.postgres.nodes[0].stop();
  await c.swift.kill();
  const s = serve({});
  const seen = (text) => s.lines().filter((line) => line.message.includes(text));
  const until = async (look, what) => { for (const end = performance.now() + 60_000 * slow; !look(); await within(50, s.exited)) assert.ok(performance.now() < end, `${what}: ${s.err}`); };
  await until(() => seen('waiting for the database').length && seen("waiting for the recordings' store").length && seen('the cache does not work').length, 'told');
  assert.equal(seen('the queue').length, 0, 'that one is there');
  await within(5000, s.exited);
  assert.equal(seen('waiting for the database').length, 1, 'told once, not every two seconds');
  await c.postgres.nodes[0].restart();
  await until(() => s.lines().some((line) => line.message === 'it answers now' && line['labels.part'] === 'the database'), 'the database is back');
  assert.equal(s.out, '', 'and the other one is still waited for');
  await c.swift.restart();
  await until(() => /ready/.test(s.out), 'ready');
  await c.redis.restart();
  s.child.kill('SIGTERM');
  assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
});

// Started first, since it takes its minute.
test('but not for ever', { skip, timeout: 150_000 * slow }, async () => {
  assert.deepEqual(await within(120_000 * slow, endless.exited), { code: 3, signal: null });
  assert.ok(endless.seconds > 55, `${endless.seconds} s`);
  const last = endless.lines().at(-1);
  assert.deepEqual([last['log.level'], last.message], ['error', 'cannot start without the queue']);
  assert.ok(endless.lines().filter((line) => line.message === 'waiting for the queue').length >= 2, 'told again now and then');
});

test('a broker that takes no messages: uploads are taken, and the doctor tells where they stay', { skip, timeout: 120_000 * slow }, async () => {
  const s = serve({}, '--role', 'upload'), wav = Buffer.alloc(1000, 'a letter');
  await c.rabbitmq.block();
  try {
    for (const end = performance.now() + 30_000 * slow; !/ready/.test(s.out) && performance.now() < end;) await within(50, s.exited);
    const form = new FormData();
    form.append('file', new Blob([wav]), 'letter.wav');
    const reply = await fetch(`${/open (http:\/\/[^\s/]+)/.exec(s.out)[1]}/upload`, { method: 'POST', body: form });
    assert.equal(reply.status, 202);
    for (const end = performance.now() + 20_000 * slow; !s.lines().some((line) => /takes no messages \(low on memory\)/.test(line['error.message'] ?? '')); await within(50, s.exited)) assert.ok(performance.now() < end, s.err);
    const r = await doctor({});
    assert.equal(r.code, 3, r.out);
    assert.match(r.out, /^PROBLEM +queue +1 messages stay in the outbox: nobody hands them to the broker\n +-> .*out of memory or disk/m);
    assert.ok(r.seconds < 15 * slow);
  } finally {
    await c.rabbitmq.unblock();
  }
  let r;
  for (const end = performance.now() + 30_000 * slow; (r = await doctor({})).code !== 0;) assert.ok(performance.now() < end, r.out);
  s.child.kill('SIGTERM');
  assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
});

test('what a client is told names no server', { skip, timeout: 120_000 * slow }, async () => {
  const s = serve({}, '--role', 'upload');
  for (const end = performance.now() + 30_000 * slow; !/ready/.test(s.out) && performance.now() < end;) await within(50, s.exited);
  const url = /open (http:\/\/[^\s/]+)/.exec(s.out)[1];
  await c.postgres.kill();
  const reply = await fetch(`${url}/api/v1/analyses`), text = await reply.text();
  await c.postgres.restart();
  assert.equal(reply.status, 503, text);
  assert.equal(JSON.parse(text).code, 'unavailable');
  assert.ok(!/127\.0\.0\.1|PostgreSQL|sonde@/.test(text), text);
  assert.ok(s.lines().some((line) => line['error.message']?.includes('PostgreSQL at 127.0.0.1')), 'the log does');
  s.child.kill('SIGTERM');
  assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
});

// A small disk of its own can only be had by root.
const mounts = (() => { try { const at = join(dir, 'try'); mkdirSync(at, { recursive: true }); execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', at], { stdio: 'ignore' }); execFileSync('umount', [at]); return true; } catch { return false; } })();
test('a database whose disk is full', { skip: skip || !mounts && 'cannot mount a small disk', timeout: 120_000 * slow }, async () => {
  const small = join(dir, 'small');
  mkdirSync(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=0755', 'none', small]);
  ends.push(() => execFileSync('umount', ['-l', small])); // a process of the server may be on its way out
  const pg = await startPostgres({ dir: join(small, 'pg') });
  ends.push(() => pg.stop());
  try { execFileSync('dd', ['if=/dev/zero', `of=${join(small, 'fill')}`, 'bs=64k'], { stdio: 'ignore' }); } catch { /* full: as wanted */ }
  try { execFileSync('dd', ['if=/dev/zero', `of=${join(small, 'rest')}`, 'bs=512'], { stdio: 'ignore' }); } catch { /* the last bytes */ }
  const settings = { SONDE_DB_URL: pg.settings.SONDE_DB_URL, SONDE_DB_PASSWORD: pg.settings.SONDE_DB_PASSWORD };
  await tell(['database', 'disk full', settings, /is its disk full|its disk is full|No space left/, true]);
  rmSync(join(small, 'fill'));
  rmSync(join(small, 'rest'), { force: true });
  assert.match(part((await doctor(settings)).out, 'database'), /^ok /);
});
