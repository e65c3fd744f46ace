// What the process says of itself: alive, ready, metrics, info, its document, its log (A3, B4, B12).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, sonde, source } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, nobody, sleep, speech, variant } from './support/api.mjs';
import { receiver } from './support/receiver.mjs';
import { listen } from './support/ws.mjs';

const dir = scratch();
const server = await serve({ args: ['--log-level', 'debug', '--keep-results', '90'], env: { SONDE_QUEUE_BACKOFF: '0.2', no_proxy: '*' } });
const api = await client(server);
const wav = speech(dir);

test('alive, ready, and what info says', async () => {
  assert.deepEqual([(await api.get('/healthz')).text, (await api.get('/healthz')).status], ['ok\n', 200]);
  const { body } = await api.get('/readyz');
  assert.equal(body.status, 'ready');
  assert.deepEqual(body.checks.map((c) => [c.name, c.ok]), ['model', 'db', 'blob', 'queue', 'cache'].map((name) => [name, true]));
  const info = (await api.get('/api/v1/info')).body;
  assert.match(info.version, /^\d+\.\d+\.\d+/);
  assert.deepEqual(info.retention, { audio_days: 30, result_days: 90 });
  assert.deepEqual(info.limits.upload_bytes, 512 << 20);
  const [line] = JSON.parse(`[${sonde(['detect', '--json', join(dir, 'speech.wav')]).out}]`);
  assert.equal(info.model.sha256, line.model.sha256);
  assert.ok(Math.abs(info.model.threshold - line.threshold) < 1e-6);
  assert.equal(info.model.prior, line.prior);
  assert.ok(info.model.rates.miss_low < info.model.rates.miss && info.model.rates.miss < info.model.rates.miss_high);
});

test('probes answer pages of any site, the rest does not', async () => {
  for (const path of ['/healthz', '/readyz', '/metrics']) assert.equal((await api.get(path, { Host: 'probe.example', Origin: 'https://other.example' })).status, 200, path);
  for (const headers of [{ Origin: 'https://other.example' }, { Host: 'rebound.example' }, { 'Sec-Fetch-Site': 'cross-site' }, { 'Sec-Fetch-Site': 'same-site' }]) {
    for (const [method, path] of [['GET', '/api/v1/info'], ['GET', '/api/v1/analyses'], ['POST', '/upload'], ['DELETE', `/api/v1/analyses/${nobody}`], ['GET', '/nowhere'], ['PUT', '/upload'], ['OPTIONS', '/upload']]) {
      const reply = await api.call(path, { method, headers });
      assert.equal(reply.body.code, 'cross_site', `${method} ${path} ${JSON.stringify(headers)} ${reply.status}`);
      assert.equal(reply.headers['access-control-allow-origin'], undefined);
    }
  }
});

