#!/bin/bash
# memguard scan: finds what is planted where it is planted, in processes and core files; says what it could not look at; agrees
# with another search; a clean process is clean; private keys in real programs; core files that lie; and never the secret itself.
# usage: test_scan.sh [FOLDER [ROUNDS]]    ROUNDS: how many core files are spoiled
set -u
command=${MEMGUARD_COMMAND:?}
rounds=${2:-60}
source=${MEMGUARD_SOURCE:?}
build=${MEMGUARD_BUILD:?}
here=$source/tests/command
passed=0 failed=0 skipped=0

part() { [ -z "${MEMGUARD_TEST_VERBOSE-}" ] || echo "$SECONDS s: $1"; }
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED $1"; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: '$2', not '$3'"; fi; }
has() { if grep -q -- "$2" "$3"; then pass; else fail "$1: no '$2' in it"; cat "$3"; fi; }
hasnot() { if grep -q -- "$2" "$3"; then fail "$1: '$2' in it"; cat "$3"; else pass; fi; }
finish() { echo "$passed passed, $failed failed, $skipped skipped"; [ "$failed" -eq 0 ]; exit; }

work=$(mktemp -d) || exit 1
chmod 755 "$work"
mkdir -m 700 "$work/run"
export XDG_RUNTIME_DIR=$work/run
export ASAN_OPTIONS=detect_leaks=0 # which an undumpable process cannot look for
unset MEMGUARD_BACKEND
out=$work/out err=$work/err all=$work/all
: >"$all"
clean_up() {
    local pid
    timeout 10 "$command" purge 2>/dev/null
    for pid in $(jobs -p); do kill -CONT "$pid" 2>/dev/null; kill -KILL "$pid" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

scan() { # NAME CODE ARGUMENTS...; standard input as it is
    local name=$1 expected=$2 code
    shift 2
    timeout 60 "$command" scan "$@" >"$out" 2>"$err"
    code=$?
    cat "$out" "$err" >>"$all"
    [ "$code" = "$expected" ] || cat "$out" "$err"
    check "$name: exit code" "$code" "$expected"
}
# The lines of --json: "ADDRESS BYTES FORM PLACE".
found() { sed -n 's/^ {"address": "\([^"]*\)", "bytes": \([0-9]*\),.*"form": "\([^"]*\)",.*"place": "\([^"]*\)",.*/\1 \2 \3 \4/p' "$out"; }
wait_for() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}
end() { kill -KILL "$1" 2>/dev/null; wait "$1" 2>/dev/null; }

cc=${CC:-cc}
for program in scan_planter scan_reference scan_mutate; do
    if ! "$cc" -std=gnu11 -O2 -Wall -o "$work/$program" "$here/$program.c" -lpthread; then
        fail "$program.c does not build"
        finish
    fi
done

# A secret of 32 random bytes, none of them zero, newline, or the same for long; the first ones tell the alphabets of base64 apart.
draw() { # BYTES FILE
    { printf '\373\377\277'; head -c $((4 * $1 + 64)) /dev/urandom | tr -d '\000\n\r'; } | head -c "$1" >"$2"
}
draw 32 "$work/secret"
planted=
plant() { # ARGUMENTS of scan_planter: its number in $planted
    : >"$work/pid"
    "$work/scan_planter" "$@" <"${secret:-$work/secret}" >"$work/pid" &
    wait_for 30 test -s "$work/pid" || fail "plant $*: it does not begin"
    planted=$!
}

has_begun_or_ended() { [ -s "$work/pid" ] || ! kill -0 "$planted"; }
plant_if_can() { # the same; fails where the system does not let it
    : >"$work/pid"
    "$work/scan_planter" "$@" <"$work/secret" >"$work/pid" &
    planted=$!
    wait_for 30 has_begun_or_ended || fail "plant $*: it neither begins nor ends"
    [ -s "$work/pid" ]
}

