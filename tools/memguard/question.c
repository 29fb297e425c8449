/* Prompts: compared from their first byte to their last. Sources: sshconnect2.c and ssh-add.c of OpenSSH, credential.c of git,
 * sudoers(5) "passprompt". */
#define _GNU_SOURCE
#include "question.h"

#include <string.h>

struct part {
    const char *at;
    size_t size;
};

/* What lies between the two in the prompt, and is not empty. Both may be followed by a space at the end of the prompt. */
static bool between(const char *prompt, const char *before, const char *after, struct part *part) {
    size_t size = strlen(prompt), first = strlen(before), last = strlen(after);
    if (size > 0 && prompt[size - 1] == ' ') size--;
    if (size <= first + last || memcmp(prompt, before, first) != 0) return false;
    if (memcmp(prompt + size - last, after, last) != 0) return false;
    *part = (struct part){prompt + first, size - first - last};
    return true;
}

static bool is_plain(struct part part, const char *besides) {
    struct name copy = {.size = 0};
    name_put_escaped(&copy, part.at, part.size, besides);
    return !copy.full && copy.size == part.size && part.size > 0;
}

/* Divides at the only `c`; false: there is none, or another one. */
static bool divide(struct part part, char c, struct part *left, struct part *right) {
    const char *at = memchr(part.at, c, part.size);
    if (at == NULL) return false;
    *left = (struct part){part.at, (size_t)(at - part.at)};
    *right = (struct part){at + 1, part.size - left->size - 1};
    return memchr(right->at, c, right->size) == NULL;
}

static bool is_account(struct part part) {
    struct part user, host;
    return divide(part, '@', &user, &host) && is_plain(user, "._-+") && is_plain(host, "._-:");
}

static void set_name(struct question *question, const char *prefix, struct part part) {
    name_put(&question->name, prefix);
    name_put_escaped(&question->name, part.at, part.size, "._@:/+-");
    if (question->name.full) question->name = (struct name){.size = 0};
}

/* ---- ssh and sudo ---- */

static void strip(struct part *part, const char *end) {
    size_t size = strlen(end);
    if (part->size > size && memcmp(part->at + part->size - size, end, size) == 0) part->size -= size;
}

static bool read_key(const char *prompt, struct question *question) {
    struct part path;
    question->again = between(prompt, "Bad passphrase, try again for ", ":", &path);
    if (!question->again && !between(prompt, "Enter passphrase for key '", "':", &path) &&
        !between(prompt, "Enter passphrase for \"", "\":", &path) &&
        !between(prompt, "Enter passphrase for ", ":", &path))
        return false;
    strip(&path, " (will confirm each use)");
    set_name(question, "ssh:", path);
    return true;
}

static bool read_account(const char *prompt, struct question *question) {
    struct part part;
    bool ssh = between(prompt, "", "'s password:", &part) || between(prompt, "(", ") Password:", &part);
    if (ssh && is_account(part)) {
        set_name(question, "ssh:", part);
        return true;
    }
    if (!between(prompt, "[sudo] password for ", ":", &part) || !is_plain(part, "._-+@")) return false;
    set_name(question, "sudo:", part);
    return true;
}

/* ---- git ---- */

static void copy(struct part part, char text[CREDENTIAL_TEXT_MOST + 1]) {
    memcpy(text, part.at, part.size);
    text[part.size] = '\0';
}

/* PROTOCOL://[USER@]HOST[:PORT], and no path: git leaves it out unless it is told not to, and a '/' could be another part's. */
static bool read_url(struct part url, struct credential *git) {
    const char *colon = memmem(url.at, url.size, "://", 3);
    if (colon == NULL) return false;
    struct part protocol = {url.at, (size_t)(colon - url.at)}, user = {"", 0};
    struct part host = {colon + 3, url.size - protocol.size - 3};
    git->has_user = memchr(host.at, '@', host.size) != NULL;
    if (git->has_user && (!divide(host, '@', &user, &host) || !is_plain(user, "._-+"))) return false;
    if (!is_plain(protocol, "+-.") || !is_plain(host, "._-:")) return false;
    copy(protocol, git->protocol);
    copy(host, git->host);
    copy(user, git->user);
    return true;
}

static bool read_git(const char *prompt, struct question *question) {
    struct part url;
    bool user = between(prompt, "Username for '", "':", &url);
    if (!user && !between(prompt, "Password for '", "':", &url)) return false;
    if (read_url(url, &question->git)) {
        question->kind = user ? QUESTION_GIT_USER : QUESTION_GIT;
        return true;
    }
    question->git = (struct credential){0};
    question->kind = user ? QUESTION_WORD : QUESTION_SECRET;
    return true;
}

/* Of ssh about the key of a host. */
static bool is_yes_or_no(const char *prompt) {
    return strstr(prompt, "(yes/no") != NULL || strncmp(prompt, "Please type 'yes'", 17) == 0;
}

void question_read(const char *prompt, struct question *question) {
    *question = (struct question){.kind = QUESTION_SECRET};
    if (read_git(prompt, question) || read_key(prompt, question) || read_account(prompt, question)) return;
    if (is_yes_or_no(prompt)) question->kind = QUESTION_WORD;
}
