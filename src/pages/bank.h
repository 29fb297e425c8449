/* pages: the bank, the process-wide store of protected pages; guarded regions, compact slots, benches, the budget of lockable
 * memory. Must not know: keys, handles, vaults, what the bytes mean.
 *
 * Layout of guarded slots (one chunk; a run is a chunk with one longer slot):
 *
 *     | guard | slot | guard | slot | guard | ...      guards: reserved, never accessible, never charged
 *              ^ canary pattern ... | data |           data ends exactly at the trailing guard
 *
 * Slots and guards differ in kind of mapping or in flags, so that a change of access never splits or merges a mapping. A free
 * region has no access and holds the canary pattern everywhere: filling the pattern over the data is the wipe.
 * Free slots wait in a FIFO: an address is reused as late as possible, so use after release faults.
 *
 * Lock order: grow mutex of a kind, then nothing. Taking and giving slots, benches and compact slots takes no lock. */
#ifndef MG_PAGES_BANK_H
#define MG_PAGES_BANK_H

#include "sys/sys.h"

/* The copied kinds are the only ones of which a child of fork gets a copy. */
enum mg__kind {
    MG_KIND_SECRETMEM,
    MG_KIND_LOCKED,
    MG_KIND_PLAIN,
    MG_KIND_LOCKED_COPIED,
    MG_KIND_PLAIN_COPIED,
    MG_KINDS
};
static inline bool mg__kind_is_copied(enum mg__kind kind) { return kind >= MG_KIND_LOCKED_COPIED; }
/* Whether its pages count against the lockable memory. */
static inline bool mg__kind_is_locked(enum mg__kind kind) {
    return kind != MG_KIND_PLAIN && kind != MG_KIND_PLAIN_COPIED;
}

enum { MG_REGION_FREE, MG_REGION_USED, MG_REGION_REVOKED, MG_REGION_GONE };

/* A guarded area. The structs are type-stable: never freed, so that a late look at one is harmless. */
struct mg__region {
    unsigned char *base; /* first page that can be accessible */
    size_t bytes;        /* of such pages */
    _Atomic uint32_t state;
    uint8_t kind;
    _Atomic uint8_t access; /* MG_ACCESS_* as last set by us */
    struct mg__chunk *chunk;
    struct mg__region *next; /* in a cache of runs */
};

/* ---- life (chunk.c) ---- */

/* Once per process; safe to call again. Draws the canary pattern. */
MG_MUST_USE memguard_status mg__bank_start(void);
/* Makes sure that the kind works here, by doing: makes a first slot. *protections: MEMGUARD_PROTECT_* bits it gives. */
MG_MUST_USE memguard_status mg__bank_probe(enum mg__kind kind, uint32_t *protections);
/* Slots made ahead, so that `slots` are free. */
MG_MUST_USE memguard_status mg__bank_reserve(enum mg__kind kind, size_t slots);

/* A free region of at least `bytes`, without access, filled with the pattern. */
MG_MUST_USE memguard_status mg__region_take(enum mg__kind kind, size_t bytes, struct mg__region **region);
/* The same, never from the slots that secrets use: an address that a host once held never becomes a page with keys. */
MG_MUST_USE memguard_status mg__region_take_apart(enum mg__kind kind, size_t bytes, struct mg__region **region);
/* Changes the access. */
MG_MUST_USE memguard_status mg__region_protect(struct mg__region *region, int access);
/* Where `bytes` bytes that end at the guard begin. */
static inline unsigned char *mg__region_data(const struct mg__region *region, size_t bytes) {
    return region->base + (region->bytes - bytes);
}
/* True when the pattern before the last `bytes` bytes is whole. The region must be readable. */
MG_MUST_USE bool mg__region_intact(const struct mg__region *region, size_t bytes);
/* The same for the `span` bytes just before the data. */
MG_MUST_USE bool mg__region_intact_near(const struct mg__region *region, size_t bytes, size_t span);
/* Gives the region back: writes the pattern over everything but the intact slack, takes the access away.
 * data_bytes: how many bytes at the end may differ from the pattern. A revoked region is not touched but retired. */
void mg__region_give(struct mg__region *region, size_t data_bytes);
/* Takes the region away from whoever reads or writes it and wipes it. The address stays, without access, until
 * mg__region_give. The caller sees to it that nobody else gives or protects it meanwhile. */
MG_MUST_USE bool
mg__region_revoke(struct mg__region *region); /* false: the kernel refused, whoever holds it can still read it */
/* Everything of every kind, from a signal handler, whatever other threads do meanwhile. */
void mg__bank_emergency_wipe(void);
/* Set by that: from then on canaries count as whole, and no bench is given away. */
extern _Atomic bool mg__bank_wiped;
/* What lies around an address of the bank; from a signal handler. */
struct mg__neighbours {
    const struct mg__region *at;             /* the address is in it, or */
    const struct mg__region *before, *after; /* it is in the guard between these; either may be null */
};
/* false: the address is not in the bank. */
MG_MUST_USE bool mg__bank_locate(const void *address, struct mg__neighbours *found);

