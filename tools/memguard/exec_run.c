/* The child from its start to its end. All signals that can be are blocked in this process from before anything is
 * made for it: they wait in a signalfd, so there is no handler, and no moment in which one could end us before all is
 * wiped. Sources: posix_spawn(3), signalfd(2), waitid(2), sigaction(2) for si_code, the kernel's drivers/tty (what a
 * terminal sends goes to the whole foreground group). */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "exec.h"
#include "ui.h"

/* ---- starting ---- */

/* A descriptor onto itself: that keeps it open in the child. */
static int give(posix_spawn_file_actions_t *actions, int fd, int as) {
    return fd >= 0 ? posix_spawn_file_actions_adddup2(actions, fd, as) : 0;
}

static int give_all(posix_spawn_file_actions_t *actions, const struct exec *exec) {
    int error = 0;
    for (size_t i = 0; i < exec->names_count && error == 0; i++) {
        const struct exec_name *name = &exec->names[i];
        if (name->file_wanted) error = give(actions, name->file.fd, name->file.fd);
        if (error == 0 && name->pipe.wanted) error = give(actions, name->pipe.out, name->pipe.out);
        if (error == 0 && name->input.wanted) error = give(actions, name->input.out, STDIN_FILENO);
    }
    for (size_t i = 0; i < exec->variables_count && error == 0; i++) {
        const struct exec_variable *variable = &exec->variables[i];
        if (variable->as == EXEC_RENDER) error = give(actions, variable->file.fd, variable->file.fd);
    }
    return error;
}

/* What is caught becomes the default by itself, what was ignored stays so; only SIGPIPE we have changed. */
static int set_signals(posix_spawnattr_t *attributes, const struct exec *exec) {
    sigset_t defaults;
    sigemptyset(&defaults);
    if (!exec->pipe_ignored) sigaddset(&defaults, SIGPIPE);
    int error = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (error == 0) error = posix_spawnattr_setsigdefault(attributes, &defaults);
    return error == 0 ? posix_spawnattr_setsigmask(attributes, &exec->mask) : error;
}

