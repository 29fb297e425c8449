/* The canary pattern: 16 random bytes, none of them zero (so that a stray string terminator is always noticed),
 * repeated by address. It is derived from no key. It rests on a read-only page that is kept out of dumps, and
 * out of children until there is a copied kind, whose children need it. Must not know: slots. */
#include "pages/canary.h"

typedef mg__lane lane;

#define pattern mg__canary_pattern
const unsigned char *mg__canary_pattern;

static void without_zeros(unsigned char *bytes) {
    for (size_t i = 0; i < 16; i++)
        if (bytes[i] == 0) bytes[i] = (unsigned char)(0xA5U ^ i);
    memcpy(bytes + 16, bytes, 16);
}

static memguard_status draw(unsigned char *page) {
    int error = mg__sys_random(page, 16);
    if (error != 0) return mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for the canaries (errno %d)", error);
    without_zeros(page);
    error = mg__sys_private_advise(page, mg__sys_page());
    if (error == 0) error = mg__sys_protect(page, mg__sys_page(), MG_ACCESS_READ);
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
}

memguard_status mg__canary_start(void) {
    int error = 0;
    if (pattern != NULL) return MEMGUARD_OK;
    unsigned char *page = mg__sys_map_table(mg__sys_page(), &error);
    if (page == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
    const memguard_status status = draw(page);
    if (status == MEMGUARD_OK)
        pattern = page;
    else
        (void)mg__sys_unmap(page, mg__sys_page()); /* it held nothing but randomness that was never used */
    return status;
}

memguard_status mg__canary_copy_on_fork(void) {
    const int error = mg__sys_copy_on_fork((void *)(uintptr_t)pattern, mg__sys_page());
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
}

static size_t head_bytes(const unsigned char *p, size_t bytes) {
    const size_t to_lane = (16 - ((uintptr_t)p & 15)) & 15;
    return mg__min_size(to_lane, bytes);
}

enum { COPIED_BYTES = 2048 }; /* a multiple of the pattern; memcpy is faster than our stores from about here on */

void mg__canary_fill(unsigned char *p, size_t bytes) {
    const size_t head = head_bytes(p, bytes);
    memcpy(p, pattern + ((uintptr_t)p & 15), head);
    p += head;
    bytes -= head;
    lane whole;
    memcpy(&whole, pattern, sizeof whole);
    const unsigned char *start = p, *const by_lanes = p + (mg__min_size(bytes, COPIED_BYTES) & ~(size_t)15);
    for (; p < by_lanes; p += 16)
        *(lane *)(void *)p = whole;
    bytes -= (size_t)(p - start);
    for (; bytes >= COPIED_BYTES; bytes -= COPIED_BYTES, p += COPIED_BYTES)
        memcpy(p, start, COPIED_BYTES);
    memcpy(p, bytes < 16 ? pattern : start, bytes);
    __asm__ volatile("" : : "r"(p) : "memory"); /* this is the wipe: it stays */
}

static unsigned differ_bytes(const unsigned char *p, const unsigned char *q, size_t bytes) {
    unsigned difference = 0;
    for (size_t i = 0; i < bytes; i++)
        difference |= (unsigned)(p[i] ^ q[i]);
    return difference;
}

bool mg__canary_intact(const unsigned char *p, size_t bytes) {
    const size_t head = head_bytes(p, bytes);
    unsigned difference = differ_bytes(p, pattern + ((uintptr_t)p & 15), head);
    p += head;
    bytes -= head;
    lane whole, sum0 = {0, 0}, sum1 = {0, 0}, sum2 = {0, 0}, sum3 = {0, 0};
    memcpy(&whole, pattern, sizeof whole);
    for (; bytes >= 64; bytes -= 64, p += 64) {
        const lane *at = (const lane *)(const void *)p;
        sum0 |= at[0] ^ whole;
        sum1 |= at[1] ^ whole;
        sum2 |= at[2] ^ whole;
        sum3 |= at[3] ^ whole;
    }
    for (; bytes >= 16; bytes -= 16, p += 16)
        sum0 |= *(const lane *)(const void *)p ^ whole;
    sum0 |= sum1 | sum2 | sum3;
    difference |= differ_bytes(p, pattern, bytes);
    const bool intact = (sum0[0] | sum0[1] | difference) == 0;
    /* Whoever finds wiped canaries must not end the process while the rest is being wiped. */
    return MG_LIKELY(intact) || atomic_load(&mg__bank_wiped);
}
