/* core/housekeeper: one thread per process that ends leases, re-keys, wipes what has expired and closes open chunks,
 * when nobody calls. It sleeps on one word until the earliest duty; whoever makes an earlier duty pokes it. While leases
 * come one after another it wakes by itself, so that users of the key need no system call. Must not know: how keys are
 * kept, what secrets hold. */
#include "core/vault.h"

enum { FORK_NS = 500000 }; /* about what a fork takes */

static _Atomic uint32_t word; /* changes when there is news */
static _Atomic uint32_t stopping;
static _Atomic uint64_t asleep_until_ns; /* UINT64_MAX while awake: every poke is news then */
static struct mg__sys_thread *thread;    /* under the registry's mutex */

static uint64_t tend_limits(struct mg__vault *vault, uint64_t now_ns) {
    if (atomic_load(&vault->next_sweep_ms) == UINT64_MAX) return UINT64_MAX;
    const uint64_t now_ms = mg__sys_boottime_ms(), due_ms = mg__limits_sweep(vault, now_ms);
    if (due_ms == UINT64_MAX) return UINT64_MAX;
    const uint64_t in_ms = due_ms > now_ms ? due_ms - now_ms : 1;
    /* Far away is the same as looking in an hour. */
    return now_ns + (in_ms < 3600000 ? in_ms : 3600000) * 1000000U;
}

uint64_t mg__housekeeper_tend(struct mg__vault *vault, uint64_t now_ns) {
    const bool may_rekey = atomic_load(&vault->furnished) != 0;
    const uint64_t due = mg__coffer_tend(&vault->coffer, now_ns, may_rekey);
    const uint64_t limits_due = tend_limits(vault, now_ns), windows_due = mg__windows_tend(vault, now_ns);
    const uint64_t earlier = limits_due < due ? limits_due : due;
    return windows_due < earlier ? windows_due : earlier;
}

static uint64_t tend_all(uint64_t now_ns) {
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i < MG_VAULTS; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (vault == NULL) break; /* structs are made one after another */
        if (!mg__vault_is_here(vault)) continue;
        const uint64_t due = mg__housekeeper_tend(vault, now_ns);
        if (due < earliest) earliest = due;
    }
    return earliest;
}

/* Not while a fork is near; then soon again. */
static uint64_t tend_if_let(uint64_t now_ns) {
    if (!mg__call_try_begin()) return now_ns + FORK_NS;
    const uint64_t due = tend_all(now_ns);
    mg__call_end_try();
    return due;
}

static void keep_house(void *unused) {
    (void)unused;
    for (;;) {
        const uint32_t seen = atomic_load(&word); /* first: who stops us changes it last */
        if (atomic_load(&stopping) != 0) return;
        atomic_store(&asleep_until_ns, UINT64_MAX);
        const uint64_t due = tend_if_let(mg__sys_now_ns()), now = mg__sys_now_ns();
        atomic_store(&asleep_until_ns, due);
        if (due > now) mg__sys_wait(&word, seen, due == UINT64_MAX ? UINT64_MAX : due - now);
    }
}

static void wake(void) {
    atomic_fetch_add(&word, 1);
    mg__sys_wake(&word, true);
}

void mg__housekeeper_poke(uint64_t due_ns) {
    if (due_ns < atomic_load(&asleep_until_ns)) wake();
}

memguard_status mg__housekeeper_start(void) {
    atomic_store(&stopping, 0);
    atomic_store(&mg__coffer_on_lease, mg__housekeeper_poke);
    const int error = mg__sys_thread_start(keep_house, NULL, &thread);
    if (error == 0) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "the housekeeper thread could not be started (errno %d)", error);
}

void mg__housekeeper_stop(void) {
    atomic_store(&stopping, 1);
    wake();
    mg__sys_thread_join(thread);
}
