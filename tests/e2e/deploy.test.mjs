// deploy/: what Compose, nginx, HAProxy, Prometheus, Grafana, systemd and the image's recipe get to read is right, and the
// set of processes that compose.yaml describes works, with the very same sonde.conf and nginx files, outside containers (A6, B14, C9).
//
// There is no Docker engine where the tests run. So the rules of the Compose specification and of Dockerfiles that matter
// here are written down below and checked; the topology is started from the same files.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { listen } from '../api/support/ws.mjs';
import { freePort, Process, ready, sleep } from '../servers/server.mjs';
import { cluster, lacking } from './support/cluster.mjs';
import { ask, finished, upload, until } from './support/serve.mjs';
import { build, program, scratch, sonde, source, syntheticSpeech } from './support/sonde.mjs';

const deploy = join(source, 'deploy');
const read = (name) => readFileSync(join(deploy, name), 'utf8');
const have = (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
const needs = (command) => !have(command) && `${command} is not installed`;
// PyYAML: resolves anchors and merges as Compose does.
const yaml = (text) => JSON.parse(execFileSync('python3', ['-c', 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)'], { input: text }));
const dir = scratch();

// --- compose.yaml

const compose = yaml(read('compose.yaml'));
const services = Object.entries(compose.services);
const own = services.filter(([, s]) => s.image.startsWith('sonde:'));
const portOf = (text) => { const [host, container] = text.split(':').slice(-2); return [host, container]; };

describe('compose.yaml', () => {
  test('has the services and ports that were asked for', () => {
    const published = Object.fromEntries(services.map(([name, s]) => [name, (s.ports ?? []).map((p) => portOf(p.replace(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1')))]));
    assert.deepEqual(published.backend, [['8080', '8080']]);
    assert.deepEqual(published.rabbitmq, [['5672', '5672']]);
    assert.deepEqual(published.postgres, [['5432', '5432']]);
    assert.deepEqual(published.s3, [['9000', '9000']]);
    assert.deepEqual(published.frontend, [['3000', '3000']]);
    assert.deepEqual(published.worker, []);
    for (const name of ['keeper', 'redis', 'prometheus', 'grafana']) assert.ok(name in compose.services, name);
    const roles = own.map(([name, s]) => [name, s.command[s.command.indexOf('--role') + 1]]);
    assert.deepEqual(Object.fromEntries(roles), { backend: 'upload', worker: 'inference', keeper: 'keeper' });
  });

  test('knows no key that Compose does not know', () => {
    const known = { '': ['name', 'services', 'networks', 'volumes', 'configs', 'secrets'],
      service: ['image', 'build', 'user', 'command', 'entrypoint', 'environment', 'secrets', 'configs', 'ports', 'networks', 'volumes', 'tmpfs', 'restart',
        'read_only', 'cap_drop', 'security_opt', 'logging', 'stop_grace_period', 'stop_signal', 'healthcheck', 'depends_on', 'deploy', 'hostname', 'shm_size', 'ulimits'],
      healthcheck: ['test', 'interval', 'timeout', 'start_period', 'retries'], build: ['context', 'dockerfile', 'target'],
      mount: ['source', 'target'], volume: ['type', 'source', 'target'], limits: ['cpus', 'memory'] };
    const check = (what, object, list) => { for (const key of Object.keys(object)) assert.ok(list.includes(key), `${what}: ${key}`); };
    check('top', Object.fromEntries(Object.entries(compose).filter(([key]) => !key.startsWith('x-'))), known['']);
    for (const [name, s] of services) {
      check(name, s, known.service);
      check(`${name} healthcheck`, s.healthcheck, known.healthcheck);
      if (s.build) check(`${name} build`, s.build, known.build);
      for (const one of [...(s.secrets ?? []), ...(s.configs ?? [])]) if (typeof one === 'object') check(`${name} mount`, one, known.mount);
      for (const one of s.volumes ?? []) check(`${name} volume`, one, known.volume);
      check(`${name} limits`, s.deploy.resources.limits, known.limits);
    }
  });

  test('pins every image, and names no registry', () => {
    for (const [name, s] of services) {
      const at = /^([a-z0-9-]+(?:\/[a-z0-9-]+)?):([a-z0-9][a-z0-9._-]*)$/.exec(s.image);
      assert.ok(at, `${name}: ${s.image}`);
      assert.match(at[2], /^v?\d+\.\d+/, `${name}: ${s.image} has no exact version`);
      if (s.image.startsWith('sonde')) assert.ok(s.build, `${name} is built here`);
    }
  });

  test('gives every service a health check, limits, and no more rights than it needs', () => {
    for (const [name, s] of services) {
      assert.ok(Array.isArray(s.healthcheck?.test) && /^CMD(-SHELL)?$/.test(s.healthcheck.test[0]), `${name}: health check`);
      assert.equal(s.read_only, true, `${name}: read_only`);
      assert.deepEqual(s.cap_drop, ['ALL'], `${name}: cap_drop`);
      assert.deepEqual(s.security_opt, ['no-new-privileges:true'], name);
      assert.match(s.user, /^[1-9]\d*:\d+$/, `${name}: not root`);
      assert.ok(!s.privileged && !s.cap_add && !s.network_mode, name);
      assert.match(s.deploy.resources.limits.memory, /^\d+[MG]$/, name);
      assert.match(s.deploy.resources.limits.cpus, /^\d+(\.\d+)?$/, name);
      assert.equal(s.restart, 'unless-stopped', name);
      assert.deepEqual(s.ulimits, { core: 0 }, `${name}: a crash writes recordings to the disk`);
      assert.ok(s.logging.options['max-size'], `${name}: its log grows without end`);
      for (const one of s.tmpfs ?? []) assert.match(one, /^\/[a-z/-]+:size=\d+[mg](,|$)/, `${name}: ${one} has no size`);
    }
  });

  test('publishes on this machine only, unless told otherwise', () => {
    for (const [name, s] of services)
      for (const port of s.ports ?? []) assert.match(port, /^(127\.0\.0\.1|\$\{BIND:-127\.0\.0\.1\}):/, `${name}: ${port}`);
  });

  test('starts in order of health, without a circle', () => {
    const visit = (name, way) => {
      assert.ok(!way.includes(name), `a circle: ${[...way, name].join(' -> ')}`);
      for (const [next, { condition }] of Object.entries(compose.services[name].depends_on ?? {})) {
        assert.ok(compose.services[next], `${name} waits for ${next}, which is not there`);
        assert.equal(condition, 'service_healthy', `${name} -> ${next}`);
        visit(next, [...way, name]);
      }
    };
    for (const [name] of services) visit(name, []);
    for (const [name, s] of own) assert.deepEqual(Object.keys(s.depends_on).sort(), ['postgres', 'rabbitmq', 'redis', 's3'], name);
    assert.ok(compose.services.frontend.depends_on.backend);
  });

  test('declares every network, volume, config and secret that is used, and uses what it declares', () => {
    const used = { networks: new Set(), volumes: new Set(), configs: new Set(), secrets: new Set() };
    const nameOf = (one) => (typeof one === 'object' ? one.source : one);
    for (const [name, s] of services) {
      assert.ok(s.networks?.length, `${name}: networks`);
      for (const one of s.networks) used.networks.add(one);
      for (const one of s.volumes ?? []) { assert.equal(one.type, 'volume'); used.volumes.add(one.source); }
      for (const kind of ['configs', 'secrets']) for (const one of s[kind] ?? []) used[kind].add(nameOf(one));
    }
    for (const kind of Object.keys(used)) assert.deepEqual([...used[kind]].sort(), Object.keys(compose[kind]).sort(), kind);
    for (const [name, { file }] of Object.entries(compose.configs)) assert.ok(statSync(join(deploy, file)).isFile(), name);
    // Compose mounts only files into a read-only container, not what comes from a variable.
    for (const [name, secret] of Object.entries(compose.secrets)) assert.match(secret.file, /^secrets\//, name);
    // Who talks with whom shares a network.
    for (const [name, s] of services)
      for (const next of Object.keys(s.depends_on ?? {})) assert.ok(s.networks.some((n) => compose.services[next].networks.includes(n)), `${name} and ${next} share no network`);
    assert.deepEqual(compose.services.frontend.networks, ['front'], 'the outermost one sees the backends only');
  });

  test('holds no secret', () => {
    for (const [name, s] of services)
      for (const [key, value] of Object.entries(s.environment ?? {})) {
        if (!/PASS|SECRET|TOKEN|KEY/.test(key)) continue;
        assert.match(`${key}=${value}`, /_FILE=\/run\/secrets\/|^SONDE_BLOB_KEY_ID=\$\{SONDE_BLOB_KEY_ID:\?/, `${name}: ${key}`);
      }
    for (const name of ['sonde.conf', 'compose.yaml', 'rabbitmq.conf', 'redis.sh'])
      assert.doesNotMatch(read(name), /^\s*(password|secret|default_pass)\s*[=:]\s*\S/m, name);
    assert.doesNotMatch(read('sonde.conf'), /:\/\/[^/@\s]*:[^/@\s]*@/, 'a password in an address');
    assert.match(read('.gitignore'), /^\/\.env\n\/secrets\/$/m);
  });

  test('its variables come from make-env.sh, which makes everything up anew and overwrites nothing', () => {
    const [one, two] = ['one', 'two'].map((name) => { const to = join(dir, name); mkdirSync(to); execFileSync(join(deploy, 'make-env.sh'), [to]); return to; });
    const env = Object.fromEntries(readFileSync(join(one, '.env'), 'utf8').split('\n').filter((l) => /^[A-Z]/.test(l)).map((l) => l.split(/=(.*)/s).slice(0, 2)));
    const asked = [...read('compose.yaml').matchAll(/\$\{([A-Z_]+)/g)].map((m) => m[1]);
    assert.ok(asked.length > 5);
    for (const name of asked) assert.ok(name in env, `${name} is not in .env`);
    for (const name of Object.keys(env)) assert.ok(asked.includes(name), `nobody asks for ${name}`);
    assert.equal(statSync(join(one, '.env')).mode & 0o777, 0o600);
    assert.equal(statSync(join(one, 'secrets')).mode & 0o777, 0o700);
    for (const { file } of Object.values(compose.secrets)) {
      const text = readFileSync(join(one, file), 'utf8');
      assert.notEqual(text, readFileSync(join(two, file), 'utf8'), `${file} is the same twice`);
      assert.ok(text.length >= 20);
    }
    const s3 = JSON.parse(readFileSync(join(one, 'secrets/s3.json'), 'utf8')).identities[0].credentials[0];
    assert.equal(s3.secretKey, readFileSync(join(one, 'secrets/s3_secret'), 'utf8').trim());
    assert.equal(s3.accessKey, env.SONDE_BLOB_KEY_ID);
    assert.ok(readFileSync(join(one, 'secrets/rabbitmq.conf'), 'utf8').includes(readFileSync(join(one, 'secrets/queue_password'), 'utf8').trim()));
    const before = readFileSync(join(one, 'secrets/db_password'), 'utf8');
    const again = spawnSync(join(deploy, 'make-env.sh'), [one]);
    assert.equal(again.status, 1);
    assert.match(again.stderr.toString(), /already there/);
    assert.equal(readFileSync(join(one, 'secrets/db_password'), 'utf8'), before);
  });

  test('sonde.conf is one that sonde understands, and names the services', () => {
    const secrets = join(dir, 'one/secrets');
    const conf = join(dir, 'sonde.conf');
    writeFileSync(conf, read('sonde.conf').replaceAll('/run/secrets/', `${secrets}/`).replace('/var/lib/sonde', dir), { mode: 0o600 });
    const checked = sonde(['config', 'check', '--config', conf], { env: { SONDE_BLOB_KEY_ID: 'key' } });
    assert.equal(checked.code, 0, checked.out + checked.err);
    for (const [, host] of read('sonde.conf').matchAll(/^url = [a-z0-9+]+:\/\/(?:[^@\n]*@)?([a-z0-9.-]+)/gm))
      assert.ok(compose.services[host], `${host} is no service`);
    for (const [, file] of read('sonde.conf').matchAll(/\/run\/secrets\/(\S+)/g))
      for (const [name, s] of own) assert.ok(s.secrets.includes(file), `${name} does not get ${file}`);
  });
});

// --- Dockerfile

describe('Dockerfile', () => {
  const text = read('Dockerfile').replace(/\\\n/g, ' ');
  const lines = text.split('\n').map((line) => line.trim()).filter((line) => line && !line.startsWith('#'));
  const stages = [];
  for (const line of lines) {
    const from = /^FROM (\S+) AS (\S+)$/.exec(line);
    if (from) stages.push({ name: from[2], base: from[1], lines: [] });
    else stages.at(-1).lines.push(line);
  }

  test('stands on pinned bases', () => {
    assert.deepEqual(stages.map((s) => s.name), ['build', 'sonde', 's3']);
    for (const { base } of stages) assert.match(base, /^[a-z/]+:(bookworm-\d{8}-slim|\d+\.\d+)$/);
    assert.equal(stages[0].base, stages[1].base, 'what is built on one Debian runs on the same');
  });

  test('ends without root, with a health check, and leaves no lists of packages', () => {
    for (const name of ['sonde', 's3']) {
      const stage = stages.find((s) => s.name === name);
      const user = stage.lines.filter((l) => l.startsWith('USER ')).at(-1);
      assert.ok(user && !/USER (root|0)\b/.test(user), `${name}: ${user}`);
      assert.ok(stage.lines.some((l) => /^ENTRYPOINT \["/.test(l)), `${name}: the program itself gets the signals`);
      assert.ok(!stage.lines.slice(stage.lines.indexOf(user)).some((l) => l.startsWith('RUN')), name);
    }
    assert.ok(stages[1].lines.some((l) => l.startsWith('HEALTHCHECK ')));
    for (const { lines: all } of stages)
      for (const line of all.filter((l) => /apt-get install|setup\.sh/.test(l) && l.startsWith('RUN'))) assert.match(line, /rm -rf \/var\/lib\/apt\/lists\/\*/, line);
    assert.doesNotMatch(text, /\b(ADD|curl|wget) /, 'nothing comes from elsewhere');
  });

  test('copies what is there, and the build gets what it needs', () => {
    const ignored = readFileSync(join(source, '.dockerignore'), 'utf8').split('\n').filter((l) => l && !l.startsWith('#'));
    const skipped = (path) => ignored.reduce((out, rule) => {
      const not = rule.startsWith('!'), pattern = rule.replace(/^!/, '');
      const at = new RegExp(`^${pattern.replace(/[.]/g, '\\.').replace(/\*\*\//g, '(.*/)?').replace(/\*/g, '[^/]*')}(/|$)`).test(path);
      return at ? !not : out;
    }, false);
    for (const { lines: all } of stages)
      for (const line of all.filter((l) => l.startsWith('COPY '))) {
        if (line.includes('--from=')) continue;
        for (const path of line.split(/\s+/).slice(1, -1)) {
          assert.ok(path === '.' || existsSync(join(source, path)), path);
          assert.ok(!skipped(path), `${path} is kept from the build`);
        }
      }
    // All that Meson reads, and what the build runs.
    for (const path of ['meson.build', 'Makefile', 'src/meson.build', 'models/sonde-8.safetensors', 'web/package-lock.json', 'tools/build-web.sh', 'db/migrations', 'include', 'src/http/docs'])
      assert.ok(existsSync(join(source, path)) && !skipped(path), `${path} is kept from the build`);
    // What it reads only on demand, or where it is there, may be missing.
    const subdirs = readFileSync(join(source, 'meson.build'), 'utf8').replace(/if (get_option\('tests'\)|import\('fs'\)\.is_dir\()[\s\S]*?endif/g, '');
    for (const [, sub] of subdirs.matchAll(/^ *subdir\('([a-z]+)'\)/gm)) assert.ok(!skipped(sub), `Meson reads ${sub}/`);
    for (const path of ['.git/config', 'deploy/.env', 'deploy/secrets/db_password', 'build/sonde', 'web/node_modules/x'])
      assert.ok(skipped(path), `${path} goes into the build`);
  });

  test('installs every library that the programs link', { skip: needs('dpkg') }, () => {
    const stage = stages[1].lines.join(' ');
    const need = [...new Set([program, join(build, 'sonde-decoder')].flatMap((p) =>
      [...execFileSync('readelf', ['-d', p]).toString().matchAll(/NEEDED.*\[(.*?)\]/g)].map((m) => m[1])))];
    const paths = Object.fromEntries([...execFileSync('ldconfig', ['-p']).toString().matchAll(/^\s*(\S+) .*x86-64.* => (\S+)$/gm)].map((m) => [m[1], m[2]]));
    for (const library of need.filter((name) => !/^(libc|libm|ld-linux.*|libgcc_s|libasan|libubsan|libtsan|libstdc\+\+)\.so/.test(name))) {
      const owner = spawnSync('sh', ['-c', `p=$(readlink -f "${paths[library]}"); dpkg -S "$p" 2>/dev/null || dpkg -S "/usr$p" 2>/dev/null || dpkg -S "\${p#/usr}"`]).stdout.toString().split(':')[0];
      assert.match(owner, /^[a-z0-9.+-]+$/, `whose is ${library}?`);
      assert.match(stage, new RegExp(`\\s${owner.replace(/[.+]/g, '\\$&')}(\\s|$)`), `${library} is in ${owner}`);
    }
  });

  test('its health check tells a ready server from one that is not', async () => {
    const check = (port) => spawnSync(join(deploy, 'healthcheck.sh'), ['127.0.0.1', String(port)], { timeout: 10_000 }).status;
    accessSync(join(deploy, 'healthcheck.sh'), constants.X_OK);
    // In a process of its own: spawnSync holds this one up.
    const server = new Process({ name: 'ready', dir, command: [process.execPath, '-e',
      "require('http').createServer((q, r) => { r.statusCode = q.url === '/readyz' && q.headers.host === 'localhost' ? +process.argv[1] : 400; r.end('{}'); }).listen(+process.argv[2], '127.0.0.1')"] });
    const port = await freePort();
    for (const [status, expected] of [[200, 0], [503, 1]]) {
      server.command = [...server.command.slice(0, 3), String(status), String(port)];
      server.start();
      await ready('the stand-in', () => fetch(`http://127.0.0.1:${port}/`));
      assert.equal(check(port), expected, `answer ${status}`);
      await server.stop();
    }
    assert.equal(check(port), 1, 'nobody listens');
  });
});

// --- files of other programs

// The files of deploy/nginx in a folder, asking these backends, listening here.
function nginxFolder(name, port, backends) {
  const to = join(dir, name);
  mkdirSync(to, { recursive: true });
  cpSync(join(deploy, 'nginx'), to, { recursive: true });
  const change = (file, from, by) => {
    const text = readFileSync(join(to, file), 'utf8');
    assert.ok(text.includes(from), `${file}: ${from}`);
    writeFileSync(join(to, file), text.replaceAll(from, by));
  };
  change('nginx.conf', '/tmp/', `${to}/`);
  change('nginx.conf', '/dev/stderr', `${to}/error.log`);
  change('nginx.conf', '/dev/stdout', `${to}/access.log`);
  change('nginx.conf', 'worker_processes auto', 'worker_processes 1');
  change('site.conf', 'listen 3000;', `listen 127.0.0.1:${port};`);
  change('upstream.conf', '  server backend:8080 resolve max_fails=1 fail_timeout=2s;\n',
    backends.map((p) => `  server 127.0.0.1:${p} max_fails=1 fail_timeout=2s;\n`).join(''));
  return { to, conf: join(to, 'nginx.conf') };
}

describe('files of others', () => {
  test('nginx takes its files', { skip: needs('nginx') }, () => {
    const { conf } = nginxFolder('nginx-check', 3000, [8081, 8082]);
    const r = spawnSync('nginx', ['-t', '-c', conf]);
    assert.equal(r.status, 0, r.stderr.toString());
  });

  test('HAProxy takes its file without a warning', { skip: needs('haproxy') }, () => {
    const r = spawnSync('haproxy', ['-c', '-f', join(deploy, 'haproxy/haproxy.cfg')]);
    assert.equal(r.status, 0, r.stderr.toString());
    assert.doesNotMatch(r.stderr.toString(), /WARNING|ALERT/);
  });

  test('Prometheus takes its configuration and its rules', { skip: needs('promtool') }, () => {
    for (const args of [['check', 'config', 'prometheus.yml'], ['check', 'rules', 'alerts.yml']]) {
      const r = spawnSync('promtool', args, { cwd: join(deploy, 'prometheus') });
      assert.equal(r.status, 0, r.stdout + r.stderr.toString());
    }
    const config = yaml(read('prometheus/prometheus.yml'));
    for (const job of config.scrape_configs) for (const sd of job.dns_sd_configs ?? []) {
      const service = compose.services[sd.names[0]];
      assert.ok(service?.networks.includes('monitoring'), `${sd.names[0]} cannot be reached by Prometheus`);
    }
  });

  test('systemd takes its unit', { skip: needs('systemd-analyze') }, () => {
    const unit = join(dir, 'sonde.service');
    writeFileSync(unit, read('systemd/sonde.service').replace('/usr/local/bin/sonde', program));
    const r = spawnSync('systemd-analyze', ['verify', unit], { timeout: 60_000 });
    assert.equal(r.status, 0, r.stdout + r.stderr.toString());
    assert.doesNotMatch(r.stderr.toString(), /sonde\.service:\d+/); // an unknown name is only a warning to it
    assert.equal(spawnSync(program, ['serve', '--help']).status, 0);
  });

  test('every metric that an alert or the dashboard asks for exists', () => {
    const table = [...readFileSync(join(source, 'src/obs/metrics.def'), 'utf8').matchAll(/METRIC_ROW\(\w+, (\w+), "(\w+)", "([^"]*)"/g)]
      .map(([, kind, name, labels]) => ({ kind, name, labels: labels.split(' ').filter(Boolean) }));
    const dashboard = JSON.parse(read('grafana/dashboards/sonde.json'));
    const exprs = [...dashboard.panels.flatMap((p) => (p.targets ?? []).map((t) => [p.title, t.expr])),
      ...yaml(read('prometheus/alerts.yml')).groups.flatMap((g) => g.rules.map((r) => [r.alert, r.expr]))];
    assert.ok(exprs.length > 30);
    let seen = 0;
    for (const [where, expr] of exprs)
      for (const [, name, , labels] of expr.matchAll(/\b((?:sonde|process)_[a-z0-9_]+)(\{([^}]*)\})?/g)) {
        seen++;
        const row = table.find((r) => r.name === name || (r.kind === 'HISTOGRAM' && name === `${r.name}_bucket`));
        assert.ok(row, `${where}: ${name} is no metric of sonde`);
        assert.ok(row.kind !== 'HISTOGRAM' || name.endsWith('_bucket'), `${where}: ${name} is a histogram`);
        for (const [, label] of (labels ?? '').matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
          assert.ok([...row.labels, 'job', 'instance', 'le'].includes(label), `${where}: ${name} has no label ${label}`);
      }
    assert.ok(seen > 40, `${seen}`);
  });

  test('Grafana finds the source, the folder and the dashboard', () => {
    const [sourceOf] = yaml(read('grafana/provisioning/datasources/prometheus.yaml')).datasources;
    const [provider] = yaml(read('grafana/provisioning/dashboards/sonde.yaml')).providers;
    const dashboard = JSON.parse(read('grafana/dashboards/sonde.json'));
    assert.equal(sourceOf.url, 'http://prometheus:9090');
    const mount = compose.services.grafana.configs.find((c) => c.source === 'grafana_dashboard');
    assert.ok(mount.target.startsWith(`${provider.options.path}/`));
    assert.equal(dashboard.id, null);
    assert.match(dashboard.uid, /^[a-z0-9-]{8,40}$/);
    const ids = dashboard.panels.map((p) => p.id);
    assert.equal(new Set(ids).size, ids.length);
    for (const panel of dashboard.panels) {
      assert.ok(panel.gridPos.x + panel.gridPos.w <= 24 && panel.title, panel.title);
      for (const t of panel.targets ?? []) assert.equal(t.datasource.uid, sourceOf.uid);
    }
    for (const a of dashboard.panels) for (const b of dashboard.panels) // none lies on another
      if (a.id < b.id) assert.ok(a.gridPos.x + a.gridPos.w <= b.gridPos.x || b.gridPos.x + b.gridPos.w <= a.gridPos.x ||
        a.gridPos.y + a.gridPos.h <= b.gridPos.y || b.gridPos.y + b.gridPos.h <= a.gridPos.y, `${a.title} and ${b.title}`);
  });
});

// --- the whole, outside containers

const missing = lacking() || needs('nginx') || needs('prometheus');
let all, front, nginx, prometheus, prometheusPort, started;
const home = join(dir, 'topology');
after(async () => { await prometheus?.stop(); await nginx?.stop(); await all?.stop(); });

async function start() {
  mkdirSync(home);
  const port = await freePort();
  // The very same file: what differs outside containers goes before it, through the environment. Secrets come by
  // way of files, as there.
  const conf = join(home, 'sonde.conf');
  cpSync(join(deploy, 'sonde.conf'), conf);
  all = await cluster({ options: { redis: { password: 'redis-secret' } }, conf, dir: join(home, 'cluster'),
    roles: [['upload'], ['upload'], ['inference'], ['keeper']], secretFiles: true, env: { SONDE_SERVER_DRAIN: '1', SONDE_MIN_FREE: '1M' } });
  front = { url: `http://127.0.0.1:${port}`, port };
  const files = nginxFolder('nginx', port, all.of('upload').map((p) => p.port));
  nginx = new Process({ name: 'nginx', dir: files.to, command: ['nginx', '-c', files.conf, '-g', 'daemon off;'], stopSignal: 'SIGQUIT' }).start();
  await ready('nginx', async () => (await fetch(`${front.url}/healthz`)).ok);

  prometheusPort = await freePort();
  const config = yaml(read('prometheus/prometheus.yml'));
  for (const job of config.scrape_configs) {
    const role = { backend: 'upload', worker: 'inference', keeper: 'keeper' }[job.job_name];
    if (!role) continue;
    delete job.dns_sd_configs;
    job.static_configs = [{ targets: all.of(role).map((p) => `127.0.0.1:${p.port}`) }];
  }
  config.scrape_configs = config.scrape_configs.filter((job) => job.static_configs && job.job_name !== 'prometheus');
  config.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' };
  writeFileSync(join(home, 'prometheus.json'), JSON.stringify(config)); // JSON is YAML
  cpSync(join(deploy, 'prometheus/alerts.yml'), join(home, 'alerts.yml'));
  prometheus = new Process({ name: 'prometheus', dir: join(home, 'prometheus'), command: ['prometheus', `--config.file=${join(home, 'prometheus.json')}`,
    `--storage.tsdb.path=${join(home, 'tsdb')}`, `--web.listen-address=127.0.0.1:${prometheusPort}`] }).start();
  await ready('Prometheus', async () => (await fetch(`http://127.0.0.1:${prometheusPort}/-/ready`)).ok);
  console.log(`# ready in s: ${Object.entries(all.seconds).map(([name, s]) => `${name} ${s.toFixed(1)}`).join(', ')}`);
}
const up = () => (started ??= start());

describe('the topology of compose.yaml', { skip: missing }, () => {
  const query = async (expr) => (await (await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/query?query=${encodeURIComponent(expr)}`)).json()).data.result;

  test('a recording goes through the front, is analysed by the worker, and the WebSocket through the front tells it', async () => {
    await up();
    const ws = await listen({ server: front, post: (path) => ask(front, path, { method: 'POST' }) });
    const began = performance.now();
    const sent = await upload(front, syntheticSpeech(join(dir, 'it.wav')));
    assert.equal(sent.status, 202, sent.text);
    const told = await ws.next((m) => m.analysis?.id === sent.body.id && m.analysis.status === 'done');
    console.log(`# from the upload to the WebSocket's word, through nginx: ${((performance.now() - began) / 1000).toFixed(2)} s`);
    assert.equal(told.analysis.verdict, 'synthetic');
    assert.equal((await finished(front, sent.body.id)).verdict, 'synthetic');
    // In whichever process one looks.
    for (const backend of all.of('upload')) assert.equal((await ask(backend, `/status?id=${sent.body.id}`)).body.verdict, 'synthetic');
    ws.drop();
    // And where it is said to be.
    assert.equal((await all.psql(`SELECT count(*) FROM analyses WHERE id = '${sent.body.id}'`))[0][0], '1');
    assert.ok((await all.objects('sonde-raw')).length >= 1);
    assert.ok('ml_inference' in await all.queues());
  });

  test('what others may not see is not to be seen through the front', async () => {
    await up();
    for (const path of ['/metrics', '/readyz']) assert.equal((await ask(front, path)).status, 404, path);
    assert.equal((await ask(front, '/')).status, 200);
    assert.equal((await ask(front, '/', { headers: { Origin: 'http://elsewhere.example' } })).status, 403);
  });

  test('a backend that is restarted under load costs no request', async () => {
    await up();
    const [first] = all.of('upload');
    let going = true, answers = 0;
    const bad = [];
    // Fewer than nginx lets one address send in a second.
    const paced = async () => { while (going) await Promise.all([one(), sleep(100)]); };
    const one = async () => {
      const reply = await ask(front, '/api/v1/analyses?limit=1').catch((error) => ({ status: String(error) }));
      if (reply.status === 200) answers++; else bad.push(reply.status);
    };
    const running = [paced(), paced(), paced()];
    try {
      await sleep(500);
      await first.restart();
      await sleep(500);
    } finally {
      going = false;
      await Promise.all(running);
    }
    assert.ok(answers > 30, `${answers}`);
    assert.deepEqual(bad, []);
  });

  test('Prometheus sees every process, and what it asks for is there', async () => {
    await up();
    const seen = await until(async () => {
      const rows = await query('up{job=~"backend|worker|keeper"} == 1');
      return rows.length === all.processes.length && rows;
    });
    assert.deepEqual(seen.map((r) => r.metric.job).sort(), ['backend', 'backend', 'keeper', 'worker']);
    await until(async () => Number((await query('sum(sonde_analyses_total{outcome="done"})'))[0]?.value[1]) >= 1);
    // No alert about processes: all are there, and each job is.
    const alerts = await (await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/alerts`)).json();
    assert.deepEqual(alerts.data.alerts.filter((a) => /Down|NoneOf/.test(a.labels.alertname) && a.state === 'firing'), []);
    const rules = (await (await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/rules`)).json()).data.groups.flatMap((g) => g.rules);
    assert.deepEqual(rules.filter((r) => r.health === 'err').map((r) => `${r.name}: ${r.lastError}`), []);
    // Each expression of the dashboard is one that Prometheus can work out.
    for (const panel of JSON.parse(read('grafana/dashboards/sonde.json')).panels)
      for (const { expr } of panel.targets ?? []) {
        const reply = await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/query?query=${encodeURIComponent(expr.replaceAll('$__rate_interval', '1m'))}`);
        assert.equal(reply.status, 200, `${panel.title}: ${await reply.text()}`);
      }
    assert.ok(readdirSync(home).includes('tsdb'));
  });
});
