/* test_nowipe_scan.c: the negative control of test_scan_self.c. Built with a library that wipes nothing (lab/wipe_off.c), the same
 * search must find what the wiping would have removed: if it does not, finding nothing proves nothing. It also tells how deep
 * cipher calls reach into a bench, which is what the library's fixed depths of wiping rest on. */
#define _GNU_SOURCE
#include "lab/subject.h"

#include "memguard/stream.h"

enum { DEPTH_SHALLOW = MG_BENCH_SHALLOW, DEPTH_DEEP = MG_BENCH_DEEP };

static struct scan_result result;
static memguard_vault *vault;
static memguard_secret secret;
static unsigned found_on_bench[SCAN_COLUMNS];

static void clear_benches(void) {
    for (unsigned b = 0; b < bench_count; b++)
        scan_wipe(bench_low[b], bench_bytes[b]);
}

static size_t deepest(void) {
    size_t depth = 0;
    for (unsigned b = 0; b < bench_count; b++) {
        size_t i = 0;
        while (i < bench_bytes[b] && bench_low[b][i] == 0)
            i++;
        if (bench_bytes[b] - i > depth) depth = bench_bytes[b] - i;
    }
    return depth;
}

static void look(const char *state) {
    scan_memory(&result);
    scan_print_hits(&result, state);
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++)
        found_on_bench[c] += scan_runs_in(&result, c, SCAN_BENCH);
}

static int begin(uint32_t flags, size_t bytes, unsigned char *source, struct keys *keys) {
    scan_begin(100000);
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, flags, 4096);
    if (vault == NULL || !find_benches(MG_KIND_LOCKED, 2)) return 0;
    clear_benches();
    const int plain = scan_draw(SCAN_P, bytes, SCAN_ALL_FORMS, source);
    scan_name(SCAN_SOURCE, source, bytes);
    if (!CHECK_STATUS(memguard_secret_take(vault, source, bytes, MEMGUARD_SEALED, &secret), MEMGUARD_OK)) return 0;
    *keys = find_keys(vault, secret, plain, NULL);
    return 1;
}

static void end(unsigned char *source, size_t bytes) {
    scan_wipe(source, bytes);
    scan_unname(SCAN_SOURCE);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(without_wiping_the_source_of_take_is_found) {
    unsigned char *source = malloc(64);
    struct keys keys;
    if (!CHECK(source != NULL) || !begin(MEMGUARD_NO_THREAD, 64, source, &keys)) return;
    look("taken, not wiped");
    CHECK(scan_runs_in(&result, SCAN_P, SCAN_SOURCE) > 0);
    end(source, 64);
    free(source);
}

TEST(without_wiping_keys_and_keystream_are_found_on_benches) {
    static unsigned char source[4096];
    struct keys keys;
    memset(found_on_bench, 0, sizeof found_on_bench);
    for (int strict = 0; strict < 2; strict++) {
        if (!begin(strict ? MEMGUARD_STRICT : MEMGUARD_NO_THREAD, 4096, source, &keys)) return;
        look(strict ? "STRICT: taken" : "taken, not wiped");
        CHECK_STATUS(memguard_secret_use(secret, touch_bytes, NULL, NULL), MEMGUARD_OK);
        look(strict ? "STRICT: used" : "used, not wiped");
        clear_benches();
        CHECK_STATUS(rekey_now(coffer_of(vault)), MEMGUARD_OK);
        look("re-keyed, not wiped");
        end(source, sizeof source);
    }
    CHECK(found_on_bench[SCAN_KS] > 0);
    CHECK(found_on_bench[SCAN_S] > 0);
    CHECK(found_on_bench[SCAN_STREAM] > 0);
    CHECK(found_on_bench[SCAN_HX] > 0);
    CHECK(!benches_are_blank());
}

TEST(without_wiping_a_locked_vault_leaves_its_key) {
    static unsigned char source[64], kek[32];
    struct keys keys;
    if (!begin(MEMGUARD_NO_THREAD, sizeof source, source, &keys)) return;
    memset(found_on_bench, 0, sizeof found_on_bench);
    CHECK_STATUS(memguard_vault_lock(vault, kek), MEMGUARD_OK);
    look("locked, not wiped");
    CHECK(found_on_bench[SCAN_K] > 0); /* after other calls later frames may cover it: that depends on the compiler */
    CHECK(scan_runs_outside(&result, SCAN_Y, SCAN_NOWHERE) > 0);
    end(source, sizeof source);
}

/* How deep the cipher calls for a chunk reach. */
static size_t depth_of_chunks(uint32_t flags, unsigned char *bytes, size_t size) {
    memguard_stream stream = {0};
    size_t got = 0, depth = 0;
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, flags, 4096);
    if (vault == NULL || !find_benches(MG_KIND_LOCKED, 2)) return 0;
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    for (int i = 0; i < 2; i++) { /* the first time a lease begins */
        clear_benches();
        CHECK_STATUS(memguard_stream_write(stream, bytes, size), MEMGUARD_OK);
        CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_OK);
        if (deepest() > depth) depth = deepest();
        clear_benches();
        CHECK_STATUS(memguard_stream_read(stream, bytes, size, &got), MEMGUARD_OK);
        if (deepest() > depth) depth = deepest();
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return depth;
}

