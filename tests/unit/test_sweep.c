/* What only the inside can arrange for a sweep: a thread that is stopped in the middle of a cipher call, on a private
 * stack of the library's, where the host's registers lie. And threads of the library's own. */
#include "white.h"

#include "sys/scan.h"
#include <memguard/process.h>

static const volatile uint64_t mask = 0x96c3f00d5a3c0ff1;

struct on_bench {
    memguard_vault *vault;
    enum mg__kind kind;
    uint64_t masked;
    _Atomic int ready, stop;
};

/* The one handle is in this frame. */
static void hold(void *arg) {
    struct on_bench *bench = arg;
    volatile uint64_t id = bench->masked ^ mask;
    atomic_store(&bench->ready, 1);
    while (atomic_load(&bench->stop) == 0) {
    }
    bench->masked = id ^ mask;
}

static void *run_on_bench(void *arg) {
    struct on_bench *bench = arg;
    CHECK_STATUS(mg__bench_call(bench->kind, hold, bench, MG_BENCH_DEEP), MEMGUARD_OK);
    return NULL;
}

static int make_one(void *arg) {
    struct on_bench *bench = arg;
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_create(bench->vault, 32, MEMGUARD_CLOSED, &secret), MEMGUARD_OK);
    bench->masked = secret.id ^ mask;
    return 0;
}

static uint64_t lost_in(memguard_vault *vault) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    memguard_sweep result = MEMGUARD_SWEEP_INIT;
    options.timeout_ms = 20000;
    CHECK_STATUS(memguard_lost_sweep(vault, &options, &result), MEMGUARD_OK);
    CHECK(result.looked_at == 1);
    return result.lost;
}

static void refers_from_bench(uint32_t backend, enum mg__kind kind) {
    pthread_t thread;
    struct on_bench bench = {.vault = make_vault(backend, MEMGUARD_TRACK), .kind = kind};
    CHECK_STATUS(memguard_call_scrubbed(make_one, &bench, NULL), MEMGUARD_OK);
    CHECK(lost_in(bench.vault) == 1);
    CHECK(pthread_create(&thread, NULL, run_on_bench, &bench) == 0);
    for (int i = 0; i < 10000 && atomic_load(&bench.ready) == 0; i++)
        sleep_ms(1);
    for (int i = 0; i < 5; i++)
        CHECK(lost_in(bench.vault) == 0);
    atomic_store(&bench.stop, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(lost_in(bench.vault) == 1); /* the bench was wiped */
    CHECK_STATUS(memguard_vault_destroy(&bench.vault), MEMGUARD_OK);
}

TEST(what_lies_on_a_bench_in_use_refers) {
    if (CHECK_SANITIZED) SKIP("code of a sanitizer does not run on a private stack");
    if (!mg__arch_has_private_stacks()) SKIP("no private stacks on this processor");
    refers_from_bench(MEMGUARD_BACKEND_SECRETMEM, MG_KIND_SECRETMEM);
    refers_from_bench(MEMGUARD_BACKEND_LOCKED, MG_KIND_LOCKED);
    refers_from_bench(MEMGUARD_BACKEND_PLAIN, MG_KIND_PLAIN);
}

static void *own_one(void *arg) {
    struct mg__sys_span stacks[MG_SYS_MOST_OWN];
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const size_t before = mg__sys_own_stacks(stacks);
    (void)arg;
    mg__sys_own_thread(true);
    mg__sys_own_thread(true); /* once is as good as twice */
    CHECK(mg__sys_own_stacks(stacks) == before + 1);
    CHECK(stacks[before].low < here && here < stacks[before].high);
    mg__sys_own_thread(false);
    mg__sys_own_thread(false);
    CHECK(mg__sys_own_stacks(stacks) == before);
    return NULL;
}

TEST(a_thread_of_our_own_is_noted_with_its_stack_until_it_says_otherwise) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, own_one, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

TEST(the_housekeeper_is_one_of_our_own_while_it_lives) {
    struct mg__sys_span stacks[MG_SYS_MOST_OWN];
    CHECK(mg__sys_own_stacks(stacks) == 0);
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_PLAIN, 0);
    for (int i = 0; i < 10000 && mg__sys_own_stacks(stacks) == 0; i++)
        sleep_ms(1);
    CHECK(mg__sys_own_stacks(stacks) == 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK(mg__sys_own_stacks(stacks) == 0);
}

int main(void) {
    RUN(a_thread_of_our_own_is_noted_with_its_stack_until_it_says_otherwise);
    RUN(the_housekeeper_is_one_of_our_own_while_it_lives);
    RUN(what_lies_on_a_bench_in_use_refers);
    return check_end();
}
