/* The main thread takes connections and watches the time; each connection has a thread. */
#define _GNU_SOURCE
#include "agent_serve.h"

#include <errno.h>
#include <memguard.h>
#include <memguard/process.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent_store.h"
#include "place.h"
#include "spawn.h"
#include "ui.h"

enum {
    STACK_BYTES = 256 * 1024,
    WATCH_MS = 250,        /* how often the clock is looked at while somebody is connected */
    PLACE_MS = 2000,       /* and how often, at the least, whether we can still be reached */
    DESCRIPTORS_KEPT = 14, /* of the process's limit, for what is not a client's */
    PAGES_SHARE = 2,       /* clients may take one part in so many of the lockable memory that is left at the start */
    PAGES_LEAST = 8 * 4096,
    PAGES_MOST = 16 << 20,
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t pages_back;
    void (*request)(struct serve_client *client);
    int wake;      /* told when a client has gone */
    unsigned most; /* clients: SERVE_MOST, or what the limit of descriptors allows */
    unsigned count, hurries, page_waits;
    uint64_t pages, pages_most;
    uint64_t served, refused, cut;
    struct serve_client clients[SERVE_MOST];
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- time ---- */

void serve_wait(struct serve_client *client, enum serve_wait wait) {
    pthread_mutex_lock(&state.mutex);
    client->wait = wait;
    client->since_ms = spawn_now_ms();
    pthread_mutex_unlock(&state.mutex);
}

void serve_hurry(bool on) {
    pthread_mutex_lock(&state.mutex);
    state.hurries += on ? 1U : -1U;
    pthread_mutex_unlock(&state.mutex);
}

/* Not who has done its part, and waits only for its thread to get the processor. */
static bool is_slow(const struct serve_client *client, int64_t before_ms) {
    const bool sends = client->wait == SERVE_FOR_REQUEST;
    struct pollfd look = {.fd = client->fd, .events = sends ? POLLIN : POLLOUT};
    return client->used && client->wait != SERVE_FOR_US && client->since_ms <= before_ms && poll(&look, 1, 0) == 0;
}

/* Shutting down ends every wait on the socket; its thread closes it. */
static void cut_slow(bool crowded) {
    pthread_mutex_lock(&state.mutex);
    bool hurry = crowded || state.hurries > 0 || state.page_waits > 0;
    int64_t before_ms = spawn_now_ms() - (hurry ? SERVE_CROWDED_MS : SERVE_PATIENCE_MS);
    for (size_t i = 0; i < SERVE_MOST; i++)
        if (is_slow(&state.clients[i], before_ms)) {
            shutdown(state.clients[i].fd, SHUT_RDWR);
            state.cut++;
        }
    pthread_mutex_unlock(&state.mutex);
}

/* ---- one client ---- */

/* Closing may take long: what a client has sent and nobody has read may be descriptors, of sockets that linger. So nobody
 * waits for it, and nothing looks at the number any more, which may soon be another client's. */
static void leave(struct serve_client *client) {
    const uint64_t one = 1;
    int fd = client->fd;
    serve_wait(client, SERVE_FOR_US);
    close(fd);
    pthread_mutex_lock(&state.mutex);
    client->used = false;
    state.count--;
    state.served++;
    pthread_mutex_unlock(&state.mutex);
    ssize_t ignored = write(state.wake, &one, sizeof one);
    (void)ignored; /* full: it is awake anyway */
}

static void *attend(void *arg) {
    struct serve_client *client = arg;
    memguard_status status = memguard_crash_stack();
    (void)status; /* without one a stack that overflows ends the process unwiped, but sealed */
    state.request(client);
    leave(client);
    return NULL;
}

static bool start_thread(struct serve_client *client) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0) return false;
    bool good = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                pthread_create(&thread, &attributes, attend, client) == 0;
    pthread_attr_destroy(&attributes);
    return good;
}

static struct serve_client *find_place(void) {
    for (size_t i = 0; i < SERVE_MOST; i++)
        if (!state.clients[i].used) return &state.clients[i];
    return NULL;
}

static void turn_away(int fd) {
    close(fd);
    pthread_mutex_lock(&state.mutex);
    state.refused++;
    pthread_mutex_unlock(&state.mutex);
}

