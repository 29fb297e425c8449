/* test_lock_fire.c: a vault that is locked and unlocked while others work in it: what is answered is one of OK, LOCKED and BUSY, what is
 * shown is right, and only the right kek opens it. What the locked state refuses call by call is in test_states.c and test_vaults.c. */
#include "api/support.h"

#include <sched.h>

enum { SIZE = 100, WORKERS = 8, SECRETS = 8, WATCH_S = 60 };
#define FIRE_MS(ms) (CHECK_SANITIZED ? (ms) / 5 + 200 : (ms))

static void watch(void) { alarm(WATCH_S); } /* a hang: killed by SIGALRM */

static memguard_vault *vault;
static memguard_secret secrets[SECRETS];
static atomic_int over;
static atomic_long done, refused, busy;

static void make_secrets(void) {
    for (uint32_t i = 0; i < SECRETS; i++)
        secrets[i] = secret_make(vault, SIZE, i % RESTS, i);
}

/* ---- a lock that is refused ---- */

static void *use_another(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        if (!CHECK(holds_pattern(secrets[1], SIZE, 1))) break;
        memguard_secret own = secret_make(vault, SIZE, 0, 5);
        if (!CHECK_STATUS(memguard_secret_destroy(&own), MEMGUARD_OK)) break;
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

TEST(a_lock_or_destroy_refused_for_a_borrow_that_lasts_disturbs_nobody) {
    pthread_t thread;
    watch();
    vault = vault_make();
    make_secrets();
    for (int i = 0; i < 5000; i++)
        secret_make(vault, 1, 0, 1); /* many to look at, and the borrowed one is the last */
    memguard_view view = borrow(secret_make(vault, SIZE, MEMGUARD_CLOSED, 1), MEMGUARD_READ);
    atomic_store(&over, 0);
    atomic_store(&done, 0);
    CHECK(pthread_create(&thread, NULL, use_another, NULL) == 0);
    for (int i = 0; i < 2000 || atomic_load(&done) < 1000; i++) {
        memguard_vault *same = vault;
        CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_ERR_BUSY);
        CHECK_STATUS(memguard_vault_destroy(&same), MEMGUARD_ERR_BUSY);
        if (atomic_load(&check_bad) != 0) break;
    }
    atomic_store(&over, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    give_back(&view);
    vault_end(vault);
}

/* ---- a lock under fire ---- */

#define MEETS_LOCK (ANY_OF(OK) | ANY_OF(ERR_LOCKED) | ANY_OF(ERR_BUSY))

static void count(memguard_status status) {
    CHECK_AMONG(status, MEETS_LOCK);
    atomic_fetch_add(status == MEMGUARD_OK ? &done : status == MEMGUARD_ERR_LOCKED ? &refused : &busy, 1);
}

static void look(uint32_t i, uint32_t access) {
    memguard_view view = {0};
    const memguard_status status = memguard_secret_acquire(secrets[i], access, &view);
    count(status);
    if (status != MEMGUARD_OK) return;
    CHECK(is_pattern(view.data, view.size, i));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}

static void take_and_destroy(uint32_t i) {
    unsigned char source[SIZE];
    memguard_secret secret = {0};
    fill(source, SIZE, i);
    const memguard_status status = memguard_secret_take(vault, source, SIZE, i % RESTS, &secret);
    count(status);
    CHECK(is_zero(source, SIZE)); /* also when refused */
    CHECK_STATUS(memguard_secret_destroy(&secret), status == MEMGUARD_OK ? MEMGUARD_OK : MEMGUARD_ERR_STALE);
}

static void *work(void *arg) {
    for (uint32_t i = (uint32_t)(uintptr_t)arg; !atomic_load(&over) && atomic_load(&check_bad) < 20; i++) {
        const uint32_t which = i % SECRETS;
        expected_bytes expected = {NULL, SIZE, which};
        int right = 1;
        count(memguard_secret_use(secrets[which], show_matches, &expected, &right));
        CHECK(right == 1);
        look(which, i % 5 == 0 ? MEMGUARD_WRITE : MEMGUARD_READ);
        take_and_destroy(i);
        count(memguard_secret_rest(secrets[which], i / 3 % RESTS));
        if (i % 16 == 0) sleep_ms(1);
    }
    return NULL;
}

/* One round; 1 when it was locked. */
static int lock_once(unsigned round) {
    const memguard_status status = memguard_vault_lock(vault, right_kek);
    if (!CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_BUSY)) || status != MEMGUARD_OK) return 0;
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_use(secrets[round % SECRETS], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_create(vault, SIZE, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_ERR_STATE);
    const memguard_report report = report_of(vault);
    CHECK(report.locked == 1 && report.borrows == 0);
    CHECK(report.secrets[1] + report.secrets[2] + report.secrets[3] == 0); /* nothing lies open */
    for (unsigned i = 0; i < round % 4; i++)
        CHECK_STATUS(memguard_vault_unlock(vault, wrong_kek), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    return 1;
}

TEST(locking_under_fire_shows_right_bytes_or_says_locked_and_only_the_right_kek_opens) {
    pthread_t threads[WORKERS];
    unsigned locked = 0;
    watch();
    vault = vault_make();
    make_secrets();
    atomic_store(&over, 0);
    atomic_store(&done, 0);
    for (uintptr_t i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    const uint64_t begin = now_ms();
    for (unsigned round = 0; now_ms() - begin < FIRE_MS(2000) || (locked < 3 && now_ms() - begin < 20000); round++) {
        locked += (unsigned)lock_once(round);
        sleep_ms(1);
    }
    atomic_store(&over, 1);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    printf("%u times locked; %ld done, %ld refused, %ld busy\n", locked, atomic_load(&done), atomic_load(&refused),
           atomic_load(&busy));
    CHECK(locked >= 3 && atomic_load(&done) > 100 && atomic_load(&refused) > 0);
    for (uint32_t i = 0; i < SECRETS; i++)
        CHECK(holds_pattern(secrets[i], SIZE, i));
    CHECK(report_of(vault).auth_failures == 0); /* of sealed bytes */
    vault_end(vault);
}

/* ---- limits in a locked vault ---- */

static memguard_secret limited(uint64_t ttl_ms, uint64_t idle_ms, uint64_t uses) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, 1);
    limits.ttl_ms = ttl_ms, limits.idle_ms = idle_ms, limits.uses = uses;
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
    return secret;
}

