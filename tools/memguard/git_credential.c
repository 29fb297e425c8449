/* The verb `git-credential`: passwords of git in the agent. */
#include <string.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "credential.h"
#include "git_search.h"
#include "line.h"
#include "options.h"
#include "ui.h"

static const char manual[] = "usage: memguard git-credential [--ttl TIME] [--idle TIME] [--confirm]\n"
                             "                               get|store|erase\n"
                             "\n"
                             "A credential helper of git (gitcredentials(7)), which keeps passwords in the\n"
                             "agent:\n"
                             "  git config --global credential.helper '!memguard git-credential --ttl 8h'\n"
                             "or, where git-credential-memguard is in the PATH:\n"
                             "  git config --global credential.helper 'memguard --ttl 8h'\n"
                             "Git gives the action and speaks on standard input.\n"
                             "  get      answers with user name and password; with nothing when none fits, so\n"
                             "           that git asks\n"
                             "  store    keeps a password that was right; starts an agent when there is none.\n"
                             "           One that is held already is left as it is, with its limits; so is one\n"
                             "           that was set with --confirm or --uses\n"
                             "  erase    forgets what get would have answered, if its password is the one that\n"
                             "           git says was wrong\n"
                             "Of store:\n"
                             "  --ttl TIME    forget it after so long (90s, 30m, 8h, 7d); sooner, if git says\n"
                             "                when it expires\n"
                             "  --idle TIME   forget it when it was not used for so long\n"
                             "  --confirm     ask a person before each use\n"
                             "\n"
                             "The secret's name is git:PROTOCOL://[USER@]HOST[:PORT][/PATH], with =XX in place\n"
                             "of characters that a name may not have (PATH only with credential.useHttpPath).\n"
                             "One that you set yourself under such a name is found, too; without USER it\n"
                             "serves any user, without PATH any path. Of several the one with the same path\n"
                             "comes first, then one without a path; of these, one with USER; then by the\n"
                             "alphabet.\n"
                             "\n"
                             "exit code: 0 done, or nothing fits, 1 failed, 2 wrong usage,\n"
                             "           3 no such secret any more, 4 the agent is locked, 5 refused\n"
                             "           (a terminal, --confirm)\n";

/* ---- get ---- */

static int answer(const char *name, memguard_vault *vault) {
    MEMGUARD_AUTO memguard_secret password = {0};
    struct credential have;
    char before[CREDENTIAL_TEXT_MOST + 32] = "password=";
    int code = client_fetch(name, true, vault, &password);
    if (code != EXIT_GOOD) return code;
    if (credential_parse(name, &have) && have.has_user)
        snprintf(before, sizeof before, "username=%s\npassword=", have.user);
    return line_write(before, password);
}

static int get(const struct credential *want, memguard_vault *vault) {
    char name[WIRE_NAME_MOST + 1];
    if (!client_has_agent()) return EXIT_GOOD;
    int code = line_allowed();
    if (code == EXIT_GOOD) code = git_search_best(want, name);
    return code != EXIT_GOOD || name[0] == '\0' ? code : answer(name, vault);
}

/* ---- store ---- */

struct held {
    const char *name;
    bool is, limited; /* limited: asking for it would disturb somebody or count */
};

static void look_for_held(const struct wire_frame *entry, const char *name, void *arg) {
    struct held *held = arg;
    if (strcmp(name, held->name) != 0) return;
    held->is = true;
    held->limited = (entry->flags & WIRE_CONFIRM) != 0 || entry->uses != 0;
}

static int compare(const void *bytes, size_t size, void *arg) {
    return memguard_secret_equal(*(const memguard_secret *)arg, bytes, size);
}

static int is_the_same(const char *name, memguard_secret password, memguard_vault *vault, bool *same) {
    MEMGUARD_AUTO memguard_secret held = {0};
    int result = MEMGUARD_ERR_MISMATCH, code = client_fetch(name, true, vault, &held);
    *same = false;
    if (code != EXIT_GOOD) return code;
    memguard_status status = memguard_secret_use(held, compare, &password, &result);
    *same = result == MEMGUARD_OK;
    if (status == MEMGUARD_OK && (*same || result == MEMGUARD_ERR_MISMATCH)) return EXIT_GOOD;
    ui_library_error("comparing", status != MEMGUARD_OK ? status : result);
    return EXIT_BAD;
}

