/* test_threads.c: any thread may call anything at any time. Contents describe themselves, so that every byte that is
 * shown can be told to be one that was written, at this place; every answer must be one that some order of the calls
 * explains. Work is counted, not timed. */
#define _GNU_SOURCE
#include <sched.h>

#include "api/support.h"

/* Sanitizers are slow: a tenth of the work there. */
#define WORK(count) (CHECK_SANITIZED ? (count) / 10 : (count))

static uint32_t draw(uint64_t *state, uint32_t below) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return (uint32_t)(*state >> 32) % below;
}

enum { MOST_THREADS = 32 };
/* Runs `count` threads of `body`, each with an argument of `step` bytes, and waits for them. */
static void run_threads(int count, void *(*body)(void *), void *args, size_t step) {
    pthread_t threads[MOST_THREADS];
    int started = 0;
    while (started < count) {
        void *arg = (char *)args + step * (size_t)started;
        if (!CHECK(pthread_create(&threads[started], NULL, body, arg) == 0)) break;
        started++;
    }
    for (int i = 0; i < started; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static memguard_vault *vault_with_quick_rekey(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

/* ---- own secrets: nothing may ever fail ----------------------------------------------------------------- */

enum { OWNERS = 20, OWNED = 10 };
typedef struct owner {
    memguard_vault *vault;
    uint32_t number;
} owner;

static int rewrite(memguard_secret secret, size_t size, uint32_t old_seed, uint32_t new_seed) {
    memguard_view view = {0};
    if (!CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_OK)) return 0;
    int good = CHECK(view.size == size && is_pattern(view.data, size, old_seed));
    fill(view.data, size, new_seed);
    return CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK) && good;
}

static void *own_thread(void *arg) {
    const owner *me = arg;
    memguard_secret secrets[OWNED];
    uint32_t seeds[OWNED];
    uint64_t state = 77 + me->number;
    for (uint32_t i = 0; i < OWNED; i++) {
        seeds[i] = me->number * 1000 + i;
        secrets[i] = secret_make(me->vault, 30 + i * 100, i % RESTS, seeds[i]);
    }
    for (int op = 0; op < WORK(8000); op++) {
        uint32_t i = draw(&state, OWNED), size = 30 + i * 100;
        if (!CHECK(holds_pattern(secrets[i], size, seeds[i]))) return NULL;
        if (op % 8 != 0) continue;
        uint32_t seed = seeds[i] + 100000;
        if (!rewrite(secrets[i], size, seeds[i], seed)) return NULL;
        seeds[i] = seed;
    }
    return NULL;
}

TEST(twenty_threads_with_ten_secrets_each_always_read_what_they_wrote) {
    static owner owners[OWNERS];
    memguard_vault *vault = vault_with_quick_rekey();
    for (uint32_t i = 0; i < OWNERS; i++) owners[i] = (owner){vault, i};
    run_threads(OWNERS, own_thread, owners, sizeof owners[0]);
    CHECK(report_of(vault).borrows == 0 && report_of(vault).auth_failures == 0);
    vault_end(vault);
}

/* ---- one secret for all readers ------------------------------------------------------------------------- */

typedef struct reader {
    memguard_secret secret;
} reader;
enum { SHARED_SIZE = 500 };

static void *read_thread(void *arg) {
    const reader *me = arg;
    for (int op = 0; op < WORK(10000); op++) {
        if (!CHECK(holds_pattern(me->secret, SHARED_SIZE, 9))) break;
        if (op % 10 != 0) continue;
        memguard_view view = {0};
        if (!CHECK_STATUS(memguard_secret_acquire(me->secret, MEMGUARD_READ, &view), MEMGUARD_OK)) break;
        CHECK(is_pattern(view.data, SHARED_SIZE, 9));
        if (!CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK)) break;
    }
    return NULL;
}

TEST(readers_of_one_secret_never_get_in_each_others_way) {
    enum { READERS = 8 };
    static reader readers[READERS];
    memguard_vault *vault = vault_with_quick_rekey();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SHARED_SIZE, rest, 9);
        for (int i = 0; i < READERS; i++) readers[i].secret = secret;
        run_threads(READERS, read_thread, readers, sizeof readers[0]);
        memguard_info info = MEMGUARD_INFO_INIT;
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.borrows == 0);
    }
    vault_end(vault);
}

