// Every route of the document with every answer that it names, and every method that is not there. At the end the list of
// what was seen is held against the document: a route or an answer that is new there fails here until it is asked for (B12).
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, form, nobody, sleep, speech, variant } from './support/api.mjs';
import { connect } from './support/ws.mjs';

// Answers that are not asked for here, with the reason.
const excused = {};

const dir = scratch();
const wav = speech(dir);
const server = await serve({ args: ['--upload-max', '2M'] });
const api = await client(server);
const seen = api.seen;
const made = form([{ name: 'a.wav', bytes: variant(wav, 'routes') }]);
const done = await api.done(variant(wav, 'first'));
const path = (part = '', id = done.id) => `/api/v1/analyses/${id}${part}`;

test('uploads', async () => {
  for (const route of ['/upload', '/api/v1/uploads']) {
    const send = (files, headers) => api.form(route, files, headers);
    assert.equal((await send([{ name: 'a.wav', bytes: variant(wav, route) }], { 'Idempotency-Key': route })).status, 202);
    await send([{ name: 'a.wav', bytes: wav }], { 'Idempotency-Key': route });
    await api.post(route);
    await send([{ name: 'a.wav', bytes: '' }]);
    await send([{ name: 'a.wav', bytes: Buffer.alloc(3 << 20) }]);
    await send(Array.from({ length: 101 }, () => ({ name: 'a', bytes: 'x' })));
  }
  assert.equal((await api.post('/upload', { ...made.headers, Prefer: 'wait=30' }, made.body)).status, 200);
  const full = await serve({ args: ['--queue-max', '1'] }), poor = await serve({ args: ['--min-free', '900T'] });
  for (const [other, code] of [[full, 'queue_full'], [poor, 'no_space']]) {
    const there = await client(other);
    const two = form([{ name: 'a', bytes: 'x' }, { name: 'b', bytes: 'y' }]), one = form([{ name: 'a', bytes: 'x' }]);
    for (const route of ['/upload', '/api/v1/uploads']) {
      const reply = await until(async () => {
        const r = await there.post(route, route === '/upload' || other === poor ? one.headers : two.headers, route === '/upload' || other === poor ? one.body : two.body);
        return r.status === 503 && r;
      }, { pause: 1 });
      assert.equal(reply.body.code, code);
      seen.add(`${route === '/upload' ? 'upload' : 'uploadMany'} ${code}`);
    }
    await other.stop();
  }
});

test('analyses', async () => {
  assert.equal((await api.get(`/status?id=${done.id}`)).status, 200);
  await api.get(`/status?id=${nobody}`);
  await api.get('/status');
  await api.get('/api/v1/analyses');
  await api.get('/api/v1/analyses?limit=x');
  assert.equal((await api.get(path())).status, 200);
  await api.get(path('', nobody));
  assert.equal((await api.post(path('/rerun'))).status, 202);
  assert.equal((await api.post(path('/stability'))).status, 202);
  const letter = await api.done(Buffer.from('a letter'));
  await api.post(path('/stability', letter.id));
  for (const part of ['/rerun', '/stability']) await api.post(path(part, nobody));
  for (const part of ['/result', '/audio', '/picture']) {
    assert.equal((await api.get(path(part))).status, 200);
    await api.get(path(part, nobody));
  }
  await api.get(path('/result?format=x'));
  await api.get(path('/audio'), { Range: 'bytes=0-1' });
  await api.get(path('/audio'), { Range: 'bytes=99999999-' });
  await api.get(path('/audio'), { 'If-None-Match': `"${done.file.sha256}"` });
  await api.remove(path('', letter.id));
  await api.remove(path('', letter.id));
  const short = await serve({ args: ['--keep-audio', '0'] });
  const there = await client(short), gone = await there.done(variant(wav, 'gone'));
  await there.get(path('/audio', gone.id));
  for (const part of ['/rerun', '/stability']) await there.post(path(part, gone.id));
  for (const one of there.seen) seen.add(one);
  await short.stop();
});

