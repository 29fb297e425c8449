/* core/vault: vaults, threads that use them, the gate that every call passes. What the public functions of core share.
 * Vault structs are type-stable; the public pointer is a token (generation and index), never an address.
 *
 * Lock order: a vault's control mutex -> sides of a stream (sealed_chunk.h) -> its coffer's mutex -> mutexes of rooms
 * below. No lock on use, acquire, release, create,
 * destroy, except when something must grow, when a lease must start, and the kernel's own for changes of access. */
#ifndef MG_CORE_VAULT_H
#define MG_CORE_VAULT_H

#include "core/coffer.h"
#include "core/fork.h"
#include "core/sealed_chunk.h"

/* What the gate lets through. */
enum mg__gate {
    MG_GATE_OPEN,
    MG_GATE_LOCKED,
    MG_GATE_CHANGING,
    MG_GATE_PURGING,
    MG_GATE_NO_KEY,
    MG_GATE_FORKED /* it stayed in the parent; for ever */
};

/* A purge waits without holding the control mutex, so that whoever it waits for may call whatever he likes. */
enum { MG_DEFERRERS = 16 };
enum mg__purge_state { MG_PURGE_NONE, MG_PURGE_DEFERRED, MG_PURGE_RUNNING };

struct mg__vault {
    _Atomic uintptr_t token; /* 0: not alive */
    _Atomic uint32_t gate;
    uint32_t index;
    uint32_t generation;   /* of the token; under the registry's mutex */
    _Atomic uint32_t mark; /* of borrows: index + 1, and above it a count of the purges of this struct */
    enum mg__kind kind;
    uint32_t protections, backend, flags;
    uint64_t idle_ms;
    void (*on_corruption)(size_t bytes, void *arg);
    void *on_corruption_arg;
    struct mg__mutex control;
    struct mg__coffer coffer;
    struct mg__compact_arena *arena;
    _Atomic uint32_t furnished;     /* has had a secret: re-key */
    _Atomic uint32_t quick;         /* and its secrets are nothing special when they are made: quick.c */
    _Atomic uint64_t next_sweep_ms; /* when to look for expired secrets, boot-time clock; UINT64_MAX: none has limits */
    _Atomic uint32_t purge;         /* MG_PURGE_*; changed under `control` */
    struct mg__deferrer {
        struct mg__thread *thread;
        uint32_t wait_ms;
    } deferrers[MG_DEFERRERS]; /* who asked for the purge from inside a borrow; under `control` */
    uint32_t deferrer_count;
    _Atomic uint64_t purge_until_ns; /* of the purge at work; another caller may shorten it */
    memguard_status purge_result;    /* of the last one; under `control` */
    _Atomic bool unrevoked;          /* the purge at work could not take a page away */
    struct mg__windows windows;      /* of streams and large secrets */
    uint64_t made_ns;
    _Atomic uint64_t purges, revoked, unrevoked_borrows, auth_failures;
};

enum {
    MG_VAULTS = 4096,
    MG_MARK_STEP = 2 * MG_VAULTS,
    MG_VIEW_SEGMENTS = 15,
    MG_VIEW_FIRST = 64,
    MG_VIEW_SERIAL_BITS = 24,
    MG_VIEW_PLACE_BITS = 21,
    MG_VIEW_ACCESS_BITS = 2
};

/* A `use` in progress; on the stack of its thread. */
struct mg__use_link {
    uint32_t mark; /* the vault's */
    struct mg__use_link *outer;
    struct mg__entry *entry;
    struct mg__use_page *page; /* null: shown where a view would be, or */
    struct mg__shown *shown;   /* bytes of a stream or large secret in a region of their own */
};

/* Where a view sits. Free: both are 0. */
struct mg__seat {
    _Atomic uint64_t mark; /* serial << 32 | the vault's mark; only the first release finds it */
    _Atomic uint64_t read; /* of a light reader: what it reads (light.h) */
};

/* A thread that has called us. Type-stable. Each view that it acquires has a place here, with a mark that only the
 * first release finds: so a view that was copied cannot be released twice, by whatever thread. */
