/* test_secret_lifecycle.c: secrets are made, hold exactly their bytes in every rest and at every size, and go; the
 * source of the bytes is wiped or left alone as the header says. Proves nothing about locking or dumps. */
#define _GNU_SOURCE
#include "api/support.h"

enum { LARGEST = 16385, DENSE = 600, SPARSE_STEP = 13 };

/* Sanitizers are slow: there, sizes above DENSE are sampled (a step that hits every residue of a page in time). */
static size_t next_size(size_t size) { return CHECK_SANITIZED && size > DENSE ? size + SPARSE_STEP : size + 1; }

typedef struct two_patterns {
    unsigned char first[LARGEST], second[LARGEST];
} two_patterns;
static two_patterns patterns;

static void make_patterns(void) {
    fill(patterns.first, LARGEST, 1);
    fill(patterns.second, LARGEST, 2);
}

/* ---- every size, in every rest ------------------------------------------------------------------------- */

static int info_is_right(memguard_secret secret, size_t size, uint32_t rest) {
    memguard_info info = MEMGUARD_INFO_INIT;
    return CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK) && CHECK(info.bytes == size) &&
           CHECK(info.rest == rest) && CHECK(info.flags == 0) && CHECK(info.borrows == 0) && CHECK(info.writing == 0) &&
           CHECK(info.uses_left == 0) && CHECK(info.expires_ms == 0);
}

static int place_is_right(const void *bytes, size_t size, uint32_t rest) {
    return rest == MEMGUARD_COMPACT || ((uintptr_t)bytes + size) % page_bytes() == 0;
}

typedef struct shown {
    const void *expected;
    size_t size;
    uint32_t rest;
} shown;

static int show_right(const void *bytes, size_t size, void *arg) {
    const shown *want = arg;
    return size == want->size && memcmp(bytes, want->expected, size) == 0 && place_is_right(bytes, size, want->rest);
}

static int use_shows(memguard_secret secret, const void *expected, size_t size, uint32_t rest) {
    shown want = {expected, size, rest};
    int result = 0;
    return CHECK_STATUS(memguard_secret_use(secret, show_right, &want, &result), MEMGUARD_OK) && CHECK(result == 1);
}

/* Borrows, compares, writes `new_bytes` if not null, gives back. */
static int view_shows(memguard_secret secret, uint32_t access, const void *expected, size_t size, uint32_t rest,
                      const void *new_bytes) {
    memguard_view view = {0};
    if (!CHECK_STATUS(memguard_secret_acquire(secret, access, &view), MEMGUARD_OK)) return 0;
    int good = CHECK(view.size == size) && CHECK(memcmp(view.data, expected, size) == 0) &&
               CHECK(place_is_right(view.data, size, rest));
    if (good && new_bytes != NULL) memcpy(view.data, new_bytes, size);
    return CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK) && CHECK(view.data == NULL) && good;
}

static int one_size(memguard_vault *vault, size_t size, uint32_t rest) {
    memguard_secret secret = {0};
    if (!CHECK_STATUS(memguard_secret_copy(vault, patterns.first, size, rest, &secret), MEMGUARD_OK)) return 0;
    int good = CHECK(secret.id != 0) && info_is_right(secret, size, rest) &&
               use_shows(secret, patterns.first, size, rest) &&
               view_shows(secret, MEMGUARD_READ, patterns.first, size, rest, NULL) &&
               view_shows(secret, MEMGUARD_WRITE, patterns.first, size, rest, patterns.second) &&
               use_shows(secret, patterns.second, size, rest) &&
               view_shows(secret, MEMGUARD_READ, patterns.second, size, rest, NULL) &&
               info_is_right(secret, size, rest);
    return CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK) && CHECK(secret.id == 0) && good;
}

static void every_size(uint32_t rest) {
    memguard_vault *vault = vault_make();
    make_patterns();
    for (size_t size = 1; size <= LARGEST; size = next_size(size)) {
        if (one_size(vault, size, rest)) continue;
        printf("the size was %zu\n", size);
        break;
    }
    CHECK(is_pattern(patterns.first, LARGEST, 1)); /* a copy's source is left alone */
    vault_end(vault);
}

