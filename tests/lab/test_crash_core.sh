#!/bin/bash
# Real core files of a process that crashes while five threads hold copies of a secret, searched for these copies in windows of 8 bytes:
# without a handler there are some; with memguard_catch_crash and MEMGUARD_CRASH_CORE there is a core without any; with
# memguard_catch_crash alone there is no core. Each core must show the control, which lies in ordinary memory.
set -u
subject=$MEMGUARD_BUILD/tests/guest/crash_subject
passed=0 failed=0 skipped=0
scratch=$(mktemp -d /dev/shm/memguard-core-XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
    exit
}

skip_all() {
    echo "SKIPPED: $1"
    skipped=1
    finish
}

verdict() { # $1: 0 good; then what was looked at
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $backend: ${*:2}: exit code $code, core: ${found:-none}"
    fi
}

# Commits one crash; sets $code, and $found to what is in the core, or nothing.
crash() { # mode crash
    local seed=$((RANDOM * 32768 + RANDOM)) core
    rm -f core core.*
    { MEMGUARD_BACKEND=$backend "$subject" "$1" 5 "$2" "$seed" >out 2>err; } 2>/dev/null
    code=$?
    core=$(echo core*)
    found=
    [ ! -s "$core" ] || found=$("$subject" search "$seed" "$core")
}

value() { echo "$found" | awk -v word="$1" '{ for (i = 1; i < NF; i++) if ($i == word) print $(i + 1) }'; }

judge() { # mode crash exit-code
    crash "$1" "$2"
    local good=1
    [ "$code" -eq "$3" ] && case $1 in
        off) [ -n "$found" ] && [ "$(value control)" -ge 1 ] && [ "$(value marker)" -ge 1 ] && good=0 ;;
        core) [ -n "$found" ] && [ "$(value control)" -ge 1 ] && [ "$(value marker)" -eq 0 ] && good=0 ;;
        on) [ -z "$found" ] && good=0 ;;
    esac
    verdict $good "$@"
}

[ -x "$subject" ] || skip_all "no program crash_subject was built here"
case $(cat /proc/sys/kernel/core_pattern) in
'|'* | '@'* | */* | '') skip_all "core files do not go to the working directory here (core_pattern)" ;;
esac
ulimit -c unlimited 2>/dev/null || skip_all "core files are forbidden by a hard limit"
if [ "${1-}" = "" ]; then echo "usage: test_crash_core.sh DIRECTORY"; exit 2; fi

for backend in auto locked; do
    for mode in off core on; do
        judge $mode segv 139
        judge $mode overrun 139
        judge $mode bus 135
        judge $mode abrt 134
        judge $mode ill 132
        judge $mode fpe 136
        judge $mode sys 159
        judge $mode trap 133
        judge $mode overflow 139
    done
done
finish