/* ---- vaults come and go --------------------------------------------------------------------------------- */

static void *vault_thread(void *arg) {
    const owner *me = arg;
    for (uint32_t round = 0; round < WORK(200); round++) {
        memguard_vault *vault = vault_make();
        memguard_secret secret = secret_make(vault, 50, round % RESTS, me->number + round);
        CHECK(holds_pattern(secret, 50, me->number + round));
        if (round % 3 == 0) CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
        memguard_vault *copy = vault;
        if (!CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK)) break;
        CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
        CHECK_STATUS(memguard_vault_destroy(&copy), MEMGUARD_ERR_STALE);
    }
    return NULL;
}

TEST(threads_make_and_destroy_vaults_of_their_own) {
    static owner owners[8];
    for (uint32_t i = 0; i < 8; i++) owners[i] = (owner){NULL, i * 1000};
    run_threads(8, vault_thread, owners, sizeof owners[0]);
}

/* ---- all against all ------------------------------------------------------------------------------------ */

/* A secret consists of cells that name their writer and their place; a zero cell comes from zero, create or resize.
 * WHOLE secrets are only ever written as a whole: their cells have one writer. WILD ones may be scrambled. */
enum { CELL = 32, MOST_CELLS = 160, SLOTS = 24, STRESSERS = 8, STRESS_SHOWN = 200000 };
enum kind { WHOLE, CELLS, WILD };
typedef struct cell {
    uint64_t seed, place, check, inverse;
} cell;
typedef struct arena {
    memguard_vault *vault;
    _Atomic uint64_t ids[SLOTS];
    atomic_int working;
    atomic_long shown, written, made; /* what really happened */
} arena;
typedef struct stresser {
    arena *shared;
    uint64_t random;
    uint32_t slot; /* of the operation that runs */
} stresser;

static enum kind kind_of(uint32_t slot) { return (enum kind)(slot % 3); }

static uint64_t mix(uint64_t seed, uint64_t place) {
    uint64_t x = (seed ^ place * 0x9e3779b97f4a7c15U) * 0xff51afd7ed558ccdU;
    return x ^ x >> 29;
}

static void write_cells(void *to, size_t count, uint64_t seed, size_t first_place) {
    for (size_t i = 0; i < count; i++) {
        cell c = {seed, first_place + i, mix(seed, first_place + i), ~mix(seed, first_place + i)};
        memcpy((char *)to + i * CELL, &c, CELL);
    }
}

static int cell_is_right(const cell *c, size_t place) {
    if (is_zero(c, CELL)) return 1;
    return c->place == place && c->check == mix(c->seed, place) && c->inverse == ~mix(c->seed, place);
}

static int cells_are_right(const void *bytes, size_t size, enum kind kind) {
    cell first, c;
    if (size == 0 || size % CELL != 0) return 0;
    if (kind == WILD) return 1;
    memcpy(&first, bytes, CELL);
    for (size_t i = 0; i < size / CELL; i++) {
        memcpy(&c, (const char *)bytes + i * CELL, CELL);
        if (!cell_is_right(&c, i) || (kind == WHOLE && c.seed != first.seed)) return 0;
    }
    return 1;
}

static memguard_secret slot_of(stresser *me) {
    memguard_secret secret;
    me->slot = draw(&me->random, SLOTS);
    secret.id = atomic_load(&me->shared->ids[me->slot]);
    return secret;
}
static size_t draw_cells(stresser *me) { return 1 + draw(&me->random, draw(&me->random, 4) == 0 ? MOST_CELLS : 4); }

/* What a borrow, a maker and a change may meet when purges, locks, limits and others run beside it. */
#define MEETS_BORROW (ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_BUSY) | ANY_OF(ERR_LOCKED) | ANY_OF(ERR_EXPIRED))
#define MEETS_MAKER (ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_LOCKED) | ANY_OF(ERR_BUSY) | ANY_OF(ERR_STATE))
#define MEETS_CHANGE (MEETS_BORROW | ANY_OF(ERR_FROZEN))

