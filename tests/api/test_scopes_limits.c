/* test_scopes_limits.c: scopes and automatic variables destroy what they hold and nothing else; limits of use, life and
 * idleness end a secret, never a borrow. Waits are bounded; no test needs a time to be short. */
#define _GNU_SOURCE
#include "api/support.h"

enum { SIZE = 40 };

static memguard_scope scope_make(memguard_vault *vault) {
    memguard_scope scope = {0};
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    CHECK(scope.id != 0);
    return scope;
}
static void scope_end(memguard_scope *scope) {
    CHECK_STATUS(memguard_scope_destroy(scope), MEMGUARD_OK);
    CHECK(scope->id == 0);
}
static int is_alive(memguard_secret secret) { return life(secret) == MEMGUARD_OK; }
static int is_gone(memguard_secret secret) { return life(secret) == MEMGUARD_ERR_STALE; }

/* ---- scopes -------------------------------------------------------------------------------------------- */

TEST(a_scope_destroys_what_was_made_in_it_but_not_what_is_kept) {
    memguard_vault *vault = vault_make(), *other = vault_make();
    memguard_secret before = secret_make(vault, SIZE, 0, 1);
    memguard_scope scope = scope_make(vault);
    memguard_secret inside[RESTS], kept = secret_make(vault, SIZE, MEMGUARD_KEEP, 2);
    for (uint32_t rest = 0; rest < RESTS; rest++) inside[rest] = secret_make(vault, SIZE, rest, 3);
    memguard_secret elsewhere = secret_make(other, SIZE, 0, 4);
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(holds_pattern(inside[rest], SIZE, 3));
    scope_end(&scope);
    memguard_secret after = secret_make(vault, SIZE, 0, 5);
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(is_gone(inside[rest]));
    CHECK(holds_pattern(before, SIZE, 1) && holds_pattern(kept, SIZE, 2) && holds_pattern(elsewhere, SIZE, 4) &&
          holds_pattern(after, SIZE, 5));
    vault_end(vault), vault_end(other);
}

TEST(a_scope_holds_what_all_four_makers_make) {
    memguard_vault *vault = vault_make();
    memguard_scope scope = scope_make(vault);
    memguard_secret secrets[4] = {{0}, {0}, {0}, {0}};
    unsigned char source[SIZE] = {1};
    CHECK_STATUS(memguard_secret_create(vault, SIZE, 0, &secrets[0]), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_copy(vault, source, SIZE, 0, &secrets[1]), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_take(vault, source, SIZE, 0, &secrets[2]), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_random(vault, SIZE, 0, &secrets[3]), MEMGUARD_OK);
    for (int i = 0; i < 4; i++) CHECK(is_alive(secrets[i]));
    scope_end(&scope);
    for (int i = 0; i < 4; i++) CHECK(is_gone(secrets[i]));
    vault_end(vault);
}

TEST(a_secret_belongs_to_the_innermost_scope) {
    memguard_vault *vault = vault_make();
    memguard_scope outer = scope_make(vault);
    memguard_secret in_outer = secret_make(vault, SIZE, 0, 1);
    memguard_scope inner = scope_make(vault);
    memguard_secret in_inner = secret_make(vault, SIZE, 0, 2);
    scope_end(&inner);
    memguard_secret later = secret_make(vault, SIZE, 0, 3);
    CHECK(is_gone(in_inner) && holds_pattern(in_outer, SIZE, 1) && holds_pattern(later, SIZE, 3));
    scope_end(&outer);
    CHECK(is_gone(in_outer) && is_gone(later));
    vault_end(vault);
}

TEST(closing_an_outer_scope_closes_the_inner_ones) {
    memguard_vault *vault = vault_make();
    memguard_scope outer = scope_make(vault), middle = scope_make(vault), inner = scope_make(vault);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    scope_end(&outer);
    CHECK(is_gone(secret));
    CHECK_STATUS(memguard_scope_destroy(&inner), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&middle), MEMGUARD_ERR_STALE);
    memguard_secret free_one = secret_make(vault, SIZE, 0, 2);
    CHECK(is_alive(free_one));
    vault_end(vault);
}

