/* test_lock_limits.c: with little lockable memory, or few mappings left, calls work or say with numbers why not;
 * nothing that was made before suffers, and nothing is made with less protection than it should have. Each test runs in
 * a child of its own, forked before any vault exists, without the privilege that lifts the limit. */
#define _GNU_SOURCE
#include "api/support.h"

enum { KIB = 1024, SIZE = 32 };
#define SKIP_IF_NOTHING_LOCKS()                                                                                        \
    do {                                                                                                               \
        if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");                                             \
    } while (0)

static const uint32_t backends[] = {MEMGUARD_BACKEND_AUTO, MEMGUARD_BACKEND_SECRETMEM, MEMGUARD_BACKEND_LOCKED};
enum { BACKENDS = sizeof backends / sizeof backends[0] };

typedef struct setting {
    size_t limit_bytes;
    uint32_t backend;
} setting;

/* 1 when the child answered 0; says which setting it was otherwise. */
static int check_setting(int (*fn)(void *), size_t limit_bytes, uint32_t backend) {
    setting with = {limit_bytes, backend};
    int status = check_child(fn, &with);
    if (check_exited(status, 0)) return 1;
    printf("that was: backend %u, %zu lockable bytes, wait status 0x%x\n", backend, limit_bytes, (unsigned)status);
    return 0;
}

static memguard_status create_with(uint32_t backend, memguard_vault **vault) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = backend;
    return memguard_vault_create(&options, vault);
}

/* A system without secret memory (or a backend that is off) is no failure of these tests. */
static int is_missing(uint32_t backend, memguard_status status) {
    return backend == MEMGUARD_BACKEND_SECRETMEM && status == MEMGUARD_ERR_UNSUPPORTED;
}

static void check_numbers(size_t limit_bytes) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    char number[32];
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK_STATUS(error.status, MEMGUARD_ERR_LOCK_LIMIT);
    CHECK(error.allowed_bytes == limit_bytes);
    CHECK(error.in_use_bytes <= error.allowed_bytes);
    CHECK(error.needed_bytes > 0 && error.in_use_bytes + error.needed_bytes > error.allowed_bytes);
    CHECK(strstr(error.text, "RLIMIT_MEMLOCK") != NULL);
    snprintf(number, sizeof number, "%llu", (unsigned long long)error.allowed_bytes);
    CHECK(strstr(error.text, number) != NULL);
    snprintf(number, sizeof number, "%llu", (unsigned long long)error.needed_bytes);
    CHECK(strstr(error.text, number) != NULL);
}

static void check_budget(memguard_vault *vault, size_t limit_bytes) {
    memguard_report report = report_of(vault);
    CHECK(report.lock_limit_bytes == limit_bytes);
    CHECK(report.lock_in_use_bytes > 0 && report.lock_in_use_bytes <= limit_bytes);
    CHECK(status_bytes("VmLck:") <= limit_bytes);
    CHECK((report.protections & MEMGUARD_PROTECT_LOCKED) != 0);
}

/* ---- works, or says why not ----------------------------------------------------------------------------- */

static void try_rest(memguard_vault *vault, uint32_t rest, size_t limit_bytes) {
    unsigned char source[SIZE];
    memguard_secret secret = {0};
    fill(source, SIZE, 1);
    memguard_status status = memguard_secret_take(vault, source, SIZE, rest, &secret);
    CHECK(is_zero(source, SIZE));
    if (status == MEMGUARD_OK) {
        CHECK(holds_pattern(secret, SIZE, 1));
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    } else if (CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT)) {
        check_numbers(limit_bytes);
        CHECK(secret.id == 0);
    }
}

static int works_or_says_why(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    memguard_status status = create_with(with->backend, &vault);
    if (is_missing(with->backend, status)) return 0;
    if (status == MEMGUARD_OK) {
        CHECK(with->limit_bytes > 0);
        check_budget(vault, with->limit_bytes);
        for (uint32_t rest = 0; rest < RESTS; rest++) try_rest(vault, rest, with->limit_bytes);
        check_budget(vault, with->limit_bytes);
        vault_end(vault);
    } else if (CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT)) {
        CHECK(with->limit_bytes < 64 * KIB); /* that much is enough for all */
        check_numbers(with->limit_bytes);
        CHECK(vault == NULL);
    }
    return 0;
}

