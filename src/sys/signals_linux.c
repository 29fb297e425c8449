/* The contract of sys/signals.h on Linux. Sources: man-pages sigaction(2), sigaltstack(2), rt_tgsigqueueinfo(2),
 * tgkill(2), signal(7), signal-safety(7), prctl(2), getdents64(2), proc(5).
 *
 * A former handler is called as a function, on the frame that there is: a second frame of the kernel's (3 KiB with
 * AVX-512, 11 with AMX) would not fit beside the first on many an alternate stack. A default action is reached by
 * sending the signal to this thread again, with the siginfo that came, since only that keeps the cause of death. Must
 * not know: what a hook does, which signals are caught, secrets. */
#define _GNU_SOURCE
#include "sys/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- the table ---- */

static int real_sigaction(int n, const void *new, void *old) { return sigaction(n, new, old); }
static int real_sigaltstack(const void *new, void *old) { return sigaltstack(new, old); }
static int real_key_create(void *key, void (*leave)(void *)) { return pthread_key_create(key, leave); }
static int real_prctl(int what, unsigned long a, unsigned long b) { return prctl(what, a, b, 0UL, 0UL); }

#define REAL_TABLE                                                                                                     \
    { real_sigaction, real_sigaltstack, madvise, real_key_create, real_prctl }

#ifdef MEMGUARD_TESTING
struct mg__signals_table mg__signals_table = REAL_TABLE;
#define CALL mg__signals_table
#else
static const struct mg__signals_table table = REAL_TABLE;
#define CALL table
#endif

static int result(int returned) { return returned == 0 ? 0 : errno; }

/* ---- which signals ---- */

int mg__signal_of_crash(unsigned i) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGTRAP, 0};
    return crashes[i];
}

bool mg__signal_is_crash(int number) {
    for (unsigned i = 0; mg__signal_of_crash(i) != 0; i++)
        if (mg__signal_of_crash(i) == number) return true;
    return false;
}

bool mg__signal_is_catchable(int number) {
    /* Those between the standard ones and SIGRTMIN belong to the C library. */
    const bool exists = number >= 1 && number < MG_SIGNALS && (number < 32 || number >= SIGRTMIN);
    return exists && number != SIGKILL && number != SIGSTOP;
}

int mg__signal_interrupt(void) { return SIGINT; }

/* ---- what was there before ---- */

static struct sigaction before[MG_SIGNALS];
static mg__signal_hook *_Atomic hooks[MG_SIGNALS]; /* null: not caught */
static _Atomic uint32_t called[MG_SIGNALS];        /* the former handler: once */

typedef void action(int, siginfo_t *, void *);

/* The handler in an action; null for a disposition. One that takes the number alone may be called with more: every ABI
 * of Linux passes these in registers. */
static action *handler_of(const struct sigaction *act) {
    const bool none = act->sa_handler == SIG_DFL || act->sa_handler == SIG_IGN; /* with SA_SIGINFO, too: one union */
    return none ? NULL : act->sa_sigaction;
}

/* Without a C function before it, which might put registers on the stack. */
static action *entry(void) { return (action *)(void (*)(void))mg__arch_signal_entry; }

static bool is_ours(const struct sigaction *act) { return handler_of(act) == entry(); }

static int look(int number, struct sigaction *act) { return result(CALL.sigaction(number, NULL, act)); }

bool mg__signal_is_ignored(int number) {
    struct sigaction now;
    return look(number, &now) == 0 && now.sa_handler == SIG_IGN;
}

int mg__signal_catch(int number, mg__signal_hook *hook) {
    struct sigaction now, ours;
    int error = look(number, &now);
    if (error != 0) return error;
    if (is_ours(&now)) {
        atomic_store(&hooks[number], hook);
        return 0;
    }
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = entry();
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    (void)sigfillset(&ours.sa_mask); /* cannot fail for a valid pointer */
    before[number] = now;
    mg__signal_hook *former = atomic_exchange(&hooks[number], hook);
    error = result(CALL.sigaction(number, &ours, NULL));
    if (error != 0) atomic_store(&hooks[number], former);
    return error;
}

int mg__signal_release(int number) {
    struct sigaction now;
    if (atomic_load(&hooks[number]) == NULL) return 0;
    int error = look(number, &now);
    if (error == 0 && is_ours(&now)) error = result(CALL.sigaction(number, &before[number], NULL));
    /* Whoever has our handler written down as a former one and calls it, reaches the one before. */
    if (error == 0) atomic_store(&hooks[number], NULL);
    return error;
}

/* ---- a delivery ---- */

static long thread_id(void) { return syscall(SYS_gettid); }

int32_t mg__sys_thread_id(void) { return (int32_t)thread_id(); }
int32_t mg__sys_process_id(void) { return (int32_t)syscall(SYS_getpid); }

/* Sends the signal to this thread, as it came. */
static void send_again(const struct mg__signal *signal) {
    const long pid = syscall(SYS_getpid), tid = thread_id();
    if (syscall(SYS_rt_tgsigqueueinfo, pid, tid, signal->number, signal->info) != 0)
        (void)syscall(SYS_tgkill, pid, tid, signal->number); /* where that fails, too, the caller goes on */
}

