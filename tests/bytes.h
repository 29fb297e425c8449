/* bytes.h: what all tests share about bytes: a pattern, and a probe that needs no signal. Whoever includes it asks for the GNU
 * system headers first. */
#ifndef MEMGUARD_TESTS_BYTES_H
#define MEMGUARD_TESTS_BYTES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A byte of the pattern `seed`; never zero, so that wiped and forgotten bytes are seen. */
static inline unsigned char pattern_byte(uint32_t seed, size_t at) {
    uint32_t x = (seed + 1) * 2654435761U + (uint32_t)at * 2246822519U;
    x ^= x >> 15;
    return (unsigned char)((x & 0xff) == 0 ? 0xa5 : x & 0xff);
}

static inline void fill(void *to, size_t bytes, uint32_t seed) {
    unsigned char *at = to;
    for (size_t i = 0; i < bytes; i++) at[i] = pattern_byte(seed, i);
}

static inline int is_pattern(const void *p, size_t bytes, uint32_t seed) {
    const unsigned char *at = p;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != pattern_byte(seed, i)) return 0;
    }
    return 1;
}

/* What the kernel would say; a raw call, so that no sanitizer looks at the address. */
/* 1: p can be read, 0: it cannot (EFAULT), -1: no pipe. */
static inline int can_read(const void *p) {
    int ends[2];
    if (pipe(ends) != 0) return -1;
    const long wrote = syscall(SYS_write, ends[1], p, (size_t)1);
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    if (wrote == 1) return 1;
    return error == EFAULT ? 0 : -1;
}

#endif
