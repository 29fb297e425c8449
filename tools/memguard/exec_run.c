/* The child from its start to its end. All signals that can be are blocked in this process from before it starts: they wait in
 * a signalfd, so there is no handler, and no moment in which one could end us before all is wiped. Sources: posix_spawn(3),
 * signalfd(2), waitid(2), sigaction(2) for si_code, the kernel's drivers/tty (what a terminal sends goes to the whole foreground
 * group). */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "exec.h"
#include "ui.h"

/* ---- starting ---- */

/* Not those that a fault in our own code raises: blocked, they would end us without a word. */
static void all_signals(sigset_t *set) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(set, faults[i]);
}

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

static int spawn_with(const struct exec *exec, char **environment, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = give_all(&actions, exec);
        if (error == 0) error = set_signals(&attributes, exec);
        if (error == 0) error = posix_spawnp(pid, exec->command[0], &actions, &attributes, exec->command, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int explain(const char *program, int error) {
    ui_error("%s: %s", program, strerror(error));
    if (error == ENOENT) return EXEC_NOT_FOUND;
    return error == EAGAIN || error == ENOMEM ? EXEC_FAILED : EXEC_NOT_EXECUTABLE;
}

int exec_start(struct exec *exec, pid_t *pid) {
    sigset_t set;
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    all_signals(&set);
    char **environment = exec_environment(exec);
    int error = environment == NULL ? ENOMEM : pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (error == 0 && sigaction(SIGCHLD, &usual, NULL) != 0) error = errno; /* ignored, the child's end would be lost */
    if (error == 0) error = spawn_with(exec, environment, pid);
    free(environment);
    return error == 0 ? EXIT_GOOD : explain(exec->command[0], error);
}

/* ---- while it runs ---- */

struct run {
    struct exec *exec;
    pid_t pid;
    int signals;
    bool ended;
    int end;
};

/* A terminal signals the whole foreground group, so the child has it already. Ours alone: of a write to a pipe that nobody reads, and
 * of children. */
static bool is_for_child(const struct signalfd_siginfo *signal) {
    static const int of_terminals[] = {SIGINT, SIGQUIT, SIGHUP, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH};
    if (signal->ssi_signo == SIGCHLD) return false;
    if (signal->ssi_signo == SIGPIPE && signal->ssi_pid == (uint32_t)getpid()) return false;
    for (size_t i = 0; i < sizeof of_terminals / sizeof of_terminals[0]; i++)
        if (signal->ssi_signo == (uint32_t)of_terminals[i]) return signal->ssi_code <= 0;
    return true;
}

static void pass_on(const struct run *run) {
    struct signalfd_siginfo signal;
    while (read(run->signals, &signal, sizeof signal) == sizeof signal) {
        if (!is_for_child(&signal) || kill(run->pid, (int)signal.ssi_signo) == 0 || errno == ESRCH) continue;
        ui_error("signal %u could not be passed on: %s", signal.ssi_signo, strerror(errno));
    }
}

/* Stops as the child has, so that a shell takes the terminal back. What continues us waits in the signalfd, and is passed on. */
static void look_after(struct run *run) {
    siginfo_t info = {0};
    while (!run->ended && waitid(P_PID, (id_t)run->pid, &info, WEXITED | WSTOPPED | WNOHANG) == 0 && info.si_pid != 0) {
        run->ended = info.si_code != CLD_STOPPED && info.si_code != CLD_TRAPPED;
        if (run->ended)
            run->end = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
        else if (info.si_code == CLD_STOPPED)
            raise(SIGSTOP);
        info.si_pid = 0;
    }
}

static size_t add_pipe(struct exec_pipe *pipe, struct pollfd *look) {
    if (!pipe->wanted || pipe->in < 0) return 0;
    *look = (struct pollfd){.fd = pipe->in, .events = POLLOUT};
    return 1;
}

static bool feed(struct exec_pipe *pipe, memguard_secret secret) {
    return !pipe->wanted || pipe->in < 0 || exec_pipe_feed(pipe, secret);
}

static bool feed_all(struct exec *exec) {
    bool good = true;
    for (size_t i = 0; i < exec->names_count; i++) {
        good &= feed(&exec->names[i].pipe, exec->names[i].secret);
        good &= feed(&exec->names[i].input, exec->names[i].secret);
    }
    return good;
}

static void wait_for_something(struct run *run) {
    struct pollfd looks[2 * EXEC_MOST + 1] = {{.fd = run->signals, .events = POLLIN}};
    nfds_t count = 1;
    for (size_t i = 0; i < run->exec->names_count; i++) {
        count += add_pipe(&run->exec->names[i].pipe, &looks[count]);
        count += add_pipe(&run->exec->names[i].input, &looks[count]);
    }
    if (poll(looks, count, -1) < 0 && errno != EINTR) ui_error("poll: %s", strerror(errno));
}

int exec_wait(struct exec *exec, pid_t pid) {
    sigset_t set;
    all_signals(&set);
    struct run run = {.exec = exec, .pid = pid, .signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (run.signals < 0) ui_error("signalfd: %s", strerror(errno));
    while (!run.ended) {
        wait_for_something(&run);
        pass_on(&run);
        feed_all(exec);
        look_after(&run);
    }
    close(run.signals);
    return run.end;
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
