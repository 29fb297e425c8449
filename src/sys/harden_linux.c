/* The contract of sys/harden.h on Linux. Sources: man-pages prctl(2), PR_SET_SPECULATION_CTRL(2const), setrlimit(2),
 * core(5); Linux fs/coredump.c (a limit of 1 stops pipes as well, 0 does not). Must not know: who asked. */
#define _GNU_SOURCE
#include "sys/harden.h"

#include <errno.h>
#include <memguard/process.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* ---- the table ---- */

static int real_prctl(int what, unsigned long a, unsigned long b) { return prctl(what, a, b, 0UL, 0UL); }
static int real_getrlimit(int what, void *limit) { return getrlimit((__rlimit_resource_t)what, limit); }
static int real_setrlimit(int what, const void *limit) { return setrlimit((__rlimit_resource_t)what, limit); }

#define REAL_TABLE                                                                                                     \
    { real_prctl, real_getrlimit, real_setrlimit }

#ifdef MEMGUARD_TESTING
struct mg__harden_table mg__harden_table = REAL_TABLE;
#define CALL mg__harden_table
#else
static const struct mg__harden_table table = REAL_TABLE;
#define CALL table
#endif

static int result(int returned) { return returned == 0 ? 0 : errno; }

static int set(int what, unsigned long value) { return result(CALL.prctl(what, value, 0)); }

/* ---- dumpable, core, MDWE, no new privileges ---- */

static int dumpable_off(void) { return set(PR_SET_DUMPABLE, 0); }
static bool is_undumpable(void) { return CALL.prctl(PR_GET_DUMPABLE, 0, 0) == 0; }

static int core_limit(struct rlimit *limit) {
    limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
    return result(CALL.getrlimit(RLIMIT_CORE, limit));
}

static int core_off(void) {
    struct rlimit now;
    const int error = core_limit(&now);
    const rlim_t most = now.rlim_max < 1 ? now.rlim_max : 1; /* a hard limit of 0 cannot be raised, and need not be */
    const struct rlimit little = {most, most};
    return error != 0 ? error : result(CALL.setrlimit(RLIMIT_CORE, &little));
}

static bool is_core_off(void) { return mg__harden_core_bytes() <= 1; }

uint64_t mg__harden_core_bytes(void) {
    struct rlimit now;
    if (core_limit(&now) != 0 || now.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    return now.rlim_cur;
}

static bool is_mdwe_on(void) {
    const int bits = CALL.prctl(PR_GET_MDWE, 0, 0);
    return bits > 0 && (bits & PR_MDWE_REFUSE_EXEC_GAIN) != 0;
}
/* Set already, perhaps with more bits: those cannot be taken back, and asking would be an error. */
static int mdwe_on(void) { return is_mdwe_on() ? 0 : set(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN); }

static int no_new_privileges(void) { return set(PR_SET_NO_NEW_PRIVS, 1); }
static bool has_no_new_privileges(void) { return CALL.prctl(PR_GET_NO_NEW_PRIVS, 0, 0) == 1; }

/* ---- speculation ---- */

static uint32_t speculation(unsigned long which) {
    const int state = CALL.prctl(PR_GET_SPECULATION_CTRL, which, 0);
    if (state < 0) return MEMGUARD_SPECULATION_UNKNOWN;
    if (state == PR_SPEC_NOT_AFFECTED) return MEMGUARD_SPECULATION_UNAFFECTED;
    const unsigned bits = (unsigned)state;
    if ((bits & (PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE)) != 0) return MEMGUARD_SPECULATION_OFF;
    return (bits & PR_SPEC_PRCTL) != 0 ? MEMGUARD_SPECULATION_ON : MEMGUARD_SPECULATION_ON_FIXED;
}

static bool is_harmless(uint32_t state) {
    return state == MEMGUARD_SPECULATION_UNAFFECTED || state == MEMGUARD_SPECULATION_OFF;
}

uint32_t mg__harden_store_bypass(void) { return speculation(PR_SPEC_STORE_BYPASS); }
uint32_t mg__harden_indirect_branch(void) { return speculation(PR_SPEC_INDIRECT_BRANCH); }

static int stop_speculation(unsigned long which) {
    /* What is off is turned off again: it might be off for now only. What refuses that is off for good. */
    const int error = result(CALL.prctl(PR_SET_SPECULATION_CTRL, which, PR_SPEC_FORCE_DISABLE));
    return error != 0 && is_harmless(speculation(which)) ? 0 : error;
}

static int speculation_off(void) {
    const int error = stop_speculation(PR_SPEC_STORE_BYPASS), other = stop_speculation(PR_SPEC_INDIRECT_BRANCH);
    return error != 0 ? error : other;
}

static bool is_speculation_off(void) {
    return is_harmless(mg__harden_store_bypass()) && is_harmless(mg__harden_indirect_branch());
}

/* ---- by number ---- */

static const struct {
    int (*turn_on)(void);
    bool (*is_on)(void);
} hardenings[MG_HARDENINGS] = {
    {dumpable_off, is_undumpable},
    {core_off, is_core_off},
    {mdwe_on, is_mdwe_on},
    {no_new_privileges, has_no_new_privileges},
    {speculation_off, is_speculation_off},
};

int mg__harden_turn_on(unsigned bit) { return hardenings[bit].turn_on(); }

bool mg__harden_is_on(unsigned bit) { return hardenings[bit].is_on(); }

/* ENXIO, ENODEV: speculation that this kernel or processor does not let processes control. */
bool mg__harden_is_absent(int error) { return error == EINVAL || error == ENOSYS || error == ENXIO || error == ENODEV; }
