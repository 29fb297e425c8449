/* Text for people: lines, colours, tables, sizes. */
#include "ui.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"

bool ui_has_colour(void) {
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no != NULL && no[0] != '\0') return false;
    if (terminal == NULL || terminal[0] == '\0' || strcmp(terminal, "dumb") == 0) return false;
    return isatty(STDOUT_FILENO) != 0;
}

size_t ui_columns(void) {
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static const char *colour_of(enum ui_tone tone) {
    static const char *const codes[] = {"", "\033[32m", "\033[31m", "\033[33m", "\033[1m"};
    static int colour = -1;
    if (colour < 0) colour = ui_has_colour();
    return colour ? codes[tone] : "";
}

void ui_put(enum ui_tone tone, const char *text) {
    const char *colour = colour_of(tone);
    printf("%s%s%s", colour, text, colour[0] == '\0' ? "" : "\033[0m");
}

void ui_line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void ui_heading(const char *format, ...) {
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    putchar('\n');
    ui_put(UI_STRONG, text);
    putchar('\n');
    fflush(stdout);
}

void ui_error(const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fputs("memguard: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void ui_library_error(const char *what, memguard_status status) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (memguard_last_error(&error) == MEMGUARD_OK && error.status == status && error.text[0] != '\0')
        ui_error("%s: %s%s%s", what, error.text, error.os_error != 0 ? ": " : "",
                 error.os_error != 0 ? strerror(error.os_error) : "");
    else
        ui_error("%s: %s", what, memguard_status_text(status));
}

void ui_set(struct ui_cell *cell, enum ui_tone tone, const char *format, ...) {
    va_list arguments;
    cell->tone = tone;
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof cell->text, format, arguments);
    va_end(arguments);
}

static size_t width_of(const struct ui_cell *cells, size_t rows, size_t columns, size_t column) {
    size_t width = 0;
    for (size_t row = 0; row < rows; row++) {
        size_t length = strlen(cells[row * columns + column].text);
        if (length > width) width = length;
    }
    return width;
}

static void print_row(const struct ui_cell *row, const size_t *widths, size_t columns) {
    fputs("  ", stdout);
    for (size_t column = 0; column < columns; column++) {
        ui_put(row[column].tone, row[column].text);
        if (column + 1 < columns) printf("%*s", (int)(widths[column] + 2 - strlen(row[column].text)), "");
    }
    putchar('\n');
}

void ui_table(const struct ui_cell *cells, size_t rows, size_t columns) {
    size_t widths[UI_COLUMNS] = {0};
    for (size_t column = 0; column < columns; column++)
        widths[column] = width_of(cells, rows, columns, column);
    for (size_t row = 0; row < rows; row++)
        print_row(cells + row * columns, widths, columns);
}

const char *ui_bytes(uint64_t bytes, char text[24]) {
    if (bytes < 1024)
        snprintf(text, 24, "%" PRIu64 " byte%s", bytes, bytes == 1 ? "" : "s");
    else if (bytes < (uint64_t)1024 * 1024)
        snprintf(text, 24, "%" PRIu64 " KiB", (bytes + 512) / 1024);
    else
        snprintf(text, 24, "%" PRIu64 ".%u MiB", bytes >> 20, (unsigned)(((bytes & 0xfffff) * 10) >> 20));
    return text;
}

/* The reader has seen enough: that is no failure of ours. */
static bool has_reader_left(void) {
    struct pollfd look = {.fd = STDOUT_FILENO};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLERR) != 0;
}

int ui_finish(int code) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || has_reader_left()) return code;
    ui_error("standard output could not be written");
    return code == EXIT_GOOD ? EXIT_BAD : code;
}
