/* io_support.h: what the tests of input and output share: descriptors that stutter, threads that feed and drain. */
#ifndef MEMGUARD_TESTS_API_IO_SUPPORT_H
#define MEMGUARD_TESTS_API_IO_SUPPORT_H

#include "api/support.h"

#include <fcntl.h>
#include <memguard/io.h>
#include <sched.h>
#include <sys/socket.h>

/* ---- descriptors --------------------------------------------------------------------------------------- */

enum kind { PIPE, NONBLOCKING_PIPE, SOCKET, NONBLOCKING_SOCKET, KINDS };

typedef struct channel {
    int in, out; /* what is written to `in` comes out of `out` */
} channel;

static inline channel open_channel(enum kind kind) {
    int ends[2] = {-1, -1};
    const int is_pipe = kind == PIPE || kind == NONBLOCKING_PIPE;
    const int flags = kind == NONBLOCKING_PIPE || kind == NONBLOCKING_SOCKET ? O_NONBLOCK : 0;
    CHECK((is_pipe ? pipe2(ends, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) == 0);
    for (int i = 0; i < 2; i++) CHECK(fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | flags) == 0);
    return (channel){.in = ends[1], .out = ends[0]};
}

static inline void close_end(int *end) {
    if (*end >= 0) CHECK(close(*end) == 0);
    *end = -1;
}

static inline void close_channel(channel *c) {
    close_end(&c->in);
    close_end(&c->out);
}

/* All of it, whatever the descriptor is like. */
static inline void put_all(int descriptor, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        const ssize_t put = write(descriptor, at, size);
        if (put > 0) {
            at += put, size -= (size_t)put;
        } else if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
            sched_yield();
        } else {
            return;
        }
    }
}

static inline void put_text(int descriptor, const char *text) { put_all(descriptor, text, strlen(text)); }

/* ---- a thread that feeds ------------------------------------------------------------------------------- */

typedef struct feeder {
    int descriptor;
    size_t bytes, piece; /* of the pattern `seed`, so many at a time */
    uint32_t seed;
    int then_close;
    pthread_t thread;
} feeder;

static inline void *feed(void *arg) {
    feeder *f = arg;
    unsigned char *all = malloc(f->bytes + 1);
    sigset_t pipe_alone; /* its reader may have been purged */
    sigemptyset(&pipe_alone), sigaddset(&pipe_alone, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_alone, NULL);
    fill(all, f->bytes, f->seed);
    for (size_t at = 0; at < f->bytes; at += f->piece) {
        put_all(f->descriptor, all + at, f->bytes - at < f->piece ? f->bytes - at : f->piece);
        if (f->piece < 100) sched_yield();
    }
    free(all);
    if (f->then_close) close_end(&f->descriptor);
    return NULL;
}

static inline void start_feeding(feeder *f) { CHECK(pthread_create(&f->thread, NULL, feed, f) == 0); }
static inline void stop_feeding(feeder *f) { CHECK(pthread_join(f->thread, NULL) == 0); }

/* ---- a thread that drains ------------------------------------------------------------------------------ */

typedef struct drainer {
    int descriptor;
    unsigned char *bytes;
    size_t room, got;
    int slowly;
    pthread_t thread;
} drainer;

static inline void *drain(void *arg) {
    drainer *d = arg;
    while (d->got < d->room) {
        const ssize_t got = read(d->descriptor, d->bytes + d->got, d->slowly ? 777 : d->room - d->got);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) break;
        if (got > 0) d->got += (size_t)got;
        if (got < 0 || d->slowly) sched_yield();
    }
    return NULL;
}

static inline void start_draining(drainer *d) {
    d->bytes = malloc(d->room);
    CHECK(d->bytes != NULL && pthread_create(&d->thread, NULL, drain, d) == 0);
}

/* 1: what came is the pattern of exactly `size` bytes. */
static inline int stop_draining(drainer *d, size_t size, uint32_t seed) {
    CHECK(pthread_join(d->thread, NULL) == 0);
    const int right = d->got == size && is_pattern(d->bytes, size, seed);
    free(d->bytes);
    return right;
}

/* ---- others -------------------------------------------------------------------------------------------- */

/* The state letter of a thread of this process ('S': it sleeps in a system call), '?' if there is none. */
static inline char state_of(pid_t thread) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *stat = fopen(path, "r");
    const char *end = stat != NULL && fgets(line, sizeof line, stat) != NULL ? strrchr(line, ')') : NULL;
    const char state = end != NULL ? end[2] : '?';
    if (stat != NULL) fclose(stat);
    return state;
}

/* Waits until the thread sleeps, and has slept for a while. */
static inline int wait_until_asleep(const atomic_int *thread) {
    int seen = 0;
    for (uint64_t end = now_ms() + 10000; seen < 5 && now_ms() < end; sleep_ms(2))
        seen = atomic_load(thread) != 0 && state_of(atomic_load(thread)) == 'S' ? seen + 1 : 0;
    return seen == 5;
}

static inline int last_os_error(void) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    return error.os_error;
}

static inline int holds_text(memguard_secret secret, const char *text) { return holds(secret, text, strlen(text)); }

static inline void drop(memguard_secret *secret) {
    if (secret->id != 0) CHECK_STATUS(memguard_secret_destroy(secret), MEMGUARD_OK);
}

#endif
