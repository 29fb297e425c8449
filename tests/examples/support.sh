# shellcheck shell=bash
# What the tests of the examples share: a folder of their own, checks with a closing line, skips that are loud.
build=${MEMGUARD_BUILD:?the build folder}
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

is_sanitized() { grep -q '^MEMGUARD_SANITIZE:STRING=.' "$build/CMakeCache.txt"; }
# An emergency wipe waits for nobody: by its contract it races with the housekeeper, until the process ends; nor are threads joined then.
echo "race:memguard_emergency_wipe" >"$work/tsan"
export TSAN_OPTIONS="${TSAN_OPTIONS-}:suppressions=$work/tsan:print_suppressions=0:report_thread_leaks=0"
needs() { # program
    command -v "$1" >/dev/null 2>&1 && return 0
    skip "no $1 here"
    finish
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
