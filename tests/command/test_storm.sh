#!/bin/bash
# 200 clients at an agent at once for a minute, killed in the middle: nothing lost, nothing leaked, no descriptor left. And what single
# clients of the same user can do to the others: floods that stop in the middle, announced secrets that do not come, passed descriptors
# whose closing takes minutes, guesses at the passphrase all at once, many purges at once, few descriptors.
# In the release build only: elsewhere test_agent.sh has a short storm.
# usage: test_storm.sh [FOLDER [SECONDS]]
case ${MEMGUARD_BUILD:?} in
*/release) ;;
*)
    echo "SKIPPED the storm of a minute: it belongs to the release build; a short one is in test_agent.sh"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
    ;;
esac

storm_seconds=${2:-60}
. "${MEMGUARD_SOURCE:?}/tests/command/agents.sh"
most() { if [ "$2" -le "$3" ]; then pass; else fail "$1: $2, more than $3"; fi; }
of_process() { awk -v what="$1:" '$1 == what { print $2 }' "/proc/$agent/status"; }
storm() { "$work/storm" "$socket" "$@"; }

if ! "${CC:-cc}" -std=gnu11 -O2 -Wall -o "$work/pty" "$here/pty.c" || ! "${CC:-cc}" -std=gnu11 -O2 -Wall -I"$source/include" -iquote "$source/tools/memguard" -o "$work/storm" \
    "$here/agent_storm.c" "$source/tools/memguard/wire.c"; then
    fail "the clients do not build"
    finish
fi
head -c 64 /dev/urandom >"$work/key"
head -c 1000000 /dev/urandom >"$work/large"

# ---- a question that nobody answers, meanwhile ----
mkdir -m 700 "$work/other"
XDG_RUNTIME_DIR=$work/other "$work/pty" -- "$command" agent --foreground >"$work/terminal" &
terminal=$!
other() { XDG_RUNTIME_DIR=$work/other timeout 150 "$command" "$@"; }
wait_for 20 other status
check "an agent at a terminal" "$(other set asked --gen 8 --confirm && echo set)" set
other get asked >"$work/asked" 2>&1 &
asking=$!

# ---- the storm ----
memguard "set" 0 set storm-key --file "$work/key"
memguard "set of a large one" 0 set storm-large --file "$work/large"
agent=$(fact pid)
storm 5 # what the agent keeps for the next clients is there after it
wait_for 30 is_calm
descriptors=$(fact descriptors) threads=$(of_process Threads) resident=$(of_process VmRSS)
locked=$(of_process VmLck) in_use=$(fact lock_in_use_bytes) secrets=$(fact secrets)
storm "$storm_seconds" >"$work/storm.out" 2>&1
check "200 clients for $storm_seconds s, killed in the middle: nothing is lost, nobody waits for ever" "$?" 0
cat "$work/storm.out"
check "after the storm: everybody has left" "$(wait_for 30 is_calm && echo calm)" calm
check "after the storm: the same agent" "$(fact pid)" "$agent"
settles "after the storm: no descriptor is left" "$descriptors" fact descriptors
settles "after the storm: no thread is left" "$threads" of_process Threads
check "after the storm: no secret too many or too few" "$(fact secrets)" "$secrets"
most "after the storm: protected memory in use, in bytes" "$(fact lock_in_use_bytes)" $((in_use + 8388608)) # pages that are kept for the next client
most "after the storm: locked memory, in KiB" "$(of_process VmLck)" $((locked + 8192))
most "after the storm: memory of the process, in KiB" "$(of_process VmRSS)" $((resident + 16384))
"$command" get storm-key >"$out"
check "after the storm: a secret from before" "$(cmp "$out" "$work/key" && echo same)" same
"$command" get storm-large >"$out"
check "after the storm: a large one" "$(cmp "$out" "$work/large" && echo same)" same

# ---- the question ----
wait $asking
check "a question that nobody answers is a refusal after a minute" "$?" 5
check "nothing was handed out, but the reason" "$(grep -c 'refused by the person' "$work/asked")" 1
other purge
wait $terminal
check "the terminal shows question and refusal" "$(grep -c '(refused)' "$work/terminal")" 1

# ---- single clients ----
kill -STOP "$agent"
"$work/storm" "$socket" linger >"$work/linger" &
lingerer=$!
wait_for 30 grep -q "passed along" "$work/linger"
kill -CONT "$agent"
memguard "beside a client whose descriptors take minutes to close" 0 get storm-key
kill -KILL "$lingerer"
wait "$lingerer" 2>/dev/null
wait_for 30 is_calm
settles "passed descriptors are not kept" "$descriptors" fact descriptors
"$command" rm --all
for i in {1..10}; do head -c 1000000 /dev/zero | "$command" set "full$i"; done
"$work/storm" "$socket" announce 60 30 >"$work/announced" &
announcer=$!
wait_for 30 grep -q announced "$work/announced"
memguard "beside 60 secrets of 1 MiB that are announced and do not come: set" 0 set key --file "$work/key"
kill "$announcer" 2>/dev/null
wait "$announcer" 2>/dev/null
wait_for 30 is_calm
"$work/storm" "$socket" flood 300 100 >"$work/flood" &
flood=$!
wait_for 30 grep -q flooded "$work/flood"
began=$SECONDS
memguard "behind 300 clients that stop in the middle, always anew: set" 0 set key --file "$work/key"
memguard "behind 300 clients that stop in the middle, always anew: get" 0 get key
check "behind 300 clients: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
echo "behind 300 clients that stop in the middle: set and get took $((SECONDS - began)) s"
kill "$flood" 2>/dev/null
wait "$flood" 2>/dev/null
check "after the flood: everybody has left" "$(wait_for 60 is_calm && echo calm)" calm
settles "after the flood: no descriptor is left" "$descriptors" fact descriptors
if [ "$(fact can_lock)" = true ]; then
    echo right | memguard "lock" 0 lock --passphrase-fd 0
    storm guess 40
    check "40 wrong passphrases at once: one is looked at" "$?" 0
    storm guess 40
    check "40 more: too soon" "$?" 0
    check "still locked" "$(fact locked)" true
else
    skip "guesses at the passphrase: built without libargon2"
fi
for _ in {1..10}; do "$command" purge 2>/dev/null & done
wait
check "ten purges at once: it has ended" "$(agents)" ""

# ---- few descriptors ----
(ulimit -n 16 && "$command" agent)
memguard "an agent with 16 descriptors: set" 0 set key --file "$work/key"
"$work/storm" "$socket" flood 30 20 >"$work/flood" &
flood=$!
wait_for 30 grep -q flooded "$work/flood"
memguard "an agent with 16 descriptors, behind 30 clients that stop: get" 0 get key
kill "$flood" 2>/dev/null
wait "$flood" 2>/dev/null
wait_for 60 is_calm
memguard "purge" 0 purge
check "no agent is left" "$(agents)" ""
finish