# ---- the command line ----
part "command line"
scan "nothing" 2
scan "no secret" 2 --pid 1
has "no secret" "one of --fd, --file, --key and --name" "$err"
scan "two secrets" 2 --pid 1 --fd 0 --file x
scan "two targets" 2 --pid 1 --core x --fd 0
scan "no number" 2 --pid x --fd 0
scan "a descriptor that is not open" 2 --pid 1 --fd 77
scan "a file that is not there" 2 --pid 1 --file "$work/none"
has "a file that is not there" "No such file" "$err"
scan "an unknown option" 2 --pid 1 --fd 0 --nonsense
has "an unknown option" "nonsense" "$err"
scan "--self-test and a secret" 2 --self-test --fd 0
scan "--map and --json" 2 --pid 1 --fd 0 --map --json
scan "an empty secret" 2 --pid $$ --fd 0 </dev/null
has "an empty secret" "is empty" "$err"
scan "three bytes" 2 --pid $$ --fd 0 <<<abc
has "three bytes" "too few" "$err"
scan "one byte repeated" 2 --pid $$ --fd 0 <<<aaaaaaaaaaaaaaaaaaaa
has "one byte repeated" "one byte repeated" "$err"
head -c 1048577 /dev/urandom >"$work/large"
scan "more than 1 MiB" 2 --pid $$ --file "$work/large"
has "more than 1 MiB" "at most 1 MiB" "$err"
scan "no such process" 2 --pid 999999999 --file "$work/secret"
has "no such process" "no such process" "$out"
scan "no core file" 2 --core "$work/none" --file "$work/secret"
scan "no core file, but a text" 2 --core "$here/test_scan.sh" --file "$work/secret"
has "no core file, but a text" "is not a core file" "$out"
scan "a directory as core file" 2 --core "$work" --file "$work/secret"
# shellcheck disable=SC2016 # the shell that becomes the command expands it
sh -c 'exec "$0" scan --pid $$ --file "$1"' "$command" "$work/secret" >"$out" 2>"$err"
check "itself: exit code" $? 2
has "itself" "this very process" "$err"

# A program with a sanitizer searches, but is not searched: it keeps copies of its own.
sanitized=no
grep -q '^MEMGUARD_SANITIZE:STRING=.' "$build/CMakeCache.txt" && sanitized=yes

# ---- its own trial ----
part "self-test"
if [ $sanitized = no ]; then
    scan "self-test" 0 --self-test
    check "self-test: rows" "$(grep -c '^  ok' "$out")" 15
    hasnot "self-test" "FAILED" "$out"
    MEMGUARD_BACKEND=locked scan "self-test without memfd_secret" 0 --self-test
    has "self-test without memfd_secret" "in a vault, in use  *found: without memfd_secret" "$out"
else
    skip "self-test: the heap of a sanitizer is none by name"
fi

# ---- every form, every place ----
part "forms and places"
one() { # NAME BYTES FORM PLACE: exactly this was found
    check "$1" "$(found | cut -d ' ' -f 2-)" "$2 $3 $4"
}
for form in raw reversed hex HEX base64 base64url UTF-16LE UTF-16BE; do
    plant heap $form
    scan "$form in the heap" 1 --pid "$planted" --file "$work/secret" --json
    bytes=32
    case $form in base64*) bytes=31 ;; esac # the last digit has bits of what comes behind
    one "$form in the heap" $bytes $form heap
    end "$planted"
done
for place in anonymous closed data bss memfd deleted shared zero private; do
    plant $place raw
    scan "raw in $place" 1 --pid "$planted" --file "$work/secret" --json
    case $place in
    anonymous | closed | zero) one "raw in $place" 32 raw "anonymous memory" ;;
    bss) one "raw in $place" 32 raw data ;;
    deleted) one "raw in $place" 32 raw "deleted file" ;;
    shared) one "raw in $place" 32 raw "shared memory" ;;
    private) one "raw in $place" 32 raw memfd ;; # not in the file, but in the process's own pages
    *) one "raw in $place" 32 raw $place ;;
    esac
    end "$planted"
done
if plant_if_can table raw; then
    scan "in a memfd of one thread alone" 1 --pid "$planted" --file "$work/secret" --json
    one "in a memfd of one thread alone" 32 raw memfd
    end "$planted"
else
    skip "a memfd of one thread alone: unshare(2) is forbidden"
fi
if [ -w / ]; then
    plant like-secret raw
    scan "in a deleted file that has the name of memfd_secret" 1 --pid "$planted" --file "$work/secret" --json
    one "in a deleted file that has the name of memfd_secret" 32 raw "deleted file"
    end "$planted"
