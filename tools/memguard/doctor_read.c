/* The doctor's eyes: reads small files below a root directory, never more than it must, and says why it could not.
 * Knows nothing of what the files mean. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

enum { PIECE_BYTES = 4096, ENTRIES_MOST = 65536, CONFIG_MOST = 1024 * 1024 };

static const char of_process[] = "proc/@/";

/* ---- opening ---- */

static bool is_of_process(const char *path) { return strncmp(path, of_process, sizeof of_process - 1) == 0; }

/* The directory that `*path` is relative to; *path is changed to that. */
static int directory_of(const struct machine *machine, const char **path) {
    if (!is_of_process(*path)) return machine->root;
    *path += sizeof of_process - 1;
    return machine->process;
}

static int open_at(const struct machine *machine, const char *path, int flags) {
    int directory = directory_of(machine, &path);
    if (directory < 0) {
        errno = machine->process_error;
        return -1;
    }
    return openat(directory, path[0] != '\0' ? path : ".", flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* A regular file, as all of /proc and /sys are: a root directory of someone else's may hold a pipe or a device. */
static int open_file(const struct machine *machine, const char *path) {
    struct stat status;
    int fd = open_at(machine, path, 0);
    if (fd < 0) return -1;
    int error = fstat(fd, &status) != 0   ? errno
                : S_ISREG(status.st_mode) ? 0
                : S_ISDIR(status.st_mode) ? EISDIR
                                          : EINVAL;
    if (error == 0) return fd;
    close(fd);
    errno = error;
    return -1;
}

static ssize_t read_some(int fd, char *to, size_t most) {
    ssize_t got;
    do
        got = read(fd, to, most);
    while (got < 0 && errno == EINTR);
    return got;
}

/* ---- whole files ---- */

/* Some files of /proc give a line or a page at a time. Returns the number of bytes, or -1 (errno). */
static ssize_t fill(int fd, char *to, size_t most) {
    size_t size = 0;
    while (size < most) {
        ssize_t got = read_some(fd, to + size, most - size);
        if (got < 0) return -1;
        if (got == 0) break;
        size += (size_t)got;
    }
    return (ssize_t)size;
}

int machine_read(const struct machine *machine, const char *path, struct text *text) {
    text->bytes[0] = '\0';
    text->cut = false;
    int fd = open_file(machine, path);
    if (fd < 0) return errno;
    ssize_t size = fill(fd, text->bytes, sizeof text->bytes);
    int error = size < 0 ? errno : 0;
    close(fd);
    if (error != 0 || size == 0) {
        text->bytes[0] = '\0';
        return error != 0 ? error : ENODATA;
    }
    text->cut = (size_t)size == sizeof text->bytes;
    if (text->cut) size--;
    text->bytes[size] = '\0';
    if (strlen(text->bytes) != (size_t)size) return EILSEQ;
    if (text->bytes[size - 1] == '\n') text->bytes[size - 1] = '\0';
    return 0;
}

static const char *reason(int error) {
    if (error == ENODATA) return "it is empty";
    if (error == EILSEQ) return "it is not text";
    if (error == EINVAL) return "it is not a file to be read";
    if (error == EFBIG) return "it is too long";
    return strerror(error);
}

void machine_unread(const struct machine *machine, const char *path, int error, struct fact *fact) {
    if (!is_of_process(path))
        fact_unknown(fact, "/%s: %s", path, reason(error));
    else if (machine->pid != 0)
        fact_unknown(fact, "/proc/%d/%s: %s", (int)machine->pid, path + sizeof of_process - 1, reason(error));
    else
        fact_unknown(fact, "/proc/self/%s: %s", path + sizeof of_process - 1, reason(error));
}

bool machine_need(const struct machine *machine, const char *path, struct text *text, struct fact *fact) {
    int error = machine_read(machine, path, text);
    if (error != 0) machine_unread(machine, path, error, fact);
    return error == 0;
}

bool machine_number(const struct machine *machine, const char *path, long long *number, struct fact *fact) {
    struct text text;
    char *end;
    if (!machine_need(machine, path, &text, fact)) return false;
    errno = 0;
    *number = strtoll(text.bytes, &end, 10);
    if (end != text.bytes && *end == '\0' && errno == 0) return true;
    fact_unknown(fact, "/%s: it is not a number", path);
    return false;
}

int machine_find(const struct machine *machine, const char *path, mode_t *mode) {
    struct stat status;
    int directory = directory_of(machine, &path);
    if (directory < 0) return machine->process_error;
    if (fstatat(directory, path, &status, 0) != 0) return errno;
    if (mode != NULL) *mode = status.st_mode;
    return 0;
}

bool machine_lacks(const struct machine *machine, const char *directory, int error) {
    mode_t mode;
    return error == ENOENT && machine_find(machine, directory, &mode) == 0 && S_ISDIR(mode);
}

/* ---- in pieces, and directories ---- */

struct pieces {
    char end;
    piece_fn *fn;
    void *arg;
    char buffer[PIECE_BYTES]; /* of one read */
    char piece[PIECE_BYTES];  /* what was gathered, over reads */
    size_t length;
};

static bool end_piece(struct pieces *pieces) {
    pieces->piece[pieces->length] = '\0';
    bool more = pieces->fn(pieces->arg, pieces->piece, pieces->length);
    pieces->length = 0;
    return more;
}

static bool take_bytes(struct pieces *pieces, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (pieces->buffer[i] == pieces->end) {
            if (!end_piece(pieces)) return false;
        } else if (pieces->length < sizeof pieces->piece - 1) {
            pieces->piece[pieces->length++] = pieces->buffer[i];
        }
    }
    return true;
}

static int read_pieces(int fd, struct pieces *pieces, size_t most) {
    size_t all = 0;
    ssize_t got;
    while ((got = read_some(fd, pieces->buffer, sizeof pieces->buffer)) > 0) {
        if (!take_bytes(pieces, (size_t)got)) return 0;
        all += (size_t)got;
        if (all > most) return EFBIG;
    }
    if (got < 0) return errno;
    if (pieces->length > 0) (void)end_piece(pieces);
    return 0;
}

int machine_pieces(const struct machine *machine, const char *path, char end, size_t most, piece_fn *fn, void *arg) {
    struct pieces pieces = {.end = end, .fn = fn, .arg = arg};
    int fd = open_file(machine, path);
    if (fd < 0) return errno;
    int error = read_pieces(fd, &pieces, most);
    close(fd);
    memguard_wipe(&pieces, sizeof pieces); /* they may have been an environment */
    return error;
}

int machine_list(const struct machine *machine, const char *path, name_fn *fn, void *arg) {
    int fd = open_at(machine, path, O_DIRECTORY);
    if (fd < 0) return errno;
    DIR *list = fdopendir(fd);
    if (list == NULL) {
        int error = errno;
        close(fd);
        return error;
    }
    const struct dirent *entry;
    errno = 0;
    for (size_t i = 0; i < ENTRIES_MOST && (entry = readdir(list)) != NULL; i++) {
        bool is_dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_dot && !fn(arg, entry->d_name)) break;
        errno = 0;
    }
    int error = errno;
    closedir(list);
    return error;
}

