/* Operations with a second thread: one that does half of the work, or one that is just busy, so that changes of access have to reach
 * its processor. Threads are started and ended outside of the timed part. */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static pthread_t thread;
static struct {
    _Alignas(BENCH_APART) _Atomic int ready;
    _Alignas(BENCH_APART) _Atomic int go;
    _Alignas(BENCH_APART) _Atomic int done;
    _Alignas(BENCH_APART) size_t half;
} shared;

static void wait_for(_Atomic int *flag) {
    /* Where there is one processor, or others use it, spinning alone would take a whole time slice. */
    for (unsigned spins = 0; atomic_load_explicit(flag, memory_order_acquire) == 0; spins++)
        if (spins > 1000) (void)sched_yield();
}

static void start_thread(void *(*body)(void *), void *arg) {
    atomic_store(&shared.ready, 0);
    atomic_store(&shared.go, 0);
    atomic_store(&shared.done, 0);
    if (pthread_create(&thread, NULL, body, arg) != 0) bench_fail("pthread_create");
    wait_for(&shared.ready);
}

static void join_thread(void) {
    if (pthread_join(thread, NULL) != 0) bench_fail("pthread_join");
}

static const char *start_one(const struct bench_op *op) { return op->start != NULL ? op->start(op->arg) : NULL; }

/* ---- one that takes half of the work ---- */

enum { TWO_LEAST = 1500, TWO_LEAST_FLIPS = 40 };

static void *do_half(void *arg) {
    const struct bench_two *two = arg;
    atomic_store(&shared.ready, 1);
    wait_for(&shared.go);
    two->there->run(shared.half, two->there->arg);
    atomic_store(&shared.done, 1);
    return NULL;
}

const char *bench_two_start(void *arg) {
    const struct bench_two *two = arg;
    const char *why = start_one(two->here);
    return why != NULL ? why : start_one(two->there);
}

void bench_two_before(size_t n, void *arg) {
    const struct bench_two *two = arg;
    shared.half = n / 2;
    if (two->here->before != NULL) two->here->before(n - n / 2, two->here->arg);
    if (two->there->before != NULL) two->there->before(n / 2, two->there->arg);
    start_thread(do_half, arg);
}

void bench_two_run(size_t n, void *arg) {
    const struct bench_two *two = arg;
    atomic_store(&shared.go, 1);
    two->here->run(n - n / 2, two->here->arg);
    wait_for(&shared.done);
}

void bench_two_after(size_t n, void *arg) {
    const struct bench_two *two = arg;
    join_thread();
    if (two->here->after != NULL) two->here->after(n - n / 2, two->here->arg);
    if (two->there->after != NULL) two->there->after(n / 2, two->there->arg);
}

/* One operation, and which one each of two threads runs. */
#define TWO_MOST(id, title, first, second, fewest, at_most)                                                            \
    static struct bench_two pair_##id = {&(first), &(second)};                                                         \
    const struct bench_op id = {.name = title ", 2 threads",                                                           \
                                .start = bench_two_start,                                                              \
                                .run = bench_two_run,                                                                  \
                                .before = bench_two_before,                                                            \
                                .after = bench_two_after,                                                              \
                                .arg = &pair_##id,                                                                     \
                                .least = (fewest),                                                                     \
                                .most = (at_most),                                                                     \
                                .two = true}
#define TWO(id, title, first, second, fewest) TWO_MOST(id, title, first, second, fewest, 0)