else
    skip "a deleted file that has the name of memfd_secret: the root directory is another's"
fi
if plant_if_can minor raw; then
    scan "in shared memory that cannot be brought in" 2 --pid "$planted" --file "$work/secret"
    has "in shared memory that cannot be brought in" "could not be read" "$out"
    end "$planted"
else
    skip "shared memory that cannot be brought in: no userfaultfd(2) here"
fi
plant edge raw 0 14
scan "over the edge of two mappings" 1 --pid "$planted" --file "$work/secret" --json
one "over the edge of two mappings" 14 raw "anonymous memory"
end "$planted"
is_waiting() { for task in /proc/"$planted"/task/*/stat; do [ "$(sed 's/.*) //; s/ .*//' "$task")" = S ] || return 1; done; }
plant stack raw
wait_for 30 is_waiting || fail "the planter does not come to rest"
scan "on a thread's stack" 1 --pid "$planted" --file "$work/secret" --json
one "on a thread's stack" 32 raw stack
has "on a thread's stack" '"state": "in use"' "$out"
hasnot "on a thread's stack: its number" '"thread": null' "$out"
end "$planted"
plant below raw
wait_for 30 is_waiting || fail "the planter does not come to rest"
scan "below the stack pointer" 1 --pid "$planted" --file "$work/secret" --json
one "below the stack pointer" 32 raw stack
has "below the stack pointer" "below the stack pointer" "$out"
end "$planted"
hex=$(od -An -tx1 -v "$work/secret" | tr -d ' \n')
env "PLANTED=$hex" "$work/scan_planter" </dev/null >/dev/null &
wait_for 30 grep -qa scan_planter "/proc/$!/cmdline"
scan "in the environment" 1 --pid $! --file "$work/secret" --json
check "in the environment" "$(found | grep -c ' 32 hex environment$')" 1 # a program may have made copies of it
end $!
"$work/scan_planter" none "$hex" </dev/null >/dev/null &
wait_for 30 grep -qa scan_planter "/proc/$!/cmdline"
scan "in the command line" 1 --pid $! --file "$work/secret" --json
check "in the command line" "$(found | grep -c ' 32 hex command line$')" 1
end $!
cp "$work/scan_planter" "$work/$hex"
"$work/$hex" </dev/null >/dev/null &
wait_for 30 grep -qa "$hex" "/proc/$!/cmdline"
scan "a file named by it" 1 --pid $! --file "$work/secret" --map
has "a file named by it" "name of a mapping or file" "$out"
hasnot "a file named by it" "$hex" "$out"
end $!
# What becomes another program between the list of its mappings and a look at them was not looked at.
bytes=$(od -An -tu1 -v "$work/secret" | tr -s ' \n' ',' | sed 's/^,//; s/,$//')
if ! "$cc" -std=gnu11 -O2 -Wall -fPIE -pie -DSECRET_BYTES="$bytes" -o "$work/scan_changer" "$here/scan_changer.c"; then
    fail "scan_changer.c does not build"
elif [ $sanitized = yes ] || ! strace -o "$work/trace" true 2>/dev/null; then
    skip "a process that becomes another program: strace cannot be used, or on a program with a sanitizer"
else
    "$work/scan_changer" </dev/null &
    changer=$!
    for try in 1 2 3 4; do
        strace -o "$work/trace" -P "/proc/$changer/mem" -e trace=openat -e inject=openat:delay_enter=300000 \
            "$command" scan --pid $changer --file "$work/secret" >"$out" 2>"$err"
        check "a process that becomes another program, $try" "$(grep -c '^clean' "$out")" 0
    done
    end $changer
fi
plant none raw
scan "a clean process" 0 --pid "$planted" --file "$work/secret" --json
has "a clean process" '"verdict": "clean"' "$out"
check "a clean process: nothing" "$(found)" ""
scan "a clean process, for people" 0 --pid "$planted" --file "$work/secret"
has "a clean process, for people" "^clean: " "$out"
end "$planted"

# ---- parts ----
part "parts"
for bytes in 8 9 16 20 32; do
    plant heap raw $(((32 - bytes) / 3)) $bytes
    scan "$bytes bytes of it" 1 --pid "$planted" --file "$work/secret" --json
    one "$bytes bytes of it" $bytes raw heap
    end "$planted"
done
plant heap raw 3 7
scan "7 bytes of it" 0 --pid "$planted" --file "$work/secret"
end "$planted"
plant heap raw 5 16 heap reversed 8 8 memfd hex
scan "three at once, for people" 1 --pid "$planted" --file "$work/secret"
has "three at once, for people" "16 of 32 bytes (16 in a row)" "$out"
has "three at once, for people" "8 of 32 bytes (8 in a row) .*reversed .*heap" "$out"
has "three at once, for people" "whole (32 bytes) .*hex .*memfd" "$out"
has "three at once, for people" "^FOUND in 3 places" "$out"
scan "a newline behind it does not count" 1 --pid "$planted" --fd 0 --json < <(cat "$work/secret"; echo)
has "a newline behind it" '"secret_bytes": 32' "$out"
scan "drawn" 1 --pid "$planted" --file "$work/secret" --map --svg "$work/map.svg"
has "drawn" "\[heap\]" "$out"
has "drawn as SVG" "<svg" "$work/map.svg"
cat "$work/map.svg" >>"$all"
if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1; then
    colours() { # TERM NO_COLOR: how many lines of the picture and the words below it have some
        TERM=$1 NO_COLOR=$2 script -qec "'$command' scan --pid $planted --file '$work/secret' --map" /dev/null </dev/null |
            tee -a "$all" | grep -c "$(printf '\033')\[[0-9;]*m"
    }
    check "drawn on a terminal, NO_COLOR empty: colours" "$([ "$(colours xterm "")" -gt 3 ] && echo yes)" yes
    check "drawn on a terminal, NO_COLOR: none" "$(colours xterm 1)" 0
    check "drawn on a dumb terminal: none" "$(colours dumb "")" 0
else
    skip "drawn on a terminal: no script(1)"
fi
scan "drawn where nothing can be written" 1 --pid "$planted" --file "$work/secret" --svg "$work/none/map.svg"
has "drawn where nothing can be written" "No such file" "$err"
end "$planted"
draw 5 "$work/short"
secret=$work/short plant heap raw memfd UTF-16LE
scan "a secret of 5 bytes" 1 --pid "$planted" --file "$work/short" --json
has "a secret of 5 bytes" "hits by chance are likely" "$err"
has "a secret of 5 bytes" '"bytes": 5, .*"form": "UTF-16LE".*"memfd"' "$out"
end "$planted"
draw 6000 "$work/long"
secret=$work/long plant heap raw 0 6000 heap raw 5992 8 heap base64 100 5000 shared reversed 17 3000
scan "a secret of 6000 bytes" 1 --pid "$planted" --file "$work/long" --json
check "a secret of 6000 bytes" "$(found | cut -d ' ' -f 2- | sort -n | tr '\n' ';')" "8 raw heap;3000 reversed shared memory;4999 base64 heap;6000 raw heap;"
end "$planted"
head -c 1048576 "$work/large" >"$work/largest"
secret=$work/secret plant none raw
if [ "$(ulimit -l)" = unlimited ]; then
    scan "a secret of 1 MiB" 0 --pid "$planted" --file "$work/largest"
else
    scan "a secret of 100 KiB" 0 --pid "$planted" --fd 0 < <(head -c 102400 "$work/largest")
fi
end "$planted"

# ---- core files: agreement with another search ----
part "core files"
core_of() { # PID: its core file in $core
    core=$work/core.$1
    rm -f "$work"/core.*
    gcore -o "$work/core" "$1" >"$work/gcore" 2>&1
    [ -s "$core" ]
}
same_runs() { # NAME
    found | awk '{ sub(/HEX/, "hex", $3); sub(/UTF-16../, "UTF-16", $3); print $1, $3, $2 }' | sort >"$work/ours"
    "$work/scan_reference" "$core" "$work/secret" | sort >"$work/theirs"
    check "$1: another search finds something" "$([ -s "$work/theirs" ] && echo yes)" yes
    check "$1: the same places and lengths" "$(diff "$work/ours" "$work/theirs")" ""
}
if ! command -v gcore >/dev/null; then
    skip "core files: no gcore"
else
    for seed in 1 2 3 4; do
        plant chance $seed$RANDOM
        if core_of "$planted"; then
            scan "core file $seed" 1 --core "$core" --file "$work/secret" --json
            same_runs "core file $seed"
            scan "process $seed" 1 --pid "$planted" --file "$work/secret" --json
            same_runs "process $seed"
        else
            skip "core file: $(tail -1 "$work/gcore")"
        fi
        end "$planted"
    done
    if [ "$(uname -m)" = x86_64 ]; then
        plant register raw 8 16
        if core_of "$planted"; then
            scan "in a register" 1 --core "$core" --file "$work/secret" --json
            has "in a register" '"bytes": 16, .*"place": "registers"' "$out"
            hasnot "in a register: of which thread" '"place": "registers".*"thread": null' "$out"
        else
            skip "in a register: $(tail -1 "$work/gcore")"
        fi
        end "$planted"
        plant frame raw 8 16
        wait_for 30 is_waiting || fail "the planter does not come to rest"
        scan "saved for a signal handler" 1 --pid "$planted" --file "$work/secret" --json
        has "saved for a signal handler" '"bytes": 16, .*"place": "stack".*"state": "saved registers"' "$out"
        end "$planted"
    fi
    plant edge raw 0 14
    if core_of "$planted"; then
        scan "over the edge of two segments" 1 --core "$core" --file "$work/secret" --json
        one "over the edge of two segments" 14 raw "anonymous memory"
    else
        skip "over the edge of two segments: $(tail -1 "$work/gcore")"
    fi
    end "$planted"
    plant heap raw stack hex
    if core_of "$planted"; then
        scan "a core file" 1 --core "$core" --file "$work/secret" --json
        has "a core file: the stack" '"form": "hex".*"place": "stack".*"state": "in use"' "$out"
        scan "a core file, drawn" 1 --core "$core" --file "$work/secret" --map
        # What is cut off is never clean.
        draw 32 "$work/other"
        scan "the core file of another secret" 0 --core "$core" --file "$work/other"
        head -c $(($(stat -c %s "$core") - 5000)) "$core" >"$work/cut"
        scan "a core file that is cut off" 2 --core "$work/cut" --file "$work/other"
        has "a core file that is cut off" "is cut off" "$out"
        bad=""
        for seed in $(seq 1 "$rounds"); do
            "$work/scan_mutate" "$core" "$seed$RANDOM" >"$work/spoiled"
            timeout 20 "$command" scan --core "$work/spoiled" --file "$work/secret" --json >"$out" 2>"$err"
            code=$?
            cat "$out" "$err" >>"$all"
            case $code in 0 | 1 | 2) ;; *) bad="$bad $code" && cp "$work/spoiled" /tmp/scan-spoiled.$$ ;; esac
        done
        check "spoiled core files: no crash, no hanging" "$bad" ""
    else
        skip "a core file: $(tail -1 "$work/gcore")"
    fi
    end "$planted"
