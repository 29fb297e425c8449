/* The system calls of the library, as docs/SYSCALLS.md has them. Two uses:
 *   without arguments   what runs after memguard_vault_prepare lives under a filter that kills at any call not listed there
 *   a tour, by name     goes through a part of the API in phases, each announced by a write(2) to no descriptor; test_system_calls.sh
 *                       looks on
 * The filter is the one of examples/sealed_server.c, without that program's own calls. */
#include "support.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memguard/io.h>
#include <memguard/process.h>
#include <memguard/stream.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>

/* ---- the filter ---- */

/* docs/SYSCALLS.md, "After prepare"; test_system_calls.sh compares. */
static const int after_prepare[] = {SYS_mprotect,        SYS_futex,       SYS_getrandom,  SYS_clock_gettime,
                                    SYS_clock_nanosleep, SYS_sched_yield, SYS_membarrier, SYS_restart_syscall};
enum { LISTED = sizeof after_prepare / sizeof after_prepare[0] };

static void confine(void) {
    struct sock_filter filter[2 * (LISTED + 1) + 2];
    const struct sock_filter load = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_filter kill_it = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    unsigned short n = 0;
    filter[n++] = load;
    for (size_t i = 0; i <= LISTED; i++) {
        const int number = i < LISTED ? after_prepare[i] : SYS_exit_group;
        const struct sock_filter is = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1);
        filter[n++] = is;
        filter[n++] = allow;
    }
    filter[n++] = kill_it;
    const struct sock_fprog program = {n, filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
}

/* ---- what a prepared program does: every rest, several threads, leases, re-keys, a lock ---- */

enum { WORKERS = 2, SIZE = 48, PERIODS_MS = 200, REKEY_MS = 20 };
static memguard_vault *vault;
static memguard_secret shared[RESTS], own[WORKERS][RESTS];
static atomic_int ready, go, bad;

static int sum(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return is_pattern(bytes, size, 7) ? 0 : 1;
}

/* Changes nothing that another thread looks at. */
static int borrow_each_way(memguard_secret reads, memguard_secret writes) {
    unsigned char bytes[SIZE];
    memguard_view view = {0};
    memguard_info info = MEMGUARD_INFO_INIT;
    int result = 1, wrong = 0;
    fill(bytes, sizeof bytes, 7);
    wrong |= memguard_secret_use(reads, sum, NULL, &result) != MEMGUARD_OK || result != 0;
    wrong |= memguard_secret_acquire(reads, MEMGUARD_READ, &view) != MEMGUARD_OK;
    wrong |= memguard_view_release(&view) != MEMGUARD_OK;
    wrong |= memguard_secret_equal(reads, bytes, sizeof bytes) != MEMGUARD_OK;
    wrong |= memguard_secret_info(reads, &info) != MEMGUARD_OK;
    wrong |= memguard_secret_acquire(writes, MEMGUARD_WRITE, &view) != MEMGUARD_OK;
    if (view.data != NULL) fill(view.data, view.size, 7);
    wrong |= memguard_view_release(&view) != MEMGUARD_OK;
    wrong |= memguard_secret_copy_at(writes, 0, bytes, sizeof bytes) != MEMGUARD_OK;
    wrong |= memguard_secret_freeze(writes) != MEMGUARD_OK || memguard_secret_melt(writes) != MEMGUARD_OK;
    return wrong;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static void *work(void *arg) {
    memguard_secret *mine = arg;
    /* What a thread does for the first time comes before the filter. */
    atomic_fetch_or(&bad, borrow_each_way(shared[0], mine[0]));
    atomic_fetch_or(&bad, memguard_call_scrubbed(nothing, NULL, NULL) != MEMGUARD_OK);
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&go) == 0)
        sched_yield();
    for (const uint64_t end = now_ms() + PERIODS_MS; now_ms() < end;) {
        for (int rest = 0; rest < RESTS; rest++)
            atomic_fetch_or(&bad, borrow_each_way(shared[rest], mine[rest]));
        atomic_fetch_or(&bad, memguard_call_scrubbed(nothing, NULL, NULL) != MEMGUARD_OK);
    }
    atomic_fetch_add(&ready, 1);
    /* A thread's end is the C library's business and makes calls of its own: the process ends first. */
    for (;;)
        sched_yield();
    return NULL;
}