/* ---- in a child of fork (copies.c) ---- */

/* From now on only copies are wiped in an emergency: where the rest was, other things may lie. For signal and fork
 * handlers. */
void mg__bank_part(void);
extern _Atomic bool mg__bank_is_parted;
/* In a child that goes on with its copies, while nobody is at anything: the stores and pools of the other kinds begin
 * anew, empty. */
void mg__bank_forget_uncopied(void);
/* Makes all copies this process's own, locked where they were, and counts them. LOCK_LIMIT: free ones were let go, and
 * it was still too much. After a failure: call it again. */
MG_MUST_USE memguard_status mg__bank_own_copies(void);

/* Their parts. */
void mg__chunks_forget_uncopied(void);
uint64_t mg__chunks_copied_bytes(void); /* lockable ones */
void mg__chunks_trim_copies(void);      /* lets free slots go, and runs kept for reuse */
MG_MUST_USE int mg__chunks_own_copies(void);
void mg__benches_forget_uncopied(void);
uint64_t mg__benches_copied_bytes(void);
MG_MUST_USE int mg__benches_own_copies(void);
void mg__use_pages_forget_uncopied(void);
/* Calls fn for each range of addresses in which regions lie, guards included. Takes no lock. */
void mg__bank_each_range(void (*fn)(uintptr_t low, uintptr_t high, void *arg), void *arg);

/* ---- canary pattern (canary.c) ---- */

MG_MUST_USE memguard_status mg__canary_start(void);
/* From now on children of fork have it, too. */
MG_MUST_USE memguard_status mg__canary_copy_on_fork(void);
/* The pattern depends on the address modulo 16 alone. */
void mg__canary_fill(unsigned char *p, size_t bytes);
MG_MUST_USE bool mg__canary_intact(const unsigned char *p, size_t bytes);

/* ---- budget (budget.c) ---- */

void mg__budget_charge(enum mg__kind kind, size_t bytes);
void mg__budget_release(enum mg__kind kind, size_t bytes);
void mg__budget_restart(uint64_t locked); /* in a child: so much is in use */
uint64_t mg__budget_in_use(void);
/* True when all of a small number of bytes is scarce: sizes things as a share of the limit. */
size_t mg__budget_share(unsigned part, size_t least, size_t most);
/* LOCK_LIMIT when `needed` bytes more cannot be locked. */
MG_MUST_USE memguard_status mg__budget_check(enum mg__kind kind, uint64_t needed);
/* Turns an errno of mapping or locking into a status with numbers. */
memguard_status mg__budget_fail(enum mg__kind kind, int error, size_t needed);

/* ---- benches (bench.c) ---- */

/* A private locked stack for leaf calls into the cipher library; never host code. */
struct mg__bench {
    _Alignas(MG_CACHE_LINE) _Atomic uint32_t busy; /* 0, or who has it: mg__thread_hint() + 1 */
    unsigned char *low;                            /* of the whole stack, its unlocked reserve included */
    unsigned char *top;
    size_t watch_bytes; /* how far below what is wiped a signal frame's marks are looked for */
    bool has_marks;
};

/* Waits while all are busy: leaf calls end soon. STATE: an emergency wipe has stopped everything. */
MG_MUST_USE memguard_status mg__bench_take(enum mg__kind kind, struct mg__bench **bench);
void mg__bench_give(enum mg__kind kind, struct mg__bench *bench);
/* Runs fn(arg) on the bench, wipes `depth` bytes of it (and all, if something went deeper), clears the registers. */
void mg__bench_run(struct mg__bench *bench, void (*fn)(void *), void *arg, size_t depth);
/* take, run, give. */
MG_MUST_USE memguard_status mg__bench_call(enum mg__kind kind, void (*fn)(void *), void *arg, size_t depth);
MG_MUST_USE memguard_status mg__bench_prepare(enum mg__kind kind, unsigned parallel);
/* No more than there are now, of the kind: whoever finds all busy waits, and nothing is mapped any more. */
void mg__bench_fix_number(enum mg__kind kind);
/* Lockable bytes that the preparation would take. */
size_t mg__bench_prepare_bytes(enum mg__kind kind, unsigned parallel);
unsigned mg__bench_count(void);
/* From a signal handler: no bench is given away any more; waits, within bounds, for those that others are using. */
void mg__bench_emergency_stop(void);
void mg__bench_emergency_wipe(void);
/* The same for the part above `stack` of the bench that this is an address of; nothing when it is of none. */
void mg__bench_wipe_above(uintptr_t stack);
/* Calls fn for each bench. Takes no lock. */
void mg__bench_each(void (*fn)(const struct mg__bench *bench, void *arg), void *arg);

