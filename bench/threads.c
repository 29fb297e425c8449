/* Operations with a second thread: one that does half of the work, or one that is just busy, so that changes of access have to reach
 * its processor. Threads are started and ended outside of the timed part. */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static pthread_t thread;
static _Atomic int ready, go, done;

static void wait_for(_Atomic int *flag) {
    /* Where there is one processor, or others use it, spinning alone would take a whole time slice. */
    for (unsigned spins = 0; atomic_load_explicit(flag, memory_order_acquire) == 0; spins++)
        if (spins > 100) (void)sched_yield();
}

static void start_thread(void *(*body)(void *), void *arg) {
    atomic_store(&ready, 0);
    atomic_store(&go, 0);
    atomic_store(&done, 0);
    if (pthread_create(&thread, NULL, body, arg) != 0) bench_fail("pthread_create");
    wait_for(&ready);
}

static void join_thread(void) {
    if (pthread_join(thread, NULL) != 0) bench_fail("pthread_join");
}

/* ---- a busy one ---- */

static void *be_busy(void *arg) {
    (void)arg;
    atomic_store(&ready, 1);
    while (atomic_load_explicit(&done, memory_order_relaxed) == 0) {
    }
    return NULL;
}

void bench_busy_start(size_t n, void *arg) {
    (void)n;
    (void)arg;
    start_thread(be_busy, NULL);
}

void bench_busy_stop(size_t n, void *arg) {
    (void)n;
    (void)arg;
    atomic_store(&done, 1);
    join_thread();
}

const struct bench_op bench_use_busy = {.name = "use",
                                        .run = bench_run_use,
                                        .before = bench_busy_start,
                                        .after = bench_busy_stop,
                                        .arg = &bench_sealed_small};
const struct bench_op bench_copy_closed_busy = {
    .name = "copy + destroy", .run = bench_run_copy_closed, .before = bench_busy_start, .after = bench_busy_stop};

/* ---- one that takes half of the work ---- */

enum { TWO_LEAST = 8000 };

struct half {
    struct bench_secret *secret;
    size_t n;
};
static struct half half;

static void *do_half(void *arg) {
    const struct half *mine = arg;
    atomic_store(&ready, 1);
    wait_for(&go);
    bench_run_use(mine->n, mine->secret);
    atomic_store(&done, 1);
    return NULL;
}

static void two_before(size_t n, void *arg) {
    half = (struct half){arg, n / 2};
    start_thread(do_half, &half);
}

static void two_run(size_t n, void *arg) {
    (void)arg;
    atomic_store(&go, 1);
    bench_run_use(n - n / 2, &bench_sealed_small);
    wait_for(&done);
}

static void two_after(size_t n, void *arg) {
    (void)n;
    (void)arg;
    join_thread();
}

const struct bench_op bench_use_two = {.name = "use, 2 threads",
                                       .run = two_run,
                                       .before = two_before,
                                       .after = two_after,
                                       .arg = &bench_sealed_other,
                                       .least = TWO_LEAST};
const struct bench_op bench_use_two_same = {.name = "use, 2 threads",
                                            .run = two_run,
                                            .before = two_before,
                                            .after = two_after,
                                            .arg = &bench_sealed_again,
                                            .least = TWO_LEAST};
