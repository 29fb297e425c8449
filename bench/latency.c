/* How single calls are spread: each is timed alone, between two clock reads (whose own time is part of it, and is shown as a row of its own). The
 * operations take turns of a fraction of a millisecond, so that what disturbs the machine falls on all of them. Leases begin and end meanwhile, as
 * they do in life. */
#include "bench.h"

enum { TURN_NS = 200000, MOST_SAMPLES = 200000 };

static void nothing(size_t n, void *arg) { (void)n, (void)arg; }
static const struct bench_op no_op = {.name = "nothing: two clock reads", .run = nothing};

static const struct {
    const char *id, *title;
    const struct bench_op *op;
} calls[] = {
    {"nothing", "nothing: two clock reads", &no_op},
    {"use", "use, sealed", &bench_use_small},
    {"open", "secretbox_open_easy", &bench_open_small},
    {"take", "take", &bench_take_small},
    {"read_compact", "READ view, COMPACT", &bench_read_compact},
    {"copy_compact", "copy + destroy, COMPACT", &bench_copy_compact},
    {"read_sealed", "READ view, sealed", &bench_read_sealed},
    {"copy_closed", "copy + destroy, CLOSED", &bench_copy_closed},
    {"sodium_malloc", "sodium_malloc + free", &bench_sodium_malloc},
    {"use_strict", "use, STRICT", &bench_use_strict},
};
enum { CALLS = sizeof calls / sizeof calls[0] };

static const double quantiles[] = {0,    0.05, 0.1,   0.25,  0.5,   0.75,   0.9,    0.95,
                                   0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1};
enum { QUANTILES = sizeof quantiles / sizeof quantiles[0] };

static double time_one(const struct bench_op *op) {
    if (op->before != NULL) op->before(1, op->arg);
    const uint64_t start = bench_now_ns();
    op->run(1, op->arg);
    const uint64_t end = bench_now_ns();
    if (op->after != NULL) op->after(1, op->arg);
    return (double)(end - start);
}

static size_t take_turn(const struct bench_op *op, double *samples, size_t count) {
    const uint64_t start = bench_now_ns();
    do
        samples[count++] = time_one(op);
    while (count < MOST_SAMPLES && bench_now_ns() - start < TURN_NS);
    return count;
}

static void sample(double *samples[CALLS], size_t counts[CALLS], double budget_ms) {
    const uint64_t start = bench_now_ns();
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].op->start != NULL) (void)calls[i].op->start(calls[i].op->arg);
    while ((double)(bench_now_ns() - start) < budget_ms * 1e6)
        for (size_t i = 0; i < CALLS; i++)
            if (counts[i] < MOST_SAMPLES) counts[i] = take_turn(calls[i].op, samples[i], counts[i]);
}

static void write_json(FILE *json, size_t which, const double values[QUANTILES], size_t count) {
    for (size_t q = 0; q < QUANTILES; q++)
        fprintf(json, "{\"latency\":\"%s\",\"title\":\"%s\",\"quantile\":%.4f,\"ns\":%.0f,\"calls\":%zu}\n",
                calls[which].id, calls[which].title, quantiles[q], values[q], count);
}

void bench_latency(FILE *json, double budget_ms) {
    static double *samples[CALLS];
    size_t counts[CALLS] = {0};
    for (size_t i = 0; i < CALLS; i++)
        samples[i] = bench_malloc(MOST_SAMPLES * sizeof(double));
    sample(samples, counts, budget_ms);
    printf("\nsingle calls, ns%22s %10s %10s %10s %10s %10s\n", "half", "90 %", "99 %", "99.9 %", "longest", "calls");
    for (size_t i = 0; i < CALLS; i++) {
        double values[QUANTILES];
        for (size_t q = 0; q < QUANTILES; q++)
            values[q] = bench_quantile(samples[i], counts[i], quantiles[q]);
        printf("  %-26s %9.0f %10.0f %10.0f %10.0f %10.0f %10zu\n", calls[i].title, values[4], values[6], values[9],
               values[12], values[QUANTILES - 1], counts[i]);
        if (json != NULL) write_json(json, i, values, counts[i]);
    }
}
