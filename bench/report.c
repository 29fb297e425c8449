/* What is printed: a table for people, and JSON lines for programs: one object a line, flat, first one about the run. scripts/bench-table and
 * scripts/bench-plots read them. */
#define _GNU_SOURCE
#include "bench.h"

#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

static unsigned met, missed, left_out;

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

/* "model name : X" of the first processor, without what a JSON string could not hold. */
static const char *processor_name(void) {
    static char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    const char *name = "unknown";
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        for (char *at = colon; *at != '\0'; at++)
            if (*at == '"' || *at == '\\') *at = ' ';
        name = colon + 1 + strspn(colon + 1, " ");
        break;
    }
    if (file != NULL) (void)fclose(file);
    return name;
}

static const char *kernel(void) {
    static struct utsname name;
    if (uname(&name) != 0) return "unknown";
    name.release[strcspn(name.release, "-+")] = '\0';
    return name.release;
}

/* ---- the table ---- */

void bench_print_head(const char *program, const memguard_report *report, bool quick) {
    printf("%s: memguard %s, %s pages, %ld x %s, Linux %s, load %.1f%s\n", program, memguard_version(),
           backend_name(report->backend), processors(), processor_name(), kernel(), load(), quick ? ", quick" : "");
    printf("%-40s %10s  %-10s %-10s %-5s %-18s %-18s\n", "", "", "bar", "aim", "", "rounds, 10-90 %", "passes");
}

void bench_print_group(const char *title) { printf("\n%s\n", title); }

void bench_print_left_out(const char *title, const char *why) {
    printf("  %-38s left out: %s\n", title, why);
    left_out++;
}

static int digits(double value, const char *unit) {
    if (value >= 1000 || (*unit == '\0' && value == (double)(long)value)) return 0;
    return value >= 100 ? 1 : value >= 10 ? 2 : 3;
}

static const char *number(char text[24], double value, const char *unit) {
    const char *space = *unit == '\0' || *unit == 'x' ? "" : " ";
    if (strcmp(unit, "ns") == 0 && value >= 1e6)
        snprintf(text, 24, "%.2f ms", value / 1e6);
    else if (strcmp(unit, "ns") == 0 && value >= 1e4)
        snprintf(text, 24, "%.1f us", value / 1e3);
    else
        snprintf(text, 24, "%.*f%s%s", digits(value, unit), value, space, unit);
    return text;
}

static const char *bar_text(char text[32], const struct bench_value *value, double bar) {
    char plain[24];
    if (!value->has_bar) return "";
    snprintf(text, 32, "%s %s", value->at_least ? ">=" : "<=", number(plain, bar, value->unit));
    return text;
}

static bool is_met(const struct bench_value *value) {
    return value->at_least ? value->value >= value->bar : value->value <= value->bar;
}

static void range(char text[32], double low, double high, const char *unit) {
    text[0] = '\0';
    const bool large = strcmp(unit, "ns") == 0 && high >= 1e4;
    if (high > 0) snprintf(text, 32, large ? "%.0f-%.0f" : high < 0.1 ? "%.4f-%.4f" : "%.3f-%.3f", low, high);
}

static void print_start(const struct bench_value *value) {
    char text[24], bar[32], aim[32], rounds[32], passes[32];
    const char *verdict = "";
    range(rounds, value->p10, value->p90, value->unit);
    range(passes, value->low, value->high, value->unit);
    if (value->has_bar) {
        verdict = is_met(value) ? "ok" : "OVER";
        *(is_met(value) ? &met : &missed) += 1;
    }
    printf("  %-38s %10s  %-10s %-10s %-5s %-18s %-18s", value->title, number(text, value->value, value->unit),
           bar_text(bar, value, value->bar), value->has_bar ? number(aim, value->aim, value->unit) : "", verdict,
           rounds, passes);
}