struct mg__thread {
    _Alignas(MG_CACHE_LINE) uint32_t number; /* from 1 */
    uint32_t serial;                         /* of the last view */
    uint32_t next_place;                     /* where to look first for a free one */
    struct mg__seat *next_seat;              /* the same; null: none was made */
    uint64_t next_pin;                 /* the same, as a light reader's pin[1], but for the serial; else no view's */
    _Atomic bool heavy;                /* others release its views: it reads nothing lightly */
    struct mg__mutex releasing;        /* for others who release a light reader's view */
    uint32_t released;                 /* how many were; under that mutex */
    uint32_t places;                   /* made so far */
    struct mg__use_link *_Atomic uses; /* innermost */
    struct mg__scope *scope;           /* innermost */
    _Atomic uint32_t inside;           /* its thread is inside the library (fork.h) */
    _Atomic uint32_t making;           /* index + 1 of the vault in which it makes a secret; 0: none */
    bool is_free;                      /* under the mutex of thread.c */
    _Atomic bool orphan;               /* its thread has ended, with views still out */
    struct mg__thread *next_free;
    struct mg__seat *_Atomic views[MG_VIEW_SEGMENTS]; /* a segment doubles the ones before */
    struct mg__indices indices;                       /* what it keeps for secrets that it makes next */
    struct mg__compact_cache slots;
};

/* ---- the gate ---- */

/* The first line of every public function that touches state is MG_REFUSE_FORKED() (fork.h). */
extern struct mg__vault *_Atomic mg__vaults[MG_VAULTS];
/* NULL: never made. */
static inline struct mg__vault *mg__vault_by_index(uint32_t index) {
    return atomic_load_explicit(&mg__vaults[index & (MG_VAULTS - 1)], memory_order_acquire);
}
/* A token: generation | index | 10. Not a valid address of any object, since it is odd in its second bit and small. */
enum { MG_TOKEN_INDEX_BITS = 12 };
_Static_assert(MG_VAULTS == 1 << MG_TOKEN_INDEX_BITS, "an index fits the token");
static inline memguard_vault *mg__vault_token(const struct mg__vault *vault) {
    return (memguard_vault *)atomic_load_explicit(&vault->token, memory_order_relaxed);
}
/* It is this vault's, and the vault is alive. */
static inline bool mg__vault_token_fits(const struct mg__vault *vault, const memguard_vault *token) {
    return token != NULL && atomic_load(&vault->token) == (uintptr_t)token;
}
/* Whose index the token has, whether it fits or not; NULL: nobody's. */
static inline struct mg__vault *mg__vault_of_token(const memguard_vault *token) {
    return mg__vault_by_index((uint32_t)((uintptr_t)token >> 2));
}
struct mg__vault *mg__vault_find(const memguard_vault *token); /* NULL: stale */
uint32_t mg__vault_count(void);
static inline bool mg__vault_alive(const struct mg__vault *vault) { return atomic_load(&vault->token) != 0; }
/* Alive, and not left in the parent by a child that has only copies. */
static inline bool mg__vault_is_here(const struct mg__vault *vault) {
    return mg__vault_alive(vault) && atomic_load(&vault->gate) != MG_GATE_FORKED;
}
/* In a child that settles. leave_behind: what is not copied answers FORKED from now on. keep_house: starts the thread if
 * a vault wants it. */
void mg__vaults_leave_behind(void);
MG_MUST_USE memguard_status mg__vaults_keep_house(void);
bool mg__vaults_are_unlocked(void);
/* The control mutex, with a second look that the token still fits. STALE: not locked. */
MG_MUST_USE memguard_status mg__vault_enter(const memguard_vault *token, struct mg__vault **vault);
void mg__vault_leave(struct mg__vault *vault);
memguard_status mg__gate_status(uint32_t gate);
/* From a signal handler: closes the gates of all vaults, before everything is wiped. */
void mg__vault_close_all(void);
static inline MG_MUST_USE memguard_status mg__gate_check(struct mg__vault *vault) {
    const uint32_t gate = atomic_load(&vault->gate);
    return MG_LIKELY(gate == MG_GATE_OPEN) ? MEMGUARD_OK : mg__gate_status(gate);
}
/* The coffer says STATE when it has no key; if that is so because the vault is being purged, the answer is the
 * gate's. */
