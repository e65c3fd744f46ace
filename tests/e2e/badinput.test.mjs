// Each kind of bad input gives its own clear error or verdict; never a crash, a hang or a wrong success.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ffmpeg, jsonLines, program, scratch, sonde, syntheticSpeech, writeWav } from './support/sonde.mjs';

const dir = scratch();
const fake = syntheticSpeech(join(dir, 'fake.wav'));
const file = (name, bytes) => { const path = join(dir, name); writeFileSync(path, bytes); return path; };
// The answers of one run, in the order of its files.
const detectAll = (paths, ...args) => {
  const r = sonde(['detect', '--json', ...args, ...paths]);
  assert.equal(r.signal, null);
  assert.ok([0, 1, 3].includes(r.code), `exit code ${r.code}: ${r.err}`);
  const results = jsonLines(r.out);
  assert.deepEqual(results.map((one) => one.file), paths, r.err);
  return results;
};
const detect = (path, ...args) => detectAll([path], ...args)[0];
const errorOf = (path, ...args) => detect(path, ...args).error?.code;
// A reproducible stream of numbers in 0..1.
const random = (seed) => () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;

test('empty', () => assert.equal(errorOf(file('empty.wav', '')), 'empty_file'));
test('text named .wav', () => assert.equal(errorOf(file('text.wav', 'This is a letter, not a recording.\n'.repeat(50))), 'not_audio'));
test('random bytes', () => {
  const r = random(5);
  assert.equal(errorOf(file('random.mp3', Buffer.from(Array.from({ length: 100_000 }, () => r() * 256)))), 'not_audio');
});
test('a picture', () => {
  ffmpeg('-f', 'lavfi', '-i', 'testsrc=size=64x64', '-frames:v', '1', join(dir, 'picture.png'));
  assert.ok(['not_audio', 'no_audio_track'].includes(errorOf(join(dir, 'picture.png'))));
});
test('a film without sound', () => {
  ffmpeg('-f', 'lavfi', '-i', 'testsrc=size=64x64:rate=5:duration=2', '-c:v', 'mpeg4', join(dir, 'mute.mp4'));
  assert.equal(errorOf(join(dir, 'mute.mp4')), 'no_audio_track');
});
test('a missing file', () => assert.equal(errorOf(join(dir, 'nowhere.wav')), 'not_found'));
test('a device', () => assert.equal(errorOf('/dev/zero'), 'not_a_regular_file'));
test('a FIFO does not hang', () => {
  execFileSync('mkfifo', [join(dir, 'fifo.wav')]);
  assert.equal(errorOf(join(dir, 'fifo.wav')), 'not_a_regular_file');
});
test('a folder without recordings', () => {
  mkdirSync(join(dir, 'nothing'));
  const r = sonde(['detect', join(dir, 'nothing')]);
  assert.equal(r.code, 3);
  assert.match(r.err, /no recordings there/);
});
test('no permission', () => {
  const path = writeWav(join(dir, 'secret.wav'), [0, 0]);
  chmodSync(path, 0o000);
  chmodSync(dir, 0o755);
  const args = ['detect', '--json', path];
  const r = process.getuid() === 0
    ? spawnSync('setpriv', ['--reuid', '65534', '--regid', '65534', '--clear-groups', program, ...args], { timeout: 180_000 })
    : spawnSync(program, args, { timeout: 180_000 });
  assert.equal(JSON.parse(r.stdout.toString()).error.code, 'permission_denied');
});
test('one sample', () => {
  const result = detect(writeWav(join(dir, 'one.wav'), [0.5]));
  assert.equal(result.verdict, 'inconclusive');
  assert.equal(result.reasons[0].code, 'no_speech');
});
test('a header without samples', () => {
  const result = detect(writeWav(join(dir, 'none.wav'), []));
  assert.equal(result.verdict ?? result.error.code, result.verdict ? 'inconclusive' : 'damaged_audio');
});
test('192 kHz', () => {
  ffmpeg('-i', fake, '-ar', '192000', join(dir, 'fast.wav'));
  assert.equal(detect(join(dir, 'fast.wav')).verdict, detect(fake).verdict);
});
test('0 channels', () => {
  const error = errorOf(writeWav(join(dir, 'zero.wav'), new Array(16000).fill(0.1), { claim: 0 }));
  assert.ok(['unsupported_codec', 'damaged_audio', 'not_audio', 'no_audio_track'].includes(error), error);
});
test('64 channels', () => {
  const channels = 64, samples = new Array(channels * 8000).fill(0);
  const result = detect(writeWav(join(dir, 'many.wav'), samples, { channels }));
  assert.ok(result.error?.code === 'unsupported_codec' || result.verdict === 'inconclusive', JSON.stringify(result));
});
test('NaN and infinite floats', () => {
  const samples = Array.from({ length: 48000 }, (_, i) => (i % 3 === 0 ? NaN : i % 7 === 0 ? Infinity : 0));
  const result = detect(writeWav(join(dir, 'nan.wav'), samples, { float: true }));
  assert.equal(result.verdict, 'inconclusive');
  assert.ok(result.reasons.some((r) => r.code === 'damaged'));
});
test('2 hours of silence', () => {
  ffmpeg('-f', 'lavfi', '-i', 'anullsrc=r=8000:cl=mono', '-t', '7200', '-c:a', 'flac', join(dir, 'silence.flac'));
  const result = detect(join(dir, 'silence.flac'));
  assert.equal(result.duration_s, 7200);
  assert.equal(result.reasons[0].code, 'no_speech');
});
test('a FLAC that unpacks to hours stops at the limit', () => {
  assert.equal(errorOf(join(dir, 'silence.flac'), '--max-seconds', '10m'), 'too_long');
});
test('nothing but damage', () => {
  ffmpeg('-i', fake, join(dir, 'whole.flac'));
  const flac = readFileSync(join(dir, 'whole.flac'));
  flac.fill(0xaa, 9000);
  const result = detect(file('torn.flac', flac));
  assert.ok(result.error || result.reasons.some((r) => r.code === 'damaged' || r.code === 'truncated'), JSON.stringify(result));
});
for (const [name, ...options] of [['t.wav'], ['t.flac'], ['t.mp3'], ['t.ogg'], ['t.opus'], ['t.m4a'], ['t.webm'], ['t.wma'], ['t.aiff']]) {
  test(`${name} cut off at 40 points`, () => {
    const path = join(dir, name), r = random(11);
    ffmpeg('-i', fake, ...options, path);
    const whole = detect(path), bytes = readFileSync(path);
    const cuts = Array.from({ length: 40 }, () => Math.floor(r() * bytes.length));
    const results = detectAll(cuts.map((at, i) => file(`cut-${i}-${name}`, bytes.subarray(0, at))));
    for (const [i, at] of cuts.entries()) {
      const result = results[i];
      const where = `cut at ${at} of ${bytes.length}: ${JSON.stringify({ ...result, timeline: undefined })}`;
      if (result.error) {
        assert.ok(['empty_file', 'not_audio', 'no_audio_track', 'damaged_audio', 'unsupported_codec'].includes(result.error.code), where);
      } else {
        assert.ok(result.duration_s <= whole.duration_s + 0.1, where);
        // A success on half a file must not look like a success on the whole.
        if (result.duration_s < whole.duration_s - 0.5 && ['t.wav', 't.flac', 't.aiff', 't.m4a'].includes(name))
          assert.ok(result.reasons.some((x) => ['truncated', 'damaged', 'too_short', 'no_speech'].includes(x.code)), where);
      }
    }
  });
}
