/* Use pages: guarded pages that are always writable, in which `use` shows bytes without any change of access. A
 * small pool; who finds it empty takes a guarded slot instead. Must not know: whose bytes; `owner` is a number that
 * a purge compares. */
#include "pages/bank.h"

enum { MOST_PAGES = 64, TAKING_OVER = 1 };
enum { IDLE, BUSY, LEFT }; /* `busy` */

struct pool {
    struct mg__use_page pages[MOST_PAGES];
    _Alignas(MG_CACHE_LINE) _Atomic unsigned count;
    unsigned most; /* under `grow` */
    struct mg__mutex grow;
};

static struct pool pools[MG_KINDS];
static _Atomic uint64_t waits;
/* Where this thread had a page last, plus 1, and looks first: see bench.c. */
static MG_THREAD unsigned last_place;

static memguard_status furnish(struct mg__use_page *page, enum mg__kind kind) {
    memguard_status status = mg__region_take(kind, mg__sys_page(), &page->region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(page->region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) {
        mg__region_give(page->region, 0);
        page->region = NULL;
    }
    return status;
}

static unsigned most_pages(void) {
    const unsigned wanted = mg__sys_processors() * 2;
    const size_t affordable =
        mg__budget_share(16, 2 * mg__sys_page(), (size_t)MOST_PAGES * mg__sys_page()) / mg__sys_page();
    const unsigned most = wanted < MOST_PAGES ? wanted : MOST_PAGES;
    return most < affordable ? most : (unsigned)affordable;
}

static memguard_status grow(struct pool *pool, enum mg__kind kind) {
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_relaxed);
    if (pool->most == 0) pool->most = most_pages();
    if (count >= pool->most) return MEMGUARD_ERR_LIMIT;
    const memguard_status status = furnish(&pool->pages[count], kind);
    if (status == MEMGUARD_OK) atomic_store_explicit(&pool->count, count + 1, memory_order_release);
    return status;
}

static struct mg__use_page *try_take(struct pool *pool) {
    const unsigned count = atomic_load_explicit(&pool->count, memory_order_acquire);
    unsigned i = last_place - 1;
    if (MG_UNLIKELY(i >= count)) i = count == 0 ? 0 : mg__thread_hint() % count;
    for (unsigned tried = 0; tried < count; tried++) {
        struct mg__use_page *page = &pool->pages[i];
        uint32_t idle = IDLE;
        if (MG_LIKELY(atomic_load_explicit(&page->busy, memory_order_relaxed) == IDLE &&
                      atomic_compare_exchange_strong_explicit(&page->busy, &idle, BUSY, memory_order_acquire,
                                                              memory_order_relaxed))) {
            last_place = i + 1;
            return page;
        }
        if (++i == count) i = 0;
    }
    return NULL;
}

/* A page whose region a purge took away gets a new one at its next use. */
static bool refurnish(struct mg__use_page *page, enum mg__kind kind) {
    if (MG_LIKELY(page->region != NULL) || furnish(page, kind) == MEMGUARD_OK) return true;
    atomic_store_explicit(&page->busy, IDLE, memory_order_release);
    return false;
}

struct mg__use_page *mg__use_page_take(enum mg__kind kind) {
    struct pool *pool = &pools[kind];
    struct mg__use_page *page = try_take(pool);
    if (MG_UNLIKELY(page == NULL)) {
        mg__mutex_lock(&pool->grow);
        const memguard_status status = grow(pool, kind);
        mg__mutex_unlock(&pool->grow);
        if (status == MEMGUARD_OK) page = try_take(pool);
    }
    return page != NULL && refurnish(page, kind) ? page : NULL;
}

/* Release is enough, here and at the end: a purge looks at `owner` only after it has seen, in the holder's entry,
 * that all pins are in the host's hands; and the holder changes that entry after this store, and again before the
 * next one. */
void mg__use_page_show(struct mg__use_page *page, uint64_t owner) {
    atomic_store_explicit(&page->owner, owner, memory_order_release);
}

