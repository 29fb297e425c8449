/* core/trespass: which secret a faulting address has to do with. For the handler of a crash: async-signal-safe, takes
 * no lock, follows no pointer that another thread may be changing. Must not know: signals, who asks. */
#ifndef MG_CORE_TRESPASS_H
#define MG_CORE_TRESPASS_H

#include "core/vault.h"

enum mg__trespass_kind {
    MG_TRESPASS_PAST,     /* `distance` bytes past the last one */
    MG_TRESPASS_BEFORE,   /* `distance` bytes before the first one */
    MG_TRESPASS_WRITE,    /* in it, and it may be read: so it was written to */
    MG_TRESPASS_CLOSED,   /* in it, and nobody borrows it */
    MG_TRESPASS_RELEASED, /* a page that was given back */
    MG_TRESPASS_REVOKED   /* a page that a purge took away */
};

struct mg__trespass {
    enum mg__trespass_kind kind;
    size_t bytes; /* of the secret; 0: not known any more */
    size_t distance;
};

/* false: the address is not one of the bank's, or no secret is near. */
MG_MUST_USE bool mg__trespass_find(const void *address, struct mg__trespass *trespass);

#endif
