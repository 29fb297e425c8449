/* See table.h. Segments of entries hang in a fixed directory; free indices wait in sharded stacks (R. K. Treiber,
 * 1986) with a tag against ABA; each thread keeps a few, which it takes and gives by the chain. A look-up masks the index at each step, so that no speculation leaves the tables.
 * Must not know: what secrets hold, how they are sealed. */
#include "core/light.h"

#include <stdlib.h>

enum { SHARDS = 16, BATCH = 64 };

enum { HUGE_BYTES = 2 << 20 }; /* of a huge page, where there are such */

struct shard {
    _Alignas(MG_CACHE_LINE) _Atomic uint64_t head; /* tag << 32 | index + 1 */
};

struct mg__segment *_Atomic mg__table_segments[MG_SEGMENTS];
static struct shard shards[SHARDS];
static struct mg__mutex grow_mutex;
static _Atomic uint32_t made;
static uint32_t not_first_generation; /* complement of every index's first; under grow_mutex; 0: not drawn yet */

/* Both its lines: an entry lies across two. */
void mg__entry_prefetch(uint64_t id) {
    const struct mg__entry *entry = mg__entry_at(id);
    if (entry == NULL) return;
    __builtin_prefetch(entry, 1);
    __builtin_prefetch((const unsigned char *)(entry + 1) - 1);
}

/* Streams and large secrets change it while others look. */
static _Atomic uint64_t *many_of(struct mg__entry *entry) {
    return mg__entry_object(entry) != MG_OBJECT_SECRET ? &mg__entry_extra(entry)->bytes : &entry->many;
}

size_t mg__entry_many(const struct mg__entry *entry) {
    return (size_t)atomic_load_explicit(many_of((struct mg__entry *)entry), memory_order_acquire);
}

void mg__entry_set_many(struct mg__entry *entry, size_t bytes) {
    atomic_store_explicit(many_of(entry), bytes, memory_order_relaxed);
    atomic_store_explicit(&entry->bytes, UINT32_MAX, memory_order_release);
}

bool mg__table_is_unlocked(void) { return mg__mutex_is_free(&grow_mutex); }

/* Sequentially consistent, like the store: who closes a gate and then counts finds every entry whose maker saw the
 * gate open. */
uint32_t mg__table_count(void) { return atomic_load(&made); }

void mg__table_each_range(void (*fn)(uintptr_t low, uintptr_t high, void *arg), void *arg) {
    const uint32_t count = mg__table_count();
    for (uint32_t first = 0; first < count; first += MG_SEGMENT) {
        const uintptr_t low = (uintptr_t)mg__entry_known(first);
        fn(low, low + sizeof(struct mg__segment), arg);
    }
}

uint64_t mg__entry_id(const struct mg__entry *entry) {
    return (atomic_load_explicit(&entry->word, memory_order_relaxed) >> 32 << 32) | mg__entry_index(entry);
}

/* ---- free indices ---- */

/* A chain of entries linked by `next`, in one step. */
static void push(struct shard *shard, uint32_t first, uint32_t last) {
    struct mg__entry *end = mg__entry_known(last);
    uint64_t head = atomic_load_explicit(&shard->head, memory_order_relaxed), wanted = 0;
    do {
        atomic_store_explicit(&end->next, (uint32_t)head, memory_order_relaxed);
        wanted = (((head >> 32) + 1) << 32) | (first + 1);
    } while (!atomic_compare_exchange_weak_explicit(&shard->head, &head, wanted, memory_order_release,
                                                    memory_order_relaxed));
}

static void link_to(uint32_t index, uint32_t next) {
    atomic_store_explicit(&mg__entry_known(index)->next, next + 1, memory_order_relaxed);
}

/* The chain that begins at a head, into indices[]; *rest is what follows. Each link is believed only while the head is the
 * same: then nothing that hangs there has changed. 0: it is not (and *head is the new one), or nothing hangs there. */
static uint32_t walk(const struct shard *shard, uint64_t *head, uint32_t *indices, uint32_t most, uint32_t *rest) {
    uint32_t count = 0;
    *rest = (uint32_t)*head;
    while (*rest != 0 && count < most) {
        indices[count++] = *rest - 1;
        *rest = atomic_load_explicit(&mg__entry_known(*rest - 1)->next, memory_order_acquire);
        const uint64_t again = atomic_load_explicit(&shard->head, memory_order_acquire);
        if (again == *head) continue;
        *head = again;
        return 0;
    }
    return count;
}

