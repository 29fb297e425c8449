/* What a sweep takes for a reference and what not, on bytes that are given to it; and its sorting. */
#include "white.h"

#include "process/refs.h"

enum { REFS = 200, INDICES = 4096 };
static const uint32_t generation = 0x2b3c4d5e;

static struct mg__ref all[REFS];
static struct mg__range ranges[REFS];
static uint32_t by_index[INDICES];
static struct mg__refs refs;

static uintptr_t low_of(size_t i) { return 0x7f0012340000 + i * 0x3000; }

/* Ref i: index 7 * i + 7 (0 beside a generation would look like zeros), generation + i % 3, one page at low_of(i). */
static void prepare(void) {
    memset(&refs, 0, sizeof refs);
    memset(by_index, 0, sizeof by_index);
    for (size_t i = 0; i < REFS; i++) {
        const size_t at = (i * 37 + 5) % REFS; /* not in order */
        all[i] = (struct mg__ref){.id = ((uint64_t)(generation + i % 3) << 32) | (7 * i + 7), .own = 0x1000 + i};
        ranges[at] = (struct mg__range){low_of(i), low_of(i) + 4096, i};
        by_index[7 * i + 7] = (uint32_t)i + 1;
    }
    refs.refs = all;
    refs.count = refs.range_count = REFS;
    refs.ranges = ranges;
    refs.by_index = by_index;
    refs.indices = INDICES;
    mg__refs_prepare(&refs);
}

static size_t found(void) {
    size_t count = 0;
    for (size_t i = 0; i < REFS; i++)
        count += all[i].found;
    return count;
}

/* How many are found with `value` at offset `at` of a block of zeros. */
static size_t found_with(uint64_t value, size_t at, uintptr_t address) {
    unsigned char block[96] = {0};
    memcpy(block + at, &value, sizeof value);
    for (size_t i = 0; i < REFS; i++)
        all[i].found = false;
    mg__refs_look(&refs, block, sizeof block, address);
    return found();
}

TEST(a_handle_is_found_at_every_offset) {
    prepare();
    for (size_t i = 0; i < REFS; i++)
        for (size_t at = 0; at <= 88; at++)
            CHECK(found_with(all[i].id, at, 0x5000) == 1 && all[i].found);
}

TEST(an_address_is_found_from_the_begin_of_the_pages_to_just_behind_them) {
    prepare();
    for (size_t i = 0; i < REFS; i++) {
        for (uintptr_t in = 0; in <= 4096; in += 512)
            CHECK(found_with(low_of(i) + in, in % 89, 0x900000) == 1 && all[i].found);
        CHECK(found_with(low_of(i) - 1, i % 89, 0x900000) == 0);
        CHECK(found_with(low_of(i) + 4097, i % 89, 0x900000) == 0);
    }
}

TEST(the_librarys_own_copy_of_an_address_is_no_reference_and_only_in_its_place) {
    prepare();
    CHECK(found_with(low_of(3), 16, all[3].own - 16) == 0);
    CHECK(found_with(low_of(3), 16, all[3].own - 15) == 1);
    CHECK(found_with(low_of(3), 16, all[4].own - 16) == 1);
    CHECK(found_with(all[3].id, 16, all[3].own - 16) == 1); /* a handle there is one */
}

TEST(other_generations_other_indices_and_halves_are_none) {
    prepare();
    for (size_t i = 0; i < REFS; i++) {
        CHECK(found_with(all[i].id + ((uint64_t)3 << 32), 8, 0) == 0);
        CHECK(found_with(all[i].id - ((uint64_t)3 << 32), 8, 0) == 0);
        CHECK(found_with(all[i].id + 1, 8, 0) == 0);
        CHECK(found_with(all[i].id | 0x80000000, 8, 0) == 0);
        CHECK(found_with(all[i].id >> 32, 8, 0) == 0 && found_with(all[i].id & UINT32_MAX, 8, 0) == 0);
    }
}

TEST(nothing_beyond_the_bytes_given_counts) {
    unsigned char block[64] = {0};
    prepare();
    for (size_t bytes = 0; bytes <= 24; bytes++) {
        for (size_t i = 0; i < REFS; i++)
            all[i].found = false;
        memcpy(block + 16, &all[5].id, 8);
        mg__refs_look(&refs, block, bytes, 0);
        CHECK(found() == (bytes >= 24));
    }
}

TEST(with_nothing_to_look_for_nothing_is_found) {
    unsigned char block[4096];
    prepare();
    refs.count = refs.range_count = 0;
    memset(by_index, 0, sizeof by_index);
    mg__refs_prepare(&refs);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (unsigned char)(i * 31);
    mg__refs_look(&refs, block, sizeof block, 0);
    CHECK(found() == 0);
}

TEST(ranges_of_any_size_pass_the_filter) {
    prepare();
    for (unsigned bits = 4; bits < 40; bits++) {
        ranges[0] = (struct mg__range){0x600000000010, 0x600000000010 + ((uintptr_t)1 << bits), 0};
        refs.range_count = 1;
        mg__refs_prepare(&refs);
        CHECK(found_with(ranges[0].low, 1, 0) == 1 && found_with(ranges[0].high, 2, 0) == 1 &&
              found_with((ranges[0].low + ranges[0].high) / 2, 3, 0) == 1);
        CHECK(found_with(ranges[0].low - 1, 1, 0) == 0 && found_with(ranges[0].high + 1, 1, 0) == 0);
    }
}

TEST(sorting_sorts) {
    static struct mg__range some[300];
    for (size_t count = 0; count < 300; count += count < 20 ? 1 : 40) {
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            some[i] = (struct mg__range){(i * 7919 + 13) % 101, i, i}, sum += i;
        mg__ranges_sort(some, count);
        for (size_t i = 1; i < count; i++)
            CHECK(some[i - 1].low <= some[i].low);
        for (size_t i = 0; i < count; i++)
            CHECK(some[i].low == (some[i].what * 7919 + 13) % 101), sum -= some[i].what;
        CHECK(sum == 0);
    }
}

int main(void) {
    RUN(a_handle_is_found_at_every_offset);
    RUN(an_address_is_found_from_the_begin_of_the_pages_to_just_behind_them);
    RUN(the_librarys_own_copy_of_an_address_is_no_reference_and_only_in_its_place);
    RUN(other_generations_other_indices_and_halves_are_none);
    RUN(nothing_beyond_the_bytes_given_counts);
    RUN(with_nothing_to_look_for_nothing_is_found);
    RUN(ranges_of_any_size_pass_the_filter);
    RUN(sorting_sorts);
    return check_end();
}
