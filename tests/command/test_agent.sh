#!/bin/bash
# The agent and its verbs: life and end, who may come, limits, lock and unlock, what a person is asked, clients that stall, lie,
# leave and come by the hundreds, and that no byte of a secret is in the agent's memory while nobody uses it.
# usage: test_agent.sh [FOLDER [SECONDS]]    SECONDS: how long the storm of clients lasts
storm_seconds=${2:-3}
. "${MEMGUARD_SOURCE:?}/tests/command/agents.sh"

gone() { ! kill -0 "$1" 2>/dev/null; }
no_answer() { "$command" status; [ $? = 6 ]; } # a process that was killed has its socket a moment longer than its name

build() {
    local cc=${CC:-cc}
    "$cc" -std=gnu11 -O2 -Wall -o "$work/pty" "$here/pty.c" &&
        "$cc" -std=gnu11 -O2 -Wall -I"$source/include" -iquote "$source/tools/memguard" -o "$work/peer" "$here/agent_peer.c" \
            "$source/tools/memguard/wire.c"
}
if ! build; then
    fail "the helpers do not build"
    finish
fi
peer() { "$work/peer" "$socket" "$@"; }
head -c 64 /dev/urandom >"$work/key"
printf 'no newline' >"$work/text"

# ---- without an agent ----
part "without an agent"
memguard "get without an agent" 6 get a
memguard "ls without an agent" 6 ls
memguard "status without an agent" 6 status
memguard "purge without an agent" 6 purge
memguard "lock without an agent" 6 lock --passphrase-fd 0 </dev/null
check "nothing of this started one" "$(agents)" ""

# ---- wrong usage ----
part "wrong usage"
memguard "set without a name" 2 set
memguard "set with a bad name" 2 set -- </dev/null
memguard "set with a bad name" 2 set 'a b' </dev/null
memguard "set with a name that is too long" 2 set "$(printf 'a%.0s' {1..256})" </dev/null
memguard "set with a bad time" 2 set a --ttl 8 </dev/null
memguard "set with two sources" 2 set a --gen 8 --file x
memguard "set --gen with a bad number" 2 set a --gen 8:bin
memguard "set --gen of more than 1 MiB" 2 set a --gen 1048577
memguard "set from a file that is not there" 2 set a --file "$work/none"
memguard "rm without a name" 2 rm
memguard "agent with a bad backend" 2 agent --backend steel
timeout 20 "$command" purge 2>/dev/null

# ---- one life ----
part "one life"
memguard "set starts an agent" 0 set key --file "$work/key"
check "one agent" "$(agents | wc -l)" 1
agent=$(fact pid)
can_lock=$(fact can_lock)
check "it is the one that answers" "$agent" "$(agents)"
check "what ps calls it" "$(cat "/proc/$agent/comm")" memguard
check "mode of the directory" "$(stat -c %a "$run/memguard")" 700
check "mode of the socket" "$(stat -c %a "$socket")" 600
"$command" get key >"$out"
check "get: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
memguard "set from standard input" 0 set text <"$work/text"
memguard "get" 0 get text
check "standard input is taken as it is" "$(xxd -p "$out")" "$(xxd -p "$work/text")"
printf 'line\nrest' >"$work/lines"
memguard "set of lines" 0 set lines --file "$work/lines"
memguard "get" 0 get lines
check "a file is taken as it is" "$(cmp "$out" "$work/lines" && echo same)" same
memguard "set --line" 0 set lines --line --fd 9 9<"$work/lines"
memguard "get" 0 get lines
check "--line: up to the newline; and a name is set again" "$(cat "$out")" line
memguard "set of nothing" 1 set empty </dev/null
head -c 1048576 /dev/zero | memguard "set of 1 MiB" 0 set large
memguard "get of 1 MiB" 0 get large
check "1 MiB" "$(stat -c %s "$out")" 1048576
head -c 1048577 /dev/zero | memguard "set of more than 1 MiB" 1 set large
memguard "--gen" 0 set random --gen 33
memguard "get" 0 get random
check "--gen: raw bytes" "$(stat -c %s "$out")" 33
memguard "--gen hex" 0 set random --gen 32:hex
memguard "get" 0 get random
check "--gen: hex" "$(grep -cE '^[0-9a-f]{64}$' "$out")" 1
memguard "--gen b64" 0 set random --gen 32:b64
memguard "get" 0 get random
check "--gen: base64" "$(base64 -d <"$out" | wc -c)" 32
memguard "get of none" 3 get nothing
memguard "rm of none" 3 rm nothing
memguard "rm" 0 rm random
memguard "get of what was removed" 3 get random
memguard "ls" 0 ls
has "ls" "^key .*64 bytes" "$out"
hasnot "ls" "random" "$out"
memguard "ls --json" 0 ls --json
has "ls --json" '{"name":"key","bytes":64,"expires_ms":null,"uses_left":null,"confirm":false,"no_reveal":false}' "$out"
memguard "status" 0 status
has "status" "not-dumpable" "$out"
has "status" "not locked" "$out"
memguard "a second agent" 1 agent
has "a second agent" "running already" "$err"
memguard "a second agent, if there is none" 0 agent --if-none
check "still one agent" "$(agents)" "$agent"
memguard "rm --all" 0 rm --all
memguard "ls of nothing" 0 ls --json
check "ls of nothing" "$(tr -d ' \n' <"$out")" "[]"
memguard "purge" 0 purge
check "purge: the agent has ended when the command returns" "$(agents)" ""
check "purge: no socket" "$(ls "$run/memguard")" agent.lock