fi

# ---- private keys ----
part "keys"
secrets_only() { sed -n 's/.*"part": "\([^"]*\)".*/\1/p' "$out" | sort -u | tr '\n' ' '; }
if ! command -v openssl >/dev/null || ! command -v ssh-keygen >/dev/null; then
    skip "keys: no openssl, or no ssh-keygen"
    finish
fi
keys=$work/keys
mkdir "$keys"
{
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$keys/rsa"
    openssl rsa -in "$keys/rsa" -traditional -out "$keys/rsa_old"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$keys/ec"
    openssl ec -in "$keys/ec" -out "$keys/ec_old"
    openssl genpkey -algorithm ED25519 -out "$keys/ed25519"
    openssl pkey -in "$keys/rsa" -pubout -out "$keys/rsa_public"
    openssl req -x509 -key "$keys/rsa" -subj /CN=localhost -days 2 -out "$keys/rsa_certificate"
    openssl pkey -in "$keys/ec" -aes256 -passout pass:something -out "$keys/encrypted"
    openssl rsa -in "$keys/rsa" -traditional -aes256 -passout pass:something -out "$keys/encrypted_old"
    ssh-keygen -q -t ed25519 -N "" -C "" -f "$keys/ssh_ed25519"
    ssh-keygen -q -t rsa -b 2048 -N "" -C "" -f "$keys/ssh_rsa"
    ssh-keygen -q -t ecdsa -N "" -C "" -f "$keys/ssh_ecdsa"
    ssh-keygen -q -t ed25519 -N something -C "" -f "$keys/ssh_encrypted"
} </dev/null >"$work/made" 2>&1
for key in encrypted encrypted_old ssh_encrypted; do
    scan "$key" 2 --pid $$ --key "$keys/$key"
    has "$key" "is encrypted" "$err"
