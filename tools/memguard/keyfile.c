/* Private keys: files, fresh ones, and what kind they are. Formats: RFC 7468 (PEM), RFC 1421 (Proc-Type), OpenSSH's
 * PROTOCOL.key. */
#define _GNU_SOURCE
#include "keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "spawn.h"
#include "tempdir.h"
#include "tidy.h"
#include "ui.h"

enum { MAKE_MS = 4000, FRESH_MOST = 4096 };

/* ---- what kind of key ---- */

static const char *find(const char *text, size_t size, const char *words) {
    return memmem(text, size, words, strlen(words));
}

/* The base64 text of "openssh-key-v1", cipher "none": not encrypted. */
static bool is_open_openssh(const char *text, size_t size) {
    return find(text, size, "-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU") != NULL ||
           find(text, size, "-----\r\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU") != NULL;
}

static int format_of(const void *bytes, size_t size, void *arg) {
    const char *text = bytes;
    (void)arg;
    if (find(text, size, "-----BEGIN ") == NULL || find(text, size, "PRIVATE KEY-----") == NULL) return KEY_UNKNOWN;
    if (find(text, size, "BEGIN ENCRYPTED ") != NULL || find(text, size, "4,ENCRYPTED") != NULL) return KEY_ENCRYPTED;
    if (find(text, size, "BEGIN OPENSSH ") == NULL) return KEY_PEM;
    return is_open_openssh(text, size) ? KEY_OPENSSH : KEY_ENCRYPTED;
}

bool key_sample(const void *bytes, size_t size, unsigned sample, size_t *offset) {
    static const char begin[] = "KEY-----", end[] = "-----END ";
    const char *text = bytes;
    const char *from = find(text, size, begin);
    if (from == NULL) return false;
    from += sizeof begin - 1;
    const char *to = find(from, size - (size_t)(from - text), end);
    if (to == NULL || to - from < KEY_SAMPLE_BYTES) return false;
    *offset = (size_t)(from - text) + ((size_t)(to - from) - KEY_SAMPLE_BYTES) * (sample + 1) / (KEY_SAMPLES + 1);
    return true;
}

static bool set_format(struct key *key) {
    int format = KEY_UNKNOWN;
    memguard_status status = memguard_secret_use(key->secret, format_of, NULL, &format);
    if (status != MEMGUARD_OK) ui_library_error("the key", status);
    key->format = (enum key_format)format;
    return status == MEMGUARD_OK;
}

/* ---- reading into a view ---- */

static void drop(struct key *key) {
    memguard_status ignored = memguard_secret_destroy(&key->secret);
    (void)ignored;
    *key = (struct key){{0}, 0, KEY_UNKNOWN};
}

/* A secret of `bytes`, filled by one spawn_read. *got is what came, -1 with errno for an error. */
static bool read_into(struct key *key, memguard_vault *vault, int fd, size_t bytes, ssize_t *got) {
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_create(vault, bytes, MEMGUARD_SEALED, &key->secret);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(key->secret, MEMGUARD_WRITE, &view);
    if (status == MEMGUARD_OK) {
        *got = spawn_read(fd, view.data, view.size, spawn_now_ms() + MAKE_MS);
        int error = errno;
        status = memguard_view_release(&view);
        errno = error;
    }
    if (status == MEMGUARD_OK) return true;
    ui_library_error("the key", status);
    return false;
}

/* ---- from a file ---- */

static int refuse(const char *path, const char *why) {
    ui_error("%s: %s", path, why);
    return EXIT_USAGE;
}

static int judge_file(const char *path, const struct stat *info) {
    if (S_ISDIR(info->st_mode)) return refuse(path, "is a directory, not a private key");
    if (!S_ISREG(info->st_mode)) return refuse(path, "is not a regular file");
    if (info->st_size == 0) return refuse(path, "is empty");
    if (info->st_size > KEY_LARGEST) return refuse(path, "is larger than 1 MiB: not a private key");
    return EXIT_GOOD;
}

static int judge_format(const struct key *key, const char *path) {
    if (key->format == KEY_ENCRYPTED)
        return refuse(path, "is encrypted with a passphrase, which the demo does not ask for: "
                            "take a key that has none, or leave --key out for a fresh one");
    if (key->format == KEY_UNKNOWN) return refuse(path, "is not a private key in PEM or OpenSSH form");
    return EXIT_GOOD;
}

