/* The command `memguard`: finds the verb in a table and runs it. A verb is one entry here and one file beside this. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <memguard.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "ui.h"

static const struct verb *const verbs[] = {
    &verb_agent,  &verb_set,   &verb_get,     &verb_exec,           &verb_ls,   &verb_rm,     &verb_status, &verb_lock,
    &verb_unlock, &verb_purge, &verb_askpass, &verb_git_credential, &verb_scan, &verb_doctor, &verb_demo,   &verb_hold,
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
    return NULL;
}

static void print_help(FILE *out) {
    fputs("usage: memguard VERB [OPTIONS]\n\nKeeps secrets safe in memory.\n\nverbs:\n", out);
    for (size_t i = 0; i < VERBS; i++)
        if (verbs[i]->summary != NULL) fprintf(out, "  %-14s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\nmemguard help VERB    more about a verb\n"
          "memguard --version    the version\n"
          "\nexit code: 0 done, 1 something failed or could not be shown, 2 wrong usage,\n"
          "           3 no such secret (any more), 4 the agent is locked, 5 refused,\n"
          "           6 no agent is running; those of exec and scan: see there\n",
          out);
}

static int unknown(const char *what, const char *name) {
    ui_error("unknown %s: %s (see memguard --help)", what, name);
    return EXIT_USAGE;
}

static int help_about(const char *name) {
    const struct verb *verb = find_verb(name);
    if (verb == NULL || verb->manual == NULL) return unknown("verb", name);
    fputs(verb->manual, stdout);
    return ui_finish(EXIT_GOOD);
}

static int help(int argc, char **argv) {
    if (argc > 3) return unknown("argument", argv[3]);
    if (argc == 3 && strcmp(argv[2], "help") != 0) return help_about(argv[2]);
    print_help(stdout);
    return ui_finish(EXIT_GOOD);
}

static int version(int argc, char **argv) {
    if (argc > 2) return unknown("argument", argv[2]);
    printf("memguard %s\n", memguard_version());
    return ui_finish(EXIT_GOOD);
}

/* With standard streams closed, files opened later would take their numbers. What takes their place here fails when it is used, so
 * that nobody is told that something was written which was not. */
static int open_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        const int mode =
            (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC; /* closed also for programs that we run */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode) != fd) return 0;
    }
    return 1;
}

/* ssh and the like give the prompt alone, whatever it begins with. */
static int run_askpass(int argc, char **argv) {
    static char verb[] = "askpass", rest[] = "--";
    char *words[] = {verb, rest, argc > 1 ? argv[1] : NULL, NULL};
    return argc > 2 ? unknown("argument", argv[2]) : verb_askpass.run(argc + 1, words);
}

/* Other names of this program, for others that know no verbs. -1: it has its own. */
static int run_link(int argc, char **argv) {
    static char own_name[] = "memguard";
    const char *name = program_invocation_short_name;
    int askpass = strcmp(name, "memguard-askpass") == 0;
    if (!askpass && strcmp(name, "git-credential-memguard") != 0) return -1;
    program_invocation_name = own_name; /* an agent that is started gets it */
    return askpass ? run_askpass(argc, argv) : verb_git_credential.run(argc, argv);
}

static int is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

int main(int argc, char **argv) {
    if (!open_standard_streams()) {
        ui_error("/dev/null cannot be opened: %s", strerror(errno));
        return EXIT_BAD;
    }
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR) return EXIT_BAD; /* ignored, as it may come to us, exit codes are lost */
    int code = run_link(argc, argv);
    if (code >= 0) return code;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (is_help(word) || strcmp(word, "help") == 0) return help(argc, argv);
    if (strcmp(word, "--version") == 0) return version(argc, argv);
    if (word[0] == '-') return unknown("option", word);
    const struct verb *verb = find_verb(word);
    if (verb == NULL) return unknown("verb", word);
    if (argc > 2 && is_help(argv[2])) return help_about(word);
    return verb->run(argc - 1, argv + 1);
}
