/* Benches: private locked stacks on which leaf calls into the cipher library run, so that no key, keystream or
 * plaintext is left on the host's stack. Layout: | guard | reserve, not locked | locked top | guard |. The locked
 * top takes what the library needs; a signal handler of the host that happens to run there finds 64 KiB of reserve
 * below. After each run a fixed depth is wiped; marks that a signal frame always leaves are looked for further down,
 * and when one is found the whole stack is wiped. Must not know: what runs on it. */
#include "pages/bank.h"

#include <errno.h>

enum { RESERVE_BYTES = 64 * 1024, MOST_BENCHES = 64, TAIL_BYTES = 1088 };
enum { STOP_WAIT_NS = 100000000 };                   /* the longest wait of an emergency wipe */
static const uint32_t stopped_for_ever = UINT32_MAX; /* in `busy` */

struct pool {
    struct mg__bench benches[MOST_BENCHES];
    _Alignas(MG_CACHE_LINE) _Atomic unsigned count;
    unsigned most; /* under `grow` */
    struct mg__mutex grow;
};

static struct pool pools[MG_KINDS];
/* Where this thread had a bench last, plus 1, and looks first: threads that met at one part for good, and none touches
 * a line that another one writes. 0: nowhere yet. */
static MG_THREAD unsigned last_place;

static int map_top(enum mg__kind kind, unsigned char *top_low, size_t bytes) {
    int error = 0;
    if (kind != MG_KIND_SECRETMEM) {
        error = mg__sys_private_map(top_low, bytes);
        return error != 0 || !mg__kind_is_locked(kind) ? error : mg__sys_lock(top_low, bytes);
    }
    mg__sys_hold_forks();
    const int descriptor = mg__sys_secret_open(bytes, &error);
    if (descriptor >= 0) {
        error = mg__sys_secret_map(descriptor, 0, top_low, bytes);
        mg__sys_close(descriptor);
    }
    if (error == 0) error = mg__sys_secret_advise(top_low, bytes);
    mg__sys_let_forks();
    return error;
}

static size_t locked_bytes(void) { return mg__budget_share(128, mg__sys_page(), 2 * mg__sys_page()); }

static int map_bench(enum mg__kind kind, struct mg__bench *bench, size_t locked) {
    int error = 0;
    const size_t page = mg__sys_page(), bytes = 2 * page + RESERVE_BYTES + locked;
    unsigned char *reservation = mg__sys_reserve(bytes, &error);
    if (reservation == NULL) return error;
    unsigned char *low = reservation + page, *top_low = low + RESERVE_BYTES;
    error = mg__kind_is_copied(kind) ? mg__sys_copied_advise(low, RESERVE_BYTES + locked)
                                     : mg__sys_private_advise(low, RESERVE_BYTES + locked);
    if (error == 0) error = mg__sys_private_map(low, RESERVE_BYTES);
    if (error == 0) error = map_top(kind, top_low, locked);
    if (error != 0) {
        (void)mg__sys_unmap(reservation, bytes); /* nothing was stored there */
        return error;
    }
    mg__budget_charge(kind, locked);
    bench->low = low;
    bench->top = top_low + locked;
    bench->watch_bytes =
        mg__min_size(RESERVE_BYTES - MG_BENCH_DEEP, (mg__arch_signal_frame_bytes() & ~(size_t)63) + TAIL_BYTES);
    bench->has_marks = mg__arch_has_frame_marks();
    return 0;
}

static unsigned most_benches(void) {
    const unsigned wanted = mg__sys_processors() * 2;
    const size_t affordable =
        mg__budget_share(8, 2 * locked_bytes(), (size_t)MOST_BENCHES * locked_bytes()) / locked_bytes();
    const unsigned most = wanted < MOST_BENCHES ? wanted : MOST_BENCHES;
    return most < affordable ? most : (unsigned)affordable;
}

/* One more bench, if the pool may grow. */
static int grow(struct pool *pool, enum mg__kind kind) {
    int error = 0;
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_relaxed);
    if (pool->most == 0) pool->most = most_benches();
    if (count >= pool->most) return EAGAIN;
    error = map_bench(kind, &pool->benches[count], locked_bytes());
    if (error == 0) atomic_store_explicit(&pool->count, count + 1, memory_order_release);
    return error;
}

static struct mg__bench *try_take(struct pool *pool) {
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_acquire);
    const uint32_t mine = mg__thread_hint();
    unsigned i = last_place - 1;
    if (MG_UNLIKELY(i >= count)) i = count == 0 ? 0 : mine % count;
    for (unsigned tried = 0; tried < count; tried++) {
        struct mg__bench *bench = &pool->benches[i];
        uint32_t idle = 0;
        if (MG_LIKELY(atomic_load_explicit(&bench->busy, memory_order_relaxed) == 0 &&
                      atomic_compare_exchange_strong_explicit(&bench->busy, &idle, mine + 1, memory_order_acquire,
                                                              memory_order_relaxed))) {
            last_place = i + 1;
            return bench;
        }
        if (++i == count) i = 0;
    }
    return NULL;
}

