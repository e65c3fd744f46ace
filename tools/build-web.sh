#!/bin/sh
# Builds the web page and turns it into C (tools/embed-web.mjs). Ninja runs this when something under web/ changes.
#   tools/build-web.sh OUT.c OUT.bin OUT.d true|false
# With `false` a small page stands in: no npm, no registry; Node alone.
#
# All build folders of a checkout share one result in .cache/web, so that the sanitizer build does not run npm
# again. A lock makes parallel runs safe: the first one builds, the others find its stamp, a hash of the sources.
set -eu
out_c=$(realpath "$1") out_bin=$(realpath "$2") out_d=$(realpath "$3") page=$4
out=$1 # as Ninja calls it
cd "$(dirname "$0")/.."
cache=.cache/web
mkdir -p "$cache"

# What the result depends on, for Ninja. Folders are in the list, too, so that a new file is noticed.
inputs() {
  find src/http/docs tools/placeholder tools/build-web.sh tools/embed-web.mjs
  [ "$page" = false ] || {
    find web/src web/public 2>/dev/null || true
    ls web/index.html web/package.json web/package-lock.json web/vite.config.ts web/tsconfig.json
  }
}
# No blank, backslash, # or $ in names: the format of the file that Ninja reads has rules about them.
inputs | LC_ALL=C sort | awk -v root="$(pwd)/" -v out="$out" '
  BEGIN { printf "%s:", out } !/[ \\#$]/ { printf " %s%s", root, $0 } END { print "" }' > "$out_d"

sources() { # the page's own files, without its tests
  { find web/src web/public -type f 2>/dev/null || true
    ls web/index.html web/package.json web/package-lock.json web/vite.config.ts web/tsconfig.json
  } | grep -vE '\.test\.[a-z]+$' | LC_ALL=C sort
}

fail() {
  echo "build-web: $1" >&2
  echo "build-web: to build sonde without its web page: meson configure build -Dweb=false" >&2
  exit 1
}

# Whether web/node_modules holds the very versions of the lock file, however it came there.
installed() {
  node -e '
    const { readFileSync } = require("fs");
    const read = (path) => JSON.parse(readFileSync(path)).packages;
    const want = read("web/package-lock.json"), have = read("web/node_modules/.package-lock.json");
    for (const [path, p] of Object.entries(want))
      if (path && !p.optional && !p.peer && !p.extraneous && have[path]?.version !== p.version) process.exit(1);
  ' 2>/dev/null
}

build_page() {
  command -v npm >/dev/null || fail "npm is missing (Debian: apt-get install npm); it is needed once, to build the page."
  installed || {
    echo "build-web: installing what web/package-lock.json names" >&2
    (cd web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) > "$cache/npm.log" 2>&1 || {
      tail -5 "$cache/npm.log" >&2
      fail "npm could not install the page's libraries; is a registry within reach?"
    }
  }
  rm -rf "$cache/next"
  (cd web && node node_modules/vite/bin/vite.js build --outDir "../$cache/next" --emptyOutDir --logLevel warn) \
    > "$cache/vite.log" 2>&1 || { tail -20 "$cache/vite.log" >&2; fail "the page does not build."; }
  rm -rf "$cache/dist"
  mv "$cache/next" "$cache/dist"
}

if [ "$page" = false ]; then
  exec node tools/embed-web.mjs "$out_c" "$out_bin" tools/placeholder src/http/docs=/docs
fi
exec 9> "$cache/lock"
flock 9
stamp=$(sources | xargs sha256sum | sha256sum)
if [ "$(cat "$cache/stamp" 2>/dev/null)" != "$stamp" ] || [ ! -f "$cache/dist/index.html" ]; then
  rm -f "$cache/stamp"
  build_page
  echo "$stamp" > "$cache/stamp"
fi
# Within the lock: nobody may exchange the folder while it is read.
node tools/embed-web.mjs "$out_c" "$out_bin" "$cache/dist" src/http/docs=/docs
