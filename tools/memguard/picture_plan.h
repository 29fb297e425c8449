/* picture_plan.h: what a picture will show, before anything is drawn: regions of the address space, rows of like
 * mappings in them, the cells of a row's bar; and the words for it. Must not know: where and how it is drawn. */
#ifndef MEMGUARD_PICTURE_PLAN_H
#define MEMGUARD_PICTURE_PLAN_H

#include "picture.h"

enum { PLAN_REGIONS = 8, PLAN_TEXT = 4 * 40 + 1, PLAN_LABEL = 96, PLAN_SIZE = 16 };

/* How a row was made of mappings. */
enum plan_fold {
    FOLD_NAME,   /* they have the same name */
    FOLD_KIND,   /* they are of the same kind, and too many to be shown one by one */
    FOLD_REGION, /* all that is left of a region */
};

struct plan_item {
    const struct picture_span *span;
    size_t hits;
    unsigned region;
    enum plan_fold fold;
    bool alone; /* shares its row with nothing */
};

struct plan_sum {
    uint64_t bytes, read, refused;
    size_t mappings, hits;
    unsigned kinds; /* bit set */
};

struct plan_row {
    size_t first; /* of plan.items; sum.mappings of them, by address */
    uint64_t start;
    unsigned region;
    enum plan_fold fold;
    struct plan_sum sum;
};

struct plan_region {
    uint64_t start, end, gap; /* gap: unused addresses before it, but not before the first */
    struct plan_sum sum;
    size_t first_row, rows;
};

struct plan_hit {
    const struct picture_hit *hit;
    const struct picture_span *span; /* NULL: in none */
};

struct plan {
    struct plan_item *items;
    struct plan_row *rows;
    struct plan_hit *hits; /* by address */
    struct plan_region regions[PLAN_REGIONS];
    size_t item_count, row_count, hit_count, region_count;
    size_t astray;    /* hits in no span */
    uint64_t longest; /* row, in bytes */
    struct plan_sum sum;
};

/* At most about `rows` rows without hits and `hit_rows` with hits. False: out of memory. Ends with plan_free,
 * then too. */
bool plan_make(struct plan *plan, const struct picture *picture, size_t rows, size_t hit_rows);
void plan_free(struct plan *plan);

/* Bars: their length tells a row's size, on a log scale from 4 KiB to plan_top (a power of two); within a bar the bytes
 * of the row lie side by side, to scale. */
unsigned plan_top(const struct plan *plan);
unsigned plan_cells(const struct plan *plan, uint64_t bytes, unsigned most);

enum plan_state { CELL_ABSENT, CELL_READ, CELL_REFUSED, CELL_STATES };

/* A cell shows the state of most of its bytes; what was refused or read shows in one cell of the row at least. */
struct plan_cell {
    enum plan_state state;
    enum picture_kind kind;
    unsigned hits;
};

void plan_paint(const struct plan *plan, const struct plan_row *row, struct plan_cell *cells, unsigned count);

/* Bytes that were neither read nor refused. */
uint64_t plan_absent(const struct plan_sum *sum);

/* ---- words ---- */

/* Cleans `from` (at most `from_bytes` of it; NULL: nothing): what is not printable, or not sure to be one column wide,
 * becomes \xNN. `utf8`: letters of Latin, Greek and Cyrillic pass. Returns the columns of the text. */
size_t plan_clean(char *to, size_t to_bytes, const char *from, size_t from_bytes, bool utf8);

size_t plan_row_name(const struct plan *plan, const struct plan_row *row, bool utf8, char to[PLAN_TEXT]);
const char *plan_row_kind(const struct plan_row *row);
void plan_region_label(const struct plan *plan, const struct plan_region *region, char to[PLAN_LABEL]);

const char *plan_kind_word(enum picture_kind kind);

/* "4 KiB", "15.6 MiB": at most 8 characters. */
const char *plan_size(uint64_t bytes, char to[PLAN_SIZE]);

#endif
