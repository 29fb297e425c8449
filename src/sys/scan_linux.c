/* The contract of scan.h on Linux. Sources: man-pages proc_pid_maps(5), proc_pid_status(5), proc_pid_task(5),
 * signal(7), sigaction(2), rt_tgsigqueueinfo(2), process_vm_readv(2), mincore(2), PAGEMAP_SCAN
 * (Documentation/admin-guide/mm/pagemap.rst). The idea of stopping threads by a signal whose frame holds their
 * registers: Boehm and Weiser, 1988. Must not know: what is looked for. */
#define _GNU_SOURCE
#include "sys/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The kernel is asked about this thread, not about the process: whose first thread may have ended, and with it what
 * /proc and process_vm_readv(2) know of the process by its number. */
static int this_thread(void) { return (int)syscall(SYS_gettid); }

/* ---- the table ---- */

static int real_open(const char *path) { return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0); }
static long real_read(int d, void *to, size_t n) { return syscall(SYS_read, d, to, n); }
static long real_list(int d, void *to, size_t n) { return syscall(SYS_getdents64, d, to, n); }
static long real_copy(void *to, uintptr_t from, size_t n) {
    const struct iovec local = {to, n}, remote = {(void *)from, n};
    return syscall(SYS_process_vm_readv, this_thread(), &local, 1UL, &remote, 1UL, 0UL);
}
static int real_in_core(uintptr_t low, size_t n, unsigned char *pages) { return mincore((void *)low, n, pages); }
static int real_action(int signal, const void *wanted, void *before) { return sigaction(signal, wanted, before); }
static int real_queue(int thread, int signal, void *info) {
    return (int)syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signal, info);
}

/* linux/fs.h of 6.7 and later. */
struct region {
    uint64_t start, end, categories;
};
struct query {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, wanted;
};
enum { PAGE_PRESENT = 1 << 3, PAGE_SWAPPED = 1 << 4, PAGE_ZERO = 1 << 5, REGIONS = 64 };

static long real_resident(int d, void *query) { return syscall(SYS_ioctl, d, _IOWR('f', 16, struct query), query); }

#define REAL_TABLE                                                                                                     \
    { real_open, real_read, real_list, real_copy, real_resident, real_in_core, real_action, real_queue, atexit }

#ifdef MEMGUARD_TESTING
struct mg__scan_table mg__scan_table = REAL_TABLE;
#define CALL mg__scan_table
#else
static const struct mg__scan_table table = REAL_TABLE;
#define CALL table
#endif

/* ---- lines of text files in /proc ---- */

/* The begin of each line is kept; what does not fit is skipped. */
struct lines {
    int descriptor;
    int error;
    size_t at, filled;
    char block[4096], line[256];
};

static int lines_open(struct lines *lines, const char *path) {
    lines->descriptor = CALL.open(path);
    lines->error = 0;
    lines->at = lines->filled = 0;
    return lines->descriptor < 0 ? errno : 0;
}

