/* memguard: secrets that are sealed at rest, guarded in use, and wiped when done.
 *
 * This header is the manual of the API.
 *
 * THE MODEL IN ONE MINUTE
 *   A *vault* holds a policy, a key and secrets that live and die together. A *secret* is a handle: a number
 *   that names bytes. The bytes are reachable only through a borrow: `memguard_secret_use` shows them to a
 *   function; `memguard_secret_acquire` lends them as a *view* until `memguard_view_release`. Between
 *   borrows a secret *rests*:
 *
 *     MEMGUARD_SEALED   encrypted and authenticated in ordinary memory; costs no lockable memory (default)
 *     MEMGUARD_CLOSED   plaintext in guarded pages of its own that nobody in the process can access
 *     MEMGUARD_MAPPED   plaintext in guarded pages of its own, readable all the time
 *     MEMGUARD_COMPACT  plaintext in a slot of a shared protected page, between canaries: smallest and fastest;
 *                       it notices overwrites, it does not stop over-reads
 *
 *   Those who know the Go library of the same name: Enclave = SEALED; LockedBuffer = CLOSED or MAPPED;
 *   Seal and Open change the rest (memguard_secret_rest).
 *
 * RULES FOR EVERY FUNCTION, said once
 *   Status     Fallible calls return a memguard_status; 0 is success. An output is null or zero after a failure,
 *              and the failed call has changed nothing, unless its text says otherwise. Numbers and remedy
 *              are in memguard_last_error. The library never prints, exits or aborts, unless it is asked to
 *              (memguard/process.h), or finds a broken canary: then it wipes, writes one line to standard error and
 *              aborts (see on_corruption).
 *   MUST       A MUST in a text is the caller's duty; breaking it is undefined behaviour.
 *   Pointers   No pointer may be null unless the text says so: null answers ERR_ARGUMENT. The caller owns what
 *              it passes; the library keeps no pointer after return.
 *   Handles    A null, stale, foreign or made-up handle answers ERR_STALE, for ever; never another secret.
 *              The same holds for vault pointers, which are never dereferenced by anyone.
 *   Secrets    Parameters that carry secret bytes are marked [secret]. Sizes are public.
 *   Threads    Every function may be called from any thread at any time, on the same objects too. No call waits
 *              for another caller, except where it says so (purge, `use` when lockable memory is short, streams and
 *              large secrets, a fork with MEMGUARD_FORK_COPY, and memguard_lost_sweep, which stops all threads).
 *   Signals    Not async-signal-safe, except memguard_emergency_wipe, memguard_wipe, memguard_equal,
 *              memguard_secret_prefetch, memguard_status_name, memguard_status_text and memguard_version. A signal handler of the host
 *              may run in the middle of any call; its register frame on the host's stack is the host's.
 *   Cancel     No function is a cancellation point. A function given to `use` MUST NOT leave by longjmp,
 *              exceptions, cancellation or thread exit.
 *   Fork       In a child of fork, _Fork or clone(2) every call answers ERR_FORKED before it takes any lock, and the
 *              pages are absent or zero there; a `use` in which the host forked ends with ERR_FORKED there. Exceptions
 *              are functions whose text says that they work after fork, and vaults of MEMGUARD_FORK_COPY (see there), with
 *              whose copies a child of fork goes on. exec, posix_spawn and vfork + exec are not concerned: they share the
 *              memory until the exec, and with clone's CLONE_VM a call is as one of the calling thread's.
 *   Structs    Begin with their size: set `size = sizeof` (the *_INIT macros do, where there is one), zero means default. A larger
 *              struct of a newer header is accepted when its tail is zero, otherwise ERR_ARGUMENT.
 *   Common     ERR_ARGUMENT, ERR_STALE and ERR_FORKED may come from every function that takes a pointer, a handle
 *   errors     or a vault; ERR_LOCK_LIMIT, ERR_MAP_LIMIT, ERR_MEMORY, ERR_RANDOM and ERR_SYSTEM from every one that makes,
 *              opens, changes, locks or purges, when the system refuses; "Errors" lists name what else there is, and what is
 *              likely.
 */
#ifndef MEMGUARD_H
#define MEMGUARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEMGUARD_VERSION_MAJOR 0
#define MEMGUARD_VERSION_MINOR 1
#define MEMGUARD_VERSION_PATCH 0

#if defined(__GNUC__)
#define MEMGUARD_MUST_USE __attribute__((warn_unused_result))
#define MEMGUARD_API __attribute__((visibility("default")))
#else
#define MEMGUARD_MUST_USE
#define MEMGUARD_API
#endif

/* ---- status ------------------------------------------------------------------------------------------- */

