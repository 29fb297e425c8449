/* Where an entry and what belongs to it lie: sealed bytes in the entry or elsewhere, few things beside it, the place of all by its
 * address. Through all changes the bytes stay what they were, and nothing of a life is found in the next one. */
#include "white.h"

enum { READERS = 3, ROUNDS = 300, CROWD = MG_SEGMENT + 200 };

static memguard_vault *vault;

static void destroy(memguard_secret secret) { CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK); }

static int lies_in_place(memguard_secret secret) {
    const struct mg__entry *entry = entry_of(secret);
    return mg__entry_rest(entry) == MEMGUARD_SEALED && mg__entry_sealed(entry) == entry->in_place;
}

/* ---- places ---- */

static void make_crowd(struct mg__entry **crowd) {
    memguard_status status = MEMGUARD_OK;
    for (uint32_t i = 0; i < CROWD; i++) {
        crowd[i] = mg__entry_claim(0, MG_OBJECT_SECRET, &status);
        if (crowd[i] == NULL) break;
    }
    CHECK_STATUS(status, MEMGUARD_OK);
}

/* More than one segment: so the first and the last entry of the first one are among them. */
TEST(every_index_is_computed_from_the_address_across_segments) {
    struct mg__entry **crowd = calloc(CROWD, sizeof *crowd);
    uint32_t wrong = 0;
    if (!CHECK(crowd != NULL)) return;
    make_crowd(crowd);
    CHECK(mg__table_count() > MG_SEGMENT);
    for (uint32_t i = 0; i < mg__table_count(); i++)
        wrong += mg__entry_index(mg__entry_by_index(i)) != i;
    CHECK(wrong == 0);
    const struct mg__entry *last = mg__entry_by_index(MG_SEGMENT - 1), *next = mg__entry_by_index(MG_SEGMENT);
    CHECK(mg__segment_of(last) != mg__segment_of(next));
    CHECK(mg__entry_extra(last) == &mg__segment_of(last)->extras[MG_SEGMENT - 1]);
    CHECK(mg__entry_extra(next) == &mg__segment_of(next)->extras[0]);
    for (uint32_t i = 0; i < CROWD && crowd[i] != NULL; i++) {
        CHECK(mg__entry_at(mg__entry_id(crowd[i])) == crowd[i]);
        mg__entry_free(crowd[i]);
    }
    free(crowd);
}

TEST(sizes_are_told_up_to_the_largest) {
    const size_t sizes[] = {1, 32, 33, UINT32_MAX - 1, UINT32_MAX, (size_t)1 << 32, MEMGUARD_SIZE_MAX};
    memguard_status status = MEMGUARD_OK;
    struct mg__entry *entry = mg__entry_claim(0, MG_OBJECT_SECRET, &status);
    if (!CHECK(entry != NULL)) return;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mg__entry_set_bytes(entry, sizes[i]);
        CHECK(mg__entry_bytes(entry) == sizes[i]);
    }
    mg__entry_free(entry);
}

static unsigned resident_pages(const void *address, size_t bytes) {
    const size_t pages = bytes / mg__sys_page();
    unsigned char *present = calloc(pages, 1);
    unsigned count = 0;
    if (!CHECK(present != NULL) || !CHECK(mincore((void *)(uintptr_t)address, bytes, present) == 0)) return UINT32_MAX;
    for (size_t i = 0; i < pages; i++)
        count += present[i] & 1;
    free(present);
    return count;
}

/* Also where the system gives huge pages to everybody. Before anything makes more. */
TEST(three_secrets_touch_few_pages_of_the_table) {
    memguard_secret secrets[3];
    for (uint32_t i = 0; i < 3; i++)
        secrets[i] = make_secret(vault, 32, 0, i);
    const struct mg__segment *segment = mg__segment_of(entry_of(secrets[0]));
    CHECK(resident_pages(segment, sizeof segment->entries) <= 4);
    CHECK(resident_pages(&segment->entries[MG_SEGMENT], sizeof segment->extras) <= 2); /* a page ends where they end */
    for (uint32_t i = 0; i < 3; i++)
        destroy(secrets[i]);
}

/* ---- in place or not ---- */

TEST(sealed_secrets_lie_in_their_entries_up_to_32_bytes) {
    for (size_t bytes = 1; bytes <= 34; bytes++) {
        memguard_secret secret = make_secret(vault, bytes, 0, 1);
        CHECK(lies_in_place(secret) == (bytes <= 32));
        CHECK(holds(secret, 1));
        destroy(secret);
    }
}

