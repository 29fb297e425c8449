# shellcheck shell=bash disable=SC2046,SC2086,SC2207 # words are split on purpose: candidates hold no white space, but for those of files, which are read line by line
# Completion of memguard for bash: verbs, options, their values, names of secrets. An agent is asked for names, never started, by
# the memguard of the PATH, whatever stands in the line.
# Installed as <prefix>/share/bash-completion/completions/memguard. Needs nothing of bash-completion, but uses it after `exec --`.

_memguard_verbs='agent set get exec ls rm status lock unlock purge askpass git-credential doctor scan demo help'

_memguard_options() { # verb
    case $1 in
    agent) echo --foreground --if-none --backend --ttl --lock-on-suspend --passphrase-fd ;;
    set) echo --fd --file --gen --line --ttl --idle --uses --confirm --no-reveal ;;
    get) echo --reveal ;;
    exec) echo --file --file-env --render --pipe --stdin --env --once -- ;;
    ls | status) echo --json ;;
    rm) echo --all ;;
    lock | unlock) echo --passphrase-fd ;;
    askpass) echo --name --remember ;;
    git-credential) echo --ttl --idle --confirm ;;
    doctor) echo --pid --strict --require --json --root --explain --list ;;
    scan) echo --pid --core --self-test --fd --file --key --name --map --svg --json ;;
    demo) echo --key ;;
    esac
}

# What the value of an option is: none (nothing to offer), or empty for an option without one.
_memguard_kind() { # verb option
    case "$1 $2" in
    'exec --file' | 'exec --pipe' | 'exec --stdin' | 'exec --once' | *' --name') echo name ;;
    'exec --file-env' | 'exec --env') echo variable ;;
    *' --file' | *' --key' | *' --core' | *' --svg') echo file ;;
    *' --root') echo folder ;;
    *' --backend') echo backend ;;
    *' --explain') echo id ;;
    *' --require') echo ids ;;
    *' --pid') echo process ;;
    *' --fd' | *' --gen' | *' --ttl' | *' --idle' | *' --uses' | *' --passphrase-fd' | *' --remember' | *' --render') echo none ;;
    esac
}

_memguard_names() { command memguard ls --json 2>/dev/null </dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1/p'; }
_memguard_ids() { command memguard doctor --list 2>/dev/null </dev/null | sed -n 's/^\([a-z][a-z0-9-]*\) .*/\1/p'; }

# The words of the list that begin with what was typed, each with what stands before it in the same word.
_memguard_offer() { # before typed words...
    local before=$1 typed=$2 word
    shift 2
    for word in "$@"; do
        [[ $word != "$typed"* ]] || COMPREPLY+=("$before$word")
    done
}

_memguard_files() { # -f or -d
    local file
    compopt -o filenames 2>/dev/null
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen "$1" -- "${COMP_WORDS[COMP_CWORD]#=}")
}

_memguard_value() { # kind before typed
    local kind=$1 before=$2 typed=$3
    case $kind in
    name) _memguard_offer "$before" "$typed" $(_memguard_names) ;;
    variable)
        [[ $typed == *=* ]] || return
        _memguard_offer "$before${typed%%=*}=" "${typed#*=}" $(_memguard_names)
        ;;
    backend) _memguard_offer "$before" "$typed" auto secretmem locked plain ;;
    id) _memguard_offer "$before" "$typed" $(_memguard_ids) ;;
    ids)
        [[ $typed != *,* ]] || before=$before${typed%,*},
        _memguard_offer "$before" "${typed##*,}" $(_memguard_ids)
        ;;
    process) _memguard_offer "$before" "$typed" $(cd /proc 2>/dev/null && compgen -G '[0-9]*') ;;
    file) _memguard_files -f ;;
    folder) _memguard_files -d ;;
    esac
}

# Words of the verb itself, not of its options.
_memguard_word() { # verb typed
    case $1 in
    set | get | rm) _memguard_value name '' "$2" ;;
    git-credential) _memguard_offer '' "$2" get store erase ;;
    help) _memguard_offer '' "$2" ${_memguard_verbs% help} ;;
    esac
}

# After `exec ... --`: a command and its words, where {NAME} stands for a secret.
_memguard_command() { # typed, how many words of the command are complete
    local at
    if [[ $1 == *'{'* && $1 != *'}'* ]]; then
        _memguard_offer "${1%'{'*}{" "${1##*'{'}" $(_memguard_names)
        COMPREPLY=("${COMPREPLY[@]/%/\}}")
    elif declare -F _command_offset >/dev/null; then
        for ((at = 2; at < COMP_CWORD; at++)); do [[ ${COMP_WORDS[at]} != -- ]] || break; done
        _command_offset $((at + 1))
    elif [ "$2" -eq 0 ]; then
        COMPREPLY=($(compgen -c -- "$1"))
    else
        _memguard_files -f
    fi
}

# Readline replaces from the last of these characters on, where it takes them for the end of a word.
_memguard_trim() { # typed
    local cut='' i
    for ((i = 0; i < ${#1}; i++)); do
        [[ ${1:i:1} != [:=@] || $COMP_WORDBREAKS != *"${1:i:1}"* ]] || cut=${1:0:i+1}
    done
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}

_memguard() {
    local verb typed last kind at words
    # Not COMP_WORDS, which are divided at : and = too.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} != *[[:space:]] ]] || words+=('')
    COMPREPLY=()
    verb=${words[1]-} typed=${words[${#words[@]} - 1]} last=${words[${#words[@]} - 2]}
    if [ "${#words[@]}" -le 2 ]; then
        _memguard_offer '' "$typed" $_memguard_verbs
        [[ $typed != -* ]] || _memguard_offer '' "$typed" --help --version
        return
    fi
    for ((at = 2; at < ${#words[@]} - 1; at++)); do
        [[ $verb != exec || ${words[at]} != -- ]] || break
    done
    kind=$(_memguard_kind "$verb" "$last")
    if [ "$at" -lt $((${#words[@]} - 1)) ]; then
        _memguard_command "$typed" $((${#words[@]} - at - 2))
    elif [ -n "$kind" ]; then
        _memguard_value "$kind" '' "$typed"
    elif [[ $typed == --*=* ]]; then
        _memguard_value "$(_memguard_kind "$verb" "${typed%%=*}")" "${typed%%=*}=" "${typed#*=}"
    elif [[ $typed == -* ]]; then
        _memguard_offer '' "$typed" $(_memguard_options "$verb") --help
    else
        _memguard_word "$verb" "$typed"
    fi
    _memguard_trim "$typed"
}
complete -F _memguard memguard