static inline memguard_status mg__gate_explain(struct mg__vault *vault, memguard_status status) {
    if (MG_LIKELY(status != MEMGUARD_ERR_STATE)) return status;
    const memguard_status by_gate = mg__gate_check(vault);
    return by_gate != MEMGUARD_OK ? by_gate : status;
}
/* The marks of borrows that were begun before tell these from later ones. When nobody holds a borrow that is not
 * revoked, and the gate is closed. */
static inline void mg__vault_renew_mark(struct mg__vault *vault) {
    atomic_store(&vault->mark, atomic_load(&vault->mark) + MG_MARK_STEP);
}
static inline uint32_t mg__mark_vault(uint64_t mark) { return (uint32_t)mark & (MG_MARK_STEP - 1); }
static inline struct mg__vault *mg__link_vault(const struct mg__use_link *link) {
    return mg__vault_by_index(mg__mark_vault(link->mark) - 1);
}
static inline struct mg__vault *mg__vault_of(const struct mg__entry *entry) {
    return mg__vault_by_index(mg__entry_vault(entry) - 1);
}

/* ---- making ---- */

/* A maker's note in the record of its thread takes the place of the entry's word: whoever closes the gate waits until no note names the
 * vault (mg__makers_await), and only then looks for entries. So making takes no atomic step of its own. mg__making_end must
 * follow. false: the gate is closed, or the token is stale. */
static inline MG_MUST_USE bool mg__making_begin(struct mg__thread *thread, struct mg__vault *vault,
                                                const memguard_vault *token) {
    atomic_store_explicit(&thread->making, vault->index + 1, memory_order_relaxed);
    mg__sys_fence_light();
    /* In this order: a token that still fits after the gate was seen open proves that it is the gate of that very
     * vault. */
    return MG_LIKELY(atomic_load(&vault->gate) == MG_GATE_OPEN) && mg__vault_token_fits(vault, token);
}
static inline void mg__making_end(struct mg__thread *thread) {
    atomic_store_explicit(&thread->making, 0, memory_order_release);
}

/* ---- handles of all kinds (secret.c) ---- */

/* An exclusive entry in a vault whose gate is open; from here on a purge waits for us. */
MG_MUST_USE memguard_status mg__entry_begin(memguard_vault *token, enum mg__object object, struct mg__vault **vault,
                                            struct mg__entry **entry);
/* Ends the exclusive ownership of a new entry. STALE: it was purged while it was made, and is gone. */
MG_MUST_USE memguard_status mg__entry_publish(struct mg__vault *vault, struct mg__entry *entry, uint64_t *id);
/* What destroy does for every kind. *id becomes 0. */
MG_MUST_USE memguard_status mg__entry_destroy(uint64_t *id, enum mg__object object);

/* ---- threads (thread.c) ---- */

