/* The verb `exec`: runs a program that gets secrets of the agent, and wipes what it was given when it has ended. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "exec.h"
#include "options.h"
#include "tidy.h"
#include "ui.h"

static const char manual[] = "usage: memguard exec [OPTION]... [--] CMD [ARG]...\n"
                             "\n"
                             "Runs CMD with secrets of the agent, and wipes what it was given when it has\n"
                             "ended. Options repeat.\n"
                             "  --file NAME            {NAME} in an ARG becomes /dev/fd/N, a file in memory\n"
                             "                         with the secret: mode 0600, read as often as needed, on\n"
                             "                         no disk\n"
                             "  --file-env VAR=NAME    the variable VAR becomes the path of such a file\n"
                             "  --render VAR=TEMPLATE  the same for a text in which {NAME} stands for the\n"
                             "                         secret's bytes. {{ and }} are braces, \\n, \\t and \\\\ a\n"
                             "                         newline, a tab, a backslash. @FILE: a file's text, in\n"
                             "                         which backslashes are nothing special. {NAME:FILTER}:\n"
                             "                         line (without the newline at its end), hex, base64,\n"
                             "                         pgpass, url, json (in a string), curl (in quotes);\n"
                             "                         several one after the other; raw changes nothing\n"
                             "  --pipe NAME            {NAME} in an ARG becomes /dev/fd/N, a pipe that can be\n"
                             "                         read once\n"
                             "  --stdin NAME           standard input is the secret, then its end\n"
                             "  --env VAR=NAME         the variable VAR becomes the secret itself. Other\n"
                             "                         programs of the same user and root can read it there,\n"
                             "                         and CMD's children inherit it: there is a warning\n"
                             "  --once NAME            like --file; the agent forgets the secret in the step\n"
                             "                         in which it hands it out. With another option for that\n"
                             "                         name it adds only this\n"
                             "\n"
                             "All secrets are fetched before CMD starts; if one cannot be had nothing is\n"
                             "started. One that is named several times is fetched, and counted as used, once.\n"
                             "At most 64 secrets, and 64 variables.\n"
                             "CMD has our terminal, process group, directory, descriptors and limits. Signals\n"
                             "that are sent to memguard are passed on, but for those of a terminal, which CMD\n"
                             "gets itself. When CMD stops, memguard does.\n"
                             "Examples:\n"
                             "  memguard exec --file key -- ssh-keygen -y -f {key}\n"
                             "  memguard exec --render 'PGPASSFILE=localhost:*:*:me:{db:pgpass}\\n' \\\n"
                             "      -- psql -h localhost -U me\n"
                             "  memguard exec --stdin token -- docker login -u me --password-stdin\n"
                             "\n"
                             "exit code: CMD's; the signal that killed CMD kills memguard, too. 125 memguard\n"
                             "           failed before it was started, or could not show that all was wiped;\n"
                             "           126 CMD cannot be executed; 127 there is no such CMD\n";

/* ---- the command line ---- */

bool exec_find_name(struct exec *exec, const char *text, size_t length, size_t *place) {
    if (!wire_name_is_good(text, length)) {
        ui_error("'%.*s' is no name: it has 1 to 255 letters, digits and ._@:/+=-, the first a letter, a digit or _",
                 (int)length, text);
        return false;
    }
    for (size_t i = 0; i < exec->names_count; i++)
        if (strlen(exec->names[i].text) == length && memcmp(exec->names[i].text, text, length) == 0) {
            *place = i;
            return true;
        }
    if (exec->names_count == EXEC_MOST) {
        ui_error("at most %d secrets", EXEC_MOST);
        return false;
    }
    *place = exec->names_count++;
    struct exec_name *name = &exec->names[*place];
    *name = (struct exec_name){.file = {.fd = -1}, .pipe = {.in = -1, .out = -1}, .input = {.in = -1, .out = -1}};
    memcpy(name->text, text, length);
    return true;
}

static struct exec_name *name_of(struct exec *exec, const char *text) {
    size_t place;
    return exec_find_name(exec, text, strlen(text), &place) ? &exec->names[place] : NULL;
}

