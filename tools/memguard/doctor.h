/* doctor.h: what the parts of `memguard doctor` share: what is known about a machine, the facts drawn from it, and the
 * one table of checks.
 *
 * Rule: a check turns the text of files into one fact. It opens nothing itself (doctor_read.c does), tries nothing
 * itself (doctor_trial.c does), and never takes what it could not read for fine. */
#ifndef MEMGUARD_DOCTOR_H
#define MEMGUARD_DOCTOR_H

#include <memguard.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- facts ---- */

enum fact_state {
    FACT_GOOD,    /* it protects secrets */
    FACT_BAD,     /* secrets can be lost by it, and there is a fix */
    FACT_DOUBT,   /* weaker than it could be, or it depends on what programs do, or only hardware would change it */
    FACT_UNKNOWN, /* could not be checked */
    FACT_STATES
};

enum { FACT_TEXT = 512 };

struct fact {
    enum fact_state state;
    char value[FACT_TEXT];   /* what was seen; "" when unknown */
    char meaning[FACT_TEXT]; /* what it means for secrets; when unknown: why it could not be checked */
    char fix[FACT_TEXT];     /* "": as the table of checks has it */
};

/* State, meaning, and the value from a format. */
void fact_say(struct fact *fact, enum fact_state state, const char *meaning, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A fix for just this value, in place of the table's. */
void fact_fix(struct fact *fact, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* It could not be checked, and why. */
void fact_unknown(struct fact *fact, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes of any bytes UTF-8 that a terminal takes no orders from: what is not, or is a control character, becomes '?'.
 */
void fact_clean(char *text);

/* ---- a machine, as its files show it ---- */

struct trial;

struct machine {
    int root;            /* a directory that is looked at as if it were / */
    bool fixture;        /* that is not the real one: nothing is tried */
    pid_t pid;           /* the process asked about; 0: this one */
    int process;         /* its directory in /proc, or -1 */
    int process_error;   /* why it is -1 */
    struct trial *trial; /* see machine_trial */
};

enum { TEXT_BYTES = 16 * 1024, NAME_BYTES = 256 };

/* The beginning of a file. `bytes` is a string: no zero byte is in it, and no line end at its end. */
struct text {
    char bytes[TEXT_BYTES];
    bool cut; /* there was more */
};

/* Paths are relative to the root ("proc/swaps"); "proc/@/" is the directory of the process asked about. The file is
 * read once, to TEXT_BYTES at the most. 0, or an errno: ENODATA when it is empty, EILSEQ when it is no text, EINVAL
 * when it is no file. */
int machine_read(const struct machine *machine, const char *path, struct text *text);

/* The same, and a fact that says why not. False: said. */
bool machine_need(const struct machine *machine, const char *path, struct text *text, struct fact *fact);

/* A file that has one whole number and nothing else. False: said why not. */
bool machine_number(const struct machine *machine, const char *path, long long *number, struct fact *fact);

/* Says that `path` could not be read, and why. */
void machine_unread(const struct machine *machine, const char *path, int error, struct fact *fact);

/* Is there such a thing? 0 (and *mode, which may be null), or an errno. */
int machine_find(const struct machine *machine, const char *path, mode_t *mode);

/* True when a read that gave `error` means that the kernel has no such thing: the file is not there, but the directory
 * that it would be in is. */
bool machine_lacks(const struct machine *machine, const char *directory, int error);

/* Calls fn with each piece of a file that ends with `end` (without it; a piece longer than a page is cut), until fn
 * returns false or `most` bytes were read. 0, or an errno; EFBIG: there was more. The bytes are wiped. */
typedef bool piece_fn(void *arg, const char *piece, size_t length);
int machine_pieces(const struct machine *machine, const char *path, char end, size_t most, piece_fn *fn, void *arg);

/* Calls fn with each name in a directory, until it returns false. 0, or an errno. */
typedef bool name_fn(void *arg, const char *name);
int machine_list(const struct machine *machine, const char *path, name_fn *fn, void *arg);

/* Where a link of a directory of the process points to. False: it cannot be read. */
bool machine_link(const struct machine *machine, const char *path, char to[NAME_BYTES]);

/* The owner of the directory of the process. 0, or an errno. */
int machine_owner(const struct machine *machine, uid_t *owner);

/* The value of "Name:  value" in /proc/PID/status or the like, or NULL. It goes to the end of the line. */
const char *text_field(const struct text *text, const char *name);

/* Is `word` one of the words of the line at `line`? */
bool text_has_word(const char *line, const char *word);

/* Takes `count` numbers with any of the characters `between` before each. What follows, or NULL. */
const char *text_numbers(const char *at, const char *between, unsigned long long *numbers, size_t count);

/* A limit of /proc/PID/limits; UINT64_MAX: unlimited. False: said why not. */
struct limit {
    uint64_t soft, hard;
};
bool machine_limit(const struct machine *machine, const char *name, struct limit *limit, struct fact *fact);

/* What the kernel was built with: 'y', 'm', 'n', or 0 when that is not known. */
char machine_config(const struct machine *machine, const char *option);

/* The value of the last "name=value" on the kernel's command line. False: it is not there. *error: 0, or why it could
 * not be read. */
bool machine_boot_option(const struct machine *machine, const char *name, char value[32], int *error);

/* Is the process in the first user namespace, where users are themselves? Only there capabilities count for the whole
 * machine. False: no, or not known. */
bool machine_in_first_namespace(const struct machine *machine);

/* Has the process this capability, and does it count outside of a user namespace? False: no, or not known. */
bool machine_is_capable(const struct machine *machine, unsigned capability);

/* Which lockdown is on: "none", "integrity", "confidentiality"; NULL: not known, and *error says why (0: garbage). */
const char *machine_lockdown(const struct machine *machine, int *error);

/* What was tried with the library (doctor_trial.c). */
struct trial {
    bool done;          /* the rest has a meaning */
    const char *failed; /* else: why not */
    memguard_status made, hidden;
    char made_text[240], hidden_text[240]; /* what the library said of failures */
    uint32_t backend, protections;
    uint64_t prekey_bytes;
    uint64_t vault_bytes, compact_bytes,
        guarded_bytes;         /* locked for an empty vault; with `compact`; with `guarded`, too */
    uint32_t compact, guarded; /* how many could be made */
};
enum { TRIAL_COMPACT = 256, TRIAL_GUARDED = 32 };

/* NULL: nothing is tried on this machine. The first call tries. */
const struct trial *machine_trial(const struct machine *machine);
void trial_run(struct trial *trial);

/* ---- the table of checks ---- */

typedef void check_fn(const struct machine *machine, struct fact *fact);

struct check {
    const char *id, *group, *title;
    check_fn *look;
    bool of_process;    /* only with --pid */
    const char *gain;   /* what an attacker gains */
    const char *fix;    /* in general; a fact may have a better one */
    const char *undo;   /* how to take the fix back */
    const char *source; /* where it is written */
};

enum { CHECKS_MOST = 64 };
extern const struct check checks[];
extern const size_t checks_count;

check_fn check_lock_limit, check_vault, check_memfd_secret, check_pkeys, check_page_size, check_huge_pages, check_ksm,
    check_map_count;
check_fn check_swap, check_zram, check_swappiness, check_hibernation, check_hibernation_blockers;
check_fn check_core_pattern, check_core_limit, check_core_filter, check_suid_dumpable, check_kdump;
check_fn check_ptrace_scope, check_dev_mem, check_kcore, check_lockdown, check_capabilities, check_perf_events,
    check_unprivileged_bpf, check_hidepid;
check_fn check_vulnerabilities, check_init_on_free, check_init_on_alloc, check_memory_encryption;
check_fn check_environment, check_dumpable, check_no_new_privs, check_seccomp, check_tracer, check_locked_memory,
    check_swapped_memory, check_memfds;

/* ---- what is printed ---- */

/* One line a fact, groups under headings. On a terminal, several lines a fact, folded. */
void doctor_print_head(const struct machine *machine);
void doctor_print_fact(const struct check *check, const struct check *before, const struct fact *fact);

/* How many facts are in which state. */
void doctor_print_end(const size_t counts[FACT_STATES]);

void doctor_print_explanation(const struct check *check);

void doctor_json_head(const struct machine *machine);
void doctor_json_fact(const struct check *check, bool first, const struct fact *fact);
void doctor_json_end(void);

const char *fact_state_name(enum fact_state state);

#endif
