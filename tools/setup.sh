#!/bin/sh
# Installs from Debian (and npm) what a goal needs and is missing, and says what it does.
#   tools/setup.sh build|demo|test|bench|fuzz|format|train
# Needs root or sudo only when something is missing.
set -eu
cd "$(dirname "$0")/.."

build="gcc libc6-dev meson ninja-build pkg-config libjansson-dev libssl-dev libavformat-dev libavcodec-dev
  libavutil-dev libsoxr-dev libzip-dev libmicrohttpd-dev libsqlite3-dev libwslay-dev libcurl4-openssl-dev zlib1g-dev ca-certificates"
# Human voice prompts and speech synthesisers: samples for the demonstration and the tests.
samples="asterisk-core-sounds-en-wav asterisk-core-sounds-ru-wav
  espeak-ng festival festvox-kallpc16k ffmpeg"
format="clang-format"
fuzz="clang libclang-rt-14-dev libcmocka-dev"
test="$samples $format g++ libcmocka-dev libopencore-amrnb-dev libvo-amrwbenc-dev man-db util-linux prometheus sqlite3 chromium"
train="python3 python3-torch python3-numpy python3-scipy python3-soundfile libopenblas0-pthread ffmpeg"
bench="$train python3-onnx asterisk-core-sounds-en-wav nginx-light wrk sqlite3 make g++"
node=no # the build needs it for the web page, the tests to drive what they test

case "${1:-build}" in
build)  want="$build"; node=yes ;;
demo)   want="$build $samples"; node=yes ;;
test)   want="$build $test"; node=yes ;;
bench)  want="$build $bench"; node=yes ;;
fuzz)   want="$build $fuzz"; node=yes ;;
format) want="$format" ;;
train)  want="$train" ;;
*) echo "usage: tools/setup.sh build|demo|test|bench|fuzz|format|train" >&2; exit 2 ;;
esac

if [ $node = yes ] && ! node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null
then want="$want nodejs npm"; fi

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is no Debian; please install the equivalents of:" $want >&2
  exit 0
fi

missing=""
for package in $want; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  case "$status" in *" installed") ;; *) missing="$missing $package" ;; esac
done

if [ -n "$missing" ]; then
  root=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: as root, please run: apt-get install$missing" >&2; exit 1; }
    root=sudo
  fi
  echo "setup: installing from Debian:$missing"
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
    > /dev/null
fi

if [ "${1:-build}" = bench ] &&
  { [ ! -d bench/node_modules/onnxruntime-node ] || [ ! -d bench/node_modules/better-sqlite3 ]; }; then
  echo "setup: installing from npm: what bench/package.json names"
  (cd bench && npm ci --ignore-scripts --no-audit --no-fund --silent)
fi
if [ "${1:-build}" = bench ] && [ ! -d bench/node_modules/better-sqlite3/build ]; then
  (cd bench && npm rebuild better-sqlite3 --silent) ||
    echo "setup: better-sqlite3 could not be built here; the benchmarks leave Fastify out"
fi

if [ "${1:-build}" = test ] && ! cmp -s tests/browser/package-lock.json tests/browser/node_modules/.sonde-lock; then
  echo "setup: installing from npm: what tests/browser/package.json names"
  (cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund --silent && cp package-lock.json node_modules/.sonde-lock)
fi
