/* Pipes with a secret. Our end does not block, so that a child that does not read keeps us from nothing. Must not
 * know: signals (SIGPIPE is ignored or blocked by others). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "exec.h"
#include "ui.h"

void exec_pipe_close(int *end) {
    if (*end >= 0) close(*end);
    *end = -1;
}

void exec_move_up(int *fd) {
    int higher = fcntl(*fd, F_DUPFD_CLOEXEC, EXEC_FIRST_NUMBER);
    if (higher < 0) return;
    close(*fd);
    *fd = higher;
}

static int write_what_fits(const void *bytes, size_t size, void *arg) {
    struct exec_pipe *pipe = arg;
    while (pipe->done < size) {
        ssize_t wrote = write(pipe->in, (const char *)bytes + pipe->done, size - pipe->done);
        if (wrote > 0) pipe->done += (size_t)wrote;
        if (wrote < 0 && errno == EAGAIN) return 0;
        if (wrote < 0 && errno != EINTR) return errno;
    }
    return EPIPE; /* nothing more is to be done */
}

bool exec_pipe_feed(struct exec_pipe *pipe, memguard_secret secret) {
    int error = 0;
    memguard_status status = memguard_secret_use(secret, write_what_fits, pipe, &error);
    if (status == MEMGUARD_OK && error == 0) return true;
    exec_pipe_close(&pipe->in);
    if (status != MEMGUARD_OK) ui_library_error("the pipe", status);
    if (error != 0 && error != EPIPE) ui_error("the pipe: %s", strerror(error));
    return status == MEMGUARD_OK && (error == 0 || error == EPIPE);
}

bool exec_pipe_open(struct exec_pipe *pipe, memguard_secret secret) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ui_error("the pipe: %s", strerror(errno));
        return false;
    }
    pipe->out = ends[0];
    pipe->in = ends[1];
    int flags = fcntl(pipe->in, F_GETFL);
    if (flags < 0 || fcntl(pipe->in, F_SETFL, flags | O_NONBLOCK) != 0) {
        ui_error("the pipe: %s", strerror(errno));
        return false;
    }
    exec_move_up(&pipe->out);
    return exec_pipe_feed(pipe, secret);
}
