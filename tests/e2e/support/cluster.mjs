// sonde as several processes on real servers, for a test file: one cluster per file, since the servers take seconds.
//
//   const c = await cluster({ roles: [['upload'], ['upload'], ['inference'], ['keeper']] });
//   c.processes            in the order of roles: { name, url, port, pid, data, log(), stop(), kill(), restart(), pause(), resume() }
//   c.of('upload')         those that run this role
//   c.servers.postgres …   as tests/servers/*.mjs give them: kill, restart, pause, resume
//   c.psql(sql) c.objects(bucket) c.queues() c.keys(pattern)      a look into each store, past sonde
//   c.conf                 the file that all of them read, written with mode 600
//   await c.stop()         also done at the end of the test file
//
// conf: a file of the test's own; where the servers are then comes through the environment (secretFiles: passwords as
// files that variables name). servers: which of postgres, swift, rabbitmq, redis; what is left out is sonde's own, and then `settings` has to
// name what is shared, such as { blob: { url: 'fs:/shared/folder' } }. wire: called with the servers before sonde starts, to put
// something in between.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { promisify } from 'node:util';
import { everyKind, lacking, startServers } from '../../servers/all.mjs';
import { freePort, ready } from '../../servers/server.mjs';
import { serve } from './serve.mjs';

export { lacking };
const run = promisify(execFile);

// At the end of the file, not of the hook in which a cluster was started.
const clusters = new Set();
after(async () => { for (const stop of clusters) await stop(); });

// SONDE_DB_URL=… is "url = …" in [db].
function sections(environment) {
  const conf = {};
  for (const [name, value] of Object.entries(environment)) {
    const at = /^SONDE_([A-Z]+)_([A-Z0-9_]+)$/.exec(name);
    if (at && value !== null && value !== undefined && value !== '') (conf[at[1].toLowerCase()] ??= {})[at[2].toLowerCase()] = value;
  }
  return conf;
}

// The secrets in files, and the variables that name these instead.
function intoFiles(dir, environment) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return Object.fromEntries(Object.entries(environment).map(([name, value]) => {
    if (!/_(PASSWORD|SECRET)$/.test(name) || !value) return [name, value];
    writeFileSync(join(dir, name), `${value}\n`, { mode: 0o600 });
    return [`${name}_FILE`, join(dir, name)];
  }));
}

