/* core/scrub: call_scrubbed: a host function on the caller's own stack, and nothing of it left below afterwards.
 * Must not know: what the function does. */
#include "sys/sys.h"

enum {
    ALWAYS_BYTES = 64 * 1024,
    STEP_BYTES = 4096,
    QUIET_BYTES = 32 * 1024,
    MARGIN_BYTES = 16 * 1024,
    FOREIGN_BYTES = 1024
};

/* How many bytes above `low` are below `here`, less a margin for whoever runs next. */
static size_t room_below(uintptr_t here, uintptr_t low) {
    return here - low > MARGIN_BYTES ? (size_t)(here - low) - MARGIN_BYTES : 0;
}

static bool block_is_zero(uintptr_t at) {
    const volatile uint64_t *words = (const volatile uint64_t *)at;
    uint64_t seen = 0;
    for (size_t i = 0; i < STEP_BYTES / 8; i++)
        seen |= words[i];
    return seen == 0;
}

/* How deep the stack was used: at least ALWAYS_BYTES, then on while less than QUIET_BYTES of zeros were seen. */
static size_t used_depth(uintptr_t here, size_t room) {
    size_t depth = ALWAYS_BYTES, quiet = 0;
    if (room <= ALWAYS_BYTES) return room;
    for (size_t at = depth + STEP_BYTES; at <= room && quiet < QUIET_BYTES; at += STEP_BYTES) {
        quiet += STEP_BYTES;
        if (block_is_zero((here & ~(uintptr_t)7) - at)) continue;
        depth = at;
        quiet = 0;
    }
    return depth;
}

static size_t scrub_depth(void) {
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t low = 0, high = 0;
    if (!mg__sys_stack_bounds(&low, &high) || here <= low || here >= high) return FOREIGN_BYTES;
    return used_depth(here, room_below(here, low));
}

memguard_status memguard_call_scrubbed(int (*fn)(void *arg), void *arg, int *result) {
    if (fn == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    mg__arch_init();
    const int returned = fn(arg);
    mg__arch_wipe_below(scrub_depth());
    mg__arch_clear_registers();
    if (result != NULL) *result = returned;
    return MEMGUARD_OK;
}