void bench_print_value(const struct bench_value *value) {
    print_start(value);
    printf("\n");
    fflush(stdout);
}

static double over(double value) { return value > 0 ? 1 / value : 0; }

static struct bench_value value_of(const struct bench_row *row, const char *group, const struct bench_result *result) {
    struct bench_value value = {.id = row->id,
                                .group = group,
                                .title = row->title,
                                .unit = "x",
                                .value = result->ratio,
                                .bar = row->bar,
                                .aim = row->aim,
                                .has_bar = row->bar > 0,
                                .p10 = result->ratio_p10,
                                .p90 = result->ratio_p90,
                                .low = result->low,
                                .high = result->high};
    if (row->kind == BENCH_SPEED) {
        value.at_least = true;
        value.value = over(result->ratio);
        value.p10 = over(result->ratio_p90), value.p90 = over(result->ratio_p10);
        value.low = over(result->high), value.high = over(result->low);
    } else if (row->kind == BENCH_NS || row->peer == NULL) {
        value.unit = "ns";
        value.value = result->ours_ns;
        value.p10 = result->ours_p10, value.p90 = result->ours_p90;
    }
    return value;
}

void bench_print_row(const struct bench_row *row, const char *group, const struct bench_result *result) {
    const struct bench_value value = value_of(row, group, result);
    char ours[24], peer[24];
    print_start(&value);
    if (row->peer != NULL)
        printf(" %11s against %11s %s", number(ours, result->ours_ns, "ns"), number(peer, result->peer_ns, "ns"),
               row->peer->name);
    printf("\n");
    fflush(stdout);
}

void bench_print_end(void) { printf("\n%u bars met, %u missed; %u rows left out\n", met, missed, left_out); }

/* ---- JSON ---- */

void bench_json_head(FILE *json, const char *program, const memguard_report *report, bool quick) {
    fprintf(json,
            "{\"run\":\"%s\",\"memguard\":\"%s\",\"backend\":\"%s\",\"protections\":%u,\"prekey_bytes\":%llu,"
            "\"processors\":%ld,"
            "\"processor\":\"%s\",\"kernel\":\"%s\",\"compiler\":\"%s\",\"load\":%.2f,\"quick\":%s}\n",
            program, memguard_version(), backend_name(report->backend), report->protections,
            (unsigned long long)report->prekey_bytes, processors(), processor_name(), kernel(), __VERSION__, load(),
            quick ? "true" : "false");
}

static void json_start(FILE *json, const struct bench_value *value) {
    fprintf(json, "{\"row\":\"%s\",\"group\":\"%s\",\"title\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"", value->id,
            value->group, value->title, value->value, value->unit);
    if (value->has_bar)
        fprintf(json, ",\"sense\":\"%s\",\"bar\":%.6g,\"aim\":%.6g,\"met\":%s",
                value->at_least ? ">=" : "<=", value->bar, value->aim, is_met(value) ? "true" : "false");
    if (value->high > 0)
        fprintf(json, ",\"p10\":%.6g,\"p90\":%.6g,\"low\":%.6g,\"high\":%.6g", value->p10, value->p90, value->low,
                value->high);
}

void bench_json_value(FILE *json, const struct bench_value *value) {
    json_start(json, value);
    fprintf(json, "}\n");
}

void bench_json_row(FILE *json, const struct bench_row *row, const char *group, const struct bench_result *result) {
    const struct bench_value value = value_of(row, group, result);
    json_start(json, &value);
    fprintf(json, ",\"bytes\":%zu,\"rounds\":%zu,\"ours\":\"%s\",\"ours_ns\":%.6g",
            row->bytes != 0 ? row->bytes : (size_t)SMALL, result->rounds, row->ours->name, result->ours_ns);
    if (row->peer != NULL) fprintf(json, ",\"peer\":\"%s\",\"peer_ns\":%.6g", row->peer->name, result->peer_ns);
    fprintf(json, "}\n");
}