static int show_cells(const void *bytes, size_t size, void *arg) {
    stresser *me = arg;
    int good = cells_are_right(bytes, size, kind_of(me->slot));
    if (draw(&me->random, 8) == 0) sched_yield();
    if (draw(&me->random, 4000) == 0) CHECK_STATUS(memguard_vault_purge(me->shared->vault, 20000), MEMGUARD_OK);
    return good && cells_are_right(bytes, size, kind_of(me->slot));
}

static void op_use(stresser *me) {
    memguard_secret secret = slot_of(me);
    int good = 0;
    memguard_status status = memguard_secret_use(secret, show_cells, me, &good);
    CHECK_AMONG(status, MEETS_BORROW);
    if (status != MEMGUARD_OK) return;
    CHECK(good == 1);
    atomic_fetch_add(&me->shared->shown, 1);
}

static void op_read(stresser *me) {
    memguard_view view = {0};
    CHECK_AMONG(memguard_secret_acquire(slot_of(me), MEMGUARD_READ, &view), MEETS_BORROW);
    if (view.data == NULL) return;
    CHECK(show_cells(view.data, view.size, me) == 1);
    atomic_fetch_add(&me->shared->shown, 1);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}

static void op_write(stresser *me) {
    memguard_view view = {0};
    CHECK_AMONG(memguard_secret_acquire(slot_of(me), MEMGUARD_WRITE, &view), MEETS_CHANGE);
    if (view.data == NULL) return;
    CHECK(cells_are_right(view.data, view.size, kind_of(me->slot)));
    write_cells(view.data, view.size / CELL, me->random, 0);
    if (draw(&me->random, 4) == 0) sched_yield();
    CHECK(cells_are_right(view.data, view.size, WHOLE)); /* nobody else wrote */
    atomic_fetch_add(&me->shared->written, 1);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}

static void op_make(stresser *me) {
    unsigned char source[MOST_CELLS * CELL];
    memguard_secret secret = {0}, old;
    size_t cells = draw_cells(me);
    slot_of(me);
    write_cells(source, cells, me->random, 0);
    uint32_t rest = draw(&me->random, RESTS);
    CHECK_AMONG(memguard_secret_take(me->shared->vault, source, cells * CELL, rest, &secret), MEETS_MAKER);
    CHECK(is_zero(source, cells * CELL));
    if (secret.id != 0) atomic_fetch_add(&me->shared->made, 1);
    old.id = atomic_exchange(&me->shared->ids[me->slot], secret.id);
    CHECK_AMONG(memguard_secret_destroy(&old), ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_EXPIRED));
}

static void op_destroy(stresser *me) {
    memguard_secret secret = slot_of(me);
    CHECK_AMONG(memguard_secret_destroy(&secret), ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_EXPIRED));
}

static void op_replace(stresser *me) {
    unsigned char source[MOST_CELLS * CELL];
    size_t cells = draw_cells(me);
    memguard_secret secret = slot_of(me);
    write_cells(source, cells, me->random, 0);
    CHECK_AMONG(memguard_secret_replace(secret, source, cells * CELL), MEETS_CHANGE);
    CHECK(is_zero(source, cells * CELL));
}

static void op_put(stresser *me) {
    unsigned char source[2 * CELL];
    memguard_secret secret = slot_of(me);
    size_t place = draw(&me->random, 5);
    if (kind_of(me->slot) == WHOLE) return;
    write_cells(source, 2, me->random, place);
    const uint32_t allowed = MEETS_CHANGE | ANY_OF(ERR_SIZE);
    if (draw(&me->random, 2) == 0) {
        CHECK_AMONG(memguard_secret_copy_at(secret, place * CELL, source, sizeof source), allowed);
    } else {
        CHECK_AMONG(memguard_secret_move_at(secret, place * CELL, source, sizeof source), allowed);
    }
}

static void op_resize(stresser *me) {
    memguard_secret secret = slot_of(me);
    if (kind_of(me->slot) != WHOLE) CHECK_AMONG(memguard_secret_resize(secret, draw_cells(me) * CELL), MEETS_CHANGE);
}