/* name, number, text. One list makes the constants, memguard_status_name and memguard_status_text. */
#define MEMGUARD_STATUS_LIST(X)                                                                            \
    X(OK, 0, "success")                                                                                    \
    X(ERR_ARGUMENT, 1, "an argument is null, unknown or contradicts another")                              \
    X(ERR_SIZE, 2, "the size is zero, too large, or outside the secret")                                   \
    X(ERR_STALE, 3, "the handle names nothing (any more)")                                                 \
    X(ERR_BUSY, 4, "borrowed by someone")                                                                  \
    X(ERR_FROZEN, 5, "the secret is frozen")                                                               \
    X(ERR_AUTH, 6, "the sealed bytes or the key are not the right ones")                                   \
    X(ERR_LOCKED, 7, "the vault is locked")                                                                \
    X(ERR_STATE, 8, "not possible in this state")                                                          \
    X(ERR_MISMATCH, 9, "the contents differ")                                                              \
    X(ERR_EXPIRED, 10, "the secret has reached a limit of its own and was wiped")                          \
    X(ERR_REVOKED, 11, "a borrow was taken away by a purge")                                               \
    X(ERR_FORKED, 12, "the process is a fork of the one that owns the vault")                              \
    X(ERR_LOCK_LIMIT, 13, "not enough lockable memory (RLIMIT_MEMLOCK)")                                   \
    X(ERR_MAP_LIMIT, 14, "no more memory mappings (vm.max_map_count or RLIMIT_AS)")                        \
    X(ERR_MEMORY, 15, "out of memory")                                                                     \
    X(ERR_LIMIT, 16, "a table of the library is full")                                                     \
    X(ERR_UNSUPPORTED, 17, "this system does not offer what is required")                                  \
    X(ERR_RANDOM, 18, "the system has no randomness to give")                                              \
    X(ERR_SYSTEM, 19, "a system call failed in an unexpected way")                                         \
    X(ERR_SHORT, 20, "the input ended before enough bytes came")                                           \
    X(ERR_INTERRUPTED, 21, "the person at the terminal, or a signal, broke it off")                        \
    X(ERR_END, 22, "the end, authenticated")                                                               \
    X(ERR_EMPTY, 23, "nothing is there to be read now")                                                    \
    X(ERR_IO, 24, "a descriptor could not be read or written")                                             \
    X(ERR_FORMAT, 25, "the text is not in the format expected")                                            \
    X(ERR_TIMEOUT, 26, "not done in the time allowed")

/* 0 is success; every other value is an error. */
typedef int32_t memguard_status;
enum {
#define MEMGUARD_STATUS_ENUM(name, number, text) MEMGUARD_##name = number,
    MEMGUARD_STATUS_LIST(MEMGUARD_STATUS_ENUM)
#undef MEMGUARD_STATUS_ENUM
};

/* The symbol of a status ("ERR_BUSY"), or "ERR_UNKNOWN". Static storage. Async-signal-safe. */
MEMGUARD_API const char *memguard_status_name(memguard_status status);

/* One sentence about a status. Static storage. Async-signal-safe. */
MEMGUARD_API const char *memguard_status_text(memguard_status status);

/* What the last failed call of this thread has to say. Never holds secret bytes. */
typedef struct memguard_error {
    size_t size;            /* sizeof(memguard_error) */
    memguard_status status; /* of the last call of this thread, or step inside a call, that failed; MEMGUARD_OK if none did */
    int32_t os_error;       /* errno of the system call that failed, or 0 */
    uint64_t allowed_bytes; /* ERR_LOCK_LIMIT: what the system allows, what is in use by memguard, */
    uint64_t in_use_bytes;  /*   what was needed on top */
    uint64_t needed_bytes;
    char text[240]; /* a sentence with numbers and remedy, NUL-terminated */
} memguard_error;
#define MEMGUARD_ERROR_INIT {sizeof(memguard_error), 0, 0, 0, 0, 0, {0}}

/* Copies the calling thread's last error into *error (its `size` set by the caller). To be read after a call that
 * failed: success does not clear it. Works after fork. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_last_error(memguard_error *error);

/* "0.1.0". Static storage. Async-signal-safe. */
MEMGUARD_API const char *memguard_version(void);

/* ---- objects ------------------------------------------------------------------------------------------ */

/* A vault. The pointer is a token: it points to nothing. */
typedef struct memguard_vault memguard_vault;

/* A secret, by value. {0} is the null handle. Copies name the same secret; keeping one that is dead is safe. */
typedef struct memguard_secret {
    uint64_t id;
} memguard_secret;

/* A scope: secrets that are destroyed together when a block ends. */
typedef struct memguard_scope {
    uint64_t id;
} memguard_scope;

