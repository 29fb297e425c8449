/* The verb `get`: a secret of the agent to standard output. */
#include <memguard/io.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] = "usage: memguard get NAME [--reveal]\n"
                             "\n"
                             "Writes a secret of the agent to standard output, byte by byte as it was set. A\n"
                             "terminal is refused, since what is shown there stays in its memory, unless\n"
                             "--reveal asks for it (a newline is added there). Counts as a use.\n"
                             "Where it goes from standard output is up to you: `memguard exec` hands it to a\n"
                             "program without a copy that nobody wipes.\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 3 no such secret (any more),\n"
                             "           4 the agent is locked, 5 refused (a terminal, --no-reveal,\n"
                             "           --confirm), 6 no agent\n";

static int write_out(memguard_secret secret, bool terminal) {
    memguard_status status = memguard_secret_write(secret, STDOUT_FILENO);
    if (status != MEMGUARD_OK) {
        ui_library_error("standard output", status);
        return EXIT_BAD;
    }
    return !terminal || write(STDOUT_FILENO, "\n", 1) == 1 ? EXIT_GOOD : EXIT_BAD;
}

static int show(const char *name, bool terminal) {
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    MEMGUARD_AUTO memguard_secret secret = {0};
    int code = client_vault(&vault);
    if (code == EXIT_GOOD) code = client_fetch(name, false, vault, &secret);
    return code == EXIT_GOOD ? write_out(secret, terminal) : code;
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    const char *name = NULL;
    bool reveal = false;
    while (options_more(&options))
        if (options_flag(&options, "--reveal"))
            reveal = true;
        else
            options_word(&options, &name);
    if (options.bad) return EXIT_USAGE;
    if (name == NULL) ui_error("which name? see memguard get --help");
    if (name == NULL || !client_name_is_good(name)) return EXIT_USAGE;
    bool terminal = isatty(STDOUT_FILENO) != 0;
    if (!terminal || reveal) return show(name, terminal);
    ui_error("refused: standard output is a terminal, which keeps what it shows (--reveal)");
    return EXIT_REFUSED;
}

const struct verb verb_get = {"get", run, "writes a secret of the agent to standard output", manual};
