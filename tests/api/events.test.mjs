// Live updates over WebSocket: who may listen, what is told, what resuming gives, how it ends (A4, B4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, long, nobody, sleep, slow, speech, variant } from './support/api.mjs';
import { connect, frame, listen } from './support/ws.mjs';

const dir = scratch();
const server = await serve();
const api = await client(server);
const wav = speech(dir);
let count = 0;
const fresh = () => variant(wav, `events ${process.pid} ${count++}`);
const ticket = async () => (await api.post('/api/v1/events/tickets')).body.ticket;
const hello = (text) => frame(1, Buffer.from(text));
const of = (id) => (m) => m.type === 'analysis' && m.analysis.id === id;
const state = (id, status) => (m) => of(id)(m) && m.analysis.status === status;
const kept = (ws) => ws.messages.filter((m) => m.value.type !== 'progress'); // all but those that nobody resumes
const checkEvents = (ws) => {
  for (const { value } of ws.messages) assert.deepEqual(api.validate({ $ref: '#/components/schemas/Event' }, value), [], JSON.stringify(value).slice(0, 200));
};

test('a ticket opens one connection, once', async () => {
  const { status, body } = await api.post('/api/v1/events/tickets');
  assert.deepEqual([status, body.expires_in_s], [201, 30]);
  const first = await connect(server);
  first.send({ type: 'hello', ticket: body.ticket });
  assert.equal((await first.next()).type, 'welcome');
  const second = await connect(server);
  second.send({ type: 'hello', ticket: body.ticket });
  assert.equal((await second.closed).code, 4401);
  const third = await connect(server);
  third.send({ type: 'hello', ticket: 'x'.repeat(32) });
  assert.equal((await third.closed).code, 4401);
  const query = await connect(server, `/api/v1/events?ticket=${await ticket()}`);
  assert.equal(query.status, 101);
  assert.equal((await query.next()).type, 'welcome');
  const used = await connect(server, `/api/v1/events?ticket=${body.ticket}`);
  assert.deepEqual([used.status, used.body.code], [403, 'permission_denied']);
  assert.equal((await first.close()).code, 1000);
  query.drop();
});

test('a ticket is good for 30 s, a hello has 5 s', { timeout: 90_000 }, async () => {
  const old = await ticket(), began = Date.now();
  const silent = await connect(server);
  const end = await silent.closed;
  assert.equal(end.code, 4408);
  const took = Date.now() - began;
  assert.ok(took > 4500 && took < 5000 + 4000 * slow, `${took} ms`);
  await sleep(31_000 - (Date.now() - began));
  const late = await connect(server);
  late.send({ type: 'hello', ticket: old });
  assert.equal((await late.closed).code, 4401);
});

test('what is no hello ends the connection, and only that', async () => {
  const good = await listen(api);
  for (const text of ['{}', '[]', '"hello"', 'null', '{"type":"hello"}', '{"type":"hello","ticket":5}', '{"type":"bye","ticket":"x"}', '{', '', '{"type":"hello","type":"hello","ticket":"x"}']) {
    const ws = await connect(server);
    ws.write(hello(text));
    assert.equal((await ws.closed).code, 1008, text);
  }
  const twice = await listen(api);
  twice.send({ type: 'hello', ticket: await ticket() });
  assert.equal((await twice.closed).code, 1008);
  const id = await api.upload(fresh());
  await good.next(state(id, 'done'));
  good.drop();
});

test('frames that no client may send', async () => {
  const wrong = {
    'not masked': [frame(1, Buffer.from('{}'), { mask: false }), [1002]],
    'a reserved bit': [frame(1, Buffer.from('{}'), { rsv: 4 }), [1002]],
    'an unknown opcode': [frame(3, Buffer.from('{}')), [1002]],
    'a control frame in parts': [frame(9, Buffer.from('x'), { fin: false }), [1002]],
    'a long control frame': [frame(9, Buffer.alloc(126)), [1002]],
    'a continuation of nothing': [frame(0, Buffer.from('x')), [1002]],
    'bytes that are no UTF-8': [frame(1, Buffer.from([0xff, 0xfe])), [1007]],
    'a message that is far too long': [frame(1, Buffer.alloc(10), { length: 0x7fffffff }), [1009]],
    'a binary message': [frame(2, Buffer.from('{}')), [1003, 1008]],
    'a close code that is none': [frame(8, Buffer.from([0, 5])), [1002]],
  };
  for (const [name, [bytes, codes]] of Object.entries(wrong)) {
    const ws = await connect(server);
    ws.write(bytes);
    const { code } = await ws.closed;
    assert.ok(codes.includes(code), `${name}: ${code}`);
  }
  const ws = await listen(api);
  ws.write(frame(9, Buffer.from('are you there')));
  await until(() => ws.pongs.length === 1);
  assert.equal(ws.pongs[0].toString(), 'are you there');
  const whole = Buffer.from(JSON.stringify({ type: 'hello', ticket: await ticket() })), parts = await connect(server);
  parts.write(frame(1, whole.subarray(0, 5), { fin: false }));
  parts.write(frame(9, Buffer.from('between')));
  for (const byte of frame(0, whole.subarray(5))) parts.write(Buffer.from([byte]));
  assert.equal((await parts.next()).type, 'welcome');
  parts.drop();
  ws.drop();
});