static bool take_place(struct exec *exec, const char *text, enum exec_place as) {
    struct exec_name *name = name_of(exec, text);
    if (name == NULL) return false;
    if (name->place != EXEC_NO_PLACE && name->place != as) {
        ui_error("{%s} cannot be both a file and a pipe", text);
        return false;
    }
    name->place = as;
    name->used = true;
    name->file_wanted |= as == EXEC_AS_FILE;
    name->pipe.wanted |= as == EXEC_AS_PIPE;
    return true;
}

static bool take_input(struct exec *exec, const char *text) {
    for (size_t i = 0; i < exec->names_count; i++)
        if (exec->names[i].input.wanted) {
            ui_error("there is one standard input: --stdin only once");
            return false;
        }
    struct exec_name *name = name_of(exec, text);
    if (name != NULL) name->used = name->input.wanted = true;
    return name != NULL;
}

static bool take_once(struct exec *exec, const char *text) {
    struct exec_name *name = name_of(exec, text);
    if (name != NULL) name->once = true;
    return name != NULL;
}

static bool is_taken(const struct exec *exec, const char *text, size_t length) {
    for (size_t i = 0; i < exec->variables_count; i++)
        if (exec->variables[i].length == length && memcmp(exec->variables[i].given, text, length) == 0) return true;
    return false;
}

static bool take_variable(struct exec *exec, const char *text, enum exec_as as) {
    const char *equals = strchrnul(text, '=');
    size_t length = (size_t)(equals - text);
    struct exec_variable *variable = &exec->variables[exec->variables_count];
    if (*equals == '\0' || !exec_variable_is_good(text, length))
        ui_error("'%s' does not begin with VAR=: letters, digits and _", text);
    else if (is_taken(exec, text, length))
        ui_error("%.*s is given twice", (int)length, text);
    else if (exec->variables_count == EXEC_MOST)
        ui_error("at most %d variables", EXEC_MOST);
    else {
        exec->variables_count++;
        *variable = (struct exec_variable){.as = as, .given = text, .length = length, .file = {.fd = -1}};
        if (as == EXEC_RENDER) return exec_render_parse(exec, variable, equals + 1);
        if (!exec_find_name(exec, equals + 1, strlen(equals + 1), &variable->name)) return false;
        exec->names[variable->name].used = true;
        exec->names[variable->name].file_wanted |= as == EXEC_FILE_ENV;
        return true;
    }
    return false;
}

static bool take_option(struct exec *exec, struct options *options) {
    const char *value = NULL;
    bool good = true;
    if (options_value(options, "--file", &value))
        good = value != NULL && take_place(exec, value, EXEC_AS_FILE);
    else if (options_value(options, "--pipe", &value))
        good = value != NULL && take_place(exec, value, EXEC_AS_PIPE);
    else if (options_value(options, "--stdin", &value))
        good = value != NULL && take_input(exec, value);
    else if (options_value(options, "--once", &value))
        good = value != NULL && take_once(exec, value);
    else if (options_value(options, "--file-env", &value))
        good = value != NULL && take_variable(exec, value, EXEC_FILE_ENV);
    else if (options_value(options, "--render", &value))
        good = value != NULL && take_variable(exec, value, EXEC_RENDER);
    else if (options_value(options, "--env", &value))
        good = value != NULL && take_variable(exec, value, EXEC_ENV);
    else {
        ui_error("unknown option: %s (see memguard exec --help)", options->argv[options->at]);
        good = false;
    }
    return good;
}

/* ---- {NAME} in the arguments ---- */

static const char *directory(void) { return access("/dev/fd", F_OK) == 0 ? "/dev/fd" : "/proc/self/fd"; }

/* Where {NAME} is next, for a name that has a place. */
static const char *find_braces(struct exec *exec, const char *text, struct exec_name **found) {
    for (const char *at = strchr(text, '{'); at != NULL; at = strchr(at + 1, '{'))
        for (size_t i = 0; i < exec->names_count; i++) {
            struct exec_name *name = &exec->names[i];
            size_t length = strlen(name->text);
            if (name->place == EXEC_NO_PLACE && !name->once) continue;
            if (strncmp(at + 1, name->text, length) != 0 || at[1 + length] != '}') continue;
            *found = name;
            return at;
        }
    return NULL;
}

