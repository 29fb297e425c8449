/* core/draft: a secret that is being filled from outside, by a system call or by the host. It is an entry of the table like any
 * other, resting CLOSED, whose handle nobody knows yet: so purge, revocation, lock and emergency wipe find it.
 *
 *   AWAKE   ours alone, the bytes writable: the library works on them. A purge waits for that (it is short).
 *   LENT    in the hands of a system call or of the host: a purge takes them away when it has waited enough; a fork does
 *           not wait for them
 *   ASLEEP  closed and free, for waits without an end: a purge ends it at once, a lock seals it
 *
 * Every function that fails has ended the draft: its bytes are wiped and there is nothing left to do.
 * Must not know: where the bytes come from. */
#ifndef MG_CORE_DRAFT_H
#define MG_CORE_DRAFT_H

#include "core/vault.h"

struct mg__draft {
    struct mg__vault *vault;
    struct mg__entry *entry; /* while AWAKE or LENT */
    memguard_secret secret;  /* its handle */
    unsigned char *data;     /* while AWAKE or LENT */
    size_t bytes;
    uint32_t flags; /* of the secret that it shall become */
    unsigned depth; /* while LENT (mg__call_park) */
};

/* AWAKE, `bytes` zero bytes. `flags`: as of the functions that make secrets. */
MG_MUST_USE memguard_status mg__draft_begin(memguard_vault *token, size_t bytes, uint32_t flags,
                                            struct mg__draft *draft);
/* AWAKE to LENT and back. STALE: a purge, or the vault's end. FORKED: this is a child in which the draft is not. */
MG_MUST_USE memguard_status mg__draft_lend(struct mg__draft *draft);
MG_MUST_USE memguard_status mg__draft_take_back(struct mg__draft *draft);
/* AWAKE: lends `bytes` bytes from `offset` on to a function of the host, which may write to them, and takes them back. */
MG_MUST_USE memguard_status mg__draft_show(struct mg__draft *draft, size_t offset, size_t bytes, memguard_fn *fn,
                                           void *arg);
/* AWAKE to ASLEEP and back. STALE as before; LOCKED: the vault has been locked meanwhile. */
MG_MUST_USE memguard_status mg__draft_sleep(struct mg__draft *draft);
MG_MUST_USE memguard_status mg__draft_wake(struct mg__draft *draft);
/* AWAKE: more bytes; the address changes, the old place is wiped. */
MG_MUST_USE memguard_status mg__draft_grow(struct mg__draft *draft, size_t bytes);
/* AWAKE: becomes a secret of its first `bytes` bytes (1 to draft->bytes). */
MG_MUST_USE memguard_status mg__draft_finish(struct mg__draft *draft, size_t bytes, memguard_secret *secret);
/* AWAKE or ASLEEP: wipes and forgets it. */
void mg__draft_end(struct mg__draft *draft);

/* Whether a secret, stream or large secret is there and not dying; a look at a number, for those who wait. */
MG_MUST_USE bool mg__secret_lives(uint64_t id);

/* What the draft asks of secret.c. */
MG_MUST_USE memguard_status mg__secret_finish(struct mg__vault *vault, struct mg__entry *entry, uint32_t flags,
                                              memguard_secret *secret);
/* Changes rest and size of an entry of which the caller is the exclusive owner. */
MG_MUST_USE memguard_status mg__secret_convert(struct mg__vault *vault, struct mg__entry *entry, uint32_t rest,
                                               size_t bytes);

/* As memguard_secret_use for a function of the library's own: a purge waits for it. (borrow.c) */
MG_MUST_USE memguard_status mg__secret_use_within(memguard_secret secret, memguard_fn *fn, void *arg, int *result);

#endif
