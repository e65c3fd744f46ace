// Taking recordings in: forms, raw bodies, zips, names, limits, reuse (A2, A3).
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { serve, until } from '../e2e/support/serve.mjs';
import { client, form, sha256, sleep, speech, tone, variant, zip } from './support/api.mjs';

const dir = scratch();
const server = await serve({ args: ['--upload-max', '4M'] });
const api = await client(server);
const wav = speech(dir);
let count = 0;
const fresh = () => variant(wav, `uploads ${process.pid} ${count++}`); // other bytes, same recording
const spool = () => readdirSync(join(server.data, 'spool'));
const empty = () => until(() => spool().length === 0); // a request ends a moment after its answer

test('a form with one file: 202, a Location, and the links lead somewhere', async () => {
  const bytes = fresh();
  const sent = await api.form('/upload', [{ name: 'call.wav', bytes }]);
  assert.equal(sent.status, 202);
  assert.equal(sent.headers.location, sent.body.links.self);
  const done = await api.final(sent.body.id);
  assert.equal(done.status, 'done');
  assert.deepEqual(done.file, { name: 'call.wav', bytes: bytes.length, sha256: sha256(bytes), kept: true });
  assert.equal(done.verdict, 'synthetic');
  for (const link of ['self', 'status', 'result', 'audio', 'picture']) assert.equal((await api.get(done.links[link])).status, 200, link);
  assert.equal((await api.get(done.links.page)).status, 200);
});

test('the bytes as the body, with and without a name', async () => {
  const bytes = fresh();
  const named = await api.raw('/upload?name=talk%20one.wav', bytes, { 'Content-Type': 'audio/wav' });
  assert.equal(named.status, 202);
  const done = await api.final(named.body.id);
  assert.equal(done.file.name, 'talk one.wav');
  assert.equal(done.file.sha256, sha256(bytes));
  const plain = await api.raw('/upload', fresh());
  assert.equal((await api.one(plain.body.id)).file.name, 'recording');
  const many = await api.raw('/api/v1/uploads?name=x.wav', fresh());
  assert.equal(many.body.analyses.length, 1);
  const [{ id }] = many.body.analyses;
  assert.equal((await api.one(id)).file.name, 'x.wav');
});

test('a raw body in chunks, of unknown length', async () => {
  const bytes = fresh(), parts = [];
  for (let at = 0; at < bytes.length; at += 7001) parts.push(bytes.subarray(at, at + 7001));
  const sent = await api.call('/upload?name=c.wav', { method: 'POST', chunks: parts, headers: { 'Content-Type': 'audio/wav' } });
  assert.equal(sent.status, 202);
  assert.equal((await api.one(sent.body.id)).file.sha256, sha256(bytes));
});

test('several files: many are taken by /api/v1/uploads in their order, refused by /upload', async () => {
  const files = ['a', 'b', 'c'].map((name) => ({ name: `${name}.wav`, bytes: fresh() }));
  const sent = await api.form('/api/v1/uploads', [...files, { name: 'empty.wav', bytes: '' }]);
  assert.equal(sent.status, 202);
  assert.deepEqual(sent.body.rejected.map((r) => [r.name, r.error.code]), [['empty.wav', 'empty_file']]);
  const names = [];
  for (const { id } of sent.body.analyses) names.push((await api.one(id)).file.name);
  assert.deepEqual(names, ['a.wav', 'b.wav', 'c.wav']);
  const refused = await api.form('/upload', files);
  assert.equal(refused.body.code, 'bad_request');
});