test('/openapi.json is a document that hangs together, and /docs shows it', async () => {
  const { document } = api;
  assert.equal(document.openapi, '3.1.0');
  const ids = api.routes.map((r) => r.operation.operationId);
  assert.equal(new Set(ids).size, ids.length);
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map((m) => m[1]);
  for (const name of refs) assert.ok(document.components.schemas[name], name);
  // Each schema is used: by a route, or by one that is; two are for what is not an answer.
  for (const name of Object.keys(document.components.schemas)) assert.ok(refs.includes(name) || ['Event', 'WebhookMessage'].includes(name), `${name} is not used`);
  for (const { operation } of api.routes) assert.ok(operation.summary && operation.tags?.length && operation.responses.default, operation.operationId);
  // Codes come from the program's own tables.
  const slugs = (file, row) => [...readFileSync(join(source, file), 'utf8').matchAll(new RegExp(`^${row}\\(\\w+, "(\\w+)"`, 'gm'))].map((m) => m[1]);
  assert.deepEqual(document.components.schemas.Problem.properties.code.enum, slugs('src/base/err.def', 'ERR_ROW'));
  assert.deepEqual(document.components.schemas.Reason.properties.code.enum, slugs('src/detect/reason.def', 'REASON_ROW'));
  // Every route of docs/api.md, and no other.
  const told = readFileSync(join(source, 'docs/api.md'), 'utf8').match(/## Routes\n([\s\S]*?)\n## /)[1]
    .split('\n').flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/((?:GET|POST|DELETE)(?: (?:GET|POST|DELETE))*) (\/[^\s`?,]*)/g)])
    .flatMap(([, methods, path]) => methods.split(' ').map((m) => `${m} ${path}`)).filter((r) => r !== 'GET /docs').sort();
  assert.deepEqual(told, api.routes.map((r) => `${r.method} ${r.template}`).sort());
  const docs = await api.get('/docs');
  assert.equal(docs.status, 200);
  assert.match(docs.headers['content-type'], /^text\/html/);
  assert.match(docs.headers['content-security-policy'], /default-src 'self'/);
  for (const [, path] of docs.text.matchAll(/(?:src|href)="([^"#:]+)"/g)) {
    const part = await api.get(new URL(path, `${server.url}/docs/`).pathname);
    assert.equal(part.status, 200, path);
  }
});

test('metrics: every family is there, promtool has nothing to say, no label comes from a client', { skip: spawnSync('promtool', ['--version']).error && 'promtool (Debian: prometheus) is not installed' }, async () => {
  const marker = 'marker4711';
  await api.done(variant(wav, 'metrics'), { name: `${marker}.wav` });
  await api.get(`/api/v1/analyses/${marker}`);
  await api.get(`/${marker}`);
  await api.get(`/api/v1/analyses?q=${marker}&status=${marker}`);
  await api.call(`/upload?name=${marker}`, { method: 'REPORT' }).catch(() => {});
  await api.call('/upload', { method: 'PATCH', headers: { 'User-Agent': marker } });
  const { text, headers } = await api.get('/metrics');
  assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
  assert.doesNotMatch(text, new RegExp(marker));
  const families = [...readFileSync(join(source, 'src/obs/metrics.def'), 'utf8').matchAll(/^METRIC_ROW\(\w+, (\w+), "(\w+)"/gm)];
  assert.ok(families.length > 30);
  for (const [, kind, name] of families) assert.match(text, new RegExp(`^# TYPE ${name} ${kind.toLowerCase()}$`, 'm'), name);
  const named = new Set(families.map(([, , name]) => name));
  for (const [, name] of text.matchAll(/^# TYPE (\w+)/gm)) assert.ok(named.has(name), `${name} is not in metrics.def`);
  assert.match(text, /^sonde_http_requests_total\{method="GET",route="\/api\/v1\/analyses\/\{id\}",code="404"\} /m);
  const lint = spawnSync('promtool', ['check', 'metrics'], { input: text });
  assert.equal(lint.status, 0, lint.stdout + lint.stderr);
  assert.equal(String(lint.stderr), '');
});

test('metrics count what was done', async () => {
  const value = async (line) => Number(new RegExp(`^${line.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec((await api.get('/metrics')).text)?.[1] ?? 0);
  const lines = ['sonde_uploads_total{outcome="accepted"}', 'sonde_analyses_total{outcome="done"}', 'sonde_analyses_total{outcome="failed"}', 'sonde_uploads_total{outcome="reused"}'];
  const before = [];
  for (const line of lines) before.push(await value(line));
  const bytes = variant(wav, 'counted');
  await api.done(bytes);
  await api.done(bytes);
  await api.done(Buffer.from('a letter'));
  const grown = [];
  await until(async () => { grown.length = 0; for (const [i, line] of lines.entries()) grown.push(await value(line) - before[i]); return grown[3] === 1 && grown[2] === 1; }, { timeout: 5000 }).catch(() => {});
  // A copied answer is an analysis that was finished, too, or it is not: what counts is that the sums agree.
  assert.deepEqual([grown[0], grown[2], grown[3]], [3, 1, 1]);
  assert.ok(grown[1] === 1 || grown[1] === 2, String(grown[1]));
});

test('trace ids: taken from traceparent, told in every answer', async () => {
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
  const reply = await api.get(`/api/v1/analyses/${nobody}`, { traceparent: `00-${trace}-00f067aa0ba902b7-01` });
  assert.equal(reply.body.trace_id, trace);
  assert.match(reply.headers.traceresponse, new RegExp(`^00-${trace}-`));
  for (const bad of ['00-00000000000000000000000000000000-00f067aa0ba902b7-01', 'nonsense', `00-${trace.toUpperCase()}-00f067aa0ba902b7-01`]) {
    const other = await api.get(`/api/v1/analyses/${nobody}`, { traceparent: bad });
    assert.notEqual(other.body.trace_id.toLowerCase(), bad.slice(3, 35).toLowerCase());
  }
  const one = await api.get('/api/v1/info'), two = await api.get('/api/v1/info');
  assert.notEqual(one.headers['x-request-id'], two.headers['x-request-id']);
});

test('not ready: 503 says which part cannot', async () => {
  const other = await serve();
  const there = await client(other);
  spawnSync('rm', ['-rf', join(other.data, 'blobs')]);
  const reply = await until(async () => { const r = await there.get('/readyz'); return r.status === 503 && r; });
  assert.equal(reply.body.status, 'not ready');
  const blob = reply.body.checks.find((c) => c.name === 'blob');
  assert.equal(blob.ok, false);
  assert.ok(blob.error);
  assert.match(reply.headers['retry-after'], /^\d+$/);
  assert.equal((await there.get('/healthz')).status, 200);
  await other.kill();
});

test('the log: one JSON object per line with what ECS asks for, and nothing secret', async () => {
  const hears = await receiver((n) => (n === 1 ? 500 : 200));
  const hook = (await api.json('/api/v1/webhooks', { url: `${hears.url}?token=urltoken4711` })).body;
  const ws = await listen(api);
  const { body: ticket } = await api.post('/api/v1/events/tickets');
  const body = variant(wav, 'bodybytes4711');
  const sent = await api.form('/upload', [{ name: 'log.wav', bytes: body }], { 'Idempotency-Key': 'idemkey4711', Authorization: 'Bearer bearer4711', Cookie: 'cookie4711=1' });
  await api.final(sent.body.id);
  await api.get(`/api/v1/events?ticket=${ticket.ticket}`);
  await api.get('/nowhere?password=query4711');
  await api.json('/api/v1/webhooks', { url: 'http://user:userpass4711@example.org/' });
  await hears.received(2);
  await sleep(300);
  ws.drop();
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  const lines = server.log();
  assert.ok(lines.length > 3, 'there is a log');
  for (const line of lines) {
    assert.ok(line['@timestamp'], `not a JSON line: ${JSON.stringify(line)}`);
    assert.match(line['@timestamp'], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z$/);
    assert.match(line['log.level'], /^(debug|info|warn|error)$/);
    assert.ok(line.message);
    assert.ok(line['ecs.version']);
  }
  const text = JSON.stringify(lines);
  for (const secret of [hook.secret, hook.secret.slice(6), ticket.ticket, 'idemkey4711', 'bodybytes4711', 'bearer4711', 'cookie4711', 'query4711', 'userpass4711', 'urltoken4711'])
    assert.ok(!text.includes(secret), `${secret.slice(0, 12)} is in the log: ${lines.map((l) => JSON.stringify(l)).find((l) => l.includes(secret))}`);
  assert.ok(lines.some((l) => l.message === 'stopped'));
});
