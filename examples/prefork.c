/* A pre-fork server: the parent loads a key once, then eight workers answer under it, each a process of its own.
 *
 *   ./prefork KEYFILE                    prints its port; ends when its standard input ends (^D)
 *   echo hello | nc 127.0.0.1 PORT       HMAC-SHA256 of "hello" under the key, in hex, and who answered
 *
 * By default a vault does not work in children of the process that made it. MEMGUARD_FORK_COPY is for servers like this one: each
 * worker goes on with a copy, locks its pages anew and seals under nonces of its own; what one worker changes or destroys does
 * not show in another. The price: pages out of the kernel's map (HIDDEN) cannot be copied, so there are locked ones. */
#include <errno.h>
#include <fcntl.h>
#include <memguard/io.h>
#include <netinet/in.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 8, LINE_BYTES = 256, MOST_KEY_BYTES = 4096 };
static memguard_vault *vault;
static memguard_secret key;

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "prefork: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(EXIT_FAILURE);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}

struct request {
    const char *text;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
};
static int authenticate(const void *bytes, size_t size, void *arg) {
    struct request *request = arg;
    crypto_auth_hmacsha256_state state; /* on this stack, which memguard_call_scrubbed wipes */
    crypto_auth_hmacsha256_init(&state, bytes, size);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)request->text, strlen(request->text));
    return crypto_auth_hmacsha256_final(&state, request->mac);
}
static int answer(void *request) {
    check(memguard_secret_use(key, authenticate, request, NULL), "answer");
    return 0;
}

static void serve(int client) {
    char line[LINE_BYTES + 1] = "", hex[2 * crypto_auth_hmacsha256_BYTES + 1];
    struct request request = {.text = line};
    size_t bytes = 0;
    for (ssize_t got = 1; got > 0 && bytes < LINE_BYTES && memchr(line, '\n', bytes) == NULL; bytes += (size_t)got)
        if ((got = read(client, line + bytes, LINE_BYTES - bytes)) < 0) return; /* it is gone: the next one, please */
    line[strcspn(line, "\n")] = '\0';
    check(memguard_call_scrubbed(answer, &request, NULL), "answer");
    sodium_bin2hex(hex, sizeof hex, request.mac, sizeof request.mac);
    const int length = snprintf(line, sizeof line, "%s %ld\n", hex, (long)getpid());
    (void)send(client, line, (size_t)length, MSG_NOSIGNAL); /* a client that does not listen is no concern of ours */
}

/* A worker, until the parent shuts the listening socket down: accept(2) then answers EINVAL, in all workers. */
static int work(int listener) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail("worker", strerror(errno)); /* no worker outlives its parent */
    for (int client; (client = accept(listener, NULL, NULL)) >= 0;) {
        serve(client);
        (void)close(client);
    }
    if (errno != EINVAL) fail("accept", strerror(errno));
    check(memguard_vault_destroy(&vault), "the end"); /* each process destroys its own copy */
    return EXIT_SUCCESS;
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, bytes) != 0 || listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &bytes) != 0)
        fail("listen", strerror(errno));
    if (printf("%d\n", ntohs(address.sin_port)) < 0 || fflush(stdout) != 0) fail("standard output", strerror(errno));
    return listener;
}

static void load_key(const char *path) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.fork_policy = MEMGUARD_FORK_COPY;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path, strerror(errno));
    check(memguard_vault_create(&options, &vault), "vault");
    check(memguard_secret_read_all(vault, file, MOST_KEY_BYTES, MEMGUARD_FROZEN, &key), path);
    (void)close(file); /* only read from: nothing can be lost */
}

int main(int argc, char **argv) {
    int status = 0, bad = 0;
    char byte = 0;
    if (argc != 2 || sodium_init() < 0) fail("usage", "prefork KEYFILE");
    load_key(argv[1]);
    const int listener = listen_on_loopback();
    for (int i = 0; i < WORKERS; i++) {
        const pid_t worker = fork();
        if (worker < 0) fail("fork", strerror(errno));
        if (worker == 0) return work(listener);
    }
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    if (shutdown(listener, SHUT_RDWR) != 0) fail("shutdown", strerror(errno));
    for (int i = 0; i < WORKERS; i++)
        bad |= wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS;
    check(memguard_vault_destroy(&vault), "the end");
    return bad;
}
