/* Chunks of guarded slots and single runs: making, handing out, taking back, revoking. Layout and rules: bank.h.
 * Must not know: keys, handles, vaults. */
#include "pages/fifo.h"

#include <errno.h>
#include <stdlib.h>

enum {
    RUNS_KEPT = 64,
    RUNS_KEPT_BYTES = 16 << 20,
    SHORT_RUN_PAGES = 16,
    LARGE_RUN = 64 << 20,
    FIRST_SLOTS = 4,
    MOST_SLOTS = 32,
    MOST_RESTING = 8
};

/* Unmapping and an emergency wipe keep out of each other's way: each begins by changing MAPPED into its own. */
enum { CHUNK_EMPTY, CHUNK_MAPPED, CHUNK_WIPED };

struct mg__chunk {
    struct mg__chunk *next;  /* in the list of all chunks: push only */
    struct mg__chunk *spare; /* in the list of chunk structs without memory */
    _Atomic uint32_t memory; /* CHUNK_* */
    unsigned char *reservation;
    size_t reserved_bytes;
    size_t slots;
    enum mg__kind kind;
    bool is_run; /* one region, cached by its pages */
    bool apart;  /* for keys, never for what a host sees */
    struct mg__region regions[];
};

struct store {
    struct mg__fifo free_slots;
    struct mg__mutex grow;
    struct mg__region *runs; /* kept for reuse, the last given first; under `grow` */
    unsigned kept;           /* how many */
    size_t kept_bytes, most_kept_bytes;
    struct mg__chunk *spare_runs; /* under `grow` */
    size_t next_slots;            /* of the next chunk; under `grow` */
    _Atomic size_t resting_slots; /* how many free slots are kept, so that none is reused at once; 0: not told yet */
    uint32_t protections;         /* 0: not probed; under `grow` */
    _Atomic uint64_t slots, runs_made, run_bytes;
};

static struct store stores[MG_KINDS];
static _Atomic(struct mg__chunk *) all_chunks;
static struct mg__mutex start_mutex;
static bool started;

/* ---- making ---- */

memguard_status mg__bank_start(void) {
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&start_mutex);
    if (!started) {
        mg__arch_init();
        status = mg__canary_start();
        started = status == MEMGUARD_OK;
    }
    mg__mutex_unlock(&start_mutex);
    return status;
}

