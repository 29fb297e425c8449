/* test_scan_lock.c: while a vault is locked its key is nowhere in this process in any form but wrapped, nor is what it sealed: a search
 * of the whole memory for K, x, y, H(x), Ks, the subkey, keystream, keks, wrapping keys and the plaintext of secrets of every rest. The
 * same search before the lock and after the unlock finds x, y and the open plaintext: the control. */
#define _GNU_SOURCE
#include "lab/subject.h"

enum { SIZE = 64, REPEATS = 10 };

static struct scan_result found;

static unsigned anywhere(enum scan_column column) { return scan_runs_outside(&found, column, SCAN_NOWHERE); }

/* Nothing of what is looked for, but perhaps these. */
static void expect_nothing(const char *state) {
    scan_memory(&found);
    unsigned sum = 0;
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++)
        sum += anywhere(c);
    if (!CHECK(sum == 0)) scan_print_hits(&found, state);
    CHECK(found.unread_bytes == 0);
}

static memguard_secret take(memguard_vault *vault, uint32_t rest, int *needle) {
    memguard_secret secret = {0};
    unsigned char *source = malloc(SIZE);
    if (source == NULL) abort();
    *needle = scan_draw(SCAN_P, SIZE, SCAN_ALL_FORMS, source);
    CHECK_STATUS(memguard_secret_take(vault, source, SIZE, rest, &secret), MEMGUARD_OK);
    free(source);
    return secret;
}

struct kek {
    unsigned char bytes[32];
    int needle, w;
};

static void body_wrapping_key(void *arg) {
    const struct kek *kek = arg;
    unsigned char w[32];
    mg__crypto_derive(w, MG_DERIVE_WRAP, kek->bytes);
    scan_set(kek->w, 0, w, 32);
}

static void draw_kek(struct kek *kek) {
    kek->needle = scan_draw(SCAN_KEK, 32, SCAN_ALL_FORMS, kek->bytes);
    kek->w = scan_add(SCAN_W, 32, SCAN_ALL_FORMS);
    scan_call(body_wrapping_key, kek);
    scan_index(kek->w);
}

/* Calls with a kek that the host has only while it calls. */
static memguard_status with_kek(memguard_status (*call)(memguard_vault *, const uint8_t *), memguard_vault *vault,
                                struct kek *kek) {
    CHECK(scan_plant(kek->needle, SCAN_RAW, kek->bytes) == 32);
    const memguard_status status = call(vault, kek->bytes);
    scan_wipe(kek->bytes, 32);
    return status;
}

static void lock_and_search(uint32_t flags) {
    static struct kek first, second, wrong;
    int needles[4];
    memguard_secret secrets[4];
    scan_begin(60000);
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_LOCKED, flags, 4096);
    if (vault == NULL) return;
    for (uint32_t rest = 0; rest < 4; rest++)
        secrets[rest] = take(vault, rest, &needles[rest]);
    for (int i = 0; i < 4; i++)
        CHECK_STATUS(memguard_secret_use(secrets[i], touch_bytes, NULL, NULL), MEMGUARD_OK);
    const struct keys keys = find_keys(vault, secrets[0], needles[0], NULL);
    draw_kek(&first);
    draw_kek(&second);
    draw_kek(&wrong);
    scan_wipe(first.bytes, 32), scan_wipe(second.bytes, 32), scan_wipe(wrong.bytes, 32);
    scan_memory(&found);
    CHECK(anywhere(SCAN_X) == 1 && anywhere(SCAN_Y) == 1 && anywhere(SCAN_P) == 3); /* the control */
    CHECK(anywhere(SCAN_K) + anywhere(SCAN_KS) + anywhere(SCAN_W) + anywhere(SCAN_KEK) == 0);

    CHECK_STATUS(with_kek(memguard_vault_lock, vault, &first), MEMGUARD_OK);
    expect_nothing("locked");
    CHECK_STATUS(with_kek(memguard_vault_unlock, vault, &wrong), MEMGUARD_ERR_AUTH);
    expect_nothing("wrong kek");
    CHECK(scan_plant(first.needle, SCAN_RAW, first.bytes) == 32 &&
          scan_plant(second.needle, SCAN_RAW, second.bytes) == 32);
    CHECK_STATUS(memguard_vault_rewrap(vault, first.bytes, second.bytes), MEMGUARD_OK);
    scan_wipe(first.bytes, 32), scan_wipe(second.bytes, 32);
    expect_nothing("another kek");
    CHECK_STATUS(with_kek(memguard_vault_unlock, vault, &first), MEMGUARD_ERR_AUTH);
    expect_nothing("the former kek");
    for (int i = 0; i < 4; i++)
        CHECK_STATUS(memguard_secret_use(secrets[i], touch_bytes, NULL, NULL), MEMGUARD_ERR_LOCKED);
    expect_nothing("refused uses");
    CHECK_STATUS(with_kek(memguard_vault_unlock, vault, &second), MEMGUARD_OK);
    expect_nothing("unlocked: sealed, and under other shares");
    const struct keys after = find_keys(vault, secrets[0], needles[0], NULL);
    CHECK(scan_equal(keys.k, after.k)); /* the same key */
    scan_memory(&found);
    CHECK(anywhere(SCAN_X) == 1 && anywhere(SCAN_Y) == 1 && anywhere(SCAN_P) == 0); /* the control */
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

TEST(while_locked_the_key_is_nowhere_but_wrapped) {
    for (int i = 0; i < REPEATS; i++)
        lock_and_search(MEMGUARD_NO_THREAD); /* a lease runs when the lock comes */
}
TEST(while_a_strict_vault_is_locked_the_key_is_nowhere_but_wrapped) {
    for (int i = 0; i < REPEATS; i++)
        lock_and_search(MEMGUARD_STRICT);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    why_not = CHECK_SANITIZED ? "under a sanitizer: it keeps copies of its own" : scan_start();
    if (why_not != NULL) {
        (void)test_while_locked_the_key_is_nowhere_but_wrapped;
        RUN(scanner_can_work_here);
        return check_end();
    }
    RUN(while_locked_the_key_is_nowhere_but_wrapped);
    RUN(while_a_strict_vault_is_locked_the_key_is_nowhere_but_wrapped);
    return check_end();
}
