/* Collecting what a scan finds in a process: its memory, environment, command line, and the files without a name that it
 * holds open. Sources: proc(5), memfd_create(2). */
#define _GNU_SOURCE
#include "scan_look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ui.h"

enum { MERGE_LOOK_BACK = 32, THREADS_MOST = 65536 };

void look_problem(struct look *look, const char *format, ...) {
    va_list list;
    if (look->problem_count == LOOK_PROBLEMS) return;
    va_start(list, format);
    vsnprintf(look->problems[look->problem_count++], LOOK_WORDS, format, list);
    va_end(list);
}

/* ---- what comes in ---- */

/* Names of one form that cannot always be told apart. */
static unsigned family(unsigned form) { return form <= FORM_REVERSED ? form : form | 1; }

/* The same run, seen twice, or on both sides of the edge of a buffer. */
static bool is_same_run(const struct found *a, const struct found *b) {
    return a->source == b->source && a->piece == b->piece && family(a->form) == family(b->form) &&
           a->address < b->end && b->address < a->end && a->from <= b->from + b->bytes && b->from <= a->from + a->bytes;
}

static void merge(struct found *into, const struct found *more) {
    uint32_t end = into->from + into->bytes, more_end = more->from + more->bytes;
    if (more->bytes > into->bytes) into->form = more->form;
    if (more_end > end) end = more_end;
    if (more->from < into->from) into->from = more->from;
    if (more->address < into->address) into->address = more->address;
    if (more->end > into->end) into->end = more->end;
    into->bytes = end - into->from;
}

static void add(struct look *look, const struct found *one) {
    for (size_t i = look->count, back = 0; i > 0 && back < MERGE_LOOK_BACK; i--, back++)
        if (is_same_run(&look->found[i - 1], one)) {
            merge(&look->found[i - 1], one);
            return;
        }
    if (look->count == LOOK_FOUND_MOST)
        look->more++;
    else
        look->found[look->count++] = *one;
}

static void on_found(void *arg, uint64_t address, const struct needle_find *find) {
    struct look *look = arg;
    const struct found one = {.address = address,
                              .end = address + find->span,
                              .from = find->from,
                              .bytes = find->bytes,
                              .piece = find->piece,
                              .source = look->source,
                              .form = find->form};
    add(look, &one);
}

/* All at the address of what is so named. */
struct naming {
    struct look *look;
    uint64_t address;
};

static void on_name(const struct needle_find *find, void *arg) {
    const struct naming *naming = arg;
    on_found(naming->look, naming->address, find);
}

void look_clean_name(struct look *look, char *name, size_t room, uint64_t address) {
    const size_t before = look->count, more = look->more;
    const uint16_t source = look->source;
    struct naming naming = {look, address};
    look->source = SOURCE_NAMES;
    needle_find(look->job.needles, (const uint8_t *)name, strlen(name), on_name, &naming);
    look->source = source;
    if (look->count != before || look->more != more) snprintf(name, room, "(named by the secret)");
}

static void on_refused(void *arg, uint64_t address, uint64_t bytes, bool unread) {
    struct look *look = arg;
    (void)address;
    *(unread ? &look->unread_bytes : &look->hidden_bytes) += bytes;
}

static void on_read(void *arg, uint64_t bytes) {
    struct look *look = arg;
    look->done += bytes;
    progress_step(&look->progress, look->done);
}

static void on_mapping(void *arg, size_t index, uint64_t read, uint64_t refused) {
    struct look *look = arg;
    look->spans[index].read = read;
    look->spans[index].refused = refused;
}

bool look_begin(struct look *look, const struct scan_job *job) {
    *look = (struct look){.job = *job, .sources = SOURCE_FILES};
    look->sink = (struct scan_sink){on_found, on_refused, on_read, on_mapping, look};
    look->job.sink = &look->sink;
    look->progress.silent = true;
    look->found = calloc(LOOK_FOUND_MOST, sizeof *look->found);
    if (look->found == NULL) ui_error("out of memory");
    return look->found != NULL;
}

