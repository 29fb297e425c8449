#!/bin/bash
# examples/sealed_server: 2,000 requests by two clients at the same time, under its filter; one more call kills it.
set -u
. "$(dirname "$0")/support.sh"
server=$build/examples/sealed_server
requests=1000 # by each client

# Asks `requests` times and writes the answers to the file $3: ids go from $1 on, every answer to the challenge "c-ID".
client() { # first-id step file
    local id=$1 answer
    for ((i = 0; i < requests; i++, id += $2)); do
        exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
        printf '%s c-%s\n' "$id" "$id" >&3
        read -r answer <&3 || return 1
        exec 3>&-
        echo "$id $answer"
    done >"$3"
}

# What the server should say, by openssl: HMAC-SHA256 under BLAKE2b(key = master, salt = id, personal = context).
expected() { # id
    local salt key
    salt=$(printf '%02x%02x000000000000' $(($1 % 256)) $(($1 / 256)))
    key=$(openssl mac -macopt "hexkey:$(hex <"$work/key")" -macopt size:32 -macopt "hexsalt:${salt}0000000000000000" \
        -macopt hexcustom:636c69656e74735f0000000000000000 -in /dev/null BLAKE2BMAC)
    printf 'c-%s' "$1" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" | sed 's/.*= *//'
}

start() { # requests [more]
    rm -f "$work/port"
    timeout 60 "$server" "$work/key" "$@" >"$work/port" 2>"$work/err" &
    pid=$!
    wait_for_line "$work/port" && read -r port <"$work/port"
}

if is_sanitized; then
    skip "a sanitizer makes system calls of its own, which the filter kills"
    finish
fi
head -c 32 /dev/urandom >"$work/key"

start $((2 * requests))
client 0 7 "$work/a" &
one=$!
client 9999 -7 "$work/b" &
two=$!
wait $one && wait $two
check "both clients were served" 0 $?
check "all requests were answered" $((2 * requests)) "$(cat "$work/a" "$work/b" | grep -cE '^[0-9]+ [0-9a-f]{64}$')"
wait $pid
check "it ends well, all vaults destroyed, under the filter" 0 $?
check "no two clients have the same key" $((2 * requests)) "$(sort -u -k2 "$work/a" "$work/b" | wc -l)"
for id in 0 7 6993 9999 3006; do
    check "client $id: what openssl says" "$(expected $id)" "$(sed -n "s/^$id //p" "$work/a" "$work/b")"
done

start 1 break
exec 3<>"/dev/tcp/127.0.0.1/$port" && printf '5 hello\n' >&3 && read -r answer <&3
exec 3>&-
{ wait $pid; } 2>/dev/null
check "one call that is not listed: SIGSYS" $((128 + 31)) $?
check "before it, all was well" 64 "${#answer}"

head -c 31 /dev/urandom >"$work/key"
"$server" "$work/key" 1 >"$work/port" 2>"$work/err"
check "a short key file is refused" 1 $?
finish
