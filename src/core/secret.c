/* core/secret: making, changing, describing and destroying secrets. Contracts: memguard.h; states: docs/KEYS.md
 * section 4. Every change works on an entry that it owns exclusively (mg__secret_seize). A change of rest or size
 * makes the new body first, so that a failure leaves the old one as it was. Must not know: how keys are assembled;
 * who waits for whom in a purge. */
#include "core/draft.h"
#include "core/light.h"
#include "core/origin.h"

#include <stdlib.h>

/* ---- ending ---- */

/* A revoked entry: its memory is not touched; what is left is bookkeeping. */
static void end_revoked(struct mg__entry *entry) {
    if (mg__entry_is_chunked(entry)) {
        mg__chunked_end(entry);
        return;
    }
    mg__drop_revoked_body(entry);
    mg__limits_drop(entry);
    mg__entry_free(entry);
}

void mg__secret_end(struct mg__entry *entry) {
    if (MG_UNLIKELY(mg__entry_is_chunked(entry))) {
        mg__chunked_end(entry);
        return;
    }
    const bool expired = mg__entry_has(entry, MG_ENTRY_EXPIRED);
    if (!expired) mg__drop_body(mg__vault_of(entry), entry);
    mg__limits_drop(entry);
    mg__entry_free(entry);
}

void mg__secret_after(struct mg__entry *entry, enum mg__unpin left) {
    if (MG_UNLIKELY(left == MG_LAST_OF_DYING)) mg__secret_end(entry);
    if (MG_UNLIKELY(left == MG_LAST_OF_REVOKED)) end_revoked(entry);
}

void mg__secret_expire(struct mg__entry *entry) {
    if (mg__entry_has(entry, MG_ENTRY_EXPIRED)) return;
    mg__drop_body(mg__vault_of(entry), entry);
    mg__entry_set_rest(entry, MEMGUARD_SEALED);
    mg__entry_change_flags(entry, 0, MG_ENTRY_EXPIRED);
}

memguard_status mg__secret_destroy(memguard_secret *secret) {
    MG_REFUSE_FORKED();
    return mg__entry_destroy(&secret->id, MG_OBJECT_SECRET);
}

memguard_status mg__entry_destroy(uint64_t *id, enum mg__object object) {
    struct mg__entry *entry = NULL;
    enum mg__unpin left = MG_UNPINNED;
    const memguard_status status = mg__entry_doom(*id, object, &entry, &left);
    *id = 0;
    if (status != MEMGUARD_OK) return mg__fail_plain(status);
    mg__secret_after(entry, left);
    return MEMGUARD_OK;
}

/* ---- bodies made anew ---- */

enum { BODY_FLAGS = MG_ENTRY_FRESH | MG_ENTRY_GUARDED };

/* A stand-in with the identity of an entry (but its place in the table) and no body. What belongs to the place, its index and what
 * lies beside it, it does not have. */
static void begin_stand_in(struct mg__entry *temporary, const struct mg__entry *entry) {
    memset(temporary, 0, sizeof *temporary);
    mg__entry_change_flags(temporary, 0, mg__entry_flags(entry) & MG_ENTRY_ALL & ~(unsigned)BODY_FLAGS);
    temporary->version = entry->version;
    temporary->prefix = entry->prefix;
}

static void adopt(struct mg__entry *entry, const struct mg__entry *temporary) {
    const unsigned flags = mg__entry_flags(temporary) & BODY_FLAGS;
    memcpy(entry->in_place, temporary->in_place, sizeof entry->in_place);
    entry->prefix = temporary->prefix;
    mg__entry_set_bytes(entry, mg__entry_bytes(temporary));
    mg__entry_set_rest(entry, mg__entry_rest(temporary));
    mg__entry_change_flags(entry, BODY_FLAGS & ~flags, flags);
}

/* Protected memory for plaintext that is only on its way into a sealed body. */
static memguard_status take_scratch(const struct mg__vault *vault, size_t bytes, struct mg__region **scratch) {
    memguard_status status = mg__region_take(vault->kind, bytes, scratch);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(*scratch, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) mg__region_give(*scratch, 0);
    return status;
}