bool machine_link(const struct machine *machine, const char *path, char to[NAME_BYTES]) {
    int directory = directory_of(machine, &path);
    ssize_t length = directory < 0 ? -1 : readlinkat(directory, path, to, NAME_BYTES - 1);
    if (length >= 0) to[length] = '\0';
    return length >= 0;
}

int machine_owner(const struct machine *machine, uid_t *owner) {
    struct stat status;
    if (machine->process < 0) return machine->process_error;
    if (fstat(machine->process, &status) != 0) return errno;
    *owner = status.st_uid;
    return 0;
}

/* ---- files with a form that several checks know ---- */

const char *text_field(const struct text *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text->bytes; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0) continue;
        const char *colon = line + length + strspn(line + length, " \t");
        if (*colon == ':') return colon + 1 + strspn(colon + 1, " \t");
    }
    return NULL;
}

bool text_has_word(const char *line, const char *word) {
    size_t length = strlen(word);
    while (*line != '\0' && *line != '\n') {
        size_t here = strcspn(line, " \t\n");
        if (here == length && strncmp(line, word, length) == 0) return true;
        line += here + strspn(line + here, " \t");
    }
    return false;
}

const char *text_numbers(const char *at, const char *between, unsigned long long *numbers, size_t count) {
    char *end;
    for (size_t i = 0; i < count; i++, at = end) {
        at += strspn(at, between);
        errno = 0;
        numbers[i] = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || errno != 0) return NULL;
    }
    return at;
}