TEST(scopes_of_two_vaults_do_not_hold_each_others_secrets) {
    memguard_vault *one = vault_make(), *two = vault_make();
    memguard_scope in_one = scope_make(one), in_two = scope_make(two);
    memguard_secret a = secret_make(one, SIZE, 0, 1), b = secret_make(two, SIZE, 0, 2);
    scope_end(&in_two);
    CHECK(is_alive(a) && is_gone(b));
    scope_end(&in_one);
    CHECK(is_gone(a));
    vault_end(one), vault_end(two);
}

TEST(a_borrowed_secret_of_a_closed_scope_dies_at_its_last_release) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_scope scope = scope_make(vault);
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        memguard_view view = borrow(secret, MEMGUARD_READ);
        scope_end(&scope);
        CHECK_STATUS(memguard_secret_use(secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
        CHECK(is_pattern(view.data, SIZE, 1));
        give_back(&view);
        CHECK(is_gone(secret) && report_of(vault).secrets[rest] == 0);
    }
    vault_end(vault);
}

typedef struct stranger {
    memguard_vault *vault;
    memguard_scope scope;
    memguard_secret secret;
} stranger;
static void *strange_thread(void *arg) {
    stranger *s = arg;
    memguard_scope copy = s->scope;
    CHECK_STATUS(memguard_scope_destroy(&copy), MEMGUARD_ERR_STATE);
    s->secret = secret_make(s->vault, SIZE, 0, 2);
    return NULL;
}

TEST(a_scope_belongs_to_its_thread) {
    memguard_vault *vault = vault_make();
    stranger s = {vault, scope_make(vault), {0}};
    memguard_secret mine = secret_make(vault, SIZE, 0, 1);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, strange_thread, &s) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(is_alive(mine));
    scope_end(&s.scope);
    CHECK(is_gone(mine) && holds_pattern(s.secret, SIZE, 2)); /* what the other thread made is not held */
    vault_end(vault);
}

static void *leave_scope_open(void *arg) {
    stranger *s = arg;
    s->scope = scope_make(s->vault);
    s->secret = secret_make(s->vault, SIZE, 0, 2);
    CHECK(is_alive(s->secret));
    return NULL;
}

TEST(a_thread_that_ends_closes_its_scopes) {
    memguard_vault *vault = vault_make();
    stranger s = {vault, {0}, {0}};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, leave_scope_open, &s) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(is_gone(s.secret));
    CHECK_STATUS(memguard_scope_destroy(&s.scope), MEMGUARD_ERR_STALE);
    vault_end(vault);
}

TEST(a_scope_that_is_closed_null_or_no_scope_is_stale) {
    memguard_vault *vault = vault_make();
    memguard_scope scope = scope_make(vault), copy = scope, null = {0};
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_KEEP, 1);
    scope_end(&scope);
    memguard_scope no_scope = {secret.id}, made_up = {copy.id ^ (uint64_t)1 << 63};
    CHECK_STATUS(memguard_scope_destroy(&copy), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&null), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&no_scope), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&made_up), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(a_scope_still_closes_when_its_vault_was_destroyed_or_purged) {
    memguard_vault *vault = vault_make();
    memguard_scope scope = scope_make(vault);
    vault_end(vault);
    scope_end(&scope);
    vault = vault_make();
    scope = scope_make(vault);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK(is_gone(secret));
    memguard_secret young = secret_make(vault, SIZE, MEMGUARD_KEEP, 2); /* may take the place of the dead one */
    scope_end(&scope);
    CHECK(holds_pattern(young, SIZE, 2));
    vault_end(vault);
}

TEST(a_secret_may_die_before_its_scope) {
    memguard_vault *vault = vault_make();
    memguard_scope scope = scope_make(vault);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    memguard_secret next = secret_make(vault, SIZE, MEMGUARD_KEEP, 2); /* may take the same place in a table */
    scope_end(&scope);
    CHECK(holds_pattern(next, SIZE, 2));
    vault_end(vault);
}

TEST(a_scope_can_be_closed_while_its_vault_is_locked) {
    memguard_vault *vault = vault_make();
    memguard_scope scope = scope_make(vault);
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    scope_end(&scope);
    CHECK(is_gone(secret));
    vault_end(vault);
}

