/* test_vaults.c: vaults are made as the options say or not at all, live side by side without touching each other,
 * report what is so, lock and unlock, and forget everything when purged, also from those who hold on. */
#define _GNU_SOURCE
#include "api/support.h"

enum { SIZE = 80 };

static memguard_options options_make(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    return options;
}

static memguard_vault *vault_from(const memguard_options *options) {
    memguard_vault *vault = NULL;
    CHECK_STATUS(memguard_vault_create(options, &vault), MEMGUARD_OK);
    return vault;
}

/* ---- the environment: in children made before any vault ------------------------------------------------- */

static int create_in_environment(void *arg) {
    memguard_options options = options_make();
    const char *const *wanted = arg;
    setenv("MEMGUARD_BACKEND", wanted[0], 1);
    if (wanted[1] != NULL) {
        options.backend = MEMGUARD_BACKEND_LOCKED;
        options.require = MEMGUARD_PROTECT_LOCKED;
    }
    memguard_vault *vault = vault_from(&options);
    uint32_t backend = report_of(vault).backend;
    vault_end(vault);
    return (int)backend;
}

TEST(the_environment_chooses_the_backend) {
    const char *plain[] = {"plain", NULL}, *locked[] = {"locked", NULL};
    CHECK(check_exited(check_child(create_in_environment, plain), MEMGUARD_BACKEND_PLAIN));
    CHECK(check_exited(check_child(create_in_environment, locked), MEMGUARD_BACKEND_LOCKED));
}

TEST(the_environment_does_not_override_require) {
    if (CHECK_SANITIZED) SKIP("nothing can be locked under a sanitizer");
    const char *plain[] = {"plain", "require"};
    CHECK(check_exited(check_child(create_in_environment, plain), MEMGUARD_BACKEND_LOCKED));
}

static int create_misspelled(void *arg) {
    memguard_vault *vault = (memguard_vault *)(uintptr_t)8;
    setenv("MEMGUARD_BACKEND", arg, 1);
    CHECK_STATUS(memguard_vault_create(NULL, &vault), MEMGUARD_ERR_ARGUMENT);
    CHECK(vault == NULL);
    return 0;
}

TEST(a_backend_that_the_environment_misspells_is_refused) {
    char misspelled[] = "locket", upper[] = "LOCKED", longer[] = "plain ";
    CHECK(check_exited(check_child(create_misspelled, misspelled), 0));
    CHECK(check_exited(check_child(create_misspelled, upper), 0));
    CHECK(check_exited(check_child(create_misspelled, longer), 0));
}

/* ---- options ------------------------------------------------------------------------------------------- */

static void refuse(const memguard_options *options, memguard_status expected) {
    memguard_vault *vault = (memguard_vault *)(uintptr_t)8; /* must come back null */
    CHECK_STATUS(memguard_vault_create(options, &vault), expected);
    CHECK(vault == NULL);
}

#define REFUSE_FIELD(field, value)                                                                                     \
    do {                                                                                                               \
        memguard_options options_ = MEMGUARD_OPTIONS_INIT;                                                             \
        options_.field = (value);                                                                                      \
        refuse(&options_, MEMGUARD_ERR_ARGUMENT);                                                                      \
    } while (0)

TEST(unknown_values_of_every_option_are_refused) {
    static const uint32_t prekeys[] = {1, 16, 2048, 4095, 4097, 12288, 1048577, 2097152, 1U << 31, UINT32_MAX};
    REFUSE_FIELD(backend, 4);
    REFUSE_FIELD(backend, UINT32_MAX);
    for (uint32_t bit = 0; bit < 32; bit++) {
        if ((1U << bit) > MEMGUARD_PROTECT_ALL) REFUSE_FIELD(require, 1U << bit);
        if ((1U << bit) > MEMGUARD_TRACK) REFUSE_FIELD(flags, 1U << bit);
    }
    REFUSE_FIELD(fork_policy, 2);
    REFUSE_FIELD(fork_policy, UINT32_MAX);
    for (size_t i = 0; i < sizeof prekeys / sizeof prekeys[0]; i++) REFUSE_FIELD(prekey_bytes, prekeys[i]);
    REFUSE_FIELD(rekey_ms, 1);
    REFUSE_FIELD(rekey_ms, 9);
    REFUSE_FIELD(rekey_ms, 3600001);
    REFUSE_FIELD(lease_us, 1);
    REFUSE_FIELD(lease_us, 99);
    REFUSE_FIELD(lease_us, 1000001);
    REFUSE_FIELD(reserved, 1);
}

