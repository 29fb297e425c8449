/* core/purge: forgetting everything in a vault, while others are at it. Contract: memguard.h; protocol: table.h.
 *
 *   1. the gate closes: new calls answer STALE; those under way finish their library part and find D; those that make a secret
 *      are waited for, and what they have made is found like the rest
 *   2. the key goes
 *   3. every entry is marked D; idle ones end at once
 *   4. what the host holds is waited for; after that each entry whose pins are all held is marked R and its memory taken away
 *   5. a fresh key, the gate opens
 *
 * The mark R is set by compare-and-swap on the whole word, so a holder that comes back at the same moment either comes first, and
 * then closes in the normal way, or finds R and touches nothing. The purge keeps a pin of its own while it takes memory away, so
 * that the holder cannot end the entry under its hands.
 * Must not know: how bytes are sealed. */
#include "core/light.h"

/* Whether the entry is a secret of the vault; *word is what was seen while it was. */
static bool belongs(struct mg__entry *entry, const struct mg__vault *vault, uint64_t *word) {
    *word = atomic_load(&entry->word);
    return (*word & MG_WORD_L) != 0 && mg__entry_is_of(entry, vault->index) &&
           (atomic_load(&entry->word) >> 32) == (*word >> 32);
}

static void each_entry(struct mg__vault *vault, bool (*visit)(struct mg__vault *, struct mg__entry *, uint64_t word),
                       bool *any) {
    const uint32_t count = mg__table_count();
    *any = false;
    mg__light_note_readers(vault);
    for (uint32_t i = 0; i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        uint64_t word = 0;
        if (belongs(entry, vault, &word) && visit(vault, entry, word)) *any = true;
    }
}

/* read: by light readers, when they were noted: there are none that came later. */
static bool mark_or_end_known(struct mg__vault *vault, struct mg__entry *entry, uint64_t word, bool read) {
    for (;;) {
        if ((word & MG_WORD_R) != 0) return mg__word_is_being_revoked(word); /* else taken away already */
        if (mg__word_pins(word) == 0 && !read) {
            if (mg__entry_seize_idle(entry, word, MG_WORD_D | MG_WORD_V)) {
                mg__secret_end(entry);
                return false;
            }
        } else if ((word & MG_WORD_D) != 0 || atomic_compare_exchange_strong(&entry->word, &word, word | MG_WORD_D)) {
            return true;
        }
        if (!belongs(entry, vault, &word)) return false;
    }
}

/* Marks an entry as dying, and ends it when it is idle. true: somebody is still at it. */
static bool mark_or_end(struct mg__vault *vault, struct mg__entry *entry, uint64_t word) {
    const bool read = mg__light_was_noted(entry);
    return mark_or_end_known(vault, entry, word & ~MG_WORD_N, read);
}

static bool take_memory_away(struct mg__entry *entry) {
    const uint32_t rest = mg__entry_rest(entry);
    const bool guarded = rest != MEMGUARD_COMPACT || mg__entry_has(entry, MG_ENTRY_GUARDED);
    bool taken = mg__use_page_revoke(mg__entry_id(entry));
    if (mg__entry_is_chunked(entry)) return mg__chunked_take_away(entry) && taken;
    struct mg__region *open = rest == MEMGUARD_SEALED ? mg__entry_open_region(entry) : NULL;
    if (open != NULL) taken = mg__region_revoke(open) && taken;
    if (rest != MEMGUARD_SEALED && guarded) taken = mg__region_revoke(entry->body.region) && taken;
    return taken;
}

struct revocation {
    uint64_t revoked;
    bool compact, refused, light; /* light: what light readers may hold is marked, and comes last */
};

static bool in_compact_slot(const struct mg__entry *entry) {
    return mg__entry_rest(entry) == MEMGUARD_COMPACT && !mg__entry_has(entry, MG_ENTRY_GUARDED);
}

/* Of an entry that is marked R, with a pin of ours. */
static void take_away(struct mg__entry *entry, struct revocation *sum) {
    if (in_compact_slot(entry)) sum->compact = true;
    if (!take_memory_away(entry)) sum->refused = true;
    mg__secret_after(entry, mg__entry_unpin(entry, false));
}