test('handshakes that are none', async () => {
  const port = server.port;
  for (const [headers, code] of [[{ Origin: 'https://evil.example' }, 'cross_site'], [{ Origin: 'null' }, 'cross_site'], [{ 'Sec-Fetch-Site': 'cross-site' }, 'cross_site'],
    [{ Origin: `http://127.0.0.1:${port + 1}` }, 'cross_site'], [{ Host: 'evil.example' }, 'cross_site'], [{ 'Sec-WebSocket-Version': '8' }, 'upgrade_required'],
    [{ Upgrade: undefined }, 'upgrade_required'], [{ 'Sec-WebSocket-Key': 'short' }, 'bad_request']]) {
    const ws = await connect(server, '/api/v1/events', { headers });
    assert.equal(ws.body?.code, code, `${JSON.stringify(headers)} ${ws.status}`);
  }
  const own = await connect(server, '/api/v1/events', { headers: { Origin: `http://127.0.0.1:${port}` } });
  assert.equal(own.status, 101);
  own.drop();
  assert.equal((await api.get('/api/v1/events')).body.code, 'upgrade_required');
  assert.equal((await api.get('/api/v1/events?after=x')).body.code, 'bad_request');
});

test('live: queued, running, done, then deleted, in this order', async () => {
  const ws = await listen(api);
  const id = await api.upload(fresh(), { name: 'live.wav' });
  await ws.next(state(id, 'done'));
  await api.remove(`/api/v1/analyses/${id}`);
  await ws.next((m) => m.type === 'deleted' && m.analysis_id === id);
  const mine = ws.messages.map((m) => m.value).filter((m) => (m.analysis?.id ?? m.analysis_id) === id && m.type !== 'progress');
  const order = ['queued', 'running', 'done', undefined];
  const places = mine.map((m) => order.indexOf(m.analysis?.status));
  assert.deepEqual(places, [...places].sort(), JSON.stringify(mine.map((m) => m.analysis?.status)));
  const numbers = mine.map((m) => m.event_id);
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
  assert.ok(numbers[0] > ws.welcome.last_event_id);
  const done = mine.find((m) => m.analysis?.status === 'done').analysis;
  assert.equal(done.verdict, 'synthetic');
  assert.equal('result' in done, false);
  checkEvents(ws);
  ws.drop();
});

test('a long recording tells how far it is', async () => {
  const ws = await listen(api);
  const id = await api.upload(long(dir, 60), { name: 'hour.mp3' });
  await ws.next(state(id, 'running'));
  const shares = [];
  for (let i = 0; i < 3; i++) shares.push((await ws.next((m) => m.type === 'progress' && m.analysis_id === id)).progress);
  assert.deepEqual(shares, [...shares].sort((a, b) => a - b));
  assert.ok(shares[0] > 0 && shares[2] <= 1 && shares[2] > shares[0]);
  const { body } = await api.get(`/status?id=${id}`);
  assert.ok(body.progress >= shares[0], JSON.stringify(body));
  await api.remove(`/api/v1/analyses/${id}`);
  await ws.next((m) => m.type === 'deleted' && m.analysis_id === id);
  // Once deleted it is no longer listened to, however long it is.
  await sleep(1000 * slow);
  const told = ws.messages.length;
  await sleep(1500);
  assert.equal(ws.messages.length, told);
  checkEvents(ws);
  ws.drop();
});

test('resuming gives what was missed, and no more', async () => {
  const ws = await listen(api);
  const first = await api.upload(fresh());
  const seen = (await ws.next(state(first, 'done'))).event_id;
  ws.drop();
  const second = await api.done(fresh()), third = await api.done(fresh());
  await api.remove(third.links.self);
  const back = await listen(api, { after: seen });
  assert.equal(back.welcome.resumed, true);
  await back.next(of(second.id));
  await back.next((m) => m.type === 'deleted' && m.analysis_id === third.id);
  assert.ok(back.messages.every((m) => m.value.type === 'welcome' || m.value.event_id > seen));
  const now = await listen(api, { after: back.welcome.last_event_id });
  assert.equal(now.welcome.resumed, true);
  await sleep(300);
  assert.equal(kept(now).length, 1, JSON.stringify(now.messages).slice(0, 900));
  for (const after of [back.welcome.last_event_id + 1000, Number.MAX_SAFE_INTEGER]) { // of the future: another database
    const future = await listen(api, { after });
    assert.equal(future.welcome.resumed, false, String(after));
    await sleep(100);
    assert.equal(kept(future).length, 1);
    future.drop();
  }
  const none = await listen(api);
  assert.equal(none.welcome.resumed, false);
  for (const w of [back, now, none]) w.drop();
});

