/* What threads, forks, cancellation and purges could do to each other: one test for each way that once went wrong. */
#include "api/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { SIZE = 100 };

static void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* ---- cancellation ---- */

static memguard_vault *common_vault;
static atomic_int came_back;

static void *seal_while_cancelled(void *arg) {
    memguard_secret secret = {0};
    (void)arg;
    pthread_cancel(pthread_self());
    CHECK_STATUS(memguard_secret_copy(common_vault, "0123456789", 10, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    atomic_store(&came_back, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return NULL;
}

TEST(no_call_is_a_cancellation_point) {
    pthread_t thread;
    common_vault = vault_make();
    atomic_store(&came_back, 0);
    CHECK(pthread_create(&thread, NULL, seal_while_cancelled, NULL) == 0);
    join(thread);
    CHECK(atomic_load(&came_back) == 1);
    vault_end(common_vault);
}

/* ---- forks ---- */

static atomic_int stop;

static void *make_runs(void *arg) {
    (void)arg;
    while (atomic_load(&stop) == 0) {
        memguard_secret secrets[32];
        for (unsigned i = 0; i < 32; i++) secrets[i] = secret_make(common_vault, 4097 + i * 4096, MEMGUARD_CLOSED, i);
        for (unsigned i = 0; i < 32; i++) CHECK_STATUS(memguard_secret_destroy(&secrets[i]), MEMGUARD_OK);
    }
    return NULL;
}

/* In the child: whether a mapping of secret memory came along. */
static int has_secretmem(void) {
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL) return 2;
    while (fgets(line, sizeof line, maps) != NULL) found |= strstr(line, "secretmem") != NULL;
    fclose(maps);
    return found;
}

TEST(a_fork_while_pages_are_made_takes_none_along) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    pthread_t thread;
    if (CHECK_SANITIZED) SKIP("fork of several threads is not what sanitizers are made for");
    options.backend = MEMGUARD_BACKEND_SECRETMEM;
    if (memguard_vault_create(&options, &common_vault) != MEMGUARD_OK) SKIP("no secretmem here");
    atomic_store(&stop, 0);
    CHECK(pthread_create(&thread, NULL, make_runs, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        int status = -1;
        const pid_t child = fork();
        if (child == 0) _exit(has_secretmem());
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1);
    join(thread);
    vault_end(common_vault);
}

static int move_null(void *arg) {
    memguard_secret secret = {1};
    (void)arg;
    CHECK_STATUS(memguard_secret_move_at(secret, 0, NULL, 16), MEMGUARD_ERR_ARGUMENT);
    return 0;
}

TEST(null_and_impossible_sizes_are_refused_before_anything_is_wiped) {
    unsigned char byte = 7;
    memguard_secret secret = {1};
    CHECK(move_null(NULL) == 0);
    CHECK_STATUS(memguard_secret_move_at(secret, 0, &byte, SIZE_MAX), MEMGUARD_ERR_SIZE);
    CHECK(byte == 7);
}

/* ---- equal is no borrow ---- */

static memguard_secret common_secret;
static unsigned char big[1 << 18];

static void *compare_for_ever(void *arg) {
    (void)arg;
    while (atomic_load(&stop) == 0) ignore(memguard_secret_equal(common_secret, big, sizeof big));
    return NULL;
}

TEST(a_purge_waits_for_equal_and_never_crashes_it) {
    pthread_t thread;
    common_vault = vault_make();
    CHECK_STATUS(memguard_secret_copy(common_vault, big, sizeof big, MEMGUARD_MAPPED, &common_secret), MEMGUARD_OK);
    atomic_store(&stop, 0);
    for (int i = 0; i < 60; i++) {
        atomic_store(&stop, 0);
        CHECK(pthread_create(&thread, NULL, compare_for_ever, NULL) == 0);
        sleep_ms(3);
        CHECK_STATUS(memguard_vault_purge(common_vault, 0), MEMGUARD_OK);
        atomic_store(&stop, 1);
        join(thread);
        CHECK_STATUS(memguard_secret_copy(common_vault, big, sizeof big, MEMGUARD_MAPPED, &common_secret), MEMGUARD_OK);
    }
    vault_end(common_vault);
}

/* ---- purges from inside borrows ---- */

static memguard_view lent;

static void *release_lent(void *arg) {
    (void)arg;
    CHECK_STATUS(memguard_view_release(&lent), MEMGUARD_OK);
    return NULL;
}

static int let_another_release(const void *bytes, size_t size, void *arg) {
    pthread_t thread;
    (void)bytes, (void)size, (void)arg;
    CHECK(pthread_create(&thread, NULL, release_lent, NULL) == 0);
    join(thread);
    return 0;
}

TEST(a_deferred_purge_is_completed_whoever_ends_the_borrow) {
    memguard_vault *vault = vault_make(), *other = vault_make();
    memguard_secret secret = secret_make(other, SIZE, 0, 2);
    lent = borrow(secret_make(vault, SIZE, 0, 1), MEMGUARD_READ);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK(report_of(vault).purges == 0); /* deferred: this thread borrows */
    CHECK_STATUS(memguard_secret_use(secret, let_another_release, NULL, NULL), MEMGUARD_OK);
    CHECK(report_of(vault).purges == 1);
    vault_end(vault);
    vault_end(other);
}

static atomic_int inside, leave;

static int purge_and_stay(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    CHECK_STATUS(memguard_vault_purge(common_vault, 60000), MEMGUARD_OK);
    atomic_store(&inside, 1);
    wait_for(&leave, 1);
    return 0;
}

static void *use_and_purge(void *arg) {
    (void)arg;
    CHECK_STATUS(memguard_secret_use(common_secret, purge_and_stay, NULL, NULL), MEMGUARD_ERR_REVOKED);
    return NULL;
}

TEST(of_two_deferred_purges_the_first_due_takes_effect) {
    pthread_t thread;
    common_vault = vault_make();
    memguard_secret mine = secret_make(common_vault, SIZE, 0, 1);
    common_secret = secret_make(common_vault, SIZE, 0, 2);
    memguard_view view = borrow(mine, MEMGUARD_READ);
    atomic_store(&inside, 0);
    atomic_store(&leave, 0);
    CHECK(pthread_create(&thread, NULL, use_and_purge, NULL) == 0);
    wait_for(&inside, 1);
    CHECK_STATUS(memguard_vault_purge(common_vault, 0), MEMGUARD_OK);
    give_back(&view); /* ours is due now, and waits for nobody: the other's bytes are taken away */
    CHECK(report_of(common_vault).purges == 1 && report_of(common_vault).revoked == 1);
    atomic_store(&leave, 1);
    join(thread);
    vault_end(common_vault);
}

/* ---- purges beside purges ---- */

static void *hold_a_view(void *arg) {
    memguard_view view = borrow(common_secret, MEMGUARD_READ);
    (void)arg;
    atomic_store(&inside, 1);
    wait_for(&leave, 1);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
    return NULL;
}

static void *purge_patiently(void *arg) {
    (void)arg;
    CHECK_STATUS(memguard_vault_purge(common_vault, 600000), MEMGUARD_ERR_REVOKED);
    return NULL;
}

TEST(an_impatient_purge_shortens_a_patient_one_and_the_dead_holder_keeps_nobody_from_anything) {
    pthread_t holder, purger;
    common_vault = vault_make();
    common_secret = secret_make(common_vault, SIZE, MEMGUARD_CLOSED, 1);
    atomic_store(&inside, 0);
    atomic_store(&leave, 0);
    CHECK(pthread_create(&holder, NULL, hold_a_view, NULL) == 0);
    wait_for(&inside, 1);
    CHECK(pthread_create(&purger, NULL, purge_patiently, NULL) == 0);
    sleep_ms(20);
    CHECK_STATUS(memguard_vault_purge(common_vault, 0), MEMGUARD_ERR_REVOKED);
    join(purger);
    CHECK_STATUS(memguard_vault_lock(common_vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(common_vault, right_kek), MEMGUARD_OK);
    vault_end(common_vault); /* OK, not BUSY: what was revoked is nobody's borrow */
    atomic_store(&leave, 1);
    join(holder);
}

static void *purge_all_patiently(void *arg) {
    (void)arg;
    CHECK_STATUS(memguard_purge_all(600000), MEMGUARD_ERR_REVOKED);
    return NULL;
}

TEST(purge_all_closes_every_gate_before_it_waits_for_anybody) {
    pthread_t holder, purger;
    common_vault = vault_make();
    memguard_vault *second = vault_make();
    memguard_secret secret = secret_make(second, SIZE, 0, 3);
    common_secret = secret_make(common_vault, SIZE, 0, 1);
    atomic_store(&inside, 0);
    atomic_store(&leave, 0);
    CHECK(pthread_create(&holder, NULL, hold_a_view, NULL) == 0);
    wait_for(&inside, 1);
    CHECK(pthread_create(&purger, NULL, purge_all_patiently, NULL) == 0);
    for (int i = 0; i < 5000 && life(secret) == MEMGUARD_OK; i++) sleep_ms(1);
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE); /* though the first vault's holder is still waited for */
    CHECK_STATUS(memguard_vault_purge(common_vault, 0), MEMGUARD_ERR_REVOKED);
    join(purger);
    atomic_store(&leave, 1);
    join(holder);
    vault_end(common_vault);
    vault_end(second);
}

/* ---- addresses and limits ---- */

TEST(an_address_that_a_host_held_never_becomes_a_page_with_keys) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    memguard_secret stays = secret_make(vault, SIZE, 0, 1); /* so that there is a reason to re-key */
    memguard_secret secret = secret_make(vault, 16384, MEMGUARD_CLOSED, 1); /* as long as the prekey */
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const void *kept = view.data;
    give_back(&view);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    const uint64_t before = report_of(vault).rekeys;
    for (int i = 0; i < 5000 && report_of(vault).rekeys < before + 10; i++) {
        CHECK(can_read(kept) == 0);
        sleep_ms(2);
    }
    CHECK(report_of(vault).rekeys >= before + 10);
    CHECK(holds_pattern(stays, SIZE, 1));
    vault_end(vault);
}

TEST(an_expired_secret_is_wiped_by_the_next_call_when_nobody_keeps_house) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_MAPPED, 1);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const void *kept = view.data;
    give_back(&view);
    limits.ttl_ms = 20;
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
    sleep_ms(40);
    CHECK(can_read(kept) == 1); /* a control: nobody has called yet */
    CHECK_STATUS(life(secret), MEMGUARD_ERR_EXPIRED);
    CHECK(can_read(kept) == 0);
    vault_end(vault);
}

int main(void) {
    RUN(no_call_is_a_cancellation_point);
    RUN(a_fork_while_pages_are_made_takes_none_along);
    RUN(null_and_impossible_sizes_are_refused_before_anything_is_wiped);
    RUN(a_purge_waits_for_equal_and_never_crashes_it);
    RUN(a_deferred_purge_is_completed_whoever_ends_the_borrow);
    RUN(of_two_deferred_purges_the_first_due_takes_effect);
    RUN(an_impatient_purge_shortens_a_patient_one_and_the_dead_holder_keeps_nobody_from_anything);
    RUN(purge_all_closes_every_gate_before_it_waits_for_anybody);
    RUN(an_address_that_a_host_held_never_becomes_a_page_with_keys);
    RUN(an_expired_secret_is_wiped_by_the_next_call_when_nobody_keeps_house);
    return check_end();
}