/* Notes which names the arguments have. */
static void look_for_braces(struct exec *exec, bool seen[EXEC_MOST]) {
    for (char **word = exec->command + 1; *word != NULL; word++) {
        struct exec_name *name = NULL;
        const char *at = *word;
        while ((at = find_braces(exec, at, &name)) != NULL) {
            seen[name - exec->names] = true;
            at++;
        }
    }
}

/* What --once alone has asked for is a file, if the arguments have it. */
static bool look_at_names(struct exec *exec) {
    bool seen[EXEC_MOST] = {false};
    look_for_braces(exec, seen);
    for (size_t i = 0; i < exec->names_count; i++) {
        struct exec_name *name = &exec->names[i];
        if (name->once && name->place == EXEC_NO_PLACE && seen[i]) {
            name->place = EXEC_AS_FILE;
            name->used = name->file_wanted = true;
        }
        if (name->place == EXEC_NO_PLACE ? name->used : seen[i]) continue;
        ui_error("nothing in the command refers to {%s}", name->text);
        return false;
    }
    return true;
}

static bool parse(struct exec *exec, int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    while (options_more(&options) && !options_flag(&options, "--") && argv[options.at][0] == '-')
        if (!take_option(exec, &options)) return false;
    if (options.bad) return false;
    if (options.at == argc) {
        ui_error("which command? see memguard exec --help");
        return false;
    }
    exec->command = argv + options.at;
    return look_at_names(exec);
}

/* ---- what the child gets ---- */

static bool no_memory(void) {
    ui_error("out of memory");
    return false;
}

static bool fetch(struct exec *exec, bool once) {
    for (size_t i = 0; i < exec->names_count; i++) {
        struct exec_name *name = &exec->names[i];
        if (name->once != once) continue;
        int code = once ? client_take(name->text, exec->vault, &name->secret)
                        : client_fetch(name->text, true, exec->vault, &name->secret);
        if (code == EXIT_GOOD) continue;
        ui_error("%s could not be had: nothing was started", name->text);
        return false;
    }
    return true;
}

/* First what can be had again. */
static bool fetch_all(struct exec *exec) { return fetch(exec, false) && fetch(exec, true); }

static bool make_name(struct exec_name *name) {
    if (name->file_wanted) {
        if (!handoff_open(&name->file, name->secret)) return false;
        exec_move_up(&name->file.fd);
    }
    if (name->pipe.wanted && !exec_pipe_open(&name->pipe, name->secret)) return false;
    return !name->input.wanted || exec_pipe_open(&name->input, name->secret);
}

static bool make_path(struct exec_variable *variable, int number) {
    return asprintf(&variable->path, "%.*s=%s/%d", (int)variable->length, variable->given, directory(), number) > 0 ||
           no_memory();
}

static bool make_variable(struct exec *exec, struct exec_variable *variable) {
    if (variable->as == EXEC_ENV) return exec_variable_open(exec, variable);
    if (variable->as == EXEC_FILE_ENV) return make_path(variable, exec->names[variable->name].file.fd);
    if (!exec_render(exec, variable)) return false;
    exec_move_up(&variable->file.fd);
    return make_path(variable, variable->file.fd);
}

static char *replace(struct exec *exec, const char *word) {
    char *text = NULL;
    size_t size = 0;
    struct exec_name *name = NULL;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return NULL;
    for (const char *at; (at = find_braces(exec, word, &name)) != NULL; word = at + strlen(name->text) + 2) {
        int number = name->place == EXEC_AS_FILE ? name->file.fd : name->pipe.out;
        fprintf(out, "%.*s%s/%d", (int)(at - word), word, directory(), number);
    }
    fputs(word, out);
    bool good = !ferror(out);
    if (fclose(out) == 0 && good) return text;
    free(text);
    return NULL;
}

