/* core/thread: what we keep about each calling thread: how many borrows of which vault it began (so that a purge
 * from inside a borrow of one's own can tell), and its scopes. Records are recycled when threads end, never freed.
 * Must not know: what is borrowed. */
#include "core/vault.h"

#include <stdlib.h>

enum { MOST_THREADS = 1 << 16 };

static struct mg__thread *_Atomic threads[MOST_THREADS];
static struct mg__mutex mutex;
static struct mg__thread *free_records; /* under the mutex */
static uint32_t records;                /* under the mutex */
static bool started;
MG_THREAD struct mg__thread *mg__thread_mine;

static void recycle(struct mg__thread *thread) {
    mg__mutex_lock(&mutex);
    thread->is_free = true;
    thread->next_free = free_records;
    free_records = thread;
    mg__mutex_unlock(&mutex);
}

void mg__thread_settle(struct mg__thread *thread) {
    bool orphan = true;
    if (MG_LIKELY(!atomic_load_explicit(&thread->orphan, memory_order_relaxed))) return;
    /* Whoever turns the mark over recycles it: once. */
    if (!mg__thread_borrows(thread, NULL) && atomic_compare_exchange_strong(&thread->orphan, &orphan, false))
        recycle(thread);
}

/* What a thread keeps for itself is at hand for it alone, and is given back when it ends. */
static void keep_for(struct mg__thread *thread) {
    mg__thread_mine = thread;
    mg__my_indices = thread == NULL ? NULL : &thread->indices;
    mg__my_compact = thread == NULL ? NULL : &thread->slots;
}

/* Under the mutex: so the arenas of these slots are there still (mg__threads_forget_slots). */
static void give_back_kept(struct mg__thread *thread) {
    mg__mutex_lock(&mutex);
    mg__indices_give_back(&thread->indices);
    mg__compact_give_back(&thread->slots);
    mg__mutex_unlock(&mutex);
}

/* At thread exit. A record with views still out stays: another thread may return them. */
static void leave(void *record) {
    struct mg__thread *thread = record;
    bool announced = false;
    if (!mg__sys_is_plain_owner() && mg__call_begin(&announced) != MEMGUARD_OK) return;
    mg__thread_leave_scopes(thread);
    mg__call_leave_record();
    keep_for(NULL);
    give_back_kept(thread);
    atomic_store(&thread->orphan, true);
    mg__thread_settle(thread);
    mg__call_end(&announced);
}

memguard_status mg__thread_start(void) {
    int error = 0;
    mg__mutex_lock(&mutex);
    if (!started) {
        error = mg__sys_thread_exit_key(leave);
        if (error == 0) mg__sys_fence_prepare();
        started = error == 0;
    }
    mg__mutex_unlock(&mutex);
    if (error == 0) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "no key for thread-specific data is free (errno %d)", error);
}

/* Whole cache lines: what one thread writes is in none of another's. */
static void *take_lines(size_t bytes) {
    const size_t rounded = (bytes + MG_CACHE_LINE - 1) / MG_CACHE_LINE * MG_CACHE_LINE;
    void *lines = aligned_alloc(MG_CACHE_LINE, rounded);
    return lines == NULL ? NULL : memset(lines, 0, rounded);
}

static struct mg__thread *make_record(void) {
    if (records >= MOST_THREADS - 1) return NULL;
    struct mg__thread *thread = take_lines(sizeof *thread);
    if (thread == NULL) return NULL;
    thread->number = ++records;
    thread->next_pin = UINT64_MAX; /* no view's */
    atomic_store_explicit(&threads[thread->number], thread, memory_order_release);
    return thread;
}

struct mg__thread *mg__thread_join(void) {
    mg__mutex_lock(&mutex);
    struct mg__thread *thread = free_records;
    if (thread != NULL)
        free_records = thread->next_free;
    else
        thread = make_record();
    if (thread != NULL) thread->is_free = false;
    mg__mutex_unlock(&mutex);
    if (thread == NULL) return NULL;
    atomic_store_explicit(&thread->heavy, false, memory_order_relaxed);
    /* Without the hook at thread exit the record is not recycled: a leak of a few hundred bytes, no loss of
     * protection. */
    (void)mg__sys_thread_exit_set(thread);
    keep_for(thread);
    return thread;
}

