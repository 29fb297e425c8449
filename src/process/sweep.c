/* process/sweep: lost secrets found as a conservative garbage collector finds garbage (H.-J. Boehm and M. Weiser, 1988:
 * "Garbage collection in an uncooperative environment"). Contract: memguard/process.h.
 *
 *   1. all other threads are stopped, their registers on their stacks (sys/scan.h)
 *   2. what is looked for is collected, in a mapping of its own that the scan leaves out
 *   3. memory is scanned (refs.h), but for dead stack, protected pages and that mapping
 *   4. marks are set in the table: found, or lost once more
 *   5. all go on; what was lost twice is sealed in the ordinary way, and the host is told
 *
 * From 1 to 4 others may hold any lock: none is taken, not malloc's either. What the library itself knows of a secret
 * is no reference: the table is not scanned, and the one address of a secret's pages that is kept elsewhere is known
 * (mg__ref.own). Must not know: how secrets are sealed, how threads are stopped. */
#include "process/lost.h"
#include "process/refs.h"
#include "sys/scan.h"

#include <errno.h>

enum { BLOCK = 256 * 1024, CARRY = 8, DEFAULT_TIMEOUT_MS = 2000 };
enum { HOLE_ALWAYS, HOLE_STACK };

struct sweep {
    const struct mg__vault *vault;
    memguard_sweep_options options;
    memguard_sweep result;
    uint64_t deadline_ns;
    uintptr_t frame; /* of the caller: the stack below is ours */
    int culprit, error;
    /* In the mapping. */
    unsigned char *map;
    size_t map_bytes, used;
    struct mg__refs *refs;
    struct mg__range *holes; /* what is not scanned; what: HOLE_* */
    size_t hole_count, hole_capacity, hole;
    unsigned char *buffer; /* CARRY bytes, then a block */
    uintptr_t end;         /* the bytes before the block are those that lie before this address */
};

/* ---- what is looked for ---- */

/* Those on which the library is at work are left alone. */
static bool is_wanted(struct mg__entry *entry, const struct sweep *sweep, uint64_t *word) {
    return mg__lost_is_secret(entry, sweep->vault, word) && mg__word_busy(*word) == 0;
}

static size_t count_wanted(const struct sweep *sweep, uint32_t indices) {
    size_t count = 0;
    for (uint32_t i = 0; i < indices; i++) {
        uint64_t word = 0;
        count += is_wanted(mg__entry_by_index(i), sweep, &word);
    }
    return count;
}

/* Our own threads go on, and may just be sealing the secret: then what was read may be ciphertext, and nothing shows it any more. */
static bool is_as_seen(const struct mg__entry *entry, uint64_t word, uint32_t rest) {
    atomic_thread_fence(memory_order_acquire);
    return mg__entry_rest(entry) == rest && atomic_load(&entry->word) == word;
}

/* The pages that show the secret, and where we keep their address; false: there are none. */
static bool shown_at(const struct mg__entry *entry, uint64_t word, struct mg__range *range, uintptr_t *own) {
    const uint32_t rest = mg__entry_rest(entry);
    if (rest == MEMGUARD_COMPACT && !mg__entry_has(entry, MG_ENTRY_GUARDED)) {
        range->low = (uintptr_t)entry->body.data;
        range->high = range->low + mg__entry_bytes(entry);
        return is_as_seen(entry, word, rest);
    }
    const struct mg__region *region = rest == MEMGUARD_SEALED ? mg__entry_open_region(entry) : entry->body.region;
    if (region == NULL || !is_as_seen(entry, word, rest)) return false;
    range->low = (uintptr_t)region->base;
    range->high = range->low + region->bytes;
    *own = (uintptr_t)&region->base;
    return true;
}

static void add_ref(struct mg__refs *refs, const struct mg__entry *entry, uint32_t index, uint64_t word) {
    const size_t number = refs->count++;
    struct mg__ref *ref = &refs->refs[number];
    struct mg__range *range = &refs->ranges[refs->range_count];
    *ref = (struct mg__ref){.id = (word >> 32 << 32) | index};
    refs->by_index[index] = (uint32_t)number + 1;
    range->what = number;
    refs->range_count += shown_at(entry, word, range, &ref->own);
}

