/* The bank: guarded slots, runs, canaries, revocation, compact slots, benches. What a page may be touched by is asked of the kernel (a
 * system call that reads from the address), so that no test needs a signal. */
#include "white.h"

#include "pages/fifo.h"

#include <alloca.h>
#include <sys/sysinfo.h>

#define KIND MG_KIND_LOCKED
enum { RESERVE_BYTES = 64 * 1024 };

static struct mg__region *take(enum mg__kind kind, size_t bytes) {
    struct mg__region *region = NULL;
    CHECK_STATUS(mg__region_take(kind, bytes, &region), MEMGUARD_OK);
    return region;
}

static struct mg__region *take_open(enum mg__kind kind, size_t bytes) {
    struct mg__region *region = take(kind, bytes);
    if (region != NULL) CHECK_STATUS(mg__region_protect(region, MG_ACCESS_WRITE), MEMGUARD_OK);
    return region;
}

/* ---- canaries ---- */

TEST(long_fills_hold_the_pattern_at_any_alignment_and_keep_to_their_bounds) {
    enum { MOST = 3 * 4096 };
    static _Alignas(16) unsigned char bytes[MOST], pattern[16];
    const size_t sizes[] = {1, 15, 2047, 2048, 2049, 2063, 2064, 4096, 4111, 6144, 10007};
    mg__canary_fill(pattern, sizeof pattern);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t from = 16; from < 33; from++) {
            size_t wrong = 0;
            memset(bytes, 0, sizeof bytes);
            mg__canary_fill(bytes + from, sizes[s]);
            for (size_t i = 0; i < sizeof bytes; i++)
                wrong += bytes[i] != (i >= from && i < from + sizes[s] ? pattern[i % 16] : 0);
            CHECK(wrong == 0);
        }
}

TEST(pattern_has_no_zero_byte_and_repeats_every_16) {
    unsigned char bytes[64 + 48];
    mg__canary_fill(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        CHECK(bytes[i] != 0);
        CHECK(i < 16 || bytes[i] == bytes[i - 16]);
    }
    int distinct = 0;
    for (size_t i = 1; i < 16; i++) distinct += bytes[i] != bytes[0];
    CHECK(distinct > 4); /* random, not one byte */
}

TEST(pattern_depends_on_the_address_alone) {
    _Alignas(16) unsigned char whole[256], parts[256];
    mg__canary_fill(whole, sizeof whole);
    for (size_t from = 0; from < 40; from++)
        for (size_t bytes = 0; bytes < 90; bytes++) {
            memset(parts, 0, sizeof parts);
            mg__canary_fill(parts + from, bytes);
            CHECK(memcmp(parts + from, whole + from, bytes) == 0);
            CHECK(is_all(parts, from, 0) && is_all(parts + from + bytes, sizeof parts - from - bytes, 0));
        }
}

TEST(intact_notices_any_changed_byte_at_any_alignment) {
    _Alignas(16) unsigned char bytes[256];
    mg__canary_fill(bytes, sizeof bytes);
    for (size_t from = 0; from < 18; from++)
        for (size_t count = 1; count < 200; count += count < 40 ? 1 : 7) {
            CHECK(mg__canary_intact(bytes + from, count));
            for (size_t at = from; at < from + count; at++) {
                bytes[at] ^= 0x10;
                CHECK(!mg__canary_intact(bytes + from, count));
                bytes[at] ^= 0x10;
            }
            bytes[from + count] ^= 1; /* behind: not looked at */
            CHECK(mg__canary_intact(bytes + from, count));
            bytes[from + count] ^= 1;
        }
}

/* ---- guarded slots ---- */

TEST(slot_is_closed_when_taken_and_closed_when_given) {
    for (int kind = 0; kind < MG_KINDS; kind++) {
        struct mg__region *region = NULL;
        if (mg__region_take((enum mg__kind)kind, 100, &region) != MEMGUARD_OK) continue; /* no secretmem here */
        CHECK(region->bytes == mg__sys_page() && region->kind == kind);
        CHECK(can_read(region->base) == 0);
        CHECK_STATUS(mg__region_protect(region, MG_ACCESS_READ), MEMGUARD_OK);
        CHECK(mg__region_intact(region, 0)); /* the pattern everywhere */
        CHECK_STATUS(mg__region_protect(region, MG_ACCESS_WRITE), MEMGUARD_OK);
        fill(mg__region_data(region, 100), 100, 1);
        mg__region_give(region, 100);
        CHECK(can_read(region->base) == 0 && can_read(region->base + region->bytes - 1) == 0);
    }
}

TEST(data_ends_flush_at_a_guard_on_both_sides) {
    static const size_t sizes[] = {1, 15, 16, 17, 4095, 4096, 4097, 10000, 65536, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mg__region *region = take_open(KIND, sizes[i]);
        if (region == NULL) return;
        const unsigned char *data = mg__region_data(region, sizes[i]), *end = region->base + region->bytes;
        CHECK(data + sizes[i] == end && data >= region->base && region->bytes % mg__sys_page() == 0);
        CHECK(region->bytes - sizes[i] < mg__sys_page());
        CHECK(can_read(end - 1) == 1 && can_read(region->base) == 1);
        CHECK(can_read(end) == 0 && can_read(region->base - 1) == 0);
        CHECK((uintptr_t)end % mg__sys_page() == 0);
        fill(mg__region_data(region, sizes[i]), sizes[i], 2);
        mg__region_give(region, sizes[i]);
    }
}

TEST(given_slot_holds_the_pattern_instead_of_the_data) {
    struct mg__region *region = take_open(KIND, 1000);
    if (region == NULL) return;
    fill(mg__region_data(region, 1000), 1000, 3);
    mg__region_give(region, 1000);
    CHECK(mg__sys_protect(region->base, region->bytes, MG_ACCESS_READ) == 0);
    CHECK(mg__canary_intact(region->base, region->bytes));
    CHECK(mg__sys_protect(region->base, region->bytes, MG_ACCESS_NONE) == 0);
}

