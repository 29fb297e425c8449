/* What every operation checks its calls with: the first one that fails ends the program. */
#include "bench.h"

#include <stdlib.h>

void bench_fail(const char *what) {
    fprintf(stderr, "benchmark failed: %s\n", what);
    exit(1);
}

_Noreturn void bench_fail_status(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    const memguard_status told = memguard_last_error(&error);
    fprintf(stderr, "benchmark failed: %s: %s: %s\n", what, memguard_status_name(status),
            told == MEMGUARD_OK ? error.text : memguard_status_text(status));
    exit(1);
}

void *bench_malloc(size_t bytes) {
    void *p = aligned_alloc(BENCH_APART, (bytes + BENCH_APART - 1) / BENCH_APART * BENCH_APART);
    if (p == NULL) bench_fail("malloc");
    return p;
}

void bench_fill(void *to, size_t bytes) {
    unsigned char *at = to;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(i * 31 + (i >> 8) + 7);
}