/* One number of a limit, or "unlimited". Returns what follows, or NULL. */
static const char *take_limit(const char *at, uint64_t *value) {
    static const char unlimited[] = "unlimited";
    char *end;
    at += strspn(at, " ");
    if (strncmp(at, unlimited, sizeof unlimited - 1) == 0) {
        *value = UINT64_MAX;
        return at + sizeof unlimited - 1;
    }
    if (*at < '0' || *at > '9') return NULL;
    *value = strtoull(at, &end, 10);
    return end;
}

/* "Max locked memory         8388608              8388608              bytes" */
bool machine_limit(const struct machine *machine, const char *name, struct limit *limit, struct fact *fact) {
    struct text text;
    if (!machine_need(machine, "proc/@/limits", &text, fact)) return false;
    const char *at = strstr(text.bytes, name);
    if (at != NULL) at = take_limit(at + strlen(name), &limit->soft);
    if (at != NULL) at = take_limit(at, &limit->hard);
    if (at == NULL) fact_unknown(fact, "the process's limits: there is no line \"%s\" with two numbers", name);
    return at != NULL;
}

struct config_search {
    const char *option;
    char found;
};

static bool look_for_option(void *arg, const char *line, size_t length) {
    struct config_search *search = arg;
    size_t name = strlen(search->option);
    const char *at = strncmp(line, "# ", 2) == 0 ? line + 2 : line;
    (void)length;
    if (strncmp(at, search->option, name) != 0) return true;
    if (at != line && strcmp(at + name, " is not set") == 0) search->found = 'n';
    if (at == line && at[name] == '=' && (at[name + 1] == 'y' || at[name + 1] == 'm')) search->found = at[name + 1];
    return search->found == 0;
}

char machine_config(const struct machine *machine, const char *option) {
    struct config_search search = {.option = option};
    struct text release;
    char path[NAME_BYTES];
    if (machine_read(machine, "proc/sys/kernel/osrelease", &release) != 0) return 0;
    if (strchr(release.bytes, '/') != NULL) return 0;
    snprintf(path, sizeof path, "boot/config-%.128s", release.bytes);
    if (machine_pieces(machine, path, '\n', CONFIG_MOST, look_for_option, &search) == 0 && search.found != 0)
        return search.found;
    snprintf(path, sizeof path, "lib/modules/%.128s/config", release.bytes);
    return machine_pieces(machine, path, '\n', CONFIG_MOST, look_for_option, &search) == 0 ? search.found : 0;
}

bool machine_boot_option(const struct machine *machine, const char *name, char value[32], int *error) {
    struct text text;
    size_t length = strlen(name);
    bool found = false;
    *error = machine_read(machine, "proc/cmdline", &text);
    for (const char *at = text.bytes; *error == 0 && *at != '\0'; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word == 2 && strncmp(at, "--", 2) == 0) break; /* the rest is for init */
        if (word > length && strncmp(at, name, length) == 0 && at[length] == '=') {
            snprintf(value, 32, "%.*s", (int)(word - length - 1), at + length + 1);
            found = true;
        }
        at += word;
    }
    return found;
}

bool machine_in_first_namespace(const struct machine *machine) {
    struct text text;
    unsigned long long map[3]; /* from, to, how many */
    if (machine_read(machine, "proc/@/uid_map", &text) != 0) return false;
    return text_numbers(text.bytes, " ", map, 3) != NULL && map[0] == 0 && map[1] == 0 && map[2] == UINT32_MAX;
}

bool machine_is_capable(const struct machine *machine, unsigned capability) {
    struct text text;
    if (machine_read(machine, "proc/@/status", &text) != 0) return false;
    const char *mask = text_field(&text, "CapEff");
    if (mask == NULL || (strtoull(mask, NULL, 16) >> capability & 1) == 0) return false;
    return machine_in_first_namespace(machine);
}

const char *machine_lockdown(const struct machine *machine, int *error) {
    static const char *const marks[] = {"[none]", "[integrity]", "[confidentiality]"};
    static const char *const names[] = {"none", "integrity", "confidentiality"};
    struct text text;
    *error = machine_read(machine, "sys/kernel/security/lockdown", &text);
    if (*error != 0) return NULL;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (text_has_word(text.bytes, marks[i])) return names[i];
    return NULL;
}
