/* memguard-bench: how long memguard's calls take next to those of others, in one process and in turn.
 * Usage: memguard-bench [--quick] [--tiny] [--json FILE] [--list] [ROW...]
 *   ROW: measures only these rows; --list names them ("latency": how single calls are spread). --quick: under half a minute for all. --tiny: just
 *   enough to see that everything runs; its figures mean nothing. */
#include "bench.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>
#include <unistd.h>

static const char LATENCY[] = "latency";

/* How long rows are measured: in all passes together, in milliseconds. No pass is begun that would not end within `most_ms`: on a machine
 * that is busy there are fewer. */
struct pace {
    size_t passes;
    double row_ms, brief_ms, latency_ms, most_ms;
};
static const struct pace full = {5, 2500, 1000, 20000, 420000}, quick = {3, 150, 30, 1500, 35000},
                         tiny = {2, 2, 2, 20, 1e9};

struct choice {
    bool is_quick, list;
    const struct pace *pace;
    const char *json;
    char **only;
    int only_count;
};

static _Noreturn void usage(int code) {
    fprintf(code == 0 ? stdout : stderr, "usage: memguard-bench [--quick | --tiny] [--json FILE] [--list] [ROW...]\n");
    exit(code);
}

static struct choice parse(int argc, char **argv) {
    struct choice choice = {.pace = &full};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            choice.is_quick = true, choice.pace = &quick;
        else if (strcmp(argv[i], "--tiny") == 0)
            choice.is_quick = true, choice.pace = &tiny;
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

static bool is_wanted(const struct choice *choice, const char *id) {
    for (int i = 0; i < choice->only_count; i++)
        if (strcmp(choice->only[i], id) == 0) return true;
    return choice->only_count == 0;
}

static void know_names(const struct choice *choice, const struct bench_row *rows, size_t count) {
    for (int i = 0; i < choice->only_count; i++) {
        bool known = strcmp(choice->only[i], LATENCY) == 0;
        for (size_t r = 0; r < count; r++)
            known |= rows[r].id != NULL && strcmp(rows[r].id, choice->only[i]) == 0;
        if (!known) usage(2);
    }
}

static void list_rows(const struct bench_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (rows[i].id != NULL) printf("%s\n", rows[i].id);
    puts(LATENCY);
}

/* On the way, for people who wait. */
static void show_progress(size_t pass, size_t passes, const char *title) {
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\rpass %zu of %zu: %-40s\r", pass + 1, passes, title);
}

static double elapsed_ms(uint64_t since) { return (double)(bench_now_ns() - since) / 1e6; }

static void measure_pass(const struct choice *choice, const struct bench_row *rows, size_t count,
                         struct bench_state **states, size_t pass) {
    const struct pace *pace = choice->pace;
    for (size_t i = 0; i < count; i++) {
        if (states[i] == NULL) continue;
        show_progress(pass, pace->passes, rows[i].title);
        bench_pass(states[i], (rows[i].brief ? pace->brief_ms : pace->row_ms) / (double)pace->passes);
    }
}

static void measure_rows(const struct choice *choice, const struct bench_row *rows, size_t count,
                         struct bench_state **states, const char **why) {
    const uint64_t start = bench_now_ns();
    double last_ms = 0;
    for (size_t i = 0; i < count; i++)
        if (rows[i].id != NULL && is_wanted(choice, rows[i].id)) states[i] = bench_begin(&rows[i], &why[i]);
    for (size_t pass = 0; pass < choice->pace->passes; pass++) {
        const uint64_t begun = bench_now_ns();
        if (pass != 0 && elapsed_ms(start) + last_ms > choice->pace->most_ms) break;
        measure_pass(choice, rows, count, states, pass);
        last_ms = elapsed_ms(begun);
    }
}

static void report_row(const struct bench_row *row, const char *group, struct bench_state *state, double *brief,
                       FILE *json) {
    const struct bench_result result = bench_end(state);
    if (row->brief)
        *brief = result.ratio;
    else
        bench_print_row(row, group, &result);
    if (json != NULL) bench_json_row(json, row, group, &result);
}

/* Rows of sizes are the last ones, and printed as a table of their own. */
static void report_rows(const struct bench_row *rows, size_t count, struct bench_state **states, const char **why,
                        FILE *json) {
    double brief[SIZE_ROWS] = {0}, none = 0;
    const char *group = "", *printed = "";
    bool any_brief = false;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].id == NULL) group = rows[i].title;
        if (states[i] == NULL && why[i] == NULL) continue;
        any_brief |= rows[i].brief;
        if (printed != group && (!rows[i].brief || states[i] == NULL)) bench_print_group(printed = group);
        if (states[i] == NULL)
            bench_print_left_out(rows[i].title, why[i]);
        else
            report_row(&rows[i], group, states[i], rows[i].brief ? &brief[i - (count - SIZE_ROWS)] : &none, json);
    }
    if (any_brief) bench_print_sizes(brief);
}

static void measure_all(const struct choice *choice, const struct bench_row *rows, size_t count, FILE *json) {
    memguard_report report = {.size = sizeof report};
    bench_ours_report(&report);
    bench_print_head("memguard-bench", &report, choice->is_quick);
    if (json != NULL) bench_json_head(json, "memguard-bench", &report, choice->is_quick);
    struct bench_state **states = calloc(count, sizeof(struct bench_state *));
    const char **why = calloc(count, sizeof(char *));
    if (states == NULL || why == NULL) bench_fail("calloc");
    measure_rows(choice, rows, count, states, why);
    report_rows(rows, count, states, why, json);
    if (is_wanted(choice, LATENCY)) bench_latency(json, choice->pace->latency_ms);
    bench_print_end();
    free(states);
    free(why);
}

int main(int argc, char **argv) {
    const struct choice choice = parse(argc, argv);
    size_t count = 0;
    const struct bench_row *rows = bench_rows(&count);
    FILE *json = NULL;
    know_names(&choice, rows, count);
    if (choice.list) {
        list_rows(rows, count);
        return 0;
    }
    if (choice.json != NULL && (json = fopen(choice.json, "w")) == NULL)
        bench_fail("the file for --json cannot be written");
#ifdef __GLIBC__
    /* Memory that malloc has given back to the kernel costs a page fault per page to get again; whether it does depends on what was
     * freed before. Streams keep 64 MiB there. */
    (void)mallopt(M_TRIM_THRESHOLD, 512 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 512 << 10);
#endif
    bench_peers_start();
    bench_ours_start();
    measure_all(&choice, rows, count, json);
    bench_ours_stop();
    if (json != NULL && fclose(json) != 0) bench_fail("the file for --json could not be written to its end");
    return 0;
}
