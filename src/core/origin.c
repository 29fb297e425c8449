/* See origin.h. Records hold no handle and no pointer into a secret, so that they refer to nothing. Must not know: what
 * secrets hold. */
#include "core/origin.h"
#include "core/beside.h"

struct record {
    _Atomic(const void *) place;
    _Atomic uint64_t made_ms;
};

MG_THREAD const void *mg__origin;

static struct mg__beside records = {.record_bytes = sizeof(struct record)};

memguard_status mg__origin_note(uint32_t index) {
    uintptr_t low = 0, high = 0;
    memguard_status status = MEMGUARD_OK;
    struct record *record = mg__beside_want(&records, index, &status);
    if (record == NULL) return status;
    atomic_store_explicit(&record->place, mg__origin, memory_order_relaxed);
    atomic_store_explicit(&record->made_ms, mg__sys_boottime_ms(), memory_order_relaxed);
    /* For a sweep: with the bounds it can tell this thread's dead stack frames, without them all of them count. */
    (void)mg__sys_stack_bounds(&low, &high);
    return MEMGUARD_OK;
}

void mg__origin_of(uint32_t index, const void **place, uint64_t *made_ms) {
    const struct record *record = mg__beside_find(&records, index);
    *place = record == NULL ? NULL : atomic_load_explicit(&record->place, memory_order_relaxed);
    *made_ms = record == NULL ? 0 : atomic_load_explicit(&record->made_ms, memory_order_relaxed);
}
