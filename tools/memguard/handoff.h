/* handoff.h: handing a secret to an unmodified program as a file that is on no disk: a memfd of mode 0600, which the
 * program opens as /dev/fd/N, as often as it likes. Nobody can write to it or change its size any more; only a mapping
 * that was made before can, and that is what wipes it in the end.
 *
 * While it is handed over, its bytes are ordinary shared memory, which root and the same user can read. It is locked
 * against swapping when the limit allows. */
#ifndef MEMGUARD_HANDOFF_H
#define MEMGUARD_HANDOFF_H

#include <memguard.h>
#include <stdbool.h>
#include <stddef.h>

struct handoff {
    int fd;
    void *map; /* [secret] our writable mapping; NULL: nothing is handed over */
    size_t bytes;
    bool locked; /* cannot be swapped */
    bool sealed; /* the kernel refuses writes (F_SEAL_FUTURE_WRITE, Linux 5.1) */
};

/* Makes the file. False: said why on standard error; nothing is left. */
bool handoff_open(struct handoff *handoff, memguard_secret secret);

/* The same in steps, for what is put together of several pieces: an empty file; pieces, which go straight into it;
 * the end, after which nothing can be put. False: said why; to be wiped (after begin: nothing is left). */
bool handoff_begin(struct handoff *handoff, size_t bytes);
bool handoff_put(struct handoff *handoff, size_t at, const void *bytes, size_t size);
bool handoff_put_secret(struct handoff *handoff, size_t at, memguard_secret secret);
bool handoff_end(struct handoff *handoff);

/* Wipes it, reads it back, closes it. False: said why: it could not be shown that all of it is zero. Null: true. */
bool handoff_wipe(struct handoff *handoff);

#endif