TEST(every_size_sealed_reads_back_and_takes_new_bytes) { every_size(MEMGUARD_SEALED); }
TEST(every_size_closed_reads_back_and_takes_new_bytes) { every_size(MEMGUARD_CLOSED); }
TEST(every_size_mapped_reads_back_and_takes_new_bytes) { every_size(MEMGUARD_MAPPED); }
TEST(every_size_compact_reads_back_and_takes_new_bytes) { every_size(MEMGUARD_COMPACT); }

TEST(a_mebibyte_holds_in_every_rest) {
    const size_t size = ((size_t)1 << 20) + 3;
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, size, rest, 5);
        CHECK(holds_pattern(secret, size, 5));
        memguard_view view = borrow(secret, MEMGUARD_READ);
        CHECK(is_pattern(view.data, size, 5));
        give_back(&view);
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    }
    vault_end(vault);
}

/* All sizes alive at once: none lies on another. */
TEST(secrets_of_all_rests_alive_together_do_not_mix) {
    enum { COUNT = 800 };
    static memguard_secret secrets[COUNT];
    memguard_vault *vault = vault_make();
    for (uint32_t i = 0; i < COUNT; i++) secrets[i] = secret_make(vault, 1 + i * 7 % 5000, i % RESTS, i);
    int wrong = 0;
    for (uint32_t i = 0; i < COUNT; i++) wrong += !holds_pattern(secrets[i], 1 + i * 7 % 5000, i);
    CHECK(wrong == 0);
    for (uint32_t i = 0; i < COUNT; i += 2) wrong += memguard_secret_destroy(&secrets[i]) != MEMGUARD_OK;
    for (uint32_t i = 1; i < COUNT; i += 2) wrong += !holds_pattern(secrets[i], 1 + i * 7 % 5000, i);
    CHECK(wrong == 0);
    vault_end(vault);
}

/* ---- access rights ------------------------------------------------------------------------------------- */

static const size_t some_sizes[] = {1, 31, 32, 4095, 4096, 4097, 9000};
enum { SOME_SIZES = sizeof some_sizes / sizeof some_sizes[0] };

static void check_rights(memguard_vault *vault, size_t size, uint32_t flags) {
    memguard_secret secret = secret_make(vault, size, flags, 3);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    unsigned char *data = view.data;
    CHECK(can_read(data) == 1 && can_read(data + size - 1) == 1 && ends_at_guard(data, size));
    CHECK((flags & MEMGUARD_WRITABLE) != 0 || (can_write(data) == 0 && can_write(data + size - 1) == 0));
    give_back(&view);
    view = borrow(secret, MEMGUARD_WRITE);
    data = view.data;
    CHECK(can_write(data) == 1 && can_write(data + size - 1) == 1 && ends_at_guard(data, size));
    give_back(&view);
    int mapped = (flags & MEMGUARD_REST_MASK) == MEMGUARD_MAPPED;
    CHECK(can_read(data) == mapped);
    CHECK(can_write(data) == (mapped && (flags & MEMGUARD_WRITABLE) != 0));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    CHECK(can_read(data) == 0);
}

TEST(read_views_are_read_only_write_views_writable_and_a_rest_keeps_its_rights) {
    static const uint32_t kinds[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED,
                                     MEMGUARD_MAPPED | MEMGUARD_WRITABLE};
    memguard_vault *vault = vault_make();
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        for (size_t i = 0; i < SOME_SIZES; i++) check_rights(vault, some_sizes[i], kinds[kind]);
    }
    vault_end(vault);
}

/* The header makes one exception only, for COMPACT. */
TEST(a_read_view_of_a_writable_rest_is_read_only_too) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 32, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, 3);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    CHECK(can_read(view.data) == 1 && can_write(view.data) == 0);
    give_back(&view);
    vault_end(vault);
}

static int show_guarded(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return can_read((const unsigned char *)bytes + size - 1) == 1 && ends_at_guard(bytes, size);
}

