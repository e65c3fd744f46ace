// How many uploads a second PostgreSQL's one writer notes: store_accept, durable, from threads in one and in three processes,
// right beside the server and with a network of 0.5 ms there and back between.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { load, median, options, show, table } from '../server/common.mjs';
import { servers } from './common.mjs';

const THREADS = [1, 4, 16];

async function run(url, password, threads, seconds) {
  const child = spawn(path.resolve(options.build, 'bench/bench_accept'), [url, password, String(threads), String(seconds)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk) => { out += chunk; });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`bench_accept ended with ${code}`);
  return JSON.parse(out);
}

export async function writer() {
  const on = await servers(['postgres']), url = on.settings.SONDE_DB_URL, password = on.settings.SONDE_DB_PASSWORD;
  const port = new URL(url.replace(/^postgres/, 'http')).port, seconds = options.quick ? 1 : 4;
  const proxy = spawn(path.resolve(options.build, 'bench/bench_delay'), ['0', port, '250'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [first] = await once(proxy.stdout, 'data');
  const far = url.replace(`:${port}/`, `:${String(first).trim()}/`);
  await run(url, password, 1, 0.5);
  const rows = [], cases = [];
  for (const [where, at] of [['beside it', url], ['0.5 ms away', far]])
    for (const processes of [1, 3]) for (const threads of THREADS) cases.push({ where, at, processes, threads, runs: [] });
  for (let round = 0; round < options.rounds; round++)
    for (const c of cases) {
      const before = on.cpu().postgres, xacts = Number(await on.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'sonde'"));
      const all = await Promise.all(Array.from({ length: c.processes }, () => run(c.at, password, c.threads, seconds)));
      const calls = all.reduce((sum, r) => sum + r.calls, 0), took = Math.max(...all.map((r) => r.seconds));
      c.runs.push({ rate: calls / took, p50: median(all.map((r) => r.p50)), p99: Math.max(...all.map((r) => r.p99)), sonde: all.reduce((s, r) => s + r.cpu, 0) / calls * 1e3,
        postgres: (on.cpu().postgres - before) / calls * 1e3, xacts });
    }
  proxy.kill();
  for (const c of cases) rows.push([c.where, c.processes, c.threads, show(c.runs.map((r) => r.rate), 0), median(c.runs.map((r) => r.p50)).toFixed(1), median(c.runs.map((r) => r.p99)).toFixed(1),
    show(c.runs.map((r) => r.sonde), 2), show(c.runs.map((r) => r.postgres), 2)]);
  console.log(`store_accept, fsync on, load ${load()}`);
  table([['PostgreSQL', 'processes', 'threads each', 'uploads/s', 'p50 ms', 'p99 ms', 'CPU ms of sonde', 'CPU ms of PostgreSQL'], ...rows]);
  await on.stop();
  return { cases };
}
