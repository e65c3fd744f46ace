// The real servers that sonde may stand on, side by side: PostgreSQL, Swift (S3), RabbitMQ, Redis.
//
// One whose package is not installed is missing, and who needs it skips loudly; one that is installed and does not
// start is an error.
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const any = (...paths) => paths.some((path) => existsSync(path));

export const kinds = {
  postgres: {
    packages: 'postgresql-15',
    installed: () => any('/usr/lib/postgresql') && readdirSync('/usr/lib/postgresql').some((v) => any(`/usr/lib/postgresql/${v}/bin/postgres`)),
    start: async (options) => (await import('./postgres.mjs')).startPostgres(options),
  },
  swift: {
    packages: 'swift-proxy swift-account swift-container swift-object memcached',
    installed: () => any('/usr/bin/swift-proxy-server') && any('/usr/bin/swift-object-server') && any('/usr/bin/memcached'),
    // tls: one who speaks TLS before it, too.
    start: async ({ tls = false, ...options }) => {
      const { startSwift, startTlsFront } = await import('./swift.mjs');
      const swift = await startSwift(options);
      if (!tls) return swift;
      const front = await startTlsFront({ dir: join(options.dir, 'tls'), port: swift.port });
      return Object.assign(Object.create(swift), { front, env: { ...swift.env, ...front.env }, stop: async () => { await front.stop(); await swift.stop(); } });
    },
  },
  rabbitmq: {
    packages: 'rabbitmq-server',
    installed: () => any('/usr/lib/rabbitmq/bin/rabbitmq-server'),
    start: async (options) => (await import('./rabbitmq.mjs')).startRabbit(options),
  },
  redis: {
    packages: 'redis-server',
    installed: () => any('/usr/bin/redis-server'),
    start: async (options) => (await import('./redis.mjs')).startRedis(options),
  },
};
export const everyKind = Object.keys(kinds);

// Why these servers cannot be had here: a text for a skip, or false.
export function lacking(servers = everyKind) {
  const packages = servers.filter((name) => !kinds[name].installed()).map((name) => kinds[name].packages);
  return packages.length ? `not installed: ${packages.join(' ')}` : false;
}

// Starts them in folders of `dir`. options: by name, for each one's start function.
//   { postgres, swift, rabbitmq, redis, env, settings, seconds, failed, stop() }
// When one does not start, the others are stopped and its error is thrown; with `partial` they stay, and `failed` says why.
export async function startServers({ dir, servers = everyKind, options = {}, partial = false }) {
  mkdirSync(dir, { recursive: true });
  // The servers run as users of their own, who have to get there.
  for (let path = resolve(dir); path !== resolve(tmpdir()) && path !== '/'; path = dirname(path))
    try { chmodSync(path, statSync(path).mode | 0o011); } catch { break; } // not ours
  const began = performance.now();
  const seconds = {};
  const running = {};
  const results = await Promise.allSettled(servers.map(async (name) => {
    const own = join(dir, name);
    mkdirSync(own, { recursive: true });
    running[name] = await kinds[name].start({ dir: own, ...options[name] });
    seconds[name] = (performance.now() - began) / 1000;
  }));
  const stop = async () => { await Promise.allSettled(Object.values(running).map((server) => server.stop())); };
  const failed = results.map((r, i) => r.status === 'rejected' && `${servers[i]}: ${r.reason?.message ?? r.reason}`).filter(Boolean);
  if (failed.length && !partial) {
    await stop();
    throw new Error(`servers did not start: ${failed.join('; ')}`);
  }
  const all = Object.values(running);
  return {
    ...running, seconds, failed, stop,
    env: Object.assign({}, ...all.map((server) => server.env)),
    settings: Object.assign({}, ...all.map((server) => server.settings)),
  };
}