/* At most so many, in one step; 0: there is none. */
static uint32_t pop(struct shard *shard, uint32_t *indices, uint32_t most) {
    uint64_t head = atomic_load_explicit(&shard->head, memory_order_acquire);
    while ((uint32_t)head != 0) {
        uint32_t rest = 0;
        const uint32_t count = walk(shard, &head, indices, most, &rest);
        if (count != 0 && atomic_compare_exchange_weak_explicit(&shard->head, &head, (((head >> 32) + 1) << 32) | rest,
                                                                memory_order_acquire, memory_order_acquire))
            return count;
    }
    return 0;
}

/* Generations begin at a random number of 30 bits, so that pairs of small numbers in memory do not look like handles to
 * whoever sweeps for lost secrets. For the same reason the number is not kept as it is. */
static memguard_status draw_generation(uint32_t *generation) {
    uint32_t drawn = 0;
    const int error = not_first_generation == 0 ? mg__sys_random(&drawn, sizeof drawn) : 0;
    if (error != 0) return mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness (errno %d)", error);
    if (not_first_generation == 0) not_first_generation = ~((drawn >> 3) | (1U << 29));
    *generation = ~not_first_generation;
    return MEMGUARD_OK;
}

static memguard_status add_segment(uint32_t first) {
    int error = 0;
    struct mg__segment *segment = mg__sys_map_aligned_table(sizeof *segment, MG_SEGMENT_SPACE, &error);
    if (segment == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, sizeof *segment);
    segment->first = first;
    /* Not before they are full: three secrets shall not take megabytes. Refused: then they do. */
    (void)mg__sys_huge_pages(segment, sizeof *segment, false);
    atomic_store_explicit(&mg__table_segments[first >> MG_SEGMENT_BITS], segment, memory_order_release);
    return MEMGUARD_OK;
}

/* A batch was made: what it has filled may become huge pages, so that look-ups among millions do not wait for page tables. Asked for
 * only now, the kernel does it when it has time; asked before, whoever touches them first would wait until it has found
 * two megabytes in one piece. Refused: look-ups take longer. */
static void offer_huge_pages(uint32_t first) {
    const size_t low = first % MG_SEGMENT * sizeof(struct mg__entry), high = low + BATCH * sizeof(struct mg__entry);
    if (MG_LIKELY(low / HUGE_BYTES == high / HUGE_BYTES)) return;
    (void)mg__sys_huge_pages(mg__segment_of(mg__entry_known(first)), high / HUGE_BYTES * HUGE_BYTES, true);
}

/* Every second entry of a batch first: two that are made one after the other do not share a cache line, which threads that use one
 * each would pass to and fro. */
static uint32_t in_turn(uint32_t i) { return i < BATCH / 2 ? 2 * i : 2 * (i - BATCH / 2) + 1; }

static memguard_status grow(struct shard *shard) {
    const uint32_t first = atomic_load_explicit(&made, memory_order_relaxed);
    uint32_t generation = 0;
    memguard_status status = draw_generation(&generation);
    if (status != MEMGUARD_OK) return status;
    if (first >> MG_SEGMENT_BITS >= MG_SEGMENTS)
        return mg__fail(MEMGUARD_ERR_LIMIT, 0, "the handle table is full: %u handles were made", first);
    if (mg__entry_by_index(first) == NULL) status = add_segment(first);
    if (status != MEMGUARD_OK) return status;
    for (uint32_t i = 0; i < BATCH; i++)
        atomic_store_explicit(&mg__entry_known(first + i)->word, (uint64_t)generation << 32, memory_order_relaxed);
    offer_huge_pages(first);
    atomic_store(&made, first + BATCH);
    for (uint32_t i = 0; i + 1 < BATCH; i++)
        link_to(first + in_turn(i), first + in_turn(i + 1));
    push(shard, first, first + in_turn(BATCH - 1));
    return MEMGUARD_OK;
}