/* A borrow in progress. `data` is valid until memguard_view_release; data[size] is a guard page unless the
 * secret is COMPACT. `pin` belongs to the library. {0} is a released view. */
typedef struct memguard_view {
    void *data; /* [secret] */
    size_t size;
    uint64_t pin[2];
} memguard_view;

/* The largest secret, in bytes (what memory there is decides earlier). */
#define MEMGUARD_SIZE_MAX ((size_t)1 << (sizeof(size_t) > 4 ? 40 : 30))

/* ---- flags -------------------------------------------------------------------------------------------- */

/* How a secret rests between borrows (in `flags` of the functions that make secrets). */
enum {
    MEMGUARD_SEALED = 0,
    MEMGUARD_CLOSED = 1,
    MEMGUARD_MAPPED = 2,
    MEMGUARD_COMPACT = 3,
    MEMGUARD_REST_MASK = 3
};

/* Added to a rest in `flags`. */
enum {
    MEMGUARD_FROZEN = 1 << 4,   /* made frozen: WRITE borrows answer ERR_FROZEN until memguard_secret_melt */
    MEMGUARD_WRITABLE = 1 << 5, /* with MAPPED: the pages stay writable between borrows */
    MEMGUARD_KEEP = 1 << 6      /* not destroyed by the scope of this thread in which it is made */
};

/* How a view may be used. READ: mapped read-only, any number at once. WRITE: exclusive. A COMPACT secret shares
 * its page, so there the kernel does not enforce READ. */
enum { MEMGUARD_READ = 1, MEMGUARD_WRITE = 2 };

/* Where plaintext may live. */
enum {
    MEMGUARD_BACKEND_AUTO = 0,      /* SECRETMEM; LOCKED where that is missing or would block configured hibernation */
    MEMGUARD_BACKEND_SECRETMEM = 1, /* memfd_secret(2): out of the kernel's own map, root cannot read it by /proc */
    MEMGUARD_BACKEND_LOCKED = 2,    /* anonymous pages, mlock(2) */
    MEMGUARD_BACKEND_PLAIN = 3      /* anonymous pages that may be swapped: never chosen by AUTO */
};

/* Protections: what `require` may demand and what a report states. */
enum {
    MEMGUARD_PROTECT_LOCKED = 1 << 0,   /* never swapped */
    MEMGUARD_PROTECT_HIDDEN = 1 << 1,   /* not readable through the kernel: no ptrace, /proc/pid/mem, hibernation */
    MEMGUARD_PROTECT_NODUMP = 1 << 2,   /* pages left out of core dumps */
    MEMGUARD_PROTECT_NOFORK = 1 << 3,   /* absent or zero in forked children */
    MEMGUARD_PROTECT_NOMERGE = 1 << 4,  /* not merged (KSM), not collapsed into huge pages */
    MEMGUARD_PROTECT_REVOKE = 1 << 5,   /* a purge can take a view away from its holder without leaving residue */
    MEMGUARD_PROTECT_SCRUB = 1 << 6,    /* crypto runs on a private stack and clears the vector registers */
    MEMGUARD_PROTECT_TIMER = 1 << 7,    /* a thread ends leases, re-keys and enforces limits when nobody calls */
    MEMGUARD_PROTECT_ALL = (1 << 8) - 1 /* every bit this version knows */
};

/* Behaviour, in memguard_options.flags. */
enum {
    MEMGUARD_STRICT = 1 << 0,         /* no lease: the key is assembled for each operation and wiped after it */
    MEMGUARD_NO_THREAD = 1 << 1,      /* start no thread: STRICT, unless the host calls memguard_vault_tick */
    MEMGUARD_STRICT_SIGNALS = 1 << 2, /* block signals during every cipher call, so that no signal frame can hold a key (2 system calls) */
    MEMGUARD_RAISE_LIMIT = 1 << 3,    /* raise this process's soft RLIMIT_MEMLOCK to the hard one */
    MEMGUARD_TRACK = 1 << 4           /* note where and when each secret was made (16 bytes each), for memguard/process.h; a
                                         thread that makes its first one asks for the bounds of its stack (pthread_getattr_np) */
};

