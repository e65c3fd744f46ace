// sonde as several processes on servers of its own, and what each of them costs.
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { startServers } from '../../tests/servers/all.mjs';
import { cpu, folder, memory, sonde, tree } from '../server/common.mjs';

const run = promisify(execFile);
const TICK = 1 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

// PostgreSQL flushes to the disk, as it does where it counts.
export async function servers(names = ['postgres', 'swift', 'rabbitmq', 'redis'], options = {}) {
  const started = await startServers({ dir: folder(), servers: names, options: { postgres: { fast: false, lines: ["shared_buffers = '256MB'"] }, ...options } });
  const roots = { postgres: () => started.postgres.pids.slice(0, 1), swift: () => started.swift.pids, rabbitmq: () => started.rabbitmq.pids, redis: () => started.redis.nodes.map((n) => n.pid) };
  return {
    ...started,
    cpu: () => Object.fromEntries(names.map((name) => [name, roots[name]().reduce((sum, pid) => sum + cpu(pid), 0)])),
    sql: (text) => started.postgres.sql(started.postgres.nodes[0], text),
    psql: async (file) => {
      const url = new URL(started.settings.SONDE_DB_URL.replace(/^postgres/, 'http'));
      await run('psql', ['-Xq', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', url.port, '-U', 'sonde', '-d', 'sonde', '-f', file],
        { env: { ...process.env, PGPASSWORD: started.settings.SONDE_DB_PASSWORD }, timeout: 300_000 });
    },
  };
}

// roles: ['upload', 'inference', 'keeper'], one process each; `env` besides what the servers need.
export async function cluster(on, roles, env = {}, args = []) {
  const list = [];
  for (const role of roles) list.push({ role, ...await sonde(['--role', role, ...args], folder(), { ...on.settings, ...env }) });
  return { list, of: (role) => list.find((p) => p.role === role), stop: async () => { for (const p of [...list].reverse()) await p.stop(); } };
}

const ticks = (file) => { const f = readFileSync(file, 'utf8').replace(/^.*\) /, '').split(' '); return Number(f[11]) + Number(f[12]); };
// Seconds of CPU of a process: { threads: { name: s }, own, decoder, all }
export function split(pid) {
  const threads = {};
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      const name = readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim().replace(/[-/ ]?\d+$/, '');
      threads[name] = (threads[name] ?? 0) + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
    } catch { /* it has ended */ }
  }
  const own = ticks(`/proc/${pid}/stat`) * TICK, all = cpu(pid);
  return { threads, own, decoder: all - own, all };
}
export function minus(after, before) {
  const sub = (a, b) => typeof a === 'number' ? a - (b ?? 0) : Object.fromEntries(Object.entries(a).map(([key, value]) => [key, sub(value, b?.[key])]));
  return sub(after, before);
}
export function descriptors(pid) { return readdirSync(`/proc/${pid}/fd`).length; }
export function footprint(pid) {
  const child = tree(pid).slice(1);
  return { ...memory(pid), descriptors: descriptors(pid), threads: readdirSync(`/proc/${pid}/task`).length, decoder: child.length ? memory(child[0]) : null };
}
export const scratch = (name) => path.join(folder(), name);
