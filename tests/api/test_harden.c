/* test_harden.c: each restriction alone, read back from the kernel, in a child: they cannot be undone. */
#define _GNU_SOURCE
#include "support.h"

#include <sys/mman.h>

#include "memguard/process.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

enum { NOT_OFFERED = 77 };
static const uint32_t bits[] = {MEMGUARD_HARDEN_DUMPABLE, MEMGUARD_HARDEN_CORE, MEMGUARD_HARDEN_MDWE,
                                MEMGUARD_HARDEN_NO_NEW_PRIVS, MEMGUARD_HARDEN_SPECULATION};

static int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }

static memguard_harden_report looked(uint32_t flags, memguard_status expected) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    CHECK_STATUS(memguard_harden(flags, &report), expected);
    CHECK(report.wanted == flags);
    return report;
}

/* The bits as this test reads them. */
static uint32_t from_kernel(void) {
    struct rlimit core = {0, 0};
    uint32_t found = 0;
    CHECK(getrlimit(RLIMIT_CORE, &core) == 0);
    if (prctl(PR_GET_DUMPABLE) == 0) found |= MEMGUARD_HARDEN_DUMPABLE;
    if (core.rlim_cur <= 1) found |= MEMGUARD_HARDEN_CORE;
    if (prctl(PR_GET_MDWE, 0, 0, 0, 0) == 1) found |= MEMGUARD_HARDEN_MDWE;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) found |= MEMGUARD_HARDEN_NO_NEW_PRIVS;
    return found;
}

static int looks_only(void *unused) {
    (void)unused;
    const uint32_t before = from_kernel();
    const memguard_harden_report report = looked(0, MEMGUARD_OK);
    CHECK((report.active & ~(uint32_t)MEMGUARD_HARDEN_SPECULATION) == before);
    CHECK(report.failed == 0);
    CHECK(from_kernel() == before);
    CHECK_STATUS(memguard_harden(0, NULL), MEMGUARD_OK);
    return 0;
}

TEST(without_flags_it_only_looks) { CHECK(exit_code(check_child(looks_only, NULL)) == 0); }

static int one_bit(void *which) {
    const uint32_t bit = *(uint32_t *)which, kernel = bit & ~(uint32_t)MEMGUARD_HARDEN_SPECULATION;
    const struct rlimit some = {4096, RLIM_INFINITY};
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    if (setrlimit(RLIMIT_CORE, &some) != 0) return NOT_OFFERED;
    const uint32_t before = from_kernel();
    const memguard_status status = memguard_harden(bit, &report);
    if (status == MEMGUARD_ERR_UNSUPPORTED) {
        CHECK(report.failed == bit && (report.active & bit) == 0);
        CHECK(report.os_error[__builtin_ctz(bit)] != 0);
        return atomic_load(&check_bad) == 0 ? NOT_OFFERED : 99;
    }
    CHECK_STATUS(status, MEMGUARD_OK);
    CHECK((report.active & bit) == bit && report.failed == 0);
    CHECK(from_kernel() == (before | kernel)); /* nothing that was not asked for */
    report = looked(bit, MEMGUARD_OK);         /* and again */
    CHECK((report.active & bit) == bit);
    return 0;
}

static void check_bit(size_t i) {
    const int code = exit_code(check_child(one_bit, (void *)(uintptr_t)&bits[i]));
    if (code == NOT_OFFERED) SKIP("this system does not offer it, and says so");
    CHECK(code == 0);
}

TEST(dumpable_alone) { check_bit(0); }
TEST(core_limit_alone) { check_bit(1); }
TEST(no_executable_gain_alone) { check_bit(2); }
TEST(no_new_privileges_alone) { check_bit(3); }
TEST(speculation_alone) { check_bit(4); }

static int all_at_once(void *unused) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    (void)unused;
    const memguard_status status = memguard_harden(MEMGUARD_HARDEN_ALL, &report);
    CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_UNSUPPORTED));
    CHECK(((report.active | report.failed) & MEMGUARD_HARDEN_ALL) == MEMGUARD_HARDEN_ALL);
    CHECK((report.failed == 0) == (status == MEMGUARD_OK));
    CHECK((report.active & 0xB) == 0xB); /* what every kernel has */
    CHECK(report.core_bytes <= 1);
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 32, MEMGUARD_SEALED, 1);
    CHECK(holds_pattern(secret, 32, 1)); /* the library needs nothing of it */
    vault_end(vault);
    return 0;
}

