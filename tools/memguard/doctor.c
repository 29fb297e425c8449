/* The verb `doctor`: what protects secrets on this machine, and what does not, a fact at a time. This file has the
 * command line and the order of things; doctor_table.c has the checks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "doctor.h"
#include "ui.h"

static const char manual[] = "usage: memguard doctor [--pid N] [--strict] [--require ID,...] [--json]\n"
                             "                       [--root DIR]\n"
                             "       memguard doctor --explain ID | --list\n"
                             "\n"
                             "Tells what protects secrets on this machine and what does not: a line a fact (on\n"
                             "a terminal several), with its id, its state, the value seen, what that means for\n"
                             "secrets, and a fix. Nothing is changed. States:\n"
                             "  good     it protects secrets\n"
                             "  bad      secrets can be lost by it, and there is a fix\n"
                             "  doubt    weaker than it could be, or it depends on programs, or only other\n"
                             "           hardware would change it\n"
                             "  unknown  could not check, and why; never counted as good\n"
                             "\n"
                             "  --pid N           look at process N, too: its limits, rights, environment\n"
                             "                    (names only), descriptors\n"
                             "  --strict          exit code 1 if a fact is bad (doubt and unknown do not\n"
                             "                    count)\n"
                             "  --require ID,...  exit code 1 if one of these facts is not good, or could not\n"
                             "                    be checked\n"
                             "  --json            {\"facts\": [{\"id\", \"group\", \"state\", \"value\", \"meaning\",\n"
                             "                    \"fix\"}, ...]}\n"
                             "  --root DIR        read the files below DIR as if it were /, and try nothing:\n"
                             "                    to look at the /proc, /sys and /boot of another machine, or\n"
                             "                    at fixtures\n"
                             "  --explain ID      what an attacker gains by it, the fix, how to undo the fix,\n"
                             "                    where it is written\n"
                             "  --list            all ids\n"
                             "\n"
                             "exit code: 0 the facts were shown, whatever they are, unless --strict or\n"
                             "             --require say otherwise\n"
                             "           1 --strict: a fact is bad; --require: a fact named is not good; or\n"
                             "             not all could be written\n"
                             "           2 wrong usage, an unknown id, no such process or directory\n";

struct order {
    struct machine machine;
    const char *root, *explain;
    bool strict, json, list;
    bool required[CHECKS_MOST]; /* by place in the table */
};

static int usage(const char *what, const char *word) {
    ui_error("doctor: %s%s (see memguard doctor --help)", what, word);
    return EXIT_USAGE;
}

/* ---- the command line ---- */

static size_t find_check(const char *id, size_t length) {
    size_t i = 0;
    while (i < checks_count && (strlen(checks[i].id) != length || strncmp(checks[i].id, id, length) != 0))
        i++;
    return i;
}

static int take_required(struct order *order, const char *list) {
    while (true) {
        size_t length = strcspn(list, ",");
        size_t i = find_check(list, length);
        if (i == checks_count || i >= CHECKS_MOST) return usage("no such fact: ", list);
        order->required[i] = true;
        if (list[length] == '\0') return EXIT_GOOD;
        list += length + 1;
    }
}

static int take_pid(struct order *order, const char *text) {
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || pid < 1 || pid > INT32_MAX)
        return usage("not a process number: ", text);
    order->machine.pid = (pid_t)pid;
    return EXIT_GOOD;
}

static int take_value(struct order *order, const char *option, const char *value) {
    if (strcmp(option, "--pid") == 0) return take_pid(order, value);
    if (strcmp(option, "--require") == 0) return take_required(order, value);
    if (strcmp(option, "--root") == 0) order->root = value;
    if (strcmp(option, "--explain") == 0) order->explain = value;
    return EXIT_GOOD;
}

static bool *switch_of(struct order *order, const char *word) {
    if (strcmp(word, "--strict") == 0) return &order->strict;
    if (strcmp(word, "--json") == 0) return &order->json;
    return strcmp(word, "--list") == 0 ? &order->list : NULL;
}

