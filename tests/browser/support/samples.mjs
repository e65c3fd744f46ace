// Recordings for the browser tests, made once per test file.
import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, ffmpeg, hasHuman, humanPrompt, scratch, syntheticSpeech, writeWav } from '../../e2e/support/sonde.mjs';

export function samples() {
  const dir = scratch();
  const at = (name) => join(dir, name);
  const synthetic = syntheticSpeech(at('generated.wav'));
  const human = at('human.wav');
  if (hasHuman) copyFileSync(humanPrompt, human);
  // Looped speech: a recording of any length that is made and decoded fast.
  const long = (name, seconds) => {
    ffmpeg('-i', synthetic, '-ac', '1', '-ar', '16000', '-b:a', '32k', at(`once-${name}`));
    ffmpeg('-stream_loop', '-1', '-i', at(`once-${name}`), '-t', String(seconds), '-c', 'copy', at(name));
    return at(name);
  };
  return {
    dir, at, synthetic, human, hasHuman, long,
    short: () => { ffmpeg('-i', synthetic, '-ss', '1', '-t', '0.6', at('short.wav')); return at('short.wav'); },
    noise: () => { writeFileSync(at('notes.mp3'), 'These are notes, not sound.\n'.repeat(200)); return at('notes.mp3'); },
    silence: (name = 'silence.wav', seconds = 3) => writeWav(at(name), Array.from({ length: 16000 * seconds }, (_, i) => (i % 7) / 1e4)),
    amr: () => { // no browser plays it
      ffmpeg('-i', synthetic, '-ar', '8000', '-ac', '1', '-f', 's16le', at('voice.s16'));
      execFileSync(join(build, 'tests', 'unit', 'amr_encode'), ['nb', at('voice.s16'), at('voice.amr')]);
      return at('voice.amr');
    },
    named: (name, from = synthetic) => { copyFileSync(from, at(name)); return at(name); },
  };
}
