/* memguard/stream.h: streams and large secrets: secrets of any size, sealed in chunks, of which one at a time is open.
 *
 *   A *stream* is a queue of bytes: many writers put bytes in, many readers take them out, in order, once. A *large
 *   secret* is an array of bytes of fixed size, read and written anywhere. Both lie sealed in ordinary memory, chunk by
 *   chunk; their size is limited by that memory, not by the lockable one. A chunk opens only in its own place of its
 *   own object (docs/KEYS.md section 7): one that was changed, swapped, left out or put back from earlier answers
 *   ERR_AUTH and stays where it is.
 *
 *   The open chunk: while bytes are written or read in small pieces, one chunk of each side is kept open in guarded
 *   pages, so that a call costs what it moves and not a chunk. It is closed (sealed, or wiped) at most the vault's
 *   lease_us after it was opened, by the housekeeper or the tick. In a STRICT vault, and in one with NO_THREAD whose
 *   host never ticks, nothing stays open after a call: there small reads open their chunk anew each time, and small
 *   writes make small chunks.
 *
 * The rules at the top of memguard.h hold here, too. In addition, for every function of this page:
 *   Handles    Streams and large secrets are handles of their own kinds: a secret's handle answers ERR_STALE here, and
 *              theirs elsewhere. They belong to no scope, and no limits (memguard_limits) apply to them.
 *   Threads    Writers of one stream take turns, and so do its readers, and the callers of one large secret: each waits
 *              for the library's work in others' calls, never for a function of the host. No lock is shared between
 *              objects, but for a moment when a chunk is opened the first time in a lease.
 *   Vaults     While the vault is locked: ERR_LOCKED, except size, chunk_bytes and destroy. A purge ends them like
 *              secrets: it waits for functions of the host that are shown bytes, then takes the pages away from them.
 *              memguard_vault_destroy answers ERR_BUSY while one runs.
 *   Failures   Change nothing: no byte of a failed write can be read, no byte that a failed read would have given is
 *              lost; except that memguard_stream_use may have consumed what it could not show any more when the stream
 *              was being destroyed or purged.
 *   Errors     Of all: ARGUMENT, STALE, FORKED, LOCKED, BUSY (another thread is just locking or destroying the vault),
 *              STATE (the vault has no key since a purge). Of those that move bytes: AUTH, MEMORY, LOCK_LIMIT,
 *              MAP_LIMIT, RANDOM, SYSTEM. AUTH counts in auth_failures of memguard_report.
 */
#ifndef MEMGUARD_STREAM_H
#define MEMGUARD_STREAM_H

#include <memguard.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A stream, and a large secret, by value. {0} is the null handle. */
typedef struct memguard_stream {
    uint64_t id;
} memguard_stream;
typedef struct memguard_large {
    uint64_t id;
} memguard_large;

typedef struct memguard_stream_options {
    size_t size;          /* sizeof(memguard_stream_options) */
    uint32_t chunk_bytes; /* plaintext in a chunk: 64 to 1 MiB; 0: 16384 */
    uint32_t reserved;    /* 0 */
} memguard_stream_options;
#define MEMGUARD_STREAM_OPTIONS_INIT {sizeof(memguard_stream_options), 0, 0}

/* ---- streams ------------------------------------------------------------------------------------------ */

