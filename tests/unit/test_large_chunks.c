/* Large secrets from inside: chunks that were changed, swapped, put back from earlier or lost; versions and nonces; failures in the middle; the
 * lease of the open chunk. */
#include "chunks.h"

#include "core/large.c"

enum { CHUNK = 256, CHUNKS = 6, BYTES = CHUNKS * CHUNK - 100 };

static memguard_large make_filled(memguard_vault *vault, uint32_t seed) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_large large = {0};
    unsigned char source[BYTES];
    options.chunk_bytes = CHUNK;
    fill(source, BYTES, seed);
    CHECK_STATUS(memguard_large_create(vault, BYTES, &options, &large), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_write_at(large, 0, source, BYTES), MEMGUARD_OK);
    return large;
}

static struct large *inside(memguard_large large) { return large_of(chunked_of(large.id)); }
static struct record *record_of(memguard_large large, size_t chunk) { return &inside(large)->records[chunk]; }

static void close_window(memguard_large large) {
    struct mg__chunked *chunked = chunked_of(large.id);
    mg__side_take(chunked, the_side);
    mg__window_close(chunked, the_side);
    mg__side_leave(chunked, the_side);
}

static int is_filled(memguard_large large, uint32_t seed) {
    unsigned char buffer[BYTES];
    close_window(large);
    return CHECK_STATUS(memguard_large_read_at(large, 0, buffer, BYTES), MEMGUARD_OK) && CHECK(is_pattern(buffer, BYTES, seed));
}

static int show_none(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    CHECK(0 && "nothing may be shown");
    return 0;
}

/* A chunk does not open, in whatever way it is asked for; the others do. */
static void check_refused(memguard_vault *vault, memguard_large large, size_t chunk) {
    const uint64_t before = report_of(vault).auth_failures;
    unsigned char buffer[CHUNK] = {0};
    close_window(large);
    CHECK_STATUS(memguard_large_read_at(large, chunk * CHUNK, buffer, 150), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_large_read_at(large, chunk * CHUNK + 7, buffer, 1), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_large_use_at(large, chunk * CHUNK, 150, show_none, NULL, NULL), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_large_write_at(large, chunk * CHUNK + 7, buffer, 1), MEMGUARD_ERR_AUTH);
    CHECK(is_all(buffer, sizeof buffer, 0));
    CHECK(report_of(vault).auth_failures == before + 4);
    const size_t other = (chunk + 2) % CHUNKS;
    CHECK_STATUS(memguard_large_read_at(large, other * CHUNK, buffer, 100), MEMGUARD_OK);
}

/* ---- chunks that are not what they should be ---- */

