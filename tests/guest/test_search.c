/* The search itself must find: every form of a needle, at every place of an image, and what is of one window only; and nothing else. */
#include <sodium.h>

#include "check.h"
#include "guest/marker.h"
#include "guest/search.h"

enum { IMAGE = 1 << 20, SEED = 12345 };
static unsigned char image[IMAGE], marker[MARKER_BYTES];
static struct search search;

static void begin(void) {
    static const unsigned char noise[randombytes_SEEDBYTES] = {
        7}; /* the same in each run: a byte beside a plant may fit by chance */
    randombytes_buf_deterministic(image, sizeof image, noise);
    marker_write(marker, sizeof marker, SEED, MARKER_MAPPED);
    search_begin(&search);
    search_add(&search, "marker", marker, sizeof marker);
}

static unsigned runs_with(const void *planted, size_t bytes, size_t at) {
    unsigned char before[256];
    memcpy(before, image + at, bytes);
    memcpy(image + at, planted, bytes);
    search_image(&search, image, sizeof image);
    memcpy(image + at, before, bytes);
    return search.found[0].runs;
}

TEST(noise_holds_nothing) {
    begin();
    search_image(&search, image, sizeof image);
    CHECK(search.found[0].runs == 0);
    search_end(&search);
}

TEST(raw_is_found_at_the_beginning_the_end_and_at_odd_places) {
    const size_t places[] = {0, 1, 4095, 77777, IMAGE - MARKER_BYTES};
    begin();
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        CHECK(runs_with(marker, sizeof marker, places[i]) == 1 && search.found[0].first == places[i]);
        CHECK(search.found[0].runs_16 == 1 && search.found[0].runs_32 == 1);
    }
    search_end(&search);
}

TEST(every_window_of_eight_bytes_is_found_and_none_of_seven) {
    begin();
    for (size_t from = 0; from + 8 <= sizeof marker; from++) {
        CHECK(runs_with(marker + from, 8, 1000) == 1 && search.found[0].runs_16 == 0);
        CHECK(runs_with(marker + from, 7, 1000) == 0);
    }
    CHECK(runs_with(marker + 3, 16, 1000) == 1 && search.found[0].runs_16 == 1 && search.found[0].runs_32 == 0);
    search_end(&search);
}

TEST(reversed_hex_and_base64_are_found) {
    char text[256];
    unsigned char reversed[MARKER_BYTES];
    begin();
    for (size_t i = 0; i < sizeof marker; i++)
        reversed[i] = marker[sizeof marker - 1 - i];
    CHECK(runs_with(reversed, sizeof reversed, 5000) == 1);
    sodium_bin2hex(text, sizeof text, marker + 10, 8);
    CHECK(runs_with(text, 16, 5000) == 1 && runs_with(text, 15, 5000) == 0);
    for (size_t i = 0; text[i] != '\0'; i++)
        if (text[i] >= 'a') text[i] = (char)(text[i] - 'a' + 'A');
    CHECK(runs_with(text, 16, 5000) == 1);
    for (size_t from = 0; from < 3; from++) {
        sodium_bin2base64(text, sizeof text, marker + from, 18, sodium_base64_VARIANT_ORIGINAL);
        CHECK(runs_with(text, 24, 5000) == 1);
    }
    search_end(&search);
}

/* Another seed, another number: other markers. */
TEST(other_markers_are_not_mistaken_for_it) {
    unsigned char other[MARKER_BYTES];
    begin();
    marker_write(other, sizeof other, SEED + 1, MARKER_MAPPED);
    CHECK(runs_with(other, sizeof other, 5000) == 0);
    marker_write(other, sizeof other, SEED, MARKER_COMPACT);
    CHECK(runs_with(other, sizeof other, 5000) == 0);
    search_end(&search);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    RUN(noise_holds_nothing);
    RUN(raw_is_found_at_the_beginning_the_end_and_at_odd_places);
    RUN(every_window_of_eight_bytes_is_found_and_none_of_seven);
    RUN(reversed_hex_and_base64_are_found);
    RUN(other_markers_are_not_mistaken_for_it);
    return check_end();
}
