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

#include "maps.h"
#include "needle.h"

enum { SCAN_BUFFER_LEAST = 4096 + NEEDLE_LONGEST, SCAN_WHERE = 40 };

/* Who is told what happens on the way. Any function may be NULL. */
struct scan_sink {
    void (*found)(void *arg, uint64_t address, const struct needle_find *find); /* instead of scan_result.hit */
    void (*refused)(void *arg, uint64_t address, uint64_t bytes, bool unread);
    void (*read)(void *arg, uint64_t bytes); /* more of what there is, read or passed over */
    void (*mapping)(void *arg, size_t index, uint64_t read, uint64_t refused); /* of scan_mappings: one is done */
    void *arg;
};

/* What to look for, and the means. */
struct scan_job {
    const struct needles *needles;
    uint8_t *buffer;
    size_t buffer_bytes;          /* SCAN_BUFFER_LEAST or more */
    uintptr_t spot;               /* an address of special interest in the process scanned, or 0 */
    const struct scan_sink *sink; /* or NULL */
};

struct scan_result {
    bool complete; /* everything was asked for; some of it may have been refused */
    int os_error;  /* when not complete: why, an errno */
    bool spot_refused;
    uint64_t read_bytes;
    uint64_t refused_bytes; /* mapped memory that the kernel would not show to us */
    uint64_t
        unread_bytes; /* of them, those that it should have shown: no memfd_secret(2), no device, no end of a file */
    int unread_error; /* the last reason for that, an errno */
    struct needle_hit hit[NEEDLE_KINDS];
    char where[NEEDLE_KINDS][SCAN_WHERE]; /* the mapping with the best hit: "[heap]", "libc.so.6", "anonymous" */
};

/* All mapped memory of a process, through /proc/PID/mem: PROT_NONE pages too. Not counted as refused are [vvar] and
 * [vsyscall], pages which the kernel shares with everyone, and guards (MADV_GUARD_INSTALL), which have no page. Pages of
 * private anonymous memory that do not exist hold nothing and are passed over. */
void scan_memory(pid_t pid, const struct scan_job *job, struct scan_result *result);

/* The same for a list of mappings that the caller has read. */
void scan_mappings(pid_t pid, const struct maps *maps, const struct scan_job *job, struct scan_result *result);

/* The part of an open file from `at` to `end` (or its own end). Addresses told to the sink begin with `address`. Holes
 * are passed over. *result is added to. */
void scan_descriptor(int fd, uint64_t at, uint64_t end, uint64_t address, const struct scan_job *job,
                     struct scan_result *result);

/* A file of a process: "environ", "cmdline". */
void scan_process_file(pid_t pid, const char *name, const struct scan_job *job, struct scan_result *result);

/* Any file. */
void scan_file(const char *path, const struct scan_job *job, struct scan_result *result);

#endif
