/* How two operations are compared: in rounds of four batches, ours and peer in turn (A B A B, in the next round B A B A), so that what
 * disturbs the machine disturbs both. Each round gives one ratio; the median of all rounds counts. Rounds come in passes, with those of
 * all other rows between them, so that one bad second does not fall on one row; how far the medians of the passes lie apart
 * tells how much a figure is to be believed. Rounds in which the kernel took a processor away from us, as a busy machine does, are not
 * counted, as long as there is time for others. The number of calls in a batch is found first, by doubling. */
#define _GNU_SOURCE
#include "bench.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
    BATCH_US = 100,
    LEAST_ROUNDS = 3,
    MOST_ROUNDS = 701,
    LONG_ROUND_MS = 20,
    QUICK_MS = 100,
    FILTERED_US = 2000,
    MOST_CALLS = 1 << 20
};

struct bench_state {
    const struct bench_op *ops[2]; /* ours, peer or null */
    size_t calls[2];
    size_t passes, count;
    bool filtered;               /* long batches cannot hope for a processor that nobody else wants */
    double medians[MOST_PASSES]; /* of the ratio, or of our time where there is no peer */
    double ns[2][MOST_PASSES * MOST_ROUNDS], ratios[MOST_PASSES * MOST_ROUNDS];
};

uint64_t bench_now_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) bench_fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static long taken_away; /* processors, in timed parts */

static long involuntary_switches(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) bench_fail("getrusage");
    return usage.ru_nivcsw;
}

static uint64_t time_batch(const struct bench_op *op, size_t n) {
    if (op->before != NULL) op->before(n, op->arg);
    const long switches = involuntary_switches();
    const uint64_t start = bench_now_ns();
    op->run(n, op->arg);
    const uint64_t end = bench_now_ns();
    taken_away += involuntary_switches() - switches;
    if (op->after != NULL) op->after(n, op->arg);
    return end - start;
}

static size_t clamp(double value, size_t least, size_t most) {
    if (value < 1 || value < (double)least) return least != 0 ? least : 1;
    return value < (double)most ? (size_t)value : most;
}

/* How many calls take about as long as a batch should. */
static size_t calls_for(const struct bench_op *op, uint64_t batch_ns) {
    const size_t most = op->most != 0 ? op->most : MOST_CALLS, least = op->two && op->least < 2 ? 2 : op->least;
    size_t n = least != 0 ? least : 1;
    if (time_batch(op, n) > 4 * batch_ns) return n;
    for (;;) {
        uint64_t took = time_batch(op, n);
        const uint64_t again = time_batch(op, n);
        if (again < took) took = again;
        if (took >= batch_ns / 2 || n * 2 > most) {
            const double wanted = (double)n * (double)batch_ns / (double)(took != 0 ? took : 1);
            n = clamp(wanted, least, most);
            return op->two ? n & ~(size_t)1 : n;
        }
        n *= 2;
    }
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted_quantile(const double *values, size_t count, double which) {
    return values[(size_t)(which * (double)(count - 1) + 0.5)];
}

double bench_quantile(double *values, size_t count, double which) {
    qsort(values, count, sizeof(double), compare);
    return sorted_quantile(values, count, which);
}

static void run_round(const struct bench_state *state, size_t round, double each[2]) {
    each[0] = each[1] = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t which = (i + round) & 1;
        if (state->ops[which] == NULL) continue;
        each[which] += (double)time_batch(state->ops[which], state->calls[which]);
    }
    for (size_t which = 0; which < 2; which++)
        if (state->ops[which] != NULL) each[which] /= 2.0 * (double)state->calls[which];
}

static void note_round(struct bench_state *state, bool filtered) {
    double each[2];
    taken_away = 0;
    run_round(state, state->count, each);
    if (filtered && taken_away != 0) return;
    state->ns[0][state->count] = each[0];
    state->ns[1][state->count] = each[1];
    state->ratios[state->count] = state->ops[1] != NULL ? each[0] / each[1] : 0;
    state->count++;
}

/* In a quick run, of rounds that take long, one may be all. When time is over, any round will do. */
static size_t run_rounds(struct bench_state *state, double budget_ms) {
    for (size_t which = 0; which < 2; which++) /* what others displaced meanwhile is there again */
        if (state->ops[which] != NULL) time_batch(state->ops[which], state->ops[which]->two ? 2 : 1);
    const uint64_t start = bench_now_ns();
    const size_t first = state->count;
    size_t least = LEAST_ROUNDS, kept = 0;
    for (double spent_ms = 0; kept < MOST_ROUNDS && (spent_ms < budget_ms || kept < least);
         kept = state->count - first) {
        const double before_ms = spent_ms;
        note_round(state, state->filtered && spent_ms < budget_ms);
        spent_ms = (double)(bench_now_ns() - start) / 1e6;
        if (budget_ms < QUICK_MS && spent_ms - before_ms > LONG_ROUND_MS) least = 1;
    }
    return kept;
}

static const char *start_op(const struct bench_op *op) {
    if (op == NULL) return NULL;
    if (op->run == NULL) return op->name;
    return op->start != NULL ? op->start(op->arg) : NULL;
}

struct bench_state *bench_begin(const struct bench_row *row, const char **why) {
    if ((*why = start_op(row->ours)) != NULL || (*why = start_op(row->peer)) != NULL) return NULL;
    struct bench_state *state = bench_malloc(sizeof *state);
    state->ops[0] = row->ours;
    state->ops[1] = row->peer;
    state->passes = state->count = 0;
    state->filtered = row->batch_us <= FILTERED_US;
    const uint64_t batch_ns = (row->batch_us != 0 ? row->batch_us : BATCH_US) * (uint64_t)1000;
    for (size_t which = 0; which < 2; which++)
        state->calls[which] = state->ops[which] != NULL ? calls_for(state->ops[which], batch_ns) : 0;
    return state;
}

void bench_pass(struct bench_state *state, double budget_ms) {
    double values[MOST_ROUNDS];
    const size_t first = state->count, count = run_rounds(state, budget_ms);
    memcpy(values, (state->ops[1] != NULL ? state->ratios : state->ns[0]) + first, count * sizeof(double));
    state->medians[state->passes++] = bench_quantile(values, count, 0.5);
}

struct bench_result bench_end(struct bench_state *state) {
    struct bench_result result = {.rounds = state->count};
    result.ratio = bench_quantile(state->ratios, state->count, 0.5);
    result.ratio_p10 = sorted_quantile(state->ratios, state->count, 0.1);
    result.ratio_p90 = sorted_quantile(state->ratios, state->count, 0.9);
    const double threads[2] = {state->ops[0]->two ? 2 : 1, state->ops[1] != NULL && state->ops[1]->two ? 2 : 1};
    result.ours_ns = bench_quantile(state->ns[0], state->count, 0.5) * threads[0];
    result.ours_p10 = sorted_quantile(state->ns[0], state->count, 0.1) * threads[0];
    result.ours_p90 = sorted_quantile(state->ns[0], state->count, 0.9) * threads[0];
    result.peer_ns = bench_quantile(state->ns[1], state->count, 0.5) * threads[1];
    result.low = bench_quantile(state->medians, state->passes, 0);
    result.high = sorted_quantile(state->medians, state->passes, 1);
    if (state->ops[1] == NULL) result.low *= threads[0], result.high *= threads[0];
    free(state);
    return result;
}
