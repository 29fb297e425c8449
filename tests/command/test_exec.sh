#!/bin/bash
# memguard exec: what a program gets and what it does not, its end, signals, stops and terminals, that all is wiped afterwards,
# and that the secret is nowhere else: not in an environment, a command line, our memory or a file.
# usage: test_exec.sh
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
command=${MEMGUARD_COMMAND:?}
here=$MEMGUARD_SOURCE/tests/command
out=$work/out err=$work/err
export XDG_RUNTIME_DIR=$work/run
# An undumpable process cannot look for leaks; and sanitizers set the limit of cores.
export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0:disable_coredump=0
# The library closes descriptors by system calls that ThreadSanitizer does not see: a number that is used again looks like a race to it.
# And an emergency wipe waits for nobody.
printf 'race:mg__sys_secret_map\nrace:memguard_emergency_wipe\n' >"$work/tsan"
export TSAN_OPTIONS=${TSAN_OPTIONS-}:disable_coredump=0:report_thread_leaks=0:print_suppressions=0:suppressions=$work/tsan
unset MEMGUARD_BACKEND MEMGUARD_ASKPASS SSH_ASKPASS
mkdir -m 700 "$XDG_RUNTIME_DIR"
clean_up() {
    local pid
    timeout 20 "$command" purge 2>/dev/null
    for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null; done
    touch "$work/go"
    wait 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

part() { [ -z "${MEMGUARD_TEST_VERBOSE-}" ] || echo "$SECONDS s: $1"; }
same() { check "$1" "$([ "$2" = "$3" ] || echo "'$2', not '$3'")"; } # NAME SEEN EXPECTED
has() { check "$1" "$(grep -q -- "$2" "$3" || { echo "no '$2' in it:"; head -5 "$3"; })"; }
memguard() { # NAME CODE ARGUMENTS...: runs the command and checks its exit code
    local name=$1 expected=$2 code
    shift 2
    timeout 60 "$command" "$@" >"$out" 2>"$err"
    code=$?
    same "$name: exit code" "$code" "$expected"
    [ "$code" -eq "$expected" ] || cat "$err"
}
exec_() { # NAME CODE ARGUMENTS...
    local name=$1 expected=$2
    shift 2
    memguard "$name" "$expected" exec "$@"
}
wait_for() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.02
    done
}
there() { wait_for 20 [ -e "$1" ] || check "waiting for $1" "it does not come"; }

for helper in pty exec_probe; do
    ${CC:-cc} -std=gnu11 -O2 -Wall -o "$work/$helper" "$here/$helper.c" || {
        check "the helpers build" no
        finish
    }
done
probe=$work/exec_probe
head -c 30 /dev/urandom | base64 -w 0 >key
printf 'pa:ss\\"word\n' >odd
head -c 1048576 /dev/urandom >large
head -c 256 large >large.head
tail -c 256 large >large.tail
printf 'a\0b' >zero
for name in key odd large zero; do memguard "set" 0 set $name --file $name; done
printf second >second
memguard "set: a name with all that a name may have" 0 set 'a._@:/+=-:hex' --file second

