/* The last error of each thread: numbers and remedy for people. Must never hold secret bytes: sizes and counts only.
 * The sentence of a plain error is made when it is asked for, so that hot paths store two words. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

struct last_error {
    memguard_status status;
    int32_t os_error;
    uint64_t allowed, in_use, needed;
    char text[240];
};

enum { VAULT_BYTES = 32768 }; /* about what a vault alone takes */

static MG_THREAD struct last_error last;

static void begin(memguard_status status, int os_error) {
    last.status = status;
    last.os_error = os_error;
    last.allowed = last.in_use = last.needed = 0;
    last.text[0] = '\0';
}

memguard_status mg__fail_plain(memguard_status status) {
    begin(status, 0);
    return status;
}

memguard_status mg__fail(memguard_status status, int os_error, const char *format, ...) {
    va_list arguments;
    begin(status, os_error);
    va_start(arguments, format);
    if (vsnprintf(last.text, sizeof last.text, format, arguments) < 0) last.text[0] = '\0';
    va_end(arguments);
    return status;
}

memguard_status mg__fail_lock_limit(uint64_t allowed, uint64_t in_use, uint64_t needed, int os_error) {
    mg__fail(MEMGUARD_ERR_LOCK_LIMIT, os_error,
             "lockable memory: %llu bytes allowed, %llu in use by memguard, %llu needed: raise RLIMIT_MEMLOCK "
             "(ulimit -l, LimitMEMLOCK=)%s",
             (unsigned long long)allowed, (unsigned long long)in_use, (unsigned long long)needed,
             needed <= allowed && in_use > VAULT_BYTES ? " or keep fewer secrets open" : "");
    last.allowed = allowed;
    last.in_use = in_use;
    last.needed = needed;
    return MEMGUARD_ERR_LOCK_LIMIT;
}

bool mg__struct_is_known(const void *given, size_t given_size, size_t least, size_t known) {
    if (given_size < least || given_size > 65536) return false;
    const unsigned char *bytes = given;
    for (size_t i = known; i < given_size; i++)
        if (bytes[i] != 0) return false;
    return true;
}

void mg__out_struct(void *given, size_t given_size, const void *full, size_t known) {
    const size_t size = given_size; /* survives the copy: `full` has our own */
    memcpy(given, full, mg__min_size(size, known));
    if (size > known) memset((unsigned char *)given + known, 0, size - known);
    memcpy(given, &size, sizeof size);
}

memguard_status memguard_last_error(memguard_error *error) {
    if (error == NULL || !mg__out_struct_fits(error->size)) return MEMGUARD_ERR_ARGUMENT;
    memguard_error full = MEMGUARD_ERROR_INIT;
    full.status = last.status;
    full.os_error = last.os_error;
    full.allowed_bytes = last.allowed;
    full.in_use_bytes = last.in_use;
    full.needed_bytes = last.needed;
    const char *text = last.text[0] != '\0' ? last.text : memguard_status_text(last.status);
    if (snprintf(full.text, sizeof full.text, "%s", text) < 0) full.text[0] = '\0';
    mg__out_struct(error, error->size, &full, sizeof full);
    return MEMGUARD_OK;
}
