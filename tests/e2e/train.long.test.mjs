// The training code still describes the shipped model: its own checks pass, and PyTorch gives the golden layers that
// the engine is tested against (A8).
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, source } from './support/sonde.mjs';

const dir = scratch();
const python = '/usr/bin/python3';
const torch = spawnSync(python, ['-c', 'import torch, scipy, soundfile']).status === 0;
const skip = torch ? false : 'python3-torch, python3-scipy or python3-soundfile is not installed';

// { name: Float32Array | Int32Array } of a safetensors file.
function tensors(path) {
  const bytes = readFileSync(path), size = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + size).toString());
  const types = { F32: Float32Array, I32: Int32Array };
  return Object.fromEntries(Object.entries(header).filter(([name]) => name !== '__metadata__').map(([name, t]) => {
    const [from, to] = t.data_offsets;
    return [name, new types[t.dtype](bytes.buffer.slice(bytes.byteOffset + 8 + size + from, bytes.byteOffset + 8 + size + to))];
  }));
}

test('checks of the training code', { skip, timeout: 600_000 }, () => {
  assert.doesNotMatch(execFileSync(python, ['-m', 'train.selftest'], { cwd: source, stdio: ['ignore', 'pipe', 'pipe'] }).toString(), /skipped/);
});

test('PyTorch still gives the golden layers', { skip, timeout: 300_000 }, () => {
  const fresh = join(dir, 'layers.safetensors');
  execFileSync(python, ['-m', 'train.golden', 'models/sonde-8.safetensors', '--layers', fresh], { cwd: source, stdio: ['ignore', 'pipe', 'pipe'] });
  const [now, then] = [tensors(fresh), tensors(join(source, 'tests/golden/layers.safetensors'))];
  assert.deepEqual(Object.keys(now).sort(), Object.keys(then).sort());
  for (const name of Object.keys(then))
    then[name].forEach((value, i) => assert.ok(Math.abs(value - now[name][i]) <= 1e-4 * Math.max(1, Math.abs(value)), `${name}[${i}]`));
});