/* Some for this thread, of whichever shard has any. */
static memguard_status take_indices(uint32_t *indices, uint32_t most, uint32_t *count) {
    const unsigned mine = mg__thread_hint() % SHARDS;
    memguard_status status = MEMGUARD_OK;
    for (unsigned i = 0; i < SHARDS; i++) {
        *count = pop(&shards[(mine + i) % SHARDS], indices, most);
        if (*count != 0) return MEMGUARD_OK;
    }
    mg__mutex_lock(&grow_mutex);
    while (status == MEMGUARD_OK && (*count = pop(&shards[mine], indices, most)) == 0)
        status = grow(&shards[mine]);
    mg__mutex_unlock(&grow_mutex);
    return status;
}

MG_THREAD struct mg__indices *mg__my_indices;

/* Half of what a thread may keep moves at a time, so that neither making nor ending alone comes here often. */
enum { MOVED = MG_INDICES_KEPT / 2 };

static MG_COLD memguard_status refill(struct mg__indices *mine, uint32_t *index) {
    uint32_t taken[MOVED], count = 0;
    const memguard_status status = take_indices(taken, mine == NULL ? 1 : MOVED, &count);
    if (status != MEMGUARD_OK) return status;
    *index = taken[0];
    for (uint32_t i = 1; i < count; i++)
        mine->kept[i - 1] = taken[count - i];
    if (mine != NULL) atomic_store_explicit(&mine->count, count - 1, memory_order_release);
    return MEMGUARD_OK;
}

/* The ones given last stay. */
static void move_out(struct mg__indices *mine, uint32_t moved) {
    const uint32_t count = atomic_load_explicit(&mine->count, memory_order_relaxed);
    for (uint32_t i = 0; i + 1 < moved; i++)
        link_to(mine->kept[i], mine->kept[i + 1]);
    const uint32_t first = mine->kept[0], last = mine->kept[moved - 1];
    atomic_store_explicit(&mine->count, 0, memory_order_relaxed);
    push(&shards[mg__thread_hint() % SHARDS], first, last);
    memmove(mine->kept, mine->kept + moved, (count - moved) * sizeof mine->kept[0]);
    atomic_store_explicit(&mine->count, count - moved, memory_order_release);
}

void mg__indices_give_back(struct mg__indices *indices) {
    const uint32_t count = atomic_load_explicit(&indices->count, memory_order_relaxed);
    if (count != 0) move_out(indices, count);
}

static MG_COLD void give_index_away(struct mg__indices *mine, uint32_t index) {
    if (mine == NULL) {
        push(&shards[mg__thread_hint() % SHARDS], index, index);
        return;
    }
    move_out(mine, MOVED);
    mine->kept[MOVED] = index;
    atomic_store_explicit(&mine->count, MOVED + 1, memory_order_release);
}

static inline void give_index(uint32_t index) {
    struct mg__indices *mine = mg__my_indices;
    const uint32_t count = mine == NULL ? MG_INDICES_KEPT : atomic_load_explicit(&mine->count, memory_order_relaxed);
    if (MG_UNLIKELY(count == MG_INDICES_KEPT)) {
        give_index_away(mine, index);
        return;
    }
    mine->kept[count] = index;
    atomic_store_explicit(&mine->count, count + 1, memory_order_release);
}

/* ---- life ---- */

struct mg__entry *mg__entry_take(uint32_t vault, enum mg__object object, memguard_status *status) {
    struct mg__indices *mine = mg__my_indices;
    uint32_t index = 0;
    *status = MEMGUARD_OK;
    if (MG_LIKELY(mine != NULL && atomic_load_explicit(&mine->count, memory_order_relaxed) != 0))
        index = mg__indices_take(mine);
    else
        *status = refill(mine, &index);
    if (MG_UNLIKELY(*status != MEMGUARD_OK)) return NULL;
    struct mg__entry *entry = mg__entry_begin_life(index, vault, object, 0, 0, 0); /* no body yet */
    entry->body.sealed = NULL;
    entry->place = 0;
    return entry;
}

uint64_t mg__entry_show(struct mg__entry *entry, bool own) {
    const uint64_t generation = mg__entry_generation_bits(entry);
    const uint64_t kind = mg__entry_object(entry) == MG_OBJECT_SECRET ? MG_WORD_L : MG_WORD_L | MG_WORD_S;
    if (own)
        atomic_store(&entry->word, generation | kind | MG_WORD_X | MG_WORD_BUSY_ONE);
    else
        atomic_store_explicit(&entry->word, generation | kind, memory_order_release);
    return generation | mg__entry_index(entry);
}

