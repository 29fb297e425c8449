/* The child's environment. A value that is secret is never in ordinary memory: its string lies in protected pages while
 * execve(2) copies it. What the child then has is readable by its user and by root, and passed on to its children. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exec.h"
#include "ui.h"

enum { STRING_MOST = 128 << 10 }; /* MAX_ARG_STRLEN, 32 pages: execve(2) */

bool exec_variable_is_good(const char *name, size_t length) {
    if (length == 0 || (name[0] >= '0' && name[0] <= '9')) return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_') return false;
    }
    return true;
}

struct value {
    memguard_secret to;
    size_t at;
};

enum { VALUE_HAS_END = -1 };

static int put_value(const void *bytes, size_t size, void *arg) {
    const struct value *value = arg;
    unsigned ends = 0;
    for (size_t i = 0; i < size; i++)
        ends += ((const unsigned char *)bytes)[i] == 0;
    return ends != 0 ? VALUE_HAS_END : memguard_secret_copy_at(value->to, value->at, bytes, size);
}

static memguard_status put_together(struct exec *exec, struct exec_variable *variable, size_t bytes, bool *has_end) {
    memguard_secret from = exec->names[variable->name].secret;
    size_t before = variable->length + 1;
    int put = MEMGUARD_OK;
    memguard_status status =
        memguard_secret_create(exec->vault, before + bytes + 1, MEMGUARD_SEALED, &variable->secret);
    if (status == MEMGUARD_OK) status = memguard_secret_copy_at(variable->secret, 0, variable->given, before);
    struct value value = {variable->secret, before};
    if (status == MEMGUARD_OK) status = memguard_secret_use(from, put_value, &value, &put);
    *has_end = put == VALUE_HAS_END;
    if (status == MEMGUARD_OK && put > 0) status = put;
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(variable->secret, MEMGUARD_READ, &variable->view);
    return status;
}

bool exec_variable_open(struct exec *exec, struct exec_variable *variable) {
    const char *name = exec->names[variable->name].text;
    memguard_info info = MEMGUARD_INFO_INIT;
    bool has_end = false;
    memguard_status status = memguard_secret_info(exec->names[variable->name].secret, &info);
    if (status == MEMGUARD_OK && info.bytes + variable->length + 2 > STRING_MOST) {
        ui_error("--env: %s is too large for a variable: the system takes 128 KiB at most", name);
        return false;
    }
    if (status == MEMGUARD_OK) status = put_together(exec, variable, info.bytes, &has_end);
    if (status != MEMGUARD_OK) ui_library_error("--env", status);
    if (has_end) ui_error("--env: %s has a zero byte in it, which no variable can have", name);
    return status == MEMGUARD_OK && !has_end;
}

void exec_variable_close(struct exec_variable *variable) {
    memguard_auto_view_(&variable->view);
    memguard_auto_secret_(&variable->secret);
}

static const struct exec_variable *find(const struct exec *exec, const char *entry) {
    for (size_t i = 0; i < exec->variables_count; i++) {
        const struct exec_variable *variable = &exec->variables[i];
        if (strncmp(entry, variable->given, variable->length + 1) == 0) return variable;
    }
    return NULL;
}

char **exec_environment(const struct exec *exec) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **entries = calloc(count + exec->variables_count + 1, sizeof *entries);
    if (entries == NULL) return NULL;
    char **at = entries;
    for (size_t i = 0; i < count; i++)
        if (find(exec, environ[i]) == NULL) *at++ = environ[i];
    for (size_t i = 0; i < exec->variables_count; i++) {
        const struct exec_variable *variable = &exec->variables[i];
        *at++ = variable->as == EXEC_ENV ? variable->view.data : variable->path;
    }
    return entries;
}
