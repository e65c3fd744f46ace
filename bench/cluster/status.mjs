// GET /status of finished analyses: from SQLite, through PostgreSQL, through the cache in Redis. CPU of sonde's process.
import { writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { column, folder, load, median, options, show, sonde, table, turns, wrk } from '../server/common.mjs';
import { cluster, scratch, servers } from './common.mjs';

const COUNT = 1000, START = Date.parse('2026-01-01');
const id = (i, digit) => {
  const ms = START + i * 1000, x = Number((BigInt(i) * 2654435761n) % 4294967296n), hex = (v, n) => v.toString(16).padStart(n, '0');
  return `${hex(Math.floor(ms / 65536), 8)}-${hex(ms % 65536, 4)}-7${hex(x % 4096, 3)}-${digit}${hex(Math.floor(x / 4096) % 4096, 3)}-${hex(x, 12)}`;
};
// Statements for either database.
function rows() {
  const lines = ['BEGIN;'];
  for (let i = 0; i < COUNT; i++) {
    const ms = START + i * 1000, upload = id(i, 9), sha = i.toString(16).padStart(64, '0');
    lines.push(`INSERT INTO uploads (id, sha256, bytes, file_name, created_ms, settled_ms) VALUES ('${upload}', '${sha}', 200000, 'call-${i}.wav', ${ms}, ${ms + 900});`,
      `INSERT INTO analyses (id, upload_id, status, sha256, name_folded, fresh, runs, created_ms, checked_ms, started_ms, finished_ms, verdict, llr, p, duration_s, speech_s, model_name, model_sha256)
       VALUES ('${id(i, 8)}', '${upload}', 'done', '${sha}', 'call-${i}.wav', 0, 1, ${ms}, ${ms + 5}, ${ms + 10}, ${ms + 900}, 'human', ${(i % 2000) / 100 - 10}, ${(i % 980 + 10) / 1000}, 10, 8.5, 'sonde-2', '${sha}');`);
  }
  return [...lines, 'COMMIT;'].join('\n');
}

export async function status() {
  const file = scratch('rows.sql');
  writeFileSync(file, rows());
  const on = await servers(['postgres', 'redis']);
  const keep = ['--keep-audio', 'forever'], data = folder();
  const make = await sonde(keep, data);
  await make.stop();
  const r = spawnSync('sqlite3', ['-bail', path.join(data, 'sonde.db')], { input: rows(), encoding: 'utf8' });
  if (r.status !== 0) throw new Error(r.stderr);
  const one = await sonde(keep, data);
  const blobs = { SONDE_BLOB_URL: `fs:${folder()}`, SONDE_QUEUE_URL: 'table:' };
  const cached = await cluster(on, ['upload'], blobs, keep);
  const plain = await cluster(on, ['upload'], { ...blobs, SONDE_CACHE_URL: 'mem:', SONDE_CACHE_PASSWORD: '' }, keep);
  await on.psql(file);
  const lua = ['status.lua', COUNT, START];
  if (process.env.PIDS) writeFileSync(process.env.PIDS, `${cached.list[0].pid}\n`);
  const list = [{ name: 'one process, SQLite', server: one }, { name: 'PostgreSQL', server: plain.list[0] }, { name: 'PostgreSQL and Redis', server: cached.list[0] }];
  const results = await turns(list, options.rounds, (c, warm) => {
    const before = on.cpu(), used = wrk(c.server, '/status', { seconds: warm ? 2 : options.quick ? 2 : 4, lua });
    const after = on.cpu();
    return { ...used, postgres: (after.postgres - before.postgres) * 1e6 / (used.rate * (options.quick ? 2 : 4)), redis: (after.redis - before.redis) * 1e6 / (used.rate * (options.quick ? 2 : 4)) };
  });
  const base = results[0], ratio = (x) => x.runs.map((run, i) => run.us / base.runs[i].us);
  console.log(`GET /status of ${COUNT} finished analyses, 64 connections, load ${load()}`);
  table([['', 'µs CPU of sonde', '× one process', 'requests/s', 'µs of PostgreSQL', 'µs of Redis', 'p50 ms', 'p99 ms'],
    ...results.map((x) => [x.name, show(column(x, 'us')), show(ratio(x), 2), show(column(x, 'rate'), 0), show(column(x, 'postgres')), show(column(x, 'redis')), median(column(x, 'p50')).toFixed(2), median(column(x, 'p99')).toFixed(2)])]);
  for (const c of [cached, plain]) await c.stop();
  await one.stop();
  await on.stop();
  return { load: load(), results, ratio: median(ratio(results[2])), target: 1.5 };
}