struct mg__entry *mg__entry_claim(uint32_t vault, enum mg__object object, memguard_status *status) {
    struct mg__entry *entry = mg__entry_take(vault, object, status);
    if (MG_LIKELY(entry != NULL)) (void)mg__entry_show(entry, true);
    return entry;
}

static void clear_extra(struct mg__entry *entry) {
    struct mg__extra *extra = mg__entry_extra(entry);
    extra->open = NULL;
    extra->views = 0;
    atomic_store_explicit(&extra->limits, NULL, memory_order_relaxed);
}

void mg__entry_free(struct mg__entry *entry) { mg__entry_free_of(entry, mg__entry_index(entry)); }

void mg__entry_free_of(struct mg__entry *entry, uint32_t index) {
    if (MG_UNLIKELY((mg__entry_kind(entry) & MG_KIND_EXTRA) != 0)) clear_extra(entry);
    const uint64_t generation = (atomic_load_explicit(&entry->word, memory_order_relaxed) >> 32) + 1;
    const bool worn_out = generation > UINT32_MAX;
    atomic_store_explicit(&entry->vault, 0, memory_order_relaxed);
    /* A generation that would wrap retires the index: it stays dead under its last generation. */
    atomic_store_explicit(&entry->word, worn_out ? (uint64_t)UINT32_MAX << 32 : generation << 32, memory_order_release);
    if (MG_LIKELY(!worn_out)) give_index(index);
}

/* ---- pins ---- */

memguard_status mg__word_refusal(uint64_t word, uint64_t id) {
    const bool stayed = (word ^ id) >> 32 == 0 && (word & (MG_WORD_L | MG_WORD_S)) == MG_WORD_S;
    return stayed ? MEMGUARD_ERR_FORKED : MEMGUARD_ERR_STALE;
}

/* Whether a word is that of a live object of an id and kind; tolerated: MG_WORD_D when it may be dying. */
static bool fits(const struct mg__entry *entry, uint64_t word, uint64_t id, enum mg__object object,
                 uint64_t tolerated) {
    const uint64_t wanted = MG_WORD_L | (object == MG_OBJECT_SECRET ? 0 : MG_WORD_S);
    if ((word ^ id) >> 32 != 0 || (word & (MG_WORD_L | MG_WORD_D | MG_WORD_S) & ~tolerated) != wanted) return false;
    return object == MG_OBJECT_SECRET || mg__entry_object(entry) == object;
}

static memguard_status look(const struct mg__entry *entry, uint64_t word, uint64_t id, enum mg__object object,
                            uint64_t tolerated) {
    if (MG_UNLIKELY(!fits(entry, word, id, object, tolerated))) return mg__word_refusal(word, id);
    return MG_UNLIKELY((word & MG_WORD_X) != 0) ? MEMGUARD_ERR_BUSY : MEMGUARD_OK;
}

/* The word of an entry, after the library's short work on it has ended. What the entry says besides is not older. */
static uint64_t settled_word(struct mg__entry *entry) {
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
    unsigned step = 0;
    while (MG_UNLIKELY((word & (MG_WORD_X | MG_WORD_T)) == (MG_WORD_X | MG_WORD_T))) {
        mg__sys_backoff(&step);
        word = atomic_load_explicit(&entry->word, memory_order_acquire);
    }
    return word;
}

/* Whoever comes with the handle proves that it is not lost. */
static void clear_suspicion(struct mg__entry *entry) {
    if (MG_UNLIKELY(mg__entry_has_mark(entry, MG_MARK_SUSPECT))) (void)mg__entry_unmark(entry, MG_MARK_SUSPECT);
}