/* What happens to a vault in a child of fork(2).
 *
 * REFUSE: its pages are absent or zero in the child, and every call with it, its secrets and views answers ERR_FORKED.
 *
 * COPY, for servers that fork their workers after they have loaded keys: the child has a copy of the vault, under the same
 * handles and tokens, and goes on with it as a process of its own: nothing that parent or child change, lock, purge or
 * destroy from then on shows in the other; each has to destroy its own. The child's first call makes the copies its own:
 * locks the pages (locks are not inherited), draws a nonce prefix of its own, ends what other threads of the parent had
 * begun, starts the housekeeper. If that fails (LOCK_LIMIT: the child's RLIMIT_MEMLOCK is too small for what was copied;
 * RANDOM, MEMORY, MAP_LIMIT, SYSTEM) this call, and every later one until it succeeds, answers that status, and nothing is
 * used with less protection than the report says. fork + exec costs nothing of this.
 *   - Other threads of the parent are not in the child: their `use`s end and their scopes close, as if they had ended; their
 *     views stay borrowed until somebody releases them, or a purge ends them. Views of the forking thread stay valid. A
 *     purge that was under way is completed in the child without a wait.
 *   - The fork waits, and with it new calls, until calls under way have ended, functions given to `use` not counted: at the
 *     most two seconds, after which it goes on, but the child is refused (all calls: ERR_FORKED). The same when a signal
 *     handler forks that interrupted a call. Fork handlers (pthread_atfork) of the host may call memguard; in the child
 *     only those registered after the first vault was made.
 *   - Vaults of both policies may live in one process: in the child those of REFUSE answer ERR_FORKED, for ever, and new
 *     vaults of either policy may be made. A child may fork again.
 *   - Children of clone(2) without CLONE_VM, and of _Fork, are refused, but the copies are in their memory.
 *   - Protections: never HIDDEN or NOFORK. AUTO takes LOCKED. The backend SECRETMEM, or HIDDEN or NOFORK in `require`, is
 *     ERR_ARGUMENT; the environment's "secretmem" does not count. UNSUPPORTED before Linux 4.14 (MADV_WIPEONFORK). */
enum { MEMGUARD_FORK_REFUSE = 0, MEMGUARD_FORK_COPY = 1 };

typedef struct memguard_options {
    size_t size;               /* sizeof(memguard_options) */
    uint32_t backend;          /* MEMGUARD_BACKEND_*; the environment variable MEMGUARD_BACKEND (auto, secretmem, locked,
                                  plain) overrides it where `require` allows and the process is not privileged; another
                                  value is ERR_ARGUMENT */
    uint32_t require;          /* MEMGUARD_PROTECT_* bits without which memguard_vault_create fails */
    uint32_t flags;            /* MEMGUARD_STRICT ... */
    uint32_t fork_policy;      /* MEMGUARD_FORK_* */
    uint32_t prekey_bytes;     /* 4096 to 1 MiB, a power of two; 0: 16 KiB, or less when lockable memory is scarce */
    uint32_t rekey_ms;         /* re-randomisation period of the key shares; 0: 500; 10 to 3,600,000 */
    uint32_t lease_us;         /* how long the (masked) key may stay assembled; 0: 2000; 100 to 1,000,000 */
    uint32_t reserved;         /* 0 */
    uint64_t idle_ms;          /* default idle limit of the vault's secrets (see memguard_limits); 0: none */
    /* Called once before the abort that follows a broken canary, after the bytes were wiped. `bytes` is the size of the
     * damaged secret. MUST NOT call memguard. May be null. */
    void (*on_corruption)(size_t bytes, void *arg);
    void *on_corruption_arg;
} memguard_options;
#define MEMGUARD_OPTIONS_INIT {sizeof(memguard_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL}

/* Limits of one secret; 0 means none. Times run on the boot-time clock (they count suspend), also while the vault is
 * locked. First a secret that rests open is sealed (seal_ms); when a limit is reached it is wiped, and later calls answer
 * ERR_EXPIRED: at once where the housekeeper runs, within 50 ms, else at the next call or tick. A borrow in progress ends
 * first. One that outlives the ttl by more than grace_ms is revoked, as a purge would do: its holder faults at the
 * next touch, the release answers ERR_REVOKED, and later calls ERR_STALE. (Not so a COMPACT secret: its page is shared
 * with others, and its borrows are waited for. `use` of it works on a page apart, but is waited for as well.) */
typedef struct memguard_limits {
    size_t size;       /* sizeof(memguard_limits) */
    uint64_t ttl_ms;   /* from now */
    uint64_t idle_ms;  /* from the end of the last borrow */
    uint64_t uses;     /* borrows (use, acquire) still allowed */
    uint64_t seal_ms;  /* from the end of the last borrow: then a CLOSED, MAPPED or COMPACT secret changes its rest to
                          SEALED, for good */
    uint64_t grace_ms; /* how long a borrow may outlive the ttl; 0: 10,000; UINT64_MAX: for ever */
} memguard_limits;
#define MEMGUARD_LIMITS_INIT {sizeof(memguard_limits), 0, 0, 0, 0, 0}

