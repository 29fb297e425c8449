/* core/coffer: the life of a vault's key, as docs/KEYS.md section 2 tells it. K = y XOR H(x); leases; re-keying; locking.
 * Must not know: handles, secrets' states.
 *
 * Lock order: `mutex` is taken with nothing else held but a vault's control mutex; below it only rooms under core. */
#ifndef MG_CORE_COFFER_H
#define MG_CORE_COFFER_H

#include "core/prefix.h"

enum { MG_OBJECT_BYTES = 16 };
enum mg__coffer_state { MG_COFFER_GONE, MG_COFFER_SPLIT, MG_COFFER_WRAPPED };
/* Ks, then up to eight subkeys, of which the first belongs to the prefix that seals; then Kc */
enum { MG_LEASE_SUBKEYS = 8, MG_LEASE_CHUNKS, MG_LEASE_KEYS };

struct mg__coffer_policy {
    enum mg__kind kind;
    size_t prekey_bytes;
    bool prekey_may_shrink;
    bool strict_signals;
    _Atomic bool strict; /* no lease */
    uint64_t lease_ns, rekey_ns;
};

struct mg__coffer_page; /* the protected part */

struct mg__coffer {
    struct mg__coffer_policy policy;
    struct mg__mutex mutex;
    _Atomic uint32_t state;
    struct mg__region *region; /* holds the page */
    struct mg__coffer_page *page;
    struct mg__region *prekeys[2];
    _Atomic uint32_t current;    /* epoch: which half is valid */
    _Atomic uint32_t readers[2]; /* bench calls that read a half */
    /* the lease: a sequence lock; odd while it changes */
    _Atomic uint64_t sequence;
    _Atomic uint32_t lease_writer;
    _Atomic uint32_t value_place, mask_place;
    _Atomic uint32_t lease_prefixes[MG_LEASE_KEYS]; /* number of the prefix, of subkeys; [1] 0: no lease */
    uint32_t next_victim;
    _Atomic uint64_t lease_start_ns, lease_end_ns; /* 0: no lease */
    uint64_t next_rekey_ns;
    uint64_t last_end_ns; /* of a lease; under the mutex */
    bool came_soon;       /* the last lease, after the one before; under the mutex */
    bool spare_was_made;  /* the pages that the first re-key takes */
    unsigned char wrapped[MG_WRAP_BYTES];
    /* figures, under the mutex */
    uint64_t leases, seen_leases, leased_ns, longest_lease_ns, rekeys, rekey_failures;
};

/* GONE -> SPLIT under a fresh key. LOCK_LIMIT, RANDOM: still GONE. */
MG_MUST_USE memguard_status mg__coffer_fill(struct mg__coffer *coffer);
/* -> GONE: everything wiped; waits for bench calls that read the shares. The wiped page stays: an operation that has
 * not heard of it yet may look at the lease, and finds none. */
void mg__coffer_forget(struct mg__coffer *coffer);
/* The same, and the page goes back, too; when no operation can be under way any more. */
void mg__coffer_close(struct mg__coffer *coffer);
MG_MUST_USE memguard_status mg__coffer_wrap(struct mg__coffer *coffer, const unsigned char *kek);
MG_MUST_USE memguard_status mg__coffer_unwrap(struct mg__coffer *coffer, const unsigned char *kek);
MG_MUST_USE memguard_status mg__coffer_rewrap(struct mg__coffer *coffer, const unsigned char *kek,
                                              const unsigned char *new_kek);

/* Ends the lease if it is over; re-keys if due and wanted. Gives the time of the next duty, UINT64_MAX for none. */
uint64_t mg__coffer_tend(struct mg__coffer *coffer, uint64_t now_ns, bool may_rekey);
/* In a forked child: the lease, which has the parent's subkeys, ends; re-keying is due, so that the shares differ soon. */
void mg__coffer_settle(struct mg__coffer *coffer);
/* Makes the pages that re-keying and unwrapping need, so that neither has to map any. */
MG_MUST_USE memguard_status mg__coffer_prepare(struct mg__coffer *coffer);

/* Where a record lies: its nonce. */
struct mg__place {
    uint32_t index, version;
    uint32_t prefix; /* unseal: given. seal: the earliest that may be used; then the one that was */
};

/* Both run on a bench. STATE: no key. AUTH (unseal): nothing written. RANDOM, LOCK_LIMIT from starting a lease. */
MG_MUST_USE memguard_status mg__coffer_seal(struct mg__coffer *coffer, struct mg__place *place, unsigned char *sealed,
                                            const unsigned char *plain, size_t bytes);
MG_MUST_USE memguard_status mg__coffer_unseal(struct mg__coffer *coffer, const struct mg__place *place,
                                              unsigned char *plain, const unsigned char *sealed, size_t bytes);

/* The same for a chunk of a stream or large secret (docs/KEYS.md section 7). */
struct mg__chunk_place {
    const unsigned char *object; /* id, MG_OBJECT_BYTES */
    uint64_t tail;               /* never the same twice for one object and prefix */
    uint32_t prefix;             /* as in mg__place */
};
MG_MUST_USE memguard_status mg__coffer_seal_chunk(struct mg__coffer *coffer, struct mg__chunk_place *place,
                                                  unsigned char *sealed, const unsigned char *plain, size_t bytes);
MG_MUST_USE memguard_status mg__coffer_unseal_chunk(struct mg__coffer *coffer, const struct mg__chunk_place *place,
                                                    unsigned char *plain, const unsigned char *sealed, size_t bytes);

/* Told when a lease was started: when it must end. Set once by the housekeeper. */
extern void (*_Atomic mg__coffer_on_lease)(uint64_t end_ns);

#endif
