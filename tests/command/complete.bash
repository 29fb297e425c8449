# shellcheck shell=bash disable=SC1090,SC2034 # these variables are read by what is tested
# What bash would offer: bash complete.bash FILE LINE... Candidates a line each; an empty line after those of each LINE.
# The words are divided as readline divides them, so that what is offered is what it would put in their place.
shopt -s extglob
. "$1" || exit 1
shift
COMP_WORDBREAKS=$' \t\n"\'@><=;|&(:'
complete_line() {
    local rest=$1 word
    COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9 COMP_WORDS=()
    while [ -n "$rest" ]; do
        rest=${rest##+([[:space:]])}
        word=${rest%%[[:space:]:=@]*}
        [ -n "$word" ] || word=${rest%%[^:=@]*}
        COMP_WORDS+=("$word")
        rest=${rest#"$word"}
    done
    [[ $1 != *[[:space:]:=@] ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _memguard
    printf '%s\n' "${COMPREPLY[@]}" ''
}
for line; do complete_line "$line"; done