typedef struct memguard_info {
    size_t size;           /* sizeof(memguard_info) */
    size_t bytes;          /* size of the secret */
    uint32_t rest;         /* MEMGUARD_SEALED ... */
    uint32_t flags;        /* MEMGUARD_FROZEN, MEMGUARD_WRITABLE */
    uint32_t borrows;      /* in progress */
    uint32_t writing;      /* 1 while a WRITE borrow is in progress */
    uint64_t uses_left;    /* 0 when unlimited */
    uint64_t expires_ms;   /* until ttl or idle ends it; 0 when unlimited */
} memguard_info;
#define MEMGUARD_INFO_INIT {sizeof(memguard_info), 0, 0, 0, 0, 0, 0, 0}

typedef struct memguard_report {
    size_t size;                   /* sizeof(memguard_report) */
    uint32_t backend;              /* what AUTO came to */
    uint32_t protections;          /* MEMGUARD_PROTECT_* bits obtained */
    uint32_t locked;               /* 1 between memguard_vault_lock and memguard_vault_unlock */
    uint32_t strict;               /* 1: no lease */
    uint64_t prekey_bytes;         /* obtained */
    uint64_t lock_limit_bytes;     /* RLIMIT_MEMLOCK, UINT64_MAX when unlimited; process */
    uint64_t lock_in_use_bytes;    /* locked by memguard; process */
    uint64_t secrets[4];           /* by rest; vault */
    uint64_t secret_bytes[4];      /* by rest; vault */
    uint64_t borrows;              /* in progress; vault */
    uint64_t leases;               /* started since the vault was made */
    uint64_t leased_ns;            /* sum of their lengths, of age_ns */
    uint64_t longest_lease_ns;
    uint64_t age_ns;
    uint64_t rekeys;               /* done */
    uint64_t rekey_failures;       /* put off because memory or randomness was missing: the old shares stayed */
    uint64_t purges;
    uint64_t revoked;              /* borrows taken away by purges */
    uint64_t auth_failures;        /* sealed bytes that did not open */
    uint64_t benches;              /* private stacks; process */
    uint64_t use_pages;            /* pages that `use` shows bytes in; process */
    uint64_t use_waits;            /* times `use` had to wait for one; process */
    uint64_t guarded_slots;        /* made; process, this backend */
    uint64_t guarded_free;         /* of them free */
    uint64_t page_runs;            /* longer guarded areas made (cached ones included); process */
    uint64_t page_run_bytes;
    uint64_t compact_pages;        /* vault */
    uint64_t unrevoked;            /* borrows that outlived a ttl and its grace, whose pages the system refused to take away */
    uint64_t streams;              /* alive; vault */
    uint64_t stream_bytes;         /* written and not yet read; vault */
    uint64_t larges;               /* large secrets alive; vault */
    uint64_t large_bytes;          /* their sizes; vault */
} memguard_report;

/* ---- vault -------------------------------------------------------------------------------------------- */

