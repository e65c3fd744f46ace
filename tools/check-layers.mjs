// The layer rule of docs/architecture.md: a folder of src/ includes only folders that stand before
// it in this list (and itself). Prints each violation; exit 1 when there is one.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(dirname(new URL(import.meta.url).pathname), '..', 'src');
const mayUse = {
  base: [],
  os: ['base'],
  conf: ['base', 'os'],
  obs: ['base', 'os'],
  driver: ['base', 'os', 'obs'],
  store: ['base', 'driver'],
  http: ['base', 'os', 'obs'],
  media: ['base', 'os'],
  nn: ['base', 'os'],
  eval: ['base', 'os'],
  detect: ['base', 'os', 'media', 'nn'],
  lib: ['base', 'os', 'media', 'nn', 'detect'],
  role: ['base', 'os', 'obs', 'driver', 'store', 'http', 'media', 'nn', 'detect'],
  cli: ['base', 'os', 'conf', 'obs', 'driver', 'store', 'media', 'nn', 'eval', 'detect', 'role'],
};

const problems = [];
const walk = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
  const path = join(dir, entry.name);
  return entry.isDirectory() ? walk(path) : /\.(c|h|inc|def)$/.test(entry.name) ? [path] : [];
});

for (const file of walk(root)) {
  const folder = relative(root, file).split('/')[0];
  if (!(folder in mayUse)) { problems.push(`${relative(root, file)}: folder '${folder}' is not in the layer list`); continue; }
  readFileSync(file, 'utf8').split('\n').forEach((line, i) => {
    const match = /^\s*#\s*include\s+"([^"]+)"/.exec(line);
    if (!match) return;
    const target = relative(root, resolve(dirname(file), match[1]));
    if (target.startsWith('..')) return; // include/ or generated
    const layer = target.split('/')[0];
    if (target.includes('/') && layer !== folder && !mayUse[folder].includes(layer))
      problems.push(`${relative(root, file)}:${i + 1}: ${folder} must not include ${layer}`);
  });
}
for (const problem of problems) console.error(problem);
process.exit(problems.length ? 1 : 0);
