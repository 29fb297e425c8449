/* report.h: the protections that a vault has really obtained, for people. */
#ifndef MEMGUARD_REPORT_H
#define MEMGUARD_REPORT_H

#include <memguard.h>

/* One line a protection, yes or NO and what that means; then backend, lockable memory and key shares. */
void report_print(const memguard_report *report);

const char *report_backend(uint32_t backend);

enum { REPORT_TEXT = 80 };

/* "lockable memory: 76 KiB in use, no limit". Returns `text`. */
const char *report_lockable(uint64_t limit_bytes, uint64_t used_bytes, char text[REPORT_TEXT]);

#endif
