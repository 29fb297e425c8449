/* The verb `askpass`: answers the prompts of ssh, git and sudo with secrets of the agent, or asks the person. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "command.h"
#include "git_search.h"
#include "line.h"
#include "options.h"
#include "question.h"
#include "terminal.h"
#include "ui.h"

static const char manual[] = "usage: memguard askpass [--name NAME] [--remember TIME] [--] [PROMPT]\n"
                             "       memguard-askpass [PROMPT]\n"
                             "\n"
                             "Writes the secret that a program prompts for to its standard output, as a line.\n"
                             "For SSH_ASKPASS, GIT_ASKPASS and SUDO_ASKPASS, which take the name of a program\n"
                             "alone, there is the link memguard-askpass:\n"
                             "  SSH_ASKPASS=$(command -v memguard-askpass) SSH_ASKPASS_REQUIRE=force ssh-add\n"
                             "  --name NAME       the secret of this name, whatever the prompt says (but that\n"
                             "                    it was wrong); also MEMGUARD_ASKPASS_NAME. When the agent\n"
                             "                    does not hold it that is an error (but see --remember)\n"
                             "  --remember TIME   what the person answers is kept in the agent for so long;\n"
                             "                    also MEMGUARD_ASKPASS_REMEMBER. It may have been mistyped:\n"
                             "                    then memguard rm\n"
                             "A script that passes a prompt on should put -- before it: others may have chosen\n"
                             "its words.\n"
                             "Without a name it goes by the prompt, which must be one of these as a whole, in\n"
                             "English:\n"
                             "  Enter passphrase for key 'PATH':      ssh:PATH\n"
                             "  Enter passphrase for PATH:            ssh:PATH\n"
                             "  USER@HOST's password:                 ssh:USER@HOST\n"
                             "  (USER@HOST) Password:                 ssh:USER@HOST\n"
                             "  [sudo] password for USER:             sudo:USER\n"
                             "  Password for 'https://USER@HOST':     as of memguard git-credential\n"
                             "  Username for 'https://HOST':          the user in that name\n"
                             "(with =XX in place of what a name may not have). When the agent holds none of\n"
                             "that name, and for any other prompt, the person at the terminal is asked.\n"
                             "Questions of ssh about a host key always go to the person.\n"
                             "SSH_ASKPASS_PROMPT=confirm asks for yes or no (exit code 0 or 1), =none only\n"
                             "shows.\n"
                             "A secret of more than one line is refused, and so is a terminal as standard\n"
                             "output.\n"
                             "\n"
                             "exit code: 0 done, or yes, 1 failed, or no, 2 wrong usage, 3 no such secret,\n"
                             "           4 the agent is locked, 5 refused (a terminal, --confirm),\n"
                             "           6 no agent, but a name was given\n";

struct askpass {
    const char *prompt, *given; /* a name by option or variable, or NULL */
    uint64_t remember_ms;       /* 0: not at all */
    struct question question;
    char name[WIRE_NAME_MOST + 1]; /* "": none */
};

/* ---- secrets ---- */

struct held {
    const char *name;
    bool is;
};

static void look(const struct wire_frame *entry, const char *name, void *arg) {
    struct held *held = arg;
    (void)entry;
    held->is |= strcmp(name, held->name) == 0;
}

/* Finds the name, and whether the agent holds it. */
static int find(struct askpass *ask, bool *is_held) {
    struct held held = {ask->name, false};
    int code = EXIT_GOOD;
    bool agent = client_has_agent(), git = ask->given == NULL && ask->question.kind == QUESTION_GIT;
    snprintf(ask->name, sizeof ask->name, "%s", ask->given != NULL ? ask->given : ask->question.name.text);
    if (agent && git) code = git_search_best(&ask->question.git, ask->name);
    if (code == EXIT_GOOD && git && ask->name[0] == '\0' && !credential_name(&ask->question.git, ask->name))
        code = EXIT_BAD;
    if (code == EXIT_GOOD && agent && ask->name[0] != '\0') code = client_list(look, &held);
    *is_held = held.is;
    return code;
}

static int remember(const struct askpass *ask, memguard_secret secret) {
    struct wire_frame request = wire_request(WIRE_SET), reply;
    request.ttl_ms = ask->remember_ms;
    if (ask->name[0] != '\0') return client_give(request, ask->name, secret, true, &reply);
    ui_error("not remembered: the prompt tells no name (--name)");
    return EXIT_GOOD;
}