void mg__use_page_end(struct mg__use_page *page, bool revoked) {
    unsigned step = 0;
    if (MG_LIKELY(!revoked)) atomic_store_explicit(&page->owner, 0, memory_order_release);
    while (revoked && atomic_load(&page->owner) != 0)
        mg__sys_backoff(&step);
}

void mg__use_page_give(struct mg__use_page *page, size_t data_bytes) {
    if (MG_UNLIKELY(atomic_load_explicit(&page->region->state, memory_order_relaxed) == MG_REGION_REVOKED))
        page->region = NULL; /* retired when it was revoked; the next holder gets another */
    else
        mg__canary_fill(mg__region_data(page->region, data_bytes), data_bytes);
    atomic_store_explicit(&page->busy, IDLE, memory_order_release);
}

memguard_status mg__use_page_prepare(enum mg__kind kind, unsigned parallel) {
    struct pool *pool = &pools[kind];
    memguard_status status = MEMGUARD_OK;
    if (parallel > MOST_PAGES) parallel = MOST_PAGES;
    mg__mutex_lock(&pool->grow);
    if (pool->most == 0) pool->most = most_pages();
    if (pool->most < parallel) pool->most = parallel;
    while (status == MEMGUARD_OK && atomic_load_explicit(&pool->count, memory_order_relaxed) < parallel)
        status = grow(pool, kind);
    mg__mutex_unlock(&pool->grow);
    return status;
}

void mg__use_page_fix_number(enum mg__kind kind) {
    struct pool *pool = &pools[kind];
    mg__mutex_lock(&pool->grow);
    pool->most = atomic_load_explicit(&pool->count, memory_order_relaxed);
    mg__mutex_unlock(&pool->grow);
}

size_t mg__use_page_prepare_bytes(enum mg__kind kind, unsigned parallel) {
    const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_relaxed);
    return parallel <= count ? 0 : (parallel - count) * mg__sys_page();
}

unsigned mg__use_page_count(void) {
    unsigned sum = 0;
    for (int kind = 0; kind < MG_KINDS; kind++)
        sum += atomic_load_explicit(&pools[kind].count, memory_order_relaxed);
    return sum;
}

static bool revoke_page(struct mg__use_page *page, uint64_t owner) {
    /* The holder keeps away from a page that is revoked until the owner is 0. */
    if (!atomic_compare_exchange_strong(&page->owner, &owner, TAKING_OVER)) return true;
    const bool taken = mg__region_revoke(page->region);
    atomic_store(&page->owner, 0);
    return taken;
}

bool mg__use_page_revoke(uint64_t owner) {
    bool taken = true;
    for (int kind = 0; kind < MG_KINDS; kind++) {
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_acquire);
        for (unsigned i = 0; i < count; i++)
            taken = revoke_page(&pools[kind].pages[i], owner) && taken;
    }
    return taken;
}

void mg__use_pages_forget_uncopied(void) {
    for (enum mg__kind kind = 0; !mg__kind_is_copied(kind); kind++)
        memset((void *)&pools[kind], 0, sizeof pools[kind]);
}

void mg__use_page_leave(struct mg__use_page *page) { atomic_store(&page->busy, LEFT); }

void mg__use_pages_take_back(void) {
    for (enum mg__kind kind = MG_KIND_LOCKED_COPIED; kind < MG_KINDS; kind++) {
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_acquire);
        for (unsigned i = 0; i < count; i++) {
            struct mg__use_page *page = &pools[kind].pages[i];
            if (atomic_load(&page->busy) != LEFT) continue;
            mg__use_page_end(page, false);
            mg__use_page_give(page, mg__sys_page());
        }
    }
}

void mg__use_page_note_wait(void) { atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed); }

uint64_t mg__use_page_waits(void) { return atomic_load_explicit(&waits, memory_order_relaxed); }

uint64_t mg__use_page_owner(const struct mg__region *region) {
    for (int kind = 0; kind < MG_KINDS; kind++) {
        const unsigned count = atomic_load_explicit(&pools[kind].count, memory_order_acquire);
        for (unsigned i = 0; i < count; i++) {
            const struct mg__use_page *page = &pools[kind].pages[i];
            if (page->region == region) return atomic_load_explicit(&page->owner, memory_order_acquire);
        }
    }
    return 0;
}
