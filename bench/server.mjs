// Measures `sonde serve`, against others where there is somebody to compare with. Everything runs on loopback, on free
// ports, in temporary folders; what was started is ended.
//
//     node bench/server.mjs [--only NAME[,NAME]] [--json FILE] [--build DIR] [--rounds N] [--quick]
//
// NAME: healthz status upload latency saturation memory burst. --quick: shorter and smaller, to see that it runs.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { load, options, out, versions } from './server/common.mjs';
import { healthz, status } from './server/http.mjs';
import { upload } from './server/upload.mjs';
import { latency, saturation } from './server/analyse.mjs';
import { burst, memory } from './server/crowd.mjs';

const parts = { healthz, status, upload, latency, saturation, memory, burst };
const limits = { healthz: 180, status: 420, upload: 240, latency: 180, saturation: 600, memory: 240, burst: 300 }; // seconds
const args = process.argv.slice(2);
let only = Object.keys(parts), file = path.join(out, 'server.json');
for (let i = 0; i < args.length; i++) {
  if (args[i] === '--only') only = args[++i].split(',');
  else if (args[i] === '--json') file = args[++i];
  else if (args[i] === '--build') options.build = args[++i];
  else if (args[i] === '--rounds') options.rounds = Number(args[++i]);
  else if (args[i] === '--quick') options.quick = true;
  else only = ['?'];
}
if (only.some((name) => !parts[name]) || !(options.rounds > 0)) {
  console.error(`usage: server.mjs [--only ${Object.keys(parts).join(',')}] [--json FILE] [--build DIR] [--rounds N] [--quick]`);
  process.exit(2);
}

const machine = { date: new Date().toISOString().slice(0, 10), cpu: cpus()[0].model, cores: cpus().length, load: load(), versions: versions() };
console.log(`${machine.date}, ${machine.cores} cores of ${machine.cpu}, load ${machine.load}; ` +
  Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`).join(', '));
const results = {};
let failed = 0;
for (const name of only) {
  console.log('');
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`took more than ${limits[name]} s`)), limits[name] * 1000); });
  try {
    results[name] = await Promise.race([parts[name](), late]);
  } catch (error) {
    failed++;
    results[name] = { error: String(error.message) };
    console.log(`${name}: ${error.stack}`);
  }
  clearTimeout(timer);
  writeFileSync(file, `${JSON.stringify({ machine, results }, null, 1)}\n`);
}
process.exit(failed ? 1 : 0);
