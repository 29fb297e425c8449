/* Questions to a person. Sources: ssh-add(1) and ssh-askpass(1) for the program's side: it gets the question as its argument
 * and SSH_ASKPASS_PROMPT=confirm, and answers by its exit code. */
#define _GNU_SOURCE
#include "agent_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "spawn.h"

enum { PATIENCE_MS = 60000, STEP_MS = 50, QUESTIONS_MOST = 8, QUESTION_BYTES = 512, COMM_BYTES = 32 };

static struct {
    pthread_mutex_t mutex; /* one question at a time */
    pthread_mutex_t count_mutex;
    unsigned waiting;
    const char *program; /* NULL: none */
    int terminal;
} ask = {.mutex = PTHREAD_MUTEX_INITIALIZER, .count_mutex = PTHREAD_MUTEX_INITIALIZER, .terminal = -1};

/* Our own askpass would ask at its controlling terminal, which is the agent's, or none. */
static bool is_ourselves(const char *program) {
    struct stat other, own;
    return stat(program, &other) == 0 && stat("/proc/self/exe", &own) == 0 && other.st_dev == own.st_dev &&
           other.st_ino == own.st_ino;
}

static bool is_usable(const char *program) {
    return program != NULL && program[0] == '/' && access(program, X_OK) == 0 && !is_ourselves(program);
}

void ask_set_up(int terminal) {
    const char *program = getenv("MEMGUARD_ASKPASS");
    if (program == NULL) program = getenv("SSH_ASKPASS");
    ask.program = is_usable(program) ? program : NULL;
    ask.terminal = terminal;
    /* In the background a question at the terminal would stop the whole agent. */
    if (terminal >= 0 && (signal(SIGTTIN, SIG_IGN) == SIG_ERR || signal(SIGTTOU, SIG_IGN) == SIG_ERR))
        ask.terminal = -1;
    /* For the program; there is no other thread yet that looks at the environment. */
    if (setenv("SSH_ASKPASS_PROMPT", "confirm", 1) != 0) ask.program = NULL;
}

bool ask_is_possible(void) { return ask.program != NULL || ask.terminal >= 0; }

/* The name of a process is what it says itself: only plain characters are shown. */
static void name_process(pid_t pid, char comm[COMM_BYTES]) {
    char path[40];
    ssize_t got = -1;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        got = read(fd, comm, COMM_BYTES - 1);
        close(fd);
    }
    if (got < 0) got = 0;
    if (got > 0 && comm[got - 1] == '\n') got--;
    comm[got] = '\0';
    for (char *at = comm; *at != '\0'; at++)
        if (*at < ' ' || *at > '~') *at = '?';
}

static bool has_left(const struct serve_client *client) {
    struct pollfd look = {.fd = client->fd, .events = POLLRDHUP};
    return poll(&look, 1, STEP_MS) != 0;
}

static bool has_ended(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

static enum wire_answer ask_program(const struct serve_client *client, const char *question) {
    const char *const argv[] = {ask.program, question, NULL};
    const struct spawn what = {.argv = argv};
    pid_t pid;
    if (spawn_start(&what, &pid) != 0) return WIRE_NOBODY;
    int64_t deadline = spawn_now_ms() + PATIENCE_MS;
    while (!has_ended(pid))
        if (has_left(client) || spawn_now_ms() >= deadline) {
            spawn_end(pid);
            return WIRE_SAID_NO;
        }
    return spawn_wait(pid, deadline) == 0 ? WIRE_DONE : WIRE_SAID_NO;
}

/* The line that the person types: yes begins with y. */
static enum wire_answer read_line(const struct serve_client *client, int64_t deadline) {
    char first = '\0', c = '\0';
    struct pollfd look = {.fd = ask.terminal, .events = POLLIN};
    while (c != '\n') {
        if (has_left(client) || spawn_now_ms() >= deadline) return WIRE_SAID_NO;
        if (poll(&look, 1, 0) <= 0) continue;
        if (read(ask.terminal, &c, 1) != 1) return WIRE_NOBODY;
        if (first == '\0') first = c;
    }
    return first == 'y' || first == 'Y' ? WIRE_DONE : WIRE_SAID_NO;
}

/* In the background of our terminal. Another one, that does not control us, has no such thing. */
static bool is_behind(int terminal) {
    pid_t front = tcgetpgrp(terminal);
    return front >= 0 && front != getpgrp();
}

static enum wire_answer ask_terminal(const struct serve_client *client, const char *question) {
    char line[QUESTION_BYTES + 16];
    int length = snprintf(line, sizeof line, "%s [y/N] ", question);
    if (is_behind(ask.terminal)) return WIRE_NOBODY;
    tcflush(ask.terminal, TCIFLUSH); /* what was typed before the question answers nothing */
    if (write(ask.terminal, line, (size_t)length) != length) return WIRE_NOBODY;
    enum wire_answer answer = read_line(client, spawn_now_ms() + PATIENCE_MS);
    if (answer != WIRE_DONE) dprintf(ask.terminal, "(refused)\n");
    return answer;
}

static enum wire_answer ask_now(const struct serve_client *client, const char *name) {
    char comm[COMM_BYTES], question[QUESTION_BYTES];
    name_process(client->pid, comm);
    snprintf(question, sizeof question, "memguard: may process %d (%s) use the secret %s?", (int)client->pid, comm,
             name);
    return ask.program != NULL ? ask_program(client, question) : ask_terminal(client, question);
}

static bool queue(int change) {
    pthread_mutex_lock(&ask.count_mutex);
    bool room = change < 0 || ask.waiting < QUESTIONS_MOST;
    if (room) ask.waiting += (unsigned)change;
    pthread_mutex_unlock(&ask.count_mutex);
    return room;
}

enum wire_answer ask_person(const struct serve_client *client, const char *name) {
    if (!ask_is_possible()) return WIRE_NOBODY;
    if (!queue(1)) return WIRE_BUSY;
    pthread_mutex_lock(&ask.mutex);
    enum wire_answer answer = has_left(client) ? WIRE_SAID_NO : ask_now(client, name);
    pthread_mutex_unlock(&ask.mutex);
    queue(-1);
    return answer;
}
