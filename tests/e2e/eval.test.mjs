// `sonde eval`: figures, groups, score table, picture (C8).
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { corpus, hasHuman, jsonLines, scratch, sonde } from './support/sonde.mjs';

const dir = scratch();
const prompts = '/usr/share/asterisk/sounds/en_US_f_Allison';
const set = join(dir, 'set');

function makeSet() {
  mkdirSync(join(set, 'bonafide', 'allison'), { recursive: true });
  mkdirSync(join(set, 'spoof', 'espeak'), { recursive: true });
  const long = readdirSync(prompts).filter((f) => /^(demo|vm|conf|agent|queue)-.*\.wav$/.test(f)).slice(0, 12);
  for (const name of long) copyFileSync(join(prompts, name), join(set, 'bonafide', 'allison', name));
  for (let i = 0; i < 12; i++)
    execFileSync('espeak-ng', ['-p', String(20 + 5 * i), '-w', join(set, 'spoof', 'espeak', `${i}.wav`),
      'Please leave your message after the tone. When you are done, hang up or press the pound key for more options.']);
  writeFileSync(join(set, 'spoof', 'espeak', 'broken.wav'), 'not audio');
}

test('a labelled folder: JSON, scores, picture', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  makeSet();
  const svg = join(dir, 'plot.svg'), scores = join(dir, 'scores.tsv');
  const r = sonde(['eval', '--json', '--svg', svg, '--scores', scores, set]);
  assert.equal(r.code, 3); // one file is broken
  assert.match(r.err, /broken\.wav/);
  const report = JSON.parse(r.out);
  for (const key of ['eer', 'auc', 'cllr', 'min_cllr', 'threshold', 'fpr', 'fnr', 'n_bonafide', 'n_spoof', 'n_inconclusive', 'n_failed', 'by', 'model'])
    assert.ok(key in report, key);
  assert.equal(report.n_bonafide, 12);
  assert.equal(report.n_failed, 1);
  assert.ok(report.eer >= 0 && report.eer <= 1 && report.min_cllr <= report.cllr + 1e-9);
  const rows = readFileSync(scores, 'utf8').trimEnd().split('\n');
  assert.equal(rows.length, 1 + 25);
  assert.match(rows[0], /^path\tlabel\tllr\tp_synthetic\tverdict/);
  assert.match(readFileSync(svg, 'utf8'), /^<\?xml|^<svg/);
  // The scores are those of `sonde detect`.
  const row = rows.find((x) => x.includes('espeak/0.wav')).split('\t');
  const [detected] = jsonLines(sonde(['detect', '--json', join(set, 'spoof', 'espeak', '0.wav')]).out);
  assert.ok(Math.abs(Number(row[2]) - detected.llr) < 1e-4);
  assert.match(sonde(['eval', set]).out, /EER/);
});

test('the same as a manifest, with a filter', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const rows = ['path\tlabel\tsplit\tsystem'];
  for (const name of readdirSync(join(set, 'bonafide', 'allison'))) rows.push(`bonafide/allison/${name}\thuman\ta\thuman`);
  for (let i = 0; i < 12; i++) rows.push(`spoof/espeak/${i}.wav\tspoof\t${i < 6 ? 'a' : 'b'}\tespeak-ng`);
  writeFileSync(join(set, 'manifest.tsv'), rows.join('\n') + '\n');
  const report = JSON.parse(sonde(['eval', '--json', join(set, 'manifest.tsv')]).out);
  assert.equal(report.n_spoof, 12);
  assert.equal(report.by.system.find((g) => g.name === 'espeak-ng').n, 12);
  assert.equal(JSON.parse(sonde(['eval', '--json', '--where', 'split=a', join(set, 'manifest.tsv')]).out).n_spoof, 6);
  assert.equal(sonde(['eval', '--where', 'nonsense=1', join(set, 'manifest.tsv')]).code, 2);
});

test('a bad manifest is refused with its line', () => {
  const path = join(dir, 'bad.tsv');
  writeFileSync(path, 'path\tlabel\na.wav\thuman\nb.wav\tmaybe\n');
  const r = sonde(['eval', path]);
  assert.equal(r.code, 2);
  assert.match(r.err, /line 3/);
});

test('the shipped model holds on the validation corpus: EER at most 25 % (A8)', { skip: existsSync(join(corpus, 'manifest.tsv')) ? false : '../shared/corpus is not there' }, () => {
  const report = JSON.parse(sonde(['eval', '--json', '--where', 'split=valid', join(corpus, 'manifest.tsv')], { timeout: 300_000 }).out);
  assert.equal(report.n_bonafide + report.n_spoof, 744);
  assert.equal(report.n_failed, 0);
  assert.ok(report.eer <= 0.25, `EER ${report.eer}`);
});
