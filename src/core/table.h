/* core/table: the process-wide table of handles. Entries are type-stable: they are reused, never freed, so that any number can be
 * looked up safely. One atomic word per entry decides everything:
 *
 *     63..32 generation | 31 X | 30 D | 29 R | 28 T | 27 L | 26 S | 25 V | 24 N | 23..11 held | 10..0 busy
 *
 *   L  live              S  not a secret: `object` tells what; without L: it stayed in the parent of this forked child
 *   X  one exclusive owner (a WRITE borrow, or a change by the library)
 *   D  dying: no new borrows; whoever drops the last pin ends it
 *   R  revoked: its memory was taken away; nobody touches it any more
 *   T  short lock for opening and closing a shared view; with X: short work of the library, whoever comes waits for its end
 *   V  readers may note themselves in the records of their threads instead of here (light.h)
 *   N  a purge has seen such readers
 *   held: how many pins are in the host's hands; busy: how many are not: there the library is at work and will be done soon.
 *   A purge waits for these, and takes away what is in the host's hands by setting R while nobody is busy.
 *
 * Must not know: what secrets hold, how they are sealed. */
#ifndef MG_CORE_TABLE_H
#define MG_CORE_TABLE_H

#include "crypto/crypto.h"

#define MG_WORD_X ((uint64_t)1 << 31)
#define MG_WORD_D ((uint64_t)1 << 30)
#define MG_WORD_R ((uint64_t)1 << 29)
#define MG_WORD_T ((uint64_t)1 << 28)
#define MG_WORD_L ((uint64_t)1 << 27)
#define MG_WORD_S ((uint64_t)1 << 26)
#define MG_WORD_V ((uint64_t)1 << 25)
#define MG_WORD_N ((uint64_t)1 << 24)
#define MG_WORD_HELD_ONE ((uint64_t)1 << 11)
#define MG_WORD_BUSY_ONE ((uint64_t)1)
#define MG_WORD_HELD_MASK ((uint64_t)0x1FFF)
#define MG_WORD_BUSY_MASK ((uint64_t)0x7FF)
#define MG_WORD_PINS (MG_WORD_HELD_MASK * MG_WORD_HELD_ONE | MG_WORD_BUSY_MASK * MG_WORD_BUSY_ONE)

struct mg__limits;
struct mg__scope;
struct mg__chunked;

/* What a handle names. */
enum mg__object { MG_OBJECT_SECRET, MG_OBJECT_SCOPE, MG_OBJECT_STREAM, MG_OBJECT_LARGE };

/* Where the bytes are. */
union mg__body {
    unsigned char *sealed;     /* SEALED: tag | ciphertext; by mg__entry_sealed */
    struct mg__region *region; /* CLOSED, MAPPED, and COMPACT with MG_ENTRY_GUARDED */
    unsigned char *data;       /* COMPACT */
    struct mg__scope *scope;
    struct mg__chunked *chunked; /* a stream or large secret */
};

/* A sealed secret of up to so many bytes lies in its entry. */
enum { MG_IN_PLACE_MOST = 32, MG_IN_PLACE_BYTES = MG_TAG_BYTES + MG_IN_PLACE_MOST };

/* Of this there may be ten millions: 24 bytes, and the sealed bytes of a key. Who changes what: `kind` only the exclusive owner or
 * who has T; `flags` anybody, by one atomic step; the rest only the exclusive owner. */
struct mg__entry {
    _Atomic uint64_t word;
    uint32_t version; /* counts sealings over all lives of this index */
    uint32_t prefix;  /* SEALED: number of the nonce prefix */
    union {
        _Atomic uint32_t bytes; /* by mg__entry_bytes */
        _Atomic uint32_t next;  /* while it is free: index + 1 of the next free one; 0: none */
    };
    _Atomic uint16_t vault; /* index + 1; 0: none */
    _Atomic uint8_t kind;   /* rest and object (both fixed bits), MG_KIND_* */
    _Atomic uint8_t flags;  /* MG_ENTRY_*, MG_MARK_* */
    union {
        unsigned char in_place[MG_IN_PLACE_BYTES]; /* SEALED, up to MG_IN_PLACE_MOST bytes: tag | ciphertext */
        struct {
            union mg__body body;
            uint64_t place;         /* COMPACT */
            _Atomic uint64_t many;  /* size of 4 GiB and more */
            _Atomic uint32_t reads; /* COMPACT, MAPPED: with pins */
        };
    };
};
_Static_assert(sizeof(struct mg__entry) == 72, "the memory that a sealed key takes");