TEST(chunk_with_any_byte_changed_does_not_open) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    for (size_t chunk = 0; chunk < CHUNKS; chunk += CHUNKS - 1)
        for (size_t i = 0; i < CHUNK + MG_TAG_BYTES; i += 9) {
            record_of(large, chunk)->sealed[i] ^= 0x20;
            check_refused(vault, large, chunk);
            record_of(large, chunk)->sealed[i] ^= 0x20;
        }
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(chunks_swapped_do_not_open_even_with_their_records) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    for (int whole = 0; whole < 2; whole++) {
        struct record one = *record_of(large, 1), two = *record_of(large, 2);
        *record_of(large, 1) = whole ? two : (struct record){two.sealed, one.prefix, one.version};
        *record_of(large, 2) = whole ? one : (struct record){one.sealed, two.prefix, two.version};
        check_refused(vault, large, 1);
        check_refused(vault, large, 2);
        *record_of(large, 1) = one;
        *record_of(large, 2) = two;
    }
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(chunk_of_another_large_secret_does_not_open) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1), other = make_filled(vault, 1);
    const struct record one = *record_of(large, 3), two = *record_of(other, 3);
    CHECK(one.version == two.version);
    *record_of(large, 3) = two;
    *record_of(other, 3) = one;
    check_refused(vault, large, 3);
    check_refused(vault, other, 3);
    *record_of(large, 3) = one;
    *record_of(other, 3) = two;
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(earlier_bytes_put_back_do_not_open) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    unsigned char earlier[CHUNK + MG_TAG_BYTES], now[CHUNK + MG_TAG_BYTES], byte = pattern_byte(1, 3 * CHUNK + 5);
    memcpy(earlier, record_of(large, 3)->sealed, sizeof earlier);
    CHECK_STATUS(memguard_large_write_at(large, 3 * CHUNK + 5, &byte, 1), MEMGUARD_OK); /* the same contents */
    memcpy(now, record_of(large, 3)->sealed, sizeof now);
    CHECK(memcmp(earlier, now, sizeof now) != 0);
    memcpy(record_of(large, 3)->sealed, earlier, sizeof earlier);
    check_refused(vault, large, 3);
    memcpy(record_of(large, 3)->sealed, now, sizeof now);
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(lost_chunk_is_not_taken_for_zeros) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    unsigned char *sealed = record_of(large, 2)->sealed;
    record_of(large, 2)->sealed = NULL;
    check_refused(vault, large, 2);
    record_of(large, 2)->sealed = sealed;
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(chunk_written_as_a_whole_mends_one_that_does_not_open) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    unsigned char source[BYTES];
    fill(source, sizeof source, 1);
    record_of(large, 2)->sealed[0] ^= 1;
    free(record_of(large, 3)->sealed);
    record_of(large, 3)->sealed = NULL;
    check_refused(vault, large, 2);
    CHECK_STATUS(memguard_large_write_at(large, 2 * CHUNK, source + 2 * CHUNK, 3 * CHUNK), MEMGUARD_OK);
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- versions ---- */

TEST(version_that_wraps_draws_a_fresh_prefix_and_goes_on) {
    memguard_vault *vault = make_quiet_vault(0, 0, 1000000); /* the lease keeps the earlier prefix */
    memguard_large large = make_filled(vault, 1);
    const uint32_t before = inside(large)->least_prefix;
    inside(large)->version = UINT32_MAX - 3;
    for (size_t i = 0; i < 20; i++) {
        unsigned char byte = pattern_byte(1, i * 70);
        CHECK_STATUS(memguard_large_write_at(large, i * 70, &byte, 1), MEMGUARD_OK);
    }
    CHECK(inside(large)->least_prefix > before && inside(large)->version < 100);
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(chunks_of_several_prefixes_and_key_shares_open) {
    memguard_vault *vault = make_quiet_vault(0, 0, 1000);
    memguard_large large = make_filled(vault, 1);
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        unsigned char byte = pattern_byte(1, chunk * CHUNK);
        CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
        CHECK_STATUS(rekey_now(&mg__vault_find(vault)->coffer), MEMGUARD_OK);
        sleep_ms(3);
        CHECK_STATUS(memguard_large_write_at(large, chunk * CHUNK, &byte, 1), MEMGUARD_OK);
    }
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(cut_chunks_come_back_as_zeros_under_fresh_versions) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    unsigned char buffer[BYTES], source[BYTES];
    fill(source, sizeof source, 1);
    for (int i = 0; i < 20; i++) {
        CHECK_STATUS(memguard_large_resize(large, CHUNK + 10), MEMGUARD_OK);
        CHECK_STATUS(memguard_large_resize(large, BYTES), MEMGUARD_OK);
        CHECK_STATUS(memguard_large_read_at(large, 0, buffer, BYTES), MEMGUARD_OK);
        CHECK(is_pattern(buffer, CHUNK + 10, 1) && is_all(buffer + CHUNK + 10, BYTES - CHUNK - 10, 0));
        CHECK_STATUS(memguard_large_write_at(large, 0, source, BYTES), MEMGUARD_OK);
    }
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(work_at_random_never_repeats_a_version) {
    memguard_vault *vault = make_vault(0, 0), *strict = make_vault(0, MEMGUARD_STRICT);
    for (int i = 0; i < 2; i++) {
        memguard_large large = make_filled(i == 0 ? vault : strict, 1);
        unsigned char source[BYTES];
        uint32_t random = 1;
        fill(source, sizeof source, 1);
        for (unsigned round = 0; round < 2000; round++) {
            random = random * 1664525U + 1013904223U;
            const size_t offset = (random >> 8) % BYTES, bytes = 1 + (random >> 4) % (BYTES - offset);
            CHECK_STATUS(memguard_large_write_at(large, offset, source + offset, bytes), MEMGUARD_OK);
            if (round % 500 == 0) CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
        }
        is_filled(large, 1);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&strict), MEMGUARD_OK);
}

