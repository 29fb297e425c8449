/* core/origin: where and when the secrets of a vault with MEMGUARD_TRACK were made. The place is the return address of
 * the outermost public call that makes secrets: the host's own code. Must not know: what secrets hold, who asks. */
#ifndef MG_CORE_ORIGIN_H
#define MG_CORE_ORIGIN_H

#include "core/table.h"

extern MG_THREAD const void *mg__origin;

static inline bool mg__origin_begin(const void *caller) {
    if (mg__origin != NULL) return false;
    mg__origin = caller;
    return true;
}

static inline void mg__origin_end(const bool *outermost) {
    if (*outermost) mg__origin = NULL;
}

/* First declaration of every public function, of whatever room, that makes secrets for its caller. */
#define MG_ORIGIN() MG_ORIGIN_AT(__builtin_return_address(0))
/* The same for what such a function goes on with. */
#define MG_ORIGIN_AT(caller)                                                                                           \
    __attribute__((cleanup(mg__origin_end), unused)) const bool mg__outermost = mg__origin_begin(caller)

/* Notes origin and time for an index that is just being given out. */
MG_MUST_USE memguard_status mg__origin_note(uint32_t index);
/* What was noted last; zeros when nothing ever was. made_ms: boot-time clock. */
void mg__origin_of(uint32_t index, const void **place, uint64_t *made_ms);

#endif