/* ---- what is not scanned ---- */

static void count_range(uintptr_t low, uintptr_t high, void *count) {
    (void)low, (void)high;
    ++*(size_t *)count;
}

static void count_bench(const struct mg__bench *bench, void *count) {
    (void)bench;
    ++*(size_t *)count;
}

static size_t most_holes(void) {
    size_t count = mg__sys_stopped_threads() + MG_SYS_MOST_OWN + 2; /* this stack, and the mapping */
    mg__table_each_range(count_range, &count);
    mg__bank_each_range(count_range, &count);
    mg__bench_each(count_bench, &count);
    return count;
}

static void add_hole(struct sweep *sweep, uintptr_t low, uintptr_t high, uint64_t kind) {
    if (low < high && sweep->hole_count < sweep->hole_capacity)
        sweep->holes[sweep->hole_count++] = (struct mg__range){low, high, kind};
}

static void add_ours(uintptr_t low, uintptr_t high, void *sweep) { add_hole(sweep, low, high, HOLE_ALWAYS); }

static void add_bench(const struct mg__bench *bench, void *sweep) {
    add_hole(sweep, (uintptr_t)bench->low, (uintptr_t)bench->top, HOLE_ALWAYS);
}

static void add_holes(struct sweep *sweep) {
    uintptr_t low = 0, high = 0;
    struct mg__sys_span own[MG_SYS_MOST_OWN];
    const size_t threads = mg__sys_stopped_threads(), own_count = mg__sys_own_stacks(own);
    mg__table_each_range(add_ours, sweep);
    mg__bank_each_range(add_ours, sweep);
    mg__bench_each(add_bench, sweep);
    for (size_t i = 0; i < own_count; i++)
        add_hole(sweep, own[i].low, own[i].high, HOLE_ALWAYS);
    add_hole(sweep, (uintptr_t)sweep->map, (uintptr_t)sweep->map + sweep->map_bytes, HOLE_ALWAYS);
    if (mg__sys_stack_bounds_known(&low, &high) && sweep->frame > low && sweep->frame < high)
        add_hole(sweep, low, sweep->frame, HOLE_STACK);
    for (size_t i = 0; i < threads; i++) {
        const struct mg__sys_span dead = mg__sys_dead_stack(i);
        add_hole(sweep, dead.low, dead.high, HOLE_STACK);
    }
    mg__ranges_sort(sweep->holes, sweep->hole_count);
}

/* ---- the mapping ---- */

static void *carve(struct sweep *sweep, size_t count, size_t size) {
    void *at = sweep->map + sweep->used;
    sweep->used += (count * size + 63) & ~(size_t)63;
    return at;
}

/* None of the factors is larger than the memory that its objects already take. */
static int make_map(struct sweep *sweep, size_t wanted, uint32_t indices, size_t holes) {
    int error = 0;
    const size_t bytes = sizeof(struct mg__refs) + wanted * (sizeof(struct mg__ref) + sizeof(struct mg__range)) +
                         indices * sizeof(uint32_t) + holes * sizeof(struct mg__range) + CARRY + BLOCK + 6 * (size_t)64;
    if (!mg__round_up(bytes, mg__sys_page(), &sweep->map_bytes)) return ENOMEM;
    sweep->map = mg__sys_map_table(sweep->map_bytes, &error);
    if (sweep->map == NULL) return error;
    struct mg__refs *refs = sweep->refs = carve(sweep, 1, sizeof *refs);
    refs->refs = carve(sweep, wanted, sizeof *refs->refs);
    refs->ranges = carve(sweep, wanted, sizeof *refs->ranges);
    refs->by_index = carve(sweep, indices, sizeof *refs->by_index);
    refs->indices = indices;
    sweep->holes = carve(sweep, holes, sizeof *sweep->holes);
    sweep->hole_capacity = holes;
    sweep->buffer = carve(sweep, CARRY + BLOCK, 1);
    return 0;
}

