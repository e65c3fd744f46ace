// What the server's benchmarks share: starting servers, their CPU and memory, wrk, recordings, tables.
//
// Wall time on a busy machine says little, so a cost is CPU time: user and system time of the server's process, all its
// threads and children, from /proc. Contestants take turns, and a figure is the median of the rounds.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const here = path.dirname(fileURLToPath(import.meta.url)), bench = path.dirname(here), root = path.dirname(bench);
export const out = path.join(bench, 'out');
export const options = { build: path.join(root, 'build'), rounds: 5, quick: false };
export const program = () => path.join(path.resolve(options.build), 'sonde');
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
mkdirSync(out, { recursive: true });

// --- figures

const sorted = (v) => [...v].sort((a, b) => a - b);
export const quantile = (v, q) => sorted(v)[Math.min(v.length - 1, Math.ceil(q * v.length) - 1)];
export const median = (v) => { const s = sorted(v), h = s.length >> 1; return s.length % 2 ? s[h] : (s[h - 1] + s[h]) / 2; };
export const spread = (v) => ({ median: median(v), min: Math.min(...v), max: Math.max(...v) });
export const show = (v, digits = 1) => {
  const s = spread(v);
  return `${s.median.toFixed(digits)} (${s.min.toFixed(digits)}..${s.max.toFixed(digits)})`;
};
export const load = () => loadavg()[0].toFixed(1);
export function table(rows) {
  const width = rows[0].map((_, i) => Math.max(...rows.map((r) => String(r[i] ?? '').length)));
  for (const row of rows) console.log(`  ${row.map((cell, i) => (i ? String(cell ?? '').padStart(width[i]) : String(cell).padEnd(width[i]))).join('  ')}`);
}

// --- processes

const TICK = 1 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
export function tree(pid) {
  const all = [pid];
  try {
    for (const task of readdirSync(`/proc/${pid}/task`))
      for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean)) all.push(...tree(Number(child)));
  } catch { /* it has ended */ }
  return all;
}
// Seconds of CPU of a process and everything below it, those that have ended included.
export function cpu(pid) {
  let ticks = 0;
  for (const p of tree(pid)) {
    try {
      const f = readFileSync(`/proc/${p}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
      ticks += Number(f[11]) + Number(f[12]) + Number(f[13]) + Number(f[14]);
    } catch { /* it has ended: its parent has it now */ }
  }
  return ticks * TICK;
}
// kB of one process: { rss, pss, peak }
export function memory(pid) {
  const read = (file, key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1] ?? 0);
  return { rss: read('status', 'VmRSS'), peak: read('status', 'VmHWM'), pss: read('smaps_rollup', 'Pss') };
}

const running = new Set(), folders = new Set();
function clean() {
  for (const child of running) // nginx's workers would outlive their master
    for (const pid of tree(child.pid)) try { process.kill(pid, 'SIGKILL'); } catch { /* gone */ }
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
}
process.on('exit', clean);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

// Removed when all is done: ext4 passes over inodes that were freed within the last minutes one by one, so whoever makes
// files after others were deleted pays for them.
export function folder() {
  const dir = mkdtempSync(path.join(tmpdir(), 'sonde-bench-'));
  folders.add(dir);
  return dir;
}
async function answers(port, timeout = 30_000) {
  for (const end = Date.now() + timeout; ;) {
    const up = await new Promise((done) => {
      const s = net.connect(port, '127.0.0.1', () => { s.destroy(); done(true); }).on('error', () => done(false));
    });
    if (up) return;
    if (Date.now() > end) throw new Error(`nothing answers on port ${port}`);
    await sleep(50);
  }
}
export async function freePort() {
  const s = net.createServer().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const { port } = s.address();
  s.close();
  return port;
}

// A server under measurement: { name, pid, port, url, stop() }.
export async function start(name, argv, port, { cwd, env } = {}) {
  const child = spawn(argv[0], argv.slice(1), { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  running.add(child);
  child.stderr.on('data', (chunk) => { said = (said + chunk).slice(-4000); });
  const ended = once(child, 'exit').then(() => running.delete(child));
  await Promise.race([answers(port), ended.then(() => { throw new Error(`${name} ended: ${said}`); })]);
  return {
    name, pid: child.pid, port, url: `http://127.0.0.1:${port}`, said: () => said,
    async stop() {
      child.kill('SIGTERM');
      const hard = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(hard);
    },
  };
}

export async function sonde(args = [], data = folder(), env = {}) {
  const port = await freePort();
  const server = await start('sonde', [program(), 'serve', '--listen', `127.0.0.1:${port}`, '--data', data,
    '--log-format', 'json', '--log-level', 'warn', ...args], port, { env });
  for (let i = 0; i < 200 && (await fetch(`${server.url}/readyz`)).status !== 200; i++) await sleep(50);
  return { ...server, data };
}

// nginx with its own configuration, folder and port. `locations`: what stands inside of server {}.
export async function nginx(locations, { workers = 2, http = '' } = {}) {
  const port = await freePort(), dir = folder(), file = path.join(dir, 'nginx.conf');
  for (const name of ['body', 'store', 'tmp']) mkdirSync(path.join(dir, name), { mode: 0o777 });
  execFileSync('chmod', ['777', dir, path.join(dir, 'body'), path.join(dir, 'store'), path.join(dir, 'tmp')]);
  writeFileSync(file, `daemon off; worker_processes ${workers}; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain;
  client_max_body_size 2g; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/tmp; fastcgi_temp_path ${dir}/tmp;
  uwsgi_temp_path ${dir}/tmp; scgi_temp_path ${dir}/tmp;
  ${http.replaceAll('DIR', dir)}
  server { listen 127.0.0.1:${port}; ${locations.replaceAll('DIR', dir)} }
}
`);
  const server = await start('nginx', ['/usr/sbin/nginx', '-p', dir, '-e', `${dir}/error.log`, '-c', file], port);
  await sleep(200);
  return { ...server, dir };
}

export async function nodeServer(script, args) {
  const port = await freePort();
  return start(script, [process.execPath, path.join(here, script), String(port), ...args], port, { env: { NODE_ENV: 'production' } });
}

// --- clients

// Requests per second, CPU of the server per request, latency. `lua`: a script with its arguments.
export function wrk(server, target, { seconds = 4, connections = 64, threads = 1, lua = [] } = {}) {
  const before = cpu(server.pid);
  const r = spawnSync('wrk', ['-t', String(threads), '-c', String(connections), '-d', `${seconds}s`, '--latency',
    ...(lua.length ? ['-s', path.join(here, lua[0])] : []), server.url + target, ...(lua.length > 1 ? ['--', ...lua.slice(1).map(String)] : [])],
  { encoding: 'utf8', timeout: (seconds + 30) * 1000 });
  const used = cpu(server.pid) - before;
  const requests = Number(/(\d+) requests in/.exec(r.stdout)?.[1] ?? 0), rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(r.stdout)?.[1] ?? 0);
  const bad = /Non-2xx[^:]*: (\d+)/.exec(r.stdout), errors = /Socket errors: (.*)/.exec(r.stdout);
  if (!requests || bad || errors) throw new Error(`wrk against ${server.name}: ${r.stdout}${r.stderr}`);
  const ms = (text) => { const m = /^([\d.]+)(us|ms|s)$/.exec(text); return !m ? NaN : Number(m[1]) * { us: 1e-3, ms: 1, s: 1e3 }[m[2]]; };
  return { us: used / requests * 1e6, rate, p50: ms(/^ +50%\s+(\S+)/m.exec(r.stdout)[1]), p99: ms(/^ +99%\s+(\S+)/m.exec(r.stdout)[1]) };
}

// Turns: each contestant once per round; [{name, us: [...], rate: [...]}].
export async function turns(contestants, rounds, run) {
  const results = contestants.map((c) => ({ name: c.name, runs: [] }));
  for (const c of contestants) await run(c, true); // warm
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < contestants.length; i++) results[i].runs.push(await run(contestants[i], false));
  return results;
}
export const column = (result, key) => result.runs.map((r) => r[key]);

