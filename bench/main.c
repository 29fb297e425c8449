/* memguard-bench: how long memguard's calls take next to those of others, in one process and in turn.
 * Usage: memguard-bench [--quick] [--json FILE] [ROW...]      ROW: measures only these rows; --list names them. */
#include "bench.h"

#include <stdlib.h>

enum { QUICK_MS = 400, FULL_MS = 3000 };

struct choice {
    bool quick, list;
    const char *json;
    char **only;
    int only_count;
};

static _Noreturn void usage(int code) {
    fprintf(code == 0 ? stdout : stderr, "usage: memguard-bench [--quick] [--json FILE] [--list] [ROW...]\n");
    exit(code);
}

static struct choice parse(int argc, char **argv) {
    struct choice choice = {0};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            choice.quick = true;
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

static bool is_wanted(const struct choice *choice, const struct bench_row *row) {
    for (int i = 0; i < choice->only_count; i++)
        if (row->id != NULL && strcmp(choice->only[i], row->id) == 0) return true;
    return choice->only_count == 0;
}

static void know_names(const struct choice *choice) {
    for (int i = 0; i < choice->only_count; i++) {
        bool known = false;
        for (size_t r = 0; r < bench_row_count; r++)
            known |= bench_rows[r].id != NULL && strcmp(bench_rows[r].id, choice->only[i]) == 0;
        if (!known) usage(2);
    }
}

static void list_rows(void) {
    for (size_t i = 0; i < bench_row_count; i++)
        if (bench_rows[i].ours != NULL) printf("%s\n", bench_rows[i].id);
}

static void measure_row(const struct choice *choice, const struct bench_row *row, FILE *json) {
    if (!is_wanted(choice, row)) return;
    if (row->ours == NULL) {
        bench_print_group(row->title);
        return;
    }
    if (row->peer != NULL && row->peer->run == NULL) {
        printf("  %-36s left out: %s\n", row->title, row->peer->name);
        return;
    }
    const struct bench_result result = bench_measure(row, choice->quick ? QUICK_MS : FULL_MS);
    bench_print_row(row, &result);
    if (json != NULL) bench_json_row(json, row, &result);
}

static void measure_all(const struct choice *choice, FILE *json) {
    memguard_report report = {.size = sizeof report};
    bench_ours_report(&report);
    bench_print_head(&report, choice->quick);
    if (json != NULL) bench_json_head(json, &report, choice->quick);
    for (size_t i = 0; i < bench_row_count; i++)
        measure_row(choice, &bench_rows[i], json);
}

int main(int argc, char **argv) {
    const struct choice choice = parse(argc, argv);
    FILE *json = NULL;
    know_names(&choice);
    if (choice.list) {
        list_rows();
        return 0;
    }
    if (choice.json != NULL && (json = fopen(choice.json, "w")) == NULL)
        bench_fail("the file for --json cannot be written");
    bench_peers_start();
    bench_ours_start();
    measure_all(&choice, json);
    bench_ours_stop();
    if (json != NULL && fclose(json) != 0) bench_fail("the file for --json could not be written to its end");
    return 0;
}