TEST(at_every_limit_calls_work_or_give_the_numbers) {
    static const size_t limits[] = {0, 4 * KIB, 8 * KIB, 16 * KIB, 24 * KIB, 32 * KIB, 48 * KIB, 64 * KIB, 8192 * KIB};
    SKIP_IF_NOTHING_LOCKS();
    for (int b = 0; b < BACKENDS; b++) {
        for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
            CHECK(check_setting(works_or_says_why, limits[i], backends[b]));
        }
    }
}

/* The plain backend is what is left where nothing may be locked; it says what it is. */
static int plain_without_limit(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    if (!CHECK_STATUS(create_with(with->backend, &vault), MEMGUARD_OK)) return 1;
    memguard_report report = report_of(vault);
    CHECK(report.backend == MEMGUARD_BACKEND_PLAIN);
    CHECK((report.protections & (MEMGUARD_PROTECT_LOCKED | MEMGUARD_PROTECT_HIDDEN)) == 0);
    CHECK(report.lock_limit_bytes == 0 && report.lock_in_use_bytes == 0);
    CHECK(status_bytes("VmLck:") == 0);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        CHECK(holds_pattern(secret, SIZE, 1));
        memguard_view view = borrow(secret, MEMGUARD_READ);
        CHECK(rest == MEMGUARD_COMPACT || ends_at_guard(view.data, SIZE));
        give_back(&view);
    }
    vault_end(vault);
    return 0;
}

TEST(the_plain_backend_works_without_lockable_memory_and_says_that_it_is_not_locked) {
    SKIP_IF_NOTHING_LOCKS();
    CHECK(check_setting(plain_without_limit, 0, MEMGUARD_BACKEND_PLAIN));
}

/* ---- much under 64 KiB ---------------------------------------------------------------------------------- */

enum { SEALED = 100000, COMPACT = 200, GUARDED = 4, USERS = 8, USES = 2000 };
static memguard_secret sealed[SEALED], compact[COMPACT], guarded[GUARDED];

static void *use_many(void *arg) {
    uint32_t at = *(const uint32_t *)arg;
    for (int i = 0; i < USES; i++) {
        at = (at + 7919) % SEALED;
        if (!CHECK(holds_pattern(sealed[at], SIZE, at))) break;
    }
    return NULL;
}

static void use_in_threads(void) {
    pthread_t threads[USERS];
    uint32_t starts[USERS];
    for (uint32_t i = 0; i < USERS; i++) {
        starts[i] = i * 12345;
        CHECK(pthread_create(&threads[i], NULL, use_many, &starts[i]) == 0);
    }
    for (int i = 0; i < USERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static int much_in_little(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    memguard_view views[GUARDED];
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    memguard_status status = create_with(with->backend, &vault);
    if (is_missing(with->backend, status)) return 0;
    if (!CHECK_STATUS(status, MEMGUARD_OK)) return 1;
    for (uint32_t i = 0; i < SEALED; i++) sealed[i] = secret_make(vault, SIZE, MEMGUARD_SEALED, i);
    for (uint32_t i = 0; i < COMPACT; i++) compact[i] = secret_make(vault, SIZE, MEMGUARD_COMPACT, i);
    for (uint32_t i = 0; i < GUARDED; i++) {
        guarded[i] = secret_make(vault, SIZE, i % 2 == 0 ? MEMGUARD_CLOSED : MEMGUARD_SEALED, i);
        views[i] = borrow(guarded[i], MEMGUARD_READ);
    }
    use_in_threads();
    for (uint32_t i = 0; i < COMPACT; i++) CHECK(holds_pattern(compact[i], SIZE, i));
    for (uint32_t i = 0; i < GUARDED; i++) {
        CHECK(is_pattern(views[i].data, SIZE, i) && ends_at_guard(views[i].data, SIZE));
        give_back(&views[i]);
    }
    check_budget(vault, with->limit_bytes);
    vault_end(vault);
    return 0;
}

TEST(sixty_four_kib_hold_a_hundred_thousand_sealed_and_two_hundred_compact_and_four_open_secrets_for_eight_threads) {
    SKIP_IF_NOTHING_LOCKS();
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(much_in_little, 64 * KIB, backends[b]));
}

static int rekeys_in_little(void *arg) {
    const setting *with = arg;
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = with->backend, options.rekey_ms = 10;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    memguard_status status = memguard_vault_create(&options, &vault);
    if (is_missing(with->backend, status)) return 0;
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_SEALED, 1);
    uint64_t tries = 0;
    for (uint64_t end = now_ms() + 10000; tries < 5 && now_ms() < end; sleep_ms(2)) {
        memguard_report report = report_of(vault);
        tries = report.rekeys + report.rekey_failures;
        if (!CHECK(holds_pattern(secret, SIZE, 1))) break;
    }
    CHECK(report_of(vault).rekeys > 0);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK(holds_pattern(secret, SIZE, 1));
    check_budget(vault, with->limit_bytes);
    vault_end(vault);
    return 0;
}