static inline memguard_status pin(uint64_t id, enum mg__object object, uint64_t tolerated, uint64_t more,
                                  struct mg__entry **entry) {
    struct mg__entry *found = mg__entry_at(id);
    if (MG_UNLIKELY(found == NULL)) return MEMGUARD_ERR_STALE;
    uint64_t word = settled_word(found);
    do {
        if (MG_UNLIKELY((word & MG_WORD_X) != 0)) word = settled_word(found);
        const memguard_status status = look(found, word, id, object, tolerated);
        if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
        /* One is left for a purge. */
        if (MG_UNLIKELY(mg__word_pins(word) >= MG_WORD_HELD_MASK - 1 || mg__word_busy(word) >= MG_WORD_BUSY_MASK - 1))
            return MEMGUARD_ERR_LIMIT;
    } while (!atomic_compare_exchange_weak(&found->word, &word, word + more));
    clear_suspicion(found);
    *entry = found;
    return MEMGUARD_OK;
}

memguard_status mg__entry_pin(uint64_t id, bool hold, struct mg__entry **entry) {
    return pin(id, MG_OBJECT_SECRET, 0, hold ? MG_WORD_HELD_ONE : MG_WORD_BUSY_ONE, entry);
}

memguard_status mg__entry_pin_object(uint64_t id, enum mg__object object, bool dying, struct mg__entry **entry) {
    return pin(id, object, dying ? MG_WORD_D : 0, MG_WORD_BUSY_ONE, entry);
}

/* A doomer's pin stays until light readers see D, and he sees them: so they find nothing ended, and end it themselves. */
memguard_status mg__entry_doom(uint64_t id, enum mg__object object, struct mg__entry **entry, enum mg__unpin *left) {
    struct mg__entry *found = mg__entry_at(id);
    if (found == NULL) return MEMGUARD_ERR_STALE;
    uint64_t word = atomic_load_explicit(&found->word, memory_order_acquire), wanted = 0;
    bool idle = false;
    do {
        if (!fits(found, word, id, object, 0)) return mg__word_refusal(word, id);
        idle = (word & (MG_WORD_PINS | MG_WORD_V)) == 0;
        wanted = word | MG_WORD_D | (idle ? MG_WORD_X : 0);
        if (idle || (word & MG_WORD_V) != 0) wanted += MG_WORD_BUSY_ONE;
    } while (!atomic_compare_exchange_weak(&found->word, &word, wanted));
    *entry = found;
    *left = idle ? MG_LAST_OF_DYING : MG_UNPINNED;
    if (MG_LIKELY((word & MG_WORD_V) == 0)) return MEMGUARD_OK;
    mg__sys_fence_heavy();
    *left = mg__entry_unpin(found, false);
    return MEMGUARD_OK;
}

/* With light readers allowed: T, too, so that whoever comes waits while we look for them. */
static uint64_t seized(uint64_t word) {
    return (word | MG_WORD_X | ((word & MG_WORD_V) != 0 ? MG_WORD_T : 0)) + MG_WORD_BUSY_ONE;
}

memguard_status mg__entry_seize(uint64_t id, struct mg__entry **entry) {
    struct mg__entry *found = mg__entry_at(id);
    if (found == NULL) return MEMGUARD_ERR_STALE;
    uint64_t word = settled_word(found);
    do {
        if (MG_UNLIKELY((word & MG_WORD_X) != 0)) word = settled_word(found);
        const memguard_status status = look(found, word, id, MG_OBJECT_SECRET, 0);
        if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
        if (MG_UNLIKELY((word & MG_WORD_PINS) != 0)) return MEMGUARD_ERR_BUSY;
        if (MG_UNLIKELY((word & MG_WORD_V) != 0) && mg__light_any(id)) return MEMGUARD_ERR_BUSY;
    } while (!atomic_compare_exchange_weak(&found->word, &word, seized(word)));
    if (MG_UNLIKELY((word & MG_WORD_V) != 0) && !mg__light_expel(found, MG_WORD_T)) return MEMGUARD_ERR_BUSY;
    clear_suspicion(found);
    *entry = found;
    return MEMGUARD_OK;
}

bool mg__entry_seize_idle(struct mg__entry *entry, uint64_t word, uint64_t more) {
    if ((word & MG_WORD_L) == 0 || (word & (MG_WORD_X | MG_WORD_PINS)) != 0) return false;
    const bool known = (more & MG_WORD_V) != 0, may_be_read = (word & MG_WORD_V) != 0 && !known;
    const uint64_t before = known ? word & ~MG_WORD_V : word;
    if (!atomic_compare_exchange_strong(&entry->word, &word, seized(before) | (more & ~MG_WORD_V))) return false;
    return MG_LIKELY(!may_be_read) || mg__light_expel(entry, MG_WORD_T & ~more);
}

