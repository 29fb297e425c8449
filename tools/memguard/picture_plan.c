/* Which rows a picture has. Mappings are sorted by address; the widest gaps between them part regions; mappings of a
 * region that have the same name share a row. When there are too many rows, the largest of each kind stay and the
 * others of the kind are folded into one row; when that is not enough, also the kinds of a region. */
#include "picture_plan.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_SHIFT = 12, LEAST_TOP = 20 }; /* bars: from 4 KiB to at least 1 MiB */
#define LEAST_GAP (UINT64_C(16) << 20)     /* smaller ones do not part regions */

enum { FILES = 1U << PICTURE_CODE | 1U << PICTURE_DATA | 1U << PICTURE_FILE };

static enum picture_kind kind_of(const struct picture_span *span) {
    return (unsigned)span->kind < PICTURE_KINDS ? span->kind : PICTURE_ANONYMOUS;
}

static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t bytes_of(const struct picture_span *span) {
    return span->end > span->start ? span->end - span->start : 0;
}

static uint64_t read_of(const struct picture_span *span) {
    uint64_t bytes = bytes_of(span);
    return span->read < bytes ? span->read : bytes;
}

static uint64_t refused_of(const struct picture_span *span) {
    uint64_t left = bytes_of(span) - read_of(span);
    return span->refused < left ? span->refused : left;
}

static void sum_item(struct plan_sum *sum, const struct plan_item *item) {
    sum->bytes = add(sum->bytes, bytes_of(item->span));
    sum->read = add(sum->read, read_of(item->span));
    sum->refused = add(sum->refused, refused_of(item->span));
    sum->mappings++;
    sum->hits += item->hits;
    sum->kinds |= 1U << kind_of(item->span);
}

uint64_t plan_absent(const struct plan_sum *sum) {
    uint64_t left = sum->bytes - sum->read; /* sums have a highest value: all are at it, or each is right */
    return left > sum->refused ? left - sum->refused : 0;
}

/* ---- order ---- */

static int compare_numbers(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int by_address(const void *a, const void *b) {
    const struct plan_item *first = a, *second = b;
    int order = compare_numbers(first->span->start, second->span->start);
    if (order == 0) order = compare_numbers(first->span->end, second->span->end);
    return order != 0 ? order : compare_numbers((uintptr_t)first->span, (uintptr_t)second->span);
}

/* Code and data of a file are like each other; other kinds are like themselves only. */
static unsigned class_of(const struct plan_item *item) {
    enum picture_kind kind = kind_of(item->span);
    return ((unsigned)FILES >> kind & 1) != 0 ? (unsigned)PICTURE_CODE : (unsigned)kind;
}

/* 0: they may share a row. */
static int by_likeness(const struct plan_item *a, const struct plan_item *b) {
    int order = compare_numbers(a->region, b->region);
    if (order == 0) order = compare_numbers(a->hits != 0, b->hits != 0);
    if (order == 0) order = compare_numbers(a->fold, b->fold);
    if (order == 0 && a->fold < FOLD_REGION) order = compare_numbers(class_of(a), class_of(b));
    if (order == 0 && a->fold < FOLD_KIND) order = strncmp(a->span->name, b->span->name, sizeof a->span->name);
    if (order == 0) order = compare_numbers(a->alone, b->alone);
    return order;
}

static int by_row(const void *a, const void *b) {
    int order = by_likeness(a, b);
    return order != 0 ? order : by_address(a, b);
}

static int by_hit_address(const void *a, const void *b) {
    const struct plan_hit *first = a, *second = b;
    int order = compare_numbers(first->hit->address, second->hit->address);
    return order != 0 ? order : compare_numbers((uintptr_t)first->hit, (uintptr_t)second->hit);
}

/* The largest first. */
static int by_size(const void *a, const void *b) {
    const struct plan_row *first = a, *second = b;
    int order = compare_numbers(second->sum.bytes, first->sum.bytes);
    return order != 0 ? order : compare_numbers(first->start, second->start);
}

/* ---- hits ---- */

/* The items are sorted by address. `reach[i]`: the highest end of the items up to i. */
static struct plan_item *item_at(struct plan *plan, const uint64_t *reach, uint64_t address) {
    size_t low = 0, high = plan->item_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->items[middle].span->start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low > 0 && reach[low - 1] > address; low--)
        if (plan->items[low - 1].span->end > address) return &plan->items[low - 1];
    return NULL;
}

