/* test_process_fail.c: system calls that refuse, one after another, under the functions of memguard/process.h: the status is the right one,
 * and nothing has changed. */
#include "../unit/white.h"

#include "memguard/process.h"
#include "sys/harden.h"
#include "sys/signals.h"

static struct mg__signals_table real_signals;
static struct mg__harden_table real_harden;
static struct mg__sys_table real_sys;
static unsigned fails_at, calls; /* the installation that fails */
static int fails_with;

static int refuse(void) {
    errno = fails_with;
    return -1;
}

/* Looking is not counted. */
static int my_sigaction(int n, const void *new, void *old) {
    if (new != NULL && ++calls == fails_at) return refuse();
    return real_signals.sigaction(n, new, old);
}
static int my_sigaltstack(const void *new, void *old) { return new != NULL ? refuse() : real_signals.sigaltstack(new, old); }
static int my_madvise(void *a, size_t n, int advice) {
    (void)a, (void)n, (void)advice;
    return refuse();
}
static int my_key_create(void *key, void (*leave)(void *)) {
    (void)key, (void)leave;
    return fails_with;
}
static int my_thread_create(void *thread, void *(*run)(void *), void *arg) {
    (void)thread, (void)run, (void)arg;
    return fails_with;
}
static int my_prctl(int what, unsigned long a, unsigned long b) {
    if (what == PR_SET_DUMPABLE || what == PR_SET_NO_NEW_PRIVS) return refuse();
    return real_harden.prctl(what, a, b);
}
static int my_setrlimit(int what, const void *limit) {
    (void)what, (void)limit;
    return refuse();
}

enum { LAST = 31 };
static void look(struct sigaction *all) {
    for (int number = 1; number <= LAST; number++) CHECK(sigaction(number, NULL, &all[number]) == 0);
}

static int unchanged(const struct sigaction *before) {
    struct sigaction now[LAST + 1];
    int same = 1;
    look(now);
    for (int number = 1; number <= LAST; number++) same &= now[number].sa_handler == before[number].sa_handler;
    return same;
}

static struct sigaction before[LAST + 1];

TEST(a_crash_handler_that_cannot_be_installed_takes_the_others_back) {
    look(before);
    fails_with = EINVAL;
    mg__signals_table.sigaction = my_sigaction;
    for (fails_at = 1; fails_at <= 7; fails_at++) {
        calls = 0;
        CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_ERR_SYSTEM);
        CHECK(unchanged(before));
    }
    mg__signals_table = real_signals;
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK);
}

TEST(a_caught_signal_that_cannot_be_installed_takes_the_others_back) {
    const int set[] = {SIGTERM, SIGHUP, SIGUSR1};
    look(before);
    fails_with = EINVAL;
    mg__signals_table.sigaction = my_sigaction;
    for (fails_at = 1; fails_at <= 3; fails_at++) {
        calls = 0;
        CHECK_STATUS(memguard_catch_signal(set, 3, NULL, NULL, NULL), MEMGUARD_ERR_SYSTEM);
        CHECK(unchanged(before));
    }
    mg__signals_table = real_signals;
    CHECK_STATUS(memguard_catch_signal(set, 3, NULL, NULL, NULL), MEMGUARD_OK); /* none of them is taken for caught */
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    CHECK(unchanged(before));
}

