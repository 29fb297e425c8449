/* Checks of memory: how much of it may be locked, what a vault really obtains, what the kernel does with pages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "report.h"
#include "ui.h"

/* Measured, for pages of 4 KiB: a vault alone needs 16 KiB; from 256 KiB on its key is split over 16 KiB, and a vault
 * with its benches takes 76 KiB; a guarded secret takes a page, a page has room for 64 compact secrets of 32 bytes. */
enum { CAP_IPC_LOCK_NUMBER = 14, VAULT_LEAST_KIB = 16, WORKS_KIB = 64, FULL_KEY_KIB = 256, PLENTY_KIB = 1024 };
enum { VAULT_KIB = 80, COMPACT_A_PAGE = 64 };

static const char never_tried[] = "nothing is tried under --root";

static const char *limit_name(uint64_t limit, char text[24]) {
    return limit == UINT64_MAX ? "unlimited" : ui_bytes(limit, text);
}

static long page_kib(const struct machine *machine) {
    struct text text;
    if (machine_read(machine, "proc/self/smaps", &text) != 0) return 0;
    const char *size = text_field(&text, "KernelPageSize");
    long kib = size != NULL ? strtol(size, NULL, 10) : 0;
    return kib >= 4 && kib <= 1024 ? kib : 0;
}

/* ---- lockable memory ---- */

static void say_enough(const struct machine *machine, const struct limit *limit, struct fact *fact) {
    char soft[24], hard[24];
    long page = page_kib(machine);
    uint64_t base = limit->soft / 1024 >= PLENTY_KIB ? VAULT_KIB : VAULT_KIB / 2;
    uint64_t pages = (limit->soft / 1024 - base) / (uint64_t)(page != 0 ? page : 4);
    fact_say(fact, limit->soft / 1024 < PLENTY_KIB ? FACT_DOUBT : FACT_GOOD, "", "%s soft, %s hard",
             limit_name(limit->soft, soft), limit_name(limit->hard, hard));
    snprintf(fact->meaning, sizeof fact->meaning,
             "sealed secrets need none of it; besides a vault it is enough for about %" PRIu64 " guarded secrets open "
             "at once, or %" PRIu64 " compact ones of 32 bytes%s",
             pages, pages * COMPACT_A_PAGE,
             limit->soft / 1024 < FULL_KEY_KIB ? "; a vault's key is split over less than its 16 KiB" : "");
}

static void say_too_little(const struct limit *limit, struct fact *fact) {
    char soft[24], hard[24];
    fact_say(fact, FACT_BAD,
             limit->soft / 1024 < VAULT_LEAST_KIB ? "no vault can be made: it needs 16 KiB at the least"
                                                  : "a vault can be made, but hardly anything can be open in it",
             "%s soft, %s hard", limit_name(limit->soft, soft), limit_name(limit->hard, hard));
}

static void fix_limit(const struct limit *limit, struct fact *fact) {
    if (fact->state == FACT_GOOD || limit->hard / 1024 < PLENTY_KIB || limit->hard <= limit->soft) return;
    if (limit->hard == UINT64_MAX)
        fact_fix(fact, "ulimit -l 8192 (or MEMGUARD_RAISE_LIMIT in the program)");
    else
        fact_fix(fact, "ulimit -l %" PRIu64 " (or MEMGUARD_RAISE_LIMIT in the program)", limit->hard / 1024);
}

void check_lock_limit(const struct machine *machine, struct fact *fact) {
    struct limit limit;
    char soft[24];
    if (!machine_limit(machine, "Max locked memory", &limit, fact)) return;
    if (limit.soft == UINT64_MAX)
        fact_say(fact, FACT_GOOD, "as much as there is memory may be locked", "unlimited");
    else if (machine_is_capable(machine, CAP_IPC_LOCK_NUMBER))
        fact_say(fact, FACT_GOOD, "by this right the limit does not count", "%s soft, with CAP_IPC_LOCK",
                 limit_name(limit.soft, soft));
    else if (limit.soft / 1024 < WORKS_KIB)
        say_too_little(&limit, fact);
    else
        say_enough(machine, &limit, fact);
    fix_limit(&limit, fact);
}

/* ---- what a trial obtained ---- */

static void say_vault(const struct trial *trial, struct fact *fact) {
    char vault[24], compact[24], guarded[24], prekey[24];
    bool locked = (trial->protections & MEMGUARD_PROTECT_LOCKED) != 0;
    bool all = trial->protections == MEMGUARD_PROTECT_ALL;
    fact_say(
        fact,
        all      ? FACT_GOOD
        : locked ? FACT_DOUBT
                 : FACT_BAD,
        all      ? "a vault obtains every protection that there is"
        : locked ? "a vault obtains less than every protection: memguard demo lists which"
                 : "plaintext in use may be written to swap",
        "backend %s, key split over %s; locked: %s for a vault, %s with %u compact secrets, %s with %u guarded ones on "
        "top",
        report_backend(trial->backend), ui_bytes(trial->prekey_bytes, prekey), ui_bytes(trial->vault_bytes, vault),
        ui_bytes(trial->compact_bytes, compact), trial->compact, ui_bytes(trial->guarded_bytes, guarded),
        trial->guarded);
    if (!all || (trial->compact == TRIAL_COMPACT && trial->guarded == TRIAL_GUARDED)) return;
    fact->state = FACT_DOUBT;
    snprintf(fact->meaning, sizeof fact->meaning,
             "a vault obtains every protection that there is, but of %d compact and %d guarded secrets it had no room "
             "for all",
             (int)TRIAL_COMPACT, (int)TRIAL_GUARDED);
}

