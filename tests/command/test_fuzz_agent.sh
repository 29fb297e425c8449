#!/bin/bash
# Fuzzes the protocol of the agent with libFuzzer (tests/fuzz/agent_fuzz.c says what must hold) for some seconds; and shows that the
# fuzzer would find planted faults: bytes that broke off and are kept, a refusal that is left out. In the release build only.
# usage: test_fuzz_agent.sh [FOLDER [SECONDS [CORPUS]]]    `make fuzz` runs it longer, with a corpus that is kept
set -u
source=${MEMGUARD_SOURCE:?}
build=${MEMGUARD_BUILD:?}
seconds=${2:-20}
passed=0 failed=0 skipped=0
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
check() { if [ "$2" = "$3" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1: '$2', not '$3'"; fi; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export ASAN_OPTIONS=abort_on_error=0:exitcode=77 UBSAN_OPTIONS=print_stacktrace=1
corpus=${3:-$work/corpus}

case $build in
*/release) ;;
*)
    echo "SKIPPED the fuzzer: it is built by itself, with sanitizers, beside the release build"
    skipped=1
    finish
    ;;
esac
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d == 0 && n == 1; }' >"$work/try.c"
if ! clang -fsanitize=fuzzer,address,undefined -o "$work/try" "$work/try.c" >/dev/null 2>&1; then
    echo "SKIPPED the fuzzer: not installed: clang with libFuzzer (libclang-rt-14-dev)"
    skipped=1
    finish
fi

build() { # FOLDER OF THE SOURCES, PROGRAM
    clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wno-unused-function \
        -I"$source/include" -iquote "$1" -o "$2" "$source/tests/fuzz/agent_fuzz.c" "$1/agent_request.c" "$1/agent_lock.c" \
        "$1/wire.c" "$1/place.c" "$1/ui.c" "$build/libmemguard.a" -lsodium -lpthread
}
fuzz() { # PROGRAM, SECONDS, OPTIONS AND CORPORA...: what it says goes to $work/log. To name functions it would keep descriptors open
    local program=$1 limit=$2
    shift 2
    (cd "$work" && timeout $((limit + 120)) "$program" -max_total_time="$limit" -rss_limit_mb=1024 -max_len=8192 -timeout=60 \
        -seed=1 -print_funcs=0 -print_final_stats=1 "$@") >"$work/log" 2>&1
}
plant() { # NAME FILE SED-COMMAND: a copy of the sources with a fault in it, which the fuzzer has to find
    mkdir "$work/$1"
    cp "$source"/tools/memguard/*.[ch] "$work/$1"
    sed -i "$3" "$work/$1/$2"
    check "control, $1: planted" "$(cmp -s "$work/$1/$2" "$source/tools/memguard/$2" && echo same)" ""
    build "$work/$1" "$work/fuzz-$1" 2>"$work/log" || cat "$work/log"
    fuzz "$work/fuzz-$1" 30 "$work/seeds"
    check "control, $1: found by the fuzzer" "$(grep -c 'agent_fuzz: .*not so' "$work/log")" 1
    rm -f "$work"/crash-*
}

if ! build "$source/tools/memguard" "$work/fuzz" 2>"$work/log"; then
    cat "$work/log"
    check "the fuzzer builds" no yes
    finish
fi
mkdir -p "$work/seeds" "$corpus"
AGENT_FUZZ_SEEDS=$work/seeds "$work/fuzz"
check "there are seeds" "$(find "$work/seeds" -type f | wc -l)" 5
plant kept agent_request.c 's/if (answer != WIRE_DONE) forget(secret);//'
plant told agent_request.c 's/\*answer = WIRE_NO_REVEALING;/*answer = WIRE_DONE;/'
fuzz "$work/fuzz" "$seconds" "$corpus" "$work/seeds"
code=$?
[ $code -eq 0 ] || tail -n 60 "$work/log"
check "$seconds s of fuzzing: nothing is found" "$code" 0
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
check "it did fuzz" "$([ "${runs:-0}" -gt 200 ] && echo yes)" yes
echo "$runs inputs, $(find "$corpus" -type f | wc -l) new ones kept"
if [ $code -ne 0 ] && [ -n "${3-}" ]; then cp "$work"/crash-* "$work"/leak-* "$work"/timeout-* "$corpus/.." 2>/dev/null; fi
finish