static void accept_options(const memguard_options *options) {
    memguard_vault *vault = vault_from(options);
    memguard_report report = report_of(vault);
    if (options->prekey_bytes != 0) CHECK(report.prekey_bytes == options->prekey_bytes);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(extreme_known_values_of_every_option_work) {
    memguard_options options = options_make();
    options.prekey_bytes = 4096, options.rekey_ms = 10, options.lease_us = 100, options.idle_ms = UINT64_MAX;
    accept_options(&options);
    options.prekey_bytes = 1 << 20, options.rekey_ms = 3600000, options.lease_us = 1000000, options.idle_ms = 60000;
    accept_options(&options);
    options = options_make();
    options.flags = MEMGUARD_STRICT | MEMGUARD_NO_THREAD | MEMGUARD_STRICT_SIGNALS | MEMGUARD_RAISE_LIMIT;
    accept_options(&options);
}

TEST(every_backend_of_this_machine_works_and_is_reported) {
    for (uint32_t backend = MEMGUARD_BACKEND_SECRETMEM; backend <= MEMGUARD_BACKEND_PLAIN; backend++) {
        memguard_options options = options_make();
        memguard_vault *vault = NULL;
        options.backend = backend;
        memguard_status status = memguard_vault_create(&options, &vault);
        if (backend == MEMGUARD_BACKEND_SECRETMEM && status == MEMGUARD_ERR_UNSUPPORTED) {
            printf("no secret memory on this machine\n");
            continue;
        }
        CHECK_STATUS(status, MEMGUARD_OK);
        memguard_report report = report_of(vault);
        CHECK(report.backend == backend);
        CHECK(((report.protections & MEMGUARD_PROTECT_HIDDEN) != 0) == (backend == MEMGUARD_BACKEND_SECRETMEM));
        if (backend == MEMGUARD_BACKEND_PLAIN) CHECK((report.protections & MEMGUARD_PROTECT_LOCKED) == 0);
        for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(holds_pattern(secret_make(vault, SIZE, rest, 1), SIZE, 1));
        vault_end(vault);
    }
}

static void refuse_require(uint32_t backend, uint32_t flags, uint32_t require) {
    memguard_options options = options_make();
    memguard_error error = MEMGUARD_ERROR_INIT;
    options.backend = backend, options.flags = flags, options.require = require;
    refuse(&options, MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_UNSUPPORTED);
    CHECK(strlen(error.text) > 10);
}

TEST(a_required_protection_that_is_missing_is_unsupported_and_said) {
    refuse_require(MEMGUARD_BACKEND_PLAIN, 0, MEMGUARD_PROTECT_LOCKED);
    refuse_require(MEMGUARD_BACKEND_PLAIN, 0, MEMGUARD_PROTECT_HIDDEN);
    refuse_require(MEMGUARD_BACKEND_LOCKED, 0, MEMGUARD_PROTECT_HIDDEN);
    refuse_require(MEMGUARD_BACKEND_AUTO, MEMGUARD_NO_THREAD, MEMGUARD_PROTECT_TIMER);
}

TEST(what_a_report_states_can_be_required) {
    memguard_vault *vault = vault_make();
    memguard_options options = options_make();
    options.require = report_of(vault).protections;
    vault_end(vault);
    vault = vault_from(&options);
    CHECK((report_of(vault).protections & options.require) == options.require);
    vault_end(vault);
}

TEST(the_idle_limit_of_the_options_reaches_the_secrets) {
    memguard_options options = options_make();
    options.idle_ms = 100000;
    memguard_vault *vault = vault_from(&options);
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(secret_make(vault, SIZE, 0, 1), &info), MEMGUARD_OK);
    CHECK(info.expires_ms > 90000 && info.expires_ms <= 100000);
    vault_end(vault);
}

/* ---- side by side -------------------------------------------------------------------------------------- */

enum { VAULTS = 16, EACH = 1000 };

TEST(sixteen_vaults_with_a_thousand_secrets_each_do_not_mix) {
    static memguard_vault *vaults[VAULTS];
    static memguard_secret secrets[VAULTS][EACH];
    for (int v = 0; v < VAULTS; v++) vaults[v] = vault_make();
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t v = 0; v < VAULTS; v++) secrets[v][i] = secret_make(vaults[v], 1 + i % 60, 0, i * VAULTS + v);
    }
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t v = 0; v < VAULTS; v++) {
            if (!CHECK(holds_pattern(secrets[v][i], 1 + i % 60, i * VAULTS + v))) return;
        }
    }
    for (uint32_t v = 0; v < VAULTS; v++) {
        CHECK(report_of(vaults[v]).secrets[MEMGUARD_SEALED] == EACH);
        vault_end(vaults[v]); /* the younger ones are untouched: */
        if (v + 1 < VAULTS) CHECK(holds_pattern(secrets[v + 1][7], 1 + 7, 7 * VAULTS + v + 1));
    }
}

