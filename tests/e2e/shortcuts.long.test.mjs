// That circumstances of a recording do not stand for the label: level, silence around the speech and the container change few
// verdicts (C3). Needs the corpus.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { corpus, ffmpeg, jsonLines, scratch, sonde } from './support/sonde.mjs';

const dir = scratch();
const detect = (...files) => jsonLines(sonde(['detect', '--json', ...files], { timeout: 300_000 }).out);

const valid = existsSync(join(corpus, 'manifest.tsv'))
  ? readFileSync(join(corpus, 'manifest.tsv'), 'utf8').trim().split('\n').slice(1).map((l) => l.split('\t'))
    .filter((c) => c[1] === 'valid').filter((_, i) => i % 12 === 0).map((c) => join(corpus, c[0])) : [];

test('level, silence around and container change few verdicts', { skip: valid.length ? false : 'the corpus is not here' }, () => {
  const changes = { quieter: ['-af', 'volume=-20dB'], padded: ['-af', 'adelay=1000:all=1,apad=pad_dur=1'], flac: [] };
  const before = detect(...valid);
  for (const [name, args] of Object.entries(changes)) {
    mkdirSync(join(dir, name));
    const files = valid.map((file, i) => {
      const to = join(dir, name, `${i}.${name === 'flac' ? 'flac' : 'wav'}`);
      ffmpeg('-i', file, '-ar', '16000', '-ac', '1', '-sample_fmt', 's16', ...args, to);
      return to;
    });
    const after = detect(...files);
    const decided = before.map((b, i) => [b.verdict, after[i].verdict]).filter(([a, b]) => a !== 'inconclusive' && b !== 'inconclusive');
    const flips = decided.filter(([a, b]) => a !== b).length;
    console.log(`# ${name}: ${flips} of ${decided.length} verdicts flip`);
    assert.ok(decided.length > 40 && flips <= (name === 'padded' ? 0.15 : 0.04) * decided.length, `${name}: ${flips} of ${decided.length}`);
  }
});