/* It holds handles, and copies of what the host has in memory. */
static void drop_map(struct sweep *sweep) {
    if (sweep->map == NULL) return;
    mg__wipe(sweep->map, sweep->used);
    (void)mg__sys_unmap(sweep->map, sweep->map_bytes); /* wiped: at worst address space stays */
}

/* With all threads stopped. Our own may still end secrets, and none can make any. */
static int collect(struct sweep *sweep) {
    const uint32_t indices = mg__table_count();
    const size_t wanted = count_wanted(sweep, indices);
    const int error = make_map(sweep, wanted, indices, most_holes());
    if (error != 0) return error;
    for (uint32_t i = 0; i < indices && sweep->refs->count < wanted; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        uint64_t word = 0;
        if (is_wanted(entry, sweep, &word)) add_ref(sweep->refs, entry, i, word);
    }
    mg__refs_prepare(sweep->refs);
    add_holes(sweep);
    sweep->result.looked_at = sweep->refs->count;
    return 0;
}

/* ---- scanning ---- */

/* `bytes` bytes at `low` are in the block; those before it are remembered if they lie just before. */
static void look_at_block(struct sweep *sweep, uintptr_t low, size_t bytes) {
    const size_t before = sweep->end == low ? CARRY - 1 : 0;
    unsigned char *block = sweep->buffer + CARRY;
    mg__refs_look(sweep->refs, block - before, before + bytes, low - before);
    memmove(sweep->buffer, block + bytes - CARRY, CARRY);
    sweep->end = low + bytes;
    sweep->result.scanned_bytes += bytes;
}

/* Copies as much as can be read; a page that cannot be read is passed over. *low: where to go on. */
static int scan_block(struct sweep *sweep, uintptr_t *low, uintptr_t high) {
    const size_t page = mg__sys_page();
    size_t bytes = mg__min_size(high - *low, BLOCK), got = 0;
    int error = mg__sys_copy_memory(sweep->buffer + CARRY, *low, bytes, &got);
    if (error == 0 && got == 0) {
        bytes = mg__min_size(bytes, page - *low % page);
        error = mg__sys_copy_memory(sweep->buffer + CARRY, *low, bytes, &got);
    }
    /* Mappings and holes are longer than that, and end at multiples of it. */
    if (error == 0 && got >= CARRY) look_at_block(sweep, *low, got);
    *low += got >= CARRY ? got : bytes;
    return error;
}

static bool scan_bytes(struct sweep *sweep, uintptr_t low, uintptr_t high) {
    while (sweep->error == 0 && low < high) {
        if (mg__sys_now_ns() >= sweep->deadline_ns)
            sweep->error = ECANCELED;
        else
            sweep->error = scan_block(sweep, &low, high);
    }
    return sweep->error == 0;
}

/* The dead part of a stack counts only in the mapping in which the live part begins. */
static bool applies(const struct mg__range *hole, struct mg__sys_span mapping, uintptr_t at) {
    if (hole->high <= at) return false;
    return hole->what == HOLE_ALWAYS || (hole->high > mapping.low && hole->high < mapping.high);
}

/* The first hole at or behind `at`; both come in the order of addresses. */
static const struct mg__range *next_hole(struct sweep *sweep, struct mg__sys_span mapping, uintptr_t at) {
    while (sweep->hole < sweep->hole_count && sweep->holes[sweep->hole].high <= at)
        sweep->hole++;
    for (size_t i = sweep->hole; i < sweep->hole_count && sweep->holes[i].low < mapping.high; i++)
        if (applies(&sweep->holes[i], mapping, at)) return &sweep->holes[i];
    return NULL;
}

static bool scan_part(struct mg__sys_span mapping, struct mg__sys_span part, void *arg) {
    struct sweep *sweep = arg;
    uintptr_t at = part.low;
    while (at < part.high) {
        const struct mg__range *hole = next_hole(sweep, mapping, at);
        const uintptr_t end = hole == NULL || hole->low >= part.high ? part.high : hole->low;
        if (at < end && !scan_bytes(sweep, at, end)) return false;
        if (end == part.high) return true;
        at = hole->high;
    }
    return true;
}