test('nothing to analyse: no file, an empty one, a field only, half a form, another multipart', async () => {
  for (const path of ['/upload', '/api/v1/uploads']) {
    assert.equal((await api.post(path)).body.code, 'bad_request', 'no body');
    assert.equal((await api.raw(path, '')).body.code, 'bad_request', 'an empty body');
    assert.equal((await api.form(path, [{ field: 'note', bytes: 'hello' }])).body.code, 'bad_request', 'no file part');
    const half = form([{ name: 'a.wav', bytes: wav }]);
    assert.equal((await api.post(path, half.headers, half.body.subarray(0, half.body.length - 30))).body.code, 'bad_request', 'half a form');
    assert.equal((await api.post(path, { 'Content-Type': 'multipart/form-data' }, half.body)).body.code, 'bad_request', 'no boundary');
    assert.equal((await api.post(path, { 'Content-Type': 'multipart/mixed; boundary=x' }, '--x--')).body.code, 'bad_request');
  }
  assert.equal((await api.form('/upload', [{ name: 'a.wav', bytes: '' }])).body.code, 'empty_file');
  const many = await api.form('/api/v1/uploads', [{ name: 'a.wav', bytes: '' }]);
  assert.deepEqual([many.status, many.body.analyses.length, many.body.rejected[0].error.code], [202, 0, 'empty_file']);
});

test('what is no recording is accepted, and ends as failed with the reason', async () => {
  const id = await api.upload(Buffer.from('this is a letter and no recording\n'), { name: 'letter.wav' });
  const failed = await api.final(id);
  assert.equal(failed.status, 'failed');
  assert.equal(failed.error.code, 'not_audio');
  assert.ok(failed.error.text && failed.error.hint);
  assert.deepEqual([failed.probability, failed.verdict, failed.result, failed.progress], [null, null, null, null]);
  const status = await api.get(`/status?id=${id}`);
  assert.equal(status.body.error.code, 'not_audio');
  assert.equal((await api.get(failed.links.result)).body.code, 'no_such');
  assert.equal((await api.get(failed.links.picture)).body.code, 'no_such');
  assert.equal((await api.get(failed.links.audio)).status, 200); // still there, to look at
});

test('too large, announced: 413 before the body is sent', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => { text += chunk; });
  socket.write(`POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nContent-Length: ${100 << 20}\r\nExpect: 100-continue\r\n\r\n`);
  const end = Date.now() + 10_000;
  while (!/"code":/.test(text) && Date.now() < end) await sleep(10);
  socket.destroy();
  assert.match(text, /^HTTP\/1\.1 413 /);
  assert.match(text, /"code":"too_large"/);
  const reply = await api.call('/upload', { method: 'POST', headers: { 'Content-Length': 100 << 20 }, chunks: [Buffer.alloc(1000)], timeout: 20_000 });
  assert.equal(reply.body.code, 'too_large');
});

// A client that is still writing when the server hangs up may lose the answer (RFC 9112, 9.6): then it asks again.
async function refused(ask) {
  for (let tries = 1; ; tries++)
    try { return await ask(); } catch (error) { if (tries === 5 || !/^(EPIPE|ECONNRESET)$/.test(error.code)) throw error; }
}

test('too large, chunked: 413 in the middle, and nothing stays', async () => {
  const part = Buffer.alloc(256 * 1024, 7);
  const reply = await refused(() => api.call('/upload',
    { method: 'POST', chunks: Array.from({ length: 24 }, () => part), headers: { 'Content-Type': 'audio/wav' } }));
  assert.equal(reply.status, 413);
  assert.equal(reply.body.code, 'too_large');
  const big = form([{ name: 'big.wav', bytes: Buffer.alloc(5 << 20) }]);
  assert.equal((await refused(() => api.post('/api/v1/uploads', big.headers, big.body))).body.code, 'too_large');
  await empty();
});

test('more files than one request may have', async () => {
  const many = Array.from({ length: 101 }, (_, i) => ({ name: `${i}.wav`, bytes: 'x' }));
  assert.equal((await api.form('/upload', many)).body.code, 'limit_exceeded');
  assert.equal((await api.form('/api/v1/uploads', many)).body.code, 'limit_exceeded');
});

