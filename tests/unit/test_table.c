/* The handle table: an id names one secret or nothing, for ever; pins and marks decide who may touch what. Interleavings of threads are
 * made by hand: through the words themselves, or by stopping one thread inside a system call of the replaceable table. */
#include "white.h"

enum { MARKED = MG_WORD_HELD_MASK };

static memguard_vault *vault;

static uint64_t word_of(const struct mg__entry *entry) { return atomic_load(&entry->word); }

/* A live entry that nobody owns. */
static struct mg__entry *claim_idle(void) {
    memguard_status status = MEMGUARD_OK;
    struct mg__entry *entry = mg__entry_claim(0, 0, &status);
    if (!CHECK_STATUS(status, MEMGUARD_OK) || !CHECK(entry != NULL)) return NULL;
    CHECK(mg__entry_unseize(entry) == MG_UNPINNED);
    return entry;
}

static void end_idle(struct mg__entry *entry) {
    struct mg__entry *same = NULL;
    CHECK_STATUS(mg__entry_seize(mg__entry_id(entry), &same), MEMGUARD_OK);
    CHECK(same == entry);
    mg__entry_free(entry);
}

/* ---- ids ---- */

TEST(freed_entry_answers_stale_and_its_generation_moves_on) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry), before = word_of(entry) >> 32;
    end_idle(entry);
    CHECK((word_of(entry) >> 32) == before + 1);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_STALE);
    CHECK(found == NULL);
}

TEST(old_id_stays_stale_when_its_index_lives_again) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t old = mg__entry_id(entry);
    end_idle(entry);
    struct mg__entry *again = claim_idle();
    CHECK(again == entry); /* last in, first out: the same index at once */
    if (again == NULL) return;
    CHECK(mg__entry_id(again) != old);
    CHECK_STATUS(mg__entry_pin(old, false, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_pin(mg__entry_id(again), false, &found), MEMGUARD_OK);
    CHECK(mg__entry_unpin(again, false) == MG_UNPINNED);
    end_idle(again);
}

TEST(handle_of_one_kind_is_stale_as_another) {
    memguard_status status = MEMGUARD_OK;
    struct mg__entry *found = NULL;
    enum mg__unpin left = MG_UNPINNED;
    for (int kind = MG_OBJECT_SCOPE; kind <= MG_OBJECT_LARGE; kind++) {
        struct mg__entry *entry = mg__entry_claim(0, (enum mg__object)kind, &status);
        if (!CHECK_STATUS(status, MEMGUARD_OK) || !CHECK(mg__entry_unseize(entry) == MG_UNPINNED)) return;
        const uint64_t id = mg__entry_id(entry);
        CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_STALE);
        CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_STALE);
        for (int other = MG_OBJECT_SECRET; other <= MG_OBJECT_LARGE; other++) {
            if (other == kind) continue;
            if (other != MG_OBJECT_SECRET) CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)other, true, &found), MEMGUARD_ERR_STALE);
            CHECK_STATUS(mg__entry_doom(id, (enum mg__object)other, &found, &left), MEMGUARD_ERR_STALE);
        }
        CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)kind, false, &found), MEMGUARD_OK);
        CHECK_STATUS(mg__entry_doom(id, (enum mg__object)kind, &found, &left), MEMGUARD_OK);
        CHECK(found == entry && left == MG_UNPINNED);
        CHECK_STATUS(mg__entry_doom(id, (enum mg__object)kind, &found, &left), MEMGUARD_ERR_STALE);
        CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)kind, false, &found), MEMGUARD_ERR_STALE);
        CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)kind, true, &found), MEMGUARD_OK); /* for the library's care */
        CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED);
        CHECK(mg__entry_unpin(entry, false) == MG_LAST_OF_DYING);
        CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)kind, true, &found), MEMGUARD_ERR_BUSY);
        mg__entry_free(entry);
        CHECK_STATUS(mg__entry_pin_object(id, (enum mg__object)kind, true, &found), MEMGUARD_ERR_STALE);
    }
}