static memguard_status write_random(unsigned char *data, size_t bytes) {
    const int error = mg__sys_random(data, bytes);
    return error == 0 ? MEMGUARD_OK : mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness (errno %d)", error);
}

/* `bytes` bytes: the first from_bytes ones from `from`, zeros behind; from null and from_bytes not 0: random ones. */
static memguard_status write_contents(unsigned char *data, size_t bytes, const unsigned char *from, size_t from_bytes) {
    const size_t copied = from == NULL ? 0 : mg__min_size(bytes, from_bytes);
    if (from == NULL && from_bytes != 0) return write_random(data, bytes);
    if (from != NULL) memcpy(data, from, copied);
    mg__wipe(data + copied, bytes - copied);
    return MEMGUARD_OK;
}

static memguard_status seal_by_scratch(struct mg__vault *vault, struct mg__entry *entry, uint32_t index, size_t bytes,
                                       const unsigned char *from, size_t from_bytes) {
    struct mg__region *scratch = NULL;
    memguard_status status = take_scratch(vault, bytes, &scratch);
    if (status != MEMGUARD_OK) return status;
    unsigned char *data = mg__region_data(scratch, bytes);
    status = write_contents(data, bytes, from, from_bytes);
    if (status == MEMGUARD_OK) status = mg__seal_body(vault, entry, index, data);
    mg__region_give(scratch, bytes);
    return status;
}

/* A body of the given rest and size in an entry that has none; on failure it has none still. index: where it lies, or will. */
static memguard_status build(struct mg__vault *vault, struct mg__entry *entry, uint32_t index, uint32_t rest,
                             size_t bytes, const unsigned char *from, size_t from_bytes) {
    unsigned char *data = NULL;
    memguard_status status = mg__make_body(vault, entry, rest, bytes, &data);
    if (status != MEMGUARD_OK) return status;
    if (rest != MEMGUARD_SEALED)
        status = write_contents(data, bytes, from, from_bytes);
    else if (from != NULL && from_bytes >= bytes)
        status = mg__seal_body(vault, entry, index, from);
    else
        status = seal_by_scratch(vault, entry, index, bytes, from, from_bytes);
    if (status == MEMGUARD_OK) status = mg__settle(entry);
    if (status != MEMGUARD_OK) mg__drop_body(vault, entry);
    mg__arch_clear_registers();
    return status;
}

/* Exchanges the body of an entry for a new one with the given contents. opened: by mg__open, for reading. */
static memguard_status rebuild(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest, size_t bytes,
                               const unsigned char *from, size_t from_bytes, bool opened) {
    struct mg__entry temporary;
    begin_stand_in(&temporary, entry);
    const memguard_status status = build(vault, &temporary, mg__entry_index(entry), rest, bytes, from, from_bytes);
    entry->version = temporary.version; /* burnt, also by a failure */
    /* Access that could not be taken away from the old body does not matter when the body goes. */
    const memguard_status closed = opened ? mg__close(vault, entry, false) : MEMGUARD_OK;
    (void)closed;
    if (status != MEMGUARD_OK) return status;
    mg__drop_body(vault, entry);
    adopt(entry, &temporary);
    return MEMGUARD_OK;
}

/* The same with the entry's own contents. */
static memguard_status convert(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest, size_t bytes) {
    const size_t old_bytes = mg__entry_bytes(entry);
    unsigned char *data = NULL;
    const memguard_status status = mg__open(vault, entry, MG_ACCESS_READ, &data);
    if (status != MEMGUARD_OK) return status;
    return rebuild(vault, entry, rest, bytes, data, old_bytes, true);
}

/* ---- making ---- */

memguard_status mg__secret_check_flags(uint32_t flags) {
    static const uint32_t known = MEMGUARD_REST_MASK | MEMGUARD_FROZEN | MEMGUARD_WRITABLE | MEMGUARD_KEEP;
    if ((flags & ~known) != 0) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown flags: 0x%x", flags & ~known);
    if ((flags & MEMGUARD_WRITABLE) != 0 && (flags & MEMGUARD_REST_MASK) != MEMGUARD_MAPPED)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "WRITABLE goes with MAPPED only");
    return MEMGUARD_OK;
}