static int take_file(struct key *key, memguard_vault *vault, int fd, const char *path) {
    struct stat info;
    ssize_t got = -1;
    char more;
    if (fstat(fd, &info) != 0) return refuse(path, strerror(errno));
    int code = judge_file(path, &info);
    if (code != EXIT_GOOD) return code;
    if (!read_into(key, vault, fd, (size_t)info.st_size, &got)) return EXIT_BAD;
    if (got < 0) return refuse(path, strerror(errno));
    ssize_t beyond = read(fd, &more, 1);
    memguard_wipe(&more, 1);
    if (got != info.st_size || beyond != 0) return refuse(path, "changed while it was read");
    key->bytes = (size_t)got;
    return set_format(key) ? judge_format(key, path) : EXIT_BAD;
}

int key_from_file(struct key *key, memguard_vault *vault, const char *path) {
    *key = (struct key){{0}, 0, KEY_UNKNOWN};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return refuse(path, strerror(errno));
    int code = take_file(key, vault, fd, path);
    close(fd);
    if (code != EXIT_GOOD) drop(key);
    return code;
}

/* ---- a fresh one ---- */

static bool start_openssl(int out, pid_t *pid, enum key_maker *maker) {
    static const char *const argv[] = {"openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                                       NULL};
    const struct spawn what = {.argv = argv, .out = out};
    int error = spawn_start(&what, pid);
    if (error == 0) *maker = KEY_MADE_BY_OPENSSL;
    if (error != 0 && error != ENOENT) ui_error("openssl: %s", strerror(error));
    return error == 0 || error == ENOENT;
}

/* The pipe gave `got` bytes: the secret shrinks to them. */
static bool shrink(struct key *key, ssize_t got) {
    if (got <= 0 || got == FRESH_MOST) {
        ui_error("openssl genpkey: no key came");
        return false;
    }
    key->bytes = (size_t)got;
    memguard_status status = memguard_secret_resize(key->secret, key->bytes);
    if (status == MEMGUARD_OK) return true;
    ui_library_error("the key", status);
    return false;
}

/* True with *maker still NOBODY: openssl is not installed. */
static bool make_by_openssl(struct key *key, memguard_vault *vault, enum key_maker *maker) {
    int ends[2];
    pid_t pid = 0;
    ssize_t got = -1;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ui_error("pipe: %s", strerror(errno));
        return false;
    }
    bool good = start_openssl(ends[1], &pid, maker);
    close(ends[1]);
    if (pid != 0) {
        good = read_into(key, vault, ends[0], FRESH_MOST, &got);
        bool ended = spawn_wait(pid, spawn_now_ms() + MAKE_MS) == 0;
        if (good && !ended) got = -1;
        good = good && shrink(key, got);
    }
    close(ends[0]);
    return good;
}

static bool run_ssh_keygen(const char *path, enum key_maker *maker) {
    const char *argv[] = {"ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "", "-f", path, NULL};
    const struct spawn what = {.argv = argv};
    pid_t pid = 0;
    int error = spawn_start(&what, &pid);
    if (error == ENOENT) return true;
    *maker = KEY_MADE_BY_SSH_KEYGEN;
    if (error == 0 && spawn_wait(pid, spawn_now_ms() + MAKE_MS) == 0) return true;
    ui_error("ssh-keygen made no key");
    return false;
}

static bool make_by_ssh_keygen(struct key *key, memguard_vault *vault, enum key_maker *maker) {
    char directory[TEMPDIR_PATH], path[TEMPDIR_PATH + 8], public_path[TEMPDIR_PATH + 12];
    if (!tempdir_make(directory)) return true; /* nowhere but on a disk: no key */
    snprintf(path, sizeof path, "%s/key", directory);
    snprintf(public_path, sizeof public_path, "%s.pub", path);
    tidy_add_path(path);
    tidy_add_path(public_path);
    bool good = run_ssh_keygen(path, maker);
    if (good && *maker != KEY_MADE_BY_NOBODY) good = key_from_file(key, vault, path) == EXIT_GOOD;
    tempdir_wipe_file(path);
    tempdir_wipe_file(public_path);
    tidy_strike_path(path);
    tidy_strike_path(public_path);
    tempdir_remove(directory);
    return good;
}

bool key_make(struct key *key, memguard_vault *vault, enum key_maker *maker) {
    *key = (struct key){{0}, 0, KEY_UNKNOWN};
    *maker = KEY_MADE_BY_NOBODY;
    bool good = make_by_openssl(key, vault, maker);
    if (good && *maker == KEY_MADE_BY_NOBODY) good = make_by_ssh_keygen(key, vault, maker);
    if (good && *maker != KEY_MADE_BY_NOBODY) good = set_format(key);
    if (!good) drop(key);
    return good;
}