static void place_hits(struct plan *plan, const uint64_t *reach) {
    qsort(plan->hits, plan->hit_count, sizeof *plan->hits, by_hit_address);
    for (size_t i = 0; i < plan->hit_count; i++) {
        struct plan_item *item = item_at(plan, reach, plan->hits[i].hit->address);
        plan->astray += item == NULL;
        plan->hits[i].span = item != NULL ? item->span : NULL;
        if (item != NULL) item->hits++;
    }
}

/* ---- regions ---- */

/* The gap before item i (i > 0). */
static uint64_t gap_before(const struct plan *plan, const uint64_t *reach, size_t i) {
    uint64_t start = plan->items[i].span->start;
    return start > reach[i - 1] ? start - reach[i - 1] : 0;
}

/* Gaps wider than this part regions: all that count, or as many as there is room for. */
static uint64_t widest_inner_gap(const struct plan *plan, const uint64_t *reach) {
    uint64_t widest[PLAN_REGIONS] = {0}; /* descending */
    for (size_t i = 1; i < plan->item_count; i++) {
        uint64_t gap = gap_before(plan, reach, i);
        for (size_t k = 0; k < PLAN_REGIONS; k++)
            if (gap > widest[k]) {
                uint64_t smaller = widest[k];
                widest[k] = gap;
                gap = smaller;
            }
    }
    return widest[PLAN_REGIONS - 1] > LEAST_GAP ? widest[PLAN_REGIONS - 1] : LEAST_GAP;
}

static void part_regions(struct plan *plan, const uint64_t *reach) {
    uint64_t inner = widest_inner_gap(plan, reach);
    for (size_t i = 0; i < plan->item_count; i++) {
        uint64_t gap = i > 0 ? gap_before(plan, reach, i) : 0;
        if (i == 0 || gap > inner)
            plan->regions[plan->region_count++] = (struct plan_region){.start = plan->items[i].span->start, .gap = gap};
        struct plan_region *region = &plan->regions[plan->region_count - 1];
        region->end = reach[i] > region->start ? reach[i] : region->start;
        sum_item(&region->sum, &plan->items[i]);
        sum_item(&plan->sum, &plan->items[i]);
        plan->items[i].region = (unsigned)(plan->region_count - 1);
    }
}

/* ---- rows ---- */

static int by_place(const void *a, const void *b) {
    const struct plan_row *first = a, *second = b;
    int order = compare_numbers(first->region, second->region);
    if (order == 0) order = compare_numbers(first->fold, second->fold);
    return order != 0 ? order : compare_numbers(first->start, second->start);
}

/* Rows begin where two neighbours may not share one. */
static void make_rows(struct plan *plan) {
    plan->row_count = 0;
    qsort(plan->items, plan->item_count, sizeof *plan->items, by_row);
    for (size_t i = 0; i < plan->item_count; i++) {
        const struct plan_item *item = &plan->items[i];
        if (i == 0 || item->alone || by_likeness(item - 1, item) != 0)
            plan->rows[plan->row_count++] =
                (struct plan_row){.first = i, .start = item->span->start, .region = item->region, .fold = item->fold};
        sum_item(&plan->rows[plan->row_count - 1].sum, item);
    }
}

static void fold_row(struct plan *plan, const struct plan_row *row, enum plan_fold fold) {
    for (size_t i = 0; i < row->sum.mappings; i++) {
        plan->items[row->first + i].fold = fold;
        plan->items[row->first + i].alone = false;
    }
}

