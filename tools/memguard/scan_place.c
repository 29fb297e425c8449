/* Where a hit lies: stack of which thread and which part of it, saved registers, heap, data of which file. Sources:
 * the kernel's arch/x86/include/uapi/asm/sigcontext.h (signal frames), elf(5) (notes). */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan_look.h"

enum { RED_ZONE = 128, FRAME_BELOW = 12 * 1024, FRAME_ABOVE = 2048, GENERAL_REGISTERS = 23, MARKS_MOST = 20000000 };

/* ---- the kinds of mappings ---- */

static enum picture_kind kind_of(const struct mapping *mapping) {
    if (mapping->hidden) return PICTURE_LOCKED;
    if (strcmp(mapping->name, "[heap]") == 0) return PICTURE_HEAP;
    if (strncmp(mapping->name, "[stack", 6) == 0) return PICTURE_STACK;
    if (strncmp(mapping->name, "[v", 2) == 0) return PICTURE_KERNEL;
    if (mapping->shared || mapping->memory_file) return PICTURE_SHARED;
    if (mapping->executable) return PICTURE_CODE;
    if (mapping->file) return mapping->writable ? PICTURE_DATA : PICTURE_FILE;
    return PICTURE_ANONYMOUS;
}

void look_make_spans(struct look *look) {
    if (look->maps.count == 0) return;
    look->spans = calloc(look->maps.count, sizeof *look->spans);
    if (look->spans == NULL) {
        look_problem(look, "out of memory");
        maps_drop(&look->maps);
        return;
    }
    for (size_t i = 0; i < look->maps.count; i++) {
        struct mapping *mapping = &look->maps.list[i];
        look_clean_name(look, mapping->name, sizeof mapping->name, mapping->start);
        look->spans[i] = (struct picture_span){.start = mapping->start, .end = mapping->end, .kind = kind_of(mapping)};
        snprintf(look->spans[i].name, sizeof look->spans[i].name, "%s", mapping->name);
    }
}

/* ---- stacks ---- */

/* The thread whose stack this is: of several in one mapping that with the nearest stack pointer below. */
static const struct thread *thread_of(const struct look *look, const struct mapping *mapping, uint64_t address) {
    const struct thread *below = NULL, *above = NULL;
    for (size_t i = 0; i < look->thread_count; i++) {
        const struct thread *thread = &look->threads[i];
        uint64_t at = thread->stack_pointer;
        if (at < mapping->start || at >= mapping->end) continue;
        if (at <= address + RED_ZONE && (below == NULL || at > below->stack_pointer)) below = thread;
        if (at > address + RED_ZONE && (above == NULL || at < above->stack_pointer)) above = thread;
    }
    return below != NULL ? below : above;
}

