/* sys/io: the contract with the operating system about descriptors and terminals.
 * Must not know: secrets, vaults, what the bytes mean.
 *
 * Shared rules as in sys.h. Nothing here is a cancellation point, and nothing raises SIGPIPE in the caller. */
#ifndef MG_SYS_IO_H
#define MG_SYS_IO_H

#include "sys/sys.h"

#include <stdio.h>

/* ---- descriptors ---- */

/* One read(2) or write(2). -1: *error. A socket's peer that is gone gives EPIPE without a signal. */
long mg__sys_read(int descriptor, void *to, size_t bytes, int *error);
long mg__sys_write(int descriptor, const void *from, size_t bytes, int *error);

enum mg__wait { MG_WAIT_READY, MG_WAIT_NOT_YET, MG_WAIT_SIGNAL };

/* Waits at most `ms` for a descriptor that could be read or written without blocking. What cannot be waited for is
 * READY: the call itself then says what is wrong. SIGNAL: a handler of the host ran. */
enum mg__wait mg__sys_await(int descriptor, bool to_write, unsigned ms);

/* ---- terminals ---- */

enum { MG_TTY_NO_KEY = -1 };

struct mg__sys_tty {
    int descriptor;
    int interrupt, suspend, quit; /* the characters of these keys, or MG_TTY_NO_KEY */
    uint64_t modes[16];           /* as they were */
};

/* The controlling terminal, for reading and writing. -1: there is none (*error). */
int mg__sys_tty_open(int *error);
bool mg__sys_is_tty(int descriptor);
/* False when the terminal is the caller's controlling one and another process group has it. */
bool mg__sys_tty_is_ours(int descriptor);
/* What was typed before is dropped; from now on lines are edited as usual and not shown, no key makes a signal, and the
 * keys for interrupt and suspend end a line like the newline, as its last character. Never stops the process (SIGTTOU). */
int mg__sys_tty_hide(int descriptor, struct mg__sys_tty *tty);
/* Everything as it was. drop_input: what was typed and not read goes. */
int mg__sys_tty_restore(const struct mg__sys_tty *tty, bool drop_input);
/* The longest line of which the kernel is sure not to have cut anything off, without its end. */
enum { MG_TTY_LINE_BYTES = 4094 };

/* ---- FILE* ---- */

/* What a FILE calls: first member of whatever its maker keeps. */
struct mg__sys_file {
    long (*read)(struct mg__sys_file *file, void *to, size_t bytes); /* how many, 0: the end, or minus an errno */
    long (*write)(struct mg__sys_file *file, const void *from, size_t bytes); /* how many, or minus an errno */
    void (*end)(struct mg__sys_file *file);                                   /* by fclose */
};
/* A FILE without a buffer of its own. NULL: *error; nothing was called. */
FILE *mg__sys_file_open(struct mg__sys_file *file, bool to_write, int *error);

/* ---- the table ---- */

struct mg__sys_io_table {
    long (*read)(int, void *, size_t);
    long (*write)(int, const void *, size_t);
    long (*send)(int, const void *, size_t);
    int (*poll)(int, short, unsigned);
    int (*open_tty)(void);
    int (*get_modes)(int, void *);
    int (*set_modes)(int, int, const void *);
};
#ifdef MEMGUARD_TESTING
extern struct mg__sys_io_table mg__sys_io_table; /* tests/ may replace entries */
#endif

#endif
