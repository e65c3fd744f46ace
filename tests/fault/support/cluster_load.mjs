// Several processes of sonde on real servers under a load of clients, with an account of everything that the clients were
// told; what fails meanwhile is the business of cluster.test.mjs and cluster.long.test.mjs.
//
//   const l = await clusterLoad({ t, dir, pool })    the cluster, without load
//   l.start()                                        clients, pollers, listeners begin
//   await l.ride(name, fault)                        a fault under load, then recovery, a drained backlog, and the account
//   await l.finish()                                 ends in good order, and what a crash may leave is swept away
//
// Each file has a name of its own, so the list tells who sent what. A client notes what it is about to do before it does
// it; an answer that was lost on the way, or "outcome_unknown", leaves "maybe": once or not at all. With an
// Idempotency-Key it repeats the request, at whichever process, until it is answered, and then it is exactly once.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ask, until, upload } from '../../e2e/support/serve.mjs';
import { cluster } from '../../e2e/support/cluster.mjs';
import { program } from '../../e2e/support/sonde.mjs';
import { connect } from '../../api/support/ws.mjs';
import { assertRight, dice, everything, sleep, variant, zipOf } from './support.mjs';
import { proxy } from './proxy.mjs';

const run = promisify(execFile);

const slow = /san/.test(process.env.SONDE_BUILD ?? '') ? 4 : 1;
const ROLES = [['upload'], ['upload'], ['inference'], ['inference'], ['keeper']];
const STANDS_MS = 90_000 * slow; // a backlog that does not move for so long never will

// How sonde reaches each server when a proxy stands between.
const throughProxies = (p) => ({
  db: { url: `postgres://sonde@127.0.0.1:${p.postgres.port}/sonde` },
  blob: { url: `s3+http://127.0.0.1:${p.swift.port}` },
  queue: { url: `amqp://sonde@127.0.0.1:${p.rabbitmq.port}/` },
  cache: { url: `redis://127.0.0.1:${p.redis.port}` },
});
const portOf = { postgres: (s) => s.nodes[0].port, swift: (s) => s.port, rabbitmq: (s) => s.port, redis: (s) => s.nodes[0].port };

class Account {
  // file name -> { name, right, group, id, state: 'maybe' | 'accepted' | 'refused', deleted: undefined | 'maybe' | 'yes', open }
  // open: a request of it may still be under way somewhere. Deleting forgets the key, so it would be new there.
  sent = new Map();
  counts = { uploads: 0, zips: 0, many: 0, lost: 0, refused: 0, unknown: 0, replays: 0, twice: 0, deletes: 0, polls: 0, asked: 0, events: 0, resumes: 0, reloads: 0 };

  note(name, right, group) { this.sent.set(name, { name, right, group, state: 'maybe', open: true }); }

  accept(name, id) {
    const one = this.sent.get(name);
    if (one.id) assert.equal(id, one.id, `${name}: the same key, another answer`);
    Object.assign(one, { state: 'accepted', id });
    this.last = performance.now();
  }

  refuse(names) { for (const name of names) this.sent.get(name).state = 'refused'; this.counts.refused++; }
}

class Load {
  over = true;
  failed = null;
  rounds = [];
  clients = [];

  constructor(options) { Object.assign(this, options); this.account = new Account(); }

  get uploads() { return this.c.of('upload'); }

  // An upload process as a load balancer would choose it: not one that is known to be away.
  server() { const up = this.uploads.filter((p) => !p.away); return this.roll.of(up.length ? up : this.uploads); }

  start() {
    this.over = false;
    const run = (f) => f().catch((error) => { this.failed ??= error; this.over = true; });
    this.clients = [...Array.from({ length: this.width }, (_, i) => run(() => this.client(i))), run(() => this.poller()),
      ...this.listeners.map((one) => run(() => this.listener(one)))];
  }

  async stop() {
    this.over = true;
    for (const one of this.listeners) one.ws?.drop();
    await Promise.all(this.clients);
    if (this.failed) throw this.failed;
  }

