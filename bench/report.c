/* What is printed: a table for people, and JSON lines (one object per row, after one about the run) for programs. */
#define _GNU_SOURCE
#include "bench.h"

#include <stdlib.h>
#include <unistd.h>

static const char *backend_name(uint32_t backend) {
    static const char *const names[] = {"auto", "secretmem", "locked", "plain"};
    return backend < sizeof names / sizeof names[0] ? names[backend] : "unknown";
}

/* Of the last minute: others who use the machine blur every figure. */
static double load(void) {
    double minutes[1] = {0};
    return getloadavg(minutes, 1) == 1 ? minutes[0] : 0;
}

static long processors(void) { return sysconf(_SC_NPROCESSORS_ONLN); }

void bench_print_head(const memguard_report *report, bool quick) {
    printf("memguard %s, %s pages, %ld processors, load %.1f%s. 32 bytes unless said.\n", memguard_version(),
           backend_name(report->backend), processors(), load(), quick ? ", quick" : "");
    printf("Ratio: our time to the peer's, measured in turn; median of the rounds (10 to 90 %% of them).\n");
    printf("\n%-38s %8s %19s  %-9s %11s %11s  %s\n", "", "ratio", "", "wanted", "ns", "peer's ns", "peer");
}

void bench_print_group(const char *title) { printf("\n%s\n", title); }

static void print_ratio(const struct bench_result *result) {
    char range[32];
    snprintf(range, sizeof range, "(%.3f to %.3f)", result->ratio_p10, result->ratio_p90);
    printf(" %8.3f %19s", result->ratio, range);
}

static void print_wanted(const struct bench_row *row, const struct bench_result *result) {
    if (row->wanted > 0)
        printf("  <= %.2f %s", row->wanted, result->ratio <= row->wanted ? " " : "!");
    else
        printf("  %-9s", "");
}

void bench_print_row(const struct bench_row *row, const struct bench_result *result) {
    printf("  %-36s", row->title);
    if (row->peer != NULL)
        print_ratio(result);
    else
        printf(" %8s %19s", "-", "");
    print_wanted(row, result);
    printf(" %11.1f", result->ours_ns);
    if (row->peer != NULL) printf(" %11.1f  %s", result->peer_ns, row->peer->name);
    printf("\n");
    fflush(stdout);
}

void bench_json_head(FILE *json, const memguard_report *report, bool quick) {
    fprintf(json,
            "{\"memguard\":\"%s\",\"backend\":\"%s\",\"protections\":%u,\"prekey_bytes\":%llu,\"processors\":%ld,"
            "\"load\":%.2f,\"quick\":%s}\n",
            memguard_version(), backend_name(report->backend), report->protections,
            (unsigned long long)report->prekey_bytes, processors(), load(), quick ? "true" : "false");
}

void bench_json_row(FILE *json, const struct bench_row *row, const struct bench_result *result) {
    fprintf(json, "{\"row\":\"%s\",\"title\":\"%s\",\"ours\":\"%s\",\"ours_ns\":%.2f,\"rounds\":%zu", row->id,
            row->title, row->ours->name, result->ours_ns, result->rounds);
    if (row->peer != NULL)
        fprintf(json, ",\"peer\":\"%s\",\"peer_ns\":%.2f,\"ratio\":%.4f,\"ratio_p10\":%.4f,\"ratio_p90\":%.4f",
                row->peer->name, result->peer_ns, result->ratio, result->ratio_p10, result->ratio_p90);
    if (row->wanted > 0) fprintf(json, ",\"wanted\":%.4f", row->wanted);
    fprintf(json, "}\n");
}
