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

/* Between a canary of 16 bytes before p and one of as many at least, which reaches to `end` (p and end are multiples of 16), lie
 * `bytes` bytes, which are never loaded: what differs in the canaries. */
static inline mg__lane mg__canary_difference(const unsigned char *p, size_t bytes, const unsigned char *end) {
    const mg__lane whole = mg__lane_load(mg__canary_pattern);
    const unsigned char *lane = p + bytes / 16 * 16 + 16;
    mg__lane sum =
        (mg__lane_load(p - 16) ^ whole) | (mg__lane_load(p + bytes) ^ mg__lane_load(mg__canary_pattern + bytes % 16));
    for (; lane < end; lane += 16)
        sum |= mg__lane_load(lane) ^ whole;
    return sum;
}
static inline bool mg__canary_is_none(mg__lane difference) {
    return MG_LIKELY((difference[0] | difference[1]) == 0) || atomic_load(&mg__bank_wiped);
}
/* Whether the two are intact. */
static inline MG_MUST_USE bool mg__canary_intact_around(const unsigned char *p, size_t bytes,
                                                        const unsigned char *end) {
    return mg__canary_is_none(mg__canary_difference(p, bytes, end));
}

/* The end of the bytes: the same, and they are filled in any case. */
static inline MG_MUST_USE bool mg__canary_end(unsigned char *p, size_t bytes, const unsigned char *end) {
    const mg__lane whole = mg__lane_load(mg__canary_pattern), difference = mg__canary_difference(p, bytes, end);
    for (unsigned char *at = p; at < p + bytes; at += 16)
        memcpy(at, &whole, sizeof whole);
    __asm__ volatile("" : : "r"(p) : "memory"); /* this is the wipe: it stays */
    return mg__canary_is_none(difference);
}

#endif