/* Revokes an entry whose pins are all in the host's hands; false: it is not so (any more). With light readers: only marks it, and
 * notes that by N. */
static bool revoke_held(struct mg__entry *entry, uint64_t word, bool read, struct revocation *sum) {
    const uint32_t held = mg__word_held(word);
    if ((held == 0 && !read) || mg__word_busy(word) != 0 || (word & MG_WORD_R) != 0 ||
        !atomic_compare_exchange_strong(&entry->word, &word,
                                        (word | MG_WORD_D | MG_WORD_R | (read ? MG_WORD_N : 0)) + MG_WORD_BUSY_ONE))
        return false;
    sum->revoked += held;
    if (!read) {
        take_away(entry, sum);
    } else {
        sum->light = true;
    }
    return true;
}

/* One entry that outlived the wait: ends, or is revoked. Waits for the library's own work on it. */
static void revoke_entry(struct mg__vault *vault, struct mg__entry *entry, uint64_t word, struct revocation *sum) {
    bool read = mg__light_was_noted(entry);
    unsigned step = 0;
    word &= ~MG_WORD_N;
    for (;;) {
        const bool settled = (word & MG_WORD_R) != 0 || (mg__word_pins(word) == 0 && !read);
        if (settled && !mark_or_end_known(vault, entry, word, read)) return;
        if (revoke_held(entry, word, read, sum)) return;
        mg__sys_backoff(&step);
        if (!belongs(entry, vault, &word)) return;
        read = read && mg__light_any(mg__entry_id(entry));
    }
}

/* What was marked above: once no light reader is busy with any of it. */
static void take_light_away(const struct mg__vault *vault, struct revocation *sum) {
    const uint32_t count = mg__table_count();
    sum->revoked += mg__light_count_revoked(vault);
    for (uint32_t i = 0; i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        uint64_t word = 0;
        if (belongs(entry, vault, &word) && (word & MG_WORD_R) != 0 && mg__light_was_noted(entry))
            take_away(entry, sum);
    }
}

void mg__purge_overdue(struct mg__vault *vault, struct mg__entry *entry) {
    struct revocation sum = {0};
    uint64_t word = 0;
    unsigned step = 0;
    if (in_compact_slot(entry)) return;
    /* The limits are looked at between the word and its exchange: those of this very life of the entry. */
    while (belongs(entry, vault, &word) && (word & (MG_WORD_D | MG_WORD_R)) == 0 && mg__word_pins(word) != 0 &&
           mg__limits_are_overdue(entry) &&
           !revoke_held(entry, word, false, &sum)) /* what has limits has no light readers */
        mg__sys_backoff(&step);
    atomic_fetch_add(&vault->revoked, sum.revoked);
    if (sum.refused) atomic_fetch_add(&vault->unrevoked_borrows, sum.revoked);
}

static uint64_t revoke_rest(struct mg__vault *vault) {
    struct revocation sum = {0};
    const uint32_t count = mg__table_count();
    mg__light_note_readers(vault);
    for (uint32_t i = 0; i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        uint64_t word = 0;
        if (belongs(entry, vault, &word)) revoke_entry(vault, entry, word, &sum);
    }
    if (sum.light) take_light_away(vault, &sum);
    if (sum.compact && !mg__compact_revoke(vault->arena)) sum.refused = true;
    if (sum.refused) atomic_store(&vault->unrevoked, true);
    return sum.revoked;
}

/* Whoever destroys the vault waits for calls of ours alone, and holds its mutex. */
static memguard_status wait_for_holders(const struct mg__vault *vault, unsigned *step) {
    if (atomic_load(&vault->purge) == MG_PURGE_RUNNING) return mg__call_nap(step);
    mg__sys_backoff(step);
    return MEMGUARD_OK;
}

