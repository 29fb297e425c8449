/* The words of a picture: names that are safe to show, kinds, regions, sizes. */
#define _POSIX_C_SOURCE 200809L /* strnlen */
#include <inttypes.h>
#include <string.h>

#include "picture_plan.h"

/* ---- names ---- */

/* The bytes of the printable character at `from` that is sure to be one column wide and written from left to right; 0:
 * it is none. Of UTF-8 (RFC 3629): Latin, Greek and Cyrillic letters, which are two bytes long. */
static size_t plain_bytes(const unsigned char *from, size_t bytes, bool utf8) {
    if (from[0] >= 0x20 && from[0] < 0x7f) return from[0] != '\\';
    if (!utf8 || bytes < 2 || from[0] < 0xc2 || from[0] > 0xdf || (from[1] & 0xc0) != 0x80) return 0;
    unsigned code = (from[0] & 0x1fU) << 6 | (from[1] & 0x3fU);
    bool latin = code > 0xa0 && code < 0x250 && code != 0xad;
    bool other = code >= 0x370 && code < 0x500 && (code < 0x483 || code > 0x489);
    return latin || other ? 2 : 0;
}

size_t plan_clean(char *to, size_t to_bytes, const char *from, size_t from_bytes, bool utf8) {
    static const char digits[] = "0123456789abcdef";
    size_t bytes = from != NULL ? strnlen(from, from_bytes) : 0, at = 0, columns = 0;
    for (size_t i = 0; i < bytes && at + 5 <= to_bytes;) {
        const unsigned char *character = (const unsigned char *)from + i;
        size_t plain = plain_bytes(character, bytes - i, utf8);
        const char escape[4] = {'\\', 'x', digits[*character >> 4], digits[*character & 15]};
        size_t length = plain != 0 ? plain : sizeof escape;
        memcpy(to + at, plain != 0 ? from + i : escape, length);
        at += length;
        i += plain != 0 ? plain : 1;
        columns += plain != 0 ? 1 : sizeof escape;
    }
    to[at] = '\0';
    return columns;
}

static bool has_one_name(const struct plan *plan, const struct plan_row *row) {
    const struct plan_item *items = plan->items + row->first;
    for (size_t i = 1; i < row->sum.mappings; i++)
        if (strncmp(items[0].span->name, items[i].span->name, sizeof items[0].span->name) != 0) return false;
    return true;
}

size_t plan_row_name(const struct plan *plan, const struct plan_row *row, bool utf8, char to[PLAN_TEXT]) {
    const struct picture_span *span = plan->items[row->first].span;
    const char *name = span->name[0] != '\0' ? span->name : "(no name)";
    if (row->fold != FOLD_NAME && !has_one_name(plan, row)) name = "(others)";
    return plan_clean(to, PLAN_TEXT, name, sizeof span->name, utf8);
}

/* ---- kinds ---- */

const char *plan_kind_word(enum picture_kind kind) {
    static const char *const words[PICTURE_KINDS] = {"code", "data",   "heap",   "stack",  "anonymous",
                                                     "file", "shared", "locked", "hidden", "kernel"};
    return words[kind];
}

const char *plan_row_kind(const struct plan_row *row) {
    const unsigned code = 1U << PICTURE_CODE, files = code | 1U << PICTURE_DATA | 1U << PICTURE_FILE;
    unsigned kinds = row->sum.kinds;
    for (unsigned kind = 0; kind < PICTURE_KINDS; kind++)
        if (kinds == 1U << kind) return plan_kind_word((enum picture_kind)kind);
    if ((kinds & ~files) != 0) return "various";
    return (kinds & code) != 0 ? "code+data" : "data";
}

/* ---- regions ---- */

static void append(char to[PLAN_LABEL], const char *word) {
    size_t used = strlen(to);
    snprintf(to + used, PLAN_LABEL - used, "%s%s", used != 0 ? ", " : "", word);
}

/* The lowest region with code has the program, where there are others. */
static const char *code_word(const struct plan *plan, const struct plan_region *region) {
    size_t with_code = 0;
    bool first = true;
    for (size_t i = 0; i < plan->region_count; i++) {
        bool code = (plan->regions[i].sum.kinds >> PICTURE_CODE & 1) != 0;
        with_code += code;
        if (code && &plan->regions[i] < region) first = false;
    }
    return with_code < 2 ? "code" : first ? "program" : "libraries";
}

/* The kinds that tell what a region is for, and the kind that most of it is. */
void plan_region_label(const struct plan *plan, const struct plan_region *region, char to[PLAN_LABEL]) {
    static const unsigned telling = 1U << PICTURE_CODE | 1U << PICTURE_HEAP | 1U << PICTURE_STACK |
                                    1U << PICTURE_LOCKED | 1U << PICTURE_REFUSED | 1U << PICTURE_KERNEL;
    unsigned kinds = region->sum.kinds & telling;
    const struct plan_row *largest = &plan->rows[region->first_row];
    for (size_t i = 1; i < region->rows; i++)
        if (largest[0].sum.bytes < plan->rows[region->first_row + i].sum.bytes)
            largest = &plan->rows[region->first_row + i];
    to[0] = '\0';
    if (kinds == 0 || largest->sum.kinds == 1U << PICTURE_ANONYMOUS || largest->sum.kinds == 1U << PICTURE_SHARED)
        kinds |= largest->sum.kinds;
    for (unsigned kind = 0; kind < PICTURE_KINDS; kind++)
        if ((kinds >> kind & 1) != 0)
            append(to, kind == PICTURE_CODE ? code_word(plan, region) : plan_kind_word((enum picture_kind)kind));
}

/* ---- sizes ---- */

const char *plan_size(uint64_t bytes, char to[PLAN_SIZE]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    while (unit < 6 && bytes >> (10 * (unit + 1)) != 0)
        unit++;
    uint64_t whole = bytes >> (10 * unit), rest = bytes & ((UINT64_C(1) << (10 * unit)) - 1);
    unsigned tenth = unit > 0 ? (unsigned)(rest * 10 >> (10 * unit)) : 0;
    if (rest == 0 || unit == 0 || whole >= 100)
        snprintf(to, PLAN_SIZE, "%u %s", (unsigned)whole, units[unit]);
    else
        snprintf(to, PLAN_SIZE, "%u.%u %s", (unsigned)whole, tenth, units[unit]);
    return to;
}
