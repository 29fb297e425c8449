#!/bin/bash
# How often the library calls the kernel in steady state, against the table "How many calls" of docs/SYSCALLS.md: strace counts what the
# thread that runs test_steady_calls calls between its marks. Usage: test_steady_calls.sh DIRECTORY
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
page=$MEMGUARD_SOURCE/docs/SYSCALLS.md
program=${1:?the folder of the programs}/test_steady_calls
rounds=$(sed -n 's/.*ROUNDS = \([0-9]*\).*/\1/p' "${0%.sh}.c")

promised() { # lines "operation: calls"
    awk '/^## / { in_it = /^## How many calls/ } in_it && /^\| .* \| [0-9]+ \|$/' "$page" | sed 's/^| \(.*\) | \([0-9]*\) |$/\1: \2/'
}
# The fewest calls of all the times that an operation was gone through: what is made each time is in all of them; the begin of a
# lease, or growing for the first time, is not.
counted() { # the same lines; calls of less than every tenth round do not count
    awk -v rounds="$rounds" '
        function note() { if (name != "" && (!(name in fewest) || n < fewest[name])) fewest[name] = n; n = 0 }
        /^write\(-1, "/ { note(); split($0, parts, "\""); name = parts[2]; next }
        { n++ }
        END { for (name in fewest) print name ": " int(fewest[name] / rounds + 0.9) }' "$work/trace" | sort
}

check "the page has figures" "$([ -n "$(promised)" ] || echo none)"
needs_strace
strace -qq -s 100 -o "$work/trace" "$program" >"$work/words" 2>&1
check "the program" "$([ $? -eq 0 ] || cat "$work/words" - <<<"went wrong")"
grep '^SKIPPED' "$work/words" && skip_rest "nothing to count"
check "calls in steady state, counted > and promised <" "$(diff <(promised | sort) <(counted))"
# Must fail: one call less than there are.
promised | sed 's/^\(take, CLOSED\): .*/\1: 1/' | sort >"$work/promised"
check "self-test" "$(diff "$work/promised" <(counted) >/dev/null && echo "a call more is not noticed")"
finish
