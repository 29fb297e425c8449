/* io/intake: bytes from a descriptor or a reader of the host straight into a draft of a secret.
 * Every function that fails has ended the draft. Must not know: terminals, what the bytes mean. */
#ifndef MG_IO_INTAKE_H
#define MG_IO_INTAKE_H

#include <memguard/io.h>

#include "core/draft.h"
#include "sys/io.h"

/* How often a call that waits looks whether its vault was purged. */
enum { MG_IO_SLICE_MS = 200 };

/* One slice of waiting for a descriptor; a fork does not wait for it. FORKED: this is a child, and nothing of the call is here. */
MG_MUST_USE memguard_status mg__io_wait(int descriptor, bool to_write, enum mg__wait *wait);

struct mg__source {
    memguard_reader *reader; /* null: the descriptor */
    void *arg;
    int descriptor;
    bool breakable;  /* a signal handler that runs breaks it off */
    uint64_t target; /* 0, or the handle whose end is the end of waiting, too */
};

struct mg__intake {
    struct mg__source source;
    struct mg__draft draft;
    size_t got;
};

/* One piece of 1 to `bytes` bytes behind what there is; *count 0: the end. */
MG_MUST_USE memguard_status mg__intake_pull(struct mg__intake *intake, size_t bytes, size_t *count);
/* The bytes have gone where they should: wiped, and room for others. */
void mg__intake_blank(struct mg__intake *intake);
/* Pulls up to `until`, as in memguard_secret_read_from. *size: without the delimiter. *whole: false when the end came first. */
MG_MUST_USE memguard_status mg__intake_gather(struct mg__intake *intake, int until, size_t most, size_t *size,
                                              bool *whole);
/* The first `size` bytes become the secret; EMPTY when there are none. */
MG_MUST_USE memguard_status mg__intake_finish(struct mg__intake *intake, size_t size, memguard_secret *secret);

#endif
