// Clients that mean harm, or have bugs, against the real server: each gets a refusal or is cut off, nothing is left
// behind, and everybody else is served as before. Bytes go over a bare socket, because no HTTP client would send them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from './support/serve.mjs';
import { scratch, writeWav } from './support/sonde.mjs';

let server, host, page;
before(async () => {
  server = await serve();
  host = `Host: 127.0.0.1:${server.port}\r\n`;
  page = `GET /healthz HTTP/1.1\r\n${host}\r\n`;
});
// Sends text or bytes; resolves with everything that came until the other end closed or `ms` passed in silence.
function raw(bytes, { ms = 1500, feed } = {}) {
  return new Promise((done) => {
    const socket = connect(server.port, '127.0.0.1');
    let text = '', closed = false;
    const end = () => { socket.destroy(); done({ text, closed, status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0) }); };
    socket.setTimeout(ms, end);
    socket.on('data', (chunk) => { text += chunk.toString('latin1'); });
    socket.on('error', () => { closed = true; end(); });
    socket.on('close', () => { closed = true; end(); });
    socket.on('connect', () => { socket.write(bytes); feed?.(socket); });
  });
}
const alive = async () => {
  const answer = await fetch(`${server.url}/healthz`);
  assert.equal(answer.status, 200);
};
const answers = (text) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => Number(m[1]));
const post = (rest) => `POST /upload HTTP/1.1\r\n${host}${rest}`;

test('a client that sends its head byte by byte is cut off, others are served meanwhile', async () => {
  const slow = Array.from({ length: 50 }, () => raw('GET /heal', {
    ms: 40_000,
    feed: (socket) => {
      const timer = setInterval(() => socket.writable ? socket.write('x') : 0, 500);
      socket.on('close', () => clearInterval(timer));
    },
  }));
  for (let i = 0; i < 5; i++) { await alive(); await sleep(300); }
  const start = Date.now();
  for (const end of await Promise.all(slow)) assert.ok(end.closed);
  assert.ok(Date.now() - start < 30_000);
});

test('requests that two programs could read differently are refused and end the connection', async () => {
  const smuggled = `GET /api/v1/info HTTP/1.1\r\n${host}\r\n`;
  const cases = [
    post(`Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`),
    post(`Content-Length: 5\r\nContent-Length: ${5 + smuggled.length}\r\n\r\nhello${smuggled}`),
    post(`Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`),
    post(`Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`),
    post(`Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`),
    post(`Content-Length: 0\n\n${smuggled}`),
    `GET /healthz HTTP/1.1\r\n${host}: hidden\r\n\r\n${smuggled}`,
    `GET /healthz HTTP/1.1\r\n${host}Content-: 5\r\n Length\r\n\r\n${smuggled}`,
    `GET /healthz HTTP/1.1\r\n${host}Host: elsewhere.example\r\n\r\n${smuggled}`,
  ];
  for (const bytes of cases) {
    const end = await raw(bytes);
    assert.equal(end.status, 400, `${bytes}\n→ ${end.text}`);
    assert.ok(end.closed, bytes);
    assert.equal(answers(end.text).length, 1, `a second request was answered: ${bytes}`);
  }
});

test('wrong lengths and damaged chunks', async () => {
  for (const [rest, statuses] of [
    ['Content-Length: -1\r\n\r\n', [400]],
    ['Content-Length: 1e3\r\n\r\n', [400]],
    ['Content-Length: 99999999999999999999999\r\n\r\n', [413, 400]],
    ['Content-Length: 9223372036854775807\r\n\r\n', [413, 400]],
    ['Transfer-Encoding: chunked\r\n\r\nzz\r\n', [400]],
    ['Transfer-Encoding: chunked\r\n\r\n-1\r\nx', [400]],
    ['Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n', [400, 0]],
    ['Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\nx', [413, 400]],
  ]) {
    const end = await raw(post(rest));
    assert.ok(statuses.includes(end.status), `${rest}: ${end.status}`);
    assert.ok(end.closed, rest);
  }
  await alive();
});

test('ten thousand headers, an endless path, an endless query', async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => `x-${i}: y\r\n`).join('');
  assert.ok([431, 0].includes((await raw(`GET / HTTP/1.1\r\n${host}${many}\r\n`)).status));
  assert.ok([431, 414, 0].includes((await raw(`GET /${'a'.repeat(1_000_000)} HTTP/1.1\r\n${host}\r\n`)).status));
  assert.equal((await raw(`GET /${'a'.repeat(9000)} HTTP/1.1\r\n${host}\r\n`)).status, 431);
  assert.equal((await raw(`GET /status?${'&'.repeat(5000)} HTTP/1.1\r\n${host}\r\n`)).status, 400);
  await alive();
});