TEST(free_slots_are_reused_first_in_first_out) {
    enum { SLOTS = 40 };
    struct mg__region *taken[SLOTS], *again[SLOTS];
    struct mg__bank_figures before, figures;
    for (int i = 0; i < SLOTS; i++) taken[i] = take(KIND, 1);
    mg__bank_figures(KIND, &before);
    for (int i = 0; i < SLOTS; i++) mg__region_give(taken[i], 0);
    mg__bank_figures(KIND, &figures);
    CHECK(figures.free_slots == before.free_slots + SLOTS && figures.slots == before.slots);
    for (uint64_t i = 0; i < before.free_slots; i++) { /* those that were free before come first */
        struct mg__region *older = take(KIND, 1);
        for (int k = 0; k < SLOTS; k++) CHECK(older != taken[k]);
    }
    int order = 0; /* then ours, in the order in which they were given */
    for (int i = 0; i < SLOTS; i++) {
        again[i] = take(KIND, 1);
        order += again[i] == taken[i];
    }
    CHECK(order == SLOTS);
    for (int i = 0; i < SLOTS; i++) mg__region_give(again[i], 0);
}

TEST(address_is_not_reused_at_once) {
    struct mg__region *first = take(KIND, 1), *second = NULL;
    if (first == NULL) return;
    mg__region_give(first, 0);
    for (int i = 0; i < 3; i++) {
        second = take(KIND, 1);
        CHECK(second != first);
        mg__region_give(second, 0);
    }
}

TEST(broken_slack_is_noticed_at_every_distance) {
    static const size_t distances[] = {1, 2, 15, 16, 17, 64, 511, 512, 513, 2000, 3995, 3996};
    struct mg__region *region = take_open(KIND, 100);
    if (region == NULL) return;
    unsigned char *data = mg__region_data(region, 100);
    CHECK(mg__region_intact(region, 100) && mg__region_intact_near(region, 100, 512));
    for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++) {
        if (distances[i] > region->bytes - 100) continue;
        unsigned char *at = data - distances[i];
        *at ^= 0x80;
        CHECK(!mg__region_intact(region, 100));
        CHECK(mg__region_intact_near(region, 100, 512) == (distances[i] > 512));
        *at ^= 0x80;
    }
    data[0] ^= 1; /* data is no canary */
    CHECK(mg__region_intact(region, 100));
    mg__region_give(region, 100);
}

TEST(slots_ahead_of_need_are_made) {
    struct mg__bank_figures figures;
    CHECK_STATUS(mg__bank_reserve(KIND, 100), MEMGUARD_OK);
    mg__bank_figures(KIND, &figures);
    CHECK(figures.free_slots >= 100 && figures.slots >= figures.free_slots);
}

/* In a child with little address space: a wish beyond what the queue of free slots holds must end, and not by taking everything. */
static int wish_for_too_many(void *arg) {
    const struct rlimit limit = {(size_t)2 << 30, (size_t)2 << 30};
    struct mg__bank_figures figures;
    (void)arg;
    alarm(60);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0 && mg__bank_start() == MEMGUARD_OK);
    CHECK(mg__bank_reserve(MG_KIND_PLAIN, (size_t)1 << 17) != MEMGUARD_OK);
    mg__bank_figures(MG_KIND_PLAIN, &figures);
    CHECK(figures.slots <= (uint64_t)1 << 16);
    return 0;
}

TEST(more_slots_than_can_ever_be_free_are_refused_without_taking_all_memory) {
    if (CHECK_SANITIZED) SKIP("sanitizers need all the address space");
    CHECK(check_exited(check_child(wish_for_too_many, NULL), 0));
}

TEST(zero_and_impossible_sizes_are_refused) {
    struct mg__region *region = NULL;
    CHECK_STATUS(mg__region_take(KIND, 0, &region), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(mg__region_take(KIND, SIZE_MAX, &region), MEMGUARD_ERR_SIZE);
    CHECK(mg__region_take(KIND, SIZE_MAX - 3 * mg__sys_page(), &region) != MEMGUARD_OK);
    CHECK(mg__region_take(KIND, (size_t)1 << 60, &region) != MEMGUARD_OK && region == NULL);
}

/* ---- runs ---- */

static uint64_t run_bytes(enum mg__kind kind) {
    struct mg__bank_figures figures;
    mg__bank_figures(kind, &figures);
    return figures.run_bytes;
}

TEST(runs_are_reused_wiped_and_closed_and_short_ones_not_at_once) {
    const size_t page = mg__sys_page();
    static const size_t pages[] = {2, 3, 17, 64, 65, 100};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        struct mg__region *first = take_open(KIND, pages[i] * page);
        if (first == NULL) return;
        unsigned char *base = first->base;
        fill(base, first->bytes, 1);
        const uint64_t with = run_bytes(KIND);
        mg__region_give(first, first->bytes);
        const int kept = run_bytes(KIND) == with;
        CHECK(kept || pages[i] > 64);
        CHECK(can_read(base) == 0);
        struct mg__region *second = take_open(KIND, pages[i] * page);
        if (second == NULL) return;
        /* Short ones rest before they are reused: the address does not come back at once. */
        CHECK(pages[i] <= 16 ? second->base != base : run_bytes(KIND) == with);
        CHECK(mg__region_intact(second, 0));
        mg__region_give(second, 0);
        struct mg__region *third = take_open(KIND, pages[i] * page);
        if (third == NULL) return;
        CHECK(third->base == base);
        mg__region_give(third, 0);
    }
}

