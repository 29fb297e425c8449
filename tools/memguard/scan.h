/* scan.h: reads what the system lets one process see of another (or of itself) and searches it for needles.
 *
 * Rule: what was not read is never counted as clean. A result tells how much was read, how much was refused and why
 * nothing could be read at all. The caller lends the buffer that the bytes pass through, and wipes it. */
#ifndef MEMGUARD_SCAN_H
#define MEMGUARD_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "needle.h"

enum { SCAN_BUFFER_LEAST = 4096 + NEEDLE_LONGEST, SCAN_WHERE = 40 };

/* What to look for, and the means. */
struct scan_job {
    const struct needles *needles;
    uint8_t *buffer;
    size_t buffer_bytes; /* SCAN_BUFFER_LEAST or more */
    uintptr_t spot;      /* an address of special interest in the process scanned, or 0 */
};

struct scan_result {
    bool complete; /* everything was asked for; some of it may have been refused */
    int os_error;  /* when not complete: why, an errno */
    bool spot_refused;
    uint64_t read_bytes;
    uint64_t refused_bytes; /* mapped memory that the kernel would not show to us */
    struct needle_hit hit[NEEDLE_KINDS];
    char where[NEEDLE_KINDS][SCAN_WHERE]; /* the mapping with the best hit: "[heap]", "libc.so.6", "anonymous" */
};

/* All mapped memory of a process, through /proc/PID/mem: PROT_NONE pages too. Not counted as refused are [vvar] and
 * [vsyscall], pages which the kernel shares with everyone. Pages of private anonymous memory that do not exist hold
 * nothing and are passed over. */
void scan_memory(pid_t pid, const struct scan_job *job, struct scan_result *result);

/* A file of a process: "environ", "cmdline". */
void scan_process_file(pid_t pid, const char *name, const struct scan_job *job, struct scan_result *result);

/* Any file. */
void scan_file(const char *path, const struct scan_job *job, struct scan_result *result);

#endif
