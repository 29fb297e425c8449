/* Starting programs with posix_spawn(3): no fork of a process that holds secrets, no copy of its memory. */
#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tidy.h"

enum { POLL_INTERVAL_MS = 2 };

int64_t spawn_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int add_stream(posix_spawn_file_actions_t *actions, int fd, int as, int null_flags) {
    if (fd > 0) return posix_spawn_file_actions_adddup2(actions, fd, as);
    return posix_spawn_file_actions_addopen(actions, as, "/dev/null", null_flags, 0);
}

/* Descriptors 0 to 2 first: what we hold is 3 or more, so nothing is overwritten before it is used. */
static int set_files(posix_spawn_file_actions_t *actions, const struct spawn *what) {
    int error = add_stream(actions, what->in, STDIN_FILENO, O_RDONLY);
    if (error == 0) error = add_stream(actions, what->out, STDOUT_FILENO, O_WRONLY);
    if (error == 0) error = add_stream(actions, 0, STDERR_FILENO, O_WRONLY);
    if (error == 0 && what->given > 0) error = posix_spawn_file_actions_adddup2(actions, what->given, SPAWN_GIVEN_FD);
    return error;
}

/* Own group, our signal mask from before, SIGPIPE as usual. */
static int set_attributes(posix_spawnattr_t *attributes, const sigset_t *mask) {
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int error =
        posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (error == 0) error = posix_spawnattr_setpgroup(attributes, 0);
    if (error == 0) error = posix_spawnattr_setsigdefault(attributes, &defaults);
    if (error == 0) error = posix_spawnattr_setsigmask(attributes, mask);
    return error;
}

static int start(const struct spawn *what, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, pid_t *pid) {
    char *const *envp = what->envp != NULL ? what->envp : environ;
    char *const *argv = (char *const *)(uintptr_t)what->argv; /* posix_spawn does not write there */
    if (what->self) return posix_spawn(pid, "/proc/self/exe", actions, attributes, argv, envp);
    return posix_spawnp(pid, argv[0], actions, attributes, argv, envp);
}

static int start_noted(const struct spawn *what, const posix_spawn_file_actions_t *actions,
                       posix_spawnattr_t *attributes, pid_t *pid) {
    sigset_t before;
    tidy_hold(&before);
    int error = set_attributes(attributes, &before);
    if (error == 0) error = start(what, actions, attributes, pid);
    if (error == 0 && !tidy_add_group(*pid)) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
        error = EAGAIN;
    }
    tidy_go_on(&before);
    return error;
}

int spawn_start(const struct spawn *what, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = set_files(&actions, what);
        if (error == 0) error = start_noted(what, &actions, &attributes, pid);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* The note is struck off before the number can belong to someone else. How it ended and is not known is no success. */
static int reap(pid_t pid) {
    int status = 0;
    pid_t got;
    tidy_strike_group(pid);
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    return got == pid && WIFEXITED(status) ? WEXITSTATUS(status) : SPAWN_KILLED;
}

static bool has_ended(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

int spawn_wait(pid_t pid, int64_t deadline_ms) {
    const struct timespec pause = {0, POLL_INTERVAL_MS * 1000000L};
    while (!has_ended(pid)) {
        if (spawn_now_ms() >= deadline_ms) {
            spawn_end(pid);
            return SPAWN_KILLED;
        }
        nanosleep(&pause, NULL);
    }
    return reap(pid);
}

void spawn_end(pid_t pid) {
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    reap(pid);
}

/* 1: something to read (or the end), 0: the deadline has passed. */
static int wait_readable(int fd, int64_t deadline_ms) {
    struct pollfd poll_on = {.fd = fd, .events = POLLIN};
    for (;;) {
        int64_t left = deadline_ms - spawn_now_ms();
        if (left <= 0) return 0;
        int ready = poll(&poll_on, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (ready > 0) return 1;
        if (ready < 0 && errno != EINTR) return 1; /* read(2) will tell */
    }
}

ssize_t spawn_read(int fd, void *to, size_t most, int64_t deadline_ms) {
    size_t have = 0;
    while (have < most) {
        if (!wait_readable(fd, deadline_ms)) {
            errno = ETIMEDOUT;
            return -1;
        }
        ssize_t got = read(fd, (char *)to + have, most - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}
