#!/bin/bash
# The prompts, as a person at a terminal has them: a shell in tmux, keys that are sent to it, and what is then on the screen and in its
# history. What was typed at a prompt must never be there, and the terminal must be as before, however the prompt ended.
set -u
command=${MEMGUARD_COMMAND:?}
passed=0 failed=0 skipped=0
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1"; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: '$2', not '$3'"; fi; }
if ! command -v tmux >/dev/null; then
    echo "SKIPPED the prompts at a terminal: not installed: tmux"
    skipped=1
    finish
fi

work=$(mktemp -d) || exit 1
cp "$command" "$work/memguard" # by its folder our processes are known
command=$work/memguard
mkdir -m 700 "$work/run" "$work/tmux"
tm() { tmux -S "$work/tmux/socket" -f /dev/null "$@"; }
clean_up() {
    local line words
    tm kill-server 2>/dev/null
    for line in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$line" || continue
        case "${words[*]-}" in *"$work/"*) kill -KILL "$(basename "${line%/cmdline}")" 2>/dev/null ;; esac
    done
    wait 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
export ASAN_OPTIONS=detect_leaks=0 # which an undumpable process cannot look for
export XDG_RUNTIME_DIR=$work/run LC_ALL=C.UTF-8 PATH=$work:$PATH HISTFILE=/dev/null
echo "PS1='ready> '" >"$work/rc"
unset TMUX MEMGUARD_ASKPASS SSH_ASKPASS MEMGUARD_BACKEND
facts() { timeout 60 "$command" "$@" 2>/dev/null; }

# ---- hands and eyes ----
pane=main
number=0
screen() { tm capture-pane -p -J -S - -t "$pane" 2>/dev/null; }
type_keys() { tm send-keys -t "$pane" "$@"; }
type_text() { tm send-keys -t "$pane" -l -- "$1"; }
sees() { # TEXT: within half a minute it is there
    local i
    for ((i = 0; i < 600; i++)); do
        if screen | grep -qF -- "$1"; then return 0; fi
        sleep 0.05
    done
    echo "not seen: $1"
    screen | sed '/^$/d' | tail -n 20
    return 1
}
expect() { if sees "$2"; then pass; else fail "$1"; fi; } # NAME TEXT
never() { if screen | grep -qF -- "$2"; then fail "$1: it is on the screen, or in what went by"; else pass; fi; }
run_line() { # COMMAND: begins with an empty screen and an empty history
    number=$((number + 1))
    type_keys -R C-l
    tm clear-history -t "$pane"
    type_text "$1; echo ended-$((number))-\$?"
    type_keys Enter
}
ended() { expect "$1: exit code $2" "ended-$number-$2"; } # the line that was typed has $? in this place
echoes() { # NAME: what is typed is shown again, and the terminal makes signals and lines
    number=$((number + 1))
    type_text "stty -a | tr ' ;' '\n\n' | grep -xE -- '-?(echo|icanon|isig)' | paste -sd, ; echo modes-$((number))-\$?"
    type_keys Enter
    expect "$1: the shell is there" "modes-$number-0"
    if screen | grep -qE '(^|,)-(echo|icanon|isig)(,|$)'; then fail "$1: the terminal is not as before"; else pass; fi
}
window() { # NAME: another shell, which is looked at from now on
    tm new-window -t main -n "$1" "exec bash --noprofile --rcfile '$work/rc' -i"
    pane=main:$1
    sees 'ready> ' || fail "a shell in $1"
}

tm new-session -d -s main -n first -x 120 -y 40 "exec bash --noprofile --rcfile '$work/rc' -i"
pane=main:first
sees 'ready> ' || fail "a shell in tmux"

