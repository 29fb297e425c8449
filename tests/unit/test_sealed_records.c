/* Sealed records: what lies in ordinary memory may be read, moved, exchanged and put back by an attacker; it opens in its own place, in
 * its own version and in its own vault, or not at all. And: no nonce is used twice. */
#include "white.h"

#include "core/prefix.h"

enum { BYTES = 48, RECORD = BYTES + MG_TAG_BYTES };

static memguard_vault *vault;

struct record {
    unsigned char sealed[RECORD];
    uint32_t prefix, version;
};

static struct record save(memguard_secret secret) {
    const struct mg__entry *entry = entry_of(secret);
    struct record record = {{0}, entry->prefix, entry->version};
    memcpy(record.sealed, mg__entry_sealed(entry), RECORD);
    return record;
}

static void put(memguard_secret secret, const struct record *record) {
    struct mg__entry *entry = entry_of(secret);
    memcpy(mg__entry_sealed(entry), record->sealed, RECORD);
    entry->prefix = record->prefix;
    entry->version = record->version;
}

static void destroy(memguard_secret secret) { CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK); }

/* Every way to open it is refused, and each is counted. */
static void check_refused(memguard_vault *of, memguard_secret secret) {
    memguard_view view = {0};
    unsigned char other[BYTES] = {0};
    const uint64_t before = report_of(of).auth_failures;
    CHECK_STATUS(use_status(secret, 0), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_ERR_AUTH);
    CHECK(view.data == NULL);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_secret_equal(secret, other, sizeof other), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_MAPPED), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_secret_resize(secret, BYTES + 1), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_secret_copy_at(secret, 0, other, 1), MEMGUARD_ERR_AUTH);
    CHECK(report_of(of).auth_failures == before + 7);
}

/* ---- exchanged, replayed, damaged, moved ---- */

TEST(exchanged_records_do_not_open_and_put_back_they_do) {
    memguard_secret a = make_secret(vault, BYTES, 0, 1), b = make_secret(vault, BYTES, 0, 2);
    const struct record of_a = save(a), of_b = save(b);
    put(a, &of_b), put(b, &of_a);
    check_refused(vault, a);
    check_refused(vault, b);
    put(a, &of_a), put(b, &of_b);
    CHECK(holds(a, 1) && holds(b, 2));
    destroy(a), destroy(b);
}

TEST(exchanged_ciphertext_pointers_do_not_open) {
    memguard_secret a = make_secret(vault, BYTES, 0, 1), b = make_secret(vault, BYTES, 0, 2);
    unsigned char *of_a = entry_of(a)->body.sealed;
    entry_of(a)->body.sealed = entry_of(b)->body.sealed;
    entry_of(b)->body.sealed = of_a;
    check_refused(vault, a);
    check_refused(vault, b);
    destroy(a), destroy(b);
}

TEST(wrong_version_or_prefix_does_not_open) {
    memguard_secret secret = make_secret(vault, BYTES, 0, 1);
    const struct record right = save(secret);
    unsigned char bytes[MG_PREFIX_BYTES];
    struct record wrong = right;
    wrong.version--;
    put(secret, &wrong);
    check_refused(vault, secret);
    CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
    wrong = right;
    wrong.prefix = mg__prefix_current(bytes);
    CHECK(wrong.prefix != right.prefix);
    put(secret, &wrong);
    check_refused(vault, secret);
    put(secret, &right);
    CHECK(holds(secret, 1));
    destroy(secret);
}

static void change_contents(memguard_secret secret, uint32_t seed) {
    unsigned char source[BYTES];
    fill(source, sizeof source, seed);
    CHECK_STATUS(memguard_secret_replace(secret, source, sizeof source), MEMGUARD_OK);
}

TEST(older_bytes_under_the_present_version_do_not_open) {
    memguard_secret secret = make_secret(vault, BYTES, 0, 1);
    const struct record old = save(secret);
    change_contents(secret, 2);
    struct record replayed = save(secret);
    CHECK(replayed.version > old.version);
    memcpy(replayed.sealed, old.sealed, RECORD);
    put(secret, &replayed);
    check_refused(vault, secret);
    destroy(secret);
}

TEST(bytes_of_an_earlier_life_of_the_same_index_do_not_open) {
    memguard_secret first = make_secret(vault, BYTES, 0, 1);
    const struct record old = save(first);
    const struct mg__entry *entry = entry_of(first);
    destroy(first);
    memguard_secret second = make_secret(vault, BYTES, 0, 2);
    CHECK(entry_of(second) == entry); /* the same index */
    struct record replayed = save(second);
    CHECK(replayed.version > old.version); /* counted on, not from 1 */
    memcpy(replayed.sealed, old.sealed, RECORD);
    put(second, &replayed);
    check_refused(vault, second);
    destroy(second);
}

