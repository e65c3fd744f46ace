// Looking at analyses: the list, its table, results, recordings, pictures, the stability panel (A2, A3, B4).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { ffmpeg, scratch, sonde, writeWav } from '../e2e/support/sonde.mjs';
import { serve } from '../e2e/support/serve.mjs';
import { client, human, nobody, sha256, slow, sleep, speech, tone, variant } from './support/api.mjs';

const dir = scratch();
const server = await serve();
const api = await client(server);
const wav = speech(dir), other = human() ?? tone(dir, { seconds: 3 });
const ids = (list) => list.map((a) => a.id);
const encode = encodeURIComponent;

const names = ['Ёлка.wav', 'ёжик.wav', 'ÉTÉ.wav', '100%_a.wav', 'plain.wav', '=SUM(A1).wav', '-dash "q".wav', '@at, comma.wav'];
const made = [];
for (const name of names) made.push(await api.done(variant(wav, `list ${name}`), { name }));
const person = await api.done(variant(other, 'person'), { name: 'person.wav' });
const letter = await api.done(Buffer.from('a letter'), { name: 'letter.txt' });

test('newest first, all of them, and an analysis reads the same in the list', async () => {
  const all = await api.list();
  assert.deepEqual(ids(all), [...ids(made), person.id, letter.id].reverse());
  const { result, stability, ...item } = person;
  assert.deepEqual(all[1], item);
  assert.ok(result);
  assert.equal(stability, null);
});

test('filters: status, verdict, both, neither', async () => {
  assert.deepEqual(ids(await api.list('status=failed')), [letter.id]);
  assert.equal((await api.list('status=done')).length, made.length + 1);
  assert.deepEqual(await api.list('status=queued'), []);
  assert.equal((await api.list('verdict=synthetic')).length, made.length);
  assert.deepEqual(ids(await api.list(`verdict=${person.verdict}`)), [person.id]);
  assert.deepEqual(await api.list('status=failed&verdict=synthetic'), []);
  assert.equal((await api.list('status=&verdict=&q=&since=&until=&cursor=')).length, made.length + 2);
});

test('search: part of a name in any script and case, nothing is a wildcard, ids and hashes', async () => {
  const found = async (q) => (await api.list(`q=${encode(q)}`)).map((a) => a.file.name).sort();
  assert.deepEqual(await found('ёл'), ['Ёлка.wav']);
  assert.deepEqual(await found('ЁЖИК'), ['ёжик.wav']);
  assert.deepEqual(await found('été'), ['ÉTÉ.wav']);
  assert.deepEqual(await found('PLAIN'), ['plain.wav']);
  assert.deepEqual(await found('%'), ['100%_a.wav']);
  assert.deepEqual(await found('_'), ['100%_a.wav']);
  assert.deepEqual(await found("' OR 1=1 --"), []);
  assert.deepEqual(ids(await api.list(`q=${person.id}`)), [person.id]);
  assert.deepEqual(ids(await api.list(`q=${person.file.sha256.slice(0, 12)}`)), [person.id]);
  assert.deepEqual(ids(await api.list(`q=${person.file.sha256}&verdict=${person.verdict}`)), [person.id]);
  assert.deepEqual(await api.list(`q=${'x'.repeat(2000)}`), []);
});

test('since and until', async () => {
  const at = person.created_at;
  assert.deepEqual(ids(await api.list(`since=${at}`)), [letter.id, person.id]);
  assert.deepEqual(ids(await api.list(`until=${at}`)), ids(made).reverse());
  assert.deepEqual(await api.list('until=2020-01-01'), []);
  assert.equal((await api.list('since=2020-01-01')).length, made.length + 2);
  const shifted = new Date(Date.parse(at) + 3600e3).toISOString().replace('Z', '+01:00');
  assert.deepEqual(ids(await api.list(`since=${encode(shifted)}`)), [letter.id, person.id]);
});

test('what a list does not take is 400', async () => {
  for (const query of ['status=new', 'verdict=maybe', 'limit=0', 'limit=201', 'limit=-1', 'limit=ten', 'limit=1e2', 'limit=%201', 'limit=+1', 'since=yesterday',
    'until=2026-13-01', 'cursor=nonsense', 'cursor=AAAA', 'format=xml']) {
    const reply = await api.get(`/api/v1/analyses?${query}`);
    assert.equal(reply.body.code, 'bad_request', `${query}: ${reply.status}`);
  }
  assert.equal((await api.get('/api/v1/analyses?limit=200')).status, 200);
  assert.equal((await api.get('/api/v1/analyses?limit=1')).body.items.length, 1);
  assert.equal((await api.get('/api/v1/analyses?nonsense=1')).status, 200); // unknown names are left alone
});

