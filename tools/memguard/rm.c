/* The verb `rm`: the agent forgets one secret, or all. */
#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] = "usage: memguard rm NAME\n"
                             "       memguard rm --all\n"
                             "\n"
                             "The agent wipes a secret, or all of them. Works while it is locked. What a\n"
                             "program is just being handed it still gets.\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 3 no such secret, 6 no agent\n";

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    const char *name = NULL;
    bool all = false;
    while (options_more(&options))
        if (options_flag(&options, "--all"))
            all = true;
        else
            options_word(&options, &name);
    if (options.bad) return EXIT_USAGE;
    if ((name != NULL) == all) {
        ui_error("a name, or --all; see memguard rm --help");
        return EXIT_USAGE;
    }
    if (name != NULL && !client_name_is_good(name)) return EXIT_USAGE;
    struct wire_frame request = wire_request(all ? WIRE_REMOVE_ALL : WIRE_REMOVE), reply;
    return client_ask(&request, all ? "" : name, &reply, NULL);
}

const struct verb verb_rm = {"rm", run, "makes the agent forget a secret, or all", manual};
