/* The failure sweep of tests/fault/test_fault_sweep.c for streams and large secrets: one scenario, run again and again with call N of one entry of
 * the table of system calls failing, once or from then on, each run in a process of its own. After each call that failed: nothing has changed; the
 * same call succeeds when the failure is over; in the end everything is there, in order. */
#include "../unit/white.h"

#include "memguard/stream.h"

/* ---- what fails ---- */

enum entry { MMAP, MUNMAP, MPROTECT, MREMAP, MADVISE, MLOCK, MEMFD_SECRET, FTRUNCATE, CLOSE, GETRANDOM };

struct fault {
    enum entry entry;
    int error;
    bool for_ever;
    uint32_t backend, flags;
};

static struct mg__sys_table real;
static struct fault fault;
static unsigned at, calls;
static bool armed, hit;
static pthread_t main_thread;

static bool fails(enum entry entry) {
    if (!pthread_equal(pthread_self(), main_thread) || !armed || entry != fault.entry) return false;
    calls++;
    if (calls != at && !(fault.for_ever && calls > at)) return false;
    hit = true;
    errno = fault.error;
    return true;
}

static void *my_mmap(void *a, size_t n, int p, int f, int d, long o) { return fails(MMAP) ? MAP_FAILED : real.mmap(a, n, p, f, d, o); }
static int my_munmap(void *a, size_t n) { return fails(MUNMAP) ? -1 : real.munmap(a, n); }
static int my_mprotect(void *a, size_t n, int p) { return fails(MPROTECT) ? -1 : real.mprotect(a, n, p); }
static void *my_mremap(void *a, size_t n, size_t m, int f, void *to) { return fails(MREMAP) ? MAP_FAILED : real.mremap(a, n, m, f, to); }
static int my_madvise(void *a, size_t n, int advice) { return fails(MADVISE) ? -1 : real.madvise(a, n, advice); }
static int my_mlock(const void *a, size_t n) { return fails(MLOCK) ? -1 : real.mlock(a, n); }
static int my_memfd_secret(unsigned flags) { return fails(MEMFD_SECRET) ? -1 : real.memfd_secret(flags); }
static int my_ftruncate(int d, long n) { return fails(FTRUNCATE) ? -1 : real.ftruncate(d, n); }
static int my_close(int d) { return real.close(d) | (fails(CLOSE) ? -1 : 0); }
static long my_getrandom(void *p, size_t n, unsigned f) { return fails(GETRANDOM) ? -1 : real.getrandom(p, n, f); }

static void replace_table(void) {
    real = mg__sys_table;
    mg__sys_table.mmap = my_mmap;
    mg__sys_table.munmap = my_munmap;
    mg__sys_table.mprotect = my_mprotect;
    mg__sys_table.mremap = my_mremap;
    mg__sys_table.madvise = my_madvise;
    mg__sys_table.mlock = my_mlock;
    mg__sys_table.memfd_secret = my_memfd_secret;
    mg__sys_table.ftruncate = my_ftruncate;
    mg__sys_table.close = my_close;
    mg__sys_table.getrandom = my_getrandom;
    main_thread = pthread_self();
}

/* ---- calls, their failures, and the model ---- */

enum { MOST = 60000, LARGE_BYTES = 50000 };
static memguard_vault *vault;
static memguard_stream stream;
static memguard_large large;
static size_t written, read_so_far;
static unsigned char model[MOST], buffer[MOST];

/* Whether the call succeeded. When it failed: a failure below is the cause, and the status one that the header lists. */
static int is_done(memguard_status status) {
    static const uint32_t listed = 1U << MEMGUARD_ERR_LOCK_LIMIT | 1U << MEMGUARD_ERR_MAP_LIMIT | 1U << MEMGUARD_ERR_MEMORY |
                                   1U << MEMGUARD_ERR_RANDOM | 1U << MEMGUARD_ERR_SYSTEM;
    if (status == MEMGUARD_OK) return 1;
    CHECK(hit);
    if (!CHECK(status > 0 && (listed >> status & 1) != 0)) printf("  %s\n", memguard_status_name(status));
    return 0;
}

