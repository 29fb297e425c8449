/* The coffer: K is never whole at rest, in no share alone, and not across epochs; a lease ends by itself and leaves nothing; the raw
 * keys stand in no protected page that outlives a call. The test computes the keys on its own, with plain cipher library calls. */
#include "white.h"

#include <sodium.h>

enum { LEASE_US = 2000, SHARE_BYTES = 2 * MG_KEY_BYTES };

static struct mg__coffer *coffer_of(memguard_vault *vault) { return &mg__vault_find(vault)->coffer; }

static const unsigned char *prekey_of(const struct mg__coffer *coffer, uint32_t epoch) {
    return mg__region_data(coffer->prekeys[epoch], coffer->policy.prekey_bytes);
}

/* The page begins with the shares y of both epochs. */
static const unsigned char *share_of(const struct mg__coffer *coffer, uint32_t epoch) {
    return (const unsigned char *)coffer->page + epoch * MG_KEY_BYTES;
}

static void join(unsigned char key[MG_KEY_BYTES], const unsigned char *y, const unsigned char *x, size_t bytes) {
    unsigned char hash[MG_KEY_BYTES];
    CHECK(crypto_generichash(hash, sizeof hash, x, bytes, NULL, 0) == 0);
    for (size_t i = 0; i < MG_KEY_BYTES; i++) key[i] = (unsigned char)(y[i] ^ hash[i]);
}

static void key_of(const struct mg__coffer *coffer, unsigned char key[MG_KEY_BYTES]) {
    const uint32_t epoch = atomic_load(&coffer->current);
    join(key, share_of(coffer, epoch), prekey_of(coffer, epoch), coffer->policy.prekey_bytes);
}

static void secrets_key_of(const struct mg__coffer *coffer, unsigned char key[MG_KEY_BYTES]) {
    unsigned char whole[MG_KEY_BYTES];
    key_of(coffer, whole);
    CHECK(crypto_kdf_derive_from_key(key, MG_KEY_BYTES, MG_DERIVE_SECRETS, "memguard", whole) == 0);
}

static void subkey_of(const struct mg__coffer *coffer, unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char key[MG_KEY_BYTES], prefix[MG_PREFIX_BYTES];
    secrets_key_of(coffer, key);
    CHECK(mg__prefix_current(prefix) != 0);
    CHECK(crypto_core_hsalsa20(subkey, prefix, key, NULL) == 0);
}

static int found_in(const struct mg__region *region, const unsigned char *needle, size_t bytes) {
    return memmem(region->base, region->bytes, needle, bytes) != NULL;
}

static void end_lease(struct mg__coffer *coffer) { (void)mg__coffer_tend(coffer, mg__sys_now_ns() + 3600000000000U, false); }

static int is_leased(struct mg__coffer *coffer) { return atomic_load(&coffer->lease_end_ns) != 0; }

static void destroy(memguard_vault *vault) { CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK); }

/* ---- the equation ---- */

TEST(key_is_share_xor_hash_of_prekey_and_opens_records) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 0);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    const struct mg__entry *entry = entry_of(secret);
    unsigned char nonce[24], key[MG_KEY_BYTES], plain[40];
    secrets_key_of(coffer_of(vault), key);
    mg__prefix_bytes(entry->prefix, nonce);
    const uint32_t tail[2] = {mg__entry_index(entry), entry->version};
    for (size_t i = 0; i < 8; i++) nonce[16 + i] = (unsigned char)(tail[i / 4] >> 8 * (i % 4));
    CHECK(crypto_secretbox_open_easy(plain, mg__entry_sealed(entry), 40 + MG_TAG_BYTES, nonce, key) == 0);
    CHECK(is_pattern(plain, sizeof plain, 1));
    destroy(vault);
}

TEST(two_vaults_have_two_keys) {
    memguard_vault *a = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    memguard_vault *b = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    unsigned char of_a[MG_KEY_BYTES], of_b[MG_KEY_BYTES];
    key_of(coffer_of(a), of_a), key_of(coffer_of(b), of_b);
    CHECK(memcmp(of_a, of_b, sizeof of_a) != 0);
    destroy(a), destroy(b);
}

/* ---- re-keying ---- */

