/* core/quick: making and ending small COMPACT secrets in one go, when nothing is in the way: no limits, scopes or tracking, nobody who
 * borrows, and what it takes is kept by the thread. It takes one atomic step, that of the end, and no call into the kernel. Whoever
 * is told `false` goes the long way of secret.c, which is the same and knows every case. Must not know: what other rests need. */
#include "core/vault.h"
#include "pages/compact.h"

static inline void write_slot(unsigned char *data, const void *from, size_t bytes) {
    static const unsigned char zeros[MG_COMPACT_MOST];
    mg__arch_copy_cleanly(data, from != NULL ? from : zeros, bytes);
}

static inline bool make(struct mg__thread *thread, const struct mg__vault *vault, const void *from, size_t bytes,
                        uint8_t flags, memguard_secret *secret) {
    struct mg__compact_line *line = mg__compact_line_of(&thread->slots, vault->arena, bytes);
    if (MG_UNLIKELY(!mg__compact_line_has_slots(line))) return false;
    if (MG_UNLIKELY(atomic_load_explicit(&thread->indices.count, memory_order_relaxed) == 0)) return false;
    const struct mg__compact_slot *slot = mg__compact_line_take(line);
    write_slot(slot->data, from, bytes);
    secret->id =
        mg__entry_begin_compact(&thread->indices, vault->index + 1, flags, bytes, slot->data, slot->place);
    return true;
}

bool mg__make_quickly(const memguard_vault *token, const void *from, size_t bytes, uint32_t flags,
                      memguard_secret *secret) {
    struct mg__thread *thread = mg__thread_known();
    struct mg__vault *vault = mg__vault_of_token(token);
    bool made = false;
    if (MG_UNLIKELY((flags & ~(uint32_t)MEMGUARD_FROZEN) != MEMGUARD_COMPACT || bytes - 1 >= MG_COMPACT_MOST))
        return false;
    if (MG_UNLIKELY(thread == NULL || thread->scope != NULL || vault == NULL || !mg__sys_is_plain_owner()))
        return false;
    if (MG_LIKELY(mg__making_begin(thread, vault, token)) &&
        MG_LIKELY(atomic_load_explicit(&vault->quick, memory_order_relaxed) != 0))
        made = make(thread, vault, from, bytes, (flags & MEMGUARD_FROZEN) != 0 ? MG_ENTRY_FROZEN : 0, secret);
    mg__making_end(thread);
    return made;
}

static inline bool is_small(const struct mg__entry *entry) {
    return mg__entry_rest(entry) == MEMGUARD_COMPACT &&
           (mg__entry_flags(entry) & (MG_ENTRY_GUARDED | MG_ENTRY_EXPIRED)) == 0;
}

bool mg__end_quickly(uint64_t id) {
    if (MG_UNLIKELY(!mg__sys_is_plain_owner())) return false;
    struct mg__entry *entry = mg__entry_doom_quickly(id);
    if (MG_UNLIKELY(entry == NULL)) return false;
    if (!is_small(entry)) {
        mg__secret_end(entry);
        return true;
    }
    struct mg__vault *vault = mg__vault_of(entry);
    const struct mg__compact_slot slot = {entry->body.data, entry->place};
    const size_t bytes = mg__entry_bytes(entry);
    if (MG_UNLIKELY(!mg__compact_give(vault->arena, &slot, bytes))) mg__corrupted(vault, bytes);
    mg__limits_drop(entry);
    mg__entry_free(entry);
    return true;
}