/* Does something; where that fails: nothing has changed, and without failures it succeeds. */
#define DO(call, unchanged)                                                                                            \
    do {                                                                                                               \
        if (!is_done(call)) {                                                                                          \
            armed = false;                                                                                             \
            CHECK(unchanged);                                                                                          \
            CHECK_STATUS(call, MEMGUARD_OK);                                                                           \
            armed = true;                                                                                              \
        }                                                                                                              \
    } while (0)

static int size_is(size_t bytes) {
    uint64_t size = UINT64_MAX;
    return memguard_stream_size(stream, &size) == MEMGUARD_OK && size == bytes;
}

static int large_is_right(void) {
    memset(buffer, 1, LARGE_BYTES);
    return memguard_large_read_at(large, 0, buffer, LARGE_BYTES) == MEMGUARD_OK && memcmp(buffer, model, LARGE_BYTES) == 0;
}

static int is_next(const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++)
        if (p[i] != pattern_byte(3, read_so_far + i)) return 0;
    return 1;
}

static void put(size_t bytes) {
    for (size_t i = 0; i < bytes; i++) buffer[i] = pattern_byte(3, written + i);
    DO(memguard_stream_write(stream, buffer, bytes), size_is(written - read_so_far));
    written += bytes;
}

static void get(size_t bytes) {
    size_t got = 0;
    memset(buffer, 1, bytes);
    DO(memguard_stream_read(stream, buffer, bytes, &got), got == 0 && size_is(written - read_so_far));
    CHECK(got != 0 && is_next(buffer, got));
    read_so_far += got;
}

static int look(const void *bytes, size_t size, void *seen) {
    *(size_t *)seen = size;
    return is_next(bytes, size);
}

static void use(size_t most) {
    size_t seen = 0;
    int right = 0;
    DO(memguard_stream_use(stream, most, look, &seen, &right), seen == 0 && size_is(written - read_so_far));
    CHECK(seen != 0 && right == 1);
    read_so_far += seen;
}

