/* The verb `scan`: looks for a secret in another process, or in a core file. This file has the command line and the order
 * of things; scan_secret.c makes the needles, scan_look.c and scan_core.c read, scan_place.c says where, scan_show.c
 * prints. */
#define _GNU_SOURCE
#include "scan_verb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <memguard/io.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "scan_show.h"
#include "tidy.h"
#include "ui.h"

enum { BUFFER_BYTES = 256 * 1024, BUFFER_MIDDLE_BYTES = 16384, BUFFER_LESS_BYTES = 8192 };

static const char manual[] = "usage: memguard scan (--pid N | --core FILE)\n"
                             "                     (--fd N | --file FILE | --key PEM | --name NAME)\n"
                             "                     [--map] [--svg FILE] [--json]\n"
                             "       memguard scan --self-test\n"
                             "\n"
                             "Looks for a secret in another process: in all its memory, its environment and\n"
                             "command line, and the memfds and deleted files that it holds open; or in a core\n"
                             "file, its register notes included. Any 8 bytes of the secret in a row are a hit,\n"
                             "raw, reversed, in hexadecimal, base64 (at any shift, both alphabets) or UTF-16;\n"
                             "what is in it compressed, encrypted or otherwise changed is not found. Prints\n"
                             "where, how it is written and how long the run is, and never the secret.\n"
                             "  --pid N       process N, which goes on running: what changes meanwhile may be\n"
                             "                missed\n"
                             "  --core FILE   a core file (ELF, 64 bit)\n"
                             "  --fd N        the secret is what descriptor N gives, to its end\n"
                             "  --file FILE   the secret is in FILE\n"
                             "  --key PEM     the secret is a private key without a passphrase: its secret\n"
                             "                numbers are looked for, in both byte orders, and its text by\n"
                             "                them; public parts such as the modulus do not count. Any secret\n"
                             "                in PEM is taken so\n"
                             "  --name NAME   the secret is held by the agent (counts as a use)\n"
                             "  --map         draws the address space with what was found\n"
                             "  --svg FILE    draws it as a picture into FILE\n"
                             "  --json        {\"verdict\", \"found\": [{\"address\", \"bytes\", \"form\", \"part\",\n"
                             "                \"place\", ...}], ...}\n"
                             "  --self-test   plants a random secret in a child in each form, and one in a\n"
                             "                vault: the first must be found everywhere, the second not while\n"
                             "                it is sealed\n"
                             "\n"
                             "A secret: 4 bytes to 1 MiB; a newline at its end does not count. One of less\n"
                             "than 8 bytes is looked for as a whole. Pages that the kernel shows to nobody\n"
                             "(memfd_secret) cannot be looked at: how many is said.\n"
                             "\n"
                             "exit code: 0 clean, 1 found, 2 could not look at all of what should be readable,\n"
                             "           or wrong usage\n";

struct order {
    const char *core, *file, *key, *name, *svg;
    uint64_t pid; /* 0: none */
    int fd;       /* -1: none */
    bool self_test, map, json;
};

/* ---- the command line ---- */

static void parse_one(struct order *order, struct options *options) {
    const char *none = "";
    if (options_flag(options, "--self-test"))
        order->self_test = true;
    else if (options_flag(options, "--map"))
        order->map = true;
    else if (options_flag(options, "--json"))
        order->json = true;
    else if (!options_number(options, "--pid", INT_MAX, &order->pid) &&
             !options_value(options, "--core", &order->core) && !options_value(options, "--file", &order->file) &&
             !options_value(options, "--key", &order->key) && !options_value(options, "--name", &order->name) &&
             !options_value(options, "--svg", &order->svg) && !options_descriptor(options, "--fd", &order->fd))
        options_word(options, &none); /* none is expected */
}

static bool complain(const char *what) {
    ui_error("scan: %s (see memguard scan --help)", what);
    return false;
}

static bool is_consistent(const struct order *order) {
    const int targets = (order->pid != 0) + (order->core != NULL) + order->self_test;
    const int secrets = (order->fd >= 0) + (order->file != NULL) + (order->key != NULL) + (order->name != NULL);
    if (targets != 1) return complain("one of --pid, --core and --self-test");
    if (order->self_test && (secrets != 0 || order->map || order->json || order->svg != NULL))
        return complain("--self-test stands alone");
    if (!order->self_test && secrets != 1) return complain("one of --fd, --file, --key and --name");
    if (order->map && order->json) return complain("--map is for people, --json for programs: one of them");
    if (order->pid == (uint64_t)getpid()) return complain("a search of this very process finds what it looks for");
    return order->name == NULL || client_name_is_good(order->name);
}

static bool parse(struct order *order, int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    while (options_more(&options))
        parse_one(order, &options);
    return !options.bad && is_consistent(order);
}

/* ---- the secret ---- */

static bool read_descriptor(memguard_vault *vault, int fd, const char *from, memguard_secret *secret) {
    memguard_status status = memguard_secret_read_all(vault, fd, NEEDLE_MOST, MEMGUARD_SEALED, secret);
    if (status == MEMGUARD_OK) return true;
    if (status == MEMGUARD_ERR_EMPTY)
        ui_error("%s: is empty", from);
    else if (status == MEMGUARD_ERR_SIZE)
        ui_error("%s: a secret has at most 1 MiB", from);
    else
        ui_library_error(from, status);
    return false;
}

