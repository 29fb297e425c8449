/* Frames: made, judged, sent and received whole. Must not know: secrets. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

const char *const wire_texts[WIRE_ANSWER_COUNT] = {
#define WIRE_ANSWER_TEXT(name, code, text) text,
    WIRE_ANSWERS(WIRE_ANSWER_TEXT)
#undef WIRE_ANSWER_TEXT
};
const int wire_codes[WIRE_ANSWER_COUNT] = {
#define WIRE_ANSWER_CODE(name, code, text) code,
    WIRE_ANSWERS(WIRE_ANSWER_CODE)
#undef WIRE_ANSWER_CODE
};

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool wire_name_is_good(const char *name, size_t bytes) {
    if (bytes == 0 || bytes > WIRE_NAME_MOST || !is_plain(name[0])) return false;
    for (size_t i = 1; i < bytes; i++)
        if (name[i] == '\0' || (!is_plain(name[i]) && strchr("._@:/+=-", name[i]) == NULL)) return false;
    return true;
}

bool wire_frame_is_good(const struct wire_frame *frame) {
    return frame->magic == WIRE_MAGIC && frame->version == WIRE_VERSION && frame->op < WIRE_OPS &&
           frame->answer < WIRE_ANSWER_COUNT && (frame->flags & ~(uint32_t)WIRE_FLAGS) == 0 &&
           frame->name_bytes <= WIRE_NAME_MOST && frame->reserved == 0;
}

struct wire_frame wire_request(enum wire_op op) {
    return (struct wire_frame){.magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = (uint16_t)op};
}

struct wire_frame wire_reply(enum wire_answer answer) {
    return (struct wire_frame){.magic = WIRE_MAGIC, .version = WIRE_VERSION, .answer = answer};
}

bool wire_send(int fd, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

bool wire_receive(int fd, void *bytes, size_t size) {
    char *at = bytes;
    while (size > 0) {
        ssize_t got = recv(fd, at, size, MSG_WAITALL);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

bool wire_send_frame(int fd, const struct wire_frame *frame, const char *name) {
    char both[sizeof *frame + WIRE_NAME_MOST];
    memcpy(both, frame, sizeof *frame);
    if (frame->name_bytes > 0) memcpy(both + sizeof *frame, name, frame->name_bytes);
    return wire_send(fd, both, sizeof *frame + frame->name_bytes);
}

bool wire_receive_frame(int fd, struct wire_frame *frame, char *name) {
    name[0] = '\0';
    if (!wire_receive(fd, frame, sizeof *frame)) return false;
    if (!wire_frame_is_good(frame)) {
        errno = EPROTO;
        return false;
    }
    if (frame->name_bytes == 0) return true;
    if (!wire_receive(fd, name, frame->name_bytes)) return false;
    name[frame->name_bytes] = '\0';
    if (wire_name_is_good(name, frame->name_bytes)) return true;
    errno = EPROTO;
    return false;
}
