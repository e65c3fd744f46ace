// Long recordings stream: an hour of mp3 and two hours of wav stay under 100 MB resident, in every process.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { descendants, ffmpeg, program, scratch, spawn, syntheticSpeech } from './support/sonde.mjs';

const dir = scratch();
const fake = syntheticSpeech(join(dir, 'fake.wav'));

// Highest resident size of the program and all its children, MB, by VmHWM.
async function run(path) {
  const child = spawn(program, ['detect', '--json', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '', peak = 0, ended = false;
  child.stdout.on('data', (d) => { out += d; });
  child.on('close', () => { ended = true; });
  while (!ended) {
    for (const pid of [child.pid, ...descendants(child.pid)]) {
      try {
        const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
        if (match) peak = Math.max(peak, Number(match[1]) / 1024);
      } catch { /* just ended */ }
    }
    await sleep(50);
  }
  return { result: JSON.parse(out), peak };
}

for (const [name, seconds, ...options] of [['hour.mp3', 3600, '-ar', '44100', '-ac', '2', '-b:a', '128k'],
  ['two-hours.wav', 7200, '-ar', '16000', '-c:a', 'pcm_s16le']]) {
  test(`${name} under 100 MB`, async () => {
    ffmpeg('-stream_loop', '-1', '-i', fake, '-t', String(seconds), ...options, join(dir, name));
    const { result, peak } = await run(join(dir, name));
    assert.ok(Math.abs(result.duration_s - seconds) < 1, String(result.duration_s));
    assert.ok(result.timeline.length > seconds / 2);
    assert.ok(peak > 5 && peak < 100, `${peak} MB`);
    console.log(`# ${name}: ${peak.toFixed(0)} MB`);
  });
}