TEST(without_a_thread_no_signal_is_caught) {
    const int set[] = {SIGTERM};
    look(before);
    fails_with = EAGAIN;
    mg__sys_table.thread_create = my_thread_create;
    CHECK_STATUS(memguard_catch_signal(set, 1, NULL, NULL, NULL), MEMGUARD_ERR_SYSTEM);
    mg__sys_table = real_sys;
    CHECK(unchanged(before));
    CHECK_STATUS(memguard_catch_signal(set, 1, NULL, NULL, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
}

/* In a thread, which has no alternate stack yet. */
static void *give_stack(void *expected) {
    stack_t now;
    CHECK_STATUS(memguard_crash_stack(), *(const memguard_status *)expected);
    CHECK(sigaltstack(NULL, &now) == 0 && (CHECK_SANITIZED || (now.ss_flags & SS_DISABLE) != 0));
    return NULL;
}

static void in_thread(memguard_status expected) {
    pthread_t thread;
    if (CHECK(pthread_create(&thread, NULL, give_stack, &expected) == 0)) CHECK(pthread_join(thread, NULL) == 0);
}

TEST(an_alternate_stack_that_cannot_be_had_is_an_error_and_leaves_none) {
    if (CHECK_SANITIZED) SKIP("a sanitizer gives every thread an alternate stack");
    fails_with = ENOMEM;
    mg__signals_table.key_create = my_key_create; /* before the first one was made */
    in_thread(MEMGUARD_ERR_MEMORY);
    mg__signals_table = real_signals;
    mg__signals_table.madvise = my_madvise;
    in_thread(MEMGUARD_ERR_MEMORY);
    mg__signals_table = real_signals;
    fails_with = EPERM;
    mg__signals_table.sigaltstack = my_sigaltstack;
    in_thread(MEMGUARD_ERR_SYSTEM);
    mg__signals_table = real_signals;
}

static memguard_harden_report hardened(uint32_t flags, int error, memguard_status expected) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    fails_with = error;
    mg__harden_table.prctl = my_prctl;
    mg__harden_table.setrlimit = my_setrlimit;
    CHECK_STATUS(memguard_harden(flags, &report), expected);
    mg__harden_table = real_harden;
    return report;
}

TEST(a_hardening_that_is_refused_is_reported_with_its_error_and_the_others_are_tried) {
    const uint32_t two = MEMGUARD_HARDEN_DUMPABLE | MEMGUARD_HARDEN_NO_NEW_PRIVS, three = two | MEMGUARD_HARDEN_CORE;
    const struct rlimit some = {4096, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &some) != 0) SKIP("the core limit is too low for a test");
    memguard_harden_report report = hardened(two, EINVAL, MEMGUARD_ERR_UNSUPPORTED);
    CHECK(report.failed == two && (report.active & two) == 0 && report.wanted == two);
    CHECK(report.os_error[0] == EINVAL && report.os_error[3] == EINVAL && report.os_error[1] == 0);
    report = hardened(three, EPERM, MEMGUARD_ERR_SYSTEM);
    CHECK(report.failed == three && report.os_error[1] == EPERM && report.core_bytes == 4096);
    report = hardened(0, EPERM, MEMGUARD_OK);
    CHECK(report.failed == 0);
}

static int absent_prctl(int what, unsigned long a, unsigned long b) {
    if (what != PR_SET_NO_NEW_PRIVS) return real_harden.prctl(what, a, b);
    errno = EINVAL;
    return -1;
}

TEST(what_is_in_force_in_spite_of_a_refusal_does_not_decide_the_status) {
    const uint32_t two = MEMGUARD_HARDEN_NO_NEW_PRIVS | MEMGUARD_HARDEN_CORE;
    const struct rlimit little = {1, RLIM_INFINITY};
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    if (setrlimit(RLIMIT_CORE, &little) != 0) SKIP("the core limit is too low for a test");
    fails_with = EPERM;
    mg__harden_table.prctl = absent_prctl;
    mg__harden_table.setrlimit = my_setrlimit;
    CHECK_STATUS(memguard_harden(two, &report), MEMGUARD_ERR_UNSUPPORTED);
    CHECK(report.failed == MEMGUARD_HARDEN_NO_NEW_PRIVS && report.os_error[1] == EPERM);
    mg__harden_table = real_harden;
}

int main(void) {
    real_signals = mg__signals_table;
    real_harden = mg__harden_table;
    real_sys = mg__sys_table;
    RUN(an_alternate_stack_that_cannot_be_had_is_an_error_and_leaves_none);
    RUN(a_crash_handler_that_cannot_be_installed_takes_the_others_back);
    RUN(a_caught_signal_that_cannot_be_installed_takes_the_others_back);
    RUN(without_a_thread_no_signal_is_caught);
    RUN(a_hardening_that_is_refused_is_reported_with_its_error_and_the_others_are_tried);
    RUN(what_is_in_force_in_spite_of_a_refusal_does_not_decide_the_status);
    return check_end();
}
