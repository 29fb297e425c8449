/* Checks of one process: its environment (of this process, where none is named), and how it was set up. Names of
 * variables are shown, values never: they pass through one buffer, which is wiped.
 * Sources: proc_pid_environ(5), proc_pid_status(5), proc_pid_fd(5), PR_SET_DUMPABLE(2const), memfd_create(2). */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "doctor.h"

enum { ENVIRONMENT_MOST = 16 * 1024 * 1024, WORD_BYTES = 64, LISTED_BYTES = 300 };

/* ---- names that look like those of secrets ---- */

/* A word that ends so: DB_PASSWORD, PGPASSWORD, githubToken. */
static const char *const secret_ends[] = {"PASSWORD", "PASSWD",     "PASSPHRASE", "SECRET",   "TOKEN",
                                          "APIKEY",   "CREDENTIAL", "COOKIE",     "MNEMONIC", "PRIVKEY"};
/* A word that is just this: MY_KEY, but not MONKEY. */
static const char *const secret_words[] = {"PASS", "PWD",  "KEY", "PAT", "PIN",    "PSK",  "OTP",
                                           "JWT",  "AUTH", "KEK", "DSN", "BEARER", "SEED", "PASSCODE"};
/* What it names is not the secret itself. */
static const char *const harmless_ends[] = {"FILE",    "PATH",   "DIR",    "SOCK",   "SOCKET",   "ASKPASS",
                                            "ID",      "HELPER", "TYPE",   "TTL",    "NAME",     "CMD",
                                            "COMMAND", "TTY",    "EXPIRY", "LENGTH", "ALGORITHM"};
static const char *const harmless_names[] = {"PWD", "OLDPWD", "PGPASSFILE", "XAUTHORITY"};

static bool ends_with(const char *word, size_t length, const char *end) {
    size_t least = strlen(end);
    return length >= least && strncasecmp(word + length - least, end, least) == 0;
}

static bool is_word(const char *word, size_t length, const char *other) {
    return length == strlen(other) && strncasecmp(word, other, length) == 0;
}

static bool word_is_secret(const char *word, size_t length) {
    size_t one = length > 1 && (word[length - 1] == 'S' || word[length - 1] == 's') ? length - 1 : length; /* TOKENS */
    for (size_t i = 0; i < sizeof secret_ends / sizeof secret_ends[0]; i++)
        if (ends_with(word, length, secret_ends[i]) || ends_with(word, one, secret_ends[i])) return true;
    for (size_t i = 0; i < sizeof secret_words / sizeof secret_words[0]; i++)
        if (is_word(word, length, secret_words[i]) || is_word(word, one, secret_words[i])) return true;
    return false;
}

static bool is_harmless(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof harmless_names / sizeof harmless_names[0]; i++)
        if (is_word(name, length, harmless_names[i])) return true;
    size_t start = length;
    while (start > 0 && name[start - 1] != '_')
        start--;
    for (size_t i = 0; i < sizeof harmless_ends / sizeof harmless_ends[0]; i++)
        if (is_word(name + start, length - start, harmless_ends[i])) return true;
    return false;
}

static bool name_is_secret(const char *name, size_t length) {
    if (is_harmless(name, length)) return false;
    for (size_t at = 0; at < length;) {
        size_t word = 0;
        while (at + word < length && isalnum((unsigned char)name[at + word]))
            word++;
        if (word > 0 && word_is_secret(name + at, word)) return true;
        at += word + 1;
    }
    return false;
}

/* ---- the environment ---- */

struct variables {
    unsigned count, secret, unnamed; /* unnamed: secret-looking, with a name that is not shown */
    bool overwritten;                /* the process wrote its title over it: what looks like a name may be of a value */
    char names[LISTED_BYTES];
};

static bool is_plain_name(const char *name, size_t length) {
    if (length == 0 || length > WORD_BYTES || isdigit((unsigned char)name[0])) return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_') return false;
    return true;
}

static void add_variable(struct variables *variables, const char *name, size_t length) {
    size_t used = strlen(variables->names);
    variables->secret++;
    if (!is_plain_name(name, length) || used + length + 3 > sizeof variables->names)
        variables->unnamed++;
    else
        snprintf(variables->names + used, sizeof variables->names - used, "%s%.*s", used > 0 ? ", " : "", (int)length,
                 name);
}

