// Small requests: GET /healthz and GET /status, against nginx that answers from its configuration, and a Node server.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { bench, column, load, median, nginx, nodeServer, options, out, show, sonde, table, turns, wrk } from './common.mjs';

const seconds = () => (options.quick ? 1 : 4);
const row = (r, base) => [r.name, show(column(r, 'us')), (median(column(r, 'us')) / base).toFixed(2), show(column(r, 'rate'), 0), median(column(r, 'p50')).toFixed(2), median(column(r, 'p99')).toFixed(2)];
const head = ['', 'µs CPU per request', '× nginx', 'requests/s', 'p50 ms', 'p99 ms'];

// What sonde's answer carries besides, so that nginx can send the same.
async function headersOf(server, target) {
  const reply = await fetch(server.url + target);
  await reply.text();
  return [...reply.headers].filter(([name]) => !['date', 'connection', 'content-length', 'content-type', 'keep-alive'].includes(name));
}
const adding = (headers) => headers.map(([name, value]) => `add_header ${name} "${value.replaceAll('"', '\\"')}";`).join(' ');

export async function healthz() {
  const server = await sonde();
  const headers = adding(await headersOf(server, '/healthz'));
  const peer = await nginx(`location /healthz { return 200 "ok\\n"; } location /same { ${headers} return 200 "ok\\n"; }`);
  const list = [{ name: 'nginx', server: peer, target: '/healthz' }, { name: 'sonde', server, target: '/healthz' },
    { name: 'nginx, the same headers', server: peer, target: '/same' }];
  const at = load();
  const results = await turns(list, options.rounds, (c, warm) => wrk(c.server, c.target, { seconds: warm ? 1 : seconds() }));
  await server.stop();
  await peer.stop();
  const base = median(column(results[0], 'us'));
  console.log(`GET /healthz, 64 keep-alive connections, load ${at}`);
  table([head, ...results.map((r) => row(r, base))]);
  return { load: at, results, ratio: median(column(results[1], 'us')) / base, target: 1.3 };
}

// A data folder with `n` finished analyses, kept in bench/out/ for the next time: ids are made as in status.lua.
function database(n) {
  const dir = path.join(out, `data-${n}`), file = path.join(dir, 'sonde.db');
  if (existsSync(file) && statSync(file).size > n * 300) return dir;
  rmSync(dir, { recursive: true, force: true });
  return dir;
}
const fill = (n, start) => `
PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE made AS SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'analyses' AND sql IS NOT NULL;
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < ${n - 1})
  SELECT i, ${start} + i * 1000 AS ms, (i * 2654435761) % 4294967296 AS x FROM c;
INSERT INTO uploads (id, sha256, bytes, file_name, created_ms, settled_ms)
  SELECT printf('%08x-%04x-7%03x-9%03x-%012x', ms / 65536, ms % 65536, x % 4096, (x / 4096) % 4096, x), printf('%064x', x * 1000003),
    200000 + x % 100000, printf('call-%d.wav', i), ms, ms + 900 FROM n;
INSERT INTO analyses (id, upload_id, status, sha256, name_folded, fresh, runs, created_ms, checked_ms, started_ms, finished_ms, verdict, llr, p,
    duration_s, speech_s, model_name, model_sha256)
  SELECT printf('%08x-%04x-7%03x-8%03x-%012x', ms / 65536, ms % 65536, x % 4096, (x / 4096) % 4096, x),
    printf('%08x-%04x-7%03x-9%03x-%012x', ms / 65536, ms % 65536, x % 4096, (x / 4096) % 4096, x), 'done', printf('%064x', x * 1000003),
    printf('call-%d.wav', i), 0, 1, ms, ms + 5, ms + 10, ms + 900, CASE x % 3 WHEN 0 THEN 'human' WHEN 1 THEN 'synthetic' ELSE 'inconclusive' END,
    (x % 2000) / 100.0 - 10, (x % 980 + 10) / 1000.0, 10.0, 8.5, 'sonde-2', printf('%064x', 7) FROM n;
COMMIT;`;

async function filled(n) {
  const dir = database(n), file = path.join(dir, 'sonde.db');
  const start = Date.parse('2026-01-01');
  if (!existsSync(file)) {
    const server = await sonde([], dir); // makes the schema
    await server.stop();
    const sql = (text) => {
      const r = spawnSync('sqlite3', ['-bail', file], { input: text, encoding: 'utf8', timeout: 600_000 });
      if (r.status !== 0) throw new Error(r.stderr);
      return r.stdout;
    };
    const indexes = sql("SELECT name || char(9) || replace(sql, char(10), ' ') FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('analyses', 'uploads') AND sql IS NOT NULL;")
      .trim().split('\n').map((line) => line.split('\t'));
    const drop = indexes.map(([name]) => `DROP INDEX ${name};`).join('\n'), make = indexes.map(([, text]) => `${text};`).join('\n');
    sql(`${drop}\n${fill(n, start)}\n${make}\nANALYZE;\nPRAGMA wal_checkpoint(TRUNCATE);`);
  }
  return { dir, start };
}

export async function status() {
  const rows = [];
  const keepers = [];
  for (const n of [1000, options.quick ? 100_000 : 1_000_000]) {
    const { dir, start } = await filled(n);
    const server = await sonde(['--keep-audio', 'forever'], dir);
    keepers.push({ name: `sonde, ${n.toLocaleString('en')} analyses`, server, target: '/status', lua: ['status.lua', n, start], n, dir });
  }
  const probe = await (async () => { // one answer, to be what nginx sends
    const { server, n } = keepers[1];
    const list = await (await fetch(`${server.url}/api/v1/analyses?limit=1`)).json();
    const target = `/status?id=${list.items[0].id}`;
    const text = await (await fetch(server.url + target)).text();
    if (list.items.length !== 1 || JSON.parse(text).status !== 'done') throw new Error(`the database of ${n} is not filled: ${text}`);
    return { text, headers: await headersOf(server, target) };
  })();
  const body = probe.text.replaceAll("'", "\\'");
  const peer = await nginx(`location /status { default_type application/json; return 200 '${body}'; }
    location /same { default_type application/json; ${adding(probe.headers)} return 200 '${body}'; }`);
  const list = [{ name: 'nginx, a fixed answer', server: peer, target: '/status', lua: keepers[1].lua },
    { name: 'nginx, the same headers', server: peer, target: '/same', lua: keepers[1].lua }, ...keepers];
  const node = existsSync(path.join(bench, 'node_modules/better-sqlite3/build')) &&
    await nodeServer('fastify.mjs', [path.join(keepers[1].dir, 'sonde.db')]);
  if (node) list.push({ name: `Fastify + better-sqlite3, ${keepers[1].n.toLocaleString('en')}`, server: node, target: '/status', lua: keepers[1].lua });
  const at = load();
  const results = await turns(list, options.rounds, (c, warm) => wrk(c.server, c.target, { seconds: warm ? 2 : seconds(), lua: c.lua }));
  for (const c of keepers) await c.server.stop();
  await peer.stop();
  if (node) await node.stop();
  const base = median(column(results[0], 'us')), us = (i) => median(column(results[i], 'us'));
  console.log(`GET /status with random ids, 64 keep-alive connections, load ${at}`);
  table([head, ...results.map((r) => row(r, base))]);
  console.log(`  sonde: ${(us(3) / us(2)).toFixed(2)} × from 1,000 to ${keepers[1].n.toLocaleString('en')}`);
  return { load: at, results, ratio: us(3) / base, target: 3, flatness: us(3) / us(2), flatness_target: 1.3 };
}
