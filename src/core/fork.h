/* core/fork: calls that say when they begin and end, so that a fork finds the library at rest (MEMGUARD_FORK_COPY). Must not
 * know: how secrets and keys are kept.
 *
 * In a process without a vault of that policy the fork word says OWNER, and a call costs a load and a branch here. Else it says
 * COPIER: a call notes that it is inside, then looks at the word again. Whoever forks writes NEAR, then waits until nobody is
 * inside: either he sees the note, or the caller sees NEAR and waits for the end of the fork (Dekker's way). So when the fork
 * happens nobody holds a mutex of ours or has half changed anything, and no mutex need be taken for it.
 *
 * Who runs host code, or waits for some, is not inside meanwhile (park, nap). He must hold no mutex of ours then, and be at
 * nothing but what a child can end without him: a `use` (its link), a view, a purge.
 *
 * The child begins with the word UNSETTLED. Its first call settles it (core/settle.c) and writes COPIER. Where the library
 * does not come to rest in time, or the thread that forks is itself inside (a signal handler that forks), the child's word
 * stays CHILD, and it is refused. */
#ifndef MG_CORE_FORK_H
#define MG_CORE_FORK_H

#include "sys/sys.h"

/* First line of every public function that touches state, in its outermost block. */
#define MG_REFUSE_FORKED()                                                                                             \
    __attribute__((cleanup(mg__call_end))) bool mg__announced = false;                                                 \
    do {                                                                                                               \
        if (MG_LIKELY(mg__sys_is_plain_owner())) break;                                                                \
        const memguard_status mg__refused = mg__call_begin(&mg__announced);                                            \
        if (mg__refused != MEMGUARD_OK) return mg__refused;                                                            \
    } while (0)

/* FORKED; or what kept this child from settling; or OK. *announced: mg__call_leave must follow. */
MG_MUST_USE memguard_status mg__call_begin(bool *announced);
void mg__call_leave(void);
static inline void mg__call_end(const bool *announced) {
    if (MG_UNLIKELY(*announced)) mg__call_leave();
}

/* Around host code. park gives `depth`. Another status of unpark than OK: this is a child in which the call cannot go on: it
 * touches nothing any more but the caller's memory and its thread's record. */
unsigned mg__call_park(void);
MG_MUST_USE memguard_status mg__call_unpark(unsigned depth);
/* One step of waiting for host code, or for another who does so; the same statuses. */
MG_MUST_USE memguard_status mg__call_nap(unsigned *step);
/* Whether a fork waits for this call. Who waits for pages that others show lets go then, naps and begins again. */
bool mg__call_is_awaited(void);

/* For the housekeeper, which must be able to end while a fork is near. false: not now. */
MG_MUST_USE bool mg__call_try_begin(void);
void mg__call_end_try(void);
/* The record of this thread goes to others: the call that it is in notes itself elsewhere. */
void mg__call_leave_record(void);

/* From now on forks come while the library is at rest. UNSUPPORTED without pages that a fork makes zero. */
MG_MUST_USE memguard_status mg__fork_enable(void);
/* How many vaults a child would take along. */
extern _Atomic uint32_t mg__fork_copies;

/* settle.c: once in a child, while nobody is at anything. After a failure: again at the next call. */
MG_MUST_USE memguard_status mg__settle_child(void);

#endif
