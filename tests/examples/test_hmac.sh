#!/bin/bash
# examples/hmac says what openssl says, of files and of standard input.
set -u
. "$(dirname "$0")/support.sh"
program=$build/examples/hmac
needs openssl

by_openssl() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(hex <"$1")" "$2" | sed 's/.*= *//'; }
for key_bytes in 1 32 64 65 4096; do
    head -c $key_bytes /dev/urandom >"$work/key"
    for bytes in 0 1 16384 16385 1000000; do
        head -c $bytes /dev/urandom >"$work/data"
        check "key $key_bytes, file $bytes" "$(by_openssl "$work/key" "$work/data")" "$(timeout 60 "$program" "$work/key" "$work/data" 2>"$work/err")"
    done
    check "key $key_bytes, pipe" "$(by_openssl "$work/key" "$work/data")" "$(cat "$work/data" | timeout 60 "$program" "$work/key" 2>"$work/err")"
done
refused() { # what, arguments...
    timeout 60 "$program" "${@:2}" >"$work/out" 2>"$work/err" </dev/null
    check "$1" "1 0" "$? $(wc -c <"$work/out")"
}
: >"$work/empty"
refused "an empty key" "$work/empty"
head -c 4097 /dev/urandom >"$work/long"
refused "a key that is too long" "$work/long"
refused "no key" "$work/none"
refused "no file" "$work/key" "$work/none"
refused "a folder" "$work/key" "$work"
finish