/* Makes a vault with a fresh key. `options` may be null: all defaults. The first vault starts the housekeeper thread
 * (all signals but those of crashes blocked) unless NO_THREAD; the last memguard_vault_destroy ends it.
 * Errors: ARGUMENT (unknown bit or field), UNSUPPORTED (a required protection or the backend is missing),
 * LOCK_LIMIT, MAP_LIMIT, MEMORY, LIMIT (4096 vaults), RANDOM, SYSTEM (the thread could not be started). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_create(const memguard_options *options,
                                                                     memguard_vault **vault);

/* Destroys all secrets of *vault, wipes its key and sets *vault to null. Null *vault: OK, nothing done.
 * Errors: BUSY while a secret is borrowed or a purge is at work (nothing changed). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_destroy(memguard_vault **vault);

/* Makes now what later calls would make when first needed, so that they need no new kind of system call and cannot
 * run out: guarded pages for `open_bytes` of secrets open at once (each of at most a page, and counted as one), and
 * benches for `parallel` threads (at most 64), and the pages of the next re-key. After it, calls within these numbers make only
 * mprotect, futex, clock, sched_yield and getrandom calls (the last at leases and re-keys); docs/SYSCALLS.md says which, and what a
 * thread's first call does once. Errors: SIZE (open_bytes over MEMGUARD_SIZE_MAX), LIMIT, LOCK_LIMIT (nothing was made),
 * MAP_LIMIT, MEMORY (what was made stays). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_prepare(memguard_vault *vault, size_t open_bytes,
                                                                      unsigned parallel);

/* Fills *report (its `size` set by the caller). Counts are a snapshot. Walks the handle table: O(secrets). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_report(memguard_vault *vault, memguard_report *report);

/* Forgets everything in the vault: new borrows answer ERR_STALE at once, the key is destroyed, others' borrows are
 * waited for up to `wait_ms`, what is then still borrowed is revoked: its holder faults at the next touch (or gets
 * EFAULT from a system call) and never computes on half-wiped bytes. All secrets are destroyed. After it returns no
 * page of the vault holds plaintext, and the vault may be used again under a new key. From inside a borrow of the
 * calling thread's own the gate closes and the key goes at once, the rest is done when that thread ends its last
 * borrow; where another thread ends that one, and borrows itself, when that thread ends its own. What an earlier purge
 * took away is no borrow any more. While another thread's purge is at work: shortens its wait to `wait_ms` from now if that is earlier
 * and waits for its end, unless the calling thread borrows, and answers the same. Two threads that each borrow what the
 * other purges wait for each other, no longer than `wait_ms`.
 * Errors: REVOKED (done, but borrows had to be taken away), LOCK_LIMIT, RANDOM (all is forgotten, but there is no
 * new key: the vault answers ERR_STATE until a purge succeeds). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_purge(memguard_vault *vault, uint32_t wait_ms);

/* Housekeeping by the host, for NO_THREAD: ends leases that are over, re-keys, enforces limits. *next_ms: call again
 * after so many milliseconds (UINT32_MAX: nothing due). May be called with a housekeeper running, too. `next_ms` may
 * be null. The first call tells the library that the host keeps house: leases are then allowed (unless STRICT). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_tick(memguard_vault *vault, uint32_t *next_ms);

/* Takes the key out of memory: wraps it under `kek` [secret] (32 bytes; the caller's duty to derive and to wipe).
 * Secrets that rest CLOSED, MAPPED or COMPACT are sealed first and rest SEALED from then on. While locked: borrows and
 * everything that makes or changes bytes answer ERR_LOCKED; destroy, info, report, purge and vault_destroy work.
 * Errors: BUSY while anything is borrowed or a purge is at work (nothing changed), STATE when locked already,
 * MEMORY, LOCK_LIMIT, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_lock(memguard_vault *vault, const uint8_t kek[32]);

/* Brings the key back, in fresh shares and under a fresh nonce prefix. `kek` [secret]. Errors: AUTH (wrong kek;
 * still locked), STATE when not locked, BUSY while a purge is at work, LOCK_LIMIT, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_unlock(memguard_vault *vault, const uint8_t kek[32]);

/* Changes the key under which a locked vault can be unlocked, from `kek` to `new_kek` [secret] (32 bytes each; they may
 * be the same memory). The vault stays locked. Errors: AUTH (wrong kek; nothing changed), STATE when not locked, BUSY
 * while a purge is at work, LOCK_LIMIT, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_vault_rewrap(memguard_vault *vault, const uint8_t kek[32],
                                                                     const uint8_t new_kek[32]);

/* ---- making secrets ----------------------------------------------------------------------------------- */
/* Common: size 1 to MEMGUARD_SIZE_MAX, else ERR_SIZE. `flags`: a rest, and FROZEN, WRITABLE, KEEP. *secret is null
 * after a failure. Errors of all: ARGUMENT, SIZE, STALE, LOCKED, BUSY (another thread is just locking or destroying
 * the vault), STATE, LOCK_LIMIT, MAP_LIMIT, MEMORY, LIMIT, RANDOM. */

/* A secret of `bytes` zero bytes. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_create(memguard_vault *vault, size_t bytes, uint32_t flags,
                                                                      memguard_secret *secret);

/* A secret with the bytes of `source` [secret], which is wiped in every case, also on failure, except on
 * ERR_ARGUMENT and ERR_SIZE. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_take(memguard_vault *vault, void *source, size_t bytes,
                                                                    uint32_t flags, memguard_secret *secret);

/* The same, but `source` [secret] is never touched: wiping it is the caller's business. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_copy(memguard_vault *vault, const void *source,
                                                                    size_t bytes, uint32_t flags, memguard_secret *secret);

/* A secret of bytes from the kernel's random generator (getrandom(2)). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_random(memguard_vault *vault, size_t bytes, uint32_t flags,
                                                                      memguard_secret *secret);

/* ---- borrowing ---------------------------------------------------------------------------------------- */

/* What `use` calls. `bytes` [secret] end at a guard page and are valid until return. The value returned reaches the
 * caller. */
typedef int memguard_fn(const void *bytes, size_t size, void *arg);