TEST(rekeying_and_locking_fit_into_sixty_four_kib) {
    SKIP_IF_NOTHING_LOCKS();
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(rekeys_in_little, 64 * KIB, backends[b]));
}

/* ---- exhaustion under 64 KiB ---------------------------------------------------------------------------- */

enum { WANTED = 64 };
typedef struct crowd {
    memguard_vault *vault;
    size_t limit_bytes;
    memguard_secret secrets[WANTED], compact;
    memguard_view views[WANTED];
    uint32_t open;
} crowd;

static void open_until_full(crowd *c) {
    memguard_status status = MEMGUARD_OK;
    while (c->open < WANTED) {
        status = memguard_secret_acquire(c->secrets[c->open], MEMGUARD_READ, &c->views[c->open]);
        if (status != MEMGUARD_OK) break;
        c->open++;
    }
    CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT);
    check_numbers(c->limit_bytes);
    CHECK(c->open >= 4 && c->open < WANTED);
    CHECK(c->views[c->open].data == NULL);
}

static void check_views(const crowd *c) {
    for (uint32_t i = 0; i < c->open; i++) {
        CHECK(is_pattern(c->views[i].data, SIZE, i) && ends_at_guard(c->views[i].data, SIZE));
    }
}

static void *use_all(void *arg) {
    const crowd *c = arg;
    for (uint32_t i = 0; i < WANTED; i++) CHECK(holds_pattern(c->secrets[i], SIZE, i));
    CHECK(holds_pattern(c->compact, SIZE, 99));
    return NULL;
}

/* What needs a page of its own is refused and changes nothing. */
static void check_refusals(crowd *c) {
    unsigned char source[SIZE];
    memguard_secret refused = {42};
    memguard_info info = MEMGUARD_INFO_INIT;
    fill(source, SIZE, 5);
    CHECK_STATUS(memguard_secret_take(c->vault, source, SIZE, MEMGUARD_CLOSED, &refused), MEMGUARD_ERR_LOCK_LIMIT);
    check_numbers(c->limit_bytes);
    CHECK(refused.id == 0 && is_zero(source, SIZE));
    CHECK_STATUS(memguard_secret_rest(c->secrets[WANTED - 1], MEMGUARD_MAPPED), MEMGUARD_ERR_LOCK_LIMIT);
    CHECK_STATUS(memguard_secret_info(c->secrets[WANTED - 1], &info), MEMGUARD_OK);
    CHECK(info.rest == MEMGUARD_SEALED);
}

