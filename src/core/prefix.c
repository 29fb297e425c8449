/* See prefix.h. A two-level list that only grows: 16 bytes a minute of sealing. Reading takes no lock: the number is
 * published after the bytes. Must not know: keys, secrets. */
#include "core/prefix.h"

/* A block lasts for two years of a prefix a minute, so that a server that gave up mmap(2) does not need another. Only its
 * touched pages take memory. */
enum { BLOCK = 1 << 20, BLOCKS = 16 };

struct prefix {
    unsigned char bytes[MG_PREFIX_BYTES];
};

static struct prefix *_Atomic blocks[BLOCKS];
_Atomic uint32_t *mg__prefix_number;
static _Atomic uint64_t drawn_ns;
static uint32_t drawn; /* under the mutex */
static struct mg__mutex mutex;

void mg__prefix_bytes(uint32_t number, unsigned char bytes[MG_PREFIX_BYTES]) {
    const uint32_t place = number - 1;
    const struct prefix *block = atomic_load_explicit(&blocks[(place / BLOCK) % BLOCKS], memory_order_acquire);
    memcpy(bytes, block[place % BLOCK].bytes, MG_PREFIX_BYTES);
}

uint32_t mg__prefix_current(unsigned char bytes[MG_PREFIX_BYTES]) {
    const uint32_t number = atomic_load_explicit(mg__prefix_number, memory_order_acquire);
    if (number != 0) mg__prefix_bytes(number, bytes);
    return number;
}

bool mg__prefix_is_unlocked(void) { return mg__mutex_is_free(&mutex); }

static memguard_status room_for_one_more(void) {
    int error = 0;
    if (drawn / BLOCK >= BLOCKS) return mg__fail(MEMGUARD_ERR_LIMIT, 0, "no more nonce prefixes: %u were drawn", drawn);
    if (atomic_load_explicit(&blocks[drawn / BLOCK], memory_order_relaxed) != NULL) return MEMGUARD_OK;
    struct prefix *block = mg__sys_map_sparse_table(sizeof(struct prefix) * BLOCK, &error);
    if (block == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, sizeof(struct prefix) * BLOCK);
    atomic_store_explicit(&blocks[drawn / BLOCK], block, memory_order_release);
    return MEMGUARD_OK;
}

static memguard_status draw(void) {
    const memguard_status status = room_for_one_more();
    if (status != MEMGUARD_OK) return status;
    struct prefix *block = atomic_load_explicit(&blocks[drawn / BLOCK], memory_order_relaxed);
    const int error = mg__sys_random(block[drawn % BLOCK].bytes, MG_PREFIX_BYTES);
    if (error != 0) return mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for a nonce prefix (errno %d)", error);
    drawn++;
    atomic_store_explicit(mg__prefix_number, drawn, memory_order_release);
    atomic_store_explicit(&drawn_ns, mg__sys_now_ns(), memory_order_relaxed);
    return MEMGUARD_OK;
}

memguard_status mg__prefix_redraw(void) {
    mg__mutex_lock(&mutex);
    const memguard_status status = draw();
    mg__mutex_unlock(&mutex);
    return status;
}

memguard_status mg__prefix_freshen(uint64_t now_ns) {
    const uint64_t age = now_ns - atomic_load_explicit(&drawn_ns, memory_order_relaxed);
    /* A clock read before another thread's redraw gives a huge age: not old, but in the future. */
    if (age < MG_PREFIX_LIFE_S * 1000000000ULL || age > UINT64_MAX / 2) return MEMGUARD_OK;
    return mg__prefix_redraw();
}

static memguard_status make_page(void) {
    int error = 0;
    _Atomic uint32_t *page = mg__sys_map_table(mg__sys_page(), &error);
    if (page == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
    /* Without it the fork gate still keeps children from sealing. */
    (void)mg__sys_zero_on_fork((void *)page, mg__sys_page());
    mg__prefix_number = page;
    return MEMGUARD_OK;
}

memguard_status mg__prefix_leave_on_fork(void) {
    const int error = mg__sys_zero_on_fork((void *)mg__prefix_number, mg__sys_page());
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
}

memguard_status mg__prefix_start(void) {
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&mutex);
    if (mg__prefix_number == NULL) status = make_page();
    if (status == MEMGUARD_OK && drawn == 0) status = draw();
    mg__mutex_unlock(&mutex);
    return status;
}