/* A stopped thread may be in the middle of a cipher call, whose stack is one of ours: the host's registers may lie
 * there. Read in place, so that nothing of it is copied. */
static void look_at_bench(const struct mg__bench *bench, void *arg) {
    struct sweep *sweep = arg;
    if (atomic_load(&bench->busy) == 0) return;
    mg__refs_look(sweep->refs, bench->low, (size_t)(bench->top - bench->low), (uintptr_t)bench->low);
}

static int scan(struct sweep *sweep) {
    mg__bench_each(look_at_bench, sweep);
    const int error = mg__sys_each_memory(scan_part, sweep);
    mg__arch_clear_registers();
    return sweep->error != 0 ? sweep->error : error;
}

/* ---- marks ---- */

static void mark(struct sweep *sweep) {
    for (size_t i = 0; i < sweep->refs->count; i++) {
        struct mg__ref *ref = &sweep->refs->refs[i];
        struct mg__entry *entry = mg__entry_at(ref->id);
        if (ref->found)
            (void)mg__entry_unmark(entry, MG_MARK_SUSPECT);
        else
            ref->twice = mg__entry_mark(entry, MG_MARK_SUSPECT);
    }
}

static int look_while_stopped(struct sweep *sweep) {
    int error = collect(sweep);
    if (error == 0) error = scan(sweep);
    if (error == 0) mark(sweep);
    return error;
}

static int stop_and_look(struct sweep *sweep) {
    int error = mg__sys_stop_threads(sweep->options.signal, sweep->deadline_ns, &sweep->culprit);
    if (error != 0) return error;
    const uint64_t from_ns = mg__sys_now_ns();
    sweep->result.threads = mg__sys_stopped_threads();
    error = look_while_stopped(sweep);
    sweep->result.stopped_ns = mg__sys_now_ns() - from_ns;
    const bool all_along = mg__sys_resume_threads();
    return error == 0 && !all_along ? ETIMEDOUT : error;
}

/* ---- afterwards ---- */

/* Another thread may have it by now: then it is not lost. */
static void seal(struct sweep *sweep, uint64_t id, uint32_t rest, uint32_t borrows) {
    if ((sweep->options.flags & MEMGUARD_SWEEP_SEAL) == 0 || rest == MEMGUARD_SEALED || borrows != 0) return;
    const memguard_status status = memguard_secret_rest((memguard_secret){id}, MEMGUARD_SEALED);
    sweep->result.sealed += status == MEMGUARD_OK;
    sweep->result.refused += status != MEMGUARD_OK && status != MEMGUARD_ERR_STALE;
}

static bool describe(const struct sweep *sweep, uint64_t id, memguard_lost *lost) {
    struct mg__entry *entry = mg__entry_at(id);
    uint64_t word = 0;
    return mg__lost_is_secret(entry, sweep->vault, &word) && (word ^ id) >> 32 == 0 &&
           mg__lost_describe(entry, sweep->vault, word, lost);
}

static memguard_status settle_one(struct sweep *sweep, const struct mg__ref *ref) {
    memguard_lost lost;
    if (ref->found || !describe(sweep, ref->id, &lost)) return MEMGUARD_OK;
    sweep->result.lost++;
    if (ref->twice) seal(sweep, ref->id, lost.rest, lost.borrows);
    if (sweep->options.fn == NULL || !describe(sweep, ref->id, &lost)) return MEMGUARD_OK;
    return mg__lost_tell(sweep->vault, sweep->options.fn, &lost, sweep->options.arg);
}

/* FORKED: the host's function forked, and this is a child that has nothing to go on with. */
static memguard_status settle(struct sweep *sweep) {
    memguard_status status = MEMGUARD_OK;
    for (size_t i = 0; status == MEMGUARD_OK && i < sweep->refs->count; i++)
        status = settle_one(sweep, &sweep->refs->refs[i]);
    return status;
}

