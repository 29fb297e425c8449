#!/bin/sh
# The command line of memguard, and `memguard demo` from end to end: cells of the table, exit codes, bad keys, what is
# left behind, that no byte of a key is ever in an environment or a command line. Run as root it tries the unprivileged
# case too.
# usage: test_demo.sh [COMMAND]    (else $MEMGUARD_COMMAND)
set -u
command=${1:-}
[ -f "$command" ] && [ -x "$command" ] || command=${MEMGUARD_COMMAND:-}
unset MEMGUARD_BACKEND
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1"; }
finish() { echo "$passed passed, $failed failed, $skipped skipped"; [ "$failed" -eq 0 ]; exit; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: '$2', not '$3'"; fi; }
has() { if grep -q -- "$2" "$3"; then pass; else fail "$1: no '$2' in it"; cat "$3"; fi; }
hasnot() { if grep -q -- "$2" "$3"; then fail "$1: '$2' in it"; cat "$3"; else pass; fi; }

if [ ! -x "$command" ]; then
    fail "no command to test: give it as the first argument"
    finish
fi

work=$(mktemp -d) || exit 1
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
out=$work/out err=$work/err

# run NAME CODE ARGUMENTS...: runs the command and checks its exit code.
run() {
    name=$1 expected=$2
    shift 2
    "$command" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [ "$code" -eq "$expected" ] || { cat "$out" "$err"; }
    check "$name: exit code" "$code" "$expected"
}

# cell ROW COLUMN: the text of one cell of the table in $out; columns 2 environ, 3 cmdline, 4 memory, 5 core.
cell() { awk -F '  +' -v row="$1" -v column="$2" '$2 == row && !done { print $(column + 1); done = 1 }' "$out"; }

# ---- the command line ----
run "no arguments" 2
has "no arguments" "usage: memguard" "$err"
run "--help" 0 --help
has "--help" "^  demo " "$out"
hasnot "--help" "__hold" "$out"
run "--version" 0 --version
has "--version" "^memguard [0-9]" "$out"
run "help demo" 0 help demo
has "help demo" "^usage: memguard demo" "$out"
run "demo --help" 0 demo --help
has "demo --help" "^usage: memguard demo" "$out"
run "unknown verb" 2 nonsense
has "unknown verb" "unknown verb: nonsense" "$err"
run "unknown option" 2 --nonsense
has "unknown option" "unknown option: --nonsense" "$err"
run "unknown option of demo" 2 demo --nonsense
has "unknown option of demo" "nonsense" "$err"
run "help about nothing" 2 help nonsense
run "demo --key without a file" 2 demo --key
run "the hidden verb without its arguments" 2 __hold
if [ -e /dev/full ]; then
    "$command" --help >/dev/full 2>"$err"
    check "standard output full: exit code" "$?" 1
fi

# ---- keys that cannot be used ----
bad_key() { # FILE, WORDS
    run "bad key $1" 2 demo --key "$1"
    has "bad key $1" "$2" "$err"
}
: >"$work/empty"
echo "no key" >"$work/text"
head -c 1048577 /dev/zero >"$work/large"
mkfifo "$work/fifo"
bad_key "$work/missing" "No such file"
bad_key "$work" "is a directory"
bad_key "$work/empty" "is empty"
bad_key "$work/large" "larger than 1 MiB"
bad_key "$work/text" "not a private key"
bad_key "$work/fifo" "not a regular file"
bad_key /dev/null "not a regular file"
if command -v openssl >/dev/null &&
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 >"$work/key" 2>/dev/null; then
    openssl pkey -in "$work/key" -pubout -out "$work/public" 2>/dev/null
    bad_key "$work/public" "not a private key"
    openssl pkey -in "$work/key" -aes256 -passout pass:something -out "$work/encrypted" 2>/dev/null
    bad_key "$work/encrypted" "is encrypted"
fi
if command -v ssh-keygen >/dev/null; then
    ssh-keygen -q -t ed25519 -N something -C "" -f "$work/ssh_encrypted" </dev/null
    bad_key "$work/ssh_encrypted" "is encrypted"
fi

# ---- the demo ----
# An address space of terabytes, as sanitizers make, cannot be read to its end: the demo says so, and fails.
"$command" demo >"$out" 2>"$err" </dev/null
if grep -q "could not check: memory: File too large" "$out"; then
    skip "the address space is too large to be searched (a sanitizer's)"
    finish
fi

have_gcore=no
command -v gcore >/dev/null && command -v gdb >/dev/null && have_gcore=yes

# core_is NAME ROW CELL: the core column, where there is gcore.
core_is() {
    found=$(cell "$2" 5)
    case $have_gcore in
    no) set -- "$1" "$2" "could not check" ;;
    sometimes) [ "$found" != "could not check" ] || return 0 ;;
    esac
    check "$1: $2: core" "$found" "$3"
}

