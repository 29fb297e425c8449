/* Processors for which no assembly was written: says so, so that the bank reports no SCRUB protection.
 * Must not know: what the stack is for, what was in the registers. */
#include "sys/sys.h"

void mg__arch_call_on(void *top, void (*fn)(void *), void *arg) {
    (void)top;
    fn(arg);
}

void mg__arch_clear_registers(void) {}

/* Half a kilobyte of frames at a time: what lies between the arrays is their own bookkeeping. */
__attribute__((noinline)) void mg__arch_wipe_below(size_t bytes) {
    unsigned char block[512];
    mg__wipe(block, sizeof block);
    if (bytes > sizeof block) mg__arch_wipe_below(bytes - sizeof block);
    __asm__ volatile("" : : "r"(block) : "memory");
}

void mg__arch_init(void) {}

bool mg__arch_has_private_stacks(void) { return false; }

bool mg__arch_has_frame_marks(void) { return false; }

size_t mg__arch_signal_frame_bytes(void) { return 8192; }