/* "sshd: user", as setproctitle(3) writes it over the environment: nobody's variable is called so. */
static bool is_title(const char *name, const char *end) {
    for (; name < end; name++)
        if (*name == ' ' || *name == ':') return true;
    return false;
}

static bool look_at_variable(void *arg, const char *piece, size_t length) {
    struct variables *variables = arg;
    const char *equals = memchr(piece, '=', length);
    if (length == 0) return true;
    variables->count++;
    if (equals == NULL || is_title(piece, equals)) variables->overwritten = true;
    if (equals == NULL) return true;
    if (name_is_secret(piece, (size_t)(equals - piece))) add_variable(variables, piece, (size_t)(equals - piece));
    return true;
}

static void say_secret_variables(const struct variables *variables, struct fact *fact) {
    static const char meaning[] =
        "readable in /proc/PID/environ, inherited by every child, in every core: hand secrets over by "
        "a descriptor or a file in memory";
    if (variables->overwritten)
        fact_say(fact, FACT_BAD, meaning, "%u secret-looking; not shown, since the process wrote over its environment",
                 variables->secret);
    else if (variables->unnamed > 0)
        fact_say(fact, FACT_BAD, meaning, "%s%sand %u more", variables->names, variables->names[0] != '\0' ? " " : "",
                 variables->unnamed);
    else
        fact_say(fact, FACT_BAD, meaning, "%s", variables->names);
}

/* Only a process with memory has an environment: not one that ended, not one of the kernel. */
static bool has_memory(const struct machine *machine) {
    struct text status;
    return machine_read(machine, "proc/@/status", &status) == 0 && text_field(&status, "VmLck") != NULL;
}

void check_environment(const struct machine *machine, struct fact *fact) {
    struct variables variables = {0};
    int error = machine_pieces(machine, "proc/@/environ", '\0', ENVIRONMENT_MOST, look_at_variable, &variables);
    if (variables.secret > 0)
        say_secret_variables(&variables, fact);
    else if (error != 0)
        machine_unread(machine, "proc/@/environ", error, fact);
    else if (variables.overwritten)
        fact_unknown(fact, "the process wrote over its environment");
    else if (variables.count == 0 && !has_memory(machine))
        fact_unknown(fact, "the environment: it is empty, as that of a process which has ended");
    else
        fact_say(fact, FACT_GOOD, "no name in the environment looks like that of a secret", "%u variables",
                 variables.count);
}

/* ---- how it was set up ---- */

/* A number of /proc/PID/status. False: said why not. */
static bool status_number(const struct machine *machine, const char *name, unsigned long long *number,
                          struct fact *fact) {
    struct text text;
    char *end;
    if (!machine_need(machine, "proc/@/status", &text, fact)) return false;
    const char *field = text_field(&text, name);
    *number = field != NULL ? strtoull(field, &end, 10) : 0;
    if (field != NULL && end != field) return true;
    fact_unknown(fact, "the process's status: there is no line %s with a number", name);
    return false;
}

/* The owner of /proc/PID is the process's user only while it is dumpable. */
void check_dumpable(const struct machine *machine, struct fact *fact) {
    struct text text;
    unsigned long long user[2]; /* real, effective */
    uid_t owner;
    int error = machine_owner(machine, &owner);
    if (error != 0) {
        fact_unknown(fact, "the directory of the process: %s", strerror(error));
        return;
    }
    if (!machine_need(machine, "proc/@/status", &text, fact)) return;
    const char *field = text_field(&text, "Uid");
    if (field == NULL || text_numbers(field, "\t ", user, 2) == NULL)
        fact_unknown(fact, "the process's status: there is no line Uid with numbers");
    else if (user[1] == 0)
        fact_unknown(fact, "a process of root looks the same either way");
    else if (owner == user[1])
        fact_say(fact, FACT_BAD,
                 "programs of the same user may read its memory (as far as ptrace-scope allows), and it leaves cores",
                 "yes");
    else if (owner == 0)
        fact_say(fact, FACT_GOOD, "programs of the same user cannot read its memory, and it leaves no core", "no");
    else
        fact_unknown(fact, "its directory belongs to user %lu, it runs as %llu", (unsigned long)owner, user[1]);
}

