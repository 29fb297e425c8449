/* Prints a memguard_report: what was obtained, never what was only asked for. */
#include "report.h"

#include <stdbool.h>
#include <stdio.h>

#include "ui.h"

struct protection {
    uint32_t bit;
    const char *name, *obtained, *missing;
};

static const struct protection protections[] = {
    {MEMGUARD_PROTECT_LOCKED, "locked", "never written to swap", "may be written to swap"},
    {MEMGUARD_PROTECT_HIDDEN, "hidden", "the kernel refuses to read it for others, root included",
     "root and the same user can read it in use (needs memfd_secret)"},
    {MEMGUARD_PROTECT_NODUMP, "no dump", "left out of core files", "may be in core files"},
    {MEMGUARD_PROTECT_NOFORK, "no fork", "absent or zero in forked children", "forked children inherit it"},
    {MEMGUARD_PROTECT_NOMERGE, "no merge", "pages are not merged or moved, which would leave copies",
     "the kernel may merge or move pages, which leaves copies"},
    {MEMGUARD_PROTECT_REVOKE, "revoke", "a purge takes pages away from a holder that keeps them",
     "a purge cannot take pages away from their holder"},
    {MEMGUARD_PROTECT_SCRUB, "scrub", "crypto runs on a private stack and clears the registers",
     "stack and registers may keep parts"},
    {MEMGUARD_PROTECT_TIMER, "timer", "a thread wipes and re-keys in time when nobody calls",
     "limits and re-keying wait for the next call"},
};

const char *report_backend(uint32_t backend) {
    static const char *const names[] = {"auto", "secretmem", "locked", "plain"};
    return backend < sizeof names / sizeof names[0] ? names[backend] : "unknown";
}

static void print_protection(const struct protection *protection, uint32_t obtained) {
    bool yes = (obtained & protection->bit) != 0;
    printf("  %-10s", protection->name);
    ui_put(yes ? UI_GOOD : UI_BAD, yes ? "yes" : "NO ");
    ui_line("  %s", yes ? protection->obtained : protection->missing);
}

const char *report_lockable(uint64_t limit_bytes, uint64_t used_bytes, char text[REPORT_TEXT]) {
    char limit[24], used[24];
    ui_bytes(used_bytes, used);
    if (limit_bytes == UINT64_MAX)
        snprintf(text, REPORT_TEXT, "lockable memory: %s in use, no limit", used);
    else
        snprintf(text, REPORT_TEXT, "lockable memory: %s in use, %s allowed", used, ui_bytes(limit_bytes, limit));
    return text;
}

void report_print(const memguard_report *report) {
    char memory[REPORT_TEXT], prekey[24];
    for (size_t i = 0; i < sizeof protections / sizeof protections[0]; i++)
        print_protection(&protections[i], report->protections);
    ui_line("  backend %s; %s", report_backend(report->backend),
            report_lockable(report->lock_limit_bytes, report->lock_in_use_bytes, memory));
    ui_line("  The vault's key is split over %s of random bytes.", ui_bytes(report->prekey_bytes, prekey));
}