TEST(scopes_nest_deeply_and_can_be_made_without_end) {
    enum { DEPTH = 30, ROUNDS = 2000 };
    memguard_scope scopes[DEPTH];
    memguard_secret secrets[DEPTH];
    memguard_vault *vault = vault_make();
    for (uint32_t i = 0; i < DEPTH; i++) {
        scopes[i] = scope_make(vault);
        secrets[i] = secret_make(vault, SIZE, 0, i);
    }
    for (uint32_t i = DEPTH; i-- > 0;) {
        CHECK(holds_pattern(secrets[i], SIZE, i));
        scope_end(&scopes[i]);
        CHECK(is_gone(secrets[i]));
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        memguard_scope scope = scope_make(vault);
        memguard_secret secret = secret_make(vault, SIZE, i % RESTS, i);
        scope_end(&scope);
        if (!CHECK(is_gone(secret))) break;
    }
    vault_end(vault);
}

/* ---- automatic variables -------------------------------------------------------------------------------- */

static memguard_secret leave_block_with_view(memguard_vault *vault) {
    MEMGUARD_AUTO memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    MEMGUARD_AUTO_VIEW memguard_view view = borrow(secret, MEMGUARD_READ);
    CHECK(is_pattern(view.data, SIZE, 1));
    memguard_secret copy = {secret.id};
    return copy;
}

TEST(automatic_secrets_and_views_end_with_their_block) {
    memguard_vault *vault = vault_make();
    memguard_secret left = leave_block_with_view(vault);
    CHECK(left.id != 0 && is_gone(left));
    CHECK(report_of(vault).borrows == 0 && report_of(vault).secrets[MEMGUARD_CLOSED] == 0);
    {
        MEMGUARD_AUTO memguard_secret null = {0}; /* harmless */
        MEMGUARD_AUTO_VIEW memguard_view none = {0};
        CHECK(null.id == 0 && none.data == NULL);
    }
    vault_end(vault);
}

TEST(automatic_scopes_and_vaults_end_with_their_block) {
    memguard_vault *outside = NULL;
    memguard_secret scoped = {0}, secret = {0};
    {
        MEMGUARD_AUTO_VAULT memguard_vault *vault = vault_make();
        {
            MEMGUARD_AUTO_SCOPE memguard_scope scope = scope_make(vault);
            scoped = secret_make(vault, SIZE, 0, 1);
            CHECK(is_alive(scoped) && scope.id != 0);
        }
        CHECK(is_gone(scoped));
        secret = secret_make(vault, SIZE, 0, 2);
        CHECK(is_alive(secret));
        outside = vault;
    }
    CHECK(is_gone(secret));
    CHECK_STATUS(memguard_vault_destroy(&outside), MEMGUARD_ERR_STALE);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static void limit(memguard_secret secret, uint64_t ttl_ms, uint64_t idle_ms, uint64_t uses) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.ttl_ms = ttl_ms, limits.idle_ms = idle_ms, limits.uses = uses;
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
}
/* Waits until `use` answers something else than OK. It would keep an idle secret alive: for ttl only. */
static memguard_status use_until_it_fails(memguard_secret secret) {
    memguard_status status = MEMGUARD_OK;
    for (uint64_t end = now_ms() + 10000; status == MEMGUARD_OK && now_ms() < end; sleep_ms(1)) {
        status = use_once(secret);
    }
    return status;
}

TEST(uses_are_counted_down_and_the_secret_ends_after_the_last) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        limit(secret, 0, 0, 3);
        CHECK(info_of(secret).uses_left == 3);
        CHECK(holds_pattern(secret, SIZE, 1));
        CHECK(info_of(secret).uses_left == 2);
        memguard_view view = borrow(secret, MEMGUARD_READ);
        CHECK(info_of(secret).uses_left == 1);
        give_back(&view);
        CHECK(holds_pattern(secret, SIZE, 1));
        CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
        CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_ERR_EXPIRED);
        CHECK(view.data == NULL);
    }
    vault_end(vault);
}

