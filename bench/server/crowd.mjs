// Many at once: memory of idle connections and WebSockets, and a burst of uploads.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { clip, cpu, here, json, load, memory as memoryOf, metricsOf, options, sleep, sonde, table, tree, until, variant } from './common.mjs';
import { post } from './upload.mjs';

// A process that holds `count` connections until it is told to end.
async function crowd(server, kind, count) {
  const child = spawn(process.execPath, [path.join(here, 'holder.mjs'), kind, String(server.port), String(count)], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((done, fail) => {
    child.stdout.once('data', done);
    child.once('exit', (code) => fail(new Error(`the client of ${kind} ended with ${code}`)));
    setTimeout(() => fail(new Error(`${kind}: not open in time`)), 60_000).unref();
  });
  return { end: async () => { child.removeAllListeners('exit'); child.stdin.end(); await new Promise((done) => child.once('exit', done)); } };
}
const mb = (kb) => (kb / 1024).toFixed(1);
const whole = (server) => tree(server.pid).map((pid) => ({ pid, ...memoryOf(pid) }));

export async function memory() {
  const result = { load: load() };
  const server = await sonde(); // inherits the limit of open files; serve raises it to the hard one
  await sleep(1000);
  const idle = whole(server);
  for (let i = 0; i < 4; i++) await post(server, '/upload?fresh=1&name=a.wav', clip('wav'), { headers: { prefer: 'wait=30' } });
  await sleep(500);
  const used = whole(server);
  const [main, ...below] = idle, sum = (list, key) => list.reduce((s, p) => s + p[key], 0);
  console.log('memory, MB');
  table([['', 'RSS', 'PSS'], ['idle: the server', mb(main.rss), mb(main.pss)], [`idle: the decoder (${below.length} process)`, mb(sum(below, 'rss')), mb(sum(below, 'pss'))],
    ['after 4 recordings: the server', mb(used[0].rss), mb(used[0].pss)]]);
  await server.stop();
  Object.assign(result, { idle_kb: main, decoder_kb: below, used_kb: used[0], target_mb: 60 });
  const rows = [['', 'open', 'RSS before, MB', 'RSS, MB', 'kB each']];
  for (const [kind, want] of [['idle', options.quick ? 1000 : 10_000], ['ws', options.quick ? 500 : 5000]]) {
    const server = await sonde(); // a fresh one: what the last crowd gave back would be used again
    for (let i = 0; i < 4; i++) await post(server, '/upload?fresh=1&name=a.wav', clip('wav'), { headers: { prefer: 'wait=30' } });
    await sleep(500);
    const before = memoryOf(server.pid).rss, start = performance.now(), burned = cpu(server.pid);
    const held = await crowd(server, kind, want);
    const opened = (performance.now() - start) / 1e3;
    await sleep(500);
    const during = memoryOf(server.pid).rss, seen = await metricsOf(server);
    const open = kind === 'ws' ? seen.sonde_websockets : seen.sonde_http_connections;
    const probe = await json(server, '/api/v1/info');
    if (probe.status !== 200 || open < want) throw new Error(`${open} of ${want} ${kind} connections are open, /api/v1/info answers ${probe.status}`);
    await held.end();
    rows.push([kind === 'ws' ? 'WebSockets' : 'idle keep-alive connections', want, mb(before), mb(during), ((during - before) / want).toFixed(2)]);
    result[kind] = { want, before, during, kb_each: (during - before) / want, opened_s: opened, cpu_us_each: (cpu(server.pid) - burned) / want * 1e6 };
    await server.stop();
  }
  table(rows);
  return result;
}

// 500 recordings of 250 kB, all sent at the same moment; each is answered and each answer is kept.
export async function burst() {
  const server = await sonde(), count = options.quick ? 100 : 500, bytes = clip('wav').subarray(0, 250_000 - 32);
  const bodies = Array.from({ length: count }, (_, i) => variant(bytes, i));
  const before = memoryOf(server.pid).rss, start = performance.now();
  const replies = await Promise.all(bodies.map((body) => post(server, '/upload?name=b.wav', body)));
  const accepted = (performance.now() - start) / 1e3;
  const good = replies.filter((r) => r.status === 202), refused = replies.filter((r) => r.status === 503 && r.headers['retry-after']);
  const ids = new Set(good.map((r) => JSON.parse(r.text).id));
  if (good.length + refused.length !== count || ids.size !== good.length) throw new Error(`${good.length} accepted, ${refused.length} refused, ${ids.size} ids of ${count}`);
  const left = new Set(ids);
  await until(async () => {
    for (const id of left) {
      const { body } = await json(server, `/status?id=${id}`);
      if (body.status === 'failed') throw new Error(`${id} failed: ${JSON.stringify(body)}`);
      if (body.status !== 'done') break;
      left.delete(id);
    }
    return left.size === 0;
  }, 240_000);
  const drained = (performance.now() - start) / 1e3, peak = memoryOf(server.pid).peak;
  console.log(`a burst of ${count} uploads of 250 kB, load ${load()}`);
  table([['', ''], ['202', good.length], ['503 with Retry-After', refused.length], ['lost', count - good.length - refused.length], ['all answered after, s', accepted.toFixed(2)],
    ['all results after, s', drained.toFixed(1)], ['RSS before, MB', mb(before)], ['peak RSS, MB', mb(peak)]]);
  await server.stop();
  return { load: load(), count, accepted: good.length, refused: refused.length, accepted_s: accepted, drained_s: drained, before, peak };
}