/* After each success git stores the password again that it got from us: that must not lift its limits. */
static int should_keep(const char *name, memguard_secret password, memguard_vault *vault, bool *keep) {
    struct held held = {.name = name};
    int code = client_list(look_for_held, &held);
    *keep = held.limited;
    if (code != EXIT_GOOD || !held.is || held.limited) return code;
    code = is_the_same(name, password, vault, keep);
    return code == EXIT_NO_SECRET ? EXIT_GOOD : code;
}

/* False: it has expired. */
static bool limit(struct wire_frame *request, uint64_t expires_s) {
    uint64_t now_s = (uint64_t)time(NULL);
    if (expires_s == 0) return true;
    if (expires_s <= now_s) return false;
    uint64_t left_s = expires_s - now_s;
    if (left_s < OPTIONS_TIME_MOST_MS / 1000 && (request->ttl_ms == 0 || left_s * 1000 < request->ttl_ms))
        request->ttl_ms = left_s * 1000;
    return true;
}

static int store(const struct credential *credential, struct wire_frame request, memguard_vault *vault) {
    char name[WIRE_NAME_MOST + 1];
    struct wire_frame reply;
    bool keep = false;
    if (credential->password.id == 0 || !limit(&request, credential->expires_s)) return EXIT_GOOD;
    if (!credential_name(credential, name)) return EXIT_BAD;
    int code = client_need_agent();
    if (code == EXIT_GOOD) code = should_keep(name, credential->password, vault, &keep);
    if (code != EXIT_GOOD || keep) return code;
    return client_give(request, name, credential->password, true, &reply);
}

/* ---- erase ---- */

static int erase_one(const char *name, memguard_secret password, memguard_vault *vault) {
    struct wire_frame request = wire_request(WIRE_REMOVE), reply;
    bool same = true;
    int code = password.id == 0 ? EXIT_GOOD : is_the_same(name, password, vault, &same);
    if (code == EXIT_GOOD && same) code = client_ask(&request, name, &reply, NULL);
    return code == EXIT_NO_SECRET ? EXIT_GOOD : code;
}

static int erase(const struct credential *want, memguard_vault *vault) {
    char name[WIRE_NAME_MOST + 1] = "";
    if (!client_has_agent()) return EXIT_GOOD;
    for (;;) {
        int code = git_search_next(want, name);
        if (code != EXIT_GOOD || name[0] == '\0') return code;
        code = erase_one(name, want->password, vault);
        if (code != EXIT_GOOD) return code;
    }
}

/* ---- the command line ---- */

static int act(const char *action, struct wire_frame request) {
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    struct credential credential;
    int code = client_vault(&vault);
    if (code != EXIT_GOOD) return code;
    if (!credential_read(vault, STDIN_FILENO, &credential)) return EXIT_BAD;
    if (strcmp(action, "get") == 0) return get(&credential, vault);
    if (strcmp(action, "store") == 0) return store(&credential, request, vault);
    return erase(&credential, vault);
}

/* Git may have other actions one day, which a helper is to ignore. */
static bool is_known(const char *action) {
    return strcmp(action, "get") == 0 || strcmp(action, "store") == 0 || strcmp(action, "erase") == 0;
}

static int run(int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    struct wire_frame request = wire_request(WIRE_SET);
    const char *action = NULL;
    while (options_more(&options))
        if (options_flag(&options, "--confirm"))
            request.flags |= WIRE_CONFIRM;
        else if (!options_duration(&options, "--ttl", &request.ttl_ms) &&
                 !options_duration(&options, "--idle", &request.idle_ms))
            options_word(&options, &action);
    if (options.bad) return EXIT_USAGE;
    if (action == NULL) {
        ui_error("get, store or erase? see memguard git-credential --help");
        return EXIT_USAGE;
    }
    return is_known(action) ? act(action, request) : EXIT_GOOD;
}

const struct verb verb_git_credential = {"git-credential", run, "keeps passwords of git in the agent", manual};