/* An empty stream. `options` may be null. Errors: ARGUMENT (chunk_bytes out of range), LIMIT, MEMORY, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_create(memguard_vault *vault,
                                                                      const memguard_stream_options *options,
                                                                      memguard_stream *stream);

/* Wipes and forgets all that is in it; *stream becomes null. While memguard_stream_use shows bytes or other calls are
 * at work: no new calls, and it takes effect when the last of them ends. Errors: STALE (destroyed or purged already):
 * harmless. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_destroy(memguard_stream *stream);

/* Appends `bytes` bytes of `source` [secret], which is left alone: wiping it is the caller's business. They lie
 * together, whatever other writers do, and readers see all of them or none. Whole chunks are sealed at once, the rest
 * stays in the open chunk. Memory for all chunks is taken before the first is sealed. Errors: SIZE (0, or over
 * MEMGUARD_SIZE_MAX), STATE (after memguard_stream_finish). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_write(memguard_stream stream, const void *source,
                                                                     size_t bytes);

/* Takes up to `bytes` bytes out, into `buffer` [secret; the caller's to wipe]: as many as are there, without a wait.
 * OK: *got is at least 1. What is written can be read at once: a reader who finds all chunks consumed has the open one
 * of the writers sealed first. Errors, with *got 0: SIZE (0 bytes wanted), EMPTY (nothing there now), END (after
 * memguard_stream_finish: all was read, and that this is the end was authenticated), AUTH (the next chunk is not the
 * one that was sealed, or is missing: nothing of it is given, and so answers every later call). Bytes before such a
 * chunk are given first. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_read(memguard_stream stream, void *buffer, size_t bytes,
                                                                    size_t *got);

/* Takes the rest of the next chunk out (a whole chunk if nothing of it was read) as a new secret of the same vault,
 * with `flags` as in memguard_secret_create. The bytes never leave protected pages. *secret is null after a failure.
 * Errors: as memguard_stream_read, and as memguard_secret_copy. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_next(memguard_stream stream, uint32_t flags,
                                                                    memguard_secret *secret);

/* Takes up to `most` bytes out, not beyond the end of a chunk, and shows them to fn in protected pages that end at a
 * guard page and are wiped when fn returns; they are consumed whatever fn returns. Other readers go on while fn runs.
 * fn and *result: as in memguard_secret_use. Errors: as memguard_stream_read, SIZE (most is 0), REVOKED (fn ran to its
 * end, but a purge took the bytes). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_use(memguard_stream stream, size_t most, memguard_fn *fn,
                                                                   void *arg, int *result);

/* Closes what is open: the writers' bytes are sealed as a chunk, shorter than others; what readers had open is wiped
 * (it can still be read). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_flush(memguard_stream stream);

/* No more writes: the last chunk (which may be empty) is sealed with a mark, which readers must find to be told
 * ERR_END. Again: OK. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_finish(memguard_stream stream);

/* *bytes: written and not yet read. Public. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_size(memguard_stream stream, uint64_t *bytes);

/* ---- large secrets ------------------------------------------------------------------------------------ */
/* Ranges that do not fit the secret, or of 0 bytes: SIZE. Memory is taken for a chunk when it is first written. */

/* `bytes` zero bytes: 1 to MEMGUARD_SIZE_MAX, in fewer than 2^32 chunks, else SIZE. `options` may be null. A chunk
 * never written takes no memory but 16 bytes. Errors: ARGUMENT (chunk_bytes out of range), LIMIT, MEMORY, RANDOM. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_create(memguard_vault *vault, uint64_t bytes,
                                                                     const memguard_stream_options *options,
                                                                     memguard_large *large);

/* As memguard_stream_destroy. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_destroy(memguard_large *large);

/* Size, and plaintext in a chunk. Public. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_size(memguard_large large, uint64_t *bytes);
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_chunk_bytes(memguard_large large, size_t *bytes);

/* Changes the size: bytes beyond it are forgotten, new ones are zero. Errors: SIZE, as in create. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_resize(memguard_large large, uint64_t bytes);

/* Copies `bytes` bytes from `offset` on into `buffer` [secret; the caller's to wipe]. After an error its contents are
 * unspecified: AUTH may come from a later chunk than the first, whose bytes are there then. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_read_at(memguard_large large, uint64_t offset,
                                                                      void *buffer, size_t bytes);

/* Copies `bytes` bytes of `source` [secret], which is left alone, to `offset`. Chunks that are changed in part are
 * opened and sealed anew, those written as a whole are not opened: so it also mends a chunk that does not open. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_write_at(memguard_large large, uint64_t offset,
                                                                       const void *source, size_t bytes);

/* Shows `bytes` bytes from `offset` on, at most chunk_bytes (they may lie across two chunks), as memguard_stream_use
 * does: a copy, so changes by other threads are not seen. Errors: REVOKED. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_use_at(memguard_large large, uint64_t offset,
                                                                     size_t bytes, memguard_fn *fn, void *arg,
                                                                     int *result);

/* What memguard_large_each calls: `bytes` [secret] are those of one chunk, at `offset` of the secret. Not 0 ends the
 * walk. */
typedef int memguard_chunk_fn(uint64_t offset, const void *bytes, size_t size, void *arg);

/* Shows all chunks in order, each as memguard_large_use_at does. *result (may be null) is what fn returned last,
 * untouched when it did not run. Ends early when fn returns something else than 0 (OK), or with the first error. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_each(memguard_large large, memguard_chunk_fn *fn,
                                                                   void *arg, int *result);

/* ---- automatic cleanup (GCC and Clang), as in memguard.h ---------------------------------------------- */
#if defined(__GNUC__)
static inline __attribute__((unused)) void memguard_auto_stream_(memguard_stream *stream) {
    if (stream->id != 0) {
        memguard_status ignored = memguard_stream_destroy(stream);
        (void)ignored;
    }
}
static inline __attribute__((unused)) void memguard_auto_large_(memguard_large *large) {
    if (large->id != 0) {
        memguard_status ignored = memguard_large_destroy(large);
        (void)ignored;
    }
}
#define MEMGUARD_AUTO_STREAM __attribute__((cleanup(memguard_auto_stream_)))
#define MEMGUARD_AUTO_LARGE __attribute__((cleanup(memguard_auto_large_)))
#endif

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_STREAM_H */
