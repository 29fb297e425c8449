/* Requests. Secret bytes go from the socket straight into protected pages of the vault, and from there straight to the
 * socket; what lies here on the stack are frames and names. */
#define _GNU_SOURCE
#include "agent_request.h"

#include <dirent.h>
#include <errno.h>
#include <memguard.h>
#include <memguard/codec.h>
#include <memguard/io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent_ask.h"
#include "agent_lock.h"
#include "agent_store.h"
#include "agent_suspend.h"
#include "kdf.h"
#include "spawn.h"

enum { BUSY_TRIES = 200, BUSY_PAUSE_MS = 5 };

static struct {
    void (*end)(void);
    uint64_t hardened;
    int64_t began_ms;
} about;

void request_on_purge(void (*end)(void)) { about.end = end; }

void request_tell(uint64_t hardened, int64_t began_ms) {
    about.hardened = hardened;
    about.began_ms = began_ms;
}

struct request {
    struct serve_client *client;
    struct wire_frame frame;
    char name[WIRE_NAME_MOST + 1];
};

static bool reply(const struct request *request, enum wire_answer answer) {
    struct wire_frame frame = wire_reply(answer);
    return wire_send_frame(request->client->fd, &frame, "");
}

/* ---- bytes that come in ---- */

static void forget(memguard_secret *secret) {
    memguard_status status = memguard_secret_destroy(secret);
    (void)status; /* null: there is none */
}

/* There is room: the client may send. What has come of bytes that break off is forgotten. */
static enum wire_answer receive(const struct request *request, memguard_vault *vault, memguard_secret *secret) {
    size_t bytes = (size_t)request->frame.bytes;
    enum wire_answer answer = WIRE_FAILED;
    serve_wait(request->client, SERVE_FOR_REQUEST);
    if (reply(request, WIRE_GO))
        answer = store_answer(memguard_secret_read_exact(vault, request->client->fd, bytes, MEMGUARD_SEALED, secret));
    serve_wait(request->client, SERVE_FOR_US);
    if (answer != WIRE_DONE) forget(secret);
    return answer;
}

typedef enum wire_answer serve_with_pages(struct request *request);

/* Pages come before room in the store: who waits for them must keep nobody from storing. */
static enum wire_answer with_pages(struct request *request, uint64_t bytes, serve_with_pages *call) {
    if (!serve_take_pages(bytes)) return WIRE_BUSY;
    enum wire_answer answer = call(request);
    serve_give_pages(bytes);
    return answer;
}

static enum wire_answer set_secret(struct request *request) {
    memguard_secret secret = {0};
    enum wire_answer answer = store_reserve(request->frame.bytes);
    if (answer != WIRE_DONE) return answer;
    answer = receive(request, store_vault(), &secret);
    if (answer == WIRE_DONE) return store_put(request->name, secret, &request->frame);
    store_give_back(request->frame.bytes);
    return answer;
}

static enum wire_answer serve_set(struct request *request) {
    if (request->frame.bytes > WIRE_SECRET_MOST) return WIRE_TOO_LARGE;
    return with_pages(request, request->frame.bytes, set_secret);
}

static memguard_status encode(uint32_t flags, memguard_secret *secret) {
    memguard_secret text = {0};
    memguard_status status = (flags & WIRE_HEX) != 0 ? memguard_hex_encode(*secret, MEMGUARD_SEALED, &text)
                                                     : memguard_base64_encode(*secret, 0, MEMGUARD_SEALED, &text);
    memguard_status gone = memguard_secret_destroy(secret);
    *secret = text;
    return status != MEMGUARD_OK ? status : gone;
}

static enum wire_answer make_secret(struct request *request) {
    memguard_secret secret = {0};
    uint32_t codec = request->frame.flags & (WIRE_HEX | WIRE_BASE64);
    size_t bytes = (size_t)request->frame.bytes;
    request->frame.bytes = codec == WIRE_HEX ? 2 * bytes : codec == WIRE_BASE64 ? (bytes + 2) / 3 * 4 : bytes;
    enum wire_answer answer = store_reserve(request->frame.bytes);
    if (answer != WIRE_DONE) return answer;
    memguard_status status = memguard_secret_random(store_vault(), bytes, MEMGUARD_SEALED, &secret);
    if (status == MEMGUARD_OK && codec != 0) status = encode(codec, &secret);
    if (status == MEMGUARD_OK) return store_put(request->name, secret, &request->frame);
    store_give_back(request->frame.bytes);
    return store_answer(status);
}

