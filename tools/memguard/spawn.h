/* spawn.h: starting a program, and ending it in time. Children are leaders of their own process group, inherit no
 * descriptor but those named, and are noted in tidy.h until they are reaped. No secret may be in `argv` or `envp`
 * (the demo's environment child is the bad example on purpose). */
#ifndef MEMGUARD_SPAWN_H
#define MEMGUARD_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPAWN_GIVEN_FD = 3, SPAWN_KILLED = -1 };

struct spawn {
    const char *const *argv; /* argv[0] is looked up in PATH, unless `self` */
    char *const *envp;       /* NULL: as ours */
    int in, out;             /* standard input and output; 0: /dev/null. Standard error is always /dev/null */
    int given;               /* becomes descriptor SPAWN_GIVEN_FD of the child; 0: none */
    bool self;               /* run this very program */
};

/* Starts it. 0, or an errno; ENOENT: not installed. */
int spawn_start(const struct spawn *what, pid_t *pid);

/* Waits until it ends, at most to `deadline_ms` (of spawn_now_ms), then kills its group. Returns its exit code, or
 * SPAWN_KILLED after a signal. Always reaps. */
int spawn_wait(pid_t pid, int64_t deadline_ms);

/* Kills its group and reaps it. */
void spawn_end(pid_t pid);

/* Milliseconds on a clock that never jumps. */
int64_t spawn_now_ms(void);

/* Reads from fd until it ends, `most` bytes are there, or the deadline. Returns the number, or -1 (errno; ETIMEDOUT).
 */
ssize_t spawn_read(int fd, void *to, size_t most, int64_t deadline_ms);

#endif