  // --- clients

  async client(number) {
    const { account, roll, pool } = this;
    for (; !this.over;) {
      const tag = `c${number}-${this.made++}`;
      const make = (suffix) => {
        const base = roll.of(pool);
        const name = `${tag}${suffix}.wav`;
        account.note(name, base, tag);
        return { name, bytes: base.wav && roll() < 0.8 ? variant(base.bytes, `${this.seed} ${name}`) : base.bytes };
      };
      const what = roll();
      if (what < 0.1) await this.erase();
      else if (what < 0.18) await this.send([make('-a'), make('-b'), make('-c')], { zip: true, key: roll() < 0.5 && `zip ${this.seed} ${tag}` });
      else if (what < 0.28) await this.send([make('-a'), make('-b')], { many: true, key: roll() < 0.5 && `many ${this.seed} ${tag}` });
      else if (what < 0.55) await this.send([make('')], { key: `key ${this.seed} ${tag}`, twice: roll() < 0.2 });
      else await this.send([make('')]);
      await sleep(roll() * this.pause);
    }
  }

  // One upload; with a key, until there is an answer. twice: two processes get it at once.
  async send(files, { key, zip, many, twice } = {}) {
    const { account } = this;
    const names = files.map((file) => file.name);
    account.counts[zip ? 'zips' : many ? 'many' : 'uploads']++;
    const one = (server) => upload(server, zip ? { name: 'many.zip', bytes: zipOf(files) } : files, { path: zip || many ? '/api/v1/uploads' : '/upload',
      headers: key ? { 'Idempotency-Key': key } : {} });
    if (twice) account.counts.twice++;
    let sure = true;
    for (let first = true; !this.failed; first = false) {
      const began = performance.now();
      const ends = await Promise.allSettled(twice && first ? this.uploads.map(one) : [one(this.server())]);
      const told = ends.map((end) => this.answered(end, names, { key, many: zip || many, began, sole: first && !twice }));
      sure &&= !told.includes('lost');
      if (told.includes('accepted') && sure) for (const name of names) account.sent.get(name).open = false;
      if (told.includes('accepted') || !key) return;
      if (first && !twice && told[0] === 'refused' && this.roll() < 0.3) return account.refuse(names); // gives up, as told
      if (this.over && told.every((what) => what === 'refused') && first && !twice) return account.refuse(names);
      await sleep(200);
    }
  }

  // What one request's end means for its files.
  answered(end, names, { key, many, began, sole }) {
    const { account } = this;
    if (end.status === 'rejected') {
      const error = end.reason, code = error.cause?.code ?? error.name;
      assert.notEqual(error.code, 'ERR_ASSERTION', error);
      assert.ok(code !== 'TimeoutError' || this.asleep, `no answer for ${Math.round((performance.now() - began) / 1000)} s`);
      if (code === 'ECONNREFUSED') { if (sole && !key) account.refuse(names); return 'refused'; } // nobody was there
      account.counts.lost++;
      return 'lost';
    }
    const reply = end.value;
    if (reply.headers.get('idempotent-replay')) account.counts.replays++;
    if (reply.status === 202) {
      const ids = many ? reply.body.analyses.map((a) => a.id) : [reply.body.id];
      assert.equal(ids.length, names.length, JSON.stringify(reply.body));
      names.forEach((name, i) => account.accept(name, ids[i]));
      if (began > (this.faultEnded ?? Infinity)) this.firstAccepted ??= performance.now();
      return 'accepted';
    }
    assert.ok(reply.status === 503 || reply.status === 429, `${reply.status} ${reply.text}`);
    assert.ok(Number(reply.headers.get('retry-after')) > 0, `a ${reply.status} says when to come again: ${reply.text}`);
    this.codes[reply.body.code] = (this.codes[reply.body.code] ?? 0) + 1;
    if (reply.body.code === 'outcome_unknown') { account.counts.unknown++; return 'lost'; }
    if (sole && !key) account.refuse(names);
    return 'refused';
  }

