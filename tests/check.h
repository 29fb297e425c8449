/* check.h: the test harness, one header. Prints one line a test and, last, `N passed, N failed, N skipped`.
 *
 *   TEST(sealed_opens) { CHECK(1 + 1 == 2); CHECK_STATUS(memguard_secret_freeze(s), MEMGUARD_ERR_STALE); }
 *   int main(void) { RUN(sealed_opens); return check_end(); }
 *
 * A test that is written and not RUN is a compiler warning. Checks go on after a failure; each yields 1 or 0, so
 * `if (!CHECK(p != NULL)) return;` stops. They may be used in threads and in children. They print the expression and the
 * place, never a value, so no secret is shown. */
#ifndef MEMGUARD_TESTS_CHECK_H
#define MEMGUARD_TESTS_CHECK_H

#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memguard.h"

/* CHECK_TSAN: 1 under ThreadSanitizer. CHECK_SANITIZED: there or under AddressSanitizer: mlock does nothing there, faults may look
 * different. */
#if defined(__has_feature)
#define CHECK_HAS_(feature) __has_feature(feature)
#else
#define CHECK_HAS_(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || CHECK_HAS_(thread_sanitizer)
#define CHECK_TSAN 1
#else
#define CHECK_TSAN 0
#endif
#if CHECK_TSAN || defined(__SANITIZE_ADDRESS__) || CHECK_HAS_(address_sanitizer)
#define CHECK_SANITIZED 1
#else
#define CHECK_SANITIZED 0
#endif

static int check_passed, check_failed, check_skipped; /* tests */
static atomic_int check_bad;                          /* failed checks of the test that runs */
static atomic_int check_skip;                         /* 1: the test that runs was skipped */

#define TEST(name) static void test_##name(void)
#define RUN(name) check_run(#name, test_##name)
#define CHECK(cond) check_that((cond) ? 1 : 0, #cond, __FILE__, __LINE__)
#define CHECK_STATUS(expr, expected) check_status((expr), (expected), #expr, __FILE__, __LINE__)
/* Ends the test (it returns from a void function) as skipped; the reason is printed and counted. */
#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        printf("SKIPPED at %s:%d: %s\n", __FILE__, __LINE__, (reason));                                                \
        atomic_store(&check_skip, 1);                                                                                  \
        return;                                                                                                        \
    } while (0)

/* For tests that stop threads by a signal. */
#define NEEDS_SIGNALS()                                                                                                \
    do {                                                                                                               \
        if (CHECK_TSAN) SKIP("ThreadSanitizer runs handlers when it likes: threads that compute never stop");          \
    } while (0)

static inline int check_that(int good, const char *text, const char *file, int line) {
    if (!good) {
        atomic_fetch_add(&check_bad, 1);
        printf("%s:%d: not so: %s\n", file, line, text);
    }
    return good;
}

static inline int check_status(memguard_status got, memguard_status expected, const char *text, const char *file, int line) {
    if (got != expected) {
        atomic_fetch_add(&check_bad, 1);
        printf("%s:%d: %s instead of %s: %s\n", file, line, memguard_status_name(got), memguard_status_name(expected), text);
    }
    return got == expected;
}

static inline void check_run(const char *name, void (*test)(void)) {
    atomic_store(&check_bad, 0);
    atomic_store(&check_skip, 0);
    test();
    const char *verdict = "ok";
    if (atomic_load(&check_bad) != 0) {
        verdict = "FAILED", check_failed++;
    } else if (atomic_load(&check_skip) != 0) {
        verdict = "skipped", check_skipped++;
    } else {
        check_passed++;
    }
    printf("%s %s\n", verdict, name);
    fflush(stdout);
}

/* Prints the closing line and yields the exit code: 1 if a test failed or none ran. */
static inline int check_end(void) {
    printf("%d passed, %d failed, %d skipped\n", check_passed, check_failed, check_skipped);
    return check_failed != 0 || check_passed + check_skipped == 0;
}

/* Runs fn(arg) in a forked child and yields the wait status, -1 if there was no fork. The child exits with what fn returns, or with
 * 99 if that is 0 and a check failed in it. Call it before this process makes a vault: a child of a process that has one is refused. */
static inline int check_child(int (*fn)(void *arg), void *arg) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        atomic_store(&check_bad, 0);
        int code = fn(arg);
        exit(code == 0 && atomic_load(&check_bad) != 0 ? 99 : code);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
static inline int check_exited(int status, int code) { return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == code; }
static inline int check_killed(int status, int number) { return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == number; }

/* For children: from now on this process may lock `bytes` bytes at most, also when it is root. Yields 0, or -1. */
static inline int drop_memlock(size_t bytes) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    struct rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || syscall(SYS_capget, &header, sets) != 0) return -1;
    sets[0].effective &= ~(1U << CAP_IPC_LOCK);
    sets[0].permitted &= ~(1U << CAP_IPC_LOCK);
    return syscall(SYS_capset, &header, sets) == 0 ? 0 : -1;
}

#endif
