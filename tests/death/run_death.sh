#!/bin/bash
# Commits the crimes and looks at the deaths: the exact signal, and exactly the words on standard error. Each crime
# has a lawful twin that must live. Usage: run_death.sh DIRECTORY, that of the programs crime_*.
set -u
directory=${1:?the directory of the crimes}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
ulimit -c 0
passed=0 failed=0 skipped=0 backend=auto

# Runs one and leaves its exit code in $code, its words in $scratch/out and err. The shell's own word is dropped.
commit() {
    { MEMGUARD_BACKEND=$backend "$directory/crime_$1" "${@:2}" >"$scratch/out" 2>"$scratch/err"; } 2>/dev/null
    code=$?
}

# What a death must look like; 128 + 11 is SIGSEGV, 128 + 6 is SIGABRT.
is_silent() { [ ! -s "$scratch/err" ]; }
is_canary() {
    [ "$code" -eq 134 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q '^memguard: .*canary' "$scratch/err"
}
matches() {
    case $1 in
    lives) [ "$code" -eq 0 ] && is_silent ;;
    segv) [ "$code" -eq 139 ] && is_silent ;;
    gone) { [ "$code" -eq 139 ] || [ "$code" -eq 0 ]; } && is_silent ;;
    canary) is_canary && [ ! -s "$scratch/out" ] ;;
    told) is_canary && [ "$(cat "$scratch/out")" = "callback $2 wiped" ] ;;
    esac
}

judge() { # expected size command...
    local expected=$1 size=$2
    shift 2
    commit "$@"
    if matches "$expected" "$size"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $backend: $* should be: $expected; exit code $code"
        sed 's/^/    out: /' "$scratch/out"
        sed 's/^/    err: /' "$scratch/err"
    fi
}

# expected, program, rest, how, size; a sixth word asks for the callback
crime() {
    local expected=$1 program=$2
    shift 2
    judge "$expected" "${3:-32}" "$program" crime "$@"
    judge lives 0 "$program" lawful "$@"
}

crimes_against_guarded_pages() { # rest size
    crime segv overread_view "$1" byte "$2"
    crime segv overread_view "$1" page "$2"
    crime segv overwrite_view "$1" byte "$2"
    crime segv overwrite_view "$1" page "$2"
    crime segv overread_use "$1" byte "$2"
    crime segv overread_use "$1" page "$2"
    crime segv overwrite_use "$1" byte "$2"
    crime segv overwrite_use "$1" page "$2"
    crime segv underrun_page "$1" read "$2"
    crime segv underrun_page "$1" write "$2"
    crime segv underrun_page "$1" read_use "$2"
    crime segv underrun_page "$1" write_use "$2"
    crime segv write_read_view "$1" first "$2"
    crime segv write_read_view "$1" last "$2"
}

crimes_against_slack() { # rest size
    crime canary underwrite_view "$1" byte "$2"
    crime canary underwrite_view "$1" slack "$2"
    crime told underwrite_view "$1" byte "$2" watch
}

crimes_against_the_dead() { # rest size
    crime segv read_after_destroy "$1" secret "$2"
    crime segv read_after_destroy "$1" vault "$2"
    crime gone read_after_destroy "$1" purge "$2"
    crime segv touch_revoked "$1" read "$2"
    crime segv touch_revoked "$1" write "$2"
    # What rests MAPPED stays readable after `use`.
    [ "$1" = mapped ] || crime gone read_after_use "$1" byte "$2"
    crime gone touch_wiped "$1" byte "$2"
}

