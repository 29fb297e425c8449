/* Part 5 of the demo: the key goes through an agent and `memguard exec`, as a person would have it. The agent is the
 * demo's own: its place is a directory in memory that is made for it, and it ends with the demo, however that ends
 * (holder.c). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "demo.h"
#include "handoff.h"
#include "spawn.h"
#include "tempdir.h"
#include "tidy.h"
#include "ui.h"

enum { AGENT_MS = 5000, FILES = 3 };

struct home {
    char directory[TEMPDIR_PATH];
    char files[FILES][TIDY_PATH]; /* what an agent makes there */
    char variable[TEMPDIR_PATH + 20];
    char **environment; /* ours, with that directory */
    pid_t agent;
};

#define RUNTIME "XDG_RUNTIME_DIR="

static bool make_environment(struct home *home) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    home->environment = calloc(count + 2, sizeof *home->environment);
    if (home->environment == NULL) return false;
    char **at = home->environment;
    snprintf(home->variable, sizeof home->variable, RUNTIME "%s", home->directory);
    *at++ = home->variable;
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], RUNTIME, strlen(RUNTIME)) != 0) *at++ = environ[i];
    return true;
}

static bool make_home(struct home *home) {
    static const char *const names[FILES] = {"", "/agent.lock", "/agent.sock"};
    if (!tempdir_make(home->directory) || !make_environment(home)) return false;
    for (size_t i = 0; i < FILES; i++) {
        snprintf(home->files[i], sizeof home->files[i], "%s/memguard%s", home->directory, names[i]);
        if (!tidy_add_path(home->files[i])) return false;
    }
    return true;
}

static void remove_home(struct home *home) {
    for (size_t i = FILES; i-- > 0;) {
        if (home->files[i][0] != '\0' && unlink(home->files[i]) != 0) rmdir(home->files[i]);
        tidy_strike_path(home->files[i]);
    }
    tempdir_remove(home->directory);
    free(home->environment);
}

/* It writes a line when it is ready. */
static bool start_agent(struct home *home) {
    static const char *const argv[] = {"memguard", HOLDER_VERB, HOLDER_AGENT, NULL};
    char first;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    const struct spawn what = {.argv = argv, .envp = home->environment, .out = ends[1], .self = true};
    int error = spawn_start(&what, &home->agent);
    close(ends[1]);
    bool good = error == 0 && spawn_read(ends[0], &first, 1, spawn_now_ms() + AGENT_MS) == 1;
    if (error == 0 && !good) spawn_end(home->agent);
    close(ends[0]);
    return good;
}

static void end_agent(const struct home *home) {
    kill(home->agent, SIGTERM);
    spawn_wait(home->agent, spawn_now_ms() + AGENT_MS);
}

/* One command line of a person. */
struct line {
    const char *argv[12];
    const char *shown;
    const char *note; /* NULL: the output itself */
    int code;         /* what it must end with */
};

/* -1: it could not be started, or was killed. */
static int call(const struct home *home, const struct line *line, int given, char output[DEMO_SHOWN + 1]) {
    const struct spawn what = {.argv = line->argv, .envp = home->environment, .given = given, .self = true};
    int error = 0, code = demo_call(&what, output, &error);
    return error == 0 ? code : -1;
}

static void show(struct demo *demo, const struct line *line, int code, const char *output) {
    printf("  %s\n      ", line->shown);
    bool good = code == line->code && (line->note != NULL || output[0] != '\0');
    ui_put(good ? UI_GOOD : UI_BAD, good ? "ok" : "FAILED");
    ui_line("  %s%s", !good || line->note == NULL ? output : line->note, good && line->note == NULL ? "..." : "");
    demo->failures += !good;
}

static void do_line(struct demo *demo, const struct home *home, const struct line *line, int given) {
    char output[DEMO_SHOWN + 1] = "";
    show(demo, line, call(home, line, given, output), output);
}

/* By the first program that is installed: that one is missing is found before the secret is taken. */
static void use_key(struct demo *demo, const struct home *home) {
    static const struct line ways[] = {
        {{"memguard", "exec", "--once", "key", "--", "ssh-keygen", "-y", "-P", "", "-f", "{key}"},
         "memguard exec --once key -- ssh-keygen -y -f {key}",
         NULL,
         EXIT_GOOD},
        {{"memguard", "exec", "--once", "key", "--", "openssl", "dgst", "-sha256", "{key}"},
         "memguard exec --once key -- openssl dgst -sha256 {key}",
         NULL,
         EXIT_GOOD},
        {{"memguard", "exec", "--once", "key", "--", "wc", "-c", "{key}"},
         "memguard exec --once key -- wc -c {key}",
         NULL,
         EXIT_GOOD}};
    enum { WAYS = sizeof ways / sizeof ways[0], NOT_FOUND = 127 };
    for (size_t i = 0; i < WAYS; i++) {
        char output[DEMO_SHOWN + 1] = "";
        int code = call(home, &ways[i], 0, output);
        if (code == NOT_FOUND && i + 1 < WAYS) continue;
        show(demo, &ways[i], code, output);
        return;
    }
}

static void use_agent(struct demo *demo, const struct home *home, const struct handoff *handoff) {
    static const struct line set = {
        {"memguard", "set", "key", "--fd", "3"}, "memguard set key --fd 3", "the agent has it, sealed", EXIT_GOOD};
    static const struct line get = {
        {"memguard", "get", "key"}, "memguard get key", "refused: forgotten when it was handed out", EXIT_NO_SECRET};
    do_line(demo, home, &set, handoff->fd); /* SPAWN_GIVEN_FD */
    use_key(demo, home);
    do_line(demo, home, &get, 0);
}

static void could_not(struct demo *demo, const char *why) {
    ui_line("  could not check: %s", why);
    demo->unchecked++;
}

void demo_exec(struct demo *demo, const struct handoff *handoff) {
    struct home home = {.agent = 0};
    ui_heading("5. The same by an agent, of the demo's own, and `memguard exec`");
    if (!make_home(&home)) {
        could_not(demo, "there is no directory in memory for the agent's socket");
    } else if (!start_agent(&home)) {
        could_not(demo, "the agent does not start");
    } else {
        use_agent(demo, &home, handoff);
        end_agent(&home);
        ui_line("  the agent has ended");
    }
    remove_home(&home);
}
