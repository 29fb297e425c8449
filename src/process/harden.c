/* process/harden: restrictions that the process asks for itself, each tried apart, each read back. Contract:
 * memguard/process.h. Must not know: how the system sets them. */
#include "process/process.h"
#include "sys/harden.h"

_Static_assert(MEMGUARD_HARDEN_ALL == (1U << MG_HARDENINGS) - 1, "a function for each bit");

static void turn_on(memguard_harden_report *report) {
    for (unsigned bit = 0; bit < MG_HARDENINGS; bit++)
        if ((report->wanted & (1U << bit)) != 0) report->os_error[bit] = mg__harden_turn_on(bit);
}

static void look(memguard_harden_report *report) {
    for (unsigned bit = 0; bit < MG_HARDENINGS; bit++)
        if (mg__harden_is_on(bit)) report->active |= 1U << bit;
    report->failed = report->wanted & ~report->active;
    report->store_bypass = mg__harden_store_bypass();
    report->indirect_branch = mg__harden_indirect_branch();
    report->core_bytes = mg__harden_core_bytes();
}

/* Whether all that failed did so for want of the feature. */
static bool is_all_absent(const memguard_harden_report *report) {
    for (unsigned bit = 0; bit < MG_HARDENINGS; bit++)
        if ((report->failed & (1U << bit)) != 0 && !mg__harden_is_absent(report->os_error[bit])) return false;
    return true;
}

static memguard_status outcome(const memguard_harden_report *report) {
    static const char *const names[MG_HARDENINGS] = {"DUMPABLE", "CORE", "MDWE", "NO_NEW_PRIVS", "SPECULATION"};
    if (report->failed == 0) return MEMGUARD_OK;
    const unsigned bit = (unsigned)__builtin_ctz(report->failed);
    return mg__fail(is_all_absent(report) ? MEMGUARD_ERR_UNSUPPORTED : MEMGUARD_ERR_SYSTEM, report->os_error[bit],
                    "hardening %s is not in force (errno %d); all that are not: 0x%x", names[bit],
                    report->os_error[bit], report->failed);
}

memguard_status memguard_harden(uint32_t flags, memguard_harden_report *given) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    if ((flags & ~(uint32_t)MEMGUARD_HARDEN_ALL) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown flags: 0x%x", flags);
    if (given != NULL && !mg__out_struct_fits(given->size))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "report: size %zu is no size", given->size);
    report.wanted = flags;
    turn_on(&report);
    look(&report);
    if (given != NULL) mg__out_struct(given, given->size, &report, sizeof report);
    return outcome(&report);
}
