/* The picture as SVG (W3C SVG 1.1): one file, no scripts, fonts or links; its own background, so that it can be read on
 * light and on dark pages. It is drawn twice: first without writing, to learn how high it is. */
#include "picture.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "picture_plan.h"

enum {
    WIDTH = 960,
    MARGIN = 24,
    CHARACTER = 7300, /* of a character of 12 units: its width in 1/1000 units, at most */
    NAME_X = 40,
    NAME_CHARACTERS = 28,
    KIND_X = 256,
    SIZE_X = 396, /* the right end */
    BAR_X = 412,
    CELL = 2,
    CELLS = 204,
    NOTE_X = BAR_X + CELL * CELLS + 16,
    BAR_HEIGHT = 12,
    ROW_HEIGHT = 20,
    LIST_HEIGHT = 17,
    LIST_WIDTH = (WIDTH - 2 * MARGIN) / 2,
    LIST_MOST = 240,
    WIDE_TOP = 38,
    ROWS = 36, /* without hits */
    HIT_ROWS = 40,
    TITLE = 256,
    TEXT = 4 * TITLE + 1,
};

/* Colours that people with any kind of colour vision can tell apart (Okabe and Ito), and greys. */
static const char *const colours[PICTURE_KINDS] = {"#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#8c8c88",
                                                   "#9fc6e0", "#6a51a3", "#e69f00", "#a06a00", "#444444"};

static const char style[] =
    "<style>text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;fill:#222}"
    ".t{font:bold 18px system-ui,'Segoe UI',Helvetica,Arial,sans-serif}.b{font-weight:bold}.f{fill:#6b6b66}"
    ".r{fill:#b00020;font-weight:bold}.e{text-anchor:end}.m{text-anchor:middle}"
    ".g{stroke:#e2e2dc;fill:none}.d{stroke:#b5b5ae;stroke-dasharray:2 4;fill:none}"
    ".h{fill:#d4002a;stroke:#fff;stroke-width:1.2}</style>\n"
    "<defs><pattern id=\"refused\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
    "patternTransform=\"rotate(45)\"><path d=\"M0 0h5v5h-5z\" fill=\"#f7e7c6\"/>"
    "<path d=\"M0 0h2v5h-2z\" fill=\"#a06a00\"/></pattern></defs>\n";

struct sheet {
    FILE *out; /* NULL: only measure */
    const struct plan *plan;
    unsigned y;
};

/* ---- writing ---- */

static void emit(const struct sheet *sheet, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void emit(const struct sheet *sheet, const char *format, ...) {
    va_list arguments;
    if (sheet->out == NULL) return;
    va_start(arguments, format);
    vfprintf(sheet->out, format, arguments);
    va_end(arguments);
}

/* Clean text as XML text. */
static void emit_text(const struct sheet *sheet, const char *text) {
    for (; *text != '\0'; text++) {
        const char *entity = *text == '&'   ? "&amp;"
                             : *text == '<' ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity != NULL)
            emit(sheet, "%s", entity);
        else
            emit(sheet, "%c", *text);
    }
}

static void write_text(const struct sheet *sheet, unsigned x, unsigned y, const char *classes, const char *text) {
    emit(sheet, "<text x=\"%u\" y=\"%u\" class=\"%s\">", x, y, classes);
    emit_text(sheet, text);
    emit(sheet, "</text>\n");
}

/* At most `most` characters of clean text; "…" stands for more. */
static void shorten(char *text, size_t most) {
    size_t characters = 0, cut = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (((unsigned char)text[i] & 0xc0) == 0x80) continue;
        if (++characters == most) cut = i;
    }
    if (characters > most) strcpy(text + cut, "\u2026"); /* 3 bytes, where at least two characters were */
}

static unsigned text_width(size_t characters) { return (unsigned)(characters * CHARACTER + 999) / 1000; }

/* ---- head ---- */

/* Without what was found. */
static void sum_text(const struct plan *plan, char *to, size_t bytes) {
    char size[PLAN_SIZE], read[PLAN_SIZE], refused[PLAN_SIZE], absent[PLAN_SIZE];
    const struct plan_sum *sum = &plan->sum;
    snprintf(to, bytes, "%zu mapping%s, %s: %s read, %s refused by the kernel, %s not read", sum->mappings,
             sum->mappings == 1 ? "" : "s", plan_size(sum->bytes, size), plan_size(sum->read, read),
             plan_size(sum->refused, refused), plan_size(sum->bytes - sum->read - sum->refused, absent));
}