static memguard_status stopped(void) {
    return mg__fail(MEMGUARD_ERR_STATE, 0, "everything was wiped in an emergency: the process is to end");
}

/* All are busy. Grows the pool, or waits for one: leaf calls end soon. */
static memguard_status take_slowly(struct pool *pool, enum mg__kind kind, struct mg__bench **bench) {
    unsigned step = 0;
    if (atomic_load(&mg__bank_wiped)) return stopped();
    mg__mutex_lock(&pool->grow);
    const int error = grow(pool, kind);
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_relaxed);
    mg__mutex_unlock(&pool->grow);
    if (error != 0 && count == 0) return mg__budget_fail(kind, error, locked_bytes());
    while ((*bench = try_take(pool)) == NULL) {
        if (atomic_load(&mg__bank_wiped)) return stopped();
        mg__sys_backoff(&step);
    }
    return MEMGUARD_OK;
}

memguard_status mg__bench_take(enum mg__kind kind, struct mg__bench **bench) {
    *bench = try_take(&pools[kind]);
    return MG_LIKELY(*bench != NULL) ? MEMGUARD_OK : take_slowly(&pools[kind], kind, bench);
}

void mg__bench_give(enum mg__kind kind, struct mg__bench *bench) {
    (void)kind;
    atomic_store_explicit(&bench->busy, 0, memory_order_release);
}

typedef uint64_t lane __attribute__((vector_size(16), may_alias));

static bool is_zero(lane sum) { return (sum[0] | sum[1]) == 0; }

/* One 16-byte lane of every 64-byte line from `at` to `end`. */
static bool lanes_are_zero(const unsigned char *at, const unsigned char *end) {
    lane sum0 = {0, 0}, sum1 = {0, 0}, sum2 = {0, 0}, sum3 = {0, 0};
    for (; end - at >= 256; at += 256) {
        sum0 |= *(const lane *)(const void *)at;
        sum1 |= *(const lane *)(const void *)(at + 64);
        sum2 |= *(const lane *)(const void *)(at + 128);
        sum3 |= *(const lane *)(const void *)(at + 192);
    }
    for (; at < end; at += 64)
        sum0 |= *(const lane *)(const void *)at;
    return is_zero(sum0 | sum1 | sum2 | sum3);
}

static bool words_are_zero(const unsigned char *at, const unsigned char *end) {
    lane sum0 = {0, 0}, sum1 = {0, 0}, sum2 = {0, 0}, sum3 = {0, 0};
    for (; at < end; at += 64) {
        const lane *line = (const lane *)(const void *)at;
        sum0 |= line[0];
        sum1 |= line[1];
        sum2 |= line[2];
        sum3 |= line[3];
    }
    return is_zero(sum0 | sum1 | sum2 | sum3);
}

/* A signal frame of Linux on x86-64 is 64-byte aligned in its extended part and has nonzero words at offsets 16 to
 * 31 of some line (the mark FP_XSTATE_MAGIC1, and MXCSR). Behind the mark come less than TAIL_BYTES: where the mark
 * itself was wiped, the return address at the frame's end lies there, so there all words are looked at. Elsewhere
 * all words are looked at everywhere. */
static bool touched_below(const struct mg__bench *bench, size_t depth) {
    const unsigned char *end = bench->top - depth, *low = end - bench->watch_bytes;
    const unsigned char *tail = bench->has_marks ? end - TAIL_BYTES : low;
    if (MG_UNLIKELY(!words_are_zero(tail, end))) return true;
    return bench->has_marks && !lanes_are_zero(low + 16, tail);
}

void mg__bench_run(struct mg__bench *bench, void (*fn)(void *), void *arg, size_t depth) {
    mg__arch_call_on(bench->top, fn, arg);
    mg__wipe(bench->top - depth, depth);
    if (MG_UNLIKELY(touched_below(bench, depth))) mg__wipe(bench->low, (size_t)(bench->top - bench->low));
    mg__arch_clear_registers();
}

memguard_status mg__bench_call(enum mg__kind kind, void (*fn)(void *), void *arg, size_t depth) {
    struct mg__bench *bench = NULL;
    const memguard_status status = mg__bench_take(kind, &bench);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    mg__bench_run(bench, fn, arg, depth);
    mg__bench_give(kind, bench);
    return MEMGUARD_OK;
}

memguard_status mg__bench_prepare(enum mg__kind kind, unsigned parallel) {
    struct pool *pool = &pools[kind];
    int error = 0;
    if (parallel > MOST_BENCHES)
        return mg__fail(MEMGUARD_ERR_LIMIT, 0, "at most %d benches, and so as many calls at once", MOST_BENCHES);
    mg__mutex_lock(&pool->grow);
    if (pool->most == 0) pool->most = most_benches();
    if (pool->most < parallel) pool->most = parallel;
    while (error == 0 && atomic_load_explicit(&pool->count, memory_order_relaxed) < parallel)
        error = grow(pool, kind);
    mg__mutex_unlock(&pool->grow);
    return error == 0 ? MEMGUARD_OK : mg__budget_fail(kind, error, locked_bytes());
}

