#!/bin/bash
# Secrets for other people's programs, by `memguard exec` and `memguard get`: openssl, ssh-keygen and ssh-add with an agent, age. Each does what
# only the right secret can do, fails with another one, and leaves no copy where others see it. See programs.sh.
. "${MEMGUARD_SOURCE:?}/tests/command/programs.sh"

# ---- the witness finds what is planted ----
hold_words word
word=$(cat "$needle")
export word
caught "the witness: argument" "argument of a program at its start: raw" 'sh -c : "$word"'
caught "the witness: argument, sampled" "cmdline of a process: raw" 'sh until-seen cmdline "$word"'
caught "the witness: environment" "environment of a program at its start: raw" 'true'
caught "the witness: environment, sampled" "environ of a process: raw" 'sh until-seen environ'
unset word
plant() { caught "the witness: file, $1" "written to $work/planted: $2" "memguard get word | $3"; }
plant raw raw 'cat >planted'
plant "byte by byte" raw 'dd bs=1 of=planted'
plant "a piece of it" raw 'tail -c 20 >planted'
plant hexadecimal hex "od -An -v -tx1 | tr -d ' \n' >planted"
plant "base64" base64 'openssl base64 -A >planted'
plant "base64 behind a byte" base64 '{ printf x; cat; } | openssl base64 -A >planted'
plant "base64 behind two" base64 '{ printf xx; cat; } | openssl base64 -A >planted'
plant "a file that is removed" raw 'sh -c "exec 9>planted; rm planted; cat >&9"'
lacks busybox || caught "the witness: a copy by sendfile" "sendfile to $work/planted: what it writes is not seen" 'busybox cp bin/memguard planted'
watched "the witness: a pipe is no file" 0 'memguard get word | cat | sha256sum'

echo "what is to be signed" >text

# The secret bytes of a key of the curve 25519 or P-256 in the PEM file $1.
bytes_of_key() { openssl pkey -in "$1" -noout -text | sed -n '/^priv:/,/^pub:/s/^ //p' | tr -d ' :\n' | sed 's/^00//' | xxd -r -p; }

# ---- openssl ----
if ! lacks openssl; then
    for key in right other; do openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $key.pem 2>/dev/null; done
    openssl pkey -in right.pem -pubout -out right.pub
    hold key right.pem other.pem
    bytes_of_key right.pem >"$needle"
    watched "openssl pkey, --file" 0 'memguard exec --file key -- openssl pkey -in {key} -pubout'
    same "openssl pkey: the public key of the key" "$(cat "$out")" "$(cat right.pub)"
    watched "openssl dgst -sign, --file" 0 'memguard exec --file key -- openssl dgst -sha256 -sign {key} -out text.sig text'
    same "openssl dgst -sign: verified" "$(openssl dgst -sha256 -verify right.pub -signature text.sig text)" "Verified OK"
    watched "openssl dgst -sign, another key" 0 'memguard exec --file other-key -- openssl dgst -sha256 -sign {other-key} -out text.sig text'
    same "openssl dgst -sign, another key: not verified" "$(openssl dgst -sha256 -verify right.pub -signature text.sig text 2>/dev/null)" \
        "Verification failure"
    carriers '`openssl pkey -in`' key "$(cat right.pub)" 'openssl pkey -in % -pubout'
    carriers '`openssl dgst -sign`' key "Verified OK" \
        'openssl dgst -sha256 -sign % -out text.sig text; openssl dgst -sha256 -verify right.pub -signature text.sig text'
    hold_words pass
    openssl pkey -in right.pem -aes256 -passout "file:$needle" -out locked.pem
    watched "openssl -passin, --file" 0 'memguard exec --file pass -- openssl pkey -in locked.pem -passin file:{pass} -pubout'
    same "openssl -passin: the public key of the key" "$(cat "$out")" "$(cat right.pub)"
    watched "openssl -passin, another passphrase" 1 \
        'memguard exec --file other-pass -- openssl pkey -in locked.pem -passin file:{other-pass} -pubout'
    watched "openssl enc, --pipe" 0 'memguard exec --pipe pass -- openssl enc -aes-256-ctr -pbkdf2 -pass file:{pass} -in text -out text.enc'
    watched "openssl enc -d, --stdin" 0 'memguard exec --stdin pass -- openssl enc -d -aes-256-ctr -pbkdf2 -pass stdin -in text.enc'
    same "openssl enc -d: as it was" "$(cat "$out")" "$(cat text)"
    watched "openssl enc -d, another passphrase" 0 \
        'memguard exec --stdin other-pass -- openssl enc -d -aes-256-ctr -pbkdf2 -pass stdin -in text.enc'
    check "openssl enc -d, another passphrase: not as it was" "$(cmp -s "$out" text && echo it is)"
    carriers '`openssl -pass file:`' pass "$(cat text)" 'openssl enc -d -aes-256-ctr -pbkdf2 -pass file:% -in text.enc'
    in_the_open='memguard exec --env WORD=pass -- openssl enc -d -aes-256-ctr -pbkdf2 -pass env:WORD -in text.enc'
    look "$in_the_open"
    same "openssl enc -d, --env: as it was" "$(cat "$out")" "$(cat text)"
    same "openssl enc -d, --env: one line of warning" "$(wc -l <"$err")" 1
    caught "--env is what it warns of" "environ of a process: raw" 'memguard exec --env WORD=pass -- sh until-seen environ'
fi

