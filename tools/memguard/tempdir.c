/* Private directories in memory. Sources: tmpfs(5), statfs(2). */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tidy.h"

static bool is_in_memory(const char *path) {
    struct statfs info;
    return statfs(path, &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

static bool make_below(const char *parent, char path[TEMPDIR_PATH]) {
    static const char pattern[] = "/memguard-XXXXXX";
    sigset_t before;
    if (parent == NULL || parent[0] != '/' || strlen(parent) + sizeof pattern > TEMPDIR_PATH || !is_in_memory(parent))
        return false;
    snprintf(path, TEMPDIR_PATH, "%.*s%s", TEMPDIR_PATH - (int)sizeof pattern, parent, pattern);
    tidy_hold(&before);
    bool made = mkdtemp(path) != NULL;
    if (made && !tidy_add_path(path)) {
        rmdir(path);
        made = false;
    }
    tidy_go_on(&before);
    return made;
}

bool tempdir_make(char path[TEMPDIR_PATH]) {
    const char *parents[] = {getenv("XDG_RUNTIME_DIR"), "/dev/shm", getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < sizeof parents / sizeof parents[0]; i++)
        if (make_below(parents[i], path)) return true;
    path[0] = '\0';
    return false;
}

/* Zeros from `at` to `end`. False: that failed. */
static bool write_zeros(int fd, off_t at, off_t end) {
    static const char zeros[16384];
    while (at < end) {
        size_t part = end - at < (off_t)sizeof zeros ? (size_t)(end - at) : sizeof zeros;
        ssize_t put = pwrite(fd, zeros, part, at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += put;
    }
    return true;
}

/* All data, but no holes: these hold nothing, and filling them would take memory. */
static void overwrite(int fd) {
    off_t at = lseek(fd, 0, SEEK_DATA);
    while (at >= 0) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        if (end < 0 || !write_zeros(fd, at, end)) return;
        at = lseek(fd, end, SEEK_DATA); /* ENXIO: no more */
    }
}

bool tempdir_wipe_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        overwrite(fd);
        close(fd);
    }
    return unlink(path) == 0 || errno == ENOENT;
}

void tempdir_remove(char path[TEMPDIR_PATH]) {
    if (path[0] == '\0') return;
    rmdir(path);
    tidy_strike_path(path);
    path[0] = '\0';
}