/* While it is encoded there are the bytes, and at the most twice as many of text. */
static enum wire_answer serve_make(struct request *request) {
    const uint32_t both = WIRE_HEX | WIRE_BASE64, codec = request->frame.flags & both;
    if (request->frame.bytes > WIRE_SECRET_MOST) return WIRE_TOO_LARGE;
    if (codec == both) return WIRE_NOT_UNDERSTOOD;
    return with_pages(request, (codec != 0 ? 3 : 1) * request->frame.bytes, make_secret);
}

/* ---- bytes that go out ---- */

struct sending {
    int fd;
    bool begun;
    const char *forget; /* the name that is forgotten with it; NULL: none */
    memguard_secret secret;
    struct wire_frame frame;
};

/* The answer and the bytes in one go. Not all may be taken at once. What is to be forgotten is ours from here, or was taken
 * by somebody else who is here, too. */
static int send_secret(const void *bytes, size_t size, void *arg) {
    struct sending *sending = arg;
    if (sending->forget != NULL && !store_take(sending->forget, sending->secret)) return ENOENT;
    struct iovec parts[] = {{&sending->frame, sizeof sending->frame}, {(void *)(uintptr_t)bytes, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    sending->begun = true;
    sending->frame.bytes = size;
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(sending->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return errno;
        for (size_t i = 0, left = (size_t)sent; i < 2; i++) {
            size_t part = left < parts[i].iov_len ? left : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            left -= part;
        }
    }
    return 0;
}

/* Another thread may just be locking, or opening for the first time: BUSY passes. */
static enum wire_answer use(struct sending *sending) {
    const struct timespec pause = {0, BUSY_PAUSE_MS * 1000000L};
    int error = 0;
    memguard_status status = memguard_secret_use(sending->secret, send_secret, sending, &error);
    for (int i = 0; i < BUSY_TRIES && status == MEMGUARD_ERR_BUSY && !sending->begun; i++) {
        nanosleep(&pause, NULL);
        status = memguard_secret_use(sending->secret, send_secret, sending, &error);
    }
    return error == ENOENT && !sending->begun ? WIRE_NO_SECRET : store_answer(status);
}

/* True: the answer is out, or cannot be given any more. */
static bool hand_out(struct request *request, const struct store_found *found, enum wire_answer *answer) {
    struct sending sending = {.fd = request->client->fd, .secret = found->secret, .frame = wire_reply(WIRE_DONE)};
    if ((request->frame.flags & WIRE_FORGET) != 0) sending.forget = request->name;
    *answer = WIRE_BUSY;
    if (!serve_take_pages(found->bytes)) return false;
    serve_wait(request->client, SERVE_FOR_READER);
    *answer = use(&sending);
    serve_give_pages(found->bytes);
    return sending.begun;
}

static bool serve_get(struct request *request, enum wire_answer *answer) {
    struct store_found found;
    *answer = store_find(request->name, &found);
    if (*answer != WIRE_DONE) return false;
    if ((found.flags & WIRE_NO_REVEAL) != 0 && (request->frame.flags & WIRE_FOR_PROGRAM) == 0)
        *answer = WIRE_NO_REVEALING;
    else if ((found.flags & WIRE_CONFIRM) != 0)
        *answer = ask_person(request->client, request->name);
    return *answer == WIRE_DONE && hand_out(request, &found, answer);
}

/* ---- facts ---- */

static bool send_entry(const struct wire_frame *frame, const char *name, void *arg) {
    return wire_send_frame(*(const int *)arg, frame, name);
}

static enum wire_answer serve_list(struct request *request) {
    serve_wait(request->client, SERVE_FOR_READER);
    return store_each(send_entry, &request->client->fd) ? WIRE_DONE : WIRE_FAILED;
}

static uint64_t count_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) return 0;
    uint64_t count = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - 1; /* the directory itself */
}

