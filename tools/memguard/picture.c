/* The picture for the terminal: a line a row. All text goes through put(), which counts columns and writes none beyond
 * the last, so no line can be too long. */
#define _GNU_SOURCE
#include "picture.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>

#include "picture_plan.h"

enum {
    LEAST_COLUMNS = 40,
    MOST_COLUMNS = 250,
    ROWS = 36, /* without hits: with heads, gaps and legend some 60 lines */
    KIND_COLUMNS = 9,
    SIZE_COLUMNS = 8,
    WITH_KIND = 72,    /* columns from which there is room for the kind */
    WITH_REFUSED = 96, /* for the number of refused bytes */
    WITH_START = 110,  /* for the first address */
};

/* The first tones are the kinds. */
enum tone { TONE_PLAIN = PICTURE_KINDS, TONE_STRONG, TONE_FAINT, TONE_HIT, TONE_HIT_NAME, TONE_REFUSED, TONES };

/* Of ECMA-48, SGR. What has none is in the terminal's own colour, which can be seen on its background. */
static const char *const codes[TONES] = {
    [PICTURE_CODE] = "34",    [PICTURE_DATA] = "36",   [PICTURE_HEAP] = "32",   [PICTURE_STACK] = "35",
    [PICTURE_FILE] = "36",    [PICTURE_SHARED] = "94", [PICTURE_LOCKED] = "33", [PICTURE_KERNEL] = "2",
    [PICTURE_REFUSED] = "33", [TONE_STRONG] = "1",     [TONE_FAINT] = "2",      [TONE_HIT] = "1;37;41",
    [TONE_HIT_NAME] = "1;31", [TONE_REFUSED] = "33",
};

/* What is drawn with; UTF-8 or ASCII. */
struct glyphs {
    const char *state[3], *hit, *times, *more, *rule;
};

static const struct glyphs unicode = {{"\u00b7", "\u2588", "\u2591"}, "\u25c6", "\u00d7", "\u2026", "\u2500"};
static const struct glyphs ascii = {{".", "#", "/"}, "X", "x", "~", "-"};

struct canvas {
    FILE *out;
    const struct glyphs *glyph;
    unsigned columns, at;
    bool utf8, colour;
    unsigned name, start, kind, bar, hits, refused; /* the columns of a row's parts; 0: left out */
};

/* ---- text ---- */

static bool locale_is_utf8(void) {
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (locale == (locale_t)0) return false;
    bool utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return utf8;
}

