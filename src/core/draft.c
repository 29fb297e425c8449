/* See draft.h. Must not know: where the bytes come from. */
#include "core/draft.h"

/* Gives up exclusive ownership of an entry that is dying, or that a purge has taken away. */
static memguard_status leave(struct mg__draft *draft) {
    mg__secret_after(draft->entry, mg__entry_unseize(draft->entry));
    draft->entry = NULL;
    return mg__fail_plain(MEMGUARD_ERR_STALE);
}

void mg__draft_end(struct mg__draft *draft) {
    if (draft->entry == NULL) {
        const memguard_status destroyed = memguard_secret_destroy(&draft->secret);
        (void)destroyed; /* STALE: it is gone already */
        return;
    }
    mg__secret_end(draft->entry);
    draft->entry = NULL;
}

static memguard_status end_with(struct mg__draft *draft, memguard_status status) {
    if (status != MEMGUARD_OK) mg__draft_end(draft);
    return status;
}

memguard_status mg__draft_begin(memguard_vault *token, size_t bytes, uint32_t flags, struct mg__draft *draft) {
    memset(draft, 0, sizeof *draft);
    memguard_status status = mg__secret_check_flags(flags);
    if (status == MEMGUARD_OK) status = mg__entry_begin(token, MG_OBJECT_SECRET, &draft->vault, &draft->entry);
    if (status != MEMGUARD_OK) return status;
    status = mg__make_body(draft->vault, draft->entry, MEMGUARD_CLOSED, bytes, &draft->data);
    if (status != MEMGUARD_OK) {
        mg__entry_free(draft->entry);
        return status;
    }
    mg__wipe(draft->data, bytes); /* the canary's pattern was there */
    mg__entry_change_flags(draft->entry, 0, MG_ENTRY_DRAFT);
    draft->secret.id = mg__entry_id(draft->entry);
    draft->bytes = bytes;
    draft->flags = flags;
    return MEMGUARD_OK;
}

memguard_status mg__draft_lend(struct mg__draft *draft) {
    const struct mg__thread *thread = mg__thread_self();
    if (thread == NULL) return end_with(draft, mg__fail_plain(MEMGUARD_ERR_MEMORY));
    if (MG_UNLIKELY(!mg__entry_hold(draft->entry))) return leave(draft);
    mg__entry_take_extra(draft->entry)->views = thread->number;
    draft->depth = mg__call_park();
    return MEMGUARD_OK;
}

memguard_status mg__draft_take_back(struct mg__draft *draft) {
    const memguard_status status = mg__vault_come_back(draft->vault, draft->depth);
    mg__entry_take_extra(draft->entry)->views =
        0; /* of a child that has not settled, too: then it ends when that does */
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    return MG_LIKELY(mg__entry_unhold(draft->entry)) ? MEMGUARD_OK : leave(draft);
}

memguard_status mg__draft_show(struct mg__draft *draft, size_t offset, size_t bytes, memguard_fn *fn, void *arg) {
    struct mg__show show = {
        .vault = draft->vault, .entry = draft->entry, .thread = mg__thread_self(), .fn = fn, .arg = arg};
    if (show.thread == NULL) return end_with(draft, mg__fail_plain(MEMGUARD_ERR_MEMORY));
    mg__entry_take_extra(draft->entry)->views = show.thread->number;
    const bool whole = mg__show(&show, draft->data + offset, bytes);
    mg__entry_take_extra(draft->entry)->views = 0; /* as in take_back */
    if (MG_UNLIKELY(show.lost != MEMGUARD_OK)) return show.lost;
    return show.ran && whole ? MEMGUARD_OK : leave(draft);
}

memguard_status mg__draft_sleep(struct mg__draft *draft) {
    const memguard_status status = end_with(draft, mg__close(draft->vault, draft->entry, true));
    if (status != MEMGUARD_OK) return status;
    const enum mg__unpin left = mg__entry_unseize(draft->entry);
    mg__secret_after(draft->entry, left);
    draft->entry = NULL;
    return left == MG_UNPINNED ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_STALE);
}

bool mg__secret_lives(uint64_t id) {
    const struct mg__entry *entry = mg__entry_at(id);
    const uint64_t word = entry != NULL ? atomic_load(&entry->word) : 0;
    return (word ^ id) >> 32 == 0 && (word & (MG_WORD_L | MG_WORD_D)) == MG_WORD_L;
}

/* Another thread that locks, or looks, is done soon. */
static memguard_status seize(struct mg__draft *draft) {
    unsigned step = 0;
    for (;;) {
        const memguard_status status = mg__secret_seize(draft->secret, &draft->vault, &draft->entry);
        if (status != MEMGUARD_ERR_BUSY) return status;
        mg__sys_backoff(&step);
    }
}

static memguard_status open(struct mg__draft *draft) {
    return end_with(draft, mg__open(draft->vault, draft->entry, MG_ACCESS_WRITE, &draft->data));
}

memguard_status mg__draft_wake(struct mg__draft *draft) {
    memguard_status status = seize(draft);
    if (status != MEMGUARD_OK) {
        draft->entry = NULL;
        mg__draft_end(draft);
        return status;
    }
    status = end_with(draft, mg__secret_change_rest(draft->vault, draft->entry, MEMGUARD_CLOSED));
    return status == MEMGUARD_OK ? open(draft) : status;
}

memguard_status mg__draft_grow(struct mg__draft *draft, size_t bytes) {
    const memguard_status status =
        end_with(draft, mg__secret_convert(draft->vault, draft->entry, MEMGUARD_CLOSED, bytes));
    if (status != MEMGUARD_OK) return status;
    draft->bytes = bytes;
    return open(draft);
}

/* A body as the flags want it, in one step: the bytes are copied once at the most. */
static memguard_status settle(const struct mg__draft *draft, size_t bytes) {
    const uint32_t rest = draft->flags & MEMGUARD_REST_MASK;
    const unsigned kept = ((draft->flags & MEMGUARD_FROZEN) != 0 ? MG_ENTRY_FROZEN : 0U) |
                          ((draft->flags & MEMGUARD_WRITABLE) != 0 ? MG_ENTRY_WRITABLE : 0U);
    mg__entry_change_flags(draft->entry, 0, kept);
    if (rest == MEMGUARD_CLOSED && bytes == draft->bytes) return mg__close(draft->vault, draft->entry, true);
    return mg__secret_convert(draft->vault, draft->entry, rest, bytes);
}

memguard_status mg__draft_finish(struct mg__draft *draft, size_t bytes, memguard_secret *secret) {
    const memguard_status status = end_with(draft, settle(draft, bytes));
    if (status != MEMGUARD_OK) return status;
    mg__entry_change_flags(draft->entry, MG_ENTRY_DRAFT, 0);
    return mg__secret_finish(draft->vault, draft->entry, draft->flags, secret);
}