# ---- every way in ----
part "every way in"
exec_ "--file" 0 --file key -- cat {key}
same "--file: the bytes" "$(cat "$out")" "$(cat key)"
exec_ "--file in a word, twice" 0 --file key -- echo --key={key}:{key}
has "--file in a word, twice" '^--key=/dev/fd/\([0-9]*\):/dev/fd/\1$' "$out"
exec_ "--file is read twice" 0 --file key -- cat {key} {key}
same "--file is read twice: the bytes" "$(cat "$out")" "$(cat key key)"
exec_ "other braces stay" 0 --file key -- echo {key}x '{other}' '{ print $1 }' '{}' '{key' 'key}'
has "other braces stay" '^/dev/fd/[0-9]*x {other} { print \$1 } {} {key key}$' "$out"
exec_ "no braces for what is no argument" 0 --stdin key --env A=odd -- echo '{key}' '{odd}'
has "no braces for what is no argument" '^{key} {odd}$' "$out"
exec_ "--file of any name" 0 --file 'a._@:/+=-:hex' -- cat '{a._@:/+=-:hex}'
same "--file of any name: the bytes" "$(cat "$out")" second
exec_ "--file-env" 0 --file-env KEY=key -- sh -c 'echo "$KEY"; cat "$KEY"'
has "--file-env: a path" '^/dev/fd/[0-9]*$' "$out"
same "--file-env: the bytes" "$(sed 1d "$out")" "$(cat key)"
KEY=other exec_ "a variable that we have is replaced" 0 --file-env KEY=key -- sh -c 'cat "$KEY"; env | grep -c ^KEY='
same "a variable that we have is replaced" "$(cat "$out")" "$(cat key)1"
exec_ "--pipe" 0 --pipe key -- sh -c 'cat {key}; cat {key}'
same "--pipe is read once" "$(cat "$out")" "$(cat key)"
exec_ "--stdin" 0 --stdin odd cat
same "--stdin: the bytes" "$(xxd -p "$out")" "$(xxd -p odd)"
exec_ "--env" 0 --env "S=odd" -- printenv S
same "--env: the bytes" "$(cat "$out")" "$(cat odd; echo)"
has "--env: a warning" "warning: --env" "$err"
same "--env: one line" "$(wc -l <"$err")" 1
exec_ "all at once, each fetched once" 0 --file key --file-env A=key --render B={key} --pipe odd --stdin odd --env C=odd -- \
    sh -c 'cat {key} $A $B {odd}; cat; printf "%s\n" "$C"'
same "all at once" "$(xxd -p "$out")" "$({ cat key key key odd odd odd; echo; } | xxd -p)"
memguard "set with two uses" 0 set two --file key --uses 2
exec_ "a name that is named often" 0 --file two --file-env A=two --render B={two}{two:hex} --env C=two --stdin two -- true {two}
has "a name that is named often is used once" '"name":"two",.*"uses_left":1' <("$command" ls --json)
exec_ "no secret at all" 0 -- echo nothing
same "no secret at all" "$(cat "$out")" nothing

# ---- rendered text ----
part "rendered text"
render() { # NAME EXPECTED TEMPLATE
    exec_ "--render: $1" 0 --render "T=$3" -- sh -c 'cat "$T"'
    same "--render: $1" "$(xxd -p "$out")" "$(printf "$2" | xxd -p)"
}
render "text alone" 'no secret' 'no secret'
render "braces and escapes" '{x}\n\t\\y' '{{x}}\n\t\\y'
render "first and last" 'second-pa:ss\\"word\nsecond' '{a._@:/+=-:hex:raw}-{odd}{a._@:/+=-:hex:raw}'
render "line" 'pa:ss\\"word|' '{odd:line}|'
render "hex" '70613a73735c22776f72640a' '{odd:hex}'
render "base64" "$(base64 odd)" '{odd:base64}'
render "pgpass" 'h:5432:*:me:pa\\:ss\\\\"word\n' 'h:5432:*:me:{odd:line:pgpass}\n'
render "url" 'pa%%3Ass%%5C%%22word%%0A' '{odd:url}'
render "json" '{"p":"pa:ss\\\\\\"word\\u000A"}' '{{"p":"{odd:json}"}}'
render "curl" 'user = "me:pa:ss\\\\\\"word\\n"' 'user = "me:{odd:curl}"'
render "filters in their order" "$(printf second | xxd -p | tr -d '\n' | base64 -w 0)" '{a._@:/+=-:hex:raw:hex:base64}'
printf 'user \\n {odd:line}\n{{}}\n' >template
exec_ "--render from a file" 0 --render T=@template -- sh -c 'cat "$T"'
same "--render from a file" "$(cat "$out")" 'user \n pa:ss\"word
{}'
exec_ "--render of 1 MiB" 0 --render 'T=<{large}>' -- sh -c 'cat "$T"'
same "--render of 1 MiB" "$(cmp "$out" <(printf '<'; cat large; printf '>') && echo same)" same
exec_ "--render to a script" 0 --render 'T=echo {key}' -- sh -c '. "$T"'
same "--render to a script" "$(cat "$out")" "$(cat key)"

