/* Fences of which one side pays for both: stores and loads of two threads around them are never both missed, whether the kernel
 * offers membarrier(2), does not, or stops offering it. */
#include "white.h"

#include <sched.h>

enum { ROUNDS = 20000 };

static _Atomic int mine, other, ready, missed;

static int refuse(int command) {
    (void)command;
    errno = EPERM;
    return -1;
}

static void await(int wanted) {
    for (unsigned spins = 0; atomic_load(&ready) != wanted; spins++)
        if (spins > 2000) (void)sched_yield();
}

/* The frequent side: for each round it says that it is there, fences, and looks. */
static void *often(void *unused) {
    (void)unused;
    for (int round = 1; round <= ROUNDS; round++) {
        await(2 * round - 1);
        atomic_store_explicit(&mine, round, memory_order_relaxed);
        mg__sys_fence_light();
        const bool saw = atomic_load_explicit(&other, memory_order_relaxed) == round;
        if (!saw) atomic_store(&missed, round);
        atomic_store(&ready, 2 * round);
    }
    return NULL;
}

/* How often both sides missed the other's store. */
static int run_rounds(void) {
    pthread_t thread;
    int both = 0;
    atomic_store(&mine, 0), atomic_store(&other, 0), atomic_store(&ready, 0), atomic_store(&missed, 0);
    if (!CHECK(pthread_create(&thread, NULL, often, NULL) == 0)) return -1;
    for (int round = 1; round <= ROUNDS; round++) {
        atomic_store(&ready, 2 * round - 1);
        atomic_store_explicit(&other, round, memory_order_relaxed);
        mg__sys_fence_heavy();
        const bool saw = atomic_load_explicit(&mine, memory_order_relaxed) == round;
        await(2 * round);
        if (!saw && atomic_load(&missed) == round) both++;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return both;
}

TEST(one_of_two_sides_sees_the_other_by_membarrier) {
    mg__sys_fence_prepare();
    if (!atomic_load(&mg__sys_light_fences)) SKIP("the kernel does not offer membarrier");
    CHECK(run_rounds() == 0);
    CHECK(atomic_load(&mg__sys_light_fences));
}

TEST(one_of_two_sides_sees_the_other_without_membarrier) {
    const struct mg__sys_table real = mg__sys_table;
    mg__sys_table.membarrier = refuse;
    mg__sys_fence_prepare();
    CHECK(!atomic_load(&mg__sys_light_fences));
    CHECK(run_rounds() == 0);
    mg__sys_table = real;
}

TEST(membarrier_that_is_refused_later_makes_the_light_side_fence_for_itself) {
    const struct mg__sys_table real = mg__sys_table;
    mg__sys_fence_prepare();
    if (!atomic_load(&mg__sys_light_fences)) SKIP("the kernel does not offer membarrier");
    mg__sys_table.membarrier = refuse;
    mg__sys_fence_heavy();
    CHECK(!atomic_load(&mg__sys_light_fences));
    CHECK(run_rounds() == 0);
    mg__sys_table = real;
}

int main(void) {
    RUN(one_of_two_sides_sees_the_other_by_membarrier);
    RUN(one_of_two_sides_sees_the_other_without_membarrier);
    RUN(membarrier_that_is_refused_later_makes_the_light_side_fence_for_itself);
    return check_end();
}
