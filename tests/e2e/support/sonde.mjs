// What the end-to-end tests share: running the program, sample recordings, a folder that goes away.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after } from 'node:test';

export const source = process.env.SONDE_SOURCE ?? resolve(dirname(new URL(import.meta.url).pathname), '../../..');
export const build = process.env.SONDE_BUILD ?? join(source, 'build');
export const program = join(build, 'sonde');
export const shared = resolve(source, '..', 'shared');
export const corpus = join(shared, 'corpus');

// A folder for this test file, removed at its end.
export function scratch() {
  const dir = mkdtempSync(join(tmpdir(), 'sonde-e2e-'));
  after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

// Runs sonde to its end; every run is bounded in time.
export function sonde(args, { input, env, cwd, timeout = 180_000, command = program } = {}) {
  const r = spawnSync(command, args, { input, cwd, timeout, killSignal: 'SIGKILL', maxBuffer: 1 << 28,
    env: { ...process.env, ...env } });
  if (r.error) throw r.error;
  return { code: r.status, signal: r.signal, out: r.stdout.toString(), err: r.stderr.toString() };
}

export const jsonLines = (text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line));

// The verdict that an LLR gets where no other reason decides.
export const verdictOf = (llr, { human_below, synthetic_from }) =>
  llr >= synthetic_from ? 'synthetic' : llr < human_below ? 'human' : 'inconclusive';

export function ffmpeg(...args) {
  execFileSync('ffmpeg', ['-v', 'error', '-y', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

const sentence = 'The committee will publish its findings early next week. Until then, all of the members have agreed ' +
  'not to comment on the case, and they ask everybody to be patient.';

// A synthetic sentence (eSpeak NG), as 16-bit wav. This voice, and the human prompt below, are ones that the shipped
// model is sure of: tests of decoding and of the program need an answer that does not hang by a thread. How often the
// model is right is measured on the corpus.
export function syntheticSpeech(path) {
  execFileSync('espeak-ng', ['-v', 'it', '-w', path, sentence]);
  return path;
}

// A human voice prompt from Debian's Asterisk sounds, 8 kHz wav, 7 s.
export const humanPrompt = '/usr/share/asterisk/sounds/en_US_f_Allison/queue-periodic-announce.wav';
export const hasHuman = existsSync(humanPrompt);

// A PCM wav of any numbers: samples is an array of channel-interleaved values in -1..1.
export function writeWav(path, samples, { rate = 16000, channels = 1, float = false, claim } = {}) {
  const width = float ? 4 : 2, data = Buffer.alloc(samples.length * width);
  samples.forEach((x, i) => (float ? data.writeFloatLE(x, i * 4) : data.writeInt16LE(Math.round(x * 32767), i * 2)));
  const head = Buffer.alloc(44);
  head.write('RIFF', 0); head.writeUInt32LE(36 + data.length, 4); head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16); head.writeUInt16LE(float ? 3 : 1, 20); head.writeUInt16LE(claim ?? channels, 22);
  head.writeUInt32LE(rate, 24); head.writeUInt32LE(rate * channels * width, 28);
  head.writeUInt16LE(channels * width, 32); head.writeUInt16LE(width * 8, 34);
  head.write('data', 36); head.writeUInt32LE(data.length, 40);
  writeFileSync(path, Buffer.concat([head, data]));
  return path;
}

// Processes whose parent is `pid`, and theirs.
export function descendants(pid) {
  const children = (p) => {
    try {
      return readFileSync(`/proc/${p}/task/${p}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number);
    } catch { return []; }
  };
  const all = [];
  for (const child of children(pid)) all.push(child, ...descendants(child));
  return all;
}

export { spawn };