test('paging to the end has no gap and no repeat, while others are added', async () => {
  const before = ids(await api.list());
  for (const limit of [1, 3, 7]) assert.deepEqual(ids(await api.list('', { limit })), before, `limit ${limit}`);
  const paged = [];
  let next = '';
  for (let turn = 0; next !== null; turn++) {
    const { body } = await api.get(`/api/v1/analyses?limit=2${next && `&cursor=${encode(next)}`}`);
    paged.push(...ids(body.items));
    next = body.next;
    if (turn < 4) await api.upload(variant(wav, `added ${turn}`), { name: `added-${turn}.wav` });
  }
  assert.deepEqual(paged, before);
  for (const a of await api.list('q=added-')) { await api.final(a.id); await api.remove(a.links.self); }
  assert.deepEqual(ids(await api.list()), before);
});

// RFC 4180.
function table(text) {
  const rows = [[]];
  let field = '', quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') { field += '"'; i++; }
    else if (c === '"') quoted = !quoted;
    else if (!quoted && c === ',') { rows.at(-1).push(field); field = ''; }
    else if (!quoted && c === '\r' && text[i + 1] === '\n') { rows.at(-1).push(field); field = ''; rows.push([]); i++; }
    else field += c;
  }
  rows.pop();
  const [head, ...body] = rows;
  return body.map((row) => { assert.equal(row.length, head.length, row.join()); return Object.fromEntries(head.map((name, i) => [name, row[i]])); });
}

