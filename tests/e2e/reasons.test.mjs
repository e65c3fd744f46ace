// `sonde detect` on what carries no answer: music, noise, tones, one word; and the remarks beside a verdict (C3).
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ffmpeg, hasHuman, humanPrompt, jsonLines, scratch, sonde } from './support/sonde.mjs';

const dir = scratch();
const detect = (...files) => jsonLines(sonde(['detect', '--json', ...files]).out);

// A source for ffmpeg's lavfi, as a 16 kHz wav.
function sound(name, source, seconds = 6) {
  const path = join(dir, `${name}.wav`);
  ffmpeg('-f', 'lavfi', '-i', source, '-t', String(seconds), '-ar', '16000', '-ac', '1', path);
  return path;
}

test('no verdict on sounds that are no speech', () => {
  const sounds = {
    white: 'anoisesrc=color=white:amplitude=0.3:seed=1', pink: 'anoisesrc=color=pink:amplitude=0.3:seed=1',
    brown: 'anoisesrc=color=brown:amplitude=0.3:seed=1', tone: 'sine=frequency=1000', hum: 'sine=frequency=50',
    swelling: 'anoisesrc=color=pink:amplitude=0.6:seed=2,tremolo=f=4:d=0.9', siren: 'aevalsrc=0.4*sin(2*PI*800*t-150*cos(4*PI*t))',
    beeps: 'aevalsrc=0.3*(sin(2*PI*900*t)+sin(2*PI*1350*t))*lt(mod(t\\,0.3)\\,0.15)',
    melody: 'aevalsrc=0.2*(sin(2*PI*330*pow(2\\,mod(floor(t*5)*7\\,12)/12)*t)+0.5*sin(4*PI*330*pow(2\\,mod(floor(t*5)*7\\,12)/12)*t))*exp(-8*mod(t\\,0.2))',
    silence: 'anullsrc', busy: 'aevalsrc=0.4*sin(2*PI*425*t)*lt(mod(t\\,1)\\,0.5)',
    chord: 'aevalsrc=0.15*(sin(2*PI*262*t)+sin(2*PI*330*t)+sin(2*PI*392*t)+sin(2*PI*784*t))*(0.3+0.7*exp(-6*mod(t\\,0.5)))',
  };
  for (const [name, source] of Object.entries(sounds)) {
    const [result] = detect(sound(name, source));
    assert.equal(result.verdict, 'inconclusive', name);
    const decider = result.reasons.find((r) => r.decides);
    assert.ok(decider && ['no_speech', 'music', 'too_short', 'low_snr'].includes(decider.code), `${name}: ${JSON.stringify(decider)}`);
  }
});

test('speech over quiet music has its verdict, and the music alone has none', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const music = sound('bed', 'aevalsrc=0.15*(sin(2*PI*262*pow(2\\,mod(floor(t*2)*7\\,12)/12)*t)+sin(2*PI*330*t)+sin(2*PI*392*t))*(0.3+0.7*exp(-6*mod(t\\,0.5)))', 40);
  const both = join(dir, 'over-music.wav');
  ffmpeg('-i', humanPrompt, '-i', music, '-filter_complex', '[1]volume=-20dB[m];[0][m]amix=inputs=2:duration=first:normalize=0', both);
  const [over, alone] = detect(both, music);
  assert.equal(over.verdict, 'human');
  assert.ok(!over.reasons.some((r) => r.code === 'music'));
  assert.equal(alone.verdict, 'inconclusive');
});

test('one word between stretches of noise is no more than one word', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const path = join(dir, 'word.wav');
  ffmpeg('-i', humanPrompt, '-f', 'lavfi', '-i', 'anoisesrc=color=white:amplitude=0.004:seed=3:r=8000:d=6', '-filter_complex',
    '[0]atrim=0.3:0.9,adelay=2500,apad=whole_dur=6[w];[w][1]amix=inputs=2:duration=longest:normalize=0', '-t', '6', path);
  const [result] = detect(path);
  assert.equal(result.verdict, 'inconclusive');
  assert.ok(result.speech_s > 0.2 && result.speech_s < 1.2, `${result.speech_s} s of speech`);
});

test('one word is too short; a whole prompt is not, and is told to be a telephone band', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const word = join(dirname(humanPrompt), 'digits', '7.wav');
  if (existsSync(word)) assert.equal(detect(word)[0].verdict, 'inconclusive');
  const [whole] = detect(humanPrompt);
  assert.equal(whole.verdict, 'human');
  const narrow = whole.reasons.find((r) => r.code === 'narrow_band');
  assert.ok(narrow && !narrow.decides && narrow.measured < 4400 && narrow.unit === 'Hz');
});

test('noise and clipping are remarks first, then decide', { skip: hasHuman ? false : 'asterisk sounds are not installed' }, () => {
  const loud = join(dir, 'clipped.wav'), louder = join(dir, 'cut.wav'), noisy = join(dir, 'noisy.wav');
  ffmpeg('-i', humanPrompt, '-af', 'volume=15dB', loud);
  ffmpeg('-i', humanPrompt, '-af', 'volume=36dB', louder);
  ffmpeg('-i', humanPrompt, '-f', 'lavfi', '-i', 'anoisesrc=color=white:amplitude=0.08:seed=2:r=8000', '-filter_complex', 'amix=inputs=2:duration=first:normalize=0', noisy);
  const find = (file, code) => detect(file)[0].reasons.find((r) => r.code === code);
  assert.equal(find(loud, 'clipped')?.decides, false);
  assert.equal(find(louder, 'clipped')?.decides, true);
  assert.ok(find(noisy, 'low_snr'));
  assert.equal(find(humanPrompt, 'clipped'), undefined);
  assert.equal(find(humanPrompt, 'low_snr'), undefined);
});
