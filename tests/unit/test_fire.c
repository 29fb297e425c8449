/* test_fire.c: purges and emergency wipes under fire, seen from inside: what is left in the pages. LOCKED vaults, so that the kernel
 * shows every page of the process (/proc/self/mem), also those without access. */
#include "unit/white.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum { SIZE = 100, SEED = 4711, WATCH_S = 60 };

/* ---- the watchdog ---- */

static void bark(int number) {
    static const char line[] = "watchdog: it hangs\n";
    (void)number;
    const long told = write(STDERR_FILENO, line, sizeof line - 1);
    (void)told;
    abort();
}

static void watch(void) {
    signal(SIGALRM, bark);
    alarm(WATCH_S);
}

/* ---- looking through the kernel ---- */

static int memory = -1; /* /proc/self/mem */

static int kernel_sees(const void *at, void *to, size_t bytes) {
    return pread(memory, to, bytes, (off_t)(uintptr_t)at) == (ssize_t)bytes;
}

/* 1 when the kernel sees the pattern there, whatever access there is. */
static int pattern_at(const void *at, size_t bytes, uint32_t seed) {
    unsigned char seen[SIZE];
    const int same = kernel_sees(at, seen, bytes) && is_pattern(seen, bytes, seed);
    memset(seen, 0, sizeof seen);
    return same;
}

/* ---- a purge and a revocation by limits at once ---- */

static struct mg__sys_table real;
static _Atomic int stage; /* 1: armed, 2: somebody is about to take memory away, 3: it may go on */
static pthread_t main_thread;

static void wait_for_stage(int wanted, unsigned most_ms) {
    for (unsigned ms = 0; atomic_load(&stage) != wanted && ms < most_ms; ms++)
        sleep_ms(1);
}

static void *stopping_mremap(void *address, size_t bytes, size_t new_bytes, int flags, void *to) {
    int armed = 1;
    if (!pthread_equal(pthread_self(), main_thread) && atomic_compare_exchange_strong(&stage, &armed, 2))
        wait_for_stage(3, 300);
    return real.mremap(address, bytes, new_bytes, flags, to);
}

static void *hold_until_told(void *arg) {
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(*(memguard_secret *)arg, MEMGUARD_READ, &view), MEMGUARD_OK);
    *(memguard_secret *)arg = (memguard_secret){(uintptr_t)view.data};
    atomic_store(&stage, 1);
    wait_for_stage(4, 20000);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
    return NULL;
}

/* The housekeeper stands before the step that takes an overdue view away: `call` must not return before it is done. */
static void race_the_housekeeper(memguard_status (*call)(memguard_vault **vault), uint32_t rest) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_LOCKED, 0);
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_secret secret = make_secret(vault, SIZE, rest, SEED), where = secret;
    pthread_t holder;
    watch();
    main_thread = pthread_self();
    atomic_store(&stage, 0);
    real = mg__sys_table;
    mg__sys_table.mremap = stopping_mremap;
    CHECK(pthread_create(&holder, NULL, hold_until_told, &where) == 0);
    wait_for_stage(1, 5000);
    limits.ttl_ms = 1, limits.grace_ms = 1;
    mg__entry_lock(entry_of(secret)); /* limits cannot be set while it is borrowed: from behind, then */
    CHECK_STATUS(mg__limits_set(mg__vault_find(vault), entry_of(secret), &limits), MEMGUARD_OK);
    mg__entry_unlock(entry_of(secret));
    wait_for_stage(2, 5000);
    const void *at = (const void *)(uintptr_t)where.id;
    CHECK(atomic_load(&stage) == 2 && pattern_at(at, SIZE, SEED)); /* a control: it is there still */
    CHECK_STATUS(call(&vault), MEMGUARD_OK);
    CHECK(!pattern_at(at, SIZE, SEED));
    atomic_store(&stage, 4);
    pthread_join(holder, NULL);
    mg__sys_table = real;
    if (vault != NULL) CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static memguard_status purge_now(memguard_vault **vault) { return memguard_vault_purge(*vault, 0); }
static memguard_status lock_now(memguard_vault **vault) { return memguard_vault_lock(*vault, white_kek); }
static memguard_status destroy_now(memguard_vault **vault) { return memguard_vault_destroy(vault); }

