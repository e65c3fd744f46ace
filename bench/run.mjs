// Compares the engine with other runtimes on one core, in alternation: A B C A B C …, so that whatever else the
// machine does meets all of them. Prints tables, writes bench/out/results.json.
//
//     node bench/run.mjs [--build DIR] [--model FILE] [--rounds N] [--cpu N] [--peers DIR]
//
// Times are CPU time of one call (for ONNX Runtime and PyTorch: of the process, per call), as the median of the
// rounds and the lowest. What is not there (Node package, torch, peers) is left out, and said.
//
// The runtimes are compared on the first network, which all of them can run; the second one, on statistics of the
// window, is the engine's own, and what both cost together stands in a row by itself.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const bench = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(bench);
const out = path.join(bench, 'out');

const options = { build: 'build', model: 'models/sonde-8.safetensors', rounds: '5', cpu: '0', peers: '../shared/peers' };
for (let i = 2; i < process.argv.length; i += 2) {
  const key = process.argv[i].replace(/^--/, '');
  if (!(key in options) || process.argv[i + 1] === undefined) {
    console.error('usage: run.mjs [--build DIR] [--model FILE] [--rounds N] [--cpu N] [--peers DIR]');
    process.exit(2);
  }
  options[key] = process.argv[i + 1];
}
const resolve = (name) => path.resolve(root, name);
const whole = resolve(options.model), model = path.join(out, 'first.safetensors');
const program = path.join(resolve(options.build), 'bench', 'bench_engine');
const input = path.join(out, 'input.f32');
const onnx = path.join(out, 'network.onnx');
const hashOf = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');

// PyTorch as fast as it gets here: a malloc that keeps its pages, no spinning threads.
const tuned = {
  ...process.env,
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: '100000000000',
  MALLOC_TOP_PAD_: '268435456',
  OMP_WAIT_POLICY: 'passive',
  OMP_NUM_THREADS: '1',
};

function pinned(command, args, env = process.env) {
  const text = execFileSync('taskset', ['-c', options.cpu, command, ...args], { encoding: 'utf8', env, cwd: root });
  return JSON.parse(text);
}

function skip(what, why) {
  console.log(`SKIP ${what}: ${why}`);
  skipped.push({ what, why });
}
const skipped = [];

// The model file without its second network (train/detail.py).
function writeFirst() {
  const bytes = readFileSync(whole), length = Number(bytes.readBigUInt64LE(0)), data = bytes.subarray(8 + length);
  const header = JSON.parse(bytes.subarray(8, 8 + length)), parts = [];
  const { detail_hidden: hidden, ...meta } = header.__metadata__, first = { __metadata__: meta };
  let at = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__' || /^(detail|gate)\./.test(name)) continue;
    const part = data.subarray(...tensor.data_offsets);
    first[name] = { ...tensor, data_offsets: [at, at + part.length] };
    parts.push(part);
    at += part.length;
  }
  const text = Buffer.from(JSON.stringify(first)), size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(model, Buffer.concat([size, text, ...parts]));
  return hidden !== undefined;
}