static void serve_status(const struct request *request) {
    struct wire_status status = {.pid = (uint64_t)getpid(), .hardened = about.hardened};
    status.uptime_ms = (uint64_t)(spawn_now_ms() - about.began_ms);
    status.descriptors = count_descriptors();
    status.can_ask = ask_is_possible();
    status.can_lock = kdf_is_built_in;
    status.suspend = suspend_state();
    store_describe(&status);
    serve_describe(&status);
    if (reply(request, WIRE_DONE)) wire_send(request->client->fd, &status, sizeof status);
}

static void serve_purge(const struct request *request) {
    struct wire_frame frame = wire_reply(WIRE_DONE);
    frame.count = store_purge();
    wire_send_frame(request->client->fd, &frame, "");
    about.end();
}

/* ---- the passphrase ---- */

static enum wire_answer receive_passphrase(struct request *request, memguard_secret *passphrase) {
    if (!serve_take_pages(request->frame.bytes)) return WIRE_BUSY;
    enum wire_answer answer = receive(request, store_work(), passphrase);
    serve_give_pages(request->frame.bytes);
    return answer;
}

static enum wire_answer serve_passphrase(struct request *request, uint64_t *later_ms) {
    memguard_secret passphrase = {0};
    bool lock = request->frame.op == WIRE_LOCK;
    if (request->frame.bytes == 0 || request->frame.bytes > WIRE_PASSPHRASE_MOST) return WIRE_TOO_LARGE;
    enum wire_answer answer = lock_may_be_tried(lock, later_ms);
    if (answer != WIRE_DONE) return answer;
    answer = receive_passphrase(request, &passphrase);
    if (answer != WIRE_DONE) return answer;
    answer = lock ? lock_store(passphrase) : unlock_store(passphrase, later_ms);
    memguard_status gone = memguard_secret_destroy(&passphrase);
    return gone == MEMGUARD_OK || answer != WIRE_DONE ? answer : store_answer(gone);
}

/* ---- one request ---- */

static bool is_whole(const struct request *request) {
    const struct wire_frame *frame = &request->frame;
    bool named = frame->op == WIRE_SET || frame->op == WIRE_MAKE || frame->op == WIRE_GET || frame->op == WIRE_REMOVE;
    bool with_bytes =
        frame->op == WIRE_SET || frame->op == WIRE_MAKE || frame->op == WIRE_LOCK || frame->op == WIRE_UNLOCK;
    return frame->op != 0 && frame->answer == 0 && named == (frame->name_bytes != 0) &&
           (with_bytes || frame->bytes == 0);
}

static void answer_request(struct request *request) {
    struct wire_frame frame = wire_reply(WIRE_NOT_UNDERSTOOD);
    enum wire_answer answer = WIRE_NOT_UNDERSTOOD;
    switch (request->frame.op) {
    case WIRE_SET:
        answer = serve_set(request);
        break;
    case WIRE_MAKE:
        answer = serve_make(request);
        break;
    case WIRE_GET:
        if (serve_get(request, &answer)) return;
        break;
    case WIRE_LIST:
        answer = serve_list(request);
        break;
    case WIRE_REMOVE:
        answer = store_remove(request->name);
        break;
    case WIRE_REMOVE_ALL:
        frame.count = store_remove_all(), answer = WIRE_DONE;
        break;
    case WIRE_STATUS:
        serve_status(request);
        return;
    case WIRE_LOCK:
    case WIRE_UNLOCK:
        answer = serve_passphrase(request, &frame.ttl_ms);
        break;
    case WIRE_PURGE:
        serve_purge(request);
        return;
    default:
        break;
    }
    frame.answer = answer;
    serve_wait(request->client, SERVE_FOR_READER);
    wire_send_frame(request->client->fd, &frame, "");
}

void request_serve(struct serve_client *client) {
    struct request request = {.client = client};
    if (!wire_receive_frame(client->fd, &request.frame, request.name)) {
        if (errno == EPROTO) reply(&request, WIRE_NOT_UNDERSTOOD);
        return;
    }
    serve_wait(client, SERVE_FOR_US);
    if (is_whole(&request))
        answer_request(&request);
    else
        reply(&request, WIRE_NOT_UNDERSTOOD);
}
