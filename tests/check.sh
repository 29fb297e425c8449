# shellcheck shell=bash
# check.sh: what test scripts share, to be sourced by bash: a folder of their own in $work, checks and skips that are counted, the closing line.
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

check() { # what, words that should not be
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $1: $2"
    fi
}
skip() { # why: one thing less to look at
    skipped=$((skipped + 1))
    echo "SKIPPED $1"
}
skip_rest() { # why
    skip "$1"
    finish
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ $((passed + skipped)) -ne 0 ]
    exit
}
is_sanitized() { grep -q '^MEMGUARD_SANITIZE:STRING=.' "${MEMGUARD_BUILD:?}/CMakeCache.txt"; }
# Ends the script where system calls cannot be counted.
needs_strace() {
    is_sanitized && skip_rest "a sanitizer makes system calls of its own"
    command -v strace >/dev/null 2>&1 || skip_rest "no strace here"
    strace -f -qq -o "$work/trace" true 2>/dev/null || skip_rest "strace may not trace here"
}
