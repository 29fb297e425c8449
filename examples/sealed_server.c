/* A server with 10,000 sealed secrets that gives up almost every system call before it serves the first client.
 *
 *   head -c 32 /dev/urandom >master.key
 *   ./sealed_server master.key 5           prints its port, answers 5 requests, ends
 *   echo "17 hello" | nc 127.0.0.1 PORT    HMAC-SHA256 of "hello" under the key of client 17, in hex
 *
 * Client i's key is derived from the master key (libsodium's crypto_kdf), straight into a secret of its own. At rest all are
 * sealed: 10,000 of them need no lockable memory. memguard_vault_prepare makes what later calls would make; from then on a filter
 * (seccomp(2)) kills the process at any call that docs/SYSCALLS.md does not list and the server does not make itself.
 * With a third argument the server makes one more, a getppid(2), to show that. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memguard.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLIENTS = 10000, KEY_BYTES = crypto_kdf_KEYBYTES, LINE_BYTES = 256 };
static memguard_secret keys[CLIENTS];

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "sealed_server: %s: %s\n", what, why);
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

static void read_master(memguard_vault *vault, const char *path, memguard_secret *master) {
    memguard_view view = {0};
    const int file = check_call(open(path, O_RDONLY | O_CLOEXEC), path);
    check(memguard_secret_create(vault, KEY_BYTES, MEMGUARD_SEALED, master), "master key");
    check(memguard_secret_acquire(*master, MEMGUARD_WRITE, &view), "master key");
    if (read(file, view.data, view.size) != KEY_BYTES) fail(path, "not 32 bytes");
    check(memguard_view_release(&view), "master key");
    check_call(close(file), path);
}

static int derive(const void *master, size_t size, void *vault) {
    (void)size;
    for (uint64_t i = 0; i < CLIENTS; i++) {
        memguard_view view = {0};
        check(memguard_secret_create(vault, KEY_BYTES, MEMGUARD_SEALED, &keys[i]), "client key");
        check(memguard_secret_acquire(keys[i], MEMGUARD_WRITE, &view), "client key");
        if (crypto_kdf_derive_from_key(view.data, view.size, i, "clients_", master) != 0) fail("client key", "derivation");
        check(memguard_view_release(&view), "client key"); /* here it is sealed */
    }
    return 0;
}

struct request {
    size_t client, bytes;
    const char *challenge;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
};
static int authenticate(const void *key, size_t size, void *arg) {
    struct request *request = arg;
    (void)size;
    return crypto_auth_hmacsha256(request->mac, (const unsigned char *)request->challenge, request->bytes, key);
}
/* Runs by memguard_call_scrubbed: what libsodium leaves on our stack and in the registers is wiped afterwards. */
static int answer(void *arg) {
    struct request *request = arg;
    int result = -1;
    check(memguard_secret_use(keys[request->client], authenticate, request, &result), "answer");
    return result;
}

static void serve(int client) {
    char line[LINE_BYTES + 1] = "", hex[2 * crypto_auth_hmacsha256_BYTES + 1], *end = line;
    size_t bytes = 0;
    int failed = -1;
    for (ssize_t got = 1; got > 0 && bytes < LINE_BYTES && memchr(line, '\n', bytes) == NULL; bytes += (size_t)got)
        if ((got = read(client, line + bytes, LINE_BYTES - bytes)) < 0) return; /* it is gone: the next one, please */
    line[bytes] = '\0';
    struct request request = {.client = strtoul(line, &end, 10)};
    if (request.client >= CLIENTS || *end != ' ') return;
    request.challenge = end + 1;
    request.bytes = strcspn(request.challenge, "\n");
    check(memguard_call_scrubbed(answer, &request, &failed), "answer");
    if (failed != 0) return;
    sodium_bin2hex(hex, sizeof hex, request.mac, sizeof request.mac);
    hex[sizeof hex - 1] = '\n';
    (void)send(client, hex, sizeof hex, MSG_NOSIGNAL); /* a client that does not listen is no concern of ours */
}

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), yes, no)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##action)
#define ALLOW(name) IS(SYS_##name, 0, 1), RETURN(ALLOW)

static void confine(void) {
    struct sock_filter filter[] = {
        LOAD(arch), IS(OUR_ARCH, 1, 0), RETURN(KILL_PROCESS), LOAD(nr),
        /* docs/SYSCALLS.md, "After prepare" */
        ALLOW(futex), ALLOW(getrandom), ALLOW(clock_gettime), ALLOW(clock_nanosleep), ALLOW(sched_yield),
        ALLOW(restart_syscall),
        /* docs/SYSCALLS.md, "The end of the last vault" */
        ALLOW(munmap), ALLOW(madvise), ALLOW(rt_sigprocmask), ALLOW(exit),
        /* our own */
        ALLOW(accept), ALLOW(read), ALLOW(sendto), ALLOW(close), ALLOW(exit_group),
        /* mprotect, as long as nothing becomes executable */
        IS(SYS_mprotect, 1, 0), RETURN(KILL_PROCESS), LOAD(args[2]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4 /* PROT_EXEC */, 0, 1), RETURN(KILL_PROCESS), RETURN(ALLOW)};
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    check_call(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
    /* TSYNC: for the library's housekeeper, too. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) fail("filter", strerror(errno));
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    const int listener = check_call(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check_call(bind(listener, (struct sockaddr *)&address, bytes), "bind");
    check_call(listen(listener, SOMAXCONN), "listen");
    check_call(getsockname(listener, (struct sockaddr *)&address, &bytes), "port");
    printf("%d\n", ntohs(address.sin_port));
    return listener;
}

struct start {
    memguard_vault *vault;
    memguard_secret master;
};
static int derive_scrubbed(void *arg) {
    struct start *start = arg;
    check(memguard_secret_use(start->master, derive, start->vault, NULL), "master key");
    return 0;
}

int main(int argc, char **argv) {
    struct start start = {0};
    if (argc < 3 || sodium_init() < 0) fail("usage", "sealed_server KEYFILE REQUESTS [break]");
    check(memguard_vault_create(NULL, &start.vault), "vault");
    read_master(start.vault, argv[1], &start.master);
    /* The first scrubbed call of a thread looks up where its stack ends: it must come before the filter, too. */
    check(memguard_call_scrubbed(derive_scrubbed, &start, NULL), "client keys");
    check(memguard_secret_destroy(&start.master), "master key");
    check(memguard_vault_prepare(start.vault, 1, 1), "prepare");
    const int listener = listen_on_loopback();
    if (fflush(stdout) != 0) fail("standard output", strerror(errno));
    confine();
    for (unsigned long left = strtoul(argv[2], NULL, 10); left > 0; left--) {
        const int client = check_call(accept(listener, NULL, NULL), "accept");
        serve(client);
        check_call(close(client), "close");
    }
    if (argc > 3) printf("%ld\n", syscall(SYS_getppid)); /* nobody reads this */
    check(memguard_vault_destroy(&start.vault), "the end");
    return 0;
}