TEST(rekey_keeps_the_key_and_changes_both_shares) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    static unsigned char x[1 << 14];
    unsigned char y[MG_KEY_BYTES], before[MG_KEY_BYTES], after[MG_KEY_BYTES];
    for (int round = 0; round < 20; round++) {
        const uint32_t epoch = atomic_load(&coffer->current);
        memcpy(x, prekey_of(coffer, epoch), coffer->policy.prekey_bytes);
        memcpy(y, share_of(coffer, epoch), sizeof y);
        key_of(coffer, before);
        CHECK_STATUS(rekey_now(coffer), MEMGUARD_OK);
        key_of(coffer, after);
        CHECK(atomic_load(&coffer->current) == 1 - epoch);
        CHECK(memcmp(before, after, sizeof before) == 0);
        CHECK(memcmp(x, prekey_of(coffer, 1 - epoch), coffer->policy.prekey_bytes) != 0);
        CHECK(memcmp(y, share_of(coffer, 1 - epoch), sizeof y) != 0);
        CHECK(is_all(share_of(coffer, epoch), MG_KEY_BYTES, 0)); /* the old y is wiped */
        CHECK(coffer->prekeys[epoch] == NULL);
    }
    CHECK(holds(secret, 1));
    CHECK(report_of(vault).rekeys == 20 && report_of(vault).rekey_failures == 0);
    destroy(vault);
}

TEST(old_prekey_pages_hold_the_pattern_and_have_no_access) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    const uint32_t epoch = atomic_load(&coffer->current);
    struct mg__region *old = coffer->prekeys[epoch];
    CHECK(!mg__region_intact(old, 0)); /* x is there */
    CHECK_STATUS(rekey_now(coffer), MEMGUARD_OK);
    CHECK(can_read(old->base) == 0 && can_read(old->base + old->bytes - 1) == 0);
    CHECK_STATUS(mg__region_protect(old, MG_ACCESS_READ), MEMGUARD_OK);
    CHECK(mg__region_intact(old, 0));
    CHECK_STATUS(mg__region_protect(old, MG_ACCESS_NONE), MEMGUARD_OK);
    destroy(vault);
}

TEST(shares_of_different_epochs_give_no_key) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    const uint32_t epoch = atomic_load(&coffer->current);
    const size_t bytes = coffer->policy.prekey_bytes;
    static unsigned char x[1 << 14];
    unsigned char y[MG_KEY_BYTES], key[MG_KEY_BYTES], mixed[MG_KEY_BYTES];
    memcpy(x, prekey_of(coffer, epoch), bytes);
    memcpy(y, share_of(coffer, epoch), sizeof y);
    key_of(coffer, key);
    CHECK_STATUS(rekey_now(coffer), MEMGUARD_OK);
    join(mixed, y, prekey_of(coffer, 1 - epoch), bytes);
    CHECK(memcmp(mixed, key, sizeof key) != 0);
    join(mixed, share_of(coffer, 1 - epoch), x, bytes);
    CHECK(memcmp(mixed, key, sizeof key) != 0);
    join(mixed, y, x, bytes); /* a control: the right pair does */
    CHECK(memcmp(mixed, key, sizeof key) == 0);
    destroy(vault);
}

static _Atomic int random_fails;
static struct mg__sys_table real;

static long failing_getrandom(void *p, size_t bytes, unsigned flags) {
    if (atomic_load(&random_fails) == 0) return real.getrandom(p, bytes, flags);
    errno = ENOSYS;
    return -1;
}

TEST(failed_rekey_keeps_the_old_epoch_and_is_counted) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    unsigned char before[MG_KEY_BYTES], after[MG_KEY_BYTES];
    const uint32_t epoch = atomic_load(&coffer->current);
    key_of(coffer, before);
    atomic_store(&random_fails, 1);
    CHECK_STATUS(rekey_now(coffer), MEMGUARD_ERR_RANDOM);
    atomic_store(&random_fails, 0);
    key_of(coffer, after);
    CHECK(atomic_load(&coffer->current) == epoch && memcmp(before, after, sizeof before) == 0);
    CHECK(is_all(share_of(coffer, 1 - epoch), MG_KEY_BYTES, 0));
    CHECK(report_of(vault).rekey_failures == 1 && report_of(vault).rekeys == 0);
    CHECK_STATUS(rekey_now(coffer), MEMGUARD_OK);
    CHECK(holds(secret, 1));
    destroy(vault);
}

TEST(housekeeper_rekeys_by_itself_once_there_is_a_secret) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.rekey_ms = 10;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    sleep_ms(50);
    CHECK(report_of(vault).rekeys == 0); /* nothing to protect yet */
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    for (unsigned ms = 0; report_of(vault).rekeys < 3 && ms < 5000; ms++) sleep_ms(1);
    CHECK(report_of(vault).rekeys >= 3);
    CHECK(holds(secret, 1));
    destroy(vault);
}

/* ---- leases ---- */

