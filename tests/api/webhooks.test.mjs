// Webhooks: a receiver that checks signatures itself; retries, giving up, redirects, limits (A4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, nobody, sleep, speech, variant } from './support/api.mjs';
import { receiver, verify } from './support/receiver.mjs';

const dir = scratch();
const server = await serve({ env: { SONDE_QUEUE_BACKOFF: '0.2', http_proxy: '', no_proxy: '*' } });
const api = await client(server);
const wav = speech(dir);
let count = 0;
const fresh = () => variant(wav, `webhooks ${process.pid} ${count++}`);
const add = async (url) => (await api.json('/api/v1/webhooks', { url })).body;
const drop = (hook) => api.remove(`/api/v1/webhooks/${hook.id}`);
const deliveries = async (hook) => (await api.get(`/api/v1/webhooks/${hook.id}/deliveries`)).body.items;
const settled = (hook) => until(async () => { const [d] = await deliveries(hook); return d && d.outcome !== 'pending' && d; });

test('the secret is shown once', async () => {
  const made = await api.json('/api/v1/webhooks', { url: 'https://example.org/hook' });
  assert.equal(made.status, 201);
  assert.match(made.body.secret, /^whsec_[A-Za-z0-9+/]{32}$/);
  const { body } = await api.get('/api/v1/webhooks');
  assert.deepEqual(body.items, [{ id: made.body.id, url: 'https://example.org/hook', created_at: made.body.created_at }]);
  assert.equal((await drop(made.body)).status, 204);
  assert.equal((await drop(made.body)).body.code, 'no_such');
  assert.deepEqual((await api.get('/api/v1/webhooks')).body.items, []);
});

test('what is no webhook is refused', async () => {
  for (const url of ['', 'ftp://example.org/', 'example.org', 'http://user:secret@example.org/', 'file:///etc/passwd', 'http://a b/', 'http://', 'https:///x', 5, null, ['http://a'],
    `http://example.org/${'x'.repeat(2000)}`])
    assert.equal((await api.json('/api/v1/webhooks', { url })).body.code, 'bad_request', JSON.stringify(url).slice(0, 60));
  const headers = { 'Content-Type': 'application/json' };
  for (const body of ['', '{', '[]', '"url"', 'null', '{}', '{"url":"http://a","url":"http://b"}', `{"url":${'['.repeat(100)}${']'.repeat(100)}}`])
    assert.equal((await api.post('/api/v1/webhooks', headers, body)).body.code, 'bad_request', body.slice(0, 40));
  assert.equal((await api.post('/api/v1/webhooks', { 'Content-Type': 'text/plain' }, '{"url":"http://127.0.0.1:9/"}')).body.code, 'bad_request'); // what a form of another site could send
  assert.equal((await api.post('/api/v1/webhooks', headers, JSON.stringify({ url: 'x'.repeat(70_000) }))).body.code, 'too_large');
  assert.deepEqual((await api.get('/api/v1/webhooks')).body.items, []);
});

