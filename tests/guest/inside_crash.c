/* inside_crash: five threads hold a secret each, in a view, in `use` and on a bench, and in their registers; then one of them touches
 * address 0. What the core file holds is the host's to see. Usage: crash BACKEND HANDLER LIMIT USER WHO SEED
 * HANDLER: none, wipe (memguard_catch_crash), core (the same with CRASH_CORE)   LIMIT: RLIMIT_CORE, or -1
 * USER: who to become first; 0: stay root   WHO: the number of the marker of the thread that crashes */
#include "guest/inside.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "guest/inside_vault.h"
#include "memguard/process.h"

enum { FIRST = MARKER_CLOSED, LAST = MARKER_BENCH, THREADS = LAST - FIRST + 1 };
static memguard_secret secrets[MARKERS];
static int who;    /* crashes */
static int loaded; /* threads that have their registers full */

/* Fills registers with the marker's 64 bytes: two general ones, a vector and, where there are such, a wide vector. Then waits for ever,
 * or crashes; with these registers in both cases. */
static void hold(const void *bytes, int crashes) {
#define TO_THE_END                                                                                                     \
    "lock incl (%[count])\n test %[crash], %[crash]\n jnz 2f\n"                                                        \
    "1: mov %[pause], %%eax\n syscall\n jmp 1b\n"                                                                      \
    "2: cmpl %[all], (%[count])\n jne 2b\n xor %%eax, %%eax\n mov %%eax, (%%rax)\n"
#define OPERANDS                                                                                                       \
    : : [from] "r"(bytes), [count] "D"(&loaded), [crash] "S"(crashes), [pause] "i"(SYS_pause),                         \
      [all] "i"(THREADS) : "rax", "rcx", "r11", "r14", "r15", "xmm6", "xmm7", "memory"
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("mov (%[from]), %%r14\n mov 8(%[from]), %%r15\n vmovdqu 16(%[from]), %%xmm6\n"
                         "vmovdqu 32(%[from]), %%ymm7\n" TO_THE_END OPERANDS);
    else
        __asm__ volatile("mov (%[from]), %%r14\n mov 8(%[from]), %%r15\n movdqu 16(%[from]), %%xmm6\n"
                         "movdqu 32(%[from]), %%xmm7\n" TO_THE_END OPERANDS);
    _exit(92); /* never */
}

static int hold_in_use(const void *bytes, size_t size, void *arg) {
    (void)size, (void)arg;
    hold(bytes, who == MARKER_USE);
    return 0;
}

static void hold_on_bench(void *arg) {
    unsigned char copy[MARKER_BYTES];
    (void)arg;
    marker_write(copy, sizeof copy, seed, MARKER_BENCH);
    hold(copy, who == MARKER_BENCH);
}

static void hold_view(int number) {
    memguard_view view = {0};
    ok(memguard_secret_acquire(secrets[number], MEMGUARD_READ, &view), "acquire READ");
    hold(view.data, who == number);
}

static void *work(void *arg) {
    const int number = (int)(intptr_t)arg;
    if (number % 2 == 0) ok(memguard_crash_stack(), "crash_stack"); /* some have one, some do not */
    if (number == MARKER_USE)
        ok(memguard_secret_use(secrets[number], hold_in_use, NULL, NULL), "secret_use");
    else if (number == MARKER_BENCH)
        ok(mg__bench_call(mg__vault_find(vault)->kind, hold_on_bench, NULL, MG_BENCH_DEEP), "bench_call");
    else
        hold_view(number);
    return NULL;
}

static void become(long limit, unsigned user) {
    const struct rlimit core = {(rlim_t)limit, (rlim_t)limit};
    must(setrlimit(RLIMIT_CORE, &core) == 0, "setrlimit");
    if (user != 0) must(setgid(user) == 0 && setuid(user) == 0, "setuid");
    printf("dumpable: %d\n", prctl(PR_GET_DUMPABLE));
    fflush(stdout);
}

static void handle(const char *handler) {
    if (strcmp(handler, "wipe") == 0) ok(memguard_catch_crash(0), "catch_crash");
    if (strcmp(handler, "core") == 0) ok(memguard_catch_crash(MEMGUARD_CRASH_CORE), "catch_crash");
}

int main(int count, char **words) {
    must(count == 7, "usage");
    seed = strtoull(words[6], NULL, 16);
    who = atoi(words[5]);
    ordinary_pages(seed);
    make_vault(words[1]);
    for (unsigned i = 0; i <= MARKER_USE; i++)
        secrets[i] = make_secret(i, i <= MARKER_COMPACT ? i : MEMGUARD_SEALED);
    tell_keys(secrets[MARKER_SEALED]);
    handle(words[2]);
    become(atol(words[3]), (unsigned)atoi(words[4]));
    for (intptr_t i = FIRST; i < LAST; i++) {
        pthread_t thread;
        must(pthread_create(&thread, NULL, work, (void *)i) == 0, "thread");
    }
    work((void *)(intptr_t)LAST);
    return 93;
}
