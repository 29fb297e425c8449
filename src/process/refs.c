/* See refs.h. Most bytes are zeros, or do not pass two comparisons: the high half of a handle is one of few
 * generations, which begin at a random number, and addresses in question lie between two bounds and in pages that a
 * bitmap knows. Must not know: where the bytes come from. */
#include "process/refs.h"

/* ---- sorting ---- */

static void sink(struct mg__range *ranges, size_t at, size_t count) {
    const struct mg__range moving = ranges[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && ranges[child + 1].low > ranges[child].low) child++;
        if (ranges[child].low <= moving.low) break;
        ranges[at] = ranges[child];
        at = child;
    }
    ranges[at] = moving;
}

void mg__ranges_sort(struct mg__range *ranges, size_t count) {
    for (size_t i = count / 2; i-- > 0;)
        sink(ranges, i, count);
    for (size_t end = count; end-- > 1;) {
        const struct mg__range greatest = ranges[0];
        ranges[0] = ranges[end];
        ranges[end] = greatest;
        sink(ranges, 0, end);
    }
}

/* ---- preparing ---- */

static void prepare_generations(struct mg__refs *refs) {
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t i = 0; i < refs->count; i++) {
        const uint32_t generation = (uint32_t)(refs->refs[i].id >> 32);
        if (generation < least) least = generation;
        if (generation > most) most = generation;
    }
    refs->first_generation = least;
    refs->generations = most >= least ? most - least : 0;
}

static uint32_t bit_of(uintptr_t address) { return (uint32_t)(address >> MG_REFS_GRAIN) % MG_REFS_FILTER_BITS; }

static void filter_range(struct mg__refs *refs, const struct mg__range *range) {
    const uintptr_t first = range->low >> MG_REFS_GRAIN, last = range->high >> MG_REFS_GRAIN;
    for (uintptr_t grain = first; grain <= last && grain - first < MG_REFS_FILTER_BITS; grain++) {
        const uint32_t bit = bit_of(grain << MG_REFS_GRAIN);
        refs->filter[bit / 64] |= (uint64_t)1 << (bit % 64);
    }
}

void mg__refs_prepare(struct mg__refs *refs) {
    prepare_generations(refs);
    memset(refs->filter, 0, sizeof refs->filter);
    mg__ranges_sort(refs->ranges, refs->range_count);
    for (size_t i = 0; i < refs->range_count; i++)
        filter_range(refs, &refs->ranges[i]);
    refs->low = refs->range_count == 0 ? 0 : refs->ranges[0].low;
    refs->span = refs->range_count == 0 ? 0 : refs->ranges[refs->range_count - 1].high - refs->low;
}

/* ---- looking ---- */

static void look_at_handle(struct mg__refs *refs, uint64_t id) {
    const uint32_t index = (uint32_t)id;
    if (index >= refs->indices || refs->by_index[index] == 0) return;
    struct mg__ref *ref = &refs->refs[refs->by_index[index] - 1];
    if (ref->id == id) ref->found = true;
}

/* The last range that begins at or below the address. */
static void look_at_address(struct mg__refs *refs, uintptr_t address, uintptr_t lies_at) {
    size_t from = 0, to = refs->range_count;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (refs->ranges[middle].low <= address)
            from = middle + 1;
        else
            to = middle;
    }
    if (from == 0 || address > refs->ranges[from - 1].high) return;
    struct mg__ref *ref = &refs->refs[refs->ranges[from - 1].what];
    if (lies_at != ref->own) ref->found = true;
}

/* Stacks are read as they lie: the red zones that AddressSanitizer has there are read, too. */
__attribute__((no_sanitize_address)) static inline uint64_t word_at(const unsigned char *p) {
    uint64_t word = 0;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline void look_at_word(struct mg__refs *refs, uint64_t word, uintptr_t lies_at) {
    const uintptr_t address = (uintptr_t)word;
    if (MG_UNLIKELY((uint32_t)(word >> 32) - refs->first_generation <= refs->generations)) look_at_handle(refs, word);
    if (MG_LIKELY(address - refs->low > refs->span)) return;
    const uint32_t bit = bit_of(address);
    if ((refs->filter[bit / 64] >> (bit % 64) & 1) != 0) look_at_address(refs, address, lies_at);
}

/* Neither handles nor addresses are zero: between two words of zeros there is nothing. */
void mg__refs_look(struct mg__refs *refs, const unsigned char *p, size_t bytes, uintptr_t address) {
    size_t at = 0;
    for (; at + 16 <= bytes; at += 8) {
        if ((word_at(p + at) | word_at(p + at + 8)) == 0) continue;
        for (size_t i = at; i < at + 8; i++)
            look_at_word(refs, word_at(p + i), address + i);
    }
    for (; at + 8 <= bytes; at++)
        look_at_word(refs, word_at(p + at), address + at);
}