static void op_rest(stresser *me) {
    CHECK_AMONG(memguard_secret_rest(slot_of(me), draw(&me->random, RESTS)), MEETS_BORROW);
}
static void op_freeze(stresser *me) { CHECK_AMONG(memguard_secret_freeze(slot_of(me)), MEETS_BORROW); }
static void op_melt(stresser *me) { CHECK_AMONG(memguard_secret_melt(slot_of(me)), MEETS_BORROW); }
static void op_zero(stresser *me) { CHECK_AMONG(memguard_secret_zero(slot_of(me)), MEETS_CHANGE); }

static void op_scramble(stresser *me) {
    memguard_secret secret = slot_of(me);
    if (kind_of(me->slot) == WILD) CHECK_AMONG(memguard_secret_scramble(secret), MEETS_CHANGE);
}

static void op_equal(stresser *me) {
    unsigned char other[CELL] = {1};
    CHECK_AMONG(memguard_secret_equal(slot_of(me), other, sizeof other),
                (MEETS_BORROW | ANY_OF(ERR_MISMATCH)) & ~ANY_OF(OK));
}

static void op_limit(stresser *me) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.uses = 1 + draw(&me->random, 20), limits.ttl_ms = 1 + draw(&me->random, 50);
    CHECK_AMONG(memguard_secret_limit(slot_of(me), &limits), MEETS_BORROW);
}

static void op_info(stresser *me) {
    memguard_info info = MEMGUARD_INFO_INIT;
    memguard_status status = memguard_secret_info(slot_of(me), &info);
    CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_EXPIRED));
    if (status == MEMGUARD_OK) CHECK(info.rest < RESTS && info.bytes <= MOST_CELLS * CELL && info.borrows <= STRESSERS);
}

static void op_report(stresser *me) {
    memguard_report report = report_of(me->shared->vault);
    CHECK(report.revoked == 0 && report.auth_failures == 0);
}

static void op_tick(stresser *me) { CHECK_STATUS(memguard_vault_tick(me->shared->vault, NULL), MEMGUARD_OK); }

static void op_scope(stresser *me) {
    memguard_scope scope = {0};
    memguard_secret secret = {0};
    memguard_status status = memguard_scope_create(me->shared->vault, &scope);
    if (!CHECK_AMONG(status, MEETS_MAKER) || status != MEMGUARD_OK) return;
    CHECK_AMONG(memguard_secret_create(me->shared->vault, CELL, draw(&me->random, RESTS), &secret), MEETS_MAKER);
    CHECK_AMONG(memguard_scope_destroy(&scope), ANY_OF(OK) | ANY_OF(ERR_STALE)); /* stale: purged meanwhile */
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
}

typedef void operation(stresser *me);
static operation *const operations[] = {
    op_use,    op_use,    op_use,     op_use,     op_use,   op_use,    op_read,  op_read,    op_read,
    op_read,   op_write,  op_write,   op_make,    op_make,  op_make,   op_make,  op_make,    op_destroy,
    op_put,    op_put,    op_replace, op_resize,  op_rest,  op_rest,   op_melt,  op_melt,    op_freeze,
    op_zero,   op_equal,  op_info,    op_report,  op_tick,  op_scope,  op_limit, op_scramble};

/* Works until enough was shown; calls that are refused do not count, but there is an end to them, too. */
static void *stress_thread(void *arg) {
    stresser *me = arg;
    for (int op = 0; op < WORK(2000000) && atomic_load(&me->shared->shown) < WORK(STRESS_SHOWN); op++) {
        operations[draw(&me->random, sizeof operations / sizeof operations[0])](me);
        if (atomic_load(&check_bad) > 20) break;
    }
    atomic_fetch_sub(&me->shared->working, 1);
    return NULL;
}

static void lock_and_unlock(arena *shared) {
    memguard_status status = memguard_vault_lock(shared->vault, right_kek);
    if (!CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_BUSY) | ANY_OF(ERR_STATE)) || status != MEMGUARD_OK) return;
    sched_yield();
    const uint32_t purged = ANY_OF(ERR_STATE) | ANY_OF(ERR_BUSY); /* or just being purged: then it is unlocked, too */
    CHECK_AMONG(memguard_vault_unlock(shared->vault, wrong_kek), ANY_OF(ERR_AUTH) | purged);
    CHECK_AMONG(memguard_vault_unlock(shared->vault, right_kek), ANY_OF(OK) | purged);
}