TEST(purge_lock_and_destroy_of_one_vault_leave_the_others_alone) {
    memguard_vault *vaults[4];
    memguard_secret secrets[4][RESTS];
    for (uint32_t v = 0; v < 4; v++) {
        vaults[v] = vault_make();
        for (uint32_t rest = 0; rest < RESTS; rest++) {
            secrets[v][rest] = secret_make(vaults[v], SIZE, rest, v * 10 + rest);
        }
    }
    memguard_view view = borrow(secrets[3][MEMGUARD_CLOSED], MEMGUARD_READ);
    CHECK_STATUS(memguard_vault_purge(vaults[0], 0), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vaults[1], right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&vaults[2]), MEMGUARD_OK);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK_STATUS(life(secrets[0][rest]), MEMGUARD_ERR_STALE);
        CHECK_STATUS(memguard_secret_use(secrets[1][rest], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
        CHECK_STATUS(life(secrets[2][rest]), MEMGUARD_ERR_STALE);
        CHECK(holds_pattern(secrets[3][rest], SIZE, 30 + rest));
    }
    CHECK(is_pattern(view.data, SIZE, 30 + MEMGUARD_CLOSED));
    CHECK(report_of(vaults[3]).purges == 0 && report_of(vaults[3]).locked == 0);
    give_back(&view);
    vault_end(vaults[0]), vault_end(vaults[1]), vault_end(vaults[3]);
}

TEST(a_hundred_vaults_made_and_destroyed_again_and_again_leave_nothing) {
    enum { COUNT = 100 };
    static memguard_vault *vaults[COUNT];
    const int rounds = CHECK_SANITIZED ? 3 : 20;
    memguard_vault *witness = vault_make();
    memguard_secret secret = secret_make(witness, SIZE, 0, 5);
    uint64_t in_use = 0;
    for (int round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            vaults[i] = vault_make();
            CHECK(holds_pattern(secret_make(vaults[i], SIZE, i % RESTS, i), SIZE, i));
        }
        for (int i = 0; i < COUNT; i++) vault_end(vaults[(i * 37) % COUNT]);
        if (round == 0) in_use = report_of(witness).lock_in_use_bytes;
    }
    /* Pools may still grow a little and a re-key may be under way, but a page a vault and round is not left behind. */
    CHECK(report_of(witness).lock_in_use_bytes < in_use + COUNT * page_bytes());
    CHECK(holds_pattern(secret, SIZE, 5));
    vault_end(witness);
}

/* ---- reports ------------------------------------------------------------------------------------------- */

TEST(a_fresh_report_is_plausible) {
    memguard_vault *vault = vault_make();
    memguard_report report = report_of(vault);
    struct rlimit limit = {0, 0};
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    uint64_t allowed = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    CHECK(report.size == sizeof report);
    CHECK(report.backend == MEMGUARD_BACKEND_SECRETMEM || report.backend == MEMGUARD_BACKEND_LOCKED);
    CHECK((report.protections & ~(uint32_t)MEMGUARD_PROTECT_ALL) == 0);
    CHECK((report.protections & MEMGUARD_PROTECT_TIMER) != 0);
    CHECK(report.locked == 0 && report.strict == 0);
    CHECK(report.prekey_bytes >= 4096 && report.prekey_bytes <= 16384);
    CHECK(report.lock_limit_bytes == allowed || report.lock_limit_bytes == UINT64_MAX); /* the latter: privileged */
    CHECK(CHECK_SANITIZED || report.lock_in_use_bytes >= report.prekey_bytes);
    CHECK(report.secrets[0] + report.secrets[1] + report.secrets[2] + report.secrets[3] == 0);
    CHECK(report.borrows == 0 && report.purges == 0 && report.revoked == 0 && report.auth_failures == 0);
    CHECK(report.guarded_free <= report.guarded_slots);
    CHECK(report.compact_pages == 0);
    vault_end(vault);
}

TEST(a_report_counts_borrows_leases_and_age) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    memguard_view one = borrow(secret, MEMGUARD_READ), two = borrow(secret, MEMGUARD_READ);
    CHECK(report_of(vault).borrows == 2);
    give_back(&one);
    CHECK(report_of(vault).borrows == 1);
    give_back(&two);
    CHECK(report_of(vault).borrows == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(holds_pattern(secret, SIZE, 1));
        sleep_ms(5);
    }
    memguard_report report = report_of(vault);
    CHECK(report.leases >= 1 && report.leased_ns >= 1 && report.longest_lease_ns >= 1);
    CHECK(report.longest_lease_ns <= report.leased_ns && report.leased_ns <= report.age_ns);
    CHECK(report.benches >= 1);
    CHECK(report_of(vault).age_ns > report.age_ns);
    vault_end(vault);
}

TEST(the_housekeeper_rekeys_and_secrets_survive_it) {
    memguard_options options = options_make();
    options.rekey_ms = 10;
    memguard_vault *vault = vault_from(&options);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    uint64_t rekeys = 0;
    for (uint64_t end = now_ms() + 10000; rekeys < 5 && now_ms() < end; sleep_ms(2)) {
        CHECK(holds_pattern(secret, SIZE, 1));
        rekeys = report_of(vault).rekeys;
    }
    CHECK(rekeys >= 5);
    CHECK(report_of(vault).rekey_failures == 0);
    vault_end(vault);
}