/* ---- failures in the middle ---- */

/* A write or resize of which call N fails: all is as before, and it can be repeated. */
static void check_write_failures(memguard_vault *vault, enum failing what, size_t offset, size_t bytes, bool sparse) {
    unsigned char source[BYTES], buffer[BYTES], before[BYTES];
    int hit = 1;
    for (unsigned at = 1; hit; at++) {
        memguard_large large = make_filled(vault, 1);
        if (sparse) {
            CHECK_STATUS(memguard_large_resize(large, CHUNK), MEMGUARD_OK);
            CHECK_STATUS(memguard_large_resize(large, BYTES), MEMGUARD_OK);
        }
        CHECK_STATUS(memguard_large_read_at(large, 0, before, BYTES), MEMGUARD_OK);
        fill(source, bytes, 2);
        arm(what, at);
        const memguard_status status = memguard_large_write_at(large, offset, source, bytes);
        hit = disarm();
        CHECK((status == MEMGUARD_OK) == !hit);
        if (hit) {
            CHECK_STATUS(memguard_large_read_at(large, 0, buffer, BYTES), MEMGUARD_OK);
            CHECK(memcmp(buffer, before, BYTES) == 0);
            close_window(large);
            CHECK_STATUS(memguard_large_read_at(large, 0, buffer, BYTES), MEMGUARD_OK);
            CHECK(memcmp(buffer, before, BYTES) == 0);
            CHECK_STATUS(memguard_large_write_at(large, offset, source, bytes), MEMGUARD_OK);
        }
        memcpy(before + offset, source, bytes);
        CHECK_STATUS(memguard_large_read_at(large, 0, buffer, BYTES), MEMGUARD_OK);
        CHECK(memcmp(buffer, before, BYTES) == 0);
        CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    }
}

TEST(write_without_memory_changes_nothing) {
    memguard_vault *vault = make_vault(0, 0), *strict = make_vault(0, MEMGUARD_STRICT);
    for (int sparse = 0; sparse < 2; sparse++) {
        check_write_failures(vault, MEMORY, 10, 20, sparse);
        check_write_failures(vault, MEMORY, 10, 2 * CHUNK, sparse);
        check_write_failures(vault, MEMORY, 10, 4 * CHUNK, sparse);
        check_write_failures(vault, MEMORY, CHUNK, 3 * CHUNK, sparse);
        check_write_failures(strict, MEMORY, 10, 4 * CHUNK, sparse);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&strict), MEMGUARD_OK);
}

