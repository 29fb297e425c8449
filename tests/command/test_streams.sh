#!/bin/bash
# Standard streams of the command: closed, full, or without a reader.
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
command=${MEMGUARD_COMMAND:?}
export ASAN_OPTIONS=detect_leaks=0 XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
is() { check "$1" "$([ "$2" = "$3" ] || echo "'$2', not '$3'")"; }

for words in --help --version "help set" "ls --help" "doctor --list"; do
    # shellcheck disable=SC2086 # words
    {
        "$command" $words >&- 2>"$work/err"
        is "$words, output closed: exit code" $? 1
        is "$words, output closed" "$(cat "$work/err")" "memguard: standard output could not be written"
        "$command" $words >/dev/full 2>"$work/err"
        is "$words, output full: exit code" $? 1
        (
            trap '' PIPE
            until ! kill -0 "$$" || ! printf '\n'; do sleep 0.01; done 2>/dev/null # until the reader has left
            "$command" $words 2>"$work/err"
            echo $? >"$work/code"
        ) | true
        is "$words, no reader: exit code" "$(cat "$work/code")" 0
        is "$words, no reader: silent" "$(cat "$work/err")" ""
        "$command" $words >"$work/out" <&- 2>&-
        is "$words, input and errors closed" $? 0
        check "$words, input and errors closed" "$([ -s "$work/out" ] || echo "nothing was written")"
    }
done
"$command" agent <&- >&- 2>&-
is "an agent without standard streams" $? 0
"$command" set name <&- 2>"$work/err"
is "set, input closed: exit code" $? 1
check "set, input closed" "$(grep -q 'could not be read' "$work/err" || cat "$work/err")"
"$command" set name --gen 8 >&-
is "set, output closed: it writes none" $? 0
"$command" get name >&- 2>"$work/err"
is "get, output closed: exit code" $? 1
"$command" purge
is "purge" $? 0
finish
