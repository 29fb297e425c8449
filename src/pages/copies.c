/* What becomes of the bank in a child of fork that goes on with copies of protected pages (bank.h, "in a child of fork").
 * Locks are not inherited, the frames are shared until somebody writes, and the pages of the other kinds are absent or
 * zero: so the copies are made the child's own, and the rest is forgotten, not touched. Must not know: what lies in
 * the pages; when a fork happens. */
#include "pages/bank.h"

_Atomic bool mg__bank_is_parted;

void mg__bank_part(void) { atomic_store(&mg__bank_is_parted, true); }

void mg__bank_forget_uncopied(void) {
    mg__chunks_forget_uncopied();
    mg__benches_forget_uncopied();
    mg__use_pages_forget_uncopied();
    atomic_store(&mg__bank_is_parted, false); /* nothing is known any more of what is not here */
}

static uint64_t copied_bytes(void) { return mg__chunks_copied_bytes() + mg__benches_copied_bytes(); }

memguard_status mg__bank_own_copies(void) {
    const uint64_t limit = mg__sys_lock_limit();
    mg__budget_restart(copied_bytes());
    if (mg__budget_in_use() > limit) mg__chunks_trim_copies();
    const uint64_t needed = mg__budget_in_use();
    if (needed > limit) return mg__fail_lock_limit(limit, 0, needed, 0);
    int error = mg__chunks_own_copies();
    if (error == 0) error = mg__benches_own_copies();
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(MG_KIND_LOCKED_COPIED, error, needed);
}
