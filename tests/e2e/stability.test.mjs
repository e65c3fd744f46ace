// `sonde detect --stability`: the panel in the table and in JSON, and what its failures do (C5).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { descendants, ffmpeg, hasHuman, humanPrompt, jsonLines, program, scratch, sonde, spawn, syntheticSpeech, verdictOf, writeWav } from './support/sonde.mjs';

const dir = scratch();
const fake = syntheticSpeech(join(dir, 'fake.wav'));
const variants = ['original', 'trim', 'mp3', 'aac', 'opus', 'narrow', 'noise'];

function checkPanel(answer) {
  const { rows, spread, flips, seconds } = answer.stability;
  assert.deepEqual(rows.map((r) => r.variant), variants);
  for (const row of rows) {
    assert.deepEqual(Object.keys(row), ['variant', 'llr', 'p_synthetic', 'verdict', 'error']);
    assert.equal(row.error, null);
    assert.equal(row.verdict, verdictOf(row.llr, answer));
    assert.ok(row.p_synthetic >= 0.01 && row.p_synthetic <= 0.99);
  }
  assert.equal(rows[0].llr, answer.llr);
  assert.equal(rows[0].verdict, answer.verdict);
  const llrs = rows.map((r) => r.llr);
  assert.ok(Math.abs(spread - (Math.max(...llrs) - Math.min(...llrs))) < 1e-5);
  assert.ok(spread > 0);
  assert.equal(flips, rows.filter((r) => r.verdict !== answer.verdict).length);
  assert.ok(Math.abs(seconds - answer.duration_s) < 1e-5);
}

test('a synthetic sentence: the panel adds up, and changes nothing else', () => {
  const args = ['detect', '--json', fake];
  const plain = JSON.parse(sonde(args).out), first = sonde([...args, '--stability']);
  const answer = JSON.parse(first.out);
  checkPanel(answer);
  assert.equal(first.code, 1);
  assert.equal(first.out, sonde([...args, '--stability']).out);
  delete answer.stability;
  assert.deepEqual(answer, plain);
});

test('a human prompt, also from standard input', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const named = JSON.parse(sonde(['detect', '--json', '--stability', humanPrompt]).out);
  checkPanel(named);
  assert.equal(named.verdict, 'human');
  const piped = JSON.parse(sonde(['detect', '--json', '--stability', '-'], { input: readFileSync(humanPrompt) }).out);
  assert.deepEqual(piped.stability, named.stability);
});

test('the table has a line per recording', () => {
  const silence = writeWav(join(dir, 'silence.wav'), new Array(48000).fill(0));
  const { out } = sonde(['detect', '--stability', fake, silence, join(dir, 'missing.wav')]);
  assert.match(out, /fake\.wav\n(?: +synthetic parts.*\n)? +stability: LLR [+-]\d+\.\d\d, spread \d+\.\d over trim mp3 aac opus narrow noise, verdict (stays|flips with [a-z0-9 ]+)\n/);
  assert.match(out, /silence\.wav\n +no speech.*\n +stability: no score to compare, verdict stays\n/);
  assert.equal(out.match(/stability:/g).length, 2);
  assert.doesNotMatch(sonde(['detect', fake]).out, /stability/);
});

test('in a long recording the first minutes are looked at, and the answer says so', () => {
  const long = join(dir, 'long.wav'); // most of it silence, which is coded fast
  ffmpeg('-i', fake, '-af', 'apad=whole_dur=330', long);
  assert.match(sonde(['detect', '--stability', long]).out, /stability: .*\(first 300 s\)\n/);
});

test('it has no place in CSV', () => {
  const { code, err } = sonde(['detect', '--csv', '--stability', fake]);
  assert.equal(code, 2);
  assert.match(err, /--stability has no columns in --csv/);
  assert.match(sonde(['detect', '--help']).out, /--stability +also score each recording after small changes/);
});

test('a decoder that dies in one variant fails that row only', async () => {
  const long = join(dir, 'killed.wav');
  ffmpeg('-stream_loop', '60', '-i', fake, '-t', '50', '-c', 'copy', long);
  const child = spawn(program, ['detect', '--json', '--stability', long], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (d) => { out += d; });
  const ended = new Promise((done) => { child.on('close', done); });
  // Children of the decoder program in the order of the passes: the detection, original, trim, mp3 …
  const seen = new Set();
  let killed = 0;
  while (!killed && child.exitCode === null) {
    for (const pid of descendants(child.pid).slice(1)) {
      seen.add(pid);
      if (seen.size === 4) {
        process.kill(pid, 'SIGKILL');
        killed = pid;
        break;
      }
    }
    await new Promise((r) => { setTimeout(r, 2); });
  }
  await ended;
  assert.ok(killed, 'the fourth decoder was never seen');
  const [answer] = jsonLines(out);
  const failed = answer.stability.rows.filter((r) => r.error);
  assert.equal(failed.length, 1);
  assert.equal(failed[0].error.code, 'decoder_died');
  assert.match(failed[0].error.text, /SIGKILL/);
  assert.ok(['mp3', 'aac', 'opus'].includes(failed[0].variant)); // a busy machine may hide a child from us
  assert.equal(failed[0].llr, null);
  assert.equal(failed[0].verdict, null);
  assert.equal(answer.verdict, answer.stability.rows[0].verdict);
});
