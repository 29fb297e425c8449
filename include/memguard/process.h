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
 * that this call starts; then every vault is purged for good (no new key: calls of other threads answer ERR_STALE,
 * later ERR_STATE) and the process ends by _exit(2): other threads may still be running, so neither atexit functions
 * nor stdio buffers are looked at; what must be flushed is fn's business. A second caught signal, whichever, while fn
 * or the purge is at work, wipes everything by memguard_emergency_wipe and ends the process at once. In this last
 * phase a thread that touches memory taken away from it is stopped, and when the purge itself crashes (in a function of
 * memguard_lost_watch) everything is wiped, so that the exit code is the one asked for.
 * Handlers of other signals are not touched. A signal that is ignored is caught, too, unless CATCH_LEAVE_IGNORED. May
 * be called again for further signals. At least one thread MUST leave the signals unblocked. After fork a child has
 * the former handlers back when the signal first comes; one that goes on with copies (MEMGUARD_FORK_COPY) may catch
 * anew. Handlers are installed with SA_RESTART and SA_ONSTACK.
 * Errors: ARGUMENT (no signals; one that is none, SIGKILL, SIGSTOP, or one of those of memguard_catch_crash), STATE
 * (one of them is caught already, or a signal has come), SYSTEM (the thread could not be started). Nothing has changed
 * then. Source: sigaction(2), signal-safety(7). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_signal(const int *signals, size_t count,
                                                                     memguard_signal_fn *fn, void *arg,
                                                                     const memguard_signal_options *options);

/* memguard_catch_signal for SIGINT, with default options and CATCH_LEAVE_IGNORED. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_interrupt(memguard_signal_fn *fn, void *arg);

/* Puts back what was there before for all caught signals, and ends the thread. A signal whose handler somebody else
 * has changed since stays as it is. When a signal has come already its end takes its course: ERR_STATE, but the
 * handlers are put back. Nothing caught: OK. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_release_signals(void);

/* ---- crashes -------------------------------------------------------------------------------------------- */

enum {
    /* Lets a core file be made, if the process was dumpable: all other threads are stopped first, and the registers
     * that the kernel saved for each are cleared. If they cannot all be stopped within a second there is no core. */
    MEMGUARD_CRASH_CORE = 1 << 0
};

/* From now on SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS and SIGTRAP wipe every protected page, plaintext and
 * keys, of all vaults, before the process ends by the same signal. In order:
 *   1. the process becomes undumpable; with CRASH_CORE the other threads are stopped;
 *   2. everything is wiped and all gates close;
 *   3. the registers that the kernel saved for the interrupted code are cleared, but for program counter and stack
 *      pointer;
 *   4. if the fault hit a guard page the nearest secret is named on standard error: "memguard: 1 byte past a 32-byte
 *      secret", sizes only, never bytes or addresses;
 *   5. with CRASH_CORE, when all others are stopped, the process becomes dumpable again;
 *   6. the handler that was there before is called, with the same siginfo and the cleared context, under its own mask,
 *      on the stack we are on; when there is none, or it comes back, the signal is sent again with its default action.
 * The interrupted code is never returned to. A thread that crashes while another does waits for the end. An earlier
 * handler that leaves by siglongjmp is on its own: the vaults are unusable by then. As process 1 of a container, which
 * signals of its own cannot end, the process exits with 128 + the signal's number.
 * The handler runs on the thread's alternate stack, if it has one. The calling thread is given one if it has none; for
 * others see memguard_crash_stack: without one the handler runs on the thread's own stack, and cannot run at all when
 * that has overflowed. A thread that blocks one of the signals dies of it without a wipe (signal(7)). In a child of
 * fork the former handlers do their work; in one that goes on with copies (MEMGUARD_FORK_COPY) only until its first call
 * of memguard: from then on its crashes are caught as its parent's.
 * Runtimes that use these signals in normal operation (Java, Go, emulation by SIGSYS) and catch_crash exclude each
 * other. A crash signal that was ignored ends the process from now on. Called again: takes the new flags.
 * Errors: ARGUMENT (unknown flag), MEMORY, SYSTEM (nothing has changed).
 * Source: sigaction(2), sigaltstack(2), core(5), prctl(2). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_catch_crash(uint32_t flags);

/* Gives the calling thread an alternate signal stack of 64 KiB and more, between guard pages and left out of dumps, if
 * it has none; it goes when the thread ends. Useful for every thread that handles secrets, while memguard_catch_crash
 * is in force. Errors: MEMORY, MAP_LIMIT, SYSTEM. Works after fork. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_crash_stack(void);

/* Puts the former handlers of all seven signals back (but those that somebody else has changed since), and takes the
 * alternate stack of the calling thread away if it is ours. Not in force: OK. Errors: STATE (the process is crashing).
 */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_release_crash(void);

/* ---- ends of one's own ----------------------------------------------------------------------------------- */