static void publish(struct mg__chunk *chunk) {
    chunk->next = atomic_load_explicit(&all_chunks, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&all_chunks, &chunk->next, chunk, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

/* Protected, touched, filled with the pattern, and then closed. */
static int map_region(struct mg__region *region, int descriptor, size_t offset) {
    int error = 0;
    if (region->kind == MG_KIND_SECRETMEM)
        error = mg__sys_secret_map(descriptor, offset, region->base, region->bytes);
    else
        error = mg__sys_private_map(region->base, region->bytes);
    if (error == 0 && region->kind == MG_KIND_SECRETMEM) error = mg__sys_secret_advise(region->base, region->bytes);
    if (error == 0 && region->kind != MG_KIND_SECRETMEM && mg__kind_is_locked(region->kind))
        error = mg__sys_lock(region->base, region->bytes);
    if (error != 0) return error;
    mg__canary_fill(region->base, region->bytes);
    return mg__sys_protect(region->base, region->bytes, MG_ACCESS_NONE);
}

static int map_regions(struct mg__chunk *chunk, enum mg__kind kind, size_t slot_bytes) {
    int error = 0, descriptor = -1;
    const size_t page = mg__sys_page();
    unsigned char *at = chunk->reservation + page;
    if (kind == MG_KIND_SECRETMEM) mg__sys_hold_forks();
    if (kind == MG_KIND_SECRETMEM)
        descriptor = mg__sys_secret_open(chunk->slots * slot_bytes, &error);
    else
        error = mg__kind_is_copied(kind) ? mg__sys_copied_advise(at - page, chunk->reserved_bytes)
                                         : mg__sys_private_advise(at - page, chunk->reserved_bytes);
    for (size_t i = 0; error == 0 && i < chunk->slots; i++, at += slot_bytes + page) {
        struct mg__region *region = &chunk->regions[i];
        region->base = at;
        region->bytes = slot_bytes;
        region->kind = (uint8_t)kind;
        region->chunk = chunk;
        atomic_store_explicit(&region->access, MG_ACCESS_NONE, memory_order_relaxed);
        atomic_store_explicit(&region->state, MG_REGION_FREE, memory_order_relaxed);
        error = map_region(region, descriptor, i * slot_bytes);
    }
    /* An open descriptor would be a way in for pidfd_getfd; the mappings keep the pages. */
    if (descriptor >= 0) mg__sys_close(descriptor);
    if (kind == MG_KIND_SECRETMEM) mg__sys_let_forks();
    return error;
}

/* Maps memory for a chunk struct that has none. On failure everything is unmapped again. */
static int map_chunk(struct mg__chunk *chunk, enum mg__kind kind, size_t slot_bytes) {
    int error = 0;
    size_t unit = 0, bytes = 0;
    if (!mg__add_size(slot_bytes, mg__sys_page(), &unit) || !mg__mul_size(unit, chunk->slots, &bytes) ||
        !mg__add_size(bytes, mg__sys_page(), &bytes))
        return ENOMEM;
    chunk->reservation = mg__sys_reserve(bytes, &error);
    if (chunk->reservation == NULL) return error;
    chunk->reserved_bytes = bytes;
    error = map_regions(chunk, kind, slot_bytes);
    if (error != 0) {
        (void)mg__sys_unmap(chunk->reservation, bytes); /* at worst address space is lost: nothing was stored there */
        return error;
    }
    atomic_store_explicit(&chunk->memory, CHUNK_MAPPED, memory_order_release);
    mg__budget_charge(kind, chunk->slots * slot_bytes);
    return 0;
}

static int make_chunk(enum mg__kind kind, size_t slots, size_t slot_bytes, struct mg__chunk **made) {
    struct mg__chunk *chunk = calloc(1, sizeof *chunk + slots * sizeof(struct mg__region));
    if (chunk == NULL) return ENOMEM;
    chunk->slots = slots;
    chunk->kind = kind;
    const int error = map_chunk(chunk, kind, slot_bytes);
    if (error != 0) {
        free(chunk);
        return error;
    }
    publish(chunk);
    *made = chunk;
    return 0;
}

static bool retire(struct mg__region *region);

/* ---- runs ---- */

static void unmap_run(struct store *store, struct mg__region *region) {
    struct mg__chunk *chunk = region->chunk;
    uint32_t mapped = CHUNK_MAPPED;
    if (!atomic_compare_exchange_strong(&chunk->memory, &mapped, CHUNK_EMPTY)) return; /* the process is ending */
    if (atomic_load_explicit(&region->state, memory_order_relaxed) != MG_REGION_REVOKED)
        mg__budget_release(region->kind, region->bytes);
    atomic_store_explicit(&region->state, MG_REGION_GONE, memory_order_release);
    atomic_fetch_sub_explicit(&store->runs_made, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&store->run_bytes, region->bytes, memory_order_relaxed);
    /* Wiped already; a failure only keeps address space. */
    (void)mg__sys_unmap(chunk->reservation, chunk->reserved_bytes);
    chunk->spare = store->spare_runs;
    store->spare_runs = chunk;
}

/* Takes one out of those kept. */
static struct mg__region *take_kept(struct store *store, struct mg__region **link) {
    struct mg__region *region = *link;
    *link = region->next;
    store->kept--;
    store->kept_bytes -= region->bytes;
    return region;
}

/* What the next re-key will take: the longest of those kept for keys. */
static const struct mg__region *spare_of_keys(const struct store *store) {
    const struct mg__region *spare = NULL;
    for (const struct mg__region *run = store->runs; run != NULL; run = run->next)
        if (run->chunk->apart && (spare == NULL || run->bytes > spare->bytes)) spare = run;
    return spare;
}

/* Lets go of kept runs, when memory is short; true when there were any. for_slots: but for the spare one of keys. Slots
 * are what fills a process up and stays: then the key would never be split anew. */
static bool trim(struct store *store, bool for_slots) {
    const struct mg__region *spare = for_slots ? spare_of_keys(store) : NULL;
    bool any = false;
    for (struct mg__region **link = &store->runs; *link != NULL;) {
        if (*link == spare) {
            link = &(*link)->next;
        } else {
            unmap_run(store, take_kept(store, link));
            any = true;
        }
    }
    return any;
}

static void keep(struct store *store, struct mg__region *region) {
    if (store->most_kept_bytes == 0) store->most_kept_bytes = mg__budget_share(8, mg__sys_page(), RUNS_KEPT_BYTES);
    region->next = store->runs;
    store->runs = region;
    store->kept++;
    store->kept_bytes += region->bytes;
    /* The oldest go first. */
    while (store->kept > RUNS_KEPT || store->kept_bytes > store->most_kept_bytes) {
        struct mg__region **link = &store->runs;
        while ((*link)->next != NULL)
            link = &(*link)->next;
        unmap_run(store, take_kept(store, link));
    }
}

/* The one of this size that has rested longest; of short runs one is left resting, so that no address comes back at
 * once. */
static struct mg__region *find_kept(struct store *store, size_t bytes, bool apart) {
    struct mg__region **oldest = NULL;
    size_t found = 0;
    for (struct mg__region **link = &store->runs; *link != NULL; link = &(*link)->next) {
        if ((*link)->bytes != bytes || (*link)->chunk->apart != apart) continue;
        oldest = link;
        found++;
    }
    const size_t resting = !apart && bytes <= SHORT_RUN_PAGES * mg__sys_page() ? 1 : 0;
    return found <= resting ? NULL : take_kept(store, oldest);
}

static int map_run(struct store *store, enum mg__kind kind, size_t bytes, struct mg__chunk **made) {
    struct mg__chunk *chunk = store->spare_runs;
    if (chunk == NULL) return make_chunk(kind, 1, bytes, made);
    const int error = map_chunk(chunk, kind, bytes);
    if (error != 0) return error;
    store->spare_runs = chunk->spare;
    *made = chunk;
    return 0;
}

/* Lets go of free slots, too: what the process may lock is one budget. true when there were any. */
static bool trim_slots(struct store *store) {
    bool any = false;
    for (struct mg__region *region; (region = mg__fifo_pop(&store->free_slots)) != NULL; any = true) {
        (void)retire(region); /* free: nothing is in it */
        atomic_fetch_sub_explicit(&store->slots, 1, memory_order_relaxed);
    }
    return any;
}

/* Touching more than there is would not fail but call the kernel's killer. */
static memguard_status check_available(size_t bytes) {
    const uint64_t available = bytes < LARGE_RUN ? UINT64_MAX : mg__sys_memory_available();
    if (bytes <= available) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_MEMORY, 0, "%zu bytes wanted, %llu available on this machine", bytes,
                    (unsigned long long)available);
}

static memguard_status make_run(struct store *store, enum mg__kind kind, size_t bytes, struct mg__region **region) {
    struct mg__chunk *chunk = NULL;
    const memguard_status status = check_available(bytes);
    if (status != MEMGUARD_OK) return status;
    int error = map_run(store, kind, bytes, &chunk);
    if (error != 0 && trim(store, false)) error = map_run(store, kind, bytes, &chunk);
    if (error != 0 && trim_slots(store)) error = map_run(store, kind, bytes, &chunk);
    if (error != 0) return mg__budget_fail(kind, error, bytes);
    atomic_fetch_add_explicit(&store->runs_made, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->run_bytes, bytes, memory_order_relaxed);
    chunk->is_run = true;
    *region = &chunk->regions[0];
    return MEMGUARD_OK;
}

static memguard_status take_run(enum mg__kind kind, size_t bytes, bool apart, struct mg__region **region) {
    struct store *store = &stores[kind];
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&store->grow);
    *region = find_kept(store, bytes, apart);
    if (*region == NULL) status = make_run(store, kind, bytes, region);
    if (status == MEMGUARD_OK) (*region)->chunk->apart = apart;
    mg__mutex_unlock(&store->grow);
    return status;
}

