// The product as a user starts it: one command, one upload, one answer (A1, A2, A3, A4, A7).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasHuman, humanPrompt, scratch, sonde, syntheticSpeech } from './support/sonde.mjs';
import { ask, finished, serve, upload } from './support/serve.mjs';

const dir = scratch();
const server = await serve();

test('a human recording goes from upload to answer', { skip: !hasHuman && 'asterisk prompts are not installed' }, async () => {
  const sent = await upload(server, humanPrompt);
  assert.equal(sent.status, 202);
  assert.equal(sent.headers.get('location'), `/api/v1/analyses/${sent.body.id}`);
  const status = await finished(server, sent.body.id);
  assert.deepEqual(Object.keys(status).sort(), ['error', 'id', 'probability', 'progress', 'status', 'verdict']);
  assert.equal(status.verdict, 'human');
  const [line] = JSON.parse(`[${sonde(['detect', '--json', humanPrompt]).out}]`);
  assert.equal(status.probability, Number(line.p_synthetic.toPrecision(6)));
});

test('a synthetic recording is answered in the same request, when asked to wait', async () => {
  const wav = syntheticSpeech(join(dir, 'it.wav'));
  const done = await upload(server, wav, { wait: 30 });
  assert.equal(done.status, 200);
  assert.equal(done.headers.get('preference-applied'), 'wait');
  assert.equal(done.body.verdict, 'synthetic');
  const [line] = JSON.parse(`[${sonde(['detect', '--json', wav]).out}]`);
  delete line.file;
  assert.deepEqual(done.body.result, line); // the very answer of the command line
  assert.equal(done.body.file.sha256, line.sha256);
});

test('the same bytes again are answered from the first analysis, and say so', async () => {
  const wav = join(dir, 'it.wav');
  const again = await upload(server, wav, { wait: 30 });
  assert.match(again.body.reused_from, /^[0-9a-f-]{36}$/);
  const picture = await ask(server, again.body.links.picture);
  assert.equal(picture.status, 200);
  const fresh = await upload(server, wav, { wait: 30, path: '/upload?fresh=1' });
  assert.equal(fresh.body.reused_from, null);
  assert.equal(fresh.body.llr, again.body.llr);
});

test('metrics count it, and the process says it is ready', async () => {
  const metrics = (await ask(server, '/metrics')).text;
  assert.match(metrics, /^sonde_analyses_total\{outcome="done"\} [1-9]/m);
  assert.match(metrics, /^sonde_verdicts_total\{verdict="synthetic"\} [1-9]/m);
  const ready = await ask(server, '/readyz');
  assert.equal(ready.status, 200);
  assert.deepEqual(ready.body.checks.map((c) => [c.name, c.ok]),
    ['model', 'db', 'blob', 'queue', 'cache'].map((name) => [name, true]));
});

test('it ends on SIGTERM within seconds, and the folder is clean', async () => {
  const end = await server.stop();
  assert.deepEqual(end, { code: 0, signal: null });
  const doctor = sonde(['doctor', '--deep', '--data', server.data]);
  assert.equal(doctor.code, 0, doctor.out);
});
