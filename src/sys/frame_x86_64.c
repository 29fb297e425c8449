/* The register area of a signal frame, for Linux on x86-64. Sources: Linux arch/x86/include/uapi/asm/sigcontext.h
 * (struct _fpstate_64 and _fpx_sw_bytes: how long the area is that XSAVE wrote), System V ABI for AMD64. Must not
 * know: why it is cleared, what was in the registers. */
#define _GNU_SOURCE
#include "sys/signals.h"

#include <ucontext.h>

/* Saves what a function must preserve (handlers of others call this one as a function), and clears all registers but
 * the arguments; the vector ones are reset by the kernel. */
__asm__(".text\n"
        ".globl mg__arch_signal_entry\n"
        ".hidden mg__arch_signal_entry\n"
        ".type mg__arch_signal_entry, @function\n"
        "mg__arch_signal_entry:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbp, 0\n"
        "push %rbx\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbx, 0\n"
        "push %r12\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r12, 0\n"
        "push %r13\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r13, 0\n"
        "push %r14\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r14, 0\n"
        "push %r15\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r15, 0\n"
        "mov %rsp, %rcx\n"
        "sub $8, %rsp\n .cfi_adjust_cfa_offset 8\n"
        "xor %eax, %eax\n xor %ebx, %ebx\n xor %ebp, %ebp\n"
        "xor %r8d, %r8d\n xor %r9d, %r9d\n xor %r10d, %r10d\n xor %r11d, %r11d\n"
        "xor %r12d, %r12d\n xor %r13d, %r13d\n xor %r14d, %r14d\n xor %r15d, %r15d\n"
        "call mg__signal_arrived\n"
        "add $8, %rsp\n .cfi_adjust_cfa_offset -8\n"
        "pop %r15\n .cfi_adjust_cfa_offset -8\n .cfi_restore r15\n"
        "pop %r14\n .cfi_adjust_cfa_offset -8\n .cfi_restore r14\n"
        "pop %r13\n .cfi_adjust_cfa_offset -8\n .cfi_restore r13\n"
        "pop %r12\n .cfi_adjust_cfa_offset -8\n .cfi_restore r12\n"
        "pop %rbx\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbx\n"
        "pop %rbp\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbp\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size mg__arch_signal_entry, .-mg__arch_signal_entry\n");

enum {
    SAVED_BYTES = 48,      /* by the entry */
    RED_ZONE = 128,        /* below a stack pointer, a leaf function's; the kernel leaves it alone */
    LEGACY_BYTES = 512,    /* what FXSAVE writes */
    SOFTWARE_OFFSET = 464, /* struct _fpx_sw_bytes in there: magic1, extended_size */
    XSTATE_MAGIC1 = 0x46505853,
    MOST_BYTES = 64 * 1024
};

static size_t vector_bytes(const unsigned char *area) {
    uint32_t told[2];
    memcpy(told, area + SOFTWARE_OFFSET, sizeof told);
    const bool extended = told[0] == XSTATE_MAGIC1 && told[1] >= LEGACY_BYTES && told[1] <= MOST_BYTES;
    return extended ? told[1] : LEGACY_BYTES;
}

uintptr_t mg__arch_frame_stack(const void *context) {
    const ucontext_t *frame = context;
    return (uintptr_t)frame->uc_mcontext.gregs[REG_RSP] - RED_ZONE;
}

void mg__arch_frame_scrub(void *context, void *saved) {
    ucontext_t *frame = context;
    unsigned char *vectors = (unsigned char *)frame->uc_mcontext.fpregs;
    /* r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx lie first and together; rsp, rip and what follows tell the fault. */
    mg__wipe(&frame->uc_mcontext.gregs[REG_R8], (size_t)REG_RSP * sizeof frame->uc_mcontext.gregs[0]);
    if (vectors != NULL) mg__wipe(vectors, vector_bytes(vectors));
    mg__wipe(saved, SAVED_BYTES);
}

_Static_assert(REG_R8 == 0 && REG_RCX == 14 && REG_RSP == 15 && REG_RIP == 16, "the order of saved registers");
