/* core/open: bodies of secrets: where the bytes of each rest lie, and how they are made accessible and closed again.
 * A SEALED secret is opened into a region of its own, which lives until it is closed. Contracts: docs/KEYS.md
 * section 4. Must not know: who borrows, pins, purges. Its callers own the entry exclusively, or hold its T lock. */
#include "core/vault.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void mg__corrupted(struct mg__vault *vault, size_t bytes) {
    char line[128];
    if (vault->on_corruption != NULL) vault->on_corruption(bytes, vault->on_corruption_arg);
    const int length =
        snprintf(line, sizeof line, "memguard: canary broken beside a secret of %zu bytes: wiped, aborting\n", bytes);
    if (length > 0) mg__sys_complain(line);
    mg__sys_abort();
}

static size_t size_of(const struct mg__entry *entry) { return mg__entry_bytes(entry); }
static unsigned flags_of(const struct mg__entry *entry) { return mg__entry_flags(entry); }
static uint32_t rest_of(const struct mg__entry *entry) { return mg__entry_rest(entry); }
static void drop_flag(struct mg__entry *entry, unsigned flag) { mg__entry_change_flags(entry, flag, 0); }

static bool in_compact_slot(const struct mg__entry *entry) {
    return rest_of(entry) == MEMGUARD_COMPACT && (flags_of(entry) & MG_ENTRY_GUARDED) == 0;
}

/* What a region has between borrows. */
static int resting_access(const struct mg__entry *entry) {
    const unsigned flags = flags_of(entry);
    if (rest_of(entry) == MEMGUARD_CLOSED) return MG_ACCESS_NONE;
    const bool writable = (flags & MG_ENTRY_WRITABLE) != 0 && (flags & MG_ENTRY_FROZEN) == 0;
    return writable ? MG_ACCESS_WRITE : MG_ACCESS_READ;
}

static struct mg__place place_of(const struct mg__entry *entry) {
    return (struct mg__place){mg__entry_index(entry), entry->version, entry->prefix};
}

/* ---- sealed bodies ---- */

/* The next version of this index, under no earlier prefix than before; when the count is used up a fresh prefix
 * starts it anew. */
static memguard_status next_place(const struct mg__entry *entry, uint32_t index, struct mg__place *place) {
    unsigned char prefix[MG_PREFIX_BYTES];
    *place = (struct mg__place){index, entry->version + 1, entry->prefix};
    if (MG_LIKELY(place->version != 0)) return MEMGUARD_OK;
    const memguard_status status = mg__prefix_redraw();
    place->prefix = mg__prefix_current(prefix);
    return status;
}

static memguard_status seal_into(struct mg__vault *vault, struct mg__entry *entry, uint32_t index,
                                 const unsigned char *plain) {
    struct mg__place place;
    memguard_status status = next_place(entry, index, &place);
    if (status != MEMGUARD_OK) return status;
    entry->version = place.version; /* burnt, whatever becomes of the sealing */
    status = mg__coffer_seal(&vault->coffer, &place, mg__entry_sealed(entry), plain, size_of(entry));
    if (MG_LIKELY(status == MEMGUARD_OK)) entry->prefix = place.prefix;
    return mg__gate_explain(vault, status);
}

static memguard_status unseal_region(struct mg__vault *vault, struct mg__entry *entry, struct mg__region *region) {
    const struct mg__place place = place_of(entry);
    memguard_status status = mg__region_protect(region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) return status;
    status = mg__coffer_unseal(&vault->coffer, &place, mg__region_data(region, size_of(entry)), mg__entry_sealed(entry),
                               size_of(entry));
    if (status == MEMGUARD_ERR_AUTH) atomic_fetch_add_explicit(&vault->auth_failures, 1, memory_order_relaxed);
    return mg__gate_explain(vault, status);
}

static memguard_status open_sealed(struct mg__vault *vault, struct mg__entry *entry, int access, unsigned char **data) {
    struct mg__region *region = NULL;
    memguard_status status = mg__region_take(vault->kind, size_of(entry), &region);
    if (status != MEMGUARD_OK) return status;
    status = unseal_region(vault, entry, region);
    if (status == MEMGUARD_OK) status = mg__region_protect(region, access);
    if (status != MEMGUARD_OK) {
        mg__region_give(region, size_of(entry));
        return status;
    }
    mg__entry_take_extra(entry)->open = region;
    *data = mg__region_data(region, size_of(entry));
    return MEMGUARD_OK;
}

static bool is_in_place(const struct mg__entry *entry) { return size_of(entry) <= MG_IN_PLACE_MOST; }