/* "--pid 1" or "--pid=1". Moves *i to the last word taken. */
static int take_word(struct order *order, int argc, char **argv, int *i) {
    static const char *const valued[] = {"--pid", "--require", "--root", "--explain"};
    const char *word = argv[*i];
    bool *set = switch_of(order, word);
    if (set != NULL) {
        *set = true;
        return EXIT_GOOD;
    }
    for (size_t k = 0; k < sizeof valued / sizeof valued[0]; k++) {
        size_t length = strlen(valued[k]);
        if (strncmp(word, valued[k], length) != 0) continue;
        if (word[length] == '=') return take_value(order, valued[k], word + length + 1);
        if (word[length] != '\0') continue;
        if (++*i == argc) return usage("a value is missing after ", word);
        return take_value(order, valued[k], argv[*i]);
    }
    return usage("unknown argument: ", word);
}

/* ---- what is looked at ---- */

static int open_machine(struct order *order) {
    struct machine *machine = &order->machine;
    char path[32] = "proc/self";
    machine->fixture = order->root != NULL;
    machine->root = open(machine->fixture ? order->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (machine->root < 0) {
        ui_error("doctor: %s: %s", machine->fixture ? order->root : "/", strerror(errno));
        return EXIT_USAGE;
    }
    if (machine->pid != 0) snprintf(path, sizeof path, "proc/%d", (int)machine->pid);
    machine->process = openat(machine->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (machine->process < 0) machine->process_error = errno;
    if (machine->process < 0 && machine->pid != 0) {
        ui_error("doctor: /%s: %s", path, strerror(errno));
        return EXIT_USAGE;
    }
    return EXIT_GOOD;
}

static void close_machine(const struct machine *machine) {
    if (machine->process >= 0) close(machine->process);
    if (machine->root >= 0) close(machine->root);
}

/* ---- facts ---- */

static void look(const struct machine *machine, const struct check *check, struct fact *fact) {
    memset(fact, 0, sizeof *fact);
    if (check->of_process && machine->pid == 0)
        fact_unknown(fact, "it is about a process: give --pid N");
    else
        check->look(machine, fact);
}

static void show(const struct order *order, size_t i, const struct check **before, const struct fact *fact) {
    if (order->json)
        doctor_json_fact(&checks[i], *before == NULL, fact);
    else
        doctor_print_fact(&checks[i], *before, fact);
    *before = &checks[i];
}

static bool fails(const struct order *order, size_t i, const struct fact *fact) {
    if (order->required[i] && fact->state != FACT_GOOD) {
        ui_error("doctor: required, but %s: %s", fact_state_name(fact->state), checks[i].id);
        return true;
    }
    return order->strict && fact->state == FACT_BAD;
}

static int examine(const struct order *order) {
    const struct check *before = NULL;
    size_t counts[FACT_STATES] = {0};
    struct fact fact;
    int code = EXIT_GOOD;
    if (order->json)
        doctor_json_head(&order->machine);
    else
        doctor_print_head(&order->machine);
    for (size_t i = 0; i < checks_count; i++) {
        if (checks[i].of_process && order->machine.pid == 0 && !order->required[i]) continue;
        look(&order->machine, &checks[i], &fact);
        counts[fact.state]++;
        show(order, i, &before, &fact);
        if (fails(order, i, &fact)) code = EXIT_BAD;
    }
    if (order->json)
        doctor_json_end();
    else
        doctor_print_end(counts);
    return ui_finish(code);
}

/* ---- the verb ---- */

static int list_checks(void) {
    for (size_t i = 0; i < checks_count; i++)
        ui_line("%-21s %-8s %s", checks[i].id, checks[i].group, checks[i].title);
    return ui_finish(EXIT_GOOD);
}

static int explain_check(const char *id) {
    size_t i = find_check(id, strlen(id));
    if (i == checks_count) return usage("no such fact: ", id);
    doctor_print_explanation(&checks[i]);
    return ui_finish(EXIT_GOOD);
}

static int run(int argc, char **argv) {
    struct trial trial = {0};
    struct order order = {.machine = {.root = -1, .process = -1, .trial = &trial}};
    int code = EXIT_GOOD;
    for (int i = 1; i < argc && code == EXIT_GOOD; i++)
        code = take_word(&order, argc, argv, &i);
    if (code != EXIT_GOOD) return code;
    if ((order.list && argc > 2) || (order.explain != NULL && argc > 3))
        return usage("it goes with no other option: ", order.list ? "--list" : "--explain");
    if (order.list) return list_checks();
    if (order.explain != NULL) return explain_check(order.explain);
    code = open_machine(&order);
    if (code == EXIT_GOOD) code = examine(&order);
    close_machine(&order.machine);
    return code;
}

const struct verb verb_doctor = {"doctor", run, "tells what protects secrets on this machine, and what does not",
                                 manual};