/* Measured: 1,848 bytes for secrets of up to 64 bytes, 1,888 for all else (gcc and clang); tests/ measure it again. Whatever
 * goes deeper is noticed, and all is wiped. Up to 2 KiB memset(3) stores; beyond, its string instruction takes twice as long. */
enum { MG_BENCH_SHALLOW = 2048, MG_BENCH_DEEP = 4096 };

/* A page in which `use` shows bytes: always writable, wiped after each use. */
struct mg__use_page {
    _Alignas(MG_CACHE_LINE) _Atomic uint32_t busy;
    struct mg__region *region;
    _Atomic uint64_t owner; /* whose bytes are shown: set by show, taken back by end, or taken over by a purge */
};

/* A free use page, or null when none is to be had without a wait. */
struct mg__use_page *mg__use_page_take(enum mg__kind kind);
/* From here to mg__use_page_end a purge may take the page away. owner: not 0 and not 1. */
void mg__use_page_show(struct mg__use_page *page, uint64_t owner);
/* Ends the show. revoked: a purge takes the page away or has done so; waits until that is over. */
void mg__use_page_end(struct mg__use_page *page, bool revoked);
/* Writes the pattern over the last data_bytes bytes and lets the page go. */
void mg__use_page_give(struct mg__use_page *page, size_t data_bytes);
MG_MUST_USE memguard_status mg__use_page_prepare(enum mg__kind kind, unsigned parallel);
void mg__use_page_fix_number(enum mg__kind kind); /* as mg__bench_fix_number */
size_t mg__use_page_prepare_bytes(enum mg__kind kind, unsigned parallel);
unsigned mg__use_page_count(void);
/* Takes all pages away that show bytes of `owner`. false: one could not be taken. */
MG_MUST_USE bool mg__use_page_revoke(uint64_t owner);
/* Whose bytes the region shows; 0: nobody's, or it is no use page. From a signal handler, too. */
uint64_t mg__use_page_owner(const struct mg__region *region);
/* In a forked child (leave: in its fork handler): a page that shows bytes to a thread which is not here. */
void mg__use_page_leave(struct mg__use_page *page);
/* Wipes all such, and lets them go. */
void mg__use_pages_take_back(void);
void mg__use_page_note_wait(void);
uint64_t mg__use_page_waits(void);

/* ---- compact slots (compact.c) ---- */

struct mg__compact_arena;
struct mg__compact_slot {
    unsigned char *data;
    uint64_t place; /* which slot of which page */
};
enum { MG_COMPACT_MOST = 1024 }; /* longer ones get guarded regions: stronger, never weaker */

/* A few free slots that a thread keeps for itself, so that it takes and gives them without an atomic step. Each size class has a
 * line, for one arena at a time. An owner who destroys an arena has its slots forgotten first, by every thread. */
enum { MG_COMPACT_LINES = 12, MG_COMPACT_KEPT = 7 };
struct mg__compact_cache {
    struct mg__compact_line {
        struct mg__compact_arena *_Atomic arena; /* changes only while the line is empty */
        uint32_t most;                           /* of slots */
        _Atomic uint32_t
            count; /* changed by its thread alone, but for mg__compact_forget; right for a child of fork at any instant */
        struct mg__compact_kept {
            uintptr_t not_data; /* complement of the address: whoever sweeps for lost secrets takes it for none */
            uint64_t place;
        } slots[MG_COMPACT_KEPT];
    } lines[MG_COMPACT_LINES];
};
extern MG_THREAD struct mg__compact_cache *mg__my_compact; /* null: this thread keeps none */
/* When its thread has ended. The arenas are alive. */
void mg__compact_give_back(struct mg__compact_cache *cache);
/* Nobody takes slots of this arena any more, nor gives any. */
void mg__compact_forget(struct mg__compact_cache *cache, const struct mg__compact_arena *arena);

MG_MUST_USE memguard_status mg__compact_create(enum mg__kind kind, struct mg__compact_arena **arena);
/* Gives all pages back, whatever lies in them. */
void mg__compact_destroy(struct mg__compact_arena *arena);
MG_MUST_USE memguard_status mg__compact_take(struct mg__compact_arena *arena, size_t bytes,
                                             struct mg__compact_slot *slot);
MG_MUST_USE bool mg__compact_intact(const struct mg__compact_slot *slot, size_t bytes);
/* Wipes the bytes and lets the slot go. false: a canary is broken; the slot is not used again. */
MG_MUST_USE bool mg__compact_give(struct mg__compact_arena *arena, struct mg__compact_slot slot, size_t bytes);
/* Takes all pages away from whoever reads them. */
MG_MUST_USE bool mg__compact_revoke(struct mg__compact_arena *arena);
size_t mg__compact_pages(const struct mg__compact_arena *arena);

/* ---- figures ---- */

struct mg__bank_figures {
    uint64_t slots, free_slots, runs, run_bytes;
};
void mg__bank_figures(enum mg__kind kind, struct mg__bank_figures *figures);

/* A small number that spreads threads over shards. */
unsigned mg__thread_hint(void);

#endif
