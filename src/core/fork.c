/* See fork.h. Notes and word are written and read sequentially consistent. Must not know: how secrets and keys are kept. */
#include "core/vault.h"

enum { REST_NS = 2000000000 }; /* how long a fork waits for the library to come to rest */

_Atomic uint32_t mg__fork_copies;
static _Atomic uint32_t unrecorded;        /* how many are inside without a record */
static MG_THREAD struct mg__thread *place; /* where this thread has noted that it is inside; null: in `unrecorded` */
static MG_THREAD unsigned depth;           /* of calls in calls of this thread; 0: it is not inside */
static MG_THREAD bool naps;                /* not inside, but in a call that a child could not end */
static MG_THREAD bool settles;             /* this thread makes the child's copies its own */

static struct mg__mutex settling; /* while a child settles, or this process becomes a copier */

static _Atomic uint32_t *word(void) { return atomic_load_explicit(&mg__sys_fork_word, memory_order_acquire); }

/* ---- inside ---- */

static void note(void) {
    place = mg__thread_known();
    if (MG_LIKELY(place != NULL))
        atomic_store(&place->inside, 1);
    else
        atomic_fetch_add(&unrecorded, 1);
}

static void unnote(void) {
    if (MG_LIKELY(place != NULL))
        atomic_store_explicit(&place->inside, 0, memory_order_release);
    else
        atomic_fetch_sub(&unrecorded, 1);
    place = NULL;
}

/* A record is made by a call that is inside already. */
static void move_to_record(void) {
    struct mg__thread *record = mg__thread_self();
    if (record == NULL) return;
    atomic_store(&record->inside, 1);
    atomic_fetch_sub(&unrecorded, 1);
    place = record;
}

void mg__call_leave_record(void) {
    if (place == NULL) return;
    atomic_fetch_add(&unrecorded, 1);
    atomic_store(&place->inside, 0);
    place = NULL;
}

static memguard_status settle(void) {
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&settling);
    if (atomic_load(word()) == MG_FORK_UNSETTLED) {
        settles = true;
        status = mg__settle_child();
        settles = false;
        if (status == MEMGUARD_OK) atomic_store(word(), MG_FORK_COPIER);
    }
    mg__mutex_unlock(&settling);
    return status;
}

/* What a caller does who did not find an owner's word; his note is taken back. */
static memguard_status wait_or_settle(uint32_t seen) {
    if (seen == MG_FORK_CHILD) return mg__fail_plain(MEMGUARD_ERR_FORKED);
    if (seen == MG_FORK_UNSETTLED) return settle();
    mg__sys_wait(word(), MG_FORK_NEAR, UINT64_MAX);
    return MEMGUARD_OK;
}

/* The thread that forks may call us from fork handlers: then it is not in the middle of anything. */
static bool may_go_in(uint32_t seen) {
    return seen == MG_FORK_COPIER || seen == MG_FORK_OWNER || (seen == MG_FORK_NEAR && mg__sys_is_forking());
}

/* `depth` is not 0 already: a fork by a signal handler in the midst of this finds somebody inside. */
static memguard_status go_in(void) {
    memguard_status status = MEMGUARD_OK;
    for (;;) {
        note();
        const uint32_t seen = atomic_load(word());
        if (MG_LIKELY(may_go_in(seen))) break;
        unnote();
        status = wait_or_settle(seen);
        if (status != MEMGUARD_OK) return status;
    }
    if (MG_UNLIKELY(place == NULL)) move_to_record();
    return MEMGUARD_OK;
}

memguard_status mg__call_begin(bool *announced) {
    /* By the word or, where it cannot tell, by the process number: then there are no copies. */
    if (mg__sys_is_refused_child()) return mg__fail_plain(MEMGUARD_ERR_FORKED);
    /* Inside a call that came back to a child which could not settle: it only ends. */
    if (MG_UNLIKELY(depth != 0 && !settles && atomic_load(word()) == MG_FORK_UNSETTLED))
        return mg__fail_plain(MEMGUARD_ERR_FORKED);
    if (depth++ == 0) {
        const memguard_status status = go_in();
        if (MG_UNLIKELY(status != MEMGUARD_OK)) {
            depth = 0;
            return status;
        }
    }
    *announced = true;
    return MEMGUARD_OK;
}

void mg__call_leave(void) {
    if (depth == 1) unnote();
    depth--;
}

unsigned mg__call_park(void) {
    const unsigned was = depth;
    if (MG_LIKELY(was == 0)) return 0;
    unnote();
    depth = 0;
    return was;
}

