// The commands beside the server: jobs, doctor, backup, restore, and what serve says of itself (A4, C1).
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { jsonLines, scratch, sonde, syntheticSpeech } from './support/sonde.mjs';
import { ask, dataFolder, finished, serve, until, upload } from './support/serve.mjs';

const dir = scratch();
const wav = syntheticSpeech(join(dir, 'it.wav'));
const env = { SONDE_QUEUE_BACKOFF: '0.1', no_proxy: '*' };
const server = await serve({ env });
const data = ['--data', server.data];
const blob = (id) => { // of the upload of an analysis: the newest file in blobs/raw
  const all = readdirSync(join(server.data, 'blobs/raw'), { recursive: true }).map((f) => join(server.data, 'blobs/raw', f)).filter((f) => statSync(f).isFile());
  assert.ok(all.length, id);
  return all.sort().at(-1);
};
const letters = () => jsonLines(sonde(['jobs', '--json', ...data]).out);

test('every command tells how it is used, and what is wrong with a call', () => {
  for (const command of ['serve', 'jobs', 'doctor', 'backup', 'restore']) {
    const help = sonde([command, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.out, new RegExp(`^Usage: sonde ${command} `));
    assert.match(help.out, /-d, --data DIR/);
    for (const bad of [['--nonsense'], ['--data']]) {
      const wrong = sonde([command, ...bad]);
      assert.deepEqual([wrong.code, wrong.out], [2, ''], `${command} ${bad}`);
      assert.match(wrong.err, /^sonde: .*(nonsense|data)/);
    }
  }
  const wrong = {
    serve: [['here'], ['--listen', 'nowhere'], ['--listen', '127.0.0.1:99999'], ['--keep-audio', 'long'], ['--keep-audio', '-1'], ['--keep-results', '0'], ['--upload-max', '0'],
      ['--upload-max', 'big'], ['--queue-max', '0'], ['--workers', '0'], ['--workers', '1000'], ['--log-format', 'xml'], ['--log-level', 'loud']],
    jobs: [['burn'], ['retry'], ['drop'], ['retry', 'x', '--all']],
    backup: [[], ['a', 'b']],
    restore: [[], ['a', 'b']],
  };
  for (const [command, calls] of Object.entries(wrong)) {
    for (const call of calls) {
      const empty = dataFolder(), r = sonde([command, ...call, '--data', empty]);
      assert.ok(r.code === 2 || (call[0] === '--listen' && r.code === 3), `${command} ${call}: ${r.code} ${r.err}`);
      assert.match(r.err, /^sonde: |"message":/, `${command} ${call}`);
    }
  }
});

test('serve: the port is taken, the data folder is in use, or cannot be one', () => {
  const taken = sonde(['serve', '--listen', `127.0.0.1:${server.port}`, '--data', dataFolder()]);
  assert.equal(taken.code, 3);
  assert.match(taken.err, /in use/);
  const used = sonde(['serve', '--listen', '127.0.0.1:0', ...data]);
  assert.equal(used.code, 3);
  assert.match(used.err, /data_in_use|in use|another sonde/);
  const file = sonde(['serve', '--listen', '127.0.0.1:0', '--data', wav]);
  assert.equal(file.code, 3);
});

test('settings come from the environment, too, and flags win', async () => {
  const other = await serve({ env: { SONDE_KEEP_AUDIO: '7', SONDE_UPLOAD_MAX: '3M' }, args: ['--upload-max', '5M'] });
  const { body } = await ask(other, '/api/v1/info');
  assert.equal(body.retention.audio_days, 7);
  assert.equal(body.limits.upload_bytes, 5 << 20);
  await other.stop();
});

test('jobs and doctor where there is no data', () => {
  const nowhere = join(dir, 'nowhere');
  for (const command of ['jobs', 'doctor']) {
    const r = sonde([command, '--data', nowhere]);
    assert.equal(r.code, 3, command);
    assert.equal(existsSync(nowhere), false, `${command} made the folder`);
  }
  assert.equal(sonde(['backup', join(dir, 'b0'), '--data', nowhere]).code, 3);
});

test('a job that fails each time becomes a dead letter; mended and tried again, it is done', async () => {
  const first = await upload(server, wav, { wait: 60 });
  assert.equal(first.body.status, 'done');
  const path = blob(first.body.id), bytes = readFileSync(path);
  truncateSync(path, 100);
  const again = await ask(server, `/api/v1/analyses/${first.body.id}/rerun`, { method: 'POST' });
  const failed = await finished(server, again.body.id);
  assert.equal(failed.error.code, 'gave_up');
  const [letter, ...rest] = await until(() => { const all = letters(); return all.length && all; });
  assert.equal(rest.length, 0);
  assert.equal(letter.body.analysis, again.body.id);
  assert.equal(letter.deliveries, 4);
  assert.match(letter.reason, /bytes/);
  assert.ok(letter.history.length >= 4);
  const shown = sonde(['jobs', ...data]);
  assert.equal(shown.code, 0);
  assert.match(shown.out, new RegExp(`${letter.id} .*analysis ${again.body.id}`));
  const away = { SONDE_BLOB_URL: 's3://127.0.0.1:9', SONDE_BLOB_KEY_ID: 'k', SONDE_BLOB_SECRET: 's' }; // the storage matters to nobody who looks at letters
  assert.deepEqual(sonde(['jobs', ...data], { env: away }), shown);
  const ill = sonde(['doctor', ...data]);
  assert.equal(ill.code, 3);
  assert.match(ill.out, /1 dead letter/);
  assert.match(ill.out, /not as uploaded/);
  writeFileSync(path, bytes);
  assert.equal(sonde(['jobs', 'retry', 'nothing', ...data]).code, 3);
  const retry = sonde(['jobs', 'retry', letter.id, ...data]);
  assert.deepEqual([retry.code, retry.out], [0, '1 dead letter put back into the queue\n']);
  const done = await until(async () => { const { body } = await ask(server, `/status?id=${again.body.id}`); return body.status === 'done' && body; });
  assert.equal(done.verdict, first.body.verdict);
  assert.deepEqual(letters(), []);
});

test('dead letters can be dropped', async () => {
  const { body: hook } = await ask(server, '/api/v1/webhooks', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ url: 'http://127.0.0.1:9/' }) });
  for (let i = 0; i < 2; i++) await ask(server, `/api/v1/webhooks/${hook.id}/test`, { method: 'POST' });
  const dead = await until(() => { const all = letters(); return all.length === 2 && all; });
  const one = sonde(['jobs', 'drop', dead[0].id, ...data]);
  assert.deepEqual([one.code, one.out], [0, '1 dead letter dropped\n']);
  assert.equal(sonde(['jobs', 'drop', dead[0].id, ...data]).code, 3);
  const all = sonde(['jobs', 'drop', '--all', ...data]);
  assert.deepEqual([all.code, all.out], [0, '1 dead letter dropped\n']);
  assert.equal(sonde(['jobs', 'retry', '--all', ...data]).out, '0 dead letters put back into the queue\n');
  await ask(server, `/api/v1/webhooks/${hook.id}`, { method: 'DELETE' });
});

