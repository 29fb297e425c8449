/* The scanner. Memory is read mapping by mapping through /proc/PID/mem, which shows what ptrace(2) would show.
 * Sources: proc(5), ptrace(2) "Ptrace access mode checking", the kernel's Documentation/admin-guide/mm/pagemap.rst. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64 /* addresses are offsets */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGEMAP_ENTRIES = 512, SPARSE_BYTES = 1024 * 1024, SHARED_LARGEST = 64 * 1024 * 1024 };
#define PAGEMAP_PRESENT_OR_SWAPPED (UINT64_C(3) << 62)
#define PAGEMAP_GUARD (UINT64_C(1) << 58)

/* ioctl(PAGEMAP_SCAN) of Linux 6.7; C libraries may not have it yet. */
struct page_region {
    uint64_t start, end, categories;
};
struct pagemap_scan {
    uint64_t size, flags, start, end, walk_end, regions, regions_most, most_pages;
    uint64_t inverted, all_of, any_of, returned;
};
#define PAGEMAP_SCAN_NUMBER _IOWR('f', 16, struct pagemap_scan)
#define PAGE_CATEGORIES ((UINT64_C(1) << 3) | (UINT64_C(1) << 4)) /* present, swapped */

#define PAGEMAP_LARGEST (UINT64_C(64) << 30) /* longer mappings (of sanitizers, say) are given up on */

