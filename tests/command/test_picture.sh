#!/bin/sh
# Builds picture_check.c with the picture and the line of progress of the command, apart from the library, under sanitizers
# where the compiler has them, and runs it; the SVG images that it leaves are looked at by a parser of XML.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=${MEMGUARD_SOURCE:-$here/../..}
compiler=${CC:-cc}
if ! command -v "$compiler" >/dev/null 2>&1; then
    echo "SKIPPED no C compiler"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tool=$source/tools/memguard

build() { # FLAGS...
    "$compiler" -std=gnu11 -O1 -g -Wall -I"$source/include" -I"$source/tests" -iquote "$tool" "$@" "$here/picture_check.c" \
        "$tool/picture.c" "$tool/picture_plan.c" "$tool/picture_words.c" "$tool/picture_svg.c" "$tool/progress.c" \
        -Wl,--wrap=clock_gettime,--wrap=calloc -o "$work/picture_check" -lpthread
}
if ! build -fsanitize=address,undefined -fno-sanitize-recover=all 2>/dev/null && ! build; then
    echo "FAILED picture_check.c does not build"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
mkdir "$work/svg"
"$work/picture_check" "$work/svg" >"$work/out"
code=$?
last=$(tail -n 1 "$work/out")
count() { echo "$last" | sed -n "s/.*\b\([0-9][0-9]*\) $1.*/\1/p"; }
passed=$(count passed) failed=$(count failed) skipped=$(count skipped)
if [ -z "$passed" ]; then # it did not get so far
    cat "$work/out"
    echo "FAILED picture_check ends with $code"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
sed '$d' "$work/out"
if ! command -v xmllint >/dev/null 2>&1; then
    skipped=$((skipped + 1))
    echo "SKIPPED no xmllint: picture_check's own look at the SVG has to do"
elif [ "$(find "$work/svg" -name '*.svg' | wc -l)" -gt 10 ] && xmllint --noout --nonet "$work"/svg/*.svg; then
    passed=$((passed + 1))
    echo "ok xmllint_reads_all_svg"
else
    failed=$((failed + 1))
    echo "FAILED xmllint_reads_all_svg"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$code" -eq 0 ]
