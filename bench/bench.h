/* bench.h: what the files of the benchmark programs share. An *operation* is a loop of n calls that checks each of them; a *row* sets
 * one of ours beside one of a peer. Ours use the public headers of memguard only.
 * Absolute times depend on the machine and the minute: the ratio of two operations measured in turn is what counts. */
#ifndef MEMGUARD_BENCH_H
#define MEMGUARD_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "memguard.h"

enum { SMALL = 32, MEDIUM = 4096, LARGE = 1 << 20, HUGE_BYTES = 16 << 20, MOST_PASSES = 8, BENCH_APART = 128 };

struct bench_op {
    const char *name; /* without `run`: why it is not here */
    const char *(*start)(void *arg);     /* once, before the first batch; null, or why it cannot run here */
    void (*run)(size_t n, void *arg);    /* timed */
    void (*before)(size_t n, void *arg); /* before each batch, not timed; may be null */
    void (*after)(size_t n, void *arg);  /* after each batch, not timed; may be null */
    void *arg;
    size_t most;  /* calls in a batch; 0: any number */
    size_t least; /* calls in a batch, where waiting for a thread would fool the search for a number */
    bool two;     /* n calls are shared by two threads */
};

/* What the value of a row is, and on which side of the bar it should be. */
enum bench_kind {
    BENCH_RATIO, /* our time to the peer's: at most */
    BENCH_SPEED, /* our speed to the peer's: at least */
    BENCH_NS     /* time of one call, as its thread sees it: at most */
};

struct bench_row {
    const char *id, *title;
    const struct bench_op *ours, *peer; /* no peer: the time alone; neither: the title of a group */
    double bar, aim;                    /* 0: none is set */
    uint32_t batch_us;                  /* 0: the usual length */
    enum bench_kind kind;
    size_t bytes; /* 0: 32 */
    bool brief;   /* one of many of its sort: gets less time */
};

/* Medians over all rounds. The ratio is that of the times per call, taken in each round; for two threads, of the times in which all calls
 * are done. */
struct bench_result {
    double ratio, ratio_p10, ratio_p90;
    double low, high;        /* of the medians of the passes */
    double ours_ns, peer_ns; /* per call, as the calling thread sees it */
    double ours_p10, ours_p90;
    size_t rounds;
};

/* A row being measured, in passes with other rows' between them. */
struct bench_state;

/* ---- measure.c ---- */

uint64_t bench_now_ns(void);
/* Null, and why, where one of the operations cannot run here. */
struct bench_state *bench_begin(const struct bench_row *row, const char **why);
void bench_pass(struct bench_state *state, double budget_ms);
struct bench_result bench_end(struct bench_state *state);
double bench_quantile(double *values, size_t count, double which); /* sorts */

/* ---- check.c: a failing call is not worth measuring ---- */

_Noreturn void bench_fail(const char *what);
_Noreturn void bench_fail_status(memguard_status status, const char *what);
static inline void bench_must(memguard_status status, const char *what) {
    if (__builtin_expect(status != MEMGUARD_OK, 0)) bench_fail_status(status, what);
}
void *bench_malloc(size_t bytes); /* in cache lines of its own */
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

/* ---- report.c: a table for people, JSON lines for programs ---- */

/* One value next to its bar: what a row comes to in the end. */
struct bench_value {
    const char *id, *group, *title, *unit; /* unit: x, ns, B, %, /s or "" for a number of things */
    double value, bar, aim;                /* bar 0 with `has_bar`: none at all */
    bool has_bar, at_least;
    double p10, p90, low, high; /* of rounds, of passes; all 0: not known */
};

void bench_print_head(const char *program, const memguard_report *report, bool quick);
void bench_print_group(const char *title);
void bench_print_value(const struct bench_value *value);
void bench_print_row(const struct bench_row *row, const char *group, const struct bench_result *result);
void bench_print_left_out(const char *title, const char *why);
void bench_print_end(void);
void bench_json_head(FILE *json, const char *program, const memguard_report *report, bool quick);
void bench_json_value(FILE *json, const struct bench_value *value); /* a whole line */
void bench_json_row(FILE *json, const struct bench_row *row, const char *group, const struct bench_result *result);

/* ---- rows.c ---- */

/* The table, with the rows of sizes.c. */
const struct bench_row *bench_rows(size_t *count);

/* ---- sizes.c ---- */

enum { SIZES = 11, SIZE_ROWS = 7 * SIZES };
/* Writes SIZE_ROWS rows. */
void bench_size_rows(struct bench_row *rows);
/* The ratios of these rows as a table of their own; 0: not measured. */
void bench_print_sizes(const double ratios[SIZE_ROWS]);

/* ---- latency.c: how single calls are spread ---- */

void bench_latency(FILE *json, double budget_ms);

/* ---- ours.c ---- */

/* What a thread notes about its own calls lies in cache lines of its own: else two threads would measure us. */
struct bench_secret {
    _Alignas(BENCH_APART) memguard_secret secret;
    uint64_t expected, wrong;
};

