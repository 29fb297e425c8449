#!/bin/bash
# Every public header compiles alone, included twice, and without a warning, as C11 and as C++17; and to C++ the functions have the names that the
# library exports.
. "${MEMGUARD_SOURCE:?}/tests/check.sh"
include=$MEMGUARD_SOURCE/include
exports=$MEMGUARD_SOURCE/src/exports.txt

compile() { # compiler, language, its standard, include folder, source on standard input: the compiler's words
    rm -f "$work/object"
    "$1" -x "$2" -std="$3" -Wall -Wextra -Wpedantic -Werror -I"$4" -c -o "$work/object" - 2>&1 || echo failed
}
alone() { printf '#include <%s>\n#include <%s>\n' "$1" "$1"; }
declared() { # header: those of its functions whose declarations it has itself
    sed 's|/\*.*\*/||' "$include/$1" | tr '\n' ' ' | grep -o 'MEMGUARD_API[^;(]*(' | grep -o 'memguard_[a-z0-9_]*(' | tr -d '(' | sort -u
}
all_of() { # header: a source that refers to each function
    alone "$1"
    declared "$1" | sed 's/.*/auto *refers_to_& = \&&;/'
}
headers=$(cd "$include" && find . -name '*.h' | sed 's|^\./||' | sort)

compilers() { # names: those that are here
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 && echo "$name"
    done
}

for c in $(compilers "${CC:-cc}" gcc clang | sort -u); do
    for header in $headers; do
        check "$header, $c, C11" "$(alone "$header" | compile "$c" c c11 "$include")"
    done
done
plus=$(compilers "${CXX:-c++}" g++ clang++ | sort -u)
[ -n "$plus" ] || skip "no compiler of C++ here: the headers are not tried as C++17"
for c in $plus; do
    for header in $headers; do
        check "$header, $c, C++17" "$(all_of "$header" | compile "$c" c++ c++17 "$include")"
        check "$header, $c, names" "$(comm -3 <(nm -u "$work/object" | grep -o 'memguard_.*' | sort -u) <(declared "$header"))"
    done
done
check "every exported function is declared, in one header" \
    "$(comm -3 <(for header in $headers; do declared "$header"; done | sort) <(grep -o '\bmemguard_[a-z0-9_]*' "$exports" | sort -u))"

# Must fail: a header that leans on another one, a comma too many, one that C++ does not know as C.
cp -r "$include" "$work/include"
sed -i '/#include <memguard.h>/d' "$work/include/memguard/codec.h"
printf 'enum { MEMGUARD_PLANTED = (1, 2) };\n' >>"$work/include/memguard.h"
check "self-test, a header that is not alone" "$([ -n "$(alone memguard/codec.h | compile "${CC:-cc}" c c11 "$work/include")" ] || echo passed)"
check "self-test, a warning" "$([ -n "$(alone memguard.h | compile "${CC:-cc}" c c11 "$work/include")" ] || echo passed)"
for c in $plus; do
    sed 's/extern "C" {/extern "C++" {/' "$include/memguard.h" >"$work/include/memguard.h"
    all_of memguard.h | compile "$c" c++ c++17 "$work/include" >/dev/null
    check "self-test, $c, names" "$(nm -u "$work/object" | grep -q '_Z.*memguard_version' || echo passed)"
done
finish
