#!/bin/bash
# examples/prefork: eight workers answer under the key that their parent loaded, as openssl would; all end when they are told to.
set -u
. "$(dirname "$0")/support.sh"
program=$build/examples/prefork
needs openssl
if grep -q '^MEMGUARD_SANITIZE:STRING=.*thread' "$build/CMakeCache.txt"; then
    skip "ThreadSanitizer takes the threads of forked children for those of their parent"
    finish
fi
head -c 32 /dev/urandom >"$work/key"
mkfifo "$work/input"

timeout 60 "$program" "$work/key" <"$work/input" >"$work/port" 2>"$work/err" &
pid=$!
exec 4>"$work/input" # closed again: the end of its input
wait_for_line "$work/port" && read -r port <"$work/port"

ask() { # text: leaves $mac and $worker
    mac='' worker=''
    exec 3<>"/dev/tcp/127.0.0.1/$port" && printf '%s\n' "$1" >&3 && read -r mac worker <&3
    exec 3>&-
}

wrong=0
for ((i = 0; i < 400; i++)); do
    ask "request $((i % 10))"
    [ "$mac" = "${macs[$((i % 10))]=$mac}" ] || wrong=$((wrong + 1))
    echo "$worker" >>"$work/workers"
done
check "the same question, the same answer, from whichever worker" 0 $wrong
for i in 0 9; do
    by_openssl=$(printf 'request %s' $i | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(hex <"$work/key")" | sed 's/.*= *//')
    check "request $i: what openssl says" "$by_openssl" "${macs[$i]}"
done
# One that is held up by a silent client: another answers.
exec 5<>"/dev/tcp/127.0.0.1/$port"
ask "request 0"
check "beside a silent client" "${macs[0]}" "$mac"
exec 5>&-
check "more than one worker was at work" yes "$([ "$(sort -u "$work/workers" | wc -l)" -gt 1 ] && echo yes)"
exec 4>&-
wait $pid
check "all workers and their parent end well" 0 $?
# What LeakSanitizer says about threads of other processes does not count.
check "nobody complained" "" "$(grep -v '^==[0-9]*==Running thread' "$work/err")"
finish