# ---- signals, a dead agent's socket, two at once ----
part "signals, a dead agent's socket, two at once"
for signal in TERM INT HUP; do
    : >"$out"
    "$command" agent --foreground >"$out" 2>&1 &
    agent=$!
    wait_for 10 grep -q ready "$out"
    [ $signal = INT ] && ignored=yes || ignored=no # a shell's background job ignores it
    kill -s $signal $agent
    if [ $ignored = yes ]; then
        sleep 0.2
        check "SIGINT that was ignored stays so" "$(gone $agent && echo gone)" ""
        kill $agent
    fi
    wait $agent
    check "SIG$signal: exit code" "$?" 0
    check "SIG$signal: no socket" "$(ls "$run/memguard")" agent.lock
done
memguard "set" 0 set key --file "$work/key"
kill -KILL "$(agents)"
wait_for 10 no_answer
check "a dead agent leaves its socket" "$(stat -c %F "$socket")" socket
memguard "get from a dead agent" 6 get key
memguard "set replaces the socket" 0 set key --file "$work/key"
memguard "get" 0 get key
kill -KILL "$(agents)"
wait_for 10 no_answer
for i in {1..12}; do "$command" set "name$i" --gen 8 2>>"$work/many.err" & done
wait
check "twelve at once: no complaint" "$(cat "$work/many.err")" ""
check "twelve at once: one agent" "$(agents | wc -l)" 1
check "twelve at once: none is lost" "$("$command" ls --json | grep -c name)" 12
memguard "purge" 0 purge

# ---- one agent's end, and the next one ----
part "one agent's end, and the next one"
memguard "an agent" 0 agent
for i in {1..50}; do "$command" purge && "$command" agent; done >"$work/again" 2>&1
check "purge and an agent, 50 times: no complaint" "$(cat "$work/again")" ""
memguard "purge" 0 purge
mkfifo "$work/hold"
flock "$run/memguard/agent.lock" sh -c "echo held >'$work/held'; read -r line" <>"$work/hold" & # as one that is just ending
holder=$!
wait_for 10 test -s "$work/held"
"$command" agent >"$work/again" 2>&1 &
next=$!
one_agent() { [ -n "$(agents)" ]; }
wait_for 10 one_agent
echo >"$work/hold"
wait $next
check "an agent waits for the end of one that listens no more: exit code" "$?" 0
check "an agent waits for the end of one that listens no more" "$(cat "$work/again")" ""
wait $holder
memguard "it is there" 0 status
has "status: just started, or for so long" "^agent  *process [0-9]*, \(just started\|for [0-9ms ]*\)$" "$out"
memguard "purge" 0 purge

# ---- what a person sees ----
part "what a person sees"
name=$(printf 'n%.0s' {1..60})
memguard "set" 0 set "$name" --gen 1
memguard "set" 0 set b --gen 10000 --uses 3 --confirm --no-reveal
memguard "ls" 0 ls
has "ls: one byte" " 1 byte " "$out"
check "ls: columns are in line, whatever the names" "$(awk '{ match($0, NR == 1 ? "FORGOTTEN" : "  - "); print RSTART + (NR == 1 ? 0 : 2) }' "$out" | sort -u | wc -l)" 1
has "ls: flags" " 3  confirm  no-reveal$" "$out"
check "ls: no spaces at the end of a line" "$(grep -c ' $' "$out")" 0
look() { # COMMANDS...: what a terminal shows of them
    TERM=$terminal NO_COLOR=$no_colour "$work/pty" -- /bin/sh -c "$*" | tr -d '\r' >"$out"
}
coloured() { grep -c "$(printf '\033')\[" "$out"; }
terminal=xterm no_colour=
look "'$command' ls"
check "a terminal: the head of ls stands out; an empty NO_COLOR is none" "$(coloured)" 1
look "'$command' status"
check "a terminal: the state, and that nobody can be asked" "$(coloured)" 2
for terminal in dumb ''; do
    look "'$command' ls; '$command' status"
    check "TERM='$terminal': no colour" "$(coloured)" 0
