// A running `sonde serve` for a test: on a free port of loopback, with a data folder of its own, ended by pid.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { after } from 'node:test';
import { program } from './sonde.mjs';

const sanitizer = /(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error: /;
const servers = new Set();
const folders = new Set();
after(async () => {
  for (const server of servers) await server.kill();
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
});

// A fresh data folder, removed at the end of the test file.
export function dataFolder() {
  const dir = mkdtempSync(join(tmpdir(), 'sonde-serve-'));
  folders.add(dir);
  return dir;
}

// Starts the server and waits until it is ready (or has ended: then it throws with what it said).
//   { url, port, pid, data, log(), stop(), kill(), exited }
export async function serve({ data = dataFolder(), args = [], env = {}, command = program, listen = '127.0.0.1:0',
  prefix = [], timeout = /san/.test(program) ? 120_000 : 20_000 } = {}) {
  const argv = [...prefix, command, 'serve', '--listen', listen, '--data', data, '--log-format', 'json', ...args];
  const child = spawn(argv[0], argv.slice(1), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '', err = '';
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const server = {
    child, pid: child.pid, data, exited,
    log: () => err.split('\n').filter(Boolean).map((line) => { try { return JSON.parse(line); } catch { return { message: line }; } }),
    async stop(ms = /san/.test(program) ? 60_000 : 20_000) { // orderly: SIGTERM
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), ms);
      const end = await exited;
      clearTimeout(timer);
      servers.delete(server);
      const report = err.search(sanitizer); // of a build with sanitizers: a finding fails the test, however the process ended
      if (report >= 0) throw new Error(`the server's standard error has a report:\n${err.slice(report, report + 6000)}`);
      return end;
    },
    async kill() { // the plug is pulled
      child.kill('SIGKILL');
      servers.delete(server);
      return exited;
    },
  };
  servers.add(server);
  child.stderr.on('data', (chunk) => { err += chunk; });
  await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`not ready in ${timeout} ms: ${err}`)), timeout);
    child.stdout.on('data', (chunk) => {
      out += chunk;
      const ready = /open (http:\/\/\S+)/.exec(out);
      if (!ready) return;
      server.url = ready[1];
      server.port = Number(new URL(server.url).port);
      clearTimeout(timer);
      done();
    });
    exited.then((end) => { clearTimeout(timer); fail(new Error(`ended with ${JSON.stringify(end)}: ${err}`)); });
  });
  return server;
}

// One request; the answer's JSON (or text) as `body`.
export async function ask(server, path, { method = 'GET', headers = {}, body, timeout = 60_000 } = {}) {
  const reply = await fetch(new URL(path, server.url), { method, headers, body, signal: AbortSignal.timeout(timeout), redirect: 'manual' });
  const text = await reply.text();
  let json = text;
  if (/json/.test(reply.headers.get('content-type') ?? '')) json = JSON.parse(text);
  return { status: reply.status, headers: reply.headers, body: json, text };
}

// Uploads files (paths, or { name, bytes }) as a form. wait: seconds to wait for the result.
export function upload(server, files, { path = '/upload', wait, headers = {} } = {}) {
  const form = new FormData();
  for (const file of [files].flat())
    form.append('file', new Blob([file.bytes ?? readFileSync(file)]), file.name ?? String(file).split('/').pop());
  return ask(server, path, { method: 'POST', body: form, headers: { ...headers, ...(wait ? { Prefer: `wait=${wait}` } : {}) } });
}

// Waits until `look` answers something truthy; its last answer is the error otherwise.
export async function until(look, { timeout = 60_000, pause = 50 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error('did not happen in time');
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

export const finished = (server, id, options) => until(async () => {
  const { body } = await ask(server, `/status?id=${id}`);
  return (body.status === 'done' || body.status === 'failed') && body;
}, options);