TEST(prepare_makes_what_it_says) {
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_vault_prepare(vault, 10 * page_bytes(), 3), MEMGUARD_OK);
    memguard_report report = report_of(vault);
    CHECK(report.guarded_free >= 10);
    CHECK(report.benches >= 3);
    memguard_secret secrets[10];
    memguard_view views[10];
    for (uint32_t i = 0; i < 10; i++) {
        secrets[i] = secret_make(vault, SIZE, 0, i);
        views[i] = borrow(secrets[i], MEMGUARD_READ);
    }
    CHECK(report_of(vault).guarded_slots == report.guarded_slots);
    CHECK(report_of(vault).lock_in_use_bytes == report.lock_in_use_bytes);
    for (int i = 0; i < 10; i++) give_back(&views[i]);
    vault_end(vault);
}

TEST(prepare_for_more_than_there_is_fails_and_harms_nothing) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    uint32_t shortages = ANY_OF(ERR_LOCK_LIMIT) | ANY_OF(ERR_MAP_LIMIT) | ANY_OF(ERR_MEMORY) | ANY_OF(ERR_SIZE);
    CHECK_AMONG(memguard_vault_prepare(vault, SIZE_MAX, 1), shortages);
    CHECK_AMONG(memguard_vault_prepare(vault, SIZE_MAX - 4096, 1), shortages);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(strict_vaults_hold_no_lease) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_STRICT);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    for (int i = 0; i < 50; i++) CHECK(holds_pattern(secret, SIZE, 1));
    memguard_report report = report_of(vault);
    CHECK(report.strict == 1 && report.leases == 0 && report.leased_ns == 0 && report.longest_lease_ns == 0);
    vault_end(vault);
}

/* ---- tick ---------------------------------------------------------------------------------------------- */

TEST(without_a_thread_a_vault_is_strict_until_the_first_tick) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    uint32_t next_ms = 0;
    CHECK(holds_pattern(secret, SIZE, 1));
    CHECK(report_of(vault).strict == 1 && report_of(vault).leases == 0);
    CHECK((report_of(vault).protections & MEMGUARD_PROTECT_TIMER) == 0);
    CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
    CHECK(next_ms == UINT32_MAX || next_ms <= 500);
    CHECK(holds_pattern(secret, SIZE, 1));
    CHECK(report_of(vault).strict == 0 && report_of(vault).leases >= 1);
    vault_end(vault);
}

TEST(strict_stays_strict_whoever_ticks) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD | MEMGUARD_STRICT);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(holds_pattern(secret, SIZE, 1));
    CHECK(report_of(vault).strict == 1 && report_of(vault).leases == 0);
    vault_end(vault);
}

TEST(tick_rekeys_when_it_is_due) {
    memguard_options options = options_make();
    options.flags = MEMGUARD_NO_THREAD, options.rekey_ms = 10;
    memguard_vault *vault = vault_from(&options);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    for (int i = 0; i < 4; i++) {
        uint32_t next_ms = 0;
        sleep_ms(15);
        CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
        CHECK(holds_pattern(secret, SIZE, 1));
    }
    CHECK(report_of(vault).rekeys >= 3);
    vault_end(vault);
}

TEST(ticks_beside_the_housekeeper_are_welcome) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    for (int i = 0; i < 100; i++) {
        CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
        CHECK(holds_pattern(secret, SIZE, 1));
    }
    vault_end(vault);
}

/* ---- lock and unlock ----------------------------------------------------------------------------------- */

static void make_one_of_each(memguard_vault *vault, memguard_secret secrets[RESTS], size_t size) {
    for (uint32_t rest = 0; rest < RESTS; rest++) secrets[rest] = secret_make(vault, size, rest, 60 + rest);
}
static int all_hold(const memguard_secret secrets[RESTS], size_t size) {
    int good = 1;
    for (uint32_t rest = 0; rest < RESTS; rest++) good &= holds_pattern(secrets[rest], size, 60 + rest);
    return good;
}
static void check_rests(const memguard_secret secrets[RESTS], int sealed) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_info info = MEMGUARD_INFO_INIT;
        CHECK_STATUS(memguard_secret_info(secrets[rest], &info), MEMGUARD_OK);
        CHECK(info.rest == (sealed ? MEMGUARD_SEALED : rest));
    }
}

TEST(secrets_of_every_rest_survive_lock_and_unlock_and_rest_sealed) {
    static const size_t sizes[] = {1, 80, 4096, 30000};
    memguard_vault *vault = vault_make();
    for (int i = 0; i < 4; i++) {
        memguard_secret secrets[RESTS];
        make_one_of_each(vault, secrets, sizes[i]);
        CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
        CHECK(report_of(vault).locked == 1);
        check_rests(secrets, 1);
        CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
        CHECK(report_of(vault).locked == 0);
        check_rests(secrets, 1);
        CHECK(all_hold(secrets, sizes[i]));
    }
    vault_end(vault);
}

