/* The contract of sys/io.h on Linux. Sources: man-pages read(2), send(2), poll(2), signal(7), pipe(7), termios(3),
 * ioctl_tty(2), fopencookie(3); drivers/tty/n_tty.c (what canonical mode keeps and wipes).
 * System calls that the C library wraps as cancellation points are made directly.
 * Must not know: secrets, vaults. */
#define _GNU_SOURCE
#include "sys/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- the table ---- */

static long real_read(int d, void *p, size_t n) { return syscall(SYS_read, d, p, n); }
static long real_write(int d, const void *p, size_t n) { return syscall(SYS_write, d, p, n); }
static long real_send(int d, const void *p, size_t n) { return syscall(SYS_sendto, d, p, n, MSG_NOSIGNAL, NULL, 0); }
static int real_poll(int d, short events, unsigned ms) {
    struct pollfd one = {d, events, 0};
    const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    return (int)syscall(SYS_ppoll, &one, 1, &time, NULL, 0);
}
static int real_open_tty(void) {
    return (int)syscall(SYS_openat, AT_FDCWD, "/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
}
static int real_get_modes(int d, void *modes) { return tcgetattr(d, modes); }
static int real_set_modes(int d, int when, const void *modes) { return tcsetattr(d, when, modes); }

#define REAL_TABLE                                                                                                     \
    { real_read, real_write, real_send, real_poll, real_open_tty, real_get_modes, real_set_modes }

#ifdef MEMGUARD_TESTING
struct mg__sys_io_table mg__sys_io_table = REAL_TABLE;
#define CALL mg__sys_io_table
#else
static const struct mg__sys_io_table table = REAL_TABLE;
#define CALL table
#endif

/* ---- descriptors ---- */

enum { MOST_BYTES = 1 << 30 }; /* the kernel moves at most 2 GiB less a page in one call */

long mg__sys_read(int descriptor, void *to, size_t bytes, int *error) {
    const long got = CALL.read(descriptor, to, mg__min_size(bytes, MOST_BYTES));
    *error = got < 0 ? errno : 0;
    return got;
}

/* What write(2) does to a pipe without readers, and this thread, is a SIGPIPE: it is blocked, and taken back unless one
 * was pending before. */
static long write_quietly(int descriptor, const void *from, size_t bytes, int *error) {
    sigset_t pipe_alone, before, pending;
    const struct timespec at_once = {0, 0};
    /* These fail only for invalid arguments. */
    (void)sigemptyset(&pipe_alone);
    (void)sigaddset(&pipe_alone, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_alone, &before);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    const long put = CALL.write(descriptor, from, bytes);
    *error = put < 0 ? errno : 0;
    if (*error == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
        const int cancel = mg__sys_cancel_off();
        /* EAGAIN: it was ignored, and so never pending. */
        while (sigtimedwait(&pipe_alone, NULL, &at_once) < 0 && errno == EINTR) {
        }
        mg__sys_cancel_restore(cancel);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return put;
}

long mg__sys_write(int descriptor, const void *from, size_t bytes, int *error) {
    const size_t piece = mg__min_size(bytes, MOST_BYTES);
    const long put = CALL.send(descriptor, from, piece);
    *error = put < 0 ? errno : 0;
    return *error == ENOTSOCK ? write_quietly(descriptor, from, piece, error) : put;
}

/* poll(2) waits for ever for something to read at the writing end of a pipe. */
static bool is_the_wrong_end(int descriptor, bool to_write) {
    const int flags =
        fcntl(descriptor, F_GETFL); /* no cancellation point; fails only for a descriptor that is closed */
    return flags < 0 || (flags & O_ACCMODE) == (to_write ? O_RDONLY : O_WRONLY);
}

enum mg__wait mg__sys_await(int descriptor, bool to_write, unsigned ms) {
    if (descriptor < 0) return MG_WAIT_READY; /* poll(2) would skip it */
    const int ready = CALL.poll(descriptor, to_write ? POLLOUT : POLLIN, ms);
    if (ready == 0) return is_the_wrong_end(descriptor, to_write) ? MG_WAIT_READY : MG_WAIT_NOT_YET;
    return ready < 0 && errno == EINTR ? MG_WAIT_SIGNAL : MG_WAIT_READY;
}

/* ---- terminals ---- */

int mg__sys_tty_open(int *error) {
    const int descriptor = CALL.open_tty();
    *error = descriptor < 0 ? errno : 0;
    return descriptor;
}

static int get_modes(int descriptor, struct termios *modes) {
    return CALL.get_modes(descriptor, modes) == 0 ? 0 : errno;
}

bool mg__sys_is_tty(int descriptor) {
    struct termios modes;
    return get_modes(descriptor, &modes) == 0;
}

bool mg__sys_tty_is_ours(int descriptor) {
    const pid_t foreground = tcgetpgrp(descriptor);
    return foreground < 0 || foreground == getpgrp(); /* < 0: not the controlling terminal */
}

/* A process in the background would be stopped for changing a terminal; with SIGTTOU blocked it is not. */
static int set_modes(int descriptor, int when, const struct termios *modes) {
    sigset_t stop_alone, before;
    int error = 0;
    /* These fail only for invalid arguments. */
    (void)sigemptyset(&stop_alone);
    (void)sigaddset(&stop_alone, SIGTTOU);
    (void)pthread_sigmask(SIG_BLOCK, &stop_alone, &before);
    do
        error = CALL.set_modes(descriptor, when, modes) == 0 ? 0 : errno;
    while (error == EINTR);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int key_of(const struct termios *modes, int key) {
    return modes->c_cc[key] == _POSIX_VDISABLE ? MG_TTY_NO_KEY : modes->c_cc[key];
}

/* ICANON without ECHO is the only mode in which the kernel wipes what it keeps of a line (n_tty.c, zero_buffer). */
static void hide(struct termios *modes) {
    modes->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG);
    modes->c_lflag |= ICANON | IEXTEN;
    modes->c_iflag &= ~(tcflag_t)(INLCR | IGNCR);
    modes->c_iflag |= ICRNL;
    modes->c_cc[VEOL] = modes->c_cc[VINTR];
    modes->c_cc[VEOL2] = modes->c_cc[VSUSP];
}

/* tcsetattr(3) succeeds when any of the changes was made: the one that matters is looked at. */
static int check_hidden(int descriptor) {
    struct termios modes;
    const int error = get_modes(descriptor, &modes);
    if (error != 0) return error;
    return (modes.c_lflag & (ECHO | ISIG)) == 0 && (modes.c_lflag & ICANON) != 0 ? 0 : EIO;
}

_Static_assert(sizeof(struct termios) <= sizeof((struct mg__sys_tty *)0)->modes, "room for the modes of a terminal");

int mg__sys_tty_hide(int descriptor, struct mg__sys_tty *tty) {
    struct termios modes;
    int error = get_modes(descriptor, &modes);
    if (error != 0) return error;
    memcpy(tty->modes, &modes, sizeof modes);
    tty->descriptor = descriptor;
    tty->interrupt = key_of(&modes, VINTR);
    tty->suspend = key_of(&modes, VSUSP);
    tty->quit = key_of(&modes, VQUIT);
    hide(&modes);
    error = set_modes(descriptor, TCSAFLUSH, &modes);
    if (error != 0) return error;
    error = check_hidden(descriptor);
    if (error != 0) (void)mg__sys_tty_restore(tty, true); /* the first error is the one to tell */
    return error;
}

int mg__sys_tty_restore(const struct mg__sys_tty *tty, bool drop_input) {
    struct termios modes;
    memcpy(&modes, tty->modes, sizeof modes);
    return set_modes(tty->descriptor, drop_input ? TCSAFLUSH : TCSADRAIN, &modes);
}

/* ---- FILE* ---- */

static long told(long moved, long failed) {
    if (moved >= 0) return moved;
    errno = (int)-moved;
    return failed;
}

static ssize_t file_read(void *cookie, char *to, size_t bytes) {
    struct mg__sys_file *file = cookie;
    return told(file->read(file, to, bytes), -1);
}

static ssize_t file_write(void *cookie, const char *from, size_t bytes) {
    struct mg__sys_file *file = cookie;
    return told(file->write(file, from, bytes), 0); /* never negative: fopencookie(3) */
}

static int file_close(void *cookie) {
    struct mg__sys_file *file = cookie;
    file->end(file);
    return 0;
}

FILE *mg__sys_file_open(struct mg__sys_file *file, bool to_write, int *error) {
    const cookie_io_functions_t functions = {file_read, file_write, NULL, file_close};
    FILE *opened = fopencookie(file, to_write ? "w" : "r", functions);
    *error = opened == NULL ? errno : 0;
    /* stdio's buffer would be an ordinary one that nobody wipes. Fails only for an unknown mode. */
    if (opened != NULL) (void)setvbuf(opened, NULL, _IONBF, 0);
    return opened;
}