# ---- what is refused, and starts nothing ----
part "what is refused"
refused() { # NAME CODE WORDS ARGUMENTS...
    local name=$1 code=$2 words=$3
    shift 3
    exec_ "$name" "$code" "$@"
    has "$name: why" "$words" "$err"
    check "$name: something was started" "$(cat "$out")"
}
refused "no command" 125 "which command" --file key --
refused "an unknown option" 125 "unknown option: --fiel" --fiel key -- echo {key}
refused "no value" 125 "--file needs a value" --file
refused "a bad name" 125 "is no name" --file 'a b' -- echo '{a b}'
refused "nobody asks for it" 125 "nothing in the command refers to {key}" --file key -- echo key
refused "--once for nothing" 125 "nothing in the command refers to {key}" --once key -- echo key
refused "a file and a pipe" 125 "cannot be both" --file key --pipe key -- echo {key}
refused "two inputs" 125 "one standard input" --stdin key --stdin odd -- echo
refused "no variable" 125 "does not begin with VAR=" --env key -- echo
refused "a bad variable" 125 "does not begin with VAR=" --file-env 1A=key -- echo
refused "a variable twice" 125 "A is given twice" --env A=key --file-env A=key -- echo
refused "an open brace" 125 "has no }" --render 'A={key' -- echo
refused "a closing brace" 125 "has no {" --render 'A=key}' -- echo
refused "a bad name in a text" 125 "is no name" --render 'A={}' -- echo
refused "a bad escape" 125 'behind a' --render 'A=\x' -- echo
refused "an empty text" 125 "the text is empty" --render A= -- echo
refused "too many filters" 125 "at most 3" --render 'A={key:hex:hex:hex:hex}' -- echo
refused "a template that is not there" 125 "none: No such file" --render A=@none -- echo
refused "a secret that is not there" 125 "none: no such secret" --file key --file none -- echo {key} {none}
refused "a zero byte" 125 "zero byte" --env A=zero -- echo
refused "a variable that is too large" 125 "too large" --env A=large -- echo
refused "no such program" 127 "nonesuch: No such file" --stdin key -- nonesuch
refused "no such program, by a path" 127 "No such file" --stdin key -- ./nonesuch
refused "an empty name of a program" 127 "No such file" --stdin key -- ''
refused "not executable" 126 "Permission denied" --stdin key -- ./key
printf '#!%s/nonesuch\n' "$work" >script
chmod 755 script
refused "no interpreter" 127 "No such file" --stdin key -- ./script
memguard "set with one use" 0 set single --file key --uses 1
refused "no such program: nothing was fetched" 127 "No such file" --file single -- nonesuch {single}
has "no such program: no use was counted" '"name":"single",.*"uses_left":1' <("$command" ls --json)
memguard "no-reveal" 0 set handed --file key --no-reveal
exec_ "--no-reveal is for programs" 0 --file handed -- cat {handed}
same "--no-reveal is for programs" "$(cat "$out")" "$(cat key)"
memguard "confirm" 0 set asked --file key --confirm
refused "nobody can be asked" 125 "no way to ask" --file asked -- echo {asked}

# ---- many ----
part "many"
for i in {1..64}; do echo --file=many$i; done >options
for i in {1..64}; do echo {many$i}; done >words
for i in {1..65}; do printf %s $i | "$command" set many$i; done
mapfile -t options <options
mapfile -t words <words
exec_ "64 files" 0 "${options[@]}" -- cat "${words[@]}"
same "64 files" "$(cat "$out")" "$(seq -s '' 64)"
refused "65 files" 125 "at most 64 secrets" "${options[@]}" --file many65 -- echo "${words[@]}" {many65}
exec_ "64 files and 64 texts" 0 "${options[@]}" $(for i in {1..64}; do echo --render=V$i={many$i}; done) -- \
    sh -c 'cat $V1 $V64; ls -l /proc/self/fd | grep -c memfd' sh "${words[@]}"
