/* See origin.h. One record an index, in segments that are mapped when the first secret of theirs is tracked and never
 * freed. Records hold no handle and no pointer into a secret, so that they refer to nothing. Must not know: what
 * secrets hold. */
#include "core/origin.h"

enum { SEGMENT_BITS = 12, SEGMENT = 1 << SEGMENT_BITS, SEGMENTS = 1 << 16 };

struct record {
    _Atomic(const void *) place;
    _Atomic uint64_t made_ms;
};

MG_THREAD const void *mg__origin;

static struct record *_Atomic segments[SEGMENTS];

static struct record *find(uint32_t index) {
    struct record *segment = atomic_load_explicit(&segments[(index >> SEGMENT_BITS) % SEGMENTS], memory_order_acquire);
    return segment == NULL ? NULL : &segment[index % SEGMENT];
}

static memguard_status add_segment(uint32_t index) {
    int error = 0;
    struct record *none = NULL, *segment = mg__sys_map_table(sizeof(struct record) * SEGMENT, &error);
    if (segment == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, sizeof(struct record) * SEGMENT);
    if (!atomic_compare_exchange_strong(&segments[(index >> SEGMENT_BITS) % SEGMENTS], &none, segment))
        (void)mg__sys_unmap(segment,
                            sizeof(struct record) * SEGMENT); /* another thread was faster; only space is lost */
    return MEMGUARD_OK;
}

memguard_status mg__origin_note(uint32_t index) {
    uintptr_t low = 0, high = 0;
    if (find(index) == NULL) {
        const memguard_status status = add_segment(index);
        if (status != MEMGUARD_OK) return status;
    }
    struct record *record = find(index);
    atomic_store_explicit(&record->place, mg__origin, memory_order_relaxed);
    atomic_store_explicit(&record->made_ms, mg__sys_boottime_ms(), memory_order_relaxed);
    /* For a sweep: with the bounds it can tell this thread's dead stack frames, without them all of them count. */
    (void)mg__sys_stack_bounds(&low, &high);
    return MEMGUARD_OK;
}

void mg__origin_of(uint32_t index, const void **place, uint64_t *made_ms) {
    const struct record *record = find(index);
    *place = record == NULL ? NULL : atomic_load_explicit(&record->place, memory_order_relaxed);
    *made_ms = record == NULL ? 0 : atomic_load_explicit(&record->made_ms, memory_order_relaxed);
}
