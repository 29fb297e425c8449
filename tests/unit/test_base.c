/* The room base: wipe, constant-time comparison, checked arithmetic, status names, the last error of each thread, sized structs. */
#include "white.h"

/* ---- comparison ---- */

TEST(one_flipped_bit_at_any_position_differs) {
    static unsigned char a[200], b[200];
    for (size_t bytes = 1; bytes <= sizeof a; bytes += bytes < 70 ? 1 : 13) {
        fill(a, bytes, 3), fill(b, bytes, 3);
        CHECK(mg__differ(a, b, bytes) == 0 && memguard_equal(a, b, bytes) == 1);
        for (size_t bit = 0; bit < bytes * 8; bit++) {
            b[bit / 8] = (unsigned char)(b[bit / 8] ^ 1U << bit % 8);
            CHECK(mg__differ(a, b, bytes) != 0 && memguard_equal(a, b, bytes) == 0);
            b[bit / 8] = (unsigned char)(b[bit / 8] ^ 1U << bit % 8);
        }
    }
}

TEST(all_pairs_of_bytes_compare_right) {
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            const unsigned char x = (unsigned char)a, y = (unsigned char)b;
            CHECK(memguard_equal(&x, &y, 1) == (a == b));
            CHECK((mg__differ(&x, &y, 1) == 0) == (a == b));
        }
}

TEST(bytes_beyond_the_end_do_not_matter) {
    const unsigned char a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 5};
    CHECK(memguard_equal(a, b, 3) == 1 && memguard_equal(a, b, 4) == 0);
}

TEST(equal_of_nothing_is_1_and_of_null_is_0) {
    const unsigned char byte = 0;
    CHECK(memguard_equal(NULL, NULL, 0) == 1 && memguard_equal(&byte, NULL, 0) == 1);
    CHECK(memguard_equal(NULL, &byte, 1) == 0 && memguard_equal(&byte, NULL, 1) == 0 && memguard_equal(NULL, NULL, 1) == 0);
}

/* ---- wipe ---- */

TEST(wipe_clears_exactly_its_bytes_at_every_alignment) {
    static unsigned char bytes[300];
    for (size_t offset = 0; offset < 20; offset++)
        for (size_t count = 0; count <= 260; count += count < 70 ? 1 : 19) {
            fill(bytes, sizeof bytes, 4);
            memguard_wipe(bytes + offset, count);
            CHECK(is_all(bytes + offset, count, 0));
            for (size_t i = 0; i < offset; i++) CHECK(bytes[i] == pattern_byte(4, i));
            for (size_t i = offset + count; i < sizeof bytes; i++) CHECK(bytes[i] == pattern_byte(4, i));
        }
    memguard_wipe(NULL, 0);
    memguard_wipe(NULL, 5);
}

/* ---- arithmetic ---- */

TEST(checked_sums_and_products_notice_every_overflow) {
    size_t result = 0;
    CHECK(mg__add_size(SIZE_MAX - 1, 1, &result) && result == SIZE_MAX);
    CHECK(mg__add_size(0, 0, &result) && result == 0);
    CHECK(!mg__add_size(SIZE_MAX, 1, &result) && !mg__add_size(SIZE_MAX, SIZE_MAX, &result));
    CHECK(mg__mul_size(SIZE_MAX, 1, &result) && result == SIZE_MAX);
    CHECK(mg__mul_size(SIZE_MAX, 0, &result) && result == 0);
    CHECK(!mg__mul_size(SIZE_MAX / 2 + 1, 2, &result) && !mg__mul_size(SIZE_MAX, SIZE_MAX, &result));
}