same "64 files and 64 texts" "$(cat "$out")" "164128"
refused "65 variables" 125 "at most 64 variables" $(for i in {1..65}; do echo --env=V$i=many1; done) -- echo

# ---- the file ----
part "the file"
exec_ "the file" 0 --file key -- "$probe" file {key}
has "the file is a memfd of mode 0600" '^/memfd:memguard (deleted) mode:600 links:0 size:40 ' "$out"
for way in write map shrink grow punch unseal; do has "the file: refused: $way" " $way:Operation not permitted" "$out"; done
exec_ "numbers of 10 and more" 0 --file key --pipe odd --render A={key} -- sh -c 'echo {key} {odd} $A'
same "numbers of 10 and more" "$(grep -o '[0-9]*' "$out" | awk '$1 < 10' | wc -l)" 0
exec 20<key 21<odd
exec_ "inherited descriptors stay" 0 --file key -- bash -c 'cat <&20; cat <&21; cat {key}'
exec 20<&- 21<&-
same "inherited descriptors stay" "$(cat "$out")" "$(cat key odd key)"
(ulimit -n 10; "$command" exec --file key -- cat {key}) >"$out" 2>"$err"
same "a limit that has no such numbers" "$(cat "$out")" "$(cat key)"
if is_sanitized; then
    skip "no descriptor left: a sanitizer needs some itself"
else
    (ulimit -n 5; "$command" exec --file key --pipe odd -- cat {key} {odd}) >"$out" 2>"$err"
    same "no descriptor left: exit code" "$?" 125
    has "no descriptor left: why" "Too many open files" "$err"
fi
(ulimit -l 0; MEMGUARD_BACKEND=plain "$command" exec --file key -- cat {key}) >"$out" 2>"$err"
if [ "$(id -u)" -ne 0 ]; then
    has "no lockable memory: a warning" "not all files in memory could be locked" "$err"
else
    same "root may lock without a limit" "$(cat "$out")" "$(cat key)"
fi

# ---- what the program keeps ----
part "what the program keeps"
alike() { # NAME COMMAND...: tells the same with memguard before it (`by`) as without
    local name=$1 without with
    shift
    without=$(by='' "$@" 2>&1)
    with=$(by="$command exec --stdin key --" "$@" 2>&1)
    same "$name" "$with" "$without"
    check "$name: nothing seen" "$([ -n "$with" ] || echo empty)"
}
alike "umask, limits, directory" sh -c 'umask 027; ulimit -c 1000; ulimit -n 100; cd /; $by sh -c "umask; ulimit -a; pwd"'
alike "hard limit of cores" bash -c '$by bash -c "ulimit -Hc"'
alike "process group, session, terminal" sh -c '$by sh -c "cut -d\" \" -f5-8 /proc/self/stat"'
alike "environment" sh -c '$by env | grep -v "^_=\|^by=\|^SHLVL="'
alike "descriptors" bash -c 'exec 5</ 17<&5 0</; $by ls /proc/self/fd'
same "no descriptors but its own" "$("$command" exec --file key -- sh -c 'exec ls /proc/self/fd' x {key} | wc -l)" \
    $(($(sh -c 'exec ls /proc/self/fd' | wc -l) + 1))
same "closed standard streams stay closed" 1 \
    "$(exec 0<&- 2>&-; "$command" exec --file key -- sh -c 'for n in 0 1 2; do [ ! -e /proc/$$/fd/$n ] || echo $n; done' x {key})"
# The C library's own two, 32 and 33, its posix_spawn always leaves ignored.
state="sed -n '/^Sig[BIC]/s/000000018\\|000000000/.../p' /proc/self/status"
alike "signals as usual" sh -c "\$by $state"
alike "signals blocked and ignored" sh -c "$probe blocked \$by $state"
alike "SIGINT ignored" sh -c "trap '' INT HUP; \$by $state"
same "SIGCHLD ignored: the exit code" "$(bash -c "trap '' CHLD; '$command' exec -- sh -c 'exit 9'; echo \$?")" 9

