/* The verb `demo`: a real use from end to end, told in eight parts. This file has the order of things, the vault and
 * the key; demo_look.c looks at the three children, demo_tools.c and demo_exec.c hand the key over, demo_end.c lets a
 * secret expire, destroys everything and looks again. */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "command.h"
#include "report.h"
#include "spawn.h"
#include "tidy.h"
#include "ui.h"

static const char manual[] = "usage: memguard demo [--key FILE]\n"
                             "\n"
                             "Shows in some seconds, without privileges, what memguard does and does not:\n"
                             "  1. the protections obtained on this machine\n"
                             "  2. a private key taken straight into a secret: FILE (PEM or OpenSSH form, no\n"
                             "     passphrase, at most 1 MiB), or a fresh one made by openssl or ssh-keygen\n"
                             "  3. one random secret held by three child processes, in the environment, in\n"
                             "     plain heap and in a vault, and searched for from outside: environ, cmdline,\n"
                             "     memory and (where gdb's gcore is) core files\n"
                             "  4. the key handed to the unmodified openssl and ssh-keygen as /dev/fd/3, on no\n"
                             "     disk\n"
                             "  5. the same by an agent of the demo's own and `memguard exec`, which hands it\n"
                             "     out once\n"
                             "  6. a secret that reaches its limit of time: its handle, and a search\n"
                             "  7. everything destroyed, and searched for again\n"
                             "  8. what is not protected, and what to try next\n"
                             "\n"
                             "exit code: 0 all was shown; only core files, the agent, or one of openssl and\n"
                             "             ssh-keygen where it is not installed, may be missing, and are named\n"
                             "             then\n"
                             "           1 something failed, could not be shown, or a positive control was not\n"
                             "             found (void)\n"
                             "           2 wrong usage, or FILE cannot be used\n";

/* ---- part 1: a vault ---- */

static bool open_vault(struct demo *demo) {
    memguard_report report = {.size = sizeof report};
    memguard_status status = memguard_vault_create(NULL, &demo->vault);
    if (status == MEMGUARD_OK) status = memguard_vault_report(demo->vault, &report);
    if (status != MEMGUARD_OK) {
        ui_library_error("the vault", status);
        return false;
    }
    demo->protections = report.protections;
    ui_heading("1. Protections obtained on this machine");
    report_print(&report);
    return true;
}

/* ---- part 2: a key ---- */

static bool make_key(struct demo *demo) {
    enum key_maker maker;
    if (!key_make(&demo->key, demo->vault, &maker)) return false;
    if (maker == KEY_MADE_BY_OPENSSL)
        ui_line("  made by openssl genpkey (EC P-256); by a pipe into a secret, on no disk");
    else if (maker == KEY_MADE_BY_SSH_KEYGEN)
        ui_line("  made by ssh-keygen (ECDSA P-256) in a file in memory, overwritten since");
    else
        ui_line("  could not check: neither openssl nor ssh-keygen can make one; try --key FILE");
    return true;
}

static int take_key(struct demo *demo, const char *path) {
    ui_heading("2. A private key");
    if (path == NULL) {
        if (!make_key(demo)) return EXIT_BAD;
    } else {
        int code = key_from_file(&demo->key, demo->vault, path);
        if (code != EXIT_GOOD) return code;
        ui_line("  %s, read straight into a secret", path);
    }
    if (demo->key.secret.id != 0)
        ui_line("  %zu bytes, now sealed: encrypted and authenticated until they are used", demo->key.bytes);
    return EXIT_GOOD;
}

/* ---- part 8: the end of the story ---- */

static void print_limits(void) {
    ui_heading("8. What this does not protect");
    ui_line("  - against code that runs in the process already: it can borrow a secret as");
    ui_line("    the program does");
    ui_line("  - against root who injects system calls or loads kernel code, and against");
    ui_line("    the hypervisor");
    ui_line("  - copies made before the bytes came in (a key file has its own in the page");
    ui_line("    cache), and copies that a program makes after it got them: openssl and");
    ui_line("    ssh-keygen held the key in plain memory");
    ui_line("  - free pages of the kernel: a pipe, a socket, a memfd and a process that");
    ui_line("    ended leave the bytes there until the pages are used again (the kernel");
    ui_line("    option init_on_free=1 wipes them)");
}