TEST(a_purge_returns_after_a_revocation_by_limits_that_is_under_way) {
    race_the_housekeeper(purge_now, MEMGUARD_SEALED);
    race_the_housekeeper(purge_now, MEMGUARD_MAPPED);
}
TEST(a_lock_returns_after_a_revocation_by_limits_that_is_under_way) { race_the_housekeeper(lock_now, MEMGUARD_CLOSED); }
TEST(a_destroyed_vault_has_no_revocation_by_limits_under_way) { race_the_housekeeper(destroy_now, MEMGUARD_SEALED); }

/* ---- an emergency wipe, from a handler that came at any moment; each in a child ---- */

enum { WORKERS = 8, MARKED = 16, STACK = 2 << 20, ARENA = (WORKERS + 2) * STACK };
static unsigned char *arena; /* all stacks but the first thread's: what a signal leaves there is the host's */
static memguard_vault *fired;
static memguard_secret marked[MARKED];
static volatile uint32_t marker; /* drawn at run time, so that no compiler puts the bytes into the program */
static atomic_int quick;         /* 1: the handler does not look */

static size_t marked_size(unsigned i) { return i % 2 ? 9000 : SIZE; }

static int is_marker(const unsigned char *at) { return is_pattern(at, 16, marker); }

/* Async-signal-safe, like all that the handler does. */
static unsigned markers_in(uintptr_t from, uintptr_t to) {
    static unsigned char seen[65536 + 16];
    const unsigned char first = pattern_byte(marker, 0);
    unsigned found = 0;
    for (uintptr_t at = from; at < to; at += 65536) {
        const size_t wanted = to - at < sizeof seen ? to - at : sizeof seen;
        if (at == ((uintptr_t)seen & ~(uintptr_t)4095)) continue;
        const ssize_t got = pread(memory, seen, wanted, (off_t)at);
        const unsigned char *end = got > 16 ? seen + got - 16 : seen;
        for (unsigned char *p = seen; p < end && (p = memchr(p, first, (size_t)(end - p))) != NULL; p++)
            if (is_marker(p)) found++;
        memguard_wipe(seen, got > 0 ? (size_t)got : 0);
    }
    return found;
}

static const char *hex(const char *text, uintptr_t *value) {
    for (*value = 0;; text++) {
        const int digit = *text >= '0' && *text <= '9'   ? *text - '0'
                          : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10
                                                         : -1;
        if (digit < 0) return text;
        *value = *value * 16 + (uintptr_t)digit;
    }
}

/* Markers anywhere but on stacks. */
static unsigned markers_in_memory(void) {
    static char maps[262144];
    unsigned found = 0;
    size_t length = 0;
    const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; file >= 0 && (got = read(file, maps + length, sizeof maps - 1 - length)) > 0;)
        length += (size_t)got;
    close(file);
    if (length == 0) return UINT32_MAX;
    for (const char *line = maps; line != NULL && *line != 0;
         line = memchr(line, '\n', (size_t)(maps + length - line))) {
        uintptr_t from = 0, to = 0;
        if (*line == '\n') line++;
        if (*line == 0) break;
        const char *rest = hex(line, &from);
        rest = hex(rest + 1, &to);
        const char *end = memchr(rest, '\n', (size_t)(maps + length - rest));
        const int is_stack = end != NULL && end - rest > 7 && memcmp(end - 7, "[stack]", 7) == 0;
        const int is_ours = from >= (uintptr_t)arena && from < (uintptr_t)arena + ARENA;
        const int is_reserve = rest[1] == '-' && to - from >= 1 << 20; /* no access, longer than any marked secret */
        if (!is_stack && !is_ours && !is_reserve) found += markers_in(from, to);
    }
    return found;
}

/* As _exit(2), which AddressSanitizer precedes with a look at the limits of the stack: glibc allocates memory for that,
 * and the interrupted code may just be in the allocator. */
static void end_now(int code) { (void)syscall(SYS_exit_group, code); }

static void wipe_all(int number) {
    static const char residue[] = "a marker is left\n";
    const struct timespec nap = {0, 20000000};
    (void)number;
    memguard_emergency_wipe();
    if (atomic_load(&quick)) end_now(0);
    /* Others end what they were just copying; on a busy machine it is a while before they get that far. */
    for (int again = 0; again < 50; again++) {
        nanosleep(&nap, NULL);
        memguard_emergency_wipe();
        if (markers_in_memory() == 0) end_now(0);
    }
    const long told = write(STDOUT_FILENO, residue, sizeof residue - 1);
    (void)told;
    end_now(2);
}