TEST(lease_ends_by_itself_and_leaves_only_the_shares) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 50000);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    CHECK(holds(secret, 1));
    CHECK(is_leased(coffer) && report_of(vault).leases >= 1);
    for (unsigned ms = 0; is_leased(coffer) && ms < 5000; ms++) sleep_ms(1);
    CHECK(!is_leased(coffer));
    const memguard_report report = report_of(vault); /* also: takes the mutex that ended it */
    CHECK(report.longest_lease_ns >= 50000000U && report.leased_ns >= report.longest_lease_ns);
    const unsigned char *page = (const unsigned char *)coffer->page;
    const size_t bytes = (size_t)(coffer->region->base + coffer->region->bytes - page);
    CHECK(is_all(page + SHARE_BYTES, bytes - SHARE_BYTES, 0));
    CHECK(!is_all(page, SHARE_BYTES, 0));
    destroy(vault);
}

TEST(lease_is_not_made_longer_by_use) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 1000000);
    struct mg__coffer *coffer = coffer_of(vault);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK); /* the host keeps house: leases are allowed */
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    const uint64_t end = atomic_load(&coffer->lease_end_ns);
    CHECK(end != 0 && end - atomic_load(&coffer->lease_start_ns) == 1000000000U);
    for (int i = 0; i < 100; i++) CHECK(holds(secret, 1));
    CHECK(atomic_load(&coffer->lease_end_ns) == end && report_of(vault).leases == 1);
    destroy(vault);
}

/* Neither K nor Ks nor the subkey stands anywhere in the page, while the lease lasts and opens secrets. */
static void check_masked(memguard_vault *vault, memguard_secret secret) {
    struct mg__coffer *coffer = coffer_of(vault);
    unsigned char whole[MG_KEY_BYTES], key[MG_KEY_BYTES], subkey[MG_KEY_BYTES];
    CHECK(holds(secret, 1));
    CHECK(is_leased(coffer));
    key_of(coffer, whole), secrets_key_of(coffer, key), subkey_of(coffer, subkey);
    for (size_t at = 0; at < MG_KEY_BYTES; at += 8) {
        CHECK(!found_in(coffer->region, whole + at, 8));
        CHECK(!found_in(coffer->region, key + at, 8));
        CHECK(!found_in(coffer->region, subkey + at, 8));
    }
}

/* A control: a value XOR its mask is the key, so the search above looks for the right thing. */
static int unmasks_to(const struct mg__coffer *coffer, const unsigned char *key) {
    const size_t most = coffer->region->bytes - MG_KEY_BYTES;
    for (size_t a = 0; a <= most; a += MG_KEY_BYTES) {
        const unsigned char *value = coffer->region->base + coffer->region->bytes - MG_KEY_BYTES - a;
        unsigned char mask[MG_KEY_BYTES];
        for (size_t i = 0; i < MG_KEY_BYTES; i++) mask[i] = (unsigned char)(value[i] ^ key[i]);
        if (found_in(coffer->region, mask, sizeof mask)) return 1;
    }
    return 0;
}

TEST(two_leases_keep_keys_masked_and_with_different_masks) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 1000000);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    unsigned char key[MG_KEY_BYTES];
    static unsigned char first[1 << 16], second[1 << 16];
    const size_t bytes = coffer->region->bytes < sizeof first ? coffer->region->bytes : sizeof first;
    secrets_key_of(coffer, key);
    check_masked(vault, secret);
    CHECK(unmasks_to(coffer, key));
    memcpy(first, coffer->region->base, bytes);
    end_lease(coffer);
    CHECK(!unmasks_to(coffer, key));
    check_masked(vault, secret);
    CHECK(unmasks_to(coffer, key));
    memcpy(second, coffer->region->base, bytes);
    const uint32_t places[2] = {atomic_load(&coffer->value_place), atomic_load(&coffer->mask_place)};
    CHECK(places[0] < 6 && places[1] < 6);
    int same = 0; /* 32-byte lines that stand in both and are not zero: shares only */
    for (size_t at = 0; at + 32 <= bytes; at += 32)
        same += !is_all(first + at, 32, 0) && memmem(second, bytes, first + at, 32) != NULL && !mg__canary_intact(first + at, 32);
    CHECK(same <= 2);
    destroy(vault);
}

TEST(strict_vault_never_has_a_lease) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_STRICT, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    const unsigned char *page = (const unsigned char *)coffer->page;
    for (int i = 0; i < 100; i++) {
        CHECK(holds(secret, 1));
        CHECK(!is_leased(coffer));
        CHECK(is_all(page + SHARE_BYTES, (size_t)(coffer->region->base + coffer->region->bytes - page) - SHARE_BYTES, 0));
    }
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(holds(secret, 1));
    const memguard_report report = report_of(vault);
    CHECK(report.leases == 0 && report.leased_ns == 0 && report.strict == 1);
    destroy(vault);
}

