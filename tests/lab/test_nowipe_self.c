/* test_nowipe_self.c: the whole of test_scan_self.c, few times, with a library that wipes nothing: every part of it that is about
 * wiping must fail. What it prints on the way is thrown away. */
#define LAB_OTHER_MAIN
#define LAB_REPEATS 5
#include "lab/test_scan_self.c"

/* How many checks of a test fail. */
static int failures_of(void (*test)(void)) {
    fflush(stdout);
    const int kept = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (kept < 0 || nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0) return -1;
    test();
    const int failures = atomic_exchange(&check_bad, 0);
    fflush(stdout);
    if (dup2(kept, STDOUT_FILENO) < 0) return -1;
    close(kept);
    close(nowhere);
    return failures;
}

static unsigned strays_in(const char *state) {
    const struct row *row = row_of(state);
    unsigned strays = 0;
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++)
        strays += row->strays[c];
    return strays;
}

TEST(the_scan_fails_in_every_state_that_follows_cipher_calls) {
    static const char *const states[] = {"taken; leased",
                                         "lease ended",
                                         "READ view released",
                                         "WRITE view released",
                                         "after use",
                                         "after use by 4 threads",
                                         "replaced",
                                         "moved in",
                                         "sealed again",
                                         "re-keyed",
                                         "locked",
                                         "unlocked",
                                         "destroyed"};
    CHECK(failures_of(test_no_secret_is_astray_in_any_state) > 0);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (!CHECK(strays_in(states[i]) > 0)) printf("  nothing found: %s\n", states[i]);
}

TEST(the_scan_fails_without_a_lease) { CHECK(failures_of(test_no_secret_is_astray_without_a_lease) > 0); }

TEST(the_scan_fails_with_a_housekeeper) { CHECK(failures_of(test_no_secret_is_astray_when_the_housekeeper_tends) > 0); }

static long (*real_getrandom)(void *, size_t, unsigned);

/* The emergency wipe has the kernel overwrite: that is wiping, too. */
static long write_nothing_in_an_emergency(void *p, size_t bytes, unsigned flags) {
    return atomic_load(&mg__bank_wiped) ? (long)bytes : real_getrandom(p, bytes, flags);
}

TEST(the_emergency_wipe_fails) {
    real_getrandom = mg__sys_table.getrandom;
    mg__sys_table.getrandom = write_nothing_in_an_emergency;
    const int failures = failures_of(test_nothing_is_left_after_an_emergency_wipe);
    mg__sys_table.getrandom = real_getrandom;
    if (atomic_load(&check_skip)) SKIP("nothing can be scanned here");
    CHECK(failures > 0);
}

TEST(the_search_for_signal_frames_fails) { CHECK(failures_of(test_signal_frames_on_benches_are_wiped) > 0); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    /* Of the scanner itself and of secretmem: nothing in them is about wiping. */
    (void)test_scanner_sees_windows_of_eight_bytes_and_pages_without_access;
    (void)test_scanner_sees_registers;
    (void)test_secretmem_is_out_of_reach_of_the_scanner;
    if (CHECK_SANITIZED) why_not = "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own";
    if (why_not == NULL) {
        RUN(the_emergency_wipe_fails);
        why_not = scan_start();
    }
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    RUN(scanner_sees_every_form_wherever_it_is);
    RUN(the_search_for_signal_frames_fails);
    if (!workers_start()) return 1;
    RUN(the_scan_fails_in_every_state_that_follows_cipher_calls);
    RUN(the_scan_fails_without_a_lease);
    RUN(the_scan_fails_with_a_housekeeper);
    workers_stop();
    print_table();
    return check_end();
}