static bool fill_block(struct lines *lines) {
    const long got = CALL.read(lines->descriptor, lines->block, sizeof lines->block);
    if (got < 0) lines->error = errno;
    lines->at = 0;
    lines->filled = got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* false: the end, or an error. */
static bool lines_next(struct lines *lines) {
    size_t length = 0;
    bool any = false;
    while (lines->at < lines->filled || fill_block(lines)) {
        const char c = lines->block[lines->at++];
        any = true;
        if (c == '\n') break;
        if (length < sizeof lines->line - 1) lines->line[length++] = c;
    }
    lines->line[length] = '\0';
    return any;
}

static uint64_t parse(const char **at, unsigned base) {
    uint64_t value = 0;
    for (;; (*at)++) {
        const char c = **at;
        const unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                               : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                      : 16;
        if (digit >= base) return value;
        value = value * base + digit;
    }
}

/* What stands behind `name` in a line of a status file; NULL for another line. */
static const char *field(const char *line, const char *name) {
    const size_t length = strlen(name);
    if (strncmp(line, name, length) != 0) return NULL;
    line += length;
    while (*line == ' ' || *line == '\t')
        line++;
    return line;
}

/* ---- threads of our own ---- */

enum { BEING_FILLED = -1 };

static struct own {
    _Atomic int thread; /* 0: free */
    struct mg__sys_span stack;
} own[MG_SYS_MOST_OWN];

static MG_THREAD struct own *mine; /* so that leaving needs no system call */

static struct own *find_own(int thread) {
    for (size_t i = 0; i < MG_SYS_MOST_OWN; i++)
        if (atomic_load(&own[i].thread) == thread) return &own[i];
    return NULL;
}

/* Without a free place, or bounds, the thread counts as the host's, and a sweep gives up because it blocks the
 * signal. */
static void add_own(void) {
    struct mg__sys_span stack = {0, 0};
    if (!mg__sys_stack_bounds(&stack.low, &stack.high)) return;
    for (size_t i = 0; i < MG_SYS_MOST_OWN; i++) {
        int none = 0;
        if (!atomic_compare_exchange_strong(&own[i].thread, &none, BEING_FILLED)) continue;
        own[i].stack = stack;
        atomic_store(&own[i].thread, this_thread());
        mine = &own[i];
        return;
    }
}

void mg__sys_own_thread(bool is_ours) {
    if (is_ours && mine == NULL) add_own();
    if (is_ours || mine == NULL) return;
    atomic_store(&mine->thread, 0);
    mine = NULL;
}

void mg__sys_own_none(void) {
    for (size_t i = 0; i < MG_SYS_MOST_OWN; i++)
        atomic_store(&own[i].thread, 0);
}

size_t mg__sys_own_stacks(struct mg__sys_span spans[MG_SYS_MOST_OWN]) {
    size_t count = 0;
    for (size_t i = 0; i < MG_SYS_MOST_OWN; i++)
        if (atomic_load(&own[i].thread) > 0) spans[count++] = own[i].stack;
    return count;
}

/* ---- the list of threads ---- */

struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* Calls fn for each thread of the process but this one and our own; *count: how many there are with those. fn gives 0
 * to go on. */
static int each_thread(int tasks, int (*fn)(int thread, void *arg), void *arg, size_t *count) {
    _Alignas(struct entry) char block[4096];
    long got = 0;
    bool self_seen = false;
    *count = 0;
    if (syscall(SYS_lseek, tasks, 0L, SEEK_SET) != 0) return errno;
    while ((got = CALL.list(tasks, block, sizeof block)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry *entry = (const struct entry *)(const void *)(block + at);
            const char *name = entry->name;
            const int thread = (int)parse(&name, 10);
            at += entry->length;
            if (thread == 0) continue; /* "." and ".." */
            ++*count;
            if (thread == this_thread()) self_seen = true;
            if (thread == this_thread() || find_own(thread) != NULL) continue;
            const int error = fn(thread, arg);
            if (error != 0) return error;
        }
    }
    if (got < 0) return errno;
    return self_seen ? 0 : ENOSYS; /* another process's list, or another namespace's numbers */
}

/* How many threads the kernel counts at one moment. */
static int count_threads(size_t *count) {
    struct lines lines;
    const int error = lines_open(&lines, "/proc/thread-self/status");
    *count = 0;
    if (error != 0) return error == ENOENT ? ENOSYS : error;
    while (*count == 0 && lines_next(&lines)) {
        const char *value = field(lines.line, "Threads:");
        if (value != NULL) *count = (size_t)parse(&value, 10);
    }
    mg__sys_close(lines.descriptor);
    if (*count != 0) return 0;
    return lines.error != 0 ? lines.error : EIO;
}

/* ---- who blocks the signal ---- */

static bool has_ended(const char *state) { return *state == 'Z' || *state == 'X'; }

/* The first thread, when it ends before the others, stays in the list until they have ended, too. */
static bool leader_has_ended(void) {
    struct lines lines;
    bool ended = false;
    if (lines_open(&lines, "/proc/self/status") != 0) return false;
    while (lines_next(&lines)) {
        const char *state = field(lines.line, "State:");
        if (state == NULL) continue;
        ended = has_ended(state);
        break;
    }
    mg__sys_close(lines.descriptor);
    return ended;
}

struct readiness {
    int signal;
    int blocker; /* 0: none */
};

/* Of a thread that ends meanwhile nothing is read: it blocks nothing. */
static int look_at_mask(int thread, void *arg) {
    struct readiness *readiness = arg;
    struct lines lines;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    const int error = lines_open(&lines, path);
    if (error != 0) return error == ENOENT || error == ESRCH ? 0 : error;
    while (lines_next(&lines)) {
        const char *state = field(lines.line, "State:"), *mask = field(lines.line, "SigBlk:");
        if (state != NULL && has_ended(state)) break;
        if (mask == NULL) continue;
        if ((parse(&mask, 16) >> (readiness->signal - 1) & 1) != 0) readiness->blocker = thread;
        break;
    }
    mg__sys_close(lines.descriptor);
    return lines.error == ESRCH ? 0 : lines.error;
}

/* The C library blocks all signals for moments (a thread's begin and end, fork): so it is asked again. */
static int wait_until_ready(int tasks, uint64_t deadline_ns, struct readiness *readiness) {
    size_t count = 0;
    for (unsigned step = 0;; mg__sys_backoff(&step)) {
        readiness->blocker = 0;
        const int error = each_thread(tasks, look_at_mask, readiness, &count);
        if (error != 0 || readiness->blocker == 0) return error;
        if (mg__sys_now_ns() >= deadline_ns) return ETIMEDOUT;
    }
}

/* ---- the handler ---- */

enum { RED_ZONE = 128 };           /* below a stack pointer; System V ABI for AMD64 */
enum { PATIENCE_NS = 1000000000 }; /* beyond the deadline: then a stopped thread goes on by itself */

struct stopped {
    _Atomic int thread; /* last of all */
    struct mg__sys_span dead;
};

static struct {
    _Atomic uint32_t session; /* its number; 0: none */
    uint32_t sessions;
    int signal;
    struct sigaction before;
    uint64_t give_up_ns;
    struct stopped *threads;
    int *asked; /* threads that were sent the signal */
    size_t asked_count, capacity, bytes;
    _Atomic size_t count;
    _Atomic uint32_t inside; /* handlers at work */
} stop;

static uintptr_t interrupted_at(const ucontext_t *context) {
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.sp;
#else
    (void)context;
    return 0;
#endif
}

/* The signal's frame lies above `here`, except on an alternate stack. On a stack that is not the thread's own nothing
 * is dead. */
static struct mg__sys_span dead_part(uintptr_t here, uintptr_t interrupted) {
    struct mg__sys_span none = {0, 0};
    uintptr_t low = 0, high = 0;
    if (!mg__sys_stack_bounds_known(&low, &high)) return none;
    if (here > low && here < high) return (struct mg__sys_span){low, here};
    if (interrupted > low + RED_ZONE && interrupted < high) return (struct mg__sys_span){low, interrupted - RED_ZONE};
    return none;
}

static void note_stopped(struct mg__sys_span dead) {
    const size_t i = atomic_fetch_add(&stop.count, 1);
    if (i >= stop.capacity) return; /* the sweep sees that it is one too many, and gives up */
    stop.threads[i].dead = dead;
    atomic_store(&stop.threads[i].thread, this_thread());
}

/* Waits for the session's end. If whoever stopped us hangs in the kernel, perhaps waiting for one of us, all go on. */
static void wait_for_end(uint32_t session) {
    while (atomic_load(&stop.session) == session) {
        const uint64_t now = mg__sys_now_ns();
        uint32_t seen = session;
        if (now < stop.give_up_ns)
            mg__sys_wait(&stop.session, session, stop.give_up_ns - now);
        else if (atomic_compare_exchange_strong(&stop.session, &seen, 0))
            mg__sys_wake(&stop.session, true);
    }
}

static void on_stop(int signal, siginfo_t *info, void *context) {
    const int saved = errno;
    (void)signal;
    atomic_fetch_add(&stop.inside, 1);
    const uint32_t asked = info->si_code == SI_QUEUE ? (uint32_t)info->si_value.sival_int : 0;
    /* One that comes late, or from somebody else, has nothing to stop for. */
    if (asked != 0 && asked == atomic_load(&stop.session)) {
        note_stopped(dead_part((uintptr_t)__builtin_frame_address(0), interrupted_at(context)));
        wait_for_end(asked);
    }
    atomic_fetch_sub(&stop.inside, 1);
    errno = saved;
}

/* ---- stopping ---- */

size_t mg__sys_stopped_threads(void) { return mg__min_size(atomic_load(&stop.count), stop.capacity); }

struct mg__sys_span mg__sys_dead_stack(size_t number) {
    return stop.threads[number].dead;
}

static bool is_stopped(int thread) {
    const size_t count = mg__sys_stopped_threads();
    for (size_t i = 0; i < count; i++)
        if (atomic_load(&stop.threads[i].thread) == thread) return true;
    return false;
}

static bool is_asked(int thread) {
    for (size_t i = 0; i < stop.asked_count; i++)
        if (stop.asked[i] == thread) return true;
    return false;
}

static int ask(int thread) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = stop.signal;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = (int)atomic_load(&stop.session);
    if (stop.asked_count >= stop.capacity) return EAGAIN;
    if (CALL.queue(thread, stop.signal, &info) != 0) return errno == ESRCH ? 0 : errno; /* it has just ended */
    stop.asked[stop.asked_count++] = thread;
    return 0;
}

