#!/bin/sh
# Checks (default) or applies (--apply) the formatting of every C file that git knows, the kernels' among them.
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files -co --exclude-standard '*.c' '*.h' 'src/nn/kernels/*.inc')
if [ "${1:-}" = --apply ]; then clang-format -i $files; else clang-format --dry-run -Werror $files; fi
