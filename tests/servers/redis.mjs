// A real Redis: one, with replicas, and watched by Sentinels that fail over quickly. See server.mjs for what it gives back.
//
//   const redis = await startRedis({ dir, password: 'secret', replicas: 2, sentinels: 3 })
//   redis.nodes[0]          the first master: a Process with .port; redis.sentinels likewise
//   redis.master()          the node that is the master now, as a Sentinel says
//   redis.cli(port, …)      one command's answer
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Process, freePort, ready } from './server.mjs';

const run = promisify(execFile);
export const masterName = 'sonde';

// A key and a certificate for 127.0.0.1 and localhost, signed by themselves.
function certificate(dir) {
  const key = join(dir, 'key.pem'), cert = join(dir, 'cert.pem');
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  chmodSync(key, 0o600);
  return { key, cert };
}

// A settings file: passwords do not belong on a command line. `lines`: more of it.
function settings(dir, name, lines) {
  const path = join(dir, `${name}.conf`);
  writeFileSync(path, lines.filter(Boolean).join('\n') + '\n', { mode: 0o600 });
  return path;
}

// appendonly: a restart finds what was there; without it, nothing. lines: more settings of the servers.
export async function startRedis({ dir, password = null, replicas = 0, sentinels = 0, tls = false, appendonly = false, lines = [] }) {
  mkdirSync(dir, { recursive: true });
  const pem = tls ? certificate(dir) : null;
  const secure = (port) => pem ? ['port 0', `tls-port ${port}`, `tls-cert-file ${pem.cert}`, `tls-key-file ${pem.key}`, `tls-ca-cert-file ${pem.cert}`,
    'tls-auth-clients no', 'tls-replication yes'] : [`port ${port}`];
  const cli = async (port, ...command) => {
    const args = ['-h', '127.0.0.1', '-p', String(port), ...(pem ? ['--tls', '--cacert', pem.cert] : []), ...command.map(String)];
    const { stdout } = await run('redis-cli', args, { env: { ...process.env, ...(password ? { REDISCLI_AUTH: password } : {}) }, timeout: 5000 });
    return stdout.trim();
  };
  const pong = (p) => ready(p.name, async () => (await cli(p.port, 'ping')) === 'PONG', { timeout: 15_000 });

  const nodes = [], watchers = [];
  for (let i = 0; i <= replicas; i++) {
    const port = await freePort(), name = `redis${i}`, home = join(dir, name);
    mkdirSync(home, { recursive: true });
    const path = settings(dir, name, [...secure(port), 'bind 127.0.0.1', `dir ${home}`, 'save ""', `appendonly ${appendonly ? 'yes' : 'no'}`,
      'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1', password && `requirepass ${password}`, password && `masterauth ${password}`,
      i && `replicaof 127.0.0.1 ${nodes[0].port}`, ...lines]);
    const node = new Process({ name, dir, command: ['redis-server', path] });
    node.port = port;
    nodes.push(node);
    node.start();
    await pong(node);
  }
  if (replicas)
    await ready('the replicas', async () => (await cli(nodes[0].port, 'info', 'replication')).split('state=online').length - 1 === replicas);

  for (let i = 0; i < sentinels; i++) {
    const port = await freePort(), name = `sentinel${i}`, home = join(dir, name);
    mkdirSync(home, { recursive: true });
    const path = settings(dir, name, [...secure(port), 'bind 127.0.0.1', `dir ${home}`,
      `sentinel monitor ${masterName} 127.0.0.1 ${nodes[0].port} ${Math.floor(sentinels / 2) + 1}`,
      `sentinel down-after-milliseconds ${masterName} 500`, `sentinel failover-timeout ${masterName} 3000`, `sentinel parallel-syncs ${masterName} 5`,
      password && `sentinel auth-pass ${masterName} ${password}`]);
    const watcher = new Process({ name, dir, command: ['redis-server', path, '--sentinel'] });
    watcher.port = port;
    watchers.push(watcher);
    watcher.start();
    await pong(watcher);
  }
  if (sentinels)
    await ready('the Sentinels', async () => {
      for (const w of watchers) {
        const text = await cli(w.port, 'sentinel', 'ckquorum', masterName);
        const seen = (await cli(w.port, 'info', 'sentinel'));
        if (!text.startsWith('OK') || !seen.includes(`slaves=${replicas},sentinels=${sentinels}`)) return false;
      }
      return true;
    });

  const all = [...nodes, ...watchers];
  const url = sentinels ? `sentinel://${watchers.map((w) => `127.0.0.1:${w.port}`).join(',')}/${masterName}${tls ? '?tls=1' : ''}`
    : `${tls ? 'rediss' : 'redis'}://127.0.0.1:${nodes[0].port}`;
  const withPassword = url.replace('://', password ? `://:${encodeURIComponent(password)}@` : '://');
  return {
    env: { SONDE_TEST_REDIS: withPassword, ...(pem ? { SONDE_TEST_REDIS_CA: pem.cert } : {}) },
    settings: { SONDE_CACHE_URL: url, ...(password ? { SONDE_CACHE_PASSWORD: password } : {}), ...(pem ? { SONDE_CACHE_CA_FILE: pem.cert } : {}) },
    url, password, ca: pem?.cert ?? null, nodes, sentinels: watchers, cli,
    get pids() { return all.filter((p) => p.pid && p.child.exitCode === null && p.child.signalCode === null).map((p) => p.pid); },
    async master() {
      for (const watcher of [...watchers].reverse()) {
        const answer = await cli(watcher.port, 'sentinel', 'get-master-addr-by-name', masterName).catch(() => '');
        const node = nodes.find((n) => answer.split('\n')[1] === String(n.port));
        if (node) return node;
      }
      for (const node of nodes)
        if ((await cli(node.port, 'role').catch(() => '')).startsWith('master')) return node;
      return null;
    },
    async stop() { for (const p of [...watchers, ...nodes]) if (p.pid) await p.stop(); },
    // Of the first server; with Sentinels, call them on redis.nodes[i].
    kill: () => nodes[0].kill(),
    restart: async () => { nodes[0].start(); await pong(nodes[0]); },
    pause: () => nodes[0].pause(),
    resume: () => nodes[0].resume(),
    pong,
  };
}
