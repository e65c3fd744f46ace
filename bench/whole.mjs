// The whole program against an ffmpeg + ONNX Runtime pipeline (pipeline.mjs), on the same recordings and one core,
// in alternation. Times are CPU seconds of everything that was started, and wall seconds. Writes bench/out/whole.json.
//
//     node bench/whole.mjs [--rounds N] [--cpu N]
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const bench = path.dirname(fileURLToPath(import.meta.url)), root = path.dirname(bench), out = path.join(bench, 'out');
const option = (name, otherwise) => { const at = process.argv.indexOf(`--${name}`); return at > 0 ? process.argv[at + 1] : otherwise; };
const rounds = Number(option('rounds', 5)), cpu = option('cpu', '0');
const sonde = path.join(root, 'build', 'sonde'), onnx = path.join(out, 'pipeline.onnx');
mkdirSync(out, { recursive: true });
execFileSync('/usr/bin/python3', [path.join(bench, 'export_pipeline.py'), path.join(root, 'models/sonde-8.safetensors'), onnx], { stdio: ['ignore', 'ignore', 'inherit'] });

// A hundred short recordings and one of an hour, from what Debian packages: the same on every machine.
function recordings() {
  const prompts = '/usr/share/asterisk/sounds/en_US_f_Allison';
  const text = spawnSync('sh', ['-c', `find ${prompts} -name '*.wav' -size +40k | sort | head -100`], { encoding: 'utf8' }).stdout;
  const short = text.trim().split('\n').filter(Boolean);
  if (short.length < 100) throw new Error('install asterisk-core-sounds-en-wav (tools/setup.sh run)');
  const hour = path.join(out, 'hour.mp3');
  if (!existsSync(hour) || statSync(hour).size < 1e6)
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-stream_loop', '-1', '-i', `${prompts}/demo-congrats.wav`, '-t', '3600', '-ar', '44100', '-ac', '2', '-b:a', '128k', hour]);
  return { '1 recording': short.slice(0, 1), '100 recordings': short, '60-minute mp3': [hour] };
}

// Runs pinned to one core; `times` of the shell tells the CPU of everything below it.
function timed(command, args) {
  const start = process.hrtime.bigint();
  const r = spawnSync('taskset', ['-c', cpu, 'bash', '-c', '"$@" >"$OUT"; times >&2', 'bash', command, ...args],
    { encoding: 'utf8', env: { ...process.env, OUT: path.join(out, 'answers.txt'), LC_ALL: 'C' }, maxBuffer: 1 << 28 });
  const wall = Number(process.hrtime.bigint() - start) / 1e9;
  const seconds = [...r.stderr.matchAll(/(\d+)m([\d.]+)s/g)].map((m) => Number(m[1]) * 60 + Number(m[2]));
  if (seconds.length < 4) throw new Error(r.stderr);
  return { wall, cpu: seconds.at(-2) + seconds.at(-1), answers: readFileSync(path.join(out, 'answers.txt'), 'utf8') };
}

const median = (v) => [...v].sort((a, b) => a - b)[v.length >> 1];
const contestants = {
  sonde: (files) => timed(sonde, ['detect', '-q', '-j', '1', '--json', ...files]),
  'ffmpeg + ONNX Runtime': (files) => timed(process.execPath, [path.join(bench, 'pipeline.mjs'), onnx, ...files]),
};
const ffmpeg = spawnSync('ffmpeg', ['-version'], { encoding: 'utf8' }).stdout.split(' ')[2];
const ort = JSON.parse(readFileSync(path.join(bench, 'node_modules/onnxruntime-node/package.json'))).version;
console.log(`${new Date().toISOString().slice(0, 10)}, ${cpus()[0].model}, one core, ${rounds} rounds; ffmpeg ${ffmpeg}, onnxruntime ${ort}, node ${process.version}`);
const results = [];
for (const [set, files] of Object.entries(recordings())) {
  const runs = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const [name, run] of Object.entries(contestants)) runs[name].push(run(files));
  const row = { set };
  for (const [name, list] of Object.entries(runs)) row[name] = { cpu_s: median(list.map((r) => r.cpu)), wall_s: median(list.map((r) => r.wall)) };
  const [a, b] = Object.values(row).slice(1);
  console.log(`${set.padEnd(16)} sonde ${a.cpu_s.toFixed(2)} s CPU, ${a.wall_s.toFixed(2)} s wall; ffmpeg + ONNX Runtime ${b.cpu_s.toFixed(2)} s CPU, ${b.wall_s.toFixed(2)} s wall: ` +
    `${(b.cpu_s / a.cpu_s).toFixed(1)}× the CPU, ${(b.wall_s / a.wall_s).toFixed(1)}× the time${set === '60-minute mp3' ? `; sonde at ${Math.round(3600 / a.wall_s)}× real time` : ''}`);
  results.push(row);
}
writeFileSync(path.join(out, 'whole.json'), `${JSON.stringify({ ffmpeg, ort, results }, null, 2)}\n`);
