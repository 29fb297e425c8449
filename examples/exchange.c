/* A key exchange (X25519) between two processes, in which neither the private keys nor the shared keys are ever outside a
 * secret.
 *
 *   ./exchange             runs both ends over a socket pair and says whether both came to the same keys
 *   ./exchange tampered    one bit of a public key is changed on its way: the ends do not agree, exit code 1
 *
 * Who is at the other end is not proven here: over a network, sign the public keys, or mix in a key that both have. */
#include <errno.h>
#include <memguard.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEY_BYTES = 32, SESSION_BYTES = 2 * KEY_BYTES, PROOF_BYTES = crypto_auth_BYTES };
_Static_assert(KEY_BYTES == crypto_kx_SECRETKEYBYTES && KEY_BYTES == crypto_kx_SESSIONKEYBYTES, "sizes of X25519");

struct end {
    const char *name;
    int socket;
    int is_server;
    memguard_secret private_key;
    memguard_secret session;                                  /* key to receive with, key to send with */
    unsigned char public_key[KEY_BYTES], peer_key[KEY_BYTES]; /* these are public */
    unsigned char proof[PROOF_BYTES];
};

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "exchange: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(EXIT_FAILURE);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}
static int check_call(int returned, const char *what) {
    if (returned < 0) fail(what, strerror(errno));
    return returned;
}

static void give(int socket, const void *bytes, size_t count) {
    if (send(socket, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) fail("send", "the other end is gone");
}
static void get(int socket, void *bytes, size_t count) {
    if (recv(socket, bytes, count, MSG_WAITALL) != (ssize_t)count) fail("receive", "the other end is gone");
}

/* ---- what sees keys: on the host's stack, by memguard_call_scrubbed ---- */

static int derive_public(const void *private_key, size_t size, void *arg) {
    struct end *end = arg;
    (void)size;
    return crypto_scalarmult_base(end->public_key, private_key);
}
static int make_public(void *arg) {
    struct end *end = arg;
    int result = -1;
    check(memguard_secret_use(end->private_key, derive_public, end, &result), "public key");
    return result;
}

/* The session keys are written where they will stay. -1: the peer's key is not a good one. */
static int agree(void *arg) {
    struct end *end = arg;
    memguard_view mine = {0}, keys = {0};
    check(memguard_secret_acquire(end->private_key, MEMGUARD_READ, &mine), "private key");
    check(memguard_secret_acquire(end->session, MEMGUARD_WRITE, &keys), "session keys");
    unsigned char *receive = keys.data, *transmit = receive + KEY_BYTES;
    const int bad = end->is_server
                        ? crypto_kx_server_session_keys(receive, transmit, end->public_key, mine.data, end->peer_key)
                        : crypto_kx_client_session_keys(receive, transmit, end->public_key, mine.data, end->peer_key);
    check(memguard_view_release(&keys), "session keys"); /* here they are sealed */
    check(memguard_view_release(&mine), "private key");
    return bad;
}

/* A proof that this end has the keys: a MAC of what it is, under the key that it sends with. */
static int prove(const void *session, size_t size, void *arg) {
    struct end *end = arg;
    (void)size;
    return crypto_auth(end->proof, (const unsigned char *)end->name, strlen(end->name),
                       (const unsigned char *)session + KEY_BYTES);
}
static int make_proof(void *arg) {
    struct end *end = arg;
    int result = -1;
    check(memguard_secret_use(end->session, prove, end, &result), "proof");
    return result;
}
/* 0: the peer's proof is right. */
static int judge(const void *session, size_t size, void *arg) {
    const struct end *end = arg;
    const char *peer = end->is_server ? "client" : "server";
    (void)size;
    return crypto_auth_verify(end->proof, (const unsigned char *)peer, strlen(peer), session);
}
static int check_proof(void *arg) {
    struct end *end = arg;
    int result = -1;
    check(memguard_secret_use(end->session, judge, end, &result), "proof of the peer");
    return result;
}

/* ---- the protocol ---- */

static void scrubbed(int (*fn)(void *), struct end *end, const char *what) {
    int result = -1;
    check(memguard_call_scrubbed(fn, end, &result), what);
    if (result != 0) fail(end->name, what);
}

static void run(struct end *end, int tamper) {
    memguard_vault *vault = NULL;
    check(memguard_vault_create(NULL, &vault), "vault");
    check(memguard_secret_random(vault, KEY_BYTES, MEMGUARD_FROZEN, &end->private_key), "private key");
    check(memguard_secret_create(vault, SESSION_BYTES, MEMGUARD_SEALED, &end->session), "session keys");
    scrubbed(make_public, end, "no public key");
    give(end->socket, end->public_key, sizeof end->public_key);
    get(end->socket, end->peer_key, sizeof end->peer_key);
    end->peer_key[0] ^= (unsigned char)tamper;
    scrubbed(agree, end, "the peer's public key is not acceptable");
    scrubbed(make_proof, end, "no proof");
    give(end->socket, end->proof, sizeof end->proof);
    get(end->socket, end->proof, sizeof end->proof);
    scrubbed(check_proof, end, "the peer has other keys");
    check(memguard_vault_destroy(&vault), "the end");
    printf("%s: both ends have the same keys\n", end->name);
}

int main(int argc, char **argv) {
    int ends[2], status = 0;
    const int tamper = argc > 1 && strcmp(argv[1], "tampered") == 0;
    if (sodium_init() < 0) fail("start", "libsodium is not ready");
    check_call(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socket pair");
    /* Fork first, make vaults afterwards: a vault does not work in children of the process that made it. */
    const pid_t child = check_call(fork(), "fork");
    struct end end = {.name = child == 0 ? "client" : "server", .socket = ends[child == 0], .is_server = child != 0};
    check_call(close(ends[child != 0]), "close");
    run(&end, child == 0 ? tamper : 0);
    if (child == 0) return EXIT_SUCCESS;
    check_call(waitpid(child, &status, 0), "wait");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
