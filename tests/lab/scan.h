/* scan.h: searches the memory of this very process for secrets.
 *
 * A *needle* is a secret whose bytes are known to the test; it is kept XORed with a random pad. Every window of 8 bytes of it, at every
 * offset, is looked for at every byte of every mapping of /proc/self/maps, read through /proc/self/mem, so that pages without
 * access are seen, too; and in register snapshots. Hits that follow one another are one *run*, whose length tells the window
 * of 16 or 32 bytes. A hit in an encoded form counts when it shows 8 bytes of the needle (16 hex digits, 12 of base64).
 *
 * The scanner's memory is one arena, which is left out; all of its code that sees bytes runs on a stack in there (scan_call), which is
 * cleared, with the registers, before anything else runs. So it neither finds itself nor leaves anything behind, and works
 * the same where the library's wiping is switched off.
 *
 * Not seen: registers of other threads, caches, the kernel's memory, copies in a transformed shape (limbs, key schedules). */
#ifndef MEMGUARD_TESTS_LAB_SCAN_H
#define MEMGUARD_TESTS_LAB_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* What is looked for: the columns of a table. Many needles may share one. */
enum scan_column {
    SCAN_P, /* plaintext */
    SCAN_K,
    SCAN_X,
    SCAN_Y,
    SCAN_HX,
    SCAN_KS,
    SCAN_S,
    SCAN_STREAM, /* one-time key and keystream */
    SCAN_OLD,    /* x, y, H(x) of an epoch that is over, and d */
    SCAN_W,      /* key that wraps K */
    SCAN_KEK,
    SCAN_COLUMNS
};
extern const char *const scan_column_names[SCAN_COLUMNS];

/* Where a hit lies. */
enum scan_place {
    SCAN_HEAP,
    SCAN_STACK,
    SCAN_THREAD_STACK,
    SCAN_FILE,  /* data or text of the program or a library */
    SCAN_OTHER, /* any mapping that nobody has named */
    SCAN_REGISTERS,
    /* named by the test: */
    SCAN_SOURCE,
    SCAN_SLOT,
    SCAN_USE_PAGE,
    SCAN_COMPACT,
    SCAN_COFFER,
    SCAN_PREKEY,
    SCAN_BENCH,
    SCAN_PLANTED,
    SCAN_PLACES,
    SCAN_NOWHERE
};
extern const char *const scan_place_names[SCAN_PLACES];

enum scan_form {
    SCAN_RAW,
    SCAN_REVERSED,
    SCAN_HEX,
    SCAN_HEX_UPPER,
    SCAN_BASE64,
    SCAN_BASE64_1,
    SCAN_BASE64_2,
    SCAN_FORMS
};
enum { SCAN_ALL_FORMS = (1 << SCAN_FORMS) - 1, SCAN_SHORT_FORMS = (1 << SCAN_RAW) | (1 << SCAN_REVERSED) };
extern const char *const scan_form_names[SCAN_FORMS];

struct scan_cell {
    unsigned runs;
    size_t longest;  /* bytes of memory in the longest run */
    uintptr_t where; /* of that */
    enum scan_form form;
};
struct scan_result {
    struct scan_cell cells[SCAN_COLUMNS][SCAN_PLACES];
    uint64_t seen_bytes, unread_bytes;
    uintptr_t unread_at; /* the first of them */
};

/* Once. NULL, or why nothing can be scanned here. */
const char *scan_start(void);

/* Runs fn(arg) on the scanner's own stack; afterwards that stack and the registers are clear. fn may see secrets. */
void scan_call(void (*fn)(void *arg), void *arg);
/* A wipe that is not the library's. */
void scan_wipe(void *p, size_t bytes);

/* Forgets all needles and snapshots. windows: how many will be added, about. */
void scan_begin(size_t windows);
/* A new needle, all zero; its number. It is looked for after scan_index. */
int scan_add(enum scan_column column, size_t bytes, unsigned forms);
/* Only in functions run by scan_call: sets and gets bytes of a needle. */
void scan_set(int needle, size_t offset, const unsigned char *raw, size_t bytes);
void scan_get(int needle, size_t offset, unsigned char *raw, size_t bytes);
void scan_index(int needle);
/* From now on its hits are counted in another column. */
void scan_recolumn(int needle, enum scan_column column);
int scan_equal(int needle, int other);
/* A new needle of fresh pseudo-random bytes, indexed, which are also written to `to` (may be null). They exist nowhere else. */
int scan_draw(enum scan_column column, size_t bytes, unsigned forms, void *to);
/* Writes one form of a needle somewhere, so that there is something to find. Gives its length. */
size_t scan_plant(int needle, enum scan_form form, void *to);

/* Names a range of memory; several ranges may have one name. */
void scan_name(enum scan_place place, const void *from, size_t bytes);
void scan_unname(enum scan_place place);

/* All memory, and the snapshots taken since the last scan_begin or scan_drop_registers. */
void scan_memory(struct scan_result *result);
/* Runs in a place, or in all but that. */
unsigned scan_runs_in(const struct scan_result *result, enum scan_column column, enum scan_place place);
unsigned scan_runs_outside(const struct scan_result *result, enum scan_column column, enum scan_place place);
void scan_print_hits(const struct scan_result *result, const char *state);
/* The errno of reading one byte of this process by /proc/self/mem; 0: it could be read. */
int scan_read_error(const void *p);

/* ---- registers: general and all that XSAVE knows, as they are right now ---- */

enum { SCAN_SNAPSHOT_BYTES = 16384, SCAN_SNAPSHOTS = 32 };
#if defined(__x86_64__)
#define SCAN_HAS_REGISTERS 1
void scan_store_registers(unsigned char *to); /* 64-byte aligned */
#else
#define SCAN_HAS_REGISTERS 0
static inline void scan_store_registers(unsigned char *to) { (void)to; }
#endif
extern unsigned char *scan_snapshots; /* SCAN_SNAPSHOTS of them */
void scan_drop_registers(void);
#define SCAN_REGISTERS_NOW(i) scan_store_registers(scan_snapshots + (size_t)(i)*SCAN_SNAPSHOT_BYTES)

#endif