TEST(a_locked_vault_makes_nothing_and_opens_no_scope) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = {42};
    memguard_scope scope = {42};
    unsigned char source[8] = {1};
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_create(vault, 8, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_random(vault, 8, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_copy(vault, source, 8, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_take(vault, source, 8, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_ERR_LOCKED);
    CHECK(scope.id == 0);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_create(vault, 8, 0, &secret), MEMGUARD_OK);
    vault_end(vault);
}

TEST(a_wrong_kek_does_not_unlock_and_the_right_one_still_does) {
    memguard_vault *vault = vault_make();
    memguard_secret secrets[RESTS];
    uint8_t kek[KEK_BYTES];
    make_one_of_each(vault, secrets, SIZE);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, wrong_kek), MEMGUARD_ERR_AUTH);
    for (int byte = 0; byte < KEK_BYTES; byte++) {
        memcpy(kek, right_kek, KEK_BYTES);
        kek[byte] ^= 0x40;
        CHECK_STATUS(memguard_vault_unlock(vault, kek), MEMGUARD_ERR_AUTH);
        CHECK(report_of(vault).locked == 1);
    }
    CHECK_STATUS(memguard_secret_use(secrets[0], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK(all_hold(secrets, SIZE));
    vault_end(vault);
}

TEST(locking_twice_and_unlocking_an_unlocked_vault_is_a_state_error) {
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_ERR_STATE);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, wrong_kek), MEMGUARD_ERR_STATE);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_ERR_STATE);
    vault_end(vault);
}

static int show_locks(const void *bytes, size_t size, void *arg) {
    CHECK_STATUS(memguard_vault_lock(arg, right_kek), MEMGUARD_ERR_BUSY);
    return is_pattern(bytes, size, 60);
}

TEST(a_borrow_keeps_its_vault_from_being_locked_and_nothing_changes) {
    memguard_vault *vault = vault_make();
    memguard_secret secrets[RESTS];
    int right = 0;
    make_one_of_each(vault, secrets, SIZE);
    CHECK_STATUS(memguard_secret_use(secrets[0], show_locks, vault, &right), MEMGUARD_OK);
    CHECK(right == 1);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_view view = borrow(secrets[rest], MEMGUARD_READ);
        CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_ERR_BUSY);
        CHECK(report_of(vault).locked == 0 && is_pattern(view.data, SIZE, 60 + rest));
        check_rests(secrets, 0);
        give_back(&view);
    }
    CHECK(all_hold(secrets, SIZE));
    vault_end(vault);
}

TEST(many_locks_under_changing_keks_keep_the_secrets) {
    memguard_vault *vault = vault_make();
    memguard_secret secrets[RESTS];
    uint8_t kek[KEK_BYTES];
    make_one_of_each(vault, secrets, SIZE);
    for (uint32_t i = 0; i < 100; i++) {
        fill(kek, sizeof kek, i);
        CHECK_STATUS(memguard_vault_lock(vault, kek), MEMGUARD_OK);
        CHECK(is_pattern(kek, sizeof kek, i));
        CHECK_STATUS(memguard_vault_unlock(vault, kek), MEMGUARD_OK);
        if (i % 10 == 0) CHECK(all_hold(secrets, SIZE));
    }
    CHECK(all_hold(secrets, SIZE));
    vault_end(vault);
}

TEST(a_locked_vault_can_be_destroyed) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    vault_end(vault);
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
}

TEST(a_locked_vault_that_is_purged_starts_anew) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
    CHECK(report_of(vault).locked == 0);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_ERR_STATE);
    CHECK(holds_pattern(secret_make(vault, SIZE, 0, 2), SIZE, 2));
    vault_end(vault);
}

/* ---- purge --------------------------------------------------------------------------------------------- */

TEST(after_a_purge_all_is_stale_and_the_vault_works) {
    memguard_vault *vault = vault_make();
    for (int round = 0; round < 5; round++) {
        memguard_secret secrets[RESTS];
        make_one_of_each(vault, secrets, SIZE);
        CHECK(all_hold(secrets, SIZE));
        CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
        memguard_report report = report_of(vault);
        for (uint32_t rest = 0; rest < RESTS; rest++) {
            CHECK_STATUS(memguard_secret_use(secrets[rest], show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
            CHECK(report.secrets[rest] == 0);
        }
        CHECK(report.purges == (uint64_t)round + 1 && report.revoked == 0);
    }
    vault_end(vault);
}

TEST(purge_all_purges_every_vault) {
    memguard_vault *one = vault_make(), *two = vault_make();
    memguard_secret a = secret_make(one, SIZE, 0, 1), b = secret_make(two, SIZE, MEMGUARD_COMPACT, 2);
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    CHECK_STATUS(life(a), MEMGUARD_ERR_STALE);
    CHECK_STATUS(life(b), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret_make(one, SIZE, 0, 3), SIZE, 3) && holds_pattern(secret_make(two, SIZE, 0, 4), SIZE, 4));
    vault_end(one), vault_end(two);
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK); /* no vault at all */
}

