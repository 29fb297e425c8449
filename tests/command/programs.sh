# shellcheck shell=bash
# programs.sh: what the tests of the command with other people's programs share, to be sourced by bash: an agent and its secrets, servers,
# and `watched`, which runs a command line under the witness (witness.c): no copy of the secret in an argument or environment of any
# process, none written to a file.
: "${MEMGUARD_COMMAND:?}" "${MEMGUARD_SOURCE:?}" "${MEMGUARD_BUILD:?}"
. "$MEMGUARD_SOURCE/tests/check.sh"

servers= # the numbers of the processes that are ours to end
none_lives() { for pid in $servers; do if kill -0 "$pid"; then return 1; fi; done; }
clean_up() {
    local pid
    for pid in $servers; do kill -TERM "$pid" 2>/dev/null; done
    wait_for none_lives || for pid in $servers; do kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

chmod 755 "$work"
mkdir "$work/bin" "$work/home"
mkdir -m 700 "$work/run"
cp "$MEMGUARD_COMMAND" "$work/bin/memguard"
export PATH=$work/bin:$PATH HOME=$work/home XDG_RUNTIME_DIR=$work/run LC_ALL=C TZ=UTC0
export ASAN_OPTIONS=detect_leaks=0 # which a traced process cannot look for
# What would make these programs behave otherwise than after their installation.
for name in $(compgen -e); do
    case $name in
    MEMGUARD_BACKEND | MEMGUARD_ASKPASS* | XDG_CONFIG_HOME | XDG_CACHE_HOME | DISPLAY | WAYLAND_DISPLAY) unset "$name" ;;
    PG* | GIT_* | RESTIC_* | CURL_* | GNUPG* | GPG_* | SSH_* | AGE_* | OPENSSL_* | *_proxy | *_PROXY) unset "$name" ;;
    esac
done
cd "$work" || exit 1
out=$work/out err=$work/err

same() { if [ "$2" = "$3" ]; then check "$1" ""; else check "$1" "'$2', not '$3'"; fi; }
has() { if grep -q -e "$2" "$3"; then check "$1" ""; else check "$1" "no '$2' in: $(head -c 2000 "$3")"; fi; }

# Whether one of these programs is missing; where everything is to be there, that is a failure.
lacks() {
    local program missing=
    for program in "$@"; do command -v "$program" >/dev/null 2>&1 || missing="$missing $program"; done
    [ -n "$missing" ] || return 1
    if [ -n "${CI-}" ] || [ "${MEMGUARD_GUEST-}" = required ]; then check "installed" "not$missing"; else skip "not installed:$missing"; fi
}