done
terminal=xterm no_colour=1
look "'$command' ls; '$command' status"
check "NO_COLOR: no colour" "$(coloured)" 0
note="newline at the end of the input is part of the secret; --line"
look "echo word | '$command' set line"
has "a line on standard input: its newline is mentioned" "$note" "$out"
look "echo word | '$command' set line --line; printf word | '$command' set line; printf 'a\nb\n' | '$command' set line;
    echo word >'$work/word'; '$command' set line --file '$work/word'; '$command' set line --fd 3 3<'$work/word'"
check "no newline, two, --line, a file, a descriptor: not a word" "$(cat "$out")" ""
echo word | memguard "a line on standard input, from a program" 0 set line
check "a line on standard input, from a program: not a word" "$(cat "$err")" ""
memguard "get" 0 get line
check "it is part of the secret" "$(xxd -p "$out")" "$(echo word | xxd -p)"
memguard "purge" 0 purge

# ---- the place ----
part "the place"
chmod 750 "$run/memguard"
memguard "a directory that others can read" 1 set key --gen 8
has "a directory that others can read" "mode 0750" "$err"
rm -rf "$run/memguard"
mkdir -m 700 "$work/elsewhere"
ln -s "$work/elsewhere" "$run/memguard"
memguard "a link in the place of the directory" 1 set key --gen 8
rm "$run/memguard"
chmod 777 "$run"
memguard "a runtime directory that others can write" 1 set key --gen 8
chmod 700 "$run"
XDG_RUNTIME_DIR=$work/none memguard "no runtime directory" 1 set key --gen 8
has "no runtime directory" "set XDG_RUNTIME_DIR" "$err"
check "no agent was started by these" "$(agents)" ""

# ---- limits ----
part "limits"
memguard "ttl" 0 set short --gen 8 --ttl 600ms
memguard "idle" 0 set idle --gen 8 --idle 600ms
memguard "uses" 0 set twice --gen 8 --uses 2
memguard "ls" 0 ls --json
has "ls: uses" '"name":"twice",.*"uses_left":2' "$out"
hasnot "ls: ttl" '"name":"short",.*"expires_ms":null' "$out"
memguard "a use" 0 get twice
memguard "a second use" 0 get twice
memguard "a third use" 3 get twice
sleep 1
memguard "after its time" 3 get short
memguard "after its idle time" 3 get idle
memguard "ls" 0 ls --json
check "what has expired is not listed" "$(tr -d ' \n' <"$out")" "[]"
memguard "no-reveal" 0 set handed --gen 8 --no-reveal
memguard "no-reveal: get" 5 get handed
memguard "confirm" 0 set asked --gen 8 --confirm
memguard "confirm: nobody can be asked" 5 get asked
has "confirm: nobody can be asked" "no way to ask" "$err"
memguard "purge" 0 purge
memguard "agent --ttl" 0 agent --ttl 300ms
memguard "set" 0 set short --gen 8
memguard "set" 0 set long --gen 8 --ttl 1h
sleep 0.7
memguard "the agent's own ttl" 3 get short
memguard "which is only for those that have none" 0 get long
memguard "purge" 0 purge

# ---- a person is asked ----
part "a person is asked"
printf '#!/bin/sh\necho "$SSH_ASKPASS_PROMPT: $1" >>"%s"\nread word <"%s"\n[ "$word" = yes ]\n' "$work/asked" "$work/word" >"$work/askpass"
chmod 755 "$work/askpass"
MEMGUARD_ASKPASS=$work/askpass memguard "agent" 0 agent
memguard "confirm" 0 set asked --file "$work/key" --confirm
echo yes >"$work/word"
memguard "confirm: yes" 0 get asked
check "confirm: yes: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
echo no >"$work/word"
memguard "confirm: no" 5 get asked
has "confirm: the question" "^confirm: memguard: may process [0-9]* (memguard-under-) use the secret asked?" "$work/asked"
check "confirm: asked each time" "$(wc -l <"$work/asked")" 2
printf '#!/bin/sh\nexec sleep 100\n' >"$work/askpass"
"$command" get asked >"$out" 2>&1 &
client=$!
sleep 0.3
memguard "while a person thinks others are served" 0 set other --gen 8
kill $client
wait $client 2>/dev/null
wait_for 10 is_calm
check "a client that leaves takes its question along" "$(fact clients)" 1
memguard "purge" 0 purge