bool mg__entry_hold(struct mg__entry *entry) {
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
    do {
        if (MG_UNLIKELY((word & MG_WORD_D) != 0)) return false;
    } while (!atomic_compare_exchange_weak(&entry->word, &word, word + MG_WORD_HELD_ONE - MG_WORD_BUSY_ONE));
    return true;
}

bool mg__entry_unhold(struct mg__entry *entry) {
    return (atomic_fetch_sub(&entry->word, MG_WORD_HELD_ONE - MG_WORD_BUSY_ONE) & MG_WORD_R) == 0;
}

static enum mg__unpin last_of(uint64_t word) { return (word & MG_WORD_R) != 0 ? MG_LAST_OF_REVOKED : MG_LAST_OF_DYING; }

enum mg__unpin mg__entry_unpin(struct mg__entry *entry, bool held) {
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed), wanted = 0;
    uint64_t id = 0;
    bool none_left = false;
    do {
        wanted = word - (held ? MG_WORD_HELD_ONE : MG_WORD_BUSY_ONE);
        none_left = (wanted & MG_WORD_PINS) == 0 && (word & MG_WORD_D) != 0;
        if (MG_UNLIKELY(none_left)) id = mg__entry_id(entry);
        if (MG_UNLIKELY(none_left && (word & MG_WORD_V) == 0)) wanted |= MG_WORD_X | MG_WORD_BUSY_ONE;
    } while (!atomic_compare_exchange_weak(&entry->word, &word, wanted));
    if (MG_LIKELY(!none_left)) return (word & MG_WORD_R) != 0 ? MG_UNPINNED_REVOKED : MG_UNPINNED;
    if (MG_LIKELY((word & MG_WORD_V) == 0)) return last_of(word);
    const enum mg__unpin left = mg__entry_finish(entry, id);
    return left == MG_UNPINNED && (word & MG_WORD_R) != 0 ? MG_UNPINNED_REVOKED : left;
}

/* Whoever leaves looks for the others after he has left: so the last one finds nobody. Nobody comes any more: who set D had
 * a pin until that was sure, or had closed the gate. */
enum mg__unpin mg__entry_finish(struct mg__entry *entry, uint64_t id) {
    const uint64_t looked_at = MG_WORD_L | MG_WORD_D | MG_WORD_V | MG_WORD_X | MG_WORD_PINS;
    uint64_t word = atomic_load(&entry->word);
    do {
        if ((word ^ id) >> 32 != 0 || (word & looked_at) != (MG_WORD_L | MG_WORD_D | MG_WORD_V)) return MG_UNPINNED;
        if (mg__light_any(id)) return MG_UNPINNED;
    } while (!atomic_compare_exchange_weak(&entry->word, &word, (word & ~MG_WORD_V) | MG_WORD_X | MG_WORD_BUSY_ONE));
    return last_of(word);
}

enum mg__unpin mg__entry_unseize(struct mg__entry *entry) {
    const uint64_t short_or_long = MG_WORD_X | MG_WORD_T;
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
    do {
        /* A purge that is revoking has a pin, too: then it is the last one. */
        const bool last = mg__word_pins(word) == 1;
        if (last && (word & MG_WORD_D) != 0) return last_of(word);
    } while (!atomic_compare_exchange_weak(&entry->word, &word, (word & ~short_or_long) - MG_WORD_BUSY_ONE));
    return (word & MG_WORD_R) != 0 ? MG_UNPINNED_REVOKED : MG_UNPINNED;
}

void mg__entry_let_read_lightly(struct mg__entry *entry) {
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
    do {
        if ((word & MG_WORD_D) != 0) return;
    } while (!atomic_compare_exchange_weak(&entry->word, &word, word | MG_WORD_V));
}

void mg__entry_lock(struct mg__entry *entry) {
    unsigned step = 0;
    while ((atomic_fetch_or(&entry->word, MG_WORD_T) & MG_WORD_T) != 0)
        mg__sys_backoff(&step);
}

void mg__entry_unlock(struct mg__entry *entry) { atomic_fetch_and(&entry->word, ~MG_WORD_T); }
