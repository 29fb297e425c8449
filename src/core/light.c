/* See light.h. What is here is not hot. Seats are looked at without locks: records and seats are never freed. */
#include "core/light.h"

enum { RELEASED_BY_OTHERS = 16 }; /* so many views, and a thread goes back to pins */

static uint64_t id_of(uint64_t read) { return ~(read | MG_READ_CLAIMED | MG_READ_TAKEN); }

/* ---- all seats ---- */

/* Until `visit` says true. */
static bool each_seat(bool (*visit)(struct mg__seat *seat, void *arg), void *arg) {
    const struct mg__thread *thread = NULL;
    for (uint32_t number = 1; (thread = mg__thread_by_number(number)) != NULL; number++) {
        struct mg__seat *seats = NULL;
        for (unsigned i = 0; i < MG_VIEW_SEGMENTS && (seats = mg__thread_seats(thread, i)) != NULL; i++)
            for (size_t k = 0; k < (size_t)MG_VIEW_FIRST << i; k++)
                if (atomic_load_explicit(&seats[k].read, memory_order_acquire) != 0 && visit(&seats[k], arg))
                    return true;
    }
    return false;
}

static bool is_read_of(struct mg__seat *seat, void *id) {
    const uint64_t read = atomic_load_explicit(&seat->read, memory_order_acquire);
    return read != 0 && id_of(read) == *(const uint64_t *)id;
}

bool mg__light_any(uint64_t id) { return each_seat(is_read_of, &id); }

struct count {
    const struct mg__vault *vault;
    uint64_t id;
    uint32_t held;
};

static bool count_of(struct mg__seat *seat, void *arg) {
    struct count *count = arg;
    count->held += is_read_of(seat, &count->id) && atomic_load(&seat->mark) != 0;
    return false;
}

uint32_t mg__light_count(uint64_t id) {
    struct count count = {.id = id};
    (void)each_seat(count_of, &count);
    return count.held;
}

static bool is_held_in(const struct mg__vault *vault, uint64_t mark) {
    return mark != 0 && (uint32_t)mark == atomic_load(&vault->mark);
}

static bool count_in(struct mg__seat *seat, void *arg) {
    struct count *count = arg;
    count->held += is_held_in(count->vault, atomic_load(&seat->mark));
    return false;
}

uint32_t mg__light_count_in(const struct mg__vault *vault) {
    struct count count = {.vault = vault};
    (void)each_seat(count_in, &count);
    return count.held;
}

/* ---- coming and going ---- */

void mg__light_consider(const struct mg__vault *vault, struct mg__entry *entry) {
    const uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
    if ((word & MG_WORD_V) != 0 || !atomic_load_explicit(&mg__sys_light_fences, memory_order_relaxed)) return;
    if (mg__kind_is_copied(vault->kind) || mg__entry_limits(entry) != NULL || mg__entry_few_bytes(entry) == UINT32_MAX)
        return;
    /* These reads have cost about as much as the fence that takes V back. */
    if (mg__entry_count_read(entry)) mg__entry_let_read_lightly(entry);
}

void mg__light_finish(struct mg__entry *entry, uint64_t id) {
    atomic_thread_fence(memory_order_seq_cst);
    mg__secret_after(entry, mg__entry_finish(entry, id));
}

static enum mg__unpin give_back(struct mg__entry *entry, uint64_t id) {
    uint64_t word = atomic_load(&entry->word), wanted = 0;
    do {
        wanted = (word & ~(MG_WORD_X | MG_WORD_T)) - MG_WORD_BUSY_ONE;
    } while (!atomic_compare_exchange_weak(&entry->word, &word, wanted));
    return (wanted & MG_WORD_D) != 0 ? mg__entry_finish(entry, id) : MG_UNPINNED;
}

bool mg__light_expel(struct mg__entry *entry, uint64_t gone) {
    const uint64_t id = mg__entry_id(entry);
    mg__sys_fence_heavy();
    if (mg__light_any(id)) {
        mg__secret_after(entry, give_back(entry, id));
        return false;
    }
    atomic_fetch_and(&entry->word, ~(MG_WORD_V | gone));
    return true;
}

/* ---- releases by other threads, and of what is taken away ---- */

/* The owner has taken the mark and finds a claim. Another thread that had made it before looks whether there is a mark: so it gives up,
 * or both come here, and one compare-and-swap succeeds. */
bool mg__seat_decide(struct mg__seat *seat, uint64_t read) {
    uint64_t seen = read & ~MG_READ_CLAIMED;
    return atomic_compare_exchange_strong(&seat->read, &seen, read) || seen == read;
}

static bool take_own(struct mg__seat *seat, uint64_t mark, uint64_t read) {
    if (mark == 0 || atomic_load(&seat->mark) != mark || (atomic_load(&seat->read) | MG_READ_CLAIMED) != read)
        return false;
    atomic_store(&seat->mark, 0); /* a full fence */
    return atomic_load(&seat->read) == read || mg__seat_decide(seat, read);
}