test('resuming again and again under load misses nothing', async () => {
  const states = new Map(); // what this listener believes
  const first = await listen(api);
  let after = first.welcome.last_event_id, stop = false, breaks = 0;
  first.drop();
  const hear = (async () => {
    while (!stop) {
      const ws = await listen(api, { after });
      assert.equal(ws.welcome.resumed, true);
      const until = Date.now() + 30 + Math.random() * 120;
      while (Date.now() < until) await sleep(5);
      for (const { value: m } of ws.messages) {
        if (m.event_id) after = Math.max(after, m.event_id);
        if (m.type === 'analysis') states.set(m.analysis.id, m.analysis.status);
        if (m.type === 'deleted') states.set(m.analysis_id, 'deleted');
      }
      ws.drop();
      breaks++;
    }
  })();
  const ids = [];
  await Promise.all([0, 1, 2].map(async () => {
    for (let i = 0; i < 20; i++) {
      const id = await api.upload(i % 3 ? fresh() : Buffer.from(`letter ${count++}`));
      ids.push(id);
      if (i % 5 === 0) await api.remove(`/api/v1/analyses/${id}`);
    }
  }));
  const truth = new Map();
  for (const id of ids) {
    const { body } = await api.get(`/api/v1/analyses/${id}`, { Prefer: 'wait=60' });
    truth.set(id, body.code === 'no_such' ? 'deleted' : body.status);
  }
  await until(() => ids.every((id) => states.get(id) === truth.get(id)), { timeout: 15_000 }).catch(() => {});
  stop = true;
  await hear;
  assert.deepEqual(ids.filter((id) => states.get(id) !== truth.get(id)).map((id) => [id, states.get(id), truth.get(id)]), []);
  assert.ok(breaks > 5, `${breaks} connections`);
});

test('too far behind: resumed false', async () => {
  const ws = await listen(api);
  const from = ws.welcome.last_event_id;
  ws.drop();
  // More events than are sent again: each of 30 requests brings 20 files, at least two events each.
  for (let i = 0; i < 30; i++) {
    const files = Array.from({ length: 20 }, () => ({ name: 'l.txt', bytes: `letter ${count++}` }));
    assert.equal((await api.form('/api/v1/uploads', files)).status, 202);
  }
  await sleep(1500); // the count is a second old at most
  await until(async () => (await api.get('/api/v1/info')).body.queue.waiting === 0, { timeout: 60_000 * slow });
  const back = await listen(api, { after: from });
  assert.equal(back.welcome.resumed, false);
  await sleep(200);
  assert.equal(kept(back).length, 1);
  const near = await listen(api, { after: back.welcome.last_event_id - 900 });
  assert.equal(near.welcome.resumed, true);
  await until(() => near.messages.some((m) => m.value.event_id === back.welcome.last_event_id));
  assert.equal(kept(near).length, 901);
  back.drop();
  near.drop();
});

test('200 listeners all hear it', async () => {
  const all = await Promise.all(Array.from({ length: 200 }, () => listen(api)));
  const { text } = await api.get('/metrics');
  assert.ok(Number(/^sonde_websocket_connections (\d+)$/m.exec(text)[1]) >= 200);
  const id = await api.upload(fresh());
  await Promise.all(all.map((ws) => ws.next(state(id, 'done'), 20_000 * slow)));
  for (const ws of all) ws.drop();
  await until(async () => Number(/^sonde_websocket_connections (\d+)$/m.exec((await api.get('/metrics')).text)[1]) === 0);
});

test('one that never reads does not hold up the others', async () => {
  const deaf = await listen(api), good = await listen(api);
  deaf.socket.pause();
  const id = await api.upload(fresh());
  await good.next(state(id, 'done'));
  assert.equal((await api.get(`/api/v1/analyses/${nobody}`)).status, 404);
  deaf.drop();
  good.drop();
});

test('the server goes away: 1001 for everybody, greeted or not', async () => {
  const all = await Promise.all([listen(api), listen(api), connect(server)]);
  const ends = Promise.all(all.map((ws) => ws.closed));
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.deepEqual((await ends).map((end) => end.code), [1001, 1001, 1001]);
});