static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};

TEST(bytes_survive_every_change_of_rest_at_every_size) {
    for (size_t bytes = 1; bytes <= 34; bytes++) {
        memguard_secret secret = make_secret(vault, bytes, 0, (uint32_t)bytes);
        for (int step = 0; step < 16; step++) {
            CHECK_STATUS(memguard_secret_rest(secret, rests[step % 4]), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_rest(secret, rests[step / 4]), MEMGUARD_OK);
            CHECK(holds(secret, (uint32_t)bytes));
        }
        destroy(secret);
    }
}

static int look_at_start(const void *bytes, size_t size, void *arg) {
    const size_t *kept = arg;
    unsigned char pattern[64];
    fill(pattern, sizeof pattern, 7);
    return memcmp(bytes, pattern, *kept) == 0 && is_all((const unsigned char *)bytes + *kept, size - *kept, 0);
}

static void check_resize(uint32_t rest, size_t from, size_t to) {
    memguard_secret secret = make_secret(vault, from, rest, 7);
    size_t kept = from < to ? from : to;
    int right = 0;
    CHECK_STATUS(memguard_secret_resize(secret, to), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(secret, look_at_start, &kept, &right), MEMGUARD_OK);
    CHECK(right);
    destroy(secret);
}

TEST(resizing_over_the_edge_keeps_the_bytes_and_adds_zeros) {
    static const size_t sizes[] = {1, 31, 32, 33, 48, 64};
    for (int rest = 0; rest < 4; rest++)
        for (int step = 0; step < 36; step++)
            check_resize(rests[rest], sizes[step / 6], sizes[step % 6]);
}

static void replace(memguard_secret secret, size_t bytes, uint32_t seed) {
    unsigned char source[64];
    fill(source, bytes, seed);
    CHECK_STATUS(memguard_secret_replace(secret, source, bytes), MEMGUARD_OK);
}

static void write_by_view(memguard_secret secret, uint32_t seed) {
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_OK);
    if (view.data != NULL) fill(view.data, view.size, seed);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}

TEST(replacing_and_writing_over_the_edge) {
    static const size_t sizes[] = {32, 33, 1, 64, 16, 32};
    memguard_secret secret = make_secret(vault, 20, 0, 0);
    for (uint32_t i = 0; i < 6; i++) {
        replace(secret, sizes[i], 2 * i);
        CHECK(holds(secret, 2 * i));
        write_by_view(secret, 2 * i + 1);
        CHECK(holds(secret, 2 * i + 1));
        CHECK(lies_in_place(secret) == (sizes[i] <= 32));
    }
    destroy(secret);
}

/* Without a key a change cannot be sealed: the bytes stay, and the secret rests CLOSED. */
TEST(changed_bytes_that_cannot_be_sealed_are_kept_closed) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_secret secret = make_secret(own, 32, 0, 1);
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_OK);
    if (view.data != NULL) fill(view.data, view.size, 2);
    mg__coffer_forget(&mg__vault_find(own)->coffer);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_STATE);
    CHECK(mg__entry_rest(entry_of(secret)) == MEMGUARD_CLOSED && mg__entry_open_region(entry_of(secret)) == NULL);
    CHECK(holds(secret, 2));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(marks_and_flags_share_a_byte_and_do_not_touch_each_other) {
    memguard_secret secret = make_secret(vault, 32, 0, 1);
    struct mg__entry *entry = entry_of(secret);
    CHECK(!mg__entry_mark(entry, MG_MARK_SUSPECT) && mg__entry_mark(entry, MG_MARK_SUSPECT));
    CHECK_STATUS(memguard_secret_freeze(secret), MEMGUARD_OK); /* whoever comes with the handle clears it */
    CHECK(!mg__entry_has_mark(entry, MG_MARK_SUSPECT) && mg__entry_has(entry, MG_ENTRY_FROZEN));
    CHECK(!mg__entry_mark(entry, MG_MARK_TOLD));
    CHECK_STATUS(memguard_secret_melt(secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_CLOSED), MEMGUARD_OK);
    CHECK(mg__entry_has_mark(entry, MG_MARK_TOLD) && !mg__entry_has(entry, MG_ENTRY_FROZEN));
    destroy(secret);
}

/* ---- what lies beside ---- */