TEST(rounding_up_is_right_at_the_edges) {
    size_t result = 0;
    for (size_t power = 1; power <= 65536; power *= 2)
        for (size_t n = 0; n < 3 * power && n < 70000; n += power < 64 ? 1 : power / 16 - (n % 3 == 0)) {
            CHECK(mg__round_up(n, power, &result));
            CHECK(result >= n && result - n < power && result % power == 0);
        }
    CHECK(mg__round_up(SIZE_MAX - 4095, 4096, &result) && result == SIZE_MAX - 4095);
    CHECK(!mg__round_up(SIZE_MAX - 4094, 4096, &result) && !mg__round_up(SIZE_MAX, 2, &result));
    CHECK(mg__min_size(1, 2) == 1 && mg__min_size(2, 1) == 1 && mg__min_size(2, 2) == 2);
}

/* ---- status ---- */

enum { STATUSES = MEMGUARD_ERR_TIMEOUT + 1 };

TEST(names_and_texts_of_all_statuses_are_distinct) {
    for (int32_t a = 0; a < STATUSES; a++) {
        CHECK(memguard_status_name(a)[0] != '\0' && memguard_status_text(a)[0] != '\0');
        CHECK(strcmp(memguard_status_name(a), "ERR_UNKNOWN") != 0);
        CHECK(a == 0 || strncmp(memguard_status_name(a), "ERR_", 4) == 0);
        for (int32_t b = 0; b < a; b++) {
            CHECK(strcmp(memguard_status_name(a), memguard_status_name(b)) != 0);
            CHECK(strcmp(memguard_status_text(a), memguard_status_text(b)) != 0);
        }
    }
}

TEST(numbers_that_are_no_status_have_a_name_too) {
    static const int32_t none[] = {-1, STATUSES, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        CHECK(strcmp(memguard_status_name(none[i]), "ERR_UNKNOWN") == 0);
        for (int32_t b = 0; b < STATUSES; b++) CHECK(strcmp(memguard_status_text(none[i]), memguard_status_text(b)) != 0);
    }
}

TEST(version_is_that_of_the_header) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", MEMGUARD_VERSION_MAJOR, MEMGUARD_VERSION_MINOR, MEMGUARD_VERSION_PATCH);
    CHECK(strcmp(text, memguard_version()) == 0);
}

/* ---- last error ---- */

static memguard_error last_error(void) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    return error;
}

static void *fail_elsewhere(void *arg) {
    (void)arg;
    CHECK(last_error().status == MEMGUARD_OK); /* a new thread has none */
    CHECK_STATUS(mg__fail(MEMGUARD_ERR_RANDOM, 5, "other %d", 2), MEMGUARD_ERR_RANDOM);
    CHECK(last_error().status == MEMGUARD_ERR_RANDOM && last_error().os_error == 5);
    CHECK(strcmp(last_error().text, "other 2") == 0);
    return NULL;
}

TEST(each_thread_has_its_own_last_error) {
    pthread_t thread;
    CHECK_STATUS(mg__fail(MEMGUARD_ERR_SIZE, 3, "mine %d", 1), MEMGUARD_ERR_SIZE);
    if (!CHECK(pthread_create(&thread, NULL, fail_elsewhere, NULL) == 0)) return;
    pthread_join(thread, NULL);
    CHECK(last_error().status == MEMGUARD_ERR_SIZE && last_error().os_error == 3);
    CHECK(strcmp(last_error().text, "mine 1") == 0);
}

TEST(plain_error_has_the_sentence_of_its_status_and_no_old_numbers) {
    CHECK_STATUS(mg__fail_lock_limit(100, 60, 50, 12), MEMGUARD_ERR_LOCK_LIMIT);
    memguard_error error = last_error();
    CHECK(error.allowed_bytes == 100 && error.in_use_bytes == 60 && error.needed_bytes == 50 && error.os_error == 12);
    CHECK(strstr(error.text, "100") != NULL && strstr(error.text, "60") != NULL && strstr(error.text, "50") != NULL);
    CHECK(strstr(error.text, "RLIMIT_MEMLOCK") != NULL);
    CHECK_STATUS(mg__fail_plain(MEMGUARD_ERR_BUSY), MEMGUARD_ERR_BUSY);
    error = last_error();
    CHECK(error.allowed_bytes == 0 && error.in_use_bytes == 0 && error.needed_bytes == 0 && error.os_error == 0);
    CHECK(strcmp(error.text, memguard_status_text(MEMGUARD_ERR_BUSY)) == 0);
}

