/* test_purge_fire.c: purge under fire. A hang is the failure: each test has a watchdog. The first part restates what hung the Go
 * library of the same name (its issues 132, 138, 147, 156, 173, and what reading its source showed: a purge against a seal, a purge in
 * the middle of an open, a failure on a path that holds the key's lock); the rest is what could hang this one. */
#include "api/support.h"

#include <fcntl.h>
#include <sched.h>

enum { SIZE = 100, WATCH_S = 60, PAGE_MOST = 65536 };
/* Sanitizers are slow: a fifth of the time there. */
#define FIRE_MS(ms) (CHECK_SANITIZED ? (ms) / 5 + 200 : (ms))

/* ---- the watchdog ---- */

static const char *watched;

static void bark(int number) {
    (void)number;
    const long told = write(STDERR_FILENO, "watchdog: it hangs: ", 20);
    const long named = write(STDERR_FILENO, watched, strlen(watched));
    (void)told, (void)named;
    abort();
}

static void watch(const char *name) {
    watched = name;
    signal(SIGALRM, bark);
    alarm(WATCH_S);
}

#define WATCH() watch(__func__)

/* ---- many threads with one body ---- */

enum { MOST = 128 };
static atomic_int over; /* the threads of a test end */
static pthread_t crew[MOST];
static int crew_count;

static void crew_add(int count, void *(*body)(void *), void *arg) {
    atomic_store(&over, 0);
    for (int i = 0; i < count; i++) {
        if (!CHECK(crew_count < MOST && pthread_create(&crew[crew_count], NULL, body, arg) == 0)) return;
        crew_count++;
    }
}

static void crew_end(void) {
    atomic_store(&over, 1);
    while (crew_count > 0)
        CHECK(pthread_join(crew[--crew_count], NULL) == 0);
}

static int at_work(void) { return !atomic_load(&over) && atomic_load(&check_bad) < 20; }