static void draw_title(struct sheet *sheet, const char *title) {
    char text[TEXT];
    plan_clean(text, sizeof text, title, TITLE, true);
    shorten(text, 80);
    write_text(sheet, MARGIN, sheet->y + 22, "t", text);
    sum_text(sheet->plan, text, sizeof text);
    write_text(sheet, MARGIN, sheet->y + 44, "", text);
    snprintf(text, sizeof text, "%zu found", sheet->plan->hit_count);
    write_text(sheet, WIDTH - MARGIN, sheet->y + 44, sheet->plan->hit_count != 0 ? "r e" : "e", text);
    sheet->y += 60;
}

/* An entry of the legend; begins a new line when this one is full. Returns where the next one may begin. */
static unsigned draw_key(struct sheet *sheet, unsigned x, const char *mark, const char *text) {
    unsigned width = 20 + text_width(strlen(text));
    if (x + width > WIDTH - MARGIN) {
        x = MARGIN;
        sheet->y += 18;
    }
    emit(sheet, "<path transform=\"translate(%u %u)\" %s/>", x, sheet->y, mark);
    write_text(sheet, x + 18, sheet->y + 10, "", text);
    return x + width + 14;
}

#define SQUARE "d=\"M0 0h12v12h-12z\" "

static void draw_legend(struct sheet *sheet) {
    char mark[64];
    unsigned x = MARGIN;
    for (unsigned kind = 0; kind < PICTURE_KINDS; kind++) {
        if ((sheet->plan->sum.kinds >> kind & 1) == 0) continue;
        snprintf(mark, sizeof mark, SQUARE "fill=\"%s\"", colours[kind]);
        x = draw_key(sheet, x, mark, plan_kind_word((enum picture_kind)kind));
    }
    if (x > MARGIN) sheet->y += 18;
    x = draw_key(sheet, MARGIN, "class=\"h\" d=\"M6-2l6 8-6 8-6-8z\"", "found");
    x = draw_key(sheet, x, SQUARE "fill=\"url(#refused)\"", "refused by the kernel");
    draw_key(sheet, x, SQUARE "fill=\"#8c8c88\" fill-opacity=\".25\"", "not read: not in memory, or not looked at");
    sheet->y += 22;
    write_text(
        sheet, MARGIN, sheet->y + 10, "f",
        "The length of a bar is its size on a log scale. In it a mark is at its place; the other parts are amounts.");
    sheet->y += 30;
}

/* ---- rows ---- */

static unsigned end_of_bar(const struct plan *plan, uint64_t bytes) {
    return BAR_X + CELL * plan_cells(plan, bytes, CELLS);
}

/* A line of the grid each so many powers of two, so far apart that their numbers do not touch. */
static unsigned grid_step(const struct plan *plan) { return plan_top(plan) > WIDE_TOP ? 8 : 4; }

static void draw_ruler(struct sheet *sheet) {
    for (unsigned shift = 12; shift <= plan_top(sheet->plan); shift += grid_step(sheet->plan)) {
        char size[PLAN_SIZE];
        uint64_t bytes = UINT64_C(1) << shift;
        write_text(sheet, end_of_bar(sheet->plan, bytes), sheet->y + 12, "f m", plan_size(bytes, size));
    }
    write_text(sheet, SIZE_X, sheet->y + 12, "f e", "size");
    sheet->y += 18;
}

/* Behind the rows that are drawn next. */
static void draw_grid(const struct sheet *sheet, size_t rows) {
    for (unsigned shift = 12; shift <= plan_top(sheet->plan); shift += grid_step(sheet->plan))
        emit(sheet, "<path class=\"g\" d=\"M%u.5 %uv%u\"/>", end_of_bar(sheet->plan, UINT64_C(1) << shift), sheet->y,
             (unsigned)rows * ROW_HEIGHT);
}

static bool same_look(const struct plan_cell *a, const struct plan_cell *b) {
    return a->state == b->state && (a->kind == b->kind || a->state == CELL_REFUSED);
}

