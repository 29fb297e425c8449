/* The list of what must not outlive the command, and the signal handler that works it off. */
#include "tidy.h"

#include <memguard.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS = 16, PATHS = 16, AREAS = 128 };

static _Atomic int groups[GROUPS];     /* 0: free; an agent's threads start programs, too */
static char paths[PATHS][TIDY_PATH];         /* "": free */
static struct {
    void *area;
    size_t bytes;
} areas[AREAS];

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDING_SIGNALS = sizeof ending_signals / sizeof ending_signals[0] };

/* What a killed program was just making it may still make: only then it is removed. */
static void wait_for_groups(void) {
    for (size_t i = 0; i < GROUPS; i++)
        if (groups[i] != 0) waitpid((pid_t)groups[i], NULL, 0);
}

static void remove_all(void) {
    for (size_t i = 0; i < GROUPS; i++)
        if (groups[i] != 0) kill(-(pid_t)groups[i], SIGKILL);
    wait_for_groups();
    for (size_t i = PATHS; i-- > 0;)
        if (paths[i][0] != '\0' && unlink(paths[i]) != 0) rmdir(paths[i]);
    for (size_t i = 0; i < AREAS; i++)
        if (areas[i].area != NULL) memguard_wipe(areas[i].area, areas[i].bytes);
}

/* The raised signal takes the default action when this returns. Not SA_RESETHAND: with it, a second signal that comes while
 * the kernel still prepares this call would end the process before anything is removed (seen with timeout(1)). */
static void on_signal(int signal_number) {
    remove_all();
    memguard_emergency_wipe();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void tidy_start(void) {
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < ENDING_SIGNALS; i++) {
        struct sigaction old;
        if (sigaction(ending_signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ending_signals[i], &action, NULL);
    }
    sigaction(SIGPIPE, &ignore, NULL);
}

void tidy_hold(sigset_t *before) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ENDING_SIGNALS; i++)
        sigaddset(&set, ending_signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

void tidy_go_on(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

bool tidy_add_group(pid_t group) {
    for (size_t i = 0; i < GROUPS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&groups[i], &none, (int)group)) return true;
    }
    return false;
}

void tidy_strike_group(pid_t group) {
    for (size_t i = 0; i < GROUPS; i++)
        if (groups[i] == (int)group) groups[i] = 0;
}

bool tidy_add_path(const char *path) {
    if (strlen(path) >= TIDY_PATH) return false;
    for (size_t i = 0; i < PATHS; i++)
        if (paths[i][0] == '\0') {
            sigset_t before;
            tidy_hold(&before);
            memcpy(paths[i], path, strlen(path) + 1);
            tidy_go_on(&before);
            return true;
        }
    return false;
}

void tidy_strike_path(const char *path) {
    for (size_t i = 0; i < PATHS; i++)
        if (strcmp(paths[i], path) == 0) paths[i][0] = '\0';
}

bool tidy_add_area(void *area, size_t bytes) {
    for (size_t i = 0; i < AREAS; i++)
        if (areas[i].area == NULL) {
            areas[i].bytes = bytes;
            areas[i].area = area;
            return true;
        }
    return false;
}

void tidy_strike_area(const void *area) {
    for (size_t i = 0; i < AREAS; i++)
        if (areas[i].area == area) areas[i].area = NULL;
}