static memguard_vault *vault_with_quick_rekey(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

/* The vault under fire, and the secrets in it that all may use. */
enum { SHARED = 8 };
static memguard_vault *target;
static _Atomic uint64_t shared_ids[SHARED];
static atomic_long shown;

static memguard_secret shared(unsigned i) { return (memguard_secret){atomic_load(&shared_ids[i % SHARED])}; }

/* Every size class: slots, runs, compact slots. */
static size_t shared_size(unsigned i) { return i % SHARED < 4 ? SIZE : 9000; }

static void share_anew(void) {
    unsigned char source[9000];
    for (unsigned i = 0; i < SHARED; i++) {
        memguard_secret secret = {0};
        fill(source, shared_size(i), i);
        ignore(memguard_secret_take(target, source, shared_size(i), i % RESTS, &secret));
        atomic_store(&shared_ids[i], secret.id);
    }
}

#define GONE (ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_REVOKED))

/* ---- what hung the Go library ---- */

/* 132: opens take the key's lock twice for reading, and a re-key comes in between. */
static void *open_for_ever(void *arg) {
    (void)arg;
    for (unsigned i = 0; at_work(); i++) {
        CHECK(holds_pattern(shared(i), shared_size(i), i % SHARED));
        atomic_fetch_add(&shown, 1);
    }
    return NULL;
}

TEST(go_132_opens_by_twenty_threads_beside_rekeying_do_not_hang) {
    WATCH();
    target = vault_with_quick_rekey();
    share_anew();
    atomic_store(&shown, 0);
    crew_add(20, open_for_ever, NULL);
    for (uint64_t end = now_ms() + 10000; report_of(target).rekeys < FIRE_MS(50) / 10U && now_ms() < end;)
        sleep_ms(10);
    crew_end();
    CHECK(report_of(target).rekeys >= FIRE_MS(50) / 10U && atomic_load(&shown) > 100);
    vault_end(target);
}

/* 138: an open that succeeds and shows nothing, because a purge or a re-key destroyed the buffer in the middle. */
static void *open_whole_or_not(void *arg) {
    (void)arg;
    for (unsigned i = 0; at_work(); i++) {
        memguard_view view = {0};
        const memguard_status status = memguard_secret_acquire(shared(i), MEMGUARD_READ, &view);
        if (!CHECK_AMONG(status, GONE | ANY_OF(ERR_BUSY)) || status != MEMGUARD_OK) continue;
        CHECK(view.data != NULL && view.size == shared_size(i));
        CHECK(is_pattern(view.data, view.size, i % SHARED)); /* the purges wait: it stays whole while it is held */
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
        atomic_fetch_add(&shown, 1);
    }
    return NULL;
}

static void purge_for(memguard_vault *vault, unsigned ms, uint32_t wait_ms, unsigned pause_ms, uint32_t allowed) {
    for (uint64_t end = now_ms() + ms; now_ms() < end && at_work();) {
        share_anew();
        sleep_ms(pause_ms);
        CHECK_AMONG(memguard_vault_purge(vault, wait_ms), allowed);
    }
}

TEST(go_138_an_open_beside_purges_shows_all_the_bytes_or_says_that_they_are_gone) {
    WATCH();
    target = vault_with_quick_rekey();
    share_anew();
    atomic_store(&shown, 0);
    crew_add(8, open_whole_or_not, NULL);
    purge_for(target, FIRE_MS(800), 60000, 3, ANY_OF(OK));
    crew_end();
    CHECK(atomic_load(&shown) > 100);
    vault_end(target);
}

/* Purge against Seal: each waits for the other's lock. */
static void *seal_for_ever(void *arg) {
    (void)arg;
    for (unsigned i = 0; at_work(); i++) {
        CHECK_AMONG(memguard_secret_rest(shared(i), i % 2 ? MEMGUARD_CLOSED : MEMGUARD_SEALED),
                    GONE | ANY_OF(ERR_BUSY));
        atomic_fetch_add(&shown, 1);
    }
    return NULL;
}

TEST(go_purge_against_seal_does_not_hang) {
    WATCH();
    target = vault_with_quick_rekey();
    atomic_store(&shown, 0);
    crew_add(6, seal_for_ever, NULL);
    purge_for(target, FIRE_MS(600), 60000, 1, ANY_OF(OK));
    crew_end();
    CHECK(atomic_load(&shown) > 100);
    vault_end(target);
}

/* 147, 173: memory cannot be locked in the middle of an open, or of the very first call; the failure purges, and the purge wants the
 * lock that the open holds. 156: the purge itself fails. Each in a child without the privilege to lock what it likes. */
static void *create_in_vain(void *arg) {
    memguard_vault *vault = NULL;
    (void)arg;
    for (int i = 0; i < 20; i++) {
        CHECK_STATUS(memguard_vault_create(NULL, &vault), MEMGUARD_ERR_LOCK_LIMIT);
        CHECK(vault == NULL);
        CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    }
    return NULL;
}

static int first_call_without_lockable_memory(void *arg) {
    (void)arg;
    watch("first_call_without_lockable_memory");
    if (drop_memlock(0) != 0) return 1;
    crew_add(4, create_in_vain, NULL);
    crew_end();
    return 0;
}

TEST(go_173_the_first_call_without_lockable_memory_fails_and_does_not_hang) {
    WATCH();
    if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");
    CHECK(check_exited(check_child(first_call_without_lockable_memory, NULL), 0));
}

static memguard_secret held_ids[64];
static memguard_view held_views[64];

/* Views until no more can be locked; then a purge from a thread that holds none. */
static void *purge_without_waiting(void *arg) {
    CHECK_AMONG(memguard_vault_purge(target, 0), *(const uint32_t *)arg);
    return NULL;
}

static int open_without_lockable_memory(void *arg) {
    const uint32_t with_views = GONE | ANY_OF(ERR_LOCK_LIMIT), without = ANY_OF(OK) | ANY_OF(ERR_LOCK_LIMIT);
    int open = 0;
    (void)arg;
    watch("open_without_lockable_memory");
    if (drop_memlock(65536) != 0) return 1;
    target = vault_make();
    for (unsigned i = 0; i < 64; i++)
        held_ids[i] = secret_make(target, 5000, MEMGUARD_SEALED, i);
    memguard_status status = MEMGUARD_OK;
    while (open < 64 && (status = memguard_secret_acquire(held_ids[open], MEMGUARD_READ, &held_views[open])) == 0)
        open++;
    CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT);
    crew_add(8, purge_without_waiting, (void *)(uintptr_t)&with_views);
    crew_end();
    while (open-- > 0)
        CHECK_STATUS(memguard_view_release(&held_views[open]), MEMGUARD_ERR_REVOKED);
    crew_add(1, purge_without_waiting, (void *)(uintptr_t)&without);
    crew_end();
    CHECK(holds_pattern(secret_make(target, SIZE, 0, 7), SIZE, 7)); /* the last purge has found its key */
    vault_end(target);
    return 0;
}

TEST(go_147_an_open_without_lockable_memory_fails_and_a_purge_after_it_does_not_hang) {
    WATCH();
    if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");
    CHECK(check_exited(check_child(open_without_lockable_memory, NULL), 0));
}

/* A re-key fails while it has the key's lock, again and again, beside purges that fail to get a new key. */
static int rekey_and_purge_without_lockable_memory(void *arg) {
    const struct rlimit none = {0, 65536}, some = {65536, 65536};
    const uint32_t among = ANY_OF(OK) | ANY_OF(ERR_LOCK_LIMIT);
    (void)arg;
    watch("rekey_and_purge_without_lockable_memory");
    if (drop_memlock(65536) != 0) return 1;
    target = vault_with_quick_rekey();
    for (int round = 0; round < 40; round++) {
        share_anew();
        CHECK(setrlimit(RLIMIT_MEMLOCK, round % 2 ? &none : &some) == 0);
        crew_add(3, purge_without_waiting, (void *)(uintptr_t)&among);
        sleep_ms(12); /* a period */
        crew_end();
    }
    CHECK(setrlimit(RLIMIT_MEMLOCK, &some) == 0);
    CHECK_STATUS(memguard_vault_purge(target, 0), MEMGUARD_OK);
    CHECK(holds_pattern(secret_make(target, SIZE, 0, 7), SIZE, 7));
    vault_end(target);
    return 0;
}