# ---- set ----
run_line "echo it-is-shown"
ended "control: what a shell is told" 0
screen | grep -c it-is-shown >"$work/count"
check "control: what is typed at the shell is on the screen" "$([ "$(cat "$work/count")" -ge 2 ] && echo shown)" shown
run_line "memguard set typed"
expect "set asks" "Secret: "
type_text "wrong-typed-words"
type_keys C-u
type_text "typed-secret-wordx"
type_keys BSpace
type_text "s"
type_keys Enter
expect "set asks again" "Once more: "
type_text "typed-secret-words"
type_keys Enter
ended "set" 0
never "set: what was typed" "typed-secret"
never "set: what was struck out by ^U" "wrong-typed"
echoes "after set"
check "backspace and ^U edit" "$(facts get typed)" typed-secret-words
run_line "memguard set typed"
sees "Secret: "
type_text "one-entry"
type_keys Enter
sees "Once more: "
type_text "another-entry"
type_keys Enter
ended "two entries that differ" 1
expect "two entries that differ" "not the same"
never "two entries that differ" "entry"
check "nothing has changed" "$(facts get typed)" typed-secret-words

# ---- ways out of a prompt ----
for way in C-c C-z C-d 'C-\'; do
    run_line "memguard set typed"
    sees "Secret: "
    [ "$way" = C-d ] || type_text "half-typed-words"
    type_keys "$way"
    [ "$way" != 'C-\' ] || type_keys Enter
    ended "set, $way" 1
    never "set, $way" "half-typed"
    echoes "after $way"
done
prompting() { # the process that asks
    local line words=()
    for line in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$line" || continue
        if [ "${words[*]-}" = "memguard set typed" ] && [ "$(readlink "${line%cmdline}exe")" = "$command" ]; then
            basename "${line%/cmdline}"
        fi
    done
}
for signal in TERM INT HUP QUIT; do
    run_line "memguard set typed"
    sees "Secret: "
    type_text "half-typed-words"
    kill -s $signal "$(prompting)"
    # A shell whose command ended by SIGINT gives up the rest of the line.
    [ $signal = INT ] || ended "set, SIG$signal" $((128 + $(kill -l $signal)))
    for ((i = 0; i < 600; i++)); do [ -z "$(prompting)" ] || sleep 0.05; done
    check "set, SIG$signal: it has ended" "$(prompting)" ""
    never "set, SIG$signal" "half-typed"
    echoes "after SIG$signal"
done
run_line "memguard set typed"
sees "Secret: "
type_text "half-typed-words"
kill -s TSTP "$(prompting)"
expect "set that is stopped: the shell says so" "Stopped"
echoes "while it is stopped"
never "set that is stopped" "half-typed"
type_keys -R C-l
tm clear-history -t "$pane"
type_text "fg; echo back-\$?"
type_keys Enter
expect "fg: it asks again" "Secret: "
type_text "after-a-stop"
type_keys Enter
sees "Once more: "
type_text "after-a-stop"
type_keys Enter
expect "fg: exit code" "back-0"
never "fg: what was typed" "after-a"
echoes "after fg"
check "fg: only what was typed after it" "$(facts get typed)" after-a-stop

# ---- long lines ----
long=$(head -c 1500 /dev/urandom | base64 -w 0)
paste_it() { # BYTES: pasted with its newline, as one piece
    printf '%s\n' "${long:0:$1}" >"$work/paste"
    tm load-buffer "$work/paste"
    tm paste-buffer -t "$pane"
}
run_line "memguard set pasted"
sees "Secret: "
paste_it 1900
sees "Once more: "
paste_it 1900
ended "a long line that is pasted" 0
never "a long line that is pasted" "${long:100:20}"
check "a long line that is pasted: whole" "$([ "$(facts get pasted)" = "${long:0:1900}" ] && echo whole)" whole
long=$long$long$long
run_line "memguard set pasted"
sees "Secret: "
paste_it 5000
ended "a line that is too long for a terminal" 1
echoes "after a line that is too long"
never "a line that is too long: its beginning" "${long:100:20}"
never "a line that is too long: its end, which no shell may get" "${long:4970:20}"

# ---- get ----
run_line "memguard get typed"
ended "get on a terminal" 5
expect "get on a terminal: refused" "refused: standard output is a terminal"
never "get on a terminal" "after-a-stop"
run_line "memguard get typed --reveal"
ended "get --reveal" 0
expect "get --reveal" "after-a-stop"

# ---- lock and unlock ----
if [ "$(facts status --json | grep -c '"can_lock":true')" = 1 ]; then
    run_line "memguard lock"
    sees "Passphrase: "
    type_text "a-phrase-to-lock"
    type_keys Enter
    sees "Once more: "
    type_text "a-phrase-to-lock"
    type_keys Enter
    ended "lock" 0
    run_line "memguard unlock"
    sees "Passphrase: "
    type_text "a-phrase-that-is-wrong"
    type_keys Enter
    ended "unlock with a wrong passphrase" 5
    check "still locked" "$(facts status --json | grep -c '"locked":true')" 1
    is_open() { [ "$(facts status --json | grep -c '"locked":false')" = 1 ]; }
    for ((i = 0; i < 100; i++)); do
        run_line "memguard unlock"
        sees "Passphrase: "
        type_text "a-phrase-to-lock"
        type_keys Enter
        for ((j = 0; j < 600; j++)); do # its end, which is not the line that was typed
            ! screen | grep -qE -- "ended-$number-[0-9]" || break
            sleep 0.05
        done
        ! is_open || break
        sleep 0.2 # too soon after the wrong one
    done
    check "unlock" "$(is_open && echo open)" open
    never "lock and unlock" "a-phrase"
    echoes "after unlock"
else
    skip "lock and unlock: built without libargon2"
fi
facts purge

# ---- a person is asked on the agent's terminal ----
window agent
run_line "memguard agent --foreground"
expect "an agent in the foreground" "ready, process"
facts set asked --gen 8:hex --confirm
ask() { # ANSWER CODE
    timeout 60 "$command" get asked >"$work/got" 2>"$work/why" &
    local client=$! questions=$((questions + 1))
    for ((i = 0; i < 600 && $(screen | grep -c 'y/N') < questions; i++)); do sleep 0.05; done
    type_text "$1"
    type_keys Enter
    wait $client
    check "--confirm, answered '$1': exit code" "$?" "$2"
}
questions=0
type_text "y" # before anybody has asked
type_keys Enter
ask no 5
questions=1
ask yes 0
check "--confirm: it is handed out" "$(stat -c %s "$work/got")" 16
questions=2
ask "" 5
timeout 60 "$command" get asked >/dev/null 2>&1 &
client=$!
for ((i = 0; i < 600 && $(screen | grep -c 'y/N') < 4; i++)); do sleep 0.05; done
kill $client
wait $client 2>/dev/null
for ((i = 0; i < 600 && $(screen | grep -c '(refused)') < 3; i++)); do sleep 0.05; done
check "--confirm: who leaves takes the question along" "$(screen | grep -c '(refused)')" 3
type_keys C-c
ended "^C ends the agent" 0
echoes "after the agent"
run_line "memguard agent --foreground & sleep 0"
expect "an agent in the background of a terminal" "ready, process"
facts set asked --gen 8:hex --confirm
timeout 60 "$command" get asked >/dev/null 2>"$work/why"
check "it cannot ask there: exit code" "$?" 5
check "it cannot ask there" "$(grep -c 'no way to ask' "$work/why")" 1
check "it was not stopped by trying: it still answers" "$(facts ls --json | grep -c asked)" 1
facts purge

# ---- exec has the terminal ----
pane=main:first
if "$command" exec --help >/dev/null 2>&1; then
    facts set typed --gen 8:hex
    cat >"$work/child" <<'EOT'
#!/bin/bash
trap 'echo caught the signal; exit 7' INT
echo child is there
for ((i = 0; i < 600; i++)); do sleep 0.05; done
EOT
    chmod 755 "$work/child"
    run_line "memguard exec --stdin typed -- $work/child"
    sees "child is there"
    type_keys C-c
    ended "exec: ^C reaches the child, whose exit code it is" 7
    expect "exec: ^C reaches the child" "caught the signal"
    run_line "memguard exec --file-env KEY=typed -- sed -u s/words/were-read/" # what a terminal echoes is not that
    type_text "first-words"
    type_keys Enter
    expect "exec: the child reads the terminal" "first-were-read"
    type_keys C-z
    expect "exec: ^Z stops it" "Stopped"
    type_text "fg"
    type_keys Enter
    type_text "second-words"
    type_keys Enter
    expect "exec: fg, and it goes on" "second-were-read"
    type_keys C-d
    echoes "after exec"
    facts purge
else
    skip "exec at a terminal: this build has no exec"
fi
finish
