/* ui.h: what a person sees: aligned plain text on standard output, errors on standard error. Never given secret bytes. */
#ifndef MEMGUARD_UI_H
#define MEMGUARD_UI_H

#include <memguard.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ui_tone { UI_PLAIN, UI_GOOD, UI_BAD, UI_DOUBT, UI_STRONG };

enum { UI_CELL = 40, UI_COLUMNS = 6 };

struct ui_cell {
    enum ui_tone tone;
    char text[UI_CELL];
};

/* Whether standard output takes colours: a terminal that is not dumb, and NO_COLOR is not set, or empty (no-color.org). */
bool ui_has_colour(void);

/* The width of standard output; 0: it is no terminal, or one that does not say. */
size_t ui_columns(void);

/* A line; `\n` is added. */
void ui_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An empty line and a line that stands out. */
void ui_heading(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text in the colour of `tone`, no line end. */
void ui_put(enum ui_tone tone, const char *text);

/* "memguard: ..." on standard error. */
void ui_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for a call of the library that failed: `what` and the last error's own sentence. */
void ui_library_error(const char *what, memguard_status status);

void ui_set(struct ui_cell *cell, enum ui_tone tone, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Rows of cells, row after row, columns as wide as needed; the first row is the head. */
void ui_table(const struct ui_cell *cells, size_t rows, size_t columns);

/* "1 byte", "72 KiB", "3.9 MiB". Returns `text`. */
const char *ui_bytes(uint64_t bytes, char text[24]);

/* Flushes standard output. Returns `code`, or EXIT_BAD when not all of it could be written. */
int ui_finish(int code);

#endif
