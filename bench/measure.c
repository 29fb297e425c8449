/* How two operations are compared: in rounds of four batches, ours and peer in turn (A B A B, in the next round B A B A), so that what
 * disturbs the machine disturbs both. Each round gives one ratio; the median of all rounds counts. The number of calls in a batch is
 * found first, by doubling. */
#include "bench.h"

#include <stdlib.h>
#include <time.h>

enum { BATCH_US = 100, LEAST_ROUNDS = 15, MOST_ROUNDS = 2001, WARM_UP_ROUNDS = 3, MOST_CALLS = 1 << 20 };

uint64_t bench_now_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) bench_fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static uint64_t time_batch(const struct bench_op *op, size_t n) {
    if (op->before != NULL) op->before(n, op->arg);
    const uint64_t start = bench_now_ns();
    op->run(n, op->arg);
    const uint64_t end = bench_now_ns();
    if (op->after != NULL) op->after(n, op->arg);
    return end - start;
}

static size_t clamp(double value, size_t least, size_t most) {
    if (value < 1 || value < (double)least) return least != 0 ? least : 1;
    return value < (double)most ? (size_t)value : most;
}

/* How many calls take about as long as a batch should. */
static size_t calls_for(const struct bench_op *op, uint64_t batch_ns) {
    const size_t most = op->most != 0 ? op->most : MOST_CALLS;
    size_t n = op->least != 0 ? op->least : 1;
    time_batch(op, n);
    for (;;) {
        uint64_t took = time_batch(op, n);
        const uint64_t again = time_batch(op, n);
        if (again < took) took = again;
        if (took >= batch_ns / 2 || n * 2 > most) {
            const double wanted = (double)n * (double)batch_ns / (double)(took != 0 ? took : 1);
            return clamp(wanted, op->least, most);
        }
        n *= 2;
    }
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, size_t count, double which) {
    return values[(size_t)(which * (double)(count - 1) + 0.5)];
}

struct rounds {
    const struct bench_op *ops[2]; /* ours, peer or null */
    size_t calls[2];
    double *ns[2], *ratios;
};

static void run_round(const struct rounds *rounds, size_t round, double sums[2]) {
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t which = (i + round) & 1;
        if (rounds->ops[which] == NULL) continue;
        sums[which] += (double)time_batch(rounds->ops[which], rounds->calls[which]);
    }
    for (size_t which = 0; which < 2; which++)
        if (rounds->ops[which] != NULL) sums[which] /= 2.0 * (double)rounds->calls[which];
}

static void note_round(struct rounds *rounds, size_t round) {
    double sums[2];
    run_round(rounds, round, sums);
    rounds->ns[0][round] = sums[0];
    rounds->ns[1][round] = sums[1];
    rounds->ratios[round] = rounds->ops[1] != NULL ? sums[0] / sums[1] : 0;
}

static size_t rounds_in(const struct rounds *rounds, uint32_t budget_ms) {
    double sums[2];
    const uint64_t start = bench_now_ns();
    for (size_t i = 0; i < WARM_UP_ROUNDS; i++)
        run_round(rounds, i, sums);
    const double each_ms = (double)(bench_now_ns() - start) / WARM_UP_ROUNDS / 1e6;
    return clamp(budget_ms / (each_ms > 0.001 ? each_ms : 0.001), LEAST_ROUNDS, MOST_ROUNDS);
}

static struct bench_result summary(struct rounds *rounds, size_t count) {
    struct bench_result result = {.rounds = count};
    qsort(rounds->ratios, count, sizeof(double), compare);
    for (size_t which = 0; which < 2; which++)
        qsort(rounds->ns[which], count, sizeof(double), compare);
    result.ratio = quantile(rounds->ratios, count, 0.5);
    result.ratio_p10 = quantile(rounds->ratios, count, 0.1);
    result.ratio_p90 = quantile(rounds->ratios, count, 0.9);
    result.ours_ns = quantile(rounds->ns[0], count, 0.5);
    result.peer_ns = quantile(rounds->ns[1], count, 0.5);
    return result;
}

struct bench_result bench_measure(const struct bench_row *row, uint32_t budget_ms) {
    static double ratios[MOST_ROUNDS], ours[MOST_ROUNDS], peers[MOST_ROUNDS];
    struct rounds rounds = {{row->ours, row->peer}, {0, 0}, {ours, peers}, ratios};
    const uint64_t batch_ns = (row->batch_us != 0 ? row->batch_us : BATCH_US) * (uint64_t)1000;
    for (size_t which = 0; which < 2; which++)
        if (rounds.ops[which] != NULL) rounds.calls[which] = calls_for(rounds.ops[which], batch_ns);
    const size_t count = rounds_in(&rounds, budget_ms);
    for (size_t i = 0; i < count; i++)
        note_round(&rounds, i);
    return summary(&rounds, count);
}