static void check_made_up(uint64_t id) {
    struct mg__entry *found = NULL;
    memguard_secret secret = {id};
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_pin(id, true, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_ERR_STALE);
}

TEST(made_up_ids_answer_stale) {
    struct mg__entry *entry = claim_idle();
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry);
    check_made_up(0);
    check_made_up(UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) check_made_up(id ^ (uint64_t)1 << bit);
    for (uint32_t i = 0; i < 64; i++) check_made_up(i);                      /* generation 0: never given */
    for (uint32_t i = 0; i < 4096; i++) check_made_up(((uint64_t)7777 << 32) | (i * 1048583U));
    end_idle(entry);
}

TEST(scope_is_no_secret) {
    memguard_scope scope = {0};
    if (!CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK)) return;
    memguard_secret secret = {scope.id};
    CHECK_STATUS(use_status(secret, 0), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_freeze(secret), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
}

/* ---- retirement ---- */

TEST(index_retires_when_its_generation_would_wrap) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint32_t index = mg__entry_index(entry);
    atomic_store(&entry->word, ((uint64_t)UINT32_MAX << 32) | (word_of(entry) & UINT32_MAX));
    const uint64_t last = mg__entry_id(entry);
    CHECK_STATUS(mg__entry_pin(last, false, &found), MEMGUARD_OK); /* the last generation is as good as any */
    CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED);
    end_idle(entry);
    CHECK(word_of(entry) == (uint64_t)UINT32_MAX << 32);
    CHECK_STATUS(mg__entry_pin(last, false, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_pin(index, false, &found), MEMGUARD_ERR_STALE);
    struct mg__entry *others[300];
    for (size_t i = 0; i < 300; i++) CHECK((others[i] = claim_idle()) != entry);
    for (size_t i = 0; i < 300; i++) end_idle(others[i]);
}

TEST(generation_before_the_last_is_still_reused) {
    struct mg__entry *entry = claim_idle();
    if (entry == NULL) return;
    atomic_store(&entry->word, ((uint64_t)(UINT32_MAX - 1) << 32) | (word_of(entry) & UINT32_MAX));
    end_idle(entry);
    struct mg__entry *again = claim_idle();
    CHECK(again == entry && word_of(entry) >> 32 == UINT32_MAX);
    end_idle(again);
}

/* ---- pins ---- */

TEST(pin_overflow_gives_limit_and_changes_nothing) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry);
    uint32_t pins = 0;
    memguard_status status = MEMGUARD_OK;
    while (pins <= MARKED && (status = mg__entry_pin(id, true, &found)) == MEMGUARD_OK) pins++;
    CHECK_STATUS(status, MEMGUARD_ERR_LIMIT);
    CHECK(pins >= MARKED - 8); /* a few may be kept back for the library's own use */
    const uint64_t full = word_of(entry);
    CHECK(mg__word_pins(full) == pins && mg__word_held(full) == pins && (full ^ id) >> 32 == 0);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_LIMIT);
    CHECK(word_of(entry) == full);
    for (; pins > 0; pins--) CHECK(mg__entry_unpin(entry, true) == MG_UNPINNED);
    CHECK(mg__word_pins(word_of(entry)) == 0 && mg__word_held(word_of(entry)) == 0);
    end_idle(entry);
}

