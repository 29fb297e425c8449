/* sys/copy: copies of a few bytes that leave nothing in registers, without clearing all of them. Must not know: what the bytes mean. */
#ifndef MG_SYS_COPY_H
#define MG_SYS_COPY_H

#include "sys/sys.h"

#if defined(__x86_64__)
static inline void mg__copy_lane(unsigned char *to, const unsigned char *from) {
    __asm__ volatile("movups (%1), %%xmm0\n\tmovups %%xmm0, (%0)" : : "r"(to), "r"(from) : "xmm0", "memory");
}
static inline void mg__copy_few(unsigned char *to, const unsigned char *from, size_t bytes) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
static inline void mg__copy_end(void) { __asm__ volatile("pxor %%xmm0, %%xmm0" : : : "xmm0"); }
#else
static inline void mg__copy_lane(unsigned char *to, const unsigned char *from) { memcpy(to, from, 16); }
static inline void mg__copy_few(unsigned char *to, const unsigned char *from, size_t bytes) { memcpy(to, from, bytes); }
static inline void mg__copy_end(void) { mg__arch_clear_registers(); }
#endif

/* By 16 bytes, the last ones first. */
static inline void mg__copy_cleanly(unsigned char *to, const unsigned char *from, size_t bytes) {
    if (MG_UNLIKELY(bytes < 16)) {
        mg__copy_few(to, from, bytes);
    } else {
        mg__copy_lane(to + bytes - 16, from + bytes - 16);
        for (size_t at = 0; at + 16 < bytes; at += 16)
            mg__copy_lane(to + at, from + at);
    }
    mg__copy_end();
}

#endif
