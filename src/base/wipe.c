/* The wipe that no compiler removes. memset is as fast as it gets; the barrier makes its stores observable (the idea of
 * explicit_bzero in glibc and of the Linux kernel's memzero_explicit). scripts/check-wipe looks at the machine code. */
#include "base/base.h"

void mg__wipe(void *p, size_t bytes) {
    if (bytes == 0) return;
    memset(p, 0, bytes);
    __asm__ volatile("" : : "r"(p) : "memory");
}

__attribute__((no_sanitize("address", "thread"))) void mg__wipe_live(void *p, size_t bytes) {
    volatile uint64_t *words = p;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = 0;
}