TEST(pin_overflow_reaches_the_host_as_limit) {
    enum { MOST = 9000 };
    static memguard_view views[MOST];
    memguard_secret secret = make_secret(vault, 32, MEMGUARD_CLOSED, 5); /* what lies open is read without pins */
    memguard_status status = MEMGUARD_OK;
    int count = 0;
    while (count < MOST && (status = memguard_secret_acquire(secret, MEMGUARD_READ, &views[count])) == MEMGUARD_OK) count++;
    CHECK_STATUS(status, MEMGUARD_ERR_LIMIT);
    CHECK(count < MOST && views[count].data == NULL && views[count].pin[0] == 0);
    while (count-- > 0) CHECK_STATUS(memguard_view_release(&views[count]), MEMGUARD_OK);
    CHECK(holds(secret, 5));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

TEST(locked_vault_says_so_also_while_another_refused_call_owns_the_secret) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_AUTO, MEMGUARD_NO_THREAD);
    memguard_secret secret = make_secret(own, 32, 0, 6);
    memguard_view view = {0};
    CHECK_STATUS(memguard_vault_lock(own, white_kek), MEMGUARD_OK);
    const uint64_t before = atomic_fetch_or(&entry_of(secret)->word, MG_WORD_X | MG_WORD_BUSY_ONE);
    CHECK_STATUS(memguard_secret_equal(secret, "", 1), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_ERR_LOCKED);
    atomic_store(&entry_of(secret)->word, before);
    CHECK_STATUS(memguard_vault_unlock(own, white_kek), MEMGUARD_OK);
    CHECK(holds(secret, 6));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(exclusive_owner_keeps_all_others_out) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_OK);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_BUSY);
    CHECK(mg__entry_unseize(entry) == MG_UNPINNED);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_OK);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_BUSY);
    CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED);
    end_idle(entry);
}

TEST(dying_entry_is_stale_at_once_and_ends_with_its_last_pin) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry);
    CHECK_STATUS(mg__entry_pin(id, true, &found), MEMGUARD_OK);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_OK);
    atomic_fetch_or(&entry->word, MG_WORD_D);
    CHECK_STATUS(mg__entry_pin(id, false, &found), MEMGUARD_ERR_STALE);
    CHECK_STATUS(mg__entry_seize(id, &found), MEMGUARD_ERR_STALE);
    CHECK(!mg__entry_hold(entry)); /* the host must not get it any more */
    CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED);
    CHECK(mg__entry_unpin(entry, true) == MG_LAST_OF_DYING);
    CHECK((word_of(entry) & MG_WORD_X) != 0); /* ours to end */
    mg__entry_free(entry);
}

TEST(seized_entry_that_dies_meanwhile_is_the_owners_to_end) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    CHECK_STATUS(mg__entry_seize(mg__entry_id(entry), &found), MEMGUARD_OK);
    atomic_fetch_or(&entry->word, MG_WORD_D);
    CHECK(mg__entry_unseize(entry) == MG_LAST_OF_DYING);
    CHECK((word_of(entry) & MG_WORD_X) != 0);
    mg__entry_free(entry);
}

/* ---- the mark R against a release: by the words ---- */

TEST(holder_who_comes_before_the_mark_closes_normally) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    CHECK_STATUS(mg__entry_pin(mg__entry_id(entry), true, &found), MEMGUARD_OK);
    uint64_t seen = word_of(entry) | MG_WORD_D;
    atomic_store(&entry->word, seen);
    CHECK(mg__entry_unhold(entry)); /* the holder first: whole */
    CHECK(!atomic_compare_exchange_strong(&entry->word, &seen, seen | MG_WORD_R)); /* the purge comes too late */
    CHECK(mg__entry_unpin(entry, false) == MG_LAST_OF_DYING);
    mg__entry_free(entry);
}

TEST(holder_who_comes_after_the_mark_touches_nothing) {
    struct mg__entry *entry = claim_idle(), *found = NULL;
    if (entry == NULL) return;
    const uint64_t id = mg__entry_id(entry);
    CHECK_STATUS(mg__entry_pin(id, true, &found), MEMGUARD_OK);
    CHECK_STATUS(mg__entry_pin(id, true, &found), MEMGUARD_OK);
    atomic_fetch_or(&entry->word, MG_WORD_D | MG_WORD_R);
    CHECK(!mg__entry_unhold(entry));
    CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED_REVOKED);
    CHECK(mg__entry_unpin(entry, true) == MG_LAST_OF_REVOKED);
    mg__entry_free(entry);
}

/* ---- the same through a purge: the holder releases while the purge takes the memory away ---- */