void mg__bench_fix_number(enum mg__kind kind) {
    struct pool *pool = &pools[kind];
    mg__mutex_lock(&pool->grow);
    pool->most = atomic_load_explicit(&pool->count, memory_order_relaxed);
    mg__mutex_unlock(&pool->grow);
}

size_t mg__bench_prepare_bytes(enum mg__kind kind, unsigned parallel) {
    const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_relaxed);
    return parallel <= count ? 0 : (parallel - count) * locked_bytes();
}

unsigned mg__bench_count(void) {
    unsigned sum = 0;
    for (int kind = 0; kind < MG_KINDS; kind++)
        sum += atomic_load_explicit(&pools[kind].count, memory_order_relaxed);
    return sum;
}

void mg__benches_forget_uncopied(void) {
    for (enum mg__kind kind = 0; !mg__kind_is_copied(kind); kind++)
        memset((void *)&pools[kind], 0, sizeof pools[kind]);
}

static size_t locked_part(const struct mg__bench *bench) { return (size_t)(bench->top - bench->low) - RESERVE_BYTES; }

uint64_t mg__benches_copied_bytes(void) {
    uint64_t sum = 0;
    const struct pool *pool = &pools[MG_KIND_LOCKED_COPIED];
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++)
        sum += locked_part(&pool->benches[i]);
    return sum;
}

/* They were idle, and so blank, when the fork happened. The reserve is not locked and gets frames as it is used. */
int mg__benches_own_copies(void) {
    int error = 0;
    for (enum mg__kind kind = MG_KIND_LOCKED_COPIED; kind < MG_KINDS; kind++) {
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_relaxed);
        for (unsigned i = 0; error == 0 && i < count; i++) {
            const struct mg__bench *bench = &pools[kind].benches[i];
            error =
                mg__sys_own(bench->low + RESERVE_BYTES, locked_part(bench), MG_ACCESS_WRITE, mg__kind_is_locked(kind));
        }
    }
    return error;
}

/* ---- emergency ---- */

static void each_bench(void (*visit)(struct mg__bench *bench, bool *any), bool *any) {
    for (int kind = 0; kind < MG_KINDS; kind++) {
        if (atomic_load(&mg__bank_is_parted) && !mg__kind_is_copied((enum mg__kind)kind)) continue;
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_acquire);
        for (unsigned i = 0; i < count; i++)
            visit(&pools[kind].benches[i], any);
    }
}

/* Takes an idle one out of use. One that the interrupted code of this very thread has is stopped already. */
static void stop_bench(struct mg__bench *bench, bool *any_at_work) {
    uint32_t user = 0;
    if (atomic_compare_exchange_strong(&bench->busy, &user, stopped_for_ever)) return;
    if (user != stopped_for_ever && user != mg__thread_hint() + 1) *any_at_work = true;
}

/* A cipher call under way wipes its bench itself when it ends, and does not survive that its stack is wiped meanwhile:
 * the process would die with half of its secrets wiped. So it has a while; it takes microseconds. */
void mg__bench_emergency_stop(void) {
    const uint64_t until = mg__sys_now_ns() + STOP_WAIT_NS;
    unsigned step = 0;
    bool any_at_work = true;
    atomic_store(&mg__bank_wiped, true);
    while (any_at_work) {
        any_at_work = false;
        each_bench(stop_bench, &any_at_work);
        if (mg__sys_now_ns() >= until) return;
        if (any_at_work) mg__sys_backoff(&step);
    }
}

static void wipe_bench(struct mg__bench *bench, bool *unused) {
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    (void)unused;
    /* A handler that was given no stack of its own runs on the bench that it interrupted: not under our own feet. */
    if (here >= (uintptr_t)bench->low && here < (uintptr_t)bench->top) return;
    mg__wipe_live(bench->low, (size_t)(bench->top - bench->low));
}

void mg__bench_emergency_wipe(void) { each_bench(wipe_bench, NULL); }

static void wipe_above_in(const struct pool *pool, uintptr_t stack) {
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        const uintptr_t low = (uintptr_t)pool->benches[i].low, top = (uintptr_t)pool->benches[i].top;
        if (stack >= low && stack < top) mg__wipe_live((void *)stack, top - stack);
    }
}

void mg__bench_wipe_above(uintptr_t stack) {
    stack &= ~(uintptr_t)7;
    for (int kind = 0; kind < MG_KINDS; kind++)
        wipe_above_in(&pools[kind], stack);
}

void mg__bench_each(void (*fn)(const struct mg__bench *bench, void *arg), void *arg) {
    for (int kind = 0; kind < MG_KINDS; kind++) {
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_acquire);
        for (unsigned i = 0; i < count; i++)
            fn(&pools[kind].benches[i], arg);
    }
}