struct mg__thread *mg__thread_by_number(uint32_t number) {
    return atomic_load_explicit(&threads[number % MOST_THREADS], memory_order_acquire);
}

/* Records are made one after another. */
static struct mg__thread *next_record(uint32_t *number) {
    return ++*number < MOST_THREADS ? mg__thread_by_number(*number) : NULL;
}

/* ---- making ---- */

void mg__makers_await(const struct mg__vault *vault) {
    uint32_t number = 0;
    mg__sys_fence_heavy();
    for (const struct mg__thread *thread; (thread = next_record(&number)) != NULL;)
        for (unsigned step = 0; atomic_load(&thread->making) == vault->index + 1;)
            mg__sys_backoff(&step);
}

void mg__threads_forget_slots(const struct mg__compact_arena *arena) {
    uint32_t number = 0;
    mg__mutex_lock(&mutex);
    for (struct mg__thread *thread; (thread = next_record(&number)) != NULL;)
        mg__compact_forget(&thread->slots, arena);
    mg__mutex_unlock(&mutex);
}

/* ---- views ---- */

struct mg__seat *mg__thread_seat(const struct mg__thread *thread, uint32_t place) {
    const uint32_t n = place / MG_VIEW_FIRST + 1;
    const unsigned segment = 31U - (unsigned)__builtin_clz(n);
    if (segment >= MG_VIEW_SEGMENTS) return NULL;
    struct mg__seat *seats = mg__thread_seats(thread, segment);
    return seats == NULL ? NULL : &seats[place - MG_VIEW_FIRST * ((1U << segment) - 1)];
}

/* One more segment. */
static bool add_places(struct mg__thread *thread) {
    const uint32_t n = thread->places / MG_VIEW_FIRST + 1;
    const unsigned segment = 31U - (unsigned)__builtin_clz(n);
    if (segment >= MG_VIEW_SEGMENTS) return false;
    struct mg__seat *seats = take_lines(((size_t)MG_VIEW_FIRST << segment) * sizeof *seats);
    if (seats == NULL) return false;
    atomic_store_explicit(&thread->views[segment], seats, memory_order_release);
    thread->places += (uint32_t)MG_VIEW_FIRST << segment;
    return true;
}

static void seat_at(struct mg__thread *thread, uint32_t place) {
    thread->next_place = place;
    thread->next_seat = mg__thread_seat(thread, place);
    thread->next_pin = mg__view_pin(thread->number, MG_VIEW_LIGHT, place, 0);
}

bool mg__thread_search_seat(struct mg__thread *thread) {
    /* The next free place, if there is one among a few: then the places are sparsely used. */
    for (unsigned tried = 0; tried < MG_VIEW_FIRST && tried < thread->places; tried++) {
        seat_at(thread, thread->next_place + 1 < thread->places ? thread->next_place + 1 : 0);
        if (mg__seat_is_free(thread->next_seat)) return true;
    }
    const uint32_t made = thread->places;
    if (!add_places(thread)) return false;
    seat_at(thread, made);
    return true;
}

bool mg__thread_note_view(struct mg__thread *thread, const struct mg__vault *vault, uint32_t *place, uint32_t *serial) {
    if (MG_UNLIKELY(!mg__thread_find_seat(thread))) return false;
    thread->serial = (thread->serial + 1) & ((1U << MG_VIEW_SERIAL_BITS) - 1);
    *place = thread->next_place;
    *serial = thread->serial;
    const uint64_t mark = ((uint64_t)thread->serial << 32) | atomic_load_explicit(&vault->mark, memory_order_relaxed);
    atomic_store_explicit(&thread->next_seat->mark, mark, memory_order_relaxed);
    return true;
}

bool mg__thread_drop_view(struct mg__thread *thread, const struct mg__vault *vault, uint32_t place, uint32_t serial) {
    struct mg__seat *seat = mg__thread_seat(thread, place);
    uint64_t mark = seat == NULL ? 0 : atomic_load(&seat->mark);
    const bool fits = mark >> 32 == serial && mg__mark_vault(mark) == vault->index + 1;
    return fits && atomic_compare_exchange_strong(&seat->mark, &mark, 0);
}

