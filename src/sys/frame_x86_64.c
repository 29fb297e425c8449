/* The register area of a signal frame, for Linux on x86-64. Sources: Linux arch/x86/include/uapi/asm/sigcontext.h (struct
 * _fpstate_64 and _fpx_sw_bytes: how long the area is that XSAVE wrote), System V ABI for AMD64.
 * Must not know: why it is cleared, what was in the registers. */
#define _GNU_SOURCE
#include "sys/signals.h"

#include <ucontext.h>

/* All registers that signal delivery leaves as they were, but the three arguments; the vector ones are reset by the kernel.
 * The frame keeps them for sigreturn, so nothing need be preserved. */
__asm__(".text\n"
        ".globl mg__arch_signal_entry\n"
        ".hidden mg__arch_signal_entry\n"
        ".type mg__arch_signal_entry, @function\n"
        "mg__arch_signal_entry:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "xor %eax, %eax\n xor %ecx, %ecx\n xor %ebx, %ebx\n xor %ebp, %ebp\n"
        "xor %r8d, %r8d\n xor %r9d, %r9d\n xor %r10d, %r10d\n xor %r11d, %r11d\n"
        "xor %r12d, %r12d\n xor %r13d, %r13d\n xor %r14d, %r14d\n xor %r15d, %r15d\n"
        "jmp mg__signal_arrived\n"
        ".cfi_endproc\n"
        ".size mg__arch_signal_entry, .-mg__arch_signal_entry\n");

enum {
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
    return (uintptr_t)frame->uc_mcontext.gregs[REG_RSP];
}

void mg__arch_frame_scrub(void *context) {
    ucontext_t *frame = context;
    unsigned char *vectors = (unsigned char *)frame->uc_mcontext.fpregs;
    /* r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx lie first and together; rsp, rip and what follows tell the fault. */
    mg__wipe(&frame->uc_mcontext.gregs[REG_R8], (size_t)REG_RSP * sizeof frame->uc_mcontext.gregs[0]);
    if (vectors != NULL) mg__wipe(vectors, vector_bytes(vectors));
}

_Static_assert(REG_R8 == 0 && REG_RCX == 14 && REG_RSP == 15 && REG_RIP == 16, "the order of saved registers");
