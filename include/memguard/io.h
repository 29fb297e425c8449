/* memguard/io.h: secrets from descriptors, from a terminal, from a reader of the host; secrets to descriptors.
 *
 * Bytes go from the kernel straight into protected pages, and from there straight to the kernel: no copy of them is ever in
 * ordinary memory, on a stack, or left behind when the place for them grows. The rules at the top of memguard.h hold here;
 * what these functions have in common beyond them:
 *
 *   Descriptors  Anything that read(2) and write(2) take: files, pipes, sockets, terminals, blocking or not (EAGAIN waits for
 *                readiness), giving as little at a time as they like; EINTR goes on. Left open, their flags unchanged.
 *                An offset moves by exactly what was read. Descriptors opened with O_DIRECT cannot reach hidden pages (IO).
 *                Two that read from one descriptor at the same time share out its bytes.
 *   Waiting      These calls wait for the other side, for as long as it takes. While they wait for input nothing is borrowed:
 *                a purge does not wait for them, wipes what had come, and they answer ERR_STALE within a quarter of a second;
 *                a lock of the vault seals what had come, and they answer ERR_LOCKED when input comes.
 *   Outputs      *secret is null after a failure, and what had come is wiped (the descriptor does not get it back), except with
 *                ERR_SHORT, where it is a secret of what came, or null if nothing came.
 *   No FILE*     There is no input from stdio: its buffer is ordinary memory that keeps what passed through it.
 *   Elsewhere    The kernel may keep copies of its own: pipe and socket buffers, the page cache, those of a terminal. (Linux wipes a
 *                terminal's line when it gives it out, if it was hidden as by `prompt`; the driver below may have others.)
 *   Errors       IO (os_error says why; EBADF: the descriptor is not open), STALE (also: purged or destroyed while waiting), LOCKED. */
#ifndef MEMGUARD_IO_H
#define MEMGUARD_IO_H

#include <memguard.h>
#include <memguard/stream.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ------------------------------------------------------------------------------------------ */
/* Common: `flags` as of the functions that make secrets (a rest, FROZEN, WRITABLE, KEEP). `most` 1 to MEMGUARD_SIZE_MAX, else
 * ERR_SIZE. Further errors of all: those of memguard_secret_create; LOCK_LIMIT, MAP_LIMIT and MEMORY can also come in the middle,
 * when the place must grow. */

/* Reads exactly `bytes` bytes. The room for them is made first: when there is none, nothing has been read.
 * Errors: SHORT (the end came first), SIZE. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_read_exact(memguard_vault *vault, int descriptor,
                                                                          size_t bytes, uint32_t flags,
                                                                          memguard_secret *secret);

/* Reads until the byte `delimiter` (0 to 255), which is read and dropped; nothing beyond it is read. For that, bytes are taken
 * one by one (two system calls each): what is long and comes in one piece is better read by its size or to its end. Of a
 * datagram, and of a pipe in packet mode, the system drops what one read leaves.
 * Errors: SHORT (the end came first), EMPTY (the delimiter came at once; *secret is null), SIZE (more than `most` bytes before
 * the delimiter: the first most + 1 have been read). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_read_until(memguard_vault *vault, int descriptor,
                                                                          int delimiter, size_t most, uint32_t flags,
                                                                          memguard_secret *secret);

/* Reads to the end. Errors: EMPTY (the end came at once; *secret is null), SIZE (more than `most` bytes: up to most + 1 have been
 * read). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_read_all(memguard_vault *vault, int descriptor,
                                                                        size_t most, uint32_t flags,
                                                                        memguard_secret *secret);

/* A reader of the host: writes 1 to `size` bytes to `buffer` [secret], which lies in protected pages, and returns how many; 0: the
 * end; negative: minus an errno. The rules for a function given to `use` hold for it; it may call memguard. */
typedef ptrdiff_t memguard_reader(void *buffer, size_t size, void *arg);

/* How far memguard_secret_read_from reads: a delimiter (0 to 255), or one of these. */
enum { MEMGUARD_UNTIL_END = -1, MEMGUARD_UNTIL_FULL = -2 };

/* Reads from reader(.., arg): until a delimiter and to the end with `bytes` as `most`, or until it is full, exactly `bytes` bytes.
 * Errors: as above; IO when the reader returns a negative number, or more than it was asked for; FORKED when it returns in a
 * forked child. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_read_from(memguard_vault *vault, memguard_reader *reader,
                                                                         void *arg, int until, size_t bytes,
                                                                         uint32_t flags, memguard_secret *secret);

/* ---- writing ------------------------------------------------------------------------------------------ */

/* Writes all bytes of the secret, straight from its page. One READ borrow, which lasts until the other side has taken them: a
 * purge waits for it and then takes the page away. A pipe or socket without readers answers IO (EPIPE), never SIGPIPE.
 * Errors: IO (a part may have been written), REVOKED or STALE (a purge; a part may have been written), and those of
 * memguard_secret_acquire. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_secret_write(memguard_secret secret, int descriptor);

/* ---- asking a person ---------------------------------------------------------------------------------- */

