// OpenStack Swift as the S3 server of tests: memcached, one account, container and object server each, and a proxy with s3api
// (which checks signatures) and tempauth. As the user who runs the tests.
//   const s3 = await startSwift({ dir });   … s3.env, s3.settings, s3.kill(), s3.restart(), s3.pause(), s3.resume(), s3.stop()
//   const front = await startTlsFront({ dir, port: s3.port });   TLS before it, with a CA of its own
// kill, restart, pause and resume are of the proxy, which is what a client sees; with { all: true } of every process.
import { createHash, createHmac } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort, Process, ready } from './server.mjs';

const KEY = 'test:tester';
const SECRET = 'testing-0123456789-secret';
const REGION = 'us-east-1';

const hex = (text) => createHash('sha256').update(text).digest('hex');
const keyed = (key, text) => createHmac('sha256', key).update(text).digest();

// One signed request; { status, body }. Enough for waiting and for looking: the program has its own.
export function s3Request({ port, method = 'GET', path = '/', query = '', body = '', key = KEY, secret = SECRET }) {
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${date.slice(0, 8)}/${REGION}/s3/aws4_request`;
  const headers = { host: `127.0.0.1:${port}`, 'x-amz-content-sha256': hex(body), 'x-amz-date': date };
  const names = Object.keys(headers).sort();
  const canonical = [method, path, query, ...names.map((n) => `${n}:${headers[n]}`), '', names.join(';'), hex(body)].join('\n');
  const signing = [date.slice(0, 8), REGION, 's3', 'aws4_request'].reduce(keyed, `AWS4${secret}`);
  const signature = keyed(signing, ['AWS4-HMAC-SHA256', date, scope, hex(canonical)].join('\n')).toString('hex');
  headers.authorization = `AWS4-HMAC-SHA256 Credential=${key}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, method, path: query ? `${path}?${query}` : path, headers, agent: false, timeout: 20_000 }, (res) => {
      const chunks = [];
      res.on('data', (chunk) => chunks.push(chunk));
      res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(chunks) }));
      res.on('error', reject);
    });
    req.on('timeout', () => req.destroy(new Error('no answer within 20 s')));
    req.on('error', reject);
    req.end(body);
  });
}

const RINGS = `
import sys
from swift.common.ring import RingBuilder
etc = sys.argv[1]
for pair in sys.argv[2:]:
    name, port = pair.split(':')
    ring = RingBuilder(4, 1, 0)
    ring.add_dev(dict(id=0, region=1, zone=1, weight=1.0, ip='127.0.0.1', port=int(port), replication_ip='127.0.0.1',
                      replication_port=int(port), device='d1', meta=''))
    ring.rebalance()
    ring.get_ring().save('%s/%s.ring.gz' % (etc, name))
`;