/* What few entries need, and none must move for: readers open sealed bytes in place. Each entry has one, at a place that can be
 * computed; its memory is never touched where it is not needed. Under T or X, but for who looks at the limits. */
struct mg__extra {
    struct mg__region *open; /* SEALED: while views are open */
    struct mg__limits *_Atomic limits;
    _Atomic uint64_t bytes; /* of a stream or large secret */
    uint32_t views;         /* open views */
};

/* Entries lie in segments, each at a multiple of MG_SEGMENT_SPACE: so an entry needs neither store its index nor where its extra
 * is. The entries of a segment fill huge pages of 2 MiB exactly. */
enum {
    MG_SEGMENT_BITS = 18,
    MG_SEGMENT = 1 << MG_SEGMENT_BITS,
    MG_SEGMENT_SPACE = 1 << 25,
    MG_SEGMENTS = 1 << (28 - MG_SEGMENT_BITS)
};
struct mg__segment {
    struct mg__entry entries[MG_SEGMENT];
    uint32_t first; /* index of the first */
    struct mg__extra extras[MG_SEGMENT];
};
_Static_assert(sizeof(struct mg__segment) <= MG_SEGMENT_SPACE, "a segment fits its place");
_Static_assert(sizeof(((struct mg__segment *)0)->entries) % (2 << 20) == 0, "entries fill huge pages");

enum {
    MG_ENTRY_FROZEN = 1,
    MG_ENTRY_WRITABLE = 2, /* MAPPED: stays writable */
    MG_ENTRY_FRESH = 4,    /* CLOSED: zero bytes that were not written yet */
    MG_ENTRY_GUARDED = 8,  /* COMPACT, but too long for a compact slot */
    MG_ENTRY_EXPIRED = 16, /* wiped by a limit: there is no body */
    MG_ENTRY_DRAFT =
        32 /* its handle is not told yet (draft.h); while lent `views` is the number of the thread that fills it */
};

enum { MG_ENTRY_ALL = 63 };

/* In `flags`, too, for those who look for lost secrets. */
enum {
    MG_MARK_SUSPECT = 64, /* the last sweep found nothing that refers to it, and nobody came since */
    MG_MARK_TOLD = 128    /* reported as alive at its end */
};

/* Bits of `kind`. */
enum {
    MG_KIND_REST = 3,         /* MEMGUARD_SEALED ... */
    MG_KIND_OBJECT_SHIFT = 2, /* two bits; MG_OBJECT_*, which does not change in a life */
    MG_KIND_EXTRA = 16,       /* there may be something in its extra */
    MG_KIND_LIMITED = 32      /* it has limits */
};

/* One read more of a secret that lies open, and is pinned: true once in about 64 times. Two at the same time may count as one. */
static inline bool mg__entry_count_read(struct mg__entry *entry) {
    const uint32_t reads = atomic_load_explicit(&entry->reads, memory_order_relaxed) + 1;
    atomic_store_explicit(&entry->reads, reads, memory_order_relaxed);
    return reads % 64 == 0;
}

static inline uint32_t mg__word_busy(uint64_t word) { return (uint32_t)(word & MG_WORD_BUSY_MASK); }
static inline uint32_t mg__word_held(uint64_t word) {
    return (uint32_t)((word / MG_WORD_HELD_ONE) & MG_WORD_HELD_MASK);
}
static inline uint32_t mg__word_pins(uint64_t word) { return mg__word_held(word) + mg__word_busy(word); }

/* Revoked, and the library is still at it: the memory may not be gone yet. */
static inline bool mg__word_is_being_revoked(uint64_t word) {
    return (word & MG_WORD_R) != 0 && mg__word_busy(word) != 0;
}

/* Free indices that a thread keeps for itself, so that it makes and ends entries without an atomic step on what others use. */
enum { MG_INDICES_KEPT = 32 };
struct mg__indices {
    _Atomic uint32_t count; /* changed by its thread alone, and at any instant right for a child of fork */
    uint32_t kept[MG_INDICES_KEPT];
};
extern MG_THREAD struct mg__indices *mg__my_indices; /* null: this thread keeps none */
/* When its thread has ended: all indices go back to where everybody takes them from. */
void mg__indices_give_back(struct mg__indices *indices);

/* A fresh entry that nobody sees yet, its fields zero (but the version). NULL: *status says why. It becomes visible by
 * mg__entry_show, or goes back by mg__entry_free. */
