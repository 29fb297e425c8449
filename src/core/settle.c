/* core/settle: what a child of fork does with its copy before its first call (fork.h). At the fork nobody was inside the library; of
 * the threads only this one lives on. The copies become its own; it seals under a prefix of its own; what other threads had begun
 * ends; vaults that are not copied stay behind, and are not touched. docs/KEYS.md, section 8. Must not know: how bytes
 * are sealed. */
#include "core/vault.h"

/* Nobody can have one of them; their indices are out of use here. */
static void leave_behind(struct mg__entry *entry, uint64_t word) {
    atomic_store(&entry->word, (word >> 32 << 32) | MG_WORD_S);
}

/* Shown to nobody any more: closed. A refusal leaves it open to this process alone, and the next borrow's end tries again. */
static void close_left_open(struct mg__vault *vault, struct mg__entry *entry, uint64_t word) {
    if (mg__entry_is_chunked(entry)) return; /* its windows have a time of their own */
    const bool has_views = (mg__entry_kind(entry) & MG_KIND_EXTRA) != 0 && mg__entry_extra(entry)->views != 0;
    if ((word & MG_WORD_X) != 0 || has_views || mg__entry_has(entry, MG_ENTRY_EXPIRED)) return;
    const bool sealed = mg__entry_rest(entry) == MEMGUARD_SEALED;
    memguard_status status = MEMGUARD_OK;
    if (!sealed)
        status = mg__settle(entry);
    else if (mg__entry_open_region(entry) != NULL)
        status = mg__close(vault, entry, false);
    (void)status;
}

/* A draft whose maker is not here: nobody will ever know its handle. */
static bool is_abandoned(const struct mg__entry *entry, uint64_t word) {
    const struct mg__thread *thread = mg__thread_heir();
    if (!mg__entry_is_draft(entry)) return false;
    return (word & MG_WORD_X) == 0 || thread == NULL || mg__entry_extra(entry)->views != thread->number;
}

static void end_abandoned(struct mg__entry *entry, uint64_t word) {
    mg__entry_take_extra(entry)->views = 0;
    word &= ~(MG_WORD_X | MG_WORD_T | MG_WORD_PINS);
    atomic_store(&entry->word, word);
    if (mg__entry_seize_idle(entry, word, MG_WORD_D))
        mg__secret_after(entry, (word & MG_WORD_R) != 0 ? MG_LAST_OF_REVOKED : MG_LAST_OF_DYING);
}

/* What ended with the threads that are not here. */
static void settle_copy(struct mg__vault *vault, struct mg__entry *entry, uint64_t word) {
    if (is_abandoned(entry, word)) {
        end_abandoned(entry, word);
        return;
    }
    const uint64_t ends = word & (MG_WORD_D | MG_WORD_R);
    if (ends == 0) {
        close_left_open(vault, entry, word);
    } else if (mg__entry_seize_idle(entry, word, MG_WORD_D)) {
        mg__secret_after(entry, (word & MG_WORD_R) != 0 ? MG_LAST_OF_REVOKED : MG_LAST_OF_DYING);
    }
}

static void settle_entries(void) {
    const uint32_t count = mg__table_count();
    for (uint32_t i = 0; i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        const uint64_t word = atomic_load(&entry->word);
        struct mg__vault *vault = mg__entry_vault(entry) == 0 ? NULL : mg__vault_of(entry);
        if ((word & MG_WORD_L) == 0 || vault == NULL) continue;
        if (mg__vault_is_here(vault))
            settle_copy(vault, entry, word);
        else
            leave_behind(entry, word);
    }
}

static void settle_vaults(void) {
    const uint32_t count = mg__vault_count();
    for (uint32_t i = 0; i < count; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (mg__vault_is_here(vault)) mg__coffer_settle(&vault->coffer);
    }
    mg__purges_settle();
}

memguard_status mg__settle_child(void) {
    memguard_status status = mg__bank_own_copies();
    if (status == MEMGUARD_OK) status = mg__prefix_redraw();
    if (status != MEMGUARD_OK) return status;
    mg__sys_fork_adopt();
    mg__sys_fence_prepare();
    mg__bank_forget_uncopied();
    mg__vaults_leave_behind();
    settle_entries();
    mg__use_pages_take_back();
    mg__shown_take_back();
    mg__threads_settle();
    settle_vaults();
    return mg__vaults_keep_house();
}