static void give_run(struct mg__region *region, bool reusable) {
    struct store *store = &stores[region->kind];
    mg__mutex_lock(&store->grow);
    if (reusable)
        keep(store, region);
    else
        unmap_run(store, region);
    mg__mutex_unlock(&store->grow);
}

/* ---- slots ---- */

static size_t chunk_slots(struct store *store) {
    if (store->next_slots == 0) store->next_slots = FIRST_SLOTS;
    const size_t affordable =
        mg__budget_share(16, mg__sys_page(), (size_t)MOST_SLOTS * mg__sys_page()) / mg__sys_page();
    return mg__min_size(store->next_slots, affordable);
}

/* Makes a chunk as large as can be had, down to one slot; its first slot goes to the caller when asked for. */
static int grow_slots(struct store *store, enum mg__kind kind, struct mg__region **first) {
    struct mg__chunk *chunk = NULL;
    int error = mg__fifo_start(&store->free_slots);
    if (error != 0) return error;
    size_t slots = chunk_slots(store);
    for (;; slots /= 2) {
        error = make_chunk(kind, slots, mg__sys_page(), &chunk);
        if (error == 0 || slots == 1) break;
    }
    if (error != 0 && trim(store, true)) error = make_chunk(kind, 1, mg__sys_page(), &chunk);
    if (error != 0) return error;
    store->next_slots = mg__min_size(store->next_slots * 2, MOST_SLOTS);
    atomic_fetch_add_explicit(&store->slots, chunk->slots, memory_order_relaxed);
    size_t i = 0;
    if (first != NULL) *first = &chunk->regions[i++];
    for (; i < chunk->slots; i++)
        /* Full (a system that allows more mappings than there are cells): the slot lies idle. */
        if (!mg__fifo_push(&store->free_slots, &chunk->regions[i])) break;
    return 0;
}

