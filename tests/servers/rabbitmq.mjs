// A RabbitMQ of the test's own: its own epmd, loopback only, no plugin unless asked for. The user is "sonde".
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, Process, ready } from './server.mjs';

const run = promisify(execFile);
const BIN = '/usr/lib/rabbitmq/bin'; // the wrapper in sbin wants another user
const USER = 'sonde';
const PASSWORD = 'sonde-test-Pa55';

// The first bytes of AMQP get an answer only when the broker is up.
function greets(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('AMQP\x00\x00\x09\x01'));
    socket.setTimeout(2000, () => { socket.destroy(); reject(new Error('silent')); });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
    socket.on('data', () => { socket.destroy(); resolve(true); });
  });
}

// A CA and a certificate for "localhost" of it, in `dir`.
async function certificates(dir) {
  const at = (name) => join(dir, name);
  writeFileSync(at('san.cnf'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  const openssl = (...args) => run('openssl', args);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl('req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '2', '-subj', '/CN=test CA');
  await openssl('req', ...key, '-keyout', at('server.key'), '-out', at('server.csr'), '-subj', '/CN=localhost');
  await openssl('x509', '-req', '-in', at('server.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial',
    '-out', at('server.pem'), '-days', '2', '-extfile', at('san.cnf'));
}

export async function startRabbit({ dir, tls = false, management = false }) {
  for (const folder of ['', 'mnesia', 'log', 'home']) mkdirSync(join(dir, folder), { recursive: true });
  const [port, tlsPort, distPort, epmdPort, webPort] = await Promise.all([freePort(), freePort(), freePort(), freePort(), freePort()]);
  const conf = [`listeners.tcp.1 = 127.0.0.1:${port}`, `default_user = ${USER}`, `default_pass = ${PASSWORD}`,
    'disk_free_limit.absolute = 10MB', 'vm_memory_high_watermark.relative = 0.4'];
  if (tls) {
    await certificates(dir);
    conf.push(`listeners.ssl.1 = 127.0.0.1:${tlsPort}`, `ssl_options.cacertfile = ${join(dir, 'ca.pem')}`, `ssl_options.certfile = ${join(dir, 'server.pem')}`,
      `ssl_options.keyfile = ${join(dir, 'server.key')}`, 'ssl_options.verify = verify_none', 'ssl_options.fail_if_no_peer_cert = false');
  }
  if (management) conf.push('management.tcp.ip = 127.0.0.1', `management.tcp.port = ${webPort}`);
  writeFileSync(join(dir, 'rabbitmq.conf'), `${conf.join('\n')}\n`);
  writeFileSync(join(dir, 'enabled_plugins'), management ? '[rabbitmq_management].\n' : '[].\n');
  const cookie = '-setcookie sondetest';
  const env = {
    HOME: join(dir, 'home'), LANG: 'C.UTF-8',
    RABBITMQ_HOME: '/usr/lib/rabbitmq', RABBITMQ_NODENAME: 't1@localhost', RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'), RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'), RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'), RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_PID_FILE: join(dir, 'pid'), RABBITMQ_DIST_PORT: String(distPort), ERL_EPMD_ADDRESS: '127.0.0.1', ERL_EPMD_PORT: String(epmdPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${cookie} +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}`, RABBITMQ_CTL_ERL_ARGS: cookie,
  };
  // Started here, so that the broker starts none that would outlive it.
  const epmd = new Process({ name: 'epmd', command: ['epmd', '-port', String(epmdPort), '-address', '127.0.0.1'], dir, env }).start();
  const broker = new Process({ name: 'rabbitmq', command: [`${BIN}/rabbitmq-server`], dir, env });
  const ctl = async (...args) => (await run(`${BIN}/rabbitmqctl`, args, { env: { ...process.env, ...env }, timeout: 60_000 })).stdout;
  const gone = () => broker.child.exitCode !== null || broker.child.signalCode !== null;
  // It may end at once: somebody was given its port meanwhile, or epmd still knows the one that was killed.
  const up = async () => {
    broker.start();
    await ready('RabbitMQ', () => { if (gone()) broker.start(); return greets(port); }, { timeout: 120_000, pause: 200 });
  };
  const url = (extra = '') => (tls ? `amqps://${USER}@localhost:${tlsPort}/` : `amqp://${USER}@127.0.0.1:${port}/`) + extra;
  await up();
  return {
    port, tlsPort, webPort, ctl, url, user: USER, password: PASSWORD, caFile: tls ? join(dir, 'ca.pem') : null,
    env: { SONDE_TEST_AMQP: `amqp://${USER}:${PASSWORD}@127.0.0.1:${port}/`,
      ...(tls ? { SONDE_TEST_AMQPS: `amqps://${USER}:${PASSWORD}@localhost:${tlsPort}/`, SONDE_TEST_AMQP_CA: join(dir, 'ca.pem') } : {}) },
    settings: { SONDE_QUEUE_URL: url(), SONDE_QUEUE_PASSWORD: PASSWORD, ...(tls ? { SONDE_QUEUE_CA_FILE: join(dir, 'ca.pem') } : {}) },
    get pids() { return [broker.pid, epmd.pid]; },
    pause() { broker.pause(); },
    resume() { broker.resume(); },
    async kill() { await broker.kill(); },
    async restart() { if (!gone()) await broker.stop(30_000); await up(); },
    // Without memory the broker takes no messages, but hands them out.
    async block() { await ctl('set_vm_memory_high_watermark', '0'); },
    async unblock() { await ctl('set_vm_memory_high_watermark', '0.4'); },
    async stop() { await broker.stop(30_000); await epmd.stop(); },
  };
}
