#!/bin/sh
# Runs every fuzz target in turn for FUZZ_SECONDS (default 600), under AddressSanitizer and UBSan. New
# inputs are kept in fuzz/out/; a finding ends the run with the input's name.
#   tools/fuzz.sh [TARGET…]
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-600}
[ -f build-fuzz/build.ninja ] ||
  CC=clang meson setup build-fuzz -Dfuzzers=true -Dtests=false -Db_lundef=false \
    -Dbuildtype=debugoptimized >/dev/null
ninja -C build-fuzz
[ $# -gt 0 ] || set -- $(cd fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
for target; do
  mkdir -p "fuzz/out/$target"
  echo "fuzz: $target for $seconds s"
  build-fuzz/fuzz/fuzz_"$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="fuzz/out/$target-" "fuzz/out/$target" \
    "fuzz/corpus/$target" 2>"fuzz/out/$target.log" || { tail -40 "fuzz/out/$target.log"; exit 1; }
  grep -E 'stat::number_of_executed_units|stat::average' "fuzz/out/$target.log"
done
