// `sonde detect` as its user meets it: table, JSON, CSV, folders, standard input, exit codes (A8, C1, C4).
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { ffmpeg, hasHuman, humanPrompt, jsonLines, scratch, sonde, syntheticSpeech, verdictOf, writeWav } from './support/sonde.mjs';

const dir = scratch();
const fake = syntheticSpeech(join(dir, 'fake.wav'));
const silence = writeWav(join(dir, 'silence.wav'), new Array(48000).fill(0));

test('one JSON object per file with every promised key', () => {
  const { out, code } = sonde(['detect', '--json', fake, silence]);
  const [first, second] = jsonLines(out);
  for (const key of ['file', 'sha256', 'verdict', 'p_synthetic', 'llr', 'threshold', 'human_below', 'synthetic_from', 'reasons', 'duration_s', 'speech_s', 'timeline', 'synthetic_parts', 'media', 'prior', 'bytes', 'model'])
    assert.ok(key in first, key);
  assert.equal(first.sha256, createHash('sha256').update(readFileSync(fake)).digest('hex'));
  assert.ok(first.human_below <= first.threshold && first.threshold <= first.synthetic_from);
  assert.equal(first.verdict, verdictOf(first.llr, first));
  assert.ok(first.p_synthetic >= 0.01 && first.p_synthetic <= 0.99);
  assert.ok(first.timeline.length > 1);
  assert.equal(first.timeline[0].start_s, 0);
  assert.ok(Math.abs(first.timeline.at(-1).end_s - first.duration_s) < 1e-3);
  assert.ok(first.synthetic_parts.length > 0 && first.synthetic_parts.every((p) => p.end_s > p.start_s && p.llr >= first.threshold));
  const channel = first.rates.find((r) => r.by === 'channel');
  assert.equal(channel.name, first.band_edge_hz < 4400 ? 'narrow band' : 'wide band');
  for (const r of first.rates) assert.ok(r.false_alarm_low <= r.false_alarm && r.false_alarm < r.false_alarm_high && r.human >= 20, JSON.stringify(r));
  assert.equal(second.verdict, 'inconclusive');
  assert.equal(second.reasons[0].code, 'no_speech');
  assert.equal(second.llr, null);
  assert.equal(code, first.verdict === 'synthetic' ? 1 : 3);
});

test('eSpeak is called synthetic, a human prompt human; exit codes tell', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  assert.equal(sonde(['detect', '--json', fake]).code, 1);
  const human = sonde(['detect', '--json', humanPrompt]);
  assert.equal(JSON.parse(human.out).verdict, 'human');
  assert.equal(human.code, 0);
  assert.equal(sonde(['detect', humanPrompt, silence]).code, 3);
  assert.equal(sonde(['detect', humanPrompt, fake, silence]).code, 1);
});

test('a person reads a table with the rates of the threshold below', () => {
  const { out } = sonde(['detect', fake, silence, join(dir, 'missing.wav')]);
  assert.match(out, /^VERDICT +SYNTHETIC +LLR +SPEECH +FILE\n/);
  assert.match(out, /inconclusive .*silence\.wav\n +no speech was found/);
  assert.match(out, /failed .*missing\.wav\n +cannot open: No such file or directory \(check the path\)/);
  assert.match(out, /3 recordings: \d human, \d synthetic, 1 inconclusive, 1 failed/);
  assert.match(out, /Synthetic from LLR \+\d\.\d\d on, human below -\d\.\d\d, with much speech from and below -\d\.\d\d;/);
  assert.match(out, /calls \d+ % of human speech synthetic and misses \d+ % of synthetic speech/);
  assert.match(out, /Too close to call are \d+ % of human and \d+ % of synthetic speech/);
});

test('CSV quotes what spreadsheets would take for formulas', () => {
  const odd = join(dir, '=1+1,"x".wav');
  copyFileSync(silence, odd);
  const { out } = sonde(['detect', '--csv', './=1+1,"x".wav', '=1+1,"x".wav'], { cwd: dir });
  const lines = out.trimEnd().split('\r\n');
  assert.equal(lines[0], 'file,sha256,verdict,p_synthetic,llr,threshold,duration_s,speech_s,reasons,error');
  assert.match(lines[1], /^"\.\/=1\+1,""x""\.wav",[0-9a-f]{64},inconclusive,,,/);
  assert.match(lines[2], /^"'=1\+1,""x""\.wav",/);
});

test('standard input', () => {
  const piped = sonde(['detect', '--json', '-'], { input: readFileSync(fake) });
  const named = sonde(['detect', '--json', fake]);
  const [a, b] = [JSON.parse(piped.out), JSON.parse(named.out)];
  assert.equal(a.file, '-');
  assert.equal(a.llr, b.llr);
  assert.equal(a.sha256, b.sha256);
  const nothing = JSON.parse(sonde(['detect', '--json', '-'], { input: '' }).out);
  assert.equal(nothing.error.code, 'empty_file');
});

