/* process/refs: what a sweep looks for, and the looking. Conservative: eight bytes that could be a handle, or an
 * address in the pages of a secret, are one. Pure logic over given bytes. Must not know: where the bytes come from,
 * threads, the operating system. */
#ifndef MG_PROCESS_REFS_H
#define MG_PROCESS_REFS_H

#include "base/base.h"

/* A range of addresses; `what` is the user's. */
struct mg__range {
    uintptr_t low, high;
    uint64_t what;
};

/* Sorts by `low`, in place, without recursion and without memory (heapsort; J. W. J. Williams, 1964). */
void mg__ranges_sort(struct mg__range *ranges, size_t count);

struct mg__ref {
    uint64_t id;   /* the handle */
    uintptr_t own; /* where the library itself keeps the address of the pages: that is no reference */
    bool found, twice;
};

enum { MG_REFS_FILTER_BITS = 1 << 16, MG_REFS_GRAIN = 12 };

struct mg__refs {
    struct mg__ref *refs;
    size_t count;
    uint32_t *by_index; /* number of a ref + 1, by the low half of the id; 0: none */
    uint32_t indices;
    struct mg__range *ranges; /* of addresses, `high` included; what: number of the ref. They do not overlap */
    size_t range_count;
    /* Made by mg__refs_prepare: quick ways to say no. */
    uint32_t first_generation, generations;
    uintptr_t low, span;
    uint64_t filter[MG_REFS_FILTER_BITS / 64];
};

/* Once all is filled in. */
void mg__refs_prepare(struct mg__refs *refs);
/* Looks at the 8 bytes at each of p, p + 1, ... p + bytes - 8, which lie (or were copied from) where `address` says. */
void mg__refs_look(struct mg__refs *refs, const unsigned char *p, size_t bytes, uintptr_t address);

#endif