TEST(one_flipped_bit_anywhere_is_refused) {
    memguard_secret secret = make_secret(vault, BYTES, 0, 1);
    unsigned char *sealed = mg__entry_sealed(entry_of(secret));
    const uint64_t before = report_of(vault).auth_failures;
    for (size_t bit = 0; bit < RECORD * 8; bit++) {
        sealed[bit / 8] = (unsigned char)(sealed[bit / 8] ^ 1U << bit % 8);
        CHECK_STATUS(use_status(secret, 1), MEMGUARD_ERR_AUTH);
        sealed[bit / 8] = (unsigned char)(sealed[bit / 8] ^ 1U << bit % 8);
    }
    CHECK(report_of(vault).auth_failures == before + RECORD * 8);
    CHECK(holds(secret, 1));
    destroy(secret);
}

TEST(refused_record_writes_nothing_to_its_destination) {
    memguard_secret secret = make_secret(vault, BYTES, 0, 1);
    unsigned char there[BYTES];
    mg__entry_sealed(entry_of(secret))[RECORD - 1] ^= 1;
    fill(there, sizeof there, 77);
    const uint64_t before = report_of(vault).auth_failures;
    CHECK_STATUS(mg__unseal_body(mg__vault_find(vault), entry_of(secret), there), MEMGUARD_ERR_AUTH);
    CHECK(is_pattern(there, sizeof there, 77));
    CHECK(report_of(vault).auth_failures == before + 1);
    destroy(secret);
}

TEST(record_of_another_vault_does_not_open) {
    memguard_vault *other = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_secret mine = make_secret(vault, BYTES, 0, 1), theirs = make_secret(other, BYTES, 0, 2);
    const struct record of_mine = save(mine), of_theirs = save(theirs);
    put(theirs, &of_mine);
    check_refused(other, theirs);
    put(theirs, &of_theirs);
    /* the whole entry, with its place in the table: only the key differs */
    atomic_store(&entry_of(mine)->vault, (uint16_t)(mg__vault_find(other)->index + 1));
    CHECK_STATUS(use_status(mine, 1), MEMGUARD_ERR_AUTH);
    atomic_store(&entry_of(mine)->vault, (uint16_t)(mg__vault_find(vault)->index + 1));
    CHECK(holds(mine, 1) && holds(theirs, 2));
    destroy(mine), destroy(theirs);
    CHECK_STATUS(memguard_vault_destroy(&other), MEMGUARD_OK);
}

TEST(record_from_before_a_purge_does_not_open) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_secret first = make_secret(own, BYTES, 0, 1);
    const struct record old = save(first);
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_OK);
    memguard_secret second = make_secret(own, BYTES, 0, 2);
    CHECK(entry_of(second)->prefix != old.prefix);
    put(second, &old);
    check_refused(own, second);
    destroy(second);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

/* ---- nonces ---- */

struct nonce {
    unsigned char prefix[MG_PREFIX_BYTES];
    uint32_t index, version;
};

enum { SEALS = 10000 };
static struct nonce nonces[SEALS];
static size_t nonce_count;

static void note_nonce(memguard_secret secret) {
    const struct mg__entry *entry = entry_of(secret);
    if (!CHECK(nonce_count < SEALS)) return;
    struct nonce *nonce = &nonces[nonce_count++];
    mg__prefix_bytes(entry->prefix, nonce->prefix);
    nonce->index = mg__entry_index(entry);
    nonce->version = entry->version;
}

static int compare_nonces(const void *a, const void *b) { return memcmp(a, b, sizeof(struct nonce)); }

static size_t equal_nonces(void) {
    size_t equal = 0;
    qsort(nonces, nonce_count, sizeof nonces[0], compare_nonces);
    for (size_t i = 1; i < nonce_count; i++) equal += compare_nonces(&nonces[i - 1], &nonces[i]) == 0;
    return equal;
}

static memguard_vault *some_vault(memguard_vault *other, size_t i) { return i % 3 == 0 ? other : vault; }

/* All ways to seal: made, replaced, written, changed in size and rest, made again in the same index, by two vaults. */
TEST(ten_thousand_seals_have_ten_thousand_nonces) {
    memguard_vault *other = make_vault(MEMGUARD_BACKEND_AUTO, MEMGUARD_STRICT);
    unsigned char byte = 1;
    for (nonce_count = 0; nonce_count < SEALS;) {
        memguard_secret secret = make_secret(some_vault(other, nonce_count / 4), BYTES, 0, 1);
        if (!CHECK(secret.id != 0)) break;
        note_nonce(secret);
        change_contents(secret, 2);
        note_nonce(secret);
        CHECK_STATUS(memguard_secret_copy_at(secret, 3, &byte, 1), MEMGUARD_OK);
        note_nonce(secret);
        CHECK_STATUS(memguard_secret_rest(secret, nonce_count % 8 == 0 ? MEMGUARD_MAPPED : MEMGUARD_COMPACT), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_SEALED), MEMGUARD_OK);
        note_nonce(secret);
        if (nonce_count % 1000 == 0) CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
        destroy(secret);
    }
    CHECK(nonce_count == SEALS && equal_nonces() == 0);
    CHECK_STATUS(memguard_vault_destroy(&other), MEMGUARD_OK);
}

