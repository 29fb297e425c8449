/* The contract of sys.h on Linux. Sources: man-pages memfd_secret(2), madvise(2), mlock(2), mremap(2), futex(2),
 * getrandom(2), capabilities(7), proc(5).
 * Must not know: slots, keys, handles. */
#define _GNU_SOURCE
#include "sys/scan.h"
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#define MADV_KEEPONFORK 19
#endif

/* ---- the table ---- */

static void *real_mmap(void *a, size_t n, int p, int f, int d, long o) { return mmap(a, n, p, f, d, o); }
static void *real_mremap(void *a, size_t n, size_t m, int f, void *to) { return mremap(a, n, m, f, to); }
static int real_memfd_secret(unsigned flags) { return (int)syscall(SYS_memfd_secret, flags); }
static int real_ftruncate(int d, long n) { return ftruncate(d, n); }
/* Not by the library's wrappers where those are cancellation points: nothing of ours may be left half done. */
static long real_getrandom(void *p, size_t n, unsigned f) { return syscall(SYS_getrandom, p, n, f); }
static int real_close(int d) { return (int)syscall(SYS_close, d); }
static int real_getrlimit(int what, void *limit) { return getrlimit((__rlimit_resource_t)what, limit); }
static int real_setrlimit(int what, const void *limit) { return setrlimit((__rlimit_resource_t)what, limit); }
static int real_thread_create(void *thread, void *(*run)(void *), void *arg) {
    return pthread_create(thread, NULL, run, arg);
}

static int real_membarrier(int command) { return (int)syscall(SYS_membarrier, command, 0, 0); }

#define REAL_TABLE                                                                                                     \
    {                                                                                                                  \
        real_mmap, munmap, mprotect, real_mremap, madvise, mlock, real_memfd_secret, real_ftruncate, real_close,       \
            real_getrandom, real_getrlimit, real_setrlimit, real_thread_create, real_membarrier                        \
    }

#ifdef MEMGUARD_TESTING
struct mg__sys_table mg__sys_table = REAL_TABLE;
#define CALL mg__sys_table
#else
static const struct mg__sys_table table = REAL_TABLE;
#define CALL table
#endif

/* ---- memory ---- */

static _Atomic size_t page_bytes;

size_t mg__sys_page(void) {
    size_t bytes = atomic_load_explicit(&page_bytes, memory_order_relaxed);
    if (MG_LIKELY(bytes != 0)) return bytes;
    const long told = sysconf(_SC_PAGESIZE);
    bytes = told > 0 ? (size_t)told : 4096;
    atomic_store_explicit(&page_bytes, bytes, memory_order_relaxed);
    return bytes;
}

static void *map_anonymous(size_t bytes, int protection, int flags, int *error) {
    void *address = CALL.mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    *error = address == MAP_FAILED ? errno : 0;
    return address == MAP_FAILED ? NULL : address;
}

void *mg__sys_reserve(size_t bytes, int *error) { return map_anonymous(bytes, PROT_NONE, MAP_NORESERVE, error); }

void *mg__sys_map_table(size_t bytes, int *error) {
    return map_anonymous(bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE, error);
}

static int result(int returned) { return returned == 0 ? 0 : errno; }

/* Advice that can be unknown to a kernel built without the feature: then there is nothing to advise against. */
static int advise_if_known(void *address, size_t bytes, int advice) {
    if (CALL.madvise(address, bytes, advice) == 0 || errno == EINVAL) return 0;
    return errno;
}

void *mg__sys_map_sparse_table(size_t bytes, int *error) {
    void *address = mg__sys_map_table(bytes, error);
    if (address == NULL) return NULL;
    *error = result(CALL.madvise(address, bytes, MADV_DONTDUMP));
    if (*error == 0) return address;
    (void)mg__sys_unmap(address, bytes); /* at worst address space stays */
    return NULL;
}

static size_t whole_pages(size_t bytes) { return (bytes + mg__sys_page() - 1) & ~(mg__sys_page() - 1); }

/* Address space for more than is needed; what is too much goes back. (Refused: at worst address space stays.) */
static void *reserve_aligned(size_t bytes, size_t alignment, int *error) {
    unsigned char *low = mg__sys_reserve(bytes + alignment, error);
    if (low == NULL) return NULL;
    const size_t before = (size_t)(-(uintptr_t)low & (alignment - 1));
    if (before != 0) (void)mg__sys_unmap(low, before);
    if (before != alignment) (void)mg__sys_unmap(low + before + bytes, alignment - before);
    return low + before;
}