struct mg__entry *mg__entry_take(uint32_t vault, enum mg__object object, memguard_status *status);
/* From here on all see it: live. own: and owned exclusively, with one pin. Gives its id. */
uint64_t mg__entry_show(struct mg__entry *entry, bool own);
/* mg__entry_take and mg__entry_show in one: live, X, one pin. */
struct mg__entry *mg__entry_claim(uint32_t vault, enum mg__object object, memguard_status *status);
/* Ends an entry of which the caller is the exclusive owner; the generation moves on. */
void mg__entry_free(struct mg__entry *entry);
void mg__entry_free_of(struct mg__entry *entry, uint32_t index); /* for who knows its index */
uint64_t mg__entry_id(const struct mg__entry *entry);
static inline struct mg__segment *mg__segment_of(const struct mg__entry *entry) {
    return (struct mg__segment *)((uintptr_t)entry & ~(uintptr_t)(MG_SEGMENT_SPACE - 1));
}
static inline uint32_t mg__entry_place(const struct mg__entry *entry) {
    return (uint32_t)((uintptr_t)entry & (MG_SEGMENT_SPACE - 1)) / (uint32_t)sizeof *entry;
}
static inline uint32_t mg__entry_index(const struct mg__entry *entry) {
    return mg__segment_of(entry)->first + mg__entry_place(entry);
}
/* Brings an entry towards the processor, if there is one; a hint. */
void mg__entry_prefetch(uint64_t id);
/* How many indices exist, for walks with mg__entry_by_index. */
uint32_t mg__table_count(void);
extern struct mg__segment *_Atomic mg__table_segments[MG_SEGMENTS];
static inline struct mg__segment *mg__segment_by_index(uint32_t index) {
    return atomic_load_explicit(&mg__table_segments[(index >> MG_SEGMENT_BITS) & (MG_SEGMENTS - 1)],
                                memory_order_acquire);
}
static inline struct mg__entry *mg__entry_by_index(uint32_t index) {
    struct mg__segment *segment = mg__segment_by_index(index);
    return MG_UNLIKELY(segment == NULL) ? NULL : &segment->entries[index & (MG_SEGMENT - 1)];
}
/* The same for an index that was made: its segment is there. */
static inline struct mg__entry *mg__entry_known(uint32_t index) {
    return &mg__segment_by_index(index)->entries[index & (MG_SEGMENT - 1)];
}
/* The entry of an id, whether the generation fits or not; NULL when there is none. */
static inline struct mg__entry *mg__entry_at(uint64_t id) {
    const uint32_t index = (uint32_t)id;
    return MG_UNLIKELY(index >> MG_SEGMENT_BITS >= MG_SEGMENTS) ? NULL : mg__entry_by_index(index);
}
/* Calls fn for each range of addresses in which entries lie. Takes no lock. */
void mg__table_each_range(void (*fn)(uintptr_t low, uintptr_t high, void *arg), void *arg);

bool mg__table_is_unlocked(void); /* nobody makes it grow */

/* Which vault it belongs to: index + 1; 0: none. */
static inline uint32_t mg__entry_vault(const struct mg__entry *entry) {
    return atomic_load_explicit(&entry->vault, memory_order_acquire);
}
static inline bool mg__entry_is_of(const struct mg__entry *entry, uint32_t vault_index) {
    return mg__entry_vault(entry) == vault_index + 1;
}

static inline unsigned mg__entry_kind(const struct mg__entry *entry) {
    return atomic_load_explicit(&entry->kind, memory_order_acquire);
}
/* Under T or X. What was written before is seen by whoever sees the change. */
static inline void mg__entry_change_kind(struct mg__entry *entry, unsigned gone, unsigned added) {
    atomic_store_explicit(&entry->kind, (uint8_t)((mg__entry_kind(entry) & ~gone) | added), memory_order_release);
}
static inline enum mg__object mg__entry_object(const struct mg__entry *entry) {
    return (enum mg__object)(mg__entry_kind(entry) >> MG_KIND_OBJECT_SHIFT & 3);
}

static inline struct mg__extra *mg__entry_extra(const struct mg__entry *entry) {
    return &mg__segment_of(entry)->extras[mg__entry_place(entry)];
}
/* For who is about to write into it. Under T or X. */
static inline struct mg__extra *mg__entry_take_extra(struct mg__entry *entry) {
    if ((mg__entry_kind(entry) & MG_KIND_EXTRA) == 0) mg__entry_change_kind(entry, 0, MG_KIND_EXTRA);
    return mg__entry_extra(entry);
}
/* Where the views of a SEALED secret are open; null: none is. */
static inline struct mg__region *mg__entry_open_region(const struct mg__entry *entry) {
    return (mg__entry_kind(entry) & MG_KIND_EXTRA) != 0 ? mg__entry_extra(entry)->open : NULL;
}
/* Its limits; null: none. */
static inline struct mg__limits *mg__entry_limits(const struct mg__entry *entry) {
    if (MG_LIKELY((mg__entry_kind(entry) & MG_KIND_LIMITED) == 0)) return NULL;
    return atomic_load_explicit(&mg__entry_extra(entry)->limits, memory_order_acquire);
}

