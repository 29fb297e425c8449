/* Part 4 of the demo: the key goes to the unmodified openssl and ssh-keygen, which open it as a file (handoff.h). Both
 * get an empty passphrase on the command line, so that neither asks the terminal for one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"
#include "handoff.h"
#include "spawn.h"
#include "ui.h"

enum { TOOL_MS = 3000 };

#define GIVEN_FILE "/dev/fd/3" /* SPAWN_GIVEN_FD */

struct tool {
    const char *const *argv;
    const char *shown;    /* the command, for people */
    const char *expected; /* what its output begins with, or NULL: anything */
    bool show_output;
    const char *note;
};

static const char *const openssl_pkey[] = {"openssl", "pkey", "-in", GIVEN_FILE, "-passin", "pass:", "-pubout", NULL};
static const char *const openssl_dgst[] = {"openssl", "dgst", "-sha256", GIVEN_FILE, NULL};
static const char *const ssh_keygen[] = {"ssh-keygen", "-y", "-P", "", "-f", GIVEN_FILE, NULL};

static const struct tool use_by_openssl = {openssl_pkey, "openssl pkey -in " GIVEN_FILE " -pubout",
                                           "-----BEGIN PUBLIC KEY", false, "read the key, derived the public one"};
static const struct tool digest_by_openssl = {openssl_dgst, "openssl dgst -sha256 " GIVEN_FILE, NULL, false,
                                              "read all of it (as a key it cannot use OpenSSH's own form)"};
static const struct tool use_by_ssh_keygen = {ssh_keygen, "ssh-keygen -y -f " GIVEN_FILE, NULL, true, NULL};

/* The first DEMO_SHOWN characters of the output, printable, first line only. The rest is read too, so that nobody
 * waits. */
static void read_output(int fd, char output[DEMO_SHOWN + 1], int64_t deadline_ms) {
    char rest[512];
    ssize_t got = spawn_read(fd, output, DEMO_SHOWN, deadline_ms);
    size_t length = got > 0 ? (size_t)got : 0;
    output[length] = '\0';
    if (got == DEMO_SHOWN)
        while (spawn_read(fd, rest, sizeof rest, deadline_ms) > 0) {
        }
    for (size_t i = 0; i < length; i++)
        if (output[i] < ' ' || output[i] > '~') output[i] = '\0';
}

int demo_call(const struct spawn *what, char output[DEMO_SHOWN + 1], int *error) {
    int ends[2], code = SPAWN_KILLED;
    pid_t pid = 0;
    struct spawn with_output = *what;
    *error = pipe2(ends, O_CLOEXEC) != 0 ? errno : 0;
    if (*error != 0) return code;
    with_output.out = ends[1];
    *error = spawn_start(&with_output, &pid);
    close(ends[1]);
    if (*error == 0) {
        int64_t deadline_ms = spawn_now_ms() + TOOL_MS;
        read_output(ends[0], output, deadline_ms);
        code = spawn_wait(pid, deadline_ms);
    }
    close(ends[0]);
    return code;
}

/* 0, an errno when it cannot be started (ENOENT: not installed), or -1 when it fails. */
static int run(const struct tool *tool, int given, char output[DEMO_SHOWN + 1]) {
    const struct spawn what = {.argv = tool->argv, .given = given};
    const char *expected = tool->expected != NULL ? tool->expected : "";
    int error, code = demo_call(&what, output, &error);
    if (error != 0) return error;
    return code == 0 && output[0] != '\0' && strncmp(output, expected, strlen(expected)) == 0 ? 0 : -1;
}

static void show(const struct tool *tool, int error, const char *output) {
    printf("  %s\n      ", tool->shown);
    if (error == 0) {
        ui_put(UI_GOOD, "ok");
        ui_line("  %s%s", tool->show_output ? output : tool->note, tool->show_output ? "..." : "");
    } else if (error == ENOENT) {
        ui_put(UI_DOUBT, "could not check");
        ui_line(": %s is not installed", tool->argv[0]);
    } else {
        ui_put(UI_BAD, "FAILED");
        ui_line(": %s", error > 0 ? strerror(error) : "it does not accept this kind of key, or took too long");
    }
}

/* True when it was there. */
static bool hand_to(struct demo *demo, const struct tool *tool, const struct handoff *handoff) {
    char output[DEMO_SHOWN + 1] = "";
    int error = run(tool, handoff->fd, output);
    show(tool, error, output);
    if (error == ENOENT)
        demo->unchecked++;
    else if (error != 0)
        demo->failures++;
    return error != ENOENT;
}

static void show_handoff(const struct handoff *handoff) {
    ui_line("  as a memfd: mode 0600, %zu bytes, size fixed, %s%s", handoff->bytes,
            handoff->sealed ? "no longer writable" : "still writable", handoff->locked ? ", locked" : "");
    if (!handoff->locked) ui_line("  NOT locked: the limit of lockable memory is reached");
}

bool demo_hand_over(struct demo *demo) {
    struct handoff handoff;
    ui_heading("4. The key, handed to unmodified programs as a file on no disk");
    if (demo->key.secret.id == 0) {
        ui_line("  could not check: there is no key");
        demo->unchecked++;
        demo->incomplete = true;
        return true;
    }
    if (!handoff_open(&handoff, demo->key.secret)) return false;
    show_handoff(&handoff);
    const struct tool *openssl = demo->key.format == KEY_OPENSSH ? &digest_by_openssl : &use_by_openssl;
    unsigned there = hand_to(demo, openssl, &handoff);
    there += hand_to(demo, &use_by_ssh_keygen, &handoff);
    if (there == 0) demo->incomplete = true;
    demo_exec(demo, &handoff);
    size_t bytes = handoff.bytes;
    if (!handoff_wipe(&handoff)) return false;
    ui_line("  the memfd of part 4: overwritten, and %zu bytes read back as zero", bytes);
    return true;
}