TEST(bytes_shown_by_use_end_at_a_guard) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        for (size_t i = 0; i < SOME_SIZES; i++) {
            memguard_secret secret = secret_make(vault, some_sizes[i], rest, 4);
            int guarded = 0;
            CHECK_STATUS(memguard_secret_use(secret, show_guarded, NULL, &guarded), MEMGUARD_OK);
            CHECK(guarded == 1);
        }
    }
    vault_end(vault);
}

static int keep_address(const void *bytes, size_t size, void *arg) {
    const unsigned char **kept = arg;
    *kept = bytes;
    return size != 0;
}

/* How many places show eight bytes in a row of the pattern `seed`. */
static int traces(const unsigned char *bytes, size_t size, uint32_t seed) {
    int found = 0;
    unsigned char pattern[64];
    fill(pattern, sizeof pattern, seed);
    for (size_t at = 0; at + 8 <= size; at++) {
        for (size_t from = 0; from + 8 <= sizeof pattern; from++) found += memcmp(bytes + at, pattern + from, 8) == 0;
    }
    return found;
}

/* The page of `use` may stay mapped; then it must not show the bytes. (What rests MAPPED is shown in place.) */
TEST(bytes_are_gone_when_use_has_returned) {
    enum { SIZE = 64 };
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_COMPACT};
    unsigned char left[SIZE];
    memguard_vault *vault = vault_make();
    fill(left, SIZE, 6);
    CHECK(traces(left, SIZE, 6) == SIZE - 7); /* the control */
    for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
        memguard_secret secret = secret_make(vault, SIZE, rests[i], 6);
        const unsigned char *kept = NULL;
        CHECK_STATUS(memguard_secret_use(secret, keep_address, &kept, NULL), MEMGUARD_OK);
        if (can_read(kept) != 1) continue;
        memcpy(left, kept, SIZE);
        CHECK(traces(left, SIZE, 6) == 0);
    }
    vault_end(vault);
}

TEST(many_read_views_at_once_show_the_same_bytes) {
    enum { VIEWS = 12, SIZE = 100 };
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 8);
        memguard_view views[VIEWS];
        memguard_info info = MEMGUARD_INFO_INIT;
        for (int i = 0; i < VIEWS; i++) views[i] = borrow(secret, MEMGUARD_READ);
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.borrows == VIEWS && info.writing == 0);
        for (int i = 0; i < VIEWS; i++) {
            CHECK(is_pattern(views[i].data, SIZE, 8));
            give_back(&views[i]);
        }
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.borrows == 0);
    }
    vault_end(vault);
}

/* ---- sources ------------------------------------------------------------------------------------------- */

enum { SOURCE = 48, MARGIN = 16 };
typedef struct guarded_source {
    unsigned char before[MARGIN], bytes[SOURCE], behind[MARGIN];
} guarded_source;

static guarded_source source_make(void) {
    guarded_source source;
    fill(&source, sizeof source, 9);
    return source;
}
static int margins_intact(const guarded_source *source) {
    guarded_source fresh = source_make();
    return memcmp(source->before, fresh.before, MARGIN) == 0 && memcmp(source->behind, fresh.behind, MARGIN) == 0;
}
static int is_wiped(const guarded_source *source) {
    return margins_intact(source) && is_zero(source->bytes, SOURCE);
}
static int is_untouched(const guarded_source *source) {
    guarded_source fresh = source_make();
    return memcmp(source, &fresh, sizeof fresh) == 0;
}

TEST(take_wipes_exactly_its_source_in_every_rest) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        guarded_source source = source_make(), fresh = source_make();
        memguard_secret secret = {0};
        CHECK_STATUS(memguard_secret_take(vault, source.bytes, SOURCE, rest, &secret), MEMGUARD_OK);
        CHECK(is_wiped(&source));
        CHECK(holds(secret, fresh.bytes, SOURCE));
    }
    vault_end(vault);
}