static void make_secrets(memguard_secret *secrets) {
    unsigned char bytes[SIZE];
    fill(bytes, sizeof bytes, 7);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK_STATUS(memguard_secret_copy(vault, bytes, sizeof bytes, rest, &secrets[rest]), MEMGUARD_OK);
}

/* More than there are pages for, if nobody prepared. */
static void open_many(void) {
    memguard_view view = {0};
    for (int i = 0; i < 64; i++) {
        memguard_secret secret = {0};
        if (memguard_secret_create(vault, SIZE, MEMGUARD_CLOSED, &secret) != MEMGUARD_OK) return;
        if (memguard_secret_acquire(secret, MEMGUARD_READ, &view) != MEMGUARD_OK) return;
    }
}

static int run_confined(void *prepares) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    pthread_t threads[WORKERS];
    options.rekey_ms = REKEY_MS;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    make_secrets(shared);
    for (int i = 0; i < WORKERS; i++)
        make_secrets(own[i]);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, own[i]) == 0);
    while (atomic_load(&ready) < WORKERS)
        sched_yield();
    if (prepares != NULL) CHECK_STATUS(memguard_vault_prepare(vault, 4 * WORKERS, 1 + WORKERS), MEMGUARD_OK);
    confine();
    if (atomic_load(&check_bad) != 0) return 1;
    atomic_store(&go, 1);
    while (atomic_load(&ready) < 2 * WORKERS)
        sched_yield();
    if (prepares == NULL) open_many();
    return atomic_load(&bad) != 0;
}

TEST(after_prepare_only_the_listed_calls_are_made) {
    if (CHECK_SANITIZED) SKIP("a sanitizer makes system calls of its own");
    CHECK(check_exited(check_child(run_confined, &vault), 0));
}

TEST(without_prepare_the_same_filter_kills) {
    if (CHECK_SANITIZED) SKIP("a sanitizer makes system calls of its own");
    CHECK(check_killed(check_child(run_confined, NULL), SIGSYS));
}

/* Housekeeping by hand, so that no re-key takes place before the filter. */
static int rekey_first_under_the_filter(void *prepares) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_secret secret = {0};
    options.flags = MEMGUARD_NO_THREAD;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_random(vault, SIZE, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    if (prepares != NULL) CHECK_STATUS(memguard_vault_prepare(vault, 1, 1), MEMGUARD_OK);
    confine();
    for (const uint64_t end = now_ms() + 30; now_ms() < end;)
        CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    return 0;
}

TEST(the_first_rekey_after_prepare_maps_nothing) {
    if (CHECK_SANITIZED) SKIP("a sanitizer makes system calls of its own");
    CHECK(check_exited(check_child(rekey_first_under_the_filter, &vault), 0));
    int killed = 0; /* on a busy machine the first re-key may have come before the filter */
    for (int i = 0; i < 20 && !killed; i++)
        killed = check_killed(check_child(rekey_first_under_the_filter, NULL), SIGSYS);
    CHECK(killed);
}

static int unlock_under_the_filter(void *unused) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    (void)unused;
    options.flags = MEMGUARD_NO_THREAD;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_random(vault, SIZE, MEMGUARD_SEALED, &shared[0]), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_prepare(vault, 1, 1), MEMGUARD_OK);
    confine();
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    for (const uint64_t end = now_ms() + 30; now_ms() < end;)
        CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    return 0;
}
TEST(a_vault_prepared_while_locked_is_unlocked_and_locked_without_other_calls) {
    if (CHECK_SANITIZED) SKIP("a sanitizer makes system calls of its own");
    CHECK(check_exited(check_child(unlock_under_the_filter, NULL), 0));
}