static void draw_run(const struct sheet *sheet, const struct plan_cell *cell, unsigned from, unsigned to) {
    emit(sheet, "<path d=\"M%u %uh%uv%uh-%uz\" ", BAR_X + CELL * from, sheet->y + 4, CELL * (to - from), BAR_HEIGHT,
         CELL * (to - from));
    if (cell->state == CELL_REFUSED)
        emit(sheet, "fill=\"url(#refused)\"/>");
    else
        emit(sheet, "fill=\"%s\"%s/>", colours[cell->kind], cell->state == CELL_ABSENT ? " fill-opacity=\".25\"" : "");
}

static void draw_marks(const struct sheet *sheet, const struct plan_cell *cells, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (cells[i].hits != 0)
            emit(sheet, "<path class=\"h\" d=\"M%u %ul6 8-6 8-6-8z\"/>", BAR_X + CELL * i + CELL / 2, sheet->y + 2);
}

static void draw_bar(const struct sheet *sheet, const struct plan_row *row) {
    struct plan_cell cells[CELLS];
    unsigned count = plan_cells(sheet->plan, row->sum.bytes, CELLS), from = 0;
    plan_paint(sheet->plan, row, cells, count);
    for (unsigned i = 1; i <= count; i++) {
        if (i < count && same_look(&cells[i], &cells[from])) continue;
        draw_run(sheet, &cells[from], from, i);
        from = i;
    }
    draw_marks(sheet, cells, count);
}

static void draw_row(struct sheet *sheet, const struct plan_row *row) {
    char name[PLAN_TEXT], times[32] = "", text[64], size[PLAN_SIZE];
    plan_row_name(sheet->plan, row, true, name);
    emit(sheet, "<g><title>");
    emit_text(sheet, name);
    emit(sheet, ": %" PRIu64 " bytes in %zu mapping%s, %" PRIu64 " read, %" PRIu64 " refused, found %zu</title>",
         row->sum.bytes, row->sum.mappings, row->sum.mappings == 1 ? "" : "s", row->sum.read, row->sum.refused,
         row->sum.hits);
    if (row->sum.mappings > 1) snprintf(times, sizeof times, " \u00d7%zu", row->sum.mappings);
    shorten(name, NAME_CHARACTERS - (times[0] != '\0' ? strlen(times) - 1 : 0));
    strcat(name, times);
    write_text(sheet, NAME_X, sheet->y + 14, row->sum.hits != 0 ? "r" : "", name);
    write_text(sheet, KIND_X, sheet->y + 14, "f", plan_row_kind(row));
    write_text(sheet, SIZE_X, sheet->y + 14, "e", plan_size(row->sum.bytes, size));
    draw_bar(sheet, row);
    snprintf(text, sizeof text, "%zu found", row->sum.hits);
    if (row->sum.hits != 0) write_text(sheet, NOTE_X, sheet->y + 14, "r", text);
    emit(sheet, "</g>\n");
    sheet->y += ROW_HEIGHT;
}

static void draw_region(struct sheet *sheet, const struct plan_region *region) {
    char label[PLAN_LABEL], text[96], size[PLAN_SIZE];
    if (region->gap != 0) {
        snprintf(text, sizeof text, "%s unused", plan_size(region->gap, size));
        emit(sheet, "<path class=\"d\" d=\"M%d %uH%d\"/>", MARGIN, sheet->y + 12, BAR_X - 12);
        emit(sheet, "<path d=\"M%u %uh%uv14h-%uz\" fill=\"#fcfcfa\"/>", NAME_X, sheet->y + 5,
             text_width(strlen(text)) + 10, text_width(strlen(text)) + 10);
        write_text(sheet, NAME_X + 5, sheet->y + 16, "f", text);
        sheet->y += 22;
    }
    plan_region_label(sheet->plan, region, label);
    shorten(label, (SIZE_X - MARGIN) * 1000 / CHARACTER - 9);
    write_text(sheet, MARGIN, sheet->y + 16, "b", label);
    write_text(sheet, SIZE_X, sheet->y + 16, "b e", plan_size(region->sum.bytes, size));
    snprintf(text, sizeof text, "%012" PRIx64 "-%012" PRIx64, region->start, region->end);
    write_text(sheet, BAR_X, sheet->y + 16, "f", text);
    sheet->y += 22;
    draw_grid(sheet, region->rows);
    for (size_t i = 0; i < region->rows; i++)
        draw_row(sheet, &sheet->plan->rows[region->first_row + i]);
    sheet->y += 6;
}

/* ---- hits ---- */

/* The widths of the list's columns. */
struct list {
    unsigned address, bytes;
};