static struct mg__sys_table real;
static _Atomic int stage; /* 1: armed, 2: the purge is about to take away, 3: the holder is back */
static pthread_t purger;

static void wait_for_stage(int wanted, unsigned most_ms) {
    for (unsigned ms = 0; atomic_load(&stage) != wanted && ms < most_ms; ms++) sleep_ms(1);
}

/* mremap is called by the library only to take memory away. A holder that waits for us (as it may) lets 500 ms pass. */
static void *stopping_mremap(void *address, size_t bytes, size_t new_bytes, int flags, void *to) {
    int armed = 1;
    if (pthread_equal(pthread_self(), purger) && atomic_compare_exchange_strong(&stage, &armed, 2)) wait_for_stage(3, 500);
    return real.mremap(address, bytes, new_bytes, flags, to);
}

struct holder {
    memguard_secret secret;
    uint32_t access;
    memguard_status released;
    unsigned char *data;
    _Atomic int has_it;
};

static void *hold_until_the_purge(void *arg) {
    struct holder *holder = arg;
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(holder->secret, holder->access, &view), MEMGUARD_OK);
    holder->data = view.data;
    atomic_store(&holder->has_it, 1);
    wait_for_stage(2, 5000);
    holder->released = memguard_view_release(&view);
    atomic_store(&stage, 3);
    return NULL;
}

/* The page of a revoked view must never come back: a slot made anew at its address would have none of its protections. */
static int comes_back(enum mg__kind kind, const unsigned char *data) {
    enum { MOST = 1024 };
    struct mg__region *regions[MOST];
    struct mg__bank_figures figures;
    int found = 0, taken = 0;
    mg__bank_figures(kind, &figures);
    while (taken < MOST && (uint64_t)taken < figures.free_slots) { /* first in, first out: these are all */
        struct mg__region *region = NULL;
        if (mg__region_take(kind, mg__sys_page(), &region) != MEMGUARD_OK) return -1;
        found |= data >= region->base && data < region->base + region->bytes;
        regions[taken++] = region;
    }
    while (taken > 0) mg__region_give(regions[--taken], 0);
    return found;
}

static void race_release_against_revocation(uint32_t rest, uint32_t access) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    memguard_vault *other = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    memguard_secret bystander = make_secret(other, 100, MEMGUARD_CLOSED, 2);
    struct holder holder = {.secret = make_secret(own, 100, rest, 1), .access = access, .released = -1};
    pthread_t thread;
    atomic_store(&stage, 1);
    purger = pthread_self();
    if (!CHECK(pthread_create(&thread, NULL, hold_until_the_purge, &holder) == 0)) return;
    while (atomic_load(&holder.has_it) == 0) sleep_ms(1);
    real = mg__sys_table;
    mg__sys_table.mremap = stopping_mremap;
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    pthread_join(thread, NULL);
    mg__sys_table = real;
    CHECK_STATUS(holder.released, MEMGUARD_ERR_REVOKED);
    CHECK(can_read(holder.data) == 0);
    CHECK(comes_back(MG_KIND_LOCKED, holder.data) == 0);
    CHECK(holds(bystander, 2));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&other), MEMGUARD_OK);
}

/* In a child: what goes wrong here may abort much later. */
static int race_in_child(void *arg) {
    const uint32_t *how = arg;
    race_release_against_revocation(how[0], how[1]);
    return 0;
}

static void check_race(uint32_t rest, uint32_t access) {
    uint32_t how[2] = {rest, access};
    CHECK(check_exited(check_child(race_in_child, how), 0));
}

TEST(release_during_revocation_of_a_sealed_read_view_is_safe) { check_race(MEMGUARD_SEALED, MEMGUARD_READ); }
TEST(release_during_revocation_of_a_sealed_write_view_is_safe) { check_race(MEMGUARD_SEALED, MEMGUARD_WRITE); }
TEST(release_during_revocation_of_a_closed_view_is_safe) { check_race(MEMGUARD_CLOSED, MEMGUARD_READ); }
TEST(release_during_revocation_of_a_mapped_view_is_safe) { check_race(MEMGUARD_MAPPED, MEMGUARD_READ); }