static int ask_person(const struct askpass *ask, memguard_vault *vault, memguard_secret *secret) {
    char shown[512];
    int code = client_prompt(vault, terminal_clean(ask->prompt, shown, sizeof shown), NULL, secret);
    if (code == EXIT_GOOD && ask->remember_ms != 0) code = remember(ask, *secret);
    return code;
}

static int give_secret(struct askpass *ask) {
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    memguard_secret secret = {0};
    bool is_held = false;
    int code = line_allowed();
    if (code == EXIT_GOOD) code = client_vault(&vault);
    if (code == EXIT_GOOD) code = find(ask, &is_held);
    if (code != EXIT_GOOD) return code;
    /* What was wrong once is not answered again: ssh-add would ask for ever. */
    if (!ask->question.again && (is_held || (ask->given != NULL && ask->remember_ms == 0)))
        code = client_fetch(ask->name, true, vault, &secret);
    else
        code = ask_person(ask, vault, &secret);
    return code == EXIT_GOOD ? line_write("", secret) : code;
}

/* ---- words ---- */

static int give_word(const char *prompt) {
    char word[256];
    if (!terminal_ask(prompt, word, sizeof word)) return EXIT_BAD;
    ui_line("%s", word);
    return ui_finish(EXIT_GOOD);
}

static int give_user(const struct askpass *ask) {
    char name[WIRE_NAME_MOST + 1] = "";
    struct credential have;
    int code = client_has_agent() ? git_search_best(&ask->question.git, name) : EXIT_GOOD;
    if (code != EXIT_GOOD) return code;
    if (!credential_parse(name, &have) || !have.has_user) return give_word(ask->prompt);
    ui_line("%s", have.user);
    return ui_finish(EXIT_GOOD);
}

static int confirm(const char *prompt) {
    char question[512], word[16];
    snprintf(question, sizeof question, "%.*s [y/N] ", (int)(sizeof question - 8), prompt);
    if (!terminal_ask(question, word, sizeof word)) return EXIT_BAD;
    return word[0] == 'y' || word[0] == 'Y' ? EXIT_GOOD : EXIT_BAD;
}

static int show(const char *prompt) { return terminal_show(prompt) && terminal_show("\n") ? EXIT_GOOD : EXIT_BAD; }

static int answer(struct askpass *ask) {
    const char *hint = getenv("SSH_ASKPASS_PROMPT");
    if (hint != NULL && strcmp(hint, "confirm") == 0) return confirm(ask->prompt);
    if (hint != NULL && strcmp(hint, "none") == 0) return show(ask->prompt);
    question_read(ask->prompt, &ask->question);
    if (ask->question.kind == QUESTION_WORD) return give_word(ask->prompt);
    return ask->question.kind == QUESTION_GIT_USER ? give_user(ask) : give_secret(ask);
}

/* ---- the command line ---- */

static bool take_variables(struct askpass *ask) {
    const char *time = getenv("MEMGUARD_ASKPASS_REMEMBER");
    ask->given = getenv("MEMGUARD_ASKPASS_NAME");
    if (time == NULL || options_parse_duration(time, &ask->remember_ms)) return true;
    ui_error("MEMGUARD_ASKPASS_REMEMBER takes a time such as 90s, 30m, 8h or 7d, not %s", time);
    return false;
}

/* What follows "--" is the prompt, whatever it begins with: somebody else may have chosen it. */
static bool take_rest(struct options *options, struct askpass *ask) {
    if (!options_flag(options, "--")) return false;
    if (options_more(options)) ask->prompt = options->argv[options->at++];
    return true;
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct askpass ask = {0};
    if (!take_variables(&ask)) return EXIT_USAGE;
    while (options_more(&options))
        if (!options_value(&options, "--name", &ask.given) &&
            !options_duration(&options, "--remember", &ask.remember_ms) && !take_rest(&options, &ask))
            options_word(&options, &ask.prompt);
    if (options.bad || (ask.given != NULL && !client_name_is_good(ask.given))) return EXIT_USAGE;
    if (ask.prompt == NULL) ask.prompt = "Secret: ";
    return answer(&ask);
}

const struct verb verb_askpass = {"askpass", run, "answers prompts of ssh, git and sudo", manual};