TEST(many_given_runs_do_not_pile_up) {
    enum { RUNS = 300, MOST_KEPT = 64 };
    static struct mg__region *runs[RUNS];
    const uint64_t before = run_bytes(KIND), locked = mg__budget_in_use();
    for (int i = 0; i < RUNS; i++) runs[i] = take(KIND, 5 * mg__sys_page());
    CHECK(mg__budget_in_use() - locked == RUNS * 5 * mg__sys_page());
    for (int i = 0; i < RUNS; i++) mg__region_give(runs[i], 0);
    CHECK(run_bytes(KIND) <= before + MOST_KEPT * 5 * mg__sys_page());
    CHECK(mg__budget_in_use() <= locked + MOST_KEPT * 5 * mg__sys_page());
}

static int64_t budget_change(int64_t before) { return (int64_t)mg__budget_in_use() - before; }

TEST(budget_counts_locked_kinds_and_not_plain_ones) {
    const int64_t before = (int64_t)mg__budget_in_use();
    struct mg__region *plain = take(MG_KIND_PLAIN, 17U << 20); /* longer than what is kept for reuse */
    CHECK(budget_change(before) == 0);
    struct mg__region *locked = take(KIND, 17U << 20);
    CHECK(budget_change(before) == 17 << 20);
    if (plain != NULL) mg__region_give(plain, 0);
    if (locked != NULL) mg__region_give(locked, 0);
    CHECK(budget_change(before) <= 0);
}

/* ---- very long secrets ---- */

static int ends_are_right(const void *bytes, size_t size, void *arg) {
    const unsigned char *at = bytes;
    (void)arg;
    return at[0] == 1 && at[size / 2] == 2 && at[size - 1] == 3 && can_read(at + size) == 0;
}

static void check_long(uint32_t rest, size_t bytes, unsigned char *source) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    memguard_secret secret = {0};
    int right = 0;
    source[0] = 1, source[bytes / 2] = 2, source[bytes - 1] = 3;
    CHECK_STATUS(memguard_secret_copy(vault, source, bytes, rest, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(secret, ends_are_right, NULL, &right), MEMGUARD_OK);
    CHECK(right == 1);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    CHECK(run_bytes(MG_KIND_PLAIN) < bytes);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static int enough_memory(void) {
    struct sysinfo info;
    return sysinfo(&info) == 0 && (uint64_t)info.freeram * info.mem_unit >= (uint64_t)4 << 30;
}

TEST(secret_of_one_gib_mapped_and_sealed) {
    const size_t bytes = (size_t)1 << 30;
    if (CHECK_SANITIZED || !enough_memory()) SKIP("less than 4 GiB of free memory, or a sanitizer that doubles the need");
    unsigned char *source = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!CHECK(source != MAP_FAILED)) return;
    check_long(MEMGUARD_MAPPED, bytes, source);
    check_long(MEMGUARD_SEALED, bytes, source);
    munmap(source, bytes);
}

/* ---- revocation ---- */

