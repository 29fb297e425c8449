/* Core files: ELF for 64 bits, in our own byte order. Nothing in the file is believed: every offset and count is held
 * against the file's size, each byte is read once however segments overlap, and tables are limited. Register notes
 * hold secrets, so of them only the thread's number and stack pointer are read, where they lie; the rest goes through the
 * scan's buffer. Source: elf(5), the kernel's fs/binfmt_elf.c. */
#define _GNU_SOURCE
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan_look.h"
#include "ui.h"

enum { SEGMENTS_MOST = 131072, NOTES_MOST = 131072, THREADS_MOST = 65536, NAMES_MOST = 16 * 1024 * 1024 };

/* In the NT_PRSTATUS of Linux: pr_pid, and where in pr_reg (offset 112) the stack pointer is. */
enum { STATUS_PID_AT = 32, STATUS_REGISTERS_AT = 112 };
#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, STATUS_STACK_AT = STATUS_REGISTERS_AT + 8 * 19 };
#else
enum { MACHINE = EM_AARCH64, STATUS_STACK_AT = STATUS_REGISTERS_AT + 8 * 31 };
#endif

struct core_file {
    int fd;
    uint64_t bytes;
    Elf64_Phdr *segments;
    size_t count;
};

static bool read_at(const struct core_file *core, void *to, size_t bytes, uint64_t at) {
    if (at > core->bytes || bytes > core->bytes - at) return false;
    for (size_t have = 0; have < bytes;) {
        ssize_t got = pread(core->fd, (char *)to + have, bytes - have, (off_t)(at + have));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        have += (size_t)got;
    }
    return true;
}

/* ---- the tables ---- */

static bool is_ours(const Elf64_Ehdr *head) {
    const unsigned char order = __BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB;
    return memcmp(head->e_ident, ELFMAG, SELFMAG) == 0 && head->e_ident[EI_CLASS] == ELFCLASS64 &&
           head->e_ident[EI_DATA] == order && head->e_type == ET_CORE && head->e_machine == MACHINE &&
           head->e_phentsize == sizeof(Elf64_Phdr);
}

/* More than 65534 segments: their number is in the first section. */
static uint64_t count_segments(const struct core_file *core, const Elf64_Ehdr *head) {
    Elf64_Shdr section;
    if (head->e_phnum != PN_XNUM) return head->e_phnum;
    return read_at(core, &section, sizeof section, head->e_shoff) ? section.sh_info : 0;
}

static int by_offset(const void *a, const void *b) {
    const Elf64_Phdr *one = a, *other = b;
    return (one->p_offset > other->p_offset) - (one->p_offset < other->p_offset);
}

/* NULL, or what is wrong. */
static const char *read_segments(struct core_file *core) {
    Elf64_Ehdr head;
    if (!read_at(core, &head, sizeof head, 0) || !is_ours(&head))
        return "is not a core file (ELF, 64 bit) of this kind of machine";
    uint64_t count = count_segments(core, &head);
    if (count == 0) return "is a core file without segments";
    if (count > SEGMENTS_MOST) return "claims too many segments";
    core->segments = calloc(count, sizeof *core->segments);
    if (core->segments == NULL) return "needs more memory than there is";
    if (!read_at(core, core->segments, count * sizeof *core->segments, head.e_phoff))
        return "ends in the middle of its list of segments";
    core->count = count;
    qsort(core->segments, count, sizeof *core->segments, by_offset);
    return NULL;
}

/* So much of a segment is in the file. */
static uint64_t bytes_there(const struct core_file *core, const Elf64_Phdr *segment) {
    if (segment->p_offset >= core->bytes) return 0;
    uint64_t left = core->bytes - segment->p_offset;
    return segment->p_filesz < left ? segment->p_filesz : left;
}

/* ---- mappings ---- */

static int by_address(const void *a, const void *b) {
    const struct mapping *one = a, *other = b;
    return (one->start > other->start) - (one->start < other->start);
}

