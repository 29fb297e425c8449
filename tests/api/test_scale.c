/* test_scale.c: how much is open at once under how little lockable memory, the limit really counting: a hundred
 * thousand COMPACT secrets or two thousand guarded ones under 8 MiB, five hundred COMPACT ones beside a million
 * sealed under 64 KiB; all of them right, their canaries whole, and the key re-split all the while. Each test runs
 * in children of its own. */
#include "api/support.h"

enum { KIB = 1024, SIZE = 32, MANY = 100000, GUARDED = 2000, FEW = 500, SEALED = 1000000, MORE_THAN_FITS = 140000 };

#define SKIP_IF_NOTHING_LOCKS()                                                                                        \
    do {                                                                                                               \
        if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");                                             \
    } while (0)

static const uint32_t backends[] = {MEMGUARD_BACKEND_SECRETMEM, MEMGUARD_BACKEND_LOCKED};
static memguard_secret secrets[MORE_THAN_FITS], sealed[SEALED];
static memguard_view views[MANY];

struct setting {
    size_t limit_bytes;
    uint32_t backend, rekey_ms;
};

/* NULL: no such pages on this system. */
static memguard_vault *begin(const struct setting *with) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = with->backend;
    options.rekey_ms = with->rekey_ms;
    if (!CHECK(drop_memlock(with->limit_bytes) == 0)) return NULL;
    const memguard_status status = memguard_vault_create(&options, &vault);
    if (status == MEMGUARD_ERR_UNSUPPORTED) printf("SKIPPED for backend %u: not on this system\n", with->backend);
    CHECK(status == MEMGUARD_OK || (status == MEMGUARD_ERR_UNSUPPORTED && with->backend == MEMGUARD_BACKEND_SECRETMEM));
    return vault;
}

static void in_each_backend(int (*fn)(void *), size_t limit_bytes, uint32_t rekey_ms) {
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        struct setting with = {limit_bytes, backends[b], rekey_ms};
        CHECK(check_exited(check_child(fn, &with), 0));
    }
}

/* As many of the rest as fit, up to `count`; the first that does not must be refused for want of lockable memory. */
static uint32_t make(memguard_vault *vault, memguard_secret *to, uint32_t count, uint32_t rest) {
    unsigned char bytes[SIZE];
    memguard_status status = MEMGUARD_OK;
    uint32_t made = 0;
    for (; made < count; made++) {
        fill(bytes, sizeof bytes, made);
        status = memguard_secret_copy(vault, bytes, sizeof bytes, rest, &to[made]);
        if (status != MEMGUARD_OK) break;
    }
    if (made < count) CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT);
    return made;
}

/* Borrowed all at once; every release looks at the canaries. Also in the order in which they were not made. */
static void borrow_all(uint32_t count) {
    uint32_t right = 0;
    for (uint32_t i = 0; i < count; i++)
        if (memguard_secret_acquire(secrets[i], MEMGUARD_READ, &views[i]) != MEMGUARD_OK) break;
    for (uint32_t i = 0; i < count; i++)
        right += views[i].data != NULL && is_pattern(views[i].data, SIZE, i);
    CHECK(right == count);
    for (uint32_t i = count; i-- > 0;)
        if (!CHECK_STATUS(memguard_view_release(&views[i]), MEMGUARD_OK)) break;
}

static void end_all(memguard_vault *vault, uint32_t count) {
    const memguard_report before = report_of(vault);
    CHECK(before.lock_in_use_bytes <= before.lock_limit_bytes && status_bytes("VmLck:") <= before.lock_limit_bytes);
    for (uint32_t i = 0; i < count; i++)
        if (!CHECK_STATUS(memguard_secret_destroy(&secrets[i]), MEMGUARD_OK)) break;
    const memguard_report after = report_of(vault);
    for (uint32_t rest = 1; rest < RESTS; rest++)
        CHECK(after.secrets[rest] == 0);
    vault_end(vault);
}

static int many_compact(void *arg) {
    memguard_vault *vault = begin(arg);
    if (vault == NULL) return 0;
    CHECK(make(vault, secrets, MANY, MEMGUARD_COMPACT) == MANY);
    borrow_all(MANY);
    end_all(vault, MANY);
    return 0;
}

TEST(eight_mib_hold_a_hundred_thousand_compact_secrets_open_at_once) {
    SKIP_IF_NOTHING_LOCKS();
    in_each_backend(many_compact, (size_t)8192 * KIB, 0);
}