// The same network for the other runtime; exported anew when the model has changed.
function exportOnnx() {
  const stamp = `${onnx}.sha256`;
  const hash = hashOf(model);
  if (existsSync(onnx) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return true;
  const run = spawnSync('/usr/bin/python3', [path.join(bench, 'export_onnx.py'), model, onnx], { encoding: 'utf8' });
  if (run.status !== 0) return false;
  writeFileSync(stamp, hash);
  return true;
}

// Each: name, run() -> { parts: { label: { cpu, min } }, logit?, runtime?, detail? }, times in microseconds.
function contestants() {
  const list = [];
  const two = writeFirst(), part = (s) => ({ cpu: s.mean_us, min: s.min_us });
  const isas = pinned(program, [model, '--rounds', '3', '--dump-input', input]).map((r) => r.isa);
  for (const isa of isas.reverse()) {
    list.push({
      name: `sonde ${isa}`,
      run() {
        const [r] = pinned(program, [model, '--rounds', isa === 'scalar' ? '50' : '200', '--isa', isa]);
        return {
          parts: { 'front end': part(r.front), network: part(r.network) },
          logit: r.logit,
          detail: { peak_gmacs: r.peak_gmacs, peak16_gmacs: r.peak16_gmacs, macs: r.macs, layers: r.layers },
        };
      },
    });
  }
  if (two) {
    list.push({
      name: `sonde ${isas[0]}, both networks`,
      run() {
        const [r] = pinned(program, [whole, '--rounds', '200', '--isa', isas[0]]);
        return { parts: { 'front end': part(r.front), network: part(r.network) } };
      },
    });
  }
  const ortThere = existsSync(path.join(bench, 'node_modules', 'onnxruntime-node'));
  const ort = (file, shape, iterations, data = []) => {
    const r = pinned(process.execPath, [path.join(bench, 'ort.mjs'), file, shape, ...data, '--iterations', iterations]);
    return { parts: { network: { cpu: r.cpu_us, min: r.min_us } }, logit: data.length ? r.output[0] : undefined, runtime: r.runtime };
  };
  if (!ortThere) skip('ONNX Runtime', 'run npm ci --ignore-scripts in bench/');
  else if (!exportOnnx()) skip('ONNX Runtime on the detector', 'bench/export_onnx.py failed (python3-torch, python3-onnx?)');
  else list.push({ name: 'ONNX Runtime', run: () => ort(onnx, '1x1x128x384', '100', [input]) });

  const torch = spawnSync('/usr/bin/python3', ['-c', 'import torch'], {}).status === 0;
  if (!torch) skip('PyTorch', 'python3-torch is not installed');
  else {
    list.push({
      name: 'PyTorch (tuned)',
      run() {
        const r = pinned('/usr/bin/python3', [path.join(bench, 'torch_bench.py'), model, input, '30'], tuned);
        const part = (s) => ({ cpu: s.cpu_us, min: s.min_us });
        return { parts: { 'front end': part(r.front), network: part(r.network) }, logit: r.output[0], runtime: r.runtime };
      },
    });
  }
  for (const [name, file] of [['AASIST', 'aasist.onnx'], ['AASIST-L', 'aasist-l.onnx']]) {
    const peer = path.join(resolve(options.peers), file);
    if (!ortThere || !existsSync(peer)) skip(name, `no ${file} in the peers folder, or no ONNX Runtime`);
    else list.push({ name: `${name} in ONNX Runtime`, peer: true, run: () => ort(peer, '1x64600', '5') });
  }
  return list;
}

const median = (values) => {
  const v = [...values].sort((a, b) => a - b);
  return v.length % 2 ? v[v.length >> 1] : (v[v.length / 2 - 1] + v[v.length / 2]) / 2;
};
const ms = (us) => (us / 1000).toFixed(3);

function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => String(r[i]).length)));
  for (const [n, row] of rows.entries()) {
    console.log(row.map((c, i) => (i ? String(c).padStart(widths[i]) : String(c).padEnd(widths[i]))).join('  '));
    if (n === 0) console.log(widths.map((w) => '-'.repeat(w)).join('  '));
  }
  console.log();
}

function summarise(runs) {
  const parts = {};
  for (const label of Object.keys(runs[0].parts)) {
    parts[label] = {
      cpu_us: median(runs.map((r) => r.parts[label].cpu)),
      min_us: Math.min(...runs.map((r) => r.parts[label].min)),
    };
  }
  const total = Object.values(parts).reduce((sum, p) => sum + p.cpu_us, 0);
  return { parts, total_us: total, logit: runs[0].logit, runtime: runs[0].runtime, detail: bestDetail(runs) };
}

