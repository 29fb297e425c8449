#!/bin/bash
# As test_programs.sh, with programs that show a password to a server, which the test starts on the loopback interface: psql to PostgreSQL, curl
# and git over HTTP (by `memguard git-credential`) to busybox's httpd. The servers only know hashes, and really check.
. "${MEMGUARD_SOURCE:?}/tests/command/programs.sh"

# ---- psql ----
PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
export PGHOST=127.0.0.1 PGPORT PGUSER=me PGDATABASE=postgres
lower= # a server that root starts runs as somebody else
[ "$(id -u)" != 0 ] || lower="setpriv --reuid=65534 --regid=65534 --clear-groups"

make_database() {
    mkdir -m 700 data
    [ -z "$lower" ] || chown 65534:65534 data
    # The pipe that initdb opens by its name has to be made by whoever opens it.
    # shellcheck disable=SC2086,SC2016
    memguard get db | $lower sh -c 'cat | "$@"' sh initdb -D "$work/data" -U me -A scram-sha-256 --pwfile=/dev/stdin --no-sync --no-locale \
        -E UTF8 >initdb.log 2>&1 || check "initdb" "$(tail -n 5 initdb.log)"
}
# shellcheck disable=SC2086
postgres_serves() { serve "$log" $lower setpriv --pdeathsig QUIT postgres -D "$work/data" -p "$port" -h 127.0.0.1 -c unix_socket_directories= -F; }
postgres_is_ready() { grep -qs "ready to accept connections" "$log"; }
if ! lacks psql initdb postgres; then
    hold_words db
    printf ':\\' >>"$needle" # what .pgpass has backslashes before
    hold db "$needle" other
    make_database
    serve_on_free_port postgres_is_ready postgres_serves
    PGPORT=$port
    check "PostgreSQL has no copy of it" "$(grep -rlaFf "$needle" data initdb.log "$log")"
    cp "$needle" data/planted
    same "it would be found" "$(grep -rlaFf "$needle" data)" data/planted
    rm data/planted
    read -r line <<'EOT'
memguard exec --render 'PGPASSFILE=*:*:*:me:{db:pgpass}\n' -- psql -w -Atc 'select 6 * 7, current_user'
EOT
    watched "psql, PGPASSFILE by --render" 0 "$line"
    same "psql: the answer" "$(cat "$out")" "42|me"
    { printf '*:*:*:me:' && sed 's/[:\\]/\\&/g' "$needle"; } | memguard set pgpass
    carriers '`psql`, `PGPASSFILE`' pgpass 42 'env PGPASSFILE=% psql -w -Atc "select 6 * 7"'
    watched "psql, another password" 2 "${line/{db:/{other-db:}"
    has "psql, another password" 'password authentication failed for user "me"' "$err"
    caught "psql, PGPASSWORD by --env" "environ of a process: raw" \
        'memguard exec --env PGPASSWORD=db -- psql -w -Atc "select 6 * 7" -c "\! sh until-seen environ"'
    [ -n "$why_not" ] || same "psql, PGPASSWORD by --env: the answer" "$(cat "$out")" 42
fi

# ---- a web server ----
takes() { # FILE: whether the password in it is right
    { printf 'user="me:' && cat "$1" && echo '"'; } | curl -sf -K - "$URL/page"
}
let_in() { # NAME: of the secret that is me's password
    printf '/:me:%s\n' "$(memguard get "$1" | openssl passwd -6 -stdin)" >httpd.conf
}
httpd_serves() { serve "$log" busybox httpd -f -vv -p "127.0.0.1:$port" -h "$work/www" -c "$work/httpd.conf"; }
httpd_is_ready() { # ours, which has heard of it
    (printf 'GET / HTTP/1.0\r\n\r\n' >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && grep -qs url: "$log"
}
lacks busybox openssl curl
web=$?
if [ $web != 0 ]; then
    mkdir -p www/cgi-bin
    echo "a page" >www/page
    hold_words web
    let_in web
    serve_on_free_port httpd_is_ready httpd_serves
    export URL=http://127.0.0.1:$port
fi

# ---- curl ----
if [ $web != 0 ]; then
    read -r line <<'EOT'
memguard exec --render 'RC=user = "me:{web:curl}"\n' -- sh -c 'curl -sf -K "$RC" "$URL/page"'
EOT
    watched "curl -K, by --render" 0 "$line"
    same "curl -K: the page" "$(cat "$out")" "a page"
    watched "curl -K, another password" 22 "${line/{web:/{other-web:}"
    { printf 'user = "me:' && cat "$needle" && echo '"'; } | memguard set rc
    watched "curl -K, --file" 0 'memguard exec --file rc -- curl -sf -K {rc} "$URL/page"'
    same "curl -K, --file: the page" "$(cat "$out")" "a page"
    watched "curl -K, --stdin" 0 'memguard exec --stdin rc -- curl -sf -K - "$URL/page"'
    same "curl -K, --stdin: the page" "$(cat "$out")" "a page"
    carriers '`curl -K`' rc "a page" 'curl -sf -K % "$URL/page"'
fi

# ---- git ----
held() { memguard ls --json | grep -c "\"name\":\"git:http://me@127.0.0.1:$port\""; }
PATH=$PATH:$(git --exec-path 2>/dev/null)
if [ $web != 0 ] && ! lacks git git-http-backend; then
    export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_PROJECT_ROOT=$work/served GIT_HTTP_EXPORT_ALL=1
    git config --global user.name me
    git config --global user.email me@example.org
    git config --global init.defaultBranch main
    git config --global gc.auto 0
    git init -q --bare served/repo.git
    git -C served/repo.git config http.receivepack true
    printf '#!/bin/sh\nexport GIT_PROJECT_ROOT="%s" GIT_HTTP_EXPORT_ALL=1\nexec git http-backend\n' "$GIT_PROJECT_ROOT" >www/cgi-bin/git
    printf '#!/bin/sh\ncat "%s"\n' "$needle" >person
    chmod 755 www/cgi-bin/git person
    REPO=http://me@127.0.0.1:$port/cgi-bin/git/repo.git
    export REPO

    git config --global credential.helper '!memguard git-credential --ttl 8h'
    watched "git clone: no password is known" 128 'git clone -q "$REPO" none'
    GIT_ASKPASS=$work/person watched "git clone: a person tells it" 0 'git clone -q "$REPO" copy'
    same "git clone: the agent holds it now" "$(held)" 1
    echo "a file" >copy/file
    git -C copy add file
    git -C copy commit -q -m "a commit"
    watched "git push, by git-credential" 0 'git -C copy push -q'
    watched "git clone, by git-credential" 0 'git clone -q "$REPO" copy2'
    same "git clone: the file" "$(cat copy2/file)" "a file"
    let_in other-web
    kill -HUP "$server"
    wait_for takes other
    watched "git clone: the password has become a wrong one" 128 'GIT_TRACE=1 git clone -q "$REPO" copy3'
    has "git clone: it has it erased" "git-credential --ttl 8h erase" "$err"
    same "git clone: the agent holds it no more" "$(held)" 0
    cp other "$needle"
    watched "git clone: none is held" 128 'git clone -q "$REPO" copy3'
    memguard set "git:http://me@127.0.0.1:$port" --file "$needle"
    watched "git clone, by a password that was set" 0 'git clone -q "$REPO" copy3'
    same "git clone: the file" "$(cat copy3/file)" "a file"
fi
end