void check_no_new_privs(const struct machine *machine, struct fact *fact) {
    unsigned long long set;
    if (!status_number(machine, "NoNewPrivs", &set, fact)) return;
    fact_say(fact, set != 0 ? FACT_GOOD : FACT_DOUBT,
             set != 0 ? "it and its children gain no rights by set-user-ID programs"
                      : "it may gain rights by set-user-ID programs",
             "%llu", set);
}

void check_seccomp(const struct machine *machine, struct fact *fact) {
    unsigned long long mode;
    if (!status_number(machine, "Seccomp", &mode, fact)) return;
    fact_say(fact, mode != 0 ? FACT_GOOD : FACT_DOUBT,
             mode != 0 ? "its system calls are filtered" : "who takes it over may make every system call", "%s",
             mode == 0   ? "off"
             : mode == 1 ? "strict"
                         : "a filter");
}

void check_tracer(const struct machine *machine, struct fact *fact) {
    unsigned long long tracer;
    if (!status_number(machine, "TracerPid", &tracer, fact)) return;
    if (tracer == 0)
        fact_say(fact, FACT_GOOD, "no process is attached to it", "none");
    else
        fact_say(fact, FACT_BAD, "that process reads and writes its memory and registers as it likes", "process %llu",
                 tracer);
}

void check_locked_memory(const struct machine *machine, struct fact *fact) {
    unsigned long long kib;
    if (!status_number(machine, "VmLck", &kib, fact)) return;
    fact_say(fact, kib > 0 ? FACT_GOOD : FACT_DOUBT,
             kib > 0 ? "it has memory that is never swapped (whether its secrets are there is not seen from outside)"
                     : "all of its memory may be swapped",
             "%llu KiB", kib);
}

void check_swapped_memory(const struct machine *machine, struct fact *fact) {
    unsigned long long kib;
    struct fact swap = {0};
    if (!status_number(machine, "VmSwap", &kib, fact)) return;
    if (kib == 0) {
        fact_say(fact, FACT_GOOD, "nothing of it is in a swap now", "0 KiB");
        return;
    }
    check_swap(machine, &swap);
    fact_say(fact, swap.state == FACT_GOOD ? FACT_DOUBT : FACT_BAD,
             swap.state == FACT_GOOD ? "parts of its memory were swapped out, encrypted or compressed"
                                     : "parts of its memory are on a swap that is not known to be encrypted",
             "%llu KiB", kib);
}

/* ---- files in memory ---- */

struct memfds {
    const struct machine *machine;
    unsigned count, unread;
    char names[LISTED_BYTES];
};

static bool is_memfd(const char *target) {
    return strncmp(target, "/memfd:", 7) == 0 || strncmp(target, "/secretmem", 10) == 0;
}

static bool look_at_descriptor(void *arg, const char *number) {
    struct memfds *memfds = arg;
    char path[NAME_BYTES + 16], target[NAME_BYTES];
    snprintf(path, sizeof path, "proc/@/fd/%.200s", number);
    if (!machine_link(memfds->machine, path, target)) {
        memfds->unread++;
        return true;
    }
    if (!is_memfd(target)) return true;
    char *deleted = strstr(target, " (deleted)");
    if (deleted != NULL) *deleted = '\0';
    const char *name = target[1] == 'm' ? target + 7 : target + 1;
    size_t used = strlen(memfds->names);
    memfds->count++;
    snprintf(memfds->names + used, sizeof memfds->names - used, "%s%.200s: %.60s", used > 0 ? ", " : "", number, name);
    return true;
}

void check_memfds(const struct machine *machine, struct fact *fact) {
    struct memfds memfds = {.machine = machine};
    int error = machine_list(machine, "proc/@/fd", look_at_descriptor, &memfds);
    if (error != 0)
        machine_unread(machine, "proc/@/fd", error, fact);
    else if (memfds.count > 0)
        fact_say(fact, FACT_DOUBT,
                 "who may trace the process can open them in /proc/PID/fd; children that inherit them, too", "%u: %s",
                 memfds.count, memfds.names);
    else if (memfds.unread > 0)
        fact_unknown(fact, "%u of the process's descriptors could not be read", memfds.unread);
    else
        fact_say(fact, FACT_GOOD, "it holds no file in memory open", "none");
}
