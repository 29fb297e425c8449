/* process/signals: signals that ask the process to end: a handler that does nothing but say which one came, and a
 * thread that runs the host's function, purges and ends. Contract: memguard/process.h. Must not know: how handlers are
 * installed, how a purge works.
 *
 *     word:  WAITING ──first signal──► its number ──► the thread runs fn, purges, ends the process
 *               │                          └─ another signal: emergency wipe, end, in the handler itself
 *               └──release──► RELEASED: the thread ends
 */
#include "process/process.h"
#include "sys/scan.h"
#include "sys/signals.h"

enum { WAITING = 0, RELEASED = 1 << 16, DEFAULT_CODE = 1, DEFAULT_WAIT_MS = 1000 };

struct plan {
    bool caught;
    memguard_signal_fn *fn;
    void *arg;
    int code;
    uint32_t wait_ms;
};

static struct mg__mutex mutex;
static struct plan plans[MG_SIGNALS];  /* one that is caught changes no more until it is released; under the mutex */
static struct mg__sys_thread *watcher; /* under the mutex */
static _Atomic uint32_t word = RELEASED;
static _Atomic int32_t ender;   /* the thread that ends the process */
static _Atomic int32_t catcher; /* the process that has the watcher: a forked child has not */
static _Atomic int end_code;

/* ---- the end ---- */

/* A forked child has the hooks, and not the thread. */
static bool is_of_another_process(void) {
    return mg__signal_is_foreign() || mg__sys_process_id() != atomic_load(&catcher);
}

/* Whoever faults now does so on memory that was taken away from it: it waits for the end. Where the thread that ends the
 * process cannot go on (a function of the host's that hears of lost secrets) the purge is not done. */
static void on_fault_at_end(struct mg__signal *signal) {
    if (is_of_another_process()) {
        mg__signal_hand_back(signal);
        return;
    }
    if (mg__sys_thread_id() != atomic_load(&ender)) mg__signal_park(signal);
    memguard_emergency_wipe();
    mg__sys_end(atomic_load(&end_code));
}

enum { NOT_HELD, BEING_HELD, HELD };
static _Atomic uint32_t faults;

/* So that the exit code is the one asked for. Refused: then a fault may come first, and ends the process too. A second
 * signal may come while the first one's thread is at it: one of them does it. */
static void hold_faults(int code) {
    uint32_t seen = NOT_HELD;
    unsigned step = 0;
    atomic_store(&end_code, code);
    atomic_store(&ender, mg__sys_thread_id());
    if (!atomic_compare_exchange_strong(&faults, &seen, BEING_HELD)) {
        while (atomic_load(&faults) == BEING_HELD)
            mg__sys_backoff(&step);
        return;
    }
    for (unsigned i = 0; mg__signal_of_crash(i) != 0; i++)
        (void)mg__signal_catch(mg__signal_of_crash(i), on_fault_at_end);
    atomic_store(&faults, HELD);
}

static _Noreturn void end_by_force(int code) {
    hold_faults(code);
    memguard_emergency_wipe();
    mg__sys_end(code);
}

static _Noreturn void end_in_order(const struct plan *plan) {
    hold_faults(plan->code);
    /* The system refused to take pages away: then they are wiped where they are. */
    if (mg__purge_at_end(plan->wait_ms) == MEMGUARD_ERR_SYSTEM) memguard_emergency_wipe();
    mg__sys_end(plan->code);
}

/* ---- a signal comes ---- */

static void on_signal(struct mg__signal *signal) {
    uint32_t seen = WAITING;
    const bool foreign = is_of_another_process();
    if (!foreign && atomic_compare_exchange_strong(&word, &seen, (uint32_t)signal->number))
        mg__sys_wake(&word, true);
    else if (foreign || seen == RELEASED)
        mg__signal_hand_back(signal);
    else
        end_by_force(plans[seen].code);
}

static void watch(void *unused) {
    uint32_t seen = WAITING;
    (void)unused;
    while ((seen = atomic_load(&word)) == WAITING)
        mg__sys_wait(&word, WAITING, UINT64_MAX);
    if (seen == RELEASED) return;
    const struct plan *plan = &plans[seen];
    mg__sys_own_thread(false);
    if (plan->fn != NULL) plan->fn((int)seen, plan->arg);
    mg__sys_own_thread(true);
    end_in_order(plan);
}

/* ---- catching; the mutex is held ---- */

static bool is_working(void) {
    const uint32_t seen = atomic_load(&word);
    return seen != WAITING && seen != RELEASED;
}

static memguard_status start_watcher(void) {
    if (watcher != NULL) return MEMGUARD_OK;
    atomic_store(&word, WAITING);
    const int error = mg__sys_thread_start(watch, NULL, &watcher);
    if (error == 0) return MEMGUARD_OK;
    atomic_store(&word, RELEASED);
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "the thread that waits for signals could not be started (errno %d)",
                    error);
}

/* false: a signal has come, and the thread is at work. */
static bool stop_watcher(void) {
    uint32_t seen = WAITING;
    if (watcher == NULL) return true;
    if (!atomic_compare_exchange_strong(&word, &seen, RELEASED)) return false;
    mg__sys_wake(&word, true);
    mg__sys_thread_join(watcher);
    watcher = NULL;
    return true;
}

static memguard_status release(int number) {
    const int error = plans[number].caught ? mg__signal_release(number) : 0;
    if (error != 0)
        return mg__fail(MEMGUARD_ERR_SYSTEM, error, "signal %d: its handler stays (errno %d)", number, error);
    plans[number].caught = false;
    return MEMGUARD_OK;
}

