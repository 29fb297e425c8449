/* memguard-scale: what many secrets cost: memory, time at random, how many are open at once under a limit, what a vault costs that nobody uses,
 * and how often calls go into the kernel. Usage: memguard-scale [--quick | --tiny] [--json FILE] [--list] [GROUP...]
 *   --quick: with 1,000,000 secrets instead of 10,000,000 (which take 1.5 GiB). --json appends to FILE. */
#define _GNU_SOURCE
#include "scale.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct scale_setup full = {10000000, 2000, 10000}, quick = {1000000, 400, 3000}, tiny = {20000, 10, 200};

struct row {
    const char *id, *title, *unit;
    double bar, aim;
    enum { NO_BAR, AT_MOST, AT_LEAST } sense;
};

struct measurement {
    const char *id, *group;
    scale_fn *run;
    bool idle; /* sleeps most of the time: beside the other idle ones */
    struct row rows[SCALE_VALUES];
};

static const struct measurement measurements[] = {
    {"many",
     "many sealed secrets",
     scale_many,
     false,
     {{"memory", "memory for a sealed secret, all told", "B", 80, 64, AT_MOST},
      {"make", "making one", "ns", 0, 0, NO_BAR},
      {"random", "use at random, more than among 1,000", "ns", 400, 300, AT_MOST},
      {"random_all", "use at random among all", "ns", 0, 0, NO_BAR},
      {"batches", "use at random, announced in groups of 16", "ns", 260, 200, AT_MOST}}},
    {"open_compact",
     "open at once under a limit of lockable memory",
     scale_open_compact,
     false,
     {{"open_compact", "COMPACT open at once under 8 MiB", "", 80000, 100000, AT_LEAST}}},
    {"open_guarded",
     "open at once under a limit of lockable memory",
     scale_open_guarded,
     false,
     {{"open_guarded", "views open at once under 8 MiB", "", 1900, 1900, AT_LEAST}}},
    {"open_few",
     "open at once under a limit of lockable memory",
     scale_open_few,
     false,
     {{"open_few", "COMPACT open at once under 64 KiB", "", 200, 500, AT_LEAST}}},
    {"calls",
     "calls into the kernel in one call",
     scale_calls,
     false,
     {{"calls_use", "calls: use, lease running", "", 0, 0, AT_MOST},
      {"calls_compact", "calls: COMPACT copy, READ, destroy", "", 0, 0, AT_MOST},
      {"calls_take", "calls: take, sealed", "", 0, 0, AT_MOST},
      {"calls_destroy", "calls: destroy, sealed", "", 0, 0, NO_BAR},
      {"calls_read_sealed", "calls: READ view, sealed", "", 0, 0, NO_BAR},
      {"calls_write_sealed", "calls: WRITE view, sealed", "", 0, 0, NO_BAR},
      {"calls_closed_copy", "calls: CLOSED copy, bytes written", "", 1, 1, AT_MOST},
      {"calls_closed_read", "calls: CLOSED READ view", "", 0, 0, NO_BAR},
      {"calls_closed_use", "calls: CLOSED use", "", 0, 0, NO_BAR},
      {"calls_closed_destroy", "calls: CLOSED destroy", "", 2, 1, AT_MOST},
      {"calls_unopened", "calls: CLOSED create, destroy, unopened", "", 0, 0, NO_BAR},
      {"calls_mapped_copy", "calls: MAPPED copy", "", 0, 0, NO_BAR},
      {"calls_mapped_read", "calls: MAPPED READ view, use", "", 0, 0, NO_BAR},
      {"calls_mapped_destroy", "calls: MAPPED destroy", "", 0, 0, NO_BAR}}},
    {"idle_full",
     "a vault that nobody uses",
     scale_idle_full,
     true,
     {{"idle_cpu", "idle with secrets: processor time", "%", 0.03, 0.01, AT_MOST},
      {"idle_wakes", "idle with secrets: wake-ups", "/s", 0, 0, NO_BAR}}},
    {"idle_empty",
     "a vault that nobody uses",
     scale_idle_empty,
     true,
     {{"idle_empty_cpu", "idle, no secrets: processor time", "%", 0, 0, NO_BAR},
      {"idle_empty_wakes", "idle, no secrets: wake-ups", "/s", 0, 0, AT_MOST}}},
};
enum { MEASUREMENTS = sizeof measurements / sizeof measurements[0] };

/* ---- what all need ---- */

memguard_vault *scale_vault(void) {
    memguard_vault *vault = NULL;
    bench_must(memguard_vault_create(NULL, &vault), "vault_create");
    return vault;
}

void scale_fill(unsigned char bytes[SMALL], uint64_t number) {
    const uint64_t check = ~number;
    bench_fill(bytes, SMALL);
    memcpy(bytes, &number, sizeof number);
    memcpy(bytes + sizeof number, &check, sizeof check);
}

int scale_look(const void *bytes, size_t size, void *right) {
    uint64_t both[2];
    memcpy(both, bytes, sizeof both);
    if (size == SMALL && both[0] == ~both[1]) *(size_t *)right += 1;
    return 0;
}

/* ---- children ---- */

struct answer {
    double values[SCALE_VALUES];
    char why[80];
};
struct running {
    pid_t child;
    int from;
};

