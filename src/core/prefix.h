/* core/prefix: nonce prefixes, one at a time for sealing, all earlier ones for opening. Prefixes are public.
 * The one in use lies in memory that a fork wipes, so that no two processes seal under the same one.
 * Must not know: keys, secrets. */
#ifndef MG_CORE_PREFIX_H
#define MG_CORE_PREFIX_H

#include "crypto/crypto.h"

enum { MG_PREFIX_LIFE_S = 60 };

extern _Atomic uint32_t *mg__prefix_number; /* of the one in use; on a page that a fork wipes */

MG_MUST_USE memguard_status mg__prefix_start(void);
/* Makes sure that forks make its page zero, as mg__prefix_start tried to. */
MG_MUST_USE memguard_status mg__prefix_leave_on_fork(void);
/* A fresh one from the kernel's generator. */
MG_MUST_USE memguard_status mg__prefix_redraw(void);
/* Redraws when the current one is older than MG_PREFIX_LIFE_S. */
MG_MUST_USE memguard_status mg__prefix_freshen(uint64_t now_ns);
/* Number (from 1) and bytes of the one in use; 0 in a child of fork. */
uint32_t mg__prefix_current(unsigned char bytes[MG_PREFIX_BYTES]);
/* False in a child of fork until it has drawn one of its own: until then nothing may be sealed. */
static inline bool mg__prefix_is_drawn(void) {
    return atomic_load_explicit(mg__prefix_number, memory_order_acquire) != 0;
}
bool mg__prefix_is_unlocked(void);
/* Bytes of any one ever drawn. */
void mg__prefix_bytes(uint32_t number, unsigned char bytes[MG_PREFIX_BYTES]);

#endif