# ---- ssh ----
signed_by() { ssh-keygen -Y check-novalidate -n file -s "$1" <text 2>&1 | grep -o 'SHA256:.*'; }
if ! lacks ssh-keygen ssh-add ssh-agent; then
    for key in mine theirs; do ssh-keygen -q -t ed25519 -N '' -C "$key" -f $key; done
    hold ssh mine theirs
    # The seed lies before the last public key in the file.
    sed '/^-/d' mine | base64 -d | xxd -p | tr -d '\n' | sed 's/.*00000040\(.\{64\}\).*/\1/' | xxd -r -p >"$needle"
    rm -f mine theirs text.sig
    print() { ssh-keygen -lf "$1.pub" | cut -d ' ' -f 2; }
    watched "ssh-keygen -y, --file" 0 'memguard exec --file ssh -- ssh-keygen -y -f {ssh}'
    same "ssh-keygen -y: the public key" "$(cat "$out")" "$(cat mine.pub)"
    watched "ssh-keygen -Y sign, --file" 0 'memguard exec --file ssh -- ssh-keygen -Y sign -n file -f {ssh} text'
    same "ssh-keygen -Y sign: its signature" "$(signed_by text.sig)" "$(print mine)"
    rm text.sig
    watched "ssh-keygen -Y sign, another key" 0 'memguard exec --file other-ssh -- ssh-keygen -Y sign -n file -f {other-ssh} text'
    same "ssh-keygen -Y sign, another key: its signature" "$(signed_by text.sig)" "$(print theirs)"
    rm text.sig
    export SSH_AUTH_SOCK=$work/ssh-agent
    serve ssh-agent.log ssh-agent -D -a "$SSH_AUTH_SOCK"
    wait_for test -S "$SSH_AUTH_SOCK"
    watched "ssh-add, --file" 0 'memguard exec --file ssh -- ssh-add -q {ssh}'
    same "ssh-add: the agent of ssh has it" "$(ssh-add -L)" "$(cat mine.pub)"
    ssh-keygen -q -Y sign -n file -f mine.pub text
    same "ssh-add: the agent of ssh signs with it" "$(signed_by text.sig)" "$(print mine)"
    ssh-add -qD
    rm text.sig
    carriers '`ssh-add`' ssh "$(cat mine.pub)" 'ssh-add -q %; ssh-add -L; ssh-add -qD'
    carriers '`ssh-keygen -y -f`' ssh "$(cat mine.pub)" 'ssh-keygen -y -f %'
    carriers '`ssh-keygen -Y sign -f`' ssh "$(print mine)" \
        "ssh-keygen -q -Y sign -n file -f % text; ssh-keygen -Y check-novalidate -n file -s text.sig <text | grep -o 'SHA256:.*'; rm text.sig"
    hold_words phrase
    ssh-keygen -q -t ed25519 -N "$(cat "$needle")" -f locked
    ln -s memguard bin/memguard-askpass
    line='SSH_ASKPASS=memguard-askpass SSH_ASKPASS_REQUIRE=force MEMGUARD_ASKPASS_NAME=phrase ssh-add -q locked'
    watched "ssh-add, SSH_ASKPASS" 0 "$line"
    same "ssh-add, SSH_ASKPASS: the agent of ssh has it" "$(ssh-add -L)" "$(cat locked.pub)"
    ssh-add -qD
    watched "ssh-add, another passphrase" 1 \
        'SSH_ASKPASS=memguard-askpass SSH_ASKPASS_REQUIRE=force MEMGUARD_ASKPASS_NAME=other-phrase timeout 3 ssh-add -q locked; ssh-add -L'
    same "ssh-add, another passphrase: none" "$(ssh-add -L)" "The agent has no identities."
    watched "ssh-add of what is no key" 1 'memguard exec --file word -- ssh-add -q {word}'
    same "ssh-add of what is no key: none" "$(ssh-add -L)" "The agent has no identities."
fi

# ---- age ----
if ! lacks age age-keygen; then
    for key in right other; do age-keygen -o $key.age 2>/dev/null; done
    grep -v '^#' right.age | tr -d '\n' >"$needle"
    hold age right.age other.age
    age -r "$(age-keygen -y right.age)" -o text.age text
    rm right.age other.age
    watched "age -d, --file" 0 'memguard exec --file age -- age -d -i {age} text.age'
    same "age -d: as it was" "$(cat "$out")" "$(cat text)"
    carriers '`age -d -i`' age "$(cat text)" 'age -d -i % text.age'
    watched "age -d, another identity" 1 'memguard exec --file other-age -- age -d -i {other-age} text.age'
    has "age -d, another identity" "no identity matched" "$err"
fi

# ---- the manual page ----
# Each command line under EXAMPLES, which may be broken by \, is one that these tests run.
examples() {
    sed -n '/^\.SH EXAMPLES/,/^\.SH SEE/p' "$MEMGUARD_SOURCE/docs/man/memguard.1" | sed -n '/^\.EX/,/^\.EE/{/^\./d;p}' |
        sed -e ':more' -e '/ \\e$/{N;s/ \\e\n */ /;b more' -e '}' -e 's/\\-/-/g' -e "s/\\\\(aq/'/g" -e 's/\\e/\\/g'
}
while read -r line; do
    check "memguard.1: $line" "$(grep -qF -e "$line" "$MEMGUARD_SOURCE"/tests/command/test_programs*.sh || echo "no test runs this line")"
done < <(examples)
has "memguard.1 has examples" "ssh-add" <(examples)
end