/* Each command as this one was called, so that it can be pasted. */
static void print_next(const struct demo *demo) {
    const bool hidden = (demo->protections & MEMGUARD_PROTECT_HIDDEN) != 0;
    const char *me = program_invocation_name;
    ui_heading("Try next");
    ui_line("  MEMGUARD_BACKEND=%s %s demo", hidden ? "locked" : "secretmem", me);
    ui_line("      %s", hidden ? "without memfd_secret: FOUND in memory while in use"
                               : "pages that the kernel hides, where it can");
    ui_line("  (ulimit -l 64; %s demo)", me);
    ui_line("      with 64 KiB of lockable memory%s", geteuid() == 0 ? " (as a plain user: root has no limit)" : "");
    ui_line("  %s demo --key ~/.ssh/id_ed25519", me);
    ui_line("      with a key of your own (without passphrase)");
}

static int print_outcome(const struct demo *demo, int64_t began_ms) {
    double seconds = (double)(spawn_now_ms() - began_ms) / 1000.0;
    putchar('\n');
    bool bad = demo->failures != 0 || demo->incomplete;
    if (bad)
        ui_put(UI_BAD, "NOT all could be shown");
    else
        ui_put(UI_GOOD, demo->unchecked == 0 ? "All was shown" : "Nothing failed");
    ui_line(": %u failed or void, %u could not be checked (%.1f s)", demo->failures, demo->unchecked, seconds);
    return ui_finish(bad ? EXIT_BAD : EXIT_GOOD);
}

/* ---- the story ---- */

static bool make_control(struct demo *demo) {
    if (getrandom(demo->control, sizeof demo->control, 0) != (ssize_t)sizeof demo->control) return false;
    for (size_t i = 0; i < sizeof demo->control; i++)
        snprintf(demo->control_hex + 2 * i, 3, "%02x", (unsigned)demo->control[i]);
    return true;
}

static int tell(struct demo *demo, const char *key_path) {
    int64_t began_ms = spawn_now_ms();
    ui_put(UI_STRONG, "memguard demo");
    ui_line(": one secret kept in three ways, one key used by two programs");
    if (!open_vault(demo)) return EXIT_BAD;
    int code = take_key(demo, key_path);
    if (code != EXIT_GOOD) return code;
    if (!make_control(demo) || !demo_look(demo) || !demo_hand_over(demo) || !demo_expire(demo) ||
        !demo_look_again(demo))
        return EXIT_BAD;
    print_limits();
    print_next(demo);
    return print_outcome(demo, began_ms);
}

static void clean_up(struct demo *demo) {
    for (size_t i = 0; i < DEMO_SUBJECTS; i++)
        subject_end(&demo->subjects[i]);
    memguard_status status = memguard_vault_destroy(&demo->vault);
    if (status != MEMGUARD_OK) ui_library_error("the vault", status);
}

static int usage(const char *what, const char *word) {
    ui_error("demo: %s%s (see memguard demo --help)", what, word);
    return EXIT_USAGE;
}

static int run(int argc, char **argv) {
    const char *key_path = NULL;
    struct demo demo = {0};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--key=", 6) == 0)
            key_path = argv[i] + 6;
        else if (strcmp(argv[i], "--key") != 0)
            return usage("unknown argument: ", argv[i]);
        else if (++i == argc)
            return usage("--key needs a file", "");
        else
            key_path = argv[i];
    }
    tidy_start();
    int code = tell(&demo, key_path);
    clean_up(&demo);
    return code;
}

const struct verb verb_demo = {"demo", run, "shows what memguard protects on this machine, and what not", manual};
