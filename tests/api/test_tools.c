/* test_tools.c: the functions that need no vault: wipe, equal, call_scrubbed, and the words about statuses. */
#define _GNU_SOURCE
#include "api/support.h"

/* ---- wipe and equal ------------------------------------------------------------------------------------ */

TEST(wipe_zeroes_exactly_its_bytes_at_every_offset_and_size) {
    enum { ROOM = 300 };
    unsigned char bytes[ROOM], model[ROOM];
    for (size_t offset = 0; offset < 40; offset++) {
        for (size_t size = 0; size < 200; size++) {
            fill(bytes, ROOM, 1), fill(model, ROOM, 1);
            memguard_wipe(bytes + offset, size);
            memset(model + offset, 0, size);
            if (!CHECK(memcmp(bytes, model, ROOM) == 0)) return;
        }
    }
    memguard_wipe(NULL, 0);
}

TEST(equal_sees_a_difference_of_any_bit_at_any_place) {
    enum { MOST = 130 };
    unsigned char a[MOST + 1], b[MOST + 1];
    for (size_t size = 1; size <= MOST; size++) {
        fill(a, sizeof a, 1), fill(b, sizeof b, 1);
        b[size] ^= 1; /* behind the end */
        CHECK(memguard_equal(a, b, size) == 1);
        for (size_t at = 0; at < size; at++) {
            b[at] ^= (unsigned char)(1U << (at + size) % 8);
            if (!CHECK(memguard_equal(a, b, size) == 0)) return;
            b[at] = a[at];
        }
    }
    CHECK(memguard_equal(a, b, 0) == 1);
}

/* ---- call_scrubbed ------------------------------------------------------------------------------------- */

enum { DEEP = 200 * 1024 };
typedef struct trail {
    uintptr_t place;
    size_t size;
} trail;

/* Leaves a pattern on its stack. */
static __attribute__((noinline)) int leave_trail(void *arg) {
    volatile unsigned char left[DEEP];
    trail *t = arg;
    const size_t start = sizeof left - t->size;
    for (size_t i = 0; i < t->size; i++) left[start + i] = pattern_byte(7, i);
    t->place = (uintptr_t)left + start;
    return t->place != 0 ? 33 : 0;
}

/* How many 16-byte pieces of the trail are still there; the kernel reads, so that the stack below is not disturbed. */
static long pieces_left(const trail *t) {
    static unsigned char copy[DEEP];
    long found = 0;
    int ends[2];
    if (!CHECK(pipe(ends) == 0)) return -1;
    for (size_t at = 0; at < t->size; at += 1024) {
        if (syscall(SYS_write, ends[1], t->place + at, (size_t)1024) != 1024) break;
        if (syscall(SYS_read, ends[0], copy + at, (size_t)1024) != 1024) break;
    }
    close(ends[0]), close(ends[1]);
    for (size_t at = 0; at + 16 <= t->size; at += 16) {
        unsigned char piece[16];
        for (size_t i = 0; i < sizeof piece; i++) piece[i] = pattern_byte(7, at + i);
        found += memcmp(copy + at, piece, sizeof piece) == 0;
    }
    return found;
}

static void check_scrubbing(size_t size) {
    trail t = {0, size};
    int result = 0;
    CHECK(leave_trail(&t) == 33);
    CHECK(pieces_left(&t) > (long)size / 32); /* the control: without scrubbing most of it stays */
    CHECK_STATUS(memguard_call_scrubbed(leave_trail, &t, &result), MEMGUARD_OK);
    CHECK(result == 33);
    CHECK(pieces_left(&t) == 0);
}

TEST(call_scrubbed_wipes_the_stack_below_it) {
    if (CHECK_SANITIZED) SKIP("a sanitizer lays out the stack in its own way");
    check_scrubbing(16 * 1024);
    check_scrubbing(60 * 1024);
}

TEST(call_scrubbed_goes_on_below_where_the_stack_was_used) {
    if (CHECK_SANITIZED) SKIP("a sanitizer lays out the stack in its own way");
    check_scrubbing(150 * 1024);
}

static void *scrub_in_thread(void *arg) {
    (void)arg;
    check_scrubbing(60 * 1024);
    return NULL;
}

TEST(call_scrubbed_works_in_threads) {
    if (CHECK_SANITIZED) SKIP("a sanitizer lays out the stack in its own way");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, scrub_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static int count_call(void *arg) {
    ++*(int *)arg;
    return -5;
}

TEST(call_scrubbed_calls_once_and_needs_a_function) {
    int calls = 0, result = 0;
    CHECK_STATUS(memguard_call_scrubbed(count_call, &calls, &result), MEMGUARD_OK);
    CHECK(calls == 1 && result == -5);
    CHECK_STATUS(memguard_call_scrubbed(count_call, &calls, NULL), MEMGUARD_OK);
    CHECK(calls == 2);
    CHECK_STATUS(memguard_call_scrubbed(NULL, &calls, &result), MEMGUARD_ERR_ARGUMENT);
    CHECK(calls == 2);
}

/* ---- words --------------------------------------------------------------------------------------------- */

TEST(every_status_has_its_name_and_a_text_of_its_own) {
#define CHECK_WORDS(name, number, text)                                                                                \
    CHECK(MEMGUARD_##name == (number));                                                                                \
    CHECK(strcmp(memguard_status_name(MEMGUARD_##name), #name) == 0);                                                  \
    CHECK(strcmp(memguard_status_text(MEMGUARD_##name), text) == 0);
    MEMGUARD_STATUS_LIST(CHECK_WORDS)
#undef CHECK_WORDS
}

TEST(unknown_statuses_have_a_name_and_a_text_too) {
    static const memguard_status unknown[] = {-1, 27, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK(strcmp(memguard_status_name(unknown[i]), "ERR_UNKNOWN") == 0);
        CHECK(memguard_status_text(unknown[i]) != NULL && memguard_status_text(unknown[i])[0] != '\0');
    }
}

TEST(the_version_is_that_of_the_header) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%d.%d.%d", MEMGUARD_VERSION_MAJOR, MEMGUARD_VERSION_MINOR, MEMGUARD_VERSION_PATCH);
    CHECK(strcmp(memguard_version(), wanted) == 0);
}

TEST(before_any_failure_the_last_error_is_ok) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    error.status = 99, error.os_error = 99;
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_OK && error.os_error == 0);
    CHECK(memchr(error.text, 0, sizeof error.text) != NULL);
}

int main(void) {
    RUN(before_any_failure_the_last_error_is_ok); /* first */
    RUN(wipe_zeroes_exactly_its_bytes_at_every_offset_and_size);
    RUN(equal_sees_a_difference_of_any_bit_at_any_place);
    RUN(call_scrubbed_wipes_the_stack_below_it);
    RUN(call_scrubbed_goes_on_below_where_the_stack_was_used);
    RUN(call_scrubbed_works_in_threads);
    RUN(call_scrubbed_calls_once_and_needs_a_function);
    RUN(every_status_has_its_name_and_a_text_of_its_own);
    RUN(unknown_statuses_have_a_name_and_a_text_too);
    RUN(the_version_is_that_of_the_header);
    return check_end();
}