done
scan "a public key" 2 --pid $$ --key "$keys/rsa_public"
has "a public key" "is not a private key" "$err"
cat "$keys/ed25519" "$keys/ec_old" >"$keys/two"
scan "two keys" 2 --pid $$ --key "$keys/two"
has "two keys" "several private keys" "$err"
{ echo "-----BEGIN PRIVATE KEY-----"; head -c 300 /dev/urandom | base64; echo "-----END PRIVATE KEY-----"; } >"$keys/nonsense"
scan "a key of nonsense" 2 --pid $$ --key "$keys/nonsense"
has "a key of nonsense" "not understood" "$err"

for key in rsa rsa_old ec ec_old ed25519 ssh_ed25519 ssh_rsa ssh_ecdsa; do
    case $key in
    *rsa*) parts="d dp dq p q qinv " ;;
    *ec*) parts="scalar " ;;
    *) parts="seed " ;;
    esac
    case $key in ssh_rsa) parts="d p q qinv " ;; esac
    secret=$keys/$key plant heap raw
    scan "$key: its text" 1 --pid "$planted" --key "$keys/$key" --json
    check "$key: all its secret parts, by its text" "$(secrets_only)" "$parts"
    end "$planted"
done
plant none raw
scan "a key in PEM is a key by --file, too" 0 --pid "$planted" --file "$keys/ec" --json
end "$planted"
has "a key in PEM is a key by --file, too" '"key": "EC"' "$out"

