/* Filters: what the text around a secret needs of it. Each makes a secret of a secret; bytes go from page to page,
 * one after the other, so that none is in a buffer of ours. Sources: RFC 4648 (the library's codecs), RFC 3986
 * section 2 (url), RFC 8259 section 7 (json), the manuals of libpq ("The Password File") and of curl (-K). */
#define _GNU_SOURCE
#include <memguard/codec.h>
#include <string.h>

#include "exec.h"
#include "ui.h"

/* What one byte becomes. `to`: NULL to count. Returns the number of bytes. */
typedef size_t escape_fn(unsigned char byte, unsigned char *to);

static size_t put(unsigned char *to, size_t at, unsigned char byte) {
    if (to != NULL) to[at] = byte;
    return at + 1;
}

static size_t with_backslash(unsigned char byte, unsigned char *to) { return put(to, put(to, 0, '\\'), byte); }

static size_t hex_digit(unsigned char *to, size_t at, unsigned digit) {
    return put(to, at, (unsigned char)(digit < 10 ? '0' + digit : 'A' + digit - 10));
}

static size_t hex_behind(const char *prefix, unsigned char byte, unsigned char *to) {
    size_t at = 0;
    for (; prefix[at] != '\0'; at++)
        put(to, at, (unsigned char)prefix[at]);
    at = hex_digit(to, at, byte >> 4);
    return hex_digit(to, at, byte & 15U);
}

static size_t escape_pgpass(unsigned char byte, unsigned char *to) {
    return byte == ':' || byte == '\\' ? with_backslash(byte, to) : put(to, 0, byte);
}

static size_t escape_json(unsigned char byte, unsigned char *to) {
    if (byte == '"' || byte == '\\') return with_backslash(byte, to);
    return byte < ' ' ? hex_behind("\\u00", byte, to) : put(to, 0, byte);
}

static size_t escape_url(unsigned char byte, unsigned char *to) {
    bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
                 byte == '-' || byte == '.' || byte == '_' || byte == '~';
    return plain ? put(to, 0, byte) : hex_behind("%", byte, to);
}

/* Between double quotes in its file of options. */
static size_t escape_curl(unsigned char byte, unsigned char *to) {
    switch (byte) {
    case '"':
    case '\\':
        return with_backslash(byte, to);
    case '\t':
        return with_backslash('t', to);
    case '\n':
        return with_backslash('n', to);
    case '\r':
        return with_backslash('r', to);
    case '\v':
        return with_backslash('v', to);
    default:
        return put(to, 0, byte);
    }
}

struct escaping {
    escape_fn *escape;
    unsigned char *to; /* [secret] NULL: only counted */
    size_t size;
};

static int escape_all(const void *bytes, size_t size, void *arg) {
    struct escaping *escaping = arg;
    escaping->size = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char *to = escaping->to != NULL ? escaping->to + escaping->size : NULL;
        escaping->size += escaping->escape(((const unsigned char *)bytes)[i], to);
    }
    return 0;
}

static memguard_status escape(escape_fn *function, memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    struct escaping escaping = {function, NULL, 0};
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_use(from, escape_all, &escaping, NULL);
    if (status == MEMGUARD_OK) status = memguard_secret_create(vault, escaping.size, MEMGUARD_SEALED, to);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(*to, MEMGUARD_WRITE, &view);
    escaping.to = view.data;
    return status == MEMGUARD_OK ? memguard_secret_use(from, escape_all, &escaping, NULL) : status;
}

static memguard_status filter_pgpass(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    return escape(escape_pgpass, vault, from, to);
}

static memguard_status filter_json(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    return escape(escape_json, vault, from, to);
}

static memguard_status filter_url(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    return escape(escape_url, vault, from, to);
}

static memguard_status filter_curl(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    return escape(escape_curl, vault, from, to);
}

static memguard_status filter_hex(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    (void)vault;
    return memguard_hex_encode(from, MEMGUARD_SEALED, to);
}

static memguard_status filter_base64(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    (void)vault;
    return memguard_base64_encode(from, 0, MEMGUARD_SEALED, to);
}

struct copying {
    memguard_vault *vault;
    memguard_secret *to;
};

static int copy_line(const void *bytes, size_t size, void *arg) {
    const struct copying *copying = arg;
    bool shorter = ((const char *)bytes)[size - 1] == '\n';
    return memguard_secret_copy(copying->vault, bytes, size - shorter, MEMGUARD_SEALED, copying->to);
}

static memguard_status filter_line(memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    struct copying copying = {vault, to};
    int copied = MEMGUARD_OK;
    memguard_status status = memguard_secret_use(from, copy_line, &copying, &copied);
    return status == MEMGUARD_OK ? copied : status;
}

static const struct {
    const char *name;
    memguard_status (*make)(memguard_vault *vault, memguard_secret from, memguard_secret *to);
} filters[] = {
    {"", NULL},
    [EXEC_FILTER_RAW] = {"raw", NULL},
    {"line", filter_line},
    {"hex", filter_hex},
    {"base64", filter_base64},
    {"pgpass", filter_pgpass},
    {"url", filter_url},
    {"json", filter_json},
    {"curl", filter_curl},
};

unsigned exec_filter_find(const char *text, size_t length) {
    for (unsigned i = 1; i < sizeof filters / sizeof filters[0]; i++)
        if (strlen(filters[i].name) == length && memcmp(filters[i].name, text, length) == 0) return i;
    return 0;
}

bool exec_filter(unsigned filter, memguard_vault *vault, memguard_secret from, memguard_secret *to) {
    memguard_status status = filters[filter].make(vault, from, to);
    if (status == MEMGUARD_ERR_SIZE)
        ui_error("--render: nothing is left of the secret by :%s", filters[filter].name);
    else if (status != MEMGUARD_OK)
        ui_library_error("--render", status);
    return status == MEMGUARD_OK;
}
