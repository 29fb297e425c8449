/* The budget: lockable memory is one limit for the whole process, and everything we lock is counted here. Turns the
 * errnos of mapping and locking into a status with numbers and a remedy. Must not know: who needs the memory. */
#include "pages/bank.h"

#include <errno.h>

static _Atomic uint64_t locked_bytes;
static _Atomic unsigned next_hint;
static MG_THREAD unsigned hint;

unsigned mg__thread_hint(void) {
    if (MG_UNLIKELY(hint == 0)) hint = atomic_fetch_add_explicit(&next_hint, 1, memory_order_relaxed) + 1;
    return hint - 1;
}

void mg__budget_charge(enum mg__kind kind, size_t bytes) {
    if (mg__kind_is_locked(kind)) atomic_fetch_add_explicit(&locked_bytes, bytes, memory_order_relaxed);
}

void mg__budget_release(enum mg__kind kind, size_t bytes) {
    if (mg__kind_is_locked(kind)) atomic_fetch_sub_explicit(&locked_bytes, bytes, memory_order_relaxed);
}

void mg__budget_restart(uint64_t locked) { atomic_store_explicit(&locked_bytes, locked, memory_order_relaxed); }

uint64_t mg__budget_in_use(void) { return atomic_load_explicit(&locked_bytes, memory_order_relaxed); }

size_t mg__budget_share(unsigned part, size_t least, size_t most) {
    const uint64_t limit = mg__sys_lock_limit();
    if (limit / part >= most) return most;
    return limit / part <= least ? least : (size_t)(limit / part);
}

memguard_status mg__budget_check(enum mg__kind kind, uint64_t needed) {
    const uint64_t limit = mg__kind_is_locked(kind) ? mg__sys_lock_limit() : UINT64_MAX, in_use = mg__budget_in_use();
    if (limit == UINT64_MAX || (in_use <= limit && needed <= limit - in_use)) return MEMGUARD_OK;
    return mg__fail_lock_limit(limit, in_use, needed, 0);
}

static memguard_status fail_memory(int error, size_t needed) {
    uint64_t maps = 0, allowed = 0;
    if (error == ENOMEM && mg__sys_space_exhausted(needed, &allowed))
        return mg__fail(MEMGUARD_ERR_MAP_LIMIT, error, "%llu bytes of address space are allowed: raise RLIMIT_AS",
                        (unsigned long long)allowed);
    if (mg__sys_maps_exhausted(&maps, &allowed))
        return mg__fail(
            MEMGUARD_ERR_MAP_LIMIT, error,
            "%llu memory mappings of %llu allowed are in use: raise vm.max_map_count or keep fewer secrets open",
            (unsigned long long)maps, (unsigned long long)allowed);
    return mg__fail(MEMGUARD_ERR_MEMORY, error, "the system refused %llu bytes of memory", (unsigned long long)needed);
}

memguard_status mg__budget_fail(enum mg__kind kind, int error, size_t needed) {
    if (error == ENOMEM || error == EAGAIN || error == EPERM) {
        const uint64_t limit = mg__kind_is_locked(kind) ? mg__sys_lock_limit() : UINT64_MAX;
        uint64_t maps = 0, allowed = 0;
        if (limit == UINT64_MAX ||
            (error == ENOMEM && (mg__sys_maps_exhausted(&maps, &allowed) || mg__sys_space_exhausted(needed, &allowed))))
            return fail_memory(error, needed);
        return mg__fail_lock_limit(limit, mg__budget_in_use(), needed, error);
    }
    if (error == ENOSYS)
        return mg__fail(MEMGUARD_ERR_SYSTEM, error,
                        "memfd_secret(2) is not to be had here: the kernel lacks it, or a filter refuses it");
    if (error == EMFILE || error == ENFILE)
        return mg__fail(MEMGUARD_ERR_SYSTEM, error,
                        "no file descriptor is free for protected pages: raise RLIMIT_NOFILE");
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "protected pages could not be made (errno %d)", error);
}
