/* bench.h: what the files of the benchmark program share. An *operation* is a loop of n calls that checks each of them; a *row* sets
 * one of ours beside one of a peer. Ours use the public header of memguard only.
 * Absolute times depend on the machine and the minute: the ratio of two operations measured in turn is what counts. */
#ifndef MEMGUARD_BENCH_H
#define MEMGUARD_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "memguard.h"

enum { SMALL = 32, MEDIUM = 4096, LARGE = 1 << 20 };

struct bench_op {
    const char *name;
    void (*run)(size_t n, void *arg);    /* timed */
    void (*before)(size_t n, void *arg); /* before each batch, not timed; may be null */
    void (*after)(size_t n, void *arg);  /* after each batch, not timed; may be null */
    void *arg;
    size_t most;  /* calls in a batch; 0: any number */
    size_t least; /* calls in a batch, where waiting for a thread would fool the search for a number */
};

struct bench_row {
    const char *id, *title;
    const struct bench_op *ours, *peer; /* no peer: the time alone */
    double wanted;                      /* the ratio at most; 0: none is set */
    uint32_t batch_us;                  /* 0: the usual length */
};

/* Medians over all rounds; the ratio is ours to peer, taken in each round. */
struct bench_result {
    double ratio, ratio_p10, ratio_p90;
    double ours_ns, peer_ns; /* per call */
    size_t rounds;
};

/* ---- measure.c ---- */

uint64_t bench_now_ns(void);
struct bench_result bench_measure(const struct bench_row *row, uint32_t budget_ms);

/* ---- check.c: a failing call is not worth measuring ---- */

_Noreturn void bench_fail(const char *what);
void bench_must(memguard_status status, const char *what);
void bench_fill(void *to, size_t bytes);
/* Hides from the compiler what happens to the bytes, so that nothing is left out. */
static inline void bench_keep(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }
/* The first and the last 8 bytes: looking at them costs next to nothing and tells wrong bytes. */
static inline uint64_t bench_fingerprint(const void *bytes, size_t size) {
    uint64_t first, last;
    memcpy(&first, bytes, sizeof first);
    memcpy(&last, (const unsigned char *)bytes + size - sizeof last, sizeof last);
    return first ^ (last << 1 | last >> 63);
}

/* ---- report.c ---- */

void bench_print_head(const memguard_report *report, bool quick);
void bench_print_group(const char *title);
void bench_print_row(const struct bench_row *row, const struct bench_result *result);
void bench_json_head(FILE *json, const memguard_report *report, bool quick);
void bench_json_row(FILE *json, const struct bench_row *row, const struct bench_result *result);

/* ---- rows.c ---- */

/* A row without `ours` is a heading. Rows whose peer is not built in are left out. */
extern const struct bench_row bench_rows[];
extern const size_t bench_row_count;

/* ---- ours.c, threads.c ---- */

struct bench_secret {
    memguard_secret secret;
    uint64_t expected, wrong;
};

void bench_ours_start(void);
void bench_ours_stop(void);
void bench_ours_report(memguard_report *report);
void bench_run_use(size_t n, void *arg);
void bench_run_copy_closed(size_t n, void *arg);
extern struct bench_secret bench_sealed_small;

extern const struct bench_op bench_use_small, bench_use_other, bench_use_again, bench_use_medium, bench_use_large,
    bench_use_strict, bench_use_first;
extern const struct bench_op bench_take_small, bench_take_medium, bench_take_large, bench_take_destroy;
extern const struct bench_op bench_read_sealed, bench_read_closed, bench_read_mapped, bench_read_compact,
    bench_write_closed;
extern const struct bench_op bench_create_closed, bench_copy_closed, bench_touch_closed;
extern const struct bench_op bench_create_compact, bench_copy_compact, bench_create_mapped, bench_vault;
extern const struct bench_op bench_use_two, bench_use_two_same, bench_open_two;
extern const struct bench_op bench_use_busy, bench_copy_closed_busy;

/* ---- peers.c; those marked with ? only where the library was found, else without `run` ---- */

void bench_peers_start(void);
void bench_run_sodium_malloc(size_t n, void *arg);
void bench_run_flip(size_t n, void *arg);

extern const struct bench_op bench_open_small, bench_open_other, bench_open_medium, bench_open_large;
extern const struct bench_op bench_seal_small, bench_seal_medium, bench_seal_large, bench_seal_by_hand;
extern const struct bench_op bench_sodium_malloc, bench_flip, bench_sodium_malloc_busy, bench_flip_busy;
extern const struct bench_op bench_gcrypt /* ? */, bench_openssl /* ? */;

/* ---- streams.c ---- */

extern const struct bench_op bench_stream, bench_boxes;

/* ---- threads.c: hooks for operations that have a second thread beside them ---- */

void bench_busy_start(size_t n, void *arg);
void bench_busy_stop(size_t n, void *arg);

#endif