static _Noreturn void run_in_child(const struct measurement *what, const struct scale_setup *setup, int to) {
    struct answer answer;
    memset(&answer, 0, sizeof answer);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char *why = what->run(setup, answer.values);
    if (why != NULL) snprintf(answer.why, sizeof answer.why, "%s", why);
    _exit(write(to, &answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
}

static struct running start(const struct measurement *what, const struct scale_setup *setup) {
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) bench_fail("pipe");
    const pid_t child = fork();
    if (child < 0) bench_fail("fork");
    if (child == 0) run_in_child(what, setup, ends[1]);
    (void)close(ends[1]);
    return (struct running){child, ends[0]};
}

static struct answer finish(struct running running) {
    struct answer answer;
    int status = 0;
    memset(&answer, 0, sizeof answer);
    const ssize_t got = read(running.from, &answer, sizeof answer);
    (void)close(running.from);
    if (waitpid(running.child, &status, 0) != running.child || status != 0 || got != (ssize_t)sizeof answer)
        bench_fail("a measurement's process");
    return answer;
}

/* ---- the table ---- */

static void report(const struct measurement *what, const struct answer *answer, FILE *json) {
    for (size_t i = 0; i < SCALE_VALUES && what->rows[i].id != NULL; i++) {
        const struct row *row = &what->rows[i];
        const struct bench_value value = {.id = row->id,
                                          .group = what->group,
                                          .title = row->title,
                                          .unit = row->unit,
                                          .value = answer->values[i],
                                          .bar = row->bar,
                                          .aim = row->aim,
                                          .has_bar = row->sense != NO_BAR,
                                          .at_least = row->sense == AT_LEAST};
        if (answer->why[0] != '\0') {
            bench_print_left_out(row->title, answer->why);
        } else if (answer->values[i] == SCALE_NONE) {
            bench_print_left_out(row->title, "the library has no such call");
        } else {
            bench_print_value(&value);
            if (json != NULL) bench_json_value(json, &value);
        }
    }
}

/* How many there were is part of the first group's title. */
static void print_group(const struct measurement *what, const struct scale_setup *setup) {
    static const char *last = "";
    char title[80];
    if (strcmp(last, what->group) == 0) return;
    last = what->group;
    snprintf(title, sizeof title, what->run == scale_many ? "%s: %zu" : "%s", what->group, setup->many);
    bench_print_group(title);
}

struct choice {
    bool is_quick, list;
    const struct scale_setup *setup;
    const char *json;
    char **only;
    int only_count;
};

static bool is_wanted(const struct choice *choice, const struct measurement *what) {
    for (int i = 0; i < choice->only_count; i++)
        if (strcmp(choice->only[i], what->id) == 0) return true;
    return choice->only_count == 0;
}

static void measure(const struct choice *choice, FILE *json) {
    struct running idle[MEASUREMENTS];
    for (size_t i = 0; i < MEASUREMENTS; i++) {
        if (measurements[i].idle || !is_wanted(choice, &measurements[i])) continue;
        const struct answer answer = finish(start(&measurements[i], choice->setup));
        print_group(&measurements[i], choice->setup);
        report(&measurements[i], &answer, json);
    }
    for (size_t i = 0; i < MEASUREMENTS; i++)
        if (measurements[i].idle && is_wanted(choice, &measurements[i]))
            idle[i] = start(&measurements[i], choice->setup);
    for (size_t i = 0; i < MEASUREMENTS; i++) {
        if (!measurements[i].idle || !is_wanted(choice, &measurements[i])) continue;
        const struct answer answer = finish(idle[i]);
        print_group(&measurements[i], choice->setup);
        report(&measurements[i], &answer, json);
    }
}

static _Noreturn void usage(int code) {
    fprintf(code == 0 ? stdout : stderr,
            "usage: memguard-scale [--quick | --tiny] [--json FILE] [--list] [GROUP...]\n");
    exit(code);
}

static struct choice parse(int argc, char **argv) {
    struct choice choice = {.setup = &full};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            choice.is_quick = true, choice.setup = &quick;
        else if (strcmp(argv[i], "--tiny") == 0)
            choice.is_quick = true, choice.setup = &tiny;
        else if (strcmp(argv[i], "--list") == 0)
            choice.list = true;
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            choice.json = argv[++i];
        else
            usage(strcmp(argv[i], "--help") == 0 ? 0 : 2);
    }
    choice.only = argv + i;
    choice.only_count = argc - i;
    return choice;
}

static void know_names(const struct choice *choice) {
    for (int i = 0; i < choice->only_count; i++) {
        bool known = false;
        for (size_t m = 0; m < MEASUREMENTS; m++)
            known |= strcmp(measurements[m].id, choice->only[i]) == 0;
        if (!known) usage(2);
    }
}

int main(int argc, char **argv) {
    const struct choice choice = parse(argc, argv);
    FILE *json = NULL;
    know_names(&choice);
    if (choice.list) {
        for (size_t i = 0; i < MEASUREMENTS; i++)
            puts(measurements[i].id);
        return 0;
    }
    if (choice.json != NULL && (json = fopen(choice.json, "a")) == NULL)
        bench_fail("the file for --json cannot be written");
    printf("memguard-scale: %zu secrets, idle for %u ms\n", choice.setup->many, choice.setup->idle_ms);
    if (json != NULL)
        fprintf(json, "{\"run\":\"memguard-scale\",\"many\":%zu,\"idle_ms\":%u,\"quick\":%s}\n", choice.setup->many,
                choice.setup->idle_ms, choice.is_quick ? "true" : "false");
    measure(&choice, json);
    bench_print_end();
    if (json != NULL && fclose(json) != 0) bench_fail("the file for --json could not be written to its end");
    return 0;
}
