/* The scanner. Memory is read mapping by mapping through /proc/PID/mem, which shows what ptrace(2) would show.
 * Sources: proc(5), ptrace(2) "Ptrace access mode checking", the kernel's Documentation/admin-guide/mm/pagemap.rst. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64 /* addresses are offsets */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGEMAP_ENTRIES = 512, SPARSE_BYTES = 1024 * 1024 };
#define PAGEMAP_PRESENT_OR_SWAPPED (UINT64_C(3) << 62)
#define PAGEMAP_LARGEST (UINT64_C(64) << 30) /* longer mappings (of sanitizers, say) are given up on */

struct mapping {
    uint64_t start, end;
    uint64_t inode;
    char name[SCAN_WHERE];
};

/* One scan in progress. The buffer holds the tail of what came before, then what is read next. */
struct scan {
    const struct scan_job *job;
    struct scan_result *result;
    int memory, pagemap;
    size_t tail; /* bytes at the start of the buffer that were searched already */
    uint64_t page;
    uint64_t entries_at; /* page number of entries[0]; UINT64_MAX: none are loaded */
    uint64_t entries[PAGEMAP_ENTRIES];
};

static void give_up(struct scan_result *result, int os_error) {
    result->complete = false;
    result->os_error = os_error;
}

/* ---- searching what was read ---- */

static void note_improvement(struct scan_result *result, const struct needle_hit *before, const char *where) {
    for (size_t k = 0; k < NEEDLE_KINDS; k++)
        if (result->hit[k].bytes > before[k].bytes) snprintf(result->where[k], SCAN_WHERE, "%s", where);
}

/* Searches the tail and the `bytes` behind it, and keeps the new tail. */
static void search_more(struct scan *scan, size_t bytes, const char *where) {
    struct scan_result *result = scan->result;
    struct needle_hit before[NEEDLE_KINDS];
    size_t all = scan->tail + bytes;
    memcpy(before, result->hit, sizeof before);
    needle_search(scan->job->needles, scan->job->buffer, all, result->hit);
    note_improvement(result, before, where);
    result->read_bytes += bytes;
    scan->tail = all < NEEDLE_LONGEST ? all : NEEDLE_LONGEST;
    memmove(scan->job->buffer, scan->job->buffer + all - scan->tail, scan->tail);
}

/* ---- files ---- */

static void scan_descriptor(int fd, const struct scan_job *job, struct scan_result *result) {
    struct scan scan = {.job = job, .result = result};
    for (;;) {
        ssize_t got = read(fd, job->buffer + scan.tail, job->buffer_bytes - scan.tail);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) give_up(result, errno);
        if (got <= 0) return;
        search_more(&scan, (size_t)got, "");
    }
}

void scan_file(const char *path, const struct scan_job *job, struct scan_result *result) {
    memset(result, 0, sizeof *result);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        give_up(result, errno);
        return;
    }
    result->complete = true;
    scan_descriptor(fd, job, result);
    close(fd);
}

void scan_process_file(pid_t pid, const char *name, const struct scan_job *job, struct scan_result *result) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    scan_file(path, job, result);
    if (result->complete && result->read_bytes == 0) give_up(result, ENODATA); /* empty: the process is gone */
}

/* ---- memory ---- */

static bool read_entries(struct scan *scan, uint64_t page_number) {
    ssize_t got = pread(scan->pagemap, scan->entries, sizeof scan->entries, (off_t)(page_number * sizeof(uint64_t)));
    if (got < (ssize_t)sizeof(uint64_t)) return false;
    memset((char *)scan->entries + got, 0xff, sizeof scan->entries - (size_t)got);
    scan->entries_at = page_number;
    return true;
}

/* True only when the kernel says that the page is neither in memory nor in swap. */
static bool page_is_absent(struct scan *scan, uint64_t address) {
    uint64_t number = address / scan->page;
    if (scan->pagemap < 0) return false;
    bool loaded =
        scan->entries_at != UINT64_MAX && number >= scan->entries_at && number - scan->entries_at < PAGEMAP_ENTRIES;
    if (!loaded && !read_entries(scan, number)) return false;
    return (scan->entries[number - scan->entries_at] & PAGEMAP_PRESENT_OR_SWAPPED) == 0;
}

/* How far one can read from `at` without a page that may be passed over; 0: the page at `at` is such a one. */
static uint64_t stretch(struct scan *scan, const struct mapping *mapping, uint64_t at) {
    uint64_t most = scan->job->buffer_bytes - scan->tail, left = mapping->end - at;
    most = most < scan->page ? most : most - most % scan->page;
    if (left < most) most = left;
    if (mapping->inode != 0 || mapping->end - mapping->start < SPARSE_BYTES) return most;
    uint64_t length = 0;
    while (length < most && !page_is_absent(scan, at + length))
        length += scan->page;
    return length < most ? length : most;
}