wait_for() { # COMMAND...: until it succeeds, 30 s
    local until=$((SECONDS + 30))
    while ! "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

serve() { # LOG COMMAND...: in the background, and ended with this script whatever becomes of it
    setpriv --pdeathsig TERM "${@:2}" >"$1" 2>&1 </dev/null &
    server=$!
    disown
    servers="$servers $server"
}

# Starts a server on a free port of the loopback interface: COMMAND is called with a port and serves there in $log; READY says whether it does.
serve_on_free_port() { # READY COMMAND
    local until
    for _ in {1..20}; do
        port=$((20000 + RANDOM % 12000))
        log=$work/server.$port
        "$2"
        until=$((SECONDS + 30))
        while kill -0 "$server" 2>/dev/null && [ "$SECONDS" -lt "$until" ]; do
            "$1" && kill -0 "$server" 2>/dev/null && return 0
            sleep 0.05
        done
        kill -KILL "$server" 2>/dev/null
    done
    check "a server starts" "$(tail -n 5 "$log")"
    return 1
}

# ---- the witness ----

calls=execve,execveat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,mmap,io_uring_setup
tracer="strace -f -qq -yy -xx -v -s 4194304 --seccomp-bpf -o $work/trace -e trace=$calls"
why_not= # the witness cannot look
if is_sanitized; then
    why_not="under a sanitizer the command runs, and nobody watches"
elif ! lacks strace && ! $tracer true 2>/dev/null; then
    why_not="strace may not trace here"
elif [ "$(id -u)" != 0 ]; then
    tracer= # it would see nothing of what the command itself does, which is not dumpable
    skip "only root may trace what is not dumpable: processes are sampled, and what they write is not seen"
fi
[ -z "$why_not" ] || skip "$why_not"
"${CC:-cc}" -std=gnu11 -O2 -Wall -o "$work/witness" "$MEMGUARD_SOURCE/tests/command/witness.c" || skip_rest "the witness does not build"

# For commands that others should have the time to look at: lives until it was seen, or for a minute.
echo 'n=0; until grep -qs "^$1 of" report || [ $n = 600 ]; do n=$((n + 1)); sleep 0.1; done' >until-seen

needle=$work/needle # the secret bytes that nobody may see
ending=             # words for the shell that end what a program leaves behind

# Runs a command line as a shell does; standard input is passed on, output is in $out and $err. `witnessed` gets what was found.
look() { # COMMAND LINE; returns its exit code
    [ -z "${MEMGUARD_TEST_VERBOSE-}" ] || echo "$SECONDS s: $1" >&2
    local code line="$1
code=\$?; $ending
exit \$code"
    if [ -n "$why_not" ]; then
        timeout -k 1 100 sh -c "$line" >"$out" 2>"$err"
        return # with its exit code
    fi
    # shellcheck disable=SC2086 # words on purpose
    "$work/witness" watch "$needle" "$work/report" 100 -- $tracer sh -c "$line" >"$out" 2>"$err"
    code=$?
    [ -z "$tracer" ] || "$work/witness" trace "$needle" "$work/trace" "$work/report2" || return
    witnessed=$({ sed '$d' "$work/report" && { [ -z "$tracer" ] || sed '$d' "$work/report2"; }; } | sort | uniq)
    # (How often samples were taken depends on the machine: that they are taken at all is shown once, by what they find.)
    [ -z "$tracer" ] || grep -q '^[1-9][0-9]* programs started, ' "$work/report2" || witnessed="$witnessed no program seen"
    return $code
}

watched() { # NAME CODE COMMAND LINE: and nobody saw the secret
    local code
    look "$3"
    code=$?
    [ "$code" = "$2" ] || head -c 2000 "$err"
    same "$1: exit code" "$code" "$2"
    [ -n "$why_not" ] || check "$1: nobody sees the secret" "$witnessed"
}

caught() { # NAME WHAT COMMAND LINE: the secret is seen in this way, and found
    [ -z "$why_not" ] || return 0
    case "$2" in *" of a process: "*) ;; *) [ -n "$tracer" ] || return 0 ;; esac
    look "$3"
    case "$witnessed" in *"$2"*) check "$1" "" ;; *) check "$1" "found: '$witnessed', not: '$2'" ;; esac
}

# ---- ways to hand a secret over ----

# By which options of `exec` a program takes a secret from a path: a row of the table in docs/HANDING.md, which must say the same. Success is
# what the command line prints. % is the path.
carriers() { # WHAT-IS-SAID-OF-IT NAME EXPECTED COMMAND LINE
    is_sanitized && return
    local option path row="| $1 |"
    for option in --file --pipe --stdin; do
        path="{$2}"
        [ $option != --stdin ] || path=/dev/stdin
        timeout -k 1 60 sh -c "memguard exec $option $2 -- ${4//%/$path}; $ending" >"$out" 2>"$err" </dev/null
        if [ "$(cat "$out")" = "$3" ]; then row="$row yes |"; else row="$row - |"; fi
    done
    has "$row: so says docs/HANDING.md" "^${row//[*]/[*]}" "$MEMGUARD_SOURCE/docs/HANDING.md"
}

end() {
    check "the agent is there at the end" "$(memguard purge 2>&1)"
    finish
}

# ---- secrets ----

# Two of a name: the right one and, of the name other-NAME, another of the same kind. The right one becomes the needle.
hold() { # NAME FILE OTHER-FILE
    check "set $1" "$({ memguard set "$1" --file "$2" && memguard set "other-$1" --file "$3"; } 2>&1)"
}
hold_words() { # NAME
    openssl rand -hex 16 | tr -d '\n' >"$needle"
    openssl rand -hex 16 | tr -d '\n' >"$work/other"
    hold "$1" "$needle" "$work/other"
}

serve "$work/agent.log" memguard agent --foreground
wait_for memguard status || check "the agent starts" "$(cat "$work/agent.log")"
