/* The verb `ls`: what the agent holds, without the secrets. */
#include <inttypes.h>
#include <stdio.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] =
    "usage: memguard ls [--json]\n"
    "\n"
    "Lists the secrets of the agent: name, size, when it is forgotten, uses left, and whether it was set with\n"
    "--confirm or --no-reveal. Works while the agent is locked.\n"
    "  --json   an array of objects: name, bytes, expires_ms (null: never), uses_left (null: any number),\n"
    "           confirm, no_reveal\n"
    "\n"
    "exit code: 0 done, 1 failed, 2 wrong usage, 6 no agent\n";

struct listing {
    bool json;
    size_t count;
};

/* "in 7 h 59 m" */
static void put_time(char text[32], uint64_t ms) {
    uint64_t s = (ms + 999) / 1000;
    if (ms == 0)
        snprintf(text, 32, "-");
    else if (s < 60)
        snprintf(text, 32, "in %" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(text, 32, "in %" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, 32, "in %" PRIu64 " h %" PRIu64 " m", s / 3600, s / 60 % 60);
    else
        snprintf(text, 32, "in %" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
}

static void put_number(const char *name, uint64_t value) {
    if (value == 0)
        printf(",\"%s\":null", name);
    else
        printf(",\"%s\":%" PRIu64, name, value);
}

static const char *truth(bool is) { return is ? "true" : "false"; }

/* Names need no quoting: see wire_name_is_good. */
static void put_json(const struct wire_frame *entry, const char *name, bool first) {
    printf("%s\n  {\"name\":\"%s\",\"bytes\":%" PRIu64, first ? "[" : ",", name, entry->bytes);
    put_number("expires_ms", entry->ttl_ms);
    put_number("uses_left", entry->uses);
    printf(",\"confirm\":%s,\"no_reveal\":%s}", truth((entry->flags & WIRE_CONFIRM) != 0),
           truth((entry->flags & WIRE_NO_REVEAL) != 0));
}

static void put_line(const struct wire_frame *entry, const char *name, bool first) {
    char size[24], expires[32], uses[24] = "-";
    if (first) ui_line("%-24s %10s  %-14s %6s  %s", "NAME", "SIZE", "FORGOTTEN", "USES", "FLAGS");
    put_time(expires, entry->ttl_ms);
    if (entry->uses != 0) snprintf(uses, sizeof uses, "%" PRIu64, entry->uses);
    ui_line("%-24s %10s  %-14s %6s  %s%s", name, ui_bytes(entry->bytes, size), expires, uses,
            (entry->flags & WIRE_CONFIRM) != 0 ? "confirm " : "",
            (entry->flags & WIRE_NO_REVEAL) != 0 ? "no-reveal" : "");
}

static void put_entry(const struct wire_frame *entry, const char *name, void *arg) {
    struct listing *listing = arg;
    bool first = listing->count++ == 0;
    if (listing->json)
        put_json(entry, name, first);
    else
        put_line(entry, name, first);
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct listing listing = {false, 0};
    const char *none = "";
    while (options_more(&options))
        if (options_flag(&options, "--json"))
            listing.json = true;
        else
            options_word(&options, &none);
    if (options.bad) return EXIT_USAGE;
    int code = client_list(put_entry, &listing);
    if (code != EXIT_GOOD) return ui_finish(code);
    if (listing.json) puts(listing.count == 0 ? "[]" : "\n]");
    return ui_finish(code);
}

const struct verb verb_ls = {"ls", run, "lists the secrets of the agent", manual};