TEST(go_156_purges_and_rekeys_that_fail_for_want_of_memory_do_not_hang) {
    WATCH();
    if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");
    CHECK(check_exited(check_child(rekey_and_purge_without_lockable_memory, NULL), 0));
}

/* ---- purge against every call ---- */

#define MEETS                                                                                                          \
    (GONE | ANY_OF(ERR_BUSY) | ANY_OF(ERR_LOCKED) | ANY_OF(ERR_STATE) | ANY_OF(ERR_EXPIRED) | ANY_OF(ERR_FROZEN) |     \
     ANY_OF(ERR_SIZE) | ANY_OF(ERR_MISMATCH))

static memguard_secret take_one(unsigned round, uint32_t flags) {
    unsigned char source[SIZE];
    memguard_secret secret = {0};
    fill(source, SIZE, round);
    CHECK_AMONG(memguard_secret_take(target, source, SIZE, flags, &secret), MEETS);
    CHECK(is_zero(source, SIZE));
    return secret;
}

static void call_make(unsigned round) {
    memguard_secret secret = take_one(round, round % RESTS);
    CHECK_AMONG(memguard_secret_destroy(&secret), ANY_OF(OK) | ANY_OF(ERR_STALE));
}
static void call_create(unsigned round) {
    memguard_secret secret = {0};
    CHECK_AMONG(memguard_secret_create(target, SIZE, round % RESTS, &secret), MEETS);
    if (secret.id != 0) CHECK_AMONG(memguard_secret_scramble(secret), MEETS);
    ignore(memguard_secret_destroy(&secret));
}
static void call_seal(unsigned round) { CHECK_AMONG(memguard_secret_rest(shared(round), round / 8 % RESTS), MEETS); }
static void call_resize(unsigned round) {
    CHECK_AMONG(memguard_secret_resize(shared(round), 50 + round % 9000), MEETS);
}
static void call_replace(unsigned round) {
    unsigned char source[SIZE];
    fill(source, SIZE, round);
    CHECK_AMONG(memguard_secret_replace(shared(round), source, SIZE), MEETS);
}
static void call_limit(unsigned round) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.ttl_ms = 1 + round % 5, limits.uses = 1 + round % 3, limits.idle_ms = 3, limits.seal_ms = 2,
    limits.grace_ms = 60000;
    CHECK_AMONG(memguard_secret_limit(shared(round), &limits), MEETS);
}
static void call_scope(unsigned round) {
    memguard_scope scope = {0};
    const memguard_status status = memguard_scope_create(target, &scope);
    CHECK_AMONG(status, MEETS);
    for (unsigned i = 0; i < 3; i++)
        take_one(round, i);
    if (status == MEMGUARD_OK) CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
}
static void call_lock(unsigned round) {
    CHECK_AMONG(memguard_vault_lock(target, right_kek), ANY_OF(OK) | ANY_OF(ERR_BUSY) | ANY_OF(ERR_STATE));
    CHECK_AMONG(memguard_vault_unlock(target, round % 2 ? wrong_kek : right_kek),
                ANY_OF(OK) | ANY_OF(ERR_AUTH) | ANY_OF(ERR_STATE) | ANY_OF(ERR_BUSY));
    CHECK_AMONG(memguard_vault_unlock(target, right_kek), ANY_OF(OK) | ANY_OF(ERR_STATE) | ANY_OF(ERR_BUSY));
    sleep_ms(1);
}
static void call_vaults(unsigned round) {
    memguard_vault *own = vault_make();
    memguard_secret secret = {0};
    CHECK_AMONG(memguard_secret_random(own, SIZE, round % RESTS, &secret), ANY_OF(OK) | ANY_OF(ERR_STALE));
    if (round % 3 == 0) CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_OK);
    CHECK_AMONG(memguard_secret_use(secret, show_nothing, NULL, NULL), ANY_OF(OK) | ANY_OF(ERR_STALE));
    /* BUSY: a purge_all has just found it. */
    while (memguard_vault_destroy(&own) == MEMGUARD_ERR_BUSY)
        sched_yield();
    CHECK(own == NULL);
}
static void call_tick(unsigned round) {
    uint32_t next = 0;
    (void)round;
    CHECK_STATUS(memguard_vault_tick(target, &next), MEMGUARD_OK);
}
static void call_report(unsigned round) {
    memguard_info info = MEMGUARD_INFO_INIT;
    report_of(target);
    CHECK_AMONG(memguard_secret_info(shared(round), &info), ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_EXPIRED));
}
static void call_use(unsigned round) {
    CHECK_AMONG(memguard_secret_use(shared(round), show_nothing, NULL, NULL), MEETS);
    CHECK_AMONG(memguard_secret_equal(shared(round), "x", 1), MEETS);
}
static void call_views(unsigned round) {
    memguard_view view = {0};
    CHECK_AMONG(memguard_secret_acquire(shared(round), round % 3 ? MEMGUARD_READ : MEMGUARD_WRITE, &view), MEETS);
    sched_yield();
    CHECK_AMONG(memguard_view_release(&view), GONE);
}
static void call_prepare(unsigned round) {
    CHECK_STATUS(memguard_vault_prepare(target, round % 100000, 2), MEMGUARD_OK);
}
static void call_destroy(unsigned round) {
    memguard_secret secret = shared(round);
    CHECK_AMONG(memguard_secret_destroy(&secret), ANY_OF(OK) | ANY_OF(ERR_STALE));
    sleep_ms(1);
}