bool mg__signal_is_foreign(void) { return mg__sys_is_refused_child() || mg__sys_fork_by_pid(); }

void mg__signal_hand_back(struct mg__signal *signal) {
    (void)CALL.sigaction(signal->number, &before[signal->number], NULL); /* fails for invalid arguments only */
    send_again(signal); /* blocked until the hook returns, and delivered before anything else runs */
}

static const void *fault_address(int number, const siginfo_t *info) {
    const bool tells = number == SIGSEGV || number == SIGBUS;
    return tells && info->si_code > 0 && info->si_code != SI_KERNEL ? info->si_addr : NULL;
}

/* Ours is called by the way of somebody else's handler, after it was released. */
static void call_former(struct mg__signal *signal) {
    action *former = handler_of(&before[signal->number]);
    if (former != NULL)
        former(signal->number, signal->info, signal->context);
    else
        mg__signal_hand_back(signal);
}

void mg__signal_arrived(int number, void *info, void *context, void *saved) {
    const int error = errno;
    struct mg__signal signal = {.number = number,
                                .address = fault_address(number, info),
                                .stack = mg__arch_frame_stack(context),
                                .info = info,
                                .context = context,
                                .saved = saved};
    mg__signal_hook *hook = atomic_load(&hooks[number]);
    if (hook != NULL)
        hook(&signal);
    else
        call_former(&signal);
    errno = error;
}

void mg__signal_scrub(struct mg__signal *signal) { mg__arch_frame_scrub(signal->context, signal->saved); }

/* ---- ends ---- */

static void default_action(int number) {
    struct sigaction usual;
    memset(&usual, 0, sizeof usual);
    usual.sa_handler = SIG_DFL;
    (void)CALL.sigaction(number, &usual, NULL); /* fails for invalid arguments only */
}

/* The mask that the kernel would have set for the former handler. The kernel saves 8 bytes. */
static void former_mask(const struct mg__signal *signal, const struct sigaction *former) {
    const ucontext_t *context = signal->context;
    sigset_t mask;
    (void)sigemptyset(&mask);
    memcpy(&mask, &context->uc_sigmask, MG_SIGNALS / 8);
    for (int i = 1; i < MG_SIGNALS; i++)
        if (sigismember(&former->sa_mask, i) == 1) (void)sigaddset(&mask, i);
    if ((former->sa_flags & SA_NODEFER) == 0) (void)sigaddset(&mask, signal->number);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL); /* fails only for an unknown `how` */
}

static void run_former(struct mg__signal *signal) {
    const struct sigaction *former = &before[signal->number];
    action *handler = handler_of(former);
    if (handler == NULL || atomic_exchange(&called[signal->number], 1) != 0) return;
    if ((former->sa_flags & (int)SA_RESETHAND) != 0)
        default_action(signal->number);
    else
        (void)CALL.sigaction(signal->number, former, NULL);
    former_mask(signal, former);
    handler(signal->number, signal->info, signal->context);
}

_Noreturn void mg__signal_end(struct mg__signal *signal) {
    sigset_t only;
    run_former(signal);
    default_action(signal->number);
    send_again(signal);
    (void)sigemptyset(&only);
    (void)sigaddset(&only, signal->number);
    (void)pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    /* Still here: process 1 of a container does not die of signals of its own. */
    mg__sys_end(128 + signal->number);
}

_Noreturn void mg__sys_end(int code) { _exit(code); }

_Noreturn void mg__sys_exit(int code) { exit(code); }

void mg__sys_say(const char *line) {
    struct pollfd to = {STDERR_FILENO, POLLOUT, 0};
    /* A pipe that is ready takes a line of this length without blocking; one that nobody reads is not waited for, and
     * one without a reader (POLLERR) would bring SIGPIPE. */
    if (poll(&to, 1, 100) == 1 && to.revents == POLLOUT) mg__sys_complain(line);
}

/* ---- stopping other threads ---- */

static _Atomic int32_t parked;