  async erase() {
    const { account, roll } = this;
    const there = [...account.sent.values()].filter((s) => s.state === 'accepted' && !s.deleted && !s.open);
    if (!there.length) return;
    const one = roll.of(there);
    one.deleted = 'maybe';
    account.counts.deletes++;
    let reply;
    try { reply = await ask(this.server(), `/api/v1/analyses/${one.id}`, { method: 'DELETE' }); } catch { return; } // either is right
    if (reply.status === 204) one.deleted = 'yes';
    else this.refusal(reply, `deleting ${one.name}`);
  }

  refusal(reply, what) {
    assert.ok(reply.status === 503, `${what}: ${reply.status} ${reply.text}`);
    assert.ok(Number(reply.headers.get('retry-after')) > 0, `${what}: a 503 says when to come again`);
  }

  // Asks for the status of what was accepted: final is final, and right.
  async poller() {
    const { account, roll } = this;
    for (; !this.over; await sleep(30)) {
      const list = [...account.sent.values()].filter((s) => s.state === 'accepted' && !s.deleted);
      if (!list.length) continue;
      const one = roll() < 0.7 ? list.at(-1 - roll.below(Math.min(list.length, 30))) : roll.of(list);
      let reply;
      account.counts.polls++;
      try { reply = await ask(this.server(), `/status?id=${one.id}`); } catch { continue; }
      if (one.deleted) continue;
      if (reply.status === 503) { this.refusal(reply, 'status'); continue; }
      assert.equal(reply.status, 200, `${one.name} was accepted: ${reply.text}`);
      account.counts.asked++;
      const final = reply.body.status === 'done' || reply.body.status === 'failed';
      assert.ok(final || !one.final, `${one.name} was ${one.final} and is ${reply.body.status}`);
      if (!final) continue;
      one.final = reply.body.status;
      assertRight(reply.body, one.right, one.name);
    }
  }

  // A page: it listens, and when the connection ends it comes again, with what it saw last, elsewhere.
  async listener(one) {
    for (; !this.over; await sleep(300)) {
      try {
        const at = this.server();
        const { status, body } = await ask(at, '/api/v1/events/tickets', { method: 'POST', timeout: 30_000 });
        if (status !== 201) continue;
        one.ws = await connect(at, '/api/v1/events', { timeout: 20_000 });
        if (one.ws.status !== 101) continue;
        one.ws.send({ type: 'hello', ticket: body.ticket, ...(one.last === undefined ? {} : { after: one.last }) });
        const welcome = await one.ws.next((m) => m.type === 'welcome');
        if (one.last !== undefined && welcome.resumed) this.account.counts.resumes++;
        else { // as a page does: it reloads the list
          if (one.last !== undefined) this.account.counts.reloads++;
          for (const a of await everything(at)) if (a.status === 'done' || a.status === 'failed') one.final.add(a.id);
          one.last = welcome.last_event_id;
        }
      } catch { one.ws?.drop(); continue; }
      await this.hear(one);
    }
  }

  async hear(one) {
    const { ws } = one;
    let ended = false;
    ws.closed.then(() => { ended = true; });
    for (let at = 0; ;) {
      for (; at < ws.messages.length; at++) {
        const m = ws.messages[at].value;
        if (m.type !== 'analysis' && m.type !== 'deleted') continue;
        one.last = Math.max(one.last, m.event_id);
        this.account.counts.events++;
        if (m.type === 'deleted') one.gone.add(m.analysis_id);
        else if (m.analysis.status === 'done' || m.analysis.status === 'failed') one.final.add(m.analysis.id);
      }
      if (ended || this.over) break;
      await sleep(50);
    }
  }

  // --- a fault, and what must hold after it

