// A client for the API tests. Every answer is held against /openapi.json: the route must name its status, the body must have
// the type and the shape that it names there, an error must be a Problem. What was seen is noted, for the test that every
// documented answer is.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { deflateRawSync, gunzipSync } from 'node:zlib';
import { ffmpeg, hasHuman, humanPrompt, syntheticSpeech, writeWav } from '../../e2e/support/sonde.mjs';
import { until } from '../../e2e/support/serve.mjs';
import { schemas } from './schema.mjs';

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const nobody = '019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f34'; // an id that no analysis has

// Under a sanitizer the program is several times slower.
export const slow = /san/.test(process.env.SONDE_BUILD ?? '') ? 6 : 1;

// One request, as it is written here: any header, any body. { status, headers, raw, text, body (JSON where it is) }.
// chunks: the body in parts, sent chunked.
export function send(server, path, { method = 'GET', headers = {}, body, chunks, timeout = 60_000 * slow, agent } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: server.port, path, method, headers, agent,
      signal: AbortSignal.timeout(timeout) }, (reply) => {
      const parts = [];
      reply.on('data', (part) => parts.push(part));
      reply.on('error', reject);
      reply.on('end', () => {
        const raw = Buffer.concat(parts), text = (reply.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString();
        let json = text;
        try { if (/json/.test(reply.headers['content-type'] ?? '') && method !== 'HEAD') json = JSON.parse(text); } catch (e) { reject(e); return; }
        resolve({ status: reply.statusCode, headers: reply.headers, rawHeaders: reply.rawHeaders, raw, text, body: json });
      });
    });
    request.on('upgrade', (reply, socket) => { socket.destroy(); resolve({ status: 101, headers: reply.headers, raw: Buffer.alloc(0), text: '', body: '' }); });
    let answered = false;
    request.on('response', () => { answered = true; });
    request.on('error', (error) => { if (!answered) reject(error); }); // a refused body may end in EPIPE behind the answer
    if (chunks) {
      (async () => {
        for (const chunk of chunks) {
          if (answered || request.destroyed) break;
          if (!request.write(chunk)) await Promise.race([new Promise((done) => request.once('drain', done)), sleep(1000)]);
        }
        request.end();
      })();
    } else request.end(body);
  });
}

// multipart/form-data of [{ field, name, bytes }]; name undefined: a plain field. Names are written as they are.
export function form(files, { boundary = '----sonde-test-7d3f' } = {}) {
  const parts = [];
  for (const { field = 'file', name, bytes } of files) {
    const filename = name === undefined ? '' : `; filename="${name}"`;
    parts.push(Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${field}"${filename}\r\n\r\n`), Buffer.from(bytes), Buffer.from('\r\n'));
  }
  return { body: Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]), headers: { 'Content-Type': `multipart/form-data; boundary=${boundary}` } };
}

