#!/bin/bash
# Completion for bash, zsh and fish: each is driven as its shell drives it, and offers every verb and option that --help has, the
# names that the agent holds, and starts no agent.
# shellcheck disable=SC2086 # words are split on purpose
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
build=${MEMGUARD_BUILD:?}
here=$MEMGUARD_SOURCE/tests/command
files=$MEMGUARD_SOURCE/tools/completions
export PATH=$build:$PATH HOME=$work XDG_RUNTIME_DIR=$work/run XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work XDG_CACHE_HOME=$work
export ASAN_OPTIONS=detect_leaks=0
mkdir -m 700 "$XDG_RUNTIME_DIR"
trap 'memguard purge 2>/dev/null; rm -rf "$work"' EXIT

offers() { # shell files lines...: what it offers, an empty line after each
    local shell=$1 from=$2
    shift 2
    case $shell in
    bash) timeout 60 bash "$here/complete.bash" "$from/memguard.bash" "$@" ;;
    zsh) timeout 60 zsh -f "$here/complete.zsh" "$from" "$@" ;;
    fish) timeout 60 fish -N "$here/complete.fish" "$from/memguard.fish" "$@" ;;
    esac 2>&1
}
nth() { awk -v wanted="$1" '$0 == "" { at++; next } at + 1 == wanted'; } # of what `offers` says

usage_options() { # verb: the options of its usage
    memguard "$1" --help | sed '/^$/q' | grep -oE -- '--[a-z][a-z-]*' | sort -u
}
lacks() { # shell files: verbs and options that it does not offer
    local verbs lines=() verb at=1
    verbs=$(memguard --help | sed -n 's/^  \([a-z-]*\)  .*/\1/p')
    for verb in $verbs; do lines+=("memguard $verb --"); done
    offers "$1" "$2" "memguard " "${lines[@]}" >"$work/offered"
    nth 1 <"$work/offered" | sort | comm -13 - <(printf '%s\n' "$verbs" | sort)
    for verb in $verbs; do
        at=$((at + 1))
        nth $at <"$work/offered" | sort | comm -13 - <(usage_options "$verb") | sed "s/^/$verb /"
    done
}
is() { # what, wanted, got: sets of words
    local wanted got
    wanted=$(printf '%s\n' $2 | sort -u) got=$(printf '%s\n' $3 | sort -u)
    check "$1" "$([ "$wanted" = "$got" ] || echo "offers" $got, "not" $wanted)"
}

try() { # shell
    local shell=$1 key=git:https://a@b.example ids
    check "$shell: every verb and option is offered" "$(lacks "$shell" "$files" | tr '\n' ' ')"
    rm -rf "$work/less"
    cp -r "$files" "$work/less"
    sed -i 's/no-reveal/no-such/g; s/\bunlock\b/unloc/g' "$work/less"/*
    is "$shell: self-test: what is missing is noticed" "set --no-reveal unlock unlock --passphrase-fd" \
        "$(lacks "$shell" "$work/less")"
    memguard purge 2>/dev/null
    is "$shell: no agent, no names" "" "$(offers "$shell" "$files" "memguard get ")"
    memguard status 2>/dev/null
    check "$shell: it starts no agent" "$([ $? -eq 6 ] || echo "there is one")"
    memguard set $key --gen 8 || check "$shell" "no agent"
    memguard set key --gen 8
    offers "$shell" "$files" "memguard get " "memguard get k" "memguard rm " "memguard exec --file " "memguard agent --backend " \
        "memguard doctor --explain mem" "memguard git-credential --ttl 8h " "memguard exec --file key -- cat {" \
        "memguard set x --file $work/some" "memguard help unl" "memguard set --ttl " >"$work/offered"
    is "$shell: names" "$key key" "$(nth 1 <"$work/offered")"
    is "$shell: names that begin so" "key" "$(nth 2 <"$work/offered")"
    is "$shell: names for rm" "$key key" "$(nth 3 <"$work/offered")"
    is "$shell: names for an option" "$key key" "$(nth 4 <"$work/offered")"
    is "$shell: backends" "auto secretmem locked plain" "$(nth 5 <"$work/offered")"
    ids=$(memguard doctor --list | sed -n 's/^\(mem[a-z-]*\) .*/\1/p')
    is "$shell: ids of the doctor" "$ids" "$(nth 6 <"$work/offered")"
    is "$shell: actions for git" "get store erase" "$(nth 7 <"$work/offered")"
    is "$shell: names in braces" "$key key" "$(nth 8 <"$work/offered" | tr -d '{}')"
    is "$shell: files" "some-file" "$(nth 9 <"$work/offered" | sed 's|.*/||')"
    is "$shell: verbs for help" "unlock" "$(nth 10 <"$work/offered")"
    is "$shell: nothing for a time" "" "$(nth 11 <"$work/offered")"
    is "$shell: commands after --" "some-command" \
        "$(PATH=$work/bin:$PATH offers "$shell" "$files" "memguard exec --file key -- some-com")"
}

: >"$work/some-file"
mkdir "$work/bin"
printf '#!/bin/sh\n' >"$work/bin/some-command"
chmod 755 "$work/bin/some-command"
for shell in bash zsh fish; do
    if command -v $shell >/dev/null; then try $shell; else skip "no $shell here"; fi
done
# A name with characters at which readline divides words: only what follows the last of them is put in.
is "bash: a name with : and @" "b.example" "$(offers bash "$files" "memguard get git:https://a@")"
is "bash: --option=" "secretmem" "$(offers bash "$files" "memguard agent --backend=s")"
is "bash: VAR=NAME" "key" "$(offers bash "$files" "memguard exec --env VAR=k")"
finish