static void work_once(unsigned i) {
    memguard_view view = {0};
    memguard_secret own = {0};
    memguard_status status = memguard_secret_use(marked[i % MARKED], look_at_pattern, &(uint32_t){marker}, NULL);
    status |= memguard_secret_acquire(marked[(i + 3) % MARKED], i % 3 ? MEMGUARD_READ : MEMGUARD_WRITE, &view);
    status |= memguard_view_release(&view);
    status |= memguard_secret_rest(marked[(i + 5) % MARKED], i / 7 % 4);
    /* Now and then longer than what is kept: mapped and unmapped. */
    status |= memguard_secret_random(fired, i % 256 ? 100 + i % 20000 : 3 << 20, i % 4, &own);
    status |= memguard_secret_destroy(&own);
    (void)status; /* after the wipe all fail, before it some are busy */
}

static _Noreturn void *work_for_ever(void *arg) {
    for (unsigned i = *(unsigned *)arg;; i++) {
        work_once(i);
        free(malloc(100 + i % 5000));
    }
}

static int start_workers(void) {
    static unsigned starts[WORKERS];
    pthread_attr_t attributes;
    pthread_t thread;
    for (unsigned i = 0; i < WORKERS; i++) {
        starts[i] = i * 1000;
        if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstack(&attributes, arena + i * STACK, STACK) != 0)
            return 0;
        if (pthread_create(&thread, &attributes, work_for_ever, &starts[i]) != 0) return 0;
    }
    return 1;
}

static int make_scene(uint32_t backend) {
    alarm(30); /* a hang: killed by it */
    signal(SIGALRM, SIG_DFL);
    marker = (uint32_t)getpid();
    arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = backend;
    options.rekey_ms = 10;
    memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (arena == MAP_FAILED || memory < 0 || memguard_vault_create(&options, &fired) != MEMGUARD_OK) return 0;
    for (unsigned i = 0; i < MARKED; i++)
        marked[i] = make_secret(fired, marked_size(i), i / 2 % 4, marker);
    return 1;
}

struct shot {
    unsigned number;
    uint32_t backend;
    int looks, on_own_stack;
};