static int is_clear(const struct mg__entry *entry) {
    const struct mg__extra *extra = mg__entry_extra(entry);
    return extra->open == NULL && extra->views == 0 && atomic_load(&extra->limits) == NULL;
}

static void check_next_life(const struct mg__entry *entry) {
    memguard_secret next = make_secret(vault, 32, 0, 3);
    CHECK(is_clear(entry) && (mg__entry_kind(entry) & (MG_KIND_EXTRA | MG_KIND_LIMITED)) == 0);
    CHECK((mg__entry_kind(entry_of(next)) & (MG_KIND_EXTRA | MG_KIND_LIMITED)) == 0);
    CHECK(holds(next, 3));
    destroy(next);
}

TEST(a_secret_that_is_only_used_has_nothing_beside_it) {
    memguard_secret secret = make_secret(vault, 32, 0, 1);
    CHECK(holds(secret, 1));
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_COMPACT), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_SEALED), MEMGUARD_OK);
    CHECK(holds(secret, 1));
    destroy(secret);
}

TEST(nothing_of_views_and_limits_is_left_for_the_next_life) {
    const memguard_limits limits = {.size = sizeof limits, .uses = 100, .ttl_ms = 3600000};
    memguard_secret secret = make_secret(vault, 32, 0, 1);
    const struct mg__entry *entry = entry_of(secret);
    memguard_view a = {0}, b = {0};
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &a), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &b), MEMGUARD_OK);
    CHECK(a.data == b.data && mg__entry_extra(entry)->views == 2 && mg__entry_limits(entry) != NULL);
    CHECK(lies_in_place(secret) && holds(secret, 1));
    CHECK_STATUS(memguard_view_release(&a), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK); /* takes effect at the last release */
    CHECK(is_pattern(b.data, b.size, 1));
    CHECK_STATUS(memguard_view_release(&b), MEMGUARD_OK);
    check_next_life(entry);
}

/* The holder's view is taken away, and his release finds nothing to close. */
TEST(nothing_of_a_revoked_view_is_left_for_the_next_life) {
    memguard_secret secret = make_secret(vault, 32, 0, 1);
    const struct mg__entry *entry = entry_of(secret);
    struct mg__entry *held = NULL;
    unsigned char *data = NULL;
    CHECK_STATUS(mg__entry_pin(secret.id, false, &held), MEMGUARD_OK);
    mg__entry_lock(held);
    CHECK_STATUS(mg__open(mg__vault_find(vault), held, MG_ACCESS_READ, &data), MEMGUARD_OK);
    mg__entry_take_extra(held)->views = 1;
    mg__entry_unlock(held);
    CHECK(mg__entry_hold(held));
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_ERR_REVOKED);
    CHECK(!mg__entry_unhold(held));
    mg__secret_after(held, mg__entry_unpin(held, false));
    check_next_life(entry);
}

TEST(limits_stay_through_all_rests_and_sizes) {
    const memguard_limits limits = {.size = sizeof limits, .uses = 9};
    memguard_secret secret = make_secret(vault, 32, 0, 1);
    memguard_info info = {.size = sizeof info};
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
    for (int i = 0; i < 4; i++) {
        CHECK_STATUS(memguard_secret_rest(secret, rests[3 - i]), MEMGUARD_OK);
        CHECK(holds(secret, 1));
    }
    replace(secret, 64, 2), CHECK(holds(secret, 2));
    replace(secret, 8, 4), CHECK(holds(secret, 4));
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(info.uses_left == 3 && info.bytes == 8);
    destroy(secret);
}

/* ---- many at once ---- */

static memguard_secret shared;
static atomic_int stop, wrong;

