#!/bin/sh
# Checks the model of the table's word with Spin, and that Spin finds the mistakes which the model can be built with.
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
passed=0 failed=0

# Yields how many errors Spin finds in the model with these definitions; the search must have been complete.
errors() {
    # shellcheck disable=SC2086 # definitions are words on purpose
    spin -a $1 "$here/word.pml" >spin.out 2>&1 && "${CC:-cc}" -O1 -w -DSAFETY -DNOCLAIM -o pan pan.c >cc.out 2>&1 || return 1
    ./pan -m100000 >pan.out 2>&1
    if grep -q 'max search depth too small\|out of memory' pan.out; then return 1; fi
    sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.out
}

expect() { # $1: "none" or "some"; $2: definitions; $3: what it proves
    found=$(errors "$2") || found=
    if [ "$1" = none ] && [ "$found" = 0 ] || { [ "$1" = some ] && [ "${found:-0}" -gt 0 ]; }; then
        passed=$((passed + 1))
        echo "ok $3: $(sed -n 's/ *\([0-9]*\) states, stored.*/\1 states/p' pan.out | head -n 1)"
    else
        failed=$((failed + 1))
        echo "FAILED $3: errors: ${found:-the search was not complete}"
        cat spin.out pan.out 2>/dev/null | tail -n 30
    fi
}

expect none "" a_purge_beside_all_others_leaves_no_plaintext_and_ends
expect none "-DLOCK" a_lock_beside_all_others_leaves_nothing_open_and_ends
expect none "-DSHOWN" a_purge_beside_a_maker_whom_all_see_leaves_no_plaintext_and_ends
expect none "-DSHOWN -DLOCK" a_lock_beside_a_maker_whom_all_see_leaves_nothing_open_and_ends
expect some "-DFORGET_NOTE" a_purge_that_does_not_wait_for_a_maker_is_found
expect some "-DLOCK -DFORGET_NOTE" a_lock_that_does_not_wait_for_a_maker_is_found
expect some "-DFORGET_R" a_purge_that_does_not_wait_for_a_revocation_under_way_is_found
expect some "-DLOCK -DFORGET_R" a_lock_that_does_not_wait_for_a_revocation_under_way_is_found
expect some "-DFORGET_HELD" a_revocation_while_the_library_is_at_work_is_found
expect some "-DNO_PIN" a_revocation_without_a_pin_of_its_own_is_found
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