# The numbers as bytes, in both orders; the public ones.
number() { # NAME of openssl's text: in hexadecimal
    openssl rsa -in "$keys/rsa" -noout -text 2>/dev/null |
        awk -v name="$1:" '/^[a-zA-Z]/ { in_it = index($0, name) == 1; next } in_it { gsub(/[ :]/, ""); printf "%s", $0 }' | sed 's/^00//'
}
bytes_of() { sed 's/../\\x&/g' | { read -r text; printf '%b' "$text"; }; }
for pair in privateExponent:d prime1:p exponent2:dq coefficient:qinv; do
    number "${pair%:*}" | bytes_of >"$work/number"
    for form in raw reversed; do
        secret=$work/number plant heap $form
        scan "${pair#*:} $form" 1 --pid "$planted" --key "$keys/rsa" --json
        check "${pair#*:} $form" "$(secrets_only)" "${pair#*:} "
        has "${pair#*:} $form" "\"whole\": true, \"form\": \"$form\"" "$out"
        end "$planted"
    done
done
number modulus | bytes_of >"$work/number"
check "the modulus" "$(stat -c %s "$work/number")" 256
for public in "$work/number" "$keys/rsa_public" "$keys/rsa_certificate"; do
    secret=$public plant heap raw heap reversed heap base64
    scan "public: $(basename "$public")" 0 --pid "$planted" --key "$keys/rsa"
    end "$planted"
done

