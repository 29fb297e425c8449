/* tempdir.h: a private directory (0700) for files that must not reach a disk: only on a file system that lives in
 * memory, else none. Noted in tidy.h. */
#ifndef MEMGUARD_TEMPDIR_H
#define MEMGUARD_TEMPDIR_H

#include <stdbool.h>
#include <stddef.h>

enum { TEMPDIR_PATH = 120 };

/* Makes one below $XDG_RUNTIME_DIR, /dev/shm, $TMPDIR or /tmp, the first that is a tmpfs or ramfs. False: there is
 * none. */
bool tempdir_make(char path[TEMPDIR_PATH]);

/* Overwrites a file with zeros and removes it; a file that is not there is no failure. False: it could not be removed.
 */
bool tempdir_wipe_file(const char *path);

/* Removes the directory, which is empty. */
void tempdir_remove(char path[TEMPDIR_PATH]);

#endif
