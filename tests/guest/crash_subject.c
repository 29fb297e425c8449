/* A program that crashes while several threads hold copies of one secret, and the search for these copies in a core file: by file,
 * or from standard input as a handler in core_pattern gets it. Needs nothing but the library: it may be linked statically.
 *
 *   crash_subject off|on|core THREADS CRASH SEED [wait]    crashes; off: no handler; on: memguard_catch_crash(0);
 *                                                          core: memguard_catch_crash(MEMGUARD_CRASH_CORE)
 *   crash_subject search SEED FILE|- [OUT]                 prints (to OUT) "marker N longest N control N bytes N"
 *
 * CRASH: segv bus abrt ill fpe sys trap overrun overflow. READY and a line feed come when all threads hold the secret; `wait`:
 * then it goes on when a byte can be read. The 64-byte marker is derived from SEED and exists only as a secret: sealed, in a
 * view and a compact slot, in `use` pages, and, in each thread, in the general and vector registers. The control is
 * derived likewise and lies in ordinary memory: a core without it is no evidence. Exits with 2 when there is no scene. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memguard.h"
#include "memguard/process.h"

enum { MARKER = 64, WINDOW = 8, MOST_THREADS = 64, NO_SCENE = 2 };

static void must(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "no scene: %s\n", what);
    exit(NO_SCENE);
}

/* ---- marker and control ---- */

/* splitmix64 (S. Vigna), a byte at a time. */
static unsigned char derived(uint64_t seed, unsigned stream, size_t i) {
    uint64_t x = (seed ^ ((uint64_t)stream << 56)) + (i + 1) * 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return (unsigned char)(x ^ (x >> 31));
}

static unsigned char source[MARKER];
static volatile unsigned char control[MARKER];

static int derive(void *seed) {
    for (size_t i = 0; i < MARKER; i++) {
        ((volatile unsigned char *)source)[i] = derived(*(const uint64_t *)seed, 1, i);
        control[i] = derived(*(const uint64_t *)seed, 2, i);
    }
    return 0;
}

/* ---- the search ---- */

struct needle {
    unsigned char bytes[MARKER];
    uint64_t runs;
    size_t run, longest; /* windows in a row */
};

static struct needle needles[3];    /* the marker, the same reversed, the control */
static unsigned char begins[65536]; /* 1: some window begins with these two bytes */

static void set_needles(uint64_t seed) {
    for (size_t i = 0; i < MARKER; i++) {
        needles[0].bytes[i] = needles[1].bytes[MARKER - 1 - i] = derived(seed, 1, i);
        needles[2].bytes[i] = derived(seed, 2, i);
    }
    for (size_t n = 0; n < 3; n++)
        for (size_t i = 0; i + WINDOW <= MARKER; i++)
            begins[needles[n].bytes[i] << 8 | needles[n].bytes[i + 1]] = 1;
}

static int shows(const struct needle *needle, const unsigned char *at) {
    for (size_t i = 0; i + WINDOW <= MARKER; i++)
        if (memcmp(needle->bytes + i, at, WINDOW) == 0) return 1;
    return 0;
}

static void look(const unsigned char *at) {
    const int may = begins[at[0] << 8 | at[1]];
    for (struct needle *needle = needles; needle < needles + 3; needle++) {
        if (!may || !shows(needle, at)) {
            needle->run = 0;
            continue;
        }
        if (needle->run++ == 0) needle->runs++;
        if (needle->run + WINDOW - 1 > needle->longest) needle->longest = needle->run + WINDOW - 1;
    }
}

static int search(uint64_t seed, FILE *core, FILE *out) {
    static unsigned char block[65536 + WINDOW];
    size_t kept = 0, got = 0;
    uint64_t bytes = 0;
    set_needles(seed);
    while ((got = fread(block + kept, 1, 65536, core)) > 0) {
        size_t at = 0;
        for (; at + WINDOW <= kept + got; at++)
            look(block + at);
        bytes += got;
        kept = kept + got - at;
        memmove(block, block + at, kept);
    }
    const size_t raw = needles[0].longest, reversed = needles[1].longest;
    fprintf(out, "marker %llu longest %zu control %llu bytes %llu\n",
            (unsigned long long)(needles[0].runs + needles[1].runs), raw > reversed ? raw : reversed,
            (unsigned long long)needles[2].runs, (unsigned long long)bytes);
    return ferror(core) || fflush(out) != 0 ? NO_SCENE : 0;
}

/* ---- holding: the secret in registers, by instructions that no compiler sees through ---- */

static memguard_vault *vault;
static memguard_secret secret;
static atomic_int holding;
static const char *crash;
static const unsigned char *bus_page;
static int wants_byte, threads;