  async ride(name, fault, { busy = 1500 } = {}) {
    const { t } = this;
    if (this.failed) throw this.failed;
    this.codes = {};
    this.faultEnded = this.firstAccepted = undefined;
    const before = { ...this.account.counts }, accepted = this.accepted();
    this.start();
    try {
      await sleep(busy);
      const began = performance.now();
      await fault();
      const ended = this.faultEnded = performance.now();
      await until(() => this.firstAccepted || this.failed, { timeout: 90_000 * slow, pause: 10 })
        .catch(() => assert.fail(`${name}: no upload is accepted any more; ${this.troubles()}`));
      await sleep(500);
      await this.stop();
      const stopped = performance.now();
      await this.drained(name);
      const now = performance.now();
      const round = { name, fault: ended - began, first: this.firstAccepted - ended, drained: now - ended, backlog: now - stopped };
      this.rounds.push(round);
      await this.check(name);
      const delta = (key) => this.account.counts[key] - before[key];
      const s = (ms) => (ms / 1000).toFixed(1);
      t.diagnostic(`${name} (${s(round.fault)} s): first upload accepted after ${s(round.first)} s, drained after ${s(round.drained)} s; ` +
        `${this.accepted() - accepted} accepted, ${delta('refused')} refused, ${delta('lost')} answers lost, ${delta('unknown')} unknown, ${delta('replays')} replayed, ` +
        `${delta('deletes')} deletes${Object.keys(this.codes).length ? `; told ${JSON.stringify(this.codes)}` : ''}`);
      return round;
    } catch (error) {
      this.over = true;
      this.failed ??= error;
      t.diagnostic(`${name}: seed ${this.seed}: ${this.troubles()}`);
      throw error;
    }
  }

  accepted() { return [...this.account.sent.values()].filter((s) => s.state === 'accepted').length; }

  troubles() {
    return this.c.processes.map((p) => `${p.name}: ${JSON.stringify(p.server.log().filter((l) => l['log.level'] !== 'info').slice(-4))}`).join('\n').slice(0, 6000);
  }

  async count(sql) { return Number((await this.c.psql(sql))[0][0]); }

  // Nothing waits any more: not in the database, not in the queues.
  async drained(name) {
    let last = '', moved = performance.now();
    for (;;) {
      const [row] = await this.c.psql(`SELECT (SELECT count(*) FROM analyses WHERE status IN ('queued', 'running')), (SELECT count(*) FROM outbox),
        (SELECT count(*) FROM blob_deletions), (SELECT value FROM counters WHERE name = 'waiting')`);
      const busy = !row.every((n) => n === '0');
      const queues = busy ? {} : await this.c.queues(); // asking takes the broker's processor for a second
      const left = Object.entries(queues).filter(([, q]) => q.ready + q.unsettled > 0);
      const state = JSON.stringify([row, left]);
      if (!busy && !left.length) return;
      if (!busy && left.some(([queue, q]) => queue === 'dlq' && q.ready))
        assert.fail(`${name}: dead letters: ${(await run(program, ['jobs', 'list', '--json', '--config', this.c.conf, '--data', this.uploads[0].data])
          .catch((error) => error)).stdout}`);
      if (state !== last) { last = state; moved = performance.now(); }
      assert.ok(performance.now() - moved < STANDS_MS, `${name}: nothing moves: [open, outbox, blob deletions, waiting], queues: ${state}\n${this.troubles()}`);
      await sleep(200);
    }
  }