/* Runs fn(bytes, size, arg) on the caller's own stack with the secret's bytes, read-only by contract. SEALED and
 * COMPACT secrets of up to a page are shown in a page of their own, which is wiped afterwards, without a system
 * call; CLOSED ones become readable while fn runs; MAPPED ones are shown in place. *result (may be null) is what fn
 * returned, and untouched when fn did not run. fn may call memguard again, nested use included. When lockable memory
 * is short and this thread holds no borrow, waits up to one second for other threads' uses to end. Errors: BUSY (a
 * WRITE borrow is in progress, or another thread is just locking or destroying the vault), LIMIT (8190 borrows of
 * one secret at once), AUTH, EXPIRED, LOCKED, LOCK_LIMIT, MAP_LIMIT, REVOKED (fn ran to its end, but a purge took
 * the bytes). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_use(memguard_secret secret, memguard_fn *fn, void *arg,
                                                                   int *result);

/* A hint: the secret will be used soon. Brings its place in the table of handles, and with it the sealed bytes of a secret of up to
 * 32 bytes, towards the processor, so that the use does not wait for memory. Worth it for who works on many among hundreds
 * of thousands: call it for sixteen in a row (so that they are fetched side by side), then use these. It cannot fail, says
 * nothing of the handle, takes no lock, makes no system call, opens nothing, and does not count as a use. `secret` may be null, stale
 * or no handle at all. Threads: any. Async-signal-safe. In a forked child: the same. */
MEMGUARD_API void memguard_secret_prefetch(memguard_secret secret);

/* Lends the bytes as a view. access: MEMGUARD_READ (any number at once; a write faults) or MEMGUARD_WRITE (exclusive;
 * the secret is sealed anew or closed at release). A view may be released by another thread. *view is zero after a
 * failure. There is no queue and no fairness: who must read beside a busy writer retries.
 * Errors: BUSY at once, never a wait (WRITE while anyone borrows, anything while someone writes, or as with use),
 * FROZEN (WRITE), AUTH, EXPIRED, LOCKED, LOCK_LIMIT, MAP_LIMIT, MEMORY. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_acquire(memguard_secret secret, uint32_t access,
                                                                       memguard_view *view);

/* Ends a borrow; canaries are checked, the page is wiped, closed or made read-only, *view becomes zero. A zero view:
 * OK.
 * Errors: STALE (released already through a copy of the view), REVOKED (a purge took the view away). MAP_LIMIT,
 * MEMORY: the borrow has ended, but the system refused to take the access away or to seal; the secret then rests
 * CLOSED, and the next borrow's end tries again. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_view_release(memguard_view *view);

/* ---- changing secrets --------------------------------------------------------------------------------- */
/* Errors of all: BUSY while borrowed, LOCKED, EXPIRED, and AUTH where sealed bytes must be opened. */

/* Changes the rest: MEMGUARD_SEALED, CLOSED, MAPPED or COMPACT, with MAPPED also MEMGUARD_WRITABLE. The same rest
 * again: OK.
 * Errors: LOCK_LIMIT, MAP_LIMIT, MEMORY (the old rest stays). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_rest(memguard_secret secret, uint32_t rest);

/* Freeze: no WRITE borrow, replace, resize, scramble or zero until melt. Both are idempotent. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_freeze(memguard_secret secret);
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_melt(memguard_secret secret);

/* Changes the size; bytes beyond the new size are wiped, new bytes are zero. Errors: SIZE, FROZEN, LOCK_LIMIT,
 * MAP_LIMIT, MEMORY. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_resize(memguard_secret secret, size_t bytes);

/* Gives the secret new contents, of any size. `source` [secret] is wiped like in memguard_secret_take. A version
 * counter makes sure that the old sealed bytes never open again. Errors: SIZE, FROZEN, LOCK_LIMIT, MAP_LIMIT,
 * MEMORY. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_replace(memguard_secret secret, void *source, size_t bytes);

/* Writes `bytes` bytes of `source` [secret] at `offset`; copy_at leaves the source alone, move_at wipes exactly
 * these bytes in every case except ERR_ARGUMENT and ERR_SIZE. Errors: SIZE (does not fit: nothing is written,
 * nothing wiped), FROZEN. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_copy_at(memguard_secret secret, size_t offset,
                                                                       const void *source, size_t bytes);
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_move_at(memguard_secret secret, size_t offset, void *source,
                                                                       size_t bytes);

/* Fills the secret with random bytes, or with zeros. Errors: FROZEN, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_scramble(memguard_secret secret);
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_zero(memguard_secret secret);

/* Compares with `bytes` bytes at `other` [secret], in constant time for equal sizes (the size itself is public).
 * OK: equal. ERR_MISMATCH: not equal. Errors: as memguard_secret_use. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_equal(memguard_secret secret, const void *other, size_t bytes);

/* Sets the limits (replacing earlier ones), counted from now. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_limit(memguard_secret secret, const memguard_limits *limits);

/* Describes the secret without opening it. Works while borrowed and while locked. Errors: STALE (dead), EXPIRED. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_info(memguard_secret secret, memguard_info *info);

/* Wipes and forgets; *secret becomes null. While borrowed: no new borrows, and it takes effect when the last one ends.
 * Errors: STALE (null, destroyed already, purged): harmless. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_destroy(memguard_secret *secret);

/* ---- scopes ------------------------------------------------------------------------------------------- */

