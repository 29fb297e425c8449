/* logind tells before the machine sleeps (the signal PrepareForSleep), and waits, some seconds at the most, for those who hold
 * a "delay" inhibitor. Both come from programs of the system, `systemd-inhibit` and, as what it runs, `gdbus monitor`: no code
 * that parses D-Bus in a process with secrets. When the signal comes we lock and then end the programs, which lets the
 * machine sleep; until it wakes no new inhibitor is to be had, so we try until there is one. When they end by themselves we
 * cannot know what happens, and lock, too. Source: the "Inhibitor Locks" page of systemd. */
#define _GNU_SOURCE
#include "agent_suspend.h"

#include <fcntl.h>
#include <memguard.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent_lock.h"
#include "spawn.h"
#include "ui.h"

enum { LINE_MOST = 512, BEGIN_MS = 5000, RETRY_S = 2 };

static const char *const watcher[] = {"systemd-inhibit",
                                      "--what=sleep",
                                      "--mode=delay",
                                      "--who=memguard",
                                      "--why=secrets are locked",
                                      "gdbus",
                                      "monitor",
                                      "--system",
                                      "--dest=org.freedesktop.login1",
                                      "--object-path=/org/freedesktop/login1",
                                      NULL};

static struct {
    pthread_t thread;
    int fd; /* what the watcher says */
    pid_t pid;
    _Atomic int state;
    pthread_mutex_t mutex; /* for the next two */
    pid_t group;           /* of the watcher; 0: there is none */
    bool ending;           /* and there shall be none */
} watch = {.fd = -1, .state = WIRE_SUSPEND_UNWATCHED, .mutex = PTHREAD_MUTEX_INITIALIZER};

enum wire_suspend suspend_state(void) { return (enum wire_suspend)atomic_load(&watch.state); }

void suspend_end(void) {
    pthread_mutex_lock(&watch.mutex);
    watch.ending = true;
    if (watch.group != 0) kill(-watch.group, SIGKILL);
    pthread_mutex_unlock(&watch.mutex);
}

/* A line without its end. False: no more, or none in time. */
static bool read_line(char line[LINE_MOST], int64_t deadline_ms) {
    size_t length = 0;
    char c;
    while (spawn_read(watch.fd, &c, 1, deadline_ms) == 1) {
        if (c == '\n') {
            line[length] = '\0';
            return true;
        }
        if (length + 1 < LINE_MOST) line[length++] = c;
    }
    return false;
}

/* False: logind is not there, the watcher has ended, or it was too late. */
static bool read_until(const char *words, int64_t deadline_ms) {
    char line[LINE_MOST];
    while (read_line(line, deadline_ms)) {
        if (strstr(line, words) != NULL) return true;
        if (strstr(line, "does not have an owner") != NULL) return false;
    }
    return false;
}

static void stop(void) {
    pthread_mutex_lock(&watch.mutex);
    spawn_end(watch.pid);
    watch.group = 0;
    pthread_mutex_unlock(&watch.mutex);
    close(watch.fd);
}

static bool start(int out) {
    const struct spawn what = {.argv = watcher, .out = out};
    pthread_mutex_lock(&watch.mutex);
    bool good = !watch.ending && spawn_start(&what, &watch.pid) == 0;
    if (good) watch.group = watch.pid;
    pthread_mutex_unlock(&watch.mutex);
    return good;
}

/* Watched: logind is there, and will wait for us. */
static bool begin(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    bool good = start(ends[1]);
    close(ends[1]);
    watch.fd = ends[0];
    if (!good) {
        close(watch.fd);
        return false;
    }
    if (read_until("is owned by", spawn_now_ms() + BEGIN_MS)) {
        atomic_store(&watch.state, WIRE_SUSPEND_WATCHED);
        return true;
    }
    stop();
    return false;
}

static void *run(void *arg) {
    const struct timespec pause = {.tv_sec = RETRY_S};
    (void)arg;
    for (;;) {
        read_until("PrepareForSleep (true", INT64_MAX); /* or we would not hear of it any more */
        atomic_store(&watch.state, WIRE_SUSPEND_LOST);
        memguard_status status = lock_now();
        if (status != MEMGUARD_OK) ui_library_error("locking before suspend", status);
        stop();
        while (!begin())
            nanosleep(&pause, NULL);
    }
    return NULL;
}

bool suspend_watch(void) {
    if (!begin()) {
        ui_error("suspend cannot be watched: it needs logind, systemd-inhibit and gdbus");
        return false;
    }
    if (pthread_create(&watch.thread, NULL, run, NULL) == 0) return true;
    ui_error("suspend cannot be watched: no thread");
    stop();
    return false;
}