test('a zip is unpacked: good entries go on, bad ones are listed', async () => {
  const good = [fresh(), fresh()];
  const archive = zip([{ name: 'one.wav', bytes: good[0], packed: true }, { name: 'locked.wav', bytes: wav, encrypted: true }, { name: 'empty.wav', bytes: Buffer.alloc(0) },
    { name: 'deep/er/звук.wav', bytes: good[1] }, { name: '../../etc/passwd.wav', bytes: fresh() }, { name: 'letter.txt', bytes: Buffer.from('no sound') }]);
  const sent = await api.form('/api/v1/uploads', [{ name: 'all.zip', bytes: archive }, { name: 'single.wav', bytes: fresh() }]);
  assert.equal(sent.status, 202, sent.text);
  const all = await Promise.all(sent.body.analyses.map(({ id }) => api.final(id)));
  const names = all.map((a) => a.file.name);
  assert.deepEqual(names.filter((n) => n.endsWith('.wav')), ['one.wav', 'звук.wav', 'passwd.wav', 'single.wav']);
  assert.equal(all[0].file.sha256, sha256(good[0]));
  assert.equal(all[1].file.sha256, sha256(good[1]));
  assert.ok(sent.body.rejected.some((r) => r.name === 'empty.wav' && r.error.code === 'empty_file'), sent.text);
  assert.ok(sent.body.rejected.some((r) => r.name === 'locked.wav' && r.error.code === 'unreadable_archive'), sent.text);
  // On the simple route a zip is what any other file is: no audio.
  const id = await api.upload(archive, { name: 'all.zip' });
  assert.equal((await api.final(id)).status, 'failed');
});

test('a damaged zip, and one that claims to be larger than the limit', async () => {
  const archive = zip([{ name: 'one.wav', bytes: fresh() }, { name: 'two.wav', bytes: fresh() }]);
  const cut = await api.form('/api/v1/uploads', [{ name: 'cut.zip', bytes: archive.subarray(0, archive.length - 40) }, { name: 'ok.wav', bytes: fresh() }]);
  assert.equal(cut.status, 202, cut.text);
  assert.equal(cut.body.analyses.length, 1);
  assert.equal(cut.body.rejected[0].name, 'cut.zip');
  const flipped = Buffer.from(archive);
  flipped[100] ^= 255; // in the first entry's data: its CRC no longer fits
  const crc = await api.form('/api/v1/uploads', [{ name: 'crc.zip', bytes: flipped }]);
  assert.deepEqual([crc.body.analyses.length, crc.body.rejected.map((r) => r.name)], [1, ['one.wav']]);
  await empty();
});

// What a client calls its file, and what becomes of the name.
const names = [
  ['Запись разговора — Ёлка.wav', 'Запись разговора — Ёлка.wav'],
  ['<img src=x onerror=alert(1)>.wav', '<img src=x onerror=alert(1)>.wav'],
  ['../../../etc/passwd', 'passwd'],
  ['C:\\temp\\call.wav', 'call.wav'],
  ['..', 'recording'],
  ['', 'recording'],
  ['a\tb\x01c\x7f.wav', 'abc.wav'],
  ['right\u202eleft.wav', undefined],
  ['x'.repeat(300), 'x'.repeat(255)],
  ['ж'.repeat(200), 'ж'.repeat(127)],
  ['%22quoted%22.wav', '"quoted".wav'],
];
for (const [name, wanted] of names) {
  test(`a file called ${JSON.stringify(name.slice(0, 30))}`, async () => {
    const bytes = fresh();
    const sent = await api.form('/upload', [{ name: name.replaceAll('\\', '\\\\'), bytes }]);
    assert.equal(sent.status, 202, sent.text);
    const { file } = await api.one(sent.body.id);
    if (wanted !== undefined) assert.equal(file.name, wanted);
    assert.doesNotMatch(file.name, /[\p{Cc}/\\]/u);
    const audio = await api.get(`/api/v1/analyses/${sent.body.id}/audio`);
    assert.match(audio.headers['content-disposition'], /^inline; filename="[ -~]*"; filename\*=UTF-8''[A-Za-z0-9%._-]*$/);
    const coded = /UTF-8''(.*)$/.exec(audio.headers['content-disposition'])[1];
    assert.equal(decodeURIComponent(coded), file.name);
    // The same name in the query of a raw body.
    const raw = await api.raw(`/upload?name=${encodeURIComponent(name.replaceAll('%22', '"'))}`, fresh());
    assert.equal((await api.one(raw.body.id)).file.name, file.name);
    // And beside a form whose part has none: the query does not get past what a name may be.
    const beside = form([{ name: '', bytes: fresh() }]);
    const odd = await api.post(`/upload?name=${encodeURIComponent(name)}`, beside.headers, beside.body);
    assert.doesNotMatch((await api.one(odd.body.id)).file.name, /[\p{Cc}/\\]/u);
  });
}