#if defined(__x86_64__)
#define LOAD_GENERAL                                                                                                   \
    "mov (%%rsi), %%rbx\n mov 8(%%rsi), %%r12\n mov 16(%%rsi), %%r13\n mov 24(%%rsi), %%r14\n mov 32(%%rsi), %%r15\n"  \
    "mov 40(%%rsi), %%r8\n mov 48(%%rsi), %%r9\n mov 56(%%rsi), %%r10\n"
#define LOAD_SSE                                                                                                       \
    "movdqu (%%rsi), %%xmm0\n movdqu 16(%%rsi), %%xmm7\n movdqu 32(%%rsi), %%xmm8\n movdqu 48(%%rsi), %%xmm15\n"
#define LOAD_512 "vmovdqu64 (%%rsi), %%zmm1\n vmovdqu64 (%%rsi), %%zmm17\n vmovdqu64 (%%rsi), %%zmm31\n"
#define WITH_SECRET(bytes, instructions, a, b)                                                                         \
    do {                                                                                                               \
        if (__builtin_cpu_supports("avx512f"))                                                                         \
            __asm__ volatile(LOAD_GENERAL LOAD_512 instructions : : "S"(bytes), "a"(a), "D"(b) : "memory");            \
        else                                                                                                           \
            __asm__ volatile(LOAD_GENERAL LOAD_SSE instructions : : "S"(bytes), "a"(a), "D"(b) : "memory");            \
        __builtin_unreachable();                                                                                       \
    } while (0)
#define SPIN "lock incl (%%rdi)\n 1: pause\n jmp 1b\n"
#define SLEEP "lock incl (%%rdi)\n 1: mov $34, %%eax\n syscall\n jmp 1b\n" /* pause(2) */
#define TOUCH "movb (%%rdi), %%al\n hlt\n"
#define ILLEGAL "ud2\n"
#define TRAP "int3\n hlt\n"
#define DIVIDE "xor %%ecx, %%ecx\n cltd\n idivl %%ecx\n"
#define OVERFLOW "1: push $0\n jmp 1b\n" /* the stack is the host's: what it puts there would stay */
/* tgkill(pid in rdi, thread in rdi, signal in rax) */
#define KILL "mov %%eax, %%edx\n mov %%rdi, %%rsi\n mov $234, %%eax\n syscall\n 1: jmp 1b\n"
#elif defined(__aarch64__)
#define WITH_SECRET(bytes, instructions, a, b)                                                                         \
    do {                                                                                                               \
        register const void *from __asm__("x1") = (bytes);                                                             \
        register long first __asm__("x2") = (long)(a);                                                                 \
        register const void *second __asm__("x3") = (const void *)(b);                                                 \
        __asm__ volatile("ldp q0, q7, [x1]\n ldp q8, q31, [x1, #32]\n ldp x19, x20, [x1]\n ldp x21, x22, [x1, #16]\n"  \
                         "ldp x23, x24, [x1, #32]\n ldp x25, x26, [x1, #48]\n" instructions                            \
                         :                                                                                             \
                         : "r"(from), "r"(first), "r"(second)                                                          \
                         : "memory");                                                                                  \
        __builtin_unreachable();                                                                                       \
    } while (0)
#define COUNT "2: ldaxr w4, [x3]\n add w4, w4, #1\n stlxr w5, w4, [x3]\n cbnz w5, 2b\n"
#define SPIN COUNT "1: yield\n b 1b\n"
#define SLEEP                                                                                                          \
    COUNT "1: mov x0, xzr\n mov x1, xzr\n mov x2, xzr\n mov x3, xzr\n mov x8, #73\n svc #0\n b 1b\n" /* ppoll */
#define TOUCH "ldrb w0, [x3]\n 1: b 1b\n"
#define ILLEGAL "udf #0\n"
#define TRAP "brk #0\n 1: b 1b\n"
#define KILL "mov x0, x3\n mov x1, x3\n mov x8, #131\n svc #0\n 1: b 1b\n"
#define DIVIDE KILL
#define OVERFLOW "1: stp xzr, xzr, [sp, #-16]!\n b 1b\n"
#else
#error "the registers of this processor are not written down here"
#endif

static int hold_spinning(const void *bytes, size_t size, void *unused) {
    (void)size, (void)unused;
    WITH_SECRET(bytes, SPIN, 0, &holding);
}

static int hold_sleeping(const void *bytes, size_t size, void *unused) {
    (void)size, (void)unused;
    WITH_SECRET(bytes, SLEEP, 0, &holding);
}

