/* Runs a command on a terminal of its own and types when it is asked: pty [EXPECT SEND]... -- COMMAND ARGUMENTS
 * Writes what the terminal showed to standard output. Exits with the command's code; 124 when it takes too long. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHOWN_MOST = 1 << 16, PATIENCE_S = 150 };

static char shown[SHOWN_MOST + 1];
static size_t have;
static pid_t child;

static void give_up(int signal_number) {
    (void)signal_number;
    kill(child, SIGKILL);
    _exit(124);
}

static pid_t start(char **command, int controller, const char *name) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    setsid();
    int terminal = open(name, O_RDWR);
    if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) _exit(125);
    for (int fd = 0; fd <= 2; fd++)
        dup2(terminal, fd);
    close(terminal);
    close(controller);
    execv(command[0], command);
    _exit(126);
}

/* What the terminal shows next; false: it has ended. */
static int look(int controller) {
    ssize_t got = read(controller, shown + have, SHOWN_MOST - have);
    if (got <= 0) return 0;
    have += (size_t)got;
    shown[have] = '\0';
    return 1;
}

int main(int argc, char **argv) {
    int at = 1, status = 0;
    while (at + 1 < argc && strcmp(argv[at], "--") != 0)
        at += 2;
    if (at + 1 >= argc) return 125;
    int controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (controller < 0 || grantpt(controller) != 0 || unlockpt(controller) != 0) return 125;
    signal(SIGALRM, give_up);
    child = start(argv + at + 1, controller, ptsname(controller));
    alarm(PATIENCE_S);
    size_t seen = 0;
    for (int i = 1; i + 1 < at; i += 2) {
        const char *found;
        while ((found = strstr(shown + seen, argv[i])) == NULL && look(controller)) {
        }
        if (found == NULL) break;
        seen = (size_t)(found - shown) + strlen(argv[i]);
        dprintf(controller, "%s\n", argv[i + 1]);
    }
    while (look(controller)) {
    }
    fwrite(shown, 1, have, stdout);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
