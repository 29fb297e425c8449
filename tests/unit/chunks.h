/* chunks.h: what the white-box tests of streams and large secrets share. The file under test is compiled into the test, with two of the things it calls
 * replaced: memory, which can fail at call N, and the sealing of a chunk, which can, too, and is noted: no nonce may come twice.
 * Include it, then the source. */
#ifndef MEMGUARD_TESTS_UNIT_CHUNKS_H
#define MEMGUARD_TESTS_UNIT_CHUNKS_H

#include "white.h"

#include <stdlib.h>

/* ---- what fails: call N of one kind, counted from `arm` on ---- */

enum failing { NOTHING, MEMORY, SEALING };
static enum failing failing;
static unsigned fails_at, calls_made;

static inline void arm(enum failing what, unsigned at) {
    failing = what;
    fails_at = at;
    calls_made = 0;
}
/* Ends it; yields whether something has failed. */
static inline int disarm(void) {
    const int hit = failing != NOTHING && calls_made >= fails_at;
    failing = NOTHING;
    return hit;
}
static inline int fails(enum failing what) { return what == failing && ++calls_made == fails_at; }

static inline void *test_malloc(size_t bytes) { return fails(MEMORY) ? NULL : malloc(bytes); }
static inline void *test_calloc(size_t count, size_t bytes) { return fails(MEMORY) ? NULL : calloc(count, bytes); }
static inline void *test_realloc(void *p, size_t bytes) { return fails(MEMORY) ? NULL : realloc(p, bytes); }

/* ---- what was sealed ---- */

struct sealing {
    unsigned char object[MG_OBJECT_BYTES];
    uint64_t tail;
    uint32_t prefix;
};
enum { MOST_SEALINGS = 1 << 20 };
static struct sealing *sealings;
static size_t sealing_count;

static inline memguard_status test_seal(struct mg__chunked *chunked, uint64_t tail, uint32_t *prefix, unsigned char *sealed,
                                        const unsigned char *plain, size_t bytes) {
    static struct mg__mutex mutex;
    if (fails(SEALING)) return MEMGUARD_ERR_STATE;
    const memguard_status status = mg__chunk_seal(chunked, tail, prefix, sealed, plain, bytes);
    mg__mutex_lock(&mutex); /* the housekeeper seals, too */
    if (sealings == NULL) sealings = calloc(MOST_SEALINGS, sizeof *sealings);
    if (status == MEMGUARD_OK && sealings != NULL && sealing_count < MOST_SEALINGS) {
        struct sealing *sealing = &sealings[sealing_count++];
        memcpy(sealing->object, chunked->object, MG_OBJECT_BYTES);
        sealing->tail = tail;
        sealing->prefix = *prefix;
    }
    mg__mutex_unlock(&mutex);
    return status;
}

static inline int compare_sealings(const void *a, const void *b) { return memcmp(a, b, sizeof(struct sealing)); }

/* Over everything that this program has sealed. */
static inline void check_nonces(size_t at_least) {
    size_t twice = 0;
    CHECK(sealing_count >= at_least && sealing_count < MOST_SEALINGS);
    qsort(sealings, sealing_count, sizeof *sealings, compare_sealings);
    for (size_t i = 1; i < sealing_count; i++) twice += compare_sealings(&sealings[i - 1], &sealings[i]) == 0;
    CHECK(twice == 0);
}

/* ---- windows ---- */

/* A vault of which the test keeps house: nothing is closed by itself. */
static inline memguard_vault *make_still_vault(void) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_AUTO, MEMGUARD_NO_THREAD, 1000000);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    return vault;
}

static inline struct mg__chunked *chunked_of(uint64_t id) { return mg__entry_at(id)->body.chunked; }

static inline int is_window_open(uint64_t id, enum mg__side side) {
    struct mg__chunked *chunked = chunked_of(id);
    mg__mutex_lock(&chunked->windows[side].mutex);
    const int open = chunked->windows[side].region != NULL;
    mg__mutex_unlock(&chunked->windows[side].mutex);
    return open;
}

/* Waits up to ten seconds. */
static inline int closes(uint64_t id, enum mg__side side) {
    for (unsigned i = 0; i < 10000 && is_window_open(id, side); i++) sleep_ms(1);
    return !is_window_open(id, side);
}

#define malloc test_malloc
#define calloc test_calloc
#define realloc test_realloc
#define mg__chunk_seal test_seal

#endif