# nothing found, or nothing found in what could be read
is_clean() { case $2 in - | "- ("*" no access)") pass ;; *) fail "$1: '$2'" ;; esac; }

# story NAME: what must be in $out whatever the backend.
story() {
    check "$1: at most 80 columns" "$(grep -v -F -e "$command" -e "$work" "$out" | awk 'length > 80')" "" # but for paths
    check "$1: environment child: environ" "$(cell "environment child" 2)" FOUND
    check "$1: environment child: cmdline" "$(cell "environment child" 3)" -
    check "$1: environment child: memory" "$(cell "environment child" 4)" FOUND
    check "$1: heap child: environ" "$(cell "plain heap child" 2)" -
    check "$1: heap child: cmdline" "$(cell "plain heap child" 3)" -
    check "$1: heap child: memory" "$(cell "plain heap child" 4)" FOUND
    for row in "vault child, sealed" "vault child, in use"; do
        check "$1: $row: environ" "$(cell "$row" 2)" -
        check "$1: $row: cmdline" "$(cell "$row" 3)" -
    done
    is_clean "$1: sealed: memory" "$(cell "vault child, sealed" 4)"
    in_use=$(cell "vault child, in use" 4)
    if grep -q '^  hidden  *yes' "$out"; then
        case $in_use in "no access ("*) pass ;; *) fail "$1: hidden, in use: memory: '$in_use'" ;; esac
    else
        check "$1: not hidden, in use: memory" "$in_use" FOUND
    fi
    is_clean "$1: destroyed: this process" "$(cell "this process" 2)"
    is_clean "$1: destroyed: the vault child" "$(cell "the vault child" 2)"
    if grep -q "backend locked" "$out"; then
        check "$1: destroyed, and all of it was read" "$(cell "this process" 2)" -
    fi
    has "$1: a limit: found before" "a copy, open in plain pages of this process:  *FOUND$" "$out"
    has "$1: a limit: its handle" "120 ms to live.*ERR_EXPIRED after [0-9]* ms$" "$out"
    is_clean "$1: a limit: found no more" "$(sed -n 's/^  searched for again:  *//p' "$out")"
    hasnot "$1" "void$" "$out"
    hasnot "$1" "MUST NOT BE" "$out"
}

tools_are() { # NAME
    sed -e :a -e '$!N;s/\n      / /;ta' -e 'P;D' "$out" >"$work/joined" # a command, and what came of it
    for tool in openssl ssh-keygen; do
        words="could not check: $tool"
        if command -v $tool >/dev/null; then words="^  $tool .* ok "; fi
        has "$1" "$words" "$work/joined"
    done
    if grep -q "could not check: there is no directory in memory" "$out"; then
        skip "$1: the agent: there is no directory in memory"
    else
        has "$1: the agent has it" "^  memguard set key --fd 3  *ok " "$work/joined"
        has "$1: exec" "^  memguard exec --once key -- .*{key}  *ok  ." "$work/joined"
        has "$1: handed out once" "^  memguard get key  *ok  refused" "$work/joined"
    fi
    has "$1" "read back as zero" "$out"
    is_clean "$1: destroyed: the key" "$(cell "this process" 3)"
}