TEST(copy_leaves_its_source_alone_in_every_rest) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        guarded_source source = source_make();
        memguard_secret secret = {0};
        CHECK_STATUS(memguard_secret_copy(vault, source.bytes, SOURCE, rest, &secret), MEMGUARD_OK);
        CHECK(is_untouched(&source));
        CHECK(holds(secret, source.bytes, SOURCE));
    }
    vault_end(vault);
}

/* take and copy answer `expected`, give the null handle, and only take wipes. */
static void check_both_fail(memguard_vault *vault, memguard_status expected) {
    guarded_source source = source_make();
    memguard_secret secret = {42};
    CHECK_STATUS(memguard_secret_copy(vault, source.bytes, SOURCE, 0, &secret), expected);
    CHECK(is_untouched(&source));
    CHECK(secret.id == 0);
    secret.id = 42;
    CHECK_STATUS(memguard_secret_take(vault, source.bytes, SOURCE, 0, &secret), expected);
    CHECK(is_wiped(&source));
    CHECK(secret.id == 0);
}

TEST(take_wipes_and_copy_does_not_when_the_vault_is_stale) {
    memguard_vault *vault = vault_make(), *stale = vault;
    vault_end(vault);
    check_both_fail(stale, MEMGUARD_ERR_STALE);
}

TEST(take_wipes_and_copy_does_not_when_the_vault_is_locked) {
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    check_both_fail(vault, MEMGUARD_ERR_LOCKED);
    vault_end(vault);
}

TEST(take_leaves_its_source_alone_on_wrong_arguments_and_sizes) {
    memguard_vault *vault = vault_make();
    guarded_source source = source_make();
    memguard_secret secret = {42};
    CHECK_STATUS(memguard_secret_take(vault, source.bytes, SOURCE, 1U << 31, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(is_untouched(&source) && secret.id == 0);
    CHECK_STATUS(memguard_secret_take(vault, source.bytes, SOURCE, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK(is_untouched(&source));
    secret.id = 42;
    CHECK_STATUS(memguard_secret_take(vault, source.bytes, 0, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK(is_untouched(&source) && secret.id == 0);
    secret.id = 42;
    CHECK_STATUS(memguard_secret_take(vault, source.bytes, MEMGUARD_SIZE_MAX + 1, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK(is_untouched(&source) && secret.id == 0);
    vault_end(vault);
}

/* ---- what makers make ---------------------------------------------------------------------------------- */

TEST(created_secrets_are_zero_in_every_rest) {
    static const unsigned char zeros[5000];
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret dirty = secret_make(vault, sizeof zeros, rest, 1); /* reused room is then not zero by luck */
        CHECK_STATUS(memguard_secret_destroy(&dirty), MEMGUARD_OK);
        memguard_secret secret = {0};
        CHECK_STATUS(memguard_secret_create(vault, sizeof zeros, rest, &secret), MEMGUARD_OK);
        CHECK(holds(secret, zeros, sizeof zeros));
    }
    vault_end(vault);
}

static int copy_out(const void *bytes, size_t size, void *arg) {
    memcpy(arg, bytes, size);
    return 1;
}

TEST(random_secrets_are_neither_zero_nor_equal) {
    enum { SIZE = 32, COUNT = 16 };
    unsigned char seen[COUNT][SIZE];
    memguard_vault *vault = vault_make();
    for (uint32_t i = 0; i < COUNT; i++) {
        memguard_secret secret = {0};
        memset(seen[i], 0, SIZE);
        CHECK_STATUS(memguard_secret_random(vault, SIZE, i % RESTS, &secret), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_use(secret, copy_out, seen[i], NULL), MEMGUARD_OK);
        CHECK(!is_zero(seen[i], 8) && !is_zero(seen[i] + SIZE - 8, 8));
        for (uint32_t other = 0; other < i; other++) CHECK(memcmp(seen[i], seen[other], 8) != 0);
    }
    vault_end(vault);
}

TEST(random_secrets_are_random_to_their_last_byte) {
    enum { SIZE = 10000 };
    static unsigned char bytes[SIZE];
    memguard_vault *vault = vault_make();
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_random(vault, SIZE, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(secret, copy_out, bytes, NULL), MEMGUARD_OK);
    for (size_t at = 0; at + 16 <= SIZE; at += 16) {
        if (!CHECK(!is_zero(bytes + at, 16))) break;
    }
    vault_end(vault);
}

TEST(frozen_secrets_are_made_with_their_bytes) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, 77, rest | MEMGUARD_FROZEN, 3);
        memguard_info info = MEMGUARD_INFO_INIT;
        memguard_view view = {0};
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.flags == MEMGUARD_FROZEN && info.rest == rest);
        CHECK(holds_pattern(secret, 77, 3));
        CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_ERR_FROZEN);
        CHECK(view.data == NULL);
    }
    vault_end(vault);
}

TEST(writable_is_reported) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 77, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, 3);
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(info.flags == MEMGUARD_WRITABLE && info.rest == MEMGUARD_MAPPED);
    vault_end(vault);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

enum { MAKERS = 4 };
static memguard_status make_by(int maker, memguard_vault *vault, size_t bytes, uint32_t flags,
                               memguard_secret *secret) {
    static unsigned char source[64] = {1};
    switch (maker) {
    case 0: return memguard_secret_create(vault, bytes, flags, secret);
    case 1: return memguard_secret_take(vault, source, bytes, flags, secret);
    case 2: return memguard_secret_copy(vault, source, bytes, flags, secret);
    default: return memguard_secret_random(vault, bytes, flags, secret);
    }
}

TEST(sizes_of_zero_and_beyond_the_maximum_are_refused) {
    static const size_t wrong[] = {0, MEMGUARD_SIZE_MAX + 1, SIZE_MAX / 2, SIZE_MAX - 4096, SIZE_MAX - 1, SIZE_MAX};
    memguard_vault *vault = vault_make();
    for (int maker = 0; maker < MAKERS; maker++) {
        for (uint32_t rest = 0; rest < RESTS; rest++) {
            for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                memguard_secret secret = {42};
                CHECK_STATUS(make_by(maker, vault, wrong[i], rest, &secret), MEMGUARD_ERR_SIZE);
                CHECK(secret.id == 0);
            }
        }
    }
    CHECK(report_of(vault).secrets[MEMGUARD_SEALED] == 0);
    vault_end(vault);
}