/* What is taken in a batch: sources and secrets. */
struct bench_taking {
    size_t bytes, most;
    uint64_t expected;
    unsigned char *sources;
    memguard_secret *taken;
};

void bench_ours_start(void);
void bench_ours_stop(void);
void bench_ours_report(memguard_report *report);
const unsigned char *bench_contents(void); /* HUGE_BYTES of them */
/* Null, or why it could not be made. */
const char *bench_secret_make(struct bench_secret *made, size_t bytes, uint32_t rest);
void bench_run_use(size_t n, void *secret);
void bench_run_read(size_t n, void *secret);
const char *bench_take_start(void *taking);
void bench_take_before(size_t n, void *taking);
void bench_take_run(size_t n, void *taking);
void bench_take_after(size_t n, void *taking);
extern struct bench_secret bench_sealed_small;

extern const struct bench_op bench_use_small, bench_use_other, bench_use_again, bench_use_medium, bench_use_large,
    bench_use_strict, bench_use_first;
extern const struct bench_op bench_take_small, bench_take_other, bench_take_medium, bench_take_large, bench_take_destroy;
extern const struct bench_op bench_read_sealed, bench_read_sealed_other, bench_read_closed, bench_write_closed;
extern const struct bench_op bench_read_mapped, bench_read_mapped_other, bench_read_mapped_again;
extern const struct bench_op bench_read_compact, bench_read_compact_other, bench_read_compact_again;
extern const struct bench_op bench_create_closed, bench_copy_closed, bench_touch_closed;
extern const struct bench_op bench_create_compact, bench_copy_compact, bench_create_mapped, bench_vault;

/* ---- boxes.c: ciphers; `bench_aead_*` only where the library was found, else without `run` ---- */

/* Bytes and their box. Each thread needs its own. */
struct bench_box {
    _Alignas(BENCH_APART) size_t bytes;
    const unsigned char *plain; /* bench_contents */
    unsigned char *sealed, *out;
    void *cipher; /* of a peer */
};

const char *bench_box_start(void *box);
void bench_run_open(size_t n, void *box);
void bench_run_seal(size_t n, void *box);
extern const struct bench_op bench_open_small, bench_open_other, bench_open_medium, bench_open_large;
extern const struct bench_op bench_seal_small, bench_seal_other, bench_seal_medium, bench_seal_large, bench_seal_by_hand;
/* Patterns: `arg` is still to be set, to a box of one's own. ChaCha20-Poly1305, what these libraries have that is nearest. */
extern const struct bench_op bench_aead_openssl /* ? */, bench_aead_gcrypt /* ? */, bench_aead_botan /* ? */;

/* ---- peers.c: memory; those marked with ? only where the library was found, else without `run` ---- */

void bench_peers_start(void);
/* Writes a secret to it and looks at it, as all peers' users would. */
void bench_write_and_look(void *p);
extern const struct bench_op bench_sodium_malloc, bench_flip, bench_flip_other;
extern const struct bench_op bench_gcrypt /* ? */, bench_openssl /* ? */, bench_botan /* ? */;

/* ---- botan.cpp: the one thing for which Botan has no C call ---- */

void *bench_botan_malloc(size_t bytes);
void bench_botan_free(void *p, size_t bytes);

/* ---- streams.c ---- */

extern const struct bench_op bench_stream, bench_boxes;

/* ---- threads.c: operations with a second thread ---- */

extern const struct bench_op bench_use_two, bench_use_two_same, bench_open_two, bench_seal_two, bench_take_two;
extern const struct bench_op bench_mapped_two, bench_mapped_two_same, bench_compact_two, bench_compact_two_same;
extern const struct bench_op bench_copy_closed_two, bench_copy_compact_two, bench_read_sealed_two;
extern const struct bench_op bench_sodium_malloc_two, bench_flip_two;
extern const struct bench_op bench_gcrypt_two /* ? */, bench_openssl_two /* ? */, bench_botan_two /* ? */;
extern const struct bench_op bench_use_busy, bench_open_busy, bench_take_busy, bench_read_compact_busy;
extern const struct bench_op bench_copy_compact_busy, bench_read_sealed_busy, bench_copy_closed_busy;
extern const struct bench_op bench_sodium_malloc_busy, bench_flip_busy;

/* For one made at run time: two operations, each with half of the calls. */
struct bench_two {
    const struct bench_op *here, *there;
};
const char *bench_two_start(void *two);
void bench_two_before(size_t n, void *two);
void bench_two_run(size_t n, void *two);
void bench_two_after(size_t n, void *two);

/* ---- floors.c: the primitives of which the rest is made ---- */

extern const struct bench_op bench_floor_clock, bench_floor_random, bench_floor_call, bench_floor_fence /* ? */;
extern const struct bench_op bench_floor_add, bench_floor_add_other, bench_floor_add_two, bench_floor_add_two_same;
extern const struct bench_op bench_floor_hash, bench_floor_hash_small, bench_floor_copy, bench_floor_expand;
extern const struct bench_op bench_floor_subkey, bench_floor_block, bench_floor_tag, bench_floor_wipe;

#endif