static void next(uint32_t flags) {
    memguard_secret secret = {0};
    size_t seen = 0;
    int right = 0;
    DO(memguard_stream_next(stream, flags, &secret), secret.id == 0 && size_is(written - read_so_far));
    DO(memguard_secret_use(secret, look, &seen, &right), 1); /* CLOSED: it may fail after it has shown them */
    CHECK(seen != 0 && right == 1);
    read_so_far += seen;
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

static void write_large(size_t offset, size_t bytes, uint32_t seed) {
    static unsigned char source[MOST];
    fill(source, bytes, seed);
    DO(memguard_large_write_at(large, offset, source, bytes), large_is_right());
    memcpy(model + offset, source, bytes);
}

static int look_at_large(const void *bytes, size_t size, void *offset) {
    return memcmp(bytes, model + *(size_t *)offset, size) == 0;
}

static void use_large(size_t offset, size_t bytes) {
    int right = 0;
    DO(memguard_large_use_at(large, offset, bytes, look_at_large, &offset, &right), right == 0);
    CHECK(right == 1);
}

static void read_large(size_t offset, size_t bytes) {
    DO(memguard_large_read_at(large, offset, buffer, bytes), 1);
    CHECK(memcmp(buffer, model + offset, bytes) == 0);
}

static void resize_large(void) {
    DO(memguard_large_resize(large, 20001), large_is_right());
    DO(memguard_large_resize(large, LARGE_BYTES), 1);
    memset(model + 20001, 0, LARGE_BYTES - 20001);
}

/* ---- the scenario ---- */

static void use_the_stream(void) {
    DO(memguard_stream_create(vault, NULL, &stream), stream.id == 0);
    put(100);
    put(40000);
    get(10);
    use(50);
    use(20000);
    DO(memguard_vault_tick(vault, NULL), 1);
    next(MEMGUARD_CLOSED);
    put(30);
    DO(memguard_stream_flush(stream), size_is(written - read_so_far));
    put(30);
    get(1);
    next(MEMGUARD_SEALED);
    put(1000);
}

static void use_the_large(void) {
    DO(memguard_large_create(vault, LARGE_BYTES, NULL, &large), large.id == 0);
    write_large(100, 40000, 1);
    write_large(30000, 50, 2);
    read_large(30010, 60);
    use_large(20000, 100);
    use_large(10000, 16384);
    resize_large();
    write_large(10, LARGE_BYTES - 20, 3);
}

static void lock_and_unlock(void) {
    DO(memguard_vault_lock(vault, white_kek), size_is(written - read_so_far) && large_is_right());
    DO(memguard_vault_unlock(vault, white_kek), 1);
}

/* All is forgotten, also where there is no new key. */
static void purge(void) {
    memguard_stream doomed = {0};
    size_t got = 0;
    DO(memguard_stream_create(vault, NULL, &doomed), doomed.id == 0);
    DO(memguard_stream_write(doomed, model, 20000), 1);
    DO(memguard_stream_read(doomed, buffer, 10, &got), got == 0);
    DO(memguard_vault_purge(vault, 0), memguard_stream_read(doomed, buffer, 10, &got) == MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_stream_write(doomed, model, 1), MEMGUARD_ERR_STALE);
}

static void scenario(void) {
    use_the_stream();
    use_the_large();
    lock_and_unlock();
    DO(memguard_stream_finish(stream), size_is(written - read_so_far));
    while (read_so_far < written) get(3000);
    size_t got = 0;
    armed = false;
    CHECK_STATUS(memguard_stream_read(stream, buffer, 1, &got), MEMGUARD_ERR_END);
    CHECK(large_is_right());
    armed = true;
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    purge();
    armed = false;
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static int run_once(void *arg) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    struct rlimit limit = {8U << 20, 8U << 20};
    (void)arg;
    alarm(30);
    unsetenv("MEMGUARD_BACKEND");
    if (drop_memlock(8U << 20) != 0 || setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 3;
    options.backend = fault.backend;
    options.flags = fault.flags;
    options.rekey_ms = 3600000;
    options.lease_us = 1000000;
    if (!CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK)) return 4;
    if (fault.flags == MEMGUARD_NO_THREAD) CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    replace_table();
    armed = true;
    scenario();
    return hit ? 0 : 42;
}

static void sweep(const struct fault *what) {
    fault = *what;
    for (at = 1; at < 3000; at += CHECK_SANITIZED && at > 6 ? 11 : 1) {
        const int status = check_child(run_once, NULL);
        if (check_exited(status, 42)) break;
        if (!CHECK(check_exited(status, 0))) {
            printf("  ^ call %u, errno %d, %s, backend %u, flags %u\n", at, what->error, what->for_ever ? "for ever" : "once",
                   what->backend, what->flags);
            break;
        }
    }
    CHECK(at < 3000);
}

static void sweep_all(enum entry entry, int error) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        sweep(&(struct fault){entry, error, for_ever, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD});
        sweep(&(struct fault){entry, error, for_ever, MEMGUARD_BACKEND_AUTO, 0});
        sweep(&(struct fault){entry, error, for_ever, MEMGUARD_BACKEND_AUTO, MEMGUARD_STRICT});
    }
}

#define SWEEP(name, entry, error)                                                                                      \
    TEST(name##_fails) { sweep_all(entry, error); }

SWEEP(mmap, MMAP, ENOMEM)
SWEEP(munmap, MUNMAP, ENOMEM)
SWEEP(mprotect, MPROTECT, ENOMEM)
SWEEP(mremap, MREMAP, ENOMEM)
SWEEP(madvise, MADVISE, ENOMEM)
SWEEP(mlock, MLOCK, ENOMEM)
SWEEP(memfd_secret, MEMFD_SECRET, EMFILE)
SWEEP(ftruncate, FTRUNCATE, EINVAL)
SWEEP(close, CLOSE, EIO)
SWEEP(getrandom, GETRANDOM, ENOSYS)

/* A control: without failures the scenario runs to its end. */
TEST(scenario_runs_clean_without_failures) {
    at = 0;
    fault = (struct fault){MMAP, ENOMEM, false, MEMGUARD_BACKEND_AUTO, 0};
    CHECK(check_exited(check_child(run_once, NULL), 42));
}

int main(void) {
    RUN(scenario_runs_clean_without_failures);
    RUN(mmap_fails);
    RUN(munmap_fails);
    RUN(mprotect_fails);
    RUN(mremap_fails);
    RUN(madvise_fails);
    RUN(mlock_fails);
    RUN(memfd_secret_fails);
    RUN(ftruncate_fails);
    RUN(close_fails);
    RUN(getrandom_fails);
    return check_end();
}
