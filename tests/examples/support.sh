# shellcheck shell=bash
# What the tests of the examples share, besides check.sh: checks that compare, waiting for a line.
build=${MEMGUARD_BUILD:?the build folder}
. "${BASH_SOURCE[0]%/*}/../check.sh"

check() { # what expected got
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1: not '$2' but '$3'"
        [ ! -s "$work/err" ] || sed 's/^/    /' "$work/err"
    fi
}
# An emergency wipe waits for nobody: by its contract it races with the housekeeper, until the process ends; nor are threads joined then.
echo "race:memguard_emergency_wipe" >"$work/tsan"
export TSAN_OPTIONS="${TSAN_OPTIONS-}:suppressions=$work/tsan:print_suppressions=0:report_thread_leaks=0"
needs() { # program
    command -v "$1" >/dev/null 2>&1 || skip_rest "no $1 here"
}
wait_for_line() { # file; until somebody wrote a line to it, ten seconds at the most
    for ((i = 0; i < 1000; i++)); do
        [ ! -s "$1" ] || return 0
        sleep 0.01
    done
    echo "FAILED: nothing came to $1" >&2
    return 1
}
hex() { od -An -v -tx1 | tr -d ' \n'; }
