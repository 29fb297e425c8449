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

/* The end of `bytes` bytes between a canary of 16 bytes and one of as many at least, which reaches to `end` (p and end are multiples of
 * 16): whether the two are intact; the bytes are filled in any case, never loaded. */
static inline MG_MUST_USE bool mg__canary_end(unsigned char *p, size_t bytes, const unsigned char *end) {
    const mg__lane whole = mg__lane_load(mg__canary_pattern);
    const unsigned char *behind = p + bytes, *lane = p + bytes / 16 * 16 + 16;
    mg__lane sum = (mg__lane_load(p - 16) ^ whole) | (mg__lane_load(behind) ^ mg__lane_load(mg__canary_pattern + bytes % 16));
    for (; lane < end; lane += 16)
        sum |= mg__lane_load(lane) ^ whole;
    for (unsigned char *at = p; at < behind; at += 16)
        memcpy(at, &whole, sizeof whole);
    __asm__ volatile("" : : "r"(p) : "memory"); /* this is the wipe: it stays */
    return MG_LIKELY((sum[0] | sum[1]) == 0) || atomic_load(&mg__bank_wiped);
}

#endif
