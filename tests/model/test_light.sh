#!/bin/sh
# Checks the models of light readers and of their seats with Spin, and that Spin finds the mistakes which these can be built with.
set -u
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v spin >/dev/null 2>&1 || ! command -v "${CC:-cc}" >/dev/null 2>&1; then
    echo "SKIPPED: spin or a C compiler is missing"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
model=light
passed=0 failed=0

# Yields how many errors Spin finds in the model with these definitions; the search must have been complete.
errors() { # definitions, optimization: mistakes are found soon
    # shellcheck disable=SC2086 # definitions are words on purpose
    spin -a $1 "$here/$model.pml" >spin.out 2>&1 && "${CC:-cc}" $2 -w -DSAFETY -DNOCLAIM -o pan pan.c >cc.out 2>&1 || return 1
    ./pan -m1000000 >pan.out 2>&1
    if grep -q 'max search depth too small\|out of memory' pan.out; then return 1; fi
    sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.out
}

expect() { # $1: "none" or "some"; $2: definitions; $3: what it proves
    found=$(errors "$2" "$([ "$1" = none ] && echo -O2 || echo -O0)") || found=
    if [ "$1" = none ] && [ "$found" = 0 ] || { [ "$1" = some ] && [ "${found:-0}" -gt 0 ]; }; then
        passed=$((passed + 1))
        echo "ok $3: $(sed -n 's/ *\([0-9]*\) states, stored.*/\1 states/p' pan.out | head -n 1)"
    else
        failed=$((failed + 1))
        echo "FAILED $3: errors: ${found:-the search was not complete}"
        cat spin.out pan.out 2>/dev/null | tail -n 30
    fi
}

expect none "-DWRITER -DDESTROYER" light_readers_beside_a_writer_and_a_destroyer
expect none "-DHEAVY -DDESTROYER" light_readers_beside_readers_with_pins_and_a_destroyer
expect none "-DPURGE -DDESTROYER" light_readers_beside_a_purge_and_a_destroyer
expect none "-DPURGE" light_readers_beside_a_purge
expect some "-DWRITER -DNO_SEIZE_FENCE" a_writer_who_looks_without_a_fence_is_found
expect some "-DDESTROYER -DNO_DOOM_FENCE" a_destroyer_who_looks_without_a_fence_is_found
expect some "-DDESTROYER -DNO_DOOM_PIN" a_destroyer_without_a_pin_is_found
expect some "-DDESTROYER -DNO_LEAVE_FENCE" a_reader_who_leaves_a_dying_secret_without_a_fence_is_found
expect some "-DPURGE -DNO_GATE_FENCE" a_purge_that_looks_without_a_fence_is_found
expect some "-DPURGE -DNO_R_FENCE" a_revocation_without_a_fence_is_found
expect some "-DPURGE -DNO_BUSY_WAIT" a_revocation_while_the_library_is_at_work_is_found
expect some "-DPURGE -DNO_RESTORE" a_holder_who_leaves_during_a_revocation_is_found
model=seat
expect none "" of_two_who_release_one_view_one_does
expect some "-DNO_FENCE" a_claim_without_a_fence_is_found
expect some "-DNO_DECISION" an_owner_who_overlooks_a_claim_is_found
expect some "-DNO_MUTEX" two_claims_at_once_are_found
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