TEST(a_purge_closes_what_rested_mapped) {
    memguard_vault *vault = vault_make();
    memguard_view view = borrow(secret_make(vault, SIZE, MEMGUARD_MAPPED, 1), MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    CHECK(can_read(place) == 1);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK(can_read(place) == 0);
    vault_end(vault);
}

typedef struct purger {
    memguard_vault *vault;
    uint32_t wait_ms;
    memguard_status status;
    atomic_int done;
} purger;
static void *purge_thread(void *arg) {
    purger *p = arg;
    p->status = memguard_vault_purge(p->vault, p->wait_ms);
    atomic_store(&p->done, 1);
    return NULL;
}
static pthread_t purge_start(purger *p) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, purge_thread, p) == 0);
    return thread;
}

static int wait_until_stale(memguard_secret secret) {
    memguard_view view = {0};
    for (uint64_t end = now_ms() + 10000; now_ms() < end; sleep_ms(1)) {
        memguard_status status = memguard_secret_acquire(secret, MEMGUARD_READ, &view);
        if (status == MEMGUARD_ERR_STALE) return 1;
        if (status == MEMGUARD_OK) give_back(&view);
    }
    return 0;
}

/* The purge waits for the view; until it is released the bytes stay right. */
static void purge_around_a_view(memguard_vault *vault, uint32_t rest) {
    memguard_secret secret = secret_make(vault, SIZE, rest, 1), other = secret_make(vault, SIZE, 0, 2);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    purger p = {vault, 60000, -1, 0};
    pthread_t thread = purge_start(&p);
    CHECK(wait_until_stale(other)); /* the gate is closed */
    CHECK_STATUS(memguard_secret_use(secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
    sleep_ms(20);
    CHECK(atomic_load(&p.done) == 0);
    CHECK(is_pattern(view.data, SIZE, 1));
    give_back(&view);
    CHECK(wait_for(&p.done, 1));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(p.status, MEMGUARD_OK);
    CHECK(holds_pattern(secret_make(vault, SIZE, 0, 3), SIZE, 3));
}

TEST(a_purge_waits_for_the_views_of_other_threads) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) purge_around_a_view(vault, rest);
    CHECK(report_of(vault).revoked == 0);
    vault_end(vault);
}

/* Calls by the holder of a view, while a purge waits for that view: one that does not return before the purge gives up
 * has waited for another caller. */
static memguard_status call_as_holder(int which, memguard_vault *vault) {
    memguard_vault *copy = vault;
    memguard_secret secret = {0};
    memguard_scope scope = {0};
    switch (which) {
    case 0: ignore(report_of(vault).age_ns == 0); return MEMGUARD_OK;
    case 1: return memguard_vault_tick(vault, NULL);
    case 2: return memguard_vault_lock(vault, right_kek);
    case 3: return memguard_vault_unlock(vault, right_kek);
    case 4: return memguard_vault_destroy(&copy);
    case 5: return memguard_vault_prepare(vault, 4096, 1);
    case 6: return memguard_secret_create(vault, 8, 0, &secret);
    case 7: return memguard_scope_create(vault, &scope);
    case 8: return memguard_purge_all(0);
    default: return memguard_vault_purge(vault, 0);
    }
}

enum { HOLDER_CALLS = 10, PATIENCE_MS = 2000 };
static const uint32_t holder_answers[HOLDER_CALLS] = {
    ANY_OF(OK),       ANY_OF(OK) | ANY_OF(ERR_STALE), ANY_OF(ERR_BUSY), ANY_OF(ERR_BUSY) | ANY_OF(ERR_STATE),
    ANY_OF(ERR_BUSY), ANY_OF(OK) | ANY_OF(ERR_STALE), ANY_OF(ERR_STALE), ANY_OF(ERR_STALE),
    ANY_OF(OK),       ANY_OF(OK), /* put off until the release */
};
static void call_while_purged(int which) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1), other = secret_make(vault, SIZE, 0, 2);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    purger p = {vault, PATIENCE_MS, -1, 0};
    pthread_t thread = purge_start(&p);
    CHECK(wait_until_stale(other));
    uint64_t start = now_ms();
    memguard_status status = call_as_holder(which, vault);
    int waited = now_ms() - start >= PATIENCE_MS / 2;
    if (!CHECK(waited == 0)) printf("that was call %d: %s\n", which, memguard_status_name(status));
    CHECK_AMONG(status, holder_answers[which]);
    CHECK(waited || is_pattern(view.data, SIZE, 1));
    CHECK_STATUS(memguard_view_release(&view), waited ? MEMGUARD_ERR_REVOKED : MEMGUARD_OK);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(p.status, waited ? MEMGUARD_ERR_REVOKED : MEMGUARD_OK);
    CHECK(holds_pattern(secret_make(vault, SIZE, 0, 3), SIZE, 3));
    vault_end(vault);
}

