/* Asks for a password without showing it, and checks it against a stored hash.
 *
 *   ./password new >admin.hash      asks twice, prints the hash (Argon2id, made by libsodium)
 *   ./password check admin.hash     asks once; exit code 0: right, 1: wrong, 2: something failed
 *
 * The password goes from the terminal straight into a secret. What is left of it elsewhere: nothing in this process. The kernel's
 * copy of the line is wiped (see memguard/io.h). libsodium's Argon2 gives its work memory (64 MiB) back to the kernel without
 * wiping it; no other process gets to see it, but an image of the machine's whole memory might show it, and then a guess can
 * be tried cheaply. Who cares about that gives libargon2 an allocator that wipes. */
#include <errno.h>
#include <fcntl.h>
#include <memguard/io.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RIGHT = 0, WRONG = 1, FAILED = 2 };

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "password: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(FAILED);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}

static memguard_secret ask(memguard_vault *vault, const char *text) {
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    memguard_secret password = {0};
    options.text = text;
    check(memguard_prompt(vault, &options, MEMGUARD_FROZEN, &password), "prompt");
    return password;
}

/* ---- hashing: by memguard_call_scrubbed, so that nothing of the password stays on the stack or in registers ---- */

struct work {
    memguard_secret password;
    char hash[crypto_pwhash_STRBYTES]; /* not a secret, but not for everybody either: guesses can be tried on it */
};

static int make(const void *password, size_t size, void *hash) {
    return crypto_pwhash_str(hash, password, size, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                             crypto_pwhash_MEMLIMIT_INTERACTIVE);
}
static int make_hash(void *arg) {
    struct work *work = arg;
    int result = -1;
    check(memguard_secret_use(work->password, make, work->hash, &result), "hash");
    return result;
}

static int verify(const void *password, size_t size, void *hash) {
    return crypto_pwhash_str_verify(hash, password, size);
}
static int check_hash(void *arg) {
    struct work *work = arg;
    int result = -1;
    check(memguard_secret_use(work->password, verify, work->hash, &result), "check");
    return result;
}

/* ---- the two commands ---- */

static int differs(const void *password, size_t size, void *other) {
    const memguard_secret *again = other;
    const memguard_status status = memguard_secret_equal(*again, password, size);
    if (status != MEMGUARD_ERR_MISMATCH) check(status, "comparison");
    return status != MEMGUARD_OK;
}

static int new_hash(memguard_vault *vault) {
    struct work work = {.password = ask(vault, "New password: ")};
    memguard_secret again = ask(vault, "Once more: ");
    int result = -1;
    check(memguard_secret_use(work.password, differs, &again, &result), "comparison");
    if (result != 0) fail("new password", "the two are not the same");
    check(memguard_call_scrubbed(make_hash, &work, &result), "hash");
    if (result != 0) fail("hash", "out of memory");
    if (puts(work.hash) < 0 || fflush(stdout) != 0) fail("standard output", strerror(errno));
    return RIGHT;
}

static void read_hash(const char *path, char hash[crypto_pwhash_STRBYTES]) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = file < 0 ? -1 : read(file, hash, crypto_pwhash_STRBYTES - 1);
    if (got < 0 || close(file) != 0) fail(path, strerror(errno));
    hash[got] = '\0';
    hash[strcspn(hash, "\n")] = '\0';
}

static int check_password(memguard_vault *vault, const char *path) {
    struct work work = {.hash = ""};
    int result = -1;
    read_hash(path, work.hash);
    work.password = ask(vault, "Password: ");
    check(memguard_call_scrubbed(check_hash, &work, &result), "check");
    puts(result == 0 ? "right" : "wrong");
    return result == 0 ? RIGHT : WRONG;
}

int main(int argc, char **argv) {
    memguard_vault *vault = NULL;
    int code = FAILED;
    if (sodium_init() < 0) fail("start", "libsodium is not ready");
    check(memguard_vault_create(NULL, &vault), "vault");
    if (argc == 2 && strcmp(argv[1], "new") == 0)
        code = new_hash(vault);
    else if (argc == 3 && strcmp(argv[1], "check") == 0)
        code = check_password(vault, argv[2]);
    else
        fail("usage", "password new | password check HASHFILE");
    check(memguard_vault_destroy(&vault), "the end");
    return code;
}