static void admit(int fd) {
    pid_t pid;
    if (!place_peer_is_ours(fd, &pid)) {
        turn_away(fd);
        return;
    }
    pthread_mutex_lock(&state.mutex);
    struct serve_client *client = find_place(); /* there is one: only this thread takes them */
    *client = (struct serve_client){.fd = fd, .pid = pid, .used = true, .since_ms = spawn_now_ms()};
    state.count++;
    pthread_mutex_unlock(&state.mutex);
    if (!start_thread(client)) leave(client);
}

/* ---- the loop ---- */

static bool is_full(bool *idle) {
    pthread_mutex_lock(&state.mutex);
    bool full = state.count == state.most;
    *idle = state.count == 0;
    pthread_mutex_unlock(&state.mutex);
    return full;
}

static bool is_readable(int fd) {
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, 0) > 0;
}

/* False: it will never work again. */
static bool take_one(int listener) {
    const struct timespec pause = {0, 50000000};
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        admit(fd);
    else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
        return false;
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        nanosleep(&pause, NULL); /* it stays readable */
    return true;
}

static void budget_pages(void) {
    struct wire_status report = {0};
    store_describe(&report);
    uint64_t left = report.lock_limit_bytes - report.lock_in_use_bytes;
    if (left > report.lock_limit_bytes) left = 0;
    state.pages_most = left / PAGES_SHARE;
    if (state.pages_most < PAGES_LEAST) state.pages_most = PAGES_LEAST;
    if (state.pages_most > PAGES_MOST) state.pages_most = PAGES_MOST;
}

/* With fewer descriptors fewer clients are served at once, and the slow are cut as early as elsewhere. */
static void budget_clients(void) {
    struct rlimit limit;
    state.most = SERVE_MOST;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= SERVE_MOST + DESCRIPTORS_KEPT) return;
    state.most = limit.rlim_cur > DESCRIPTORS_KEPT ? (unsigned)limit.rlim_cur - DESCRIPTORS_KEPT : 1;
}

static bool set_up(void (*request)(struct serve_client *client)) {
    pthread_condattr_t attributes;
    state.request = request;
    state.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (state.wake < 0 || pthread_condattr_init(&attributes) != 0) return false;
    bool good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&state.pages_back, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    budget_pages();
    budget_clients();
    return good;
}

void serve(int directory, int listener, void (*request)(struct serve_client *client)) {
    if (!set_up(request)) return;
    while (place_is_held(directory)) {
        uint64_t count;
        bool idle, full = is_full(&idle);
        struct pollfd events[] = {{.fd = state.wake, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        if (poll(events, full ? 1 : 2, idle ? PLACE_MS : WATCH_MS) < 0 && errno != EINTR) return;
        while (read(state.wake, &count, sizeof count) > 0) {
        }
        if (!full && is_readable(listener) && !take_one(listener)) return;
        cut_slow(is_full(&idle) && is_readable(listener));
    }
}

/* ---- protected pages ---- */

static uint64_t charge(uint64_t bytes) { return (bytes / 4096 + 2) * 4096; }

/* Something larger than all that there is goes alone, and the library says whether it fits. */
static bool fits(uint64_t bytes) { return state.pages == 0 || state.pages + bytes <= state.pages_most; }

bool serve_take_pages(uint64_t bytes) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SERVE_PATIENCE_MS / 1000 + 2;
    uint64_t needed = charge(bytes);
    int error = 0;
    pthread_mutex_lock(&state.mutex);
    state.page_waits++;
    while (!fits(needed) && error == 0)
        error = pthread_cond_timedwait(&state.pages_back, &state.mutex, &until);
    state.page_waits--;
    bool good = fits(needed);
    if (good) state.pages += needed;
    pthread_mutex_unlock(&state.mutex);
    return good;
}

void serve_give_pages(uint64_t bytes) {
    pthread_mutex_lock(&state.mutex);
    state.pages -= charge(bytes);
    pthread_cond_broadcast(&state.pages_back);
    pthread_mutex_unlock(&state.mutex);
}

void serve_describe(struct wire_status *status) {
    pthread_mutex_lock(&state.mutex);
    status->clients = state.count;
    status->most_clients = state.most;
    status->served = state.served;
    status->refused = state.refused;
    status->cut = state.cut;
    pthread_mutex_unlock(&state.mutex);
}
