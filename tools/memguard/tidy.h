/* tidy.h: what must be gone when the command ends, however it ends: child processes, files, memory that holds a key.
 *
 * Things are noted when they come into being and struck off when they are gone. A handler for SIGINT, SIGTERM, SIGHUP
 * and SIGQUIT ends, removes and wipes what is still noted (with async-signal-safe calls only), wipes the library's
 * pages, and lets the signal take its course. */
#ifndef MEMGUARD_TIDY_H
#define MEMGUARD_TIDY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { TIDY_PATH = 160 };

/* Installs the handler, and ignores SIGPIPE. */
void tidy_start(void);

/* Between these two the handler does not run: make a thing and note it in one go. */
void tidy_hold(sigset_t *before);
void tidy_go_on(const sigset_t *before);

/* Each returns false when the table is full. */
bool tidy_add_group(pid_t group); /* a process group, to be killed */
void tidy_strike_group(pid_t group);

bool tidy_add_path(const char *path); /* removed in reverse order: first a directory, then what is in it */
void tidy_strike_path(const char *path);

bool tidy_add_area(void *area, size_t bytes); /* wiped */
void tidy_strike_area(const void *area);

#endif
