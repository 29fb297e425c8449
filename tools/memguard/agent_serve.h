/* agent_serve.h: many clients at once, none of which can harm the others: who may come, for how long, and what they may
 * take of the lockable memory together. A thread for each connection, of which there are SERVE_MOST at the most; others wait
 * in the socket's queue. Who is too slow is cut: its connection is shut down, which ends every wait on it. Must not know:
 * what is asked for. */
#ifndef MEMGUARD_AGENT_SERVE_H
#define MEMGUARD_AGENT_SERVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

enum {
    SERVE_MOST = 64,
    SERVE_PATIENCE_MS = 10000, /* for a request to come in, and for an answer to be taken */
    SERVE_CROWDED_MS = 3000,   /* the same while others wait */
};

enum serve_wait {
    SERVE_FOR_REQUEST, /* the client has to send */
    SERVE_FOR_READER,  /* the client has to take the answer */
    SERVE_FOR_US,      /* for a person, a cipher or others: it waits for us */
};

struct serve_client {
    int fd;
    pid_t pid; /* of the process that connected */
    bool used; /* the rest is the business of agent_serve.c */
    enum serve_wait wait;
    int64_t since_ms; /* when this wait began */
};

/* Serves for ever what comes to `listener`. Returns when that cannot go on, or the socket is no longer in `directory`. */
void serve(int directory, int listener, void (*request)(struct serve_client *client));

/* Who waits for whom from now on: for how long is counted from here. */
void serve_wait(struct serve_client *client, enum serve_wait wait);

/* Takes part of what all may have in protected pages at the same time; waits until others have given theirs back, a while.
 * False: BUSY. */
bool serve_take_pages(uint64_t bytes);
void serve_give_pages(uint64_t bytes);

/* Somebody waits for the others to be done: who is slow is cut earlier. */
void serve_hurry(bool on);

void serve_describe(struct wire_status *status);

#endif
