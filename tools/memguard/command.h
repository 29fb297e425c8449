/* command.h: what the verbs of the command share: their shape and the exit codes. */
#ifndef MEMGUARD_COMMAND_H
#define MEMGUARD_COMMAND_H

enum {
    EXIT_GOOD = 0,      /* everything that was asked for was done, or shown */
    EXIT_BAD = 1,       /* something failed, or could not be shown */
    EXIT_USAGE = 2,     /* the command line, or a file that it names, is not usable */
    EXIT_NO_SECRET = 3, /* the agent holds no secret of that name (any more) */
    EXIT_LOCKED = 4,    /* the agent is locked */
    EXIT_REFUSED = 5,   /* by a rule or a person: --confirm, --no-reveal, a terminal, a wrong passphrase */
    EXIT_NO_AGENT = 6,  /* no agent is running */
};

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name of the verb; returns the exit code */
    const char *summary;               /* one line for the list of verbs; NULL: not listed */
    const char *manual;                /* what `memguard VERB --help` prints */
};

extern const struct verb verb_agent;
extern const struct verb verb_askpass;
extern const struct verb verb_demo;
extern const struct verb verb_doctor;
extern const struct verb verb_exec;
extern const struct verb verb_get;
extern const struct verb verb_git_credential;
extern const struct verb verb_hold;
extern const struct verb verb_lock;
extern const struct verb verb_ls;
extern const struct verb verb_purge;
extern const struct verb verb_rm;
extern const struct verb verb_scan;
extern const struct verb verb_set;
extern const struct verb verb_status;
extern const struct verb verb_unlock;

#endif
