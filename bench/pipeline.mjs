// What one would build without sonde: ffmpeg decodes each recording, ONNX Runtime runs the same detector
// (front end as a convolution with the DFT's rows, and network, in one graph) on one thread.
//
//     node bench/pipeline.mjs MODEL.onnx FILE...        prints one mean logit per file
//
// Windows stand where sonde puts them: every 30,720 samples, the last one at the end, short clips repeated.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';

const ort = createRequire(import.meta.url)('onnxruntime-node');
const WINDOW = 61_680, HOP = 30_720;
const [model, ...files] = process.argv.slice(2);

const session = await ort.InferenceSession.create(model,
  { executionProviders: ['cpu'], intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all' });

function decode(file) {
  const bytes = execFileSync('ffmpeg', ['-v', 'error', '-threads', '1', '-i', file, '-vn', '-f', 'f32le', '-ac', '1', '-ar', '16000', '-'],
    { maxBuffer: 1 << 30 });
  const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~3)));
  if (samples.length >= WINDOW) return samples;
  const filled = new Float32Array(WINDOW);
  for (let i = 0; i < WINDOW; i++) filled[i] = samples[i % samples.length];
  return filled;
}

for (const file of files) {
  const samples = decode(file);
  const starts = [];
  for (let at = 0; at + WINDOW <= samples.length; at += HOP) starts.push(at);
  if (starts.at(-1) + WINDOW < samples.length) starts.push(samples.length - WINDOW);
  let sum = 0;
  for (const at of starts) {
    const result = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', samples.subarray(at, at + WINDOW), [1, WINDOW]) });
    sum += result[session.outputNames[0]].data[0];
  }
  console.log(`${(sum / starts.length).toFixed(5)}\t${file}`);
}