static bool claim(struct mg__seat *seat, uint64_t mark, uint64_t read) {
    uint64_t seen = read;
    const uint64_t claimed = read & ~MG_READ_CLAIMED;
    if (mark == 0 || atomic_load(&seat->mark) != mark || !atomic_compare_exchange_strong(&seat->read, &seen, claimed))
        return false;
    mg__sys_fence_heavy();
    seen = claimed;
    if (atomic_load(&seat->mark) == mark && atomic_compare_exchange_strong(&seat->read, &seen, read & ~MG_READ_TAKEN)) {
        atomic_store(&seat->mark, 0);
        return true;
    }
    seen = claimed;
    (void)atomic_compare_exchange_strong(&seat->read, &seen, read); /* else the owner has done that */
    return false;
}

/* One other thread at a time. */
static bool take_anothers(struct mg__thread *began, struct mg__seat *seat, uint64_t mark, uint64_t read) {
    mg__mutex_lock(&began->releasing);
    const bool taken = claim(seat, mark, read);
    if (taken && ++began->released % RELEASED_BY_OTHERS == 0) atomic_store(&began->heavy, true);
    mg__mutex_unlock(&began->releasing);
    return taken;
}

/* A revocation counts who holds: so we do, until it is over. */
static void hold_during_revocation(struct mg__entry *entry, struct mg__seat *seat, uint64_t mark, uint64_t read) {
    unsigned step = 0;
    atomic_store(&seat->read, read);
    atomic_store(&seat->mark, mark);
    while (mg__word_is_being_revoked(atomic_load(&entry->word)))
        mg__sys_backoff(&step);
}

memguard_status mg__light_release(struct mg__thread *began, struct mg__seat *seat, uint64_t mark, uint64_t id) {
    struct mg__entry *entry = mg__entry_at(id);
    const uint64_t read = mg__read_of(id);
    const bool own = began == mg__thread_known();
    memguard_status status = MEMGUARD_OK;
    uint64_t word = 0;
    for (;;) {
        const bool taken = own ? take_own(seat, mark, read) : take_anothers(began, seat, mark, read);
        if (!taken || entry == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
        word = atomic_load(&entry->word);
        if (!mg__word_is_being_revoked(word)) break;
        hold_during_revocation(entry, seat, mark, read);
    }
    const bool revoked = (word & MG_WORD_R) != 0;
    if (!revoked && mg__entry_rest(entry) == MEMGUARD_COMPACT) status = mg__close(mg__vault_of(entry), entry, false);
    atomic_store(&seat->read, 0); /* a full fence: the thread may have ended, and its record waits for this */
    if (mg__light_is_awaited(entry, id)) mg__light_finish(entry, id);
    return revoked ? mg__fail_plain(MEMGUARD_ERR_REVOKED) : status;
}

/* ---- for a purge, and whoever closes a gate ---- */

/* The entry that the seat reads, when it is one of the vault's; *word: its word. */
static struct mg__entry *entry_read(const struct mg__vault *vault, struct mg__seat *seat, uint64_t *word) {
    const uint64_t read = atomic_load(&seat->read), id = id_of(read);
    struct mg__entry *entry = read == 0 ? NULL : mg__entry_at(id);
    if (entry == NULL) return NULL;
    *word = atomic_load(&entry->word);
    const bool fits =
        (*word ^ id) >> 32 == 0 && (*word & MG_WORD_L) != 0 && atomic_load(&entry->vault) == vault->index + 1;
    return fits ? entry : NULL;
}

/* The mark of a seat that reads something of the vault (revoked: that is revoked, or else that is not), once it is not busy. 0: it
 * does not, or has ended. */
static uint64_t settled_mark(const struct mg__vault *vault, struct mg__seat *seat, bool revoked) {
    unsigned step = 0;
    for (;; mg__sys_backoff(&step)) {
        uint64_t word = 0;
        if (entry_read(vault, seat, &word) == NULL || ((word & MG_WORD_R) != 0) != revoked) return 0;
        const uint64_t mark = atomic_load(&seat->mark);
        if (mark != 0) return mark;
    }
}

static bool settles_held(struct mg__seat *seat, void *vault) {
    return is_held_in(vault, settled_mark(vault, seat, false));
}

bool mg__light_settles_held(const struct mg__vault *vault) { return each_seat(settles_held, (void *)(uintptr_t)vault); }

static bool note_reader(struct mg__seat *seat, void *vault) {
    uint64_t word = 0;
    struct mg__entry *entry = entry_read(vault, seat, &word);
    while (entry != NULL && (word & (MG_WORD_V | MG_WORD_R | MG_WORD_N)) == MG_WORD_V &&
           !atomic_compare_exchange_strong(&entry->word, &word, word | MG_WORD_N))
        entry = entry_read(vault, seat, &word);
    return false;
}

void mg__light_note_readers(const struct mg__vault *vault) { (void)each_seat(note_reader, (void *)(uintptr_t)vault); }

bool mg__light_was_noted(struct mg__entry *entry) {
    if (MG_LIKELY((atomic_load(&entry->word) & MG_WORD_N) == 0)) return false;
    return (atomic_fetch_and(&entry->word, ~MG_WORD_N) & MG_WORD_N) != 0;
}

static bool count_revoked(struct mg__seat *seat, void *arg) {
    struct count *count = arg;
    count->held += is_held_in(count->vault, settled_mark(count->vault, seat, true));
    return false;
}

uint32_t mg__light_count_revoked(const struct mg__vault *vault) {
    struct count count = {.vault = vault};
    mg__sys_fence_heavy();
    (void)each_seat(count_revoked, &count);
    return count.held;
}
