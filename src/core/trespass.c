/* See trespass.h. The bank tells which region the address is in, or between which two; the owner of a region is found
 * by a walk over the handle table that compares pointers and follows none. What is read here may be changing: the
 * worst is a wrong name in a message. Must not know: signals, who asks. */
#include "core/trespass.h"

/* The bytes of one secret, as addresses. */
struct extent {
    uintptr_t low, end; /* low 0: none */
};

static uint32_t rest_of(const struct mg__entry *entry) { return mg__entry_rest(entry); }

static bool is_live_secret(const struct mg__entry *entry) {
    return (atomic_load(&entry->word) & (MG_WORD_L | MG_WORD_S)) == MG_WORD_L;
}

static uintptr_t end_of(const struct mg__region *region) { return (uintptr_t)region->base + region->bytes; }

static struct extent at_end_of(const struct mg__region *region, size_t bytes) {
    const struct extent none = {0, 0}, found = {end_of(region) - bytes, end_of(region)};
    return bytes == 0 || bytes > region->bytes ? none : found;
}

/* Where the entry's bytes lie in the region, if it is there that they lie. */
static struct extent extent_in(const struct mg__entry *entry, const struct mg__region *region) {
    const size_t bytes = mg__entry_bytes(entry);
    const uint32_t rest = rest_of(entry);
    const bool guarded = mg__entry_has(entry, MG_ENTRY_GUARDED);
    struct extent found = {0, 0};
    if (rest == MEMGUARD_SEALED) return mg__entry_open_region(entry) == region ? at_end_of(region, bytes) : found;
    if (rest != MEMGUARD_COMPACT || guarded) return entry->body.region == region ? at_end_of(region, bytes) : found;
    const uintptr_t data = (uintptr_t)entry->body.data;
    if (data >= (uintptr_t)region->base && data < end_of(region)) found = (struct extent){data, data + bytes};
    return found;
}

static size_t distance_to(const struct extent *extent, uintptr_t at) {
    if (at >= extent->end) return at - extent->end + 1;
    return at < extent->low ? extent->low - at : 0;
}

/* The secret of the region that is nearest to the address: a page of compact ones has many. */
static struct extent nearest_in(const struct mg__region *region, uintptr_t at) {
    struct extent nearest = {0, 0};
    const uint32_t count = mg__table_count();
    for (uint32_t i = 0; i < count; i++) {
        const struct mg__entry *entry = mg__entry_by_index(i);
        if (entry == NULL || !is_live_secret(entry)) continue;
        const struct extent extent = extent_in(entry, region);
        if (extent.low != 0 && (nearest.low == 0 || distance_to(&extent, at) < distance_to(&nearest, at)))
            nearest = extent;
    }
    return nearest;
}

/* How much a stream or large secret shows is not known here: nothing is said rather than its whole size. */
static struct extent shown_in(const struct mg__region *region) {
    const uint64_t owner = mg__use_page_owner(region);
    const struct mg__entry *entry = owner == 0 ? NULL : mg__entry_at(owner);
    const struct extent none = {0, 0};
    return entry == NULL || !is_live_secret(entry) ? none : at_end_of(region, mg__entry_bytes(entry));
}

static struct extent extent_of(const struct mg__region *region, uintptr_t at) {
    struct extent extent = {0, 0};
    if (region == NULL) return extent;
    extent = shown_in(region);
    return extent.low != 0 ? extent : nearest_in(region, at);
}

static bool near(const struct extent *extent, uintptr_t at, struct mg__trespass *trespass) {
    trespass->kind = at >= extent->end ? MG_TRESPASS_PAST : MG_TRESPASS_BEFORE;
    trespass->bytes = extent->end - extent->low;
    trespass->distance = distance_to(extent, at);
    return extent->low != 0;
}

/* The guard belongs to whoever is nearer to the address. */
static bool in_guard(const struct mg__neighbours *around, uintptr_t at, struct mg__trespass *trespass) {
    const struct extent before = extent_of(around->before, at), after = extent_of(around->after, at);
    if (after.low == 0 || (before.low != 0 && distance_to(&before, at) <= distance_to(&after, at)))
        return near(&before, at, trespass);
    return near(&after, at, trespass);
}

static bool in_region(const struct mg__region *region, uintptr_t at, struct mg__trespass *trespass) {
    const struct extent extent = extent_of(region, at);
    const uint32_t state = atomic_load(&region->state);
    *trespass = (struct mg__trespass){MG_TRESPASS_RELEASED, extent.end - extent.low, 0};
    if (state == MG_REGION_REVOKED) trespass->kind = MG_TRESPASS_REVOKED;
    if (state != MG_REGION_USED) return true;
    if (extent.low == 0) return false;
    if (at < extent.low || at >= extent.end) return near(&extent, at, trespass);
    trespass->kind = atomic_load(&region->access) == MG_ACCESS_NONE ? MG_TRESPASS_CLOSED : MG_TRESPASS_WRITE;
    return true;
}

bool mg__trespass_find(const void *address, struct mg__trespass *trespass) {
    struct mg__neighbours around;
    const uintptr_t at = (uintptr_t)address;
    if (!mg__bank_locate(address, &around)) return false;
    return around.at != NULL ? in_region(around.at, at, trespass) : in_guard(&around, at, trespass);
}
