/* base: what every room needs: status, last error, wipe, constant time, checked arithmetic, atomics.
 * Must not know: the operating system, pages, keys, handles. */
#ifndef MG_BASE_H
#define MG_BASE_H

#include <memguard.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MG_MUST_USE __attribute__((warn_unused_result))
#define MG_LIKELY(x) __builtin_expect(!!(x), 1)
#define MG_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* For what a hot path leaves to others: it stays out of its way. */
#define MG_COLD __attribute__((noinline, cold))
/* For parts of one that a compiler takes for too long to repeat. */
#define MG_INLINE inline __attribute__((always_inline))
#define MG_CACHE_LINE 64
/* Small and hot: reached without a call into the loader even from a shared library. */
#define MG_THREAD _Thread_local __attribute__((tls_model("initial-exec")))

/* ---- last error (error.c) ---- */

/* Records `status` with a sentence (printf style, sizes and counts only, never secret bytes) and returns it. */
memguard_status mg__fail(memguard_status status, int os_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for ERR_LOCK_LIMIT, with its numbers. */
memguard_status mg__fail_lock_limit(uint64_t allowed, uint64_t in_use, uint64_t needed, int os_error);

/* Records a status that needs no more than its own sentence; cheap enough for hot paths. */
memguard_status mg__fail_plain(memguard_status status);

/* ---- wipe and constant time (wipe.c, equal.c) ---- */

/* As memguard_wipe. Its own file, so that the must-fail test build can put an empty one in its place. */
void mg__wipe(void *p, size_t bytes);
/* The same for memory that other threads are just using, which sanitizers would take for an error. Address and size are
 * multiples of 8. */
void mg__wipe_live(void *p, size_t bytes);

/* 0 when equal, nonzero otherwise; no branch and no address depends on the bytes. */
unsigned mg__differ(const void *a, const void *b, size_t bytes);

/* ---- checked arithmetic ---- */

static inline MG_MUST_USE bool mg__add_size(size_t a, size_t b, size_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static inline MG_MUST_USE bool mg__mul_size(size_t a, size_t b, size_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

/* Rounds up to a multiple of a power of two. */
static inline MG_MUST_USE bool mg__round_up(size_t n, size_t power, size_t *rounded) {
    size_t sum = 0;
    if (!mg__add_size(n, power - 1, &sum)) return false;
    *rounded = sum & ~(power - 1);
    return true;
}

static inline size_t mg__min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- small tools ---- */

/* Structs of the public header grow at the end, and begin with their size. Those that we fill: the size is believed
 * within reason, a tail that we do not know becomes zero, the size stays. */
static inline MG_MUST_USE bool mg__out_struct_fits(size_t size) { return size >= sizeof(size_t) && size <= 65536; }
void mg__out_struct(void *given, size_t given_size, const void *full, size_t known);

/* Those that we read: true when the size is at least `least` and everything beyond the `known` bytes is zero. */
MG_MUST_USE bool mg__struct_is_known(const void *given, size_t given_size, size_t least, size_t known);

#endif
