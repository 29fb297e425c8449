/* The register area of a signal frame where its layout was not written down: the machine part of the context is
 * cleared as a whole, what the kernel may have put elsewhere is not. Such processors have no SCRUB protection either.
 * Must not know: why it is cleared, what was in the registers. */
#define _GNU_SOURCE
#include "sys/signals.h"

#include <ucontext.h>

void mg__arch_signal_entry(int number, void *info, void *context) { mg__signal_arrived(number, info, context, NULL); }

uintptr_t mg__arch_frame_stack(const void *context) {
    (void)context;
    return 0;
}

void mg__arch_frame_scrub(void *context, void *saved) {
    (void)saved;
    ucontext_t *frame = context;
    mg__wipe(&frame->uc_mcontext, sizeof frame->uc_mcontext);
}
