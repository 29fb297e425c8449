/* The runtime directory and the socket in it. Sources: the XDG base directory specification, unix(7), flock(2),
 * openat(2). */
#define _GNU_SOURCE
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ui.h"

#define NAME "memguard"
#define SOCKET "agent.sock"
#define LOCK "agent.lock"

enum { BACKLOG = 256, CONNECT_SECONDS = 30, BASE_MOST = 4096 };

static const char *base_path(char path[BASE_MOST]) {
    const char *given = getenv("XDG_RUNTIME_DIR");
    if (given != NULL && given[0] == '/') return given;
    snprintf(path, BASE_MOST, "/run/user/%u", (unsigned)geteuid());
    return path;
}

/* A directory of ours in which nobody else can write (`others`: the bits that others may not have). */
static int open_ours(int at, const char *name, const char *shown, mode_t others) {
    struct stat info;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() && (info.st_mode & others) == 0) return fd;
    ui_error("%s is not a directory of our own with mode 0700; it has mode %04o and belongs to user %u", shown,
             (unsigned)info.st_mode & 07777, (unsigned)info.st_uid);
    close(fd);
    errno = 0; /* it is said */
    return -1;
}

/* EPERM: it is said. */
static int explain(const char *what, const char *shown) {
    if (errno != 0) ui_error("%s %s: %s", what, shown, strerror(errno));
    errno = EPERM;
    return -1;
}

static int open_base(void) {
    char path[BASE_MOST];
    const char *base = base_path(path);
    int fd = open_ours(AT_FDCWD, base, base, S_IWGRP | S_IWOTH);
    if (fd >= 0) return fd;
    bool absent = errno == ENOENT;
    explain("the runtime directory", base);
    if (absent) ui_error("set XDG_RUNTIME_DIR to a directory of your own, mode 0700, on a file system in memory");
    return -1;
}

/* The way to the socket: see address_of. */
static bool has_proc(void) {
    if (access("/proc/self/fd", X_OK) == 0) return true;
    ui_error("/proc is not there, by which the agent is reached: %s", strerror(errno));
    errno = EPERM; /* it is said */
    return false;
}

int place_open(bool make) {
    int base = has_proc() ? open_base() : -1;
    if (base < 0) return -1;
    bool there = !make || mkdirat(base, NAME, S_IRWXU) == 0 || errno == EEXIST;
    int fd = there ? open_ours(base, NAME, "the directory " NAME " in the runtime directory", S_IRWXG | S_IRWXO) : -1;
    int error = errno;
    close(base);
    errno = error;
    if (fd >= 0 || (!make && error == ENOENT)) return fd;
    return explain("the directory in the runtime directory:", NAME);
}

/* Through the open directory: no length limit, nothing on the way can be changed. */
static void address_of(int directory, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", directory, SOCKET);
}

static int fail(int fd) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool place_peer_is_ours(int fd, pid_t *pid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    *pid = peer.pid;
    return peer.uid == geteuid();
}

/* connect(2) waits while the agent's queue is full, at most so long. */
int place_connect(int directory) {
    const struct timeval patience = {.tv_sec = CONNECT_SECONDS}, for_ever = {0};
    struct sockaddr_un address;
    pid_t pid;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    address_of(directory, &address);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever) != 0)
        return fail(fd);
    if (place_peer_is_ours(fd, &pid)) return fd;
    errno = EPERM;
    return fail(fd);
}

int place_lock(int directory) {
    int fd = openat(directory, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) return -1;
    return flock(fd, LOCK_EX | LOCK_NB) == 0 ? fd : fail(fd);
}

/* Linux 6.16 lets us refuse descriptors that a client passes along (connections have it from the listener). An older kernel
 * closes them for us as they are read, or with the connection, in the thread of that client. */
static void refuse_descriptors(int fd) {
#ifndef SO_PASSRIGHTS
    enum { SO_PASSRIGHTS = 83 };
#endif
    const int no = 0;
    int older = setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof no);
    (void)older;
}

static struct stat bound; /* our socket, as it was bound */
static atomic_bool left;  /* we have removed it ourselves, and are about to end */

/* bind(2) gives the file the mode of the socket's own inode, less the umask. */
int place_listen(int directory) {
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    address_of(directory, &address);
    refuse_descriptors(fd);
    if (unlinkat(directory, SOCKET, 0) != 0 && errno != ENOENT) return fail(fd);
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        fstatat(directory, SOCKET, &bound, AT_SYMLINK_NOFOLLOW) != 0)
        return fail(fd);
    if ((bound.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        errno = EPERM;
        return fail(fd);
    }
    return listen(fd, BACKLOG) == 0 ? fd : fail(fd);
}

bool place_is_held(int directory) {
    struct stat info;
    bool held = fstatat(directory, SOCKET, &info, AT_SYMLINK_NOFOLLOW) == 0 && info.st_ino == bound.st_ino &&
                info.st_dev == bound.st_dev;
    return held || atomic_load(&left); /* looked at last, as it is noted first */
}

void place_leave(int directory) {
    atomic_store(&left, true);
    unlinkat(directory, SOCKET, 0);
}