export function writeConf(path, conf) {
  const text = Object.entries(conf).map(([section, rows]) =>
    `[${section}]\n${Object.entries(rows).map(([key, value]) => `${key} = ${value}\n`).join('')}`).join('\n');
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

// One process of sonde that keeps its address and its folder when it starts again.
class Sonde {
  constructor(options) { Object.assign(this, options); }

  async start() {
    this.server = await serve({ data: this.data, listen: `127.0.0.1:${this.port}`, args: this.args, env: this.env, ...this.with });
    this.url = this.server.url;
    this.pid = this.server.pid;
    return this;
  }

  get exited() { return this.server.exited; }

  log() { return this.server.log(); }

  pause() { process.kill(this.pid, 'SIGSTOP'); }

  resume() { process.kill(this.pid, 'SIGCONT'); }

  stop() { return this.server.stop(); }

  kill() { return this.server.kill(); }

  async restart() { await this.server.stop(); return this.start(); }
}

// --- looks into the stores

function psqlOf(settings) {
  return async (sql) => {
    const { stdout } = await run('psql', ['-X', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-c', sql, settings.SONDE_DB_URL],
      { env: { ...process.env, PGPASSWORD: settings.SONDE_DB_PASSWORD ?? '' }, timeout: 30_000, maxBuffer: 1 << 26 });
    return stdout.split('\n').filter(Boolean).map((line) => line.split('\t'));
  };
}

function objectsOf(swift) {
  return async (bucket) => {
    const found = [];
    for (let token; ;) {
      // Sorted by name, as the signature wants it.
      const { status, body } = await swift.request({ path: `/${bucket}`, query: `${token ? `continuation-token=${encodeURIComponent(token)}&` : ''}list-type=2` });
      const text = body.toString();
      if (status !== 200) throw new Error(`listing ${bucket}: ${status} ${text.slice(0, 300)}`);
      for (const [, one] of text.matchAll(/<Contents>(.*?)<\/Contents>/gs))
        found.push({ key: /<Key>(.*?)<\/Key>/s.exec(one)[1], size: Number(/<Size>(\d+)<\/Size>/.exec(one)[1]) });
      token = /<NextContinuationToken>(.*?)<\/NextContinuationToken>/s.exec(text)?.[1];
      if (!token) return found;
    }
  };
}

// { medical_data: { ready, unsettled }, … }
function queuesOf(rabbitmq) {
  return async () => {
    const text = await rabbitmq.ctl('list_queues', '--quiet', '--formatter=json', 'name', 'messages_ready', 'messages_unacknowledged');
    return Object.fromEntries(JSON.parse(text).map((q) => [q.name, { ready: q.messages_ready, unsettled: q.messages_unacknowledged }]));
  };
}

function keysOf(settings) {
  const url = new URL(settings.SONDE_CACHE_URL.replace(/^redis:/, 'http:'));
  return async (pattern = '*') => {
    const { stdout } = await run('redis-cli', ['-h', url.hostname, '-p', url.port, '--no-auth-warning', '--scan', '--pattern', pattern],
      { env: { ...process.env, REDISCLI_AUTH: settings.SONDE_CACHE_PASSWORD ?? '' }, timeout: 30_000 });
    return stdout.split('\n').filter(Boolean);
  };
}

// --- the cluster

export async function cluster({ dir = mkdtempSync(join(tmpdir(), 'sonde-cluster-')), roles = [['upload'], ['inference'], ['keeper']],
  servers = everyKind, options = {}, settings = {}, args = [], env = {}, conf, secretFiles = false, with: extra = {}, wire } = {}) {
  const began = performance.now();
  const started = await startServers({ dir: join(dir, 'servers'), servers, options });
  wire?.(started);
  const all = sections(started.settings);
  for (const [section, rows] of Object.entries(settings)) all[section] = { ...all[section], ...rows };
  // A file of the test's own, with the servers by way of the environment, or one that says it all.
  const file = conf ?? writeConf(join(dir, 'sonde.conf'), all);
  const given = secretFiles ? intoFiles(join(dir, 'secrets'), started.settings) : started.settings;
  const ports = await Promise.all(roles.map(freePort));
  const processes = roles.map((own, i) => {
    const data = join(dir, `data-${i}`);
    mkdirSync(data, { recursive: true, mode: 0o700 });
    return new Sonde({ name: `${own.join('+')}-${i}`, roles: own, data, port: ports[i], with: extra,
      args: ['--config', file, '--role', own.join(' '), ...args], env: { ...(conf ? given : {}), ...env } });
  });
  let stopped = false;
  const stop = async () => {
    if (stopped) return [];
    stopped = true;
    clusters.delete(stop);
    const ends = await Promise.allSettled(processes.filter((p) => p.server && p.server.child.exitCode === null && p.server.child.signalCode === null)
      .map((p) => { p.resume(); return p.stop(); }));
    await started.stop();
    rmSync(dir, { recursive: true, force: true });
    const bad = ends.find((end) => end.status === 'rejected'); // such as a sanitizer's finding
    if (bad) throw bad.reason;
    return ends.map((end) => end.value);
  };
  clusters.add(stop);
  const serversReady = performance.now();
  try {
    await Promise.all(processes.map((p) => p.start()));
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  const whole = {
    dir, conf: file, processes, servers: started, settings: started.settings, stop,
    seconds: { servers: (serversReady - began) / 1000, sonde: (performance.now() - serversReady) / 1000, ...started.seconds },
    of: (role) => processes.filter((p) => p.roles.includes(role) || p.roles.includes('all')),
    urls: processes.map((p) => p.url),
    ready: () => Promise.all(processes.map((p) => ready(p.name, async () => (await fetch(`${p.url}/readyz`)).ok, { timeout: 30_000 }))),
  };
  if (started.postgres) whole.psql = psqlOf(started.settings);
  if (started.swift) whole.objects = objectsOf(started.swift);
  if (started.rabbitmq) whole.queues = queuesOf(started.rabbitmq);
  if (started.redis) whole.keys = keysOf(started.settings);
  return whole;
}