TEST(the_last_borrow_is_not_cut_short) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        limit(secret, 0, 0, 1);
        memguard_view view = borrow(secret, MEMGUARD_READ);
        CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
        CHECK(is_pattern(view.data, SIZE, 1));
        const void *place = view.data;
        give_back(&view);
        CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
        CHECK(rest == MEMGUARD_COMPACT || can_read(place) == 0);
    }
    vault_end(vault);
}

TEST(a_refused_borrow_is_not_counted) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    limit(secret, 0, 0, 2);
    memguard_view view = borrow(secret, MEMGUARD_WRITE), refused = {0};
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &refused), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_BUSY);
    CHECK(info_of(secret).uses_left == 1);
    give_back(&view);
    CHECK(holds_pattern(secret, SIZE, 1));
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

TEST(a_time_to_live_ends_the_secret_and_not_before) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        uint64_t start = now_ms();
        limit(secret, 40, 0, 0);
        CHECK_STATUS(use_until_it_fails(secret), MEMGUARD_ERR_EXPIRED);
        CHECK(now_ms() - start >= 39);
        CHECK_AMONG(life(secret), ANY_OF(OK) | ANY_OF(ERR_EXPIRED));
    }
    vault_end(vault);
}

TEST(info_tells_the_time_that_is_left) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK(info_of(secret).expires_ms == 0 && info_of(secret).uses_left == 0);
    limit(secret, 100000, 0, 0);
    CHECK(info_of(secret).expires_ms > 80000 && info_of(secret).expires_ms <= 100000);
    limit(secret, 100000, 50000, 0); /* the earlier one counts */
    CHECK(info_of(secret).expires_ms > 30000 && info_of(secret).expires_ms <= 50000);
    limit(secret, 0, 0, 0); /* later limits replace earlier ones */
    CHECK(info_of(secret).expires_ms == 0);
    vault_end(vault);
}

TEST(replaced_limits_no_longer_count) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    limit(secret, 20, 0, 1);
    limit(secret, 0, 0, 0);
    sleep_ms(60);
    for (int i = 0; i < 3; i++) CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(limits_as_large_as_can_be_do_not_wrap) {
    memguard_vault *vault = vault_make();
    static const uint64_t large[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 1000, UINT64_MAX / 1000000, INT64_MAX};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        memguard_secret secret = secret_make(vault, SIZE, 0, 1);
        limit(secret, large[i], large[i], large[i]);
        CHECK(holds_pattern(secret, SIZE, 1));
        sleep_ms(5);
        CHECK(holds_pattern(secret, SIZE, 1));
        CHECK(info_of(secret).uses_left >= large[i] - 3); /* the very largest may stand for itself and one less */
        CHECK(info_of(secret).expires_ms > 1000000);
    }
    vault_end(vault);
}

TEST(a_borrow_outlives_the_time_to_live) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        memguard_view view = borrow(secret, MEMGUARD_READ);
        CHECK_AMONG(life(secret), ANY_OF(OK));
        give_back(&view);
        limit(secret, 300, 0, 0);
        if (memguard_secret_acquire(secret, MEMGUARD_READ, &view) != MEMGUARD_OK) SKIP("this machine is too busy");
        CHECK_STATUS(use_until_it_fails(secret), MEMGUARD_ERR_EXPIRED);
        sleep_ms(20);
        CHECK(is_pattern(view.data, SIZE, 1));
        give_back(&view);
        CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
    }
    vault_end(vault);
}

/* Nobody calls the library: the housekeeper alone must close the page. */
TEST(the_housekeeper_wipes_an_expired_secret_without_being_called) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_MAPPED, 1);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    CHECK(can_read(place) == 1);
    limit(secret, 20, 0, 0);
    for (uint64_t end = now_ms() + 10000; can_read(place) == 1 && now_ms() < end;) sleep_ms(5);
    CHECK(can_read(place) == 0);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

