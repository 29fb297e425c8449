/* Ends by each signal of a crash while memguard_catch_crash is in force, in many situations (`how`). What can be seen from outside is the
 * signal and the words on standard error; what an earlier handler sees it says on standard output. The lawful one sets the
 * same scene, releases the crash handlers and ends. */
#include "death/crime.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "memguard/process.h"

static scene s;
static unsigned char *mapped; /* a page of a file without contents: SIGBUS */
static const void *wrong;     /* what the fault will touch */
static unsigned char host_stack[65536];

static void say(const char *words) {
    if (write(STDOUT_FILENO, words, strlen(words)) < 0) _exit(NO_SCENE);
}

static void must_be(int good) {
    if (!good) exit(NO_SCENE);
}

/* ---- earlier handlers ---- */

/* Overwritten, by zeros or by anything: here and there a byte may be what it was. */
static int is_gone(const unsigned char *p, size_t bytes) {
    size_t same = 0;
    for (size_t i = 0; i < bytes; i++) same += p[i] == pattern_at(i);
    return same * 4 < bytes;
}

static void on_earlier(int number, siginfo_t *info, void *context) {
    const unsigned char *here = (const unsigned char *)__builtin_frame_address(0);
    sigset_t mask;
    (void)context;
    say(number == SIGSEGV ? "segv" : number == SIGABRT ? "abrt" : "other");
    if (info->si_addr == wrong) say(" address");
    if (is_readable(s.kept) && is_gone(s.kept, s.size)) say(" wiped");
    if (here >= host_stack && here < host_stack + sizeof host_stack) say(" host-stack");
    sigprocmask(SIG_BLOCK, NULL, &mask);
    if (!sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGUSR1) && sigismember(&mask, number)) say(" mask");
    say("\n");
    if (is_how(&s, "earlier_aborts") && number == SIGSEGV) abort();
    if (is_how(&s, "earlier_exits")) _exit(42);
}

static void set_earlier(int number) {
    struct sigaction earlier;
    memset(&earlier, 0, sizeof earlier);
    earlier.sa_sigaction = on_earlier;
    earlier.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaddset(&earlier.sa_mask, SIGUSR1);
    must_be(sigaction(number, &earlier, NULL) == 0);
}

static void set_host_stack(void) {
    stack_t stack = {.ss_sp = host_stack, .ss_size = sizeof host_stack};
    must_be(sigaltstack(&stack, NULL) == 0);
}

/* ---- faults ---- */

/* In a function of its own, so that no compiler turns the loop into something that ends. */
static __attribute__((noinline)) int overflow(int depth) {
    volatile char block[4096];
    block[0] = (char)depth;
    return overflow(depth + 1) + block[0];
}

static void forbidden_call(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    must_be(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    syscall(SYS_getppid);
}

static void map_bus_page(void) {
    int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) file = memfd_create("empty", MFD_CLOEXEC);
    must_be(file >= 0);
    mapped = mmap(NULL, (size_t)page(), PROT_READ, MAP_SHARED, file, 0);
    must_be(mapped != MAP_FAILED);
    close(file);
}

static void trap(void) {
#if defined(__x86_64__)
    __asm__ volatile("int3");
#else
    raise(SIGTRAP);
#endif
}

static void divide(void) {
#if defined(__x86_64__)
    __asm__ volatile("xorl %%ecx, %%ecx\n\tidivl %%ecx" : : "a"(1), "d"(0) : "ecx", "cc");
#else
    raise(SIGFPE);
#endif
}

static void fault(void) {
    if (is_how(&s, "bus")) peek(mapped, 0);
    if (is_how(&s, "abrt")) abort();
    if (is_how(&s, "ill")) __builtin_trap();
    if (is_how(&s, "fpe")) divide();
    if (is_how(&s, "sys")) forbidden_call();
    if (is_how(&s, "trap")) trap();
    if (is_how(&s, "killed")) kill(getpid(), SIGSEGV);
    if (strncmp(s.how, "overflow", 8) == 0) exit(overflow(0));
    if (is_how(&s, "write")) poke(wrong, 0);
    peek(wrong, 0);
}