static void free_sealed(struct mg__entry *entry) {
    if (!is_in_place(entry)) free(entry->body.sealed);
}

/* The changed bytes could not be sealed: they stay where they are, and the secret rests CLOSED. (After a purge took
 * the key the secret is dying, and this is only how it waits for its end.) */
static memguard_status keep_closed(struct mg__entry *entry, memguard_status why) {
    struct mg__region *region = mg__entry_extra(entry)->open;
    free_sealed(entry);
    entry->body.region = region;
    mg__entry_extra(entry)->open = NULL;
    mg__entry_set_rest(entry, MEMGUARD_CLOSED);
    const memguard_status closed = mg__region_protect(region, MG_ACCESS_NONE);
    return closed != MEMGUARD_OK ? closed : why;
}

static memguard_status close_sealed(struct mg__vault *vault, struct mg__entry *entry, bool changed) {
    struct mg__region *region = mg__entry_extra(entry)->open;
    const size_t bytes = size_of(entry);
    if (!mg__region_intact(region, bytes)) {
        mg__region_give(region, region->bytes);
        mg__corrupted(vault, bytes);
    }
    if (changed) {
        const memguard_status status = seal_into(vault, entry, mg__entry_index(entry), mg__region_data(region, bytes));
        if (MG_UNLIKELY(status != MEMGUARD_OK)) return keep_closed(entry, status);
    }
    mg__entry_extra(entry)->open = NULL;
    mg__region_give(region, bytes);
    return MEMGUARD_OK;
}

/* ---- bodies in regions and slots ---- */

static memguard_status freshen(struct mg__entry *entry, int access) {
    struct mg__region *region = entry->body.region;
    if (MG_LIKELY((flags_of(entry) & MG_ENTRY_FRESH) == 0)) return mg__region_protect(region, access);
    const memguard_status status = mg__region_protect(region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) return status;
    mg__wipe(mg__region_data(region, size_of(entry)), size_of(entry));
    drop_flag(entry, MG_ENTRY_FRESH);
    return mg__region_protect(region, access);
}

static memguard_status open_region(struct mg__entry *entry, int access, unsigned char **data) {
    const memguard_status status = freshen(entry, access);
    if (status == MEMGUARD_OK) *data = mg__region_data(entry->body.region, size_of(entry));
    return status;
}

static memguard_status close_region(struct mg__vault *vault, struct mg__entry *entry) {
    struct mg__region *region = entry->body.region;
    const size_t bytes = size_of(entry);
    if (!mg__region_intact(region, bytes)) {
        mg__region_give(region, region->bytes);
        mg__corrupted(vault, bytes);
    }
    return mg__region_protect(region, resting_access(entry));
}

static struct mg__compact_slot slot_of(const struct mg__entry *entry) {
    return (struct mg__compact_slot){entry->body.data, entry->place};
}

static memguard_status check_slot(struct mg__vault *vault, struct mg__entry *entry) {
    const struct mg__compact_slot slot = slot_of(entry);
    if (MG_LIKELY(mg__compact_intact(&slot, size_of(entry)))) return MEMGUARD_OK;
    mg__wipe(slot.data, size_of(entry));
    mg__corrupted(vault, size_of(entry));
}

/* ---- the interface ---- */

memguard_status mg__open(struct mg__vault *vault, struct mg__entry *entry, int access, unsigned char **data) {
    if (rest_of(entry) == MEMGUARD_SEALED) return open_sealed(vault, entry, access, data);
    if (!in_compact_slot(entry)) return open_region(entry, access, data);
    *data = entry->body.data;
    return MEMGUARD_OK;
}

memguard_status mg__close(struct mg__vault *vault, struct mg__entry *entry, bool changed) {
    if (rest_of(entry) == MEMGUARD_SEALED) return close_sealed(vault, entry, changed);
    return in_compact_slot(entry) ? check_slot(vault, entry) : close_region(vault, entry);
}

static memguard_status make_region(struct mg__vault *vault, struct mg__entry *entry, size_t bytes,
                                   unsigned char **data) {
    struct mg__region *region = NULL;
    memguard_status status = mg__region_take(vault->kind, bytes, &region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) {
        mg__region_give(region, 0);
        return status;
    }
    entry->body.region = region;
    *data = mg__region_data(region, bytes);
    return MEMGUARD_OK;
}