MG_MUST_USE memguard_status mg__thread_start(void);  /* once per process */
extern MG_THREAD struct mg__thread *mg__thread_mine; /* NULL: has none yet */
struct mg__thread *mg__thread_join(void);
static inline struct mg__thread *mg__thread_known(void) { return mg__thread_mine; }
/* NULL: out of memory. */
static inline struct mg__thread *mg__thread_self(void) {
    return MG_LIKELY(mg__thread_mine != NULL) ? mg__thread_mine : mg__thread_join();
}
struct mg__thread *mg__thread_by_number(uint32_t number);
/* Segment i holds the places from MG_VIEW_FIRST * (2^i - 1) on. NULL: it was not made yet. */
static inline struct mg__seat *mg__thread_seats(const struct mg__thread *thread, unsigned segment) {
    return atomic_load_explicit(&thread->views[segment], memory_order_acquire);
}
struct mg__seat *mg__thread_seat(const struct mg__thread *thread, uint32_t place); /* NULL: never made */
static inline bool mg__seat_is_free(const struct mg__seat *seat) {
    return (atomic_load_explicit(&seat->mark, memory_order_relaxed) |
            atomic_load_explicit(&seat->read, memory_order_acquire)) == 0;
}
/* Of the calling thread: sees to it that next_seat is free. false: no memory. */
MG_MUST_USE bool mg__thread_search_seat(struct mg__thread *thread);
static inline MG_MUST_USE bool mg__thread_find_seat(struct mg__thread *thread) {
    if (MG_LIKELY(thread->next_seat != NULL && mg__seat_is_free(thread->next_seat))) return true;
    return mg__thread_search_seat(thread);
}
/* pin[1] of a view: number of the thread (17 bits) | access (2) | place (21) | serial (24). */
enum { MG_VIEW_LIGHT = 0 }; /* as access: READ, by a light reader */
static inline uint64_t mg__view_pin(uint32_t number, uint32_t access, uint32_t place, uint32_t serial) {
    return serial | ((uint64_t)place << MG_VIEW_SERIAL_BITS) |
           ((uint64_t)access << (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS)) |
           ((uint64_t)number << (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS + MG_VIEW_ACCESS_BITS));
}
/* A place for a view: false without memory. *place and *serial go into the view. */
MG_MUST_USE bool mg__thread_note_view(struct mg__thread *thread, const struct mg__vault *vault, uint32_t *place,
                                      uint32_t *serial);
/* Takes it back: false when it is not there (any more). */
MG_MUST_USE bool mg__thread_drop_view(struct mg__thread *thread, const struct mg__vault *vault, uint32_t place,
                                      uint32_t serial);
/* Whether the thread has a borrow in progress, of a vault or (null) of any. What a purge of the vault took away is no
 * borrow of it any more. Of another thread than the caller's: a guess when that thread is at work, exact when it is
 * not. */
bool mg__thread_borrows(const struct mg__thread *thread, const struct mg__vault *vault);
/* After a view was dropped: the record of a thread that has ended is recycled with its last view. */
void mg__thread_settle(struct mg__thread *thread);
void mg__thread_leave_scopes(struct mg__thread *thread); /* scope.c */
/* With the gate closed: waits until nobody who found it open makes a secret in the vault. They are not in host code, and
 * wait for nobody who could wait for us. */
void mg__makers_await(const struct mg__vault *vault);
/* Slots of an arena that is about to be destroyed, and that nobody uses any more: no thread keeps any. */
void mg__threads_forget_slots(const struct mg__compact_arena *arena);
/* Ends a `use` in a child without its thread, as far as can be done at once; the rest is done when the child settles. */
void mg__thread_drop_use(struct mg__use_link *link);
/* For forks. outside: nobody is inside. part: in the fork handler of a child; what other threads use is not used any more.
 * settle: their scopes close, as when threads end; views go on. heir: who forked, and lives on; null: had called nothing. */
bool mg__threads_are_outside(void);
bool mg__threads_are_unlocked(void);
void mg__threads_part(void);
void mg__threads_settle(void);
struct mg__thread *mg__thread_heir(void);

/* ---- secrets (secret.c) ---- */

/* Destroys an entry, of whatever kind, of which the caller is the exclusive owner. */
void mg__secret_end(struct mg__entry *entry);
/* What is due after an unpin or unseize: ends the entry if it was the last one. */
void mg__secret_after(struct mg__entry *entry, enum mg__unpin left);
/* Changes the rest of an entry of which the caller is the exclusive owner. Of a stream or large secret: closes what is
 * open. */
MG_MUST_USE memguard_status mg__secret_change_rest(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest);
/* Wipes the body, keeps the handle: calls answer EXPIRED. The caller is the exclusive owner. */
void mg__secret_expire(struct mg__entry *entry);
/* What to answer when the secret could not be had. BUSY may come from another call that is just being refused by the gate: then the
 * answer is the gate's. */
