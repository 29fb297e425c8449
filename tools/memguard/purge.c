/* The verb `purge`: the agent forgets everything and ends. */
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "ui.h"

static const char manual[] =
    "usage: memguard purge\n"
    "\n"
    "The agent wipes all secrets and its key, and ends. What programs are just being handed is taken away after a\n"
    "second. Returns when it has ended.\n"
    "\n"
    "exit code: 0 done, 1 failed, 2 wrong usage, 6 no agent\n";

/* The connection ends with the process, after everything else of it. */
static void wait_for_end(int fd) {
    char byte;
    while (wire_receive(fd, &byte, 1)) {
    }
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct wire_frame request = wire_request(WIRE_PURGE), reply;
    char name[WIRE_NAME_MOST + 1];
    const char *none = "";
    options_word(&options, &none);
    if (options.bad) return EXIT_USAGE;
    int fd, code = client_ask(&request, "", &reply, &fd);
    if (code != EXIT_GOOD) return code;
    if (wire_receive_frame(fd, &reply, name)) {
        code = client_explain(&reply, "");
    } else {
        ui_error("the agent has broken off");
        code = EXIT_BAD;
    }
    wait_for_end(fd);
    close(fd);
    return code;
}

const struct verb verb_purge = {"purge", run, "makes the agent forget everything and end", manual};
