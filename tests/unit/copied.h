/* copied.h: what the white-box tests of vaults with copies (MEMGUARD_FORK_COPY) share: such a vault, children that
 * answer. Include it after white.h. */
#ifndef MEMGUARD_TESTS_UNIT_COPIED_H
#define MEMGUARD_TESTS_UNIT_COPIED_H

#include <sys/prctl.h>

/* Children cannot start threads under this sanitizer. */
#if CHECK_TSAN
enum { FLAGS = MEMGUARD_NO_THREAD };
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
#else
enum { FLAGS = 0 };
#endif

/* Never re-keyed by itself. Without a thread leases end at ticks. */
static inline memguard_vault *make_copied(uint32_t flags, uint32_t lease_us) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.flags = flags | FLAGS;
    options.lease_us = lease_us;
    options.rekey_ms = 3600000;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    if ((options.flags & MEMGUARD_NO_THREAD) != 0) CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    return vault;
}

static inline pid_t start(void (*body)(void *), void *arg) {
    fflush(stdout);
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    atomic_store(&check_bad, 0);
    body(arg);
    fflush(stdout);
    _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
}

static inline int end_of(pid_t child) {
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
#define IN_CHILD(body, arg) CHECK(check_exited(end_of(start(body, arg)), 0))

#endif