static void *hold(void *number) {
    const intptr_t n = (intptr_t)number;
    if (n % 3 == 2) must(memguard_crash_stack() == MEMGUARD_OK, "stack");
    must(memguard_secret_use(secret, n % 2 == 0 ? hold_spinning : hold_sleeping, NULL, NULL) == MEMGUARD_OK, "use");
    return NULL;
}

/* ---- the crash ---- */

static int is_crash(const char *name) { return strcmp(crash, name) == 0; }

static void ready(void) {
    char byte = 0;
    while (atomic_load(&holding) != threads)
        usleep(1000);
    must(write(STDOUT_FILENO, "READY\n", 6) == 6, "output");
    must(!wants_byte || read(STDIN_FILENO, &byte, 1) == 1, "input");
}

static int end_with(const void *bytes, size_t size, void *unused) {
    const unsigned char *end = (const unsigned char *)bytes + size;
    const intptr_t pid = getpid(); /* also the id of this thread, the first */
    (void)unused;
    ready();
    if (is_crash("segv")) WITH_SECRET(bytes, TOUCH, 0, (const unsigned char *)16);
    if (is_crash("overrun")) WITH_SECRET(bytes, TOUCH, 0, end);
    if (is_crash("bus")) WITH_SECRET(bytes, TOUCH, 0, bus_page);
    if (is_crash("ill")) WITH_SECRET(bytes, ILLEGAL, 0, 0);
    if (is_crash("trap")) WITH_SECRET(bytes, TRAP, 0, 0);
    if (is_crash("fpe")) WITH_SECRET(bytes, DIVIDE, SIGFPE, pid);
    if (is_crash("abrt")) WITH_SECRET(bytes, KILL, SIGABRT, pid);
    if (is_crash("sys")) WITH_SECRET(bytes, KILL, SIGSYS, pid);
    if (is_crash("overflow")) WITH_SECRET(bytes, OVERFLOW, 0, 0);
    return 0;
}

static void set_scene(const char *mode, uint64_t seed) {
    struct rlimit core = {0, 0};
    const int file = memfd_create("empty", MFD_CLOEXEC);
    memguard_secret more = {0};
    memguard_view view;
    must(getrlimit(RLIMIT_CORE, &core) == 0, "limit");
    core.rlim_cur = core.rlim_max;
    must(setrlimit(RLIMIT_CORE, &core) == 0, "limit");
    bus_page = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
    must(bus_page != MAP_FAILED, "page");
    if (strcmp(mode, "on") == 0) must(memguard_catch_crash(0) == MEMGUARD_OK, "catch_crash");
    if (strcmp(mode, "core") == 0) must(memguard_catch_crash(MEMGUARD_CRASH_CORE) == MEMGUARD_OK, "catch_crash");
    must(memguard_vault_create(NULL, &vault) == MEMGUARD_OK, "vault");
    must(memguard_call_scrubbed(derive, &seed, NULL) == MEMGUARD_OK, "marker");
    must(memguard_secret_copy(vault, source, MARKER, MEMGUARD_COMPACT, &more) == MEMGUARD_OK, "compact");
    must(memguard_secret_copy(vault, source, MARKER, MEMGUARD_CLOSED, &more) == MEMGUARD_OK, "closed");
    must(memguard_secret_take(vault, source, MARKER, MEMGUARD_SEALED, &secret) == MEMGUARD_OK, "secret");
    must(memguard_secret_acquire(secret, MEMGUARD_READ, &view) == MEMGUARD_OK, "view");
}

static int run(const char *mode, uint64_t seed) {
    pthread_t thread;
    set_scene(mode, seed);
    for (intptr_t i = 0; i < threads; i++)
        must(pthread_create(&thread, NULL, hold, (void *)i) == 0, "thread");
    must(memguard_secret_use(secret, end_with, NULL, NULL) == MEMGUARD_OK, "use");
    return NO_SCENE;
}

int main(int argc, char **argv) {
    if (argc >= 4 && strcmp(argv[1], "search") == 0) {
        FILE *core = strcmp(argv[3], "-") == 0 ? stdin : fopen(argv[3], "r");
        FILE *out = argc > 4 ? fopen(argv[4], "w") : stdout;
        must(core != NULL && out != NULL, "file");
        return search(strtoull(argv[2], NULL, 0), core, out);
    }
    must(argc >= 5, "arguments: off|on|core THREADS CRASH SEED [wait], or search SEED FILE|- [OUT]");
    threads = atoi(argv[2]);
    must(threads >= 0 && threads <= MOST_THREADS, "threads");
    crash = argv[3];
    wants_byte = argc > 5;
    return run(argv[1], strtoull(argv[4], NULL, 0));
}
