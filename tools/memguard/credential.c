/* Lines of git, and names. The input is read byte by byte, since what follows a '=' must go to protected pages. */
#define _GNU_SOURCE
#include "credential.h"

#include <errno.h>
#include <memguard/io.h>
#include <string.h>
#include <unistd.h>

#include "name.h"
#include "options.h"
#include "ui.h"

/* ---- input ---- */

static bool refuse(const char *why) {
    ui_error("what git says cannot be used: %s", why);
    return false;
}

enum { AT_END = -1, UNREADABLE = -2 };

/* One byte, or one of these. */
static int read_byte(int fd) {
    unsigned char byte;
    ssize_t got;
    do
        got = read(fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got < 0) return UNREADABLE;
    return got == 1 ? byte : AT_END;
}

/* Up to the '='. `key` is "" at the end of the input. */
static bool read_key(int fd, char key[CREDENTIAL_KEY_MOST + 1]) {
    size_t size = 0;
    int byte;
    while ((byte = read_byte(fd)) > ' ' && byte != '=' && size < CREDENTIAL_KEY_MOST)
        key[size++] = (char)byte;
    key[size] = '\0';
    if (byte == '=' && size > 0) return true;
    if ((byte == '\n' || byte == AT_END) && size == 0) return true;
    memguard_wipe(key, CREDENTIAL_KEY_MOST + 1); /* it may be anything */
    if (byte == UNREADABLE) return refuse("standard input cannot be read");
    return refuse("a line that does not begin with a key and '='");
}

/* {0}: an empty one. */
static bool read_value(memguard_vault *vault, int fd, memguard_secret *value) {
    memguard_status status = memguard_secret_read_until(vault, fd, '\n', CREDENTIAL_VALUE_MOST, MEMGUARD_SEALED, value);
    if (status == MEMGUARD_OK || status == MEMGUARD_ERR_EMPTY || status == MEMGUARD_ERR_SHORT) return true;
    if (status == MEMGUARD_ERR_SIZE) return refuse("a value of more than 64 KiB");
    ui_library_error("standard input", status);
    return false;
}

static int has_nul(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return memchr(bytes, '\0', size) != NULL;
}

static int copy_text(const void *bytes, size_t size, void *arg) {
    const unsigned char *from = bytes;
    char *text = arg;
    if (size > CREDENTIAL_TEXT_MOST) return 1;
    for (size_t i = 0; i < size; i++)
        if (from[i] < ' ' || from[i] == 0x7f) return 1;
    memcpy(text, bytes, size);
    text[size] = '\0';
    return 0;
}

static bool use(memguard_secret value, memguard_fn *look, void *arg, const char *why) {
    int bad = 0;
    memguard_status status = memguard_secret_use(value, look, arg, &bad);
    if (status != MEMGUARD_OK) ui_library_error("standard input", status);
    if (status == MEMGUARD_OK && bad) refuse(why);
    return status == MEMGUARD_OK && !bad;
}

static bool take_text(memguard_secret value, char *text) {
    text[0] = '\0';
    return value.id == 0 || use(value, copy_text, text, "a control character, or a text of more than 1024 bytes");
}

/* A later password takes the place of an earlier one. */
static bool take_password(struct credential *credential, memguard_secret *value) {
    if (value->id != 0 && !use(*value, has_nul, NULL, "a password with a NUL")) return false;
    memguard_secret earlier = credential->password;
    credential->password = *value;
    *value = earlier;
    return true;
}

static bool take_expiry(struct credential *credential, memguard_secret value) {
    char text[CREDENTIAL_TEXT_MOST + 1];
    if (!take_text(value, text)) return false;
    if (!options_parse_number(text, INT64_MAX, &credential->expires_s)) credential->expires_s = 0;
    return true;
}

static bool take(struct credential *credential, const char *key, memguard_secret *value) {
    if (strcmp(key, "password") == 0) return take_password(credential, value);
    if (strcmp(key, "protocol") == 0) return take_text(*value, credential->protocol);
    if (strcmp(key, "host") == 0) return take_text(*value, credential->host);
    if (strcmp(key, "path") == 0) return take_text(*value, credential->path);
    if (strcmp(key, "password_expiry_utc") == 0) return take_expiry(credential, *value);
    if (strcmp(key, "username") != 0) return true; /* unknown: to be ignored */
    credential->has_user = true;
    return take_text(*value, credential->user);
}

static bool read_lines(memguard_vault *vault, int fd, struct credential *credential) {
    char key[CREDENTIAL_KEY_MOST + 1];
    for (int i = 0; i < CREDENTIAL_LINES_MOST; i++) {
        MEMGUARD_AUTO memguard_secret value = {0};
        if (!read_key(fd, key)) return false;
        if (key[0] == '\0') return true;
        if (!read_value(vault, fd, &value) || !take(credential, key, &value)) return false;
    }
    return refuse("more than 1024 lines");
}

bool credential_read(memguard_vault *vault, int fd, struct credential *credential) {
    *credential = (struct credential){0};
    return read_lines(vault, fd, credential);
}

/* ---- names ---- */

static const char prefix[] = "git:";

bool credential_name(const struct credential *credential, char name[WIRE_NAME_MOST + 1]) {
    struct name made = {.size = 0};
    if (credential->protocol[0] == '\0' || (credential->host[0] == '\0' && credential->path[0] == '\0'))
        return refuse("neither protocol and host nor path");
    name_put(&made, prefix);
    name_put_escaped(&made, credential->protocol, strlen(credential->protocol), "+-.");
    name_put(&made, "://");
    name_put_escaped(&made, credential->user, strlen(credential->user), "+-._:");
    if (credential->has_user) name_put(&made, "@");
    name_put_escaped(&made, credential->host, strlen(credential->host), "+-._:");
    if (credential->path[0] != '\0') name_put(&made, "/");
    name_put_escaped(&made, credential->path, strlen(credential->path), "+-._:@/");
    memcpy(name, made.text, sizeof made.text);
    return !made.full || refuse("too long for a name (255 bytes)");
}

bool credential_parse(const char *name, struct credential *credential) {
    *credential = (struct credential){0};
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    const char *protocol = name + sizeof prefix - 1, *colon = strstr(protocol, "://");
    if (colon == NULL) return false;
    const char *host = colon + 3, *slash = strchrnul(host, '/');
    const char *at = memchr(host, '@', (size_t)(slash - host));
    credential->has_user = at != NULL;
    if (at != NULL && !name_unescape(host, at, credential->user)) return false;
    if (at != NULL) host = at + 1;
    const char *path = *slash == '/' ? slash + 1 : slash;
    return name_unescape(protocol, colon, credential->protocol) && name_unescape(host, slash, credential->host) &&
           name_unescape(path, path + strlen(path), credential->path);
}

/* An exact path before one that is not said before another's; of these, one with a user before one without. */
int credential_rank(const struct credential *want, const struct credential *have) {
    if (strcmp(want->protocol, have->protocol) != 0 || strcmp(want->host, have->host) != 0) return 0;
    if (want->has_user && have->has_user && strcmp(want->user, have->user) != 0) return 0;
    bool same = strcmp(want->path, have->path) == 0;
    if (!same && want->path[0] != '\0' && have->path[0] != '\0') return 0;
    if (!same && want->host[0] == '\0') return 0;
    return 1 + (same ? 4 : have->path[0] == '\0' ? 2 : 0) + have->has_user;
}