TEST(all_at_once_and_the_library_works_under_it) {
    if (CHECK_SANITIZED) SKIP("a sanitizer needs its own memory rights");
    CHECK(exit_code(check_child(all_at_once, NULL)) == 0);
}

static int hard_limit_zero(void *unused) {
    const struct rlimit none = {0, 0};
    (void)unused;
    if (setrlimit(RLIMIT_CORE, &none) != 0) return 3;
    const memguard_harden_report report = looked(MEMGUARD_HARDEN_CORE, MEMGUARD_OK);
    CHECK(report.core_bytes == 0); /* seen: files only */
    return 0;
}

TEST(a_hard_core_limit_of_zero_stays_and_is_told) { CHECK(exit_code(check_child(hard_limit_zero, NULL)) == 0); }

static int changes_user(void *unused) {
    (void)unused;
    looked(MEMGUARD_HARDEN_DUMPABLE, MEMGUARD_OK);
    if (setuid(65534) != 0) return NOT_OFFERED;
    prctl(PR_SET_DUMPABLE, 1); /* what fs.suid_dumpable does on some systems */
    CHECK((looked(0, MEMGUARD_OK).active & MEMGUARD_HARDEN_DUMPABLE) == 0);
    CHECK((looked(MEMGUARD_HARDEN_DUMPABLE, MEMGUARD_OK).active & MEMGUARD_HARDEN_DUMPABLE) != 0);
    CHECK(prctl(PR_GET_DUMPABLE) == 0);
    return 0;
}

TEST(it_is_asserted_again_after_setuid) {
    if (geteuid() != 0) SKIP("needs to begin as root");
    const int code = exit_code(check_child(changes_user, NULL));
    if (code == NOT_OFFERED) SKIP("setuid is refused here");
    CHECK(code == 0);
}

static int gains_execution(void *unused) {
    (void)unused;
    if (memguard_harden(MEMGUARD_HARDEN_MDWE, NULL) != MEMGUARD_OK) return NOT_OFFERED;
    void *page = mmap(NULL, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK(mprotect(page, page_bytes(), PROT_READ | PROT_EXEC) != 0);
    return 0;
}

TEST(memory_does_not_become_executable) {
    const int code = exit_code(check_child(gains_execution, NULL));
    if (code == NOT_OFFERED) SKIP("PR_SET_MDWE is not offered here");
    CHECK(code == 0);
}

static int bad_arguments(void *unused) {
    struct {
        memguard_harden_report report;
        uint64_t more;
    } newer = {MEMGUARD_HARDEN_REPORT_INIT, 7};
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    (void)unused;
    const uint32_t before = from_kernel();
    CHECK_STATUS(memguard_harden(MEMGUARD_HARDEN_ALL + 1U, &report), MEMGUARD_ERR_ARGUMENT);
    report.size = 0;
    CHECK_STATUS(memguard_harden(MEMGUARD_HARDEN_DUMPABLE, &report), MEMGUARD_ERR_ARGUMENT);
    CHECK(from_kernel() == before);
    newer.report.size = sizeof newer;
    CHECK_STATUS(memguard_harden(0, &newer.report), MEMGUARD_OK);
    CHECK(newer.more == 0 && newer.report.size == sizeof newer);
    return 0;
}

TEST(bad_arguments_change_nothing) { CHECK(exit_code(check_child(bad_arguments, NULL)) == 0); }

int main(void) {
    RUN(without_flags_it_only_looks);
    RUN(dumpable_alone);
    RUN(core_limit_alone);
    RUN(no_executable_gain_alone);
    RUN(no_new_privileges_alone);
    RUN(speculation_alone);
    RUN(all_at_once_and_the_library_works_under_it);
    RUN(a_hard_core_limit_of_zero_stays_and_is_told);
    RUN(it_is_asserted_again_after_setuid);
    RUN(memory_does_not_become_executable);
    RUN(bad_arguments_change_nothing);
    return check_end();
}