static int stop_one(int thread, void *arg) {
    int *running = arg;
    if (is_stopped(thread) || (thread == getpid() && leader_has_ended())) return 0;
    *running = thread;
    return is_asked(thread) ? 0 : ask(thread);
}

/* Until all in the list are stopped, and the kernel counts no more than were in the list: those that run no more make
 * no new ones. */
static int stop_all(int tasks, uint64_t deadline_ns, int *culprit) {
    size_t listed = 0, counted = 0;
    for (unsigned step = 0;; mg__sys_backoff(&step)) {
        *culprit = 0;
        int error = each_thread(tasks, stop_one, culprit, &listed);
        if (error == 0) error = count_threads(&counted);
        if (error != 0) return error;
        if (*culprit == 0 && counted == listed) return 0;
        if (atomic_load(&stop.count) > stop.capacity) return EAGAIN;
        if (mg__sys_now_ns() >= deadline_ns) return ETIMEDOUT;
    }
}

static int begin_session(int signal, uint64_t deadline_ns, size_t threads) {
    int error = 0;
    const size_t capacity = threads * 2 + 64;
    size_t bytes = capacity * (sizeof *stop.threads + sizeof *stop.asked);
    if (!mg__round_up(bytes, mg__sys_page(), &bytes)) return ENOMEM;
    void *map = mg__sys_map_table(bytes, &error);
    if (map == NULL) return error;
    stop.threads = map;
    stop.asked = (int *)(void *)(stop.threads + capacity);
    stop.capacity = capacity;
    stop.bytes = bytes;
    stop.asked_count = 0;
    stop.signal = signal;
    stop.give_up_ns = deadline_ns + PATIENCE_NS;
    atomic_store(&stop.count, 0);
    if (++stop.sessions == 0) stop.sessions = 1;
    atomic_store(&stop.session, stop.sessions);
    return 0;
}