TEST(failed_sealing_burns_its_version) {
    memguard_secret secret = make_secret(vault, BYTES, 0, 1);
    const struct record before = save(secret);
    mg__coffer_forget(&mg__vault_find(vault)->coffer); /* no key */
    unsigned char source[BYTES] = {1};
    CHECK_STATUS(memguard_secret_replace(secret, source, sizeof source), MEMGUARD_ERR_STATE);
    CHECK(entry_of(secret)->version > before.version);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK); /* a new key */
}

/* The count of an index is at its end. The records before and after must not share a nonce, whatever lease there is. */
static void wrap_version(uint32_t flags, uint32_t lease_us) {
    memguard_vault *own = make_quiet_vault(MEMGUARD_BACKEND_AUTO, flags, lease_us);
    memguard_secret secret = make_secret(own, BYTES, 0, 0);
    nonce_count = 0;
    entry_of(secret)->version = 0; /* a new index, under a prefix that it has not seen */
    CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
    (void)mg__coffer_tend(&mg__vault_find(own)->coffer, mg__sys_now_ns() + 3600000000000U, false);
    for (uint32_t i = 1; i < 6; i++) change_contents(secret, i), note_nonce(secret);
    const uint32_t old_prefix = entry_of(secret)->prefix;
    entry_of(secret)->version = UINT32_MAX - 1;
    change_contents(secret, 6), note_nonce(secret);
    CHECK(entry_of(secret)->version == UINT32_MAX && entry_of(secret)->prefix == old_prefix);
    for (uint32_t i = 7; i < 20; i++) {
        change_contents(secret, i), note_nonce(secret);
        CHECK(entry_of(secret)->version == i - 7);
        CHECK(holds(secret, i));
    }
    CHECK(entry_of(secret)->prefix != old_prefix);
    CHECK(equal_nonces() == 0);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(version_wrap_starts_anew_under_a_fresh_prefix_without_leases) { wrap_version(MEMGUARD_STRICT, 0); }
TEST(version_wrap_starts_anew_under_a_fresh_prefix_within_a_lease) { wrap_version(0, 1000000); }

/* ---- many prefixes ---- */

static void open_under_many_prefixes(uint32_t flags) {
    enum { PREFIXES = 20 };
    memguard_vault *own = make_quiet_vault(MEMGUARD_BACKEND_AUTO, flags, 1000000);
    struct mg__coffer *coffer = &mg__vault_find(own)->coffer;
    memguard_secret secrets[PREFIXES];
    for (uint32_t i = 0; i < PREFIXES; i++) {
        CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
        (void)mg__coffer_tend(coffer, mg__sys_now_ns() + 3600000000000U, false); /* the next lease seals under the new one */
        secrets[i] = make_secret(own, BYTES, 0, i);
        CHECK(i == 0 || entry_of(secrets[i])->prefix != entry_of(secrets[i - 1])->prefix);
    }
    for (uint32_t round = 0; round < 3; round++) /* more than a lease keeps: all are evicted again and again */
        for (uint32_t i = 0; i < PREFIXES; i++) CHECK(holds(secrets[(i * (round + 1) * 3 + round) % PREFIXES], (i * (round + 1) * 3 + round) % PREFIXES));
    CHECK(report_of(own).auth_failures == 0);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(records_under_twenty_prefixes_open_through_one_lease) { open_under_many_prefixes(0); }
TEST(records_under_twenty_prefixes_open_without_leases) { open_under_many_prefixes(MEMGUARD_STRICT); }

int main(void) {
    vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    RUN(exchanged_records_do_not_open_and_put_back_they_do);
    RUN(exchanged_ciphertext_pointers_do_not_open);
    RUN(wrong_version_or_prefix_does_not_open);
    RUN(older_bytes_under_the_present_version_do_not_open);
    RUN(bytes_of_an_earlier_life_of_the_same_index_do_not_open);
    RUN(one_flipped_bit_anywhere_is_refused);
    RUN(refused_record_writes_nothing_to_its_destination);
    RUN(record_of_another_vault_does_not_open);
    RUN(record_from_before_a_purge_does_not_open);
    RUN(ten_thousand_seals_have_ten_thousand_nonces);
    RUN(failed_sealing_burns_its_version);
    RUN(version_wrap_starts_anew_under_a_fresh_prefix_without_leases);
    RUN(version_wrap_starts_anew_under_a_fresh_prefix_within_a_lease);
    RUN(records_under_twenty_prefixes_open_through_one_lease);
    RUN(records_under_twenty_prefixes_open_without_leases);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return check_end();
}