static void *keep_using(void *arg) {
    (void)arg;
    while (atomic_load(&stop) == 0) {
        memguard_secret_prefetch(shared);
        if (!holds(shared, 5)) atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void *keep_viewing(void *arg) {
    (void)arg;
    while (atomic_load(&stop) == 0) {
        memguard_view view = {0};
        if (memguard_secret_acquire(shared, MEMGUARD_READ, &view) != MEMGUARD_OK || !is_pattern(view.data, view.size, 5))
            atomic_fetch_add(&wrong, 1);
        if (memguard_view_release(&view) != MEMGUARD_OK) atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void *keep_asking(void *arg) {
    (void)arg;
    while (atomic_load(&stop) == 0) {
        memguard_info info = {.size = sizeof info};
        memguard_report report = {.size = sizeof report};
        if (memguard_secret_info(shared, &info) != MEMGUARD_OK || (info.bytes != 32 && info.bytes != 40)) atomic_fetch_add(&wrong, 1);
        if (memguard_vault_report(vault, &report) != MEMGUARD_OK) atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void run_beside(void *(*const *fns)(void *), int count, void (*work)(void)) {
    pthread_t threads[READERS];
    atomic_store(&stop, 0), atomic_store(&wrong, 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, fns[i], NULL) == 0);
    work();
    atomic_store(&stop, 1);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&wrong) == 0);
}

static void view_and_use(void) {
    for (int i = 0; i < ROUNDS; i++) {
        memguard_view view = {0};
        CHECK_STATUS(memguard_secret_acquire(shared, MEMGUARD_READ, &view), MEMGUARD_OK);
        CHECK(holds(shared, 5) && is_pattern(view.data, view.size, 5));
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    }
}

TEST(views_and_uses_of_one_secret_in_place_at_once) {
    static void *(*const fns[])(void *) = {keep_using, keep_viewing, keep_asking};
    const memguard_limits limits = {.size = sizeof limits, .ttl_ms = 3600000, .idle_ms = 3600000};
    shared = make_secret(vault, 32, 0, 5);
    CHECK_STATUS(memguard_secret_limit(shared, &limits), MEMGUARD_OK);
    run_beside(fns, READERS, view_and_use);
    CHECK(lies_in_place(shared));
    destroy(shared);
}

static void change_rest_and_size(void) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_STATUS(memguard_secret_rest(shared, rests[i % 4]), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_resize(shared, i % 2 == 0 ? 40 : 32), MEMGUARD_OK);
    }
}

/* Who only asks reads an entry whose owner is moving its bytes into the place where the answer might have been. */
TEST(what_is_told_of_a_secret_is_never_its_ciphertext) {
    static void *(*const fns[])(void *) = {keep_asking, keep_asking};
    shared = make_secret(vault, 32, 0, 5);
    run_beside(fns, 2, change_rest_and_size);
    destroy(shared);
}

/* ---- prefetch ---- */

TEST(prefetch_of_anything_changes_nothing) {
    memguard_secret secret = make_secret(vault, 32, 0, 1), stale = make_secret(vault, 32, 0, 2), was = stale;
    CHECK_STATUS(memguard_secret_destroy(&stale), MEMGUARD_OK);
    const struct mg__entry *entry = entry_of(secret);
    const uint64_t word = atomic_load(&entry->word);
    unsigned char before[sizeof *entry];
    memcpy(before, entry, sizeof before);
    memguard_secret_prefetch(secret);
    memguard_secret_prefetch(was);
    memguard_secret_prefetch((memguard_secret){0});
    memguard_secret_prefetch((memguard_secret){UINT64_MAX});
    memguard_secret_prefetch((memguard_secret){word | UINT32_MAX});
    for (uint64_t i = 1; i != 0; i <<= 1)
        memguard_secret_prefetch((memguard_secret){i});
    CHECK(memcmp(before, entry, sizeof before) == 0);
    CHECK(holds(secret, 1));
    destroy(secret);
}

int main(void) {
    vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    if (vault == NULL) return 1;
    RUN(three_secrets_touch_few_pages_of_the_table);
    RUN(sealed_secrets_lie_in_their_entries_up_to_32_bytes);
    RUN(bytes_survive_every_change_of_rest_at_every_size);
    RUN(resizing_over_the_edge_keeps_the_bytes_and_adds_zeros);
    RUN(replacing_and_writing_over_the_edge);
    RUN(changed_bytes_that_cannot_be_sealed_are_kept_closed);
    RUN(marks_and_flags_share_a_byte_and_do_not_touch_each_other);
    RUN(a_secret_that_is_only_used_has_nothing_beside_it);
    RUN(nothing_of_views_and_limits_is_left_for_the_next_life);
    RUN(nothing_of_a_revoked_view_is_left_for_the_next_life);
    RUN(limits_stay_through_all_rests_and_sizes);
    RUN(views_and_uses_of_one_secret_in_place_at_once);
    RUN(what_is_told_of_a_secret_is_never_its_ciphertext);
    RUN(prefetch_of_anything_changes_nothing);
    RUN(sizes_are_told_up_to_the_largest);
    RUN(every_index_is_computed_from_the_address_across_segments);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return check_end();
}