# Real programs: a server that holds the key; ssh-add, which waits for an agent that does not answer; an agent, which since
# OpenSSH 8.1 keeps keys encrypted while it does not use them.
if [ "$(id -u)" -ne 0 ] && [ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" != 0 ]; then
    skip "real programs: kernel.yama.ptrace_scope lets nobody look at them but root"
    programs=""
else
    programs=yes
fi
for key in ${programs:+rsa ec ed25519}; do
    openssl req -x509 -key "$keys/$key" -subj /CN=localhost -days 2 -out "$keys/certificate" 2>/dev/null
    openssl s_server -key "$keys/$key" -cert "$keys/certificate" -accept 127.0.0.1:0 >"$work/server" 2>&1 </dev/null &
    server=$!
    if wait_for 20 grep -q ACCEPT "$work/server"; then
        scan "openssl s_server, $key" 1 --pid $server --key "$keys/$key" --json
        has "openssl s_server, $key: whole" '"whole": true' "$out"
        scan "openssl s_server, $key: not another key" 0 --pid $server --key "$keys/ssh_ed25519"
    else
        fail "openssl s_server does not begin: $(cat "$work/server")"
    fi
    end $server
done
waits_for_answer() { # PID: it is in read(2) of a socket
    local number descriptor
    read -r number descriptor _ <"/proc/$1/syscall" || return 1
    case $number in 0 | 45 | 63 | 207) readlink "/proc/$1/fd/$((descriptor))" | grep -q socket ;; *) return 1 ;; esac
}
ssh-agent -D -a "$work/agent" >/dev/null 2>&1 &
agent=$!
wait_for 20 test -S "$work/agent" || fail "no ssh-agent"
for key in ssh_rsa ssh_ed25519 ssh_ecdsa; do
    SSH_AUTH_SOCK=$work/agent ssh-add -q "$keys/$key" 2>/dev/null
    [ -n "$programs" ] || continue
    kill -STOP $agent
    SSH_AUTH_SOCK=$work/agent ssh-add -q "$keys/$key" 2>/dev/null &
    adder=$!
    wait_for 20 waits_for_answer $adder || fail "ssh-add does not come to ask the agent"
    scan "ssh-add, $key" 1 --pid $adder --key "$keys/$key" --json
    kill -CONT $agent
    wait $adder
done
holds_three() { [ "$(SSH_AUTH_SOCK=$work/agent ssh-add -l | wc -l)" = 3 ]; }
wait_for 20 holds_three || fail "the agent does not hold the keys"
version=$(ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9]*\).*/\1/p')
if [ "${version:-0}" -ge 9 ]; then # 8.1 began it
    shown=0
    [ "$(id -u)" -eq 0 ] || shown=2 # it is not dumpable
    for key in ssh_rsa ssh_ed25519 ssh_ecdsa; do
        scan "ssh-agent, which shields its keys, $key" $shown --pid $agent --key "$keys/$key"
    done
else
    skip "ssh-agent: OpenSSH ${version:-?}"
fi
end $agent

# ---- from the agent ----
part "agent"
"$command" set planted --file "$work/secret" --no-reveal 2>"$err" || cat "$err"
plant heap raw
scan "--name" 1 --pid "$planted" --name planted --json
one "--name" 32 raw heap
scan "--name that is not there" 2 --pid "$planted" --name nobody
holder=$("$command" status --json | tr ',{}' '\n\n\n' | sed -n 's/^"pid":"*\([0-9]*\)"*$/\1/p')
if [ $sanitized = no ] && [ "$(id -u)" -eq 0 ]; then
    scan "the agent itself, sealed" 0 --pid "$holder" --file "$work/secret"
elif [ $sanitized = no ]; then
    scan "the agent itself may not be looked at" 2 --pid "$holder" --file "$work/secret"
    has "the agent itself may not be looked at" "not allowed" "$out"
fi
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    cp "$command" "$work/memguard" && chmod 755 "$work/memguard"
    XDG_RUNTIME_DIR=/nonexistent setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all \
        "$work/memguard" scan --pid "$planted" --fd 0 <"$work/secret" >"$out" 2>"$err"
    check "another user's process: exit code" $? 2
    has "another user's process" "not allowed" "$out"
fi
end "$planted"

# ---- never the secret ----
part "never the secret"
shown=""
for form in raw hex base64; do
    case $form in
    raw) head -c 12 "$work/secret" | tail -c 9 >"$work/pattern" ;;
    hex) od -An -tx1 -v "$work/secret" | tr -d ' \n' | cut -c 9-28 >"$work/pattern" ;;
    base64) base64 -w 0 "$work/secret" | cut -c 5-20 >"$work/pattern" ;;
    esac
    LC_ALL=C grep -q -a -i -F -f "$work/pattern" "$all" && shown="$shown $form"
done
check "nothing of it in all that was printed" "$shown" ""
cat "$work/secret" >>"$all"
head -c 12 "$work/secret" | tail -c 9 >"$work/pattern"
check "self-test: it would be seen" "$(LC_ALL=C grep -q -a -F -f "$work/pattern" "$all" && echo seen)" seen
finish
