/* A light reader (core/light.h) who is stopped after each of its instructions in turn, while another thread does something to the vault
 * from beginning to end. What it gets must be the secret or a refusal. By the processor's trap flag: x86-64 only. */
#include "white.h"

#include "core/light.h"

#if defined(__x86_64__)

#include <sched.h>
#include <signal.h>
#include <ucontext.h>

enum { TRAP_FLAG = 0x100, PATIENCE_NS = 4000000, SIZE = 40 };

static memguard_vault *vault, *another;
static memguard_secret secret, newcomer;
static void (*deed)(void);
static _Atomic bool go, done;
static volatile unsigned steps, wanted;

/* In the reader, after each instruction. The other thread may have to wait for the reader: then it goes on. */
static void on_step(int number, siginfo_t *info, void *context) {
    ucontext_t *user = context;
    (void)number, (void)info;
    if (++steps != wanted) return;
    user->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    atomic_store(&go, true);
    const uint64_t until = mg__sys_now_ns() + PATIENCE_NS;
    while (!atomic_load(&done) && mg__sys_now_ns() < until)
        (void)sched_yield();
}

static void *do_it(void *unused) {
    (void)unused;
    while (!atomic_load(&go))
        (void)sched_yield();
    deed();
    atomic_store(&done, true);
    return NULL;
}

static void switch_stepping(bool on) {
    if (on)
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
                             : "cc", "memory");
    else
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
                             : "cc", "memory");
}

static void make_light(uint32_t rest) {
    secret = make_secret(vault, SIZE, rest, 7);
    for (int i = 0; i < 64; i++) {
        memguard_view view;
        if (!CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK)) return;
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    }
    CHECK((atomic_load(&entry_of(secret)->word) & MG_WORD_V) != 0);
}

/* false: the reader was done before. */
static bool step(unsigned number) {
    pthread_t thread;
    memguard_view view;
    steps = 0, wanted = number;
    atomic_store(&go, false), atomic_store(&done, false);
    if (!CHECK(pthread_create(&thread, NULL, do_it, NULL) == 0)) return false;
    switch_stepping(true);
    const memguard_status status = memguard_secret_acquire(secret, MEMGUARD_READ, &view);
    switch_stepping(false);
    const bool stopped = steps >= number;
    atomic_store(&go, true);
    if (status == MEMGUARD_OK) {
        CHECK(view.size == SIZE && is_pattern(view.data, SIZE, 7));
        const memguard_status released = memguard_view_release(&view);
        CHECK(released == MEMGUARD_OK || released == MEMGUARD_ERR_REVOKED);
    } else {
        CHECK(status == MEMGUARD_ERR_STALE || status == MEMGUARD_ERR_BUSY || status == MEMGUARD_ERR_LOCKED);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return stopped;
}

static void end_secret(memguard_secret *one) {
    const memguard_status status = memguard_secret_destroy(one);
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_STALE);
}

static void at_each_step(void (*what)(void), uint32_t rest) {
    struct sigaction before, action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    deed = what;
    if (!CHECK(sigaction(SIGTRAP, &action, &before) == 0)) return;
    for (unsigned number = 1; number < 1000; number++) {
        make_light(rest);
        const bool stopped = step(number);
        end_secret(&secret);
        end_secret(&newcomer);
        if (!stopped) break;
    }
    CHECK(sigaction(SIGTRAP, &before, NULL) == 0);
}

/* BUSY: the reader has it. */
static void lock_and_unlock(void) {
    const memguard_status status = memguard_vault_lock(vault, white_kek);
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_BUSY);
    if (status == MEMGUARD_OK) CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
}

static void purge(void) { CHECK_STATUS(memguard_vault_purge(vault, 10000), MEMGUARD_OK); }

static void purge_and_make(void) {
    purge();
    newcomer = make_secret(another, SIZE, MEMGUARD_COMPACT, 9);
}

static void purge_and_make_here(void) {
    purge();
    newcomer = make_secret(vault, SIZE, MEMGUARD_COMPACT, 9);
}

static void change_size(void) {
    const memguard_status status = memguard_secret_resize(secret, SIZE);
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_BUSY);
    const memguard_status sealed = memguard_secret_rest(secret, MEMGUARD_SEALED);
    CHECK(sealed == MEMGUARD_OK || sealed == MEMGUARD_ERR_BUSY);
}

static void destroy_and_make(void) {
    memguard_secret copy = secret;
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
    newcomer = make_secret(another, SIZE, MEMGUARD_COMPACT, 9);
}

#define NEEDS_STEPS()                                                                                                  \
    do {                                                                                                               \
        if (CHECK_SANITIZED) SKIP("a sanitizer does not bear a trap after each instruction");                          \
        if (!atomic_load(&mg__sys_light_fences)) SKIP("the kernel does not offer membarrier");                         \
    } while (0)

TEST(vault_is_locked_and_unlocked_while_a_light_reader_comes) {
    NEEDS_STEPS();
    at_each_step(lock_and_unlock, MEMGUARD_COMPACT);
    at_each_step(lock_and_unlock, MEMGUARD_MAPPED);
}

TEST(vault_is_purged_while_a_light_reader_comes) {
    NEEDS_STEPS();
    at_each_step(purge, MEMGUARD_COMPACT);
    at_each_step(purge, MEMGUARD_MAPPED);
}

TEST(entry_is_purged_and_used_again_while_a_light_reader_comes) {
    NEEDS_STEPS();
    at_each_step(purge_and_make, MEMGUARD_COMPACT);
    at_each_step(purge_and_make_here, MEMGUARD_COMPACT);
}

TEST(secret_is_changed_or_destroyed_while_a_light_reader_comes) {
    NEEDS_STEPS();
    at_each_step(change_size, MEMGUARD_COMPACT);
    at_each_step(destroy_and_make, MEMGUARD_COMPACT);
}

int main(void) {
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    another = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    RUN(vault_is_locked_and_unlocked_while_a_light_reader_comes);
    RUN(vault_is_purged_while_a_light_reader_comes);
    RUN(entry_is_purged_and_used_again_while_a_light_reader_comes);
    RUN(secret_is_changed_or_destroyed_while_a_light_reader_comes);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&another), MEMGUARD_OK);
    return check_end();
}

#else

TEST(a_light_reader_is_stopped_after_each_instruction) { SKIP("needs the trap flag of x86-64"); }

int main(void) {
    RUN(a_light_reader_is_stopped_after_each_instruction);
    return check_end();
}

#endif
