/* sys/signals: the contract with the operating system about signals: handlers that remember what was there before, one
 * delivery seen from its handler, alternate stacks, other threads brought to a stop. Must not know: what a handler
 * does, which signals are caught, secrets.
 *
 * Rules. Functions that return int give 0 or an errno value. Those marked [handler] are async-signal-safe and meant
 * for hooks; the others must not be called from one. A hook runs with all signals blocked, in registers that hold
 * nothing of the interrupted code: it is entered through mg__arch_signal_entry. */
#ifndef MG_SYS_SIGNALS_H
#define MG_SYS_SIGNALS_H

#include "sys/sys.h"

enum { MG_SIGNALS = 65 }; /* one more than the highest number */

/* One delivery, in its handler. */
struct mg__signal {
    int number;
    const void *address; /* that a fault touched; null when the kernel does not tell */
    uintptr_t stack;     /* where the interrupted code's part of its stack begins, red zone included; 0: not known */
    void *info, *context;
    void *saved; /* registers that the entry has put on the stack */
};
typedef void mg__signal_hook(struct mg__signal *signal);

/* The signals of crashes, one after another; 0 behind the last. [handler] */
int mg__signal_of_crash(unsigned i);
bool mg__signal_is_crash(int number);
/* Whether it has a number that can be caught at all. */
bool mg__signal_is_catchable(int number);
int mg__signal_interrupt(void); /* SIGINT */
bool mg__signal_is_ignored(int number);

/* Installs the hook and remembers what was there; when ours is there already only the hook changes. [handler] */
int mg__signal_catch(int number, mg__signal_hook *hook);
/* Puts back what was there, unless somebody else has changed it since. */
int mg__signal_release(int number);

/* True in a process that is not the owner: a fork's child, a child that borrows our memory (vfork). [handler] */
bool mg__signal_is_foreign(void);
/* Puts the former handler back and delivers the signal to it, with the same siginfo, when the hook returns. [handler]
 */
void mg__signal_hand_back(struct mg__signal *signal);
/* Clears the registers in the signal's frame: the hook must not return any more. [handler] */
void mg__signal_scrub(struct mg__signal *signal);
/* The end by a signal whose frame was scrubbed: the former handler is called, then the default action. [handler] */
_Noreturn void mg__signal_end(struct mg__signal *signal);
/* Scrubs, counts this thread as stopped, and sleeps until the process ends. [handler] */
_Noreturn void mg__signal_park(struct mg__signal *signal);
/* Sends crash signals to all other threads until they have all parked. false: not within wait_ms. [handler] */
bool mg__signal_park_others(uint32_t wait_ms);

int32_t mg__sys_thread_id(void);  /* [handler] */
int32_t mg__sys_process_id(void); /* [handler] */
/* Ends the process at once. [handler] */
_Noreturn void mg__sys_end(int code);
/* As exit(3). */
_Noreturn void mg__sys_exit(int code);
/* One line to standard error, unless that would block. [handler] */
void mg__sys_say(const char *line);

/* An alternate stack for the calling thread, if it has none; freed when the thread ends. */
int mg__signal_stack_give(void);
/* Takes it away, if it is ours and in use no more. */
void mg__signal_stack_take(void);

/* True if the process was dumpable; then it is not any more. [handler] */
bool mg__sys_make_undumpable(void);
void mg__sys_make_dumpable(void); /* [handler] */

/* ---- the processor's part (frame_*.c) ---- */

/* The handler that is installed: saves those registers that a function must preserve in one place, clears all but its
 * arguments, so that none of the interrupted code's is spilled anywhere else, and calls mg__signal_arrived. */
void mg__arch_signal_entry(int number, void *info, void *context);
void mg__signal_arrived(int number, void *info, void *context, void *saved);
uintptr_t mg__arch_frame_stack(const void *context);
/* Clears the registers that kernel and entry saved, but for program counter, stack pointer and what tells the fault. */
void mg__arch_frame_scrub(void *context, void *saved);

/* ---- the table: see mg__sys_table ---- */

struct mg__signals_table {
    int (*sigaction)(int, const void *, void *);
    int (*sigaltstack)(const void *, void *);
    int (*madvise)(void *, size_t, int);
    int (*key_create)(void *, void (*)(void *));
    int (*prctl)(int, unsigned long, unsigned long);
};
#ifdef MEMGUARD_TESTING
extern struct mg__signals_table mg__signals_table; /* tests/ may replace entries */
#endif

#endif
