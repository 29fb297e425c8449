/* Core files by gcore(1): what it writes is what the kernel would (it minds coredump_filter and MADV_DONTDUMP). */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "spawn.h"
#include "tempdir.h"
#include "tidy.h"

struct core {
    pid_t gcore; /* 0: not running */
    char path[TIDY_PATH];
};

const char *core_problem_text(enum core_problem problem) {
    switch (problem) {
    case CORE_NONE:
        return "nothing";
    case CORE_NO_GCORE:
        return "gcore (of gdb) is not installed";
    case CORE_NO_PLACE:
        return "there is no tmpfs to put a core file in, and it must not reach a disk";
    case CORE_FAILED:
        break;
    }
    return "gcore did not succeed (is ptrace allowed?) or took too long";
}

static int start(struct core *core, const char *prefix, pid_t pid) {
    char number[16];
    const char *argv[] = {"gcore", "-o", prefix, number, NULL};
    const struct spawn what = {.argv = argv};
    snprintf(number, sizeof number, "%d", (int)pid);
    snprintf(core->path, sizeof core->path, "%s.%s", prefix, number);
    if (!tidy_add_path(core->path)) return ENOSPC;
    return spawn_start(&what, &core->gcore);
}

static void search(struct core *core, const struct scan_job *job, struct scan_result *result) {
    scan_file(core->path, job, result);
    if (result->complete && result->read_bytes == 0) {
        result->complete = false;
        result->os_error = ENODATA;
    }
}

static void clear(struct core *core) {
    if (core->path[0] == '\0') return;
    tempdir_wipe_file(core->path);
    tidy_strike_path(core->path);
}

enum core_problem core_scan(const pid_t *pids, size_t count, int limit_ms, const struct scan_job *job,
                            struct scan_result *results) {
    struct core cores[CORE_MOST] = {{0}};
    char directory[TEMPDIR_PATH], prefix[TEMPDIR_PATH + 8];
    enum core_problem problem = CORE_NONE;
    int64_t deadline_ms = spawn_now_ms() + limit_ms;
    memset(results, 0, count * sizeof *results);
    if (!tempdir_make(directory)) return CORE_NO_PLACE;
    snprintf(prefix, sizeof prefix, "%s/core", directory);
    for (size_t i = 0; i < count; i++) {
        int error = start(&cores[i], prefix, pids[i]);
        if (error != 0) problem = error == ENOENT ? CORE_NO_GCORE : CORE_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        if (cores[i].gcore != 0 && spawn_wait(cores[i].gcore, deadline_ms) == 0) search(&cores[i], job, &results[i]);
        if (!results[i].complete && problem == CORE_NONE) problem = CORE_FAILED;
        clear(&cores[i]);
    }
    tempdir_remove(directory);
    return problem;
}
