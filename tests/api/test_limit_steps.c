/* test_limit_steps.c: limits act in steps (seal, then wipe, then take away), by themselves, also while the vault is
 * locked; and the key of a locked vault can be changed. */
#include "support.h"

enum { SIZE = 100, WAIT_MS = 20000 };

static memguard_limits limits_of(uint64_t ttl_ms, uint64_t seal_ms, uint64_t grace_ms) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.ttl_ms = ttl_ms;
    limits.seal_ms = seal_ms;
    limits.grace_ms = grace_ms;
    return limits;
}

static void limit(memguard_secret secret, memguard_limits limits) {
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
}

static uint32_t rest_of(memguard_secret secret) { return info_of(secret).rest; }

/* Waits until the rest is SEALED. Describing is not a borrow: it puts nothing off. */
static int becomes_sealed(memguard_secret secret) {
    const uint64_t end = now_ms() + WAIT_MS;
    while (rest_of(secret) != MEMGUARD_SEALED && now_ms() < end)
        sleep_ms(5);
    return rest_of(secret) == MEMGUARD_SEALED;
}

TEST(what_rests_open_is_sealed_by_itself_and_stays_usable) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = MEMGUARD_CLOSED; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, rest);
        const uint64_t start = now_ms();
        limit(secret, limits_of(0, 60, 0));
        CHECK(becomes_sealed(secret));
        CHECK(now_ms() - start >= 59);
        CHECK(holds_pattern(secret, SIZE, (unsigned char)rest));
        CHECK(rest_of(secret) == MEMGUARD_SEALED);
    }
    vault_end(vault);
}

TEST(sealing_forgets_that_pages_stayed_writable) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, 1);
    CHECK(info_of(secret).flags == MEMGUARD_WRITABLE);
    limit(secret, limits_of(0, 10, 0));
    CHECK(becomes_sealed(secret));
    CHECK(info_of(secret).flags == 0);
    vault_end(vault);
}

TEST(a_rest_chosen_again_is_sealed_again) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    limit(secret, limits_of(0, 20, 0));
    for (int i = 0; i < 3; i++) {
        CHECK(becomes_sealed(secret));
        CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_CLOSED), MEMGUARD_OK);
    }
    CHECK(becomes_sealed(secret));
    vault_end(vault);
}

TEST(a_borrow_puts_the_sealing_off) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    memguard_view view = borrow(secret, MEMGUARD_WRITE);
    give_back(&view);
    limit(secret, limits_of(0, 50, 0));
    view = borrow(secret, MEMGUARD_WRITE);
    sleep_ms(200);
    CHECK(is_pattern(view.data, SIZE, 1));
    CHECK(rest_of(secret) == MEMGUARD_CLOSED);
    give_back(&view);
    CHECK(becomes_sealed(secret));
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(sealing_comes_before_the_end_and_does_not_put_it_off) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    limit(secret, limits_of(1500, 20, 0));
    int was_sealed = 0;
    memguard_status status = MEMGUARD_OK;
    for (const uint64_t end = now_ms() + WAIT_MS; status == MEMGUARD_OK && now_ms() < end; sleep_ms(2)) {
        memguard_info info = MEMGUARD_INFO_INIT;
        status = memguard_secret_info(secret, &info);
        if (status == MEMGUARD_OK && info.rest == MEMGUARD_SEALED) was_sealed = 1;
    }
    CHECK(was_sealed);
    CHECK_STATUS(status, MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

TEST(a_tick_seals_without_a_thread) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    limit(secret, limits_of(0, 5, 0));
    sleep_ms(20);
    CHECK(rest_of(secret) == MEMGUARD_CLOSED);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(rest_of(secret) == MEMGUARD_SEALED);
    vault_end(vault);
}

/* ---- borrows that outlive the ttl --------------------------------------------------------------------- */

static uint64_t revoked_of(memguard_vault *vault) {
    const memguard_report report = report_of(vault);
    CHECK(report.unrevoked == 0);
    return report.revoked;
}

static int becomes_revoked(memguard_vault *vault, uint64_t count) {
    const uint64_t end = now_ms() + WAIT_MS;
    while (revoked_of(vault) < count && now_ms() < end)
        sleep_ms(5);
    return revoked_of(vault) == count;
}

TEST(a_borrow_that_outlives_the_grace_is_taken_away) {
    memguard_vault *vault = vault_make();
    uint64_t count = 0;
    for (uint32_t rest = MEMGUARD_SEALED; rest <= MEMGUARD_MAPPED; rest++) {
        for (uint32_t access = MEMGUARD_READ; access <= MEMGUARD_WRITE; access++) {
            memguard_secret secret = secret_make(vault, SIZE, rest, 1);
            memguard_view view = borrow(secret, access);
            give_back(&view);
            limit(secret, limits_of(100, 0, 50));
            if (memguard_secret_acquire(secret, access, &view) != MEMGUARD_OK) SKIP("this machine is too busy");
            const uint64_t start = now_ms();
            CHECK(becomes_revoked(vault, ++count));
            CHECK(now_ms() - start >= 49);
            CHECK(can_read(view.data) == 0);
            CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
            CHECK_STATUS(use_once(secret), MEMGUARD_ERR_STALE);
        }
    }
    vault_end(vault);
}

