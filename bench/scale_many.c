/* Memory for a sealed secret, and the time of use at random among many. Memory is what the process has resident (statm) more than before; the
 * handles, which are the host's, were there before. Use goes through the secrets in an order that is shuffled with a fixed seed, each time on
 * from where the last round ended, so that no secret is met twice and the host itself misses no cache. */
#include "scale.h"

#include <stdlib.h>
#include <unistd.h>

enum { FEW = 1000, ROUND = 1000, GROUP = 16, MOST_ROUNDS = 2000 };

static memguard_secret *handles, few[FEW];

static size_t resident_bytes(void) {
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &all, &resident) != 2) bench_fail("statm");
    (void)fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* splitmix64: public domain, Sebastiano Vigna. Any even spread will do. */
static uint64_t next_random(void) {
    static uint64_t state = 20240229;
    uint64_t z = (state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static void shuffle(memguard_secret *secrets, size_t count) {
    for (size_t i = count; i > 1; i--) {
        const size_t other = (size_t)(next_random() % i);
        const memguard_secret held = secrets[i - 1];
        secrets[i - 1] = secrets[other];
        secrets[other] = held;
    }
}

static void make_all(memguard_vault *vault, size_t count) {
    unsigned char bytes[SMALL];
    for (size_t i = 0; i < count; i++) {
        scale_fill(bytes, i);
        bench_must(memguard_secret_take(vault, bytes, sizeof bytes, MEMGUARD_SEALED, &handles[i]), "secret_take");
    }
}

static void use_all(const memguard_secret *secrets, size_t count) {
    size_t right = 0;
    for (size_t i = 0; i < count; i++)
        bench_must(memguard_secret_use(secrets[i], scale_look, &right, NULL), "secret_use");
    if (right != count) bench_fail("the bytes shown are not those that were put in");
}

/* In groups: all of one are announced first, so that the processor waits for memory once for all of them. */
static void use_announced(const memguard_secret *secrets, size_t count) {
    for (size_t first = 0; first < count; first += GROUP) {
        const size_t some = count - first < GROUP ? count - first : GROUP;
        for (size_t i = 0; i < some; i++)
            memguard_secret_prefetch(secrets[first + i]);
        use_all(secrets + first, some);
    }
}

static double time_of(void (*how)(const memguard_secret *, size_t), const memguard_secret *secrets) {
    const uint64_t start = bench_now_ns();
    how(secrets, ROUND);
    return (double)(bench_now_ns() - start) / ROUND;
}

/* The first uses among few, which bring them back, are not counted. */
static void measure_random(size_t count, unsigned rounds, double values[SCALE_VALUES]) {
    static double more[MOST_ROUNDS], all[MOST_ROUNDS], batches[MOST_ROUNDS];
    for (size_t i = 0, at = 0; i < rounds; i++, at = (at + 2 * (size_t)ROUND) % (count - 2 * (size_t)ROUND)) {
        all[i] = time_of(use_all, handles + at);
        batches[i] = time_of(use_announced, handles + at + ROUND);
        use_all(few, FEW);
        more[i] = all[i] - time_of(use_all, few);
    }
    values[2] = bench_quantile(more, rounds, 0.5);
    values[3] = bench_quantile(all, rounds, 0.5);
    values[4] = bench_quantile(batches, rounds, 0.5);
}

const char *scale_many(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    memguard_vault *vault = scale_vault();
    handles = bench_malloc(setup->many * sizeof *handles);
    memset(handles, 1, setup->many * sizeof *handles);
    const size_t before = resident_bytes();
    const uint64_t start = bench_now_ns();
    make_all(vault, setup->many);
    values[1] = (double)(bench_now_ns() - start) / (double)setup->many;
    values[0] = (double)(resident_bytes() - before) / (double)setup->many;
    memcpy(few, handles, sizeof few);
    shuffle(few, FEW);
    shuffle(handles, setup->many);
    measure_random(setup->many, setup->rounds, values);
    return NULL;
}
