# What zsh would offer: zsh -f complete.zsh FOLDER LINE... Candidates a line each; an empty line after those of each LINE.
# FOLDER holds the function _memguard. A zsh on a terminal of its own gets each line and a tab; compadd there tells what it adds.
zmodload zsh/zpty || exit 1
folder=$1
shift
answers=$(mktemp) || exit 1
trap 'zpty -d shell 2>/dev/null; rm -f "$answers" "$answers.setup"' EXIT
cat >"$answers.setup" <<END
answers=$answers fpath=($folder \$fpath) PROMPT= TERM=dumb
unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste
autoload -Uz compinit && compinit -u -D
compadd() {
    if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        local -a offered
        builtin compadd -O offered "\$@"
        print -rl -- \$offered >>\$answers
    fi
    builtin compadd "\$@"
}
finish() { print -r -- END >>\$answers; compstate[insert]= compstate[list]= }
look() { comppostfuncs=(finish); _main_complete; }
compdef -k look complete-word '^I'
bindkey '^I' look 2>/dev/null
END
cat >>"$answers.setup" <<'END'
zle -C look complete-word look
bindkey '^I' look
END
sed -i '/^compdef -k/d; /2>\/dev\/null$/{/^bindkey/d}' "$answers.setup"
zpty shell zsh -f -i
zpty -w shell "source $answers.setup; print -r -- READY >>$answers"
wait_for() { # word
    local -i tries
    for ((tries = 0; tries < 3000; tries++)); do
        grep -qx "$1" "$answers" && return
        zpty -r -t shell ignored # its terminal must not fill up
        sleep 0.02
    done
    print -u2 "no answer of zsh"
    exit 1
}
wait_for READY
for line; do
    : >"$answers"
    zpty -w -n shell "$line"$'\t'
    wait_for END
    sed '/^$/d; /^END$/d' "$answers"
    print
    zpty -w -n shell $'\C-u'
done