static bool make_command(struct exec *exec) {
    struct exec_name *name = NULL;
    for (char **word = exec->command + 1; *word != NULL; word++) {
        if (find_braces(exec, *word, &name) == NULL) continue;
        *word = replace(exec, *word);
        if (*word == NULL) return no_memory();
    }
    return true;
}

static bool make_all(struct exec *exec) {
    for (size_t i = 0; i < exec->names_count; i++)
        if (!make_name(&exec->names[i])) return false;
    for (size_t i = 0; i < exec->variables_count; i++)
        if (!make_variable(exec, &exec->variables[i])) return false;
    return make_command(exec);
}

/* What a file lacks, as bits. */
static unsigned lacks(const struct handoff *file) {
    return file->fd < 0 ? 0 : (file->locked ? 0 : 1U) | (file->sealed ? 0 : 2U);
}

static void warn(const struct exec *exec) {
    bool in_environment = false;
    unsigned lacking = 0;
    for (size_t i = 0; i < exec->names_count; i++)
        lacking |= lacks(&exec->names[i].file);
    for (size_t i = 0; i < exec->variables_count; i++) {
        lacking |= lacks(&exec->variables[i].file);
        in_environment |= exec->variables[i].as == EXEC_ENV;
    }
    if ((lacking & 1U) != 0)
        ui_error("warning: not all files in memory could be locked: they may be swapped (ulimit -l)");
    if ((lacking & 2U) != 0)
        ui_error("warning: this kernel cannot make files in memory read-only: the command can write to them");
    if (in_environment)
        ui_error("warning: --env: other programs of this user and root can read the command's environment, and its "
                 "children inherit it");
}

/* ---- when the child runs ---- */

/* What only the child needs now; the vault is kept while there is something to feed. */
static void let_go(struct exec *exec) {
    bool feeding = false;
    for (size_t i = 0; i < exec->names_count; i++) {
        struct exec_name *name = &exec->names[i];
        exec_pipe_close(&name->pipe.out);
        exec_pipe_close(&name->input.out);
        if (name->pipe.in < 0 && name->input.in < 0)
            memguard_auto_secret_(&name->secret);
        else
            feeding = true;
    }
    for (size_t i = 0; i < exec->variables_count; i++)
        exec_variable_close(&exec->variables[i]);
    if (!feeding) memguard_auto_vault_(&exec->vault);
}

static bool wipe_all(struct exec *exec) {
    bool good = true;
    for (size_t i = 0; i < exec->names_count; i++) {
        exec_pipe_close(&exec->names[i].pipe.in);
        exec_pipe_close(&exec->names[i].input.in);
        good &= handoff_wipe(&exec->names[i].file);
    }
    for (size_t i = 0; i < exec->variables_count; i++)
        good &= handoff_wipe(&exec->variables[i].file);
    return good;
}

static int start(struct exec *exec) {
    int code = exec_look_for(exec->command[0]);
    if (code != EXIT_GOOD) return code;
    if (exec->names_count > 0 && client_vault_beside_child(&exec->vault) != EXIT_GOOD) return EXEC_FAILED;
    if (!fetch_all(exec) || !exec_hold_signals(exec) || !make_all(exec)) return EXEC_FAILED;
    warn(exec);
    return exec_start(exec);
}

static int run_child(struct exec *exec) {
    int end = start(exec);
    bool started = end == EXIT_GOOD;
    let_go(exec);
    if (started) end = exec_wait(exec);
    if ((!wipe_all(exec) || exec->broken) && end == 0) end = EXEC_FAILED;
    memguard_auto_vault_(&exec->vault);
    return end;
}

static void note_signals(struct exec *exec) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, NULL, &action);
    exec->pipe_ignored = action.sa_handler == SIG_IGN;
    pthread_sigmask(SIG_SETMASK, NULL, &exec->mask);
    tidy_start();
}

static int run(int argc, char **argv) {
    static struct exec exec;
    if (!parse(&exec, argc, argv)) return EXEC_FAILED;
    note_signals(&exec);
    int end = run_child(&exec);
    return end < 0 ? exec_die(-end) : end;
}

const struct verb verb_exec = {"exec", run, "runs a program that gets secrets of the agent", manual};