/* Purges all vaults for good, then exit(3) with `code`: atexit functions run, and find every vault without a key
 * (ERR_STATE). Borrows are waited for for a second, then taken away, those of the calling thread too. If the system
 * refuses to take pages away everything is wiped in place and the process ends by _exit(2). In a child of fork that is
 * refused, or cannot make its copies its own: exit(3) alone. */
MEMGUARD_API MEMGUARD_NORETURN_ void memguard_safe_exit(int code);

/* For what must not go on: makes the sentence (printf; up to 1000 bytes; never secret ones, which is the caller's
 * duty), purges as memguard_safe_exit does, writes "memguard: panic: SENTENCE" to standard error, and aborts
 * (SIGABRT). */
MEMGUARD_API MEMGUARD_NORETURN_ void memguard_safe_panic(const char *format, ...) MEMGUARD_FORMAT_(1, 2);

/* ---- hardening of the process ----------------------------------------------------------------------------- */

enum {
    /* PR_SET_DUMPABLE 0: no core of any kind, no ptrace, /proc/self/mem or pidfd_getfd by the same user. Lost at
     * setuid, setgid and the like (where fs.suid_dumpable is not 0): call again. */
    MEMGUARD_HARDEN_DUMPABLE = 1 << 0,
    /* RLIMIT_CORE 1, soft and hard, which stops core files and core pipes; for children, too. Where the hard limit is 0
     * already the limit becomes 0, which stops files only, as would a core socket ignore both: DUMPABLE stops all. */
    MEMGUARD_HARDEN_CORE = 1 << 1,
    /* PR_SET_MDWE (Linux 6.3): no memory that is or was writable becomes executable. Not for programs with a JIT. */
    MEMGUARD_HARDEN_MDWE = 1 << 2,
    /* PR_SET_NO_NEW_PRIVS: exec never gains privileges. For children, too. */
    MEMGUARD_HARDEN_NO_NEW_PRIVS = 1 << 3,
    /* PR_SET_SPECULATION_CTRL, store bypass and indirect branches force-disabled, for the calling thread and those
     * that it makes later. In force where the processor is not affected. */
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
 * by the caller) in every case but ERR_ARGUMENT. None can be undone by this library. Calling again asserts again.
 * Works after fork. Errors: ARGUMENT (unknown bit), UNSUPPORTED (something wanted is not in force, since this system
 * does not offer it), SYSTEM (or for another reason). What could be done has been done then. Source: prctl(2),
 * setrlimit(2), core(5). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_harden(uint32_t flags, memguard_harden_report *report);

/* ---- lost secrets ------------------------------------------------------------------------------------- */
/* A secret is lost when the program has forgotten its handle: it lives on, and nobody can destroy it. Scopes,
 * MEMGUARD_AUTO and limits keep that from happening; what follows finds it. All of it is opt-in and costs nothing where
 * it is not used.
 *
 * A vault made with MEMGUARD_TRACK knows of each of its secrets where it was made: the return address of the call of
 * memguard_* that made it, in the host's own code (`addr2line -f -e PROGRAM` names it; a position-independent program
 * needs its load address taken off, which dladdr(3) tells). Without MEMGUARD_TRACK `origin` is null and `age_ms` 0. */

typedef struct memguard_lost {
    size_t size;            /* sizeof(memguard_lost) */
    memguard_secret secret; /* its handle: whoever keeps it has found it again */
    size_t bytes;           /* its size */
    uint32_t rest;          /* MEMGUARD_SEALED ... */
    uint32_t borrows;       /* in progress: views that were never released, perhaps */
    const void *origin;     /* return address of the call that made it; null when not tracked */
    uint64_t age_ms;        /* since then, on the boot-time clock */
} memguard_lost;

/* What the functions below call for each secret. `lost` is valid until return. */
typedef void memguard_lost_fn(const memguard_lost *lost, void *arg);

/* Calls fn for each live secret of the vault, lost or not: to look for those that should not be there any more. fn may
 * call memguard. Secrets made or destroyed meanwhile may be listed or not. O(all secrets of the process). Errors: none
 * but the common ones. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_lost_list(memguard_vault *vault, memguard_lost_fn *fn,
                                                                  void *arg);

/* The report at the end: from now on calls fn for each secret that is still alive when its vault is purged or
 * destroyed, before it is wiped, and for those alive when the process ends through exit(3) or by return from main; once
 * for each secret. Not for secrets that a scope, a limit or memguard_secret_destroy ends. One function per process;
 * null ends it. The first call registers a function with atexit(3): handlers of the host that are registered later run
 * earlier, so what they destroy is not reported. fn runs in the thread that purges, destroys or exits, without any lock
 * of memguard held; the purge waits for it, after the gate was closed and the key was wiped. It may use malloc and
 * stdio. It MUST NOT call memguard, except what is async-signal-safe there, nor fork, nor wait for a thread that does. While a
 * function is set, a purge from inside a borrow of the caller's own destroys nothing before that borrow ends.
 * memguard_emergency_wipe and forked children that are refused report nothing. Errors: MEMORY (atexit had no room; nothing changed). */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_lost_watch(memguard_lost_fn *fn, void *arg);

