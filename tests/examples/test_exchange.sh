#!/bin/bash
# examples/exchange: both ends come to the same keys; when a public key is changed on its way, neither believes it.
set -u
. "$(dirname "$0")/support.sh"
program=$build/examples/exchange

timeout 60 "$program" >"$work/out" 2>"$work/err"
check "it ends well" 0 $?
check "both ends agree" "client server " "$(sed -n 's/: both ends have the same keys$//p' "$work/out" | sort | tr '\n' ' ')"
timeout 60 "$program" tampered 2>&1 >"$work/out" | cat >"$work/err" # cat ends when both ends have
check "tampered: not well" 1 "${PIPESTATUS[0]}"
check "tampered: nobody says so" "" "$(cat "$work/out")"
check "tampered: both ends notice" 2 "$(grep -c 'the peer has other keys\|the other end is gone' "$work/err")"
finish