typedef struct caller {
    void (*call)(unsigned round);
    atomic_long rounds;
} caller;
static caller callers[] = {{call_make, 0},   {call_create, 0}, {call_seal, 0},  {call_resize, 0},  {call_replace, 0},
                           {call_limit, 0},  {call_scope, 0},  {call_lock, 0},  {call_vaults, 0},  {call_tick, 0},
                           {call_report, 0}, {call_use, 0},    {call_views, 0}, {call_prepare, 0}, {call_destroy, 0}};
enum { CALLERS = sizeof callers / sizeof callers[0] };

static void *call_for_ever(void *arg) {
    caller *me = arg;
    for (unsigned round = 0; at_work(); round++) {
        me->call(round);
        atomic_fetch_add(&me->rounds, 1);
    }
    return NULL;
}

/* What was made before a purge never answers after it. */
static void purge_all_kinds(unsigned ms) {
    unsigned round = 0;
    for (uint64_t end = now_ms() + ms; (now_ms() < end || round <= 10) && at_work(); round++) {
        share_anew();
        memguard_secret before = take_one(round, round % RESTS);
        sleep_ms(round % 5);
        if (round % 4 == 3)
            CHECK_AMONG(memguard_purge_all(round % 3), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
        else
            CHECK_AMONG(memguard_vault_purge(target, round % 3), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
        CHECK_STATUS(life(before), MEMGUARD_ERR_STALE);
        CHECK_STATUS(memguard_secret_use(before, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
    }
    CHECK(round > (CHECK_SANITIZED ? 2 : 10));
}

TEST(purges_against_every_call_in_other_threads_do_not_hang) {
    WATCH();
    target = vault_with_quick_rekey();
    for (int i = 0; i < CALLERS; i++)
        crew_add(1, call_for_ever, &callers[i]);
    purge_all_kinds(FIRE_MS(3000));
    crew_end();
    for (int i = 0; i < CALLERS; i++)
        CHECK(atomic_load(&callers[i].rounds) > 2);
    memguard_report report = report_of(target);
    CHECK(report.borrows == 0 && report.unrevoked == 0);
    CHECK_AMONG(memguard_vault_unlock(target, right_kek), ANY_OF(OK) | ANY_OF(ERR_STATE));
    CHECK_STATUS(memguard_vault_purge(target, 0), MEMGUARD_OK);
    CHECK(holds_pattern(secret_make(target, SIZE, 0, 3), SIZE, 3));
    vault_end(target);
}

/* ---- purge from inside use ---- */

static memguard_vault *vault_a, *vault_b;
static memguard_secret secret_a, secret_b;

static int purge_both_inside(const void *bytes, size_t size, void *arg) {
    const int *how = arg;
    if (*how == 0) CHECK_STATUS(memguard_vault_purge(vault_a, 60000), MEMGUARD_OK);
    if (*how != 2) CHECK_STATUS(memguard_vault_purge(vault_b, 60000), MEMGUARD_OK);
    if (*how == 2) CHECK_STATUS(memguard_purge_all(60000), MEMGUARD_OK);
    CHECK(is_pattern(bytes, size, 2)); /* ours until we return */
    return 1;
}

static int nest(const void *bytes, size_t size, void *arg) {
    int inner = 0;
    CHECK_STATUS(memguard_secret_use(secret_b, purge_both_inside, arg, &inner), MEMGUARD_OK);
    CHECK(inner == 1 && is_pattern(bytes, size, 1));
    CHECK(report_of(vault_b).purges == 1 && report_of(vault_a).purges == 0); /* the inner borrow has ended */
    return 1;
}

TEST(a_purge_of_both_vaults_inside_nested_uses_of_them_waits_for_each_use_to_end) {
    for (int how = 0; how < 3; how++) {
        WATCH();
        vault_a = vault_make(), vault_b = vault_make();
        secret_a = secret_make(vault_a, SIZE, (uint32_t)how, 1),
        secret_b = secret_make(vault_b, SIZE, (uint32_t)how, 2);
        CHECK_STATUS(memguard_secret_use(secret_a, nest, &how, NULL), MEMGUARD_OK);
        CHECK(report_of(vault_a).purges == (how != 1) && report_of(vault_b).purges == 1);
        CHECK_STATUS(life(secret_b), MEMGUARD_ERR_STALE);
        vault_end(vault_a);
        vault_end(vault_b);
    }
}

typedef struct crossing {
    memguard_vault *other;
    memguard_secret own;
    memguard_status purged, used;
} crossing;
static atomic_int arrived;

static int purge_the_other(const void *bytes, size_t size, void *arg) {
    crossing *me = arg;
    (void)bytes, (void)size;
    atomic_fetch_add(&arrived, 1);
    CHECK(wait_for(&arrived, 2));
    me->purged = memguard_vault_purge(me->other, 200);
    return 0;
}

static void *cross(void *arg) {
    crossing *me = arg;
    me->used = memguard_secret_use(me->own, purge_the_other, me, NULL);
    return NULL;
}

TEST(two_threads_inside_uses_of_each_others_vaults_wait_no_longer_than_they_said) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        WATCH();
        vault_a = vault_make(), vault_b = vault_make();
        crossing both[2] = {{vault_b, secret_make(vault_a, SIZE, rest, 1), -1, -1},
                            {vault_a, secret_make(vault_b, SIZE, rest, 2), -1, -1}};
        atomic_store(&arrived, 0);
        crew_add(1, cross, &both[0]);
        crew_add(1, cross, &both[1]);
        crew_end();
        for (int i = 0; i < 2; i++) {
            CHECK_AMONG(both[i].purged, ANY_OF(OK) | ANY_OF(ERR_REVOKED));
            CHECK_STATUS(both[i].used, both[1 - i].purged); /* taken away by the other, or not */
        }
        CHECK(both[0].purged == MEMGUARD_ERR_REVOKED || both[1].purged == MEMGUARD_ERR_REVOKED);
        vault_end(vault_a);
        vault_end(vault_b);
    }
}

/* One thread ends the borrow of another that has asked for a purge, from inside a use of its own: it must not wait for itself, and
 * nothing may be taken from it. */
static memguard_view lent;
static atomic_int stage;

static void *lend_and_purge(void *arg) {
    lent = borrow(secret_a, MEMGUARD_READ);
    CHECK_STATUS(memguard_vault_purge(vault_a, 60000), MEMGUARD_OK); /* put off: this thread borrows */
    atomic_store(&stage, 1);
    CHECK(wait_for(&stage, 2));
    return arg;
}

static int release_the_others(const void *bytes, size_t size, void *arg) {
    (void)arg;
    crew_add(1, lend_and_purge, NULL);
    CHECK(wait_for(&stage, 1));
    CHECK_STATUS(memguard_view_release(&lent), MEMGUARD_OK);
    CHECK(is_pattern(bytes, size, 2));
    CHECK(report_of(vault_a).purges == 0);
    return 0;
}

TEST(who_releases_anothers_view_inside_a_use_of_its_own_finishes_that_ones_purge_after_the_use) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        WATCH();
        vault_a = vault_make();
        secret_a = secret_make(vault_a, SIZE, rest, 1);
        memguard_secret mine = secret_make(vault_a, SIZE, rest, 2);
        atomic_store(&stage, 0);
        CHECK_STATUS(memguard_secret_use(mine, release_the_others, NULL, NULL), MEMGUARD_OK);
        CHECK(report_of(vault_a).purges == 1 && report_of(vault_a).revoked == 0);
        atomic_store(&stage, 2);
        crew_end();
        vault_end(vault_a);
    }
}