TWO(bench_use_two, "use", bench_use_small, bench_use_other, TWO_LEAST);
TWO(bench_use_two_same, "use", bench_use_small, bench_use_again, TWO_LEAST);
TWO(bench_open_two, "secretbox_open_easy", bench_open_small, bench_open_other, TWO_LEAST);
TWO(bench_seal_two, "secretbox_easy", bench_seal_small, bench_seal_other, TWO_LEAST);
TWO_MOST(bench_take_two, "take", bench_take_small, bench_take_other, TWO_LEAST, 8192);
TWO(bench_mapped_two, "READ view", bench_read_mapped, bench_read_mapped_other, 4 * TWO_LEAST);
TWO(bench_mapped_two_same, "READ view", bench_read_mapped, bench_read_mapped_again, 4 * TWO_LEAST);
TWO(bench_compact_two, "READ view", bench_read_compact, bench_read_compact_other, 4 * TWO_LEAST);
TWO(bench_compact_two_same, "READ view", bench_read_compact, bench_read_compact_again, 4 * TWO_LEAST);
TWO(bench_copy_compact_two, "copy + destroy", bench_copy_compact, bench_copy_compact, TWO_LEAST);
TWO(bench_copy_closed_two, "copy + destroy", bench_copy_closed, bench_copy_closed, TWO_LEAST_FLIPS);
TWO(bench_read_sealed_two, "READ view", bench_read_sealed, bench_read_sealed_other, TWO_LEAST_FLIPS);
TWO(bench_sodium_malloc_two, "sodium_malloc + free", bench_sodium_malloc, bench_sodium_malloc, TWO_LEAST_FLIPS);
TWO(bench_flip_two, "mprotect pair + touch", bench_flip, bench_flip_other, TWO_LEAST_FLIPS);
TWO(bench_floor_add_two, "atomic add", bench_floor_add, bench_floor_add_other, 4 * TWO_LEAST);
TWO(bench_floor_add_two_same, "atomic add", bench_floor_add, bench_floor_add, 4 * TWO_LEAST);
#ifdef BENCH_HAVE_GCRYPT
TWO(bench_gcrypt_two, "gcry_malloc_secure + free", bench_gcrypt, bench_gcrypt, TWO_LEAST);
#else
const struct bench_op bench_gcrypt_two = {.name = "libgcrypt is not built in"};
#endif
#ifdef BENCH_HAVE_OPENSSL
TWO(bench_openssl_two, "OPENSSL_secure_malloc + free", bench_openssl, bench_openssl, TWO_LEAST);
#else
const struct bench_op bench_openssl_two = {.name = "OpenSSL is not built in"};
#endif
#ifdef BENCH_HAVE_BOTAN
TWO(bench_botan_two, "Botan secure_allocator", bench_botan, bench_botan, TWO_LEAST);
#else
const struct bench_op bench_botan_two = {.name = "Botan is not built in"};
#endif

/* ---- a busy one ---- */

static void *be_busy(void *arg) {
    (void)arg;
    atomic_store(&shared.ready, 1);
    while (atomic_load_explicit(&shared.done, memory_order_relaxed) == 0) {
    }
    return NULL;
}

static const char *start_beside(void *arg) { return start_one(arg); }

static void before_beside(size_t n, void *arg) {
    const struct bench_op *op = arg;
    if (op->before != NULL) op->before(n, op->arg);
    start_thread(be_busy, NULL);
}

static void run_beside(size_t n, void *arg) {
    const struct bench_op *op = arg;
    op->run(n, op->arg);
}

static void after_beside(size_t n, void *arg) {
    const struct bench_op *op = arg;
    atomic_store(&shared.done, 1);
    join_thread();
    if (op->after != NULL) op->after(n, op->arg);
}

/* The argument is not changed: the casts take away a `const` that the hooks give back. */
#define BUSY_MOST(id, title, op, at_most)                                                                              \
    const struct bench_op id = {.name = title ", beside a busy thread",                                                \
                                .start = start_beside,                                                                 \
                                .run = run_beside,                                                                     \
                                .before = before_beside,                                                               \
                                .after = after_beside,                                                                 \
                                .arg = (void *)(uintptr_t) & (op),                                                     \
                                .most = (at_most)}
#define BUSY(id, title, op) BUSY_MOST(id, title, op, 0)

BUSY(bench_use_busy, "use", bench_use_small);
BUSY(bench_open_busy, "secretbox_open_easy", bench_open_small);
BUSY_MOST(bench_take_busy, "take", bench_take_small, 4096);
BUSY(bench_read_compact_busy, "READ view", bench_read_compact);
BUSY(bench_copy_compact_busy, "copy + destroy", bench_copy_compact);
BUSY(bench_read_sealed_busy, "READ view", bench_read_sealed);
BUSY(bench_copy_closed_busy, "copy + destroy", bench_copy_closed);
BUSY(bench_sodium_malloc_busy, "sodium_malloc + free", bench_sodium_malloc);
BUSY(bench_flip_busy, "mprotect pair + touch", bench_flip);