/* Of any vault: also what is just about to become a borrow, or has just been one. */
static bool views_any(const struct mg__thread *thread, const struct mg__vault *vault) {
    for (uint32_t place = 0;; place++) {
        const struct mg__seat *seat = mg__thread_seat(thread, place);
        if (seat == NULL) return false;
        const uint64_t mark = atomic_load(&seat->mark);
        if (vault == NULL && (mark | atomic_load(&seat->read)) != 0) return true;
        if (vault != NULL && mark != 0 && (uint32_t)mark == atomic_load(&vault->mark)) return true;
    }
}

bool mg__thread_borrows(const struct mg__thread *thread, const struct mg__vault *vault) {
    const struct mg__use_link *use = atomic_load(&thread->uses);
    /* Another thread's stack is not ours to walk: any use there counts. */
    if (thread != mg__thread_mine) return use != NULL || views_any(thread, vault);
    for (; use != NULL; use = use->outer)
        if (vault == NULL || use->mark == atomic_load(&vault->mark)) return true;
    return views_any(thread, vault);
}

/* ---- forks ---- */

static struct mg__thread *heir; /* in a child: of the thread that forked; the first call may come from another one */

struct mg__thread *mg__thread_heir(void) {
    return heir;
}

bool mg__threads_are_unlocked(void) {
    uint32_t number = 0;
    for (const struct mg__thread *thread; (thread = next_record(&number)) != NULL;)
        if (!mg__mutex_is_free(&thread->releasing)) return false;
    return mg__mutex_is_free(&mutex);
}

bool mg__threads_are_outside(void) {
    uint32_t number = 0;
    for (const struct mg__thread *thread; (thread = next_record(&number)) != NULL;)
        if (atomic_load(&thread->inside) != 0) return false;
    return true;
}

void mg__thread_drop_use(struct mg__use_link *link) {
    if (!mg__kind_is_copied(mg__link_vault(link)->kind)) return; /* not here */
    if (mg__entry_is_draft(link->entry)) return;                 /* ends when the child settles */
    if (link->page != NULL)
        mg__use_page_leave(link->page);
    else if (link->shown != NULL)
        mg__shown_leave(link->entry->body.chunked, link->shown);
    else
        mg__entry_extra(link->entry)->views--;
    atomic_fetch_sub(&link->entry->word, MG_WORD_HELD_ONE);
}

/* The links lie on the stacks of threads that are not here: nothing else has been written there yet. */
void mg__threads_part(void) {
    uint32_t number = 0;
    heir = mg__thread_mine;
    for (struct mg__thread *thread; (thread = next_record(&number)) != NULL;) {
        if (thread == heir) continue;
        struct mg__use_link *link = atomic_exchange(&thread->uses, NULL);
        for (; link != NULL; link = link->outer)
            mg__thread_drop_use(link);
        atomic_store(&thread->inside, 0);
        atomic_store(&thread->making, 0);
    }
}

/* Views of vaults that are not here cannot be released any more. */
static void forget_views(struct mg__thread *thread) {
    struct mg__seat *seat = NULL;
    for (uint32_t place = 0; (seat = mg__thread_seat(thread, place)) != NULL; place++) {
        const uint64_t mark = atomic_load(&seat->mark);
        if (mark != 0 && !mg__vault_is_here(mg__vault_by_index(mg__mark_vault(mark) - 1))) atomic_store(&seat->mark, 0);
        atomic_store(&seat->read, 0); /* what is copied has no light readers */
    }
}

void mg__threads_settle(void) {
    uint32_t number = 0;
    for (struct mg__thread *thread; (thread = next_record(&number)) != NULL;) {
        if (thread->is_free) continue;
        forget_views(thread);
        if (thread == heir) continue;
        mg__thread_leave_scopes(thread);
        give_back_kept(thread);
        atomic_store(&thread->orphan, true);
        mg__thread_settle(thread);
    }
}
