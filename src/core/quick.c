/* core/quick: making and ending secrets, and small COMPACT ones in one go, when nothing is in the way: no limits, scopes or tracking, nobody
 * who borrows, and what it takes is kept by the thread. It takes one atomic step, that of the end, and no call into the kernel. Else
 * secret.c goes the long way, which is the same and knows every case. Must not know: what other rests need. */
#include "core/origin.h"
#include "core/vault.h"
#include "pages/compact.h"
#include "sys/copy.h"

/* ---- making ---- */

static MG_INLINE void write_slot(unsigned char *data, const void *from, size_t bytes) {
    static const unsigned char zeros[MG_COMPACT_MOST];
    mg__copy_cleanly(data, from != NULL ? from : zeros, bytes);
}

/* A live secret of a body that is there, under an index that the thread keeps. Gives its id. */
static MG_INLINE uint64_t show(struct mg__thread *thread, const struct mg__vault *vault, uint32_t flags, size_t bytes,
                               struct mg__compact_slot slot) {
    const uint8_t frozen = (flags & MEMGUARD_FROZEN) != 0 ? MG_ENTRY_FROZEN : 0;
    const uint32_t index = mg__indices_take(&thread->indices);
    struct mg__entry *entry =
        mg__entry_begin_life(index, vault->index + 1, MG_OBJECT_SECRET, MEMGUARD_COMPACT, frozen, (uint32_t)bytes);
    const uint64_t generation = mg__entry_generation_bits(entry);
    entry->body.data = slot.data;
    entry->place = slot.place;
    atomic_store_explicit(&entry->word, generation | MG_WORD_L, memory_order_release);
    return generation | index;
}

static MG_INLINE bool make_noted(struct mg__thread *thread, const struct mg__vault *vault, const void *from,
                                 size_t bytes, uint32_t flags, memguard_secret *secret) {
    struct mg__compact_line *line = mg__compact_line_of(&thread->slots, vault->arena, mg__compact_class(bytes));
    if (MG_UNLIKELY(!mg__compact_line_has_slots(line))) return false;
    if (MG_UNLIKELY(atomic_load_explicit(&thread->indices.count, memory_order_relaxed) == 0)) return false;
    const struct mg__compact_slot slot = mg__compact_line_take(line);
    write_slot(slot.data, from, bytes);
    secret->id = show(thread, vault, flags, bytes, slot);
    return true;
}

/* Of `from`, or null for zeros. false: nothing has happened. */
static MG_INLINE bool make(const memguard_vault *token, const void *from, size_t bytes, uint32_t flags,
                           memguard_secret *secret) {
    struct mg__thread *thread = mg__thread_known();
    struct mg__vault *vault = mg__vault_of_token(token);
    if (MG_UNLIKELY((flags & ~(uint32_t)MEMGUARD_FROZEN) != MEMGUARD_COMPACT || bytes - 1 >= MG_COMPACT_MOST))
        return false;
    if (MG_UNLIKELY(thread == NULL || thread->scope != NULL || vault == NULL || !mg__sys_is_surely_owner()))
        return false;
    const bool made = MG_LIKELY(mg__making_begin(thread, vault, token)) &&
                      MG_LIKELY(atomic_load_explicit(&vault->quick, memory_order_relaxed) != 0) &&
                      MG_LIKELY(make_noted(thread, vault, from, bytes, flags, secret));
    mg__making_end(thread);
    return made;
}

memguard_status memguard_secret_create(memguard_vault *vault, size_t bytes, uint32_t flags, memguard_secret *secret) {
    if (MG_LIKELY(secret != NULL) && MG_LIKELY(make(vault, NULL, bytes, flags, secret))) return MEMGUARD_OK;
    return mg__secret_create(vault, bytes, flags, secret, __builtin_return_address(0));
}

memguard_status memguard_secret_copy(memguard_vault *vault, const void *source, size_t bytes, uint32_t flags,
                                     memguard_secret *secret) {
    if (MG_LIKELY(secret != NULL && source != NULL) && MG_LIKELY(make(vault, source, bytes, flags, secret)))
        return MEMGUARD_OK;
    return mg__secret_copy(vault, source, bytes, flags, secret, __builtin_return_address(0));
}

memguard_status memguard_secret_take(memguard_vault *vault, void *source, size_t bytes, uint32_t flags,
                                     memguard_secret *secret) {
    if (MG_UNLIKELY(secret == NULL || source == NULL) || !make(vault, source, bytes, flags, secret))
        return mg__secret_take(vault, source, bytes, flags, secret, __builtin_return_address(0));
    mg__wipe(source, bytes);
    return MEMGUARD_OK;
}

/* ---- ending ---- */

static MG_INLINE bool in_compact_slot(const struct mg__entry *entry) {
    return mg__entry_rest(entry) == MEMGUARD_COMPACT &&
           (mg__entry_flags(entry) & (MG_ENTRY_GUARDED | MG_ENTRY_EXPIRED)) == 0 && mg__entry_limits(entry) == NULL;
}

static MG_INLINE void end(struct mg__entry *entry, uint64_t id) {
    struct mg__vault *vault = mg__vault_of(entry);
    const struct mg__compact_slot slot = {entry->body.data, entry->place};
    const size_t bytes = mg__entry_bytes(entry);
    if (MG_UNLIKELY(!mg__compact_give(vault->arena, slot, bytes))) mg__corrupted(vault, bytes);
    mg__entry_free_of(entry, (uint32_t)id);
}

memguard_status memguard_secret_destroy(memguard_secret *secret) {
    if (MG_UNLIKELY(secret == NULL)) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const uint64_t id = secret->id;
    struct mg__entry *entry = MG_LIKELY(mg__sys_is_surely_owner()) ? mg__entry_doom_quickly(id) : NULL;
    if (MG_UNLIKELY(entry == NULL)) return mg__secret_destroy(secret);
    secret->id = 0;
    if (MG_LIKELY(in_compact_slot(entry)))
        end(entry, id);
    else
        mg__secret_end(entry);
    return MEMGUARD_OK;
}