void *mg__sys_map_aligned_table(size_t bytes, size_t alignment, int *error) {
    bytes = whole_pages(bytes);
    void *address = reserve_aligned(bytes, alignment, error);
    if (address == NULL) return NULL;
    *error = mg__sys_private_map(address, bytes);
    if (*error == 0) *error = result(CALL.madvise(address, bytes, MADV_DONTDUMP));
    if (*error == 0) return address;
    (void)mg__sys_unmap(address, bytes); /* as above */
    return NULL;
}

int mg__sys_huge_pages(void *address, size_t bytes, bool wanted) {
    return advise_if_known(address, whole_pages(bytes), wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

int mg__sys_unmap(void *address, size_t bytes) { return result(CALL.munmap(address, bytes)); }

int mg__sys_protect(void *address, size_t bytes, int access) {
    static const int protections[] = {PROT_NONE, PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE};
    return result(CALL.mprotect(address, bytes, protections[access & 3]));
}

int mg__sys_secret_open(size_t bytes, int *error) {
    const int descriptor = CALL.memfd_secret(O_CLOEXEC);
    if (descriptor < 0) {
        *error = errno == EPERM || errno == EACCES ? ENOSYS : errno; /* a filter's refusal is an absence, too */
        return -1;
    }
    if (CALL.ftruncate(descriptor, (long)bytes) != 0) {
        *error = errno;
        mg__sys_close(descriptor);
        return -1;
    }
    *error = 0;
    return descriptor;
}

bool mg__sys_is_absent(int error) { return error == ENOSYS; }

static void touch(void *address, size_t bytes) {
    for (size_t i = 0; i < bytes; i += mg__sys_page())
        ((volatile unsigned char *)address)[i] = 0;
}

/* Newer kernels (6.1.192 for one) charge secret memory when a page is first touched, to all processes of the user together, and send
 * SIGBUS over the limit. Touched by a system call, that is EFAULT. */
static int touch_secret(unsigned char *address, size_t bytes) {
    for (size_t i = 0; i < bytes; i += mg__sys_page())
        if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, address + i) != 0) return EAGAIN;
    return 0;
}

int mg__sys_secret_map(int descriptor, size_t offset, void *address, size_t bytes) {
    void *mapped = CALL.mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, (long)offset);
    if (mapped == MAP_FAILED) return errno;
    return touch_secret(address, bytes);
}

void mg__sys_close(int descriptor) {
    /* Nothing was written through the descriptor, so a failing close loses nothing; Linux frees it in any case. */
    (void)CALL.close(descriptor);
}

int mg__sys_zero_on_fork(void *address, size_t bytes) { return result(CALL.madvise(address, bytes, MADV_WIPEONFORK)); }

int mg__sys_private_advise(void *address, size_t bytes) {
    int error = result(CALL.madvise(address, bytes, MADV_DONTDUMP));
    if (error != 0) return error;
    error = mg__sys_zero_on_fork(address, bytes);
    /* Before 4.14 there is no WIPEONFORK: then the pages are left out of children. */
    if (error == EINVAL) error = result(CALL.madvise(address, bytes, MADV_DONTFORK));
    if (error == 0) error = advise_if_known(address, bytes, MADV_NOHUGEPAGE);
    if (error == 0) error = advise_if_known(address, bytes, MADV_UNMERGEABLE);
    return error;
}

int mg__sys_copied_advise(void *address, size_t bytes) {
    int error = result(CALL.madvise(address, bytes, MADV_DONTDUMP));
    if (error == 0) error = advise_if_known(address, bytes, MADV_NOHUGEPAGE);
    if (error == 0) error = advise_if_known(address, bytes, MADV_UNMERGEABLE);
    return error;
}

int mg__sys_copy_on_fork(void *address, size_t bytes) { return result(CALL.madvise(address, bytes, MADV_KEEPONFORK)); }

/* Writes to each page what is there already; atomic, since the host may be writing to it. */
static void take_frames(void *address, size_t bytes) {
    for (size_t i = 0; i < bytes; i += mg__sys_page())
        atomic_fetch_or_explicit((_Atomic unsigned char *)address + i, 0, memory_order_relaxed);
}