static uint32_t word32(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t word64(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* A piece of memory around a hit, in the buffer of the job. */
struct around {
    const uint8_t *bytes;
    uint64_t start, end;
};

static const uint8_t *at_address(const struct around *around, uint64_t address, size_t bytes) {
    if (address < around->start || address >= around->end || around->end - address < bytes) return NULL;
    return around->bytes + (address - around->start);
}

/* The area in which x86 saves vector registers for a signal handler has a mark and its own size in it. Returns the
 * size; 0: there is none at `area`. */
static uint32_t vector_area(const struct around *around, uint64_t area) {
    const uint8_t *mark = at_address(around, area + 464, 8);
    if (mark == NULL || word32(mark) != 0x46505853u) return 0; /* FP_XSTATE_MAGIC1 */
    return word32(mark + 4);
}

static bool is_vector_register(const struct around *around, uint64_t address) {
    for (uint64_t area = address & ~(uint64_t)63; area >= around->start; area -= 64) {
        uint32_t size = vector_area(around, area);
        if (size != 0) return address - area < size;
        if (area < 64) break;
    }
    return false;
}

/* General registers lie below, and behind them the address of that area. */
static bool is_general_register(const struct around *around, uint64_t address) {
    for (uint64_t i = 0; i < GENERAL_REGISTERS; i++) {
        uint64_t first = (address & ~UINT64_C(7)) - 8 * i;
        const uint8_t *pointer = at_address(around, first + 8 * GENERAL_REGISTERS, 8);
        if (pointer != NULL && word64(pointer) % 64 == 0 && word64(pointer) > address &&
            vector_area(around, word64(pointer)) != 0)
            return true;
    }
    return false;
}

/* Registers of interrupted code, left on the stack by a signal handler. Other processors have other marks, and none of
 * these. */
static bool is_saved_register(const struct look *look, const struct mapping *mapping, uint64_t address,
                              look_reader *read_memory, void *arg) {
    struct around around = {look->job.buffer, address > FRAME_BELOW ? address - FRAME_BELOW : 0, 0};
    size_t most = FRAME_BELOW + FRAME_ABOVE;
    if (around.start < mapping->start) around.start = mapping->start;
    if (most > look->job.buffer_bytes) most = look->job.buffer_bytes;
    if (most > mapping->end - around.start) most = (size_t)(mapping->end - around.start);
    ssize_t got = read_memory != NULL ? read_memory(arg, look->job.buffer, most, around.start) : 0;
    if (got <= 0) return false;
    around.end = around.start + (uint64_t)got;
    return is_vector_register(&around, address) || is_general_register(&around, address);
}

static void attribute_stack(const struct look *look, struct found *one, const struct mapping *mapping,
                            const struct thread *thread, look_reader *read_memory, void *arg) {
    one->place = "stack";
    if (thread != NULL) {
        one->thread = thread->id;
        one->state = one->end + RED_ZONE > thread->stack_pointer ? "in use" : "below the stack pointer";
    }
    if (is_saved_register(look, mapping, one->address, read_memory, arg)) one->state = "saved registers";
}

/* ---- memory ---- */

/* Memory without a name right behind the data of a file is its .bss. */
static const struct mapping *file_before(const struct look *look, const struct mapping *mapping) {
    if (mapping == look->maps.list || mapping->file || strcmp(mapping->name, "anonymous") != 0) return NULL;
    const struct mapping *before = mapping - 1;
    return before->file && before->end == mapping->start && before->writable && !before->shared ? before : NULL;
}

static void attribute_mapping(const struct look *look, struct found *one, const struct mapping *mapping) {
    const struct mapping *before = file_before(look, mapping);
    if (strcmp(mapping->name, "[heap]") == 0)
        one->place = "heap";
    else if (strncmp(mapping->name, "/memfd:", 7) == 0 || strncmp(mapping->name, "memfd:", 6) == 0)
        one->place = "memfd";
    else if (mapping->memory_file || (mapping->shared && !mapping->file))
        one->place = "shared memory";
    else if (mapping->file)
        one->place = mapping->writable ? "data" : mapping->executable ? "code" : "file";
    else
        one->place = before != NULL ? "data" : "anonymous memory";
    snprintf(one->name, sizeof one->name, "%.40s%s", before != NULL ? before->name : mapping->name,
             before != NULL ? " .bss" : "");
}

static bool is_within(uint64_t address, uint64_t start, uint64_t end) {
    return start != 0 && address >= start && address < end;
}

static void attribute_memory(const struct look *look, struct found *one, look_reader *read_memory, void *arg) {
    const struct mapping *mapping = maps_find(&look->maps, one->address);
    if (is_within(one->address, look->environ_start, look->environ_end)) {
        one->place = "environment";
        one->offset = one->address - look->environ_start;
        return;
    }
    if (is_within(one->address, look->argument_start, look->argument_end)) {
        one->place = "command line";
        one->offset = one->address - look->argument_start;
        return;
    }
    if (mapping == NULL) {
        one->place = "memory";
        return;
    }
    one->offset = one->address - mapping->start;
    attribute_mapping(look, one, mapping);
    const struct thread *thread = thread_of(look, mapping, one->address);
    if (thread != NULL || strncmp(mapping->name, "[stack", 6) == 0)
        attribute_stack(look, one, mapping, thread, read_memory, arg);
}

/* ---- notes of a core file ---- */

static const char *note_name(uint32_t type) {
    switch (type) {
    case NT_PRSTATUS:
        return "general registers";
    case NT_PRFPREG:
        return "floating point registers";
    case NT_X86_XSTATE:
        return "vector registers";
    case NT_PRPSINFO:
        return "command line";
    case NT_AUXV:
        return "auxiliary vector";
    case NT_SIGINFO:
        return "signal";
    case NT_FILE:
        return "names of files";
    default:
        return "another note";
    }
}

static void attribute_note(const struct look *look, struct found *one) {
    one->place = "note";
    one->offset = one->address;
    for (size_t i = 0; i < look->note_count; i++) {
        const struct note *note = &look->notes[i];
        if (one->address >= note->end || one->end <= note->start) continue;
        bool registers = note->type == NT_PRSTATUS || note->type == NT_PRFPREG || note->type == NT_X86_XSTATE;
        one->place = registers ? "registers" : note->type == NT_PRPSINFO ? "command line" : "note";
        one->thread = registers ? note->thread : 0;
        snprintf(one->name, sizeof one->name, "%s", note_name(note->type));
        return;
    }
}

/* ---- all ---- */

static int by_place(const void *a, const void *b) {
    const struct found *one = a, *other = b;
    if (one->source != other->source) return one->source < other->source ? -1 : 1;
    if (one->address != other->address) return one->address < other->address ? -1 : 1;
    return (one->form > other->form) - (one->form < other->form);
}

/* What was seen twice, as a part of memory and of a file of /proc, stands once. */
static void drop_doubles(struct look *look) {
    size_t kept = 0;
    for (size_t i = 0; i < look->count; i++) {
        const struct found *one = &look->found[i];
        struct found *last = kept > 0 ? &look->found[kept - 1] : NULL;
        bool same =
            last != NULL && one->source == last->source && one->address == last->address && one->form == last->form;
        if (!same)
            look->found[kept++] = *one;
        else if (one->bytes > last->bytes)
            *last = *one;
    }
    look->count = kept;
}

void look_attribute(struct look *look, look_reader *read_memory, void *arg) {
    qsort(look->found, look->count, sizeof *look->found, by_place);
    drop_doubles(look);
    for (size_t i = 0; i < look->count; i++) {
        struct found *one = &look->found[i];
        one->offset = one->address;
        if (one->source == SOURCE_MEMORY) {
            attribute_memory(look, one, read_memory, arg);
        } else if (one->source == SOURCE_NOTES) {
            attribute_note(look, one);
        } else if (one->source >= SOURCE_FILES) {
            bool memfd = strncmp(look->source_names[one->source], "memfd:", 6) == 0;
            one->place = memfd ? "memfd" : "deleted file";
            snprintf(one->name, sizeof one->name, "%s", look->source_names[one->source]);
        } else {
            one->place = one->source == SOURCE_ENVIRON   ? "environment"
                         : one->source == SOURCE_CMDLINE ? "command line"
                         : one->source == SOURCE_NAMES   ? "name of a mapping or file"
                                                         : "rest of the file";
        }
    }
    const bool many = look->maps.count * look->thread_count > MARKS_MOST;
    for (size_t i = 0; i < look->maps.count && !many; i++) /* stacks of other threads have no name in the list */
        if (look->spans[i].kind == PICTURE_ANONYMOUS &&
            thread_of(look, &look->maps.list[i], look->maps.list[i].end) != NULL)
            look->spans[i].kind = PICTURE_STACK;
}
