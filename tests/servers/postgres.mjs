// A real PostgreSQL: one, or a primary with streaming replicas. See server.mjs for what it gives back.
//
//   const pg = await startPostgres({ dir, replicas: 2, synchronous: true })
//   pg.nodes[0]             the first primary: .port, kill(), restart(), pause(), resume(), stop()
//   await pg.promote(1)     node 1 becomes the primary, the others that live follow it
//   await pg.sql(node, …)   one statement's answer, as psql -At shows it
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Process, freePort, ready, within } from './server.mjs';

const run = promisify(execFile);
const root = process.getuid?.() === 0;
const home = '/usr/lib/postgresql';

// The newest version that is installed, or null.
export function postgresBin() {
  const versions = existsSync(home) ? readdirSync(home).filter((v) => existsSync(join(home, v, 'bin/postgres'))) : [];
  return versions.length ? join(home, versions.sort((a, b) => b - a)[0], 'bin') : null;
}

// The server refuses to run as root: its own user does, who must reach the folder. setpriv becomes the program that it
// starts; runuser would stay as its parent, and stop with it.
const as = (command) => (root ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', '--', ...command] : command);
function give(path) {
  if (!root) return;
  const [uid, gid] = ['-u', '-g'].map((what) => Number(execFileSync('id', [what, 'postgres'])));
  chownSync(path, uid, gid);
}
const callAs = (command, env = {}) => run(as(command)[0], as(command).slice(1), { cwd: '/', env: { ...process.env, ...env } });

// One server. Its backends lead process groups of their own, so signals go to each of them.
class Node extends Process {
  get main() { try { return Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]) || null; } catch { return null; } }

  get pids() {
    const main = this.main;
    if (!main || !this.child || this.child.exitCode !== null || this.child.signalCode !== null) return [];
    const children = readdirSync('/proc').filter((pid) => {
      try { return /^\d+$/.test(pid) && Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[1]) === main; } catch { return false; }
    });
    return [main, ...children.map(Number)];
  }

  signal(signal) { for (const pid of this.pids) { try { process.kill(pid, signal); } catch { /* gone */ } } }

  // runuser stops itself when it sees its child stopped, and then would not see its end.
  wake() { try { process.kill(this.pid, 'SIGCONT'); } catch { /* gone */ } }

  resume() { this.signal('SIGCONT'); this.wake(); }

  async kill() {
    this.pause(); // no new ones meanwhile
    this.signal('SIGKILL');
    let gone = false;
    this.exited.then(() => { gone = true; });
    while (!gone) { this.wake(); await within(100, this.exited); }
  }

  async stop(timeout = 15_000) {
    this.resume();
    const main = this.main;
    if (main) try { process.kill(main, 'SIGINT'); } catch { /* gone */ }
    if (!await within(timeout, this.exited)) await this.kill();
  }
}

