/* The verbs `lock` and `unlock`, which differ in a word: the agent's key is wrapped under a passphrase. */
#include <string.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char lock_manual[] = "usage: memguard lock [--passphrase-fd N]\n"
                                  "\n"
                                  "Takes the agent's key out of memory: it is wrapped under a passphrase (Argon2id,\n"
                                  "64 MiB, 3 passes), which is asked for twice. Until `memguard unlock` the agent\n"
                                  "gives nothing out and takes nothing in; times of secrets run on, and ls, rm,\n"
                                  "status and purge work.\n"
                                  "  --passphrase-fd N   reads a line of descriptor N instead of asking\n"
                                  "\n"
                                  "exit code: 0 done, 1 failed, 2 wrong usage, 4 locked already, 6 no agent\n";

static const char unlock_manual[] = "usage: memguard unlock [--passphrase-fd N]\n"
                                    "\n"
                                    "Brings the agent's key back. After a wrong passphrase the next attempt is\n"
                                    "refused for a second, and for twice as long each time, up to a minute.\n"
                                    "  --passphrase-fd N   reads a line of descriptor N instead of asking\n"
                                    "\n"
                                    "exit code: 0 done, 1 failed, 2 wrong usage, 5 wrong passphrase or too soon,\n"
                                    "           6 no agent\n";

static bool parse(struct options *options, int *fd) {
    const char *none = "";
    while (options_more(options))
        if (!options_descriptor(options, "--passphrase-fd", fd)) options_word(options, &none);
    return !options->bad;
}

/* Nobody is asked for a passphrase in vain. The agent looks again. */
static int check_state(bool lock) {
    struct wire_status status;
    int code = client_status(&status);
    if (code != EXIT_GOOD || (status.locked != 0) != lock) return code;
    const struct wire_frame reply = wire_reply(lock ? WIRE_LOCKED : WIRE_NOT_LOCKED);
    return client_explain(&reply, "");
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    bool lock = strcmp(argv[0], "lock") == 0;
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    MEMGUARD_AUTO memguard_secret passphrase = {0};
    struct wire_frame reply;
    int fd = -1;
    if (!parse(&options, &fd)) return EXIT_USAGE;
    int code = check_state(lock);
    if (code == EXIT_GOOD) code = client_vault(&vault);
    if (code == EXIT_GOOD) code = client_passphrase(vault, fd, lock, &passphrase);
    if (code != EXIT_GOOD) return code;
    return client_give(wire_request(lock ? WIRE_LOCK : WIRE_UNLOCK), "", passphrase, false, &reply);
}

const struct verb verb_lock = {"lock", run, "takes the agent's key out of memory, under a passphrase", lock_manual};
const struct verb verb_unlock = {"unlock", run, "brings the agent's key back", unlock_manual};
