#!/bin/bash
# examples/password: a new hash, the right password, a wrong one; the password is in no output. Without a controlling terminal (setsid) the
# answers come from standard input.
set -u
. "$(dirname "$0")/support.sh"
program=$build/examples/password
needs setsid

run() { # input, arguments...: leaves $code
    printf '%s' "$1" | timeout 60 setsid -w "$program" "${@:2}" >"$work/out" 2>"$work/err"
    code=$?
}

run $'correct horse\ncorrect horse\n' new
check "new: done" 0 $code
check "new: an Argon2id hash" 1 "$(grep -c '^\$argon2id\$' "$work/out")"
cp "$work/out" "$work/hash"
run $'correct horse\n' check "$work/hash"
check "the right one" "0 right" "$code $(cat "$work/out")"
run $'correct horsf\n' check "$work/hash"
check "a wrong one" "1 wrong" "$code $(cat "$work/out")"
check "the password is shown nowhere" 0 "$(cat "$work/out" "$work/err" "$work/hash" | grep -c horse)"
run $'correct horse\nincorrect\n' new
check "two that differ" "2 " "$code $(cat "$work/out")"
run '' check "$work/hash"
check "no answer" "2 " "$code $(cat "$work/out")"
run $'correct horse\n' check "$work/none"
check "no hash" "2 " "$code $(cat "$work/out")"
finish
