/* What only the processor can do, for 64-bit Arm: run a function on another stack, clear registers.
 * Source: Procedure Call Standard for the Arm 64-bit Architecture (v8-v15: only the low halves survive a call).
 * Must not know: what the stack is for, what was in the registers. */
#include "sys/sys.h"

#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* x0 = top, x1 = fn, x2 = arg. */
__asm__(".text\n"
        ".globl mg__arch_call_on\n"
        ".hidden mg__arch_call_on\n"
        ".type mg__arch_call_on, %function\n"
        "mg__arch_call_on:\n"
        ".cfi_startproc\n"
        "hint #34\n" /* bti c */
        "stp x29, x30, [sp, #-16]!\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset 29, -16\n"
        ".cfi_offset 30, -8\n"
        "mov x29, sp\n"
        ".cfi_def_cfa_register 29\n"
        "mov sp, x0\n"
        "mov x0, x2\n"
        "blr x1\n"
        "mov sp, x29\n"
        "ldp x29, x30, [sp], #16\n"
        ".cfi_def_cfa 31, 0\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size mg__arch_call_on, .-mg__arch_call_on\n");

/* x0 = bytes. Stores downwards from the stack pointer, 16 bytes at a time: nothing of ours lies there. */
__asm__(".text\n"
        ".globl mg__arch_wipe_below\n"
        ".hidden mg__arch_wipe_below\n"
        ".type mg__arch_wipe_below, %function\n"
        "mg__arch_wipe_below:\n"
        ".cfi_startproc\n"
        "hint #34\n"
        "mov x1, sp\n"
        "lsr x0, x0, #4\n"
        "1: cbz x0, 2f\n"
        "stp xzr, xzr, [x1, #-16]!\n"
        "sub x0, x0, #1\n"
        "b 1b\n"
        "2: ret\n"
        ".cfi_endproc\n"
        ".size mg__arch_wipe_below, .-mg__arch_wipe_below\n");

#define ZERO(n) "movi v" #n ".2d, #0\n"
/* Keeps d8-d15, which belong to the caller, and clears the upper halves. */
#define ZERO_UPPER(n) "mov v" #n ".d[1], xzr\n"

__asm__(
    ".text\n"
    ".globl mg__arch_clear_registers\n"
    ".hidden mg__arch_clear_registers\n"
    ".type mg__arch_clear_registers, %function\n"
    "mg__arch_clear_registers:\n"
    ".cfi_startproc\n"
    "hint #34\n" ZERO(0) ZERO(1) ZERO(2) ZERO(3) ZERO(4) ZERO(5) ZERO(6) ZERO(7) ZERO_UPPER(8) ZERO_UPPER(9) ZERO_UPPER(
        10) ZERO_UPPER(11) ZERO_UPPER(12) ZERO_UPPER(13) ZERO_UPPER(14) ZERO_UPPER(15) ZERO(16) ZERO(17) ZERO(18)
        ZERO(19) ZERO(20) ZERO(21) ZERO(22) ZERO(23) ZERO(24) ZERO(25) ZERO(26) ZERO(27) ZERO(28) ZERO(29) ZERO(30)
            ZERO(31) "mov x0, xzr\n mov x1, xzr\n mov x2, xzr\n mov x3, xzr\n mov x4, xzr\n mov x5, xzr\n mov x6, xzr\n"
                     "mov x7, xzr\n mov x8, xzr\n mov x9, xzr\n mov x10, xzr\n mov x11, xzr\n mov x12, xzr\n mov x13, "
                     "xzr\n"
                     "mov x14, xzr\n mov x15, xzr\n mov x16, xzr\n mov x17, xzr\n"
                     "ret\n"
                     ".cfi_endproc\n"
                     ".size mg__arch_clear_registers, .-mg__arch_clear_registers\n");

void mg__arch_init(void) {}

bool mg__arch_has_private_stacks(void) { return true; }

bool mg__arch_has_frame_marks(void) { return false; }

size_t mg__arch_signal_frame_bytes(void) {
    const unsigned long told = getauxval(AT_MINSIGSTKSZ);
    return told > 2048 && told < (1U << 20) ? (size_t)told : 8192;
}