MG_MUST_USE memguard_status mg__secret_refused(uint64_t id, memguard_status status);
/* Exclusive ownership for a change: STALE, BUSY, EXPIRED, what the gate says, or OK. */
MG_MUST_USE memguard_status mg__secret_seize(memguard_secret secret, struct mg__vault **vault,
                                             struct mg__entry **entry);

/* The public functions of these names, whatever is in the way (quick.c). caller: where the host has called. */
memguard_status mg__secret_create(memguard_vault *vault, size_t bytes, uint32_t flags, memguard_secret *secret,
                                  const void *caller);
memguard_status mg__secret_copy(memguard_vault *vault, const void *source, size_t bytes, uint32_t flags,
                                memguard_secret *secret, const void *caller);
memguard_status mg__secret_take(memguard_vault *vault, void *source, size_t bytes, uint32_t flags,
                                memguard_secret *secret, const void *caller);
memguard_status mg__secret_destroy(memguard_secret *secret);

/* ARGUMENT, or OK. */
MG_MUST_USE memguard_status mg__secret_check_flags(uint32_t flags);

/* ---- showing bytes to the host (borrow.c) ---- */

struct mg__show {
    const struct mg__vault *vault;
    struct mg__entry *entry; /* pinned */
    struct mg__thread *thread;
    memguard_fn *fn;
    void *arg;
    int *result;               /* may be null */
    struct mg__use_page *page; /* where the bytes are; or */
    struct mg__shown *shown;   /* of a stream or large secret, in no page */
    bool ran;                  /* told: fn ran; else the entry is dying */
    memguard_status
        lost; /* told: not OK: fn forked, and this is a child in which the call cannot go on: it only returns this */
};
/* After mg__call_park: whether this is still the process, or the copy of one, in which the vault is. FORKED: it is not. */
MG_MUST_USE memguard_status mg__vault_come_back(const struct mg__vault *vault, unsigned depth);
/* Runs fn with the bytes in the host's hands. false: they were revoked meanwhile, or lost. */
MG_MUST_USE bool mg__show(struct mg__show *show, const unsigned char *data, size_t bytes);

/* ---- bodies: where the bytes of each rest lie (open.c) ---- */

/* The caller owns the entry exclusively, or holds its T lock. *data: the bytes, accessible as asked (at least). */
MG_MUST_USE memguard_status mg__open(struct mg__vault *vault, struct mg__entry *entry, int access,
                                     unsigned char **data);
/* Undoes it, and checks the canaries. changed: seal anew. An error: the access could not be taken away. */
MG_MUST_USE memguard_status mg__close(struct mg__vault *vault, struct mg__entry *entry, bool changed);
/* Gives the entry a body. *data: where to write the plaintext; null for SEALED, which mg__seal_body fills. On
 * failure the entry is as before. Then mg__settle takes the access away that the rest does not have. */
MG_MUST_USE memguard_status mg__make_body(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest, size_t bytes,
                                          unsigned char **data);
MG_MUST_USE memguard_status mg__settle(struct mg__entry *entry);
/* SEALED: writes, or reads, the sealed bytes. index: of the entry, which may be a stand-in for it. */
MG_MUST_USE memguard_status mg__seal_body(struct mg__vault *vault, struct mg__entry *entry, uint32_t index,
                                          const unsigned char *plain);
MG_MUST_USE memguard_status mg__unseal_body(struct mg__vault *vault, const struct mg__entry *entry,
                                            unsigned char *plain);
/* Wipes the body and lets it go. Aborts on a broken canary. */
void mg__drop_body(struct mg__vault *vault, struct mg__entry *entry);
/* The same where a purge has taken the memory away, or will: nothing of it is touched. */
void mg__drop_revoked_body(struct mg__entry *entry);
/* Callback, line, abort. The bytes were wiped by the caller. */
_Noreturn void mg__corrupted(struct mg__vault *vault, size_t bytes);

/* ---- limits (limits.c) ---- */

