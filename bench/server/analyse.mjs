// From an upload to its result: how long one client waits, and how much of the bare engine's speed is left when
// everything goes through the API.
import http from 'node:http';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { once } from 'node:events';
import { clip, cpu, folder, load, median, options, program, quantile, show, sonde, table, variant } from './common.mjs';
import { post } from './upload.mjs';

const check = (reply) => {
  const body = JSON.parse(reply.text);
  if (reply.status !== 200 || body.status !== 'done' || !(body.probability > 0)) throw new Error(`no result: ${reply.status} ${reply.text.slice(0, 300)}`);
  return body;
};

// One client, one recording after the other, against one process per recording.
export async function latency() {
  const server = await sonde(), dir = folder(), count = options.quick ? 20 : 100;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const result = { load: load(), kinds: {} };
  for (const kind of ['wav', 'mp3']) {
    const bytes = clip(kind), file = path.join(dir, `clip.${kind}`);
    writeFileSync(file, bytes);
    const api = [], process_ = [];
    for (let i = -3; i < count; i++) {
      let start = performance.now();
      check(await post(server, `/upload?fresh=1&name=clip.${kind}`, bytes, { agent, headers: { prefer: 'wait=30' } }));
      if (i >= 0) api.push(performance.now() - start);
      start = performance.now();
      const r = spawnSync(program(), ['detect', '-q', '--json', file], { stdio: ['ignore', 'ignore', 'inherit'] });
      if (r.status !== 0 && r.status !== 1) throw new Error(`sonde detect: ${r.status}`);
      if (i >= 0) process_.push(performance.now() - start);
    }
    console.log(`one client, a 10-second ${kind}, ${count} times, load ${load()}`);
    const row = (name, v) => [name, median(v).toFixed(1), quantile(v, 0.95).toFixed(1), Math.min(...v).toFixed(1)];
    table([['ms', 'median', 'p95', 'least'], row('upload to result', api), row('sonde detect, a process', process_)]);
    result.kinds[kind] = { api, process: process_, ratio: median(api) / median(process_), target: 1.5 };
  }
  agent.destroy();
  await server.stop();
  return result;
}

// The shell's `times` knows the CPU of everything below it.
export async function engine(dir, count) {
  const child = spawn('bash', ['-c', '"$@" >"$OUT"; code=$?; times >&2; exit $code', 'bash', program(), 'detect', '-q', '--json', '-j', '2', dir],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, OUT: '/dev/null', LC_ALL: 'C' } });
  const start = performance.now();
  let said = '';
  child.stderr.on('data', (chunk) => { said += chunk; });
  const [code] = await once(child, 'close');
  const times = [...said.matchAll(/(\d+)m([\d.]+)s/g)].map((m) => Number(m[1]) * 60 + Number(m[2]));
  if ((code !== 0 && code !== 1) || times.length < 4) throw new Error(`sonde detect: ${code} ${said}`);
  return { rate: count / ((performance.now() - start) / 1e3), ms: (times.at(-2) + times.at(-1)) / count * 1e3 };
}

// `clients` of them each send the next recording as soon as they have the result of theirs.
async function through(server, bodies, kind, clients) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients });
  let next = 0;
  const before = cpu(server.pid), mine = process.cpuUsage(), start = performance.now();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (next < bodies.length) {
      const body = bodies[next++];
      check(await post(server, `/upload?fresh=1&name=clip.${kind}`, body, { agent, headers: { prefer: 'wait=60' } }));
    }
  }));
  const seconds = (performance.now() - start) / 1e3, own = process.cpuUsage(mine);
  agent.destroy();
  return { rate: bodies.length / seconds, ms: (cpu(server.pid) - before) / bodies.length * 1e3, client: (own.user + own.system) / 1e6 / seconds };
}

export async function saturation() {
  const server = await sonde(), rounds = options.rounds, count = options.quick ? 100 : 500;
  const result = { load: load(), kinds: {} };
  for (const kind of ['wav', 'mp3']) {
    const dir = folder(), bytes = clip(kind), runs = { engine: [], api: [] };
    const bodies = Array.from({ length: count }, (_, i) => variant(bytes, i));
    mkdirSync(path.join(dir, 'in'));
    bodies.forEach((body, i) => writeFileSync(path.join(dir, 'in', `${i}.${kind}`), body));
    await through(server, bodies.slice(0, 50), kind, 16);
    for (let round = 0; round < rounds; round++) {
      runs.engine.push(await engine(path.join(dir, 'in'), count));
      runs.api.push(await through(server, bodies, kind, 16));
    }
    const rate = (name) => runs[name].map((r) => r.rate), share = runs.api.map((r, i) => r.rate / runs.engine[i].rate);
    // The cores that are left to the server while the client takes its part of them.
    const fair = runs.api.map((r, i) => r.rate / runs.engine[i].rate / (1 - r.client / 2));
    console.log(`saturation, 10-second ${kind}, 16 clients, ${count} recordings a round, load ${load()}`);
    table([['analyses/s', 'median (min..max)'], ['sonde detect -j 2', show(rate('engine'))], ['through the API', show(rate('api'))],
      ['share', show(share, 2)], ['share, without the client\'s CPU', show(fair, 2)], ['CPU ms each: sonde detect', show(runs.engine.map((r) => r.ms))], ['CPU ms each: server', show(runs.api.map((r) => r.ms))], ['client, cores', show(runs.api.map((r) => r.client), 2)]]);
    result.kinds[kind] = { runs, share: median(share), share_without_client: median(fair), target: 0.85 };
  }
  await server.stop();
  return result;
}
