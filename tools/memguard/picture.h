/* picture.h: an address space as a picture, for the terminal (picture.c) and as SVG (picture_svg.c): what it consists
 * of, what of it was read, what the kernel refused to show, where something was found.
 *
 * Must not know: what was looked for, and what the memory holds. The only words of others that come in are the names of
 * mappings: a program chooses them for its files, so they are cleaned before they are shown (picture_plan.h). */
#ifndef MEMGUARD_PICTURE_H
#define MEMGUARD_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum picture_kind {
    PICTURE_CODE,
    PICTURE_DATA,
    PICTURE_HEAP,
    PICTURE_STACK,
    PICTURE_ANONYMOUS,
    PICTURE_FILE,
    PICTURE_SHARED,
    PICTURE_LOCKED,
    PICTURE_REFUSED,
    PICTURE_KERNEL,
    PICTURE_KINDS
};

/* A mapping. What is neither read nor refused is not in memory, or was not looked at. Any order; they may touch,
 * overlap, be empty. */
struct picture_span {
    uint64_t start, end;
    uint64_t read, refused; /* bytes */
    enum picture_kind kind;
    char name[40];
};

/* Something was found. An address in no span is listed as such. */
struct picture_hit {
    uint64_t address;
    uint32_t bytes;
    char what[40]; /* "base64 in [heap]" */
};

struct picture {
    const char *title;
    const struct picture_span *spans;
    size_t span_count;
    const struct picture_hit *hits;
    size_t hit_count;
};

/* Draws for a terminal of `columns` (40 to 250 are used; no line is longer), in ASCII when the locale of the
 * environment is not UTF-8, with colour as asked: whether NO_COLOR is set is for the caller to look at. A mapping with
 * hits has a row of its own, and all hits are listed; all else takes some 60 lines at most. False: out of memory, or
 * `out` could not be written. */
bool picture_print(const struct picture *picture, FILE *out, unsigned columns, bool colour);

/* The same as one SVG image that needs nothing else, 960 units wide and at most some 4,500 high: it lists 240 hits,
 * more are only marked. */
bool picture_svg(const struct picture *picture, FILE *out);

#endif
