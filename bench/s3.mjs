// Seconds of CPU of the client for putting and getting recordings of 5 MB in S3: sonde's driver, rclone, s3cmd, side by side, on a
// Swift of its own. Needs Debian's swift (tools/setup.sh test), rclone and s3cmd; what is missing is left out.
//   ninja -C build bench/bench_blob && node bench/s3.mjs [BUILD]
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startSwift } from '../tests/servers/swift.mjs';

const COUNT = 20, MB = 5;
const build = process.argv[2] ?? 'build';
const dir = mkdtempSync(join(tmpdir(), 'sonde-bench-s3-'));
const s3 = await startSwift({ dir: join(dir, 'swift') });
const file = join(dir, 'file'), many = join(dir, 'many'), back = join(dir, 'back'), spool = join(dir, 'spool');
for (const folder of [many, back, spool]) mkdirSync(folder);
writeFileSync(file, randomBytes(MB * 1e6));
for (let i = 0; i < COUNT; i++) linkSync(file, join(many, `k${i}`));
const endpoint = `127.0.0.1:${s3.port}`;
const env = { ...process.env, AWS_CA_BUNDLE: undefined, RCLONE_CONFIG_X_TYPE: 's3', RCLONE_CONFIG_X_PROVIDER: 'Other', RCLONE_CONFIG_X_ENDPOINT: `http://${endpoint}`,
  RCLONE_CONFIG_X_ACCESS_KEY_ID: s3.key, RCLONE_CONFIG_X_SECRET_ACCESS_KEY: s3.secret, RCLONE_CONFIG_X_REGION: 'us-east-1' };
const s3cmd = ['s3cmd', `--host=${endpoint}`, `--host-bucket=${endpoint}`, '--no-ssl', `--access_key=${s3.key}`, `--secret_key=${s3.secret}`, '--quiet', '--no-progress', '-c', '/dev/null'];
const rclone = ['rclone', '--transfers', '1', '--config', join(dir, 'rclone.conf')];
const sonde = (verb) => [join(build, 'bench', 'bench_blob'), verb, s3.url, s3.key, s3.secret, spool, file, String(COUNT)];
const tools = {
  sonde: { put: sonde('put'), get: sonde('get') },
  rclone: { put: [...rclone, 'copy', many, 'x:rclone'], get: [...rclone, 'copy', 'x:rclone', join(back, 'rclone')] },
  s3cmd: { before: [...s3cmd, 'mb', 's3://cmd'], put: [...s3cmd, 'sync', `${many}/`, 's3://cmd/'], get: [...s3cmd, 'sync', 's3://cmd/', `${back}/`] },
};
const run = (command) => {
  const r = spawnSync('bash', ['-c', 'TIMEFORMAT="%R %U %S"; time "$@"', 'time', ...command], { env, encoding: 'utf8' });
  if (r.status !== 0) throw new Error(`${command[0]}: ${r.stderr}`);
  const [wall, user, system] = r.stderr.trim().split('\n').at(-1).split(' ').map(Number);
  return { wall, cpu: user + system };
};
try {
  console.log(`| ${COUNT} files of ${MB} MB | put: CPU ms/MB | s | get: CPU ms/MB | s |\n|---|---|---|---|---|`);
  for (const [name, { before, put, get }] of Object.entries(tools)) {
    if (spawnSync('which', [put[0]]).status !== 0) { console.log(`| ${name} | not here | | | |`); continue; }
    if (before) run(before);
    const cells = [run(put), run(get)].map(({ wall, cpu }) => `${(cpu * 1000 / COUNT / MB).toFixed(2)} | ${wall.toFixed(2)}`);
    console.log(`| ${name} | ${cells.join(' | ')} |`);
  }
} finally {
  await s3.stop();
  rmSync(dir, { recursive: true });
}