memguard_status mg__purge_secrets(struct mg__vault *vault, uint64_t *revoked) {
    memguard_status status = MEMGUARD_OK;
    bool any = false;
    unsigned step = 0;
    *revoked = 0;
    while (status == MEMGUARD_OK) {
        each_entry(vault, mark_or_end, &any);
        if (!any) break;
        if (mg__sys_now_ns() >= atomic_load(&vault->purge_until_ns)) {
            *revoked = revoke_rest(vault);
            break;
        }
        status = wait_for_holders(vault, &step);
    }
    return status;
}

/* ---- the whole of it ---- */

/* Compact pages begin anew, so that nothing of a revoked slot is left in use. */
static memguard_status renew_arena(struct mg__vault *vault) {
    struct mg__compact_arena *fresh = NULL;
    const memguard_status status = mg__compact_create(vault->kind, &fresh);
    if (status != MEMGUARD_OK) return status;
    mg__threads_forget_slots(vault->arena);
    mg__compact_destroy(vault->arena);
    vault->arena = fresh;
    return MEMGUARD_OK;
}

/* The process is about to end: no vault gets a new key. */
static _Atomic bool ending;

static memguard_status begin_anew(struct mg__vault *vault) {
    if (atomic_load(&ending)) return mg__fail_plain(MEMGUARD_ERR_STATE);
    memguard_status status = renew_arena(vault);
    if (status == MEMGUARD_OK) status = mg__prefix_redraw();
    if (status == MEMGUARD_OK) status = mg__coffer_fill(&vault->coffer);
    return status;
}

static memguard_status result_of(struct mg__vault *vault, memguard_status renewed, uint64_t revoked) {
    if (atomic_exchange(&vault->unrevoked, false))
        return mg__fail(MEMGUARD_ERR_SYSTEM, 0,
                        "the system refused to take pages away from their holders: they can still read them");
    if (renewed != MEMGUARD_OK || revoked == 0) return renewed;
    return mg__fail(MEMGUARD_ERR_REVOKED, 0, "%llu borrows were taken away", (unsigned long long)revoked);
}

/* Closes the gate, and the key goes. The control mutex is held. The fence is for light readers. */
static void begin(struct mg__vault *vault) {
    atomic_store(&vault->gate, MG_GATE_PURGING);
    mg__sys_fence_heavy();
    mg__coffer_forget(&vault->coffer);
}

static uint64_t deadline(uint32_t wait_ms) { return mg__sys_now_ns() + wait_ms * 1000000ULL; }

void (*_Atomic mg__vault_on_end)(struct mg__vault *vault);

static void tell_end(struct mg__vault *vault) {
    void (*tell)(struct mg__vault *) = atomic_load(&mg__vault_on_end);
    if (MG_UNLIKELY(tell != NULL)) tell(vault);
}

/* Entered with the control mutex held; leaves without it. */
static memguard_status complete(struct mg__vault *vault, uint64_t until_ns) {
    if (atomic_load(&vault->purge) == MG_PURGE_DEFERRED) atomic_fetch_sub(&mg__purges_deferred, 1);
    vault->deferrer_count = 0;
    atomic_store(&vault->purge_until_ns, until_ns);
    atomic_store(&vault->purge, MG_PURGE_RUNNING);
    mg__mutex_unlock(&vault->control);
    mg__makers_await(vault);
    tell_end(vault);
    uint64_t revoked = 0;
    const memguard_status forked = mg__purge_secrets(vault, &revoked);
    if (MG_UNLIKELY(forked != MEMGUARD_OK)) return forked;
    mg__mutex_lock(&vault->control);
    atomic_fetch_add(&vault->purges, 1);
    atomic_fetch_add(&vault->revoked, revoked);
    mg__vault_renew_mark(vault);
    const memguard_status renewed = begin_anew(vault), status = result_of(vault, renewed, revoked);
    vault->purge_result = status;
    atomic_store(&vault->gate, renewed == MEMGUARD_OK ? MG_GATE_OPEN : MG_GATE_NO_KEY);
    atomic_store(&vault->purge, MG_PURGE_NONE);
    mg__mutex_unlock(&vault->control);
    return status;
}

/* ---- purges from inside a borrow of one's own ---- */

_Atomic uint32_t mg__purges_deferred;

