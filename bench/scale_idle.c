/* What a vault costs that nobody uses: processor time of the process, and how often threads other than this one, which sleeps, were woken up. */
#define _GNU_SOURCE
#include "scale.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_MS = 1200, SECRETS = 1000, OPEN_EACH = 16 };

static void sleep_ms(unsigned ms) {
    const struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    if (nanosleep(&time, NULL) != 0) bench_fail("nanosleep");
}

static uint64_t processor_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0) bench_fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static unsigned long waits_of(const char *task) {
    char path[300], line[128];
    unsigned long waits = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "voluntary_ctxt_switches: %lu", &waits) == 1) break;
    (void)fclose(file);
    return waits;
}

/* Each wait of a thread but this one ends in a wake-up. */
static unsigned long wakes(void) {
    unsigned long sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) bench_fail("/proc/self/task");
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;)
        if (task->d_name[0] != '.' && atoi(task->d_name) != (int)getpid()) sum += waits_of(task->d_name);
    (void)closedir(tasks);
    return sum;
}

static void rest_for(unsigned ms, double values[SCALE_VALUES]) {
    sleep_ms(SETTLE_MS);
    const unsigned long woken = wakes();
    const uint64_t start = bench_now_ns(), used = processor_ns();
    sleep_ms(ms);
    const double took_ns = (double)(bench_now_ns() - start), spent_ns = (double)(processor_ns() - used);
    values[0] = 100 * spent_ns / took_ns;
    values[1] = (double)(wakes() - woken) / (took_ns / 1e9);
}

static void make_some(memguard_vault *vault, uint32_t rest, size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned char bytes[SMALL];
        memguard_secret secret = {0};
        size_t right = 0;
        scale_fill(bytes, i);
        bench_must(memguard_secret_take(vault, bytes, sizeof bytes, rest, &secret), "secret_take");
        bench_must(memguard_secret_use(secret, scale_look, &right, NULL), "secret_use");
        if (right != 1) bench_fail("the bytes shown are not those that were put in");
    }
}

const char *scale_idle_full(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    memguard_vault *vault = scale_vault();
    make_some(vault, MEMGUARD_SEALED, SECRETS);
    make_some(vault, MEMGUARD_CLOSED, OPEN_EACH);
    make_some(vault, MEMGUARD_COMPACT, OPEN_EACH);
    rest_for(setup->idle_ms, values);
    return NULL;
}

const char *scale_idle_empty(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    (void)scale_vault();
    rest_for(setup->idle_ms, values);
    return NULL;
}
