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

struct two {
    const struct bench_op *here, *there;
};
static size_t half;

static void *do_half(void *arg) {
    const struct two *two = arg;
    atomic_store(&ready, 1);
    wait_for(&go);
    two->there->run(half, two->there->arg);
    atomic_store(&done, 1);
    return NULL;
}

static void two_before(size_t n, void *arg) {
    half = n / 2;
    start_thread(do_half, arg);
}

static void two_run(size_t n, void *arg) {
    const struct two *two = arg;
    atomic_store(&go, 1);
    two->here->run(n - n / 2, two->here->arg);
    wait_for(&done);
}

static void two_after(size_t n, void *arg) {
    (void)n;
    (void)arg;
    join_thread();
}

static struct two each_its_own = {&bench_use_small, &bench_use_other};
static struct two the_same = {&bench_use_small, &bench_use_again};
static struct two bare = {&bench_open_small, &bench_open_other};

#define TWO(title, pair)                                                                                               \
    { .name = title, .run = two_run, .before = two_before, .after = two_after, .arg = &(pair), .least = TWO_LEAST }

const struct bench_op bench_use_two = TWO("use, 2 threads", each_its_own);
const struct bench_op bench_use_two_same = TWO("use, 2 threads", the_same);
const struct bench_op bench_open_two = TWO("secretbox_open_easy, 2 threads", bare);
