/* agent_talk.h: what the clients of the agent's tests have in common: one seed for all choices, the connection, frames.
 * Included by one file a program. */
#ifndef AGENT_TALK_H
#define AGENT_TALK_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

static const char *place; /* the socket's path */
static uint64_t seed = 1;

static inline uint64_t draw(uint64_t below) { /* splitmix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline void nap(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static inline int say(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    return 1;
}

static inline int reach(void) {
    const struct timeval patience = {.tv_sec = 60};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(place) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, place, strlen(place) + 1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static inline bool request(int fd, enum wire_op op, const char *name, uint64_t bytes) {
    struct wire_frame frame = wire_request(op);
    frame.name_bytes = (uint32_t)strlen(name);
    frame.bytes = bytes;
    return wire_send_frame(fd, &frame, name);
}

static inline bool answer(int fd, struct wire_frame *frame) {
    char name[WIRE_NAME_MOST + 1];
    return wire_receive_frame(fd, frame, name);
}

/* ---- garbage ---- */

static bool spare_unlock; /* a wrong passphrase would put off the right one */

/* What would rightly change something that the test needs. */
static inline bool is_harmful(const struct wire_frame *frame) {
    return frame->op == WIRE_PURGE || frame->op == WIRE_LOCK || frame->op == WIRE_REMOVE_ALL ||
           (spare_unlock && frame->op == WIRE_UNLOCK);
}

static inline size_t mutate(unsigned char *bytes, size_t size, size_t room) {
    struct wire_frame frame;
    switch (draw(6)) {
    case 0:
        return draw(size + 1); /* cut short */
    case 1:                    /* all of it is noise */
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)draw(256);
        return size;
    case 2: /* more than there should be */
        for (size_t i = size; i < room; i++)
            bytes[i] = (unsigned char)draw(256);
        return size + draw(room - size);
    case 3: /* a number that is too large */
        memcpy(&frame, bytes, sizeof frame);
        *(draw(2) == 0 ? &frame.bytes : &frame.ttl_ms) = UINT64_MAX >> draw(64);
        frame.name_bytes = (uint32_t)draw(2) == 0 ? frame.name_bytes : (uint32_t)draw(UINT32_MAX);
        memcpy(bytes, &frame, sizeof frame);
        return size;
    default: /* some bits */
        for (uint64_t i = draw(8); i-- > 0;)
            bytes[draw(size)] ^= (unsigned char)(1U << draw(8));
        return size;
    }
}

static inline void read_a_little(int fd) {
    char buffer[4096];
    struct pollfd look = {.fd = fd, .events = POLLIN};
    while (poll(&look, 1, 2) > 0 && recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
}

static inline int fuzz_once(void) {
    unsigned char bytes[sizeof(struct wire_frame) + 512] = {0};
    struct wire_frame frame = wire_request((enum wire_op)(1 + draw(WIRE_OPS - 1)));
    const char name[] = "fuzz/name";
    frame.flags = (uint32_t)draw(WIRE_FLAGS + 1);
    frame.name_bytes = draw(3) == 0 ? 0 : sizeof name - 1;
    frame.bytes = draw(3) == 0 ? 0 : draw(2000);
    frame.uses = draw(3);
    memcpy(bytes, &frame, sizeof frame);
    memcpy(bytes + sizeof frame, name, sizeof name - 1);
    size_t size = mutate(bytes, sizeof frame + frame.name_bytes, sizeof bytes);
    memcpy(&frame, bytes, sizeof frame);
    if (is_harmful(&frame)) return 0;
    int fd = reach();
    if (fd < 0) return say("connect");
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    (void)sent;
    if (draw(4) != 0) shutdown(fd, SHUT_WR);
    read_a_little(fd);
    close(fd);
    return 0;
}

/* ---- clients that stop ---- */

/* In five ways: says nothing; half a frame; a frame without its name; bytes announced, none given; half of them. */
static inline int stop_at(uint64_t way) {
    struct wire_frame frame = wire_request(WIRE_SET), go;
    static char half[5000];
    int fd = reach();
    if (fd < 0 || way == 0) return fd;
    frame.name_bytes = 9;
    frame.bytes = 2 * sizeof half;
    if (way == 1) {
        ssize_t sent = send(fd, &frame, sizeof frame / 2, MSG_NOSIGNAL);
        (void)sent;
    } else if (way == 2) {
        wire_send(fd, &frame, sizeof frame);
    } else if (request(fd, WIRE_SET, "stalled/x", 2 * sizeof half) && answer(fd, &go) && way == 4) {
        wire_send(fd, half, sizeof half);
    }
    return fd;
}

#endif
