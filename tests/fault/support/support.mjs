// What the fault tests share: recordings with the answer that is right for their bytes, and a look at a data folder from
// outside, without the program.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { jsonLines, sonde, syntheticSpeech } from '../../e2e/support/sonde.mjs';
import { ask } from '../../e2e/support/serve.mjs';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
export const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
export const root = process.getuid() === 0;

// A generator of numbers in 0..1 that a printed seed repeats.
export function dice(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  next.below = (n) => Math.floor(next() * n);
  next.of = (list) => list[next.below(list.length)];
  return next;
}

// The same recording with other bytes: a chunk behind the samples that no reader looks at.
export function variant(wav, tag) {
  const text = Buffer.from(String(tag));
  const chunk = Buffer.alloc(8 + text.length + (text.length & 1));
  chunk.write('junk', 0);
  chunk.writeUInt32LE(text.length, 4);
  text.copy(chunk, 8);
  return Buffer.concat([wav, chunk]);
}

const prompts = '/usr/share/asterisk/sounds/en_US_f_Allison';

// Short recordings and files that are none, each with the answer of `sonde detect`: { name, bytes, wav, probability,
// verdict, error }. `wav`: it has variants with the same answer.
export function recordings(dir, { human = 12, long = true } = {}) {
  const files = [];
  if (existsSync(prompts)) {
    const all = readdirSync(prompts).filter((f) => f.endsWith('.wav')).sort();
    files.push(...all.filter((f) => { const n = statSync(join(prompts, f)).size; return n > 20e3 && n < 60e3; })
      .slice(0, human).map((f) => join(prompts, f)));
  }
  files.push(syntheticSpeech(join(dir, 'it.wav')));
  const say = (voice, text, name) => {
    execFileSync('espeak-ng', ['-v', voice, '-w', join(dir, name), text]);
    files.push(join(dir, name));
  };
  say('en', 'Your appointment is on Monday at nine.', 'en.wav');
  say('de', 'Bitte hinterlassen Sie eine Nachricht nach dem Ton.', 'de.wav');
  if (long) say('it', 'Il comitato pubblica i risultati, e tutti sono pregati di avere pazienza. '.repeat(12), 'long.wav');
  writeFileSync(join(dir, 'notes.wav'), 'this is a letter and no recording\n');
  writeFileSync(join(dir, 'head.wav'), Buffer.from('RIFF\xff\xff\xff\x7fWAVEfmt ', 'latin1'));
  files.push(join(dir, 'notes.wav'), join(dir, 'head.wav'));
  const heard = jsonLines(sonde(['detect', '--json', ...files], { timeout: 120_000 }).out);
  assert.equal(heard.length, files.length);
  const pool = files.map((path, i) => answer(path, heard[i]));
  // Variants are the same recording: the program says so itself.
  const probe = join(dir, 'probe.wav');
  for (const one of pool.filter((r) => r.wav)) {
    writeFileSync(probe, variant(one.bytes, 'probe 1'));
    const again = answer(probe, jsonLines(sonde(['detect', '--json', probe]).out)[0]);
    assert.deepEqual([again.probability, again.verdict], [one.probability, one.verdict], `a variant of ${one.name}`);
  }
  return pool;
}

function answer(path, line) {
  return {
    name: basename(path), bytes: readFileSync(path), wav: !line.error,
    probability: line.error || line.p_synthetic === null ? null : Number(line.p_synthetic.toPrecision(6)),
    verdict: line.error ? null : line.verdict, error: line.error?.code ?? null,
  };
}

// An analysis as the API tells it, against what is right for its bytes.
export function assertRight(analysis, right, what = analysis.id) {
  assert.equal(analysis.status, right.error ? 'failed' : 'done', `${what}: ${JSON.stringify(analysis.error)}`);
  assert.equal(analysis.error?.code ?? null, right.error, what);
  if (right.error) return;
  assert.equal(analysis.verdict, right.verdict, what);
  assert.equal(analysis.probability, right.probability, what);
}

// All analyses that the list has, page after page.
export async function everything(server) {
  const all = [];
  for (let next = ''; next !== null;) {
    const { status, body } = await ask(server, `/api/v1/analyses?limit=200${next && `&cursor=${encodeURIComponent(next)}`}`);
    assert.equal(status, 200, JSON.stringify(body));
    all.push(...body.items);
    next = body.next;
  }
  return all;
}

// Every file under a folder, as paths relative to it.
export function filesUnder(dir, at = '') {
  if (!existsSync(join(dir, at))) return [];
  return readdirSync(join(dir, at), { withFileTypes: true }).flatMap((entry) => (entry.isDirectory()
    ? filesUnder(dir, join(at, entry.name)) : [join(at, entry.name)]));
}

export function sql(data, statement) {
  const out = execFileSync('sqlite3', ['-json', join(data, 'sonde.db'), statement]).toString();
  return out ? JSON.parse(out) : [];
}

// Of a data folder that nobody uses: nothing temporary, nothing without an owner, nothing missing, nothing dead.
export function assertClean(data, { dead = 0, small = false } = {}) {
  assert.deepEqual(filesUnder(data, 'spool'), [], 'left in the spool');
  assert.deepEqual(filesUnder(data, 'blobs/tmp'), [], 'left in blobs/tmp');
  const names = (list) => list.map((path) => basename(path)).sort();
  assert.deepEqual(names(filesUnder(data, 'blobs/raw')),
    sql(data, 'SELECT id FROM uploads WHERE audio_deleted_ms IS NULL ORDER BY id').map((row) => row.id), 'stored recordings');
  const done = new Set(sql(data, "SELECT id FROM analyses WHERE status = 'done'").map((row) => row.id));
  assert.deepEqual(names(filesUnder(data, 'blobs/processed')).filter((id) => !done.has(id)), [], 'pictures of no analysis');
  const doctor = sonde(['doctor', '--deep', '--data', data]);
  const problems = doctor.out.split('\n').filter((line) => line.startsWith('PROBLEM'));
  // A disk of a few megabytes, and dead letters that are meant, are what doctor is right to complain about.
  assert.deepEqual(problems.filter((line) => !(small && /^PROBLEM +folder/.test(line)) && !(dead && /^PROBLEM +queue/.test(line))), []);
  if (!problems.length) assert.equal(doctor.code, 0, doctor.out);
  const jobs = sonde(['jobs', 'list', '--json', '--data', data]);
  assert.equal(jobs.code, 0, jobs.err);
  assert.equal(jsonLines(jobs.out).length, dead, jobs.out);
}

// Whether a process is there and is more than what nobody has waited for yet.
export function alive(pid) {
  try { return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); } catch { return false; }
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

// A zip of { name, bytes }, stored.
export function zipOf(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const { name, bytes } of files) {
    let crc = 0xffffffff;
    for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
    const both = Buffer.alloc(26); // what the local and the central header share
    both.writeUInt16LE(20, 0);
    both.writeUInt32LE((crc ^ 0xffffffff) >>> 0, 10);
    both.writeUInt32LE(bytes.length, 14);
    both.writeUInt32LE(bytes.length, 18);
    both.writeUInt16LE(name.length, 22);
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), both, Buffer.from(name), bytes);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\0', 'latin1'), both, rest, Buffer.from(name));
    at += 30 + name.length + bytes.length;
  }
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, ...directory, end]);
}
