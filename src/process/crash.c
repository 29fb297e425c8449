/* process/crash: what happens between a crash and the process's death. Contract and order: memguard/process.h; why in
 * this order:
 *
 *   - undumpable first: should a step of ours crash too (its signal is blocked, so the kernel kills at once), there is
 *     no core;
 *   - other threads stop before the wipe, so that none computes on zeros while a core is wanted, and only then;
 *   - the message last: what it looks at may be what the crash has broken.
 *
 * All of it async-signal-safe: scripts/check-signal-safety. Must not know: how handlers are installed, how pages are
 * wiped, where secrets lie. */
#include <errno.h>

#include "core/trespass.h"
#include "process/process.h"
#include "sys/signals.h"

enum { PARK_MS = 1000, LINE_BYTES = 128 };

static struct mg__mutex mutex;
static bool installed; /* under the mutex */
static _Atomic uint32_t flags;
static _Atomic int32_t owner; /* the thread that crashed first */

memguard_status mg__process_start(void) {
    const int error = mg__sys_fork_mark();
    mg__arch_init();
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
}

/* ---- the message ---- */

struct line {
    char text[LINE_BYTES];
    size_t length;
};

/* Leaves room for the end of the line. */
static void add(struct line *line, const char *words) {
    for (; *words != '\0' && line->length < LINE_BYTES - 2; words++)
        line->text[line->length++] = *words;
}

static void add_number(struct line *line, size_t number) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    add(line, digits + at);
}

static void add_secret(struct line *line, size_t bytes) {
    add(line, "a ");
    if (bytes != 0) {
        add_number(line, bytes);
        add(line, "-byte ");
    }
    add(line, "secret");
}

static void add_distance(struct line *line, const struct mg__trespass *trespass) {
    add_number(line, trespass->distance);
    add(line, trespass->distance == 1 ? " byte" : " bytes");
    add(line, trespass->kind == MG_TRESPASS_PAST ? " past " : " before ");
}

static void tell(const struct mg__signal *signal) {
    static const char *const before[] = {"", "", "write to ", "touch of ", "touch of ", "touch of "};
    static const char *const after[] = {
        "", "", " that may only be read", " that nobody borrows", " that was released", " that a purge took away"};
    struct mg__trespass trespass;
    struct line line = {{0}, 0};
    if (signal->address == NULL || !mg__trespass_find(signal->address, &trespass)) return;
    add(&line, "memguard: ");
    if (trespass.kind == MG_TRESPASS_PAST || trespass.kind == MG_TRESPASS_BEFORE) add_distance(&line, &trespass);
    add(&line, before[trespass.kind]);
    add_secret(&line, trespass.bytes);
    add(&line, after[trespass.kind]);
    line.text[line.length++] = '\n'; /* there is room, and zeros behind it */
    mg__sys_say(line.text);
}

/* ---- the crash ---- */

static void wipe(const struct mg__signal *signal) {
    memguard_emergency_wipe();
    mg__bench_wipe_above(signal->stack); /* that of a cipher call which was interrupted, and on which we run */
}

static _Noreturn void crash(struct mg__signal *signal) {
    const bool was_dumpable = mg__sys_make_undumpable();
    const bool core = was_dumpable && (atomic_load(&flags) & MEMGUARD_CRASH_CORE) != 0;
    const bool alone = core && mg__signal_park_others(PARK_MS);
    wipe(signal);
    mg__signal_scrub(signal);
    tell(signal);
    if (alone) mg__sys_make_dumpable();
    mg__signal_end(signal);
}

static void on_crash(struct mg__signal *signal) {
    const int32_t self = mg__sys_thread_id();
    int32_t first = 0;
    if (mg__signal_is_foreign()) {
        mg__signal_hand_back(signal);
        return;
    }
    if (atomic_compare_exchange_strong(&owner, &first, self)) crash(signal);
    if (first != self) mg__signal_park(signal);
    mg__signal_scrub(signal);
    mg__signal_end(signal); /* an earlier handler, called by us, ends with another signal */
}

/* ---- the public calls ---- */

static memguard_status fail(int error) {
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "handlers of crashes could not be changed (errno %d)", error);
}

/* Memory that is short is told with its numbers. */
static memguard_status give_stack(void) {
    const int error = mg__signal_stack_give();
    if (error == 0) return MEMGUARD_OK;
    if (error == ENOMEM) return mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "no alternate signal stack (errno %d)", error);
}

static int release_all(void) {
    int first_error = 0;
    for (unsigned i = 0; mg__signal_of_crash(i) != 0; i++) {
        const int error = mg__signal_release(mg__signal_of_crash(i));
        if (first_error == 0) first_error = error;
    }
    return first_error;
}

static memguard_status catch_all(void) {
    const memguard_status status = give_stack();
    int error = 0;
    if (status != MEMGUARD_OK) return status;
    for (unsigned i = 0; error == 0 && mg__signal_of_crash(i) != 0; i++)
        error = mg__signal_catch(mg__signal_of_crash(i), on_crash);
    if (error == 0) return MEMGUARD_OK;
    if (!installed) (void)release_all(); /* the first error is the one to tell */
    return fail(error);
}

memguard_status memguard_catch_crash(uint32_t wanted) {
    MG_REFUSE_FORKED();
    if ((wanted & ~(uint32_t)MEMGUARD_CRASH_CORE) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown flags: 0x%x", wanted);
    memguard_status status = mg__process_start();
    if (status != MEMGUARD_OK) return status;
    mg__mutex_lock(&mutex);
    status = catch_all();
    if (status == MEMGUARD_OK) {
        atomic_store(&flags, wanted);
        installed = true;
    }
    mg__mutex_unlock(&mutex);
    return status;
}

memguard_status memguard_crash_stack(void) { return give_stack(); }

memguard_status memguard_release_crash(void) {
    MG_REFUSE_FORKED();
    if (atomic_load(&owner) != 0) return mg__fail(MEMGUARD_ERR_STATE, 0, "the process is crashing");
    mg__mutex_lock(&mutex);
    const int error = installed ? release_all() : 0;
    if (error == 0) installed = false;
    mg__mutex_unlock(&mutex);
    mg__signal_stack_take();
    return error == 0 ? MEMGUARD_OK : fail(error);
}
