/* memguard/process.h: how a process ends without leaving secrets behind: signals, crashes, exits, hardening.
 *
 * The rules at the top of memguard.h hold here, too. Nothing in this header has an effect on the process until it is
 * called; each function says what it changes, and for how long.
 *
 * Call these from the program, early, before it starts threads; a library should leave them to its host.
 */
#ifndef MEMGUARD_PROCESS_H
#define MEMGUARD_PROCESS_H

#include <memguard.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MEMGUARD_FORMAT_(at, first) __attribute__((format(printf, at, first)))
#define MEMGUARD_NORETURN_ __attribute__((noreturn))
#else
#define MEMGUARD_FORMAT_(at, first)
#define MEMGUARD_NORETURN_
#endif

/* ---- signals that ask the process to end --------------------------------------------------------------- */

/* What a caught signal runs, in a thread of the library's: an ordinary function, free to call what it likes. In that
 * thread all signals but those of crashes are blocked. It may end the process by itself; when it returns everything
 * is purged and the process ends. */
typedef void memguard_signal_fn(int signal, void *arg);

enum {
    MEMGUARD_CATCH_LEAVE_IGNORED = 1 << 0 /* a signal that is ignored now (nohup, a shell's background job) stays so */
};

/* exit_code for a process that shall end with 0. */
enum { MEMGUARD_EXIT_ZERO = 256 };

typedef struct memguard_signal_options {
    size_t size;        /* sizeof(memguard_signal_options) */
    uint32_t exit_code; /* 1 to 255, or MEMGUARD_EXIT_ZERO; 0: 1 */
    uint32_t wait_ms;   /* how long borrows of other threads are waited for; 0: 1000 */
    uint32_t flags;     /* MEMGUARD_CATCH_* */
    uint32_t reserved;  /* 0 */
} memguard_signal_options;
#define MEMGUARD_SIGNAL_OPTIONS_INIT {sizeof(memguard_signal_options), 0, 0, 0, 0}

/* Catches the `count` signals at `signals`. The first one that comes runs fn(signal, arg) (null: nothing) in a thread
 * that this call starts; then every vault is purged for good (no new key: calls of other threads answer ERR_STALE, later
 * ERR_STATE) and the process ends by _exit(2): other threads may still be running, so neither atexit functions nor
 * stdio buffers are looked at; what must be flushed is fn's business. A second caught signal, whichever, while fn or
 * the purge is at work, wipes everything by memguard_emergency_wipe and ends the process at once. In this last phase a
 * thread that touches memory taken away from it is stopped, so that the exit code is the one asked for.
 * Handlers of other signals are not touched. A signal that is ignored is caught, too, unless CATCH_LEAVE_IGNORED. May be
 * called again for further signals. At least one thread MUST leave the signals unblocked. After fork a child has the
 * former handlers back when the signal first comes. Handlers are installed with SA_RESTART and SA_ONSTACK.
 * Errors: ARGUMENT (no signals; one that is none, SIGKILL, SIGSTOP, or one of those of memguard_catch_crash),
 * STATE (one of them is caught already, or a signal has come), SYSTEM (the thread could not be started). Nothing has
 * changed then. Source: sigaction(2), signal-safety(7). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_signal(const int *signals, size_t count,
                                                                     memguard_signal_fn *fn, void *arg,
                                                                     const memguard_signal_options *options);

/* memguard_catch_signal for SIGINT, with default options and CATCH_LEAVE_IGNORED. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_interrupt(memguard_signal_fn *fn, void *arg);

/* Puts back what was there before for all caught signals, and ends the thread. A signal whose handler somebody else
 * has changed since stays as it is. When a signal has come already its end takes its course: ERR_STATE, but the handlers are put
 * back. Nothing caught: OK. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_release_signals(void);

/* ---- crashes -------------------------------------------------------------------------------------------- */

enum {
    /* Lets a core file be made, if the process was dumpable: all other threads are stopped first, and the registers
     * that the kernel saved for each are cleared. If they cannot all be stopped within a second there is no core. */
    MEMGUARD_CRASH_CORE = 1 << 0
};

/* From now on SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS and SIGTRAP wipe every protected page, plaintext and keys, of
 * all vaults, before the process ends by the same signal. In order: the process becomes undumpable; (CRASH_CORE: other
 * threads are stopped;) everything is wiped and all gates close; the registers that the kernel saved for the
 * interrupted code, but for its program counter and stack pointer, are cleared; if the fault hit a guard page the nearest secret is named on standard
 * error ("memguard: 1 byte past a 32-byte secret": sizes only, never bytes or addresses); (CRASH_CORE: dumpable
 * again;) the handler that was there before is called with the same siginfo and the cleared context, under its own
 * mask and on the stack we are on; when there is none, or it comes back, the signal is sent again with its default action. The
 * interrupted code is never returned to. An earlier handler that leaves by siglongjmp, and handlers installed later, are on their own: the vaults are
 * unusable by then. A thread that crashes while another does, waits for the end.
 * Runtimes that use these signals in normal operation (Java, seccomp emulation by SIGSYS) and catch_crash exclude each
 * other. A crash signal that was ignored ends the process from now on.
 * The handler runs on the alternate stack of the thread, where it has one. The calling thread is given one if it has
 * none; for others see memguard_crash_stack: without one the handler runs on the thread's own stack and cannot run at
 * all when that has overflowed. Handlers of a child of fork do what was there before. As process 1 of a container, which signals of
 * its own cannot end, the process exits with 128 + the signal's number.
 * Again, with other flags: takes them. A thread that blocks one of the signals dies of it without a wipe (signal(7)).
 * Errors: ARGUMENT (unknown flag), MEMORY, SYSTEM (nothing has changed). Source: sigaction(2), sigaltstack(2), core(5), prctl(2). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_crash(uint32_t flags);

/* Gives the calling thread an alternate signal stack of 64 KiB and more, between guard pages and left out of dumps, if it has
 * none; it goes when the thread ends. Useful for every thread that handles secrets, while memguard_catch_crash is in
 * force. Errors: MEMORY, MAP_LIMIT, SYSTEM. Works after fork. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_crash_stack(void);

/* Puts the former handlers of all seven signals back (but those that somebody else has changed since), and takes the
 * alternate stack of the calling thread away if it is ours. Not in force: OK. Errors: STATE (the process is crashing). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_release_crash(void);

/* ---- ends of one's own ----------------------------------------------------------------------------------- */

