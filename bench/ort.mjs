// Times a network in ONNX Runtime on one thread; prints JSON.
//
//     node bench/ort.mjs MODEL.onnx SHAPE [INPUT.f32] [--iterations N]
//
// SHAPE is the input's, as in 1x1x128x384; without INPUT.f32 the input is a fixed noise. Times are CPU time
// of the process over all iterations, and wall time of each.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const ort = require('onnxruntime-node');

const args = process.argv.slice(2);
const at = args.indexOf('--iterations');
const iterations = at >= 0 ? Number(args.splice(at, 2)[1]) : 30;
const [model, shape, file] = args;
if (!model || !shape || !(iterations > 0)) {
  console.error('usage: ort.mjs MODEL.onnx SHAPE [INPUT.f32] [--iterations N]');
  process.exit(2);
}
const dims = shape.split('x').map(Number);
const count = dims.reduce((a, b) => a * b, 1);

function noise(n) {
  const x = new Float32Array(n);
  let s = 1;
  for (let i = 0; i < n; i++) {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    x[i] = ((s >>> 8) / 8388608 - 1) * 0.1;
  }
  return x;
}

function input() {
  if (!file) return noise(count);
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

const session = await ort.InferenceSession.create(model, {
  executionProviders: ['cpu'],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
});
const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', input(), dims) };

let result;
for (let i = 0; i < Math.max(2, iterations / 10); i++) result = await session.run(feeds);
const wall = [];
const cpu = process.cpuUsage();
for (let i = 0; i < iterations; i++) {
  const start = process.hrtime.bigint();
  result = await session.run(feeds);
  wall.push(Number(process.hrtime.bigint() - start) / 1e3);
}
const used = process.cpuUsage(cpu);
wall.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    runtime: `onnxruntime ${require('onnxruntime-node/package.json').version}`,
    output: Array.from(result[session.outputNames.at(-1)].data).slice(0, 4),
    iterations,
    cpu_us: (used.user + used.system) / iterations,
    min_us: wall[0],
    median_us: wall[wall.length >> 1],
  }),
);