test('done and failed analyses are told, signed, with the whole analysis', async () => {
  const hears = await receiver(), hook = await add(hears.url);
  const done = await api.done(fresh()), failed = await api.done(Buffer.from('a letter'));
  await hears.received(2);
  const byType = Object.fromEntries(hears.messages.map((m) => [m.body.type, m]));
  for (const [type, analysis] of [['analysis.done', done], ['analysis.failed', failed]]) {
    const message = byType[type];
    assert.ok(message, type);
    assert.equal(message.method, 'POST');
    assert.equal(message.path, '/hook');
    assert.match(message.headers['content-type'], /^application\/json/);
    assert.match(message.headers['user-agent'], /^sonde\//);
    assert.ok(verify(hook.secret, message), 'the signature');
    assert.ok(!verify(hook.secret, { ...message, text: `${message.text} ` }), 'a signature of anything');
    assert.ok(!verify(hook.secret, { ...message, headers: { ...message.headers, 'webhook-id': 'other' } }), 'a signature of any id');
    assert.deepEqual(message.body.data, analysis);
    assert.deepEqual(api.validate({ $ref: '#/components/schemas/WebhookMessage' }, message.body), []);
  }
  await settled(hook);
  const list = await deliveries(hook);
  assert.deepEqual(list.map((d) => [d.type, d.outcome, d.tries, d.status, d.analysis_id]).sort(),
    [['analysis.done', 'delivered', 1, 200, done.id], ['analysis.failed', 'delivered', 1, 200, failed.id]]);
  assert.deepEqual(new Set(list.map((d) => d.id)), new Set(hears.messages.map((m) => m.headers['webhook-id'])));
  // An answer that is copied is told, too.
  const again = await api.upload(fresh());
  await hears.received(3);
  assert.equal(hears.messages[2].body.data.id, again);
  await drop(hook);
});

test('a test delivery', async () => {
  const hears = await receiver(() => 204), hook = await add(hears.url);
  const sent = await api.post(`/api/v1/webhooks/${hook.id}/test`);
  assert.equal(sent.status, 202);
  assert.deepEqual([sent.body.type, sent.body.outcome, sent.body.tries, sent.body.analysis_id], ['test', 'pending', 0, null]);
  const [message] = await hears.received(1);
  assert.ok(verify(hook.secret, message));
  assert.equal(message.headers['webhook-id'], sent.body.id);
  assert.deepEqual([message.body.type, message.body.data], ['test', {}]);
  const delivery = await settled(hook);
  assert.deepEqual([delivery.outcome, delivery.status, delivery.error], ['delivered', 204, null]);
  await drop(hook);
});

test('a receiver that fails is asked again, with the same id and a new signature', async () => {
  const hears = await receiver((n) => (n < 3 ? 500 : 200)), hook = await add(hears.url);
  await api.done(fresh());
  await hears.received(3);
  assert.equal(new Set(hears.messages.map((m) => m.headers['webhook-id'])).size, 1);
  for (const message of hears.messages) assert.ok(verify(hook.secret, message));
  const delivery = await settled(hook);
  assert.deepEqual([delivery.outcome, delivery.tries, delivery.status], ['delivered', 3, 200]);
  await drop(hook);
});

test('a receiver that always fails is given up, and the others are told meanwhile', async () => {
  const bad = await receiver(() => 503), good = await receiver(), badHook = await add(bad.url), goodHook = await add(good.url);
  await api.done(fresh());
  await good.received(1);
  const delivery = await settled(badHook);
  assert.deepEqual([delivery.outcome, delivery.tries, delivery.status], ['gave_up', 4, 503]);
  assert.match(delivery.error, /503/);
  await sleep(500);
  assert.equal(bad.messages.length, 4);
  assert.equal(good.messages.length, 1);
  const { text } = await api.get('/metrics');
  assert.match(text, /^sonde_webhook_deliveries_total\{outcome="gave_up"\} 1$/m);
  await drop(badHook);
  await drop(goodHook);
});

test('nobody listens there', async () => {
  const hears = await receiver(), hook = await add(hears.url);
  hears.server.close();
  await api.post(`/api/v1/webhooks/${hook.id}/test`);
  const delivery = await settled(hook);
  assert.deepEqual([delivery.outcome, delivery.status], ['gave_up', null]);
  assert.ok(delivery.error);
  await drop(hook);
});

test('a redirect is no success, and is not followed', async () => {
  const other = await receiver(), hears = await receiver(() => [307, { Location: other.url }]), hook = await add(hears.url);
  await api.post(`/api/v1/webhooks/${hook.id}/test`);
  const delivery = await settled(hook);
  assert.deepEqual([delivery.outcome, delivery.status], ['gave_up', 307]);
  assert.equal(other.messages.length, 0);
  await drop(hook);
});

test('deleting a webhook ends its deliveries', async () => {
  const hears = await receiver(() => 500), hook = await add(hears.url);
  await api.post(`/api/v1/webhooks/${hook.id}/test`);
  await hears.received(1);
  await drop(hook);
  const seen = hears.messages.length;
  await sleep(800);
  assert.ok(hears.messages.length <= seen + 1, 'one may have been under way');
  assert.equal((await api.get(`/api/v1/webhooks/${hook.id}/deliveries`)).body.code, 'no_such');
  assert.equal((await api.post(`/api/v1/webhooks/${hook.id}/test`)).body.code, 'no_such');
});

test('an analysis that was deleted before it could be told is not told', async () => {
  let up = false;
  const hears = await receiver(() => (up ? 200 : 500)), hook = await add(hears.url);
  const done = await api.done(fresh());
  await hears.received(1);
  await api.remove(done.links.self);
  up = true;
  await until(async () => (await deliveries(hook)).length === 0); // forgotten with the analysis
  const seen = hears.messages.length;
  await sleep(600);
  assert.ok(hears.messages.length <= seen + 1, 'one may have been under way');
  assert.ok(hears.messages.every((m) => m.body.data.id === done.id));
  await drop(hook);
});

test('at most 20, also when added at once', async () => {
  const all = await Promise.all(Array.from({ length: 30 }, (_, i) => api.json('/api/v1/webhooks', { url: `http://127.0.0.1:9/${i}` })));
  assert.equal(all.filter((r) => r.status === 201).length, 20);
  for (const reply of all.filter((r) => r.status !== 201)) assert.equal(reply.body.code, 'limit_exceeded');
  const { items } = (await api.get('/api/v1/webhooks')).body;
  assert.equal(items.length, 20);
  for (const hook of items) await drop(hook);
  assert.equal((await api.json('/api/v1/webhooks', { url: 'http://127.0.0.1:9/' })).status, 201);
});

test('the last 50 deliveries are shown, newest first', async () => {
  const hears = await receiver(), hook = await add(hears.url), ids = [];
  for (let i = 0; i < 55; i++) ids.push((await api.post(`/api/v1/webhooks/${hook.id}/test`)).body.id);
  assert.deepEqual((await deliveries(hook)).map((d) => d.id), ids.slice(5).reverse());
  await hears.received(55);
  await drop(hook);
});

test('ids of nothing', async () => {
  for (const id of [nobody, 'x']) {
    assert.equal((await api.remove(`/api/v1/webhooks/${id}`)).body.code, 'no_such');
    assert.equal((await api.get(`/api/v1/webhooks/${id}/deliveries`)).body.code, 'no_such');
    assert.equal((await api.post(`/api/v1/webhooks/${id}/test`)).body.code, 'no_such');
  }
});

test('a receiver that never answers holds nobody up at the end, and no secret is in the log', async () => {
  const hears = await receiver(() => null), hook = await add(hears.url);
  await api.post(`/api/v1/webhooks/${hook.id}/test`);
  await hears.received(1);
  const began = Date.now();
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.ok(Date.now() - began < 15_000, `${Date.now() - began} ms`);
  assert.doesNotMatch(JSON.stringify(server.log()), /whsec_|secret/);
});
