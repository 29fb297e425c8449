/* sys: the contract with the operating system. The only room with OS headers; one .c file per system.
 * Must not know: slots, keys, handles.
 *
 * Shared rules. Sizes and addresses of page functions are multiples of mg__sys_page(). Functions that return int give 0 or an
 * errno value; an absent feature gives MG_SYS_UNSUPPORTED, never success. Nothing here changes process-wide settings,
 * except mg__sys_raise_lock_limit, which is asked for. None calls malloc, except thread creation. */
#ifndef MG_SYS_H
#define MG_SYS_H

#include "base/base.h"

enum { MG_SYS_UNSUPPORTED = -1 };

/* ---- memory ---- */

enum { MG_ACCESS_NONE = 0, MG_ACCESS_READ = 1, MG_ACCESS_WRITE = 3 }; /* WRITE includes READ */

size_t mg__sys_page(void);
/* Address space without access and without charge. NULL: *error says why. */
void *mg__sys_reserve(size_t bytes, int *error);
/* Ordinary zero pages, readable and writable, for tables (never plaintext). */
void *mg__sys_map_table(size_t bytes, int *error);
/* The same for tables of which most is never touched: left out of dumps. In one that goes through a pipe there are no
 * holes: all their zeros would be written. */
void *mg__sys_map_sparse_table(size_t bytes, int *error);
/* The same at a multiple of `alignment`, a power of two. */
void *mg__sys_map_aligned_table(size_t bytes, size_t alignment, int *error);
/* Whether the kernel shall use huge pages there, as far as it has any (wanted), or must not. For tables. */
int mg__sys_huge_pages(void *address, size_t bytes, bool wanted);
int mg__sys_unmap(void *address, size_t bytes);
int mg__sys_protect(void *address, size_t bytes, int access);

/* memfd_secret: a source of pages out of the kernel's map. open: a descriptor for `bytes` bytes, or -1; ENOSYS: not
 * to be had. */
int mg__sys_secret_open(size_t bytes, int *error);
/* Whether an errno of mg__sys_secret_open means: not to be had at all. */
bool mg__sys_is_absent(int error);
/* Maps pages of it over a reservation, writable and touched. EAGAIN: over the lockable limit. */
int mg__sys_secret_map(int descriptor, size_t offset, void *address, size_t bytes);
void mg__sys_close(int descriptor);

/* Keeps a reservation out of dumps, children (zero there), merging and huge pages; then makes parts of it writable. */
int mg__sys_private_advise(void *address, size_t bytes);
int mg__sys_private_map(void *address, size_t bytes);
/* Locks pages and touches them. ENOMEM, EAGAIN, EPERM: over the limit. */
int mg__sys_lock(void *address, size_t bytes);
/* Keeps secretmem out of children and dumps. */
int mg__sys_secret_advise(void *address, size_t bytes);
/* Keeps a table out of children: zero there. */
int mg__sys_zero_on_fork(void *address, size_t bytes);
/* As mg__sys_private_advise, for pages of which children of fork get copies. */
int mg__sys_copied_advise(void *address, size_t bytes);
/* Takes mg__sys_zero_on_fork back. */
int mg__sys_copy_on_fork(void *address, size_t bytes);
/* In a child: gives copied pages frames of their own (`locked`: locked ones, as locks are not inherited), whatever their
 * access; afterwards it is `access`. ENOMEM, EAGAIN, EPERM: over the limit. Others may use the pages meanwhile. */
int mg__sys_own(void *address, size_t bytes, int access, bool locked);

/* Takes pages away from whoever uses them: makes them writable at a new address, while at the old one nobody has
 * access any more. `shared`: of secretmem; `locked`: by mg__sys_lock. Then mg__sys_blank must follow. NULL: not
 * possible here (*error). */
void *mg__sys_take_away(void *address, size_t bytes, bool shared, bool locked, int *error);
/* Replaces a range by a bare reservation; what was there goes back to the kernel. */
int mg__sys_blank(void *address, size_t bytes);

/* ---- limits ---- */

/* RLIMIT_MEMLOCK of this process in bytes; UINT64_MAX when it does not apply. */
uint64_t mg__sys_lock_limit(void);
int mg__sys_raise_lock_limit(void);
/* MemAvailable of the machine, in bytes; UINT64_MAX when it is not told. */
uint64_t mg__sys_memory_available(void);
/* True when an ENOMEM for `needed` bytes comes from RLIMIT_AS. */
bool mg__sys_space_exhausted(size_t needed, uint64_t *allowed);
/* True when an ENOMEM comes from the number of mappings. */
bool mg__sys_maps_exhausted(uint64_t *maps, uint64_t *allowed);
/* True when this machine is set up to hibernate (swap and a resume device), which live secretmem would forbid. */
bool mg__sys_hibernation_configured(void);
unsigned mg__sys_processors(void);
/* The environment variable, unless the process is privileged (secure_getenv). */
const char *mg__sys_environment(const char *name);