/* ---- locking while others knock ---- */

static memguard_secret late;
static struct mg__entry *_Atomic pinned;

/* What a `use` of another thread does between its pin and its look at the gate, stopped there. */
static int pinning_mprotect(void *address, size_t bytes, int protection) {
    struct mg__entry *entry = NULL;
    if (atomic_load(&stage) == 1) {
        CHECK_STATUS(mg__entry_pin(late.id, false, &entry), MEMGUARD_OK);
        atomic_store(&pinned, entry);
        atomic_store(&stage, 2);
    }
    return real.mprotect(address, bytes, protection);
}

static void *let_go(void *arg) {
    (void)arg;
    wait_for_stage(2, 5000);
    sleep_ms(50);
    struct mg__entry *entry = atomic_load(&pinned);
    if (entry != NULL) CHECK(mg__entry_unpin(entry, false) == MG_UNPINNED);
    return NULL;
}

static int lock_while_others_knock(void *arg) {
    (void)arg;
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    memguard_secret both[2] = {make_secret(own, 100, MEMGUARD_CLOSED, 1), make_secret(own, 100, MEMGUARD_CLOSED, 2)};
    memguard_info info = MEMGUARD_INFO_INIT;
    pthread_t thread;
    late = (uint32_t)both[0].id > (uint32_t)both[1].id ? both[0] : both[1]; /* the walk goes by index */
    atomic_store(&pinned, NULL);
    atomic_store(&stage, 0);
    if (!CHECK(pthread_create(&thread, NULL, let_go, NULL) == 0)) return 1;
    real = mg__sys_table;
    mg__sys_table.mprotect = pinning_mprotect;
    atomic_store(&stage, 1);
    CHECK_STATUS(memguard_vault_lock(own, white_kek), MEMGUARD_OK);
    pthread_join(thread, NULL);
    mg__sys_table = real;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(memguard_secret_info(both[i], &info), MEMGUARD_OK);
        CHECK(info.rest == MEMGUARD_SEALED);
    }
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    return 0;
}

TEST(lock_seals_also_what_others_knock_at) { CHECK(check_exited(check_child(lock_while_others_knock, NULL), 0)); }

/* ---- many vaults, many threads ---- */

static int purge_many_vaults(void *arg) {
    (void)arg;
    enum { MANY = 70 };
    memguard_vault *vaults[MANY];
    memguard_view view = {0};
    for (int i = 0; i < MANY; i++) vaults[i] = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    memguard_secret held = make_secret(vaults[0], 10, MEMGUARD_SEALED, 1);
    CHECK_STATUS(memguard_secret_acquire(held, MEMGUARD_READ, &view), MEMGUARD_OK);
    for (int i = 1; i < MANY; i++) {
        memguard_secret gone = make_secret(vaults[i], 10, MEMGUARD_SEALED, 2), fresh = {0};
        CHECK_STATUS(memguard_vault_purge(vaults[i], 0), MEMGUARD_OK);
        CHECK_STATUS(use_status(gone, 2), MEMGUARD_ERR_STALE);
        CHECK_STATUS(memguard_secret_create(vaults[i], 10, 0, &fresh), MEMGUARD_OK);
    }
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    for (int i = 0; i < MANY; i++) CHECK_STATUS(memguard_vault_destroy(&vaults[i]), MEMGUARD_OK);
    return 0;
}

TEST(borrow_in_one_of_many_vaults_does_not_defer_the_purge_of_another) {
    CHECK(check_exited(check_child(purge_many_vaults, NULL), 0));
}

enum { CYCLES = 25000, THREADS = 4, AT_ONCE = 5 };