TEST(vault_without_thread_is_strict_until_the_host_ticks) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 1000);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    CHECK(holds(secret, 1) && report_of(vault).leases == 0 && report_of(vault).strict == 1);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(holds(secret, 1) && report_of(vault).leases == 1 && report_of(vault).strict == 0);
    CHECK(is_leased(coffer_of(vault)));
    sleep_ms(5);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK(!is_leased(coffer_of(vault)));
    destroy(vault);
}

TEST(no_randomness_for_masks_means_no_lease_and_still_an_answer) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 0);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    end_lease(coffer);
    atomic_store(&random_fails, 1);
    CHECK(holds(secret, 1));
    CHECK(!is_leased(coffer));
    const unsigned char *page = (const unsigned char *)coffer->page;
    unsigned char key[MG_KEY_BYTES];
    secrets_key_of(coffer, key);
    CHECK(!found_in(coffer->region, key, 8));
    CHECK(!is_all(page, SHARE_BYTES, 0));
    atomic_store(&random_fails, 0);
    CHECK(holds(secret, 1) && is_leased(coffer));
    destroy(vault);
}

/* A WRITE borrow ends while there is no randomness for a lease: what was written must not be lost with an answer of OK. */
TEST(write_release_without_randomness_keeps_the_bytes_or_says_so) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 0);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_OK);
    fill(view.data, view.size, 2);
    end_lease(coffer_of(vault));
    atomic_store(&random_fails, 1);
    const memguard_status released = memguard_view_release(&view);
    atomic_store(&random_fails, 0);
    CHECK(released != MEMGUARD_OK || holds(secret, 2));
    destroy(vault);
}

/* The same for a write by the library: the record opens under the lease, but sealing it again wants a fresh prefix. */
TEST(copy_at_without_randomness_keeps_the_bytes_or_says_so) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 1000000);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    unsigned char bytes[40];
    fill(bytes, sizeof bytes, 1);
    entry_of(secret)->version = UINT32_MAX - 1;
    CHECK_STATUS(memguard_secret_replace(secret, bytes, sizeof bytes), MEMGUARD_OK);
    CHECK(entry_of(secret)->version == UINT32_MAX && holds(secret, 1));
    fill(bytes, sizeof bytes, 2);
    atomic_store(&random_fails, 1);
    const memguard_status written = memguard_secret_copy_at(secret, 0, bytes, sizeof bytes);
    atomic_store(&random_fails, 0);
    CHECK(written != MEMGUARD_OK || holds(secret, 2));
    destroy(vault);
}

/* ---- locking ---- */

TEST(lock_leaves_no_share_and_unlock_brings_the_same_key_in_new_shares) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 1000000);
    struct mg__coffer *coffer = coffer_of(vault);
    memguard_secret secret = make_secret(vault, 40, MEMGUARD_CLOSED, 1);
    const uint32_t epoch = atomic_load(&coffer->current);
    struct mg__region *prekey = coffer->prekeys[epoch];
    unsigned char before[MG_KEY_BYTES], after[MG_KEY_BYTES], y[MG_KEY_BYTES];
    memcpy(y, share_of(coffer, epoch), sizeof y);
    key_of(coffer, before);
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    CHECK(coffer->prekeys[0] == NULL && coffer->prekeys[1] == NULL);
    CHECK(coffer->region == NULL || is_all(coffer->page, SHARE_BYTES, 0));
    CHECK(coffer->region == NULL || (!found_in(coffer->region, y, 16) && !found_in(coffer->region, before, 16)));
    CHECK(!is_leased(coffer));
    CHECK(can_read(prekey->base + prekey->bytes - 1) == 0);
    CHECK_STATUS(mg__region_protect(prekey, MG_ACCESS_READ), MEMGUARD_OK);
    CHECK(mg__region_intact(prekey, 0));
    CHECK_STATUS(mg__region_protect(prekey, MG_ACCESS_NONE), MEMGUARD_OK);
    CHECK_STATUS(use_status(secret, 1), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    key_of(coffer, after);
    CHECK(memcmp(before, after, sizeof before) == 0);
    CHECK(memcmp(share_of(coffer, atomic_load(&coffer->current)), y, sizeof y) != 0);
    CHECK(is_all(coffer->wrapped, sizeof coffer->wrapped, 0));
    CHECK(holds(secret, 1));
    destroy(vault);
}