/* The control mutex is held: what can be done at once is done, the last release does the rest. (Whoever wants to be told
 * of what dies cannot be called under the mutex: then all of it is the rest.) More callers than there is room for are
 * waited for like any holder. */
static void defer(struct mg__vault *vault, struct mg__thread *thread, uint32_t wait_ms) {
    bool any = false;
    mg__makers_await(vault);
    if (MG_LIKELY(atomic_load(&mg__vault_on_end) == NULL)) each_entry(vault, mark_or_end, &any);
    if (vault->deferrer_count < MG_DEFERRERS)
        vault->deferrers[vault->deferrer_count++] = (struct mg__deferrer){thread, wait_ms};
    if (atomic_load(&vault->purge) == MG_PURGE_DEFERRED) return;
    atomic_store(&vault->purge, MG_PURGE_DEFERRED);
    atomic_fetch_add(&mg__purges_deferred, 1);
}

/* The purge that `whose` asked for, if it is due: `whose` borrows nothing any more. The others are holders to it like
 * any. A thread that ended the borrow of another one, and borrows itself, would wait for itself: it takes the duty
 * over. */
static const struct mg__deferrer *due_deferrer(struct mg__vault *vault, const struct mg__thread *whose) {
    struct mg__thread *self = mg__thread_self(); /* without a record it cannot borrow */
    const bool waits_for_itself = self != NULL && mg__thread_borrows(self, vault);
    for (uint32_t i = 0; i < vault->deferrer_count; i++) {
        struct mg__deferrer *deferrer = &vault->deferrers[i];
        if (deferrer->thread != whose || mg__thread_borrows(whose, vault)) continue;
        if (!waits_for_itself) return deferrer;
        deferrer->thread = self;
    }
    return NULL;
}

static void resume(struct mg__vault *vault, const struct mg__thread *whose) {
    if (atomic_load(&vault->purge) != MG_PURGE_DEFERRED) return;
    mg__mutex_lock(&vault->control);
    const bool deferred = atomic_load(&vault->purge) == MG_PURGE_DEFERRED;
    const struct mg__deferrer *due = deferred ? due_deferrer(vault, whose) : NULL;
    if (due == NULL) {
        mg__mutex_unlock(&vault->control);
        return;
    }
    /* What became of it stands in the report; the call that brought us here has its own answer. */
    const memguard_status status = complete(vault, deadline(due->wait_ms));
    (void)status;
}

void mg__purge_resume(const struct mg__thread *whose) {
    for (uint32_t i = 0; i < MG_VAULTS; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (vault == NULL) return; /* structs are made one after another */
        resume(vault, whose);
    }
}

/* ---- in a forked child ---- */

/* Those who asked, or were at it, are not here, except this thread. What it borrows ends in its own time. */
static void settle(struct mg__vault *vault, struct mg__thread *thread) {
    mg__mutex_lock(&vault->control);
    atomic_store(&vault->purge, MG_PURGE_DEFERRED);
    if (thread != NULL && mg__thread_borrows(thread, vault)) {
        vault->deferrers[0] = (struct mg__deferrer){thread, 0};
        vault->deferrer_count = 1;
        mg__mutex_unlock(&vault->control);
        return;
    }
    /* What became of it stands in the report. */
    const memguard_status status = complete(vault, 0);
    (void)status;
}

void mg__purges_settle(void) {
    struct mg__thread *thread = mg__thread_heir();
    uint32_t unfinished = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < mg__vault_count(); i++) {
            struct mg__vault *vault = mg__vault_by_index(i);
            if (!mg__vault_is_here(vault) || atomic_load(&vault->purge) == MG_PURGE_NONE) continue;
            if (pass == 0)
                unfinished++;
            else
                settle(vault, thread);
        }
        if (pass == 0) atomic_store(&mg__purges_deferred, unfinished);
    }
}

/* ---- the public calls ---- */

/* Another thread is at it: what was there when we came is gone when it is done, and its wait is no longer than ours.
 * Whoever borrows would wait for himself, and does not. The control mutex is held, and left. It is this one purge that
 * is waited for, not the next, nor that of another vault which has got the struct since (then: STALE). */