/* A person who types it is not to see it. */
static bool read_input(memguard_vault *vault, int fd, memguard_secret *secret) {
    if (isatty(fd)) return client_prompt(vault, "Secret: ", NULL, secret) == EXIT_GOOD;
    return read_descriptor(vault, fd, "the descriptor", secret);
}

static bool read_file(memguard_vault *vault, const char *path, memguard_secret *secret) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        ui_error("%s: %s", path, strerror(errno));
        return false;
    }
    bool good = read_descriptor(vault, fd, path, secret);
    close(fd);
    return good;
}

static bool take_secret(const struct order *order, memguard_vault *vault, struct sought *sought) {
    MEMGUARD_AUTO memguard_secret secret = {0};
    const char *path = order->key != NULL ? order->key : order->file;
    const char *from = path != NULL ? path : order->name != NULL ? order->name : "the descriptor";
    bool good = path != NULL          ? read_file(vault, path, &secret)
                : order->name != NULL ? client_fetch(order->name, true, vault, &secret) == EXIT_GOOD
                                      : read_input(vault, order->fd, &secret);
    return good && sought_make(sought, vault, secret, order->key != NULL, from);
}

/* ---- the buffer ---- */

static bool try_passage(struct passage *passage, memguard_vault *vault, size_t bytes) {
    memguard_status status = memguard_secret_create(vault, bytes, MEMGUARD_SEALED, &passage->secret);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(passage->secret, MEMGUARD_WRITE, &passage->view);
    if (status != MEMGUARD_OK) passage_close(passage);
    return status == MEMGUARD_OK;
}

/* A smaller one where lockable memory is short. */
bool passage_open(struct passage *passage, memguard_vault *vault) {
    *passage = (struct passage){0};
    if (try_passage(passage, vault, BUFFER_BYTES) || try_passage(passage, vault, BUFFER_MIDDLE_BYTES) ||
        try_passage(passage, vault, BUFFER_LESS_BYTES))
        return true;
    memguard_error error = MEMGUARD_ERROR_INIT;
    memguard_status status = memguard_last_error(&error);
    ui_library_error("the buffer", status == MEMGUARD_OK ? error.status : status);
    return false;
}

void passage_close(struct passage *passage) {
    memguard_status ignored = memguard_view_release(&passage->view);
    if (passage->secret.id != 0) ignored = memguard_secret_destroy(&passage->secret);
    (void)ignored;
}

/* ---- looking ---- */

struct run {
    struct look *look;
    pid_t pid;
    int core;
};

static int run_scrubbed(void *arg) {
    const struct run *run = arg;
    if (run->core >= 0)
        look_at_core(run->look, run->core);
    else
        look_at_process(run->look, run->pid);
    return 0;
}

bool scan_run(struct look *look, const struct sought *sought, const struct passage *passage, pid_t pid, int core) {
    const struct scan_job job = {&sought->needles, passage->view.data, passage->view.size, 0, NULL};
    struct run run = {look, pid, core};
    if (!look_begin(look, &job)) return false;
    memguard_status status = memguard_call_scrubbed(run_scrubbed, &run, NULL);
    if (status == MEMGUARD_OK) return true;
    ui_library_error("the scan", status);
    look_end(look);
    return false;
}

/* ---- the verb ---- */

/* False: the picture or the file of it could not be made. */
static bool show(const struct order *order, const struct look *look, const struct sought *sought, const char *target) {
    bool good = true;
    if (order->json)
        show_json(look, sought, target);
    else
        show_text(look, sought, target);
    if (order->map) good = show_map(look, sought, target);
    if (order->svg != NULL) good = show_svg(look, sought, target, order->svg) && good;
    return ui_finish(EXIT_GOOD) == EXIT_GOOD && good;
}

static int exit_code(enum verdict verdict) {
    return verdict == VERDICT_FOUND ? EXIT_BAD : verdict == VERDICT_CLEAN ? EXIT_GOOD : EXIT_USAGE;
}

static int look_for(const struct order *order, const struct sought *sought, memguard_vault *vault, int core) {
    struct passage passage;
    struct look look;
    char target[80];
    if (order->core != NULL)
        snprintf(target, sizeof target, "core file %.60s", order->core);
    else
        snprintf(target, sizeof target, "process %d", (int)order->pid);
    if (!passage_open(&passage, vault)) return EXIT_USAGE;
    int code = EXIT_USAGE;
    if (scan_run(&look, sought, &passage, (pid_t)order->pid, core)) {
        code = exit_code(show_verdict(&look));
        if (!show(order, &look, sought, target) && code == EXIT_GOOD) code = EXIT_USAGE;
        look_end(&look);
    }
    passage_close(&passage);
    return code;
}

static int open_core(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) ui_error("%s: %s", path, strerror(errno));
    return fd;
}

static int scan(const struct order *order, memguard_vault *vault) {
    struct sought sought = {0};
    int core = order->core != NULL ? open_core(order->core) : -1;
    if (order->core != NULL && core < 0) return EXIT_USAGE;
    int code = take_secret(order, vault, &sought) ? look_for(order, &sought, vault, core) : EXIT_USAGE;
    sought_drop(&sought);
    if (core >= 0) close(core);
    return code;
}

static int run(int argc, char **argv) {
    struct order order = {.fd = -1};
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    if (!parse(&order, argc, argv)) return EXIT_USAGE;
    tidy_start();
    if (client_vault(&vault) != EXIT_GOOD) return EXIT_USAGE;
    return order.self_test ? scan_trial(vault) : scan(&order, vault);
}

const struct verb verb_scan = {"scan", run, "looks for a secret in another process or a core file", manual};