static void *disturb_thread(void *arg) {
    arena *shared = arg;
    for (unsigned round = 0; atomic_load(&shared->working) > 0; round++) {
        if (round % 16 == 5) {
            CHECK_STATUS(memguard_vault_purge(shared->vault, 20000), MEMGUARD_OK);
        } else if (round % 64 == 33) {
            CHECK_STATUS(memguard_purge_all(20000), MEMGUARD_OK);
        } else {
            lock_and_unlock(shared);
        }
        sleep_ms(10);
    }
    return NULL;
}

static void stress(memguard_vault *vault) {
    static arena shared;
    static stresser stressers[STRESSERS];
    pthread_t disturber;
    shared.vault = vault;
    atomic_store(&shared.working, STRESSERS);
    for (int i = 0; i < SLOTS; i++) atomic_store(&shared.ids[i], 0);
    for (uint32_t i = 0; i < STRESSERS; i++) stressers[i] = (stresser){&shared, 0x1234567 + i * 7919, 0};
    CHECK(pthread_create(&disturber, NULL, disturb_thread, &shared) == 0);
    run_threads(STRESSERS, stress_thread, stressers, sizeof stressers[0]);
    CHECK(pthread_join(disturber, NULL) == 0);
    printf("%ld shown, %ld written, %ld made, %llu purges\n", atomic_load(&shared.shown), atomic_load(&shared.written),
           atomic_load(&shared.made), (unsigned long long)report_of(vault).purges);
    /* Whoever only ever meets refusals proves nothing. */
    CHECK(atomic_load(&shared.shown) >= WORK(STRESS_SHOWN / 10));
    CHECK(atomic_load(&shared.written) > WORK(STRESS_SHOWN / 500));
    CHECK(atomic_load(&shared.made) > WORK(STRESS_SHOWN / 500));
}

TEST(all_operations_against_all_show_only_bytes_that_were_written) {
    memguard_vault *vault = vault_with_quick_rekey();
    memguard_vault *witness = vault_make();
    memguard_secret secret = secret_make(vault, 64, 0, 3);
    stress(vault);
    memguard_report report = report_of(vault);
    CHECK(report.borrows == 0 && report.purges > 0 && report.rekeys + report.purges > 1);
    CHECK_AMONG(life(secret), ANY_OF(ERR_STALE));
    CHECK(holds_pattern(secret_make(vault, 64, 0, 4), 64, 4));
    vault_end(vault);
    vault_end(witness);
}

/* ---- revoking purges against readers -------------------------------------------------------------------- */

/* Readers let the kernel read: it delivers right bytes or EFAULT, never half-wiped ones. */
enum { HUNTED = 8, HUNTERS = 4 };
typedef struct hunt {
    memguard_vault *vault;
    _Atomic uint64_t ids[HUNTED];
    atomic_int over;
    atomic_long whole, cut;
} hunt;
static size_t hunted_size(uint32_t slot) { return slot % 2 == 0 ? 1024 : 9000; }

/* One piece through the pipe: 1: right, 0: gone (what came of it is right), -1: wrong. */
static int read_piece(const int ends[2], const void *bytes, size_t size, const unsigned char *expected) {
    unsigned char got[256];
    long wrote = syscall(SYS_write, ends[1], bytes, size);
    if (wrote < 0) return errno == EFAULT ? 0 : -1;
    if (syscall(SYS_read, ends[0], got, (size_t)wrote) != wrote) return -1;
    return memcmp(got, expected, (size_t)wrote) != 0 ? -1 : (size_t)wrote == size;
}

/* The whole in pieces, with time for a purge in between; once gone it stays gone. */
static int read_through_pipe(const int ends[2], const void *bytes, size_t size, uint32_t seed) {
    unsigned char expected[9000];
    int gone = 0;
    fill(expected, size, seed);
    for (size_t at = 0; at < size; at += 256) {
        size_t piece = size - at < 256 ? size - at : 256;
        int outcome = read_piece(ends, (const char *)bytes + at, piece, expected + at);
        if (outcome == -1 || (gone && outcome == 1)) return -1;
        gone = outcome == 0;
        if (at % 1024 == 0) sched_yield();
    }
    return !gone;
}