/* ---- what was taken away is no borrow any more ---- */

static void *purge_at_once(void *arg) {
    CHECK_STATUS(memguard_vault_purge(arg, 0), MEMGUARD_ERR_REVOKED);
    return NULL;
}

static void *hold_until_over(void *arg) {
    memguard_view view = borrow(*(memguard_secret *)arg, MEMGUARD_READ);
    atomic_store(&stage, 1);
    CHECK(wait_for(&over, 1));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
    return NULL;
}

TEST(a_holder_of_a_revoked_view_purges_at_once_and_not_when_it_gives_the_view_back) {
    WATCH();
    vault_a = vault_make();
    memguard_view dead = borrow(secret_make(vault_a, SIZE, MEMGUARD_SEALED, 1), MEMGUARD_READ);
    crew_add(1, purge_at_once, vault_a);
    crew_end();
    memguard_secret secret = secret_make(vault_a, SIZE, MEMGUARD_SEALED, 2);
    atomic_store(&stage, 0);
    crew_add(1, hold_until_over, &secret);
    CHECK(wait_for(&stage, 1));
    CHECK_STATUS(memguard_vault_purge(vault_a, 0), MEMGUARD_ERR_REVOKED);
    CHECK(report_of(vault_a).purges == 2);
    vault_end(vault_a);
    /* The next vault gets the place of the last. */
    vault_a = vault_make();
    memguard_secret next = secret_make(vault_a, SIZE, MEMGUARD_SEALED, 3);
    CHECK_STATUS(memguard_vault_purge(vault_a, 0), MEMGUARD_OK);
    CHECK(report_of(vault_a).purges == 1);
    CHECK_STATUS(life(next), MEMGUARD_ERR_STALE);
    vault_end(vault_a);
    CHECK_STATUS(memguard_view_release(&dead), MEMGUARD_ERR_REVOKED);
    crew_end();
}