/* What is read here may be read by anybody, at any time: whoever is not pinned looks at the word again, afterwards. Rest and size
 * are changed by the exclusive owner alone. */
static inline uint32_t mg__entry_rest(const struct mg__entry *entry) { return mg__entry_kind(entry) & MG_KIND_REST; }
static inline void mg__entry_set_rest(struct mg__entry *entry, uint32_t rest) {
    mg__entry_change_kind(entry, MG_KIND_REST, rest);
}
/* Sizes that `bytes` does not hold: it is UINT32_MAX then. */
size_t mg__entry_many(const struct mg__entry *entry);
void mg__entry_set_many(struct mg__entry *entry, size_t bytes);
/* The same of one that light readers may read: they read none of 4 GiB and more (light.h). */
static inline size_t mg__entry_few_bytes(const struct mg__entry *entry) {
    return atomic_load_explicit(&entry->bytes, memory_order_acquire);
}
static inline size_t mg__entry_bytes(const struct mg__entry *entry) {
    const uint32_t bytes = atomic_load_explicit(&entry->bytes, memory_order_acquire);
    return MG_LIKELY(bytes != UINT32_MAX) ? bytes : mg__entry_many(entry);
}
static inline void mg__entry_set_bytes(struct mg__entry *entry, size_t bytes) {
    const bool many = bytes >= UINT32_MAX || mg__entry_object(entry) != MG_OBJECT_SECRET;
    if (MG_UNLIKELY(many))
        mg__entry_set_many(entry, bytes);
    else
        atomic_store_explicit(&entry->bytes, (uint32_t)bytes, memory_order_release);
}
/* Of a stream: modulo 2^64. */
static inline void mg__entry_add_bytes(struct mg__entry *entry, uint64_t bytes) {
    atomic_fetch_add_explicit(&mg__entry_extra(entry)->bytes, bytes, memory_order_relaxed);
}

/* Flags: MG_ENTRY_*. */
static inline unsigned mg__entry_flags(const struct mg__entry *entry) {
    return atomic_load_explicit(&entry->flags, memory_order_acquire);
}
static inline bool mg__entry_has(const struct mg__entry *entry, unsigned flag) {
    return (mg__entry_flags(entry) & flag) != 0;
}
static inline void mg__entry_change_flags(struct mg__entry *entry, unsigned gone, unsigned added) {
    const unsigned now = atomic_load_explicit(&entry->flags, memory_order_relaxed);
    if ((now & gone) != 0) atomic_fetch_and_explicit(&entry->flags, (uint8_t)~gone, memory_order_relaxed);
    if ((~now & added) != 0) atomic_fetch_or_explicit(&entry->flags, (uint8_t)added, memory_order_relaxed);
}
/* Marks: MG_MARK_*, set and taken back by anybody. True: it was there before. */
static inline bool mg__entry_has_mark(const struct mg__entry *entry, unsigned mark) {
    return (atomic_load_explicit(&entry->flags, memory_order_relaxed) & mark) != 0;
}
static inline bool mg__entry_mark(struct mg__entry *entry, unsigned mark) {
    return (atomic_fetch_or(&entry->flags, (uint8_t)mark) & mark) != 0;
}
static inline bool mg__entry_unmark(struct mg__entry *entry, unsigned mark) {
    return (atomic_fetch_and(&entry->flags, (uint8_t)~mark) & mark) != 0;
}

/* The sealed bytes, tag | ciphertext, of a SEALED secret. */
static inline unsigned char *mg__entry_sealed(const struct mg__entry *entry) {
    const bool in_place = mg__entry_bytes(entry) <= MG_IN_PLACE_MOST;
    return MG_LIKELY(in_place) ? (unsigned char *)entry->in_place : entry->body.sealed;
}

/* Why an id names nothing: STALE or, in a forked child, FORKED. */
memguard_status mg__word_refusal(uint64_t word, uint64_t id);

static inline bool mg__entry_is_draft(const struct mg__entry *entry) {
    return (mg__entry_flags(entry) & MG_ENTRY_DRAFT) != 0;
}
/* A stream or large secret. */
static inline bool mg__entry_is_chunked(const struct mg__entry *entry) {
    return mg__entry_object(entry) >= MG_OBJECT_STREAM;
}