TEST(time_runs_in_a_locked_vault_and_uses_do_not) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    watch();
    vault = vault_make();
    memguard_secret short_lived = limited(200, 0, 0), idle = limited(0, 200, 0), counted = limited(0, 0, 1);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(memguard_secret_use(counted, show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_secret_limit(counted, &limits), MEMGUARD_ERR_LOCKED);
    sleep_ms(300);
    CHECK_STATUS(life(short_lived), MEMGUARD_ERR_EXPIRED);
    CHECK_STATUS(life(idle), MEMGUARD_ERR_EXPIRED);
    CHECK_STATUS(life(counted), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(short_lived, show_nothing, NULL, NULL), MEMGUARD_ERR_EXPIRED);
    CHECK_STATUS(memguard_secret_use(idle, show_nothing, NULL, NULL), MEMGUARD_ERR_EXPIRED);
    CHECK(holds_pattern(counted, SIZE, 1)); /* the one use was not used up by refusals */
    CHECK_STATUS(memguard_secret_use(counted, show_nothing, NULL, NULL), MEMGUARD_ERR_EXPIRED);
    vault_end(vault);
}

int main(void) {
    RUN(a_lock_or_destroy_refused_for_a_borrow_that_lasts_disturbs_nobody);
    RUN(locking_under_fire_shows_right_bytes_or_says_locked_and_only_the_right_kek_opens);
    RUN(time_runs_in_a_locked_vault_and_uses_do_not);
    return check_end();
}