test('doctor beside the server: all is well', () => {
  for (const deep of [[], ['--deep']]) {
    const r = sonde(['doctor', ...deep, ...data]);
    assert.equal(r.code, 0, r.out);
    assert.match(r.out, /All is well\.\n$/);
    assert.match(r.out, /a server is running on it/);
  }
});

test('a backup beside the server, restored elsewhere, answers the same', async () => {
  const [first] = (await ask(server, '/api/v1/analyses?status=done')).body.items;
  assert.equal((await ask(server, first.links.picture)).status, 200); // drawn and kept when somebody looks
  const folder = join(dir, 'backup'), made = sonde(['backup', folder, ...data]);
  assert.equal(made.code, 0, made.err);
  assert.match(made.out, /\d+ recordings, \d+ pictures/);
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json')));
  assert.ok(manifest.recordings >= 1 && manifest.pictures >= 1);
  assert.equal(statSync(folder).mode & 0o077, 0, 'others may not read it');
  assert.equal(sonde(['backup', folder, ...data]).code, 3, 'the folder exists');
  assert.equal(sonde(['restore', folder, ...data]).code, 3, 'never over data');
  const home = join(dir, 'restored');
  const back = sonde(['restore', folder, '--data', home]);
  assert.equal(back.code, 0, back.err);
  assert.equal(sonde(['doctor', '--deep', '--data', home]).code, 0);
  const other = await serve({ data: home });
  const list = async (s) => (await ask(s, '/api/v1/analyses')).body.items;
  assert.deepEqual(await list(other), await list(server));
  for (const a of await list(other)) {
    const audio = await ask(other, a.links.audio), mine = await ask(server, a.links.audio);
    assert.equal(audio.text, mine.text);
    assert.deepEqual((await ask(other, a.links.self)).body, (await ask(server, a.links.self)).body);
  }
  assert.deepEqual(await other.stop(), { code: 0, signal: null });
});