void look_end(struct look *look) {
    free(look->found);
    free(look->spans);
    free(look->threads);
    free(look->notes);
    maps_drop(&look->maps);
    look->found = NULL;
}

/* ---- files of /proc ---- */

static int open_at(pid_t pid, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return open(path, flags | O_RDONLY | O_CLOEXEC);
}

/* A short text of numbers. */
static bool read_text(int fd, char *text, size_t room) {
    ssize_t got = fd >= 0 ? read(fd, text, room - 1) : -1;
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The words of stat from field `first` on; NULL: it cannot be read. */
static const char *stat_from(pid_t pid, unsigned first, char *text, size_t room) {
    if (!read_text(open_at(pid, "stat", 0), text, room)) return NULL;
    const char *word = strrchr(text, ')');
    for (unsigned field = 2; word != NULL && field < first; field++)
        word = strchr(word + 1, ' ');
    return word;
}

/* "arg_start arg_end env_start env_end" are fields 48 to 51; 0 for who may not know. */
static void read_places(struct look *look, pid_t pid) {
    char text[1024];
    unsigned long long at[4] = {0};
    const char *word = stat_from(pid, 48, text, sizeof text);
    if (word == NULL || sscanf(word, "%llu %llu %llu %llu", &at[0], &at[1], &at[2], &at[3]) != 4) return;
    look->argument_start = at[0], look->argument_end = at[1];
    look->environ_start = at[2], look->environ_end = at[3];
}

/* Fields 22, when it began, and 28, where its stack begins: another place in each program that it becomes, and none when
 * it has ended. */
static void read_began(pid_t pid, char began[LOOK_BEGAN]) {
    char text[1024];
    unsigned long long time, stack;
    const char *word = stat_from(pid, 22, text, sizeof text);
    began[0] = '\0';
    if (word != NULL && sscanf(word, "%llu %*s %*s %*s %*s %*s %llu", &time, &stack) == 2)
        snprintf(began, LOOK_BEGAN, "%llu %llu", time, stack);
}

/* "-1 SP PC", or "NUMBER ARGUMENTS SP PC" in a system call; "running" says nothing. */
static uint64_t parse_stack_pointer(const char *text) {
    unsigned long long pointer = 0;
    if (strncmp(text, "running", 7) == 0) return 0;
    const char *last = strrchr(text, ' ');
    if (last == NULL) return 0;
    while (last > text && last[-1] != ' ')
        last--;
    return sscanf(last, "%llx", &pointer) == 1 ? pointer : 0;
}

static bool add_thread(struct look *look, pid_t pid, pid_t id) {
    char name[48], text[256];
    struct thread *threads = reallocarray(look->threads, look->thread_count + 1, sizeof *threads);
    if (threads == NULL) return false;
    look->threads = threads;
    snprintf(name, sizeof name, "task/%d/syscall", (int)id);
    bool known = read_text(open_at(pid, name, 0), text, sizeof text);
    threads[look->thread_count++] = (struct thread){id, known ? parse_stack_pointer(text) : 0};
    return true;
}

static DIR *open_directory(pid_t pid, const char *name) {
    int fd = open_at(pid, name, O_DIRECTORY);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL && fd >= 0) close(fd);
    return directory;
}

