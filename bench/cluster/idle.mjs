// What an idle process of each role holds: memory, descriptors, threads; and its CPU.
import { cpu, options, sleep, sonde, table } from '../server/common.mjs';
import { cluster, footprint, servers } from './common.mjs';

export async function idle() {
  const on = await servers();
  const many = await cluster(on, ['upload', 'inference', 'keeper', 'all']);
  const list = [...many.list, { ...await sonde(), role: 'all, of its own' }];
  const seconds = options.quick ? 5 : 30;
  await sleep(3000);
  const before = list.map((p) => cpu(p.pid)), servers_ = on.cpu();
  await sleep(seconds * 1000);
  const mb = (kb) => (kb / 1024).toFixed(1), rows = [['', 'RSS MB', 'PSS MB', 'its decoder, PSS MB', 'descriptors', 'threads', 'CPU ms/s']];
  list.forEach((p, i) => {
    const f = footprint(p.pid);
    rows.push([p.role, mb(f.rss), mb(f.pss), f.decoder ? mb(f.decoder.pss) : '', f.descriptors, f.threads, ((cpu(p.pid) - before[i]) * 1e3 / seconds).toFixed(1)]);
  });
  const after = on.cpu();
  table(rows);
  console.log(`  servers, CPU ms/s: ${Object.keys(after).map((n) => `${n} ${((after[n] - servers_[n]) * 1e3 / seconds).toFixed(1)}`).join(', ')}`);
  const connections = await on.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'sonde' AND pid <> pg_backend_pid()");
  console.log(`  connections to PostgreSQL: ${connections}`);
  await many.stop();
  await list.at(-1).stop();
  await on.stop();
  return { rows, connections };
}