export async function json(server, target, init) {
  const r = await fetch(server.url + target, { ...init, signal: AbortSignal.timeout(120_000) });
  return { status: r.status, headers: r.headers, body: await r.json().catch(() => null) };
}
export async function metricsOf(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text(), all = {};
  for (const line of text.split('\n')) {
    const m = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
    if (m) all[m[1]] = Number(m[2]);
  }
  return all;
}
export async function until(look, ms, pause = 100) {
  for (const end = Date.now() + ms; ;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error('did not happen in time');
    await sleep(pause);
  }
}

// --- recordings: a voice prompt that Debian packages, so the same on every machine, made long enough and varied

const prompt = '/usr/share/asterisk/sounds/en_US_f_Allison/demo-congrats.wav';
// The 10 seconds of speech, as 16-bit wav of 16 kHz or mp3 of 128 kbit/s.
export function clip(kind) {
  if (!existsSync(prompt)) throw new Error('install asterisk-core-sounds-en-wav (tools/setup.sh bench)');
  const file = path.join(out, `clip10.${kind}`);
  if (!existsSync(file))
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-stream_loop', '-1', '-i', prompt, '-t', '10',
      ...(kind === 'mp3' ? ['-ar', '44100', '-ac', '2', '-b:a', '128k'] : ['-ar', '16000', '-ac', '1']), file]);
  return readFileSync(file);
}
// The same recording with other bytes behind its samples: an answer for one is none for the other.
export function variant(bytes, n) {
  const tail = createHash('sha256').update(String(n)).digest();
  return Buffer.concat([bytes, tail]);
}

export function versions() {
  const said = (command, args, pattern) => {
    const r = spawnSync(command, args, { encoding: 'utf8' });
    return pattern.exec(`${r.stdout}${r.stderr}`)?.[1] ?? 'missing';
  };
  const npm = (name) => { try { return JSON.parse(readFileSync(path.join(bench, 'node_modules', name, 'package.json'))).version; } catch { return 'missing'; } };
  return {
    nginx: said('/usr/sbin/nginx', ['-v'], /nginx\/(\S+)/), wrk: said('wrk', ['-v'], /wrk (\S+)/), node: process.version,
    fastify: npm('fastify'), 'better-sqlite3': npm('better-sqlite3'), sqlite: said('sqlite3', ['--version'], /^(\S+)/),
    sonde: said(program(), ['--version'], /(\d\S+)/),
  };
}