/* Depths measured here and now: every cipher call must stay within what is wiped, a signal's frame on top of it included. */
TEST(cipher_calls_stay_within_the_depth_that_is_wiped) {
    static unsigned char source[100000];
    static const size_t sizes[] = {1, 31, 32, 33, 63, 64, 65, 128, 256, 512, 4096, 100000};
    size_t shallow = 0, deep = 0;
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 16384);
    if (vault == NULL || !find_benches(MG_KIND_LOCKED, 2)) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memguard_secret some = {0};
        clear_benches();
        end_the_lease(vault);
        CHECK_STATUS(memguard_secret_copy(vault, source, sizes[i], MEMGUARD_SEALED, &some), MEMGUARD_OK);
        if (deepest() > deep) deep = deepest();
        clear_benches();
        CHECK(is_leased(vault));
        CHECK_STATUS(memguard_secret_use(some, touch_bytes, NULL, NULL), MEMGUARD_OK);
        if (sizes[i] <= 64 && deepest() > shallow) shallow = deepest();
        if (sizes[i] > 64 && deepest() > deep) deep = deepest();
        CHECK_STATUS(memguard_secret_destroy(&some), MEMGUARD_OK);
    }
    CHECK_STATUS(rekey_now(coffer_of(vault)), MEMGUARD_OK);
    if (deepest() > deep) deep = deepest();
    const size_t frame = mg__arch_signal_frame_bytes();
    memguard_vault *first = vault;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int strict = 0; strict < 2; strict++) {
            const size_t depth = depth_of_chunks(strict ? MEMGUARD_STRICT : MEMGUARD_NO_THREAD, source, sizes[i]);
            if (depth > deep) deep = depth;
        }
    vault = first;
    printf("bench depth: short secrets %zu of %d bytes, all else %zu of %d; a signal frame: %zu bytes\n", shallow,
           DEPTH_SHALLOW, deep, DEPTH_DEEP, frame);
    CHECK(shallow <= DEPTH_SHALLOW);
    CHECK(deep <= DEPTH_DEEP);
    /* Deeper frames are found by their marks, as far as mg__bench looks; where it does not look, the wipe must reach. */
    CHECK(deep + 128 + frame <= DEPTH_DEEP || DEPTH_SHALLOW + 1024 + frame >= deep + 128 + frame);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    if (CHECK_SANITIZED) why_not = "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own";
    if (why_not == NULL) why_not = scan_start();
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    RUN(without_wiping_the_source_of_take_is_found);
    RUN(without_wiping_keys_and_keystream_are_found_on_benches);
    RUN(without_wiping_a_locked_vault_leaves_its_key);
    RUN(cipher_calls_stay_within_the_depth_that_is_wiped);
    return check_end();
}