/* ---- purges at once ---- */

static void *purge_beside_others(void *arg) {
    (void)arg;
    while (!atomic_load(&stage))
        sched_yield();
    CHECK_AMONG(memguard_vault_purge(target, 50), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
    return NULL;
}

TEST(eight_purges_at_once_all_end_and_all_is_gone) {
    WATCH();
    target = vault_make();
    for (int round = 0; round < (CHECK_SANITIZED ? 5 : 40); round++) {
        share_anew();
        memguard_secret first = shared(0);
        memguard_secret seen = shared(1);
        atomic_store(&stage, 0);
        crew_add(8, purge_beside_others, NULL);
        if (round % 2) crew_add(1, hold_until_over, &first), (void)wait_for(&stage, 1);
        atomic_store(&stage, 1);
        sleep_ms(round % 2 ? 80 : 1);
        crew_end();
        CHECK_STATUS(life(first), MEMGUARD_ERR_STALE);
        CHECK_STATUS(life(seen), MEMGUARD_ERR_STALE);
    }
    vault_end(target);
}

static void *hold_for_long(void *arg) {
    memguard_view view = borrow(*(memguard_secret *)arg, MEMGUARD_READ);
    atomic_store(&arrived, 1);
    while (!atomic_load(&over))
        sched_yield();
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    return NULL;
}

/* Who joined a purge is told of that one: not of a later one, nor of that of another vault which has got the place since. */
static void *purge_patiently(void *arg) {
    memguard_vault *_Atomic *vault = arg;
    while (atomic_load(vault) == NULL)
        sched_yield();
    CHECK_AMONG(memguard_vault_purge(atomic_load(vault), 60000), GONE);
    return NULL;
}

TEST(who_waits_for_a_purge_does_not_wait_for_that_of_the_vault_which_got_its_place) {
    WATCH();
    for (int round = 0; round < (CHECK_SANITIZED ? 10 : 100); round++) {
        memguard_vault *_Atomic first = vault_make(), *_Atomic second = NULL;
        pthread_t joined[2], later;
        memguard_vault *vault = first;
        memguard_view view = {0};
        atomic_store(&arrived, 0);
        crew_add(1, hold_for_long, &(memguard_secret){secret_make(first, SIZE, 0, 1).id});
        CHECK(wait_for(&arrived, 1));
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&joined[i], NULL, purge_patiently, &first) == 0);
        CHECK(pthread_create(&later, NULL, purge_patiently, &second) == 0);
        sleep_ms(12);
        atomic_store(&over, 1); /* the holder lets go, and the purge ends */
        while (memguard_vault_destroy(&vault) == MEMGUARD_ERR_BUSY)
            sched_yield();
        vault = vault_make();
        CHECK_STATUS(memguard_secret_acquire(secret_make(vault, SIZE, 0, 1), MEMGUARD_READ, &view), MEMGUARD_OK);
        atomic_store(&second, vault);
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(joined[i], NULL) == 0); /* the later one waits for our view */
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
        CHECK(pthread_join(later, NULL) == 0);
        crew_end();
        vault_end(vault);
    }
}

/* ---- purge while the kernel has the view ---- */

typedef struct transfer {
    memguard_secret secret;
    uint32_t access;
    int fd;
    size_t bytes;
    long moved;
    int error;
    void *at;
    memguard_status released;
} transfer;

static void *move_bytes(void *arg) {
    transfer *t = arg;
    memguard_view view = borrow(t->secret, t->access);
    t->at = view.data;
    atomic_store(&stage, 1);
    t->moved = t->access == MEMGUARD_WRITE ? syscall(SYS_read, t->fd, view.data, t->bytes)
                                           : syscall(SYS_write, t->fd, view.data, t->bytes);
    t->error = t->moved < 0 ? errno : 0;
    t->released = memguard_view_release(&view);
    return NULL;
}

TEST(a_thread_blocked_in_read_into_a_view_gets_efault_after_a_purge_and_no_byte_lands) {
    unsigned char source[SIZE];
    fill(source, SIZE, 9);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        int ends[2];
        WATCH();
        target = vault_make();
        if (!CHECK(pipe(ends) == 0)) return;
        transfer t = {secret_make(target, SIZE, rest, 1), MEMGUARD_WRITE, ends[0], SIZE, 0, 0, NULL, -1};
        atomic_store(&stage, 0);
        crew_add(1, move_bytes, &t);
        CHECK(wait_for(&stage, 1));
        sleep_ms(20); /* now it sits in read(2) */
        CHECK_STATUS(memguard_vault_purge(target, 10), MEMGUARD_ERR_REVOKED);
        CHECK(can_read(t.at) == 0);
        CHECK(write(ends[1], source, SIZE) == SIZE);
        crew_end();
        CHECK(t.moved == -1 && t.error == EFAULT);
        CHECK_STATUS(t.released, MEMGUARD_ERR_REVOKED);
        CHECK(can_read(t.at) == 0);
        close(ends[0]), close(ends[1]);
        vault_end(target);
    }
}