/* A handler comes after a random while, in whatever thread the kernel takes. */
static int fire_once(void *arg) {
    const struct shot *shot = arg;
    struct sigaction action = {.sa_handler = wipe_all, .sa_flags = shot->on_own_stack ? SA_ONSTACK : 0};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const long after_ns = 200000L + (long)(shot->number * 7919 % 97) * 100003L;
    const struct itimerspec once = {{0, 0}, {0, after_ns}};
    timer_t timer;
    atomic_store(&quick, !shot->looks);
    if (!make_scene(shot->backend)) return 77;
    if (shot->looks && markers_in_memory() == 0) return 3; /* a control */
    if (sigaction(SIGUSR1, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return 4;
    const stack_t own = {.ss_sp = arena + WORKERS * STACK, .ss_size = STACK};
    if (shot->on_own_stack && sigaltstack(&own, NULL) != 0) return 5;
    if (timer_settime(timer, 0, &once, NULL) != 0 || !start_workers()) return 6;
    for (unsigned i = 0;; i++)
        work_once(i);
}

static void fire(unsigned rounds, uint32_t backend, int looks, int on_own_stack) {
    for (unsigned i = 0; i < rounds && atomic_load(&check_bad) < 5; i++) {
        struct shot shot = {i, backend, looks, on_own_stack};
        const int status = check_child(fire_once, &shot);
        if (check_exited(status, 77)) SKIP("no vault of this kind to be had here");
        if (!CHECK(check_exited(status, 0))) printf("that was: shot %u, wait status 0x%x\n", i, (unsigned)status);
    }
}

enum { SHOTS = CHECK_SANITIZED ? 4 : 100, LOOKS = 10 };

TEST(an_emergency_wipe_at_any_moment_neither_hangs_nor_faults) { fire(SHOTS, MEMGUARD_BACKEND_LOCKED, 0, 0); }
TEST(an_emergency_wipe_of_secretmem_at_any_moment_neither_hangs_nor_faults) {
    fire(SHOTS, MEMGUARD_BACKEND_SECRETMEM, 0, 1);
}
TEST(after_an_emergency_wipe_at_any_moment_no_page_has_the_marker) {
    if (CHECK_SANITIZED) SKIP("a sanitizer keeps copies of its own");
    fire(LOOKS, MEMGUARD_BACKEND_LOCKED, 1, 1);
}

/* ---- the same at chosen moments ---- */

/* Every lock there is, held by the code that the handler has interrupted. */
static int wipe_with_all_locks_held(void *arg) {
    memguard_view view = {0};
    struct mg__entry *entry = NULL;
    struct mg__bench *bench = NULL;
    (void)arg;
    if (!make_scene(MEMGUARD_BACKEND_LOCKED)) return 77;
    struct mg__vault *vault = mg__vault_find(fired);
    CHECK_STATUS(memguard_secret_acquire(marked[0], MEMGUARD_READ, &view), MEMGUARD_OK);
    CHECK_STATUS(mg__entry_seize(marked[1].id, &entry), MEMGUARD_OK);
    CHECK_STATUS(mg__bench_take(MG_KIND_LOCKED, &bench), MEMGUARD_OK);
    mg__entry_lock(entry_of(marked[0]));
    mg__mutex_lock(&vault->control);
    mg__mutex_lock(&vault->coffer.mutex);
    mg__sys_hold_forks();
    struct mg__use_page *page = mg__use_page_take(MG_KIND_LOCKED);
    memset(bench->low, 1, 4096);
    memguard_emergency_wipe();
    CHECK(page != NULL && !is_pattern(view.data, view.size, marker));
    CHECK(is_all(bench->low, 4096, 0)); /* this thread's own: nobody waits for it */
    memguard_emergency_wipe();
    fflush(stdout);
    _exit(atomic_load(&check_bad) != 0);
}

TEST(an_emergency_wipe_with_every_lock_held_ends) {
    const int status = check_child(wipe_with_all_locks_held, NULL);
    if (check_exited(status, 77)) SKIP("no vault to be had here");
    CHECK(check_exited(status, 0));
}

/* A cipher call of another thread, as it were: it needs its stack until it returns. */
static void body_slow(void *arg) {
    volatile unsigned char on_bench[64];
    memset((void *)(uintptr_t)on_bench, 7, sizeof on_bench);
    atomic_store(&stage, 5);
    sleep_ms(30);
    *(int *)arg = on_bench[63];
}

static void *call_slowly(void *arg) {
    CHECK_STATUS(mg__bench_call(MG_KIND_LOCKED, body_slow, arg, MG_BENCH_DEEP), MEMGUARD_OK);
    atomic_store(&stage, 6);
    return NULL;
}

static int wipe_beside_a_cipher_call(void *arg) {
    pthread_t thread;
    int seen = 0;
    (void)arg;
    if (!make_scene(MEMGUARD_BACKEND_LOCKED)) return 77;
    CHECK(pthread_create(&thread, NULL, call_slowly, &seen) == 0);
    wait_for_stage(5, 5000);
    memguard_emergency_wipe();
    wait_for_stage(6, 5000);
    CHECK(atomic_load(&stage) == 6 && seen == 7);
    uint32_t seed = marker;
    CHECK_STATUS(memguard_secret_use(marked[0], look_at_pattern, &seed, NULL), MEMGUARD_ERR_STATE);
    memguard_secret other = {0};
    CHECK_STATUS(memguard_secret_copy(fired, "x", 1, MEMGUARD_SEALED, &other), MEMGUARD_ERR_STATE);
    fflush(stdout);
    _exit(atomic_load(&check_bad) != 0);
}

TEST(an_emergency_wipe_lets_a_cipher_call_of_another_thread_end_and_no_new_one_begin) {
    if (CHECK_SANITIZED) SKIP("a sanitizer does not follow a sleep on a private stack");
    const int status = check_child(wipe_beside_a_cipher_call, NULL);
    if (check_exited(status, 77)) SKIP("no vault to be had here");
    CHECK(check_exited(status, 0));
}

int main(void) {
    /* Those with children come before this process has a vault. */
    RUN(an_emergency_wipe_with_every_lock_held_ends);
    RUN(an_emergency_wipe_lets_a_cipher_call_of_another_thread_end_and_no_new_one_begin);
    RUN(an_emergency_wipe_at_any_moment_neither_hangs_nor_faults);
    RUN(an_emergency_wipe_of_secretmem_at_any_moment_neither_hangs_nor_faults);
    RUN(after_an_emergency_wipe_at_any_moment_no_page_has_the_marker);
    memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    RUN(a_purge_returns_after_a_revocation_by_limits_that_is_under_way);
    RUN(a_lock_returns_after_a_revocation_by_limits_that_is_under_way);
    RUN(a_destroyed_vault_has_no_revocation_by_limits_under_way);
    return check_end();
}
