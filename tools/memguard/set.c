/* The verb `set`: a secret from a person, a descriptor, a file or the random generator into the agent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <memguard/io.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] = "usage: memguard set NAME [--fd N | --file FILE | --gen BYTES[:hex|:b64]]\n"
                             "                         [--line] [--ttl TIME] [--idle TIME] [--uses N]\n"
                             "                         [--confirm] [--no-reveal]\n"
                             "\n"
                             "Gives the agent a secret, in place of one that has the name already; starts an\n"
                             "agent when there is none. On a terminal it asks for it, twice, without showing\n"
                             "it. Else it reads standard input to its end.\n"
                             "  --fd N        reads descriptor N\n"
                             "  --file FILE   reads the file\n"
                             "  --gen BYTES   so many random bytes, drawn inside the agent; with :hex or :b64\n"
                             "                behind the number as text\n"
                             "  --line        one line: up to the first newline, which is dropped. Without it,\n"
                             "                input is taken as it is, newlines included:\n"
                             "                of a password from a pipe, too\n"
                             "  --ttl TIME    forget it after so long (90s, 30m, 8h, 7d)\n"
                             "  --idle TIME   forget it when it was not used for so long\n"
                             "  --uses N      forget it after so many uses; a use counts when it begins, also\n"
                             "                when it fails then\n"
                             "  --confirm     ask a person before each use; where nobody can be asked it is\n"
                             "                refused\n"
                             "  --no-reveal   `memguard get` refuses it. That keeps it from screens and pipes\n"
                             "                by mistake, no more: a program that it is handed to, and any\n"
                             "                other of this user, can read it. Only --confirm asks\n"
                             "\n"
                             "NAME: 1 to 255 letters, digits and ._@:/+=-, the first a letter, a digit or _.\n"
                             "A secret: 1 byte to 1 MiB.\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 4 the agent is locked\n";

struct set {
    const char *name, *file, *gen;
    int fd; /* -1: not given */
    bool line;
    struct wire_frame request;
};

/* "32", "32:hex", "32:b64" */
static bool parse_gen(struct set *set) {
    char number[16];
    const char *colon = strchrnul(set->gen, ':');
    size_t digits = (size_t)(colon - set->gen);
    set->request.op = WIRE_MAKE;
    if (digits < sizeof number) {
        memcpy(number, set->gen, digits);
        number[digits] = '\0';
        if (strcmp(colon, ":hex") == 0) set->request.flags |= WIRE_HEX;
        if (strcmp(colon, ":b64") == 0) set->request.flags |= WIRE_BASE64;
        bool known = *colon == '\0' || (set->request.flags & (WIRE_HEX | WIRE_BASE64)) != 0;
        if (known && options_parse_number(number, WIRE_SECRET_MOST, &set->request.bytes)) return true;
    }
    ui_error("--gen takes a number of bytes up to 1 MiB, and :hex or :b64 behind it, not %s", set->gen);
    return false;
}

static void parse_one(struct set *set, struct options *options) {
    if (options_flag(options, "--line"))
        set->line = true;
    else if (options_flag(options, "--confirm"))
        set->request.flags |= WIRE_CONFIRM;
    else if (options_flag(options, "--no-reveal"))
        set->request.flags |= WIRE_NO_REVEAL;
    else if (!options_duration(options, "--ttl", &set->request.ttl_ms) &&
             !options_duration(options, "--idle", &set->request.idle_ms) &&
             !options_number(options, "--uses", UINT32_MAX, &set->request.uses) &&
             !options_value(options, "--file", &set->file) && !options_value(options, "--gen", &set->gen) &&
             !options_descriptor(options, "--fd", &set->fd))
        options_word(options, &set->name);
}

static bool parse(struct set *set, int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    while (options_more(&options))
        parse_one(set, &options);
    if (options.bad) return false;
    if (set->name == NULL) ui_error("which name? see memguard set --help");
    if (set->name == NULL || !client_name_is_good(set->name)) return false;
    if ((set->fd >= 0) + (set->file != NULL) + (set->gen != NULL) > 1) {
        ui_error("only one of --fd, --file and --gen");
        return false;
    }
    return set->gen == NULL || parse_gen(set);
}

static int read_input(const struct set *set, int fd, memguard_vault *vault, memguard_secret *secret) {
    memguard_status status =
        set->line ? memguard_secret_read_until(vault, fd, '\n', WIRE_SECRET_MOST, MEMGUARD_SEALED, secret)
                  : memguard_secret_read_all(vault, fd, WIRE_SECRET_MOST, MEMGUARD_SEALED, secret);
    if (set->line && status == MEMGUARD_ERR_SHORT && secret->id != 0) status = MEMGUARD_OK;
    if (status == MEMGUARD_OK) return EXIT_GOOD;
    if (status == MEMGUARD_ERR_EMPTY || status == MEMGUARD_ERR_SHORT)
        ui_error("the input is empty");
    else
        ui_library_error("the input", status);
    return EXIT_BAD;
}

static int read_file(const struct set *set, memguard_vault *vault, memguard_secret *secret) {
    int fd = open(set->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        ui_error("%s: %s", set->file, strerror(errno));
        return EXIT_USAGE;
    }
    int code = read_input(set, fd, vault, secret);
    close(fd);
    return code;
}

static int is_line(const void *bytes, size_t size, void *arg) {
    (void)arg;
    const char *newline = memchr(bytes, '\n', size);
    return newline != NULL && newline + 1 == (const char *)bytes + size;
}

/* For a person who has typed `echo ... | memguard set`: one line, and its newline is hardly meant. Programs hear nothing. */
static void note_newline(const struct set *set, memguard_secret secret) {
    int found = 0;
    if (set->line || set->file != NULL || set->fd >= 0 || isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return;
    if (memguard_secret_use(secret, is_line, NULL, &found) == MEMGUARD_OK && found)
        ui_error("the newline at the end of the input is part of the secret; --line leaves it out");
}

static int read_secret(const struct set *set, memguard_vault *vault, memguard_secret *secret) {
    if (set->file != NULL) return read_file(set, vault, secret);
    if (set->fd >= 0 || !isatty(STDIN_FILENO))
        return read_input(set, set->fd >= 0 ? set->fd : STDIN_FILENO, vault, secret);
    return client_prompt(vault, "Secret: ", "Once more: ", secret);
}

static int make(const struct set *set) {
    struct wire_frame reply;
    int code = client_need_agent();
    return code != EXIT_GOOD ? code : client_ask(&set->request, set->name, &reply, NULL);
}

static int run(int argc, char **argv) {
    struct set set = {.fd = -1, .request = wire_request(WIRE_SET)};
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    memguard_secret secret = {0};
    struct wire_frame reply;
    if (!parse(&set, argc, argv)) return EXIT_USAGE;
    if (set.gen != NULL) return make(&set);
    int code = client_need_agent(); /* before somebody has typed it */
    if (code == EXIT_GOOD) code = client_vault(&vault);
    if (code == EXIT_GOOD) code = read_secret(&set, vault, &secret);
    if (code == EXIT_GOOD) code = client_give(set.request, set.name, secret, true, &reply);
    if (code == EXIT_GOOD) note_newline(&set, secret);
    return code;
}

const struct verb verb_set = {"set", run, "gives the agent a secret", manual};