all_crimes() {
    local rest size how
    for rest in sealed closed mapped; do
        for size in 32 1 4096 5000; do crimes_against_guarded_pages $rest $size; done
        for size in 32 1 5000; do crimes_against_slack $rest $size; done
        for size in 32 5000; do crimes_against_the_dead $rest $size; done
    done
    for rest in sealed closed; do
        crime segv read_after_release $rest read 32
        crime segv read_after_release $rest write 32
        crime segv read_after_release $rest read 5000
    done
    for rest in sealed compact; do # these are shown in a page of their own
        crime canary underwrite_use $rest byte 32
        crime canary underwrite_use $rest byte 1
        crime told underwrite_use $rest byte 32 watch
    done
    for size in 32 1 4096 5000; do
        crime segv overread_use compact byte $size
        crime segv overwrite_use compact byte $size
        crime segv underrun_page compact read_use $size
    done
    crime gone read_after_use compact byte 32
    for how in destroy freeze seal purge; do crime canary underwrite_at_rest writable $how 32; done
    crime segv touch_revoked compact read 32
    crime gone touch_wiped compact byte 32
    for how in behind before behind_read before_read behind_destroy before_destroy behind_seal before_seal \
        behind_vault before_vault; do
        for size in 32 1 33 200; do crime canary compact_overrun compact $how $size; done
    done
    crime told compact_overrun compact behind 32 watch
    crime told compact_overrun compact before 32 watch
    judge lives 0 double_destroy crime
    judge lives 0 double_destroy lawful
}

# crime_crash: exit code, words on standard error (after "memguard: "; "": none), on standard output, rest, how, size
crash() {
    local code_wanted=$1 err=${2:+memguard: $2} out=$3
    shift 3
    commit crash crime "$@"
    if [ "$code" -eq "$code_wanted" ] && [ "$(cat "$scratch/err")" = "$err" ] && [ "$(cat "$scratch/out")" = "$out" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $backend: crash $*: exit code $code, not $code_wanted, or other words"
        cat "$scratch/out" "$scratch/err"
    fi
    judge lives 0 crash lawful "$@"
}

all_crashes() {
    local size
    crash 135 "" "" sealed bus 32
    crash 134 "" "" sealed abrt 32
    crash 132 "" "" sealed ill 32
    crash 136 "" "" sealed fpe 32
    crash 159 "" "" sealed sys 32
    crash 133 "" "" sealed trap 32
    crash 139 "" "" sealed killed 32
    crash 139 "" "" sealed null 32
    for size in 32 1 4096 5000; do
        crash 139 "1 byte past a $size-byte secret" "" sealed past $size
        crash 139 "1 byte past a $size-byte secret" "" closed past $size
        crash 139 "1 byte past a $size-byte secret" "" mapped past $size
        crash 139 "1 byte past a $size-byte secret" "" sealed in_use $size
    done
    crash 139 "1 byte past a 32-byte secret" "" compact in_use 32
    crash 139 "4 bytes past a 32-byte secret" "" sealed past4 32
    crash 139 "$(($(getconf PAGESIZE) - 31)) bytes before a 32-byte secret" "" sealed before 32
    crash 139 "write to a 32-byte secret that may only be read" "" sealed write 32
    crash 139 "touch of a 32-byte secret that nobody borrows" "" closed closed 32
    crash 139 "touch of a secret that was released" "" sealed released 32
    crash 139 "touch of a 32-byte secret that a purge took away" "" closed revoked 32
    crash 139 "1 byte past a 32-byte secret" "" sealed core 32
    crash 139 "1 byte past a 32-byte secret" "" sealed thread 32
    crash 139 "1 byte past a 32-byte secret" "" sealed threads 32
    crash 139 "1 byte past a 32-byte secret" "" sealed ignored 32
    crash 139 "1 byte past a 32-byte secret" "segv address wiped mask" sealed earlier 32
    crash 139 "1 byte past a 32-byte secret" "segv address wiped host-stack mask" sealed earlier_stack 32
    crash 42 "1 byte past a 32-byte secret" "segv address wiped mask" sealed earlier_exits 32
    crash 134 "1 byte past a 32-byte secret" "segv address wiped mask
abrt wiped mask" sealed earlier_aborts 32
    crash 139 "" "" sealed overflow 32
    crash 139 "" "" sealed overflow_bare 32
    crash 139 "" "" sealed overflow_given 32
    crash 0 "" "child segv" sealed fork 32
}

# Every program must be judged: one that is not named above is a mistake here.
for program in "$directory"/crime_*; do
    name=${program##*/crime_}
    if ! grep -q " $name " "$0"; then
        failed=$((failed + 1))
        echo "FAILED: crime_$name is never committed"
    fi
done
[ -x "$directory/crime_overread_view" ] || { echo "FAILED: no crimes in $directory"; failed=$((failed + 1)); }
for backend in auto locked plain; do all_crimes; done
for backend in auto locked; do all_crashes; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
