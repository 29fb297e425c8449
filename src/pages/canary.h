/* pages/canary: the pattern by lanes of 16 bytes, for those who look at it and write it in passing. Must not know: slots. */
#ifndef MG_PAGES_CANARY_H
#define MG_PAGES_CANARY_H

#include "pages/bank.h"

typedef uint64_t mg__lane __attribute__((vector_size(16), may_alias));

extern const unsigned char *mg__canary_pattern; /* 32 bytes: twice, so that any rotation is contiguous */

static inline mg__lane mg__lane_load(const void *p) {
    mg__lane lane;
    memcpy(&lane, p, sizeof lane);
    return lane;
}

/* All bits from byte `first` of a lane on. */
static inline mg__lane mg__lane_from(size_t first) {
    static const unsigned char bytes[32] = {[16] = 255, 255, 255, 255, 255, 255, 255, 255,
                                            255,        255, 255, 255, 255, 255, 255, 255};
    return mg__lane_load(bytes + 16 - first);
}

/* The end of `bytes` bytes between a canary of 16 bytes and one that reaches to `end` and has as many at least (p and end are
 * multiples of 16): whether the two are intact; the bytes are filled in any case. The lane in which the bytes end is part of them and part
 * of the canary. */
static inline MG_MUST_USE bool mg__canary_end(unsigned char *p, size_t bytes, const unsigned char *end) {
    const mg__lane whole = mg__lane_load(mg__canary_pattern);
    unsigned char *last = p + bytes / 16 * 16;
    mg__lane sum = (mg__lane_load(p - 16) ^ whole) | ((mg__lane_load(last) ^ whole) & mg__lane_from(bytes % 16));
    for (const unsigned char *behind = last + 16; behind < end; behind += 16)
        sum |= mg__lane_load(behind) ^ whole;
    for (unsigned char *at = p; at <= last; at += 16)
        memcpy(at, &whole, sizeof whole);
    __asm__ volatile("" : : "r"(p) : "memory"); /* this is the wipe: it stays */
    return MG_LIKELY((sum[0] | sum[1]) == 0) || atomic_load(&mg__bank_wiped);
}

#endif
