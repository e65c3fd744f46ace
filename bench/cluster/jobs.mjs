// From an upload to its result, through one process (everything its own) and through three on servers: rates, and CPU per
// job, split. "Overhead" is the CPU of all processes of sonde less decoding and judging: the decoder's processes, and what
// the judging threads spent on front end and network (sonde_analyse_cpu_seconds_total). Beside it, what is beyond the CPU of
// `sonde detect` over the same recordings: there the processor's caches belong to the detector alone.
import http from 'node:http';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { clip, folder, load, median, metricsOf, options, show, sonde, table, variant } from '../server/common.mjs';
import { engine } from '../server/analyse.mjs';
import { post } from '../server/upload.mjs';
import { cluster, minus, servers, split } from './common.mjs';

const done = (reply) => {
  const body = JSON.parse(reply.text);
  if (reply.status !== 200 || body.status !== 'done') throw new Error(`no result: ${reply.status} ${reply.text.slice(0, 300)}`);
};

async function judging(processes) {
  let sum = 0;
  for (const p of processes) sum += (await metricsOf(p)).sonde_analyse_cpu_seconds_total ?? 0;
  return sum;
}

async function through(processes, bodies, kind, clients, on) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients }), entry = processes[0];
  let next = 0;
  const look = () => ({ sonde: Object.fromEntries(processes.map((p) => [p.role, split(p.pid)])), servers: on ? on.cpu() : {} });
  const judged = await judging(processes), before = look(), start = performance.now();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (next < bodies.length) done(await post(entry, `/upload?fresh=1&name=clip.${kind}`, bodies[next++], { agent, headers: { prefer: 'wait=60' } }));
  }));
  const seconds = (performance.now() - start) / 1e3;
  await new Promise((go) => setTimeout(go, 300)); // what comes behind the answer
  const used = minus(look(), before), each = (get) => Object.values(used.sonde).reduce((sum, p) => sum + get(p), 0) / bodies.length * 1e3;
  const judge = (await judging(processes) - judged) / bodies.length * 1e3;
  agent.destroy();
  return { rate: bodies.length / seconds, used, all: each((p) => p.all), judge, over: each((p) => p.own) - judge };
}

export async function jobs() {
  const count = options.quick ? 40 : 200, result = { load: load(), kinds: {} };
  const on = await servers();
  const many = await cluster(on, ['upload', 'inference', 'keeper']);
  if (process.env.PIDS) writeFileSync(process.env.PIDS, many.list.map((p) => `${p.pid}\n`).join(''));
  const one = { role: 'all', ...await sonde() };
  for (const kind of ['wav', 'mp3']) {
    const dir = folder(), bytes = clip(kind), runs = { engine: [], one: [], many: [] };
    mkdirSync(path.join(dir, 'in'));
    let n = 0;
    const fresh = () => Array.from({ length: count }, () => variant(bytes, n++));
    fresh().forEach((body, i) => writeFileSync(path.join(dir, 'in', `${i}.${kind}`), body));
    for (const warm of [[one], many.list]) await through(warm, fresh().slice(0, 32), kind, 16, on);
    for (let round = 0; round < options.rounds; round++) {
      runs.engine.push(await engine(path.join(dir, 'in'), count));
      runs.one.push(await through([one], fresh(), kind, 16));
      runs.many.push(await through(many.list, fresh(), kind, 16, on));
    }
    const ms = (seconds) => seconds * 1e3 / count, of = (list, get) => show(list.map(get), 2);
    const over = (list) => list.map((r) => r.over), beyond = (list) => list.map((r, i) => r.all - runs.engine[i].ms);
    console.log(`jobs, a 10-second ${kind}, 16 clients, ${count} a round, load ${load()}`);
    table([['', 'one process', 'three on servers'],
      ['results/s', of(runs.one, (r) => r.rate), of(runs.many, (r) => r.rate)],
      ['CPU ms per job, all of sonde', of(runs.one, (r) => r.all), of(runs.many, (r) => r.all)],
      ['of it front end and network', of(runs.one, (r) => r.judge), of(runs.many, (r) => r.judge)],
      ['overhead: all but these and the decoder', show(over(runs.one), 2), show(over(runs.many), 2)],
      ['sonde detect alone', of(runs.engine, (r) => r.ms), ''],
      ['beyond sonde detect', show(beyond(runs.one), 2), show(beyond(runs.many), 2)],
      ...many.list.flatMap((p) => [
        [`  ${p.role}, its decoder aside`, '', of(runs.many, (r) => ms(r.used.sonde[p.role].own))],
        ...Object.keys(runs.many[0].used.sonde[p.role].threads).filter((t) => median(runs.many.map((r) => r.used.sonde[p.role].threads[t] ?? 0)) > 0.02)
          .map((t) => [`    ${t}`, '', of(runs.many, (r) => ms(r.used.sonde[p.role].threads[t] ?? 0))])]),
      ['  inference, its decoder', '', of(runs.many, (r) => ms(r.used.sonde.inference.decoder))],
      ...Object.keys(runs.one[0].used.sonde.all.threads).filter((t) => median(runs.one.map((r) => r.used.sonde.all.threads[t] ?? 0)) > 0.02)
        .map((t) => [`    all: ${t}`, of(runs.one, (r) => ms(r.used.sonde.all.threads[t] ?? 0)), '']),
      ['  all: its decoder', of(runs.one, (r) => ms(r.used.sonde.all.decoder)), ''],
      ...Object.keys(runs.many[0].used.servers).map((name) => [`  ${name}`, '', of(runs.many, (r) => ms(r.used.servers[name]))])]);
    result.kinds[kind] = { count, runs, overhead: median(over(runs.many)), target: 5 };
  }
  await one.stop();
  await many.stop();
  await on.stop();
  return result;
}