/* Sets the limits of a secret; the caller owns the entry exclusively or holds a pin. */
MG_MUST_USE memguard_status mg__limits_set(struct mg__vault *vault, struct mg__entry *entry,
                                           const memguard_limits *limits);
/* The rest was changed: counts the time until it is to be sealed from now. */
void mg__limits_rest_changed(struct mg__vault *vault, struct mg__entry *entry);
void mg__limits_drop(struct mg__entry *entry);
/* At the begin of a borrow: EXPIRED, or (borrow) one use taken. */
MG_MUST_USE memguard_status mg__limits_begin_slow(struct mg__entry *entry, bool borrow);
/* Gives back the use that a borrow took which failed. */
void mg__limits_refund(struct mg__entry *entry);
/* At its end, still pinned: true when the secret has reached a limit. */
MG_MUST_USE bool mg__limits_end_slow(struct mg__entry *entry);
static inline MG_MUST_USE memguard_status mg__limits_begin(struct mg__entry *entry, bool borrow) {
    if (MG_LIKELY(mg__entry_limits(entry) == NULL)) return MEMGUARD_OK;
    return mg__limits_begin_slow(entry, borrow);
}
static inline MG_MUST_USE bool mg__limits_end(struct mg__entry *entry) {
    if (MG_LIKELY(mg__entry_limits(entry) == NULL)) return false;
    return mg__limits_end_slow(entry);
}
/* Wipes a secret that has reached a limit, if nobody is at it. */
void mg__limits_expire(uint64_t id);
/* Whether a limit is reached that has not been enforced yet. */
MG_MUST_USE bool mg__limits_are_over(const struct mg__entry *entry);
/* Whether its borrows have outlived the grace. */
MG_MUST_USE bool mg__limits_are_overdue(const struct mg__entry *entry);
void mg__limits_describe(const struct mg__entry *entry, memguard_info *info);
/* Wipes what has expired in the vault; gives when to look again, on the boot-time clock. */
uint64_t mg__limits_sweep(struct mg__vault *vault, uint64_t now_ms);

/* ---- scopes (scope.c) ---- */

/* Notes a new secret in the innermost scope of this thread for its vault. */
MG_MUST_USE memguard_status mg__scope_note(struct mg__vault *vault, uint64_t id);

/* ---- purge (purge.c) ---- */

/* memguard_purge_all for a process that is about to end: no new keys, and the borrows of the calling thread are waited for,
 * then revoked, like any. */
MG_MUST_USE memguard_status mg__purge_at_end(uint32_t wait_ms);
/* How many vaults have a purge that waits for its own callers' borrows. */
extern _Atomic uint32_t mg__purges_deferred;
/* Called when a borrow that `whose` began has ended while there are such: completes those that `whose` asked for, if
 * it borrows nothing any more. */
void mg__purge_resume(const struct mg__thread *whose);
/* Takes the memory of an overdue secret away from those who borrow it; a compact slot is left to them. */
void mg__purge_overdue(struct mg__vault *vault, struct mg__entry *entry);
/* Destroys everything in the vault; those in the host's hands are waited for until purge_until_ns, then revoked:
 * *revoked is how many. FORKED: in a child that cannot go on with it. */
MG_MUST_USE memguard_status mg__purge_secrets(struct mg__vault *vault, uint64_t *revoked);
/* In a child that settles: what other threads had begun is completed, and revokes, at once; but what this thread
 * borrows it may return first. */
void mg__purges_settle(void);

/* What a room below wants to know: called before the secrets of a vault die in a purge or with the vault, with the gate
 * closed and none of our locks held. May be null. */
extern void (*_Atomic mg__vault_on_end)(struct mg__vault *vault);

/* ---- housekeeper (housekeeper.c) ---- */

MG_MUST_USE memguard_status mg__housekeeper_start(void);
void mg__housekeeper_stop(void);
/* Something is due earlier than it may believe. */
void mg__housekeeper_poke(uint64_t due_ns);
/* Does what is due; gives when the next thing is (monotonic ns). */
uint64_t mg__housekeeper_tend(struct mg__vault *vault, uint64_t now_ns);

#endif