/* Claimed entries are ours alone: nobody else may have the same index, or move its word. */
static void *claim_and_free(void *arg) {
    const uint32_t mark = 1000 + *(const uint32_t *)arg;
    struct mg__entry *entries[AT_ONCE];
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        const int n = cycle % AT_ONCE + 1;
        for (int i = 0; i < n; i++) {
            memguard_status status = MEMGUARD_OK;
            entries[i] = mg__entry_claim(mark, 0, &status);
            if (!CHECK(entries[i] != NULL)) return NULL;
        }
        for (int i = 0; i < n; i++) {
            CHECK(atomic_load(&entries[i]->vault) == mark && mg__word_pins(word_of(entries[i])) == 1);
            mg__entry_free(entries[i]);
        }
    }
    return NULL;
}

TEST(hundred_thousand_cycles_over_four_threads_share_no_index) {
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];
    const uint32_t before = mg__table_count();
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, claim_and_free, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(mg__table_count() - before <= 64 * 16); /* freed indices are found again */
    for (uint32_t i = 0; i < mg__table_count(); i++)
        CHECK((word_of(mg__entry_by_index(i)) & MG_WORD_L) == 0 || atomic_load(&mg__entry_by_index(i)->vault) < 1000);
}

static void *make_first_vault(void *arg) {
    pthread_barrier_wait(arg);
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, 0);
    memguard_secret secret = make_secret(own, 10, 0, 3);
    CHECK(holds(secret, 3));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    return NULL;
}

/* In a child, for the first vault of a process is made once. */
static int start_from_four_threads(void *arg) {
    (void)arg;
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, make_first_vault, &barrier) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return 0;
}

TEST(first_vaults_made_by_four_threads_at_once_all_work) {
    for (int i = 0; i < 10; i++) CHECK(check_exited(check_child(start_from_four_threads, NULL), 0));
}

static void *make_and_end_vaults(void *flags) {
    for (int i = 0; i < 300; i++) {
        memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, *(const uint32_t *)flags);
        CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    }
    return NULL;
}

/* Vaults with and without the thread take over each other's structs: the thread must run as long as one wants it, and no longer. */
static int churn_vaults(void *arg) {
    (void)arg;
    static uint32_t flags[THREADS] = {0, MEMGUARD_NO_THREAD, 0, MEMGUARD_NO_THREAD};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, make_and_end_vaults, &flags[i]) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return 0;
}

TEST(vaults_with_and_without_the_thread_are_made_and_ended_together) {
    CHECK(check_exited(check_child(churn_vaults, NULL), 0));
}

int main(void) {
    RUN(first_vaults_made_by_four_threads_at_once_all_work);
    RUN(vaults_with_and_without_the_thread_are_made_and_ended_together);
    RUN(release_during_revocation_of_a_sealed_read_view_is_safe);
    RUN(release_during_revocation_of_a_sealed_write_view_is_safe);
    RUN(release_during_revocation_of_a_closed_view_is_safe);
    RUN(release_during_revocation_of_a_mapped_view_is_safe);
    RUN(lock_seals_also_what_others_knock_at);
    RUN(borrow_in_one_of_many_vaults_does_not_defer_the_purge_of_another);
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    RUN(freed_entry_answers_stale_and_its_generation_moves_on);
    RUN(old_id_stays_stale_when_its_index_lives_again);
    RUN(handle_of_one_kind_is_stale_as_another);
    RUN(made_up_ids_answer_stale);
    RUN(scope_is_no_secret);
    RUN(index_retires_when_its_generation_would_wrap);
    RUN(generation_before_the_last_is_still_reused);
    RUN(pin_overflow_gives_limit_and_changes_nothing);
    RUN(pin_overflow_reaches_the_host_as_limit);
    RUN(locked_vault_says_so_also_while_another_refused_call_owns_the_secret);
    RUN(exclusive_owner_keeps_all_others_out);
    RUN(dying_entry_is_stale_at_once_and_ends_with_its_last_pin);
    RUN(seized_entry_that_dies_meanwhile_is_the_owners_to_end);
    RUN(holder_who_comes_before_the_mark_closes_normally);
    RUN(holder_who_comes_after_the_mark_touches_nothing);
    RUN(hundred_thousand_cycles_over_four_threads_share_no_index);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return check_end();
}