static memguard_status catch (int number, const struct plan *plan, bool leave_ignored) {
    if (leave_ignored && mg__signal_is_ignored(number)) return MEMGUARD_OK;
    plans[number] = *plan;
    const int error = mg__signal_catch(number, on_signal);
    if (error == 0) return MEMGUARD_OK;
    plans[number].caught = false;
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "signal %d could not be caught (errno %d)", number, error);
}

static bool any_caught(void) {
    for (int i = 1; i < MG_SIGNALS; i++)
        if (plans[i].caught) return true;
    return false;
}

static memguard_status catch_all(const int *signals, size_t count, const struct plan *plan, bool leave_ignored) {
    memguard_status status = start_watcher();
    size_t i = 0;
    for (; status == MEMGUARD_OK && i < count; i++)
        status = catch (signals[i], plan, leave_ignored);
    if (status != MEMGUARD_OK)
        while (i-- > 0)
            (void)release(signals[i]); /* refused: a signal of ours that nobody waits for goes to the former handler */
    if (!any_caught()) (void)stop_watcher(); /* at work: it ends the process */
    return status;
}

/* ---- arguments ---- */

static memguard_status check_signal(int number) {
    if (!mg__signal_is_catchable(number))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "signal %d cannot be caught", number);
    if (mg__signal_is_crash(number))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "signal %d means a crash: see memguard_catch_crash", number);
    return MEMGUARD_OK;
}

static memguard_status read_options(const memguard_signal_options *given, memguard_signal_options *options) {
    memset(options, 0, sizeof *options);
    if (given == NULL) return MEMGUARD_OK;
    if (!mg__struct_is_known(given, given->size, sizeof(size_t), sizeof *options))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "options: size %zu is not a version of the struct", given->size);
    memcpy(options, given, mg__min_size(given->size, sizeof *options));
    if (options->exit_code > MEMGUARD_EXIT_ZERO || options->reserved != 0 ||
        (options->flags & ~(uint32_t)MEMGUARD_CATCH_LEAVE_IGNORED) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "options: an unknown flag, or the exit code %u", options->exit_code);
    return MEMGUARD_OK;
}

static struct plan plan_of(const memguard_signal_options *options, memguard_signal_fn *fn, void *arg) {
    const int code = options->exit_code == 0 ? DEFAULT_CODE : (int)(options->exit_code % MEMGUARD_EXIT_ZERO);
    return (struct plan){true, fn, arg, code, options->wait_ms == 0 ? DEFAULT_WAIT_MS : options->wait_ms};
}

/* In a forked child that goes on with copies: what its parent caught is given back, the thread is not here. The catcher
 * last: before that a signal goes to the former handler. */
static void forget_the_parents(void) {
    const int32_t self = mg__sys_process_id();
    if (atomic_load(&catcher) == self) return;
    watcher = NULL;
    atomic_store(&word, RELEASED);
    for (int i = 1; i < MG_SIGNALS; i++)
        (void)release(i); /* refused: then it is caught still, and goes to the former handler when it comes */
    atomic_store(&catcher, self);
}

static memguard_status check_free(const int *signals, size_t count) {
    if (is_working()) return mg__fail(MEMGUARD_ERR_STATE, 0, "a signal has come: the process is about to end");
    for (size_t i = 0; i < count; i++)
        if (plans[signals[i]].caught) return mg__fail(MEMGUARD_ERR_STATE, 0, "signal %d is caught already", signals[i]);
    return MEMGUARD_OK;
}

/* ---- the public calls ---- */

memguard_status memguard_catch_signal(const int *signals, size_t count, memguard_signal_fn *fn, void *arg,
                                      const memguard_signal_options *given) {
    memguard_signal_options options;
    MG_REFUSE_FORKED();
    if (signals == NULL || count == 0) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = read_options(given, &options);
    for (size_t i = 0; status == MEMGUARD_OK && i < count; i++)
        status = check_signal(signals[i]);
    if (status == MEMGUARD_OK) status = mg__process_start();
    if (status != MEMGUARD_OK) return status;
    const struct plan plan = plan_of(&options, fn, arg);
    mg__mutex_lock(&mutex);
    forget_the_parents();
    status = check_free(signals, count);
    if (status == MEMGUARD_OK)
        status = catch_all(signals, count, &plan, (options.flags & MEMGUARD_CATCH_LEAVE_IGNORED) != 0);
    mg__mutex_unlock(&mutex);
    return status;
}

memguard_status memguard_catch_interrupt(memguard_signal_fn *fn, void *arg) {
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    const int interrupt = mg__signal_interrupt();
    options.flags = MEMGUARD_CATCH_LEAVE_IGNORED;
    return memguard_catch_signal(&interrupt, 1, fn, arg, &options);
}

memguard_status memguard_release_signals(void) {
    memguard_status status = MEMGUARD_OK;
    MG_REFUSE_FORKED();
    mg__mutex_lock(&mutex);
    forget_the_parents();
    for (int i = 1; i < MG_SIGNALS; i++) {
        const memguard_status one = release(i);
        if (status == MEMGUARD_OK) status = one;
    }
    if (status == MEMGUARD_OK && !stop_watcher())
        status = mg__fail(MEMGUARD_ERR_STATE, 0, "a signal has come: the process is about to end");
    mg__mutex_unlock(&mutex);
    return status;
}
