/* What only the processor can do, for x86-64: run a function on another stack, clear registers.
 * Sources: System V ABI for AMD64; Intel SDM (VZEROALL leaves zmm16-31 and k0-7 alone, which is why zero_call_used_regs
 * of the compilers is not enough).
 * Must not know: what the stack is for, what was in the registers. */
#include "sys/sys.h"

#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* rdi = top, rsi = fn, rdx = arg. The frame pointer keeps the old stack; unwinders follow it. Works under shadow
 * stacks: every call and return is a pair. */
__asm__(".text\n"
        ".globl mg__arch_call_on\n"
        ".hidden mg__arch_call_on\n"
        ".type mg__arch_call_on, @function\n"
        "mg__arch_call_on:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset rbp, -16\n"
        "mov %rsp, %rbp\n"
        ".cfi_def_cfa_register rbp\n"
        "mov %rdi, %rsp\n"
        "mov %rdx, %rdi\n"
        "call *%rsi\n"
        "mov %rbp, %rsp\n"
        "pop %rbp\n"
        ".cfi_def_cfa rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size mg__arch_call_on, .-mg__arch_call_on\n");

/* rdi = bytes. Stores downwards from the stack pointer: nothing of ours lies there, and a signal frame that comes
 * between is done with when we go on. */
__asm__(".text\n"
        ".globl mg__arch_wipe_below\n"
        ".hidden mg__arch_wipe_below\n"
        ".type mg__arch_wipe_below, @function\n"
        "mg__arch_wipe_below:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "mov %rdi, %rcx\n"
        "mov %rsp, %rdi\n"
        "sub %rcx, %rdi\n"
        "xor %eax, %eax\n"
        "rep stosb\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size mg__arch_wipe_below, .-mg__arch_wipe_below\n");

#define CLEAR_GENERAL                                                                                                  \
    "xor %eax, %eax\n xor %ecx, %ecx\n xor %edx, %edx\n xor %esi, %esi\n xor %edi, %edi\n"                             \
    "xor %r8d, %r8d\n xor %r9d, %r9d\n xor %r10d, %r10d\n xor %r11d, %r11d\n ret\n"
#define ZERO_SSE(n) "pxor %xmm" #n ", %xmm" #n "\n"
#define ZERO_HIGH(n) "vpxorq %zmm" #n ", %zmm" #n ", %zmm" #n "\n"
#define ZERO_MASK(n) "kxorw %k" #n ", %k" #n ", %k" #n "\n"
#define FUNCTION(name, body)                                                                                           \
    __asm__(".text\n.globl " name "\n.hidden " name "\n.type " name ", @function\n" name                               \
            ":\n.cfi_startproc\nendbr64\n" body CLEAR_GENERAL ".cfi_endproc\n.size " name ", .-" name "\n")

FUNCTION("mg__arch_clear_sse",
         ZERO_SSE(0) ZERO_SSE(1) ZERO_SSE(2) ZERO_SSE(3) ZERO_SSE(4) ZERO_SSE(5) ZERO_SSE(6) ZERO_SSE(7) ZERO_SSE(8)
             ZERO_SSE(9) ZERO_SSE(10) ZERO_SSE(11) ZERO_SSE(12) ZERO_SSE(13) ZERO_SSE(14) ZERO_SSE(15));
FUNCTION("mg__arch_clear_avx", "vzeroall\n");
FUNCTION("mg__arch_clear_avx512",
         "vzeroall\n" ZERO_HIGH(16) ZERO_HIGH(17) ZERO_HIGH(18) ZERO_HIGH(19) ZERO_HIGH(20) ZERO_HIGH(21) ZERO_HIGH(22)
             ZERO_HIGH(23) ZERO_HIGH(24) ZERO_HIGH(25) ZERO_HIGH(26) ZERO_HIGH(27) ZERO_HIGH(28) ZERO_HIGH(29)
                 ZERO_HIGH(30) ZERO_HIGH(31) ZERO_MASK(0) ZERO_MASK(1) ZERO_MASK(2) ZERO_MASK(3) ZERO_MASK(4)
                     ZERO_MASK(5) ZERO_MASK(6) ZERO_MASK(7) "vzeroupper\n");

void mg__arch_clear_sse(void);
void mg__arch_clear_avx(void);
void mg__arch_clear_avx512(void);

static void (*_Atomic clear)(void) = mg__arch_clear_sse;

void mg__arch_init(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        atomic_store_explicit(&clear, mg__arch_clear_avx512, memory_order_relaxed);
    else if (__builtin_cpu_supports("avx"))
        atomic_store_explicit(&clear, mg__arch_clear_avx, memory_order_relaxed);
}

void mg__arch_clear_registers(void) { atomic_load_explicit(&clear, memory_order_relaxed)(); }

bool mg__arch_has_private_stacks(void) { return true; }

bool mg__arch_has_frame_marks(void) { return true; }

size_t mg__arch_signal_frame_bytes(void) {
    const unsigned long told = getauxval(AT_MINSIGSTKSZ);
    return told > 2048 && told < (1U << 20) ? (size_t)told : 4096;
}
