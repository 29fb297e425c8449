#!/bin/bash
# As test_programs.sh, with programs that keep things of their own: gpg with its agent, restic with a repository.
. "${MEMGUARD_SOURCE:?}/tests/command/programs.sh"
is_sanitized && skip_rest "under a sanitizer test_programs.sh is enough"
echo "what is to be kept" >text

# ---- gpg ----
if ! lacks gpg gpgconf gpg-agent; then
    export GNUPGHOME=$work/g
    mkdir -m 700 g
    echo 's2k-count 65536' >g/gpg-agent.conf # else each gpg-agent measures how fast it is
    ending='gpgconf --kill all'
    hold_words gpg
    watched "gpg -c, --stdin" 0 'memguard exec --stdin gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-fd 0 -o text.gpg -c text'
    watched "gpg -d, --file" 0 'memguard exec --file gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-file {gpg} -d text.gpg'
    same "gpg -d: as it was" "$(cat "$out")" "$(cat text)"
    carriers '`gpg --passphrase-file`' gpg "$(cat text)" \
        'gpg --batch -q --pinentry-mode loopback --passphrase-file % -d text.gpg'
    watched "gpg -d, another passphrase" 2 \
        'memguard exec --stdin other-gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-fd 0 -d text.gpg'
    has "gpg -d, another passphrase" "Bad session key" "$err"
    watched "gpg makes a key" 0 \
        'memguard exec --stdin gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-fd 0 --quick-gen-key me ed25519 sign never'
    watched "gpg signs, --stdin" 0 \
        'memguard exec --stdin gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-fd 0 -o text.asc --clear-sign text'
    check "gpg signs: verified" "$(gpg --batch -q --verify text.asc >"$out" 2>&1 || cat "$out")"
    watched "gpg signs, another passphrase" 2 \
        'memguard exec --stdin other-gpg -- gpg --batch -q --pinentry-mode loopback --passphrase-fd 0 -o text2.asc --clear-sign text'
    has "gpg signs, another passphrase" "Bad passphrase" "$err"
    ending=
fi

# ---- restic ----
if ! lacks restic; then
    hold_words backup
    export RESTIC_REPOSITORY=$work/repository RESTIC_CACHE_DIR=$work/cache
    watched "restic init, --password-command" 0 'restic -q init --password-command "memguard get backup"'
    watched "restic backup, --password-command" 0 'restic -q backup --password-command "memguard get backup" text'
    watched "restic check, --password-file by --file" 0 'memguard exec --file backup -- restic -q check --password-file {backup}'
    watched "restic dump, RESTIC_PASSWORD_FILE by --file-env" 0 \
        'memguard exec --file-env RESTIC_PASSWORD_FILE=backup -- restic -q dump latest /text'
    same "restic dump: as it was" "$(cat "$out")" "$(cat text)"
    carriers '`restic --password-file`' backup "$(cat text)" 'restic -q dump latest /text --password-file %'
    watched "restic, another password" 1 'restic -q snapshots --password-command "memguard get other-backup"'
    has "restic, another password" "wrong password" "$err"
fi
end