/* Writable first: mlock of pages without access does not make them present (mlock(2): ENOMEM). */
int mg__sys_own(void *address, size_t bytes, int access, bool locked) {
    int error = mg__sys_protect(address, bytes, MG_ACCESS_WRITE);
    if (error != 0) return error;
    if (locked) error = result(CALL.mlock(address, bytes));
    if (error == 0) take_frames(address, bytes);
    const int closed = access == MG_ACCESS_WRITE ? 0 : mg__sys_protect(address, bytes, access);
    return error != 0 ? error : closed;
}

int mg__sys_private_map(void *address, size_t bytes) {
    return result(CALL.mprotect(address, bytes, PROT_READ | PROT_WRITE));
}

int mg__sys_secret_advise(void *address, size_t bytes) {
    const int error = result(CALL.madvise(address, bytes, MADV_DONTFORK));
    if (error != 0) return error;
    /* secretmem cannot be dumped anyway; the flag keeps dumpers from trying. */
    return advise_if_known(address, bytes, MADV_DONTDUMP);
}

int mg__sys_lock(void *address, size_t bytes) {
    const int error = result(CALL.mlock(address, bytes));
    if (error != 0) return error;
    touch(address, bytes);
    return 0;
}

/* Where the old mapping keeps the charge for locked memory and the new one takes its own, Linux (seen on 6.18)
 * forgets one of the two after MREMAP_DONTUNMAP of a locked range: the process would pay for ever. So shared pages
 * are mapped a second time (old size 0, mremap(2)), and private ones are unlocked first, for the microseconds until
 * they are wiped. */
