// libsonde as others use it: installed, found by pkg-config, linked shared and static (C1).
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { build, scratch, source, syntheticSpeech } from './support/sonde.mjs';

const dir = scratch(), root = join(dir, 'root');
const run = (command, args, env = {}) => execFileSync(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const fake = syntheticSpeech(join(dir, 'fake.wav'));
run('meson', ['install', '-C', build, '--destdir', root, '--no-rebuild', '--quiet']);
const find = (name) => run('find', [root, '-name', name, '!', '-type', 'd']).trim().split('\n')[0];
const pc = find('sonde.pc'), libdir = join(pc, '..', '..');
const pkgConfig = (...args) => run('pkg-config', [...args, 'sonde'],
  { PKG_CONFIG_PATH: join(pc, '..'), PKG_CONFIG_SYSROOT_DIR: root }).trim().split(/\s+/);
const decoder = find('sonde-decoder');

test('what is installed', () => {
  for (const name of ['sonde', 'sonde-decoder', 'libsonde.so', 'libsonde.a', 'sonde.h', 'sonde.1', 'sonde.bash'])
    assert.ok(existsSync(find(name)), name);
  assert.ok(readFileSync(join(source, 'examples', 'detect.c'), 'utf8').split('\n').length <= 36);
});

test('the example, linked with the shared library', () => {
  const exe = join(dir, 'shared');
  run('cc', ['-Wall', '-Werror', join(source, 'examples/detect.c'), '-o', exe, ...pkgConfig('--cflags', '--libs')]);
  assert.match(run('ldd', [exe], { LD_LIBRARY_PATH: libdir }), /libsonde\.so\.1 => .*root/);
  const out = run(exe, [fake], { LD_LIBRARY_PATH: libdir, SONDE_DECODER: decoder });
  assert.match(out, /fake\.wav: (synthetic|human), P\(synthetic\) 0\.\d\d, LLR [+-]\d/);
});

test('the example, linked with the static library', () => {
  const exe = join(dir, 'static');
  const flags = pkgConfig('--cflags', '--libs', '--static').map((flag) => (flag === '-lsonde' ? find('libsonde.a') : flag));
  run('cc', ['-Wall', '-Werror', join(source, 'examples/detect.c'), '-o', exe, ...flags, '-lm', '-lpthread']);
  assert.doesNotMatch(run('ldd', [exe]), /libsonde/);
  const bad = spawnSync(exe, [fake, '/nowhere'], { env: { ...process.env, SONDE_DECODER: decoder } });
  assert.equal(bad.status, 1);
  assert.match(bad.stdout.toString(), /nowhere: cannot open/);
});

test('only sonde_* is visible, all of it with a version', () => {
  const symbols = run('nm', ['-D', '--defined-only', find('libsonde.so')]).trim().split('\n').map((l) => l.split(' ').pop());
  const functions = symbols.filter((s) => s !== 'SONDE_1');
  assert.ok(functions.length >= 20);
  for (const s of functions) assert.match(s, /^sonde_\w+@@SONDE_1$/);
});

test('the header is C11 and C++', () => {
  for (const [compiler, ...flags] of [['cc', '-std=c11', '-pedantic', '-xc'], ['c++', '-std=c++11', '-pedantic', '-xc++']])
    run(compiler, [...flags, '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-include', join(source, 'include/sonde.h'), '/dev/null']);
});

test('the installed program finds its decoder, the man page reads well', () => {
  const r = spawnSync(find('sonde'), ['detect', '--json', fake], { env: { ...process.env, SONDE_DECODER: decoder } });
  assert.ok([0, 1].includes(r.status), r.stderr.toString());
  const man = spawnSync('man', ['--warnings', '-E', 'UTF-8', '-l', find('sonde.1')], { env: { ...process.env, MANPAGER: 'cat', MANWIDTH: '90' } });
  assert.equal(man.stderr.toString(), '');
  assert.match(man.stdout.toString(), /sonde detect/);
});

test('bash completion offers commands and options', () => {
  const complete = (words, index) => run('bash', ['-c',
    `source ${find('sonde.bash')}; COMP_WORDS=(${words}); COMP_CWORD=${index}; _sonde; printf '%s\\n' "\${COMPREPLY[@]}"`]).trim().split('\n');
  assert.deepEqual(complete('sonde de', 1), ['detect']);
  assert.ok(complete('sonde detect --js', 2).includes('--json'));
  assert.deepEqual(complete('sonde detect --isa av', 3), ['avx2', 'avx512', 'avx512vnni']);
});