static int full_house(void *arg) {
    static crowd c;
    const setting *with = arg;
    pthread_t thread;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    memguard_status status = create_with(with->backend, &c.vault);
    if (is_missing(with->backend, status)) return 0;
    if (!CHECK_STATUS(status, MEMGUARD_OK)) return 1;
    c.limit_bytes = with->limit_bytes;
    for (uint32_t i = 0; i < WANTED; i++) c.secrets[i] = secret_make(c.vault, SIZE, MEMGUARD_SEALED, i);
    c.compact = secret_make(c.vault, SIZE, MEMGUARD_COMPACT, 99);
    open_until_full(&c);
    check_refusals(&c);
    use_all(&c); /* from the thread that holds all the views, */
    CHECK(pthread_create(&thread, NULL, use_all, &c) == 0 && pthread_join(thread, NULL) == 0); /* and from another */
    check_views(&c);
    check_budget(c.vault, with->limit_bytes);
    give_back(&c.views[--c.open]);
    c.views[c.open] = borrow(c.secrets[WANTED - 1], MEMGUARD_READ); /* what was given back can be had again */
    CHECK(is_pattern(c.views[c.open].data, SIZE, WANTED - 1));
    give_back(&c.views[c.open]);
    check_views(&c);
    while (c.open > 0) give_back(&c.views[--c.open]);
    use_all(&c);
    vault_end(c.vault);
    return 0;
}

TEST(when_guarded_pages_run_out_the_error_has_numbers_and_all_that_was_made_works) {
    SKIP_IF_NOTHING_LOCKS();
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(full_house, 64 * KIB, backends[b]));
}

/* ---- revocation ----------------------------------------------------------------------------------------- */

static void *purge_at_once(void *arg) {
    CHECK_STATUS(memguard_vault_purge(arg, 0), MEMGUARD_ERR_REVOKED);
    return NULL;
}

static int revoke_again_and_again(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    pthread_t thread;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return 1;
    memguard_status status = create_with(with->backend, &vault);
    if (is_missing(with->backend, status)) return 0;
    if (!CHECK_STATUS(status, MEMGUARD_OK)) return 1;
    for (uint32_t i = 0; i < 60; i++) {
        memguard_secret secret = secret_make(vault, SIZE, i % RESTS, i);
        memguard_view view = {0};
        if (!CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK)) break;
        CHECK(pthread_create(&thread, NULL, purge_at_once, vault) == 0 && pthread_join(thread, NULL) == 0);
        CHECK(can_read(view.data) == 0);
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
        memguard_secret next = secret_make(vault, SIZE, MEMGUARD_SEALED, i);
        if (!CHECK(holds_pattern(next, SIZE, i))) break;
    }
    check_budget(vault, with->limit_bytes);
    CHECK(status_bytes("VmLck:") <= report_of(vault).lock_in_use_bytes);
    vault_end(vault);
    return 0;
}

TEST(revocations_do_not_use_up_the_lockable_memory) {
    SKIP_IF_NOTHING_LOCKS();
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(revoke_again_and_again, 64 * KIB, backends[b]));
}

/* ---- raising the limit ---------------------------------------------------------------------------------- */

static int raises_when_told(void *arg) {
    const setting *with = arg;
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    struct rlimit limit = {64 * KIB, 1024 * KIB}, now = {0, 0};
    if (!CHECK(drop_memlock(1024 * KIB) == 0 && setrlimit(RLIMIT_MEMLOCK, &limit) == 0)) return 1;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK(getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == 64 * KIB); /* nothing is changed unasked */
    vault_end(vault);
    options.flags = with->backend; /* the flags of this test */
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK(getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == 1024 * KIB && now.rlim_max == 1024 * KIB);
    CHECK(report_of(vault).lock_limit_bytes == 1024 * KIB);
    vault_end(vault);
    return 0;
}

TEST(the_soft_limit_is_raised_to_the_hard_one_only_when_told) {
    SKIP_IF_NOTHING_LOCKS();
    CHECK(check_setting(raises_when_told, 0, MEMGUARD_RAISE_LIMIT));
}

/* ---- mappings ------------------------------------------------------------------------------------------- */

enum { MANY = 70000 };
static memguard_secret many[MANY];
static memguard_view many_views[MANY];

static int guards_stand(uint32_t open) {
    int good = 1;
    for (uint32_t i = 0; i < open; i += i + 2000 < open ? 1999 : 1) {
        good &= is_pattern(many_views[i].data, SIZE, i) && ends_at_guard(many_views[i].data, SIZE);
    }
    return good;
}

static uint32_t open_many(memguard_status *status) {
    uint32_t open = 0;
    *status = MEMGUARD_OK;
    while (open < MANY) {
        *status = memguard_secret_acquire(many[open], MEMGUARD_READ, &many_views[open]);
        if (*status != MEMGUARD_OK) break;
        open++;
    }
    return open;
}

