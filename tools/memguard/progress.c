/* The line is overwritten with blanks and carriage returns only, which every terminal knows. A drawing is one write. */
#define _GNU_SOURCE
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { APPEARS_MS = 1000, REDRAW_MS = 100, COLUMNS_MOST = 120, COLUMNS_UNKNOWN = 80, BAR_LEAST = 8, PART = 48 };

static uint64_t now_ms(void) {
    struct timespec now = {0};
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0; /* the line never appears */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A line may be as wide as this: the last column stays free, so that the cursor does not go to the next line. */
static size_t columns_now(void) {
    struct winsize size;
    size_t columns = COLUMNS_UNKNOWN;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) columns = size.ws_col;
    return (columns < COLUMNS_MOST ? columns : COLUMNS_MOST) - 1;
}

/* A job in the background leaves the terminal to the one in front. */
static bool is_in_front(void) {
    pid_t front = tcgetpgrp(STDERR_FILENO);
    return front <= 0 || front == getpgrp();
}

/* ---- the parts of the line ---- */

/* 0 to 100. */
static unsigned percent_of(const struct progress *progress) {
    if (progress->done >= progress->total) return 100;
    return (unsigned)((double)progress->done * 100 / (double)progress->total);
}

static double bytes_a_second(const struct progress *progress) {
    uint64_t ms = progress->drawn_ms - progress->began_ms;
    return ms == 0 ? 0 : (double)progress->done * 1000 / (double)ms;
}

/* "3:05 left", or nothing when it cannot be told. */
static void put_remaining(const struct progress *progress, char to[PART]) {
    double rate = bytes_a_second(progress);
    to[0] = '\0';
    if (rate <= 0 || progress->done >= progress->total) return;
    double seconds = (double)(progress->total - progress->done) / rate + 0.5;
    if (seconds >= 360000) return; /* days are no estimate */
    unsigned s = (unsigned)seconds;
    if (s >= 3600)
        snprintf(to, PART, "  %u:%02u:%02u left", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(to, PART, "  %u:%02u left", s / 60, s % 60);
}

static size_t append(char *line, size_t at, size_t columns, const char *part) {
    size_t length = strlen(part);
    if (at + length > columns) return at;
    memcpy(line + at, part, length);
    return at + length;
}

static size_t append_bar(char *line, size_t at, size_t cells, unsigned percent) {
    size_t full = cells * percent / 100;
    line[at] = ' ';
    line[at + 1] = '[';
    memset(line + at + 2, '.', cells);
    memset(line + at + 2, '#', full);
    line[at + 2 + cells] = ']';
    return at + cells + 3;
}

/* Writes the line, what is more important first: percent, label, rate, remaining time; the bar gets what is left. */
static size_t make_line(const struct progress *progress, char *line, size_t columns) {
    char share[PART], rate[PART], remaining[PART];
    size_t at = 0, used;
    if (progress->total == 0)
        snprintf(share, sizeof share, " %" PRIu64 " MB", progress->done / 1000000);
    else
        snprintf(share, sizeof share, " %3u%%", percent_of(progress));
    snprintf(rate, sizeof rate, "  %.0f MB/s", bytes_a_second(progress) / 1e6);
    put_remaining(progress, remaining);
    used = strlen(share);
    if (used + strlen(progress->label) <= columns) at = append(line, 0, columns, progress->label);
    used += at;
    if (used + strlen(rate) <= columns)
        used += strlen(rate);
    else
        rate[0] = '\0';
    if (used + strlen(remaining) <= columns)
        used += strlen(remaining);
    else
        remaining[0] = '\0';
    if (progress->total != 0 && used + BAR_LEAST + 3 <= columns)
        at = append_bar(line, at, columns - used - 3, percent_of(progress));
    at = append(line, at, columns, share);
    at = append(line, at, columns, rate);
    return append(line, at, columns, remaining);
}

/* ---- the terminal ---- */

/* What cannot be written is not tried again. */
static void show(struct progress *progress, const char *text, size_t bytes) {
    if (write(STDERR_FILENO, text, bytes) != (ssize_t)bytes) progress->silent = true;
}

static void draw(struct progress *progress) {
    char text[COLUMNS_MOST + 1];
    size_t columns = columns_now();
    text[0] = '\r';
    size_t drawn = make_line(progress, text + 1, columns), width = drawn;
    if (progress->columns_drawn > width) width = progress->columns_drawn < columns ? progress->columns_drawn : columns;
    memset(text + 1 + drawn, ' ', width - drawn);
    show(progress, text, 1 + width);
    progress->columns_drawn = width;
}

void progress_begin(struct progress *progress, const char *label, uint64_t total_bytes) {
    memset(progress, 0, sizeof *progress);
    snprintf(progress->label, sizeof progress->label, "%s", label != NULL ? label : "");
    for (char *at = progress->label; *at != '\0'; at++)
        if (*at < 0x20 || *at > 0x7e) *at = '?';
    progress->total = total_bytes;
    progress->silent = isatty(STDERR_FILENO) == 0;
    progress->began_ms = progress->drawn_ms = now_ms();
}

void progress_step(struct progress *progress, uint64_t done_bytes) {
    progress->done = done_bytes;
    if (progress->silent) return;
    uint64_t now = now_ms();
    if (now < progress->began_ms + APPEARS_MS || now < progress->drawn_ms + REDRAW_MS || !is_in_front()) return;
    progress->drawn_ms = now;
    draw(progress);
}

void progress_end(struct progress *progress) {
    char text[COLUMNS_MOST + 2];
    size_t width = progress->columns_drawn, columns = columns_now();
    if (width > columns) width = columns;
    if (progress->silent || width == 0 || !is_in_front()) return;
    text[0] = '\r';
    memset(text + 1, ' ', width);
    text[1 + width] = '\r';
    show(progress, text, width + 2);
    progress->columns_drawn = 0;
}
