/* pages/compact: what a hot path does itself with the free compact slots that its thread keeps (bank.h). Must not know: what the bytes
 * mean, how slots come and go between threads. */
#ifndef MG_PAGES_COMPACT_H
#define MG_PAGES_COMPACT_H

#include "pages/canary.h"

extern const uint8_t mg__compact_classes[]; /* by the number of 16-byte lanes, rounded up */
/* Of slots for so many bytes, at most MG_COMPACT_MOST. */
static inline unsigned mg__compact_class(size_t bytes) { return mg__compact_classes[(bytes + 15) / 16]; }

extern const uint16_t mg__compact_ends[]; /* by lanes, too: where the canary behind the bytes ends */
/* Whether the canaries of a slot are intact. */
static inline MG_MUST_USE bool mg__compact_data_intact(const unsigned char *data, size_t bytes) {
    return mg__canary_intact_around(data, bytes, data + mg__compact_ends[(bytes + 15) / 16]);
}

/* NULL: there is none. Where it is does not depend on the arena, which is looked up meanwhile. */
static inline struct mg__compact_line *mg__compact_line_of(struct mg__compact_cache *cache,
                                                           const struct mg__compact_arena *arena, unsigned class) {
    if (MG_UNLIKELY(cache == NULL)) return NULL;
    struct mg__compact_line *line = &cache->lines[class];
    return MG_LIKELY(atomic_load_explicit(&line->arena, memory_order_relaxed) == arena) ? line : NULL;
}
static inline bool mg__compact_line_has_slots(const struct mg__compact_line *line) {
    return line != NULL && atomic_load_explicit(&line->count, memory_order_relaxed) != 0;
}
/* It has. */
static inline struct mg__compact_slot mg__compact_line_take(struct mg__compact_line *line) {
    const uint32_t left = atomic_load_explicit(&line->count, memory_order_relaxed) - 1;
    atomic_store_explicit(&line->count, left, memory_order_relaxed);
    return (struct mg__compact_slot){(unsigned char *)~line->slots[left].not_data, line->slots[left].place};
}

#endif
