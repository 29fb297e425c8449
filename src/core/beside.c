/* See beside.h. Must not know: what records hold. */
#include "core/beside.h"

enum { SEGMENT = 1 << MG_BESIDE_BITS };

void *mg__beside_find(const struct mg__beside *beside, uint32_t index) {
    unsigned char *segment =
        atomic_load_explicit(&beside->segments[(index >> MG_BESIDE_BITS) % MG_BESIDE_SEGMENTS], memory_order_acquire);
    return segment == NULL ? NULL : segment + (index % SEGMENT) * beside->record_bytes;
}

static memguard_status add_segment(struct mg__beside *beside, uint32_t index) {
    int error = 0;
    const size_t bytes = SEGMENT * beside->record_bytes;
    void *none = NULL, *segment = mg__sys_map_table(bytes, &error);
    if (segment == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, bytes);
    if (!atomic_compare_exchange_strong(&beside->segments[(index >> MG_BESIDE_BITS) % MG_BESIDE_SEGMENTS], &none,
                                        segment))
        (void)mg__sys_unmap(segment, bytes); /* another thread was faster; only space is lost */
    return MEMGUARD_OK;
}

void *mg__beside_want(struct mg__beside *beside, uint32_t index, memguard_status *status) {
    void *record = mg__beside_find(beside, index);
    *status = MEMGUARD_OK;
    if (MG_LIKELY(record != NULL)) return record;
    *status = add_segment(beside, index);
    return mg__beside_find(beside, index);
}