static memguard_status grow_and_take(enum mg__kind kind, struct mg__region **region) {
    struct store *store = &stores[kind];
    mg__mutex_lock(&store->grow);
    *region = mg__fifo_pop_patiently(&store->free_slots);
    const int error = *region == NULL ? grow_slots(store, kind, region) : 0;
    mg__mutex_unlock(&store->grow);
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(kind, error, mg__sys_page());
}

/* Under `grow`. */
static size_t resting_slots(struct store *store) {
    if (store->resting_slots == 0)
        store->resting_slots = 1 + mg__budget_share(64, 0, MOST_RESTING * mg__sys_page()) / mg__sys_page();
    return store->resting_slots;
}

/* Free slots rest a while before they are used again, so that a pointer kept too long hits a page without access.
 * Where lockable memory is scarce they rest less long. */
static void keep_slots_resting(struct store *store, enum mg__kind kind) {
    mg__mutex_lock(&store->grow);
    if (mg__fifo_count(&store->free_slots) < resting_slots(store) && grow_slots(store, kind, NULL) != 0)
        store->resting_slots = 1; /* none to be had: from now on they are used as they come */
    mg__mutex_unlock(&store->grow);
}

static memguard_status take_slot(enum mg__kind kind, struct mg__region **region) {
    struct store *store = &stores[kind];
    const size_t free_slots = mg__fifo_count(&store->free_slots);
    if (MG_UNLIKELY(free_slots < atomic_load_explicit(&store->resting_slots, memory_order_relaxed) || free_slots == 0))
        keep_slots_resting(store, kind);
    *region = mg__fifo_pop(&store->free_slots);
    return MG_LIKELY(*region != NULL) ? MEMGUARD_OK : grow_and_take(kind, region);
}

memguard_status mg__bank_reserve(enum mg__kind kind, size_t slots) {
    struct store *store = &stores[kind];
    int error = 0;
    if (slots > MG_FIFO_CELLS / 2)
        return mg__fail(MEMGUARD_ERR_MAP_LIMIT, 0, "%zu guarded slots: at most %d can be kept ready", slots,
                        MG_FIFO_CELLS / 2);
    const uint64_t limit = mg__kind_is_locked(kind) ? mg__sys_lock_limit() : UINT64_MAX, in_use = mg__budget_in_use();
    if (limit != UINT64_MAX && slots * mg__sys_page() > limit)
        return mg__fail_lock_limit(limit, in_use, slots * mg__sys_page(), 0);
    mg__mutex_lock(&store->grow);
    const size_t wanted = slots + resting_slots(store);
    while (error == 0 && mg__fifo_count(&store->free_slots) < wanted)
        error = grow_slots(store, kind, NULL);
    mg__mutex_unlock(&store->grow);
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(kind, error, mg__sys_page());
}

/* ---- regions ---- */