  async check(name) {
    const { account, c } = this;
    const server = this.uploads[0];
    for (const one of [...account.sent.values()].filter((s) => s.deleted === 'maybe')) { // it was never answered: ask again
      const { status, text } = await ask(server, `/api/v1/analyses/${one.id}`, { method: 'DELETE' });
      assert.ok(status === 204 || status === 404, `deleting ${one.name} again: ${status} ${text}`);
      one.deleted = 'yes';
    }
    await this.drained(name);
    const all = await everything(this.uploads.at(-1));
    const byName = new Map();
    for (const a of all) {
      assert.ok(account.sent.has(a.file.name), `nobody sent ${a.file.name}`);
      assert.ok(!byName.has(a.file.name), `DOUBLED: ${a.file.name} is there twice`);
      byName.set(a.file.name, a);
    }
    const groups = new Map();
    for (const one of account.sent.values()) {
      const a = byName.get(one.name);
      if (one.deleted) assert.equal(a, undefined, `${one.name} was deleted`);
      else if (one.state === 'refused') assert.equal(a, undefined, `${one.name} was refused`);
      else if (one.state === 'accepted') assert.equal(a?.id, one.id, `LOST: ${one.name} was accepted as ${one.id}`);
      if (a) assertRight(a, one.right, `WRONG: ${one.name}`);
      if (one.state === 'maybe') { // of several whose answer was lost: all or nothing
        if (!groups.has(one.group)) groups.set(one.group, !!a);
        assert.equal(!!a, groups.get(one.group), `half of ${one.group}`);
      }
    }
    await this.checkStores(all);
    // Pictures of short recordings, as all here are, are drawn when somebody asks.
    for (const a of all.filter((one) => one.status === 'done').slice(0, 3))
      assert.equal((await ask(this.uploads[0], `/api/v1/analyses/${a.id}/picture`)).status, 200, `the picture of ${a.id}`);
    await this.checkListeners(byName);
    this.checked = all.length;
  }

  // What the database, the blobs and the cache hold fits together.
  async checkStores(all) {
    const { c } = this;
    const done = all.filter((a) => a.status === 'done').map((a) => a.id).sort();
    assert.deepEqual((await c.psql('SELECT analysis_id FROM results ORDER BY 1')).map(([id]) => id), done, 'a result for each that is done, and none else');
    const rows = new Set((await c.psql('SELECT id FROM uploads WHERE audio_deleted_ms IS NULL')).map(([id]) => id));
    assert.equal(rows.size, await this.count('SELECT count(DISTINCT upload_id) FROM analyses'), 'uploads without an analysis');
    const keys = async (bucket) => (await c.objects(bucket)).map((o) => o.key.split('/').at(-1));
    const raw = new Set(await keys('sonde-raw')), pictures = new Set(await keys('sonde-processed'));
    assert.deepEqual(await this.absent('sonde-raw', [...rows].filter((id) => !raw.has(id))), [], 'rows without a recording');
    // A process that was killed between storing and accepting leaves a file; the keeper removes it when it is an hour old.
    this.orphans = { raw: [...raw].filter((id) => !rows.has(id)), pictures: [...pictures].filter((id) => !done.includes(id)) };
    const answers = this.account.counts.lost + this.account.counts.refused + this.account.counts.unknown;
    assert.ok(this.orphans.raw.length <= answers * 3, `${this.orphans.raw.length} recordings without a row`);
  }

