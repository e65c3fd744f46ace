// Starting and ending a real server in a test: on loopback, on free ports, in a folder of its own, ended by pid.
//
// A module beside this one starts one kind of server and gives back an object with at least
//   env                 what the C tests read (SONDE_TEST_…), text values
//   settings            what a sonde on it needs, as SONDE_… environment variables
//   pids                of its processes
//   stop()              ends it and removes nothing
//   kill(), restart()   SIGKILL at once; the same data again on the same port
//   pause(), resume()   SIGSTOP, SIGCONT
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the promise gives, or null when it takes longer; no timer is left that keeps the program from ending.
export async function within(ms, promise) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(() => resolve(null), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

// Below those that the kernel gives to outgoing connections: a server that is away for a moment finds its port free again.
const given = new Set();
export async function freePort() {
  for (;;) {
    const port = 10_240 + Math.floor(Math.random() * 22_000);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer();
    const free = await new Promise((resolve) => {
      server.on('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

// Asks until `look` gives something true; the last error is told when it never does.
export async function ready(what, look, { timeout = 60_000, pause = 50 } = {}) {
  const until = performance.now() + timeout;
  let last = '';
  while (performance.now() < until) {
    try { const value = await look(); if (value) return value; } catch (error) { last = error.message; }
    await sleep(pause);
  }
  throw new Error(`${what} is not ready after ${timeout / 1000} s: ${last}`);
}

const started = new Set();
// The program that runs the tests ends, in whatever way: nothing is left behind.
process.on('exit', () => { for (const p of started) { try { process.kill(-p.pid, 'SIGKILL'); } catch { /* gone */ } } });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));

// One process in a group of its own; its output goes to `dir`/`name`.log. As `user` when this is root and one is named.
export class Process {
  constructor({ name, command, dir, env = {}, user = null, stopSignal = 'SIGTERM' }) {
    Object.assign(this, { name, command, dir, env, user, stopSignal });
    mkdirSync(dir, { recursive: true });
  }

  start() {
    const as = this.user && process.getuid() === 0 ? ['runuser', '-u', this.user, '--'] : [];
    const [program, ...args] = [...as, ...this.command];
    const log = createWriteStream(join(this.dir, `${this.name}.log`), { flags: 'a' });
    this.child = spawn(program, args, { cwd: this.dir, env: { ...process.env, ...this.env }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout.pipe(log, { end: false }); // one of the two ends first
    this.child.stderr.pipe(log, { end: false });
    this.pid = this.child.pid;
    started.add(this);
    this.exited = new Promise((resolve) => this.child.on('close', (code, signal) => { log.end(); started.delete(this); resolve({ code, signal }); }));
    return this;
  }

  signal(signal) { try { process.kill(-this.pid, signal); } catch { /* gone */ } }

  pause() { this.signal('SIGSTOP'); }

  resume() { this.signal('SIGCONT'); }

  async kill() { this.signal('SIGKILL'); await this.exited; }

  async stop(timeout = 15_000) {
    this.signal('SIGCONT');
    this.signal(this.stopSignal);
    if (!await within(timeout, this.exited)) await this.kill();
  }
}
