#!/bin/bash
# docs/SYSCALLS.md against the facts: strace watches test_system_calls go through the API; every call it sees in a phase must be in
# that phase's tables. Also: the list in the test's own filter, and the lines for unit files. Usage: test_system_calls.sh DIRECTORY
set -u
page=${MEMGUARD_SOURCE:?}/docs/SYSCALLS.md
program=${1:?the folder of the programs}/test_system_calls
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

check() { # what, words that should not be
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $1:" $2
    fi
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
skip() {
    skipped=1
    echo "SKIPPED $1"
    finish
}

listed() { # sections, as patterns: the calls in their tables
    local section
    for section in "$@"; do
        awk -v section="$section" '/^## / { in_it = index($0, "## " section) == 1 } in_it' "$page" | sed -n 's/^| `\([a-z0-9_]*\)` |.*/\1/p'
    done | sort -u
}
seen() { # phase: the calls between its mark and the next; lines are `PID call(...`, or `PID <... call resumed>`
    awk -v phase="$1" '
        /write\(-1, "phase / { in_it = index($0, "\"phase " phase "\"") > 0; next }
        in_it && match($2, /^[a-z0-9_]+\(/) { print substr($2, 1, RLENGTH - 1) }' "$work/trace" | sort -u
}
seen_at_all() { awk '/write\(-1, "phase / { host = /phase host/ } !host && match($2, /^[a-z0-9_]+\(/) { print substr($2, 1, RLENGTH - 1) }' "$work/trace" | sort -u; }
beyond() { # phase, sections...: what was seen and is not listed
    local phase=$1
    shift
    comm -23 <(seen "$phase") <(listed "$@")
}

# ---- what needs no tracing ----
making="Making and growing" prepared="After prepare" first="A thread's first calls" ending="Ending a vault" purging=Purging io=Reading

in_test=$(sed -n '/after_prepare\[\] =/,/};/p' "${0%.sh}.c" | grep -o 'SYS_[a-z_]*' | sed s/SYS_// | sort -u)
check "the filter of the test is the table of the page" "$(comm -3 <(listed "$prepared") <(echo "$in_test"))"
in_lines=$(sed -n 's/^ *SystemCallFilter=//p' "$page" | tr ' ' '\n' | sort -u)
check "the lines for unit files have every call" \
    "$(comm -23 <(listed "$making" "$prepared" "$first" "$ending" "$purging" "$io") <(echo "$in_lines"))"

# ---- tracing ----
grep -q '^MEMGUARD_SANITIZE:STRING=.' "${MEMGUARD_BUILD:?}/CMakeCache.txt" && skip "a sanitizer makes system calls of its own"
command -v strace >/dev/null 2>&1 || skip "no strace here"
strace -f -qq -o "$work/trace" true 2>/dev/null || skip "strace may not trace here"
strace -f -qq -o "$work/trace" "$program" tour >"$work/tour" </dev/null
check "the tour" "$([ $? -eq 0 ] || cat "$work/tour")"
for phase in making thread prepared io purging ending; do
    check "$phase: something was seen" "$([ -n "$(seen $phase)" ] || echo nothing)"
done
check "making" "$(beyond making "$making")"
check "first calls" "$(beyond thread "$making" "$first")"
check "prepared" "$(beyond prepared "$prepared")"
check "reading and writing" "$(beyond io "$making" "$io")"
check "purging" "$(beyond purging "$purging" "$making" "$ending")" # and the end of the thread that purges
check "ending" "$(beyond ending "$ending")"
check "the whole program, by the lines for unit files" "$(comm -23 <(seen_at_all) <(echo "$in_lines"))"
check "nothing becomes executable" "$(awk '/write\(-1, "phase / { p = 1 } p && /PROT_EXEC/' "$work/trace")"
# Must fail: a page that lacks a line.
grep -v '^| `getrandom` |' "$page" >"$work/page"
page=$work/page
check "self-test" "$([ "$(beyond prepared "$prepared")" = getrandom ] || echo "a missing line is not noticed")"
finish