static bool counts(const struct plan_row *row, bool with_hits) { return (row->sum.hits != 0) == with_hits; }

static size_t rows_of(const struct plan *plan, bool with_hits) {
    size_t count = 0;
    for (size_t i = 0; i < plan->row_count; i++)
        count += counts(&plan->rows[i], with_hits);
    return count;
}

/* Rows that may become one: of the same region and, for FOLD_KIND, of the same class. */
static int by_group(const struct plan *plan, const struct plan_row *a, const struct plan_row *b, enum plan_fold fold) {
    int order = compare_numbers(a->region, b->region);
    if (order == 0) order = compare_numbers(a->sum.hits != 0, b->sum.hits != 0);
    if (order == 0 && fold == FOLD_KIND)
        order = compare_numbers(class_of(&plan->items[a->first]), class_of(&plan->items[b->first]));
    return order;
}

/* make_rows has left the rows by region, hits and class. */
static size_t end_of_group(const struct plan *plan, size_t first, enum plan_fold fold) {
    size_t end = first + 1;
    while (end < plan->row_count && by_group(plan, &plan->rows[first], &plan->rows[end], fold) == 0)
        end++;
    return end;
}

/* How many rows there are when each group shows its `shown` largest and one for all the others. */
static size_t rows_after(const struct plan *plan, bool with_hits, size_t shown, enum plan_fold fold) {
    size_t count = 0;
    for (size_t first = 0, end; first < plan->row_count; first = end) {
        end = end_of_group(plan, first, fold);
        if (counts(&plan->rows[first], with_hits)) count += end - first <= shown + 1 ? end - first : shown + 1;
    }
    return count;
}

/* Folds what is behind the `shown` largest rows of each group; but one row is no less when it is folded. */
static void fold_groups(struct plan *plan, bool with_hits, size_t shown, enum plan_fold fold) {
    for (size_t first = 0, end; first < plan->row_count; first = end) {
        end = end_of_group(plan, first, fold);
        if (!counts(&plan->rows[first], with_hits) || end - first <= shown + 1) continue;
        qsort(plan->rows + first, end - first, sizeof *plan->rows, by_size);
        for (size_t i = first + shown; i < end; i++)
            fold_row(plan, &plan->rows[i], fold);
    }
    make_rows(plan);
}

static void fold_to(struct plan *plan, bool with_hits, size_t most, enum plan_fold fold) {
    size_t shown = most;
    if (rows_of(plan, with_hits) <= most) return;
    while (shown > 0 && rows_after(plan, with_hits, shown, fold) > most)
        shown--;
    fold_groups(plan, with_hits, shown, fold);
}

/* Rows with hits, one for each mapping, first become one for each name. */
static void join_hits(struct plan *plan, size_t most) {
    if (rows_of(plan, true) <= most) return;
    for (size_t i = 0; i < plan->row_count; i++)
        fold_row(plan, &plan->rows[i], plan->rows[i].fold);
    make_rows(plan);
}

static void finish_rows(struct plan *plan) {
    qsort(plan->rows, plan->row_count, sizeof *plan->rows, by_place);
    for (size_t i = 0; i < plan->row_count; i++) {
        struct plan_region *region = &plan->regions[plan->rows[i].region];
        if (region->rows++ == 0) region->first_row = i;
        if (plan->rows[i].sum.bytes > plan->longest) plan->longest = plan->rows[i].sum.bytes;
    }
}

/* ---- all of it ---- */

static bool get_memory(struct plan *plan, const struct picture *picture, uint64_t **numbers) {
    size_t spans = picture->span_count + 1, hits = picture->hit_count + 1; /* nothing is no error */
    plan->items = calloc(spans, sizeof *plan->items);
    plan->rows = calloc(spans, sizeof *plan->rows);
    plan->hits = calloc(hits, sizeof *plan->hits);
    *numbers = calloc(spans, sizeof **numbers);
    return plan->items != NULL && plan->rows != NULL && plan->hits != NULL && *numbers != NULL;
}