static memguard_status take(enum mg__kind kind, size_t bytes, bool apart, struct mg__region **region) {
    size_t rounded = 0;
    *region = NULL;
    if (bytes == 0 || !mg__round_up(bytes, mg__sys_page(), &rounded)) return mg__fail_plain(MEMGUARD_ERR_SIZE);
    const bool slot = rounded == mg__sys_page() && !apart;
    const memguard_status status = slot ? take_slot(kind, region) : take_run(kind, rounded, apart, region);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    atomic_store_explicit(&(*region)->state, MG_REGION_USED, memory_order_release);
    return MEMGUARD_OK;
}

memguard_status mg__region_take(enum mg__kind kind, size_t bytes, struct mg__region **region) {
    return take(kind, bytes, false, region);
}

memguard_status mg__region_take_apart(enum mg__kind kind, size_t bytes, struct mg__region **region) {
    return take(kind, bytes, true, region);
}

memguard_status mg__region_protect(struct mg__region *region, int access) {
    if (atomic_load_explicit(&region->access, memory_order_relaxed) == access) return MEMGUARD_OK;
    const int error = mg__sys_protect(region->base, region->bytes, access);
    if (MG_UNLIKELY(error != 0)) return mg__budget_fail(MG_KIND_PLAIN, error, region->bytes);
    atomic_store_explicit(&region->access, (uint8_t)access, memory_order_relaxed);
    return MEMGUARD_OK;
}

bool mg__region_intact(const struct mg__region *region, size_t bytes) {
    return mg__canary_intact(region->base, region->bytes - bytes);
}

bool mg__region_intact_near(const struct mg__region *region, size_t bytes, size_t span) {
    const size_t slack = region->bytes - bytes, look = mg__min_size(slack, span);
    return mg__canary_intact(region->base + (slack - look), look);
}

/* Its pages go to the kernel, and it is never used again. false: the kernel refused, and it stays as it is, out of
 * use. */
static bool retire(struct mg__region *region) {
    const bool blank = mg__sys_blank(region->base, region->bytes) == 0;
    atomic_store_explicit(&region->access, MG_ACCESS_NONE, memory_order_relaxed);
    mg__budget_release(region->kind, region->bytes);
    atomic_store(&region->state, MG_REGION_REVOKED);
    return blank;
}

static bool make_free(struct mg__region *region, size_t data_bytes) {
    /* Nothing was written: the pattern is still everywhere. */
    if (data_bytes == 0) return mg__region_protect(region, MG_ACCESS_NONE) == MEMGUARD_OK;
    if (mg__region_protect(region, MG_ACCESS_WRITE) != MEMGUARD_OK) return false;
    mg__canary_fill(mg__region_data(region, data_bytes), data_bytes);
    return mg__region_protect(region, MG_ACCESS_NONE) == MEMGUARD_OK;
}

void mg__region_give(struct mg__region *region, size_t data_bytes) {
    bool reusable = atomic_load(&region->state) != MG_REGION_REVOKED;
    if (reusable && !make_free(region, data_bytes)) {
        (void)retire(region); /* its bytes cannot be reached by anybody but us */
        reusable = false;
    }
    if (region->chunk->is_run) {
        if (reusable) atomic_store_explicit(&region->state, MG_REGION_FREE, memory_order_release);
        give_run(region, reusable);
    } else if (reusable) {
        atomic_store_explicit(&region->state, MG_REGION_FREE, memory_order_release);
        /* Full: see grow_slots. */
        if (!mg__fifo_push(&stores[region->kind].free_slots, region)) (void)retire(region);
    }
}

bool mg__region_revoke(struct mg__region *region) {
    int error = 0;
    const bool shared = region->kind == MG_KIND_SECRETMEM, locked = !shared && mg__kind_is_locked(region->kind);
    void *moved = mg__sys_take_away(region->base, region->bytes, shared, locked, &error);
    if (moved != NULL) {
        if (error == 0) mg__wipe(moved, region->bytes);
        (void)mg__sys_unmap(moved, region->bytes); /* wiped: at worst address space stays */
    }
    /* Without the move the pages go back to the kernel as they are; the report's REVOKE bit was never given then. */
    const bool blank = retire(region);
    return blank || (moved != NULL && error == 0);
}

/* ---- probing, figures, emergency ---- */

