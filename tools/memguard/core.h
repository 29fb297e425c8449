/* core.h: core files of running processes, made by gdb's gcore and searched. They hold what they show, so they go to a
 * directory in memory only, are overwritten and removed. */
#ifndef MEMGUARD_CORE_H
#define MEMGUARD_CORE_H

#include <stddef.h>
#include <sys/types.h>

#include "scan.h"

/* Why a core file was not looked at. */
enum core_problem { CORE_NONE, CORE_NO_GCORE, CORE_NO_PLACE, CORE_FAILED };

enum { CORE_MOST = 4 };

/* Makes core files of up to CORE_MOST processes side by side, within `limit_ms`, and searches them. results[i].complete
 * tells of process i; the answer tells what kept any of them from being made. */
enum core_problem core_scan(const pid_t *pids, size_t count, int limit_ms, const struct scan_job *job,
                            struct scan_result *results);

const char *core_problem_text(enum core_problem problem);

#endif