static uint64_t sum_or_most(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static bool make_maps(struct look *look, const struct core_file *core) {
    look->maps.list = calloc(core->count, sizeof *look->maps.list);
    if (look->maps.list == NULL) return false;
    for (size_t i = 0; i < core->count; i++) {
        const Elf64_Phdr *segment = &core->segments[i];
        if (segment->p_type != PT_LOAD || segment->p_memsz == 0) continue;
        struct mapping *mapping = &look->maps.list[look->maps.count++];
        *mapping = (struct mapping){.start = segment->p_vaddr,
                                    .end = sum_or_most(segment->p_vaddr, segment->p_memsz),
                                    .readable = (segment->p_flags & PF_R) != 0,
                                    .writable = (segment->p_flags & PF_W) != 0,
                                    .executable = (segment->p_flags & PF_X) != 0};
        snprintf(mapping->name, sizeof mapping->name, "anonymous");
        if (segment->p_memsz > segment->p_filesz)
            look->absent_bytes = sum_or_most(look->absent_bytes, segment->p_memsz - segment->p_filesz);
    }
    qsort(look->maps.list, look->maps.count, sizeof *look->maps.list, by_address);
    return true;
}

/* ---- notes ---- */

/* Ranges of an honest file do not overlap: no more than `steps` mappings are looked at in all. */
static void name_range(struct look *look, uint64_t start, uint64_t end, const char *path, size_t *steps) {
    const char *slash = strrchr(path, '/');
    const struct mapping *first = maps_find(&look->maps, start);
    for (size_t i = first != NULL ? (size_t)(first - look->maps.list) : look->maps.count; i < look->maps.count; i++) {
        struct mapping *mapping = &look->maps.list[i];
        if (*steps == 0 || mapping->start >= end) return;
        --*steps;
        mapping->file = true;
        snprintf(mapping->name, sizeof mapping->name, "%.*s", (int)sizeof mapping->name - 1,
                 slash != NULL ? slash + 1 : path);
        for (char *at = mapping->name; *at != '\0'; at++)
            if ((unsigned char)*at < ' ' || (unsigned char)*at >= 127) *at = '?';
    }
}

/* NT_FILE: count, page size, count times (start, end, offset), count names. `text` has a zero behind its end. */
static void read_names(struct look *look, const char *text, size_t bytes) {
    uint64_t count, range[3];
    if (bytes < 16) return;
    memcpy(&count, text, sizeof count);
    if (count > (bytes - 16) / sizeof range || count > SEGMENTS_MOST) return;
    const char *name = text + 16 + count * sizeof range, *end = text + bytes;
    size_t steps = 2 * (size_t)SEGMENTS_MOST;
    for (uint64_t i = 0; i < count && name < end; i++) {
        memcpy(range, text + 16 + i * sizeof range, sizeof range);
        name_range(look, range[0], range[1], name, &steps);
        name += strlen(name) + 1;
    }
}

static void read_file_note(struct look *look, const struct core_file *core, uint64_t at, uint32_t bytes) {
    if (bytes > NAMES_MOST) return;
    char *text = calloc(1, (size_t)bytes + 1);
    if (text != NULL && read_at(core, text, bytes, at)) read_names(look, text, bytes);
    free(text);
}

static pid_t read_status_note(struct look *look, const struct core_file *core, uint64_t at, uint32_t bytes) {
    int32_t id = 0;
    uint64_t pointer = 0;
    if (bytes < STATUS_STACK_AT + 8 || look->thread_count == THREADS_MOST) return 0;
    if (!read_at(core, &id, sizeof id, at + STATUS_PID_AT) || !read_at(core, &pointer, 8, at + STATUS_STACK_AT))
        return 0;
    if ((look->thread_count & (look->thread_count + 1)) == 0) { /* room for as many again */
        struct thread *threads = reallocarray(look->threads, 2 * look->thread_count + 2, sizeof *threads);
        if (threads == NULL) return 0;
        look->threads = threads;
    }
    look->threads[look->thread_count++] = (struct thread){id, pointer};
    return id;
}

static bool add_note(struct look *look, const struct note *note) {
    if (look->note_count == NOTES_MOST) return false;
    if ((look->note_count & (look->note_count + 1)) == 0) {
        struct note *notes = reallocarray(look->notes, 2 * look->note_count + 2, sizeof *notes);
        if (notes == NULL) return false;
        look->notes = notes;
    }
    look->notes[look->note_count++] = *note;
    return true;
}

static uint64_t padded(uint32_t bytes) { return ((uint64_t)bytes + 3) & ~UINT64_C(3); }

/* The notes of a thread follow its NT_PRSTATUS. */
static void read_notes(struct look *look, const struct core_file *core, const Elf64_Phdr *segment, bool *named) {
    uint64_t at = segment->p_offset, end = at + bytes_there(core, segment);
    pid_t thread = 0;
    Elf64_Nhdr head;
    while (end - at >= sizeof head && read_at(core, &head, sizeof head, at)) {
        uint64_t content = at + sizeof head + padded(head.n_namesz);
        if (content > end || head.n_descsz > end - content) return;
        if (head.n_type == NT_PRSTATUS) thread = read_status_note(look, core, content, head.n_descsz);
        if (head.n_type == NT_FILE && !*named) read_file_note(look, core, content, head.n_descsz);
        *named |= head.n_type == NT_FILE;
        const struct note note = {content, content + head.n_descsz, thread, head.n_type};
        if (!add_note(look, &note)) return;
        at = content + padded(head.n_descsz);
        if (at > end) return;
    }
}

/* ---- reading ---- */

/* The last `again` bytes before `start` are read once more, since a secret may lie over the edge. */
static void scan_part(struct look *look, const struct core_file *core, uint64_t start, uint64_t end, uint64_t address,
                      uint64_t again, uint16_t source) {
    struct scan_result result = {.complete = true};
    look->source = source;
    scan_descriptor(core->fd, start - again, end, address - again, &look->job, &result);
    look->read_bytes += result.read_bytes - (result.read_bytes < again ? result.read_bytes : again);
    if (!result.complete) {
        look_problem(look, "the file could not be read: %s", strerror(result.os_error));
        look->unread_bytes += end - start;
    }
}

static void note_read(struct look *look, uint64_t address, uint64_t bytes) {
    const struct mapping *mapping = maps_find(&look->maps, address);
    if (mapping != NULL) look->spans[mapping - look->maps.list].read += bytes;
}

/* How much of what was read before lies before a segment in memory, too. */
static uint64_t bytes_before(const Elf64_Phdr *last, const Elf64_Phdr *segment) {
    if (last == NULL || segment->p_type != PT_LOAD || last->p_offset + last->p_filesz != segment->p_offset ||
        last->p_vaddr + last->p_filesz != segment->p_vaddr)
        return 0;
    return last->p_filesz < NEEDLE_LONGEST ? last->p_filesz : NEEDLE_LONGEST;
}

/* The file from its beginning to its end, in the order of offsets: what is no segment, too. */
static void scan_all(struct look *look, const struct core_file *core) {
    const Elf64_Phdr *last = NULL; /* the memory before */
    uint64_t at = 0;
    for (size_t i = 0; i < core->count && look->problem_count == 0; i++) {
        const Elf64_Phdr *segment = &core->segments[i];
        const bool memory = segment->p_type == PT_LOAD;
        uint64_t start = segment->p_offset, end = start + bytes_there(core, segment);
        if (end <= at || end == start) continue;
        if (start > at) scan_part(look, core, at, start, at, 0, SOURCE_REST);
        const uint64_t again = start == at ? bytes_before(last, segment) : 0;
        if (start < at) start = at;
        uint64_t address = memory ? segment->p_vaddr + (start - segment->p_offset) : start;
        scan_part(look, core, start, end, address, again,
                  memory                       ? SOURCE_MEMORY
                  : segment->p_type == PT_NOTE ? SOURCE_NOTES
                                               : SOURCE_REST);
        if (memory) note_read(look, address, end - start);
        if (memory) look->looked = true;
        last = memory ? segment : NULL;
        at = end;
    }
    if (at < core->bytes) scan_part(look, core, at, core->bytes, at, 0, SOURCE_REST);
}

static void note_missing(struct look *look, const struct core_file *core) {
    uint64_t missing = 0;
    char text[24];
    for (size_t i = 0; i < core->count; i++)
        missing = sum_or_most(missing, core->segments[i].p_filesz - bytes_there(core, &core->segments[i]));
    if (missing == 0) return;
    look->unread_bytes = missing;
    look_problem(look, "the file is cut off: %s that it announces are not in it", ui_bytes(missing, text));
}

/* Where a reader of memory finds an address. */
static ssize_t read_memory(void *arg, void *to, size_t bytes, uint64_t address) {
    const struct core_file *core = arg;
    for (size_t i = 0; i < core->count; i++) {
        const Elf64_Phdr *segment = &core->segments[i];
        uint64_t there = bytes_there(core, segment), within = address - segment->p_vaddr;
        if (segment->p_type != PT_LOAD || within >= there) continue;
        if (bytes > there - within) bytes = (size_t)(there - within);
        return read_at(core, to, bytes, segment->p_offset + within) ? (ssize_t)bytes : -1;
    }
    return -1;
}

void look_at_core(struct look *look, int fd) {
    struct core_file core = {.fd = fd};
    struct stat info;
    look->is_core = true;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        look_problem(look, "the file is not a regular file");
        return;
    }
    core.bytes = (uint64_t)info.st_size;
    const char *problem = read_segments(&core);
    if (problem != NULL || !make_maps(look, &core)) {
        look_problem(look, "the file %s", problem != NULL ? problem : "needs more memory than there is");
        free(core.segments);
        return;
    }
    bool named = false;
    for (size_t i = 0; i < core.count; i++)
        if (core.segments[i].p_type == PT_NOTE) read_notes(look, &core, &core.segments[i], &named);
    look_make_spans(look);
    if (look->spans != NULL || look->maps.count == 0) {
        progress_begin(&look->progress, "core file", core.bytes);
        scan_all(look, &core);
        progress_end(&look->progress);
    }
    note_missing(look, &core);
    if (!look->looked && look->problem_count == 0) look_problem(look, "the file has no memory in it");
    look_attribute(look, read_memory, &core);
    free(core.segments);
}