/* In memguard_sweep_options.flags. */
enum {
    MEMGUARD_SWEEP_SEAL = 1 << 0 /* seal what two sweeps in a row found lost, with no borrow or change between */
};

typedef struct memguard_sweep_options {
    size_t size;          /* sizeof(memguard_sweep_options) */
    uint32_t flags;       /* MEMGUARD_SWEEP_SEAL */
    uint32_t timeout_ms;  /* give up after so many milliseconds in all; 0: 2000 */
    int32_t signal;       /* the real-time signal to stop threads with; 0: SIGRTMAX - 1 */
    uint32_t reserved;    /* 0 */
    memguard_lost_fn *fn; /* called for each lost secret when all threads run again; may call memguard; may be null */
    void *arg;
} memguard_sweep_options;
#define MEMGUARD_SWEEP_OPTIONS_INIT {sizeof(memguard_sweep_options), 0, 0, 0, 0, NULL, NULL}

typedef struct memguard_sweep {
    size_t size;            /* sizeof(memguard_sweep) */
    uint64_t looked_at;     /* secrets */
    uint64_t lost;          /* of them, those that nothing refers to */
    uint64_t sealed;        /* of those, sealed by this sweep */
    uint64_t refused;       /* and that should have been, but are as before (see memguard_last_error) */
    uint64_t threads;       /* stopped */
    uint64_t stopped_ns;    /* for how long */
    uint64_t scanned_bytes; /* of memory */
} memguard_sweep;
#define MEMGUARD_SWEEP_INIT {sizeof(memguard_sweep), 0, 0, 0, 0, 0, 0, 0}

/* Looks for lost secrets of the vault as a conservative garbage collector does: stops all other threads of the process,
 * looks through their registers and stacks, thread-local and all other memory that the process can write for what
 * refers to a secret, at every byte offset: its handle (8 bytes), or an address in the pages that show it (from their
 * begin to just behind their end). What nothing refers to is lost: it is reported, and with MEMGUARD_SWEEP_SEAL, when
 * the sweep before found the same, it gets the rest SEALED, in the way of memguard_secret_rest. Never wiped, never
 * destroyed: so a mistake costs nothing but the time of an opening, and a handle that comes back (see below) still
 * works. Secrets that are borrowed are looked at and reported, but not sealed; those that the library is just working
 * on are not looked at. A scope refers to its secrets. `options` may be null: all defaults; `result` may be null.
 *
 * Errors, after which nothing has changed and all threads run:
 *   STATE        the signal has a handler, or is ignored: it is never taken away from anybody
 *   TIMEOUT      a thread blocks the signal or did not stop in time (it is in vfork(2), or asleep in the kernel where
 *                no signal wakes it), or the memory was not looked through in time; memguard_last_error names the
 *                thread. It waits, with nothing stopped yet, for those that block the signal, since the C library does
 *                so for moments.
 *   UNSUPPORTED  no /proc of this process, or process_vm_readv(2) is not allowed
 *   MEMORY, SYSTEM
 *
 * What it does to the process: for its time the signal has a handler (SA_ONSTACK, SA_RESTART); afterwards it has its
 * default action again. In other threads system calls that are never restarted (nanosleep, poll, epoll_wait ...:
 * signal(7)) answer EINTR. Memory is read through a buffer that is wiped afterwards; protected pages are not read.
 * Time: about a second for a GiB of memory in use. Forks and other sweeps wait until it is over. Threads that are
 * stopped go on by themselves a second after the timeout, whatever happens to the sweep; what it found is then
 * forgotten (TIMEOUT).
 *
 * What it cannot see, so that a secret is wrongly reported (and sealed, and opens at its next borrow as ever):
 *   - handles that only the kernel holds: epoll data, io_uring and aio requests, timers, bytes in pipes, sockets and
 *     files, pages of shared mappings that are not in memory just now, what a debugger keeps;
 *   - handles in other processes; of those that share this memory (clone with CLONE_VM but not CLONE_THREAD) the
 *     registers, and they are not stopped;
 *   - handles that are encoded: compressed, encrypted, in parts, XORed, in another byte order, as text;
 *   - handles in memory that cannot be read now (PROT_NONE, write-only, memfd_secret, device memory), in read-only
 *     mappings of files, or in secrets of memguard;
 *   - on the stack of a thread that has made a secret in a vault with MEMGUARD_TRACK, or that sweeps: what lies below
 *     its stack pointer, as that of a function does which was left for a coroutine whose stack lies in its own frame.
 * What it takes for a reference although it is none: any 8 bytes that look like one, in freed memory, in dead frames of
 * other threads' stacks, in stacks of ended threads that the C library keeps. Such a secret is not found until they are
 * overwritten.
 *
 * In a process that serves its own page faults (userfaultfd), or a file system (FUSE) of which it has mapped files, the
 * scan may come to wait for a thread that it has stopped; it gives up when that one goes on by itself. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_lost_sweep(memguard_vault *vault,
                                                                   const memguard_sweep_options *options,
                                                                   memguard_sweep *result);

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_PROCESS_H */
