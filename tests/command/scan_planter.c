/* A process with known values in known places, for test_scan.sh: reads what to plant from standard input, plants it as its
 * arguments say, prints the process's number and waits for a signal. Arguments: PLACE FORM [FROM BYTES], any number of
 * times four by four; "chance SEED" plants copies at random. Its own buffers are wiped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 8192, TEXT = 3 * MOST, LARGE = 4 << 20 };

static unsigned char in_data[TEXT] = {1}, in_bss[TEXT];
static unsigned char *secret; /* in a page that is given back before we wait */
static size_t secret_bytes;

static size_t write_base64(unsigned char *to, const unsigned char *from, size_t bytes, const char *last) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t length = 0;
    for (size_t bit = 0; bit + 6 <= 8 * bytes; bit += 6) {
        unsigned pair = (unsigned)from[bit / 8] << 8 | (bit / 8 + 1 < bytes ? from[bit / 8 + 1] : 0u);
        unsigned six = pair >> (10 - bit % 8) & 63;
        to[length++] = (unsigned char)(six < 62 ? letters[six] : last[six - 62]);
    }
    return length;
}

static size_t write_form(unsigned char *to, const char *form, const unsigned char *from, size_t bytes) {
    if (strncmp(form, "base64", 6) == 0)
        return write_base64(to, from, bytes, strcmp(form, "base64url") == 0 ? "-_" : "+/");
    for (size_t i = 0; i < bytes; i++) {
        const char *digits = strcmp(form, "HEX") == 0 ? "0123456789ABCDEF" : "0123456789abcdef";
        if (strcmp(form, "raw") == 0) to[i] = from[i];
        if (strcmp(form, "reversed") == 0) to[bytes - 1 - i] = from[i];
        if (strcasecmp(form, "hex") == 0)
            to[2 * i] = (unsigned char)digits[from[i] >> 4], to[2 * i + 1] = (unsigned char)digits[from[i] & 15];
        if (strcmp(form, "UTF-16LE") == 0) to[2 * i] = from[i], to[2 * i + 1] = 0;
        if (strcmp(form, "UTF-16BE") == 0) to[2 * i] = 0, to[2 * i + 1] = from[i];
    }
    return strcmp(form, "raw") == 0 || strcmp(form, "reversed") == 0 ? bytes : 2 * bytes;
}

static void *map_some(int flags, int fd) {
    void *map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (map == MAP_FAILED) abort();
    return map;
}

/* ---- places with a life of their own ---- */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static bool planted;
static int loaded; /* the register is */
static const char *stack_form;
static size_t stack_from, stack_bytes;

static __attribute__((noinline)) void leave_below(void) {
    volatile unsigned char there[16384 + TEXT];
    unsigned char *at = (unsigned char *)there;
    write_form(at, stack_form, secret + stack_from, stack_bytes);
    __asm__ volatile("" ::: "memory");
}

static void tell(void) {
    pthread_mutex_lock(&turn);
    planted = true;
    pthread_cond_signal(&turned);
    pthread_mutex_unlock(&turn);
}

static void *on_stack(void *arg) {
    unsigned char there[TEXT];
    memset(there, 0, sizeof there);
    write_form(there, stack_form, secret + stack_from, stack_bytes);
    __asm__ volatile("" ::"r"(there) : "memory");
    tell();
    for (;;)
        pause();
    return arg;
}

static void *below_stack(void *arg) {
    leave_below();
    tell();
    for (;;)
        pause();
    return arg;
}

#if defined(__x86_64__)
/* Holds 16 bytes in a vector register, for ever. */
static void *in_register(void *arg) {
    tell();
    __asm__ volatile("movdqu (%0), %%xmm7\n"
                     "movl $1, (%1)\n"
                     "1: pause\n jmp 1b\n" ::"r"(secret + stack_from),
                     "r"(&loaded)
                     : "xmm7", "memory");
    return arg;
}

static void on_signal(int number) { (void)number; }