/* ---- time, randomness, processes ---- */

uint64_t mg__sys_now_ns(void);      /* monotonic */
uint64_t mg__sys_boottime_ms(void); /* counts suspend */
int mg__sys_random(void *p, size_t bytes);
/* One line to standard error; async-signal-safe. */
void mg__sys_complain(const char *line);
_Noreturn void mg__sys_abort(void);

/* ---- threads ---- */

struct mg__mutex {
    _Atomic uint32_t state; /* 0 free, 1 held, 2 held with waiters */
};
void mg__mutex_lock(struct mg__mutex *mutex);
void mg__mutex_unlock(struct mg__mutex *mutex);
static inline bool mg__mutex_is_free(const struct mg__mutex *mutex) { return atomic_load(&mutex->state) == 0; }
/* false: somebody holds it. */
static inline MG_MUST_USE bool mg__mutex_try(struct mg__mutex *mutex) {
    uint32_t idle = 0;
    return atomic_compare_exchange_strong_explicit(&mutex->state, &idle, 1, memory_order_acquire, memory_order_relaxed);
}

/* Sleeps while *word == expected, at most timeout_ns (UINT64_MAX: no limit); may wake early. */
void mg__sys_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void mg__sys_wake(_Atomic uint32_t *word, bool all);
/* One step of waiting for something short: spins, then yields, then sleeps. *step starts at 0. */
void mg__sys_backoff(unsigned *step);

/* Fences of which one side pays for both (membarrier(2), Linux 4.14: PRIVATE_EXPEDITED). Whoever is on the frequent side stores,
 * calls mg__sys_fence_light, and loads; whoever is on the rare side stores, calls mg__sys_fence_heavy, and loads: one of the
 * two sees the other's store. Where the kernel does not offer it, light is a full fence and heavy, too. */
extern _Atomic bool mg__sys_light_fences; /* once true it may become false, never true again but by `prepare` */
/* Before the first light fence of the process, and again in a child that goes on. */
void mg__sys_fence_prepare(void);
void mg__sys_fence_heavy(void);
/* For hot paths: looked at once, before the stores, it spares further looks. It may become false in between: mg__sys_fence_heavy
 * gives what was stored then its time. */
static inline bool mg__sys_fences_are_light(void) {
    return MG_LIKELY(atomic_load_explicit(&mg__sys_light_fences, memory_order_relaxed));
}
static inline void mg__sys_fence_light(void) {
    if (mg__sys_fences_are_light())
        atomic_signal_fence(memory_order_seq_cst);
    else
        atomic_thread_fence(memory_order_seq_cst);
}

static inline void mg__sys_fence_known_light(void) { atomic_signal_fence(memory_order_seq_cst); }

/* Thread cancellation off, and as it was: around calls that are cancellation points. */
int mg__sys_cancel_off(void);
void mg__sys_cancel_restore(int before);

struct mg__sys_thread;
/* All signals blocked but those of crashes. */
int mg__sys_thread_start(void (*run)(void *), void *arg, struct mg__sys_thread **thread);
void mg__sys_thread_join(struct mg__sys_thread *thread);
/* Calls `leave` with the value set by this thread when it ends. */
int mg__sys_thread_exit_key(void (*leave)(void *));
int mg__sys_thread_exit_set(void *value);
/* Signals blocked (saved in a word of 128 bits) and restored, for STRICT_SIGNALS. */
struct mg__sys_signals {
    uint64_t mask[16];
};
void mg__sys_signals_block(struct mg__sys_signals *saved);
void mg__sys_signals_restore(const struct mg__sys_signals *saved);
/* The calling thread's own stack; false where it cannot be told. */
bool mg__sys_stack_bounds(uintptr_t *low, uintptr_t *high);
/* The same if this thread has asked before; async-signal-safe. */
bool mg__sys_stack_bounds_known(uintptr_t *low, uintptr_t *high);

/* ---- fork ---- */

/* What the fork word says. It lies in memory that every fork and clone makes zero: so a child is MG_FORK_CHILD until its
 * own fork handler says something else. */
enum {
    MG_FORK_CHILD,    /* a copy of the process that owns the vaults */
    MG_FORK_OWNER,    /* it owns them, and no child will go on with a copy */
    MG_FORK_COPIER,   /* it owns them, and a child may: calls say when they begin and end */
    MG_FORK_NEAR,     /* the same, while a fork waits or happens */
    MG_FORK_UNSETTLED /* a child that may go on with its copy, before its first call */
};

