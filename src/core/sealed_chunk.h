/* core/sealed_chunk: what streams and large secrets have in common, both called *chunked* here: an object with an id of
 * its own, whose bytes lie sealed in chunks (docs/KEYS.md section 7); sides with a window each, in which one chunk is
 * open for the time of a lease; bytes shown to the host; what destroy, lock, purge and the housekeeper do with all
 * that.
 * Must not know: the order of chunks, who reads and who writes what.
 *
 * Every call pins the entry, takes the mutex of one side, works, and lets go of both; a function of the host runs
 * pinned and held (table.h), with no mutex.
 * Lock order: a vault's control mutex -> side: reading -> side: writing -> its coffer's mutex, and rooms below. Under a
 * side alone, with nothing below: the links of a stream, what is shown, the vault's list of open windows. The
 * housekeeper takes a side only if it is free. */
#ifndef MG_CORE_SEALED_CHUNK_H
#define MG_CORE_SEALED_CHUNK_H

#include "core/coffer.h"
#include "core/table.h"

#include <memguard/stream.h>

enum mg__side { MG_READING, MG_WRITING, MG_SIDES }; /* a large secret has the first only */

struct mg__vault;
struct mg__thread;

/* One chunk of plaintext, in a guarded region that stays writable. Under the mutex of its side, but for the atomics and
 * the last three. */
struct mg__window {
    struct mg__mutex mutex; /* of the side */
    struct mg__chunked *of;
    struct mg__region *region; /* null: closed, and `used` is 0 */
    size_t used;               /* bytes in it, from the beginning on */
    _Atomic uint64_t due_ns;   /* when the lease of what is in it ends */
    _Atomic bool wanted;       /* the housekeeper found the side busy: who has it shall close the window */
    _Atomic bool listed;       /* in the vault's list; changed under the list's mutex, like: */
    uint64_t look_ns;          /* when to look at it; not later than due_ns */
    struct mg__window *previous, *next;
};

/* A vault's open windows, those to be looked at first in front. */
struct mg__windows {
    struct mg__mutex mutex;
    struct mg__window *_Atomic first;
    struct mg__window *last;
};

struct mg__chunked_kind {
    enum mg__object object;
    /* Seals what the writers' window holds; called with that side taken. Null: windows hold copies only. */
    memguard_status (*seal)(struct mg__chunked *chunked);
    /* Frees everything but the windows, and the object itself. */
    void (*release)(struct mg__chunked *chunked);
};

/* First member of a stream and of a large secret; made zero, but for kind and chunk_bytes, by its maker. */
struct mg__chunked {
    const struct mg__chunked_kind *kind;
    struct mg__vault *vault;
    struct mg__entry *entry;
    uint64_t id; /* the handle's */
    size_t chunk_bytes;
    unsigned char object[MG_OBJECT_BYTES]; /* the id in the key */
    struct mg__window windows[MG_SIDES];
    struct mg__mutex shown_mutex;
    struct mg__shown *shown; /* longer than a page; under shown_mutex */
};

/* ---- life ---- */

/* chunk_bytes of options that may be null. ARGUMENT. */
MG_MUST_USE memguard_status mg__chunked_read_options(const memguard_stream_options *options, size_t *chunk_bytes);
/* Gives a new object its handle. It is the table's from now on; on failure it has been released. */
MG_MUST_USE memguard_status mg__chunked_publish(memguard_vault *token, struct mg__chunked *chunked, size_t bytes,
                                                uint64_t *id);
/* Wipes and frees; the caller owns the entry exclusively. */
void mg__chunked_end(struct mg__entry *entry);
/* Closes all windows: sealed where there is something to seal. The caller owns the entry exclusively. */
MG_MUST_USE memguard_status mg__chunked_put_away(struct mg__entry *entry);
/* For a purge, which has marked the entry as revoked: wipes the windows, takes away what is shown. false: it could not.
 */
MG_MUST_USE bool mg__chunked_take_away(struct mg__entry *entry);

/* ---- calls ---- */