TEST(who_holds_what_a_purge_waits_for_is_not_kept_waiting_by_it) {
    for (int which = 0; which < HOLDER_CALLS; which++) call_while_purged(which);
}

TEST(two_purges_at_once_both_end_when_the_borrow_ends) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1), other = secret_make(vault, SIZE, 0, 2);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    purger first = {vault, 60000, -1, 0}, second = {vault, 60000, -1, 0};
    pthread_t one = purge_start(&first);
    CHECK(wait_until_stale(other));
    pthread_t two = purge_start(&second);
    sleep_ms(20);
    CHECK(atomic_load(&first.done) == 0 && atomic_load(&second.done) == 0);
    CHECK(is_pattern(view.data, SIZE, 1));
    give_back(&view);
    CHECK(wait_for(&first.done, 1) && wait_for(&second.done, 1));
    CHECK(pthread_join(one, NULL) == 0 && pthread_join(two, NULL) == 0);
    CHECK_STATUS(first.status, MEMGUARD_OK);
    CHECK_STATUS(second.status, MEMGUARD_OK);
    CHECK(holds_pattern(secret_make(vault, SIZE, 0, 3), SIZE, 3));
    vault_end(vault);
}

static void revoke_a_view(memguard_vault *vault, uint32_t rest, uint32_t access, size_t size) {
    memguard_secret secret = secret_make(vault, size, rest, 1);
    memguard_view view = borrow(secret, access);
    const unsigned char *data = view.data;
    purger p = {vault, 10, -1, 0};
    pthread_t thread = purge_start(&p);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(p.status, MEMGUARD_ERR_REVOKED);
    CHECK(can_read(data) == 0 && can_read(data + size - 1) == 0);
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
    memguard_secret young = secret_make(vault, size, rest, 3); /* usable while the dead view is still out */
    CHECK(holds_pattern(young, size, 3));
    CHECK(can_read(data) == 0);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
    CHECK(view.data == NULL && view.size == 0 && view.pin[0] == 0 && view.pin[1] == 0);
    CHECK(holds_pattern(young, size, 3));
}

TEST(views_that_are_not_released_are_revoked_and_their_release_says_so) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        revoke_a_view(vault, rest, MEMGUARD_READ, SIZE);
        revoke_a_view(vault, rest, MEMGUARD_WRITE, SIZE);
        revoke_a_view(vault, rest, MEMGUARD_READ, 10000);
    }
    memguard_report report = report_of(vault);
    CHECK(report.revoked == 3 * RESTS && report.purges == 3 * RESTS && report.borrows == 0);
    vault_end(vault);
}

typedef struct slow_use {
    memguard_secret secret;
    atomic_int inside, may_leave;
    memguard_status status;
    int bytes_gone, result;
} slow_use;
static int show_slowly(const void *bytes, size_t size, void *arg) {
    slow_use *slow = arg;
    atomic_store(&slow->inside, 1);
    CHECK(wait_for(&slow->may_leave, 1));
    slow->bytes_gone = can_read(bytes) == 0 && can_read((const unsigned char *)bytes + size - 1) == 0;
    return 5;
}
static void *use_thread(void *arg) {
    slow_use *slow = arg;
    slow->status = memguard_secret_use(slow->secret, show_slowly, slow, &slow->result);
    return NULL;
}

static void revoke_a_use(memguard_vault *vault, uint32_t rest, size_t size) {
    slow_use slow = {secret_make(vault, size, rest, 1), 0, 0, -1, 0, 0};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_thread, &slow) == 0);
    CHECK(wait_for(&slow.inside, 1));
    CHECK_STATUS(memguard_vault_purge(vault, 10), MEMGUARD_ERR_REVOKED);
    CHECK(holds_pattern(secret_make(vault, size, rest, 3), size, 3)); /* while that function still runs */
    atomic_store(&slow.may_leave, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(slow.status, MEMGUARD_ERR_REVOKED);
    CHECK(slow.bytes_gone == 1 && slow.result == 5);
}

TEST(a_use_that_does_not_end_loses_its_bytes_and_is_told) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        revoke_a_use(vault, rest, SIZE);
        revoke_a_use(vault, rest, 10000);
    }
    CHECK(report_of(vault).revoked == 2 * RESTS);
    vault_end(vault);
}