/* Opens a scope on the calling thread: secrets that this thread makes in `vault` from now on (without MEMGUARD_KEEP)
 * are destroyed when it closes. Scopes nest; a secret belongs to the innermost. Errors: LOCKED, LIMIT, MEMORY. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_scope_create(memguard_vault *vault, memguard_scope *scope);

/* Destroys what the scope holds and closes it (with all scopes opened inside it); *scope becomes null. A secret that
 * is borrowed dies at its last release. What a purge or memguard_vault_destroy took first is gone already; the scope
 * still closes. A thread that ends closes its scopes. Errors: STATE from another thread than the one that opened it. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_scope_destroy(memguard_scope *scope);

/* ---- everything at once ------------------------------------------------------------------------------- */

/* memguard_vault_purge for every vault of the process: all gates close and all keys go first, then `wait_ms` is the
 * wait for all together. Errors: REVOKED, or the first other error after all were tried. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_purge_all(uint32_t wait_ms);

/* Wipes every protected page of the process: plaintext and keys, of all vaults. Async-signal-safe, takes no lock;
 * waits for nobody but cipher calls that other threads have under way, a tenth of a second at the most. Other threads
 * may be anywhere: the wipe goes through. Sealed secrets cost no time; plaintext that is open or at rest is overwritten
 * by the kernel, with random bytes: some seconds for a GiB. Then the process MUST end soon: calls that make, open or change answer
 * ERR_STATE, and what the host holds has other bytes. What another thread is just copying may still be written: a
 * second call wipes that, too. For handlers of fatal signals, which should run on an alternate stack (SA_ONSTACK):
 * one that interrupted a cipher call and runs on its private stack leaves that stack alone. In a forked
 * child it wipes copies (MEMGUARD_FORK_COPY), also in one that is refused, and nothing else. */
MEMGUARD_API void memguard_emergency_wipe(void);

/* ---- tools -------------------------------------------------------------------------------------------- */

/* Sets `bytes` bytes to zero in a way that no compiler removes. p [secret] may be null when bytes is 0.
 * Async-signal-safe, works after fork. */
MEMGUARD_API void memguard_wipe(void *p, size_t bytes);

/* 1 when the `bytes` bytes at a and b [secret] are equal, else 0; time depends on `bytes` alone. Async-signal-safe,
 * works after fork. */
MEMGUARD_API MEMGUARD_MUST_USE int memguard_equal(const void *a, const void *b, size_t bytes);

/* Runs fn(arg) on the caller's own stack, then wipes the stack below this call and clears the vector and
 * caller-saved registers. The wipe covers 64 KiB, and goes on below while it finds the stack used, to the end of the
 * thread's stack (less 16 KiB). On a stack that is not the thread's own (alternate signal stack, coroutine), whose
 * end is not known, it covers the next 1 KiB. `result` may be null. Errors: none but ARGUMENT. Works after fork. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_call_scrubbed(int (*fn)(void *arg), void *arg, int *result);

/* ---- automatic cleanup (GCC and Clang) ---------------------------------------------------------------- */

/* `MEMGUARD_AUTO memguard_secret key = {0};` destroys the secret when the variable leaves its block; likewise for views
 * (MEMGUARD_AUTO_VIEW), scopes (MEMGUARD_AUTO_SCOPE) and vaults (MEMGUARD_AUTO_VAULT, on a pointer). Declare a view
 * after its secret: cleanup runs in reverse order. */
#if defined(__GNUC__)
static inline __attribute__((unused)) void memguard_auto_secret_(memguard_secret *secret) {
    if (secret->id != 0) {
        memguard_status ignored = memguard_secret_destroy(secret);
        (void)ignored;
    }
}
static inline __attribute__((unused)) void memguard_auto_view_(memguard_view *view) {
    memguard_status ignored = memguard_view_release(view);
    (void)ignored;
}
static inline __attribute__((unused)) void memguard_auto_scope_(memguard_scope *scope) {
    if (scope->id != 0) {
        memguard_status ignored = memguard_scope_destroy(scope);
        (void)ignored;
    }
}
static inline __attribute__((unused)) void memguard_auto_vault_(memguard_vault **vault) {
    memguard_status ignored = memguard_vault_destroy(vault);
    (void)ignored;
}
#define MEMGUARD_AUTO __attribute__((cleanup(memguard_auto_secret_)))
#define MEMGUARD_AUTO_VIEW __attribute__((cleanup(memguard_auto_view_)))
#define MEMGUARD_AUTO_SCOPE __attribute__((cleanup(memguard_auto_scope_)))
#define MEMGUARD_AUTO_VAULT __attribute__((cleanup(memguard_auto_vault_)))
#endif

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_H */