export async function client(server) {
  const { body: document } = await send(server, '/openapi.json');
  const shapes = schemas(document);
  const seen = new Set(); // "operationId 200", "operationId no_such"
  const routes = Object.entries(document.paths).flatMap(([template, methods]) => Object.entries(methods).map(([method, operation]) => ({
    template, method: method.toUpperCase(), operation,
    pattern: new RegExp(`^${template.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
  })));
  routes.sort((a, b) => a.template.split('{').length - b.template.split('{').length);

  const routeOf = (method, path) => {
    const plain = path.split('?')[0];
    return routes.find((r) => r.method === (method === 'HEAD' ? 'GET' : method) && r.pattern.test(plain));
  };

  function checkProblem(reply, at, operation, silent) {
    assert.equal(shapes.validate({ $ref: '#/components/schemas/Problem' }, reply.body).join('\n'), '', at);
    assert.equal(reply.body.status, reply.status, at);
    assert.equal(reply.body.type, `urn:sonde:error:${reply.body.code}`, at);
    assert.equal(reply.body.request_id, reply.headers['x-request-id'], at);
    if (reply.status === 503 || reply.status === 429) assert.match(reply.headers['retry-after'] ?? '', /^\d+$/, `${at}: Retry-After`);
    if (operation && !silent) seen.add(`${operation.operationId} ${reply.body.code}`);
  }

  function check(method, path, reply) {
    const at = `${method} ${path} -> ${reply.status} ${reply.text.slice(0, 300)}`;
    const operation = routeOf(method, path)?.operation;
    const type = (reply.headers['content-type'] ?? '').split(';')[0];
    if (reply.status !== 101) assert.equal(reply.headers['x-content-type-options'], 'nosniff', at);
    if (method === 'HEAD') { assert.equal(reply.raw.length, 0, at); return; }
    if (type === 'application/problem+json') { checkProblem(reply, at, operation); return; }
    assert.ok(reply.status < 400 || type === 'application/json', `${at}: an error that is no Problem`);
    if (!operation || method === 'OPTIONS') return;
    const documented = operation.responses[reply.status];
    assert.ok(documented, `${at}: ${operation.operationId} does not document ${reply.status}`);
    seen.add(`${operation.operationId} ${reply.status}`);
    if (!documented.content) { assert.equal(reply.raw.length, 0, `${at}: no body is documented`); return; }
    const [media] = Object.keys(documented.content).filter((m) => new RegExp(`^${m.replace(/[+.]/g, '\\$&').replace('*', '.*')}$`).test(type));
    assert.ok(media, `${at}: ${type} is none of ${Object.keys(documented.content)}`);
    const schema = documented.content[media].schema;
    if (schema && /json/.test(type)) assert.equal(shapes.validate(schema, reply.body).slice(0, 5).join('\n'), '', at);
  }

  async function call(path, options = {}) {
    const reply = await send(server, path, options);
    check(options.method ?? 'GET', path, reply);
    return reply;
  }

  const api = {
    server, document, routes, seen, call, check, validate: shapes.validate,
    get: (path, headers) => call(path, { headers }),
    post: (path, headers, body) => call(path, { method: 'POST', headers, body }),
    remove: (path) => call(path, { method: 'DELETE' }),
    json: (path, value) => call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) }),
    // files: [{ name, bytes }] as a form
    form(path, files, headers = {}) {
      const made = form(files);
      return call(path, { method: 'POST', body: made.body, headers: { ...made.headers, ...headers } });
    },
    raw: (path, bytes, headers = {}) => call(path, { method: 'POST', body: bytes, headers: { 'Content-Type': 'application/octet-stream', ...headers } }),
    one: async (id) => (await call(`/api/v1/analyses/${id}`)).body,
    async upload(bytes, { name = 'a.wav', path = '/upload', headers = {} } = {}) {
      const reply = await api.form(path, [{ name, bytes }], headers);
      assert.equal(reply.status, 202, reply.text);
      return reply.body.id;
    },
    // The whole analysis when it is final.
    async final(id, { timeout = 30_000 * slow } = {}) {
      return until(async () => {
        const { body } = await call(`/api/v1/analyses/${id}`);
        return (body.status === 'done' || body.status === 'failed') && body;
      }, { timeout, pause: 30 });
    },
    async done(bytes, options) { return api.final(await api.upload(bytes, options)); },
    // All pages of a list.
    async list(query = '', { limit = 50 } = {}) {
      const all = [];
      for (let next = ''; next !== null;) {
        const { body } = await call(`/api/v1/analyses?limit=${limit}${query && `&${query}`}${next && `&cursor=${encodeURIComponent(next)}`}`);
        all.push(...body.items);
        next = body.next;
      }
      return all;
    },
  };
  return api;
}

// --- recordings

// The same recording with other bytes: a chunk behind the samples that no reader looks at.
export function variant(wav, tag) {
  const text = Buffer.from(String(tag)), chunk = Buffer.alloc(8 + text.length + (text.length & 1));
  chunk.write('junk', 0);
  chunk.writeUInt32LE(text.length, 4);
  text.copy(chunk, 8);
  return Buffer.concat([wav, chunk]);
}

// A short synthetic sentence (wav bytes).
export const speech = (dir) => readFileSync(syntheticSpeech(join(dir, 'speech.wav')));
export const human = () => (hasHuman ? readFileSync(humanPrompt) : null);

// A tone: `seconds` at 16 kHz, amplitude `level`, of `hz`; silence outside from..to.
export function tone(dir, { seconds = 2, hz = 1000, level = 0.5, from = 0, to = seconds, rate = 16000 } = {}) {
  const samples = new Float32Array(seconds * rate);
  for (let i = Math.round(from * rate); i < Math.round(to * rate); i++) samples[i] = level * Math.sin((2 * Math.PI * hz * i) / rate);
  return readFileSync(writeWav(join(dir, `tone-${seconds}-${hz}.wav`), samples, { rate }));
}

// Minutes of speech-like sound, small in bytes: a recording that takes the detector seconds.
export function long(dir, minutes = 20) {
  const source = join(dir, 'speech.wav');
  syntheticSpeech(source);
  const path = join(dir, 'minute.mp3');
  ffmpeg('-stream_loop', '-1', '-i', source, '-t', '60', '-ac', '1', '-ar', '16000', '-b:a', '24k', '-write_xing', '0', '-id3v2_version', '0', path);
  return Buffer.concat(Array.from({ length: minutes }, () => readFileSync(path))); // frames upon frames
}

// --- zips

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const crc32 = (bytes) => ~bytes.reduce((crc, byte) => crcTable[(crc ^ byte) & 255] ^ (crc >>> 8), -1) >>> 0;

// A zip of { name, bytes, packed (deflate), encrypted (says so only) }.
export function zip(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const { name, bytes, packed, encrypted } of files) {
    const path = Buffer.from(name), data = packed ? deflateRawSync(bytes) : bytes, both = Buffer.alloc(26);
    both.writeUInt16LE(20, 0);
    both.writeUInt16LE(0x0800 | (encrypted ? 1 : 0), 2); // the name is UTF-8
    both.writeUInt16LE(packed ? 8 : 0, 4);
    both.writeUInt32LE(crc32(bytes), 10);
    both.writeUInt32LE(data.length, 14);
    both.writeUInt32LE(bytes.length, 18);
    both.writeUInt16LE(path.length, 22);
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), both, path, data);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\0', 'latin1'), both, rest, path);
    at += 30 + path.length + data.length;
  }
  const listed = Buffer.concat(directory), end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, listed, end]);
}
