#!/bin/sh
# All tests: formatting, layers, unit and end-to-end tests of the release build, the same under
# AddressSanitizer and UBSan, and the replay of the fuzz corpora; --long also under ThreadSanitizer.
# Ends with one line of counts.
#   tools/test.sh [--long]     --long adds the slow checks
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh test
case " $* " in *" --long "*) tools/setup.sh train ;; esac

configure() { # folder, options...
  dir=$1; shift
  if [ -f "$dir/build.ninja" ]
  then meson configure "$dir" "$@" >/dev/null
  else meson setup "$dir" "$@" >/dev/null
  fi
}
configure build -Dtests=true
ninja -C build
# Sanitizers abort on the first finding, so that no test passes over one. -O1 -g1 takes gcc about half the time of -O2 -g,
# and the reports name the same lines; the kernels, where a test's time goes, have their own level (src/nn/meson.build).
# Two warnings hang on what -O2 finds out; the release build has them.
configure build-asan -Dtests=true -Db_sanitize=address,undefined -Db_lundef=false \
  -Dbuildtype=debugoptimized -Doptimization=1 -Dc_args='-g1 -Wno-format-truncation -Wno-maybe-uninitialized'
ninja -C build-asan
case " $* " in *" --long "*)
  configure build-tsan -Dtests=true -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized
  ninja -C build-tsan ;;
esac
exec node tools/run-tests.mjs "$@"