typedef struct hunter {
    hunt *shared;
    uint64_t random;
    uint32_t slot;
    int ends[2];
    int outcome;
} hunter;

static void count_outcome(hunter *me, memguard_status status) {
    CHECK(me->outcome != -1);
    if (me->outcome == 0) CHECK_STATUS(status, MEMGUARD_ERR_REVOKED);
    atomic_fetch_add(me->outcome == 1 ? &me->shared->whole : &me->shared->cut, 1);
}

static int show_to_pipe(const void *bytes, size_t size, void *arg) {
    hunter *me = arg;
    me->outcome = read_through_pipe(me->ends, bytes, size, me->slot);
    return 0;
}

static void hunt_by_use(hunter *me, memguard_secret secret) {
    const uint32_t allowed = ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_REVOKED);
    me->outcome = 2;
    memguard_status status = memguard_secret_use(secret, show_to_pipe, me, NULL);
    CHECK_AMONG(status, allowed);
    if (me->outcome != 2) count_outcome(me, status);
}

static void hunt_by_view(hunter *me, memguard_secret secret) {
    memguard_view view = {0};
    memguard_status status = memguard_secret_acquire(secret, MEMGUARD_READ, &view);
    if (!CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_STALE)) || status != MEMGUARD_OK) return;
    me->outcome = read_through_pipe(me->ends, view.data, view.size, me->slot);
    status = memguard_view_release(&view);
    CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_REVOKED));
    CHECK(view.data == NULL);
    count_outcome(me, status);
}

static void *hunt_thread(void *arg) {
    hunter *me = arg;
    if (!CHECK(pipe(me->ends) == 0)) return NULL;
    while (!atomic_load(&me->shared->over) && atomic_load(&check_bad) < 20) {
        me->slot = draw(&me->random, HUNTED);
        memguard_secret secret = {atomic_load(&me->shared->ids[me->slot])};
        if (draw(&me->random, 2) == 0) {
            hunt_by_use(me, secret);
        } else {
            hunt_by_view(me, secret);
        }
    }
    close(me->ends[0]), close(me->ends[1]);
    return NULL;
}

static void *purge_rounds(void *arg) {
    hunt *shared = arg;
    for (int round = 0; round < WORK(3000); round++) {
        for (uint32_t i = 0; i < HUNTED; i++) {
            atomic_store(&shared->ids[i], secret_make(shared->vault, hunted_size(i), i / 2 % RESTS, i).id);
        }
        for (int i = 0; i < round % 5; i++) sched_yield();
        CHECK_AMONG(memguard_vault_purge(shared->vault, 0), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
    }
    atomic_store(&shared->over, 1);
    return NULL;
}

TEST(readers_whose_borrows_are_revoked_never_see_half_wiped_bytes) {
    static hunt shared;
    static hunter hunters[HUNTERS];
    pthread_t purger;
    shared.vault = vault_with_quick_rekey();
    for (uint32_t i = 0; i < HUNTERS; i++) hunters[i] = (hunter){&shared, 99 + i, 0, {-1, -1}, 0};
    CHECK(pthread_create(&purger, NULL, purge_rounds, &shared) == 0);
    run_threads(HUNTERS, hunt_thread, hunters, sizeof hunters[0]);
    CHECK(pthread_join(purger, NULL) == 0);
    memguard_report report = report_of(shared.vault);
    printf("%ld read whole, %ld found their bytes gone, %llu revoked\n", atomic_load(&shared.whole),
           atomic_load(&shared.cut), (unsigned long long)report.revoked);
    CHECK(atomic_load(&shared.whole) > 0 && atomic_load(&shared.cut) > 0 && report.borrows == 0);
    vault_end(shared.vault);
}

int main(void) {
    RUN(twenty_threads_with_ten_secrets_each_always_read_what_they_wrote);
    RUN(readers_of_one_secret_never_get_in_each_others_way);
    RUN(threads_make_and_destroy_vaults_of_their_own);
    RUN(all_operations_against_all_show_only_bytes_that_were_written);
    RUN(readers_whose_borrows_are_revoked_never_see_half_wiped_bytes);
    return check_end();
}