TEST(wrong_kek_is_refused_and_the_vault_stays_locked) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 0);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    unsigned char wrong[MG_KEY_BYTES];
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    const uint64_t locked = mg__budget_in_use();
    for (size_t bit = 0; bit < MG_KEY_BYTES * 8; bit += 37) {
        memcpy(wrong, white_kek, sizeof wrong);
        wrong[bit / 8] = (unsigned char)(wrong[bit / 8] ^ 1U << bit % 8);
        CHECK_STATUS(memguard_vault_unlock(vault, wrong), MEMGUARD_ERR_AUTH);
        CHECK(is_all(coffer_of(vault)->page, SHARE_BYTES, 0));
    }
    CHECK(mg__budget_in_use() <= locked + 64 * 1024); /* nothing piles up */
    CHECK_STATUS(use_status(secret, 1), MEMGUARD_ERR_LOCKED);
    CHECK(report_of(vault).locked == 1);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    CHECK(holds(secret, 1));
    destroy(vault);
}

TEST(unlock_redraws_the_nonce_prefix) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 0);
    unsigned char bytes[MG_PREFIX_BYTES];
    memguard_secret before = make_secret(vault, 40, 0, 1);
    const uint32_t prefix = mg__prefix_current(bytes);
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    CHECK(mg__prefix_current(bytes) != prefix);
    memguard_secret after = make_secret(vault, 40, 0, 2);
    CHECK(entry_of(after)->prefix != entry_of(before)->prefix);
    CHECK(holds(before, 1) && holds(after, 2));
    destroy(vault);
}

TEST(purge_brings_another_key) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 0);
    unsigned char before[MG_KEY_BYTES], after[MG_KEY_BYTES];
    key_of(coffer_of(vault), before);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    key_of(coffer_of(vault), after);
    CHECK(memcmp(before, after, sizeof before) != 0);
    destroy(vault);
}

/* ---- readers while everything moves ---- */

static _Atomic int stop;

static void *keep_using(void *arg) {
    const memguard_secret *secret = arg;
    while (atomic_load(&stop) == 0) CHECK(holds(*secret, 1));
    return NULL;
}

static void use_while_rekeying(uint32_t flags) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, flags, 100);
    memguard_secret secret = make_secret(vault, 40, 0, 1);
    pthread_t threads[3];
    atomic_store(&stop, 0);
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, keep_using, &secret) == 0);
    for (int i = 0; i < 200; i++) {
        CHECK_STATUS(rekey_now(coffer_of(vault)), MEMGUARD_OK);
        end_lease(coffer_of(vault));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK(report_of(vault).auth_failures == 0);
    destroy(vault);
}

TEST(uses_by_three_threads_survive_two_hundred_rekeys_with_leases) { use_while_rekeying(0); }
TEST(uses_by_three_threads_survive_two_hundred_rekeys_without_leases) { use_while_rekeying(MEMGUARD_STRICT); }

int main(void) {
    real = mg__sys_table;
    mg__sys_table.getrandom = failing_getrandom;
    RUN(vault_without_thread_is_strict_until_the_host_ticks);
    memguard_vault *first = make_vault(MEMGUARD_BACKEND_LOCKED, 0); /* the housekeeper runs throughout */
    RUN(key_is_share_xor_hash_of_prekey_and_opens_records);
    RUN(two_vaults_have_two_keys);
    RUN(rekey_keeps_the_key_and_changes_both_shares);
    RUN(old_prekey_pages_hold_the_pattern_and_have_no_access);
    RUN(shares_of_different_epochs_give_no_key);
    RUN(failed_rekey_keeps_the_old_epoch_and_is_counted);
    RUN(housekeeper_rekeys_by_itself_once_there_is_a_secret);
    RUN(lease_ends_by_itself_and_leaves_only_the_shares);
    RUN(lease_is_not_made_longer_by_use);
    RUN(two_leases_keep_keys_masked_and_with_different_masks);
    RUN(strict_vault_never_has_a_lease);
    RUN(no_randomness_for_masks_means_no_lease_and_still_an_answer);
    RUN(write_release_without_randomness_keeps_the_bytes_or_says_so);
    RUN(copy_at_without_randomness_keeps_the_bytes_or_says_so);
    RUN(lock_leaves_no_share_and_unlock_brings_the_same_key_in_new_shares);
    RUN(wrong_kek_is_refused_and_the_vault_stays_locked);
    RUN(unlock_redraws_the_nonce_prefix);
    RUN(purge_brings_another_key);
    RUN(uses_by_three_threads_survive_two_hundred_rekeys_with_leases);
    RUN(uses_by_three_threads_survive_two_hundred_rekeys_without_leases);
    CHECK_STATUS(memguard_vault_destroy(&first), MEMGUARD_OK);
    return check_end();
}