static struct list lay_out_list(const struct plan *plan) {
    struct list list = {.address = text_width(12), .bytes = 0};
    for (size_t i = 0; i < plan->hit_count; i++) {
        unsigned bytes = text_width((size_t)snprintf(NULL, 0, "  %" PRIu32 " B", plan->hits[i].hit->bytes));
        if (bytes > list.bytes) list.bytes = bytes;
        if (plan->hits[i].hit->address >> 48 != 0) list.address = text_width(16);
    }
    return list;
}

static void draw_hit(const struct sheet *sheet, const struct plan_hit *hit, const struct list *list, unsigned x,
                     unsigned y) {
    char text[24] = "-", what[PLAN_TEXT];
    const unsigned between = 12, used = list->address + list->bytes + between;
    if (hit->span != NULL || hit->hit->address != 0) snprintf(text, sizeof text, "%012" PRIx64, hit->hit->address);
    write_text(sheet, x + list->address, y, "e", text);
    snprintf(text, sizeof text, "%" PRIu32 " B", hit->hit->bytes);
    write_text(sheet, x + list->address + list->bytes, y, "e", text);
    plan_clean(what, sizeof what, hit->hit->what, sizeof hit->hit->what, true);
    shorten(what, (LIST_WIDTH - used - between) * 1000 / CHARACTER);
    write_text(sheet, x + used, y, "f", what);
}

static void draw_hits(struct sheet *sheet) {
    size_t count = sheet->plan->hit_count, listed = count < LIST_MOST ? count : LIST_MOST, high = (listed + 1) / 2;
    struct list list = lay_out_list(sheet->plan);
    char text[96];
    sheet->y += 10;
    if (sheet->plan->astray != 0)
        snprintf(text, sizeof text, "Found: %zu, of which %zu in no mapping", count, sheet->plan->astray);
    else
        snprintf(text, sizeof text, count != 0 ? "Found: %zu" : "Found nowhere in what was read.", count);
    write_text(sheet, MARGIN, sheet->y + 14, count != 0 ? "r" : "b", text);
    sheet->y += 24;
    for (size_t i = 0; i < listed; i++)
        draw_hit(sheet, &sheet->plan->hits[i], &list, MARGIN + (unsigned)(i / high) * LIST_WIDTH,
                 sheet->y + 12 + (unsigned)(i % high) * LIST_HEIGHT);
    sheet->y += (unsigned)high * LIST_HEIGHT;
    if (listed == count) return;
    snprintf(text, sizeof text, "and %zu more, which are marked above", count - listed);
    write_text(sheet, MARGIN, sheet->y + 14, "f", text);
    sheet->y += 22;
}

/* ---- all of it ---- */

static void draw_sheet(struct sheet *sheet, const char *title) {
    sheet->y = 16;
    draw_title(sheet, title);
    draw_legend(sheet);
    draw_ruler(sheet);
    for (size_t i = 0; i < sheet->plan->region_count; i++)
        draw_region(sheet, &sheet->plan->regions[i]);
    draw_hits(sheet);
}

static void draw_head(const struct sheet *sheet, const char *title, unsigned height) {
    char text[TEXT];
    emit(sheet,
         "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
         "height=\"%u\" "
         "viewBox=\"0 0 %d %u\" role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">",
         WIDTH, height, WIDTH, height);
    plan_clean(text, sizeof text, title, TITLE, true);
    emit_text(sheet, text);
    emit(sheet, "</title>\n<desc id=\"desc\">");
    sum_text(sheet->plan, text, sizeof text);
    emit_text(sheet, text);
    emit(sheet, "; %zu found", sheet->plan->hit_count);
    emit(sheet, "</desc>\n%s<path d=\"M.5 .5h%dv%uh-%dz\" fill=\"#fcfcfa\" stroke=\"#d5d5ce\"/>\n", style, WIDTH - 1,
         height - 1, WIDTH - 1);
}

bool picture_svg(const struct picture *picture, FILE *out) {
    struct plan plan;
    bool made = plan_make(&plan, picture, ROWS, HIT_ROWS);
    struct sheet sheet = {.plan = &plan};
    if (made) {
        draw_sheet(&sheet, picture->title);
        sheet.out = out;
        draw_head(&sheet, picture->title, sheet.y + MARGIN);
        draw_sheet(&sheet, picture->title);
        emit(&sheet, "</svg>\n");
    }
    plan_free(&plan);
    return made && fflush(out) == 0 && !ferror(out);
}
