/* test_crash.c: a crash in the middle of a cipher call, whose handler has no stack of its own: what the call had on its private stack is
 * wiped, below its stack pointer, too, where a leaf function may keep what it likes. */
#define _GNU_SOURCE
#include "unit/white.h"

#include <ucontext.h>

#include "memguard/process.h"

enum { WIPED = 40, THERE = 41, PAINT = 0xC7 };

#if defined(__x86_64__)
enum { RED_ZONE = 128 }; /* System V ABI for AMD64, 3.2.2 */
static const unsigned char *stack_of(const ucontext_t *context) {
    return (const unsigned char *)context->uc_mcontext.gregs[REG_RSP];
}

/* Paints its red zone, and crashes. */
__attribute__((naked, noinline)) static void paint_and_crash(__attribute__((unused)) void *unused) {
    __asm__("mov $0xC7C7C7C7C7C7C7C7, %rax\n mov $16, %ecx\n"
            "1: neg %rcx\n mov %rax, (%rsp, %rcx, 8)\n neg %rcx\n dec %ecx\n jnz 1b\n ud2\n");
}

/* Was there before memguard_catch_crash: is called when all is wiped. */
static void look(int number, siginfo_t *info, void *context) {
    const unsigned char *end = stack_of(context);
    unsigned painted = 0;
    (void)number, (void)info;
    for (const unsigned char *at = end - RED_ZONE; at < end; at++)
        painted += *at == PAINT;
    _exit(painted == 0 ? WIPED : THERE);
}

static int crash_on_a_bench(void *unused) {
    struct sigaction earlier;
    const stack_t none = {.ss_flags = SS_DISABLE};
    (void)unused;
    memset(&earlier, 0, sizeof earlier);
    earlier.sa_sigaction = look;
    earlier.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &earlier, NULL) == 0);
    CHECK_STATUS(mg__bank_start(), MEMGUARD_OK);
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
    CHECK(sigaltstack(&none, NULL) == 0);
    CHECK_STATUS(mg__bench_call(MG_KIND_LOCKED, paint_and_crash, NULL, MG_BENCH_DEEP), MEMGUARD_OK);
    return 0;
}

TEST(the_red_zone_of_an_interrupted_cipher_call_is_wiped) {
    if (CHECK_SANITIZED) SKIP("a sanitizer has handlers of its own");
    CHECK(check_exited(check_child(crash_on_a_bench, NULL), WIPED));
}
#else
TEST(the_red_zone_of_an_interrupted_cipher_call_is_wiped) { SKIP("there is none on this processor"); }
#endif

int main(void) {
    RUN(the_red_zone_of_an_interrupted_cipher_call_is_wiped);
    return check_end();
}
