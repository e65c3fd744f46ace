// The decoder process dies: that file alone fails, and nothing is left behind (C9).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { descendants, ffmpeg, jsonLines, program, scratch, sonde, spawn, syntheticSpeech } from './support/sonde.mjs';

const dir = scratch();
const fake = syntheticSpeech(join(dir, 'fake.wav'));
// 20 minutes, so that there is time to kill somebody.
ffmpeg('-stream_loop', '150', '-i', fake, '-t', '1200', '-b:a', '64k', join(dir, 'long.mp3'));

// Ended, or ended and only waiting for init to notice.
function gone(pid) {
  try { return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); } catch { return true; }
}

async function killDuring(args, choose) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  child.stdout.on('data', (d) => { out += d; });
  const ended = new Promise((done) => child.on('close', (code) => done(code)));
  const family = new Set();
  for (let i = 0; i < 400; i++) {
    descendants(child.pid).forEach((pid) => family.add(pid));
    const victim = choose(child.pid);
    if (victim) { await sleep(100); try { process.kill(victim, 'SIGKILL'); } catch { /* too late */ } break; }
    await sleep(10);
  }
  const code = await ended;
  await sleep(200);
  for (const pid of family) assert.ok(gone(pid), 'a process was left behind');
  return { code, results: jsonLines(out) };
}

// sonde -> decoder -> one child per recording
const recordingChild = (pid) => descendants(pid)[1];

test('killing the child in the middle fails that recording alone', async () => {
  const { results } = await killDuring(['detect', '--json', '-j', '1', join(dir, 'long.mp3'), fake], recordingChild);
  assert.equal(results[0].error.code, 'decoder_died');
  assert.match(results[0].error.text, /signal|kill/i);
  assert.equal(results[1].error, undefined);
  assert.equal(results[1].verdict, JSON.parse(sonde(['detect', '--json', fake]).out).verdict);
});

test('killing the decoder program fails what it had in hand; the next recording works', async () => {
  const { results } = await killDuring(['detect', '--json', '-j', '1', join(dir, 'long.mp3'), fake],
    (pid) => (recordingChild(pid) ? descendants(pid)[0] : undefined));
  assert.equal(results[0].error.code, 'decoder_died');
  assert.equal(results[1].error, undefined);
});

test('killing sonde leaves no process behind', async () => {
  const { code } = await killDuring(['detect', '--json', join(dir, 'long.mp3')], (pid) => (recordingChild(pid) ? pid : undefined));
  assert.equal(code, null);
});

test('without a decoder the error says what is missing', () => {
  const r = sonde(['detect', fake], { env: { SONDE_DECODER: '/nowhere/sonde-decoder' } });
  assert.equal(r.code, 3);
  assert.match(r.out + r.err, /sonde-decoder/);
});