# ---- terminals ----
part "terminals"
pty() { timeout 60 "$work/pty" "$@" >"$out"; }
pty "Secret: " typed-secret "Once more: " typed-secret -- "$command" set typed
check "prompt: exit code" "$?" 0
hasnot "prompt: nothing is shown" "typed-secret" "$out"
memguard "get" 0 get typed
check "prompt: what was typed, without the newline" "$(xxd -p "$out")" "$(printf typed-secret | xxd -p)"
pty "Secret: " one "Once more: " other -- "$command" set typed
check "prompt: two that differ: exit code" "$?" 1
has "prompt: two that differ" "not the same" "$out"
pty "Secret: " "" -- "$command" set typed
check "prompt: an empty line: exit code" "$?" 1
has "prompt: an empty line" "nothing was typed" "$out"
pty -- "$command" get typed
check "get on a terminal: exit code" "$?" 5
hasnot "get on a terminal" "typed-secret" "$out"
pty -- "$command" get typed --reveal
check "get --reveal: exit code" "$?" 0
has "get --reveal" "typed-secret" "$out"
if [ "$can_lock" = true ]; then
    pty "Passphrase: " open "Once more: " open -- "$command" lock
    check "lock at a terminal: exit code" "$?" 0
    pty "Passphrase: " open -- "$command" unlock
    check "unlock at a terminal: exit code" "$?" 0
fi
memguard "purge" 0 purge
"$work/pty" "y/N] " yes "y/N] " no -- "$command" agent --foreground >"$work/terminal" &
terminal=$!
wait_for 10 "$command" status
memguard "set" 0 set asked --gen 8 --confirm
memguard "confirm on the agent's terminal: yes" 0 get asked
memguard "confirm on the agent's terminal: no" 5 get asked
memguard "purge" 0 purge
wait $terminal
check "the agent on its terminal: exit code" "$?" 0

# ---- lock and unlock ----
part "lock and unlock"
memguard "set" 0 set key --file "$work/key"
if [ "$can_lock" = true ]; then
    echo right | memguard "lock" 0 lock --passphrase-fd 0
    check "locked" "$(fact locked)" true
    "$work/pty" "Passphrase: " typed -- "$command" lock >"$out"
    check "lock again at a terminal: exit code" "$?" 4
    hasnot "lock again: nobody is asked in vain" "Passphrase" "$out"
    memguard "locked: get" 4 get key
    memguard "locked: set" 4 set other --file "$work/key"
    memguard "locked: set --gen" 4 set other --gen 8
    memguard "locked: ls" 0 ls
    echo right | memguard "locked: lock" 4 lock --passphrase-fd 0
    memguard "an empty passphrase" 1 unlock --passphrase-fd 0 </dev/null
    has "an empty passphrase" "the passphrase is empty" "$err"
    echo wrong | memguard "a wrong passphrase" 5 unlock --passphrase-fd 0
    echo right | memguard "too soon after it" 5 unlock --passphrase-fd 0
    has "too soon after it" "too soon" "$err"
    check "still locked" "$(fact locked)" true
    sleep 1.1
    echo right | memguard "the right passphrase" 0 unlock --passphrase-fd 0
    memguard "unlocked: get" 0 get key
    check "unlocked: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
    echo right | memguard "unlock when not locked" 1 unlock --passphrase-fd 0
    head -c 1000000 /dev/urandom | memguard "set" 0 set large
    "$work/peer" "$socket" hold large 20 >"$work/held" &
    holder=$!
    wait_for 10 grep -q held "$work/held"
    echo right | memguard "lock: a client that does not read is cut" 0 lock --passphrase-fd 0
    memguard "locked: get" 4 get key
    memguard "locked: rm" 0 rm key
    kill $holder
    wait $holder 2>/dev/null
    memguard "locked: purge" 0 purge
else
    skip "lock and unlock: built without libargon2"
    echo right | memguard "lock, not built in" 1 lock --passphrase-fd 0
    memguard "purge" 0 purge
fi

