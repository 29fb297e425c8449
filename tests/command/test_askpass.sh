#!/bin/bash
# memguard askpass: real ssh-keygen, ssh-add and git get their secrets by it; which prompt means which secret, and which only look
# so; a person at a terminal; what is remembered; that the agent does not ask itself.
# shellcheck disable=SC2154 # $work is of check.sh
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
here=$MEMGUARD_SOURCE/tests/command
build=${MEMGUARD_BUILD:?}
askpass=$build/memguard-askpass
export PATH=$build:$PATH HOME=$work XDG_CONFIG_HOME=$work XDG_RUNTIME_DIR=$work/run LC_ALL=C
export ASAN_OPTIONS=detect_leaks=0 GIT_CONFIG_NOSYSTEM=1
unset GIT_ASKPASS SSH_ASKPASS SSH_ASKPASS_PROMPT SSH_AUTH_SOCK MEMGUARD_ASKPASS MEMGUARD_ASKPASS_NAME MEMGUARD_ASKPASS_REMEMBER
unset MEMGUARD_BACKEND DISPLAY
mkdir -m 700 "$XDG_RUNTIME_DIR"
out=$work/out err=$work/err
clean_up() {
    memguard purge 2>/dev/null
    [ -z "${SSH_AGENT_PID-}" ] || kill "$SSH_AGENT_PID" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
is() { check "$1" "$([ "$2" = "$3" ] || echo "'$2', not '$3'")"; }
has() { check "$1" "$(grep -q -- "$2" "$3" || echo "no '$2' in:" "$(cat "$3")")"; }
fresh() { memguard purge 2>/dev/null; }
hold() { printf '%s' "$2" | memguard set "$1" "${@:3}" || check "set $1" "failed"; }
# Without a terminal: what would be asked of a person fails.
alone() { setsid -w "$@" </dev/null; }
answer() { # what, wanted ("": asks the person), prompt, words before it
    local what=$1 wanted=$2 prompt=$3
    alone timeout 60 "$askpass" "$prompt" >"$out" 2>"$err"
    local code=$?
    is "$what" "$(cat "$out")" "$wanted"
    is "$what: exit code" "$code" "$([ -n "$wanted" ] && echo 0 || echo 1)"
    [ -n "$wanted" ] || has "$what: the person is asked" "terminal" "$err"
}
"${CC:-cc}" -std=gnu11 -O2 -Wall -o "$work/pty" "$here/pty.c"
check "pty.c builds" "$([ $? -eq 0 ] || echo "it does not")"
pty() { timeout 60 "$work/pty" "$@" >"$out"; }

# ---- which secret ----
answer "no agent, no secret" "" "Enter passphrase for key '/k/id': "
check "asking starts no agent" "$(memguard status 2>&1 | grep -v 'no agent')"
hold ssh:/k/id one
hold ssh:/k/a=20b two
hold ssh:alice@host.example three
hold sudo:alice four
hold git:https://alice@a.example five
hold git:https://b.example six
answer "ssh: a key" one "Enter passphrase for key '/k/id': "
answer "ssh-add: a key" one "Enter passphrase for /k/id: "
answer "ssh-add: a key, confirmed" one "Enter passphrase for /k/id (will confirm each use): "
answer "ssh-keygen: a key" one 'Enter passphrase for "/k/id": '
answer "a path with a space" two "Enter passphrase for key '/k/a b': "
answer "ssh-add: it was wrong" "" "Bad passphrase, try again for /k/id: "
MEMGUARD_ASKPASS_NAME=ssh:/k/id answer "ssh-add: it was wrong, and it was named" "" "Bad passphrase, try again for /k/id: "
MEMGUARD_ASKPASS_NAME=sudo:alice answer "a name, whatever the prompt" four "Enter passphrase for /k/id: "
answer "ssh: a password" three "alice@host.example's password: "
answer "ssh: a password that the server asks for" three "(alice@host.example) Password: "
answer "sudo" four "[sudo] password for alice: "
answer "git: a password" five "Password for 'https://alice@a.example': "
answer "git: a user" alice "Username for 'https://a.example': "
answer "git: a password, held without a user" six "Password for 'https://anybody@b.example': "
answer "git: a user that nobody knows" "" "Username for 'https://b.example': "

# ---- prompts that only look so: a part of them is chosen by others ----
answer "words of a server that look like ours" "" "(mallory@evil.example) Enter passphrase for key '/k/id': "
answer "words before it" "" "Really. Enter passphrase for key '/k/id': "
answer "words behind it" "" "Enter passphrase for key '/k/id': or not "
answer "another key whose name goes on" "" "Enter passphrase for key '/k/id2': "
answer "a server that asks for something else" "" "(alice@host.example) Verification code: "
answer "a user with an @" "" "x@a.example@evil.example's password: "
answer "a path that holds another host" "" "Password for 'https://alice@a.example/@evil.example': "
answer "a user that holds another host" "" "Password for 'https://alice@a.example@evil.example': "
answer "a user that holds a path" "" "Password for 'https://a.example/x@evil.example': "
answer "an escape" "" "Password for 'https://alice@a.example%2f.evil.example': "
answer "a quote" "" "Password for 'https://alice@a.example': for 'https://evil.example': "
answer "a newline" "" "Password for 'https://alice@a.example
': "
answer "another protocol" "" "Password for 'http://alice@a.example': "
answer "no host" "" "Password for 'https://': "
answer "a prompt that looks like an option" "" "--name=ssh:/k/id"
answer "an empty prompt" "" ""
answer "an overlong prompt" "" "Enter passphrase for key '$(printf 'k%.0s' {1..3000})': "
answer "the question about a host key, with a name given" "" "Are you sure you want to continue connecting (yes/no/[fingerprint])? "

# ---- a name given ----
alone memguard askpass --name ssh:/k/id "anything" >"$out" 2>&1
is "--name" "$(cat "$out")" one
MEMGUARD_ASKPASS_NAME=ssh:/k/id alone "$askpass" "anything" >"$out" 2>&1
is "MEMGUARD_ASKPASS_NAME" "$(cat "$out")" one
MEMGUARD_ASKPASS_NAME=ssh:/k/id answer "the question about a host key goes to the person" "" "continue connecting (yes/no)? "
MEMGUARD_ASKPASS_NAME=ssh:/k/id answer "the user name for git is not the secret" alice "Username for 'https://a.example': "
alone memguard askpass --name none "anything" >"$out" 2>"$err"
is "a name that nobody holds: exit code" $? 3
alone memguard askpass -- --name=ssh:/k/id >"$out" 2>"$err"
is "after -- there are no options" "$?:$(cat "$out")" 1:
for words in "--name" "--remember 8" "--name a:b/ --no" "one two"; do
    # shellcheck disable=SC2086 # words
    alone memguard askpass $words >"$out" 2>"$err"
    is "askpass $words" "$?:$(cat "$out")" 2:
done
MEMGUARD_ASKPASS_REMEMBER=often alone "$askpass" prompt >"$out" 2>"$err"
is "MEMGUARD_ASKPASS_REMEMBER=often" "$?:$(cat "$out")" 2:
alone "$askpass" one two >"$out" 2>"$err"
is "two prompts" "$?:$(cat "$out")" 2:
hold lines "$(printf 'one\ntwo')"
alone memguard askpass --name lines >"$out" 2>"$err"
is "a secret of two lines" "$?:$(cat "$out")" 1:
hold handed yes --no-reveal
alone memguard askpass --name handed >"$out" 2>"$err"
is "--no-reveal: it is for a program" "$(cat "$out")" yes
hold whole "$(printf 'line\n.')"
printf 'line\n' | memguard set whole
alone memguard askpass --name whole >"$out" 2>"$err"
is "a newline is not added twice" "$(wc -c <"$out")" 5

# ---- a person ----
pty -- "$askpass" "Enter passphrase for key '/k/id': "
is "a terminal as output: exit code" $? 5
check "a terminal as output" "$(grep one "$out")"
asks() { # what, code, wanted, dialogue..., -- words of askpass: on a terminal, its output in a file
    local what=$1 code=$2 wanted=$3 dialogue=()
    shift 3
    while [ "$1" != -- ]; do dialogue+=("$1"); shift; done
    shift
    # shellcheck disable=SC2016 # the inner shell's
    pty "${dialogue[@]}" -- /bin/sh -c 'to=$1; shift; exec "$@" >"$to"' sh "$work/answer" "$@"
    is "$what: exit code" $? "$code"
    is "$what" "$(cat "$work/answer")" "$wanted"
}
asks "a person is asked" 0 typed-secret "PIN of the token: " typed-secret -- "$askpass" "PIN of the token: "
check "what is typed is not shown" "$(grep typed-secret "$out")"
check "what a person answers is not kept" "$(memguard ls | grep typed)"
asks "a person is asked for a user" 0 somebody "Username" somebody -- "$askpass" "Username for 'https://b.example': "
asks "a person is asked about a host key" 0 no "(yes/no" no -- "$askpass" "Sure (yes/no/[fingerprint])? "
asks "escape sequences do not reach the terminal" 0 x "safe?" x -- "$askpass" "$(printf '\033[2Jsafe\302\233?')"
check "escape sequences do not reach the terminal" "$(grep -a "$(printf '\033')" "$out")"
asks "--remember" 0 right "/k/new" right -- memguard askpass --remember 1h "Enter passphrase for /k/new: "
answer "--remember: the next time nobody is asked" right "Enter passphrase for key '/k/new': "
memguard ls >"$out"
has "--remember: for a time" "ssh:/k/new.*in 59 m\|ssh:/k/new.*in 1 h" "$out"
asks "a wrong one is asked for again" 0 better "try again" better -- \
    env MEMGUARD_ASKPASS_REMEMBER=1h "$askpass" "Bad passphrase, try again for /k/new: "
answer "the better one is remembered" better "Enter passphrase for key '/k/new': "
asks "--remember with a name" 0 sesame "Say: " sesame -- memguard askpass --name door --remember 1h "Say: "
asks "--remember with a name: held" 0 sesame -- memguard askpass --name door --remember 1h "Say: "
fresh
asks "--remember starts an agent" 0 first "/k/id" first -- env MEMGUARD_ASKPASS_REMEMBER=1h "$askpass" "Enter passphrase for /k/id: "
answer "--remember started an agent" first "Enter passphrase for /k/id: "
export SSH_ASKPASS_PROMPT=confirm
asks "confirm: yes" 0 "" "Allow? [y/N]" yes -- "$askpass" "Allow?"
asks "confirm: no" 1 "" "Allow? [y/N]" no -- "$askpass" "Allow?"
asks "confirm: nothing" 1 "" "[y/N]" "" -- "$askpass" "Enter passphrase for /k/id: "
answer "confirm: nobody is there, and no secret is said" "" "Enter passphrase for /k/id: "
export SSH_ASKPASS_PROMPT=none
asks "none: it is shown" 0 "" -- "$askpass" "Enter passphrase for /k/id: "
has "none: it is shown" "Enter passphrase for /k/id" "$out"
unset SSH_ASKPASS_PROMPT

# ---- the agent does not ask itself ----
fresh
for variable in MEMGUARD_ASKPASS SSH_ASKPASS; do
    env $variable="$askpass" memguard agent
    hold asked secret --confirm
    timeout 30 memguard get asked >"$out" 2>"$err"
    is "$variable is ourselves: exit code" $? 5
    has "$variable is ourselves: nobody is asked" "no way to ask" "$err"
    alone timeout 30 memguard askpass --name asked >"$out" 2>"$err"
    is "$variable is ourselves: askpass" "$?:$(cat "$out")" 5:
    fresh
done
printf '#!/bin/sh\nexec "%s" "$@"\n' "$askpass" >"$work/wrapped"
chmod 755 "$work/wrapped"
MEMGUARD_ASKPASS=$work/wrapped memguard agent
hold asked secret --confirm
timeout 30 memguard askpass --name asked >"$out" 2>"$err"
is "ourselves behind a script: the answer is no" "$?:$(cat "$out")" 5:
fresh

# ---- a locked agent ----
hold ssh:/k/id one
if echo key | memguard lock --passphrase-fd 0 2>"$err"; then
    alone "$askpass" "Enter passphrase for /k/id: " >"$out" 2>"$err"
    is "locked" "$?:$(cat "$out")" 4:
    has "locked" "locked" "$err"
else
    skip "locked: built without libargon2"
fi
fresh

# ---- real programs ----
export SSH_ASKPASS=$askpass SSH_ASKPASS_REQUIRE=force
phrase="a phrase; with \$igns"
if command -v ssh-keygen >/dev/null && command -v ssh-agent >/dev/null; then
    mkdir "$work/keys of mine"
    key="$work/keys of mine/id_ed25519"
    ssh-keygen -q -t ed25519 -N "$phrase" -f "$key"
    hold "ssh:$(printf '%s' "$key" | sed 's/ /=20/g')" "$phrase"
    MEMGUARD_ASKPASS_NAME="ssh:$(printf '%s' "$key" | sed 's/ /=20/g')" alone ssh-keygen -y -f "$key" >"$out" 2>"$err"
    is "ssh-keygen -y" "$(cut -d' ' -f2 "$out")" "$(cut -d' ' -f2 "$key.pub")"
    eval "$(ssh-agent -s)" >/dev/null
    alone timeout 60 ssh-add "$key" >"$out" 2>&1
    is "ssh-add: exit code" $? 0
    is "ssh-add: the agent has the key" "$(ssh-add -l | cut -d' ' -f2)" "$(ssh-keygen -lf "$key.pub" | cut -d' ' -f2)"
    ssh-add -qD 2>/dev/null
    hold "ssh:$(printf '%s' "$key" | sed 's/ /=20/g')" wrong
    alone timeout 60 ssh-add "$key" >"$out" 2>&1
    is "ssh-add, a wrong phrase is held: it ends" $? 1
    fresh
    alone timeout 60 ssh-add "$key" >"$out" 2>&1
    is "ssh-add, nobody knows the phrase: it ends" $? 1
else
    skip "no ssh here"
fi
if command -v git >/dev/null; then
    hold git:https://alice@a.example five
    printf 'protocol=https\nhost=a.example\n\n' >"$work/ask"
    GIT_ASKPASS=$askpass setsid -w git credential fill <"$work/ask" >"$out" 2>&1
    is "git" "$(tr '\n' ' ' <"$out")" "protocol=https host=a.example username=alice password=five "
else
    skip "no git here"
fi
finish