/* Clean text: a character is a column. */
static unsigned width_of(const char *text) {
    unsigned width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* The bytes of the first `columns` columns. */
static size_t bytes_in(const char *text, unsigned columns) {
    size_t bytes = 0;
    while (text[bytes] != '\0' && (columns > 0 || ((unsigned char)text[bytes] & 0xc0) == 0x80)) {
        columns -= ((unsigned char)text[bytes] & 0xc0) != 0x80;
        bytes++;
    }
    return bytes;
}

/* Writes clean text, as much of it as the line has room for. */
static void put(struct canvas *canvas, enum tone tone, const char *text) {
    const char *code = canvas->colour ? codes[tone] : NULL;
    unsigned width = width_of(text), room = canvas->columns - canvas->at;
    if (width > room) width = room;
    if (width == 0) return;
    if (code != NULL) fprintf(canvas->out, "\033[%sm", code);
    fwrite(text, 1, bytes_in(text, width), canvas->out);
    if (code != NULL) fputs("\033[0m", canvas->out);
    canvas->at += width;
}

/* Blanks up to column `at`. */
static void go_to(struct canvas *canvas, unsigned at) {
    for (; canvas->at < at && canvas->at < canvas->columns; canvas->at++)
        fputc(' ', canvas->out);
}

static void end_line(struct canvas *canvas) {
    fputc('\n', canvas->out);
    canvas->at = 0;
}

/* Shortens the text, if need be, to `columns`. */
static void put_fitted(struct canvas *canvas, enum tone tone, const char *text, unsigned columns) {
    char piece[PLAN_TEXT];
    if (width_of(text) <= columns) {
        put(canvas, tone, text);
    } else if (columns > 0) {
        snprintf(piece, sizeof piece, "%.*s", (int)bytes_in(text, columns - 1), text);
        put(canvas, tone, piece);
        put(canvas, tone, canvas->glyph->more);
    }
}

/* Words that begin a new line, below the first ones, when they do not fit any more. */
static void flow(struct canvas *canvas, enum tone tone, const char *text) {
    const char *between = canvas->at == 0 ? "" : "  ";
    if (canvas->at + width_of(between) + width_of(text) > canvas->columns) {
        end_line(canvas);
        between = "  ";
    }
    put(canvas, TONE_PLAIN, between);
    put(canvas, tone, text);
}

/* The same, of a sentence. */
static void flow_words(struct canvas *canvas, enum tone tone, const char *text) {
    while (*text != '\0') {
        char word[PLAN_LABEL];
        size_t bytes = strcspn(text, " ");
        snprintf(word, sizeof word, "%.*s", (int)bytes, text);
        if (canvas->at + 1 + width_of(word) > canvas->columns) {
            end_line(canvas);
            put(canvas, TONE_PLAIN, "  ");
        } else if (canvas->at > 0) {
            put(canvas, TONE_PLAIN, " ");
        }
        put(canvas, tone, word);
        text += bytes + strspn(text + bytes, " ");
    }
}

/* ---- head ---- */

static void put_title(struct canvas *canvas, const char *title) {
    char text[4 * MOST_COLUMNS + 1];
    if (title == NULL || title[0] == '\0') return;
    plan_clean(text, sizeof text, title, MOST_COLUMNS, canvas->utf8);
    put(canvas, TONE_STRONG, text);
    end_line(canvas);
}

static void put_sum(struct canvas *canvas, const struct plan *plan) {
    const struct plan_sum *sum = &plan->sum;
    char text[80], size[PLAN_SIZE];
    snprintf(text, sizeof text, "%zu mapping%s, %s:", sum->mappings, sum->mappings == 1 ? "" : "s",
             plan_size(sum->bytes, size));
    flow(canvas, TONE_PLAIN, text);
    snprintf(text, sizeof text, "%s %s read", canvas->glyph->state[CELL_READ], plan_size(sum->read, size));
    flow(canvas, TONE_PLAIN, text);
    snprintf(text, sizeof text, "%s %s refused by the kernel", canvas->glyph->state[CELL_REFUSED],
             plan_size(sum->refused, size));
    flow(canvas, sum->refused != 0 ? TONE_REFUSED : TONE_PLAIN, text);
    snprintf(text, sizeof text, "%s %s not read", canvas->glyph->state[CELL_ABSENT], plan_size(plan_absent(sum), size));
    flow(canvas, TONE_PLAIN, text);
    snprintf(text, sizeof text, "%s %zu found", canvas->glyph->hit, plan->hit_count);
    flow(canvas, plan->hit_count != 0 ? TONE_HIT_NAME : TONE_PLAIN, text);
    end_line(canvas);
}

static void put_legend(struct canvas *canvas) {
    flow_words(canvas, TONE_FAINT, "The length of a bar is its size on a log scale. In it");
    flow_words(canvas, TONE_FAINT, canvas->glyph->hit);
    flow_words(canvas, TONE_FAINT,
               "marks the place; the other parts are amounts. Not read: not in memory, or not looked at.");
    end_line(canvas);
}

/* ---- rows ---- */

static unsigned row_indent(void) { return 2; }

static unsigned with_blank(unsigned columns) { return columns != 0 ? columns + 1 : 0; }

static unsigned kind_column(const struct canvas *canvas) {
    return row_indent() + canvas->name + 1 + with_blank(canvas->start);
}

static unsigned size_column(const struct canvas *canvas) { return kind_column(canvas) + with_blank(canvas->kind); }

static unsigned bar_column(const struct canvas *canvas) { return size_column(canvas) + SIZE_COLUMNS + 1; }

/* A number a factor 16 apart, ending where a bar of that size ends. */
static void put_ruler(struct canvas *canvas, const struct plan *plan) {
    static const char *const units[] = {"", "K", "M", "G", "T", "P", "E"};
    go_to(canvas, size_column(canvas));
    put(canvas, TONE_FAINT, "    size");
    go_to(canvas, bar_column(canvas));
    for (unsigned shift = 12; shift <= plan_top(plan); shift += 4) {
        char text[16];
        snprintf(text, sizeof text, "%u%s", 1U << shift % 10, units[shift / 10]);
        unsigned end = bar_column(canvas) + plan_cells(plan, UINT64_C(1) << shift, canvas->bar);
        unsigned begin = end - width_of(text), next = canvas->at + (shift > 12);
        if (end < width_of(text) || begin < next || end > bar_column(canvas) + canvas->bar) continue;
        go_to(canvas, begin);
        put(canvas, TONE_FAINT, text);
    }
    end_line(canvas);
}

static enum tone tone_of_cell(const struct plan_cell *cell) {
    if (cell->hits != 0) return TONE_HIT;
    if (cell->state == CELL_REFUSED) return TONE_REFUSED;
    return cell->state == CELL_ABSENT ? TONE_FAINT : (enum tone)cell->kind;
}

static const char *glyph_of_cell(const struct canvas *canvas, const struct plan_cell *cell) {
    return cell->hits != 0 ? canvas->glyph->hit : canvas->glyph->state[cell->state];
}

static void put_bar(struct canvas *canvas, const struct plan *plan, const struct plan_row *row) {
    struct plan_cell cells[MOST_COLUMNS];
    unsigned count = plan_cells(plan, row->sum.bytes, canvas->bar);
    plan_paint(plan, row, cells, count);
    for (unsigned i = 0; i < count;) {
        char run[4 * MOST_COLUMNS + 1];
        const char *glyph = glyph_of_cell(canvas, &cells[i]);
        enum tone tone = tone_of_cell(&cells[i]);
        size_t at = 0;
        for (; i < count && glyph_of_cell(canvas, &cells[i]) == glyph && tone_of_cell(&cells[i]) == tone; i++)
            at += (size_t)snprintf(run + at, sizeof run - at, "%s", glyph);
        put(canvas, tone, run);
    }
}

static void put_notes(struct canvas *canvas, const struct plan_row *row) {
    char text[40], size[PLAN_SIZE];
    unsigned at = bar_column(canvas) + canvas->bar + 1;
    if (canvas->hits != 0 && row->sum.hits != 0) {
        go_to(canvas, at);
        snprintf(text, sizeof text, "%s %zu", canvas->glyph->hit, row->sum.hits);
        put(canvas, TONE_HIT_NAME, text);
    }
    if (canvas->refused != 0 && row->sum.refused != 0) {
        go_to(canvas, at + with_blank(canvas->hits));
        snprintf(text, sizeof text, "%s %s", canvas->glyph->state[CELL_REFUSED], plan_size(row->sum.refused, size));
        put(canvas, TONE_REFUSED, text);
    }
}

static enum tone tone_of_row(const struct plan_row *row) {
    unsigned kind = 0;
    while (kind < PICTURE_KINDS && row->sum.kinds != 1U << kind)
        kind++;
    return kind < PICTURE_KINDS                         ? (enum tone)kind
           : (row->sum.kinds & 1U << PICTURE_CODE) != 0 ? (enum tone)PICTURE_CODE
                                                        : TONE_PLAIN;
}

/* " x5", or nothing. */
static const char *times_of(const struct canvas *canvas, const struct plan_row *row, char to[32]) {
    to[0] = '\0';
    if (row->sum.mappings > 1) snprintf(to, 32, " %s%zu", canvas->glyph->times, row->sum.mappings);
    return to;
}

static void put_row(struct canvas *canvas, const struct plan *plan, const struct plan_row *row) {
    char name[PLAN_TEXT], times[32], start[24], size[PLAN_SIZE];
    plan_row_name(plan, row, canvas->utf8, name);
    times_of(canvas, row, times);
    go_to(canvas, row_indent());
    put_fitted(canvas, row->sum.hits != 0 ? TONE_HIT_NAME : TONE_PLAIN, name, canvas->name - width_of(times));
    put(canvas, TONE_FAINT, times);
    go_to(canvas, row_indent() + canvas->name + 1);
    snprintf(start, sizeof start, "%012" PRIx64, row->start);
    if (canvas->start != 0) put(canvas, TONE_FAINT, start);
    go_to(canvas, kind_column(canvas));
    if (canvas->kind != 0) put(canvas, tone_of_row(row), plan_row_kind(row));
    plan_size(row->sum.bytes, size);
    go_to(canvas, size_column(canvas) + SIZE_COLUMNS - width_of(size));
    put(canvas, TONE_PLAIN, size);
    go_to(canvas, bar_column(canvas));
    put_bar(canvas, plan, row);
    put_notes(canvas, row);
    end_line(canvas);
}

/* Only what fits wholly: half a number would be a wrong one. */
static void put_whole(struct canvas *canvas, enum tone tone, const char *text) {
    if (canvas->at + 2 + width_of(text) > canvas->columns) return;
    put(canvas, TONE_PLAIN, "  ");
    put(canvas, tone, text);
}

static void put_region(struct canvas *canvas, const struct plan *plan, const struct plan_region *region) {
    char label[PLAN_LABEL], text[64], size[PLAN_SIZE];
    if (region->gap != 0) {
        snprintf(text, sizeof text, "%s%s %s unused %s%s", canvas->glyph->rule, canvas->glyph->rule,
                 plan_size(region->gap, size), canvas->glyph->rule, canvas->glyph->rule);
        put(canvas, TONE_FAINT, text);
        end_line(canvas);
    }
    plan_region_label(plan, region, label);
    put_fitted(canvas, TONE_STRONG, label, canvas->columns);
    put_whole(canvas, TONE_PLAIN, plan_size(region->sum.bytes, size));
    snprintf(text, sizeof text, "%012" PRIx64 "-%012" PRIx64, region->start, region->end);
    put_whole(canvas, TONE_FAINT, text);
    end_line(canvas);
    for (size_t i = 0; i < region->rows; i++)
        put_row(canvas, plan, &plan->rows[region->first_row + i]);
}

static void put_astray(struct canvas *canvas, const struct plan *plan) {
    char text[40];
    if (plan->astray == 0) return;
    snprintf(text, sizeof text, "in no mapping  %s %zu", canvas->glyph->hit, plan->astray);
    put(canvas, TONE_HIT_NAME, text);
    end_line(canvas);
}

/* ---- hits ---- */

static void put_hit(struct canvas *canvas, const struct plan_hit *hit, int address_columns, int bytes_columns) {
    char text[64], what[PLAN_TEXT];
    if (hit->span == NULL && hit->hit->address == 0)
        snprintf(text, sizeof text, "  %*s", address_columns, "-");
    else
        snprintf(text, sizeof text, "  %0*" PRIx64, address_columns, hit->hit->address);
    put(canvas, TONE_HIT_NAME, text);
    snprintf(text, sizeof text, "  %*" PRIu32 " byte%s  ", bytes_columns, hit->hit->bytes,
             hit->hit->bytes == 1 ? " " : "s");
    put(canvas, TONE_PLAIN, text);
    plan_clean(what, sizeof what, hit->hit->what, sizeof hit->hit->what, canvas->utf8);
    put_fitted(canvas, TONE_PLAIN, what, canvas->columns - canvas->at);
    end_line(canvas);
}

static void put_hits(struct canvas *canvas, const struct plan *plan) {
    char text[64], size[PLAN_SIZE];
    int address_columns = 12, bytes_columns = 1;
    if (plan->hit_count == 0) {
        snprintf(text, sizeof text, "Found nowhere in the %s that were read.", plan_size(plan->sum.read, size));
        put(canvas, TONE_STRONG, text);
        end_line(canvas);
        return;
    }
    if (plan->hits[plan->hit_count - 1].hit->address >> 48 != 0) address_columns = 16;
    for (size_t i = 0; i < plan->hit_count; i++) {
        int digits = snprintf(NULL, 0, "%" PRIu32, plan->hits[i].hit->bytes);
        if (digits > bytes_columns) bytes_columns = digits;
    }
    snprintf(text, sizeof text, "Found in %zu place%s:", plan->hit_count, plan->hit_count == 1 ? "" : "s");
    put(canvas, TONE_HIT_NAME, text);
    end_line(canvas);
    for (size_t i = 0; i < plan->hit_count; i++)
        put_hit(canvas, &plan->hits[i], address_columns, bytes_columns);
}

/* ---- all of it ---- */

/* Addresses have 12 hexadecimal digits, those of the kernel 16. */
static unsigned start_columns(const struct plan *plan) {
    for (size_t i = 0; i < plan->row_count; i++)
        if (plan->rows[i].start >> 48 != 0) return 16;
    return 12;
}

/* The columns of the parts of a row: names as wide as needed within bounds, the bar gets what is left. */
static void lay_out(struct canvas *canvas, const struct plan *plan) {
    unsigned widest = 8, most = 12 + (canvas->columns - LEAST_COLUMNS) / 3;
    size_t most_hits = 0;
    for (size_t i = 0; i < plan->row_count; i++) {
        char name[PLAN_TEXT], times[32];
        size_t width =
            plan_row_name(plan, &plan->rows[i], canvas->utf8, name) + width_of(times_of(canvas, &plan->rows[i], times));
        if (width > widest) widest = (unsigned)width;
        if (plan->rows[i].sum.hits > most_hits) most_hits = plan->rows[i].sum.hits;
    }
    canvas->name = widest < most ? widest : most;
    canvas->start = canvas->columns >= WITH_START ? start_columns(plan) : 0;
    canvas->kind = canvas->columns >= WITH_KIND ? KIND_COLUMNS : 0;
    canvas->hits = most_hits != 0 ? 2 + (unsigned)snprintf(NULL, 0, "%zu", most_hits) : 0;
    canvas->refused = canvas->columns >= WITH_REFUSED && plan->sum.refused != 0 ? 2 + SIZE_COLUMNS : 0;
    canvas->bar = canvas->columns - bar_column(canvas) - with_blank(canvas->hits) - with_blank(canvas->refused);
}

static void put_plan(struct canvas *canvas, const struct plan *plan, const char *title) {
    lay_out(canvas, plan);
    put_title(canvas, title);
    put_sum(canvas, plan);
    put_legend(canvas);
    put_ruler(canvas, plan);
    for (size_t i = 0; i < plan->region_count; i++)
        put_region(canvas, plan, &plan->regions[i]);
    put_astray(canvas, plan);
    end_line(canvas);
    put_hits(canvas, plan);
}

bool picture_print(const struct picture *picture, FILE *out, unsigned columns, bool colour) {
    struct canvas canvas = {.out = out, .colour = colour, .utf8 = locale_is_utf8()};
    struct plan plan;
    canvas.columns = columns < LEAST_COLUMNS ? LEAST_COLUMNS : columns > MOST_COLUMNS ? MOST_COLUMNS : columns;
    canvas.glyph = canvas.utf8 ? &unicode : &ascii;
    bool made = plan_make(&plan, picture, ROWS, SIZE_MAX);
    if (made) put_plan(&canvas, &plan, picture->title);
    plan_free(&plan);
    return made && fflush(out) == 0 && !ferror(out);
}