TEST(without_a_thread_the_next_call_or_tick_enforces_limits) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret by_call = secret_make(vault, SIZE, 0, 1), by_tick = secret_make(vault, SIZE, MEMGUARD_MAPPED, 2);
    memguard_view view = borrow(by_tick, MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    limit(by_call, 5, 0, 0), limit(by_tick, 5, 0, 0);
    sleep_ms(20);
    CHECK_STATUS(use_once(by_call), MEMGUARD_ERR_EXPIRED);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(can_read(place) == 0);
    CHECK_STATUS(use_once(by_tick), MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

/* Uses that come in time keep it alive for longer than the limit; then it ends by itself. */
TEST(idleness_ends_a_secret_and_use_puts_that_off) {
    const uint64_t idle = 250;
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_MAPPED, 1);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    limit(secret, 0, idle, 0);
    uint64_t last = now_ms();
    for (uint64_t end = last + 2 * idle; now_ms() < end; sleep_ms(10)) {
        memguard_status status = use_once(secret);
        if (now_ms() - last > idle - 10) SKIP("this machine is too busy");
        last = now_ms();
        if (!CHECK_STATUS(status, MEMGUARD_OK)) break;
    }
    for (uint64_t end = now_ms() + 10000; can_read(place) == 1 && now_ms() < end;) sleep_ms(5);
    CHECK(now_ms() - last >= idle - 2);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

TEST(idleness_counts_from_the_end_of_the_last_borrow) {
    const uint64_t idle = 200;
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    uint64_t start = now_ms();
    limit(secret, 0, idle, 0);
    memguard_view view = {0};
    memguard_status status = memguard_secret_acquire(secret, MEMGUARD_READ, &view);
    if (now_ms() - start > idle - 10) SKIP("this machine is too busy");
    CHECK_STATUS(status, MEMGUARD_OK);
    sleep_ms((unsigned)(2 * idle));
    start = now_ms();
    give_back(&view);
    status = use_once(secret);
    if (now_ms() - start > idle - 10) SKIP("this machine is too busy");
    CHECK_STATUS(status, MEMGUARD_OK);
    vault_end(vault);
}

TEST(an_expired_secret_can_be_destroyed_and_is_stale_then) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1), copy = secret;
    limit(secret, 0, 0, 1);
    CHECK_STATUS(use_once(secret), MEMGUARD_OK);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
    CHECK_AMONG(memguard_secret_destroy(&secret), ANY_OF(OK) | ANY_OF(ERR_EXPIRED));
    CHECK_STATUS(use_once(copy), MEMGUARD_ERR_STALE);
    vault_end(vault);
}

int main(void) {
    RUN(a_scope_destroys_what_was_made_in_it_but_not_what_is_kept);
    RUN(a_scope_holds_what_all_four_makers_make);
    RUN(a_secret_belongs_to_the_innermost_scope);
    RUN(closing_an_outer_scope_closes_the_inner_ones);
    RUN(scopes_of_two_vaults_do_not_hold_each_others_secrets);
    RUN(a_borrowed_secret_of_a_closed_scope_dies_at_its_last_release);
    RUN(a_scope_belongs_to_its_thread);
    RUN(a_scope_that_is_closed_null_or_no_scope_is_stale);
    RUN(a_scope_still_closes_when_its_vault_was_destroyed_or_purged);
    RUN(a_thread_that_ends_closes_its_scopes);
    RUN(a_secret_may_die_before_its_scope);
    RUN(a_scope_can_be_closed_while_its_vault_is_locked);
    RUN(scopes_nest_deeply_and_can_be_made_without_end);
    RUN(automatic_secrets_and_views_end_with_their_block);
    RUN(automatic_scopes_and_vaults_end_with_their_block);
    RUN(uses_are_counted_down_and_the_secret_ends_after_the_last);
    RUN(the_last_borrow_is_not_cut_short);
    RUN(a_refused_borrow_is_not_counted);
    RUN(a_time_to_live_ends_the_secret_and_not_before);
    RUN(info_tells_the_time_that_is_left);
    RUN(replaced_limits_no_longer_count);
    RUN(limits_as_large_as_can_be_do_not_wrap);
    RUN(a_borrow_outlives_the_time_to_live);
    RUN(the_housekeeper_wipes_an_expired_secret_without_being_called);
    RUN(without_a_thread_the_next_call_or_tick_enforces_limits);
    RUN(idleness_ends_a_secret_and_use_puts_that_off);
    RUN(idleness_counts_from_the_end_of_the_last_borrow);
    RUN(an_expired_secret_can_be_destroyed_and_is_stale_then);
    return check_end();
}
