#!/bin/bash
# The benchmark programs run, know their rows, and write JSON and plots that the scripts which read them understand. What they
# measure here means nothing: the budget is next to none.
set -u
build=${MEMGUARD_BUILD:?the build folder}
source=${MEMGUARD_SOURCE:?the source folder}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

check() { # what expected got
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1: not '$2' but '$3'"
        [ ! -s "$work/err" ] || sed 's/^/    /' "$work/err"
    fi
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
skip() { # why
    skipped=$((skipped + 1))
    echo "SKIPPED $1"
}
run() { timeout 60 "$@" >"$work/out" 2>"$work/err"; }

if [ ! -x "$build/memguard-bench" ] || [ ! -x "$build/memguard-scale" ]; then
    skip "the benchmarks are not part of this build"
    finish
fi

# Flat JSON, one object a line: a grammar as a regular expression.
text='"[^"\\]*"' number='-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?'
not_json() { grep -Evc "^\{$text:($text|$number|true|false)(,$text:($text|$number|true|false))*\}\$" "$1"; }
lines() { grep -c "$1" "$2"; }

# A row of each kind: ratio, speed, time, by size; threads; single calls.
rows=(use use_1m read_compact read_compact_two use_busy floor_hash size_use_16 latency)
run "$build/memguard-bench" --list
check "the rows are listed" "0" "$?"
for row in "${rows[@]}"; do check "$row is a row" "1" "$(lines "^$row\$" "$work/out")"; done
check "names are unique" "" "$(sort "$work/out" | uniq -d)"

run "$build/memguard-bench" --tiny --json "$work/results" "${rows[@]}"
check "the rows run" "0" "$?"
check "a line for each in the table" "6" "$(grep -Ec '^  (use, lease running|use, 1 MiB: speed|COMPACT READ view|COMPACT READ view, 2 threads, 1 secret|use  |BLAKE2b: 16 KiB)' "$work/out")"
check "all lines are JSON" "0" "$(not_json "$work/results")"
check "one about the run" "1" "$(lines '^{"run":"memguard-bench"' "$work/results")"
check "one for each row" "7" "$(lines '^{"row":"' "$work/results")"
check "a bar says how it was met" "5" "$(grep -Ec '"sense":"[<>]=","bar":[0-9.]+,"aim":[0-9.]+,"met":(true|false)' "$work/results")"
check "no ratio is zero or no number" "0" "$(grep -Ec '"value":(0,|0\.0+,|-|inf|nan)' "$work/results")"

run "$build/memguard-scale" --tiny --json "$work/results" many calls
check "the numbers are measured" "0" "$?"
check "all lines are JSON still" "0" "$(not_json "$work/results")"
check "they are appended" "2" "$(lines '^{"run":"' "$work/results")"
check "memory is a number of bytes" "1" "$(grep -Ec '"row":"memory".*"unit":"B"' "$work/results")"

run "$build/memguard-bench" --tiny no_such_row
check "an unknown row is refused" "2" "$?"
run "$build/memguard-scale" no_such_group
check "an unknown group is refused" "2" "$?"
run "$build/memguard-bench" --json "$work/no/such/folder" use
check "results that cannot be written are an error" "1" "$?"

# The pages: every marker is known, figures come in, and again nothing but they change.
printf 'before\n<!-- bench: bars -->\nold\n<!-- bench: end -->\n<!-- bench: rows use -->\n<!-- bench: end -->\nafter\n' >"$work/page"
run sh "$source/scripts/bench-table" "$work/results" "$work/page"
check "figures are written into a page" "0 2 0" "$? $(grep -c '| use, lease running' "$work/page") $(grep -c '^old$' "$work/page")"
cp "$work/page" "$work/first"
run sh "$source/scripts/bench-table" "$work/results" "$work/page"
check "and a second time they are the same" "" "$(diff "$work/first" "$work/page")"
check "what is around them stays" "before after" "$(sed -n '1p;$p' "$work/page" | tr '\n' ' ' | sed 's/ $//')"
printf '<!-- bench: rows no_such_row -->\n<!-- bench: end -->\n' >"$work/page"
cp "$work/page" "$work/first"
run sh "$source/scripts/bench-table" "$work/results" "$work/page"
check "a page that wants an unknown row is left as it was" "1 " "$? $(diff "$work/first" "$work/page")"
for page in docs/PERFORMANCE.md README.md; do
    check "$page names only rows that there are" "" \
        "$(comm -13 <({ "$build/memguard-bench" --list; grep -oE '\{"[a-z_0-9]+", "[^"]+", "(B|ns|%|/s)?"' "$source/bench/scale.c" | cut -d'"' -f2; } | sort) \
            <(sed -n 's/^<!-- bench: rows \(.*\) -->$/\1/p' "$source/$page" | tr ' ' '\n' | sort -u))"
done

if command -v gnuplot >/dev/null 2>&1; then
    run sh "$source/scripts/bench-plots" "$work/results" "$work/plots"
    check "what there are results for is drawn" "0 busy.svg latency.svg" "$? $(cd "$work/plots" && echo *)"
    check "as SVG" "1" "$(lines '</svg>' "$work/plots/latency.svg")"
else
    skip "there is no gnuplot"
fi
finish