/* Tries whether pages can be taken away here, on an ordinary one: a kernel with secretmem (5.14) can do it for
 * shared pages too (5.13). */
static uint32_t probe_revoke(void) {
    int error = 0;
    const size_t page = mg__sys_page();
    void *there = mg__sys_reserve(page, &error);
    if (there == NULL) return 0;
    void *moved = mg__sys_take_away(there, page, false, false, &error);
    if (moved != NULL) (void)mg__sys_unmap(moved, page); /* a probe: nothing was in it */
    (void)mg__sys_unmap(there, page);
    return moved != NULL && error == 0 ? MEMGUARD_PROTECT_REVOKE : 0;
}

static uint32_t kind_protections(enum mg__kind kind) {
    uint32_t bits = MEMGUARD_PROTECT_NODUMP | MEMGUARD_PROTECT_NOMERGE;
    if (mg__kind_is_locked(kind)) bits |= MEMGUARD_PROTECT_LOCKED;
    if (kind == MG_KIND_SECRETMEM) bits |= MEMGUARD_PROTECT_HIDDEN;
    return mg__kind_is_copied(kind) ? bits : bits | MEMGUARD_PROTECT_NOFORK;
}

memguard_status mg__bank_probe(enum mg__kind kind, uint32_t *protections) {
    struct store *store = &stores[kind];
    struct mg__region *region = NULL;
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&store->grow);
    *protections = store->protections;
    mg__mutex_unlock(&store->grow);
    if (*protections != 0) return MEMGUARD_OK;
    status = mg__region_take(kind, mg__sys_page(), &region);
    if (status != MEMGUARD_OK) return status;
    mg__region_give(region, 0);
    *protections = kind_protections(kind) | probe_revoke();
    mg__mutex_lock(&store->grow);
    store->protections = *protections;
    mg__mutex_unlock(&store->grow);
    return MEMGUARD_OK;
}

void mg__bank_figures(enum mg__kind kind, struct mg__bank_figures *figures) {
    struct store *store = &stores[kind];
    figures->slots = atomic_load_explicit(&store->slots, memory_order_relaxed);
    figures->free_slots = mg__fifo_count(&store->free_slots);
    figures->runs = atomic_load_explicit(&store->runs_made, memory_order_relaxed);
    figures->run_bytes = atomic_load_explicit(&store->run_bytes, memory_order_relaxed);
}

_Atomic bool mg__bank_wiped;

/* Overwritten by the kernel, with random bytes: where another thread takes the access away at this moment that is an
 * error to be tried again, not a fault in the middle of the wipe. Each try is met by another change; every thread makes
 * few before it finds that everything has ended. */
static void overwrite(const struct mg__region *region) {
    enum { TRIES = 1000 };
    int error = EFAULT;
    for (unsigned i = 0; i < TRIES && error == EFAULT; i++) {
        if (mg__sys_protect(region->base, region->bytes, MG_ACCESS_WRITE) != 0) return;
        error = mg__sys_random(region->base, region->bytes);
    }
    if (error != 0 && error != EFAULT) mg__wipe_live(region->base, region->bytes); /* no randomness */
}

static bool begin_wiping(struct mg__chunk *chunk) {
    uint32_t seen = CHUNK_MAPPED;
    return atomic_compare_exchange_strong(&chunk->memory, &seen, CHUNK_WIPED) || seen == CHUNK_WIPED;
}

void mg__bank_emergency_wipe(void) {
    struct mg__chunk *chunk = atomic_load_explicit(&all_chunks, memory_order_acquire);
    atomic_store(&mg__bank_wiped, true);
    for (; chunk != NULL; chunk = chunk->next) {
        if (atomic_load(&mg__bank_is_parted) && !mg__kind_is_copied(chunk->kind)) continue;
        if (!begin_wiping(chunk)) continue; /* unmapped, after it was wiped */
        for (size_t i = 0; i < chunk->slots; i++) {
            const uint32_t state = atomic_load_explicit(&chunk->regions[i].state, memory_order_acquire);
            /* A free one holds the pattern alone, a revoked one has no pages. */
            if (state == MG_REGION_USED) overwrite(&chunk->regions[i]);
        }
    }
}