memguard_status mg__call_unpark(unsigned was) {
    if (MG_LIKELY(was == 0 && mg__sys_is_plain_owner())) return MEMGUARD_OK;
    if (mg__sys_is_refused_child() || (was == 0 && atomic_load(word()) == MG_FORK_UNSETTLED)) {
        if (was != 0) note(); /* the call ends as it began */
        depth = was;
        return mg__fail_plain(MEMGUARD_ERR_FORKED);
    }
    /* Not noted: it began before there was anything to copy, and is at nothing that a child would have. */
    if (was == 0) return MEMGUARD_OK;
    depth = was;
    const memguard_status status = go_in();
    if (MG_UNLIKELY(status != MEMGUARD_OK)) note();
    return status;
}

memguard_status mg__call_nap(unsigned *step) {
    naps = true;
    const unsigned was = mg__call_park();
    mg__sys_backoff(step);
    const memguard_status status = mg__call_unpark(was);
    naps = false;
    return status;
}

bool mg__call_is_awaited(void) {
    return MG_UNLIKELY(!mg__sys_is_plain_owner()) && atomic_load(word()) == MG_FORK_NEAR && !mg__sys_is_forking();
}

bool mg__call_try_begin(void) {
    atomic_fetch_add(&unrecorded, 1);
    if (may_go_in(atomic_load(word()))) return true;
    atomic_fetch_sub(&unrecorded, 1);
    return false;
}

void mg__call_end_try(void) { atomic_fetch_sub(&unrecorded, 1); }

/* ---- forks ---- */

static bool at_rest;          /* of the fork that happens; there is one at a time */
static bool settling_is_held; /* by the thread that forks */

/* Calls that began before this process was a copier are not noted. They are at nothing that a child takes along, and the lists
 * that they change without a mutex (free handles) are whole at any instant; but they may hold a mutex that the child needs. */
static bool is_unlocked(void) {
    return mg__table_is_unlocked() && mg__threads_are_unlocked() && mg__prefix_is_unlocked() &&
           mg__vaults_are_unlocked() && (settling_is_held || mg__mutex_is_free(&settling));
}

/* Notes move from `unrecorded` to a record and back: so that is looked at before and after. */
static bool is_nobody_inside(void) {
    return atomic_load(&unrecorded) == 0 && mg__threads_are_outside() && atomic_load(&unrecorded) == 0;
}

static bool come_to_rest(void) {
    const uint64_t until = mg__sys_now_ns() + REST_NS;
    unsigned step = 0;
    while (!is_nobody_inside() || !is_unlocked()) {
        if (mg__sys_now_ns() > until) return false;
        mg__sys_backoff(&step);
    }
    return true;
}

static void let_in(void) {
    atomic_store(word(), MG_FORK_COPIER);
    mg__sys_wake(word(), true);
}

static void prepare(void) {
    at_rest = false;
    if (mg__sys_is_refused_child() || depth != 0 || naps) return;
    /* A child that has not settled yet holds still while it does not; its own child begins where it is. */
    settling_is_held = atomic_load(word()) == MG_FORK_UNSETTLED;
    if (settling_is_held) mg__mutex_lock(&settling);
    at_rest = atomic_load(word()) == MG_FORK_UNSETTLED;
    if (at_rest || atomic_load(word()) != MG_FORK_COPIER || atomic_load(&mg__fork_copies) == 0) return;
    atomic_store(word(), MG_FORK_NEAR);
    at_rest = come_to_rest();
    if (!at_rest) let_in();
}

static void let_settle(void) {
    if (settling_is_held) mg__mutex_unlock(&settling);
    settling_is_held = false;
}

static void begin_as_child(void) {
    mg__bank_part();
    if (!at_rest || !is_unlocked()) return;
    atomic_store(&unrecorded, 0);
    mg__threads_part();
    atomic_store(word(), MG_FORK_UNSETTLED);
}

static void on_fork(enum mg__fork_event event) {
    if (event == MG_FORK_PREPARES) prepare();
    if (event == MG_FORK_IN_CHILD) begin_as_child();
    if (event != MG_FORK_PREPARES) let_settle();
    if (event == MG_FORK_IN_PARENT && atomic_load(word()) == MG_FORK_NEAR) let_in();
}

static memguard_status enable(void) {
    if (atomic_load(word()) != MG_FORK_OWNER) return MEMGUARD_OK;
    if (!mg__sys_fork_word_trusted)
        return mg__fail(MEMGUARD_ERR_UNSUPPORTED, 0, "MEMGUARD_FORK_COPY needs MADV_WIPEONFORK (Linux 4.14)");
    memguard_status status = mg__prefix_leave_on_fork();
    if (status == MEMGUARD_OK) status = mg__canary_copy_on_fork();
    if (status != MEMGUARD_OK) return status;
    atomic_store(&mg__sys_on_fork, on_fork);
    atomic_store(word(), MG_FORK_COPIER);
    return MEMGUARD_OK;
}

memguard_status mg__fork_enable(void) {
    mg__mutex_lock(&settling);
    const memguard_status status = enable();
    mg__mutex_unlock(&settling);
    return status;
}