static memguard_status explain(const struct sweep *sweep, int error) {
    switch (error) {
    case EBUSY:
        return mg__fail(MEMGUARD_ERR_STATE, 0, "signal %d has a handler, or is ignored: name one that is free",
                        sweep->options.signal);
    case ETIMEDOUT:
        return mg__fail(MEMGUARD_ERR_TIMEOUT, 0, "thread %d blocks signal %d, or did not stop in time", sweep->culprit,
                        sweep->options.signal);
    case ECANCELED:
        return mg__fail(MEMGUARD_ERR_TIMEOUT, 0, "%llu bytes of memory were looked at, and then the time was over",
                        (unsigned long long)sweep->result.scanned_bytes);
    case ENOSYS:
    case EPERM:
    case EACCES:
        return mg__fail(MEMGUARD_ERR_UNSUPPORTED, error,
                        "/proc, process_vm_readv(2) or signals between threads are not to be had here (errno %d)",
                        error);
    case ENOMEM:
        return mg__fail(MEMGUARD_ERR_MEMORY, error, "no memory for a sweep");
    default:
        return mg__fail(MEMGUARD_ERR_SYSTEM, error, "the sweep could not stop the threads or read memory (errno %d)",
                        error);
    }
}

/* ---- the public call ---- */

static memguard_status read_options(const memguard_sweep_options *given, memguard_sweep_options *options) {
    *options = (memguard_sweep_options){.size = sizeof *options};
    if (given != NULL && !mg__struct_is_known(given, given->size, sizeof(size_t), sizeof *options))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0,
                        "options: size %zu is not a version of the struct, or its tail is not zero", given->size);
    if (given != NULL) memcpy(options, given, mg__min_size(given->size, sizeof *options));
    if ((options->flags & ~(uint32_t)MEMGUARD_SWEEP_SEAL) != 0 || options->reserved != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown flags: 0x%x, or a reserved field is not zero",
                        options->flags);
    const int signal = mg__sys_stop_signal(options->signal);
    if (signal == 0) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "signal %d is no real-time signal", options->signal);
    options->signal = signal;
    if (options->timeout_ms == 0) options->timeout_ms = DEFAULT_TIMEOUT_MS;
    return MEMGUARD_OK;
}

static bool memory_can_be_read(void) {
    static const unsigned char source = 1;
    unsigned char byte = 0;
    size_t got = 0;
    return mg__sys_copy_memory(&byte, (uintptr_t)&source, 1, &got) == 0 && got == 1;
}

static memguard_status run(struct sweep *sweep) {
    uintptr_t low = 0, high = 0;
    (void)mg__sys_stack_bounds(&low, &high); /* not told: then all of our stack counts */
    if (!memory_can_be_read()) return explain(sweep, ENOSYS);
    sweep->deadline_ns = mg__sys_now_ns() + sweep->options.timeout_ms * 1000000ULL;
    const int error = stop_and_look(sweep);
    const memguard_status settled = error == 0 ? settle(sweep) : MEMGUARD_OK;
    drop_map(sweep);
    return error == 0 ? settled : explain(sweep, error);
}

/* Its frame is the last that is ours: handles pass through those below only. */
__attribute__((noinline)) static memguard_status
sweep_from_here(memguard_vault *token, const memguard_sweep_options *given, memguard_sweep *result) {
    struct sweep sweep = {.frame = (uintptr_t)__builtin_frame_address(0)};
    MG_REFUSE_FORKED();
    if (result != NULL && !mg__out_struct_fits(result->size)) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (result != NULL) mg__out_struct(result, result->size, &sweep.result, sizeof sweep.result);
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = read_options(given, &sweep.options);
    if (status == MEMGUARD_OK) status = mg__lost_find(token, &sweep.vault);
    if (status != MEMGUARD_OK) return status;
    status = run(&sweep);
    if (status == MEMGUARD_OK && result != NULL)
        mg__out_struct(result, result->size, &sweep.result, sizeof sweep.result);
    return status;
}

memguard_status memguard_lost_sweep(memguard_vault *vault, const memguard_sweep_options *options,
                                    memguard_sweep *result) {
    /* All registers that our caller may keep a handle in are in this frame now, above the one that is remembered. */
    __builtin_unwind_init();
    const memguard_status status = sweep_from_here(vault, options, result);
    __asm__ volatile("" ::: "memory"); /* no tail call: the frame stays */
    return status;
}
