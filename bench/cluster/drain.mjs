// 100,000 jobs that wait, drained: the rate, and the memory of everything, over the whole run.
//
// Each is an upload of its own whose bytes were judged before, so its job passes the outbox, RabbitMQ, the check of the
// recording and the copy of the result, and no decoder: that makes minutes of it. Recordings lie in a folder, since the S3
// server of the tests would take most of the time. The rows are written by SQL, as of a process that died; a keeper moves them.
import { createHash, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { clip, folder, load, memory, options, sleep, table, tree } from '../server/common.mjs';
import { post } from '../server/upload.mjs';
import { cluster, minus, scratch, servers, split } from './common.mjs';

const id = (ms, n) => { // version 7, as sonde makes them
  const h = ms.toString(16).padStart(12, '0') + '7' + (n % 4096).toString(16).padStart(3, '0') + '8' + randomBytes(8).toString('hex').slice(1);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
};
const mb = (kb) => Math.round(kb / 1024);

// Rows as COPY wants them, and a file for each upload. A file may have 65,000 names.
function fill(count, bytes, blobs) {
  const sha = createHash('sha256').update(bytes).digest('hex'), then = Date.now() - 60_000, rows = { uploads: [], analyses: [], outbox: [] };
  const day = path.join(blobs, 'raw', ...new Date(then).toISOString().slice(0, 10).split('-'));
  mkdirSync(day, { recursive: true });
  let source;
  for (let i = 0; i < count; i++) {
    const upload = id(then, i), analysis = id(then, i);
    if (i % 60_000 === 0) { source = path.join(day, upload); writeFileSync(source, bytes); } else linkSync(source, path.join(day, upload));
    rows.uploads.push([upload, sha, bytes.length, 'call.wav', then].join('\t'));
    rows.analyses.push([analysis, upload, 'queued', sha, 'call.wav', 0, then].join('\t'));
    rows.outbox.push([id(then, i), 'medical_data', JSON.stringify({ v: 1, analysis }), then].join('\t'));
  }
  const file = scratch('rows.sql');
  writeFileSync(file, `BEGIN;\nCOPY uploads (id, sha256, bytes, file_name, created_ms) FROM STDIN;\n${rows.uploads.join('\n')}\n\\.\n
COPY analyses (id, upload_id, status, sha256, name_folded, fresh, created_ms) FROM STDIN;\n${rows.analyses.join('\n')}\n\\.\n
COPY outbox (id, queue, body, created_ms) FROM STDIN;\n${rows.outbox.join('\n')}\n\\.\n
UPDATE counters SET value = value + ${count} WHERE name = 'waiting';\nCOMMIT;\nANALYZE;\n`);
  return file;
}

export async function drain() {
  const count = options.quick ? 2000 : 100_000, blobs = folder(), on = await servers(['postgres', 'rabbitmq', 'redis']);
  const env = { SONDE_BLOB_URL: `fs:${blobs}` }, args = ['--queue-max', '1000000'];
  const many = await cluster(on, ['upload', 'inference', 'keeper'], env, args);
  const bytes = clip('wav'), first = await post(many.of('upload'), '/upload?name=call.wav', bytes, { headers: { prefer: 'wait=60' } });
  if (JSON.parse(first.text).status !== 'done') throw new Error(first.text);
  await many.of('inference').stop();
  await on.psql(fill(count, bytes, blobs));
  const left = async (what) => Number(await on.sql(what));
  let start = performance.now();
  while (await left('SELECT count(*) FROM outbox') > 0) await sleep(500);
  const relayed = count / ((performance.now() - start) / 1e3);
  console.log(`drain of ${count} jobs, load ${load()}; from the outbox to the queue: ${Math.round(relayed)}/s`);
  const worker = await cluster(on, ['inference'], env, args);
  const all = [many.of('upload'), worker.list[0], many.of('keeper')];
  const servers_ = { postgres: () => on.postgres.pids.reduce((sum, pid) => sum + (() => { try { return memory(pid).pss; } catch { return 0; } })(), 0), rabbitmq: () => Math.max(...tree(on.rabbitmq.pids[0]).map((pid) => memory(pid).rss)), redis: () => memory(on.redis.nodes[0].pid).rss };
  const look = () => ({ sonde: Object.fromEntries(all.map((p) => [p.role, split(p.pid)])), servers: on.cpu() });
  start = performance.now();
  const rows = [['done', 'jobs/s', 'upload MB', 'inference MB', 'keeper MB', 'PostgreSQL MB', 'RabbitMQ MB', 'Redis MB']], before = look();
  let seen = 0, at = start;
  for (let step = 1; step <= 10; step++) {
    let done;
    while ((done = count - await left("SELECT value FROM counters WHERE name = 'waiting'")) < count * step / 10) await sleep(options.quick ? 50 : 250);
    const now = performance.now();
    rows.push([done, Math.round((done - seen) / ((now - at) / 1e3)), ...all.map((p) => mb(memory(p.pid).rss)), ...Object.values(servers_).map((get) => mb(get()))]);
    console.log(`  ${rows.at(-1).join('  ')}`);
    seen = done; at = now;
  }
  const seconds = (performance.now() - start) / 1e3, used = minus(look(), before);
  table(rows);
  const ms = (s) => (s * 1e3 / count).toFixed(2);
  console.log(`  ${Math.round(count / seconds)} jobs/s; CPU ms per job: ${[...all.map((p) => `${p.role} ${ms(used.sonde[p.role].all)}`), ...Object.entries(used.servers).map(([n, s]) => `${n} ${ms(s)}`)].join(', ')}; load ${load()}`);
  const wrong = await left("SELECT count(*) FROM analyses WHERE status <> 'done'"), results = await left('SELECT count(*) FROM results');
  console.log(`  not done: ${wrong}; results: ${results} of ${count + 1}`);
  await worker.stop();
  for (const p of [many.of('upload'), many.of('keeper')]) await p.stop();
  await on.stop();
  return { count, relayed, seconds, rows, used, wrong, results };
}