children_seconds() { # of processor time, so far: how long it takes says more of what else the machine does
    times >"$work/times"
    awk 'NR == 2 { gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4) }' "$work/times"
}
begin=$(children_seconds)
run demo 0 demo
end=$(children_seconds)
story demo
if [ $have_gcore = yes ] && grep -q "could not check: core: " "$out"; then
    skip "core files: $(grep "could not check: core: " "$out")"
    have_gcore=sometimes # it is not allowed, or takes too long on a busy machine
fi
tools_are demo
core_is demo "environment child" FOUND
core_is demo "plain heap child" FOUND
core_is demo "vault child, sealed" -
grep -q '^  no dump  *yes' "$out" && core_is demo "vault child, in use" -
has demo "What this does not protect" "$out"
check "demo: it takes less than 10 s of processor time" "$([ $((end - begin)) -lt 10 ] && echo yes)" yes
esc=$(printf '\033')
hasnot "demo: colour, not on a terminal" "$esc" "$out"

MEMGUARD_BACKEND=locked
export MEMGUARD_BACKEND
run "backend locked" 0 demo
unset MEMGUARD_BACKEND
story "backend locked"
has "backend locked" "backend locked;" "$out"

# ---- a key of the user's own: never seen in an environment or a command line while the demo runs ----
if [ -s "$work/key" ]; then
    sed -n 2p "$work/key" | cut -c 10-40 >"$work/pattern" # of the base64 text
    cp "$work/key" "$work/key.before"
    watch() { grep -l -a -F -f "$work/pattern" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null >>"$work/seen"; }
    env "PLANTED=$(cat "$work/pattern")" sleep 5 &
    planted=$!
    sleep 0.2
    : >"$work/seen"
    watch
    kill $planted
    wait $planted 2>/dev/null
    check "the watch finds what is planted" "$([ -s "$work/seen" ] && echo yes)" yes
    : >"$work/seen"
    "$command" demo --key "$work/key" >"$out" 2>"$err" </dev/null &
    demo=$! rounds=0
    while kill -0 $demo 2>/dev/null; do
        watch
        rounds=$((rounds + 1))
    done
    wait $demo
    check "own key: exit code" "$?" 0
    check "own key: nothing seen" "$(cat "$work/seen")" ""
    check "own key: watched often enough" "$([ $rounds -ge 5 ] && echo yes)" yes
    tools_are "own key"
    check "own key: the file is as before" "$(cmp "$work/key" "$work/key.before" && echo same)" same
else
    skip "a key of one's own: no openssl"
fi
if command -v ssh-keygen >/dev/null; then
    ssh-keygen -q -t ed25519 -N "" -C "" -f "$work/ssh_key" </dev/null
    run "a key in OpenSSH's own form" 0 demo --key "$work/ssh_key"
    tools_are "a key in OpenSSH's own form"
fi

# ---- what is missing is said, and is no pass ----
mkdir "$work/few"
for program in openssl ssh-keygen; do
    path=$(command -v $program) && ln -s "$path" "$work/few/$program"
done
old_path=$PATH
PATH=$work/few run "no gcore" 0 demo
PATH=$old_path
story "no gcore"
check "no gcore: core" "$(cell "plain heap child" 5)" "could not check"
check "no gcore: core of the vault" "$(cell "vault child, sealed" 5)" "could not check"
mkdir "$work/none"
PATH=$work/none run "no programs" 1 demo
PATH=$old_path
story "no programs"
has "no programs" "there is no key" "$out"

# ---- nothing is left ----
# In a place of our own, if there is one in memory: elsewhere other demos may be at work.
memory=
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && memory=$(mktemp -d /dev/shm/demo-test-XXXXXX); then
    XDG_RUNTIME_DIR=$memory
    export XDG_RUNTIME_DIR
