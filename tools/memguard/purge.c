/* The verb `purge`: the agent forgets everything and ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "options.h"
#include "place.h"
#include "ui.h"

enum { END_MS = 10000 };

static const char manual[] = "usage: memguard purge\n"
                             "\n"
                             "The agent wipes all secrets and its key, and ends. What programs are just being\n"
                             "handed is taken away after a second. Returns when it has ended.\n"
                             "\n"
                             "exit code: 0 done, 1 failed, 2 wrong usage, 6 no agent\n";

/* The agent's process; -1: it has ended already, or Linux is older than 5.3. */
static int open_process(int fd) {
    pid_t pid;
    return place_peer_is_ours(fd, &pid) ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

/* The connection ends with the process, but in no order with the rest of it, such as the agent's lock. */
static bool wait_for_end(int fd, int process) {
    struct pollfd end = {.fd = process, .events = POLLIN};
    int ended = 1;
    char byte;
    while (wire_receive(fd, &byte, 1)) {
    }
    if (process >= 0) do
            ended = poll(&end, 1, END_MS);
        while (ended < 0 && errno == EINTR);
    return ended == 1;
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
    int process = open_process(fd);
    if (wire_receive_frame(fd, &reply, name)) {
        code = client_explain(&reply, "");
    } else {
        ui_error("the agent has broken off");
        code = EXIT_BAD;
    }
    if (!wait_for_end(fd, process)) {
        ui_error("the agent has forgotten everything, but does not end");
        code = EXIT_BAD;
    }
    if (process >= 0) close(process);
    close(fd);
    return code;
}

const struct verb verb_purge = {"purge", run, "makes the agent forget everything and end", manual};
