// Puts the files of folders into the program: OUT.c with the table of src/http/assets.h, OUT.bin with all
// bodies. Each file is stored plain and, where that is smaller, as gzip and brotli, so that the server never
// compresses. The table takes the bytes by .incbin: a C array of a megabyte would take seconds to compile.
//   node tools/embed-web.mjs OUT.c OUT.bin FOLDER[=PREFIX]…
// FOLDER's index.html is PREFIX/index.html, or, under a prefix, PREFIX alone: /docs.
// Outputs are written only when they change, so that Ninja stops there.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const types = {
  html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', mjs: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8', json: 'application/json', map: 'application/json', svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8', webmanifest: 'application/manifest+json', png: 'image/png', ico: 'image/x-icon',
  webp: 'image/webp', jpg: 'image/jpeg', woff2: 'font/woff2', woff: 'font/woff', wasm: 'application/wasm',
  wav: 'audio/wav', mp3: 'audio/mpeg',
};
// Vite's names: /assets/index-DxK3_a9-.js. Only there, so that no other file is ever taken for unchanging.
const hashed = /^\/assets\/[^/]*-[A-Za-z0-9_-]{8,}\.[a-z0-9]+$/;

const [outC, outBin, ...folders] = process.argv.slice(2);
if (!folders.length) {
  console.error('usage: embed-web.mjs OUT.c OUT.bin FOLDER[=PREFIX]…');
  process.exit(2);
}

const walk = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
  const path = join(dir, entry.name);
  if (entry.name.startsWith('.')) return [];
  return entry.isDirectory() ? walk(path) : [path];
});

const smaller = (packed, plain) => (packed.length < plain.length ? packed : null);
const files = [];
for (const spec of folders) {
  const [folder, prefix = ''] = spec.split('=');
  for (const path of walk(folder)) {
    const name = `${prefix}/${relative(folder, path)}`;
    const ending = name.slice(name.lastIndexOf('.') + 1);
    if (!types[ending]) throw new Error(`${path}: no content type is known for .${ending}; add it here`);
    if (!/^[A-Za-z0-9/._-]+$/.test(name)) throw new Error(`${path}: an odd name`);
    const plain = readFileSync(path);
    files.push({
      path: prefix && name === `${prefix}/index.html` ? prefix : name,
      type: types[ending],
      etag: createHash('sha256').update(plain).digest('hex').slice(0, 32),
      plain,
      gzip: smaller(gzipSync(plain, { level: 9 }), plain),
      brotli: smaller(brotliCompressSync(plain, {
        params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
      }), plain),
      immutable: hashed.test(name) ? 1 : 0,
    });
  }
}
files.sort((a, b) => (a.path < b.path ? -1 : 1)); // by bytes: the order that strcmp and bsearch expect
if (!files.some((file) => file.path === '/index.html')) throw new Error(`no index.html in ${folders}`);

let at = 0;
const bodies = [];
const put = (body) => {
  if (!body) return 'NULL, 0';
  const text = `assets_blob + ${at}, ${body.length}`;
  bodies.push(body);
  at += body.length;
  return text;
};
const rows = files.map((file) => {
  const [plain, plainSize] = put(file.plain).split(', ');
  const [gzip, gzipSize] = put(file.gzip).split(', ');
  const [brotli, brotliSize] = put(file.brotli).split(', ');
  return `    {"${file.path}", "${file.type}", "\\"${file.etag}\\"", ${plain}, ${gzip}, ${brotli},
     ${plainSize}, ${gzipSize}, ${brotliSize}, ${file.immutable}},\n`;
});
const c = `/* Made by tools/embed-web.mjs. */
#include "http/assets.h"

__asm__(".pushsection .rodata\\n"
        ".hidden assets_blob\\n.globl assets_blob\\n.balign 64\\n"
        "assets_blob: .incbin \\"${resolve(outBin)}\\"\\n"
        ".byte 0\\n"
        ".popsection\\n");
extern const unsigned char assets_blob[];

const struct asset assets[] = {
${rows.join('')}};
const size_t n_assets = sizeof assets / sizeof assets[0];
`;

const write = (path, content) => {
  if (existsSync(path) && readFileSync(path).equals(content)) return;
  writeFileSync(`${path}.tmp`, content);
  renameSync(`${path}.tmp`, path);
};
write(outBin, Buffer.concat(bodies));
write(outC, Buffer.from(c));
