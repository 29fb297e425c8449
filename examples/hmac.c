/* HMAC-SHA256 of a file, under a key that goes from its file straight into a secret.
 *
 *   ./hmac KEYFILE [FILE]      prints the MAC in hex; without FILE: of standard input
 *
 * The same as: openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY FILE; but there the key is in the list of processes. */
#include <errno.h>
#include <fcntl.h>
#include <memguard/io.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_KEY_BYTES = 4096 };

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "hmac: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(EXIT_FAILURE);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}
static int open_file(const char *path) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path, strerror(errno));
    return file;
}
static void close_file(int file, const char *path) {
    if (close(file) != 0) fail(path, strerror(errno));
}

struct work {
    int input;
    memguard_secret key, state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
};

static int start(const void *key, size_t size, void *state) { return crypto_auth_hmacsha256_init(state, key, size); }

/* The state of an HMAC is as good as its key: it lives in a secret, too. What libsodium's functions leave on this stack is
 * wiped by memguard_call_scrubbed. The object fits: bytes end at a guard page, so that their start is aligned for any C
 * object. */
static int authenticate(void *arg) {
    struct work *work = arg;
    memguard_view view = {0};
    unsigned char block[16384];
    ssize_t got = 0;
    int failed = -1;
    check(memguard_secret_acquire(work->state, MEMGUARD_WRITE, &view), "state");
    check(memguard_secret_use(work->key, start, view.data, &failed), "key");
    while (failed == 0 && (got = read(work->input, block, sizeof block)) > 0)
        failed = crypto_auth_hmacsha256_update(view.data, block, (size_t)got);
    if (got < 0) fail("input", strerror(errno));
    if (failed == 0) failed = crypto_auth_hmacsha256_final(view.data, work->mac);
    check(memguard_view_release(&view), "state");
    return failed;
}

int main(int argc, char **argv) {
    struct work work = {.input = STDIN_FILENO};
    char hex[2 * sizeof work.mac + 1];
    memguard_vault *vault = NULL;
    int failed = -1;
    if (argc < 2 || argc > 3 || sodium_init() < 0) fail("usage", "hmac KEYFILE [FILE]");
    const int key_file = open_file(argv[1]);
    if (argc == 3) work.input = open_file(argv[2]);
    check(memguard_vault_create(NULL, &vault), "vault");
    check(memguard_secret_read_all(vault, key_file, MOST_KEY_BYTES, MEMGUARD_FROZEN, &work.key), argv[1]);
    close_file(key_file, argv[1]);
    /* CLOSED: it is changed in place and never leaves its page, so there is nothing to seal in between. */
    check(memguard_secret_create(vault, sizeof(crypto_auth_hmacsha256_state), MEMGUARD_CLOSED, &work.state), "state");
    check(memguard_call_scrubbed(authenticate, &work, &failed), "HMAC");
    if (argc == 3) close_file(work.input, argv[2]);
    if (failed != 0) fail("HMAC", "libsodium refused");
    check(memguard_vault_destroy(&vault), "the end"); /* wipes key and state */
    if (puts(sodium_bin2hex(hex, sizeof hex, work.mac, sizeof work.mac)) < 0 || fflush(stdout) != 0)
        fail("standard output", strerror(errno));
    return EXIT_SUCCESS;
}