/* From inside a borrow of its own a purge closes the gate and puts off the rest until that borrow ends. */
typedef struct own_purge {
    memguard_vault *vault;
    memguard_secret secret, other;
    uint32_t seed;
} own_purge;
static void check_gate_closed(const own_purge *own) {
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(own->secret, MEMGUARD_READ, &view), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_acquire(own->other, MEMGUARD_READ, &view), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_use(own->other, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
}
static int show_purges(const void *bytes, size_t size, void *arg) {
    const own_purge *own = arg;
    CHECK_STATUS(memguard_vault_purge(own->vault, 1000), MEMGUARD_OK);
    check_gate_closed(own);
    return is_pattern(bytes, size, own->seed);
}

TEST(a_purge_inside_use_is_finished_when_the_function_returns) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        own_purge own = {vault, secret_make(vault, SIZE, rest, 1), secret_make(vault, SIZE, 0, 2), 1};
        int right = 0;
        CHECK_STATUS(memguard_secret_use(own.secret, show_purges, &own, &right), MEMGUARD_OK);
        CHECK(right == 1);
        check_gate_closed(&own);
        CHECK(holds_pattern(secret_make(vault, SIZE, rest, 3), SIZE, 3));
    }
    CHECK(report_of(vault).revoked == 0);
    vault_end(vault);
}

TEST(a_purge_under_views_of_its_own_is_finished_at_the_last_release) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        own_purge own = {vault, secret_make(vault, SIZE, rest, 1), secret_make(vault, SIZE, 0, 2), 1};
        memguard_view one = borrow(own.secret, MEMGUARD_READ), two = borrow(own.other, MEMGUARD_WRITE);
        const void *place = one.data;
        CHECK_STATUS(memguard_vault_purge(vault, 1000), MEMGUARD_OK);
        check_gate_closed(&own);
        CHECK(is_pattern(one.data, SIZE, 1) && is_pattern(two.data, SIZE, 2));
        give_back(&two);
        CHECK(is_pattern(one.data, SIZE, 1));
        give_back(&one);
        CHECK(rest == MEMGUARD_COMPACT || can_read(place) == 0);
        CHECK(holds_pattern(secret_make(vault, SIZE, rest, 3), SIZE, 3));
    }
    vault_end(vault);
}

int main(void) {
    RUN(the_environment_chooses_the_backend); /* first: these fork */
    RUN(the_environment_does_not_override_require);
    RUN(a_backend_that_the_environment_misspells_is_refused);
    RUN(unknown_values_of_every_option_are_refused);
    RUN(extreme_known_values_of_every_option_work);
    RUN(every_backend_of_this_machine_works_and_is_reported);
    RUN(a_required_protection_that_is_missing_is_unsupported_and_said);
    RUN(what_a_report_states_can_be_required);
    RUN(the_idle_limit_of_the_options_reaches_the_secrets);
    RUN(sixteen_vaults_with_a_thousand_secrets_each_do_not_mix);
    RUN(purge_lock_and_destroy_of_one_vault_leave_the_others_alone);
    RUN(a_hundred_vaults_made_and_destroyed_again_and_again_leave_nothing);
    RUN(a_fresh_report_is_plausible);
    RUN(a_report_counts_borrows_leases_and_age);
    RUN(the_housekeeper_rekeys_and_secrets_survive_it);
    RUN(prepare_makes_what_it_says);
    RUN(prepare_for_more_than_there_is_fails_and_harms_nothing);
    RUN(strict_vaults_hold_no_lease);
    RUN(without_a_thread_a_vault_is_strict_until_the_first_tick);
    RUN(strict_stays_strict_whoever_ticks);
    RUN(tick_rekeys_when_it_is_due);
    RUN(ticks_beside_the_housekeeper_are_welcome);
    RUN(secrets_of_every_rest_survive_lock_and_unlock_and_rest_sealed);
    RUN(a_locked_vault_makes_nothing_and_opens_no_scope);
    RUN(a_wrong_kek_does_not_unlock_and_the_right_one_still_does);
    RUN(locking_twice_and_unlocking_an_unlocked_vault_is_a_state_error);
    RUN(a_borrow_keeps_its_vault_from_being_locked_and_nothing_changes);
    RUN(many_locks_under_changing_keks_keep_the_secrets);
    RUN(a_locked_vault_can_be_destroyed);
    RUN(a_locked_vault_that_is_purged_starts_anew);
    RUN(after_a_purge_all_is_stale_and_the_vault_works);
    RUN(purge_all_purges_every_vault);
    RUN(a_purge_closes_what_rested_mapped);
    RUN(a_purge_waits_for_the_views_of_other_threads);
    RUN(who_holds_what_a_purge_waits_for_is_not_kept_waiting_by_it);
    RUN(two_purges_at_once_both_end_when_the_borrow_ends);
    RUN(views_that_are_not_released_are_revoked_and_their_release_says_so);
    RUN(a_use_that_does_not_end_loses_its_bytes_and_is_told);
    RUN(a_purge_inside_use_is_finished_when_the_function_returns);
    RUN(a_purge_under_views_of_its_own_is_finished_at_the_last_release);
    return check_end();
}
