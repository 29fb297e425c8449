/* exec.h: the verb `exec` in parts: what is asked for and what becomes of it (exec.c), texts with secrets in them
 * (exec_render.c, exec_filter.c), the variables that the child gets (exec_environment.c), pipes (exec_pipe.c), and
 * the child from its start to its end (exec_run.c). Secret bytes are in a vault, in a file in memory (handoff.h) or
 * in a pipe, nowhere else. Every function says on standard error what went wrong. */
#ifndef MEMGUARD_EXEC_H
#define MEMGUARD_EXEC_H

#include <memguard.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "handoff.h"
#include "wire.h"

enum {
    EXEC_MOST = 64,               /* names; variables */
    EXEC_TEMPLATE_MOST = 1 << 20, /* bytes of a text, before secrets are put in */
    EXEC_FILTERS_MOST = 4,        /* of one secret in a text */
    EXEC_FIRST_NUMBER = 10,       /* descriptors that the child is given are higher than what scripts use */
    EXEC_FAILED = 125,            /* exit codes as of env(1) */
    EXEC_NOT_EXECUTABLE = 126,
    EXEC_NOT_FOUND = 127,
};

/* A pipe with a secret in it: what does not fit at first is fed while the child runs. */
struct exec_pipe {
    bool wanted;
    int in, out; /* our end, and the child's; -1: closed */
    size_t done; /* bytes that went in */
};

enum exec_place { EXEC_NO_PLACE, EXEC_AS_FILE, EXEC_AS_PIPE };

struct exec_name {
    char text[WIRE_NAME_MOST + 1];
    enum exec_place place; /* what {NAME} in the arguments stands for */
    bool once;             /* the agent forgets it */
    bool used;             /* something takes it */
    bool file_wanted;
    memguard_secret secret;
    struct handoff file;
    struct exec_pipe pipe, input; /* `input` becomes standard input */
};

/* A piece of a text: plain bytes, or a secret. */
struct exec_piece {
    const char *text; /* NULL: a secret */
    size_t size;
    size_t name;
    unsigned char filters[EXEC_FILTERS_MOST]; /* to be applied one after the other, ended by 0 */
    memguard_secret secret;                   /* filtered; null: the name's own */
};

enum exec_as { EXEC_FILE_ENV, EXEC_RENDER, EXEC_ENV };

/* A variable of the child. */
struct exec_variable {
    enum exec_as as;
    const char *given; /* VAR=NAME or VAR=TEMPLATE */
    size_t length;     /* of VAR */
    size_t name;       /* of FILE_ENV and ENV */
    char *text;        /* of RENDER: what the pieces point into */
    struct exec_piece *pieces;
    size_t pieces_count;
    struct handoff file;    /* of RENDER */
    char *path;             /* VAR=/dev/fd/N */
    memguard_secret secret; /* of ENV: VAR=value and its end */
    memguard_view view;     /* of ENV: while the child is started */
};

struct exec {
    memguard_vault *vault;
    size_t names_count, variables_count;
    struct exec_name names[EXEC_MOST];
    struct exec_variable variables[EXEC_MOST];
    char **command;    /* the child's words */
    sigset_t mask;     /* the signals that were blocked when we began, */
    bool pipe_ignored; /* and whether SIGPIPE was ignored: the child's, too */
    int signals;       /* what comes for us while the child runs */
    pid_t pid;
    bool broken;
};

/* ---- exec.c ---- */

/* The place of a name in the table, into which it comes when it is new. False: it is no good name, or one too many. */
bool exec_find_name(struct exec *exec, const char *text, size_t length, size_t *place);

/* ---- texts ---- */

/* Takes a template to pieces and notes the names in it. `@FILE`: the template is read from there. */
bool exec_render_parse(struct exec *exec, struct exec_variable *variable, const char *text);

/* Puts it together in its file. */
bool exec_render(struct exec *exec, struct exec_variable *variable);

enum { EXEC_FILTER_RAW = 1 }; /* changes nothing; is only a name's end */

/* The number of the filter of that name; 0: there is none. */
unsigned exec_filter_find(const char *text, size_t length);

/* A new secret with the filtered bytes of another. */
bool exec_filter(unsigned filter, memguard_vault *vault, memguard_secret from, memguard_secret *to);

/* ---- variables ---- */

bool exec_variable_is_good(const char *name, size_t length);

/* Puts VAR=value together in protected pages, which can be read until exec_variable_close. */
bool exec_variable_open(struct exec *exec, struct exec_variable *variable);
void exec_variable_close(struct exec_variable *variable);

/* Our environment with the variables: an array of pointers, allocated, but for the strings. NULL: no memory. */
char **exec_environment(const struct exec *exec);

/* ---- pipes ---- */

/* Makes it and puts in what fits. */
bool exec_pipe_open(struct exec_pipe *pipe, memguard_secret secret);

/* Puts in what fits now; when all is in, or nobody reads any more, our end is closed. */
bool exec_pipe_feed(struct exec_pipe *pipe, memguard_secret secret);
void exec_pipe_close(int *end);

/* Gives a descriptor a higher number, if the limit has one; no number that was inherited in any case. */
void exec_move_up(int *fd);

/* ---- the child ---- */

/* Whether there is such a program, before secrets are taken for it. EXIT_GOOD, or the exit code. */
int exec_look_for(const char *program);

/* From here on signals wait for exec_wait, and for the child. */
bool exec_hold_signals(struct exec *exec);

/* Starts the child, which gets the signal mask from before. EXIT_GOOD, or the exit code. */
int exec_start(struct exec *exec);

/* Feeds pipes and passes signals on until the child has ended. How it ended: its exit code, or minus the signal.
 * `broken`: a pipe could not be fed. */
int exec_wait(struct exec *exec);

/* Ends this process by that signal, without a core. Returns the exit code to end with if that does not help. */
int exec_die(int signal_number);

#endif
