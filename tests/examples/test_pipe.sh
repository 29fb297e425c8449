#!/bin/bash
# examples/pipe gives out what came in, holds it sealed while nobody takes it, and says when it could not get rid of it.
set -u
. "$(dirname "$0")/support.sh"
program=$build/examples/pipe

for bytes in 0 1 16383 16384 16385 5000000; do
    head -c $bytes /dev/urandom >"$work/data"
    timeout 60 "$program" <"$work/data" >"$work/out" 2>"$work/err"
    check "$bytes bytes: ends well" 0 $?
    check "$bytes bytes: the same" "$(sha256sum <"$work/data")" "$(sha256sum <"$work/out")"
done
check "through pipes" "$(sha256sum <"$work/data")" "$(cat "$work/data" | timeout 60 "$program" | sha256sum)"

# The taker waits until the giver has ended: all of it must be in the buffer then.
mkfifo "$work/input" "$work/output"
timeout 60 "$program" <"$work/input" >"$work/output" 2>"$work/err" &
pid=$!
exec 5<>"$work/output" # somebody who does not read
cat "$work/data" >"$work/input"
check "the giver ended before anything was taken" 0 $?
head -c 5000000 <&5 | cmp -s - "$work/data"
check "then all is there" 0 $?
wait $pid
check "and it ends well" 0 $?
exec 5>&-

timeout 60 "$program" <"$work/data" 2>"$work/err" | :
check "nobody takes it: an error, no signal" 1 "${PIPESTATUS[0]}"
timeout 60 "$program" <"$work" >"$work/out" 2>"$work/err"
check "input that cannot be read" 1 $?

# While it is held, it is not in the process's memory in the clear.
look() { # what, how often, command...: with the marker on its input, and nobody who reads
    "${@:3}" <"$work/input" >"$work/output" 2>"$work/err" &
    pid=$!
    exec 5<>"$work/output"
    { yes "$marker" | head -c 500000; } >"$work/input"
    sleep 0.3
    gcore -o "$work/core" $pid >"$work/gcore" 2>&1
    kill $pid
    { wait $pid; } 2>/dev/null
    exec 5>&-
    if [ -s "$work/core.$pid" ]; then
        check "$1" "$2" "$(grep -acq "$marker" "$work/core.$pid" && echo there || echo gone)"
    else
        skip "$1: gcore may not look here"
    fi
    rm -f "$work/core.$pid"
}
if is_sanitized; then
    skip "a sanitizer's shadow memory is too large for a core file"
elif command -v gcore >/dev/null 2>&1; then
    marker=$(head -c 24 /dev/urandom | hex)
    look "held sealed" gone "$program"
    look "control: held by sort" there sort
else
    skip "no gcore here"
fi
finish