static void check_revoked(enum mg__kind kind, size_t bytes) {
    struct mg__region *region = take_open(kind, bytes);
    if (region == NULL) return;
    unsigned char *base = region->base, *end = base + region->bytes;
    fill(mg__region_data(region, bytes), bytes, 1);
    CHECK(can_read(end - 1) == 1);
    CHECK(mg__region_revoke(region));
    CHECK(can_read(base) == 0 && can_read(end - 1) == 0);
    void *there = mmap(base, (size_t)(end - base), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(there == MAP_FAILED && errno == EEXIST); /* the address stays taken */
    mg__region_give(region, bytes);
    for (int i = 0; i < 100; i++) {
        struct mg__region *other = take(kind, bytes);
        if (other == NULL) return;
        CHECK(other != region || bytes > mg__sys_page()); /* a slot is never used again */
        CHECK(bytes > mg__sys_page() || other->base != base);
        mg__region_give(other, 0);
    }
    if (bytes <= mg__sys_page()) CHECK(can_read(base) == 0);
}

TEST(revoked_slot_faults_and_is_never_reused) { check_revoked(KIND, 100); }
TEST(revoked_run_faults_until_it_is_given) { check_revoked(KIND, 50000); }
TEST(revoked_plain_slot_faults_and_is_never_reused) { check_revoked(MG_KIND_PLAIN, 100); }
TEST(revoked_secretmem_slot_faults_and_is_never_reused) {
    struct mg__region *region = NULL;
    if (mg__region_take(MG_KIND_SECRETMEM, 1, &region) != MEMGUARD_OK) SKIP("no memfd_secret on this machine");
    mg__region_give(region, 0);
    check_revoked(MG_KIND_SECRETMEM, 100);
}

/* ---- compact slots ---- */

static void check_compact_size(struct mg__compact_arena *arena, size_t bytes) {
    struct mg__compact_slot slot = {0};
    CHECK_STATUS(mg__compact_take(arena, bytes, &slot), MEMGUARD_OK);
    CHECK((uintptr_t)slot.data % 16 == 0);
    CHECK(mg__canary_intact(slot.data, bytes)); /* free slots hold the pattern */
    fill(slot.data, bytes, 1);
    CHECK(mg__compact_intact(&slot, bytes));
    for (size_t distance = 1; distance <= 16; distance++) {
        slot.data[-(ptrdiff_t)distance] ^= 1;
        CHECK(!mg__compact_intact(&slot, bytes));
        slot.data[-(ptrdiff_t)distance] ^= 1;
        slot.data[bytes + distance - 1] ^= 1;
        CHECK(!mg__compact_intact(&slot, bytes));
        slot.data[bytes + distance - 1] ^= 1;
    }
    CHECK(mg__compact_intact(&slot, bytes));
    CHECK(mg__compact_give(arena, slot, bytes));
    CHECK(mg__canary_intact(slot.data - 16, bytes + 32)); /* wiped by the pattern */
}

TEST(compact_slots_of_all_sizes_notice_every_neighbour_byte) {
    struct mg__compact_arena *arena = NULL;
    CHECK_STATUS(mg__compact_create(KIND, &arena), MEMGUARD_OK);
    if (arena == NULL) return;
    for (size_t bytes = 1; bytes <= MG_COMPACT_MOST; bytes++) check_compact_size(arena, bytes);
    mg__threads_forget_slots(arena);
    mg__compact_destroy(arena);
}

TEST(compact_slots_in_use_do_not_overlap) {
    enum { SLOTS = 2000 };
    static struct mg__compact_slot slots[SLOTS];
    struct mg__compact_arena *arena = NULL;
    CHECK_STATUS(mg__compact_create(KIND, &arena), MEMGUARD_OK);
    if (arena == NULL) return;
    for (uint32_t i = 0; i < SLOTS; i++) {
        const size_t bytes = i % MG_COMPACT_MOST + 1;
        CHECK_STATUS(mg__compact_take(arena, bytes, &slots[i]), MEMGUARD_OK);
        fill(slots[i].data, bytes, i);
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        const size_t bytes = i % MG_COMPACT_MOST + 1;
        CHECK(is_pattern(slots[i].data, bytes, i) && mg__compact_intact(&slots[i], bytes));
        CHECK(mg__compact_give(arena, slots[i], bytes));
    }
    const size_t pages = mg__compact_pages(arena);
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_STATUS(mg__compact_take(arena, i % MG_COMPACT_MOST + 1, &slots[i]), MEMGUARD_OK);
    CHECK(mg__compact_pages(arena) == pages); /* given slots are found again */
    mg__threads_forget_slots(arena);
    mg__compact_destroy(arena);
}

static struct mg__compact_arena *shared_arena;

static void *push_and_pop(void *arg) {
    enum { AT_ONCE = 7, CYCLES = 20000 };
    const uint32_t seed = *(const uint32_t *)arg;
    struct mg__compact_slot slots[AT_ONCE];
    for (uint32_t cycle = 0; cycle < CYCLES; cycle++) {
        const size_t n = cycle % AT_ONCE + 1;
        for (size_t i = 0; i < n; i++) {
            if (!CHECK(mg__compact_take(shared_arena, 32, &slots[i]) == MEMGUARD_OK)) return NULL;
            fill(slots[i].data, 32, seed + (uint32_t)i);
        }
        for (size_t i = 0; i < n; i++) {
            CHECK(is_pattern(slots[i].data, 32, seed + (uint32_t)i));
            CHECK(mg__compact_intact(&slots[i], 32));
            CHECK(mg__compact_give(shared_arena, slots[i], 32));
        }
    }
    return NULL;
}

TEST(four_threads_never_share_a_compact_slot) {
    pthread_t threads[4];
    uint32_t seeds[4];
    CHECK_STATUS(mg__compact_create(KIND, &shared_arena), MEMGUARD_OK);
    for (uint32_t i = 0; i < 4; i++) {
        seeds[i] = i * 100;
        CHECK(pthread_create(&threads[i], NULL, push_and_pop, &seeds[i]) == 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(mg__compact_pages(shared_arena) <= 4);
    mg__threads_forget_slots(shared_arena);
    mg__compact_destroy(shared_arena);
}

TEST(revoked_compact_pages_fault) {
    struct mg__compact_arena *arena = NULL;
    struct mg__compact_slot slot;
    CHECK_STATUS(mg__compact_create(KIND, &arena), MEMGUARD_OK);
    CHECK_STATUS(mg__compact_take(arena, 100, &slot), MEMGUARD_OK);
    CHECK(can_read(slot.data) == 1);
    CHECK(mg__compact_revoke(arena));
    CHECK(can_read(slot.data) == 0);
    mg__threads_forget_slots(arena);
    mg__compact_destroy(arena);
    CHECK(can_read(slot.data) == 0);
}

/* ---- benches: how deep ---- */

enum { PAINT = 0xC3 };

static struct mg__bench *only_bench(void) {
    struct mg__bench *bench = NULL;
    CHECK_STATUS(mg__bench_take(KIND, &bench), MEMGUARD_OK);
    return bench;
}

static size_t bench_bytes(const struct mg__bench *bench) { return (size_t)(bench->top - bench->low); }

/* How deep fn goes: the lowest byte that is not paint any more. */
static size_t depth_of(void (*fn)(void *), void *arg) {
    struct mg__bench *bench = only_bench();
    memset(bench->low, PAINT, bench_bytes(bench));
    mg__arch_call_on(bench->top, fn, arg);
    unsigned char *at = bench->low;
    while (at < bench->top && *at == PAINT) at++;
    const size_t depth = (size_t)(bench->top - at);
    memset(bench->low, 0, bench_bytes(bench));
    mg__bench_give(KIND, bench);
    return depth;
}

struct crypto_work {
    unsigned char *plain, *sealed;
    size_t bytes;
};
static const unsigned char work_key[MG_KEY_BYTES] = {1, 2, 3}, work_tail[MG_TAIL_BYTES] = {4};

static void body_seal(void *arg) {
    const struct crypto_work *work = arg;
    mg__crypto_seal(work->sealed, work->plain, work->bytes, work_tail, work_key);
}

static void body_unseal(void *arg) {
    const struct crypto_work *work = arg;
    if (!mg__crypto_unseal(work->plain, work->sealed, work->bytes, work_tail, work_key)) abort();
}

static void body_keys(void *arg) {
    const struct crypto_work *work = arg;
    unsigned char key[MG_KEY_BYTES], hash[MG_KEY_BYTES], wrapped[MG_WRAP_BYTES] = {0};
    mg__crypto_hash(hash, work->plain, work->bytes);
    mg__crypto_derive(key, MG_DERIVE_SECRETS, hash);
    mg__crypto_subkey(key, hash, work->plain);
    mg__crypto_wrap(wrapped, key, hash);
    if (!mg__crypto_unwrap(key, wrapped, hash)) abort();
}

enum { FRAMES_ABOVE = 256 }; /* of the coffer's own functions, between the bench's top and the cipher's */

static size_t deepest(size_t from, size_t to, size_t step) {
    static unsigned char plain[1 << 20], sealed[(1 << 20) + MG_TAG_BYTES];
    size_t most = 0;
    for (size_t bytes = from; bytes <= to; bytes += step) {
        struct crypto_work work = {plain, sealed, bytes};
        const size_t seal = depth_of(body_seal, &work), unseal = depth_of(body_unseal, &work);
        most = seal > most ? seal : most;
        most = unseal > most ? unseal : most;
    }
    return most;
}

TEST(sealing_up_to_64_bytes_stays_shallow) {
    if (CHECK_SANITIZED) SKIP("sanitizers change frames");
    const size_t depth = deepest(1, 64, 1);
    printf("seal and unseal of up to 64 bytes: %zu bytes of stack, and frames above\n", depth);
    CHECK(depth != 0 && depth + FRAMES_ABOVE < MG_BENCH_SHALLOW);
}

TEST(everything_else_stays_within_the_deep_bound) {
    if (CHECK_SANITIZED) SKIP("sanitizers change frames");
    static unsigned char prekey[1 << 20];
    struct crypto_work work = {prekey, NULL, sizeof prekey};
    const size_t keys = depth_of(body_keys, &work);
    size_t depth = deepest(65, 2000, 5);
    const size_t longer = deepest(4000, 1 << 20, 209715);
    if (longer > depth) depth = longer;
    printf("longer ones: %zu bytes; hash, derive, wrap: %zu bytes\n", depth, keys);
    CHECK(depth + FRAMES_ABOVE < MG_BENCH_DEEP && keys + FRAMES_ABOVE < MG_BENCH_DEEP);
    CHECK(depth + FRAMES_ABOVE < 4096 && keys + FRAMES_ABOVE < 4096); /* where memory is scarce one page is locked */
}

/* Paint that the search for signal frames does not see (it would wipe the whole stack): not where marks are, nor in the first
 * TAIL bytes below what is wiped, where every word counts. */
static unsigned char unseen_paint(const struct mg__bench *bench, const unsigned char *at) {
    enum { TAIL = 1088 };
    const size_t depth = (size_t)(bench->top - at) - 1;
    const int shallow_tail = depth >= MG_BENCH_SHALLOW && depth < MG_BENCH_SHALLOW + TAIL;
    const int deep_tail = depth >= MG_BENCH_DEEP && depth < MG_BENCH_DEEP + TAIL;
    return shallow_tail || deep_tail || (uintptr_t)at % 64 / 16 == 1 ? 0 : PAINT;
}

static void paint_unseen(struct mg__bench *bench) {
    for (unsigned char *at = bench->low; at < bench->top; at++) *at = unseen_paint(bench, at);
}

static size_t unseen_depth(const struct mg__bench *bench) {
    const unsigned char *at = bench->low;
    while (at < bench->top && *at == unseen_paint(bench, at)) at++;
    return (size_t)(bench->top - at);
}

/* The vault's own calls, frames above the cipher included. */
static void check_vault_depth(size_t bytes, size_t bound, uint32_t flags) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, flags, 1000000);
    memguard_secret old = make_secret(vault, bytes, 0, 1); /* starts the lease, which goes deep */
    CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
    (void)mg__coffer_tend(&mg__vault_find(vault)->coffer, mg__sys_now_ns() + 3600000000000U, false);
    memguard_secret secret = make_secret(vault, bytes, 0, 1);
    struct mg__bench *bench = only_bench();
    paint_unseen(bench);
    mg__bench_give(KIND, bench);
    CHECK(holds(old, 1) && holds(secret, 1)); /* the first derives a subkey */
    CHECK(make_secret(vault, bytes, 0, 2).id != 0);
    CHECK(unseen_depth(bench) <= bound && unseen_depth(bench) >= 256);
    memset(bench->low, 0, bench_bytes(bench));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(vault_calls_stay_within_their_bounds) {
    if (CHECK_SANITIZED) SKIP("sanitizers change frames");
    for (size_t bytes = 1; bytes <= 64; bytes += 7) check_vault_depth(bytes, MG_BENCH_SHALLOW, 0);
    check_vault_depth(64, MG_BENCH_SHALLOW, 0);
    check_vault_depth(65, MG_BENCH_DEEP, 0);
    check_vault_depth(10000, MG_BENCH_DEEP, 0);
    check_vault_depth(32, MG_BENCH_DEEP, MEMGUARD_STRICT);
}

/* The real thing, through the public API: what a vault's calls ran on is zero afterwards. */
TEST(benches_are_zero_after_every_kind_of_call) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_STRICT, 0);
    static const size_t sizes[] = {1, 32, 64, 65, 300, 4096, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memguard_secret secret = make_secret(vault, sizes[i], 0, 1);
        CHECK(holds(secret, 1));
    }
    CHECK_STATUS(rekey_now(&mg__vault_find(vault)->coffer), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    struct mg__bench *bench = only_bench(); /* this thread alone made calls: all ran here */
    CHECK(is_all(bench->low, bench_bytes(bench), 0));
    mg__bench_give(KIND, bench);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- benches: wiped ---- */

static const uint64_t mark = 0x5EC2E7B17E5A55A5U;

/* Writes the mark over `bytes` bytes of its own stack. */
static __attribute__((noinline)) void dirty(size_t bytes) {
    volatile uint64_t *at = alloca(bytes);
    for (size_t i = 0; i < bytes / 8; i++) at[i] = mark;
}

static void body_dirty(void *arg) { dirty(*(const size_t *)arg); }

TEST(bench_is_all_zero_after_a_call_of_any_depth) {
    static const size_t depths[] = {MG_BENCH_SHALLOW, MG_BENCH_DEEP};
    struct mg__bench *bench = only_bench();
    for (size_t d = 0; d < 2; d++)
        for (size_t bytes = 64; bytes + FRAMES_ABOVE < depths[d]; bytes += 200) {
            mg__bench_run(bench, body_dirty, &bytes, depths[d]);
            CHECK(is_all(bench->low, bench_bytes(bench), 0));
        }
    mg__bench_give(KIND, bench);
}

static _Atomic int handled_on_bench;
static struct mg__bench *signalled_bench;

static void handle(int number) {
    (void)number;
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (here >= (uintptr_t)signalled_bench->low && here < (uintptr_t)signalled_bench->top) atomic_store(&handled_on_bench, 1);
}

static __attribute__((noinline)) void dirty_and_raise(size_t bytes) {
    volatile uint64_t *at = alloca(bytes);
    for (size_t i = 0; i < bytes / 8; i++) at[i] = mark;
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
    if (bytes >= 8) at[0] = 1;
}

static void body_raise(void *arg) { dirty_and_raise(*(const size_t *)arg); }

/* The signal frame with all registers lies below; whatever depth is wiped, the whole stack must be clean. */
static void check_signalled(size_t depth, size_t from, size_t to) {
    struct sigaction action = {.sa_handler = handle}, old;
    struct mg__bench *bench = only_bench();
    signalled_bench = bench;
    int dirty_ones = 0;
    CHECK(sigaction(SIGUSR1, &action, &old) == 0);
    for (size_t bytes = from; bytes + FRAMES_ABOVE < to; bytes += 136) {
        atomic_store(&handled_on_bench, 0);
        mg__bench_run(bench, body_raise, &bytes, depth);
        CHECK(atomic_load(&handled_on_bench) == 1);
        dirty_ones += !is_all(bench->low, bench_bytes(bench), 0);
        memset(bench->low, 0, bench_bytes(bench));
    }
    CHECK(dirty_ones == 0);
    CHECK(sigaction(SIGUSR1, &old, NULL) == 0);
    mg__bench_give(KIND, bench);
}

TEST(shallow_bench_is_all_zero_after_a_signal_handler_ran_on_it) {
    if (CHECK_SANITIZED) SKIP("sanitizers run handlers elsewhere");
    check_signalled(MG_BENCH_SHALLOW, 64, MG_BENCH_SHALLOW);
}

TEST(deep_bench_is_all_zero_after_a_signal_handler_ran_on_it) {
    if (CHECK_SANITIZED) SKIP("sanitizers run handlers elsewhere");
    check_signalled(MG_BENCH_DEEP, 64, 4096); /* as far as anything goes today */
}

TEST(deepest_bench_is_all_zero_after_a_signal_handler_ran_on_it) {
    if (CHECK_SANITIZED) SKIP("sanitizers run handlers elsewhere");
    check_signalled(MG_BENCH_DEEP, 4096, MG_BENCH_DEEP); /* as far as the bound promises */
}

TEST(bench_lies_between_guards) {
    struct mg__bench *bench = only_bench();
    CHECK(can_read(bench->top) == 0 && can_read(bench->low - 1) == 0);
    CHECK(can_read(bench->top - 1) == 1 && can_read(bench->low) == 1);
    CHECK(bench_bytes(bench) >= RESERVE_BYTES + mg__sys_page() && (uintptr_t)bench->top % 64 == 0);
    mg__bench_give(KIND, bench);
}

static _Atomic int at_work, most_at_work;

static void body_work(void *arg) {
    (void)arg;
    const int now = atomic_fetch_add(&at_work, 1) + 1;
    int most = atomic_load(&most_at_work);
    while (now > most && !atomic_compare_exchange_weak(&most_at_work, &most, now)) {
    }
    dirty(256);
    atomic_fetch_sub(&at_work, 1);
}

static struct mg__fifo half_pushed;
static struct mg__region pushed_late;

/* The second half of a push, whose first half was done before. */
static void *push_rest(void *unused) {
    (void)unused;
    sleep_ms(20);
    struct mg__fifo_cell *cell = atomic_load(&half_pushed.cells);
    cell->region = &pushed_late;
    atomic_store(&cell->sequence, 1);
    return NULL;
}

TEST(a_push_under_way_is_waited_for_and_not_taken_for_an_empty_queue) {
    pthread_t thread;
    CHECK(mg__fifo_pop_patiently(&half_pushed) == NULL);
    CHECK(mg__fifo_start(&half_pushed) == 0);
    CHECK(mg__fifo_pop_patiently(&half_pushed) == NULL);
    atomic_store(&half_pushed.tail, 1);
    CHECK(mg__fifo_pop(&half_pushed) == NULL);
    CHECK(pthread_create(&thread, NULL, push_rest, NULL) == 0);
    CHECK(mg__fifo_pop_patiently(&half_pushed) == &pushed_late);
    CHECK(pthread_join(thread, NULL) == 0);
    mg__fifo_forget(&half_pushed);
}

static void *call_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 3000; i++) CHECK(mg__bench_call(KIND, body_work, NULL, MG_BENCH_SHALLOW) == MEMGUARD_OK);
    return NULL;
}