static memguard_status check_size(size_t bytes) {
    if (MG_LIKELY(bytes != 0 && bytes <= MEMGUARD_SIZE_MAX)) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes: a secret has 1 to %zu", bytes, MEMGUARD_SIZE_MAX);
}

static unsigned entry_flags(uint32_t flags) {
    return ((flags & MEMGUARD_FROZEN) != 0 ? MG_ENTRY_FROZEN : 0U) |
           ((flags & MEMGUARD_WRITABLE) != 0 ? MG_ENTRY_WRITABLE : 0U);
}

memguard_status mg__entry_begin(memguard_vault *token, enum mg__object object, struct mg__vault **vault,
                                struct mg__entry **entry) {
    memguard_status status = MEMGUARD_OK;
    *vault = mg__vault_find(token);
    if (*vault == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    *entry = mg__entry_claim((*vault)->index + 1, object, &status);
    if (*entry == NULL) return status;
    /* In this order: a token that still fits after the gate was seen open proves that it is the gate of that very
     * vault. */
    status = mg__gate_check(*vault);
    if (MG_UNLIKELY(mg__vault_find(token) == NULL)) status = mg__fail_plain(MEMGUARD_ERR_STALE);
    if (status != MEMGUARD_OK) mg__entry_free(*entry);
    return status;
}

static MG_COLD void furnish(struct mg__vault *vault) {
    atomic_store(&vault->furnished, 1);
    atomic_store(&vault->quick, (vault->flags & MEMGUARD_TRACK) == 0 && vault->idle_ms == 0);
    mg__housekeeper_poke(0);
}

static inline void note_furnished(struct mg__vault *vault) {
    if (MG_UNLIKELY(atomic_load_explicit(&vault->furnished, memory_order_relaxed) == 0)) furnish(vault);
}

memguard_status mg__entry_publish(struct mg__vault *vault, struct mg__entry *entry, uint64_t *given) {
    const uint64_t id = mg__entry_id(entry);
    note_furnished(vault);
    const enum mg__unpin left = mg__entry_unseize(entry);
    mg__secret_after(entry, left);
    if (MG_UNLIKELY(left != MG_UNPINNED)) return mg__fail_plain(MEMGUARD_ERR_STALE); /* purged while it was made */
    *given = id;
    return MEMGUARD_OK;
}

/* Of a secret owned exclusively that others see. */
static MG_COLD memguard_status finish_shown(struct mg__vault *vault, struct mg__entry *entry, uint32_t flags,
                                            memguard_secret *secret) {
    const uint64_t id = mg__entry_id(entry);
    memguard_status status = MEMGUARD_OK;
    if ((vault->flags & MEMGUARD_TRACK) != 0) status = mg__origin_note(mg__entry_index(entry));
    if (status == MEMGUARD_OK && vault->idle_ms != 0)
        status = mg__limits_set(vault, entry, &(memguard_limits){.idle_ms = vault->idle_ms});
    if (status == MEMGUARD_OK && (flags & MEMGUARD_KEEP) == 0) status = mg__scope_note(vault, id);
    if (status != MEMGUARD_OK) {
        mg__secret_end(entry);
        return status;
    }
    return mg__entry_publish(vault, entry, &secret->id);
}

struct making {
    struct mg__thread *thread;
    struct mg__vault *vault;
};

static memguard_status begin_making(const memguard_vault *token, struct making *making) {
    making->vault = mg__vault_find(token);
    making->thread = mg__thread_self();
    if (making->vault == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    if (making->thread == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    while (MG_UNLIKELY(!mg__making_begin(making->thread, making->vault, token))) {
        const memguard_status status = mg__gate_check(making->vault);
        mg__making_end(making->thread);
        if (mg__vault_find(token) == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
        if (status != MEMGUARD_OK) return status;
        /* The gate was opened again in between: a lock that was refused, or taken back. */
    }
    return MEMGUARD_OK;
}

/* Else the vault wants to know more of its secrets, or the thread has a scope: walks must find the entry before it is finished. */
static bool is_plain(const struct making *making, uint32_t flags) {
    return atomic_load_explicit(&making->vault->quick, memory_order_relaxed) != 0 &&
           (making->thread->scope == NULL || (flags & MEMGUARD_KEEP) != 0);
}

static memguard_status finish_making(const struct making *making, struct mg__entry *entry, uint32_t flags,
                                     memguard_secret *secret) {
    memguard_status status = MEMGUARD_OK;
    note_furnished(making->vault);
    /* Purged while it was made: the purge waits for us. */
    if (MG_UNLIKELY(atomic_load(&making->vault->gate) == MG_GATE_PURGING)) {
        mg__secret_end(entry);
        status = mg__fail_plain(MEMGUARD_ERR_STALE);
    } else if (MG_LIKELY(is_plain(making, flags))) {
        secret->id = mg__entry_show(entry, false);
    } else {
        (void)mg__entry_show(entry, true);
        status = finish_shown(making->vault, entry, flags, secret);
    }
    mg__making_end(making->thread);
    return status;
}

static memguard_status make(const memguard_vault *token, const void *from, size_t from_bytes, size_t bytes,
                            uint32_t flags, memguard_secret *secret) {
    struct making making;
    memguard_status status = begin_making(token, &making);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    struct mg__entry *entry = mg__entry_take(making.vault->index + 1, MG_OBJECT_SECRET, &status);
    if (MG_LIKELY(entry != NULL)) {
        mg__entry_change_flags(entry, 0, entry_flags(flags));
        status = build(making.vault, entry, mg__entry_index(entry), flags & MEMGUARD_REST_MASK, bytes, from, from_bytes);
        if (MG_LIKELY(status == MEMGUARD_OK)) return finish_making(&making, entry, flags, secret);
        mg__entry_free(entry);
    }
    mg__making_end(making.thread);
    return status;
}

/* A CLOSED secret of zeros gets its region now and its zeros when it is first opened: no change of access until
 * then. */
static memguard_status make_fresh(const memguard_vault *token, size_t bytes, uint32_t flags, memguard_secret *secret) {
    struct making making;
    memguard_status status = begin_making(token, &making);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    struct mg__entry *entry = mg__entry_take(making.vault->index + 1, MG_OBJECT_SECRET, &status);
    if (MG_LIKELY(entry != NULL)) {
        status = mg__region_take(making.vault->kind, bytes, &entry->body.region);
        mg__entry_set_bytes(entry, bytes);
        mg__entry_set_rest(entry, MEMGUARD_CLOSED);
        mg__entry_change_flags(entry, 0, entry_flags(flags) | MG_ENTRY_FRESH);
        if (MG_LIKELY(status == MEMGUARD_OK)) return finish_making(&making, entry, flags, secret);
        mg__entry_free(entry);
    }
    mg__making_end(making.thread);
    return status;
}

static memguard_status check_making(const memguard_vault *vault, size_t bytes, uint32_t flags,
                                    memguard_secret *secret) {
    if (secret == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    secret->id = 0;
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const memguard_status status = mg__secret_check_flags(flags);
    return status != MEMGUARD_OK ? status : check_size(bytes);
}

memguard_status mg__secret_create(memguard_vault *vault, size_t bytes, uint32_t flags, memguard_secret *secret,
                                  const void *caller) {
    MG_ORIGIN_AT(caller);
    const memguard_status status = check_making(vault, bytes, flags, secret);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    if ((flags & MEMGUARD_REST_MASK) == MEMGUARD_CLOSED) return make_fresh(vault, bytes, flags, secret);
    return make(vault, NULL, 0, bytes, flags, secret);
}

memguard_status mg__secret_copy(memguard_vault *vault, const void *source, size_t bytes, uint32_t flags,
                                memguard_secret *secret, const void *caller) {
    MG_ORIGIN_AT(caller);
    const memguard_status status = check_making(vault, bytes, flags, secret);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    return make(vault, source, bytes, bytes, flags, secret);
}

static memguard_status take(memguard_vault *vault, const void *source, size_t bytes, uint32_t flags,
                            memguard_secret *secret) {
    MG_REFUSE_FORKED();
    return make(vault, source, bytes, bytes, flags, secret);
}

memguard_status mg__secret_take(memguard_vault *vault, void *source, size_t bytes, uint32_t flags,
                                memguard_secret *secret, const void *caller) {
    MG_ORIGIN_AT(caller);
    memguard_status status = check_making(vault, bytes, flags, secret);
    if (status == MEMGUARD_OK && source == NULL) status = mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (status != MEMGUARD_OK) return status;
    status = take(vault, source, bytes, flags, secret);
    mg__wipe(source, bytes);
    return status;
}

memguard_status memguard_secret_random(memguard_vault *vault, size_t bytes, uint32_t flags, memguard_secret *secret) {
    MG_ORIGIN();
    const memguard_status status = check_making(vault, bytes, flags, secret);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    return make(vault, NULL, bytes, bytes, flags, secret);
}

/* ---- changing ---- */

memguard_status mg__secret_refused(uint64_t id, memguard_status status) {
    const struct mg__entry *entry = status == MEMGUARD_ERR_BUSY ? mg__entry_at(id) : NULL;
    const uint32_t vault = entry == NULL ? 0 : atomic_load(&entry->vault);
    const memguard_status by_gate = vault == 0 ? MEMGUARD_OK : mg__gate_check(mg__vault_by_index(vault - 1));
    return by_gate != MEMGUARD_OK ? by_gate : mg__fail_plain(status);
}

memguard_status mg__secret_seize(memguard_secret secret, struct mg__vault **vault, struct mg__entry **entry) {
    memguard_status status = mg__entry_seize(secret.id, entry);
    if (status != MEMGUARD_OK) return mg__secret_refused(secret.id, status);
    *vault = mg__vault_of(*entry);
    status = mg__gate_check(*vault);
    if (status == MEMGUARD_OK) status = mg__limits_begin(*entry, false);
    if (status == MEMGUARD_ERR_EXPIRED) mg__secret_expire(*entry);
    if (status != MEMGUARD_OK) mg__secret_after(*entry, mg__entry_unseize(*entry));
    return status;
}

static memguard_status seize_melted(memguard_secret secret, struct mg__vault **vault, struct mg__entry **entry) {
    const memguard_status status = mg__secret_seize(secret, vault, entry);
    if (status != MEMGUARD_OK || !mg__entry_has(*entry, MG_ENTRY_FROZEN)) return status;
    mg__secret_after(*entry, mg__entry_unseize(*entry));
    return mg__fail_plain(MEMGUARD_ERR_FROZEN);
}

static void set_flag(struct mg__entry *entry, unsigned flag, bool set) {
    mg__entry_change_flags(entry, set ? 0 : flag, set ? flag : 0);
}

memguard_status mg__secret_change_rest(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest) {
    if (mg__entry_is_chunked(entry)) return mg__chunked_put_away(entry);
    if (mg__entry_has(entry, MG_ENTRY_EXPIRED)) return MEMGUARD_OK;
    if (mg__entry_rest(entry) == rest) return MEMGUARD_OK;
    const size_t bytes = mg__entry_bytes(entry);
    const memguard_status status = convert(vault, entry, rest, bytes);
    if (status == MEMGUARD_OK && rest != MEMGUARD_MAPPED) set_flag(entry, MG_ENTRY_WRITABLE, false);
    return status;
}

/* Whether a MAPPED secret stays writable; settles the access. */
static memguard_status change_writable(struct mg__entry *entry, bool writable) {
    const bool before = mg__entry_has(entry, MG_ENTRY_WRITABLE);
    set_flag(entry, MG_ENTRY_WRITABLE, writable);
    const memguard_status status = mg__settle(entry);
    if (status != MEMGUARD_OK) set_flag(entry, MG_ENTRY_WRITABLE, before);
    return status;
}

memguard_status memguard_secret_rest(memguard_secret secret, uint32_t rest) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    MG_REFUSE_FORKED();
    if ((rest & ~(uint32_t)(MEMGUARD_REST_MASK | MEMGUARD_WRITABLE)) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown rest 0x%x", rest);
    memguard_status status = mg__secret_check_flags(rest);
    if (status == MEMGUARD_OK) status = mg__secret_seize(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    status = mg__secret_change_rest(vault, entry, rest & MEMGUARD_REST_MASK);
    if (status == MEMGUARD_OK) status = change_writable(entry, (rest & MEMGUARD_WRITABLE) != 0);
    mg__limits_rest_changed(vault, entry);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

static memguard_status set_frozen(memguard_secret secret, bool frozen) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    unsigned char *data = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = mg__secret_seize(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    const bool before = mg__entry_has(entry, MG_ENTRY_FROZEN);
    set_flag(entry, MG_ENTRY_FROZEN, frozen);
    if (mg__entry_rest(entry) != MEMGUARD_SEALED) {
        /* Opening and closing looks at the canaries and settles the access. */
        status = mg__open(vault, entry, MG_ACCESS_READ, &data);
        if (status == MEMGUARD_OK) status = mg__close(vault, entry, false);
        if (status != MEMGUARD_OK) set_flag(entry, MG_ENTRY_FROZEN, before);
    }
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

memguard_status memguard_secret_freeze(memguard_secret secret) { return set_frozen(secret, true); }

memguard_status memguard_secret_melt(memguard_secret secret) { return set_frozen(secret, false); }

memguard_status memguard_secret_resize(memguard_secret secret, size_t bytes) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = check_size(bytes);
    if (status == MEMGUARD_OK) status = seize_melted(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    if (mg__entry_bytes(entry) != bytes) status = convert(vault, entry, mg__entry_rest(entry), bytes);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

static memguard_status replace(memguard_secret secret, const void *source, size_t bytes) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = seize_melted(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    status = rebuild(vault, entry, mg__entry_rest(entry), bytes, source, bytes, false);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

memguard_status memguard_secret_replace(memguard_secret secret, void *source, size_t bytes) {
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = check_size(bytes);
    if (status != MEMGUARD_OK) return status;
    status = replace(secret, source, bytes);
    mg__wipe(source, bytes);
    return status;
}

/* ---- writing in place ---- */

struct change {
    size_t offset, bytes;
    const void *from; /* null: all of it becomes zero */
};

static void apply(const struct change *change, unsigned char *data, size_t size) {
    if (change->from == NULL)
        mg__wipe(data, size);
    else
        memcpy(data + change->offset, change->from, change->bytes);
}

static memguard_status write_opened(struct mg__vault *vault, struct mg__entry *entry, const struct change *change) {
    const size_t size = mg__entry_bytes(entry);
    unsigned char *data = NULL;
    size_t end = 0;
    if (!mg__add_size(change->offset, change->bytes, &end) || end > size)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes at %zu do not fit a secret of %zu bytes", change->bytes,
                        change->offset, size);
    memguard_status status = mg__open(vault, entry, MG_ACCESS_WRITE, &data);
    if (status != MEMGUARD_OK) return status;
    apply(change, data, size);
    status = mg__close(vault, entry, true);
    mg__arch_clear_registers();
    return status;
}

static memguard_status write_change(memguard_secret secret, const struct change *change) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    memguard_status status = seize_melted(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    status = write_opened(vault, entry, change);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

memguard_status memguard_secret_copy_at(memguard_secret secret, size_t offset, const void *source, size_t bytes) {
    MG_REFUSE_FORKED();
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (bytes == 0) return mg__fail(MEMGUARD_ERR_SIZE, 0, "nothing to write: 0 bytes");
    return write_change(secret, &(struct change){offset, bytes, source});
}

memguard_status memguard_secret_move_at(memguard_secret secret, size_t offset, void *source, size_t bytes) {
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = check_size(bytes);
    if (status == MEMGUARD_OK) status = memguard_secret_copy_at(secret, offset, source, bytes);
    if (status != MEMGUARD_ERR_ARGUMENT && status != MEMGUARD_ERR_SIZE) mg__wipe(source, bytes);
    return status;
}

memguard_status memguard_secret_scramble(memguard_secret secret) {
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = seize_melted(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    /* A new body, so that half of the randomness is as good as none. */
    const size_t bytes = mg__entry_bytes(entry);
    status = rebuild(vault, entry, mg__entry_rest(entry), bytes, NULL, bytes, false);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

memguard_status memguard_secret_zero(memguard_secret secret) {
    MG_REFUSE_FORKED();
    return write_change(secret, &(struct change){0, 0, NULL});
}

/* ---- describing ---- */

static bool is_purging(const struct mg__entry *entry) {
    const struct mg__vault *vault = mg__vault_of(entry);
    return vault != NULL && atomic_load(&vault->gate) == MG_GATE_PURGING;
}

memguard_status memguard_secret_info(memguard_secret secret, memguard_info *given) {
    memguard_info info = {0};
    if (given == NULL || !mg__out_struct_fits(given->size)) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    mg__out_struct(given, given->size, &info, sizeof info);
    MG_REFUSE_FORKED();
    const struct mg__entry *entry = mg__entry_at(secret.id);
    if (entry == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    const uint64_t word = atomic_load(&entry->word);
    const unsigned flags = mg__entry_flags(entry);
    info.bytes = mg__entry_bytes(entry);
    info.rest = mg__entry_rest(entry);
    info.flags = (flags & MG_ENTRY_FROZEN ? (uint32_t)MEMGUARD_FROZEN : 0) |
                 (flags & MG_ENTRY_WRITABLE ? (uint32_t)MEMGUARD_WRITABLE : 0);
    info.borrows = mg__word_held(word);
    info.writing = (word & MG_WORD_X) != 0 && info.borrows != 0;
    if ((word & MG_WORD_V) != 0) info.borrows += mg__light_count(secret.id);
    mg__limits_describe(entry, &info);
    const bool over = mg__limits_are_over(entry);
    const bool purging = is_purging(entry);
    const uint64_t again = atomic_load(&entry->word);
    if (((word ^ secret.id) | (again ^ secret.id)) >> 32 != 0 || purging ||
        (word & (MG_WORD_L | MG_WORD_D | MG_WORD_S)) != MG_WORD_L)
        return mg__fail_plain(mg__word_refusal(again, secret.id));
    if (over && info.borrows == 0) mg__limits_expire(secret.id);
    if ((flags & MG_ENTRY_EXPIRED) != 0 || (over && info.borrows == 0)) return mg__fail_plain(MEMGUARD_ERR_EXPIRED);
    mg__out_struct(given, given->size, &info, sizeof info);
    return MEMGUARD_OK;
}

memguard_status memguard_secret_limit(memguard_secret secret, const memguard_limits *given) {
    memguard_limits limits = {0};
    struct mg__vault *vault = NULL;
    struct mg__entry *entry = NULL;
    MG_REFUSE_FORKED();
    if (given == NULL || !mg__struct_is_known(given, given->size, sizeof(size_t), sizeof limits))
        return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memcpy(&limits, given, mg__min_size(given->size, sizeof limits));
    memguard_status status = mg__secret_seize(secret, &vault, &entry);
    if (status != MEMGUARD_OK) return status;
    status = mg__limits_set(vault, entry, &limits);
    mg__secret_after(entry, mg__entry_unseize(entry));
    return status;
}

/* ---- for drafts (draft.h) ---- */

memguard_status mg__secret_finish(struct mg__vault *vault, struct mg__entry *entry, uint32_t flags,
                                  memguard_secret *secret) {
    return finish_shown(vault, entry, flags, secret);
}

memguard_status mg__secret_convert(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest, size_t bytes) {
    return convert(vault, entry, rest, bytes);
}
