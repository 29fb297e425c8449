#!/bin/bash
# docs/SYSCALLS.md against the facts: strace watches test_system_calls go through the API, in several tours; every call it sees in a
# phase must be in that phase's tables. Also: the list in the test's own filter, and the lines for unit files. Usage: test_system_calls.sh DIRECTORY
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
page=$MEMGUARD_SOURCE/docs/SYSCALLS.md
program=${1:?the folder of the programs}/test_system_calls

listed() { # sections, as patterns: the calls in their tables
    local section
    for section in "$@"; do
        awk -v section="$section" '/^## / { in_it = index($0, "## " section) == 1 } in_it' "$page" | sed -n 's/^| `\([a-z0-9_]*\)` |.*/\1/p'
    done | sort -u
}
# Each file in "$work/traces" is one tour.
seen() { # phase: the calls between its marks and the next; lines are `PID call(...`, or `PID <... call resumed>`
    awk -v phase="$1" '
        FNR == 1 { in_it = 0 }
        /write\(-1, "phase / { in_it = index($0, "\"phase " phase "\"") > 0; next }
        in_it && match($2, /^[a-z0-9_]+\(/) { print substr($2, 1, RLENGTH - 1) }' "$work"/traces/* | sort -u
}
seen_at_all() {
    awk 'FNR == 1 { host = 0 } /write\(-1, "phase / { host = /phase host/ }
        !host && match($2, /^[a-z0-9_]+\(/) { print substr($2, 1, RLENGTH - 1) }' "$work"/traces/* | sort -u
}
beyond() { # phase, sections...: what was seen and is not listed
    local phase=$1
    shift
    comm -23 <(seen "$phase") <(listed "$@")
}

# ---- what needs no tracing ----
making="Making and growing" prepared="After prepare" first="A thread's first calls" ending="Ending a vault" purging=Purging io=Reading
process="Signals, crashes" sweep="A sweep" before="Before a fork" settling="A copy's first call"
everything=("$making" "$prepared" "$first" "$ending" "$purging" "$io" "$process" "$sweep" "$before" "$settling")

in_test=$(sed -n '/after_prepare\[\] =/,/};/p' "${0%.sh}.c" | grep -o 'SYS_[a-z_]*' | sed s/SYS_// | sort -u)
check "the filter of the test is the table of the page" "$(comm -3 <(listed "$prepared") <(echo "$in_test"))"
in_lines=$(sed -n 's/^ *SystemCallFilter=//p' "$page" | tr ' ' '\n' | sort -u)
check "the lines for unit files have every call" \
    "$(comm -23 <(listed "${everything[@]}") <(echo "$in_lines"))"

# ---- tracing ----
needs_strace
mkdir "$work/traces" || exit 1
go() { # tour, its exit code, what it says
    # A shell of its own, whose words about a killed program nobody needs.
    (strace -f -qq -o "$work/traces/$1" "$program" "$1" >"$work/tour" 2>"$work/words" </dev/null; exit $?) 2>/dev/null
    check "the tour $1" "$([ $? -eq "$2" ] && { [ -z "$3" ] || grep -q "$3" "$work/tour" "$work/words"; } || cat "$work/tour" "$work/words" - <<<"went wrong")"
}
go all 0 ''
go signal 0 ''
go crash 139 '^memguard: 1 byte past a 48-byte secret$'
go exit 0 ''
go panic 134 '^memguard: panic: the end of the tour$'
go sweep 0 ''
go copy 0 '^the child was right$'
for phase in making thread prepared io purging ending process sweep fork settling; do
    check "$phase: something was seen" "$([ -n "$(seen $phase)" ] || echo nothing)"
done
check "making" "$(beyond making "$making")"
check "first calls" "$(beyond thread "$making" "$first")"
check "prepared" "$(beyond prepared "$prepared")"
check "reading and writing" "$(beyond io "$making" "$io" "$ending")" # and the ends of threads of the program
check "purging" "$(beyond purging "$purging" "$making" "$ending")"   # likewise
check "ending" "$(beyond ending "$ending")"
check "signals, crashes, exits, hardening" "$(beyond process "$process" "$making" "$purging" "$ending")"
check "a sweep" "$(beyond sweep "$sweep")"
check "before a fork" "$(beyond fork "$before" "$making")" # the housekeeper may just begin
check "a copy's first call" "$(beyond settling "$settling" "$prepared" "$ending")"
check "the whole program, by the lines for unit files" "$(comm -23 <(seen_at_all) <(echo "$in_lines"))"
check "nothing becomes executable" "$(awk 'FNR == 1 { p = 0 } /write\(-1, "phase / { p = 1 } p && /PROT_EXEC/' "$work"/traces/*)"
# Must fail: a page that lacks a line.
grep -v -e '^| `getrandom` |' -e '^| `process_vm_readv` |' -e '^| `sigaltstack` |' "$page" >"$work/page"
page=$work/page
check "self-test" "$([ "$(beyond prepared "$prepared")" = getrandom ] || echo "a missing line is not noticed")"
check "self-test, a sweep" "$([ "$(beyond sweep "$sweep")" = process_vm_readv ] || echo "a missing line is not noticed")"
check "self-test, signals" "$(beyond process "$process" "$making" "$purging" "$ending" | grep -q sigaltstack || echo "a missing line is not noticed")"
finish