# ---- ends ----
part "ends"
for code in 0 1 77 125 255; do exec_ "code $code" $code --file key -- sh -c "exit $code" {key}; done
died() { # a program without a core of its own
    (ulimit -c unlimited; "$probe" usual "$command" exec --file key -- sh -c "ulimit -c 0; kill -$1 \$\$; sleep 20" {key}; exit) >"$out" 2>&1
}
for signal in KILL TERM SEGV ABRT INT PIPE USR1 QUIT HUP RTMIN; do
    died $signal
    same "killed by SIG$signal" "$?" $((128 + $(kill -l $signal)))
done
check "no core of ours" "$(ls core* *.core 2>/dev/null)"
exec_ "a pipe that nobody reads" 3 --pipe large -- sh -c 'exit 3' {large}
exec_ "an input that nobody reads" 0 --stdin large -- true
exec_ "an input that is closed" 0 --stdin large -- sh -c 'head -c 100000 | cksum; exec 0<&-; sleep 0.3'
same "an input that is closed" "$(cat "$out")" "$(head -c 100000 large | cksum)"
exec_ "1 MiB by a pipe and by input, one after the other" 0 --pipe large --stdin large -- sh -c 'cksum; sleep 0.2; cksum <{large}'
same "1 MiB by a pipe and by input" "$(cat "$out")" "$(cksum <large; cksum <large)"

# ---- signals ----
part "signals"
cat >catch <<'EOT'
trap 'echo TERM >>caught; exit 31' TERM
for name in HUP INT USR1 USR2 WINCH CONT ALRM ABRT SEGV; do trap "echo $name >>caught" $name; done
echo $$ >child
touch ready
while :; do sleep 0.02; done
EOT
begin() { # ARGUMENTS...: starts in the background; $parent
    rm -f ready child caught go
    "$probe" usual "$command" exec "$@" >"$out" 2>"$err" &
    parent=$!
    there ready
}
begin --file key -- bash catch {key}
for signal in HUP USR1 USR2 WINCH CONT ALRM ABRT SEGV; do
    kill -$signal $parent
    check "SIG$signal is passed on" "$(wait_for 20 grep -q "^$signal" caught || echo no)"
done
kill -TERM $parent
wait $parent
same "SIGTERM is passed on, and the code comes back" "$?" 31
same "each signal once" "$(sort caught | uniq -c | awk '$1 != 1')" ""
begin --file key -- bash -c 'echo $$ >child; touch ready; while :; do sleep 0.02; done' x {key}
kill -TERM $parent
wait $parent 2>/dev/null
same "SIGTERM: both die by it" "$?" 143
check "SIGTERM: the child is gone" "$(kill -0 "$(cat child)" 2>/dev/null && echo there)"
is_stopped() { grep -q '^State:.T' "/proc/$1/status"; }
runs() { ! is_stopped "$1"; }
set -m # a process group that a shell looks after: SIGTSTP stops no other
begin --file key -- bash catch {key}
set +m
child=$(cat child)
kill -STOP "$child"
check "the child stops: so do we" "$(wait_for 20 is_stopped $parent || echo no)"
kill -CONT $parent
check "we are continued: so is the child" "$(wait_for 20 runs "$child" || echo no)"
check "and it has the signal" "$(wait_for 20 grep -q CONT caught || echo no)"
kill -TSTP $parent
check "SIGTSTP is passed on" "$(wait_for 20 is_stopped "$child" || echo no)"
check "and stops us, too" "$(wait_for 20 is_stopped $parent || echo no)"
kill -CONT $parent
check "and again" "$(wait_for 20 runs "$child" || echo no)"
kill -TERM $parent
wait $parent
same "after all that: the code" "$?" 31
begin --file key -- bash catch {key}
child=$(cat child)
kill -KILL $parent
wait $parent 2>/dev/null
check "SIGKILL: the child runs on" "$(kill -0 "$child" || echo no)"
kill -TERM "$child"

# ---- terminals ----
part "terminals"
timeout 60 ./pty ready $'\003' -- "$command" exec --file key -- bash -c 'trap "echo caught" INT
    echo ready; read x; read -t 1 x; exit 5' x {key} >"$out"