static memguard_status join_running(const memguard_vault *token, struct mg__vault *vault, bool borrows,
                                    uint64_t until_ns) {
    unsigned step = 0;
    const uint64_t done = atomic_load(&vault->purges);
    if (!borrows && until_ns < atomic_load(&vault->purge_until_ns)) atomic_store(&vault->purge_until_ns, until_ns);
    mg__mutex_unlock(&vault->control);
    if (borrows) return MEMGUARD_OK;
    memguard_status status = MEMGUARD_OK;
    while (status == MEMGUARD_OK && mg__vault_find(token) == vault && atomic_load(&vault->purge) == MG_PURGE_RUNNING &&
           atomic_load(&vault->purges) == done)
        status = mg__call_nap(&step);
    if (status == MEMGUARD_OK) status = mg__vault_enter(token, &vault);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = vault->purge_result;
    mg__mutex_unlock(&vault->control);
    return status == MEMGUARD_OK ? status : mg__fail_plain(status);
}

static memguard_status purge(const memguard_vault *token, uint32_t wait_ms, uint64_t until_ns, bool own_too) {
    struct mg__vault *vault = NULL;
    struct mg__thread *thread = own_too ? NULL : mg__thread_self(); /* without a record it cannot borrow */
    const memguard_status status = mg__vault_enter(token, &vault);
    if (status != MEMGUARD_OK) return status;
    const bool borrows = thread != NULL && mg__thread_borrows(thread, vault);
    if (atomic_load(&vault->purge) == MG_PURGE_RUNNING) return join_running(token, vault, borrows, until_ns);
    begin(vault);
    if (!borrows) return complete(vault, until_ns);
    defer(vault, thread, wait_ms);
    mg__vault_leave(vault);
    mg__purge_resume(thread); /* another one may have ended our borrow just before it could know of the purge */
    return MEMGUARD_OK;
}

memguard_status memguard_vault_purge(memguard_vault *token, uint32_t wait_ms) {
    MG_REFUSE_FORKED();
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    return purge(token, wait_ms, deadline(wait_ms), false);
}

/* All gates first, and all keys: then the waiting. */
static void begin_all(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (!mg__vault_is_here(vault)) continue;
        mg__mutex_lock(&vault->control);
        if (mg__vault_alive(vault) && atomic_load(&vault->purge) == MG_PURGE_NONE) begin(vault);
        mg__mutex_unlock(&vault->control);
    }
}

static memguard_status purge_all(uint32_t wait_ms, bool own_too) {
    memguard_status worst = MEMGUARD_OK;
    const uint32_t count = mg__vault_count();
    const uint64_t until_ns = deadline(wait_ms);
    begin_all(count);
    for (uint32_t i = 0; i < count; i++) {
        const struct mg__vault *vault = mg__vault_by_index(i);
        if (!mg__vault_is_here(vault)) continue;
        const memguard_status status = purge(mg__vault_token(vault), wait_ms, until_ns, own_too);
        const bool gone_meanwhile = status == MEMGUARD_ERR_STALE, ended = own_too && status == MEMGUARD_ERR_STATE;
        if (!gone_meanwhile && !ended && (worst == MEMGUARD_OK || worst == MEMGUARD_ERR_REVOKED) &&
            status != MEMGUARD_OK)
            worst = status;
    }
    return worst;
}

memguard_status memguard_purge_all(uint32_t wait_ms) {
    MG_REFUSE_FORKED();
    return purge_all(wait_ms, false);
}

memguard_status mg__purge_at_end(uint32_t wait_ms) {
    MG_REFUSE_FORKED();
    atomic_store(&ending, true);
    return purge_all(wait_ms, true);
}

void memguard_emergency_wipe(void) {
    if (mg__sys_is_refused_child()) mg__bank_part();
    atomic_store(&ending, true);
    mg__vault_close_all();
    mg__bench_emergency_stop();
    mg__bank_emergency_wipe();
    mg__bench_emergency_wipe();
}