TEST(unknown_flags_are_refused) {
    const uint32_t known = MEMGUARD_REST_MASK | MEMGUARD_FROZEN | MEMGUARD_WRITABLE | MEMGUARD_KEEP;
    memguard_vault *vault = vault_make();
    for (int maker = 0; maker < MAKERS; maker++) {
        for (uint32_t bit = 0; bit < 32; bit++) {
            if ((known >> bit & 1) != 0) continue;
            memguard_secret secret = {42};
            CHECK_STATUS(make_by(maker, vault, 8, 1U << bit, &secret), MEMGUARD_ERR_ARGUMENT);
            CHECK(secret.id == 0);
        }
    }
    vault_end(vault);
}

TEST(null_outputs_and_sources_are_refused) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = {42};
    for (int maker = 0; maker < MAKERS; maker++) {
        CHECK_STATUS(make_by(maker, vault, 8, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    }
    CHECK_STATUS(memguard_secret_take(vault, NULL, 8, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(secret.id == 0);
    secret.id = 42;
    CHECK_STATUS(memguard_secret_copy(vault, NULL, 8, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(secret.id == 0);
    CHECK(report_of(vault).secrets[MEMGUARD_SEALED] == 0);
    vault_end(vault);
}

/* ---- going --------------------------------------------------------------------------------------------- */

TEST(destroyed_secrets_leave_the_report) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret one = secret_make(vault, 100, rest, 1), two = secret_make(vault, 50, rest, 2);
        CHECK(report_of(vault).secrets[rest] == 2 && report_of(vault).secret_bytes[rest] == 150);
        CHECK_STATUS(memguard_secret_destroy(&one), MEMGUARD_OK);
        CHECK(report_of(vault).secrets[rest] == 1 && report_of(vault).secret_bytes[rest] == 50);
        CHECK_STATUS(memguard_secret_destroy(&two), MEMGUARD_OK);
        CHECK(report_of(vault).secrets[rest] == 0 && report_of(vault).secret_bytes[rest] == 0);
    }
    vault_end(vault);
}

static void churn(memguard_vault *vault, uint32_t rest, int rounds) {
    for (int i = 0; i < rounds; i++) {
        memguard_secret secret = {0};
        if (!CHECK_STATUS(memguard_secret_create(vault, 100, rest, &secret), MEMGUARD_OK)) return;
        if (!CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK)) return;
    }
}

TEST(making_and_destroying_uses_no_more_memory_each_time) {
    const int rounds = CHECK_SANITIZED ? 2000 : 20000;
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) churn(vault, rest, 100);
    memguard_report before = report_of(vault);
    for (uint32_t rest = 0; rest < RESTS; rest++) churn(vault, rest, rounds);
    memguard_report after = report_of(vault);
    CHECK(after.guarded_slots == before.guarded_slots);
    CHECK(after.compact_pages == before.compact_pages);
    /* The first re-key of the vault may fall in between: it takes pages for a second prekey, and they are kept. */
    CHECK(after.page_runs <= before.page_runs + 1);
    CHECK(after.lock_in_use_bytes <= before.lock_in_use_bytes + before.prekey_bytes);
    vault_end(vault);
}

/* The handle of a dead secret never comes to name a younger one. */
TEST(dead_handles_stay_dead_while_new_secrets_are_made) {
    enum { ROUNDS = 3000 };
    memguard_vault *vault = vault_make();
    memguard_secret first = secret_make(vault, 16, MEMGUARD_COMPACT, 1), kept = first;
    CHECK_STATUS(memguard_secret_destroy(&first), MEMGUARD_OK);
    for (int i = 0; i < ROUNDS; i++) {
        memguard_secret secret = secret_make(vault, 16, MEMGUARD_COMPACT, 2);
        if (!CHECK(secret.id != kept.id) || !CHECK(life(kept) == MEMGUARD_ERR_STALE)) break;
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    }
    vault_end(vault);
}

int main(void) {
    RUN(every_size_sealed_reads_back_and_takes_new_bytes);
    RUN(every_size_closed_reads_back_and_takes_new_bytes);
    RUN(every_size_mapped_reads_back_and_takes_new_bytes);
    RUN(every_size_compact_reads_back_and_takes_new_bytes);
    RUN(a_mebibyte_holds_in_every_rest);
    RUN(secrets_of_all_rests_alive_together_do_not_mix);
    RUN(read_views_are_read_only_write_views_writable_and_a_rest_keeps_its_rights);
    RUN(a_read_view_of_a_writable_rest_is_read_only_too);
    RUN(bytes_shown_by_use_end_at_a_guard);
    RUN(bytes_are_gone_when_use_has_returned);
    RUN(many_read_views_at_once_show_the_same_bytes);
    RUN(take_wipes_exactly_its_source_in_every_rest);
    RUN(copy_leaves_its_source_alone_in_every_rest);
    RUN(take_wipes_and_copy_does_not_when_the_vault_is_stale);
    RUN(take_wipes_and_copy_does_not_when_the_vault_is_locked);
    RUN(take_leaves_its_source_alone_on_wrong_arguments_and_sizes);
    RUN(created_secrets_are_zero_in_every_rest);
    RUN(random_secrets_are_neither_zero_nor_equal);
    RUN(random_secrets_are_random_to_their_last_byte);
    RUN(frozen_secrets_are_made_with_their_bytes);
    RUN(writable_is_reported);
    RUN(sizes_of_zero_and_beyond_the_maximum_are_refused);
    RUN(unknown_flags_are_refused);
    RUN(null_outputs_and_sources_are_refused);
    RUN(destroyed_secrets_leave_the_report);
    RUN(making_and_destroying_uses_no_more_memory_each_time);
    RUN(dead_handles_stay_dead_while_new_secrets_are_made);
    return check_end();
}