static void take_picture(struct plan *plan, const struct picture *picture) {
    plan->item_count = picture->span_count;
    plan->hit_count = picture->hit_count;
    for (size_t i = 0; i < picture->span_count; i++)
        plan->items[i].span = &picture->spans[i];
    for (size_t i = 0; i < picture->hit_count; i++)
        plan->hits[i].hit = &picture->hits[i];
}

bool plan_make(struct plan *plan, const struct picture *picture, size_t rows, size_t hit_rows) {
    uint64_t *numbers;
    memset(plan, 0, sizeof *plan);
    if (!get_memory(plan, picture, &numbers)) {
        free(numbers);
        return false;
    }
    take_picture(plan, picture);
    qsort(plan->items, plan->item_count, sizeof *plan->items, by_address);
    for (size_t i = 0; i < plan->item_count; i++) {
        uint64_t before = i > 0 ? numbers[i - 1] : 0, end = plan->items[i].span->end;
        numbers[i] = end > before ? end : before;
    }
    place_hits(plan, numbers);
    part_regions(plan, numbers);
    for (size_t i = 0; i < plan->item_count; i++)
        plan->items[i].alone = plan->items[i].hits != 0;
    make_rows(plan);
    join_hits(plan, hit_rows);
    for (unsigned hits = 0; hits < 2; hits++) {
        fold_to(plan, hits != 0, hits != 0 ? hit_rows : rows, FOLD_KIND);
        fold_to(plan, hits != 0, hits != 0 ? hit_rows : rows, FOLD_REGION);
    }
    finish_rows(plan);
    free(numbers);
    return true;
}

void plan_free(struct plan *plan) {
    free(plan->items);
    free(plan->rows);
    free(plan->hits);
}

/* ---- bars ---- */

/* The binary logarithm in 1/256; between powers of two as a straight line. bytes > 0 */
static unsigned logarithm(uint64_t bytes) {
    unsigned whole = 63;
    while (bytes >> whole == 0)
        whole--;
    return whole * 256 + (unsigned)(bytes << (63 - whole) << 1 >> 56);
}

unsigned plan_top(const struct plan *plan) {
    unsigned top = LEAST_TOP;
    while (top < 63 && plan->longest > UINT64_C(1) << top)
        top++;
    return top;
}

unsigned plan_cells(const struct plan *plan, uint64_t bytes, unsigned most) {
    unsigned range = (plan_top(plan) - LEAST_SHIFT) * 256, least = most < 32 ? 2 : most / 16;
    if (bytes == 0 || most <= least) return bytes == 0 ? 0 : most;
    if (bytes <= UINT64_C(1) << LEAST_SHIFT) return least;
    unsigned height = logarithm(bytes) - LEAST_SHIFT * 256;
    unsigned cells = least + ((most - least) * height + range / 2) / range;
    return cells < most ? cells : most;
}

/* The cell of the byte at `offset` of a row. */
static unsigned cell_of(uint64_t offset, uint64_t bytes, unsigned count) {
    while (bytes >> 48 != 0) {
        bytes >>= 1;
        offset >>= 1;
    }
    uint64_t cell = offset * count / bytes;
    return cell < count ? (unsigned)cell : count - 1;
}

/* The end of cell `cell` as an offset in the row: no cell before the last byte is empty. */
static uint64_t end_of_cell(uint64_t bytes, unsigned cell, unsigned count) {
    uint64_t whole = bytes / count * (cell + 1), rest = bytes % count * (cell + 1);
    return whole + rest / count + (rest % count != 0);
}

/* A row that is being painted, from its first byte on. */
struct brush {
    uint64_t row_bytes, at; /* offset in the row */
    struct plan_cell *cells;
    unsigned count, cell;
    uint64_t part[CELL_STATES][PICTURE_KINDS]; /* bytes of the cell that is being painted */
    uint64_t most[CELL_STATES];                /* bytes of a state in one cell */
    unsigned most_at[CELL_STATES];
    bool shown[CELL_STATES];
};

