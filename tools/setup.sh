#!/bin/sh
# Installs from Debian (and npm) what a goal needs and is missing, and says what it does.
#   tools/setup.sh build|demo|test|bench|fuzz|format|train
# Needs root or sudo only when something is missing.
set -eu
cd "$(dirname "$0")/.."

build="gcc libc6-dev meson ninja-build pkg-config libjansson-dev libssl-dev libavformat-dev libavcodec-dev
  libavutil-dev libsoxr-dev libzip-dev libmicrohttpd-dev libsqlite3-dev libwslay-dev libcurl4-openssl-dev libpq-dev librabbitmq-dev
  libhiredis-dev zlib1g-dev ca-certificates"
# Human voice prompts and speech synthesisers: samples for the demonstration and the tests.
samples="asterisk-core-sounds-en-wav asterisk-core-sounds-ru-wav
  espeak-ng festival festvox-kallpc16k ffmpeg"
format="clang-format"
fuzz="clang libclang-rt-14-dev libcmocka-dev"
# What the drivers are tested against, and what may stand in front: real ones, started by the tests and ended by them.
servers="postgresql-15 redis-server rabbitmq-server swift-proxy swift-account swift-container swift-object memcached
  haproxy nginx-light prometheus"
test="$samples $format $servers g++ libcmocka-dev libopencore-amrnb-dev libvo-amrwbenc-dev man-db util-linux sqlite3 chromium python3-yaml"
train="python3 python3-torch python3-numpy python3-scipy python3-soundfile libopenblas0-pthread ffmpeg"
bench="$train $servers python3-onnx asterisk-core-sounds-en-wav wrk sqlite3 s3cmd rclone make g++"
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
  # Debian starts a server when it installs it, unless this program says no. The tests start their own.
  policy=/usr/sbin/policy-rc.d
  own_policy=no
  allow_daemons() {
    if [ $own_policy = yes ]; then $root rm -f "$policy"; own_policy=no; fi
  }
  if [ ! -e $policy ]; then
    echo "setup: $policy keeps Debian from starting installed servers meanwhile; it is removed afterwards"
    own_policy=yes
    trap allow_daemons EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy > /dev/null
    $root chmod 755 $policy
  fi
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
    > /dev/null
  allow_daemons
  # Nor are those that came with this to start at the next boot.
  if [ -d /run/systemd/system ]; then
    for package in $missing; do
      case " $(echo $servers) " in
      *" $package "*)
        units=$(dpkg-query -L "$package" | sed -n 's,^\(/usr\)\?/lib/systemd/system/\([^@]*\.service\)$,\2,p')
        [ "$package" != postgresql-15 ] || units=postgresql.service
        [ -z "$units" ] || $root systemctl disable --quiet $units 2>/dev/null || true ;;
      esac
    done
  fi
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