/* The housekeeper may not have run at all when the vault is there. */
static int confined_at_once(void *unused) {
    memguard_secret secret = {0};
    (void)unused;
    vault = vault_with_flags(0);
    CHECK_STATUS(memguard_secret_random(vault, SIZE, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_prepare(vault, 1, 1), MEMGUARD_OK);
    confine();
    const struct timespec nap = {0, 5000000};
    (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
    (void)syscall(SYS_exit_group, atomic_load(&check_bad) != 0);
    return 1;
}
TEST(a_filter_right_after_the_first_vault_meets_no_beginning_of_the_housekeeper) {
    if (CHECK_SANITIZED) SKIP("a sanitizer makes system calls of its own");
    for (int i = 0; i < 50; i++)
        CHECK(check_exited(check_child(confined_at_once, NULL), 0));
}

/* ---- the tour, for strace ---- */

/* In the phase `host` this program makes calls of its own. */
static void phase(const char *name) { (void)!syscall(SYS_write, -1, name, strlen(name)); }

static void tour_making(uint32_t backend) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_scope scope = {0};
    options.backend = backend;
    options.rekey_ms = 10;
    options.flags = MEMGUARD_RAISE_LIMIT;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        const size_t sizes[] = {1, 48, 5000, 300000};
        for (int i = 0; i < 4; i++) {
            memguard_secret secret = {0};
            memguard_view view = {0};
            const memguard_limits limits = {.size = sizeof limits, .ttl_ms = 60000, .uses = 100, .seal_ms = 50000};
            CHECK_STATUS(memguard_secret_random(vault, sizes[i], rest, &secret), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_OK);
            CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_rest(secret, (rest + 1) % RESTS), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_resize(secret, 2 * sizes[i]), MEMGUARD_OK);
        }
    }
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    usleep(50000);
}

static void *purge(void *unused) {
    (void)unused;
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_ERR_REVOKED);
    return NULL;
}

static void tour_purging(void) {
    memguard_secret secrets[RESTS];
    memguard_view views[RESTS] = {{0}};
    make_secrets(secrets);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK_STATUS(memguard_secret_acquire(secrets[rest], MEMGUARD_READ, &views[rest]), MEMGUARD_OK);
    memguard_secret again[RESTS];
    for (uint32_t rest = 0; rest < RESTS; rest++)
        again[rest] = secrets[rest];
    pthread_t purger;
    /* Another thread's purge, so that the borrows of this one are taken away. */
    CHECK(pthread_create(&purger, NULL, purge, NULL) == 0);
    CHECK(pthread_join(purger, NULL) == 0);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK_STATUS(memguard_view_release(&views[rest]), MEMGUARD_ERR_REVOKED);
        CHECK_STATUS(memguard_secret_freeze(again[rest]), MEMGUARD_ERR_STALE);
    }
}

static void tour_streams(int socket) {
    static unsigned char bytes[100000];
    memguard_stream stream = {0};
    memguard_large large = {0};
    uint64_t moved = 0;
    size_t got = 0;
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(stream, bytes, sizeof bytes), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_read(stream, bytes, 100, &got), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_fill(stream, socket, UINT64_MAX, &moved), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_drain(stream, socket, 1000, &moved), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_create(vault, 10 * sizeof bytes, NULL, &large), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_write_at(large, 12345, bytes, sizeof bytes), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_to_fd(large, 12345, 1000, socket), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
}

static void *write_late(void *descriptor) {
    usleep(300000); /* longer than the library waits at a time */
    CHECK(write(*(int *)descriptor, "late", 4) == 4);
    return NULL;
}