test('folders recursively, other files left out by name, the same bits for any -j', () => {
  const tree = join(dir, 'tree');
  mkdirSync(join(tree, 'deep', 'er'), { recursive: true });
  for (let i = 0; i < 6; i++)
    ffmpeg('-i', fake, '-ss', String(i * 0.5), '-t', '4', join(tree, i % 2 ? 'deep/er' : '.', `clip${i}.wav`));
  writeFileSync(join(tree, 'notes.txt'), 'not audio');
  writeFileSync(join(tree, '.hidden.wav'), 'not audio');
  const one = sonde(['detect', '--json', '-j', '1', tree]);
  assert.equal(jsonLines(one.out).length, 6);
  assert.match(one.err, /1 file in folders left out/);
  for (const jobs of ['2', '5'])
    assert.equal(sonde(['detect', '--json', '-j', jobs, tree]).out, one.out);
  const all = jsonLines(sonde(['detect', '--json', '--all-files', tree]).out);
  assert.equal(all.find((r) => r.file.endsWith('notes.txt')).error.code, 'not_audio');
});

test('every instruction set agrees', () => {
  const exact = JSON.parse(sonde(['detect', '--json', '--isa', 'scalar', fake]).out);
  for (const isa of ['avx2', 'avx512', 'avx512vnni']) {
    const { code, out, err } = sonde(['detect', '--json', '--isa', isa, fake]);
    if (code === 2) { assert.match(err, /does not work here/); continue; }
    const result = JSON.parse(out);
    assert.equal(result.model.isa, isa);
    // The last one rounds to 16 bits what goes into the products: docs/adr/0007-sixteen-bits.md.
    assert.ok(Math.abs(result.llr - exact.llr) < (isa === 'avx512vnni' ? 1e-2 : 1e-3), `${isa}: ${result.llr} ${exact.llr}`);
  }
});

test('wrong usage is exit code 2 and says what to do', () => {
  for (const [args, text] of [
    [['detect'], /which recording/], [['detect', '--nonsense', fake], /unknown option '--nonsense'/],
    [['detect', '--json', '--csv', fake], /exclude each other/], [['detekt'], /unknown command 'detekt'/],
    [['detect', '-j', 'many', fake], /not a whole number/], [['detect', '--isa', 'mmx', fake], /'mmx' is none of: scalar/],
    [['eval'], /name one manifest/], [['model', 'info', 'x'], /not understood/],
  ]) {
    const r = sonde(args);
    assert.equal(r.code, 2, args.join(' '));
    assert.match(r.err, text);
    assert.equal(r.out, '');
  }
  assert.equal(sonde([]).code, 2);
});

test('help, version, man page and completion come from the same tables', () => {
  for (const args of [['--help'], ['detect', '--help'], ['eval', '--help'], ['model', 'info', '--help'], ['--version']])
    assert.equal(sonde(args).code, 0, args.join(' '));
  const man = sonde(['man']).out;
  const completion = sonde(['completion', 'bash']).out;
  for (const option of sonde(['detect', '--help']).out.matchAll(/--([a-z-]+)/g)) {
    assert.ok(man.includes(`\\-\\-${option[1].replaceAll('-', '\\-')}`) || option[1] === 'help', option[1]);
    assert.ok(completion.includes(`--${option[1]}`), option[1]);
  }
});

test('sonde model info tells what the weights are', () => {
  const info = JSON.parse(sonde(['model', 'info', '--json']).out);
  assert.match(info.sha256, /^[0-9a-f]{64}$/);
  assert.ok(info.parameters > 10_000);
  assert.equal(info.metadata.format, 'sonde-detector/1');
  assert.match(sonde(['model', 'info']).out, /threshold_llr/);
});

test('a broken or wrong model file is refused', () => {
  const bad = join(dir, 'bad.safetensors');
  writeFileSync(bad, Buffer.from('this is no model'));
  const r = sonde(['detect', '--model', bad, fake]);
  assert.equal(r.code, 3);
  assert.match(r.err, /model/);
  assert.equal(sonde(['detect', '--model', join(dir, 'none'), fake]).code, 3);
});

test('another prior moves the probability, not the LLR or the verdict', () => {
  const [half, rare] = [[], ['--prior', '0.01']].map((args) => JSON.parse(sonde(['detect', '--json', ...args, fake]).out));
  assert.equal(rare.llr, half.llr);
  assert.equal(rare.verdict, half.verdict);
  assert.equal(rare.prior, 0.01);
  const expected = 1 / (1 + Math.exp(-(rare.llr + Math.log(0.01 / 0.99))));
  assert.ok(Math.abs(rare.p_synthetic - Math.max(0.01, expected)) < 1e-5);
  assert.equal(sonde(['detect', '--prior', '1', fake]).code, 2);
  assert.equal(sonde(['detect', '--prior', 'half', fake]).code, 2);
});

test('limits have errors of their own', () => {
  const codes = (args) => JSON.parse(sonde(['detect', '--json', ...args, fake]).out).error?.code;
  assert.equal(codes(['--max-bytes', '1K']), 'too_large');
  assert.equal(codes(['--max-seconds', '2']), 'too_long');
  assert.equal(codes(['--max-seconds', '1h']), undefined);
});

test('names that are no text stay harmless', () => {
  const folder = join(dir, 'odd');
  mkdirSync(folder);
  copyFileSync(silence, Buffer.concat([Buffer.from(folder + '/b\x1b[31m'), Buffer.from([0xff]), Buffer.from('.wav')]));
  const table = sonde(['detect', folder]).out;
  assert.ok(!table.includes('\x1b') && table.includes('b?[31m?.wav'), table);
  const [result] = jsonLines(sonde(['detect', '--json', folder]).out);
  assert.ok(result.file.endsWith('b\x1b[31m\ufffd.wav'), result.file);
  assert.equal(result.verdict, 'inconclusive');
});
