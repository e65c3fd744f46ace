// Receiving: one body of 100 MB, and 8 of 5 MB at once, raw and as a form, against nginx that stores bodies in files.
//
// nginx writes the body to a file and answers. sonde also takes its SHA-256, syncs file and folder to the disk, and
// commits three rows durably before it answers. What comes after the answer (decode, judge) is no part of this: the
// bodies are a short recording with a long tail whose result is known already, so it is taken from there.
import http from 'node:http';
import { readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { randomFillSync } from 'node:crypto';
import { clip, column, cpu, load, median, nginx, options, show, sleep, sonde, table, turns } from './common.mjs';

// One request; status, headers, body.
export function post(server, target, body, { headers = {}, agent = false, timeout = 120_000 } = {}) {
  return new Promise((done, fail) => {
    const request = http.request({ host: '127.0.0.1', port: server.port, path: target, method: 'POST', agent, timeout,
      headers: { 'content-type': 'application/octet-stream', 'content-length': body.length, ...headers } }, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('end', () => done({ status: reply.statusCode, headers: reply.headers, text: Buffer.concat(chunks).toString() }));
      reply.on('error', fail);
    });
    request.on('error', fail);
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.end(body);
  });
}

function bodyOf(size) {
  const tail = Buffer.alloc(size);
  randomFillSync(tail);
  clip('wav').subarray(0, 100_044).copy(tail);
  tail.writeUInt32LE(100_036, 4); // the sizes that the head of the wav tells
  const data = tail.indexOf('data');
  tail.writeUInt32LE(100_044 - data - 8, data + 4);
  return tail;
}
function form(body) {
  const edge = 'd29b1a7f30c94e8ab5a6';
  const head = `--${edge}\r\nContent-Disposition: form-data; name="file"; filename="call.wav"\r\nContent-Type: audio/wav\r\n\r\n`;
  return { body: Buffer.concat([Buffer.from(head), body, Buffer.from(`\r\n--${edge}--\r\n`)]), headers: { 'content-type': `multipart/form-data; boundary=${edge}` } };
}

async function storing(buffer) {
  return nginx(`location /sink { return 200 "ok\\n"; }
    location /upload { client_body_in_file_only on; ${buffer} proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Content-Type "";
      proxy_pass http://unix:DIR/sink.sock:/sink; }`, { http: 'server { listen unix:DIR/sink.sock; location /sink { return 200 "ok\\n"; } }' });
}

// nginx keeps each body: proof that it was written, and then it goes.
function stored(server) {
  const dir = path.join(server.dir, 'body');
  let bytes = 0;
  for (const name of readdirSync(dir)) {
    bytes += statSync(path.join(dir, name)).size;
    rmSync(path.join(dir, name));
  }
  return bytes;
}

export async function upload() {
  const server = await sonde(['--keep-audio', '0', '--min-free', '1M']);
  const usual = await storing(''), large = await storing('client_body_buffer_size 1m;');
  const sets = [{ name: 'one of 100 MB', size: 100e6, count: 1 }, { name: '8 of 5 MB at once', size: 5e6, count: 8 }];
  const result = { load: load(), sets: {} };
  for (const set of sets) {
    const body = bodyOf(set.size), parts = form(body);
    const first = await post(server, '/upload', body, { headers: { prefer: 'wait=60' } });
    if (first.status !== 200 || JSON.parse(first.text).status !== 'done') throw new Error(`the first upload: ${first.status} ${first.text.slice(0, 300)}`);
    const list = [
      { name: 'nginx, buffers of 16 kB (its default)', server: usual, target: '/upload', body, headers: {} },
      { name: 'nginx, buffers of 1 MB', server: large, target: '/upload', body, headers: {} },
      { name: 'sonde, the body is the file', server, target: '/upload', body, headers: {} },
      { name: 'sonde, multipart', server, target: '/upload', ...parts },
    ];
    const results = await turns(list, options.rounds, async (c) => {
      await sleep(300); // what the last one left to do
      const before = cpu(c.server.pid), start = performance.now();
      const replies = await Promise.all(Array.from({ length: set.count }, () => post(c.server, c.target, c.body, { headers: c.headers })));
      const seconds = (performance.now() - start) / 1e3, used = cpu(c.server.pid) - before, mb = set.size * set.count / 1e6;
      if (replies.some((r) => r.status !== (c.server === server ? 202 : 200))) throw new Error(`${c.name}: ${replies[0].status} ${replies[0].text}`);
      if (c.server.dir && stored(c.server) !== set.size * set.count) throw new Error(`${c.name} did not store the bodies`);
      return { rate: mb / seconds, us: used / mb * 1e6 };
    });
    const base = median(column(results[0], 'us'));
    console.log(`upload, ${set.name}, load ${load()}`);
    table([['', 'µs CPU per MB', '× nginx', 'MB/s'], ...results.map((r) => [r.name, show(column(r, 'us'), 0), (median(column(r, 'us')) / base).toFixed(2), show(column(r, 'rate'), 0)])]);
    result.sets[set.name] = { results, ratio: median(column(results[2], 'us')) / base, target: 2 };
  }
  await server.stop();
  await usual.stop();
  await large.stop();
  return result;
}