enum {
    MEMGUARD_PROMPT_DESCRIPTORS = 1 << 0,   /* use `input` and `output` instead of the controlling terminal */
    MEMGUARD_PROMPT_NEED_TERMINAL = 1 << 1, /* input that is no terminal: ERR_IO (ENOTTY), nothing is asked or read */
    MEMGUARD_PROMPT_PERSIST = 1 << 2        /* signal handlers of the host that run meanwhile do not break it off */
};

typedef struct memguard_prompt_options {
    size_t size;      /* sizeof(memguard_prompt_options) */
    const char *text; /* written before the input is read; null: nothing */
    uint32_t flags;   /* MEMGUARD_PROMPT_* */
    int32_t input;    /* with PROMPT_DESCRIPTORS; else 0 */
    int32_t output;
    uint32_t reserved; /* 0 */
    size_t most;       /* the longest answer, in bytes; 0: 1024 */
} memguard_prompt_options;
#define MEMGUARD_PROMPT_OPTIONS_INIT {sizeof(memguard_prompt_options), NULL, 0, 0, 0, 0, 0}

/* Writes the text and reads a line, without its newline. On a terminal the line is not shown, can be edited as usual, and what
 * was typed before the text is dropped; the terminal is as before on return, and a newline has been written to it. Where: the
 * controlling terminal (/dev/tty); without one, standard input and standard error. Input that is no terminal is read byte by
 * byte up to the newline; there, an end without a newline ends the line, too.
 *
 * Keys: while it runs no key makes a signal and no handler is installed. Interrupt (^C) and suspend (^Z) break off at once, quit
 * (^\) when the line ends: ERR_INTERRUPTED. So does a signal handler of the host that runs on this thread while it waits, unless PERSIST; what
 * was typed by then is dropped. ^D on an empty line: ERR_SHORT. `options` may be null. `flags` as above. A process that is killed, ends (by
 * memguard_catch_signal, too) or is stopped from outside meanwhile leaves the terminal as it is then: without echo.
 * Threads: prompts on one terminal at the same time mix their input and modes: ask one after another.
 * Errors: INTERRUPTED, SHORT (the end came at once; *secret is null), EMPTY (an empty line; *secret is null), SIZE (longer than
 * `most`, or on a terminal than 4094 bytes, where the kernel may have cut it), STATE (the terminal belongs to another process
 * group: in the background), IO, STALE, LOCKED. Source: termios(3), readpassphrase(3), drivers/tty/n_tty.c of Linux. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_prompt(memguard_vault *vault,
                                                               const memguard_prompt_options *options, uint32_t flags,
                                                               memguard_secret *secret);

/* ---- streams and large secrets ------------------------------------------------------------------------ */
/* Of all of these: one chunk of plaintext at a time is in protected pages, closed while the call waits for input. `most` 1 to
 * UINT64_MAX, else ERR_SIZE. A stream or large secret that is destroyed ends the waiting, like a purge: ERR_STALE. Further errors: those
 * of the functions of memguard/stream.h. */

/* Reads from the descriptor into the stream: to the end or `most` bytes, whichever comes first: OK. *moved is how many are in the
 * stream now, also after an error, when up to a chunk more may have been read and lost. Does not finish the stream. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_fill(memguard_stream stream, int descriptor,
                                                                    uint64_t most, uint64_t *moved);

/* Writes what is in the stream to the descriptor. OK: `most` bytes were written. EMPTY: all that was there; END: all, and that this
 * is the end was authenticated. *moved is how many were written in whole pieces (up to a chunk), also after an error; of the piece
 * that could not be written a part may have been, and the rest of it is lost. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_drain(memguard_stream stream, int descriptor,
                                                                     uint64_t most, uint64_t *moved);

/* A FILE face of the stream. mode "r": what is read comes out of the stream: end of file at its authenticated end; nothing there now is
 * the error EAGAIN (clearerr, and try again), a chunk that does not open EBADMSG. mode "w": what is written goes into it. fclose
 * does not touch the stream: memguard_stream_finish does. The FILE has no buffer of its own, but the C library keeps the
 * last byte of getc in it, and printf works on its stack: fread and fwrite of whole pieces leave nothing behind. Where memory for it
 * comes from, and threads: as with fopen. Errors: ARGUMENT (another mode), MEMORY, UNSUPPORTED (no such thing on this system).
 * Source: fopencookie(3). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_stream_open_file(memguard_stream stream, const char *mode,
                                                                         FILE **file);

/* A large secret of all that comes to the end of the descriptor. `options` (may be null): as of memguard_large_create.
 * Errors: EMPTY (the end came at once), SIZE (`most` is 0, more than MEMGUARD_SIZE_MAX, or more than `most` bytes came: up to
 * most + 1 have been read). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_from_fd(memguard_vault *vault, int descriptor,
                                                                      uint64_t most,
                                                                      const memguard_stream_options *options,
                                                                      memguard_large *large);

/* Writes `bytes` bytes from `offset` on to the descriptor. Errors: SIZE (0 bytes, or outside the secret: nothing was written). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_large_to_fd(memguard_large large, uint64_t offset,
                                                                    uint64_t bytes, int descriptor);

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_IO_H */