test('a backup that is not whole is not restored, and leaves nothing that looks like data', () => {
  const folder = join(dir, 'backup'), raw = join(folder, 'blobs/raw');
  const victim = readdirSync(raw, { recursive: true }).map((f) => join(raw, f)).find((f) => statSync(f).isFile());
  const good = readFileSync(victim);
  appendFileSync(victim, 'x');
  const home = join(dir, 'restored-2');
  const bad = sonde(['restore', folder, '--data', home]);
  assert.equal(bad.code, 3);
  assert.match(bad.err, /not what was uploaded|SHA-256|bytes/);
  assert.equal(existsSync(join(home, 'sonde.db')), false);
  rmSync(victim);
  assert.equal(sonde(['restore', folder, '--data', join(dir, 'restored-3')]).code, 3);
  writeFileSync(victim, good);
  rmSync(join(folder, 'manifest.json'));
  const unfinished = sonde(['restore', folder, '--data', join(dir, 'restored-4')]);
  assert.equal(unfinished.code, 3);
  assert.match(unfinished.err, /no finished backup/);
  mkdirSync(join(dir, 'nothing'));
  assert.equal(sonde(['restore', join(dir, 'nothing'), '--data', join(dir, 'restored-5')]).code, 3);
});

test('doctor finds what is missing, different or left over', async () => {
  const path = blob('any'), bytes = readFileSync(path);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.equal(sonde(['doctor', '--deep', ...data]).code, 0);
  const changed = Buffer.from(bytes);
  changed[bytes.length - 1] ^= 1;
  writeFileSync(path, changed);
  assert.equal(sonde(['doctor', ...data]).code, 0, 'the size is the same');
  const deep = sonde(['doctor', '--deep', ...data]);
  assert.equal(deep.code, 3);
  assert.match(deep.out, /1 are not as uploaded/);
  rmSync(path);
  assert.match(sonde(['doctor', ...data]).out, /1 are missing/);
  writeFileSync(path, bytes);
  writeFileSync(path.replace(/[0-9a-f]{12}$/, '0123456789ab'), 'nobody knows this');
  assert.match(sonde(['doctor', ...data]).out, /1 files belong to no upload/);
  writeFileSync(join(server.data, 'spool/body-left'), 'half');
  assert.match(sonde(['doctor', ...data]).out, /1 unfinished uploads/);
  const next = await serve({ data: server.data }); // the start tidies up
  await until(() => sonde(['doctor', ...data]).code === 0);
  await next.stop();
  assert.equal(sonde(['doctor', '--deep', ...data]).code, 0);
});