static int too_many_compact(void *arg) {
    memguard_vault *vault = begin(arg);
    if (vault == NULL) return 0;
    const uint32_t made = make(vault, secrets, MORE_THAN_FITS, MEMGUARD_COMPACT);
    CHECK(made < MORE_THAN_FITS);
    end_all(vault, made);
    return 0;
}

TEST(a_limit_that_counts_refuses_more_than_fits) {
    SKIP_IF_NOTHING_LOCKS();
    in_each_backend(too_many_compact, (size_t)8192 * KIB, 0);
}

/* rest: how they are between borrows. */
static void many_guarded(const struct setting *with, uint32_t rest) {
    memguard_vault *vault = begin(with);
    if (vault == NULL) return;
    CHECK(make(vault, secrets, GUARDED, rest) == GUARDED);
    borrow_all(GUARDED);
    end_all(vault, GUARDED);
}
static int many_views(void *arg) { return many_guarded(arg, MEMGUARD_SEALED), 0; }
static int many_closed(void *arg) { return many_guarded(arg, MEMGUARD_CLOSED), 0; }
static int many_mapped(void *arg) { return many_guarded(arg, MEMGUARD_MAPPED), 0; }

TEST(eight_mib_hold_two_thousand_guarded_secrets_open_at_once) {
    SKIP_IF_NOTHING_LOCKS();
    in_each_backend(many_views, (size_t)8192 * KIB, 0);
    in_each_backend(many_closed, (size_t)8192 * KIB, 0);
    in_each_backend(many_mapped, (size_t)8192 * KIB, 0);
}

static int much_under_little(void *arg) {
    memguard_vault *vault = begin(arg);
    uint32_t right = 0;
    if (vault == NULL) return 0;
    CHECK(make(vault, sealed, SEALED, MEMGUARD_SEALED) == SEALED);
    CHECK(make(vault, secrets, FEW, MEMGUARD_COMPACT) == FEW);
    borrow_all(FEW);
    for (uint32_t i = 0; i < SEALED; i += 997)
        right += (uint32_t)holds_pattern(sealed[i], SIZE, i);
    CHECK(right == (SEALED + 996) / 997);
    CHECK(report_of(vault).secrets[MEMGUARD_SEALED] == SEALED);
    end_all(vault, FEW);
    return 0;
}

TEST(sixty_four_kib_hold_five_hundred_compact_secrets_beside_a_million_sealed) {
    SKIP_IF_NOTHING_LOCKS();
    in_each_backend(much_under_little, (size_t)64 * KIB, 0);
}

/* The pages of the next re-key are not to be had for secrets. */
static int full_and_rekeyed(void *arg) {
    memguard_vault *vault = begin(arg);
    if (vault == NULL) return 0;
    const memguard_secret first = secret_make(vault, SIZE, MEMGUARD_SEALED, 7);
    for (const uint64_t end = now_ms() + 10000; report_of(vault).rekeys == 0 && now_ms() < end;)
        sleep_ms(1);
    const uint32_t made = make(vault, secrets, MORE_THAN_FITS, MEMGUARD_COMPACT);
    const memguard_report full = report_of(vault);
    uint64_t rekeys = full.rekeys;
    CHECK(made < MORE_THAN_FITS && full.guarded_free == 0);
    for (const uint64_t end = now_ms() + 10000; rekeys < full.rekeys + 3 && now_ms() < end; sleep_ms(1))
        rekeys = report_of(vault).rekeys;
    CHECK(rekeys >= full.rekeys + 3);
    CHECK(report_of(vault).rekey_failures == full.rekey_failures);
    CHECK(holds_pattern(first, SIZE, 7));
    end_all(vault, made);
    return 0;
}

TEST(with_every_page_taken_the_key_is_split_anew_all_the_same) {
    SKIP_IF_NOTHING_LOCKS();
    in_each_backend(full_and_rekeyed, (size_t)64 * KIB, 10);
    in_each_backend(full_and_rekeyed, (size_t)1024 * KIB, 10);
}

int main(void) {
    RUN(eight_mib_hold_a_hundred_thousand_compact_secrets_open_at_once);
    RUN(a_limit_that_counts_refuses_more_than_fits);
    RUN(eight_mib_hold_two_thousand_guarded_secrets_open_at_once);
    RUN(sixty_four_kib_hold_five_hundred_compact_secrets_beside_a_million_sealed);
    RUN(with_every_page_taken_the_key_is_split_anew_all_the_same);
    return check_end();
}