static bool is_kernels_own(const struct mapping *mapping) {
    return strncmp(mapping->name, "[vvar", 5) == 0 || strcmp(mapping->name, "[vsyscall]") == 0;
}

/* The page at `at` cannot be read. Returns its end. */
static uint64_t refuse_page(struct scan *scan, const struct mapping *mapping, uint64_t at) {
    uint64_t end = at - at % scan->page + scan->page;
    if (end > mapping->end) end = mapping->end;
    if (!is_kernels_own(mapping)) scan->result->refused_bytes += end - at;
    if (scan->job->spot >= at && scan->job->spot < end) scan->result->spot_refused = true;
    scan->tail = 0;
    return end;
}

static uint64_t read_stretch(struct scan *scan, const struct mapping *mapping, uint64_t at, uint64_t length) {
    ssize_t got = pread(scan->memory, scan->job->buffer + scan->tail, (size_t)length, (off_t)at);
    if (got < 0 && errno == EINTR) return at;
    if (got < 0 && (errno == EIO || errno == EFAULT || errno == EINVAL || errno == EOVERFLOW))
        return refuse_page(scan, mapping, at);
    if (got <= 0) {
        give_up(scan->result, got < 0 ? errno : ESRCH);
        return mapping->end;
    }
    search_more(scan, (size_t)got, mapping->name);
    return at + (uint64_t)got;
}

static void scan_mapping(struct scan *scan, const struct mapping *mapping) {
    uint64_t at = mapping->start;
    if (mapping->inode == 0 && mapping->end - mapping->start > PAGEMAP_LARGEST) {
        give_up(scan->result, EFBIG);
        return;
    }
    while (at < mapping->end && scan->result->complete) {
        uint64_t length = stretch(scan, mapping, at);
        if (length == 0) {
            at += scan->page;
            scan->tail = 0;
        } else {
            at = read_stretch(scan, mapping, at, length);
        }
    }
}

static void name_mapping(struct mapping *mapping, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    snprintf(mapping->name, sizeof mapping->name, "%.*s", (int)sizeof mapping->name - 1,
             name[0] != '\0' ? name : "anonymous");
    mapping->name[strcspn(mapping->name, "\n")] = '\0';
}

/* Passes over `count` words and the spaces behind each. */
static const char *skip_words(const char *text, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        text += strcspn(text, " ");
        text += strspn(text, " ");
    }
    return text;
}

/* "start-end rights offset device inode   path" */
static bool parse_mapping(const char *line, struct mapping *mapping) {
    char *at;
    mapping->start = strtoull(line, &at, 16);
    if (*at != '-') return false;
    mapping->end = strtoull(at + 1, &at, 16);
    if (*at != ' ' || mapping->end <= mapping->start) return false;
    const char *inode = skip_words(at + 1, 3);
    mapping->inode = strtoull(inode, &at, 10);
    name_mapping(mapping, skip_words(inode, 1));
    return at != inode;
}

static void scan_mappings(struct scan *scan, FILE *maps) {
    char line[512];
    bool whole = true; /* the last piece read ended a line */
    while (scan->result->complete && fgets(line, sizeof line, maps) != NULL) {
        struct mapping mapping = {0};
        bool first = whole;
        whole = strchr(line, '\n') != NULL;
        if (!first) continue;
        if (!parse_mapping(line, &mapping)) {
            give_up(scan->result, EPROTO);
            return;
        }
        scan->tail = 0;
        scan_mapping(scan, &mapping);
    }
    if (ferror(maps)) give_up(scan->result, EIO);
}

static int open_of(pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Opens the two files that a scan cannot do without, or says why not. */
static FILE *open_memory(pid_t pid, struct scan *scan) {
    scan->memory = open_of(pid, "mem");
    int list = scan->memory >= 0 ? open_of(pid, "maps") : -1;
    FILE *maps = list >= 0 ? fdopen(list, "r") : NULL;
    if (maps != NULL) return maps;
    give_up(scan->result, errno);
    if (list >= 0) close(list);
    return NULL;
}

void scan_memory(pid_t pid, const struct scan_job *job, struct scan_result *result) {
    memset(result, 0, sizeof *result);
    struct scan scan = {
        .job = job, .result = result, .entries_at = UINT64_MAX, .page = (uint64_t)sysconf(_SC_PAGESIZE)};
    FILE *maps = open_memory(pid, &scan);
    scan.pagemap = open_of(pid, "pagemap");
    if (maps != NULL) {
        result->complete = true;
        scan_mappings(&scan, maps);
        if (result->complete && result->read_bytes == 0) give_up(result, ESRCH);
        fclose(maps);
    }
    if (scan.memory >= 0) close(scan.memory);
    if (scan.pagemap >= 0) close(scan.pagemap);
}
