#!/bin/bash
# memguard git-credential: what real git stores, gets and erases by it; limits; lines that no git would send; and that the password is
# nowhere in the ordinary memory of the process that stores it.
# shellcheck disable=SC2154 # $work is of check.sh
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
here=$MEMGUARD_SOURCE/tests/command tool=$MEMGUARD_SOURCE/tools/memguard
build=${MEMGUARD_BUILD:?}
export PATH=$build:$PATH HOME=$work XDG_CONFIG_HOME=$work XDG_RUNTIME_DIR=$work/run GIT_TERMINAL_PROMPT=0 LC_ALL=C
export ASAN_OPTIONS=detect_leaks=0 GIT_CONFIG_NOSYSTEM=1
unset GIT_ASKPASS SSH_ASKPASS MEMGUARD_ASKPASS MEMGUARD_BACKEND DISPLAY
mkdir -m 700 "$XDG_RUNTIME_DIR"
out=$work/out err=$work/err
clean_up() {
    memguard purge 2>/dev/null
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

is() { check "$1" "$([ "$2" = "$3" ] || echo "'$2', not '$3'")"; }
has() { check "$1" "$(grep -q -- "$2" "$3" || echo "no '$2' in:" "$(cat "$3")")"; }
names() { memguard ls --json 2>/dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1/p' | sort | tr '\n' ' '; }
fresh() { memguard purge 2>/dev/null; }
helper() { # what, code, action and options: standard input as it is
    local what=$1 wanted=$2
    shift 2
    timeout 60 memguard git-credential "$@" >"$out" 2>"$err"
    is "$what: exit code" $? "$wanted"
}
lines() { printf '%s\n' "$@" ''; }
wait_for() { # COMMAND...
    local until=$((SECONDS + 30))
    while ! "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}
compile() { # output, sources and flags
    local output=$1 sanitize
    shift
    sanitize=$(sed -n 's/^MEMGUARD_SANITIZE:STRING=\(..*\)/-fsanitize=\1/p' "$build/CMakeCache.txt")
    # shellcheck disable=SC2086 # no flag at all, or one
    "${CC:-cc}" -std=gnu11 -O2 -Wall $sanitize -I"$MEMGUARD_SOURCE/include" -iquote "$tool" -o "$output" "$@"
}
compile "$work/pty" "$here/pty.c" && compile "$work/peer" "$here/agent_peer.c" "$tool/wire.c" &&
    compile "$work/credential_check" "$here/credential_check.c" "$tool/credential.c" "$tool/name.c" "$tool/options.c" \
        "$tool/ui.c" "$tool/wire.c" "$build/libmemguard.a" -lsodium -lpthread
check "the helpers build" "$([ $? -eq 0 ] || echo "they do not")"

# ---- random input ----
for seed in 1 2; do
    "$work/credential_check" $seed 1500 >"$out" 2>&1
    check "random input, seed $seed" "$([ $? -eq 0 ] || cat "$out")"
done

# ---- real git ----
if command -v git >/dev/null; then
    for helper in '!memguard git-credential' "$build/memguard git-credential" memguard; do
        git config --global credential.helper "$helper"
        fresh
        lines protocol=https host=a.example | git credential fill >"$out" 2>"$err"
        is "git, $helper: nothing is known" $? 128
        is "git, $helper: asking starts no agent" "$(memguard status 2>&1)" "memguard: no agent is running"
        lines protocol=https host=a.example username=alice 'password=s3cret = %' | git credential approve
        is "git, $helper: approve" "$(names)" "git:https://alice@a.example "
        lines protocol=https host=a.example | git credential fill >"$out" 2>&1
        is "git, $helper: fill" "$(tr '\n' ' ' <"$out")" "protocol=https host=a.example username=alice password=s3cret = % "
        lines protocol=https host=a.example username=alice password=other | git credential reject
        is "git, $helper: reject of another password" "$(names)" "git:https://alice@a.example "
        lines protocol=https host=a.example username=alice 'password=s3cret = %' | git credential reject
        is "git, $helper: reject" "$(names)" ""
    done
    git config --global credential.helper '!memguard git-credential --ttl 1h --idle 30m --confirm'
    lines protocol=https host=a.example username=alice password=one | git credential approve
    memguard ls >"$out"
    has "options of the helper: --ttl" "in 29 m\|in 30 m" "$out"
    has "options of the helper: --confirm" "confirm" "$out"
    fresh
    git config --global credential.helper '!memguard git-credential --ttl 1h'
    lines protocol=https host=a.example username=alice password=one | git credential approve
    lines protocol=https host=a.example username=alice password=one | git credential approve
    memguard set git:https://alice@a.example --ttl 10m <<<one >/dev/null # as with a newline at its end
    lines protocol=https host=a.example | git credential fill >"$out" 2>&1
    has "a secret with a newline at its end" '^password=one$' "$out"
else
    skip "no git here"
fi

# ---- which one ----
fresh
for entry in "a.example alice 1" "a.example bob 2" "b.example alice 3" "a.example:8443 alice 4"; do
    # shellcheck disable=SC2086
    set -- $entry
    helper "store $entry" 0 store < <(lines protocol=https host="$1" username="$2" password="$3")
done
helper "store with a path" 0 store < <(lines protocol=https host=a.example username=alice path=x/y.git password=5)
got() { # what, wanted user and password, lines
    local what=$1 wanted=$2
    shift 2
    helper "$what" 0 get < <(lines "$@")
    is "$what" "$(sed 's/^[a-z]*=//' "$out" | tr '\n' ' ')" "$wanted"
}
got "the first by the alphabet" "alice 1 " protocol=https host=a.example
got "the user that is asked for" "bob 2 " protocol=https host=a.example username=bob
got "a port is of the host" "alice 4 " protocol=https host=a.example:8443
got "the path that is asked for" "alice 5 " protocol=https host=a.example path=x/y.git
got "another path: one without" "alice 1 " protocol=https host=a.example path=z.git
got "another user" "" protocol=https host=a.example username=carol
got "another host" "" protocol=https host=c.example
got "another protocol" "" protocol=http host=a.example
got "no host: nobody's password" "" protocol=https
got "no protocol" "" host=a.example
got "nothing at all" ""
got "what is unknown is ignored" "bob 2 " protocol=https 'capability[]=authtype' host=a.example 'wwwauth[]=Basic realm="x"' 'wwwauth[]=' username=bob
got "of two values the later one" "alice 3 " protocol=https host=a.example host=b.example
helper "input without an end" 0 get < <(printf 'protocol=https\nhost=b.example')
has "input without an end" "^password=3$" "$out"
printf 'token' | memguard set git:https://d.example
got "set by hand, without a user" "token " protocol=https host=d.example
got "set by hand, whoever it is" "token " protocol=https host=d.example username=anybody
printf 'line1\nline2' | memguard set git:https://e.example
helper "a secret of two lines" 1 get < <(lines protocol=https host=e.example)
is "a secret of two lines: nothing is said" "$(cat "$out")" ""
has "a secret of two lines" "not one line" "$err"
printf 'x' | memguard set git:https://handed@f.example --no-reveal
got "--no-reveal: git is a program" "handed x " protocol=https host=f.example

# ---- names ----
fresh
helper "store with odd characters" 0 store < <(lines protocol=https 'host=[::1]:80' 'username=a@b/c =' 'password=p' 'path=a b/%c')
is "escapes in the name" "$(names)" "git:https://a=40b=2Fc=20=3D@=5B::1=5D:80/a=20b/=25c "
got "the same comes back" "a@b/c = p " protocol=https 'host=[::1]:80' 'path=a b/%c'
helper "too long for a name" 1 store < <(lines protocol=https host=a.example "username=$(printf 'u%.0s' {1..250})" password=p)
has "too long for a name" "too long for a name" "$err"

# ---- limits ----
fresh
store() { # options of the helper
    helper "store $*" 0 "$@" store < <(lines protocol=https host=a.example username=alice password="${password:-one}" \
        ${expiry:+password_expiry_utc=$expiry})
}
left() { memguard ls --json | sed -n 's/.*"expires_ms":\([0-9a-z]*\),.*/\1/p'; }
store --ttl 100s
before=$(left)
sleep 0.1
store --ttl 100s
check "git stores again what it got: the time runs on" "$([ "$(left)" -lt "$before" ] || echo "$(left), $before before")"
password=two store
is "another password takes its place" "$(left)" null
got "another password" "alice two " protocol=https host=a.example
fresh
expiry=$(($(date +%s) + 50)) store --ttl 100s
check "the password's own end, if that is sooner" "$([ "$(left)" -le 50000 ] || left)"
fresh
expiry=1000 store
is "what has expired is not stored" "$(names)" ""
expiry=99999999999999999999999 store
is "an end that is no number is ignored" "$(left)" null
fresh
printf one | memguard set git:https://alice@a.example --confirm
password=two store
memguard ls >"$out"
has "a store does not lift --confirm" confirm "$out"
helper "confirm, and nobody can be asked" 5 get < <(lines protocol=https host=a.example)
is "confirm, and nobody can be asked: nothing is said" "$(cat "$out")" ""
fresh
printf one | memguard set git:https://alice@a.example --uses 3
store
check "a store does not count as a use" "$(memguard ls --json | grep -q '"uses_left":3' || memguard ls)"

# ---- erase ----
fresh
helper "erase without an agent" 0 erase </dev/null
is "erase starts no agent" "$(memguard status 2>&1)" "memguard: no agent is running"
for user in alice bob carol; do helper "store" 0 store < <(lines protocol=https host=a.example username=$user password=$user); done
helper "erase: another password" 0 erase < <(lines protocol=https host=a.example username=bob password=alice)
helper "erase: another host" 0 erase < <(lines protocol=https host=b.example username=bob password=bob)
helper "erase: no host" 0 erase < <(lines protocol=https)
helper "erase: nothing said" 0 erase </dev/null
is "erase: nothing was erased" "$(names | wc -w)" 3
helper "erase by the password" 0 erase < <(lines protocol=https host=a.example password=bob)
is "erase by the password" "$(names)" "git:https://alice@a.example git:https://carol@a.example "
helper "erase: all of a host" 0 erase < <(lines protocol=https host=a.example)
is "erase: all of a host" "$(names)" ""

# ---- input that no git sends ----
fresh
helper "store" 0 store < <(lines protocol=https host=a.example username=alice password=kept)
hostile() { # what, why: standard input as it is; for all three actions
    local action
    cat >"$work/hostile"
    for action in get store erase; do
        helper "$1, $action" 1 $action <"$work/hostile"
        has "$1, $action" "$2" "$err"
        is "$1, $action: says nothing to git" "$(cat "$out")" ""
        check "$1, $action: what was said is not in the message" "$(grep -o 'hunter2' "$err")"
    done
}
begin='protocol=https\nhost=a.example\nusername=alice\n'
hostile "a line without =" "key and '='" < <(printf "${begin}hunter2\n\n")
hostile "a line without a key" "key and '='" < <(printf "${begin}=hunter2\n\n")
hostile "a space in a key" "key and '='" < <(printf "${begin}pass word=hunter2\n\n")
hostile "a NUL in a key" "key and '='" < <(printf "${begin}pass\0word=hunter2\n\n")
hostile "a key that is too long" "key and '='" < <(printf "${begin}%s=hunter2\n\n" "$(printf 'k%.0s' {1..65})")
hostile "the end in a key" "key and '='" < <(printf "${begin}hunter2")
hostile "a NUL in the password" "with a NUL" < <(printf "${begin}password=hunter2\0x\n\n")
hostile "a NUL in the host" "control character" < <(printf "protocol=https\nhost=a.example\0.b.example\nusername=hunter2\n\n")
hostile "a carriage return" "control character" < <(printf "protocol=https\nhost=a.example\r\nusername=hunter2\n\n")
hostile "an escape sequence" "control character" < <(printf "protocol=https\nhost=a.example\nusername=\033[2Jhunter2\n\n")
hostile "a path that is too long" "more than 1024 bytes" < <({ printf "$begin"; printf 'path='; head -c 1025 /dev/zero | tr '\0' a; printf '\n\n'; })
hostile "a password that is too long" "more than 64 KiB" < <({ printf "$begin"; printf 'password='; head -c 65537 /dev/zero | tr '\0' a; printf '\n\n'; })
hostile "too many lines" "more than 1024 lines" < <({ printf "$begin"; printf 'x=\n%.0s' {1..1100}; })
got "after all that the one that was there is there" "alice kept " protocol=https host=a.example
is "after all that no other" "$(names)" "git:https://alice@a.example "
helper "store without a password" 0 store < <(lines protocol=https host=a.example username=alice)
helper "store without a host" 1 store < <(lines protocol=https username=alice password=x)
is "neither stored anything" "$(names)" "git:https://alice@a.example "
helper "input closed" 1 store <&-
helper "an action that is not known yet" 0 approve-all </dev/null
helper "no action" 2 </dev/null
helper "a bad time" 2 --ttl 8 store </dev/null
lines protocol=https host=a.example >"$work/ask"
"$work/pty" -- /bin/sh -c "exec '$build/memguard' git-credential get <'$work/ask'" >"$out"
is "a terminal is refused" $? 5
check "a terminal is refused" "$(grep kept "$out")"

# ---- locked ----
if echo key | memguard lock --passphrase-fd 0 2>"$err"; then
    helper "locked: get" 4 get < <(lines protocol=https host=a.example)
    is "locked: get says nothing to git" "$(cat "$out")" ""
    has "locked: get" "locked" "$err"
    helper "locked: store" 4 store < <(lines protocol=https host=a.example username=bob password=x)
else
    has "lock" "libargon2" "$err"
    skip "locked: built without libargon2"
fi

# ---- its memory ----
fresh
head -c 48 /dev/urandom | base64 -w 0 >"$work/password"
printf 'a-host-of-more-than-16-bytes.example' >"$work/host"
mkfifo "$work/input"
MEMGUARD_BACKEND=locked memguard git-credential store <"$work/input" 2>"$err" &
storing=$!
exec 8>"$work/input"
# The host comes last: where it is in memory, the password has been read.
printf 'protocol=https\nusername=alice\npassword=%s\nhost=%s\n' "$(cat "$work/password")" "$(cat "$work/host")" >&8
look() { "$work/peer" - look $storing "$1"; }
has_host() { [ "$(look "$work/host")" -gt 0 ]; }
if is_sanitized; then
    skip "the memory of store: a sanitizer's is too large to look at"
elif [ "$(id -u)" -ne 0 ]; then
    skip "the memory of store: only root can look at it"
else
    check "memory: what is no secret is found (the host)" "$(wait_for has_host || echo "it is not")"
    is "memory: the password is nowhere" "$(look "$work/password")" 0
fi
printf '\n' >&8
exec 8>&-
wait $storing
is "memory: it was stored" "$?" 0
helper "memory: get" 0 get < <(lines protocol=https "host=$(cat "$work/host")")
is "memory: the same password" "$(sed -n 's/^password=//p' "$out")" "$(cat "$work/password")"
finish