fi
trap 'rm -rf "$work" ${memory:+"$memory"}' EXIT
directories() {
    for parent in ${memory:-/dev/shm "${XDG_RUNTIME_DIR:-/nonexistent}" "${TMPDIR:-/tmp}"}; do
        find "$parent" -maxdepth 1 -name 'memguard-??????' 2>/dev/null
    done
}
directories >"$work/before" # of others
left() { directories | grep -v -x -F -f "$work/before"; }
MEMGUARD_TEST_TAG=tag-$$-$(date +%s) # by this the children of our demos are known
export MEMGUARD_TEST_TAG
holders() {
    for process in $(grep -l -a __hold /proc/[0-9]*/cmdline 2>/dev/null); do
        grep -l -a -F "$MEMGUARD_TEST_TAG" "${process%cmdline}environ" 2>/dev/null
    done
}
run "the demo once more" 0 demo
check "files left" "$(left)" ""
check "children left" "$(holders)" ""
"$command" demo >/dev/null 2>&1 </dev/null &
demo=$!
seen=""
while [ -z "$seen" ] && kill -0 $demo 2>/dev/null; do seen=$(holders); done
wait $demo
check "children are seen while it runs" "$([ -n "$seen" ] && echo yes)" yes
for delay in 0.02 0.06 0.1 0.15 0.2 0.3 0.5 0.7 0.9 1.1; do
    "$command" demo >/dev/null 2>&1 </dev/null &
    demo=$!
    sleep $delay
    kill -TERM $demo $demo 2>/dev/null # twice, as timeout(1) does: the second must not cut the cleaning short
    wait $demo 2>/dev/null
    code=$?
    case $code in 0 | 143) pass ;; *) fail "SIGTERM after $delay s: exit code $code" ;; esac
done
sleep 0.3
check "files left after SIGTERM" "$(left)" ""
check "children left after SIGTERM" "$(holders)" ""
"$command" demo >/dev/null 2>&1 </dev/null &
demo=$!
sleep 0.1
kill -KILL $demo 2>/dev/null
wait $demo 2>/dev/null
sleep 1
check "children left after SIGKILL" "$(holders)" ""
left | while read -r directory; do rm -rf "$directory"; done # SIGKILL leaves no chance to remove it

# ---- as another user, and where the kernel refuses to show the children ----
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    lower="setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all"
    real=$command
    cp "$real" "$work/memguard" && chmod 755 "$work/memguard"
    printf '#!/bin/sh\nexec %s "%s/memguard" "$@"\n' "$lower" "$work" >"$work/lower"
    chmod 755 "$work/lower"
    command=$work/lower
    run unprivileged 0 demo
    story unprivileged
    tools_are unprivileged
    soft=$(ulimit -l)
    printf '#!/bin/sh\nulimit -l 64\nexec %s "%s/memguard" "$@"\n' "$lower" "$work" >"$work/lower"
    run "64 KiB of lockable memory" 0 demo
    story "64 KiB of lockable memory"
    tools_are "64 KiB of lockable memory"
    has "64 KiB of lockable memory" "64 KiB allowed" "$out"
    check "the limit of this shell is as before" "$(ulimit -l)" "$soft"
    # A program that its user may not read is not dumpable: nothing of its children can be looked at.
    printf '#!/bin/sh\nexec %s "%s/memguard" "$@"\n' "$lower" "$work" >"$work/lower"
    chmod 711 "$work/memguard"
    run "children that refuse to be looked at" 1 demo
    for row in "environment child" "plain heap child" "vault child, sealed" "vault child, in use"; do
        check "refused: $row: memory" "$(cell "$row" 4)" "could not check"
        check "refused: $row: core" "$(cell "$row" 5)" "could not check"
    done
    command=$real
else
    skip "as another user: not root, or no setpriv"
fi
finish
