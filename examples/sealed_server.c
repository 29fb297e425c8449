/* A server with 10,000 sealed secrets that gives up almost every system call before it serves its first client.
 *
 *   head -c 32 /dev/urandom >master.key
 *   ./sealed_server master.key 5           prints its port, answers 5 requests, ends
 *   echo "17 hello" | nc 127.0.0.1 PORT    HMAC-SHA256 of "hello" under the key of client 17, in hex
 *
 * The key of client i is derived from the master key straight into a secret; sealed, it needs no lockable memory.
 * memguard_vault_prepare makes what later calls would make; from then on a filter (seccomp(2)) kills the process at any call that
 * docs/SYSCALLS.md does not list and the server does not make itself. A third argument makes it call getppid(2), to show that. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memguard/io.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLIENTS = 10000, LINE_BYTES = 256 };
static memguard_vault *vault;
static memguard_secret master, keys[CLIENTS];

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "sealed_server: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(EXIT_FAILURE);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}

/* ---- what sees keys runs by memguard_call_scrubbed: what libsodium leaves on the stack and in registers is wiped ---- */

static int derive_keys(void *unused) {
    memguard_view from = {0}, to = {0};
    (void)unused;
    check(memguard_secret_acquire(master, MEMGUARD_READ, &from), "master key");
    for (uint64_t i = 0; i < CLIENTS; i++) {
        check(memguard_secret_create(vault, crypto_auth_hmacsha256_KEYBYTES, MEMGUARD_SEALED, &keys[i]), "client key");
        check(memguard_secret_acquire(keys[i], MEMGUARD_WRITE, &to), "client key");
        if (crypto_kdf_derive_from_key(to.data, to.size, i, "clients_", from.data) != 0) fail("client key", "its size");
        check(memguard_view_release(&to), "client key"); /* here it is sealed */
    }
    check(memguard_view_release(&from), "master key");
    return 0;
}

struct request {
    size_t client;
    const char *text;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
};
static int authenticate(const void *key, size_t size, void *arg) {
    struct request *request = arg;
    (void)size;
    return crypto_auth_hmacsha256(request->mac, (const unsigned char *)request->text, strlen(request->text), key);
}
static int answer(void *arg) {
    struct request *request = arg;
    check(memguard_secret_use(keys[request->client], authenticate, request, NULL), "answer");
    return 0;
}

static void serve(int client) {
    char line[LINE_BYTES + 1] = "", hex[2 * crypto_auth_hmacsha256_BYTES + 1], *end = line;
    size_t bytes = 0;
    for (ssize_t got = 1; got > 0 && bytes < LINE_BYTES && memchr(line, '\n', bytes) == NULL; bytes += (size_t)got)
        if ((got = read(client, line + bytes, LINE_BYTES - bytes)) < 0) return; /* it is gone: the next one, please */
    line[strcspn(line, "\n")] = '\0';
    struct request request = {.client = strtoul(line, &end, 10)};
    if (end == line || request.client >= CLIENTS || *end != ' ') return;
    request.text = end + 1;
    check(memguard_call_scrubbed(answer, &request, NULL), "answer");
    sodium_bin2hex(hex, sizeof hex, request.mac, sizeof request.mac);
    hex[sizeof hex - 1] = '\n';
    (void)send(client, hex, sizeof hex, MSG_NOSIGNAL); /* a client that does not listen is no concern of ours */
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

#ifdef __x86_64__
#define OUR_ARCH AUDIT_ARCH_X86_64
#else
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), yes, no)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##action)

/* docs/SYSCALLS.md: "After prepare", "Ending a vault"; then our own. */
static const int calls[] = {SYS_mprotect,    SYS_futex,           SYS_getrandom, SYS_clock_gettime, SYS_clock_nanosleep,
                            SYS_sched_yield, SYS_restart_syscall, SYS_munmap,    SYS_madvise,       SYS_rt_sigprocmask,
                            SYS_exit,        SYS_accept,          SYS_read,      SYS_sendto,        SYS_close,
                            SYS_exit_group,  SYS_membarrier};
enum { CALLS = sizeof calls / sizeof calls[0] };

static void confine(void) {
    struct sock_filter filter[4 + CALLS + 2] = {
        LOAD(arch),   IF(OUR_ARCH, 1, 0), RETURN(KILL_PROCESS), LOAD(nr), [4 + CALLS] = RETURN(KILL_PROCESS),
        RETURN(ALLOW)};
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    for (unsigned i = 0; i < CALLS; i++) /* if it is this one: to the last step, which allows it */
        filter[4 + i] = (struct sock_filter)IF(calls[i], (unsigned char)(CALLS - i), 0);
    /* TSYNC: for the library's housekeeper, too. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        fail("filter", strerror(errno));
}

int main(int argc, char **argv) {
    if (argc < 3 || sodium_init() < 0) fail("usage", "sealed_server KEYFILE REQUESTS [break]");
    const int file = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(argv[1], strerror(errno));
    check(memguard_vault_create(NULL, &vault), "vault");
    check(memguard_secret_read_exact(vault, file, crypto_kdf_KEYBYTES, MEMGUARD_SEALED, &master), argv[1]);
    (void)close(file); /* only read from: nothing can be lost */
    /* The first scrubbed call of a thread looks up where its stack ends: it must come before the filter, too. */
    check(memguard_call_scrubbed(derive_keys, NULL, NULL), "client keys");
    check(memguard_secret_destroy(&master), "master key");
    check(memguard_vault_prepare(vault, 1, 1), "prepare");
    const int listener = listen_on_loopback();
    confine();
    for (unsigned long left = strtoul(argv[2], NULL, 10); left > 0; left--) {
        const int client = accept(listener, NULL, NULL);
        if (client < 0) fail("accept", strerror(errno));
        serve(client);
        (void)close(client);
    }
    if (argc > 3) (void)syscall(SYS_getppid); /* not allowed: the kernel kills us here */
    check(memguard_vault_destroy(&vault), "the end");
    return EXIT_SUCCESS;
}
