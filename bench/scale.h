/* scale.h: what the files of memguard-scale share: measurements of numbers (memory, secrets, calls, wake-ups) instead of ratios. Each runs in a
 * forked child of its own, before which this process makes no vault, and gives a few values. */
#ifndef MEMGUARD_SCALE_H
#define MEMGUARD_SCALE_H

#include "bench.h"

enum { SCALE_VALUES = 14 };
#define SCALE_NONE (-1.0) /* no such value here */

struct scale_setup {
    size_t many;     /* sealed secrets */
    unsigned rounds; /* of uses at random */
    unsigned idle_ms;
};

/* Fills the values; null, or why it cannot be measured here. */
typedef const char *scale_fn(const struct scale_setup *setup, double values[SCALE_VALUES]);

scale_fn scale_many;                                             /* scale_many.c */
scale_fn scale_open_compact, scale_open_guarded, scale_open_few; /* scale_open.c */
scale_fn scale_idle_full, scale_idle_empty;                      /* scale_idle.c */
scale_fn scale_calls;                                            /* scale_calls.c */

/* A vault with default options. */
memguard_vault *scale_vault(void);
/* Bytes of which the second 8 tell whether the first 8 are right. */
void scale_fill(unsigned char bytes[SMALL], uint64_t number);
/* For `use`: arg counts the calls that were shown right bytes. */
int scale_look(const void *bytes, size_t size, void *right);

#endif
