/* process/exit: ends that the host chooses: everything is forgotten first. Contract: memguard/process.h. Must not
 * know: how a purge works. */
#include <stdarg.h>
#include <stdio.h>

#include "process/process.h"
#include "sys/signals.h"

enum { WAIT_MS = 1000, SENTENCE_BYTES = 1001 };

/* false: the system refused to take pages away from their holders; they were wiped where they are. */
static bool forget_everything(void) {
    if (mg__purge_at_end(WAIT_MS) != MEMGUARD_ERR_SYSTEM) return true;
    memguard_emergency_wipe();
    return false;
}

void memguard_safe_exit(int code) {
    /* atexit functions that touch memguard would find broken canaries: they are left out. */
    if (!forget_everything()) mg__sys_end(code);
    mg__sys_exit(code);
}

void memguard_safe_panic(const char *format, ...) {
    char sentence[SENTENCE_BYTES], line[SENTENCE_BYTES + 32];
    va_list arguments;
    va_start(arguments, format);
    /* Before the purge: the arguments may be in a borrow. */
    if (format == NULL || vsnprintf(sentence, sizeof sentence, format, arguments) < 0) sentence[0] = '\0';
    va_end(arguments);
    (void)forget_everything();
    if (snprintf(line, sizeof line, "memguard: panic: %s\n", sentence) > 0) mg__sys_complain(line);
    mg__sys_abort();
}