/* A full pipe: what comes out is a beginning of the secret, and stops where the purge came. */
TEST(a_thread_blocked_in_write_from_a_view_sends_nothing_more_after_a_purge) {
    enum { LONG = 40000 };
    static unsigned char got[LONG], expected[LONG];
    fill(expected, LONG, 1);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        int ends[2];
        WATCH();
        target = vault_make();
        if (!CHECK(pipe(ends) == 0)) return;
        const int room = fcntl(ends[1], F_SETPIPE_SZ, (int)page_bytes());
        if (room < 0 || room >= LONG) SKIP("no small pipe to be had");
        transfer t = {secret_make(target, LONG, rest, 1), MEMGUARD_READ, ends[1], LONG, 0, 0, NULL, -1};
        atomic_store(&stage, 0);
        crew_add(1, move_bytes, &t);
        CHECK(wait_for(&stage, 1));
        sleep_ms(20);
        CHECK_STATUS(memguard_vault_purge(target, 10), MEMGUARD_ERR_REVOKED);
        CHECK(can_read(t.at) == 0);
        size_t came = 0;
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        for (int idle = 0; idle < 50 && came < LONG;) {
            const long n = read(ends[0], got + came, LONG - came);
            if (n > 0) came += (size_t)n, idle = 0;
            if (n <= 0) idle++, sleep_ms(1);
        }
        crew_end();
        CHECK(came > 0 && came < LONG && memcmp(got, expected, came) == 0);
        CHECK((t.moved == -1 && t.error == EFAULT) || (t.moved > 0 && (size_t)t.moved == came));
        CHECK_STATUS(t.released, MEMGUARD_ERR_REVOKED);
        close(ends[0]), close(ends[1]);
        vault_end(target);
    }
}

/* ---- a hundred threads ---- */

static int show_right(const void *bytes, size_t size, void *arg) {
    return is_pattern(bytes, size, *(const unsigned *)arg % SHARED);
}

static void borrow_once(unsigned i) {
    memguard_view view = {0};
    int right = 1;
    if (i % 3 == 0) {
        const memguard_status status = memguard_secret_use(shared(i), show_right, &i, &right);
        CHECK_AMONG(status, GONE | ANY_OF(ERR_BUSY) | ANY_OF(ERR_LOCK_LIMIT));
        CHECK(right);
        if (status == MEMGUARD_OK) atomic_fetch_add(&shown, 1);
        return;
    }
    const uint32_t access = i % 7 == 0 ? MEMGUARD_WRITE : MEMGUARD_READ;
    CHECK_AMONG(memguard_secret_acquire(shared(i), access, &view), GONE | ANY_OF(ERR_BUSY));
    if (view.data == NULL) return;
    CHECK(is_pattern(view.data, view.size, i % SHARED));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    atomic_fetch_add(&shown, 1);
}

static void *borrow_for_ever(void *arg) {
    (void)arg;
    for (unsigned i = (unsigned)((uintptr_t)pthread_self() >> 12); at_work(); i++) {
        borrow_once(i);
        if (i % 8 == 0) sleep_ms(1); /* so that a purge gets a processor */
    }
    return NULL;
}

/* These purges wait, so that nobody faults: those that do not are above and in test_threads.c. */
TEST(a_hundred_threads_borrowing_in_all_ways_and_a_purge_every_few_milliseconds) {
    WATCH();
    target = vault_with_quick_rekey();
    share_anew();
    atomic_store(&shown, 0);
    crew_add(CHECK_SANITIZED ? 24 : 100, borrow_for_ever, NULL);
    purge_for(target, FIRE_MS(2500), 60000, 2, ANY_OF(OK));
    crew_end();
    memguard_report report = report_of(target);
    printf("%ld borrows, %llu purges\n", atomic_load(&shown), (unsigned long long)report.purges);
    CHECK(atomic_load(&shown) > 500 && report.borrows == 0 && report.purges > 5);
    vault_end(target);
}

enum { VAULTS = 20 };
static memguard_vault *vaults[VAULTS];
static memguard_secret in_vaults[VAULTS];

static void *hold_one_of_all(void *arg) {
    const unsigned i = *(const unsigned *)arg;
    memguard_view view = borrow(in_vaults[i], i % 2 ? MEMGUARD_READ : MEMGUARD_WRITE);
    atomic_fetch_add(&arrived, 1);
    CHECK(wait_for(&over, 1));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
    return NULL;
}