static memguard_status make_slot(struct mg__vault *vault, struct mg__entry *entry, size_t bytes, unsigned char **data) {
    struct mg__compact_slot slot;
    const memguard_status status = mg__compact_take(vault->arena, bytes, &slot);
    if (status != MEMGUARD_OK) return status;
    entry->body.data = slot.data;
    entry->place = slot.place;
    *data = slot.data;
    return MEMGUARD_OK;
}

static memguard_status make_sealed(struct mg__entry *entry, size_t bytes) {
    size_t total = 0;
    if (MG_LIKELY(bytes <= MG_IN_PLACE_MOST)) return MEMGUARD_OK;
    unsigned char *sealed = mg__add_size(bytes, MG_TAG_BYTES, &total) ? malloc(total) : NULL;
    if (sealed == NULL) return mg__fail(MEMGUARD_ERR_MEMORY, 0, "no memory for %zu sealed bytes", bytes);
    entry->body.sealed = sealed;
    return MEMGUARD_OK;
}

memguard_status mg__make_body(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest, size_t bytes,
                              unsigned char **data) {
    const bool slot = rest == MEMGUARD_COMPACT && bytes <= MG_COMPACT_MOST;
    memguard_status status = MEMGUARD_OK;
    *data = NULL;
    if (rest == MEMGUARD_SEALED)
        status = make_sealed(entry, bytes);
    else
        status = slot ? make_slot(vault, entry, bytes, data) : make_region(vault, entry, bytes, data);
    if (status != MEMGUARD_OK) return status;
    if (rest == MEMGUARD_COMPACT && !slot) mg__entry_change_flags(entry, 0, MG_ENTRY_GUARDED);
    mg__entry_set_bytes(entry, bytes);
    mg__entry_set_rest(entry, rest);
    return MEMGUARD_OK;
}

memguard_status mg__settle(struct mg__entry *entry) {
    if (rest_of(entry) == MEMGUARD_SEALED || in_compact_slot(entry)) return MEMGUARD_OK;
    return mg__region_protect(entry->body.region, resting_access(entry));
}

memguard_status mg__seal_body(struct mg__vault *vault, struct mg__entry *entry, uint32_t index,
                              const unsigned char *plain) {
    return seal_into(vault, entry, index, plain);
}

memguard_status mg__unseal_body(struct mg__vault *vault, const struct mg__entry *entry, unsigned char *plain) {
    const struct mg__place place = place_of(entry);
    const memguard_status status =
        mg__coffer_unseal(&vault->coffer, &place, plain, mg__entry_sealed(entry), size_of(entry));
    if (MG_UNLIKELY(status == MEMGUARD_ERR_AUTH))
        atomic_fetch_add_explicit(&vault->auth_failures, 1, memory_order_relaxed);
    return mg__gate_explain(vault, status);
}

static void drop_region(struct mg__vault *vault, struct mg__entry *entry) {
    struct mg__region *region = entry->body.region;
    const size_t bytes = size_of(entry);
    if ((flags_of(entry) & MG_ENTRY_FRESH) != 0) {
        mg__region_give(region, 0); /* the pattern is still everywhere */
        return;
    }
    const bool revoked = atomic_load(&region->state) == MG_REGION_REVOKED;
    /* Refused: the pages cannot be looked at, nor wiped in place; mg__region_give then gives them to the kernel. */
    const bool intact =
        revoked || mg__region_protect(region, MG_ACCESS_WRITE) != MEMGUARD_OK || mg__region_intact(region, bytes);
    mg__region_give(region, intact ? bytes : region->bytes);
    if (!intact) mg__corrupted(vault, bytes);
}

void mg__drop_revoked_body(struct mg__entry *entry) {
    struct mg__region *open = mg__entry_open_region(entry);
    if (rest_of(entry) == MEMGUARD_SEALED) {
        free_sealed(entry);
        if (open != NULL) mg__region_give(open, 0);
    } else if (!in_compact_slot(entry)) {
        mg__region_give(entry->body.region, 0);
    }
}

void mg__drop_body(struct mg__vault *vault, struct mg__entry *entry) {
    const unsigned gone = MG_ENTRY_FRESH | MG_ENTRY_GUARDED;
    if (rest_of(entry) == MEMGUARD_SEALED) {
        free_sealed(entry);
    } else if (in_compact_slot(entry)) {
        const struct mg__compact_slot slot = slot_of(entry);
        if (MG_UNLIKELY(!mg__compact_give(vault->arena, slot, size_of(entry)))) mg__corrupted(vault, size_of(entry));
    } else {
        drop_region(vault, entry);
    }
    entry->body.sealed = NULL;
    entry->place = 0;
    drop_flag(entry, gone);
}
