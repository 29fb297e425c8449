# shellcheck shell=bash
# agents.sh: what the tests of the agent share, to be sourced by bash: checks that are counted; a runtime directory of their own; a copy of the
# command, $command, by whose path their agents are known, so that all of them end with the script.
set -u
shopt -s lastpipe # a check at the end of a pipeline counts
source=${MEMGUARD_SOURCE:?}
here=$source/tests/command
passed=0 failed=0 skipped=0

part() { [ -z "${MEMGUARD_TEST_VERBOSE-}" ] || echo "$SECONDS s: $1"; }
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED $1"; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: '$2', not '$3'"; fi; } # NAME SEEN EXPECTED
has() { if grep -q -- "$2" "$3"; then pass; else fail "$1: no '$2' in it"; cat "$3"; fi; } # NAME WORDS FILE
hasnot() { if grep -q -- "$2" "$3"; then fail "$1: '$2' in it"; else pass; fi; }
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ $((passed + skipped)) -ne 0 ]
    exit
}

work=$(mktemp -d) || exit 1
chmod 755 "$work"
cp "${MEMGUARD_COMMAND:?}" "$work/memguard-under-test"
command=$work/memguard-under-test
run=$work/run
mkdir -m 700 "$run"
export XDG_RUNTIME_DIR=$run
export ASAN_OPTIONS=detect_leaks=0 # which an undumpable process cannot look for
unset MEMGUARD_BACKEND MEMGUARD_ASKPASS SSH_ASKPASS
# shellcheck disable=SC2034 # for who sources this
socket=$run/memguard/agent.sock out=$work/out err=$work/err

processes() { # WORDS: the numbers of those whose command line has them in it
    local line words
    for line in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$line" || continue
        case "${words[*]-}" in *"$1"*) basename "${line%/cmdline}" ;; esac
    done
}
agents() { processes "$work/memguard-under-test agent"; }
helpers() { processes "$work/bin/"; } # programs that a test puts there for the agent to run
clean_up() {
    local pid
    for pid in $(jobs -p) $(agents) $(helpers); do kill -KILL "$pid" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

memguard() { # NAME CODE ARGUMENTS...: runs the command and checks its exit code; standard input as it is
    local name=$1 expected=$2 code
    shift 2
    timeout 60 "$command" "$@" >"$out" 2>"$err"
    code=$?
    [ "$code" -eq "$expected" ] || cat "$err"
    check "$name: exit code" "$code" "$expected"
}
fact() { "$command" status --json 2>/dev/null | tr ',{}' '\n\n\n' | sed -n "s/^\"$1\":\"*\([^\"]*\)\"*$/\1/p"; }
wait_for() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}
settles() { # NAME EXPECTED COMMAND...: says that, at the latest after a while (a thread that ends, pages that are just mapped)
    local name=$1 expected=$2 seen i
    shift 2
    for ((i = 0; i < 200; i++)); do
        seen=$("$@")
        [ "$seen" != "$expected" ] || break
        sleep 0.05
    done
    check "$name" "$seen" "$expected"
}
is_calm() { [ "$(fact clients)" = 1 ]; } # the one that asks
