/* Constant-time comparison, and the public faces of wipe and equal. */
#include "base/base.h"

unsigned mg__differ(const void *a, const void *b, size_t bytes) {
    const unsigned char *x = a, *y = b;
    unsigned difference = 0;
    for (size_t i = 0; i < bytes; i++) {
        difference |= (unsigned)(x[i] ^ y[i]);
        /* Hides what is known of the sum so far, so that no early exit can be made of it. */
        __asm__ volatile("" : "+r"(difference));
    }
    return difference;
}

int memguard_equal(const void *a, const void *b, size_t bytes) {
    if (bytes == 0) return 1;
    if (a == NULL || b == NULL) return 0;
    return (int)(((mg__differ(a, b, bytes) - 1U) >> 8) & 1U);
}

void memguard_wipe(void *p, size_t bytes) {
    if (p != NULL) mg__wipe(p, bytes);
}