/* A signal comes while 16 bytes are in a vector register: the kernel writes it to the stack, deep enough to stay there. */
static __attribute__((noinline)) void leave_frame(void) {
    volatile unsigned char deep[32768];
    deep[0] = 1;
    __asm__ volatile("movdqu (%0), %%xmm7\n"
                     "mov $39, %%eax\n syscall\n mov %%eax, %%edi\n mov $186, %%eax\n syscall\n mov %%eax, %%esi\n"
                     "mov $10, %%edx\n mov $234, %%eax\n syscall\n" /* tgkill(getpid, gettid, SIGUSR1) */
                     "pxor %%xmm7, %%xmm7\n" ::"r"(secret + stack_from)
                     : "xmm7", "rax", "rdi", "rsi", "rdx", "rcx", "r11", "memory");
    deep[1] = deep[0];
}

static void *in_frame(void *arg) {
    leave_frame();
    tell();
    for (;;)
        pause();
    return arg;
}
#else
static void *in_register(void *arg) {
    loaded = 1;
    tell();
    return arg;
}
static void on_signal(int number) { (void)number; }
static void *in_frame(void *arg) {
    tell();
    return arg;
}
#endif

static void start(void *(*body)(void *)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, NULL) != 0) abort();
    pthread_mutex_lock(&turn);
    while (!planted)
        pthread_cond_wait(&turned, &turn);
    planted = false;
    pthread_mutex_unlock(&turn);
}

/* ---- planting ---- */

static void into_file(int fd, const char *form, const unsigned char *from, size_t bytes) {
    unsigned char *text = map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    size_t length = write_form(text, form, from, bytes);
    if (fd < 0 || pwrite(fd, text, length, 8192) != (ssize_t)length) abort();
    munmap(text, 65536);
}

/* Private memory of a file that is in memory only: the process has pages of its own, which the file does not have. */
static void into_private(int fd, const char *form, const unsigned char *from, size_t bytes) {
    if (fd < 0) abort();
    if (ftruncate(fd, LARGE) != 0 && errno != EINVAL) abort(); /* a device has no size */
    unsigned char *map = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) abort();
    write_form(map + LARGE / 2 + 5000, form, from, bytes);
    close(fd);
}

/* Over the edge of two mappings: they are one run of addresses with two sets of rights. */
static void over_edge(const char *form, const unsigned char *from, size_t bytes) {
    unsigned char *map = map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    write_form(map + 32768 - bytes / 2, form, from, bytes);
    if (mprotect(map + 32768, 32768, PROT_READ) != 0) abort();
}

/* In shared memory whose pages the process has to bring in itself. */
static void into_minor(const char *form, const unsigned char *from, size_t bytes) {
#if defined(SYS_userfaultfd) && defined(UFFD_FEATURE_MINOR_SHMEM) && defined(UFFD_USER_MODE_ONLY)
    int fd = memfd_create("planted", MFD_CLOEXEC);
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM};
    if (fd < 0 || ftruncate(fd, 65536) != 0 || faults < 0 || ioctl(faults, UFFDIO_API, &api) != 0) exit(77);
    into_file(fd, form, from, bytes);
    struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MINOR};
    range.range.start = (uintptr_t)map_some(MAP_SHARED, fd);
    range.range.len = 65536;
    if (ioctl(faults, UFFDIO_REGISTER, &range) != 0) exit(77);
    close(fd);
#else
    (void)form, (void)from, (void)bytes;
    exit(77);
#endif
}

static void into_deleted(char *name, const char *form, const unsigned char *from, size_t bytes) {
    int fd = mkstemp(name);
    unlink(name);
    into_file(fd, form, from, bytes);
}

/* A thread with descriptors of its own. */
static void *in_own_table(void *arg) {
    if (unshare(CLONE_FILES) != 0) exit(77); /* a container may forbid it */
    into_file(memfd_create("planted", 0), stack_form, secret + stack_from, stack_bytes);
    tell();
    for (;;)
        pause();
    return arg;
}