  // A list of Swift's is behind its objects when a container server was away, until its updater runs, which is not here.
  async absent(bucket, ids) {
    const gone = [];
    for (const id of ids) {
      const day = new Date(parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toISOString().slice(0, 10).replaceAll('-', '/');
      const { status } = await this.c.servers.swift.request({ path: `/${bucket}/${day}/${id}` });
      if (status !== 200) gone.push(id);
    }
    return gone;
  }

  // Whoever listens has seen the end of everything, by an event or in the list.
  async checkListeners(byName) {
    for (const [i, one] of this.listeners.entries()) {
      one.ws?.drop();
      const missing = () => [...byName.values()].filter((a) => !one.final.has(a.id));
      if (!missing().length) continue;
      this.over = false;
      const again = this.listener(one);
      try {
        await until(() => !missing().length, { timeout: 30_000 * slow, pause: 50 })
          .catch(() => assert.fail(`listener ${i} has not heard of the end of ${missing().map((a) => a.file.name)}`));
      } finally { this.over = true; one.ws?.drop(); }
      await again;
    }
  }

  // --- the end

  async finish() {
    const { c, t } = this;
    const keeper = c.of('keeper')[0];
    for (const p of c.processes.filter((one) => one !== keeper)) assert.deepEqual(await p.stop(), { code: 0, signal: null }, p.name);
    const before = this.orphans;
    await keeper.stop();
    keeper.env = { ...keeper.env, SONDE_ORPHAN_AGE: '0' }; // nobody uploads: what has no row now never gets one
    await keeper.start();
    const left = async () => { await this.checkStores(await this.listed()); return this.orphans.raw.length + this.orphans.pictures.length; };
    await until(async () => (await left()) === 0, { timeout: 60_000 * slow, pause: 500 })
      .catch(() => assert.fail(`files that no row knows stay: ${JSON.stringify(this.orphans)}`));
    assert.deepEqual(await keeper.stop(), { code: 0, signal: null });
    const n = this.account.counts;
    t.diagnostic(`in all: ${this.account.sent.size} files in ${n.uploads} uploads, ${n.many} of two, ${n.zips} zips, ${n.twice} sent to both processes at once; ${this.accepted()} accepted, ` +
      `${n.refused} refused, ${n.lost} answers lost, ${n.unknown} unknown, ${n.replays} replayed, ${n.deletes} deletes; ${n.asked} of ${n.polls} polls answered; ` +
      `${n.events} events, ${n.resumes} resumed, ${n.reloads} reloads; ${this.checked} analyses in the end, 0 lost, 0 doubled, 0 wrong; ` +
      `files without a row swept: ${before.raw.length} recordings, ${before.pictures.length} pictures`);
    const of = (key) => this.rounds.map((r) => r[key] / 1000).sort((a, b) => a - b);
    const show = (list) => `median ${list[list.length >> 1].toFixed(1)} s, most ${list.at(-1).toFixed(1)} s`;
    t.diagnostic(`${this.rounds.length} rounds; last fault ended to first upload accepted: ${show(of('first'))}; to a drained backlog: ${show(of('drained'))}`);
  }

  // As `everything`, when no upload process runs.
  async listed() { return (await this.c.psql('SELECT id, status FROM analyses')).map(([id, status]) => ({ id, status })); }

  // --- faults of processes

  async killProcess(p, { away = 0 } = {}) {
    p.away = true;
    await p.kill();
    await sleep(away);
    await p.start();
    p.away = false;
  }

  async sleepProcess(p, ms) {
    this.asleep = (this.asleep ?? 0) + 1;
    p.pause();
    await sleep(ms / 4); // then the load balancer sees it
    p.away = true;
    await sleep(ms * 3 / 4);
    p.resume();
    p.away = false;
    setTimeout(() => { this.asleep--; }, 60_000).unref();
  }

  async restartProcess(p) {
    p.away = true;
    assert.deepEqual(await p.stop(), { code: 0, signal: null }, p.name);
    await p.start();
    p.away = false;
  }
}

export async function clusterLoad({ t, dir, pool, proxies = false, options = {}, width = 4, pause = 250, seed = Number(process.env.SONDE_SEED) || Date.now() % 1e6 }) {
  t.diagnostic(`seed ${seed} (SONDE_SEED)`);
  const nets = {};
  if (proxies) for (const name of Object.keys(portOf)) nets[name] = await proxy();
  const c = await cluster({ ...(dir ? { dir } : {}), roles: ROLES, options, env: { SONDE_QUEUE_BACKOFF: '0.2' },
    settings: { server: { jobs: '1', min_free: '1M' }, ...(proxies ? throughProxies(nets) : {}) },
    wire: (servers) => { for (const [name, one] of Object.entries(nets)) one.target = portOf[name](servers[name]); } });
  t.diagnostic(`servers in ${c.seconds.servers.toFixed(1)} s, processes in ${c.seconds.sonde.toFixed(1)} s`);
  const listeners = [0, 1].map(() => ({ final: new Set(), gone: new Set() }));
  const load = new Load({ t, c, pool, nets, seed, roll: dice(seed), width, pause, listeners, made: 0, codes: {} });
  load.stopAll = async () => { load.over = true; await c.stop(); for (const one of Object.values(nets)) await one.stop(); };
  return load;
}