TEST(long_sentence_is_cut_and_ends) {
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK_STATUS(mg__fail(MEMGUARD_ERR_SYSTEM, 0, "%s", text), MEMGUARD_ERR_SYSTEM);
    CHECK(strlen(last_error().text) == sizeof last_error().text - 1);
}

TEST(success_does_not_change_the_last_error) {
    CHECK_STATUS(mg__fail_plain(MEMGUARD_ERR_FROZEN), MEMGUARD_ERR_FROZEN);
    memguard_vault *none = NULL;
    CHECK_STATUS(memguard_vault_destroy(&none), MEMGUARD_OK);
    CHECK(last_error().status == MEMGUARD_ERR_FROZEN);
}

/* ---- sized structs ---- */

struct newer {
    memguard_error known;
    unsigned char tail[64];
};

TEST(older_and_newer_structs_are_filled_as_far_as_known) {
    struct newer newer;
    memset(&newer, 0xEE, sizeof newer);
    newer.known.size = sizeof newer;
    CHECK_STATUS(mg__fail_plain(MEMGUARD_ERR_AUTH), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_last_error(&newer.known), MEMGUARD_OK);
    CHECK(newer.known.size == sizeof newer && newer.known.status == MEMGUARD_ERR_AUTH);
    CHECK(is_all(newer.tail, sizeof newer.tail, 0));
    memset(&newer, 0xEE, sizeof newer);
    newer.known.size = offsetof(memguard_error, os_error);
    CHECK_STATUS(memguard_last_error(&newer.known), MEMGUARD_OK);
    CHECK(newer.known.status == MEMGUARD_ERR_AUTH);
    const unsigned char *bytes = (const unsigned char *)&newer;
    CHECK(is_all(bytes + offsetof(memguard_error, os_error), sizeof newer - offsetof(memguard_error, os_error), 0xEE));
}

TEST(impossible_sizes_are_refused) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    static const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 65537, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        error.size = sizes[i];
        CHECK_STATUS(memguard_last_error(&error), MEMGUARD_ERR_ARGUMENT);
    }
    CHECK_STATUS(memguard_last_error(NULL), MEMGUARD_ERR_ARGUMENT);
}

TEST(unknown_tail_must_be_zero) {
    unsigned char given[40] = {0};
    CHECK(mg__struct_is_known(given, 40, 8, 16));
    for (size_t i = 16; i < 40; i++) {
        given[i] = 1;
        CHECK(!mg__struct_is_known(given, 40, 8, 16));
        CHECK(mg__struct_is_known(given, i, 8, 16));
        given[i] = 0;
    }
    CHECK(!mg__struct_is_known(given, 7, 8, 16) && !mg__struct_is_known(given, 65537, 8, 16));
}

int main(void) {
    RUN(one_flipped_bit_at_any_position_differs);
    RUN(all_pairs_of_bytes_compare_right);
    RUN(bytes_beyond_the_end_do_not_matter);
    RUN(equal_of_nothing_is_1_and_of_null_is_0);
    RUN(wipe_clears_exactly_its_bytes_at_every_alignment);
    RUN(checked_sums_and_products_notice_every_overflow);
    RUN(rounding_up_is_right_at_the_edges);
    RUN(names_and_texts_of_all_statuses_are_distinct);
    RUN(numbers_that_are_no_status_have_a_name_too);
    RUN(version_is_that_of_the_header);
    RUN(each_thread_has_its_own_last_error);
    RUN(plain_error_has_the_sentence_of_its_status_and_no_old_numbers);
    RUN(long_sentence_is_cut_and_ends);
    RUN(success_does_not_change_the_last_error);
    RUN(older_and_newer_structs_are_filled_as_far_as_known);
    RUN(impossible_sizes_are_refused);
    RUN(unknown_tail_must_be_zero);
    return check_end();
}