static int spawn_with(struct exec *exec, char **environment) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = give_all(&actions, exec);
        if (error == 0) error = set_signals(&attributes, exec);
        if (error == 0)
            error = posix_spawnp(&exec->pid, exec->command[0], &actions, &attributes, exec->command, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int explain(const char *program, int error) {
    ui_error("%s: %s", program, strerror(error));
    if (error == ENOENT) return EXEC_NOT_FOUND;
    return error == EAGAIN || error == ENOMEM || error == EMFILE ? EXEC_FAILED : EXEC_NOT_EXECUTABLE;
}

/* A directory, too, can be "executed": searched. */
static bool can_be_executed(const char *file) {
    struct stat info;
    return access(file, X_OK) == 0 && stat(file, &info) == 0 && S_ISREG(info.st_mode);
}

/* As posix_spawnp(3) will: the first one that can be executed. A directory that we may not search holds none. */
static int look_in_path(const char *program) {
    const char *path = getenv("PATH");
    int error = ENOENT;
    for (const char *at = path != NULL ? path : "/bin:/usr/bin", *end; at != NULL; at = *end == ':' ? end + 1 : NULL) {
        char file[PATH_MAX];
        end = strchrnul(at, ':');
        int length = snprintf(file, sizeof file, "%.*s%s%s", (int)(end - at), at, end == at ? "" : "/", program);
        if (length >= (int)sizeof file) continue;
        if (can_be_executed(file)) return 0;
        if (access(file, F_OK) == 0) error = EACCES;
    }
    return error;
}

int exec_look_for(const char *program) {
    int error = ENOENT;
    if (strchr(program, '/') != NULL)
        error = can_be_executed(program) ? 0 : access(program, F_OK) == 0 ? EACCES : errno;
    else if (program[0] != '\0')
        error = look_in_path(program);
    return error == 0 ? EXIT_GOOD : explain(program, error);
}

/* SIGCHLD that is ignored would lose the child's end. */
static int hold_signals(struct exec *exec) {
    sigset_t set;
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigfillset(&set); /* a fault of our own ends us all the same, and so does abort(3) */
    exec->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (exec->signals < 0) return errno;
    if (sigaction(SIGCHLD, &usual, NULL) != 0) return errno;
    return pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool exec_hold_signals(struct exec *exec) {
    int error = hold_signals(exec);
    if (error != 0) ui_error("signals: %s", strerror(error));
    return error == 0;
}

int exec_start(struct exec *exec) {
    char **environment = exec_environment(exec);
    int error = environment == NULL ? ENOMEM : spawn_with(exec, environment);
    free(environment);
    return error == 0 ? EXIT_GOOD : explain(exec->command[0], error);
}

/* ---- while it runs ---- */

/* A terminal signals the whole foreground group, so the child has it already; but that it is gone it tells the leader of
 * the session alone. Ours alone: of a write to a pipe that nobody reads, and of children. */
static bool is_for_child(const struct signalfd_siginfo *signal) {
    static const int of_terminals[] = {SIGINT, SIGQUIT, SIGHUP, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH};
    if (signal->ssi_signo == SIGCHLD) return false;
    if (signal->ssi_signo == SIGHUP && getsid(0) == getpid()) return true;
    if (signal->ssi_signo == SIGPIPE && signal->ssi_pid == (uint32_t)getpid()) return false;
    for (size_t i = 0; i < sizeof of_terminals / sizeof of_terminals[0]; i++)
        if (signal->ssi_signo == (uint32_t)of_terminals[i]) return signal->ssi_code <= 0;
    return true;
}

static void pass_on(const struct exec *exec) {
    struct signalfd_siginfo signal;
    while (read(exec->signals, &signal, sizeof signal) == sizeof signal) {
        if (!is_for_child(&signal) || kill(exec->pid, (int)signal.ssi_signo) == 0 || errno == ESRCH) continue;
        ui_error("signal %u could not be passed on: %s", signal.ssi_signo, strerror(errno));
    }
}

/* Stops as the child has, so that a shell takes the terminal back: by SIGSTOP, which an inherited SIG_IGN or an
 * orphaned group does not keep off. What continues us waits in the signalfd, and is passed on. */
static bool has_ended(const struct exec *exec, int *end) {
    siginfo_t info = {0};
    int error;
    while ((error = waitid(P_PID, (id_t)exec->pid, &info, WEXITED | WSTOPPED | WNOHANG)) == 0 && info.si_pid != 0) {
        *end = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
        if (info.si_code == CLD_STOPPED)
            raise(SIGSTOP);
        else if (info.si_code != CLD_TRAPPED)
            return true;
        info.si_pid = 0;
    }
    if (error == 0) return false;
    ui_error("waiting for the command: %s", strerror(errno));
    *end = EXEC_FAILED;
    return true;
}

static size_t add_pipe(struct exec_pipe *pipe, struct pollfd *look) {
    if (!pipe->wanted || pipe->in < 0) return 0;
    *look = (struct pollfd){.fd = pipe->in, .events = POLLOUT};
    return 1;
}

static void feed(struct exec *exec, struct exec_pipe *pipe, memguard_secret secret) {
    if (pipe->wanted && pipe->in >= 0 && !exec_pipe_feed(pipe, secret)) exec->broken = true;
}

static void feed_all(struct exec *exec) {
    for (size_t i = 0; i < exec->names_count; i++) {
        feed(exec, &exec->names[i].pipe, exec->names[i].secret);
        feed(exec, &exec->names[i].input, exec->names[i].secret);
    }
}

static void wait_for_something(struct exec *exec) {
    const struct timespec pause = {0, 10 * 1000000L};
    struct pollfd looks[2 * EXEC_MOST + 1] = {{.fd = exec->signals, .events = POLLIN}};
    nfds_t count = 1;
    for (size_t i = 0; i < exec->names_count; i++) {
        count += add_pipe(&exec->names[i].pipe, &looks[count]);
        count += add_pipe(&exec->names[i].input, &looks[count]);
    }
    if (poll(looks, count, -1) < 0) nanosleep(&pause, NULL); /* the kernel has no memory for it: look again */
}

int exec_wait(struct exec *exec) {
    int end = 0;
    do {
        wait_for_something(exec);
        pass_on(exec);
        feed_all(exec);
    } while (!has_ended(exec, &end));
    close(exec->signals);
    return end;
}

int exec_die(int signal_number) {
    sigset_t set;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return 128 + signal_number;
}