test('names that are no UTF-8', async () => {
  const made = form([{ name: '@@', bytes: fresh() }]);
  const at = made.body.indexOf('@@');
  made.body[at] = 0xff;
  made.body[at + 1] = 0xc3;
  const sent = await api.post('/upload', made.headers, made.body);
  assert.equal(sent.status, 202, sent.text);
  assert.equal((await api.one(sent.body.id)).file.name, '__');
  assert.equal((await api.raw('/upload?name=%ff', fresh())).body.code, 'bad_request');
});

test('the same bytes again are answered from the first analysis, unless fresh', async () => {
  const bytes = fresh();
  const first = await api.done(bytes);
  const again = await api.done(bytes, { name: 'other name.wav' });
  assert.equal(again.reused_from, first.id);
  assert.equal(again.file.name, 'other name.wav');
  assert.deepEqual(again.result, first.result);
  assert.equal((await api.get(again.links.picture)).status, 200);
  const anew = await api.done(bytes, { path: '/upload?fresh=1' });
  assert.equal(anew.reused_from, null);
  assert.deepEqual(anew.result, first.result);
  assert.notEqual((await api.done(bytes, { path: '/upload?fresh=0' })).reused_from, null);
  // The copy stands on its own: deleting the first takes nothing from it.
  assert.equal((await api.remove(`/api/v1/analyses/${first.id}`)).status, 204);
  assert.deepEqual((await api.get(again.links.result)).body, first.result);
  assert.equal((await api.get(again.links.picture)).status, 200);
  assert.equal((await api.get(again.links.audio)).raw.equals(bytes), true);
});

test('rerun analyses the kept recording again', async () => {
  const first = await api.done(fresh());
  const sent = await api.post(`/api/v1/analyses/${first.id}/rerun`);
  assert.equal(sent.status, 202);
  assert.notEqual(sent.body.id, first.id);
  assert.equal(sent.headers.location, sent.body.links.self);
  const second = await api.final(sent.body.id);
  assert.equal(second.reused_from, null);
  assert.deepEqual(second.result, first.result);
  assert.equal(second.file.sha256, first.file.sha256);
  // Each can be deleted without the other.
  await api.remove(`/api/v1/analyses/${first.id}`);
  assert.equal((await api.get(second.links.audio)).status, 200);
  const failed = await api.done(Buffer.from(`a letter ${Date.now()}`));
  const again = await api.final((await api.post(`/api/v1/analyses/${failed.id}/rerun`)).body.id);
  assert.equal(again.error.code, 'not_audio');
});

test('silence and short recordings are inconclusive, with the reason', async () => {
  const done = await api.done(tone(dir, { seconds: 1 }));
  assert.equal(done.verdict, 'inconclusive');
  assert.ok(done.result.reasons.some((r) => r.decides));
});

test('deleting takes everything: database, files, list', async () => {
  const done = await api.done(fresh());
  const files = () => readdirSync(join(server.data, 'blobs'), { recursive: true }).join('\n');
  assert.equal((await api.remove(done.links.self)).status, 204);
  for (const link of ['self', 'status', 'result', 'audio', 'picture']) assert.equal((await api.get(done.links[link])).body.code, 'no_such', link);
  assert.equal((await api.remove(done.links.self)).body.code, 'no_such');
  assert.doesNotMatch(files(), new RegExp(done.id));
  assert.deepEqual((await api.list(`q=${done.file.sha256}`)).map((a) => a.id), []);
});

test('it ends in order, and nothing is left in the spool', async () => {
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.deepEqual(spool(), []);
});