# ---- before the machine sleeps ----
part "before the machine sleeps"
# Stand-ins for the two programs that know logind, which no test can send to sleep.
mkdir "$work/bin"
printf '#!/bin/sh\nwhile [ "$1" != gdbus ]; do shift; done\nexec "$@"\n' >"$work/bin/systemd-inhibit"
cat >"$work/bin/gdbus" <<EOT
#!/bin/sh
echo started >>"$work/helpers"
echo "The name org.freedesktop.login1 is owned by :1.3"
while ! [ -e "$work/say" ]; do sleep 0.05; done
mv "$work/say" "$work/said"
cat "$work/said"
exec sleep 1000
EOT
chmod 755 "$work/bin/systemd-inhibit" "$work/bin/gdbus"
sleeps() { # WORDS: what the watcher says, whole at once
    echo "$1" >"$work/say.new"
    mv "$work/say.new" "$work/say"
}
is_locked() { [ "$(fact locked)" = true ]; }
is_watched() { [ "$(fact suspend)" = watched ]; }
if [ "$can_lock" = true ]; then
    printf 'dawn\n' >"$work/dawn"
    PATH=$work/none "$command" agent --lock-on-suspend --passphrase-fd 9 9<"$work/dawn" 2>"$err"
    check "suspend cannot be watched: exit code" "$?" 1
    has "suspend cannot be watched" "needs logind" "$err"
    PATH=$work/bin:$PATH memguard "agent" 0 agent --lock-on-suspend --passphrase-fd 9 9<"$work/dawn"
    memguard "set" 0 set key --file "$work/key"
    check "suspend: watched" "$(fact suspend)" watched
    sleeps "/org/freedesktop/login1: org.freedesktop.login1.Manager.PrepareForShutdown (true,)"
    sleep 0.3
    check "suspend: other signals do nothing" "$(fact locked)" false
    memguard "purge" 0 purge
    check "suspend: the watcher ends with the agent" "$(helpers)" ""
    PATH=$work/bin:$PATH memguard "agent" 0 agent --lock-on-suspend --passphrase-fd 9 9<"$work/dawn"
    memguard "set" 0 set key --file "$work/key"
    sleeps "/org/freedesktop/login1: org.freedesktop.login1.Manager.PrepareForSleep (true,)"
    check "suspend: locked" "$(wait_for 10 is_locked && echo locked)" locked
    memguard "suspend: get" 4 get key
    check "suspend: watched again" "$(wait_for 10 is_watched && echo watched)" watched
    memguard "suspend: unlock" 0 unlock --passphrase-fd 9 9<"$work/dawn"
    memguard "suspend: get" 0 get key
    check "suspend: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
    helpers | xargs kill -KILL
    check "suspend: nobody tells of it any more: locked" "$(wait_for 10 is_locked && echo locked)" locked
    memguard "suspend: unlock" 0 unlock --passphrase-fd 9 9<"$work/dawn"
    memguard "purge" 0 purge
    PATH=$work/bin:$PATH pty "Passphrase: " dusk "Once more: " dusk -- "$command" agent --lock-on-suspend
    check "suspend: a passphrase at the terminal, which the agent leaves then" "$?" 0
    memguard "set" 0 set key --gen 8
    sleeps "/org/freedesktop/login1: org.freedesktop.login1.Manager.PrepareForSleep (true,)"
    check "suspend: locked under it" "$(wait_for 10 is_locked && echo locked)" locked
    echo dusk | memguard "suspend: unlock" 0 unlock --passphrase-fd 0
    memguard "purge" 0 purge
else
    skip "locking before suspend: built without libargon2"
fi

# ---- bad clients ----
part "bad clients"
memguard "set" 0 set key --file "$work/key"
agent=$(fact pid)
wait_for 20 is_calm
before=$(fact descriptors)
for seed in 1 2 3; do
    peer fuzz $seed 1000
    check "garbage, seed $seed" "$?" 0
done
peer drop 500
check "clients that leave in the middle" "$?" 0
wait_for 20 is_calm
"$work/peer" "$socket" stall 100 60 37 >"$work/stalled" &
stalled=$!
wait_for 10 grep -q stalled "$work/stalled"
memguard "while 100 clients stall" 0 get key
wait $stalled
check "clients that stall are cut" "$?" 0
peer storm 200 "$storm_seconds" >"$work/storm"
check "200 clients at once, some killed" "$?" 0
cat "$work/storm"
wait_for 20 is_calm
check "after all that: the same agent" "$(fact pid)" "$agent"
settles "after all that: no descriptor is left" "$before" fact descriptors
check "after all that: no client is left" "$(fact clients)" 1
memguard "after all that: get" 0 get key
check "after all that: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
memguard "purge" 0 purge