// What is answered leaves the connection open, which shows only when nothing more comes: so they are asked side by side.
test('paths that lead out of the page', async () => {
  const secret = readFileSync('/etc/passwd', 'latin1').slice(0, 20);
  await Promise.all(['/../../../../etc/passwd', '/assets/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/..%2f..%2fetc%2fpasswd',
    '//etc/passwd', '/assets/%5c..%5c..%5cetc%5cpasswd', '/api/v1/analyses/..%2f..%2f..%2fetc%2fpasswd/audio', '/a%00/etc/passwd'].map(async (path) => {
    const end = await raw(`GET ${path} HTTP/1.1\r\n${host}\r\n`);
    assert.ok([400, 404].includes(end.status), `${path}: ${end.status}`);
    assert.ok(!end.text.includes(secret), path);
  }));
});

test('pages of other sites, and names bound to this address, get nothing', async () => {
  const ask = (method, path, headers) => raw(`${method} ${path} HTTP/1.1\r\n${headers}Content-Length: 0\r\n\r\n`);
  for (const headers of [`${host}Origin: https://evil.example\r\n`, `${host}Origin: null\r\n`, `${host}Sec-Fetch-Site: cross-site\r\n`,
    `${host}Sec-Fetch-Site: same-site\r\n`, 'Host: rebound.example\r\n', `Host: 127.0.0.1.nip.example:${server.port}\r\n`]) {
    await Promise.all([['GET', '/api/v1/analyses'], ['POST', '/upload'], ['POST', '/api/v1/webhooks'], ['POST', '/api/v1/events/tickets'],
      ['DELETE', '/api/v1/analyses/019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f34'], ['OPTIONS', '/upload']].map(async ([method, path]) => {
      const end = await ask(method, path, headers);
      assert.equal(end.status, 403, `${method} ${path} ${headers}: ${end.text}`);
      assert.ok(!/access-control/i.test(end.text));
    }));
  }
});

test('HTML in names comes back as text that no browser runs', async () => {
  const wav = readFileSync(writeWav(join(scratch(), 'x.wav'), new Float32Array(16_000)));
  const name = '"><img src=x onerror=alert(1)>.wav';
  const sent = await fetch(`${server.url}/upload?name=${encodeURIComponent(name)}`, { method: 'POST', body: wav });
  assert.ok([200, 202].includes(sent.status), await sent.clone().text());
  const { id } = await sent.json();
  for (const path of [`/api/v1/analyses/${id}`, '/api/v1/analyses', '/api/v1/analyses?format=csv', `/api/v1/analyses/${id}/audio`]) {
    const answer = await fetch(server.url + path);
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff', path);
    assert.match(answer.headers.get('content-security-policy'), /default-src 'none'.*sandbox/, path);
    assert.doesNotMatch(answer.headers.get('content-type'), /html/, path);
    await answer.arrayBuffer();
  }
  const detail = await (await fetch(`${server.url}/api/v1/analyses/${id}`)).json();
  assert.equal(detail.file.name, name);
});

test('uploads that are broken off leave no file', async () => {
  const count = (dir) => readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile() && /body-/.test(e.name)).length;
  await Promise.all(Array.from({ length: 20 }, () => raw(post(`Content-Length: 1000000\r\n\r\n${'x'.repeat(100_000)}`), { ms: 300 })));
  for (let i = 0; i < 50 && count(server.data); i++) await sleep(100);
  assert.equal(count(server.data), 0);
  await alive();
});

test('noise', async () => {
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let i = 0; i < 40; i++) {
    const noise = Buffer.from(Array.from({ length: 2000 }, () => random() * 256));
    const start = i % 2 ? Buffer.from(page.slice(0, Math.floor(random() * page.length)), 'latin1') : Buffer.alloc(0);
    const end = await raw(Buffer.concat([start, noise]), { ms: 100 });
    assert.ok(end.status < 500 || end.status === 505, `${end.status}`);
  }
  await alive();
});

test('after all of that it ends in an orderly way', async () => {
  const { code, signal } = await server.stop();
  assert.equal(signal, null);
  assert.equal(code, 0);
});