static void tour_waiting(const int ends[2]) {
    pthread_t writer;
    int end = ends[1];
    memguard_secret secret = {0};
    CHECK(pthread_create(&writer, NULL, write_late, &end) == 0);
    CHECK_STATUS(memguard_secret_read_exact(vault, ends[0], 4, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK(pthread_join(writer, NULL) == 0);
}

/* Answers when the terminal hides what is typed. */
static void *answer(void *terminal) {
    const int master = *(int *)terminal;
    struct termios modes;
    while (tcgetattr(master, &modes) == 0 && (modes.c_lflag & ECHO) != 0)
        sched_yield();
    CHECK(write(master, "answer\n", 7) == 7);
    return NULL;
}

/* We have no controlling terminal: opening this one makes it ours. */
static void tour_terminal(void) {
    memguard_secret secret = {0};
    pthread_t typist;
    phase("phase host");
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDWR);
    CHECK(slave >= 0);
    CHECK(pthread_create(&typist, NULL, answer, &master) == 0);
    phase("phase io");
    CHECK_STATUS(memguard_prompt(vault, NULL, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK(pthread_join(typist, NULL) == 0);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

/* Both ways of output, a reader that is gone, input that comes late, a prompt without a terminal (or without an answer there). */
static void tour_io(void) {
    int pipe_ends[2], sockets[2];
    memguard_secret secret = {0}, back = {0};
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    phase("phase host");
    CHECK(setsid() >= 0 ||
          getsid(0) == getpid()); /* no terminal of ours: the last prompt reads standard input, which is empty */
    CHECK(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0);
    phase("phase io");
    CHECK_STATUS(memguard_secret_random(vault, SIZE, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_write(secret, pipe_ends[1]), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_read_exact(vault, pipe_ends[0], SIZE, MEMGUARD_SEALED, &back), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_write(secret, sockets[1]), MEMGUARD_OK);
    tour_waiting(pipe_ends);
    phase("phase host");
    CHECK(shutdown(sockets[1], SHUT_WR) == 0 && close(pipe_ends[0]) == 0);
    phase("phase io");
    CHECK_STATUS(memguard_secret_read_all(vault, sockets[0], 300000, MEMGUARD_COMPACT, &back), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_write(secret, pipe_ends[1]), MEMGUARD_ERR_IO);
    tour_streams(sockets[0]);
    options.flags = MEMGUARD_PROMPT_DESCRIPTORS;
    options.input = sockets[0];
    options.output = STDOUT_FILENO;
    CHECK_STATUS(memguard_prompt(vault, &options, MEMGUARD_SEALED, &back), MEMGUARD_ERR_SHORT);
    CHECK_STATUS(memguard_prompt(vault, NULL, MEMGUARD_SEALED, &back), MEMGUARD_ERR_SHORT);
    tour_terminal();
}

static int tour_all(void) {
    phase("phase making");
    tour_making(MEMGUARD_BACKEND_AUTO);
    memguard_vault *first = vault;
    tour_making(MEMGUARD_BACKEND_LOCKED);
    phase("phase thread");
    CHECK_STATUS(memguard_call_scrubbed(nothing, NULL, NULL), MEMGUARD_OK);
    make_secrets(shared);
    make_secrets(own[0]);
    CHECK(borrow_each_way(shared[0], own[0][0]) == 0);
    CHECK_STATUS(memguard_vault_prepare(vault, 8, 2), MEMGUARD_OK);
    phase("phase prepared");
    for (const uint64_t end = now_ms() + 50; now_ms() < end;)
        for (int rest = 0; rest < RESTS; rest++)
            CHECK(borrow_each_way(shared[rest], own[0][rest]) == 0);
    tour_io();
    phase("phase purging");
    tour_purging();
    phase("phase ending");
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&first), MEMGUARD_OK);
    phase("phase host");
    return atomic_load(&check_bad) != 0;
}

/* ---- tours of memguard/process.h: each ends the process in its own way ---- */

static memguard_view lent;

/* A vault with an open view and another thread that waits: something to wipe, somebody to stop. */
static void settle_in(uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    pthread_t other;
    const struct rlimit no_core = {0, 0};
    options.flags = flags;
    phase("phase host");
    CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0);
    phase((flags & MEMGUARD_TRACK) != 0 ? "phase thread" : "phase making");
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    make_secrets(shared);
    CHECK_STATUS(memguard_secret_acquire(shared[0], MEMGUARD_READ, &lent), MEMGUARD_OK);
    atomic_store(&ready, WORKERS - 1);
    make_secrets(own[0]);
    CHECK(pthread_create(&other, NULL, work, own[0]) == 0);
    while (atomic_load(&ready) < WORKERS)
        sched_yield();
}

static void end_of_tour(int number, void *arg) {
    (void)number;
    (void)arg;
}

/* Hardened last: then /proc/self is closed to us. The signal goes to this thread, the end comes from the library's. */
static int tour_signal(void) {
    const int caught[] = {SIGTERM, SIGHUP};
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    settle_in(0);
    phase("phase process");
    options.exit_code = MEMGUARD_EXIT_ZERO;
    options.wait_ms = 10;
    CHECK_STATUS(memguard_catch_signal(caught, 2, end_of_tour, NULL, &options), MEMGUARD_OK);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK);
    CHECK_STATUS(memguard_crash_stack(), MEMGUARD_OK);
    CHECK_STATUS(memguard_catch_signal(caught, 2, end_of_tour, NULL, &options), MEMGUARD_OK);
    const memguard_status hardened = memguard_harden(MEMGUARD_HARDEN_ALL, &report); /* one may be refused */
    CHECK(hardened == MEMGUARD_OK || hardened == MEMGUARD_ERR_UNSUPPORTED || hardened == MEMGUARD_ERR_SYSTEM);
    if (atomic_load(&check_bad) != 0) return 1;
    (void)syscall(SYS_tgkill, getpid(), gettid(), SIGTERM);
    for (;;)
        sched_yield();
}

static int tour_crash(void) {
    settle_in(0);
    phase("phase process");
    CHECK_STATUS(memguard_catch_crash(MEMGUARD_CRASH_CORE), MEMGUARD_OK);
    return ((volatile char *)lent.data)[lent.size]; /* a guard page */
}

static int tour_exit(void) {
    settle_in(0);
    phase("phase process");
    memguard_safe_exit(atomic_load(&check_bad) != 0);
}

static int tour_panic(void) {
    settle_in(0);
    phase("phase process");
    memguard_safe_panic("%s", "the end of the tour");
}

static void count_lost(const memguard_lost *lost, void *arg) { *(size_t *)arg += lost->bytes; }

/* Pages of all kinds to look through: private and shared. */
static int tour_sweep(void) {
    memguard_sweep result = MEMGUARD_SWEEP_INIT;
    size_t bytes = 0;
    settle_in(MEMGUARD_TRACK);
    phase("phase host");
    const void *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    phase("phase sweep");
    CHECK_STATUS(memguard_lost_list(vault, count_lost, &bytes), MEMGUARD_OK);
    CHECK_STATUS(memguard_lost_sweep(vault, NULL, &result), MEMGUARD_OK);
    CHECK(bytes == (size_t)2 * RESTS * SIZE && result.looked_at == (uint64_t)2 * RESTS && result.threads == 1);
    phase("phase host");
    return atomic_load(&check_bad) != 0;
}

/* ---- a tour of MEMGUARD_FORK_COPY: the child goes on alone, when its parent is gone ---- */

static int tour_copy(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    int ends[2];
    char byte = 0;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.backend = MEMGUARD_BACKEND_LOCKED;
    phase("phase making");
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    make_secrets(shared);
    make_secrets(own[0]);
    phase("phase host");
    CHECK(pipe(ends) == 0);
    phase("phase fork");
    const pid_t child = fork();
    phase("phase host");
    if (child != 0) return child < 0 || atomic_load(&check_bad) != 0;
    CHECK(close(ends[1]) == 0 && read(ends[0], &byte, 1) == 0); /* the parent's end is closed: it has exited */
    phase("phase settling");
    for (int rest = 0; rest < RESTS; rest++)
        CHECK(borrow_each_way(shared[rest], own[0][rest]) == 0);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    phase("phase host");
    puts(atomic_load(&check_bad) == 0 ? "the child was right" : "the child was wrong");
    return 0;
}

static const struct {
    const char *name;
    int (*go)(void);
} tours[] = {{"all", tour_all},     {"signal", tour_signal}, {"crash", tour_crash}, {"exit", tour_exit},
             {"panic", tour_panic}, {"sweep", tour_sweep},   {"copy", tour_copy}};

static int tour(const char *name) {
    for (size_t i = 0; i < sizeof tours / sizeof tours[0]; i++)
        if (strcmp(tours[i].name, name) == 0) return tours[i].go();
    return 2;
}

int main(int argc, char **argv) {
    if (argc > 1) return tour(argv[1]);
    RUN(after_prepare_only_the_listed_calls_are_made);
    RUN(without_prepare_the_same_filter_kills);
    RUN(the_first_rekey_after_prepare_maps_nothing);
    RUN(a_filter_right_after_the_first_vault_meets_no_beginning_of_the_housekeeper);
    RUN(a_vault_prepared_while_locked_is_unlocked_and_locked_without_other_calls);
    return check_end();
}
