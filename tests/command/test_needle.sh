#!/bin/sh
# Builds needle_check.c with the search of the command, apart from the library, and runs it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=${MEMGUARD_SOURCE:-$here/../..}
compiler=${CC:-cc}
if ! command -v "$compiler" >/dev/null 2>&1; then
    echo "SKIP no C compiler"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tool=$source/tools/memguard
if ! "$compiler" -std=gnu11 -O2 -Wall -I"$source/include" -I"$source/tests" -iquote "$tool" \
    "$here/needle_check.c" "$tool/needle.c" "$tool/scan.c" "$tool/maps.c" -o "$work/needle_check" -lpthread; then
    echo "FAIL needle_check.c does not build"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
"$work/needle_check"