TEST(eight_threads_share_few_benches) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, call_often, NULL) == 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    CHECK(atomic_load(&at_work) == 0 && atomic_load(&most_at_work) >= 1);
    CHECK((unsigned)atomic_load(&most_at_work) <= mg__bench_count());
}

/* ---- registers ---- */

#if defined(__x86_64__)

/* rdi = fn, rsi = where to store, rdx, rcx, r8, r9 = what fn gets as its first four arguments. Stores the caller-saved general registers and
 * the vector registers as they are when fn comes back. */
#define SAVE_GENERAL                                                                                                   \
    "mov %rax, 0(%rbx)\n mov %rcx, 8(%rbx)\n mov %rdx, 16(%rbx)\n mov %rsi, 24(%rbx)\n mov %rdi, 32(%rbx)\n"          \
    "mov %r8, 40(%rbx)\n mov %r9, 48(%rbx)\n mov %r10, 56(%rbx)\n mov %r11, 64(%rbx)\n"
#define SAVE_FUNCTION(name, body)                                                                                      \
    __asm__(".text\n.type " name ", @function\n" name ":\n.cfi_startproc\nendbr64\npush %rbx\n"                        \
            ".cfi_adjust_cfa_offset 8\n.cfi_offset rbx, -16\n"                                                         \
            "mov %rdi, %rax\n mov %rsi, %rbx\n mov %rdx, %rdi\n mov %rcx, %rsi\n mov %r8, %rdx\n mov %r9, %rcx\n"      \
            "call *%rax\n" SAVE_GENERAL body "pop %rbx\n.cfi_adjust_cfa_offset -8\nret\n.cfi_endproc\n.size " name     \
            ", .-" name "\n")