static void plant(const char *place, const char *form, size_t from, size_t bytes) {
    const unsigned char *begin = secret + from;
    stack_form = form, stack_from = from, stack_bytes = bytes;
    if (strcmp(place, "heap") == 0) write_form(calloc(1, TEXT), form, begin, bytes);
    if (strcmp(place, "anonymous") == 0)
        write_form((unsigned char *)map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1) + 5000, form, begin, bytes);
    if (strcmp(place, "closed") == 0) {
        unsigned char *map = map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1);
        write_form(map + 5000, form, begin, bytes);
        mprotect(map, 65536, PROT_NONE);
    }
    if (strcmp(place, "shared") == 0)
        write_form((unsigned char *)map_some(MAP_SHARED | MAP_ANONYMOUS, -1) + 5000, form, begin, bytes);
    if (strcmp(place, "data") == 0) write_form(in_data + 100, form, begin, bytes);
    if (strcmp(place, "bss") == 0) write_form(in_bss + sizeof in_bss / 2, form, begin, bytes);
    if (strcmp(place, "memfd") == 0) into_file(memfd_create("planted", 0), form, begin, bytes);
    if (strcmp(place, "zero") == 0) into_private(open("/dev/zero", O_RDWR | O_CLOEXEC), form, begin, bytes);
    if (strcmp(place, "private") == 0) into_private(memfd_create("planted", MFD_CLOEXEC), form, begin, bytes);
    if (strcmp(place, "edge") == 0) over_edge(form, begin, bytes);
    char deleted[] = "/tmp/scan-planter-XXXXXX", like_secret[] = "/secretmem-XXXXXX";
    if (strcmp(place, "deleted") == 0) into_deleted(deleted, form, begin, bytes);
    if (strcmp(place, "like-secret") == 0) into_deleted(like_secret, form, begin, bytes);
    if (strcmp(place, "minor") == 0) into_minor(form, begin, bytes);
    if (strcmp(place, "table") == 0) start(in_own_table);
    if (strcmp(place, "stack") == 0) start(on_stack);
    if (strcmp(place, "below") == 0) start(below_stack);
    if (strcmp(place, "register") == 0) {
        start(in_register);
        while (__atomic_load_n(&loaded, __ATOMIC_ACQUIRE) == 0)
            sched_yield();
    }
    if (strcmp(place, "frame") == 0) start(in_frame);
}

/* Copies of random pieces in random forms, apart from each other. */
static void plant_by_chance(unsigned seed) {
    static const char *const forms[] = {"raw", "reversed", "hex", "HEX", "UTF-16LE", "UTF-16BE"};
    const size_t sizes[] = {7, 8, 9, 15, 16, 31, 32, secret_bytes};
    unsigned char *map = map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    srandom(seed);
    for (size_t i = 0; i < 60; i++) {
        size_t bytes = sizes[(size_t)random() % 8];
        if (bytes > secret_bytes) bytes = secret_bytes;
        size_t from = (size_t)random() % (secret_bytes - bytes + 1);
        const char *form = forms[(size_t)random() % 6];
        unsigned char *at = i % 3 == 0 ? map + i * 1000 : calloc(1, 4096);
        at += 2 * ((size_t)random() % 400); /* even: code units of UTF-16 are */
        write_form(at, form, secret + from, bytes);
    }
}

static void read_secret(void) {
    ssize_t got;
    secret = map_some(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    while (secret_bytes < MOST && (got = read(0, secret + secret_bytes, MOST - secret_bytes)) > 0)
        secret_bytes += (size_t)got;
}

int main(int argc, char **argv) {
    signal(SIGUSR1, on_signal);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* where Yama would let only a parent look */
    read_secret();
    if (argc == 3 && strcmp(argv[1], "chance") == 0)
        plant_by_chance((unsigned)atoi(argv[2]));
    else
        for (int i = 1; i + 1 < argc;) {
            bool part = i + 3 < argc && argv[i + 2][0] >= '0' && argv[i + 2][0] <= '9';
            plant(argv[i], argv[i + 1], part ? (size_t)atoi(argv[i + 2]) : 0,
                  part ? (size_t)atoi(argv[i + 3]) : secret_bytes);
            i += part ? 4 : 2;
        }
    memset(secret, 0, secret_bytes);
    printf("%d\n", (int)getpid());
    fflush(stdout);
    for (;;)
        pause();
}