test('webhooks and events', async () => {
  await api.get('/api/v1/webhooks');
  const { body: hook } = await api.json('/api/v1/webhooks', { url: 'http://127.0.0.1:9/' });
  await api.json('/api/v1/webhooks', { url: 5 });
  await api.json('/api/v1/webhooks', { url: 'x'.repeat(70_000) });
  for (let i = 0; i < 20; i++) await api.json('/api/v1/webhooks', { url: 'http://127.0.0.1:9/' });
  for (const id of [hook.id, nobody]) {
    await api.get(`/api/v1/webhooks/${id}/deliveries`);
    await api.post(`/api/v1/webhooks/${id}/test`);
    await api.remove(`/api/v1/webhooks/${id}`);
  }
  const { body } = await api.post('/api/v1/events/tickets');
  const ws = await connect(server, `/api/v1/events?ticket=${body.ticket}`);
  assert.equal(ws.status, 101);
  seen.add(`events ${ws.status}`);
  ws.drop();
  await api.get('/api/v1/events');
  await api.get('/api/v1/events?after=x');
  await api.get('/api/v1/events?ticket=x');
});

test('the service', async () => {
  for (const route of ['/api/v1/info', '/healthz', '/readyz', '/metrics', '/openapi.json']) assert.equal((await api.get(route)).status, 200);
  const broken = await serve(), there = await client(broken);
  rmSync(join(broken.data, 'blobs'), { recursive: true });
  await until(async () => (await there.get('/readyz')).status === 503);
  for (const one of there.seen) seen.add(one);
  await broken.kill();
});

test('every method that a route does not have: 405 with Allow; OPTIONS and HEAD', async () => {
  const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], byTemplate = new Map();
  for (const route of api.routes) byTemplate.set(route.template, [...(byTemplate.get(route.template) ?? []), route.method]);
  for (const [template, has] of byTemplate) {
    const at = template.replace('{id}', nobody);
    for (const method of methods) {
      if (has.includes(method)) continue;
      const reply = await api.call(at, { method });
      assert.equal(reply.body.code, 'method_not_allowed', `${method} ${at}`);
      const allow = reply.headers.allow.split(', ');
      for (const one of has) assert.ok(allow.includes(one), `${at}: ${allow}`);
      assert.ok(!allow.includes(method), `${at}: ${allow}`);
    }
    const options = await api.call(at, { method: 'OPTIONS' });
    assert.equal(options.status, 204, at);
    for (const one of has) assert.ok(options.headers.allow.split(', ').includes(one), at);
    if (!has.includes('GET')) continue;
    const get = await api.get(at), head = await api.call(at, { method: 'HEAD' });
    assert.equal(head.status, get.status, at);
    assert.equal(head.headers['content-type'], get.headers['content-type'], at);
  }
  assert.equal((await api.get('/api/v2/analyses')).body.code, 'no_route');
  assert.equal((await api.call('/api', { method: 'DELETE' })).body.code, 'no_route');
});

test('requests that are none, in any way, end in an answer or in the end of the connection, never of the server', async () => {
  const { default: net } = await import('node:net');
  for (const text of ['GET', 'GET / HTTP/9.9\r\n\r\n', '\0\0\0\0\r\n\r\n', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n',
    'POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 'GET /status?id=%zz HTTP/1.1\r\nHost: localhost\r\n\r\n', 'GET //../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n']) {
    const answer = await new Promise((resolve) => {
      const socket = net.connect(server.port, '127.0.0.1');
      let got = '';
      socket.on('data', (d) => { got += d; });
      socket.on('error', () => resolve(got));
      socket.on('close', () => resolve(got));
      socket.end(text);
      setTimeout(() => { socket.destroy(); resolve(got); }, 400); // some are left waiting for the rest of a request
    });
    assert.doesNotMatch(answer, /^HTTP\/1\.1 (2|500)/, `${text.slice(0, 60)}: ${answer.slice(0, 100)}`);
  }
  assert.equal((await api.get('/healthz')).status, 200);
});

test('every answer that the document names was seen', async () => {
  const wanted = api.routes.flatMap(({ operation }) => Object.entries(operation.responses).flatMap(([status, reply]) => {
    if (status === 'default') return [];
    if (reply.content?.['application/problem+json']) return [...reply.description.matchAll(/`(\w+)`/g)].map((m) => `${operation.operationId} ${m[1]}`);
    return [`${operation.operationId} ${status}`];
  }));
  assert.ok(wanted.length > 60, `${wanted.length}`);
  for (const name of Object.keys(excused)) assert.ok(wanted.includes(name), `${name} is excused, but not in the document`);
  assert.deepEqual(wanted.filter((one) => !seen.has(one) && !excused[one]), []);
  // And the other way: an error of a route's own that the document does not name. Those of any route are left out.
  const anywhere = new Set(['method_not_allowed', 'cross_site', 'no_route', 'shutting_down']);
  assert.deepEqual([...seen].filter((one) => !wanted.includes(one) && !anywhere.has(one.split(' ')[1])), []);
});

test('it ends in order', async () => {
  await sleep(50);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});
