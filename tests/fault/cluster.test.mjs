// Several processes on real servers under load, while servers and processes are killed (A5, B4, B12, C9): nothing that was
// accepted is lost, doubled or wrong, who is refused is told so, and it goes on by itself. cluster.long.test.mjs has all
// the ways in which a server can be away.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { lacking } from '../e2e/support/cluster.mjs';
import { scratch } from '../e2e/support/sonde.mjs';
import { clusterLoad } from './support/cluster_load.mjs';
import { everyServer, killed } from './support/cluster_faults.mjs';
import { recordings, sleep } from './support/support.mjs';

const skip = lacking();
const dir = scratch();
let load;
after(() => load?.stopAll());

test('each server and a worker killed once, and Redis away for a while', { skip, timeout: 400_000 }, async (t) => {
  const l = load = await clusterLoad({ t, pool: recordings(dir, { human: 5, long: false }), width: 3, pause: 500 });
  for (const name of everyServer) await l.ride(`${name} killed`, () => killed(l, name, { away: name === 'redis' ? 4000 : 1000 }));
  await l.ride('a worker and an upload process killed', async () => {
    await l.killProcess(l.c.of('inference')[0]);
    await l.killProcess(l.uploads[0]);
    await sleep(200);
  });
  await l.finish();
  assert.ok(l.accepted() > 60, `${l.accepted()} accepted: hardly a load`);
});