/* Pins the object and takes a side of it, past the gate. */
MG_MUST_USE memguard_status mg__chunked_begin(uint64_t id, enum mg__object object, enum mg__side side,
                                              struct mg__chunked **chunked);
void mg__chunked_finish(struct mg__chunked *chunked, enum mg__side side);
/* Pins alone. */
MG_MUST_USE memguard_status mg__chunked_pin(uint64_t id, enum mg__object object, struct mg__chunked **chunked);
void mg__chunked_unpin(struct mg__chunked *chunked);
/* A side of a pinned object. Leaving it closes the window if it may not stay open. */
void mg__side_take(struct mg__chunked *chunked, enum mg__side side);
void mg__side_leave(struct mg__chunked *chunked, enum mg__side side);

/* ---- windows; their side is taken ---- */

/* Makes sure that there is room for a chunk. */
MG_MUST_USE memguard_status mg__window_open(struct mg__chunked *chunked, enum mg__side side);
/* Where a chunk lies in it. */
unsigned char *mg__window_data(const struct mg__chunked *chunked, enum mg__side side);
/* The window holds `used` bytes, the first of them since now: its lease begins. */
void mg__window_fill(struct mg__chunked *chunked, enum mg__side side, size_t used);
/* Wipes what it holds; it stays open for the next chunk, until its lease ends. */
void mg__window_blank(struct mg__chunked *chunked, enum mg__side side);
/* The same, and lets the pages go. */
void mg__window_close(struct mg__chunked *chunked, enum mg__side side);

/* Closes the windows whose time has come; gives when to look again (monotonic ns). */
uint64_t mg__windows_tend(struct mg__vault *vault, uint64_t now_ns);

/* ---- one chunk ---- */

/* *prefix: the earliest that may be used; then the one that was. */
MG_MUST_USE memguard_status mg__chunk_seal(struct mg__chunked *chunked, uint64_t tail, uint32_t *prefix,
                                           unsigned char *sealed, const unsigned char *plain, size_t bytes);
/* AUTH is counted; nothing is written then. */
MG_MUST_USE memguard_status mg__chunk_unseal(struct mg__chunked *chunked, uint64_t tail, uint32_t prefix,
                                             unsigned char *plain, const unsigned char *sealed, size_t bytes);
/* A chunk that should be there is not: AUTH, counted. */
memguard_status mg__chunk_missing(struct mg__chunked *chunked);

/* ---- showing ---- */

/* Bytes for a function of the host, in protected pages that end at a guard; on the stack of its caller. */
struct mg__shown {
    struct mg__use_page *page; /* up to a page */
    struct mg__region *region; /* longer, or when there was no page */
    size_t bytes;
    _Atomic bool revoked; /* the purge is done with the region */
    struct mg__shown *next;
};

/* What the host wants to see. */
struct mg__viewer {
    memguard_fn *fn;
    void *arg;
    int *result;               /* may be null */
    struct mg__thread *thread; /* by mg__viewer_begin */
};
MG_MUST_USE memguard_status mg__viewer_begin(struct mg__viewer *viewer);

MG_MUST_USE memguard_status mg__shown_take(const struct mg__chunked *chunked, size_t bytes, struct mg__shown *shown);
unsigned char *mg__shown_data(const struct mg__shown *shown);
/* Wipes it and lets it go, unseen. */
void mg__shown_drop(struct mg__shown *shown);
/* Runs the viewer's function with the bytes, drops them and unpins the object, of which no side is taken. STALE: it is
 * dying, fn did not run. REVOKED: a purge took the bytes. FORKED: in a child that
 * cannot go on with it. */
MG_MUST_USE memguard_status mg__shown_show(struct mg__chunked *chunked, struct mg__shown *shown,
                                           const struct mg__viewer *viewer);
/* For forks: its region; null: none. */
struct mg__region *mg__shown_region(const struct mg__shown *shown);
/* In a forked child (leave: in its fork handler): a region that shows bytes to a thread which is not here. */
void mg__shown_leave(struct mg__chunked *chunked, struct mg__shown *shown);
/* Wipes all such, and lets them go. */
void mg__shown_take_back(void);

#endif