#define SSE(n) "movups %xmm" #n ", 128+64*" #n "(%rbx)\n"
#define AVX(n) "vmovups %ymm" #n ", 128+64*" #n "(%rbx)\n"
#define ZMM(n) "vmovups %zmm" #n ", 128+64*" #n "(%rbx)\n"
#define KMASK(n) "kmovw %k" #n ", %eax\n or %rax, 80(%rbx)\n"
#define LOW16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define HIGH16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define MASKS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
SAVE_FUNCTION("save_after_sse", LOW16(SSE));
SAVE_FUNCTION("save_after_avx", LOW16(AVX));
SAVE_FUNCTION("save_after_avx512", LOW16(ZMM) HIGH16(ZMM) MASKS(KMASK));
typedef void saver(void *fn, uint64_t *to, void *a, void *b, void *c, size_t d);
saver save_after_sse, save_after_avx, save_after_avx512;

/* Fills every register that a call may change with the mark. */
#define SET_SSE(n) "movq %rax, %xmm" #n "\n punpcklqdq %xmm" #n ", %xmm" #n "\n"
#define SET_AVX(n) SET_SSE(n) "vinsertf128 $1, %xmm" #n ", %ymm" #n ", %ymm" #n "\n"
#define SET_ZMM(n) "vpbroadcastq %rax, %zmm" #n "\n"
#define SET_MASK(n) "kmovw %eax, %k" #n "\n"
#define SET_FUNCTION(name, body)                                                                                       \
    __asm__(".text\n.type " name ", @function\n" name ":\n.cfi_startproc\nendbr64\nmov (%rdi), %rax\n" body            \
            "mov %rax, %rcx\n mov %rax, %rdx\n mov %rax, %rsi\n mov %rax, %rdi\n mov %rax, %r8\n mov %rax, %r9\n"      \
            "mov %rax, %r10\n mov %rax, %r11\nret\n.cfi_endproc\n.size " name ", .-" name "\n")
