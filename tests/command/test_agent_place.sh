#!/bin/bash
# What somebody may have planted where the agent and its clients meet, and what the system may refuse: nothing of it is followed,
# changed or taken for an agent, and the reason is said.
. "${MEMGUARD_SOURCE:?}/tests/command/agents.sh"
place=$run/memguard

gone() { ! kill -0 "$1" 2>/dev/null; }
refused() { # NAME WORDS COMMAND...
    local name=$1 words=$2
    shift 2
    timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
    check "$name: exit code" "$?" 1
    if grep -q -- "$words" "$work/err"; then pass; else fail "$name: no '$words'"; cat "$work/err"; fi
    check "$name: no agent" "$(agents)" ""
}
set_one() { timeout 60 "$command" set key --gen 8; }

# ---- planted ----
mkfifo "$place"
refused "a pipe in the place of the directory" "Not a directory" "$command" set key --gen 8
rm "$place"
ln -s "$work/nothing" "$place"
refused "a link to nothing in the place of the directory" "Not a directory" "$command" set key --gen 8
check "what a link points to is not made" "$(ls "$work/nothing" 2>/dev/null)" ""
rm "$place"
mkdir -m 700 "$place"
ln -s "$work/victim" "$place/agent.lock"
refused "a link in the place of the lock" "symbolic links" "$command" set key --gen 8
check "what the link points to is not made" "$(ls "$work/victim" 2>/dev/null)" ""
rm "$place/agent.lock"
mkdir "$place/agent.sock"
refused "a directory in the place of the socket" "Is a directory" "$command" set key --gen 8
rmdir "$place/agent.sock"
echo untouched >"$work/victim"
chmod 604 "$work/victim"
ln "$work/victim" "$place/agent.sock"
check "a hard link in the place of the socket: an agent" "$(set_one && echo set)" set
check "only the name is replaced" "$(cat "$work/victim") $(stat -c %a "$work/victim")" "untouched 604"
check "the socket is its owner's alone" "$(stat -c %a:%F "$place/agent.sock")" 600:socket
"$command" purge
(umask 0 && set_one)
check "whatever the umask is" "$(stat -c %a "$place" "$place/agent.sock" | tr '\n' ' ')" "700 600 "
"$command" purge
if [ "$(id -u)" -eq 0 ]; then
    chown 65534 "$place"
    refused "another user's directory" "belongs to user 65534" "$command" set key --gen 8
    chown 0 "$place"
    chown 65534 "$XDG_RUNTIME_DIR"
    refused "another user's runtime directory" "belongs to user 65534" "$command" set key --gen 8
    chown 0 "$XDG_RUNTIME_DIR"
else
    skip "another user's directory: not root"
fi

# ---- what is taken away ----
export XDG_RUNTIME_DIR=$run
set_one
agent=$(agents)
rm "$place/agent.sock"
check "an agent that nobody can reach any more ends" "$(wait_for 30 gone "$agent" && echo gone)" gone
set_one
agent=$(agents)
rm -rf "$place"
set_one # in a new place: no lock tells of the other one
check "whose place was removed, as at a logout, too" "$(wait_for 30 gone "$agent" && echo gone)" gone
check "and not the one that came after it" "$(timeout 60 "$command" get key | wc -c)" 8
"$command" purge

# ---- what an agent is started with ----
(export LEAKED_TOKEN=hunter2 LD_PRELOAD='' && exec 9<"$0" && set_one)
agent=$(agents)
check "the agent does not keep the variables of who started it" "$(tr '\0' '\n' <"/proc/$agent/environ" 2>/dev/null | grep -c LEAKED)" 0
check "nor descriptors" "$(find "/proc/$agent/fd" -lname "*test_agent_place*" 2>/dev/null | wc -l)" 0
if [ "$(id -u)" -eq 0 ]; then
    check "control: variables are seen" "$(tr '\0' '\n' <"/proc/$agent/environ" | grep -c '^XDG_RUNTIME_DIR=')" 1
fi
"$command" purge

if env --ignore-signal=CHLD --block-signal=TERM true 2>/dev/null; then
    printf '#!/bin/sh\nexit 1\n' >"$work/no"
    printf '#!/bin/sh\nexit 0\n' >"$work/yes"
    chmod 755 "$work/no" "$work/yes"
    for word in no yes; do
        MEMGUARD_ASKPASS=$work/$word env --ignore-signal=CHLD "$command" agent
        "$command" set asked --gen 8 --confirm
        timeout 60 "$command" get asked >"$work/out" 2>"$work/err"
        check "an agent started with SIGCHLD ignored: the answer is $word" "$?" "$([ $word = no ] && echo 5 || echo 0)"
        "$command" purge
    done
    env --block-signal=TERM --block-signal=HUP "$command" agent
    kill "$(agents)"
    for ((i = 0; i < 200; i++)); do [ -n "$(agents)" ] && sleep 0.05; done
    check "an agent started with SIGTERM blocked ends by it" "$(agents)" ""
else
    skip "signals that are ignored or blocked: env(1) is too old"
fi

# ---- what the system refuses ----
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    mkdir "$work/full"
    refused "no /proc" "/proc is not there" unshare -m sh -c 'mount -t tmpfs none /proc && exec "$1" set key --gen 8' sh "$command"
    refused "a full file system" "No space left" unshare -m sh -c \
        'mount -t tmpfs -o nr_inodes=2,mode=700 none "$2" && touch "$2/file" 2>/dev/null; XDG_RUNTIME_DIR=$2 exec "$1" set key --gen 8' sh "$command" "$work/full"
    refused "a file system that is read-only" "Read-only" unshare -m sh -c \
        'mount -t tmpfs -o mode=700 none "$2" && mount -o remount,ro "$2" && XDG_RUNTIME_DIR=$2 exec "$1" set key --gen 8' sh "$command" "$work/full"
else
    skip "no /proc, full and read-only file systems: neither root nor mount namespaces"
fi
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && ! grep -qa __sanitizer "$command"; then
    mkdir -m 700 "$work/low"
    chown 65534:65534 "$work/low"
    lower="setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all"
    export XDG_RUNTIME_DIR=$work/low
    # shellcheck disable=SC2086 # words are split on purpose
    refused "no lockable memory" "raise RLIMIT_MEMLOCK" $lower sh -c 'ulimit -l 0 && exec "$1" set key --gen 8' sh "$command"
    (cd / && ulimit -l 512 && exec $lower "$command" agent)
    for i in {1..30}; do $lower "$command" set "made$i" --gen 60000:hex 2>>"$work/made.err" & done
    for i in {1..30}; do $lower "$command" set "small$i" --gen 8 2>>"$work/made.err" & done
    wait
    check "30 large secrets made at once under 512 KiB, and 30 small ones: no complaint" "$(cat "$work/made.err")" ""
    check "all of them are there" "$($lower "$command" ls --json | grep -cE '"(made|small)[0-9]+"')" 60
    $lower "$command" purge
else
    skip "limits of lockable memory: not root, no setpriv, or a sanitizer, which locks nothing"
fi
check "no agent is left" "$(agents)" ""
finish
