/* core/beside: records that only some handles have, one beside each index of the table, in segments that are mapped
 * when the first record of theirs is wanted and never freed. No lock: a late look at a record of an earlier life is
 * harmless. Must not know: what records hold. */
#ifndef MG_CORE_BESIDE_H
#define MG_CORE_BESIDE_H

#include "core/table.h"

enum { MG_BESIDE_BITS = 12, MG_BESIDE_SEGMENTS = 1 << 16 };

/* Static and zero but for the size. */
struct mg__beside {
    size_t record_bytes;
    void *_Atomic segments[MG_BESIDE_SEGMENTS];
};

/* NULL: never wanted so far. */
void *mg__beside_find(const struct mg__beside *beside, uint32_t index);
/* Zero at first. NULL: no memory; the status is in the last error. */
void *mg__beside_want(struct mg__beside *beside, uint32_t index, memguard_status *status);

#endif