static enum picture_kind largest_kind(const uint64_t part[PICTURE_KINDS]) {
    unsigned largest = 0;
    for (unsigned kind = 1; kind < PICTURE_KINDS; kind++)
        if (part[kind] > part[largest]) largest = kind;
    return (enum picture_kind)largest;
}

/* The state that most of the cell has. An empty cell, in a row of fewer bytes than cells, is like the one before. */
static void end_cell(struct brush *brush) {
    uint64_t sum[CELL_STATES] = {0};
    struct plan_cell *cell = &brush->cells[brush->cell];
    unsigned state = 0;
    for (unsigned i = 0; i < CELL_STATES; i++) {
        for (unsigned kind = 0; kind < PICTURE_KINDS; kind++)
            sum[i] += brush->part[i][kind];
        if (sum[i] > brush->most[i]) {
            brush->most[i] = sum[i];
            brush->most_at[i] = brush->cell;
        }
        if (sum[i] > sum[state]) state = i;
    }
    bool empty = sum[state] == 0 && brush->cell > 0;
    cell->state = empty ? cell[-1].state : (enum plan_state)state;
    cell->kind = empty ? cell[-1].kind : largest_kind(brush->part[state]);
    brush->shown[cell->state] = true;
    memset(brush->part, 0, sizeof brush->part);
    brush->cell++;
}

static void paint(struct brush *brush, uint64_t bytes, enum plan_state state, enum picture_kind kind) {
    while (bytes != 0 && brush->cell < brush->count) {
        uint64_t room = end_of_cell(brush->row_bytes, brush->cell, brush->count) - brush->at;
        uint64_t take = bytes < room ? bytes : room;
        brush->part[state][kind] += take;
        brush->at += take;
        bytes -= take;
        if (take == room) end_cell(brush);
    }
}

/* Which bytes were read is not known, only how many. A stack is in memory at its end. */
static void paint_span(struct brush *brush, const struct picture_span *span) {
    uint64_t read = read_of(span), refused = refused_of(span), absent = bytes_of(span) - read - refused;
    enum picture_kind kind = kind_of(span);
    if (kind == PICTURE_STACK) paint(brush, absent, CELL_ABSENT, kind);
    paint(brush, read, CELL_READ, kind);
    paint(brush, refused, CELL_REFUSED, kind);
    if (kind != PICTURE_STACK) paint(brush, absent, CELL_ABSENT, kind);
}

static size_t first_hit_from(const struct plan *plan, uint64_t address) {
    size_t low = 0, high = plan->hit_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->hits[middle].hit->address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* brush->at is the offset of the span. */
static void mark_hits(const struct plan *plan, struct brush *brush, const struct picture_span *span) {
    for (size_t i = first_hit_from(plan, span->start); i < plan->hit_count; i++) {
        uint64_t address = plan->hits[i].hit->address;
        if (address >= span->end) return;
        if (plan->hits[i].span == span)
            brush->cells[cell_of(add(brush->at, address - span->start), brush->row_bytes, brush->count)].hits++;
    }
}

/* What there is of a state, however little, has a cell. */
static void show_least(const struct brush *brush, enum plan_state state) {
    if (!brush->shown[state] && brush->most[state] != 0) brush->cells[brush->most_at[state]].state = state;
}

void plan_paint(const struct plan *plan, const struct plan_row *row, struct plan_cell *cells, unsigned count) {
    struct brush brush = {.row_bytes = row->sum.bytes, .cells = cells, .count = count};
    memset(cells, 0, count * sizeof *cells);
    if (row->sum.bytes == 0 || count == 0) return;
    for (size_t i = 0; i < row->sum.mappings; i++) {
        const struct plan_item *item = &plan->items[row->first + i];
        if (item->hits != 0) mark_hits(plan, &brush, item->span);
        paint_span(&brush, item->span);
    }
    while (brush.cell < count)
        end_cell(&brush);
    show_least(&brush, CELL_READ);
    show_least(&brush, CELL_REFUSED);
}
