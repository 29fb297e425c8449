/* scan_secret.h: what is searched for: the secret that the command line names, as needles in protected pages. */
#ifndef MEMGUARD_SCAN_SECRET_H
#define MEMGUARD_SCAN_SECRET_H

#include <memguard.h>

#include "keyparts.h"
#include "needle.h"

struct sought {
    memguard_secret blob;
    memguard_view view; /* of the blob; open while a scan runs */
    struct needles needles;
    size_t bytes;         /* of the secret; of a key: of its secret parts */
    struct key_parts key; /* count 0: it is no key */
};

/* All that `secret` can be found by. A private key in PEM is taken apart; with `need_key` anything else is refused.
 * `from` names it in messages. False: said why. */
bool sought_make(struct sought *sought, memguard_vault *vault, memguard_secret secret, bool need_key, const char *from);

void sought_drop(struct sought *sought);

#endif