test('the list as a table: the same selection, formulas defused', async () => {
  const reply = await api.get('/api/v1/analyses?format=csv');
  assert.equal(reply.status, 200);
  assert.match(reply.headers['content-disposition'], /attachment; filename="analyses.csv"/);
  const rows = table(reply.text), all = await api.list();
  assert.deepEqual(rows.map((r) => r.id), ids(all));
  rows.forEach((row, i) => {
    const a = all[i];
    assert.equal(row.file.replace(/^'/, ''), a.file.name);
    assert.doesNotMatch(row.file, /^[=+\-@\t\r]/);
    assert.equal(row.sha256, a.file.sha256);
    assert.equal(row.bytes, String(a.file.bytes));
    assert.equal(row.status, a.status);
    assert.equal(row.verdict, a.verdict ?? '');
    assert.equal(row.probability, a.probability === null ? '' : String(Number(a.probability.toPrecision(6))));
    assert.equal(row.error, a.error?.code ?? '');
    assert.equal(row.created_at, a.created_at);
  });
  assert.equal(rows.find((r) => r.file.includes('SUM')).file, "'=SUM(A1).wav");
  assert.deepEqual(table((await api.get('/api/v1/analyses?format=csv&status=failed')).text).map((r) => r.id), [letter.id]);
  assert.equal((await api.get('/api/v1/analyses?format=csv&limit=0')).status, 400);
  assert.deepEqual(table((await api.get('/api/v1/analyses?format=csv&q=nothing-like-this')).text), []);
});

test('the result as JSON is the command line\'s, as a table it is the timeline', async () => {
  const [line] = JSON.parse(`[${sonde(['detect', '--json', join(dir, 'speech.wav')]).out}]`);
  const plain = await api.done(readFileSync(join(dir, 'speech.wav')));
  delete line.file;
  assert.deepEqual((await api.get(plain.links.result)).body, line);
  assert.deepEqual((await api.get(`${plain.links.result}?format=json`)).body, line);
  const csv = await api.get(`${plain.links.result}?format=csv`);
  assert.match(csv.headers['content-type'], /^text\/csv/);
  const rows = table(csv.text);
  assert.equal(rows.length, line.timeline.length);
  rows.forEach((row, i) => {
    for (const [name, value] of Object.entries(row))
      assert.equal(value, line.timeline[i][name] === null ? '' : String(Number(line.timeline[i][name].toPrecision(6))), `${i} ${name}`);
  });
  assert.equal((await api.get(`${plain.links.result}?format=xml`)).body.code, 'bad_request');
});

test('the recording, whole and in ranges, byte for byte', async () => {
  const bytes = variant(other, 'ranges'), id = await api.upload(bytes, { name: 'ranges.wav' }), path = `/api/v1/analyses/${id}/audio`;
  const whole = await api.get(path);
  assert.equal(whole.raw.equals(bytes), true);
  assert.equal(whole.headers['content-type'], 'audio/wav');
  assert.equal(whole.headers['accept-ranges'], 'bytes');
  assert.equal(whole.headers.etag, `"${sha256(bytes)}"`);
  const n = bytes.length;
  for (const [range, from, to] of [['0-0', 0, 1], ['0-99', 0, 100], ['1000-1999', 1000, 2000], ['-100', n - 100, n], [`${n - 1}-`, n - 1, n],
    ['500-', 500, n], [`100-${n + 5000}`, 100, n], [`-${n + 10}`, 0, n]]) {
    const part = await api.get(path, { Range: `bytes=${range}` });
    assert.equal(part.status, 206, range);
    assert.equal(part.headers['content-range'], `bytes ${from}-${to - 1}/${n}`, range);
    assert.equal(part.raw.equals(bytes.subarray(from, to)), true, range);
  }
  for (const range of [`${n}-`, `${n + 10}-${n + 20}`, '-0']) {
    const beyond = await api.get(path, { Range: `bytes=${range}` });
    assert.equal(beyond.body.code, 'range_not_satisfiable', range);
    assert.equal(beyond.headers['content-range'], `bytes */${n}`, range);
  }
  for (const range of ['bytes=0-1,5-9', 'bytes=9-3', 'bytes=x', 'lines=1-2', 'bytes=']) { // several, or none that can be read: the whole
    const all = await api.get(path, { Range: range });
    assert.deepEqual([all.status, all.raw.length], [200, n], range);
  }
  assert.equal((await api.get(path, { 'If-None-Match': `"${sha256(bytes)}"` })).status, 304);
  assert.equal((await api.get(path, { Range: 'bytes=0-9', 'If-Range': `"${sha256(bytes)}"` })).status, 206);
  assert.equal((await api.get(path, { Range: 'bytes=0-9', 'If-Range': '"other"' })).status, 200);
  const head = await api.call(path, { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(n)]);
  assert.match((await api.get(`${path}?download=1`)).headers['content-disposition'], /^attachment;/);
});

test('the type of the recording is told by its bytes', async () => {
  const source = join(dir, 'speech.wav');
  for (const [ext, type] of [['flac', 'audio/flac'], ['mp3', 'audio/mpeg'], ['ogg', 'audio/ogg'], ['m4a', 'audio/mp4'], ['webm', 'audio/webm']]) {
    const path = join(dir, `speech.${ext}`);
    ffmpeg('-i', source, path);
    const id = await api.upload(readFileSync(path), { name: 'speech.html' });
    assert.equal((await api.get(`/api/v1/analyses/${id}/audio`)).headers['content-type'], type);
  }
  const id = await api.upload(Buffer.from('<script>alert(1)</script>'), { name: 'x.html' });
  const html = await api.get(`/api/v1/analyses/${id}/audio`);
  assert.equal(html.headers['content-type'], 'application/octet-stream');
  assert.match(html.headers['content-security-policy'], /default-src 'none'/);
});

test('the picture shows a tone where it is', async () => {
  // 4 s: silence, then from 1 s to 3 s a tone of 2000 Hz at half level.
  const done = await api.done(tone(dir, { seconds: 4, hz: 2000, level: 0.5, from: 1, to: 3 }));
  const { body: picture } = await api.get(done.links.picture);
  assert.ok(Math.abs(picture.duration_s - 4) < 0.05);
  const peaks = Buffer.from(picture.peaks.data, 'base64'), n = picture.peaks.columns;
  assert.equal(peaks.length, 2 * n);
  assert.ok(n > 100 && n <= 2000);
  const at = (seconds) => Math.floor((seconds / picture.duration_s) * n);
  const peak = (c) => [peaks.readInt8(2 * c), peaks.readInt8(2 * c + 1)];
  for (let c = at(1.1); c < at(2.9); c++) assert.ok(Math.abs(peak(c)[0] + 63.5) < 3 && Math.abs(peak(c)[1] - 63.5) < 3, `column ${c}: ${peak(c)}`);
  for (const c of [0, at(0.9), at(3.1), n - 1]) assert.ok(Math.abs(peak(c)[0]) <= 1 && Math.abs(peak(c)[1]) <= 1, `column ${c}: ${peak(c)}`);
  const { columns, bands, top_hz, data } = picture.spectrogram, cells = Buffer.from(data, 'base64');
  assert.equal(cells.length, columns * bands);
  assert.ok(columns <= 2000);
  const middle = Math.floor(columns / 2), column = [...cells.subarray(middle * bands, (middle + 1) * bands)];
  const loudest = column.indexOf(Math.max(...column));
  assert.ok(Math.abs(((loudest + 0.5) / bands) * top_hz - 2000) <= top_hz / bands, `loudest band ${loudest}`);
  assert.ok(column[loudest] > 240);
  assert.ok(Math.max(...cells.subarray(0, bands)) < 60, 'silence is dark');
});

test('the picture of a long recording has at most 2000 columns', async () => {
  const samples = new Float32Array(90 * 16000);
  for (let i = 0; i < samples.length; i++) samples[i] = 0.3 * Math.sin(i / 5);
  const done = await api.done(readFileSync(writeWav(join(dir, 'ninety.wav'), samples)));
  const { body: picture } = await api.get(done.links.picture);
  assert.ok(picture.peaks.columns > 1000 && picture.peaks.columns <= 2000, String(picture.peaks.columns));
  assert.ok(picture.spectrogram.columns > 1000 && picture.spectrogram.columns <= 2000);
  const packed = await api.get(done.links.picture, { 'Accept-Encoding': 'gzip' });
  assert.equal(packed.headers['content-encoding'], 'gzip');
  assert.deepEqual(JSON.parse(gunzipSync(packed.raw)), picture);
});

test('the stability panel: asked twice is once, its rows and their sums agree', async () => {
  const done = await api.done(variant(wav, 'stability'));
  const [first, second] = await Promise.all([1, 2].map(() => api.post(`/api/v1/analyses/${done.id}/stability`)));
  for (const reply of [first, second]) {
    assert.equal(reply.status, 202);
    assert.deepEqual(reply.body.stability.rows, []);
    assert.match(reply.body.stability.status, /queued|running/);
  }
  const end = Date.now() + 60_000 * slow;
  let panel;
  do { await sleep(100); panel = (await api.one(done.id)).stability; } while (panel.status !== 'done' && panel.status !== 'failed' && Date.now() < end);
  assert.equal(panel.status, 'done');
  assert.deepEqual(panel.rows.map((r) => r.variant), ['original', 'trim', 'mp3', 'aac', 'opus', 'narrow', 'noise']);
  const llrs = panel.rows.filter((r) => r.llr !== null).map((r) => r.llr);
  assert.ok(Math.abs(panel.spread - (Math.max(...llrs) - Math.min(...llrs))) < 1e-3, `${panel.spread} ${llrs}`);
  assert.equal(panel.flips, panel.rows.filter((r) => r.verdict !== null && r.verdict !== panel.rows[0].verdict).length);
  assert.equal(panel.rows[0].verdict, done.verdict);
  assert.ok(Math.abs(panel.rows[0].llr - done.llr) < 1e-3);
  const again = await api.post(`/api/v1/analyses/${done.id}/stability`);
  assert.deepEqual(again.body.stability, panel); // answered as it is, not made again
  assert.equal((await api.list(`q=${done.id}`))[0].stability_status, 'done');
});

test('the stability panel before there is a result: 409', async () => {
  assert.equal((await api.post(`/api/v1/analyses/${letter.id}/stability`)).body.code, 'conflict');
});

test('ids that are none, and ids of nothing', async () => {
  for (const id of [nobody, 'x', nobody.toUpperCase(), `${nobody}0`, '%00', '..%2f..%2fetc', '1%20OR%201=1', 'ж']) {
    const code = id === '%00' ? 'bad_request' : 'no_such';
    assert.equal((await api.get(`/status?id=${encode(decodeURIComponent(id))}`)).body.code, code, id);
    for (const part of ['', '/result', '/audio', '/picture']) {
      const reply = await api.get(`/api/v1/analyses/${id === 'ж' ? encode(id) : id}${part}`);
      assert.ok([code, 'no_route'].includes(reply.body.code), `${id}${part}: ${reply.text}`);
    }
  }
  assert.equal((await api.get('/status')).body.code, 'bad_request');
  assert.equal((await api.get('/status?id=')).body.code, 'no_such');
  assert.equal((await api.get('/api/v1/analyses/')).body.code, 'no_route');
  assert.equal((await api.get(`/api/v1/analyses/${person.id}/nothing`)).body.code, 'no_route');
});

test('a recording that is not kept: 410 for it and for what needs it, the result stays', async () => {
  const short = await serve({ args: ['--keep-audio', '0'] });
  const there = await client(short);
  const done = await there.done(variant(wav, 'not kept'));
  const gone = await there.final(done.id);
  assert.equal(gone.file.kept, false);
  assert.equal((await there.get(done.links.audio)).body.code, 'gone');
  assert.equal((await there.post(`/api/v1/analyses/${done.id}/rerun`)).body.code, 'gone');
  assert.equal((await there.post(`/api/v1/analyses/${done.id}/stability`)).body.code, 'gone');
  assert.equal((await there.get(done.links.result)).status, 200);
  assert.equal((await there.get(done.links.picture)).status, 200);
  assert.deepEqual(await short.stop(), { code: 0, signal: null });
});

test('it ends in order', async () => assert.deepEqual(await server.stop(), { code: 0, signal: null }));
