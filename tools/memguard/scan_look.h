/* scan_look.h: what `memguard scan` sees of a process or a core file: all that was found, each with the place it lies in,
 * and what could not be looked at.
 *
 * Holds places, sizes and names of mappings; never a byte of what was read, but for the buffer that the job lends. */
#ifndef MEMGUARD_SCAN_LOOK_H
#define MEMGUARD_SCAN_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "maps.h"
#include "picture.h"
#include "progress.h"
#include "scan.h"

enum {
    LOOK_FOUND_MOST = 4096,
    LOOK_SOURCES = 64,
    LOOK_PROBLEMS = 16,
    LOOK_NAME = 48,
    LOOK_WORDS = 160,
    LOOK_BEGAN = 48
};

/* What was read: memory by its addresses, or a file by its offsets. */
enum { SOURCE_MEMORY, SOURCE_ENVIRON, SOURCE_CMDLINE, SOURCE_NOTES, SOURCE_REST, SOURCE_NAMES, SOURCE_FILES };

struct found {
    uint64_t address, end;
    uint32_t from, bytes; /* of the secret */
    uint16_t piece, source;
    uint8_t form;
    const char *place;    /* "heap", "stack", "environment"; static */
    const char *state;    /* of a stack: "in use", "below the stack pointer", "saved registers"; static, or NULL */
    char name[LOOK_NAME]; /* of the mapping, file or note */
    uint64_t offset;      /* in it */
    pid_t thread;         /* 0: not known */
};

struct thread {
    pid_t id;
    uint64_t stack_pointer; /* 0: not known */
};

/* Registers and the like in a core file, by its offsets. */
struct note {
    uint64_t start, end;
    pid_t thread;
    uint32_t type;
};

struct look {
    struct scan_job job; /* needles and buffer; the sink is ours */
    struct scan_sink sink;
    struct found *found; /* LOOK_FOUND_MOST */
    size_t count;
    uint64_t more; /* places that had no room in the list */
    struct maps maps;
    struct picture_span *spans; /* one for each mapping */
    struct thread *threads;
    size_t thread_count;
    char began[LOOK_BEGAN];                                            /* by that it is known */
    uint64_t argument_start, argument_end, environ_start, environ_end; /* 0: not known */
    struct note *notes;
    size_t note_count;
    uint16_t source; /* of what is being read */
    size_t sources;
    char source_names[LOOK_SOURCES][LOOK_NAME];
    char problems[LOOK_PROBLEMS][LOOK_WORDS]; /* what could not be looked at, and why */
    size_t problem_count;
    bool is_core;
    bool looked;           /* memory could be looked at, at least in part */
    uint64_t read_bytes;   /* of everything */
    uint64_t hidden_bytes; /* that the kernel shows to nobody */
    uint64_t unread_bytes; /* that it should have shown */
    uint64_t absent_bytes; /* of memory that a core file does not have */
    size_t files;          /* open files looked at */
    struct progress progress;
    uint64_t done;
};

/* False: out of memory; said. */
bool look_begin(struct look *look, const struct scan_job *job);
void look_end(struct look *look);

/* Both fill in everything; what they cannot do becomes a problem. */
void look_at_process(struct look *look, pid_t pid);
void look_at_core(struct look *look, int fd);

/* ---- between the files of this part ---- */

void look_problem(struct look *look, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A name that will be shown: if it has bytes of the secret in it, that is noted, and it is replaced. */
void look_clean_name(struct look *look, char *name, size_t room, uint64_t address);

/* Sorts what was found and says for each where it lies. `read_memory` reads memory at an address (for marks of signal
 * frames), or is NULL. */
typedef ssize_t look_reader(void *arg, void *to, size_t bytes, uint64_t address);
void look_attribute(struct look *look, look_reader *read_memory, void *arg);

/* The kinds of mappings, for the picture; names that have the secret in them are taken away. */
void look_make_spans(struct look *look);

#endif