same "^C: the child decides: exit code" "$?" 5
same "^C: it has it once" "$(grep -c '^.*caught' "$out")" 1
timeout 60 ./pty ready $'\003' -- "$command" exec --file key -- sh -c 'echo ready; sleep 20' x {key} >"$out"
same "^C: both die by it" "$?" 130
timeout 60 ./pty ready answer -- "$command" exec --file key -- bash -c 'tty; echo ready; read x </dev/tty; echo "got $x"' x {key} >"$out"
has "the child has the terminal" "got answer" "$out"
cat >jobs <<'EOT'
set -m
"$1" exec --file key -- bash -c 'echo begun; kill -TSTP $$; read x </dev/tty; echo "again $x"; exit 6' x {key}
echo "stopped $?"
fg >/dev/null
echo "ended $?"
EOT
timeout 60 ./pty "stopped 147" word -- /bin/bash jobs "$command" >"$out"
has "a stop goes to the shell, which continues it in the foreground" "again word" "$out"
has "and gets its code" "ended 6" "$out"

rm -f ready child caught
./pty -- "$command" exec --file key -- bash catch {key} >"$out" & # its end takes the terminal away
terminal=$!
there ready
kill -KILL $terminal
wait $terminal 2>/dev/null
check "a terminal that goes away: the child is told" "$(wait_for 20 grep -q HUP caught || echo no)"
kill -TERM "$(cat child)"

# ---- wiped ----
part "wiped"
cat >leave <<'EOT'
cat "$1" "$T" >before
{
    exec >descendant 2>&1
    echo $BASHPID >descendant.pid
    while ! [ -e go ]; do sleep 0.02; done
    cat "$1" "$T" | tr -d '\0' | wc -c
    cat "$1" "$T" | wc -c
    touch looked
} &
while ! [ -s descendant.pid ]; do sleep 0.02; done
EOT
rm -f go
exec_ "a descendant that stays" 0 --file key --render 'T=<{key}>' -- bash leave {key}
same "control: the secret was there" "$(cat before)" "$(cat key; printf '<'; cat key; printf '>')"
touch go
there looked
same "wiped, although a descendant holds it open" "$(tr -d ' ' <descendant | tr '\n' ' ')" "0 82 "

# ---- where the secret is not ----
part "where the secret is not"
cat >stay <<'EOT'
cat "$1" "$T" >/dev/null
echo $$ >child
touch ready
while ! [ -e go ]; do sleep 0.02; done
EOT
found() { # FILE...: how many of them have the secret
    grep -lFaf key "$@" 2>/dev/null | wc -l
}
begin --file key --render 'T={key}' --stdin key -- bash stay {key}
same "in no environment" "$(found /proc/[0-9]*/environ)" 0
same "on no command line" "$(found /proc/[0-9]*/cmdline)" 0
touch go
wait $parent
begin --file key --render T={key} --env S=key -- bash stay {key}
same "control: --env: it is found in the child's" "$(found "/proc/$(cat child)/environ")" 1
same "control: --env: and not in ours" "$(found "/proc/$parent/environ")" 0
touch go
wait $parent

export MEMGUARD_BACKEND=locked # pages that root can read
printf 'the-name-of-a-secret' >label
memguard "set" 0 set the-name-of-a-secret --file key
begin --file the-name-of-a-secret --render T={key} --env S=key --stdin large -- bash stay {the-name-of-a-secret}
if is_sanitized; then
    skip "our memory: too much of it is a sanitizer's"
elif [ "$(id -u)" -ne 0 ]; then
    check "our memory: the same user is refused" "$("$probe" look $parent key 2>/dev/null)"
    skip "our memory: only root can look at it"
else
    check "memory: control: a name is found" "$([ "$("$probe" look $parent label)" -gt 0 ] || echo no)"
    check "memory: control: what is handed over is found" "$([ "$("$probe" look $parent key)" -gt 1 ] || echo no)"
    same "memory: nowhere else" "$("$probe" look $parent key memfd:memguard)" 0
    same "memory: what waits to be fed is sealed" "$("$probe" look $parent large.tail)" 0
    same "memory: so is what was fed" "$("$probe" look $parent large.head)" 0