// Per layer: the lowest of all rounds, against the highest peak.
function bestDetail(runs) {
  if (!runs[0].detail) return undefined;
  const peak = Math.max(...runs.map((r) => r.detail.peak_gmacs));
  const peak16 = Math.max(...runs.map((r) => r.detail.peak16_gmacs)); // of Winograd's products; the same where they are fp32
  const layers = runs[0].detail.layers.map((layer, i) => ({
    name: layer.name,
    macs: layer.macs,
    computed_macs: layer.computed_macs,
    min_us: Math.min(...runs.map((r) => r.detail.layers[i].time.min_us)),
    floor_us: layer.macs / peak / 1000,
    computed_floor_us: layer.computed_macs / (layer.wino ? peak16 : peak) / 1000,
  }));
  return { peak_gmacs: peak, peak16_gmacs: peak16, macs: runs[0].detail.macs, layers };
}

mkdirSync(out, { recursive: true });
execFileSync('ninja', ['-C', resolve(options.build), 'bench/bench_engine'], { stdio: 'ignore' });
const list = contestants();
const runs = list.map(() => []);
for (let round = 0; round < Number(options.rounds); round++) {
  process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
  list.forEach((c, i) => runs[i].push(c.run()));
}
const results = list.map((c, i) => ({ name: c.name, peer: !!c.peer, ...summarise(runs[i]) }));

// In 16 bits the logit is allowed to be a little off (docs/adr/0007-sixteen-bits.md).
const sixteen = results.find((r) => r.name === 'sonde avx512vnni');
const logits = results.filter((r) => r.logit !== undefined && r !== sixteen);
const spread = Math.max(...logits.map((r) => r.logit)) - Math.min(...logits.map((r) => r.logit));
if (spread > 1e-3) throw new Error(`the runtimes disagree: logits ${logits.map((r) => `${r.name} ${r.logit}`).join(', ')}`);

const machine = {
  cpu: cpus()[0].model,
  cores: cpus().length,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  model_sha256: hashOf(whole),
};
console.log(`${machine.date}, ${machine.cpu}, one of ${machine.cores} cores, ${options.rounds} rounds, ` +
  [...new Set(results.map((r) => r.runtime).filter(Boolean))].join(', '));
console.log(`all runtimes in fp32 agree on the logit within ${spread.toExponential(1)}`);
if (sixteen) {
  const off = Math.abs(sixteen.logit - logits[0].logit);
  if (off > 1e-2) throw new Error(`16 bits are off by ${off}`);
  console.log(`in 16 bits it is off by ${off.toExponential(1)}`);
}
console.log();

const base = results[0];
table([
  ['CPU ms per window', 'front end', 'network', 'sum', `× ${base.name}`],
  ...results.map((r) => [
    r.name,
    r.parts['front end'] ? ms(r.parts['front end'].cpu_us) : '-',
    ms(r.parts.network.cpu_us),
    ms(r.total_us),
    (r.total_us / base.total_us).toFixed(2),
  ]),
]);
for (const r of results.filter((x) => x.detail)) {
  console.log(`${r.name}: peak ${r.detail.peak_gmacs.toFixed(1)} GMAC/s, of Winograd's products ${r.detail.peak16_gmacs.toFixed(1)}, floor of the network as defined ` +
    `${ms(r.detail.macs / r.detail.peak_gmacs / 1000)} ms`);
  const layers = r.detail.layers;
  const sum = (key) => layers.reduce((s, l) => s + l[key], 0);
  table([
    ['layer', 'M MACs', 'best µs', 'floor as defined', 'floor as computed', 'over it'],
    ...layers.map((l) => [
      l.name, (l.macs / 1e6).toFixed(2), l.min_us.toFixed(1), l.floor_us.toFixed(1), l.computed_floor_us.toFixed(1),
      l.computed_floor_us > 1 ? `${(l.min_us / l.computed_floor_us).toFixed(2)}×` : '',
    ]),
    ['sum', (sum('macs') / 1e6).toFixed(2), sum('min_us').toFixed(1), sum('floor_us').toFixed(1),
      sum('computed_floor_us').toFixed(1), `${(sum('min_us') / sum('computed_floor_us')).toFixed(2)}×`],
  ]);
}
writeFileSync(path.join(out, 'results.json'), `${JSON.stringify({ machine, skipped, spread, results }, null, 2)}\n`);
