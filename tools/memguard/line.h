/* line.h: a secret as one line on standard output, for a program that reads a line. */
#ifndef MEMGUARD_LINE_H
#define MEMGUARD_LINE_H

#include <memguard.h>

/* Refuses a terminal, which keeps what it shows. EXIT_GOOD: it is none. */
int line_allowed(void);

/* Writes `before`, the secret, and a newline if it has none at its end. A secret of several lines or with a NUL is an error, and
 * nothing is written: the reader would take a part of it, or more than it should. Returns the exit code. */
int line_write(const char *before, memguard_secret secret);

#endif