SET_FUNCTION("set_sse", LOW16(SET_SSE));
SET_FUNCTION("set_avx", LOW16(SET_AVX));
SET_FUNCTION("set_avx512", LOW16(SET_ZMM) HIGH16(SET_ZMM) MASKS(SET_MASK));
void set_sse(void *), set_avx(void *), set_avx512(void *);

enum { SAVED_WORDS = 16 + 8 * 32, GENERAL = 9 };

struct registers {
    saver *save;
    void (*set)(void *);
    size_t words; /* of a saved vector register that are stored */
    size_t count;
};

static struct registers registers_here(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return (struct registers){save_after_avx512, set_avx512, 8, 32};
    if (__builtin_cpu_supports("avx")) return (struct registers){save_after_avx, set_avx, 4, 16};
    return (struct registers){save_after_sse, set_sse, 2, 16};
}

static int is_left(const uint64_t *saved, const struct registers *here) {
    int left = 0;
    for (size_t i = 0; i < GENERAL; i++) left |= saved[i] == mark;
    for (size_t r = 0; r < here->count; r++)
        for (size_t i = 0; i < here->words; i++) left |= saved[16 + 8 * r + i] != 0;
    return left | (saved[10] != 0); /* the mask registers, ORed */
}

static void *address_of(void (*fn)(void)) {
    void *address = NULL;
    memcpy(&address, &fn, sizeof address);
    return address;
}

TEST(registers_hold_nothing_after_a_bench_call) {
    const struct registers here = registers_here();
    static uint64_t saved[SAVED_WORDS];
    uint64_t given = mark;
    struct mg__bench *bench = only_bench();
    memset(saved, 0, sizeof saved);
    here.save(address_of((void (*)(void))here.set), saved, &given, NULL, NULL, 0);
    CHECK(is_left(saved, &here) && saved[16] == mark && saved[GENERAL - 1] == mark); /* a control: it sees what is set */
    memset(saved, 0, sizeof saved);
    here.save(address_of((void (*)(void))mg__bench_run), saved, bench, address_of((void (*)(void))here.set), &given, MG_BENCH_SHALLOW);
    CHECK(!is_left(saved, &here));
    CHECK(is_all(bench->low, bench_bytes(bench), 0));
    mg__bench_give(KIND, bench);
}

static int set_registers(void *arg) {
    registers_here().set(arg);
    return 0;
}

TEST(registers_hold_nothing_after_call_scrubbed) {
    const struct registers here = registers_here();
    static uint64_t saved[SAVED_WORDS];
    uint64_t given = mark;
    memset(saved, 0, sizeof saved);
    here.save(address_of((void (*)(void))memguard_call_scrubbed), saved, address_of((void (*)(void))set_registers), &given, NULL, 0);
    CHECK(!is_left(saved, &here));
}

#else

TEST(registers_hold_nothing_after_a_bench_call) { SKIP("written for x86-64 only"); }
TEST(registers_hold_nothing_after_call_scrubbed) { SKIP("written for x86-64 only"); }

#endif

/* ---- the caller's own stack ---- */

enum { BELOW = 64 * 1024 };