/* Marks this process as the owner. Afterwards mg__sys_is_refused_child is false here and true in a child of fork or
 * clone, but one of fork that may go on with a copy. */
int mg__sys_fork_mark(void);
/* In a child that goes on with copies: it is an owner, too, and has none of the threads that its parent's library had. */
void mg__sys_fork_adopt(void);
extern _Atomic uint32_t *_Atomic mg__sys_fork_word; /* MG_FORK_*; null before the mark */
/* No fork by the C library between the two, in any thread. (A raw clone is not held.) */
void mg__sys_hold_forks(void);
void mg__sys_let_forks(void);
bool mg__sys_fork_by_pid(void);        /* the slow way, where no page can be zeroed by a fork */
extern bool mg__sys_fork_word_trusted; /* false there: the word does not tell children */

/* Told around each fork by the C library, in the thread that forks; forks come one after another. Set once. */
enum mg__fork_event { MG_FORK_PREPARES, MG_FORK_IN_PARENT, MG_FORK_IN_CHILD };
extern void (*_Atomic mg__sys_on_fork)(enum mg__fork_event event);
/* True in the thread that forks, from the first handler to the last. */
bool mg__sys_is_forking(void);

/* The fork word if it is trusted, else one that says nothing: one look, for those who have another way when it does not say OWNER. */
extern const _Atomic uint32_t *_Atomic mg__sys_owner_word;
static inline bool mg__sys_is_surely_owner(void) {
    const _Atomic uint32_t *word = atomic_load_explicit(&mg__sys_owner_word, memory_order_acquire);
    return atomic_load_explicit(word, memory_order_relaxed) == MG_FORK_OWNER;
}

static inline bool mg__sys_is_refused_child(void) {
    const _Atomic uint32_t *word = atomic_load_explicit(&mg__sys_fork_word, memory_order_acquire);
    if (MG_UNLIKELY(word == NULL)) return false;
    if (MG_LIKELY(mg__sys_fork_word_trusted)) return atomic_load_explicit(word, memory_order_relaxed) == MG_FORK_CHILD;
    return mg__sys_fork_by_pid();
}

/* True in an owner whose children never go on, or before there is one: nothing else is to be asked. */
static inline bool mg__sys_is_plain_owner(void) {
    const _Atomic uint32_t *word = atomic_load_explicit(&mg__sys_fork_word, memory_order_acquire);
    if (MG_UNLIKELY(word == NULL)) return true;
    if (MG_LIKELY(mg__sys_fork_word_trusted)) return atomic_load_explicit(word, memory_order_relaxed) == MG_FORK_OWNER;
    return !mg__sys_fork_by_pid();
}

/* ---- the processor (arch_*.S, arch_*.c) ---- */

/* Calls fn(arg) with the stack pointer at `top` (16-byte aligned), then comes back. Null where not written. */
void mg__arch_call_on(void *top, void (*fn)(void *), void *arg);
/* Clears the vector registers and those general registers that a call may change. */
void mg__arch_clear_registers(void);
/* Wipes `bytes` bytes below its own return address, without a frame of its own. */
void mg__arch_wipe_below(size_t bytes);
/* What mg__arch_clear_registers uses on this processor; called once. */
void mg__arch_init(void);
bool mg__arch_has_private_stacks(void);
/* True where every signal frame has nonzero words at offsets 16 to 31 of some 64-byte line. */
bool mg__arch_has_frame_marks(void);
/* Upper bound of a signal frame on this machine, in bytes. */
size_t mg__arch_signal_frame_bytes(void);

/* ---- the table ---- */

/* Every call into the kernel that can fail goes through here, so that a test build can make call N fail. */
struct mg__sys_table {
    void *(*mmap)(void *, size_t, int, int, int, long);
    int (*munmap)(void *, size_t);
    int (*mprotect)(void *, size_t, int);
    void *(*mremap)(void *, size_t, size_t, int, void *);
    int (*madvise)(void *, size_t, int);
    int (*mlock)(const void *, size_t);
    int (*memfd_secret)(unsigned);
    int (*ftruncate)(int, long);
    int (*close)(int);
    long (*getrandom)(void *, size_t, unsigned);
    int (*getrlimit)(int, void *);
    int (*setrlimit)(int, const void *);
    int (*thread_create)(void *, void *(*)(void *), void *);
    int (*membarrier)(int command);
};
#ifdef MEMGUARD_TESTING
extern struct mg__sys_table mg__sys_table; /* tests/ may replace entries */
#endif

#endif