// fast: no flushing to the disk; a power cut would damage it, a kill does not. synchronous: a commit is confirmed when one
// replica has it, too. lines: more settings of the servers.
export async function startPostgres({ dir, replicas = 0, password = 'sonde test/1', tls = false, fast = true, synchronous = false, lines = [] }) {
  const bin = postgresBin();
  if (!bin) throw new Error('PostgreSQL is not installed');
  mkdirSync(dir, { recursive: true });
  if (root) for (const path of [dirname(dir), dir]) if (path !== '/' && path !== '/tmp') chmodSync(path, 0o711);
  const env = { PGPASSWORD: password, PGCONNECT_TIMEOUT: '5' };
  const secret = join(dir, 'password');
  writeFileSync(secret, `${password}\n`, { mode: 0o600 });
  give(secret);

  const names = Array.from({ length: replicas + 1 }, (_, i) => `postgres${i}`);
  const standbys = () => (synchronous && replicas ? [`synchronous_standby_names = 'ANY 1 (${names.join(', ')})'`] : []);
  const settings = (node) => ["listen_addresses = '127.0.0.1'", `port = ${node.port}`, `unix_socket_directories = '${node.dir}'`, 'max_connections = 200',
    'wal_keep_size = 256MB', 'shared_buffers = 32MB', "timezone = 'UTC'", 'hot_standby_feedback = on', 'wal_retrieve_retry_interval = 200ms',
    'wal_receiver_status_interval = 1s',
    // To a file, not through this program: a test that waits for a child without reading would stop the server.
    'logging_collector = on', `log_directory = '${node.dir}'`, "log_filename = 'server.log'", 'password_encryption = scram-sha-256',
    ...(fast ? ['fsync = off', 'full_page_writes = off'] : []), ...standbys(),
    ...(pem ? ['ssl = on', `ssl_cert_file = '${pem.cert}'`, `ssl_key_file = '${pem.key}'`] : []), ...lines];
  const hba = `local all all scram-sha-256\n${tls ? 'hostssl' : 'host'} all all 127.0.0.1/32 scram-sha-256\n${tls ? 'hostssl' : 'host'} replication all 127.0.0.1/32 scram-sha-256\n`;
  const write = (node, name, text) => { const path = join(node.data, name); writeFileSync(path, text, { mode: 0o600 }); give(path); };

  let pem = null;
  if (tls) {
    const { makeCertificates } = await import('./swift.mjs');
    pem = makeCertificates(join(dir, 'tls'));
    chmodSync(join(dir, 'tls'), 0o711);
    const own = join(dir, 'postgres.key');
    copyFileSync(pem.key, own);
    chmodSync(own, 0o600);
    give(own);
    for (const path of [pem.cert, pem.ca]) chmodSync(path, 0o644);
    pem.key = own;
  }
  const conninfo = (node, name) => `host=127.0.0.1 port=${node.port} user=sonde password='${password.replace(/['\\]/g, '\\$&')}' application_name=${name}`;
  const options = tls ? `?sslmode=verify-full&sslrootcert=${encodeURIComponent(pem.ca)}` : '';
  const sql = async (node, text, database = 'sonde') => (await run(join(bin, 'psql'), ['-XAtq', '-h', '127.0.0.1', '-p', String(node.port), '-U', 'sonde', '-v', 'ON_ERROR_STOP=1', '-c', text, database],
    { env: { ...process.env, ...env, ...(tls ? { PGSSLMODE: 'require' } : {}) }, timeout: 20_000 })).stdout.trim();
  const up = (node) => ready(node.name, async () => (await sql(node, 'SELECT 1', 'postgres')) === '1', { timeout: 30_000 });

  const nodes = [];
  async function add(i) {
    const own = join(dir, names[i]);
    mkdirSync(own, { recursive: true });
    give(own);
    const node = new Node({ name: names[i], dir: own, command: as([join(bin, 'postgres'), '-D', join(own, 'data')]) });
    node.data = join(own, 'data');
    node.port = await freePort();
    node.restart = async () => { rmSync(join(node.data, 'postmaster.pid'), { force: true }); node.start(); await up(node); };
    if (i === 0)
      await callAs([join(bin, 'initdb'), '-D', node.data, '-U', 'sonde', '-A', 'scram-sha-256', `--pwfile=${secret}`, '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8']);
    else
      await callAs([join(bin, 'pg_basebackup'), '-h', '127.0.0.1', '-p', String(nodes[0].port), '-U', 'sonde', '-D', node.data, '-X', 'stream', '-c', 'fast', '--no-sync'],
        { ...env, ...(tls ? { PGSSLMODE: 'require' } : {}) });
    write(node, 'postgresql.auto.conf', '');
    write(node, 'pg_hba.conf', hba);
    const text = settings(node).concat(i ? [`primary_conninfo = '${conninfo(nodes[0], node.name).replaceAll("'", "''")}'`] : []).join('\n');
    write(node, 'postgresql.conf', `${text}\n`);
    if (i) write(node, 'standby.signal', '');
    nodes.push(node);
    node.start();
  }

  await add(0);
  // The first one must not wait for replicas that are not there yet.
  if (synchronous && replicas) write(nodes[0], 'postgresql.auto.conf', "synchronous_standby_names = ''\n");
  await up(nodes[0]);
  await sql(nodes[0], 'CREATE DATABASE sonde', 'postgres');
  for (let i = 1; i <= replicas; i++) { await add(i); await up(nodes[i]); }
  if (replicas)
    await ready('the replicas', async () => Number(await sql(nodes[0], "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === replicas);
  if (synchronous && replicas) {
    await sql(nodes[0], 'ALTER SYSTEM RESET synchronous_standby_names');
    await sql(nodes[0], 'SELECT pg_reload_conf()');
  }

  const user = `sonde:${encodeURIComponent(password)}`;
  const alive = (node) => node.pids.length > 0;
  return {
    env: { SONDE_TEST_POSTGRES: `postgres://${user}@127.0.0.1:${nodes[0].port}/postgres${options}` },
    settings: {
      SONDE_DB_URL: `postgres://sonde@${nodes.map((n) => `127.0.0.1:${n.port}`).join(',')}/sonde${options}`,
      SONDE_DB_PASSWORD: password,
      ...(replicas ? { SONDE_DB_REPLICAS: nodes.slice(1).map((n) => `postgres://sonde@127.0.0.1:${n.port}/sonde${options}`).join(' ') } : {}),
    },
    nodes, sql, up, password, ca: pem?.ca ?? null,
    get pids() { return nodes.flatMap((node) => node.pids); },
    async promote(n) {
      const others = nodes.filter((node, i) => i !== n && alive(node));
      await callAs([join(bin, 'pg_ctl'), 'promote', '-w', '-D', nodes[n].data]);
      if (!others.length) {
        await sql(nodes[n], "ALTER SYSTEM SET synchronous_standby_names = ''");
        await sql(nodes[n], 'SELECT pg_reload_conf()');
      }
      for (const node of others) {
        await sql(node, `ALTER SYSTEM SET primary_conninfo = '${conninfo(nodes[n], node.name).replaceAll("'", "''")}'`);
        await sql(node, 'SELECT pg_reload_conf()');
      }
    },
    async stop() { for (const node of [...nodes].reverse()) if (node.child) await node.stop(); },
    kill: () => nodes[0].kill(),
    restart: () => nodes[0].restart(),
    pause: () => nodes[0].pause(),
    resume: () => nodes[0].resume(),
  };
}