// The timeouts are long, because a machine full of tests is slow, and a container that hears late of an object lists wrong.
function writeConfigs(dir, ports, user) {
  const etc = join(dir, 'etc');
  for (const folder of [etc, join(dir, 'dev', 'd1')]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(etc, 'swift.conf'), `[swift-hash]
swift_hash_path_prefix = t
swift_hash_path_suffix = t
[storage-policy:0]
name = gold
default = yes
`);
  const common = (port) => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
user = ${user}
swift_dir = ${etc}
workers = 0
log_level = WARNING
`;
  for (const name of ['account', 'container', 'object'])
    writeFileSync(join(etc, `${name}.conf`), `${common(ports[name])}devices = ${join(dir, 'dev')}
mount_check = false
[pipeline:main]
pipeline = ${name}-server
[app:${name}-server]
use = egg:swift#${name}
${name === 'object' ? 'node_timeout = 60\nconn_timeout = 20\ncontainer_update_timeout = 60\n' : ''}`);
  const filters = ['catch_errors', 'gatekeeper', 'healthcheck', 'listing_formats', 'bulk', 'copy', 'slo', 'dlo', 'versioned_writes'];
  writeFileSync(join(etc, 'proxy.conf'), `${common(ports.proxy)}[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
recoverable_node_timeout = 60
conn_timeout = 20
error_suppression_interval = 1
${filters.map((name) => `[filter:${name}]\nuse = egg:swift#${name}\n`).join('')}[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${ports.memcached}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = ${REGION}
storage_domain = localhost
dns_compliant_bucket_names = true
check_bucket_owner = false
min_segment_size = 1048576
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${SECRET} .admin
`);
  execFileSync('/usr/bin/python3', ['-c', RINGS, etc, ...['account', 'container', 'object'].map((name) => `${name}:${ports[name]}`)], { stdio: ['ignore', 'ignore', 'pipe'] });
  return etc;
}

export async function startSwift({ dir }) {
  const user = userInfo().username;
  const ports = {};
  for (const name of ['proxy', 'account', 'container', 'object', 'memcached']) ports[name] = await freePort();
  const etc = writeConfigs(dir, ports, user);
  const process_ = (name, command) => new Process({ name, dir, command });
  const memcached = process_('memcached', ['memcached', '-l', '127.0.0.1', '-p', String(ports.memcached), '-U', '0', '-u', user, '-m', '16']);
  const storage = ['account', 'container', 'object'].map((name) => process_(name, [`swift-${name}-server`, join(etc, `${name}.conf`)]));
  const proxy = process_('proxy', ['swift-proxy-server', join(etc, 'proxy.conf')]);
  const all = [memcached, ...storage, proxy];
  const chosen = (options) => (options?.all ? all : [proxy]);
  const url = `s3+http://127.0.0.1:${ports.proxy}`;
  // /healthcheck answers before the rest does: a bucket that can be made is what counts.
  const up = () => ready('Swift', async () => {
    const { status } = await s3Request({ port: ports.proxy, method: 'PUT', path: '/ready' });
    return status === 200 || status === 409;
  }, { timeout: 90_000, pause: 200 });

  for (const one of all) one.start();
  try { await up(); } catch (error) { for (const one of all) await one.kill(); throw error; }
  return {
    port: ports.proxy,
    url,
    key: KEY,
    secret: SECRET,
    env: { SONDE_TEST_S3: url, SONDE_TEST_S3_KEY: KEY, SONDE_TEST_S3_SECRET: SECRET },
    settings: { SONDE_BLOB_URL: url, SONDE_BLOB_KEY_ID: KEY, SONDE_BLOB_SECRET: SECRET, SONDE_BLOB_MAKE_BUCKETS: 'yes' },
    get pids() { return all.map((one) => one.pid); },
    request: (options) => s3Request({ port: ports.proxy, ...options }),
    pause(options) { for (const one of chosen(options)) one.pause(); },
    resume(options) { for (const one of chosen(options)) one.resume(); },
    async kill(options) { for (const one of chosen(options)) await one.kill(); },
    async restart(options) {
      for (const one of chosen(options)) { await one.kill(); one.start(); }
      await up();
    },
    async stop() { for (const one of [...all].reverse()) await one.stop(5_000); },
  };
}

const FRONT = `
import { connect } from 'node:net';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';
const [cert, key, listen, port] = process.argv.slice(1);
createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (client) => {
  const server = connect(Number(port), '127.0.0.1');
  client.pipe(server).pipe(client);
  for (const [one, other] of [[client, server], [server, client]]) { one.on('error', () => other.destroy()); one.on('close', () => other.destroy()); }
}).listen(Number(listen), '127.0.0.1');
`;

// A CA, and a certificate of it for 127.0.0.1, localhost and *.localhost.
export function makeCertificates(dir) {
  const at = (name) => join(dir, name);
  const openssl = (...args) => execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  mkdirSync(dir, { recursive: true });
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=test CA', '-keyout', at('ca.key'), '-out', at('ca.pem'));
  openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost', '-keyout', at('server.key'), '-out', at('server.csr'));
  writeFileSync(at('names'), 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.localhost\n');
  openssl('x509', '-req', '-days', '30', '-in', at('server.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at('names'), '-out', at('server.pem'));
  return { ca: at('ca.pem'), cert: at('server.pem'), key: at('server.key') };
}

// TLS on a port of its own before a server on `port`; what goes through is not changed, so signatures hold.
export async function startTlsFront({ dir, port }) {
  const files = makeCertificates(dir);
  const listen = await freePort();
  const front = new Process({ name: 'tls-front', dir, command: [process.execPath, '--input-type=module', '-e', FRONT, files.cert, files.key, String(listen), String(port)] }).start();
  const { connect } = await import('node:net');
  await ready('the TLS front', () => new Promise((resolve, reject) => {
    const socket = connect(listen, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', reject);
  }));
  const url = `s3://127.0.0.1:${listen}`;
  return {
    port: listen,
    url,
    ca: files.ca,
    env: { SONDE_TEST_S3_TLS: url, SONDE_TEST_S3_CA: files.ca },
    settings: { SONDE_BLOB_URL: url, SONDE_BLOB_CA_FILE: files.ca },
    get pids() { return [front.pid]; },
    pause: () => front.pause(),
    resume: () => front.resume(),
    kill: () => front.kill(),
    async restart() { await front.kill(); front.start(); },
    stop: () => front.stop(2_000),
  };
}

// By hand: node tests/servers/swift.mjs FOLDER COMMAND… runs a command with the environment of the C tests, and ends with it.
if (process.argv[1] === new URL(import.meta.url).pathname && process.argv.length > 3) {
  const { spawn } = await import('node:child_process');
  const [dir, program, ...args] = process.argv.slice(2);
  const s3 = await startSwift({ dir });
  const front = await startTlsFront({ dir: join(dir, 'tls'), port: s3.port });
  const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...s3.env, ...front.env } });
  const code = await new Promise((resolve) => child.on('close', resolve));
  await front.stop();
  await s3.stop();
  process.exit(code ?? 1);
}