/* One scan in progress. The buffer holds the tail of what came before, then what is read next. */
struct scan {
    const struct scan_job *job;
    struct scan_result *result;
    pid_t pid;
    int memory, pagemap;
    size_t tail;      /* bytes at the start of the buffer that were searched already */
    uint64_t address; /* of what is read next */
    uint64_t page;
    struct page_region there;      /* pages that exist; none before it down to there_from */
    uint64_t there_from, there_to; /* what is known by that */
    bool no_regions;               /* the kernel cannot say */
    uint64_t entries_at;           /* page number of entries[0]; UINT64_MAX: none are loaded */
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

static void search_and_note(struct scan *scan, size_t all, const char *where) {
    struct scan_result *result = scan->result;
    struct needle_hit before[NEEDLE_KINDS];
    memcpy(before, result->hit, sizeof before);
    needle_search(scan->job->needles, scan->job->buffer, all, result->hit);
    note_improvement(result, before, where);
}

static void pass_on(const struct needle_find *find, void *arg) {
    const struct scan *scan = arg;
    scan->job->sink->found(scan->job->sink->arg, scan->address - scan->tail + find->at, find);
}

static void tell_read(const struct scan *scan, uint64_t bytes) {
    const struct scan_sink *sink = scan->job->sink;
    if (sink != NULL && sink->read != NULL) sink->read(sink->arg, bytes);
}

/* Searches the tail and the `bytes` behind it, and keeps the new tail. */
static void search_more(struct scan *scan, size_t bytes, const char *where) {
    size_t all = scan->tail + bytes;
    if (scan->job->sink != NULL)
        needle_find(scan->job->needles, scan->job->buffer, all, pass_on, scan);
    else
        search_and_note(scan, all, where);
    scan->result->read_bytes += bytes;
    scan->address += bytes;
    scan->tail = all < NEEDLE_LONGEST ? all : NEEDLE_LONGEST;
    memmove(scan->job->buffer, scan->job->buffer + all - scan->tail, scan->tail);
    tell_read(scan, bytes);
}

/* ---- files ---- */

/* Passes over a hole. Files that have none, or cannot say, are read as they are. */
static uint64_t next_data(struct scan *scan, int fd, uint64_t at) {
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return UINT64_MAX;
    if (data < 0 || (uint64_t)data <= at) return at;
    scan->tail = 0;
    scan->address += (uint64_t)data - at;
    tell_read(scan, (uint64_t)data - at);
    return (uint64_t)data;
}

/* A file with a size. One of /proc says 0. */
static bool has_size(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
}

static ssize_t read_some(int fd, void *to, size_t most, uint64_t at, bool sized) {
    ssize_t got;
    do
        got = sized ? pread(fd, to, most, (off_t)at) : read(fd, to, most);
    while (got < 0 && errno == EINTR);
    return got;
}

void scan_descriptor(int fd, uint64_t at, uint64_t end, uint64_t address, const struct scan_job *job,
                     struct scan_result *result) {
    struct scan scan = {.job = job, .result = result, .address = address};
    const bool sized = has_size(fd);
    while (at < end) {
        uint64_t data = sized ? next_data(&scan, fd, at) : at;
        if (data >= end) return;
        at = data;
        uint64_t most = job->buffer_bytes - scan.tail;
        if (most > end - at) most = end - at;
        ssize_t got = read_some(fd, job->buffer + scan.tail, (size_t)most, at, sized);
        if (got < 0) give_up(result, errno);
        if (got <= 0) return;
        search_more(&scan, (size_t)got, "");
        at += (uint64_t)got;
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
    scan_descriptor(fd, 0, UINT64_MAX, 0, job, result);
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

/* What the kernel says of the page; all bits when it says nothing. */
static uint64_t page_entry(struct scan *scan, uint64_t address) {
    uint64_t number = address / scan->page;
    if (scan->pagemap < 0) return UINT64_MAX;
    bool loaded =
        scan->entries_at != UINT64_MAX && number >= scan->entries_at && number - scan->entries_at < PAGEMAP_ENTRIES;
    if (!loaded && !read_entries(scan, number)) return UINT64_MAX;
    return scan->entries[number - scan->entries_at];
}

/* True only when the kernel says that the page is neither in memory nor in swap. */
static bool page_is_absent(struct scan *scan, uint64_t address) {
    return (page_entry(scan, address) & PAGEMAP_PRESENT_OR_SWAPPED) == 0;
}

/* Asks for the next pages that exist from `at` on; true when `there` tells of `at`. */
static bool find_region(struct scan *scan, uint64_t at, uint64_t end) {
    if (at >= scan->there_from && at < scan->there_to) return true;
    if (scan->no_regions || scan->pagemap < 0) return false;
    struct page_region region = {0};
    struct pagemap_scan ask = {.size = sizeof ask,
                               .start = at,
                               .end = end,
                               .regions = (uint64_t)(uintptr_t)&region,
                               .regions_most = 1,
                               .any_of = PAGE_CATEGORIES,
                               .returned = PAGE_CATEGORIES};
    int found = ioctl(scan->pagemap, PAGEMAP_SCAN_NUMBER, &ask);
    scan->no_regions = found < 0;
    if (found < 0) return false;
    scan->there = found == 0 ? (struct page_region){end, end, 0} : region;
    scan->there_from = at;
    scan->there_to = scan->there.end;
    return true;
}

/* Pages that do not exist: how far they go from `at`; 0: the one at `at` exists. */
static uint64_t gap(struct scan *scan, const struct mapping *mapping, uint64_t at) {
    if (!find_region(scan, at, mapping->end)) return page_is_absent(scan, at) ? scan->page : 0;
    return at < scan->there.start ? scan->there.start - at : 0;
}

static bool is_long(const struct mapping *mapping) { return mapping->end - mapping->start >= SPARSE_BYTES; }

/* Pages of it that do not exist are passed over: in private memory they hold nothing; of a file on a disk they are not in
 * memory; and shared memory would be made by reading it. */
static bool is_sparse(const struct mapping *mapping) {
    return is_long(mapping) && (!mapping->memory_file || mapping->end - mapping->start > SHARED_LARGEST);
}

/* How far one can read from `at` without a page that may be passed over. */
static uint64_t stretch(struct scan *scan, const struct mapping *mapping, uint64_t at) {
    uint64_t most = scan->job->buffer_bytes - scan->tail, left = mapping->end - at;
    most = most < scan->page ? most : most - most % scan->page;
    if (left < most) most = left;
    if (!is_sparse(mapping)) return most;
    uint64_t length = scan->page;
    while (length < most && gap(scan, mapping, at + length) == 0)
        length += scan->page;
    return length < most ? length : most;
}

static bool is_guard(struct scan *scan, uint64_t at) {
    uint64_t entry = page_entry(scan, at);
    return entry != UINT64_MAX && (entry & PAGEMAP_GUARD) != 0;
}

/* A process that runs on may have given the page back meanwhile. */
static bool is_gone(const struct scan *scan, uint64_t at) {
    struct maps now;
    if (maps_read(scan->pid, &now) != 0) return false;
    bool gone = maps_find(&now, at) == NULL;
    maps_drop(&now);
    return gone;
}

/* Whether the kernel should have shown it: not what it shows to nobody, nor a page that does not exist, such as one behind
 * the end of a file, which the process could not read either. Of shared memory others may have it (userfaultfd(2)). */
static bool should_be_readable(struct scan *scan, const struct mapping *mapping, uint64_t at) {
    if (mapping->hidden || mapping->device) return false;
    return (mapping->memory_file || !page_is_absent(scan, at)) && !is_gone(scan, at);
}

static void note_refused(struct scan *scan, const struct mapping *mapping, uint64_t at, uint64_t bytes, int error) {
    const struct scan_sink *sink = scan->job->sink;
    bool unread = should_be_readable(scan, mapping, at);
    scan->result->refused_bytes += bytes;
    if (unread) {
        scan->result->unread_bytes += bytes;
        scan->result->unread_error = error;
    }
    if (sink != NULL && sink->refused != NULL) sink->refused(sink->arg, at, bytes, unread);
}

/* The page at `at` cannot be read. Returns its end. */
static uint64_t refuse_page(struct scan *scan, const struct mapping *mapping, uint64_t at, int error) {
    uint64_t end = at - at % scan->page + scan->page;
    if (end > mapping->end) end = mapping->end;
    if (scan->job->spot >= at && scan->job->spot < end) scan->result->spot_refused = true;
    if (!mapping_is_kernels(mapping) && !is_guard(scan, at)) note_refused(scan, mapping, at, end - at, error);
    scan->tail = 0;
    tell_read(scan, end - at);
    return end;
}

static uint64_t read_stretch(struct scan *scan, const struct mapping *mapping, uint64_t at, uint64_t length) {
    ssize_t got = pread(scan->memory, scan->job->buffer + scan->tail, (size_t)length, (off_t)at);
    scan->address = at;
    if (got < 0 && errno == EINTR) return at;
    if (got < 0 && (errno == EIO || errno == EFAULT || errno == EINVAL || errno == EOVERFLOW))
        return refuse_page(scan, mapping, at, errno);
    if (got <= 0) {
        give_up(scan->result, got < 0 ? errno : ESRCH);
        return mapping->end;
    }
    search_more(scan, (size_t)got, mapping->name);
    return at + (uint64_t)got;
}

/* Too long to be asked for page by page. Who is told of everything waits for as long as it takes, where it takes less. */
static bool is_too_long(struct scan *scan, const struct mapping *mapping) {
    if (mapping->inode != 0 || mapping->end - mapping->start <= PAGEMAP_LARGEST) return false;
    return scan->job->sink == NULL || !find_region(scan, mapping->start, mapping->end);
}

static int open_of(pid_t pid, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Shared memory is a file, whose holes one can see and does not fill by reading; but only root may open it. Private
 * memory of such a file has pages that the file does not have. */
static bool scan_shared(struct scan *scan, const struct mapping *mapping) {
    char name[64];
    snprintf(name, sizeof name, "map_files/%llx-%llx", (unsigned long long)mapping->start,
             (unsigned long long)mapping->end);
    int fd = open_of(scan->pid, name);
    if (fd < 0) return false;
    const uint64_t length = mapping->end - mapping->start;
    scan_descriptor(fd, mapping->offset, mapping->offset + length, mapping->start, scan->job, scan->result);
    close(fd);
    return true;
}

/* Pages that this process has not brought in; of shared memory others may have. */
static void pass_over(struct scan *scan, const struct mapping *mapping, uint64_t bytes) {
    scan->tail = 0;
    tell_read(scan, bytes);
    if (!mapping->memory_file) return;
    scan->result->unread_bytes += bytes;
    scan->result->unread_error = ENODATA;
}

static void scan_mapping(struct scan *scan, const struct mapping *mapping) {
    uint64_t at = mapping->start;
    scan->there_from = scan->there_to = 0;
    if (is_too_long(scan, mapping)) {
        give_up(scan->result, EFBIG);
        return;
    }
    if (mapping->memory_file && mapping->shared && is_long(mapping) && scan_shared(scan, mapping)) return;
    while (at < mapping->end && scan->result->complete) {
        uint64_t absent = is_sparse(mapping) ? gap(scan, mapping, at) : 0;
        if (absent == 0) {
            at = read_stretch(scan, mapping, at, stretch(scan, mapping, at));
        } else {
            at += absent;
            pass_over(scan, mapping, absent);
        }
    }
}

void scan_mappings(pid_t pid, const struct maps *maps, const struct scan_job *job, struct scan_result *result) {
    memset(result, 0, sizeof *result);
    struct scan scan = {
        .job = job, .result = result, .pid = pid, .entries_at = UINT64_MAX, .page = (uint64_t)sysconf(_SC_PAGESIZE)};
    scan.memory = open_of(pid, "mem");
    if (scan.memory < 0) {
        give_up(result, errno);
        return;
    }
    scan.pagemap = open_of(pid, "pagemap");
    result->complete = true;
    for (size_t i = 0; i < maps->count && result->complete; i++) {
        const uint64_t read = result->read_bytes, refused = result->refused_bytes;
        if (scan.address != maps->list[i].start) scan.tail = 0; /* a secret may lie over the edge of two */
        scan_mapping(&scan, &maps->list[i]);
        if (job->sink != NULL && job->sink->mapping != NULL)
            job->sink->mapping(job->sink->arg, i, result->read_bytes - read, result->refused_bytes - refused);
    }
    if (result->complete && result->read_bytes == 0) give_up(result, ESRCH);
    close(scan.memory);
    if (scan.pagemap >= 0) close(scan.pagemap);
}

void scan_memory(pid_t pid, const struct scan_job *job, struct scan_result *result) {
    struct maps maps;
    int error = maps_read(pid, &maps);
    if (error != 0) {
        memset(result, 0, sizeof *result);
        give_up(result, error);
        return;
    }
    scan_mappings(pid, &maps, job, result);
    maps_drop(&maps);
}