static int open_to_the_last_mapping(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    memguard_status status = create_with(with->backend, &vault);
    if (is_missing(with->backend, status)) return 0;
    if (!CHECK_STATUS(status, MEMGUARD_OK)) return 1;
    for (uint32_t i = 0; i < MANY; i++) many[i] = secret_make(vault, SIZE, MEMGUARD_SEALED, i);
    uint32_t open = open_many(&status);
    printf("backend %u: %u views open, then %s\n", with->backend, open, memguard_status_name(status));
    if (open < MANY) CHECK_AMONG(status, ANY_OF(ERR_MAP_LIMIT) | ANY_OF(ERR_LOCK_LIMIT));
    CHECK(open > 4 && guards_stand(open));
    CHECK(ends_at_guard(many_views[open - 1].data, SIZE));
    for (uint32_t i = 0; i < MANY; i += 777) CHECK(holds_pattern(many[i], SIZE, i));
    for (uint32_t i = 0; i < open; i++) {
        if (!CHECK_STATUS(memguard_view_release(&many_views[i]), MEMGUARD_OK)) break;
    }
    memguard_view view = borrow(many[MANY - 1], MEMGUARD_READ);
    CHECK(is_pattern(view.data, SIZE, MANY - 1) && ends_at_guard(view.data, SIZE));
    give_back(&view);
    vault_end(vault);
    return 0;
}

TEST(the_last_view_before_the_mapping_limit_is_guarded_like_the_first) {
    if (CHECK_SANITIZED) SKIP("a sanitizer needs mappings itself");
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(open_to_the_last_mapping, 0, backends[b]));
}

static int open_in_little_address_space(void *arg) {
    const setting *with = arg;
    memguard_vault *vault = NULL;
    memguard_status status = create_with(with->backend, &vault);
    if (is_missing(with->backend, status)) return 0;
    for (uint32_t i = 0; i < MANY; i++) many[i] = secret_make(vault, SIZE, MEMGUARD_SEALED, i);
    struct rlimit limit = {status_bytes("VmSize:") + 4096 * KIB, RLIM_INFINITY};
    if (!CHECK(setrlimit(RLIMIT_AS, &limit) == 0)) return 1;
    uint32_t open = open_many(&status);
    CHECK(open < MANY && open > 4);
    CHECK_AMONG(status, ANY_OF(ERR_MAP_LIMIT) | ANY_OF(ERR_MEMORY) | ANY_OF(ERR_LOCK_LIMIT));
    CHECK(guards_stand(open));
    for (uint32_t i = 0; i < MANY; i += 777) CHECK(holds_pattern(many[i], SIZE, i));
    for (uint32_t i = 0; i < open; i++) {
        if (!CHECK_STATUS(memguard_view_release(&many_views[i]), MEMGUARD_OK)) break;
    }
    vault_end(vault);
    return 0;
}

TEST(when_the_address_space_runs_out_all_that_was_made_works) {
    if (CHECK_SANITIZED) SKIP("a sanitizer needs address space itself");
    for (int b = 0; b < BACKENDS; b++) CHECK(check_setting(open_in_little_address_space, 0, backends[b]));
}

int main(void) {
    RUN(at_every_limit_calls_work_or_give_the_numbers);
    RUN(the_plain_backend_works_without_lockable_memory_and_says_that_it_is_not_locked);
    RUN(sixty_four_kib_hold_a_hundred_thousand_sealed_and_two_hundred_compact_and_four_open_secrets_for_eight_threads);
    RUN(rekeying_and_locking_fit_into_sixty_four_kib);
    RUN(when_guarded_pages_run_out_the_error_has_numbers_and_all_that_was_made_works);
    RUN(revocations_do_not_use_up_the_lockable_memory);
    RUN(the_soft_limit_is_raised_to_the_hard_one_only_when_told);
    RUN(the_last_view_before_the_mapping_limit_is_guarded_like_the_first);
    RUN(when_the_address_space_runs_out_all_that_was_made_works);
    return check_end();
}
