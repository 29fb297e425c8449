/* core/thread: what we keep about each calling thread: how many borrows of which vault it began (so that a purge from inside a
 * borrow of one's own can tell), and its scopes. Records are recycled when threads end, never freed.
 * Must not know: what is borrowed. */
#include "core/vault.h"

#include <stdlib.h>

enum { MOST_THREADS = 1 << 16 };

static struct mg__thread *_Atomic threads[MOST_THREADS];
static struct mg__mutex mutex;
static struct mg__thread *free_records; /* under the mutex */
static uint32_t records;                /* under the mutex */
static bool started;
static MG_THREAD struct mg__thread *self;

static bool owes_nothing(struct mg__thread *thread) {
    for (size_t i = 0; i < MG_THREAD_SLOTS; i++)
        if (thread->borrows[i] != atomic_load(&thread->returned[i])) return false;
    return true;
}

/* At thread exit. A record with views still out stays: another thread may return them. */
static void leave(void *record) {
    struct mg__thread *thread = record;
    if (mg__sys_is_fork_child()) return;
    mg__thread_leave_scopes(thread);
    self = NULL;
    if (!owes_nothing(thread)) return;
    mg__mutex_lock(&mutex);
    thread->next_free = free_records;
    free_records = thread;
    mg__mutex_unlock(&mutex);
}

memguard_status mg__thread_start(void) {
    int error = 0;
    mg__mutex_lock(&mutex);
    if (!started) {
        error = mg__sys_thread_exit_key(leave);
        started = error == 0;
    }
    mg__mutex_unlock(&mutex);
    if (error == 0) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "no key for thread-specific data is free (errno %d)", error);
}

static struct mg__thread *make_record(void) {
    if (records >= MOST_THREADS - 1) return NULL;
    struct mg__thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) return NULL;
    thread->number = ++records;
    atomic_store_explicit(&threads[thread->number], thread, memory_order_release);
    return thread;
}

static struct mg__thread *join(void) {
    mg__mutex_lock(&mutex);
    struct mg__thread *thread = free_records;
    if (thread != NULL)
        free_records = thread->next_free;
    else
        thread = make_record();
    mg__mutex_unlock(&mutex);
    if (thread == NULL) return NULL;
    /* Without the hook at thread exit the record is not recycled: a leak of a few hundred bytes, no loss of protection. */
    (void)mg__sys_thread_exit_set(thread);
    self = thread;
    return thread;
}

struct mg__thread *mg__thread_self(void) { return MG_LIKELY(self != NULL) ? self : join(); }

struct mg__thread *mg__thread_by_number(uint32_t number) {
    return atomic_load_explicit(&threads[number % MOST_THREADS], memory_order_acquire);
}

uint32_t mg__thread_borrows(const struct mg__thread *thread, const struct mg__vault *vault) {
    const size_t i = vault->index % MG_THREAD_SLOTS;
    return thread->borrows[i] - atomic_load(&thread->returned[i]);
}
