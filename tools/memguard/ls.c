/* The verb `ls`: what the agent holds, without the secrets. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] = "usage: memguard ls [--json]\n"
                             "\n"
                             "Lists the secrets of the agent: name, size, when it is forgotten, uses left, and\n"
                             "whether it was set with --confirm or --no-reveal. Works while the agent is\n"
                             "locked.\n"
                             "  --json   an array of objects: name, bytes, expires_ms (null: never), uses_left\n"
                             "           (null: any number), confirm, no_reveal\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 6 no agent\n";

struct row {
    char name[WIRE_NAME_MOST + 1], size[24], expires[32], uses[24], flags[24];
};

struct listing {
    bool json, lost; /* lost: there was no memory for all rows */
    size_t count;
    struct row *rows; /* for people, who see columns as wide as they must be */
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

static void keep_row(struct listing *listing, const struct wire_frame *entry, const char *name) {
    const size_t kept = listing->count, room = kept == 0 ? 1 : 2 * kept;
    if ((kept & (kept - 1)) == 0) { /* 0 or a power of two: it is full */
        struct row *rows = realloc(listing->rows, room * sizeof *rows);
        listing->lost = listing->lost || rows == NULL;
        if (rows == NULL) return;
        listing->rows = rows;
    }
    struct row *row = &listing->rows[listing->count++];
    snprintf(row->name, sizeof row->name, "%s", name);
    ui_bytes(entry->bytes, row->size);
    put_time(row->expires, entry->ttl_ms);
    snprintf(row->uses, sizeof row->uses, "%" PRIu64, entry->uses);
    if (entry->uses == 0) strcpy(row->uses, "-");
    snprintf(row->flags, sizeof row->flags, "%s%s", (entry->flags & WIRE_CONFIRM) != 0 ? "  confirm" : "",
             (entry->flags & WIRE_NO_REVEAL) != 0 ? "  no-reveal" : "");
}

static int wider(int width, const char *text) {
    const int length = (int)strlen(text);
    return length > width ? length : width;
}

static void put_rows(const struct listing *listing) {
    int name = 4, size = 4, expires = 9, uses = 4; /* of the head */
    char head[WIRE_NAME_MOST + 128];
    if (listing->count == 0) return;
    for (const struct row *row = listing->rows; row < listing->rows + listing->count; row++) {
        name = wider(name, row->name), size = wider(size, row->size);
        expires = wider(expires, row->expires), uses = wider(uses, row->uses);
    }
    snprintf(head, sizeof head, "%-*s  %*s  %-*s  %*s  %s", name, "NAME", size, "SIZE", expires, "FORGOTTEN", uses,
             "USES", "FLAGS");
    ui_put(UI_STRONG, head);
    putchar('\n');
    for (const struct row *row = listing->rows; row < listing->rows + listing->count; row++)
        ui_line("%-*s  %*s  %-*s  %*s%s", name, row->name, size, row->size, expires, row->expires, uses, row->uses,
                row->flags);
}

static void put_entry(const struct wire_frame *entry, const char *name, void *arg) {
    struct listing *listing = arg;
    if (listing->json)
        put_json(entry, name, listing->count++ == 0);
    else
        keep_row(listing, entry, name);
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct listing listing = {.rows = NULL};
    const char *none = "";
    while (options_more(&options))
        if (options_flag(&options, "--json"))
            listing.json = true;
        else
            options_word(&options, &none);
    if (options.bad) return EXIT_USAGE;
    int code = client_list(put_entry, &listing);
    if (code == EXIT_GOOD && listing.json) puts(listing.count == 0 ? "[]" : "\n]");
    if (code == EXIT_GOOD && !listing.json) put_rows(&listing);
    free(listing.rows);
    if (listing.lost) ui_error("out of memory: not all are listed");
    return ui_finish(listing.lost ? EXIT_BAD : code);
}

const struct verb verb_ls = {"ls", run, "lists the secrets of the agent", manual};