/* Pins. Each answers STALE, FORKED, BUSY, LIMIT or OK, by the word and the kind of object alone. */

/* One more pin on an object that is no secret. dying: also when it is. */
MG_MUST_USE memguard_status mg__entry_pin_object(uint64_t id, enum mg__object object, bool dying,
                                                 struct mg__entry **entry);
enum mg__unpin { MG_UNPINNED, MG_UNPINNED_REVOKED, MG_LAST_OF_DYING, MG_LAST_OF_REVOKED };
/* Marks an object as dying; *left: the last: nobody is at it, and the caller owns it exclusively and must end it. */
MG_MUST_USE memguard_status mg__entry_doom(uint64_t id, enum mg__object object, struct mg__entry **entry,
                                           enum mg__unpin *left);

/* One more pin on a secret; hold: and in the host's hands at once. */
MG_MUST_USE memguard_status mg__entry_pin(uint64_t id, bool hold, struct mg__entry **entry);
/* Exclusive ownership of a secret, with one pin. */
MG_MUST_USE memguard_status mg__entry_seize(uint64_t id, struct mg__entry **entry);
/* Exclusive ownership of an entry by a walk: false when somebody is at it. more: MG_WORD_D when it shall end,
 * MG_WORD_T for short work, MG_WORD_V when the caller knows that it has no light readers and will get none; else 0. */
MG_MUST_USE bool mg__entry_seize_idle(struct mg__entry *entry, uint64_t word, uint64_t more);
/* Into the host's hands: false when the entry is dying meanwhile (then it stays in the library's). */
MG_MUST_USE bool mg__entry_hold(struct mg__entry *entry);
/* Back from the host's hands: false when the memory was revoked. */
MG_MUST_USE bool mg__entry_unhold(struct mg__entry *entry);

/* One pin less (of hold: and one held). After the last one of a dying entry the caller owns it exclusively and must
 * end it. */
enum mg__unpin mg__entry_unpin(struct mg__entry *entry, bool held);
/* Ends exclusive ownership. */
enum mg__unpin mg__entry_unseize(struct mg__entry *entry);
/* After the end of a pin, or of a light reader (light.h): when the entry with V is dying, and nobody is at it any more,
 * it is the caller's. */
enum mg__unpin mg__entry_finish(struct mg__entry *entry, uint64_t id);
/* From now on it may be read lightly. It is pinned. */
void mg__entry_let_read_lightly(struct mg__entry *entry);

void mg__entry_lock(struct mg__entry *entry); /* T */
void mg__entry_unlock(struct mg__entry *entry);

/* ---- for hot paths ---- */

/* There is one. */
static inline uint32_t mg__indices_take(struct mg__indices *mine) {
    const uint32_t left = atomic_load_explicit(&mine->count, memory_order_relaxed) - 1;
    atomic_store_explicit(&mine->count, left, memory_order_relaxed);
    return mine->kept[left];
}

/* All fields but the body, and the word, by which they become visible. */
static inline struct mg__entry *mg__entry_begin_life(uint32_t index, uint32_t vault, enum mg__object object,
                                                     uint8_t rest, uint8_t flags, uint32_t bytes) {
    struct mg__entry *entry = mg__entry_known(index);
    /* The end of the life before is seen no later than what follows. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&entry->kind, (uint8_t)(object << MG_KIND_OBJECT_SHIFT | rest), memory_order_relaxed);
    atomic_store_explicit(&entry->flags, flags, memory_order_relaxed);
    atomic_store_explicit(&entry->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&entry->vault, (uint16_t)vault, memory_order_relaxed);
    return entry;
}

static inline uint64_t mg__entry_generation_bits(const struct mg__entry *entry) {
    return atomic_load_explicit(&entry->word, memory_order_relaxed) >> 32 << 32;
}

/* mg__entry_doom of a secret that nobody is at, in one step: NULL when it is not so, and nothing has changed. */
static inline struct mg__entry *mg__entry_doom_quickly(uint64_t id) {
    struct mg__entry *found = mg__entry_at(id);
    uint64_t word = (id >> 32 << 32) | MG_WORD_L;
    const uint64_t wanted = word | MG_WORD_D | MG_WORD_X | MG_WORD_BUSY_ONE;
    if (MG_UNLIKELY(found == NULL)) return NULL;
    return MG_LIKELY(atomic_compare_exchange_strong(&found->word, &word, wanted)) ? found : NULL;
}

#endif