static void *move_pages(void *address, size_t bytes, bool shared, bool locked) {
    void *moved = MAP_FAILED;
    if (shared) moved = CALL.mremap(address, 0, bytes, MREMAP_MAYMOVE, NULL);
    if (moved != MAP_FAILED) return moved;
    /* Not shared, or no lockable memory left for the second mapping. A refused munlock costs the charge only. */
    if (locked) (void)munlock(address, bytes);
    return CALL.mremap(address, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
}

void *mg__sys_take_away(void *address, size_t bytes, bool shared, bool locked, int *error) {
    *error = mg__sys_protect(address, bytes, MG_ACCESS_NONE);
    if (*error != 0) return NULL;
    void *moved = move_pages(address, bytes, shared, locked);
    if (moved == MAP_FAILED) {
        *error = errno;
        return NULL;
    }
    *error = mg__sys_protect(moved, bytes, MG_ACCESS_WRITE);
    return moved;
}

int mg__sys_blank(void *address, size_t bytes) {
    void *mapped = CALL.mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return mapped == MAP_FAILED ? errno : 0;
}

/* ---- limits ---- */

static bool may_lock_without_limit(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
    if (syscall(SYS_capget, &header, data) != 0) return false;
    return (data[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

uint64_t mg__sys_lock_limit(void) {
    struct rlimit limit = {0, 0};
    if (may_lock_without_limit()) return UINT64_MAX;
    if (CALL.getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 0;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
}

int mg__sys_raise_lock_limit(void) {
    struct rlimit limit = {0, 0};
    if (CALL.getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return errno;
    if (limit.rlim_cur == limit.rlim_max) return 0;
    limit.rlim_cur = limit.rlim_max;
    return result(CALL.setrlimit(RLIMIT_MEMLOCK, &limit));
}

static int open_to_read(const char *path) { return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0); }

/* Reads a small file of /proc or /sys; false when it cannot be read. */
static bool read_text(const char *path, char *text, size_t bytes) {
    const int descriptor = open_to_read(path);
    if (descriptor < 0) return false;
    const long got = syscall(SYS_read, descriptor, text, bytes - 1);
    mg__sys_close(descriptor);
    if (got < 0) return false;
    text[got] = '\0';
    return true;
}

static uint64_t count_lines(const char *path) {
    char block[4096];
    uint64_t lines = 0;
    const int descriptor = open_to_read(path);
    if (descriptor < 0) return 0;
    for (long got; (got = syscall(SYS_read, descriptor, block, sizeof block)) > 0;)
        for (long i = 0; i < got; i++)
            lines += block[i] == '\n';
    mg__sys_close(descriptor);
    return lines;
}

uint64_t mg__sys_memory_available(void) {
    char text[1024];
    if (!read_text("/proc/meminfo", text, sizeof text)) return UINT64_MAX;
    const char *line = strstr(text, "MemAvailable:");
    return line == NULL ? UINT64_MAX : strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024;
}

bool mg__sys_space_exhausted(size_t needed, uint64_t *allowed) {
    char text[64];
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (CALL.getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
    if (!read_text("/proc/self/statm", text, sizeof text)) return false;
    *allowed = limit.rlim_cur;
    return strtoull(text, NULL, 10) * mg__sys_page() + needed + 8 * mg__sys_page() > limit.rlim_cur;
}

enum { MOST_MAPPINGS_AT_ONCE = 256 };

bool mg__sys_maps_exhausted(uint64_t *maps, uint64_t *allowed) {
    char text[64];
    *maps = count_lines("/proc/self/maps");
    *allowed = read_text("/proc/sys/vm/max_map_count", text, sizeof text) ? strtoull(text, NULL, 10) : 65530;
    /* What failed in the middle has given back by now what it had: pages of a chunk and the guards between them. */
    return *maps + MOST_MAPPINGS_AT_ONCE >= *allowed;
}

bool mg__sys_hibernation_configured(void) {
    char text[256];
    if (!read_text("/sys/power/resume", text, sizeof text)) return false;
    if (strncmp(text, "0:0", 3) == 0) return false;
    if (!read_text("/proc/swaps", text, sizeof text)) return false;
    const char *header_end = strchr(text, '\n');
    return header_end != NULL && header_end[1] != '\0';
}

unsigned mg__sys_processors(void) {
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 && count < 4096 ? (unsigned)count : 1;
}

const char *mg__sys_environment(const char *name) { return secure_getenv(name); }

/* ---- time, randomness ---- */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now = {0, 0};
    /* Cannot fail for a clock that exists and a valid pointer (clock_gettime(2)). */
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t mg__sys_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t mg__sys_boottime_ms(void) { return clock_ns(CLOCK_BOOTTIME) / 1000000U; }

int mg__sys_random(void *p, size_t bytes) {
    unsigned char *at = p;
    while (bytes > 0) {
        const long got = CALL.getrandom(at, mg__min_size(bytes, 1U << 20), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got < 0 ? errno : EIO;
        at += got;
        bytes -= (size_t)got;
    }
    return 0;
}

void mg__sys_complain(const char *line) {
    const size_t length = strlen(line);
    /* The process is about to abort: there is nowhere left to report that the report failed. */
    const long written = syscall(SYS_write, STDERR_FILENO, line, length);
    (void)written;
}

_Noreturn void mg__sys_abort(void) { abort(); }

/* ---- threads ---- */

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout) {
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

/* ---- fences ---- */

_Atomic bool mg__sys_light_fences;

void mg__sys_fence_prepare(void) {
    atomic_store(&mg__sys_light_fences, CALL.membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0);
}

/* Refused after it was granted: by a filter that the host has installed meanwhile (seccomp(2)). From now on the light side fences
 * for itself. What it stored before lies in a store buffer at worst, for nanoseconds; there is nothing to wait for that tells, so
 * it gets milliseconds. */
static void let_stores_drain(void) {
    const struct timespec nap = {.tv_nsec = 5000000};
    atomic_store(&mg__sys_light_fences, false);
    (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
}

void mg__sys_fence_heavy(void) {
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load(&mg__sys_light_fences)) return;
    if (CALL.membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) let_stores_drain();
}

void mg__sys_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000U), (long)(timeout_ns % 1000000000U)};
    /* EAGAIN, EINTR and ETIMEDOUT all mean: look at the word again, which every caller does. */
    (void)futex(word, FUTEX_WAIT, expected, timeout_ns == UINT64_MAX ? NULL : &timeout);
}

void mg__sys_wake(_Atomic uint32_t *word, bool all) { (void)futex(word, FUTEX_WAKE, all ? INT_MAX : 1, NULL); }

/* Drepper, "Futexes are tricky", mutex 2. */
void mg__mutex_lock(struct mg__mutex *mutex) {
    uint32_t seen = 0;
    if (MG_LIKELY(atomic_compare_exchange_strong_explicit(&mutex->state, &seen, 1, memory_order_acquire,
                                                          memory_order_relaxed)))
        return;
    if (seen != 2) seen = atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire);
    while (seen != 0) {
        mg__sys_wait(&mutex->state, 2, UINT64_MAX);
        seen = atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire);
    }
}

void mg__mutex_unlock(struct mg__mutex *mutex) {
    if (atomic_exchange_explicit(&mutex->state, 0, memory_order_release) == 2) mg__sys_wake(&mutex->state, false);
}

static void pause_processor(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

void mg__sys_backoff(unsigned *step) {
    const unsigned now = (*step)++;
    if (now < 64) {
        pause_processor();
    } else if (now < 96) {
        (void)sched_yield(); /* always succeeds on Linux */
    } else {
        const struct timespec nap = {0, now < 200 ? 50000 : 500000};
        (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap,
                      NULL); /* cut short by a signal: the caller looks again */
    }
}

int mg__sys_cancel_off(void) {
    int before = 0;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); /* fails only for an unknown state */
    return before;
}

void mg__sys_cancel_restore(int before) { (void)pthread_setcancelstate(before, NULL); }

struct mg__sys_thread {
    pthread_t id;
    void (*run)(void *);
    void *arg;
    _Atomic uint32_t has_begun;
};

static void *thread_main(void *arg) {
    struct mg__sys_thread *thread = arg;
    mg__sys_own_thread(true);
    atomic_store(&thread->has_begun, 1);
    mg__sys_wake(&thread->has_begun, true);
    thread->run(thread->arg);
    mg__sys_own_thread(false);
    return NULL;
}

/* A fault whose signal is blocked kills without a handler, and a thread that blocks it cannot be stopped by it. */
static void block_most(sigset_t *set) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGTRAP};
    (void)sigfillset(set); /* these two cannot fail for a valid set and number */
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        (void)sigdelset(set, crashes[i]);
}

