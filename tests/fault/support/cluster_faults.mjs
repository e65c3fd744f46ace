// What can happen to the servers of a cluster, each as an async function that ends when the server is well again.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { ready } from '../../servers/server.mjs';
import { sleep } from './support.mjs';

export const everyServer = ['postgres', 'swift', 'rabbitmq', 'redis'];
const whole = { all: true }; // of Swift, its storage too

export async function killed(l, names, { away = 500 } = {}) {
  const servers = [names].flat().map((name) => l.c.servers[name]);
  await Promise.all(servers.map((one) => one.kill(whole)));
  await sleep(away);
  await Promise.all(servers.map((one) => one.restart(whole)));
}

export async function paused(l, names, ms) {
  const servers = [names].flat().map((name) => l.c.servers[name]);
  for (const one of servers) one.pause(whole);
  await sleep(ms);
  for (const one of servers) one.resume(whole);
}

export async function restarted(l, name) {
  const { [name]: server } = l.c.servers;
  if (name === 'postgres' || name === 'redis') await server.nodes[0].stop();
  else if (name === 'swift') await server.stop();
  await server.restart(whole);
}

// --- by the proxies

export async function cutOff(l, names, ms) {
  for (const name of [names].flat()) l.nets[name].cut();
  await sleep(ms);
  for (const name of [names].flat()) l.nets[name].pass();
}

export async function stalled(l, names, ms) {
  for (const name of [names].flat()) l.nets[name].stall();
  await sleep(ms);
  for (const name of [names].flat()) l.nets[name].pass();
}

export async function slowed(l, name, ms, delay = 200) {
  l.nets[name].delay(delay);
  await sleep(ms);
  l.nets[name].pass();
}

// --- full

// Disks in memory for servers, when this is root; `undo` after the servers are gone. They are large, and become as small
// as what is on them.
const LARGE = '4g';

export function ownDisks(dir, names) {
  for (const name of names) {
    mkdirSync(join(dir, name), { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${LARGE},mode=711`, 'none', join(dir, name)]);
  }
  return { at: (name) => join(dir, name), undo() { for (const name of names) execFileSync('umount', ['-l', join(dir, name)]); } };
}

const resize = (dir, size) => execFileSync('mount', ['-o', `remount,size=${size}`, dir], { stdio: 'ignore' });

function fill(dir) {
  for (let tries = 0; ; tries++) {
    const { blocks, bfree, bsize } = statfsSync(dir);
    try { resize(dir, (blocks - bfree) * bsize); break; } catch (error) { if (tries > 20) throw error; } // more was written meanwhile
  }
  assert.equal(statfsSync(dir).bavail, 0);
  return { empty: () => resize(dir, LARGE) };
}

export async function filled(l, name, ms, dir) {
  const { [name]: server } = l.c.servers;
  if (name === 'rabbitmq') {
    await server.ctl('set_disk_free_limit', '1000GB');
    await sleep(ms);
    await server.ctl('set_disk_free_limit', '10MB');
  } else if (name === 'redis') {
    const { port } = server.nodes[0];
    await server.cli(port, 'config', 'set', 'maxmemory', '1');
    await sleep(ms);
    await server.cli(port, 'config', 'set', 'maxmemory', '0');
  } else {
    const full = fill(dir);
    await sleep(ms);
    full.empty();
    // Without room for its log PostgreSQL ends; an operator makes room and starts it again.
    if (name === 'postgres' && !server.nodes[0].pids.length) await server.restart();
    if (name === 'postgres') await ready('PostgreSQL', async () => (await server.sql(server.nodes[0], 'SELECT 1')) === '1');
  }
}