static void *fault_in_thread(void *unused) {
    (void)unused;
    if (is_how(&s, "overflow_given")) must(memguard_crash_stack());
    fault();
    return NULL;
}

static int fault_in_use(const void *bytes, size_t size, void *unused) {
    (void)unused;
    wrong = (const unsigned char *)bytes + size;
    if (!s.lawful) fault();
    return 0;
}

/* ---- the scene ---- */

static int starts(const char *prefix) { return strncmp(s.how, prefix, strlen(prefix)) == 0; }

static void aim(void) {
    const unsigned char *data = s.view.data;
    wrong = data + s.size;
    if (is_how(&s, "past4")) wrong = data + s.size + 3;
    if (is_how(&s, "before")) wrong = data - 1 - (uintptr_t)(data - 1) % (uintptr_t)page() - 1; /* the last of the guard */
    if (is_how(&s, "write") || is_how(&s, "released") || is_how(&s, "closed") || is_how(&s, "revoked")) wrong = data;
    if (is_how(&s, "null")) wrong = (const void *)16; /* like null; a sanitizer looks for that one */
}

static void *purge(void *unused) {
    (void)unused;
    must_be(memguard_vault_purge(s.vault, 10) == MEMGUARD_ERR_REVOKED);
    return NULL;
}

static void let_go(void) {
    pthread_t thread;
    if (is_how(&s, "released") || is_how(&s, "closed")) must(memguard_view_release(&s.view));
    if (is_how(&s, "revoked")) must_be(pthread_create(&thread, NULL, purge, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void commit(void) {
    pthread_t threads[8];
    const int many = is_how(&s, "threads") ? 8 : 1;
    if (!starts("thread") && !starts("overflow_bare") && !starts("overflow_given")) fault();
    for (int i = 0; i < many; i++) must_be(pthread_create(&threads[i], NULL, fault_in_thread, NULL) == 0);
    for (int i = 0; i < many; i++) must_be(pthread_join(threads[i], NULL) == 0);
}

/* The child of a fork crashes: what was there before decides, and its parent's secrets stay. */
static int child_crashes(void) {
    int status = 0;
    pid_t child = fork();
    must_be(child >= 0);
    if (child == 0 && s.lawful) _exit(0);
    if (child == 0) fault();
    must_be(waitpid(child, &status, 0) == child);
    if (!s.lawful) say(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? "child segv\n" : "child?\n");
    if (!shows_secret(s.view.data, s.size)) return UNNOTICED;
    must(memguard_release_crash());
    return scene_end(&s) == NO_SCENE ? NO_SCENE : 0;
}

int main(int argc, char **argv) {
    scene_set(&s, argc, argv, 0);
    signal(SIGILL, SIG_DFL); /* some sanitizers have handlers for these */
    signal(SIGFPE, SIG_DFL);
    signal(SIGTRAP, SIG_DFL);
    signal(SIGSYS, SIG_DFL);
    if (starts("earlier")) set_earlier(SIGSEGV);
    if (is_how(&s, "earlier_aborts")) set_earlier(SIGABRT);
    if (is_how(&s, "ignored")) signal(SIGSEGV, SIG_IGN);
    if (is_how(&s, "earlier_stack")) set_host_stack();
    if (is_how(&s, "bus")) map_bus_page();
    must(memguard_catch_crash(is_how(&s, "core") ? MEMGUARD_CRASH_CORE : 0));
    if (is_how(&s, "in_use")) must(memguard_secret_use(s.secret, fault_in_use, NULL, NULL));
    scene_borrow(&s, MEMGUARD_READ);
    aim();
    if (is_how(&s, "fork")) return child_crashes();
    let_go();
    if (!s.lawful) commit();
    must(memguard_release_crash());
    if (is_how(&s, "revoked") && memguard_view_release(&s.view) != MEMGUARD_ERR_REVOKED) return NO_SCENE;
    return scene_end(&s);
}
