/* The register area of a signal frame, for Linux on 64-bit Arm. Source: Linux arch/arm64/include/uapi/asm/sigcontext.h
 * (records with magic and size, the last of size 0; EXTRA_MAGIC points to more of them).
 * Must not know: why it is cleared, what was in the registers. */
#define _GNU_SOURCE
#include "sys/signals.h"

#include <ucontext.h>

#define ZERO(n) "movi v" #n ".2d, #0\n"
#define ZERO_X(n) "mov x" #n ", xzr\n"
#define PAIRS(op, x, d)                                                                                                \
    op " " x "19, " x "20, [sp]\n" op " " x "21, " x "22, [sp, #16]\n" op " " x "23, " x "24, [sp, #32]\n" op " " x    \
       "25, " x "26, [sp, #48]\n" op " " x "27, " x "28, [sp, #64]\n" op " " d "8, " d "9, [sp, #80]\n" op " " d       \
       "10, " d "11, [sp, #96]\n" op " " d "12, " d "13, [sp, #112]\n" op " " d "14, " d "15, [sp, #128]\n"

/* Saves what a function must preserve (handlers of others call this one as a function), and clears all registers but
 * the arguments, the platform's (x18), frame pointer and link register, which the kernel has set. */
__asm__(".text\n"
        ".globl mg__arch_signal_entry\n"
        ".hidden mg__arch_signal_entry\n"
        ".type mg__arch_signal_entry, %function\n"
        "mg__arch_signal_entry:\n"
        ".cfi_startproc\n"
        "hint #34\n" /* bti c */
        "stp x29, x30, [sp, #-16]!\n .cfi_def_cfa_offset 16\n .cfi_offset 29, -16\n .cfi_offset 30, -8\n"
        "sub sp, sp, #144\n .cfi_def_cfa_offset 160\n" PAIRS("stp", "x", "d") "mov x3, sp\n" ZERO(0) ZERO(1) ZERO(2)
            ZERO(3) ZERO(4) ZERO(5) ZERO(6) ZERO(7) ZERO(8) ZERO(9) ZERO(10) ZERO(11) ZERO(12) ZERO(13) ZERO(14)
                ZERO(15) ZERO(16) ZERO(17) ZERO(18) ZERO(19) ZERO(20) ZERO(21) ZERO(22) ZERO(23) ZERO(24) ZERO(25)
                    ZERO(26) ZERO(27) ZERO(28) ZERO(29) ZERO(30) ZERO(31) ZERO_X(4) ZERO_X(5) ZERO_X(6) ZERO_X(7)
                        ZERO_X(8) ZERO_X(9) ZERO_X(10) ZERO_X(11) ZERO_X(12) ZERO_X(13) ZERO_X(14) ZERO_X(15) ZERO_X(16)
                            ZERO_X(17) ZERO_X(19) ZERO_X(20) ZERO_X(21) ZERO_X(22) ZERO_X(23) ZERO_X(24) ZERO_X(25)
                                ZERO_X(26) ZERO_X(27) ZERO_X(28) "bl mg__signal_arrived\n" PAIRS(
                                    "ldp", "x", "d") "add sp, sp, #144\n .cfi_def_cfa_offset 16\n"
                                                     "ldp x29, x30, [sp], #16\n .cfi_def_cfa_offset 0\n"
                                                     "ret\n"
                                                     ".cfi_endproc\n"
                                                     ".size mg__arch_signal_entry, .-mg__arch_signal_entry\n");

enum { ESR = 0x45535201, EXTRA = 0x45585401, HEADER_BYTES = 8, SAVED_BYTES = 144 };

struct record {
    uint32_t magic, bytes;
};

struct extra {
    struct record head;
    uint64_t data;
    uint32_t bytes;
};

/* Clears what one record holds; the records themselves stay readable. */
static void scrub_record(unsigned char *at, const struct record *record) {
    struct extra extra;
    if (record->magic == ESR) return;
    if (record->magic == EXTRA && record->bytes >= sizeof extra) {
        memcpy(&extra, at, sizeof extra);
        mg__wipe((void *)(uintptr_t)extra.data, extra.bytes);
        return;
    }
    mg__wipe(at + HEADER_BYTES, record->bytes - HEADER_BYTES);
}

uintptr_t mg__arch_frame_stack(const void *context) {
    const ucontext_t *frame = context;
    return (uintptr_t)frame->uc_mcontext.sp;
}

void mg__arch_frame_scrub(void *context, void *saved) {
    ucontext_t *frame = context;
    unsigned char *at = frame->uc_mcontext.__reserved, *end = at + sizeof frame->uc_mcontext.__reserved;
    struct record record;
    mg__wipe(saved, SAVED_BYTES);
    mg__wipe(frame->uc_mcontext.regs, sizeof frame->uc_mcontext.regs);
    while (at + HEADER_BYTES <= end) {
        memcpy(&record, at, sizeof record);
        if (record.bytes < HEADER_BYTES || record.bytes > (size_t)(end - at)) return;
        scrub_record(at, &record);
        at += record.bytes;
    }
}