TEST(purge_all_takes_twenty_vaults_from_twenty_holders_within_one_wait) {
    static unsigned numbers[VAULTS];
    WATCH();
    for (unsigned i = 0; i < VAULTS; i++) {
        vaults[i] = vault_make();
        in_vaults[i] = secret_make(vaults[i], SIZE, i % RESTS, i);
        numbers[i] = i;
    }
    atomic_store(&arrived, 0);
    for (unsigned i = 0; i < VAULTS; i++)
        crew_add(1, hold_one_of_all, &numbers[i]);
    CHECK(wait_for(&arrived, VAULTS));
    const uint64_t begin = now_ms();
    CHECK_STATUS(memguard_purge_all(1000), MEMGUARD_ERR_REVOKED);
    CHECK(now_ms() - begin < 15000); /* one second and some work, not twenty */
    for (unsigned i = 0; i < VAULTS; i++) {
        CHECK_STATUS(life(in_vaults[i]), MEMGUARD_ERR_STALE);
        CHECK(report_of(vaults[i]).revoked == 1);
    }
    crew_end();
    for (unsigned i = 0; i < VAULTS; i++)
        vault_end(vaults[i]);
}

/* ---- holders that never return: each dies of its own touch, in a child ---- */

static int touch_for_ever(const void *bytes, size_t size, void *arg) {
    const volatile unsigned char *p = bytes;
    (void)arg;
    for (size_t i = 0;; i = (i + 1) % size) {
        if (p[i] != pattern_byte(1, i)) _exit(3); /* half-wiped bytes were seen */
    }
}

typedef struct stubborn {
    uint32_t rest, access; /* access 0: use */
} stubborn;

static void *never_return(void *arg) {
    const stubborn *s = arg;
    memguard_view view = {0};
    if (s->access == 0) ignore(memguard_secret_use(secret_a, touch_for_ever, NULL, NULL));
    view = borrow(secret_a, s->access);
    touch_for_ever(view.data, view.size, NULL);
    return NULL;
}

static int purge_a_stubborn_holder(void *arg) {
    const stubborn *s = arg;
    pthread_t thread;
    watch("purge_a_stubborn_holder");
    signal(SIGSEGV, SIG_DFL); /* not a sanitizer's */
    target = vault_make();
    secret_a = secret_make(target, SIZE, s->rest, 1);
    if (pthread_create(&thread, NULL, never_return, arg) != 0) return 1;
    while (report_of(target).borrows == 0)
        sleep_ms(1);
    sleep_ms(5);
    ignore(memguard_vault_purge(target, 0)); /* the holder dies of it, and the process with it, before or after */
    pthread_join(thread, NULL);
    return 2;
}

TEST(a_holder_that_never_returns_faults_at_its_next_touch_and_never_sees_other_bytes) {
    WATCH();
#if CHECK_TSAN
    if (CHECK_SANITIZED) SKIP("the touch is a data race, and it says so");
#endif
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        for (uint32_t access = 0; access <= MEMGUARD_WRITE; access++) {
            stubborn s = {rest, access};
            const int status = check_child(purge_a_stubborn_holder, &s);
            if (!CHECK(check_killed(status, SIGSEGV)))
                printf("that was: rest %u, access %u, wait status 0x%x\n", rest, access, (unsigned)status);
        }
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    /* Those with children come before this process has a vault. */
    RUN(go_173_the_first_call_without_lockable_memory_fails_and_does_not_hang);
    RUN(go_147_an_open_without_lockable_memory_fails_and_a_purge_after_it_does_not_hang);
    RUN(go_156_purges_and_rekeys_that_fail_for_want_of_memory_do_not_hang);
    RUN(a_holder_that_never_returns_faults_at_its_next_touch_and_never_sees_other_bytes);
    RUN(go_132_opens_by_twenty_threads_beside_rekeying_do_not_hang);
    RUN(go_138_an_open_beside_purges_shows_all_the_bytes_or_says_that_they_are_gone);
    RUN(go_purge_against_seal_does_not_hang);
    RUN(purges_against_every_call_in_other_threads_do_not_hang);
    RUN(a_purge_of_both_vaults_inside_nested_uses_of_them_waits_for_each_use_to_end);
    RUN(two_threads_inside_uses_of_each_others_vaults_wait_no_longer_than_they_said);
    RUN(who_releases_anothers_view_inside_a_use_of_its_own_finishes_that_ones_purge_after_the_use);
    RUN(a_holder_of_a_revoked_view_purges_at_once_and_not_when_it_gives_the_view_back);
    RUN(eight_purges_at_once_all_end_and_all_is_gone);
    RUN(who_waits_for_a_purge_does_not_wait_for_that_of_the_vault_which_got_its_place);
    RUN(a_thread_blocked_in_read_into_a_view_gets_efault_after_a_purge_and_no_byte_lands);
    RUN(a_thread_blocked_in_write_from_a_view_sends_nothing_more_after_a_purge);
    RUN(a_hundred_threads_borrowing_in_all_ways_and_a_purge_every_few_milliseconds);
    RUN(purge_all_takes_twenty_vaults_from_twenty_holders_within_one_wait);
    return check_end();
}
