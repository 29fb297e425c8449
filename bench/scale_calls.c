/* How often calls go into the kernel: a child runs them between marks (calls of close with numbers that no descriptor has), and its parent,
 * which traces it, counts what the calling thread asks the kernel for between two marks. Leases begin and end meanwhile, so the
 * median of many batches counts: that is the steady state. */
#define _GNU_SOURCE
#include "scale.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 16, BATCHES = 21, MARK = 0x7f000000, OUTSIDE = -1 };
/* In the order of the rows in scale.c. */
enum {
    USE,
    COMPACT,
    TAKE,
    DESTROY,
    READ_SEALED,
    WRITE_SEALED,
    CLOSED_COPY,
    CLOSED_READ,
    CLOSED_USE,
    CLOSED_DESTROY,
    UNOPENED,
    MAPPED_COPY,
    MAPPED_READ,
    MAPPED_DESTROY,
    KINDS
};
_Static_assert((int)KINDS == (int)SCALE_VALUES, "a value for each");

/* ---- the child ---- */

static memguard_vault *vault;
static memguard_secret sealed, made[CALLS];

static void begin(int kind) { (void)syscall(SYS_close, MARK + kind); }
static void end(void) { (void)syscall(SYS_close, MARK + KINDS); }

static void take_some(uint32_t rest) {
    unsigned char bytes[SMALL];
    for (size_t i = 0; i < CALLS; i++) {
        scale_fill(bytes, i);
        bench_must(memguard_secret_take(vault, bytes, sizeof bytes, rest, &made[i]), "secret_take");
    }
}

static void destroy_some(void) {
    for (size_t i = 0; i < CALLS; i++)
        bench_must(memguard_secret_destroy(&made[i]), "secret_destroy");
}

static void unopened_some(void) {
    for (size_t i = 0; i < CALLS; i++) {
        bench_must(memguard_secret_create(vault, SMALL, MEMGUARD_CLOSED, &made[i]), "secret_create");
        bench_must(memguard_secret_destroy(&made[i]), "secret_destroy");
    }
}

static void view_some(uint32_t access) {
    size_t right = 0;
    for (size_t i = 0; i < CALLS; i++) {
        memguard_view view;
        bench_must(memguard_secret_acquire(made[i], access, &view), "secret_acquire");
        (void)scale_look(view.data, view.size, &right);
        bench_must(memguard_view_release(&view), "view_release");
    }
    if (right != CALLS) bench_fail("the bytes shown are not those that were put in");
}

static void use_some(void) {
    size_t right = 0;
    for (size_t i = 0; i < CALLS; i++)
        bench_must(memguard_secret_use(made[i], scale_look, &right, NULL), "secret_use");
    if (right != CALLS) bench_fail("the bytes shown are not those that were put in");
}

/* A lease begins here if none runs: its calls are not counted. */
static void start_lease(void) {
    size_t right = 0;
    bench_must(memguard_secret_use(sealed, scale_look, &right, NULL), "secret_use");
}

#define COUNTED(kind, what)                                                                                            \
    do {                                                                                                               \
        start_lease();                                                                                                 \
        begin(kind);                                                                                                   \
        what;                                                                                                          \
        end();                                                                                                         \
    } while (0)

static void one_batch(void) {
    COUNTED(TAKE, take_some(MEMGUARD_SEALED));
    COUNTED(USE, use_some());
    COUNTED(READ_SEALED, view_some(MEMGUARD_READ));
    COUNTED(WRITE_SEALED, view_some(MEMGUARD_WRITE));
    COUNTED(DESTROY, destroy_some());
    COUNTED(COMPACT, (take_some(MEMGUARD_COMPACT), view_some(MEMGUARD_READ), destroy_some()));
    COUNTED(CLOSED_COPY, take_some(MEMGUARD_CLOSED));
    COUNTED(CLOSED_READ, view_some(MEMGUARD_READ));
    COUNTED(CLOSED_USE, use_some());
    COUNTED(CLOSED_DESTROY, destroy_some());
    COUNTED(UNOPENED, unopened_some());
    COUNTED(MAPPED_COPY, take_some(MEMGUARD_MAPPED));
    COUNTED(MAPPED_READ, (view_some(MEMGUARD_READ), use_some()));
    COUNTED(MAPPED_DESTROY, destroy_some());
}

static _Noreturn void be_traced(void) {
    memguard_status status = MEMGUARD_OK;
    unsigned char bytes[SMALL];
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(1);
    vault = scale_vault();
    scale_fill(bytes, 0);
    status = memguard_secret_take(vault, bytes, sizeof bytes, MEMGUARD_SEALED, &sealed);
    bench_must(status, "secret_take");
    one_batch(); /* what the first calls make is not counted */
    one_batch();
    if (raise(SIGSTOP) != 0) _exit(1);
    for (unsigned i = 0; i < BATCHES; i++)
        one_batch();
    _exit(0);
}

/* ---- its parent ---- */

struct counts {
    int kind;
    double now;
    double all[KINDS][BATCHES];
    size_t batches[KINDS];
};

static void note_mark(struct counts *counts, int mark) {
    if (counts->kind != OUTSIDE && counts->batches[counts->kind] < BATCHES)
        counts->all[counts->kind][counts->batches[counts->kind]++] = counts->now;
    counts->kind = mark < KINDS ? mark : OUTSIDE;
    counts->now = 0;
}

static bool note_stop(struct counts *counts, pid_t child) {
    struct __ptrace_syscall_info info;
    memset(&info, 0, sizeof info);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) <= 0) return false;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return true;
    if (info.entry.nr == SYS_close && info.entry.args[0] >= MARK && info.entry.args[0] <= MARK + KINDS)
        note_mark(counts, (int)(info.entry.args[0] - MARK));
    else
        counts->now += 1;
    return true;
}

/* From the stop before the first batch to the end of the child. */
static bool follow(struct counts *counts, pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return false;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0)
        return false;
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) != 0) return false;
        if (waitpid(child, &status, 0) != child) return false;
        if (WIFEXITED(status)) return WEXITSTATUS(status) == 0;
        if (!WIFSTOPPED(status)) return false;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80) && !note_stop(counts, child)) return false;
    }
}

const char *scale_calls(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    static struct counts counts = {.kind = OUTSIDE};
    (void)setup;
    const pid_t child = fork();
    if (child < 0) bench_fail("fork");
    if (child == 0) be_traced();
    if (!follow(&counts, child)) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        return "a process cannot be traced here";
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        if (counts.batches[kind] != BATCHES) bench_fail("marks were missed");
        values[kind] = bench_quantile(counts.all[kind], BATCHES, 0.5) / CALLS;
    }
    return NULL;
}
