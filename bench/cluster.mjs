// Measures sonde as several processes on PostgreSQL, S3 (Swift), RabbitMQ and Redis, all on this machine, against one process.
// CPU time of each process and server, from /proc; contestants take turns; medians (least..most).
//
//     node bench/cluster.mjs [--only NAME[,NAME]] [--json FILE] [--build DIR] [--rounds N] [--quick]
//
// NAME: jobs status idle drain writer. --quick: shorter and smaller, to see that it runs.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { load, options, out } from './server/common.mjs';

const parts = {
  jobs: async () => (await import('./cluster/jobs.mjs')).jobs(),
  status: async () => (await import('./cluster/status.mjs')).status(),
  idle: async () => (await import('./cluster/idle.mjs')).idle(),
  drain: async () => (await import('./cluster/drain.mjs')).drain(),
  writer: async () => (await import('./cluster/writer.mjs')).writer(),
};
const args = process.argv.slice(2);
let only = Object.keys(parts), file = path.join(out, 'cluster.json');
for (let i = 0; i < args.length; i++) {
  if (args[i] === '--only') only = args[++i].split(',');
  else if (args[i] === '--json') file = args[++i];
  else if (args[i] === '--build') options.build = args[++i];
  else if (args[i] === '--rounds') options.rounds = Number(args[++i]);
  else if (args[i] === '--quick') options.quick = true;
  else only = ['?'];
}
if (only.some((name) => !parts[name]) || !(options.rounds > 0)) {
  console.error(`usage: cluster.mjs [--only ${Object.keys(parts).join(',')}] [--json FILE] [--build DIR] [--rounds N] [--quick]`);
  process.exit(2);
}
const machine = { date: new Date().toISOString().slice(0, 10), cpu: cpus()[0].model, cores: cpus().length, load: load() };
console.log(`${machine.date}, ${machine.cores} cores of ${machine.cpu}, load ${machine.load}`);
const results = {};
let failed = 0;
for (const name of only) {
  console.log('');
  try {
    results[name] = await parts[name]();
  } catch (error) {
    failed++;
    results[name] = { error: String(error.message) };
    console.log(`${name}: ${error.stack}`);
  }
  writeFileSync(file, `${JSON.stringify({ machine, results }, null, 1)}\n`);
}
process.exit(failed ? 1 : 0);