TEST(write_whose_changed_edges_cannot_be_sealed_changes_nothing) {
    memguard_vault *vault = make_vault(0, 0);
    check_write_failures(vault, SEALING, 10, 20, false);
    check_write_failures(vault, SEALING, 10, CHUNK, false);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(write_over_a_chunk_that_does_not_open_changes_nothing) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    unsigned char source[BYTES];
    fill(source, sizeof source, 2);
    record_of(large, 4)->sealed[0] ^= 1;
    close_window(large);
    CHECK_STATUS(memguard_large_write_at(large, 10, source, 4 * CHUNK), MEMGUARD_ERR_AUTH);
    record_of(large, 4)->sealed[0] ^= 1;
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(resize_that_fails_changes_nothing) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = make_filled(vault, 1);
    uint64_t bytes = 0;
    for (enum failing what = MEMORY; what <= SEALING; what++) {
        arm(what, 1);
        CHECK_STATUS(memguard_large_resize(large, CHUNK + 10), what == MEMORY ? MEMGUARD_ERR_MEMORY : MEMGUARD_ERR_STATE);
        CHECK(disarm());
    }
    arm(MEMORY, 1);
    CHECK_STATUS(memguard_large_resize(large, 100 * CHUNK), MEMGUARD_ERR_MEMORY);
    CHECK(disarm());
    record_of(large, 1)->sealed[5] ^= 1;
    close_window(large);
    CHECK_STATUS(memguard_large_resize(large, CHUNK + 10), MEMGUARD_ERR_AUTH);
    record_of(large, 1)->sealed[5] ^= 1;
    CHECK_STATUS(memguard_large_size(large, &bytes), MEMGUARD_OK);
    CHECK(bytes == BYTES);
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(create_without_memory_makes_nothing) {
    memguard_vault *vault = make_vault(0, 0);
    memguard_large large = {1};
    for (unsigned at = 1; at <= 2; at++) {
        arm(MEMORY, at);
        CHECK_STATUS(memguard_large_create(vault, 1000, NULL, &large), MEMGUARD_ERR_MEMORY);
        CHECK(disarm() && large.id == 0 && report_of(vault).larges == 0);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- the lease of what is open ---- */

static void read_one(memguard_large large, size_t offset) {
    unsigned char byte = 0;
    CHECK_STATUS(memguard_large_read_at(large, offset, &byte, 1), MEMGUARD_OK);
    CHECK(byte == pattern_byte(1, offset));
}

TEST(open_chunk_is_wiped_when_nobody_calls) {
    memguard_vault *vault = make_quiet_vault(0, 0, 2000);
    memguard_large large = make_filled(vault, 1);
    read_one(large, 300);
    CHECK(closes(large.id, the_side));
    read_one(large, 301);
    CHECK(closes(large.id, the_side));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(open_chunk_is_kept_for_the_next_small_read_and_wiped_by_lock) {
    memguard_vault *vault = make_still_vault();
    memguard_large large = make_filled(vault, 1);
    read_one(large, 300);
    record_of(large, 1)->sealed[0] ^= 1; /* the next read does not look at it */
    read_one(large, 301);
    record_of(large, 1)->sealed[0] ^= 1;
    CHECK(is_window_open(large.id, the_side));
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    CHECK(!is_window_open(large.id, the_side));
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    is_filled(large, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(nothing_stays_open_in_a_strict_vault_or_without_anyone_to_close_it) {
    static const uint32_t flags[] = {MEMGUARD_STRICT, MEMGUARD_NO_THREAD};
    for (size_t i = 0; i < 2; i++) {
        memguard_vault *vault = make_quiet_vault(0, flags[i], 1000000);
        memguard_large large = make_filled(vault, 1);
        read_one(large, 300);
        CHECK(!is_window_open(large.id, the_side));
        CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    }
}

TEST(no_nonce_came_twice_in_all_this) { check_nonces(5000); }

int main(void) {
    RUN(chunk_with_any_byte_changed_does_not_open);
    RUN(chunks_swapped_do_not_open_even_with_their_records);
    RUN(chunk_of_another_large_secret_does_not_open);
    RUN(earlier_bytes_put_back_do_not_open);
    RUN(lost_chunk_is_not_taken_for_zeros);
    RUN(chunk_written_as_a_whole_mends_one_that_does_not_open);
    RUN(version_that_wraps_draws_a_fresh_prefix_and_goes_on);
    RUN(chunks_of_several_prefixes_and_key_shares_open);
    RUN(cut_chunks_come_back_as_zeros_under_fresh_versions);
    RUN(work_at_random_never_repeats_a_version);
    RUN(write_without_memory_changes_nothing);
    RUN(write_whose_changed_edges_cannot_be_sealed_changes_nothing);
    RUN(write_over_a_chunk_that_does_not_open_changes_nothing);
    RUN(resize_that_fails_changes_nothing);
    RUN(create_without_memory_makes_nothing);
    RUN(open_chunk_is_wiped_when_nobody_calls);
    RUN(open_chunk_is_kept_for_the_next_small_read_and_wiped_by_lock);
    RUN(nothing_stays_open_in_a_strict_vault_or_without_anyone_to_close_it);
    RUN(no_nonce_came_twice_in_all_this);
    return check_end();
}