static int wait_inside(const void *bytes, size_t size, void *arg) {
    (void)size;
    return becomes_revoked(arg, 1) && can_read(bytes) == 0;
}

TEST(a_use_that_outlives_the_grace_loses_its_page) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_SEALED, 1);
    int saw = 0;
    limit(secret, limits_of(200, 0, 1));
    const memguard_status status = memguard_secret_use(secret, wait_inside, vault, &saw);
    if (status == MEMGUARD_ERR_EXPIRED) SKIP("this machine is too busy");
    CHECK_STATUS(status, MEMGUARD_ERR_REVOKED);
    CHECK(saw);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_STALE);
    vault_end(vault);
}

static void check_is_waited_for(memguard_vault *vault, uint32_t rest, uint64_t grace_ms) {
    memguard_secret secret = secret_make(vault, SIZE, rest, 1);
    memguard_view view = {0};
    limit(secret, limits_of(100, 0, grace_ms));
    if (memguard_secret_acquire(secret, MEMGUARD_READ, &view) != MEMGUARD_OK) SKIP("this machine is too busy");
    sleep_ms(400);
    CHECK(is_pattern(view.data, SIZE, 1));
    CHECK(revoked_of(vault) == 0);
    give_back(&view);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_EXPIRED);
}

TEST(an_endless_grace_and_compact_secrets_are_waited_for) {
    memguard_vault *vault = vault_make();
    check_is_waited_for(vault, MEMGUARD_SEALED, UINT64_MAX);
    check_is_waited_for(vault, MEMGUARD_CLOSED, UINT64_MAX - 50);
    check_is_waited_for(vault, MEMGUARD_COMPACT, 1);
    vault_end(vault);
}

TEST(others_of_the_vault_keep_their_borrows) {
    memguard_vault *vault = vault_make();
    memguard_secret doomed = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1), other = secret_make(vault, SIZE, 0, 2);
    memguard_view lost = {0}, kept = borrow(other, MEMGUARD_READ);
    limit(doomed, limits_of(100, 0, 1));
    if (memguard_secret_acquire(doomed, MEMGUARD_READ, &lost) != MEMGUARD_OK) SKIP("this machine is too busy");
    CHECK(becomes_revoked(vault, 1));
    CHECK(is_pattern(kept.data, SIZE, 2));
    give_back(&kept);
    CHECK_STATUS(memguard_view_release(&lost), MEMGUARD_ERR_REVOKED);
    CHECK(holds_pattern(other, SIZE, 2));
    vault_end(vault);
}

/* ---- locked ------------------------------------------------------------------------------------------- */

TEST(limits_run_while_the_vault_is_locked) {
    memguard_vault *vault = vault_make();
    memguard_secret mortal = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1), other = secret_make(vault, SIZE, 0, 2);
    limit(mortal, limits_of(300, 50, 0));
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    memguard_status status = MEMGUARD_OK;
    for (const uint64_t end = now_ms() + WAIT_MS; status == MEMGUARD_OK && now_ms() < end; sleep_ms(5)) {
        memguard_info info = MEMGUARD_INFO_INIT;
        status = memguard_secret_info(mortal, &info);
    }
    CHECK_STATUS(status, MEMGUARD_ERR_EXPIRED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(use_once(mortal), MEMGUARD_ERR_EXPIRED);
    CHECK(holds_pattern(other, SIZE, 2));
    vault_end(vault);
}

TEST(the_key_of_a_locked_vault_can_be_changed) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, 1);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_rewrap(vault, wrong_kek, right_kek), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_vault_rewrap(vault, right_kek, wrong_kek), MEMGUARD_OK);
    CHECK_STATUS(use_once(secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_rewrap(vault, wrong_kek, wrong_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_vault_unlock(vault, wrong_kek), MEMGUARD_OK);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(vault);
}

TEST(a_key_is_changed_only_while_locked) {
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_vault_rewrap(vault, right_kek, wrong_kek), MEMGUARD_ERR_STATE);
    CHECK_STATUS(memguard_vault_rewrap(NULL, right_kek, wrong_kek), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_rewrap(vault, NULL, wrong_kek), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_rewrap(vault, right_kek, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    memguard_vault *gone = vault;
    vault_end(vault);
    CHECK_STATUS(memguard_vault_rewrap(gone, right_kek, wrong_kek), MEMGUARD_ERR_STALE);
}

int main(void) {
    RUN(what_rests_open_is_sealed_by_itself_and_stays_usable);
    RUN(sealing_forgets_that_pages_stayed_writable);
    RUN(a_rest_chosen_again_is_sealed_again);
    RUN(a_borrow_puts_the_sealing_off);
    RUN(sealing_comes_before_the_end_and_does_not_put_it_off);
    RUN(a_tick_seals_without_a_thread);
    RUN(a_borrow_that_outlives_the_grace_is_taken_away);
    RUN(a_use_that_outlives_the_grace_loses_its_page);
    RUN(an_endless_grace_and_compact_secrets_are_waited_for);
    RUN(others_of_the_vault_keep_their_borrows);
    RUN(limits_run_while_the_vault_is_locked);
    RUN(the_key_of_a_locked_vault_can_be_changed);
    RUN(a_key_is_changed_only_while_locked);
    return check_end();
}
