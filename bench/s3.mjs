// Seconds of CPU of the client for putting and getting recordings of 1 and 50 MB in S3: sonde's driver, rclone, s3cmd, side by side, on a
// Swift of its own. Needs Debian's swift (tools/setup.sh test), rclone and s3cmd; what is missing is left out.
//   ninja -C build bench/bench_blob && node bench/s3.mjs [BUILD]
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { startSwift } from '../tests/servers/swift.mjs';

const SIZES = [[1, 40], [50, 4]], ROUNDS = 3; // MB, files
const build = process.argv[2] ?? 'build';
const dir = mkdtempSync(join(tmpdir(), 'sonde-bench-s3-'));
const s3 = await startSwift({ dir: join(dir, 'swift') });
const median = (v) => [...v].sort((a, b) => a - b)[v.length >> 1];
const endpoint = `127.0.0.1:${s3.port}`;
const env = { ...process.env, AWS_CA_BUNDLE: undefined, RCLONE_CONFIG_X_TYPE: 's3', RCLONE_CONFIG_X_PROVIDER: 'Other', RCLONE_CONFIG_X_ENDPOINT: `http://${endpoint}`,
  RCLONE_CONFIG_X_ACCESS_KEY_ID: s3.key, RCLONE_CONFIG_X_SECRET_ACCESS_KEY: s3.secret, RCLONE_CONFIG_X_REGION: 'us-east-1' };
const s3cmd = ['s3cmd', `--host=${endpoint}`, `--host-bucket=${endpoint}`, '--no-ssl', `--access_key=${s3.key}`, `--secret_key=${s3.secret}`, '--quiet', '--no-progress', '-c', '/dev/null'];
const rclone = ['rclone', '--transfers', '1', '--config', join(dir, 'rclone.conf')];
// The tools for files of one size, in buckets and folders of their own.
function tools(mb, count) {
  const at = (name) => join(dir, `${name}-${mb}`), file = at('file'), many = at('many'), back = at('back'), spool = at('spool');
  for (const folder of [many, back, spool]) mkdirSync(folder, { recursive: true });
  writeFileSync(file, randomBytes(mb * 1e6));
  for (let i = 0; i < count; i++) linkSync(file, join(many, `k${i}`));
  const sonde = (verb) => [join(build, 'bench', 'bench_blob'), verb, s3.url, s3.key, s3.secret, spool, file, String(count)];
  let round = 0;
  return { next: () => { round++; }, of: () => ({
    sonde: { put: sonde('put'), get: sonde('get') },
    rclone: { put: [...rclone, 'copy', many, `x:rclone-${mb}-${round}`], get: [...rclone, 'copy', `x:rclone-${mb}-${round}`, join(back, `rclone-${round}`)] },
    s3cmd: { before: [...s3cmd, 'mb', `s3://cmd-${mb}-${round}`], put: [...s3cmd, 'sync', `${many}/`, `s3://cmd-${mb}-${round}/`], get: [...s3cmd, 'sync', `s3://cmd-${mb}-${round}/`, `${join(back, `cmd-${round}`)}/`] },
  }) };
}
const run = (command) => {
  const r = spawnSync('bash', ['-c', 'TIMEFORMAT="%R %U %S"; time "$@"', 'time', ...command], { env, encoding: 'utf8' });
  if (r.status !== 0) throw new Error(`${command[0]}: ${r.stderr}`);
  const [wall, user, system] = r.stderr.trim().split('\n').at(-1).split(' ').map(Number);
  return { wall, cpu: user + system };
};
try {
  for (const [mb, count] of SIZES) {
    const set = tools(mb, count), cells = {};
    for (let round = 0; round < ROUNDS; round++, set.next())
      for (const [name, { before, put, get }] of Object.entries(set.of())) {
        if (spawnSync('which', [put[0]]).status !== 0) continue;
        if (before) run(before);
        for (const [verb, command] of [['put', put], ['get', get]]) ((cells[name] ??= {})[verb] ??= []).push(run(command).cpu * 1000 / count / mb);
      }
    console.log(`| ${count} of ${mb} MB, load ${loadavg()[0].toFixed(1)} | put: CPU ms per MB | get: CPU ms per MB |\n|---|---:|---:|`);
    for (const [name, { put, get }] of Object.entries(cells))
      console.log(`| ${name} | ${[put, get].map((v) => `${median(v).toFixed(2)} (${Math.min(...v).toFixed(2)}..${Math.max(...v).toFixed(2)})`).join(' | ')} |`);
  }
} finally {
  await s3.stop();
  rmSync(dir, { recursive: true });
}