static void read_threads(struct look *look, pid_t pid) {
    DIR *directory = open_directory(pid, "task");
    struct dirent *entry;
    bool good = directory != NULL;
    while (good && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            good = look->thread_count < THREADS_MOST && add_thread(look, pid, (pid_t)atoi(entry->d_name));
    if (!good || look->thread_count == 0)
        look_problem(look, "threads, and files that they have open: not all are known");
    if (directory != NULL) closedir(directory);
}

/* ---- the parts ---- */

static const char *reason(int error) {
    if (error == ESRCH || error == ENOENT) return "there is no such process (any more)";
    if (error == EACCES || error == EPERM)
        return "not allowed: it is another user's, or not dumpable, or kernel.yama.ptrace_scope forbids it; try as "
               "root";
    if (error == ENODATA) return "shared memory that it has not brought in; try as root";
    return strerror(error);
}

/* A file of text whose bytes lie at `start` in the process, if that is known: then what is found there is the same as what
 * is found in memory. */
static void look_at_text(struct look *look, pid_t pid, const char *name, uint16_t source, uint64_t start) {
    struct scan_result result = {.complete = true};
    int fd = open_at(pid, name, 0);
    look->source = start != 0 ? (uint16_t)SOURCE_MEMORY : source;
    if (fd >= 0) {
        scan_descriptor(fd, 0, UINT64_MAX, start, &look->job, &result);
        close(fd);
    } else {
        result = (struct scan_result){.os_error = errno};
    }
    look->read_bytes += result.read_bytes;
    if (!result.complete) look_problem(look, "%s: %s", name, reason(result.os_error));
}

static uint64_t mapped_bytes(const struct maps *maps) {
    uint64_t sum = 0;
    for (size_t i = 0; i < maps->count; i++)
        sum += maps->list[i].end - maps->list[i].start;
    return sum;
}

static void look_at_memory(struct look *look, pid_t pid) {
    struct scan_result result;
    char bytes[24];
    look->source = SOURCE_MEMORY;
    look->done = 0;
    progress_begin(&look->progress, "memory", mapped_bytes(&look->maps));
    scan_mappings(pid, &look->maps, &look->job, &result);
    progress_end(&look->progress);
    look->progress.silent = true;
    look->looked = result.read_bytes != 0;
    look->read_bytes += result.read_bytes;
    if (!result.complete && result.os_error == EFBIG)
        look_problem(look, "memory: a mapping of more than 64 GiB (a sanitizer's?) is too long to be searched");
    else if (!result.complete)
        look_problem(look, "memory: %s", reason(result.os_error));
    if (result.unread_bytes != 0)
        look_problem(look, "memory: %s could not be read: %s", ui_bytes(result.unread_bytes, bytes),
                     reason(result.unread_error));
}

/* ---- open files without a name ---- */

/* Of those with a name in look->source_names, from SOURCE_FILES on. */
struct seen {
    struct {
        dev_t device;
        ino_t inode;
    } list[LOOK_SOURCES];
};

static bool is_new(const struct look *look, const struct seen *seen, const struct stat *info) {
    for (size_t i = SOURCE_FILES; i < look->sources; i++)
        if (seen->list[i].device == info->st_dev && seen->list[i].inode == info->st_ino) return false;
    return true;
}

static void name_source(struct look *look, const char *link, const char *descriptor) {
    char *name = look->source_names[look->sources];
    snprintf(name, LOOK_NAME, "%.30s (fd %.8s)", link + (link[0] == '/'), descriptor);
    for (char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || (unsigned char)*at >= 127) *at = '?';
    look_clean_name(look, name, LOOK_NAME, look->sources);
}

/* The kernel shows memfd_secret(2) to nobody, not even by opening it. Another file may have that name. */
static bool is_hidden(const char *link, int error) { return error == ENXIO && strncmp(link, "/secretmem", 10) == 0; }

static void look_at_file(struct look *look, struct seen *seen, int directory, const char *descriptor, const char *link,
                         const struct stat *info) {
    struct scan_result result = {.complete = true};
    int fd = openat(directory, descriptor, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) result = (struct scan_result){.os_error = errno};
    if (fd < 0 && is_hidden(link, errno)) {
        look->hidden_bytes += (uint64_t)info->st_size;
        return;
    }
    name_source(look, link, descriptor);
    look->source = (uint16_t)look->sources;
    if (fd >= 0) {
        scan_descriptor(fd, 0, UINT64_MAX, 0, &look->job, &result);
        close(fd);
    }
    look->read_bytes += result.read_bytes;
    if (!result.complete) look_problem(look, "%s: %s", look->source_names[look->sources], reason(result.os_error));
    seen->list[look->sources].device = info->st_dev;
    seen->list[look->sources].inode = info->st_ino;
    look->sources++;
    look->files++;
}

/* False: there is no room for more. What is closed meanwhile is no problem. */
static bool look_at_descriptor(struct look *look, struct seen *seen, int directory, const char *descriptor) {
    struct stat info;
    char link[128] = "";
    if (fstatat(directory, descriptor, &info, 0) != 0 || readlinkat(directory, descriptor, link, sizeof link - 1) < 0) {
        if (errno != ENOENT) look_problem(look, "open file %.8s: %s", descriptor, reason(errno));
        return true;
    }
    if (!S_ISREG(info.st_mode) || info.st_nlink != 0 || !is_new(look, seen, &info)) return true;
    if (look->sources == LOOK_SOURCES) {
        look_problem(look, "open files: more than %d without a name", LOOK_SOURCES - SOURCE_FILES);
        return false;
    }
    look_at_file(look, seen, directory, descriptor, link, &info);
    return true;
}

static bool look_at_table(struct look *look, struct seen *seen, DIR *directory) {
    struct dirent *entry;
    bool more = true;
    while (more && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.') more = look_at_descriptor(look, seen, dirfd(directory), entry->d_name);
    return more;
}

/* Threads can have descriptors of their own: unshare(2), CLONE_FILES. What cannot be compared is looked at. */
static bool shares_table(pid_t pid, pid_t thread) {
    return syscall(SYS_kcmp, (long)pid, (long)thread, (long)KCMP_FILES, 0L, 0L) == 0;
}

/* Files that no path leads to any more: memfds, deleted ones. A thread that has ended has none. */
static void look_at_files(struct look *look, pid_t pid) {
    struct seen seen;
    bool more = true;
    for (size_t i = 0; i < look->thread_count && more; i++) {
        char name[48];
        const pid_t thread = look->threads[i].id;
        if (thread != pid && shares_table(pid, thread)) continue;
        snprintf(name, sizeof name, "task/%d/fd", (int)thread);
        DIR *directory = open_directory(pid, name);
        if (directory == NULL) {
            if (errno != ENOENT) look_problem(look, "open files: %s", reason(errno));
            continue;
        }
        more = look_at_table(look, &seen, directory);
        closedir(directory);
    }
}

/* ---- a process ---- */

static ssize_t read_memory(void *arg, void *to, size_t bytes, uint64_t address) {
    const int *memory = arg;
    return pread(*memory, to, bytes, (off_t)address);
}

void look_at_process(struct look *look, pid_t pid) {
    read_began(pid, look->began);
    int error = maps_read(pid, &look->maps);
    if (error != 0)
        look_problem(look, "memory: %s", error == EPROTO ? "the list of mappings is not understood" : reason(error));
    if (error == 0 && look->maps.count == 0)
        look_problem(look, "memory: it has none (it has ended, or is the kernel's)");
    if (error == ENOENT || error == ESRCH) return;
    look_make_spans(look);
    read_places(look, pid);
    look_at_text(look, pid, "environ", SOURCE_ENVIRON, look->environ_start);
    look_at_text(look, pid, "cmdline", SOURCE_CMDLINE, look->argument_start);
    if (look->maps.count != 0) {
        read_threads(look, pid);
        look_at_memory(look, pid);
        look_at_files(look, pid);
    }
    char began[LOOK_BEGAN];
    read_began(pid, began);
    if (strcmp(began, look->began) != 0)
        look_problem(look, "the process has ended, or become another program, meanwhile");
    int memory = open_at(pid, "mem", 0);
    look_attribute(look, memory >= 0 ? read_memory : NULL, &memory);
    if (memory >= 0) close(memory);
}