int mg__sys_thread_start(void (*run)(void *), void *arg, struct mg__sys_thread **thread) {
    sigset_t most, saved;
    struct mg__sys_thread *made = malloc(sizeof *made);
    if (made == NULL) return ENOMEM;
    made->run = run;
    made->arg = arg;
    atomic_init(&made->has_begun, 0);
    block_most(&most);
    (void)pthread_sigmask(SIG_SETMASK, &most, &saved); /* fails only for an unknown `how` */
    const int error = CALL.thread_create(&made->id, thread_main, made);
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (error != 0) {
        free(made);
        return error;
    }
    /* The calls that a thread makes once, ours and the C library's, must be over before the host sets a filter. */
    while (atomic_load(&made->has_begun) == 0)
        mg__sys_wait(&made->has_begun, 0, UINT64_MAX);
    *thread = made;
    return 0;
}

void mg__sys_thread_join(struct mg__sys_thread *thread) {
    const int cancel = mg__sys_cancel_off();
    /* EDEADLK, EINVAL and ESRCH would be errors of ours: the thread is joinable, not us, and joined once. */
    (void)pthread_join(thread->id, NULL);
    free(thread);
    mg__sys_cancel_restore(cancel);
}

static pthread_key_t exit_key;

int mg__sys_thread_exit_key(void (*leave)(void *)) { return pthread_key_create(&exit_key, leave); }

int mg__sys_thread_exit_set(void *value) { return pthread_setspecific(exit_key, value); }

_Static_assert(sizeof(sigset_t) <= sizeof(struct mg__sys_signals), "room for a signal mask");

void mg__sys_signals_block(struct mg__sys_signals *saved) {
    sigset_t all, old;
    (void)sigfillset(&all);                         /* cannot fail for a valid pointer */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* fails only for an unknown `how` */
    memcpy(saved->mask, &old, sizeof old);
}