_Noreturn void mg__signal_park(struct mg__signal *signal) {
    mg__signal_scrub(signal);
    atomic_fetch_add(&parked, 1);
    for (;;)
        (void)syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

/* One that reaches us in any thread; 0: somebody else has them all. */
static int parking_signal(void) {
    struct sigaction now;
    for (unsigned i = 0; mg__signal_of_crash(i) != 0; i++)
        if (look(mg__signal_of_crash(i), &now) == 0 && is_ours(&now)) return mg__signal_of_crash(i);
    return 0;
}

static long number_in(const char *text) {
    long number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
    return number;
}

/* As the kernel writes it, getdents64(2). */
struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* Sends `number` to each other thread in the list; how many there are. */
static int32_t send_to_others(const char *list, long bytes, int number) {
    const long pid = syscall(SYS_getpid), self = thread_id();
    int32_t others = 0;
    for (const char *at = list; at < list + bytes;) {
        const struct directory_entry *entry_at = (const struct directory_entry *)(const void *)at;
        const long tid = number_in(entry_at->name);
        if (tid != 0 && tid != self && syscall(SYS_tgkill, pid, tid, number) == 0) others++;
        at += entry_at->length;
    }
    return others;
}

/* How many other threads there are, after a signal to each; -1: that cannot be told. */
static int32_t signal_others(int number) {
    _Alignas(8) char list[1024];
    int32_t others = 0;
    long got = 0;
    const int tasks = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (tasks < 0) return -1;
    while ((got = syscall(SYS_getdents64, tasks, list, sizeof list)) > 0)
        others += send_to_others(list, got, number);
    mg__sys_close(tasks);
    return got < 0 ? -1 : others;
}

/* Those that had stopped before the list was read have made no thread behind it. */
bool mg__signal_park_others(uint32_t wait_ms) {
    const uint64_t until = mg__sys_now_ns() + wait_ms * 1000000ULL;
    const int number = parking_signal();
    unsigned step = 64;
    for (;;) {
        const int32_t stopped = atomic_load(&parked), others = number == 0 ? -1 : signal_others(number);
        if (others < 0 || others == stopped) return others >= 0;
        if (mg__sys_now_ns() >= until) return false;
        mg__sys_backoff(&step);
    }
}

/* ---- alternate stacks ---- */

enum { STACK_BYTES = 64 * 1024 };

struct stack {
    unsigned char *reservation;
    size_t bytes, reserved_bytes;
};

static MG_THREAD struct stack own_stack;
static _Atomic uint32_t key_made; /* the key, and one more; no mutex, or a child of fork might find it locked */

/* At thread exit, and when asked for. While somebody runs on it, it stays. */
static void take_stack(void *unused) {
    stack_t now, none;
    (void)unused;
    if (own_stack.reservation == NULL || CALL.sigaltstack(NULL, &now) != 0) return;
    memset(&none, 0, sizeof none);
    none.ss_flags = SS_DISABLE;
    const bool in_use = now.ss_sp == own_stack.reservation + mg__sys_page();
    if (in_use && CALL.sigaltstack(&none, NULL) != 0) return;
    /* The registers of whatever it has interrupted were on it. */
    mg__wipe(own_stack.reservation + mg__sys_page(), own_stack.bytes);
    (void)mg__sys_unmap(own_stack.reservation, own_stack.reserved_bytes); /* wiped: at worst address space stays */
    own_stack.reservation = NULL;
}

void mg__signal_stack_take(void) { take_stack(NULL); }

static int make_key(void) {
    pthread_key_t key = 0;
    uint32_t none = 0;
    if (atomic_load(&key_made) != 0) return 0;
    const int error = CALL.key_create(&key, take_stack);
    if (error != 0) return error;
    if (!atomic_compare_exchange_strong(&key_made, &none, key + 1))
        (void)pthread_key_delete(key); /* another thread was faster; ours is valid */
    return 0;
}

/* Left out of dumps; copied at fork, since a former handler may fork while it runs on it. */
static int map_stack(struct stack *stack) {
    int error = 0;
    const size_t page = mg__sys_page();
    if (!mg__round_up(STACK_BYTES + mg__arch_signal_frame_bytes(), page, &stack->bytes)) return ENOMEM;
    stack->reserved_bytes = stack->bytes + 2 * page;
    stack->reservation = mg__sys_reserve(stack->reserved_bytes, &error);
    if (stack->reservation == NULL) return error;
    error = result(CALL.madvise(stack->reservation, stack->reserved_bytes, MADV_DONTDUMP));
    if (error == 0) error = mg__sys_private_map(stack->reservation + page, stack->bytes);
    if (error != 0) (void)mg__sys_unmap(stack->reservation, stack->reserved_bytes); /* nothing was in it */
    return error;
}

static int install_stack(void) {
    struct stack stack = {NULL, 0, 0};
    stack_t ours;
    int error = map_stack(&stack);
    if (error != 0) return error;
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = stack.reservation + mg__sys_page();
    ours.ss_size = stack.bytes;
    error =
        pthread_setspecific(atomic_load(&key_made) - 1, &own_stack); /* any value but null: the hook at thread exit */
    if (error == 0) error = result(CALL.sigaltstack(&ours, NULL));
    if (error == 0)
        own_stack = stack;
    else
        (void)mg__sys_unmap(stack.reservation, stack.reserved_bytes);
    return error;
}

int mg__signal_stack_give(void) {
    stack_t now;
    if (CALL.sigaltstack(NULL, &now) != 0) return errno;
    if ((now.ss_flags & SS_DISABLE) == 0) return 0;
    if (own_stack.reservation != NULL) take_stack(NULL); /* somebody has switched it off: a new one */
    const int error = make_key();
    return error != 0 ? error : install_stack();
}

/* ---- dumps ---- */

bool mg__sys_make_undumpable(void) {
    const bool was = CALL.prctl(PR_GET_DUMPABLE, 0, 0) == 1;
    (void)CALL.prctl(PR_SET_DUMPABLE, 0, 0); /* fails for other values only */
    return was;
}

void mg__sys_make_dumpable(void) { (void)CALL.prctl(PR_SET_DUMPABLE, 1, 0); }