void check_vault(const struct machine *machine, struct fact *fact) {
    const struct trial *trial = machine_trial(machine);
    if (trial == NULL || !trial->done)
        fact_unknown(fact, "%s", trial == NULL ? never_tried : trial->failed);
    else if (trial->made != MEMGUARD_OK)
        fact_say(fact, FACT_BAD, "no vault can be made here with the default options", "%s", trial->made_text);
    else
        say_vault(trial, fact);
}

void check_memfd_secret(const struct machine *machine, struct fact *fact) {
    const struct trial *trial = machine_trial(machine);
    if (trial == NULL || !trial->done)
        fact_unknown(fact, "%s", trial == NULL ? never_tried : trial->failed);
    else if (trial->hidden == MEMGUARD_OK)
        fact_say(fact, FACT_GOOD, "pages that the kernel itself cannot read for anybody, root included", "it works");
    else if (trial->hidden == MEMGUARD_ERR_UNSUPPORTED)
        fact_say(fact, FACT_BAD, "plaintext in use can be read by root, by tracers, and is in a hibernation image",
                 "%s", trial->hidden_text);
    else
        fact_unknown(fact, "a vault of it could not be made: %s", trial->hidden_text);
}

/* ---- pages ---- */

static const char *processor_flags(const struct text *text) {
    const char *flags = text_field(text, "flags");
    return flags != NULL ? flags : text_field(text, "Features");
}

void check_pkeys(const struct machine *machine, struct fact *fact) {
    struct text text;
    if (!machine_need(machine, "proc/cpuinfo", &text, fact)) return;
    const char *flags = processor_flags(&text);
    if (flags == NULL)
        fact_unknown(fact, "/proc/cpuinfo: there is no line with flags");
    else if (text_has_word(flags, "ospke") || text_has_word(flags, "poe"))
        fact_say(fact, FACT_GOOD,
                 "a program can take a thread's access to pages away without a system call; memguard does not need it",
                 "there");
    else
        fact_say(fact, FACT_DOUBT, "programs that guard memory with them cannot; memguard does not need them",
                 "not there");
}

void check_page_size(const struct machine *machine, struct fact *fact) {
    struct text text;
    if (!machine_need(machine, "proc/self/smaps", &text, fact)) return;
    long page = page_kib(machine);
    if (page == 0)
        fact_unknown(fact, "/proc/self/smaps: there is no page size in it");
    else if (page == 4)
        fact_say(fact, FACT_GOOD, "a guarded secret takes 4 KiB of lockable memory", "4 KiB");
    else {
        fact_say(fact, FACT_DOUBT, "", "%ld KiB", page);
        snprintf(fact->meaning, sizeof fact->meaning,
                 "a guarded secret takes %ld KiB of lockable memory: %ld times as much as with pages of 4 KiB", page,
                 page / 4);
        fact_fix(fact, "raise the lock limit accordingly, or rest secrets COMPACT or SEALED");
    }
}

void check_huge_pages(const struct machine *machine, struct fact *fact) {
    struct text text;
    int error = machine_read(machine, "sys/kernel/mm/transparent_hugepage/enabled", &text);
    if (machine_lacks(machine, "sys/kernel/mm", error))
        fact_say(fact, FACT_GOOD, "pages are not collapsed, which would leave copies", "not in this kernel");
    else if (error != 0)
        machine_unread(machine, "sys/kernel/mm/transparent_hugepage/enabled", error, fact);
    else if (text_has_word(text.bytes, "[always]"))
        fact_say(fact, FACT_DOUBT,
                 "the kernel may move any program's pages and leave copies in free memory; memguard's pages are exempt",
                 "always");
    else if (text_has_word(text.bytes, "[madvise]") || text_has_word(text.bytes, "[never]"))
        fact_say(fact, FACT_GOOD, "pages are collapsed, which leaves copies, only where a program asks for it", "%s",
                 text_has_word(text.bytes, "[never]") ? "never" : "madvise");
    else
        fact_unknown(fact, "/sys/kernel/mm/transparent_hugepage/enabled: none of always, madvise, never is marked");
}

void check_ksm(const struct machine *machine, struct fact *fact) {
    long long run = 0;
    int error = machine_find(machine, "sys/kernel/mm/ksm/run", NULL);
    if (machine_lacks(machine, "sys/kernel/mm", error))
        fact_say(fact, FACT_GOOD, "equal pages are never merged", "not in this kernel");
    else if (!machine_number(machine, "sys/kernel/mm/ksm/run", &run, fact))
        return;
    else if (run == 1)
        fact_say(
            fact, FACT_DOUBT,
            "equal pages of programs that ask for it are merged: who can time a write learns that he guessed a page; "
            "memguard's pages are exempt",
            "1 (on)");
    else if (run == 0 || run == 2)
        fact_say(fact, FACT_GOOD, "equal pages are not merged", "%lld (off)", run);
    else
        fact_unknown(fact, "/sys/kernel/mm/ksm/run: %lld has no meaning known", run);
}

enum { MAPS_DEFAULT = 65530 };

void check_map_count(const struct machine *machine, struct fact *fact) {
    long long most;
    if (!machine_number(machine, "proc/sys/vm/max_map_count", &most, fact)) return;
    fact_say(fact, most >= MAPS_DEFAULT ? FACT_GOOD : FACT_DOUBT, "", "%lld", most);
    snprintf(fact->meaning, sizeof fact->meaning,
             "a guarded secret takes two mappings: at most about %lld of them in a process", most > 0 ? most / 2 : 0);
}