void mg__sys_signals_restore(const struct mg__sys_signals *saved) {
    sigset_t old;
    memcpy(&old, saved->mask, sizeof old);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static MG_THREAD uintptr_t stack_low, stack_high;

bool mg__sys_stack_bounds(uintptr_t *low, uintptr_t *high) {
    if (stack_high == 0) {
        pthread_attr_t attributes;
        void *base = NULL;
        size_t bytes = 0;
        const int cancel = mg__sys_cancel_off(); /* it reads a file */
        const int unknown = pthread_getattr_np(pthread_self(), &attributes);
        mg__sys_cancel_restore(cancel);
        if (unknown != 0) return false;
        const int error = pthread_attr_getstack(&attributes, &base, &bytes);
        (void)pthread_attr_destroy(&attributes); /* frees a CPU set at most; always 0 */
        if (error != 0) return false;
        stack_low = (uintptr_t)base;
        atomic_signal_fence(memory_order_seq_cst); /* a signal handler that sees the one sees the other */
        stack_high = (uintptr_t)base + bytes;
    }
    *low = stack_low;
    *high = stack_high;
    return true;
}

bool mg__sys_stack_bounds_known(uintptr_t *low, uintptr_t *high) {
    *high = stack_high;
    atomic_signal_fence(memory_order_seq_cst);
    *low = stack_low;
    return *high != 0;
}

/* ---- fork ---- */

_Atomic uint32_t *_Atomic mg__sys_fork_word;
bool mg__sys_fork_word_trusted;
static const _Atomic uint32_t says_nothing = MG_FORK_CHILD;
const _Atomic uint32_t *_Atomic mg__sys_owner_word = &says_nothing;
static pid_t owner;

bool mg__sys_fork_by_pid(void) { return getpid() != owner; }

static struct mg__mutex mark_mutex;

static struct mg__mutex fork_turn; /* forks, one after another */
static MG_THREAD unsigned forking; /* this thread is in a fork; 2: and in another one, by a signal handler */

bool mg__sys_is_forking(void) { return forking != 0; }

/* Between the making of shared pages and the advice that keeps them out of children there must be no fork. Signals are
 * blocked, or a handler that forks would wait for the thread that it interrupted. The thread that forks need not ask
 * (a fork handler of the host's may call us). */
static struct mg__mutex no_fork;
static struct mg__sys_signals before_no_fork; /* under no_fork */

void mg__sys_hold_forks(void) {
    struct mg__sys_signals saved;
    unsigned step = 0;
    if (forking != 0) return;
    mg__sys_signals_block(&saved);
    while (!mg__mutex_try(&no_fork)) {
        /* Not with signals blocked: a sweep, which may have it, waits for those who block them. */
        mg__sys_signals_restore(&saved);
        mg__sys_backoff(&step);
        mg__sys_signals_block(&saved);
    }
    before_no_fork = saved;
}

void mg__sys_let_forks(void) {
    if (forking != 0) return;
    const struct mg__sys_signals saved = before_no_fork;
    mg__mutex_unlock(&no_fork);
    mg__sys_signals_restore(&saved);
}

void (*_Atomic mg__sys_on_fork)(enum mg__fork_event event);

static void tell(enum mg__fork_event event) {
    void (*on_fork)(enum mg__fork_event) = atomic_load(&mg__sys_on_fork);
    if (on_fork != NULL) on_fork(event);
}

/* The turn first, then whoever must come to rest, who may need no_fork for that. */
static void before_fork(void) {
    if (forking++ != 0) return;
    mg__mutex_lock(&fork_turn);
    tell(MG_FORK_PREPARES);
    mg__mutex_lock(&no_fork);
}

static void after_fork(enum mg__fork_event event) {
    if (forking == 0 || --forking != 0) return; /* 0: registered while a fork was under way */
    mg__mutex_unlock(&no_fork);
    tell(event);
    mg__mutex_unlock(&fork_turn);
}

static void after_fork_in_parent(void) { after_fork(MG_FORK_IN_PARENT); }
static void after_fork_in_child(void) { after_fork(MG_FORK_IN_CHILD); }

static int make_mark(void) {
    int error = 0;
    if (atomic_load(&mg__sys_fork_word) != NULL) return 0;
    error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    if (error != 0) return error;
    _Atomic uint32_t *word = mg__sys_map_table(mg__sys_page(), &error);
    if (word == NULL) return error;
    mg__sys_fork_word_trusted = mg__sys_zero_on_fork((void *)word, mg__sys_page()) == 0;
    owner = getpid();
    atomic_store(word, MG_FORK_OWNER);
    if (mg__sys_fork_word_trusted) atomic_store_explicit(&mg__sys_owner_word, word, memory_order_release);
    atomic_store_explicit(&mg__sys_fork_word, word, memory_order_release); /* publishes the rest */
    return 0;
}

void mg__sys_fork_adopt(void) {
    owner = getpid();
    mg__sys_own_none();
}

int mg__sys_fork_mark(void) {
    mg__mutex_lock(&mark_mutex);
    const int error = make_mark();
    mg__mutex_unlock(&mark_mutex);
    return error;
}
