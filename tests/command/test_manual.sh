#!/bin/bash
# The manual pages: they format without a warning, their synopses are what the headers declare, their example builds and runs, what they
# refer to is there, and the command's page has all verbs. What --help says fits a terminal of 80 columns.
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
source=$MEMGUARD_SOURCE
build=${MEMGUARD_BUILD:?}
pages=$source/docs/man

plain() { sed -e 's/\\-/-/g' -e 's/\\e/\\/g' -e 's/\\f[A-Z]//g' "$@"; }

synopsis() { # page: its declarations
    awk '/^\.SH / { in_it = $2 == "SYNOPSIS" } in_it && !/^\./' "$1" | plain
}
header_of() { # page: memguard.3 is of memguard.h, memguard_io.3 of memguard/io.h
    basename "$1" .3 | sed -e 's|^memguard_|memguard/|' -e 's|$|.h|'
}
declared_in() { grep -o 'memguard_[a-z0-9_]*(' | tr -d '(' | sort -u; }
functions_of() { # header: its functions
    sed -e 's|/\*.*\*/||' "$source/include/$1" | awk '/^MEMGUARD_API/ { in_it = 1 } in_it { print } /;/ { in_it = 0 }' | tr -d '\n' |
        grep -o 'MEMGUARD_API[^;(]*(' | grep -o 'memguard_[a-z0-9_]*(' | tr -d '(' | sort -u
}
compile() { # declarations, header, words of the compiler to a file
    { printf '#include <%s>\n' "$2"; cat "$1"; } >"$work/synopsis.c"
    "${CC:-cc}" -std=c11 -Wall -Werror -I"$source/include" -fsyntax-only "$work/synopsis.c" 2>"$work/words"
}

for page in "$pages"/*; do
    if command -v groff >/dev/null 2>&1; then
        check "$(basename "$page") formats" "$(groff -ww -man -Tutf8 -z "$page" 2>&1)"
    else
        skip "no groff to format $(basename "$page")"
    fi
    for name in $(grep -oE '^\.BR memguard[a-z_]* \([137]\)' "$page" | sed 's/\.BR \([a-z_]*\) (\([137]\))/\1.\2/'); do
        [ -e "$pages/$name" ] || check "$(basename "$page")" "refers to $name, which is not there"
    done
done

for page in "$pages"/*.3; do
    header=$(header_of "$page")
    synopsis "$page" >"$work/synopsis"
    compile "$work/synopsis" "$header"
    check "synopsis of $(basename "$page")" "$([ $? -eq 0 ] || head -5 "$work/words")"
    check "functions of $header" "$(comm -3 <(functions_of "$header") <(declared_in <"$work/synopsis"))"
done
for header in "$source"/include/memguard/*.h; do
    [ -e "$pages/memguard_$(basename "$header" .h).3" ] || skip "no page for memguard/$(basename "$header")"
done
# Must fail: another type.
synopsis "$pages/memguard.3" | sed 's/^void memguard_wipe(void/int memguard_wipe(void/' >"$work/synopsis"
check "self-test" "$(compile "$work/synopsis" memguard.h && echo "a wrong type is not noticed")"

awk '/^\.EX/ { in_it = 1; next } /^\.EE/ { exit } in_it' "$pages/memguard.3" | plain >"$work/example.c"
sanitize=$(sed -n 's/^MEMGUARD_SANITIZE:STRING=\(..*\)/-fsanitize=\1/p' "$build/CMakeCache.txt")
# shellcheck disable=SC2086 # no flag at all, or one
"${CC:-cc}" $sanitize -I"$source/include" "$work/example.c" -o "$work/example" -L"$build" -lmemguard -Wl,-rpath,"$build" 2>"$work/words"
check "the example builds" "$(cat "$work/words")"
"$work/example" >"$work/words" 2>&1
check "the example runs" "$([ $? -eq 0 ] || cat "$work/words" - <<<failed)"

if command -v groff >/dev/null 2>&1; then # lines of examples are not folded
    check "memguard.1: at most 80 columns" "$(groff -man -Tutf8 -P-c -rLL=78n "$pages/memguard.1" | sed 's/.\x08//g' | awk 'length > 80')"
fi
check "--help: at most 80 columns" "$("$build/memguard" --help | awk 'length > 80')"
for verb in $("$build/memguard" --help | sed -n 's/^  \([a-z-]*\)  .*/\1/p'); do
    check "--help of $verb: at most 80 columns" "$("$build/memguard" "$verb" --help | awk 'length > 80')"
    check "verb $verb" "$(plain "$pages/memguard.1" | grep -q "^\.B[RI]* $verb\b" || echo "not in memguard.1")"
done
finish