# ---- its memory ----
part "its memory"
printf 'the-name-of-a-secret' >"$work/name"
look() { "$work/peer" - look "$agent" "$1"; }
memguard "agent, locked pages" 0 agent --backend locked
agent=$(fact pid)
memguard "set" 0 set the-name-of-a-secret --file "$work/key"
head -c 1000000 /dev/urandom >"$work/large"
head -c 64 "$work/large" >"$work/large.key"
memguard "set" 0 set large --file "$work/large"
memguard "get" 0 get the-name-of-a-secret
if [ "$(awk '$1 == "VmSize:" { print ($2 > 4000000) }' "/proc/$agent/status")" = 1 ]; then
    skip "the agent's memory: too much of it is a sanitizer's"
elif look "$work/name" >"$out" 2>&1; then
    check "memory: what is there is found (a name)" "$([ "$(cat "$out")" -gt 0 ] && echo found)" found
    check "memory: sealed: no piece of the secret" "$(look "$work/key")" 0
    check "memory: sealed: no piece of the large one" "$(look "$work/large.key")" 0
    "$work/peer" "$socket" hold large 20 >"$work/held" &
    holder=$!
    wait_for 10 grep -q held "$work/held"
    check "memory: in use, in pages that are not hidden: found" "$([ "$(look "$work/large.key")" -ge 4 ] && echo found)" found
    check "memory: in use: the other is still sealed" "$(look "$work/key")" 0
    kill $holder
    wait $holder 2>/dev/null
    wait_for 20 is_calm
    check "memory: no longer in use: no piece" "$(look "$work/large.key")" 0
    if [ "$can_lock" = true ]; then
        printf 'a-passphrase-of-more-than-16-bytes' >"$work/phrase"
        memguard "lock" 0 lock --passphrase-fd 9 9<"$work/phrase"
        check "memory: no piece of the passphrase" "$(look "$work/phrase")" 0
    fi
else
    check "memory: the same user is refused" "$(id -u | grep -c '^0$')" 0
    skip "the agent's memory: only root can look at it"
fi
memguard "purge" 0 purge

# ---- other users ----
part "other users"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    lower="setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all"
    real=$command
    memguard "set" 0 set key --file "$work/key"
    $lower "$real" get key >"$out" 2>"$err"
    check "another user: exit code" "$?" 1
    has "another user: why" "Permission denied" "$err"
    check "another user gets nothing" "$(stat -c %s "$out")" 0
    $lower "$work/peer" "$socket" status >"$out" 2>&1
    has "another user does not reach the socket" "Permission denied" "$out"
    memguard "purge" 0 purge
    mkdir -m 700 "$work/theirs"
    chown 65534:65534 "$work/theirs"
    printf '#!/bin/sh\nulimit -l 64\nexec %s "%s" "$@"\n' "$lower" "$real" >"$work/lower"
    chmod 755 "$work/lower"
    command=$work/lower
    export XDG_RUNTIME_DIR=$work/theirs
    cp "$work/key" "$work/their.key"
    chmod 644 "$work/their.key"
    memguard "a plain user, 64 KiB of lockable memory: set" 0 set key --file "$work/their.key"
    memguard "a plain user: get" 0 get key
    check "a plain user: the same bytes" "$(cmp "$out" "$work/key" && echo same)" same
    socket=$work/theirs/memguard/agent.sock
    check "root is refused by another user's agent" "$(peer status)" "turned away"
    check "who was refused is counted" "$(fact refused)" 1
    for i in {1..40}; do timeout 60 "$command" get key >"$work/get$i" 2>>"$work/forty.err" & done
    gets=$(jobs -p)
    $lower "$work/peer" "$socket" stall 20 60 >"$work/stalled" &
    stalled=$!
    wait $gets
    kill $stalled
    wait $stalled 2>/dev/null
    for i in {1..40}; do cmp -s "$work/get$i" "$work/key" || fail "forty at once under 64 KiB: get $i"; done
    check "forty at once under 64 KiB" "$(cat "$work/forty.err")" ""
    check "root's command is refused by the place" "$("$real" get key 2>&1 >/dev/null | grep -c 'not a directory of our own')" 1
    memguard "purge" 0 purge
else
    skip "other users: not root, or no setpriv"
fi
check "no agent is left" "$(agents)" ""
finish
