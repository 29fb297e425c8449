/* Checks of what a crash leaves behind: core files, core handlers, dumps of the kernel.
 * Sources: core(5), proc_sys_fs(5), the kernel's Documentation/admin-guide/sysctl/kernel.rst (core_pattern) and
 * Documentation/admin-guide/kdump/kdump.rst. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "ui.h"

/* Where a core goes. Of these only files obey a limit of 0; a limit of 1 stops a pipe, too; nothing stops a socket. */
enum core_way { CORE_UNKNOWN, CORE_NOWHERE, CORE_FILE, CORE_PIPE, CORE_SOCKET };

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The program of "|/usr/bin/program arguments". */
static void program_of(const char *pattern, char program[NAME_BYTES]) {
    const char *at = pattern + 1 + strspn(pattern + 1, " ");
    snprintf(program, NAME_BYTES, "%.*s", (int)strcspn(at, " \t\n"), at);
}

static enum core_way way_of_pipe(const char *pattern) {
    char program[NAME_BYTES];
    program_of(pattern, program);
    const char *name = base_name(program);
    return strcmp(name, "false") == 0 || strcmp(name, "true") == 0 ? CORE_NOWHERE : CORE_PIPE;
}

/* *error: 0, or why the pattern could not be read. */
static enum core_way core_way(const struct machine *machine, struct text *pattern, int *error) {
    struct text uses_pid;
    *error = machine_read(machine, "proc/sys/kernel/core_pattern", pattern);
    if (*error != 0) return CORE_UNKNOWN;
    if (pattern->bytes[0] == '|') return way_of_pipe(pattern->bytes);
    if (pattern->bytes[0] == '@') return CORE_SOCKET;
    if (pattern->bytes[0] != '\0') return CORE_FILE;
    bool nameless =
        machine_read(machine, "proc/sys/kernel/core_uses_pid", &uses_pid) == 0 && strcmp(uses_pid.bytes, "0") == 0;
    return nameless ? CORE_NOWHERE : CORE_FILE;
}

void check_core_pattern(const struct machine *machine, struct fact *fact) {
    struct text pattern;
    char program[NAME_BYTES];
    int error;
    switch (core_way(machine, &pattern, &error)) {
    case CORE_UNKNOWN:
        machine_unread(machine, "proc/sys/kernel/core_pattern", error, fact);
        return;
    case CORE_NOWHERE:
        fact_say(fact, FACT_GOOD, "cores are thrown away", "%s", pattern.bytes[0] != '\0' ? pattern.bytes : "empty");
        return;
    case CORE_PIPE:
        program_of(pattern.bytes, program);
        fact_say(fact, FACT_BAD,
                 "the memory of whatever crashes is piped to that program, which mostly keeps it on a disk; a core "
                 "limit of 0 "
                 "does not stop the pipe",
                 "a pipe to %s", program);
        return;
    case CORE_SOCKET:
        fact_say(fact, FACT_BAD, "the memory of whatever crashes goes to who listens there; no core limit stops it",
                 "a socket: %.200s", pattern.bytes + 1);
        return;
    case CORE_FILE:
        fact_say(fact, FACT_DOUBT, "the memory of what crashes is written there when its core limit is not 0",
                 "a file: %.200s%s", pattern.bytes[0] != '\0' ? pattern.bytes : ".PID",
                 pattern.bytes[0] == '/' ? "" : ", in the directory of the process");
    }
}

static const char *limit_text(uint64_t limit, char text[24]) {
    return limit == UINT64_MAX ? "unlimited" : ui_bytes(limit, text);
}

static void say_no_files(enum core_way way, const struct limit *limit, struct fact *fact) {
    char hard[24];
    bool piped = way == CORE_PIPE || way == CORE_SOCKET || way == CORE_UNKNOWN;
    fact_say(fact, piped ? FACT_DOUBT : FACT_GOOD,
             way == CORE_UNKNOWN
                 ? "no core files; a pipe or a socket in core_pattern would not be stopped, and that could not be read"
             : piped ? "no core files, but core_pattern names a pipe or a socket, which 0 does not stop"
                     : "a crash writes no core file",
             "0 soft, %s hard", limit_text(limit->hard, hard));
}

void check_core_limit(const struct machine *machine, struct fact *fact) {
    struct text pattern;
    struct limit limit;
    char soft[24], hard[24];
    int error;
    if (!machine_limit(machine, "Max core file size", &limit, fact)) return;
    enum core_way way = core_way(machine, &pattern, &error);
    if (limit.soft == 0)
        say_no_files(way, &limit, fact);
    else if (limit.soft == 1 && way != CORE_SOCKET)
        fact_say(
            fact, way == CORE_UNKNOWN ? FACT_DOUBT : FACT_GOOD,
            way == CORE_UNKNOWN
                ? "no core file, nothing for a pipe; a socket in core_pattern, which could not be read, would get all"
                : "neither a core file nor a pipe gets anything",
            "1 byte soft, %s hard", limit_text(limit.hard, hard));
    else
        fact_say(fact, way == CORE_NOWHERE ? FACT_GOOD : FACT_BAD,
                 way == CORE_NOWHERE
                     ? "core_pattern throws cores away"
                     : "a crash leaves the process's memory in a core; memguard's own pages are left out",
                 "%s soft, %s hard", limit_text(limit.soft, soft), limit_text(limit.hard, hard));
}

void check_core_filter(const struct machine *machine, struct fact *fact) {
    struct text text;
    char *end;
    if (!machine_need(machine, "proc/@/coredump_filter", &text, fact)) return;
    unsigned long filter = strtoul(text.bytes, &end, 16);
    if (end == text.bytes || *end != '\0')
        fact_unknown(fact, "the process's coredump_filter: it is not a number");
    else if ((filter & 0x0f) == 0)
        fact_say(fact, FACT_GOOD, "a core holds no heap, no stacks and no shared memory, but registers", "%#lx",
                 filter);
    else
        fact_say(fact, FACT_DOUBT, "a core, if one is made, holds heap and stacks; memguard's own pages are left out",
                 "%#lx", filter);
}

void check_suid_dumpable(const struct machine *machine, struct fact *fact) {
    long long mode;
    if (!machine_number(machine, "proc/sys/fs/suid_dumpable", &mode, fact)) return;
    if (mode == 0)
        fact_say(fact, FACT_GOOD, "programs that gained rights leave no core", "0");
    else if (mode == 2)
        fact_say(fact, FACT_DOUBT, "programs that gained rights, and those that asked not to be, are dumped for root",
                 "2");
    else if (mode == 1)
        fact_say(fact, FACT_BAD, "whoever starts a program that gains rights can have its memory in a core", "1");
    else
        fact_unknown(fact, "/proc/sys/fs/suid_dumpable: %lld has no meaning known", mode);
}

void check_kdump(const struct machine *machine, struct fact *fact) {
    static const char path[] = "sys/kernel/kexec_crash_loaded";
    long long loaded;
    int error = machine_find(machine, path, NULL);
    if (machine_lacks(machine, "sys/kernel", error))
        fact_say(fact, FACT_GOOD, "a panic of the kernel writes no memory", "not in this kernel");
    else if (!machine_number(machine, path, &loaded, fact))
        return;
    else if (loaded == 0)
        fact_say(fact, FACT_GOOD, "a panic of the kernel writes no memory", "no crash kernel is loaded");
    else
        fact_say(
            fact, FACT_DOUBT,
            "a panic writes memory to a disk or the network, of programs, too, unless its dump level leaves that out",
            "a crash kernel is loaded");
}