/* Slot i lies at 1 + i * (1 + slot), the guards around it; all in bytes, a guard being a page. */
static void locate_in(const struct mg__chunk *chunk, size_t offset, struct mg__neighbours *found) {
    const size_t page = mg__sys_page(), unit = chunk->regions[0].bytes + page, i = offset / unit;
    if (i < chunk->slots && offset % unit >= page) {
        found->at = &chunk->regions[i];
        return;
    }
    found->before = i == 0 ? NULL : &chunk->regions[i - 1];
    found->after = i < chunk->slots ? &chunk->regions[i] : NULL;
}

bool mg__bank_locate(const void *address, struct mg__neighbours *found) {
    const uintptr_t at = (uintptr_t)address;
    const struct mg__chunk *chunk = atomic_load_explicit(&all_chunks, memory_order_acquire);
    *found = (struct mg__neighbours){NULL, NULL, NULL};
    for (; chunk != NULL; chunk = chunk->next) {
        if (atomic_load_explicit(&chunk->memory, memory_order_acquire) == CHUNK_EMPTY) continue;
        const uintptr_t low = (uintptr_t)chunk->reservation;
        if (at < low || at - low >= chunk->reserved_bytes) continue;
        locate_in(chunk, at - low, found);
        return true;
    }
    return false;
}

/* ---- in a child of fork ---- */

static bool is_gone(const struct mg__chunk *chunk) {
    return atomic_load_explicit(&chunk->memory, memory_order_acquire) == CHUNK_EMPTY;
}

/* The structs of what stayed behind are not used again: something else may lie where their memory was. */
void mg__chunks_forget_uncopied(void) {
    struct mg__chunk *chunk = atomic_load_explicit(&all_chunks, memory_order_acquire);
    for (; chunk != NULL; chunk = chunk->next) {
        if (mg__kind_is_copied(chunk->kind) || is_gone(chunk)) continue;
        atomic_store(&chunk->memory, CHUNK_EMPTY);
        for (size_t i = 0; i < chunk->slots; i++)
            atomic_store(&chunk->regions[i].state, MG_REGION_GONE);
    }
    for (enum mg__kind kind = 0; !mg__kind_is_copied(kind); kind++) {
        mg__fifo_forget(&stores[kind].free_slots);
        memset((void *)&stores[kind], 0, sizeof stores[kind]);
    }
}

/* What `visit` gives for all copies that are there, added up; stops at the first negative value. */
static int64_t each_copy(int64_t (*visit)(struct mg__region *)) {
    int64_t sum = 0;
    struct mg__chunk *chunk = atomic_load_explicit(&all_chunks, memory_order_acquire);
    for (; chunk != NULL; chunk = chunk->next) {
        if (!mg__kind_is_copied(chunk->kind) || is_gone(chunk)) continue;
        for (size_t i = 0; i < chunk->slots; i++) {
            if (atomic_load(&chunk->regions[i].state) >= MG_REGION_REVOKED) continue;
            const int64_t value = visit(&chunk->regions[i]);
            if (value < 0) return value;
            sum += value;
        }
    }
    return sum;
}

static int64_t lockable_bytes(struct mg__region *region) {
    return mg__kind_is_locked(region->kind) ? (int64_t)region->bytes : 0;
}

uint64_t mg__chunks_copied_bytes(void) { return (uint64_t)each_copy(lockable_bytes); }

void mg__chunks_trim_copies(void) {
    struct store *store = &stores[MG_KIND_LOCKED_COPIED];
    mg__mutex_lock(&store->grow);
    (void)trim(store, false);
    (void)trim_slots(store);
    mg__mutex_unlock(&store->grow);
}

static int64_t own(struct mg__region *region) {
    const int access = atomic_load_explicit(&region->access, memory_order_relaxed);
    return -(int64_t)mg__sys_own(region->base, region->bytes, access, mg__kind_is_locked(region->kind));
}

int mg__chunks_own_copies(void) { return (int)-each_copy(own); }

void mg__bank_each_range(void (*fn)(uintptr_t low, uintptr_t high, void *arg), void *arg) {
    const struct mg__chunk *chunk = atomic_load_explicit(&all_chunks, memory_order_acquire);
    for (; chunk != NULL; chunk = chunk->next) {
        const uintptr_t low = (uintptr_t)chunk->reservation;
        if (!is_gone(chunk)) fn(low, low + chunk->reserved_bytes, arg);
    }
}
