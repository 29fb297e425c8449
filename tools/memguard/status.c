/* The verb `status`: the agent as it is. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <memguard/process.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "report.h"
#include "ui.h"

static const char manual[] = "usage: memguard status [--json]\n"
                             "\n"
                             "Tells of the agent: its process, how long it runs, whether it is locked, the\n"
                             "protections that it really obtained, and how many secrets and clients there are.\n"
                             "Works while it is locked.\n"
                             "  --json   one object with the same facts; times in milliseconds, protections\n"
                             "           and hardening as lists of names\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 6 no agent\n";

struct bit {
    uint32_t bit;
    const char *name;
};
static const struct bit protections[] = {
    {MEMGUARD_PROTECT_LOCKED, "locked"},  {MEMGUARD_PROTECT_HIDDEN, "hidden"},    {MEMGUARD_PROTECT_NODUMP, "no-dump"},
    {MEMGUARD_PROTECT_NOFORK, "no-fork"}, {MEMGUARD_PROTECT_NOMERGE, "no-merge"}, {MEMGUARD_PROTECT_REVOKE, "revoke"},
    {MEMGUARD_PROTECT_SCRUB, "scrub"},    {MEMGUARD_PROTECT_TIMER, "timer"},      {0, NULL},
};
static const struct bit hardening[] = {
    {MEMGUARD_HARDEN_DUMPABLE, "not-dumpable"},
    {MEMGUARD_HARDEN_CORE, "no-core"},
    {MEMGUARD_HARDEN_MDWE, "mdwe"},
    {MEMGUARD_HARDEN_NO_NEW_PRIVS, "no-new-privileges"},
    {MEMGUARD_HARDEN_SPECULATION, "speculation"},
    {0, NULL},
};

static void put_bits(const struct bit *bits, uint64_t set, const char *between, const char *quote) {
    bool first = true;
    for (; bits->name != NULL; bits++)
        if ((set & bits->bit) != 0) {
            printf("%s%s%s%s", first ? "" : between, quote, bits->name, quote);
            first = false;
        }
}

static const char *suspend_text(uint64_t state) {
    static const char *const texts[] = {"not watched", "watched", "lost"};
    return state < sizeof texts / sizeof texts[0] ? texts[state] : "unknown";
}

static void put_json(const struct wire_status *s) {
    printf("{\"pid\":%" PRIu64 ",\"uptime_ms\":%" PRIu64 ",\"locked\":%s,\"backend\":\"%s\",\"protections\":[", s->pid,
           s->uptime_ms, s->locked != 0 ? "true" : "false", report_backend((uint32_t)s->backend));
    put_bits(protections, s->protections, ",", "\"");
    printf("],\"hardening\":[");
    put_bits(hardening, s->hardened, ",", "\"");
    printf("],\"secrets\":%" PRIu64 ",\"secret_bytes\":%" PRIu64 ",\"most_secrets\":%" PRIu64
           ",\"most_bytes\":%" PRIu64,
           s->secrets, s->secret_bytes, s->most_secrets, s->most_bytes);
    printf(",\"clients\":%" PRIu64 ",\"most_clients\":%" PRIu64 ",\"served\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"cut\":%" PRIu64 ",\"descriptors\":%" PRIu64,
           s->clients, s->most_clients, s->served, s->refused, s->cut, s->descriptors);
    if (s->lock_limit_bytes == UINT64_MAX)
        printf(",\"lock_limit_bytes\":null");
    else
        printf(",\"lock_limit_bytes\":%" PRIu64, s->lock_limit_bytes);
    printf(",\"lock_in_use_bytes\":%" PRIu64 ",\"can_ask\":%s,\"can_lock\":%s,\"suspend\":\"%s\"}\n",
           s->lock_in_use_bytes, s->can_ask != 0 ? "true" : "false", s->can_lock != 0 ? "true" : "false",
           suspend_text(s->suspend));
}

static void put_list(const char *name, const struct bit *bits, uint64_t set) {
    printf("%-12s ", name);
    put_bits(bits, set, ", ", "");
    putchar('\n');
}

static void put_toned(const char *name, enum ui_tone tone, const char *text) {
    printf("%-12s ", name);
    ui_put(tone, text);
    putchar('\n');
}

static void put_age(const struct wire_status *s) {
    const uint64_t seconds = s->uptime_ms / 1000;
    printf("%-12s process %" PRIu64 ", ", "agent", s->pid);
    if (seconds == 0)
        ui_line("just started");
    else if (seconds < 60)
        ui_line("for %" PRIu64 " s", seconds);
    else if (seconds < 3600)
        ui_line("for %" PRIu64 " m %" PRIu64 " s", seconds / 60, seconds % 60);
    else
        ui_line("for %" PRIu64 " h %" PRIu64 " m", seconds / 3600, seconds / 60 % 60);
}

static void put_text(const struct wire_status *s) {
    char bytes[24], memory[REPORT_TEXT];
    const bool can_ask = s->can_ask != 0, watched = s->suspend == WIRE_SUSPEND_WATCHED;
    put_age(s);
    put_toned("state", s->locked != 0 ? UI_DOUBT : UI_GOOD, s->locked != 0 ? "locked" : "not locked");
    ui_line("%-12s %" PRIu64 " of at most %" PRIu64 ", %s, sealed", "secrets", s->secrets, s->most_secrets,
            ui_bytes(s->secret_bytes, bytes));
    put_list("protections", protections, s->protections);
    put_list("hardening", hardening, s->hardened);
    ui_line("%-12s %s; %s", "backend", report_backend((uint32_t)s->backend),
            report_lockable(s->lock_limit_bytes, s->lock_in_use_bytes, memory));
    ui_line("%-12s %" PRIu64 " now, %" PRIu64 " served, %" PRIu64 " refused, %" PRIu64 " cut for being slow", "clients",
            s->clients, s->served, s->refused, s->cut);
    put_toned("confirm", can_ask ? UI_PLAIN : UI_DOUBT,
              can_ask ? "a person can be asked" : "nobody can be asked (MEMGUARD_ASKPASS)");
    if (s->suspend != WIRE_SUSPEND_UNWATCHED)
        put_toned("suspend", watched ? UI_PLAIN : UI_BAD,
                  watched ? "the agent locks before it" : "NOT watched: nobody tells of it; trying again");
    if (s->can_lock == 0) ui_line("%-12s %s", "lock", wire_texts[WIRE_NOT_BUILT]);
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct wire_status status;
    const char *none = "";
    bool json = false;
    while (options_more(&options))
        if (options_flag(&options, "--json"))
            json = true;
        else
            options_word(&options, &none);
    if (options.bad) return EXIT_USAGE;
    int code = client_status(&status);
    if (code == EXIT_GOOD && json) put_json(&status);
    if (code == EXIT_GOOD && !json) put_text(&status);
    return ui_finish(code);
}

const struct verb verb_status = {"status", run, "tells of the agent", manual};