/* Purges all vaults for good, then exit(3) with `code`: atexit functions run, and find every vault without a key
 * (ERR_STATE). Borrows are waited for for a second, then taken away, those of the calling thread too. If the system
 * refuses to take pages away everything is wiped in place and the process ends by _exit(2). In a forked child: exit(3) alone. */
MEMGUARD_API MEMGUARD_NORETURN_ void memguard_safe_exit(int code);

/* For what must not go on: makes the sentence (printf; up to 1000 bytes; never secret ones, which is the caller's duty), purges
 * as memguard_safe_exit does, writes "memguard: panic: SENTENCE" to standard error, and aborts (SIGABRT). */
MEMGUARD_API MEMGUARD_NORETURN_ void memguard_safe_panic(const char *format, ...) MEMGUARD_FORMAT_(1, 2);

/* ---- hardening of the process ----------------------------------------------------------------------------- */

enum {
    /* PR_SET_DUMPABLE 0: no core of any kind, no ptrace, /proc/self/mem or pidfd_getfd by the same user. Lost at setuid, setgid
     * and the like (where fs.suid_dumpable is not 0): call again. */
    MEMGUARD_HARDEN_DUMPABLE = 1 << 0,
    /* RLIMIT_CORE 1, soft and hard, which stops core files and core pipes; for children, too. Where the hard limit is 0
     * already the limit becomes 0, which stops files only, as would a core socket ignore both: DUMPABLE stops all. */
    MEMGUARD_HARDEN_CORE = 1 << 1,
    /* PR_SET_MDWE (Linux 6.3): no memory that is or was writable becomes executable. Not for programs with a JIT. */
    MEMGUARD_HARDEN_MDWE = 1 << 2,
    /* PR_SET_NO_NEW_PRIVS: exec never gains privileges. For children, too. */
    MEMGUARD_HARDEN_NO_NEW_PRIVS = 1 << 3,
    /* PR_SET_SPECULATION_CTRL, store bypass and indirect branches force-disabled, for the calling thread and those that it makes
     * later. In force where the processor is not affected. */
    MEMGUARD_HARDEN_SPECULATION = 1 << 4,
    MEMGUARD_HARDEN_ALL = (1 << 5) - 1
};

/* What is known of one kind of speculation, for the calling thread. */
enum {
    MEMGUARD_SPECULATION_UNKNOWN = 0, /* the kernel does not say */
    MEMGUARD_SPECULATION_UNAFFECTED = 1,
    MEMGUARD_SPECULATION_ON = 2,       /* and may be turned off */
    MEMGUARD_SPECULATION_ON_FIXED = 3, /* and may not */
    MEMGUARD_SPECULATION_OFF = 4
};

typedef struct memguard_harden_report {
    size_t size;              /* sizeof(memguard_harden_report) */
    uint32_t wanted;          /* MEMGUARD_HARDEN_* bits asked for by this call */
    uint32_t active;          /* in force now, asked for or not: read back from the kernel */
    uint32_t failed;          /* wanted and not in force */
    int32_t os_error[5];      /* per bit, errno of what failed; 0: nothing did */
    uint32_t store_bypass;    /* MEMGUARD_SPECULATION_* */
    uint32_t indirect_branch; /* MEMGUARD_SPECULATION_* */
    uint64_t core_bytes;      /* soft RLIMIT_CORE; UINT64_MAX: unlimited */
} memguard_harden_report;
#define MEMGUARD_HARDEN_REPORT_INIT {sizeof(memguard_harden_report), 0, 0, 0, {0, 0, 0, 0, 0}, 0, 0, 0}

/* Does what `flags` ask for (0: only looks), each apart from the others, and fills *report (null: none; its `size` set
 * by the caller) in every case but ERR_ARGUMENT. None can be undone by this library. Calling again asserts again. Works after
 * fork. Errors: ARGUMENT (unknown bit), UNSUPPORTED (something wanted is not in force, since this system does not offer it),
 * SYSTEM (or for another reason). What could be done has been done then. Source: prctl(2), setrlimit(2), core(5). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_harden(uint32_t flags, memguard_harden_report *report);

/* ---- lost secrets ------------------------------------------------------------------------------------------ */

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_PROCESS_H */