fi
touch go
wait $parent
same "and it ends" "$?" 0
unset MEMGUARD_BACKEND

traced() { MEMGUARD_BACKEND=locked strace -f -qq -y -s 100000 -e trace=write,writev,pwrite64,pwritev,pwritev2,sendfile,copy_file_range,splice -o trace "$@"; }
writes() { grep -Ff key trace | grep -vc '([0-9]*<\(/memfd:memguard\|pipe:\|socket:\|UNIX\)' ; }
if is_sanitized || [ "$(id -u)" -ne 0 ]; then
    skip "writes: a sanitizer makes its own, and only root can trace what is undumpable"
else
    traced "$command" exec --file key --render T={key} --env S=key --stdin key --pipe odd -- sh -c 'cat {odd} $T >/dev/null' x {key} 2>"$err"
    check "control: strace has seen the hand-over" "$(grep -Ff key trace | grep -q memfd || echo no)"
    same "no write of the secret to a file" "$(writes | head -1)" 1 # cat's own, to /dev/null
    traced "$command" exec --file key -- sh -c 'cat {key} >planted' 2>"$err"
    same "control: a planted write is found" "$(writes)" 1
fi

# ---- once ----
part "once"
memguard "set" 0 set once --file key
exec_ "--once" 0 --once once -- cat {once}
same "--once: the bytes" "$(cat "$out")" "$(cat key)"
refused "--once: it is gone" 125 "no such secret" --once once -- echo {once}
memguard "set" 0 set once --file key
exec_ "--once with other options" 0 --once once --stdin once --env A=once -- sh -c 'cat; printf %s "$A"'
same "--once with other options" "$(cat "$out")" "$(cat key key)"
memguard "--once with other options: it is gone" 3 get once
memguard "set" 0 set once --file key
refused "--once: when another cannot be had" 125 "none: no such secret" --once once --file none -- echo {once} {none}
memguard "--once: when another cannot be had it stays" 0 get once
refused "--once: for a directory" 126 "Permission denied" --once once -- "$work" {once}
memguard "--once: for a directory: it stays" 0 get once
memguard "set with one use" 0 set once --file key --uses 1
exec_ "--once of the last use" 0 --once once -- cat {once}
same "--once of the last use" "$(cat "$out")" "$(cat key)"
for round in 1 2 3; do
    memguard "set" 0 set once --file large
    for i in {1..8}; do timeout 60 "$command" exec --once once -- cksum {once} >"race$i" 2>"race$i.err" & done
    wait
    same "eight at once: one gets it" "$(cat race? | cut -d' ' -f1)" "$(cksum <large | cut -d' ' -f1)"
    same "eight at once: the others are told" "$(cat race?.err | grep -c 'no such secret')" 7
done
memguard "set" 0 set once --file key --confirm
refused "--once: refused: it stays" 125 "no way to ask" --once once -- echo {once}
has "--once: refused: it stays" '"name":"once"' <("$command" ls --json)

# ---- ended while it fetches ----
part "ended while it fetches"
memguard "purge" 0 purge
printf '#!/bin/sh\ntouch "%s/asking"\nexec sleep 100\n' "$work" >askpass
chmod 755 askpass
MEMGUARD_ASKPASS=$work/askpass memguard "agent" 0 agent
memguard "set" 0 set key --file key
memguard "set" 0 set asked --file key --confirm
for signal in TERM INT; do
    rm -f asking
    "$probe" usual "$command" exec --file key --file asked -- touch started {key} {asked} >"$out" 2>"$err" &
    parent=$!
    there asking
    kill -$signal $parent
    wait $parent 2>/dev/null
    same "SIG$signal while it fetches" "$?" $((128 + $(kill -l $signal)))
done
check "nothing was started" "$(ls started 2>/dev/null)"
memguard "lock" 0 lock --passphrase-fd 0 < <(echo phrase) 2>/dev/null
refused "locked" 125 "the agent is locked" --file key -- echo {key}
memguard "purge" 0 purge
refused "no agent" 125 "no agent is running" --file key -- echo {key}
finish