/* Counts the marks below a frame, without a call that would write there first. */
static __attribute__((noinline)) size_t marks_below(unsigned char *here, size_t bytes) {
    size_t found = 0;
    for (size_t i = 2048; i + 8 <= bytes; i += 8) { /* not in this very frame */
        const volatile uint64_t *at = (const volatile uint64_t *)(void *)(here - i);
        found += *at == mark;
    }
    return found;
}

static unsigned char *this_far(void) { return (unsigned char *)((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)15); }

TEST(wipe_below_clears_the_stack_below) {
    if (CHECK_SANITIZED) SKIP("sanitizers keep frames elsewhere");
    unsigned char *here = this_far();
    dirty(BELOW - 4096);
    CHECK(marks_below(here, BELOW - 8192) > 5000); /* a control */
    mg__arch_wipe_below(BELOW);
    CHECK(marks_below(here, BELOW - 1024) == 0);
}

static int dirty_int(void *arg) {
    dirty(*(const size_t *)arg);
    return 7;
}

TEST(call_scrubbed_leaves_no_mark_within_64_kib) {
    if (CHECK_SANITIZED) SKIP("sanitizers keep frames elsewhere");
    unsigned char *here = this_far();
    for (size_t bytes = 512; bytes < BELOW - 2048; bytes += 3000) {
        int result = 0;
        CHECK_STATUS(memguard_call_scrubbed(dirty_int, &bytes, &result), MEMGUARD_OK);
        CHECK(marks_below(here, BELOW) == 0 && result == 7);
    }
}

TEST(call_scrubbed_goes_on_while_the_stack_was_used) {
    if (CHECK_SANITIZED) SKIP("sanitizers keep frames elsewhere");
    unsigned char *here = this_far();
    size_t bytes = 1U << 20;
    CHECK_STATUS(memguard_call_scrubbed(dirty_int, &bytes, NULL), MEMGUARD_OK);
    CHECK(marks_below(here, (1U << 20) + 4096) == 0);
}

static void *scrub_in_thread(void *arg) {
    unsigned char *here = this_far();
    (void)arg;
    size_t bytes = 30000;
    CHECK_STATUS(memguard_call_scrubbed(dirty_int, &bytes, NULL), MEMGUARD_OK);
    CHECK(marks_below(here, 32768) == 0);
    return NULL;
}

TEST(call_scrubbed_works_on_a_threads_stack) {
    if (CHECK_SANITIZED) SKIP("sanitizers keep frames elsewhere");
    pthread_attr_t attributes;
    pthread_t thread;
    static const size_t sizes[] = {96 * 1024, 256 * 1024, 8 << 20};
    for (int i = 0; i < 3; i++) {
        pthread_attr_init(&attributes);
        CHECK(pthread_attr_setstacksize(&attributes, sizes[i]) == 0);
        if (CHECK(pthread_create(&thread, &attributes, scrub_in_thread, NULL) == 0)) pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
    }
}

int main(void) {
    if (mg__bank_start() != MEMGUARD_OK || mg__crypto_start() != MEMGUARD_OK) return 1;
    RUN(pattern_has_no_zero_byte_and_repeats_every_16);
    RUN(pattern_depends_on_the_address_alone);
    RUN(intact_notices_any_changed_byte_at_any_alignment);
    RUN(long_fills_hold_the_pattern_at_any_alignment_and_keep_to_their_bounds);
    RUN(a_push_under_way_is_waited_for_and_not_taken_for_an_empty_queue);
    RUN(slot_is_closed_when_taken_and_closed_when_given);
    RUN(data_ends_flush_at_a_guard_on_both_sides);
    RUN(given_slot_holds_the_pattern_instead_of_the_data);
    RUN(free_slots_are_reused_first_in_first_out);
    RUN(address_is_not_reused_at_once);
    RUN(broken_slack_is_noticed_at_every_distance);
    RUN(slots_ahead_of_need_are_made);
    RUN(more_slots_than_can_ever_be_free_are_refused_without_taking_all_memory);
    RUN(zero_and_impossible_sizes_are_refused);
    RUN(runs_are_reused_wiped_and_closed_and_short_ones_not_at_once);
    RUN(many_given_runs_do_not_pile_up);
    RUN(budget_counts_locked_kinds_and_not_plain_ones);
    RUN(secret_of_one_gib_mapped_and_sealed);
    RUN(revoked_slot_faults_and_is_never_reused);
    RUN(revoked_run_faults_until_it_is_given);
    RUN(revoked_plain_slot_faults_and_is_never_reused);
    RUN(revoked_secretmem_slot_faults_and_is_never_reused);
    RUN(compact_slots_of_all_sizes_notice_every_neighbour_byte);
    RUN(compact_slots_in_use_do_not_overlap);
    RUN(four_threads_never_share_a_compact_slot);
    RUN(revoked_compact_pages_fault);
    RUN(sealing_up_to_64_bytes_stays_shallow);
    RUN(everything_else_stays_within_the_deep_bound);
    RUN(vault_calls_stay_within_their_bounds);
    RUN(benches_are_zero_after_every_kind_of_call);
    RUN(bench_is_all_zero_after_a_call_of_any_depth);
    RUN(shallow_bench_is_all_zero_after_a_signal_handler_ran_on_it);
    RUN(deep_bench_is_all_zero_after_a_signal_handler_ran_on_it);
    RUN(deepest_bench_is_all_zero_after_a_signal_handler_ran_on_it);
    RUN(bench_lies_between_guards);
    RUN(eight_threads_share_few_benches);
    RUN(registers_hold_nothing_after_a_bench_call);
    RUN(registers_hold_nothing_after_call_scrubbed);
    RUN(wipe_below_clears_the_stack_below);
    RUN(call_scrubbed_leaves_no_mark_within_64_kib);
    RUN(call_scrubbed_goes_on_while_the_stack_was_used);
    RUN(call_scrubbed_works_on_a_threads_stack);
    return check_end();
}
