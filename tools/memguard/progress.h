/* progress.h: how far a long job is, as one line on standard error, where that is a terminal. The line appears after a
 * second, is drawn at most ten times a second, and is erased at the end. No signals, no threads, nothing on standard
 * output. Must not know: what the job is. */
#ifndef MEMGUARD_PROGRESS_H
#define MEMGUARD_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    char label[32];
    uint64_t total, done;        /* bytes */
    uint64_t began_ms, drawn_ms; /* of CLOCK_MONOTONIC */
    size_t columns_drawn;        /* 0: there is no line */
    bool silent;
};

/* A total of 0: it is not known. */
void progress_begin(struct progress *progress, const char *label, uint64_t total_bytes);

/* `done_bytes`: since the beginning. To be called often; it costs a look at the clock. */
void progress_step(struct progress *progress, uint64_t done_bytes);

/* Erases the line. */
void progress_end(struct progress *progress);

#endif