static void end_session(void) {
    unsigned step = 0;
    /* Handlers are short from here on. One that has not begun yet will find no session. */
    while (atomic_load(&stop.inside) != 0)
        mg__sys_backoff(&step);
    (void)mg__sys_unmap(stop.threads, stop.bytes); /* a failure costs address space only */
    stop.threads = NULL;
}

static bool is_default(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == SIG_DFL;
}

/* Looked at first, so that another's handler is not taken away even for a moment. Our own: another thread's sweep is at
 * work. */
static int look_at_signal(int signal) {
    struct sigaction now;
    if (CALL.action(signal, NULL, &now) != 0) return errno;
    const bool ours = (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_stop;
    return ours || is_default(&now) ? 0 : EBUSY;
}

static int take_signal(int signal) {
    struct sigaction ours;
    const int error = look_at_signal(signal);
    if (error != 0) return error;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_stop;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    (void)sigfillset(&ours.sa_mask); /* cannot fail for a valid pointer */
    if (CALL.action(signal, &ours, &stop.before) != 0) return errno;
    if (is_default(&stop.before)) return 0;
    (void)CALL.action(signal, &stop.before, NULL); /* it came between the two: valid, since it was there */
    return EBUSY;
}

/* A signal still on its way to a thread that blocks it would kill the process under the default action: SIG_IGN throws
 * away what is pending (POSIX.1-2017, 2.4.3). */
static void give_signal_back(int signal) {
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    /* Neither can fail for a signal whose action was just set. */
    (void)sigaction(signal, &ignore, NULL);
    (void)sigaction(signal, &stop.before, NULL);
}

static bool resume(void) {
    uint32_t session = stop.sessions;
    const bool all_along = atomic_compare_exchange_strong(&stop.session, &session, 0);
    mg__sys_wake(&stop.session, true);
    end_session();
    give_signal_back(stop.signal);
    return all_along;
}

bool mg__sys_resume_threads(void) {
    const bool all_along = resume();
    mg__sys_let_forks();
    return all_along;
}

/* With forks held: a child must not inherit the handler. */
static int stop_held(int tasks, int signal, uint64_t deadline_ns, int *culprit) {
    size_t threads = 0;
    int error = count_threads(&threads);
    if (error == 0) error = begin_session(signal, deadline_ns, threads);
    if (error != 0) return error;
    error = take_signal(signal);
    if (error != 0) {
        atomic_store(&stop.session, 0);
        end_session();
        return error;
    }
    error = stop_all(tasks, deadline_ns, culprit);
    if (error != 0) (void)resume(); /* whether they had gone on already does not matter: nothing was looked at */
    return error;
}

int mg__sys_stop_threads(int signal, uint64_t deadline_ns, int *culprit) {
    struct readiness readiness = {signal, 0};
    *culprit = 0;
    const int tasks = CALL.open("/proc/self/task");
    if (tasks < 0) return errno == ENOENT ? ENOSYS : errno;
    int error = look_at_signal(signal);
    if (error == 0) error = wait_until_ready(tasks, deadline_ns, &readiness);
    *culprit = readiness.blocker;
    if (error == 0) {
        mg__sys_hold_forks();
        error = stop_held(tasks, signal, deadline_ns, culprit);
        if (error != 0) mg__sys_let_forks();
    }
    mg__sys_close(tasks);
    return error;
}

int mg__sys_stop_signal(int wanted) {
    if (wanted == 0) return SIGRTMAX - 1;
    return wanted >= SIGRTMIN && wanted <= SIGRTMAX ? wanted : 0;
}

/* ---- memory ---- */

int mg__sys_copy_memory(void *to, uintptr_t from, size_t bytes, size_t *got) {
    const long copied = CALL.copy(to, from, bytes);
    *got = copied > 0 ? (size_t)copied : 0;
    return copied < 0 && errno != EFAULT ? errno : 0;
}

struct walk {
    bool (*fn)(struct mg__sys_span mapping, struct mg__sys_span part, void *arg);
    void *arg;
    int pagemap; /* -1: not to be had */
};

static bool give_part(struct walk *walk, struct mg__sys_span mapping, uintptr_t low, uintptr_t high) {
    return walk->fn(mapping, (struct mg__sys_span){low, high}, walk->arg);
}

/* Private memory: what is neither there nor swapped out was never written. */
static int give_private(struct walk *walk, struct mg__sys_span mapping) {
    struct region regions[REGIONS];
    struct query query = {.size = sizeof query,
                          .start = mapping.low,
                          .end = mapping.high,
                          .vec = (uintptr_t)regions,
                          .vec_len = REGIONS,
                          .inverted = PAGE_ZERO,
                          .mask = PAGE_ZERO,
                          .anyof = PAGE_PRESENT | PAGE_SWAPPED,
                          .wanted = PAGE_PRESENT | PAGE_SWAPPED};
    while (query.start < mapping.high) {
        const long count = walk->pagemap < 0 ? -1 : CALL.resident(walk->pagemap, &query);
        /* Before Linux 6.7, or not allowed: all of the rest. */
        if (count < 0) return give_part(walk, mapping, query.start, mapping.high) ? 0 : ECANCELED;
        for (long i = 0; i < count; i++)
            if (!give_part(walk, mapping, regions[i].start, regions[i].end)) return ECANCELED;
        if (query.walk_end <= query.start) return EIO;
        query.start = query.walk_end;
    }
    return 0;
}

/* Shared memory: what is not in memory is left out, since reading a hole would fill it. */
static int give_shared(struct walk *walk, struct mg__sys_span mapping) {
    unsigned char in_core[1024];
    const size_t page = mg__sys_page();
    for (uintptr_t low = mapping.low; low < mapping.high;) {
        const size_t pages = mg__min_size((mapping.high - low) / page, sizeof in_core);
        if (CALL.in_core(low, pages * page, in_core) != 0) memset(in_core, 1, pages);
        for (size_t i = 0; i < pages; i++, low += page)
            if ((in_core[i] & 1) != 0 && !give_part(walk, mapping, low, low + page)) return ECANCELED;
    }
    return 0;
}

static bool begins_with(const char *text, const char *begin) { return strncmp(text, begin, strlen(begin)) == 0; }

/* "low-high perms offset device inode   name" */
static int give_mapping(struct walk *walk, const char *line) {
    struct mg__sys_span mapping;
    mapping.low = (uintptr_t)parse(&line, 16);
    line += *line == '-';
    mapping.high = (uintptr_t)parse(&line, 16);
    line += *line == ' ';
    if (strlen(line) < 5) return EIO;
    const bool readable = line[0] == 'r', writable = line[1] == 'w', shared = line[3] == 's';
    line += 5;
    (void)parse(&line, 16); /* offset */
    line += *line == ' ';
    (void)parse(&line, 16); /* device */
    line += *line == ':';
    (void)parse(&line, 16);
    line += *line == ' ';
    const bool of_file = parse(&line, 10) != 0;
    while (*line == ' ')
        line++;
    const bool device =
        begins_with(line, "/dev/") && !begins_with(line, "/dev/shm/") && !begins_with(line, "/dev/zero");
    if (!readable || (!writable && of_file) || device || begins_with(line, "[v"))
        return 0; /* [vvar], [vdso], [vsyscall] */
    return shared ? give_shared(walk, mapping) : give_private(walk, mapping);
}

int mg__sys_each_memory(bool (*fn)(struct mg__sys_span mapping, struct mg__sys_span part, void *arg), void *arg) {
    struct walk walk = {fn, arg, -1};
    struct lines lines;
    int error = lines_open(&lines, "/proc/thread-self/maps");
    if (error != 0) return error;
    walk.pagemap = CALL.open("/proc/thread-self/pagemap"); /* absent or not allowed: see give_private */
    while (error == 0 && lines_next(&lines))
        error = give_mapping(&walk, lines.line);
    if (error == 0) error = lines.error;
    if (walk.pagemap >= 0) mg__sys_close(walk.pagemap);
    mg__sys_close(lines.descriptor);
    return error;
}

/* ---- exit ---- */

int mg__sys_at_exit(void (*fn)(void)) { return CALL.at_exit(fn) == 0 ? 0 : ENOMEM; }
