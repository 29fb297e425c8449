/* wire.h: what agent and client say to each other over the socket: frames of 64 bytes, in the byte order of the machine,
 * with public facts only. A name follows its frame; secret bytes follow theirs and are never read or written here.
 *
 *   one request a connection:   client  FRAME NAME                            agent  ANSWER
 *   with secret bytes to give:  client  FRAME NAME ... waits for GO ... BYTES agent  GO ... ANSWER
 *   that gets secret bytes:     client  FRAME NAME                            agent  ANSWER BYTES
 *   a list:                     client  FRAME                                 agent  ENTRY NAME, ENTRY NAME, ... DONE
 *
 * So no secret byte leaves the client before the agent has looked at the request and made room for it. */
#ifndef MEMGUARD_WIRE_H
#define MEMGUARD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"

enum {
    WIRE_MAGIC = 0x4147474d, /* "MGGA" */
    WIRE_VERSION = 1,
    WIRE_NAME_MOST = 255,
    WIRE_PASSPHRASE_MOST = 1024,
    WIRE_SECRET_MOST = 1 << 20,
};

enum wire_op {
    WIRE_SET = 1,
    WIRE_MAKE, /* as SET, but the agent draws the bytes: `bytes` of them, before encoding */
    WIRE_GET,
    WIRE_LIST,
    WIRE_REMOVE,
    WIRE_REMOVE_ALL,
    WIRE_STATUS, /* the answer is followed by a struct wire_status */
    WIRE_LOCK,   /* the bytes are a passphrase */
    WIRE_UNLOCK,
    WIRE_PURGE,
    WIRE_OPS
};

enum {
    WIRE_CONFIRM = 1 << 0,     /* ask a person before each use */
    WIRE_NO_REVEAL = 1 << 1,   /* not for `get` */
    WIRE_FOR_PROGRAM = 1 << 2, /* of a GET: to be handed to a program, not shown */
    WIRE_HEX = 1 << 3,         /* of a MAKE */
    WIRE_BASE64 = 1 << 4,
    WIRE_FORGET = 1 << 5, /* of a GET: forgotten while it is handed out */
    WIRE_FLAGS = (1 << 6) - 1
};

/* Answers: name, exit code of the client, what it tells the person. */
#define WIRE_ANSWERS(X)                                                                                                \
    X(DONE, EXIT_GOOD, "done")                                                                                         \
    X(GO, EXIT_BAD, "the agent waits for bytes that nobody announced")                                                 \
    X(ENTRY, EXIT_BAD, "an entry of a list that nobody asked for")                                                     \
    X(NO_SECRET, EXIT_NO_SECRET, "no such secret (any more)")                                                          \
    X(LOCKED, EXIT_LOCKED, "the agent is locked: memguard unlock")                                                     \
    X(NOT_LOCKED, EXIT_BAD, "the agent is not locked")                                                                 \
    X(NO_REVEALING, EXIT_REFUSED, "refused: set with --no-reveal; it is handed to programs only")                      \
    X(SAID_NO, EXIT_REFUSED, "refused by the person who was asked, or by nobody in time")                              \
    X(NOBODY, EXIT_REFUSED, "refused: set with --confirm, and the agent has no way to ask (MEMGUARD_ASKPASS)")         \
    X(WRONG, EXIT_REFUSED, "wrong passphrase")                                                                         \
    X(LATER, EXIT_REFUSED, "refused: too soon after a wrong passphrase")                                               \
    X(NOT_BUILT, EXIT_BAD, "not built in: this program was built without libargon2")                                   \
    X(TOO_LARGE, EXIT_BAD, "too large (a secret: 1 MiB at most, a passphrase: 1024 bytes)")                            \
    X(FULL, EXIT_BAD, "the agent is full: remove secrets (memguard rm)")                                               \
    X(NO_LOCKABLE, EXIT_BAD, "the agent has no lockable memory left for this (ulimit -l)")                             \
    X(BUSY, EXIT_BAD, "the agent is busy with the same for somebody else; try again")                                  \
    X(NOT_UNDERSTOOD, EXIT_BAD, "the agent does not understand: is it of another version? (memguard purge ends it)")   \
    X(FAILED, EXIT_BAD, "the agent failed; its terminal or journal may tell more")

enum wire_answer {
#define WIRE_ANSWER_ENUM(name, code, text) WIRE_##name,
    WIRE_ANSWERS(WIRE_ANSWER_ENUM)
#undef WIRE_ANSWER_ENUM
        WIRE_ANSWER_COUNT
};

struct wire_frame {
    uint32_t magic;
    uint16_t version;
    uint16_t op;     /* of a request; 0 in an answer */
    uint32_t answer; /* of an answer; 0 in a request */
    uint32_t flags;
    uint32_t name_bytes; /* that follow */
    uint32_t reserved;   /* 0 */
    uint64_t bytes;      /* secret bytes that follow; of an ENTRY: the size */
    uint64_t ttl_ms;     /* of an ENTRY: until it expires by itself; 0: never. Of LATER: until an attempt is allowed */
    uint64_t idle_ms;
    uint64_t uses;
    uint64_t count; /* of REMOVE_ALL and PURGE: secrets removed */
};
_Static_assert(sizeof(struct wire_frame) == 64, "a frame has no gaps");

enum wire_suspend { WIRE_SUSPEND_UNWATCHED, WIRE_SUSPEND_WATCHED, WIRE_SUSPEND_LOST };

struct wire_status {
    uint64_t pid, uptime_ms;
    uint64_t locked; /* 0 or 1 */
    uint64_t protections, hardened;
    uint64_t backend;
    uint64_t secrets, secret_bytes, most_secrets, most_bytes;
    uint64_t clients, most_clients, served, refused, cut;
    uint64_t descriptors; /* open in the agent */
    uint64_t lock_limit_bytes, lock_in_use_bytes;
    uint64_t can_ask;  /* 1: a person can be asked */
    uint64_t can_lock; /* 1: built with libargon2 */
    uint64_t suspend;  /* enum wire_suspend */
};

extern const char *const wire_texts[WIRE_ANSWER_COUNT];
extern const int wire_codes[WIRE_ANSWER_COUNT];

/* 1 to 255 letters, digits and ._@:/+=-, the first a letter, a digit or _ */
bool wire_name_is_good(const char *name, size_t bytes);

/* Magic, version and ranges that hold for every frame. */
bool wire_frame_is_good(const struct wire_frame *frame);

struct wire_frame wire_request(enum wire_op op);
struct wire_frame wire_reply(enum wire_answer answer);

/* All of it, or false (errno; 0: the other side has closed). Never for secret bytes. */
bool wire_send(int fd, const void *bytes, size_t size);
bool wire_receive(int fd, void *bytes, size_t size);

/* A frame and the name after it. `name`: room for WIRE_NAME_MOST and an end; "" when there is none. */
bool wire_send_frame(int fd, const struct wire_frame *frame, const char *name);
bool wire_receive_frame(int fd, struct wire_frame *frame, char *name);

#endif
