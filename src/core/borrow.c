/* core/borrow: use, acquire, release, equal. A borrow goes through phases that a purge can tell apart (table.h):
 * pinned (the library opens), held (the host has the bytes), pinned again (the library closes). No lock but the
 * entry's own T for shared views. Must not know: how keys are assembled; how bodies are laid out. */
#include "core/draft.h"
#include "core/light.h"
#include "pages/compact.h"

#include <errno.h>

enum { NEAR_BYTES = 512 };         /* of the pattern before shown bytes are checked after each use */
enum { USE_WAIT_NS = 1000000000 }; /* the longest wait of `use` for a page, when lockable memory is short */
enum { BEGIN_AGAIN = -1 };         /* no status: a fork waits for this call */

/* ---- what every borrow does first and last ---- */

struct borrow {
    struct mg__vault *vault;
    struct mg__entry *entry;
    struct mg__thread *thread;
};

static memguard_status refuse(struct borrow *borrow, bool held, memguard_status status) {
    mg__secret_after(borrow->entry, mg__entry_unpin(borrow->entry, held));
    return status;
}

/* Pinned (hold: and held), past the gate, one use counted. */
static memguard_status begin(uint64_t id, bool hold, struct borrow *borrow) {
    memguard_status status = mg__entry_pin(id, hold, &borrow->entry);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return mg__secret_refused(id, status);
    borrow->vault = mg__vault_of(borrow->entry);
    status = mg__gate_check(borrow->vault);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return refuse(borrow, hold, status);
    status = mg__limits_begin(borrow->entry, true);
    if (MG_LIKELY(status == MEMGUARD_OK)) return status;
    (void)refuse(borrow, hold, status);
    mg__limits_expire(id);
    return mg__fail_plain(status);
}

/* A purge that was asked for from inside a borrow may be waiting for this end. */
static void after_end(const struct mg__thread *whose) {
    if (MG_UNLIKELY(atomic_load(&mg__purges_deferred) != 0)) mg__purge_resume(whose);
}

static size_t size_of(const struct mg__entry *entry) { return mg__entry_bytes(entry); }
static uint32_t rest_of(const struct mg__entry *entry) { return mg__entry_rest(entry); }
static bool is_guarded(const struct mg__entry *entry) { return mg__entry_has(entry, MG_ENTRY_GUARDED); }

/* ---- shared views of SEALED and CLOSED secrets ---- */

static unsigned char *open_data(const struct mg__entry *entry) {
    struct mg__region *region = rest_of(entry) == MEMGUARD_SEALED ? mg__entry_open_region(entry) : entry->body.region;
    return mg__region_data(region, size_of(entry));
}

static memguard_status view_open(struct borrow *borrow, unsigned char **data) {
    struct mg__entry *entry = borrow->entry;
    memguard_status status = MEMGUARD_OK;
    mg__entry_lock(entry);
    struct mg__extra *extra = mg__entry_take_extra(entry);
    if (extra->views == 0) status = mg__open(borrow->vault, entry, MG_ACCESS_READ, data);
    if (status == MEMGUARD_OK) {
        extra->views++;
        *data = open_data(entry);
    }
    mg__entry_unlock(entry);
    return status;
}

static memguard_status view_close(struct mg__vault *vault, struct mg__entry *entry) {
    memguard_status status = MEMGUARD_OK;
    mg__entry_lock(entry);
    if (--mg__entry_extra(entry)->views == 0) status = mg__close(vault, entry, false);
    mg__entry_unlock(entry);
    return status;
}

/* ---- use ---- */

struct use {
    struct borrow borrow;
    memguard_fn *fn;
    void *arg;
    int *result; /* may be null */
    bool ours;   /* fn is the library's own: the bytes never are in the host's hands, and a purge waits for it */
    bool ran;
    memguard_status lost; /* not OK: fn forked, and this is a child in which the `use` cannot go on */
};

/* In a forked child, after fn: it touches nothing that is not here, and what is here ends. */
static void lose(const struct mg__show *show, struct mg__use_link *link) {
    const bool is_copied = mg__kind_is_copied(mg__link_vault(link)->kind);
    const struct mg__region *region = link->page != NULL ? link->page->region : mg__shown_region(link->shown);
    if (is_copied && region != NULL && atomic_load(&region->state) != MG_REGION_REVOKED)
        mg__canary_fill(region->base, region->bytes);
    /* A child that is refused for good keeps its books as they are. */
    if (show->lost != MEMGUARD_ERR_FORKED) mg__thread_drop_use(link);
}

memguard_status mg__vault_come_back(const struct mg__vault *vault, unsigned depth) {
    const memguard_status status = mg__call_unpark(depth);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    const bool stayed = atomic_load_explicit(&vault->gate, memory_order_relaxed) == MG_GATE_FORKED;
    return MG_UNLIKELY(stayed) ? mg__fail_plain(MEMGUARD_ERR_FORKED) : MEMGUARD_OK;
}

bool mg__show(struct mg__show *show, const unsigned char *data, size_t bytes) {
    struct mg__thread *thread = show->thread;
    struct mg__use_link link = {atomic_load_explicit(&show->vault->mark, memory_order_relaxed),
                                atomic_load_explicit(&thread->uses, memory_order_relaxed), show->entry, show->page,
                                show->shown};
    show->ran = mg__entry_hold(show->entry);
    if (MG_UNLIKELY(!show->ran)) return true;
    atomic_store_explicit(&thread->uses, &link, memory_order_relaxed);
    const unsigned depth = mg__call_park();
    const int result = show->fn(data, bytes, show->arg);
    if (show->result != NULL) *show->result = result;
    show->lost = mg__vault_come_back(show->vault, depth);
    atomic_store_explicit(&thread->uses, link.outer, memory_order_relaxed);
    if (MG_LIKELY(show->lost == MEMGUARD_OK)) return mg__entry_unhold(show->entry);
    lose(show, &link);
    return false;
}

/* Runs fn with the bytes in the host's hands, unless it is ours. false: they were revoked, or lost. */
static bool show(struct use *use, const unsigned char *data, struct mg__use_page *page) {
    const struct borrow *borrow = &use->borrow;
    if (use->ours) {
        use->ran = true;
        *use->result = use->fn(data, size_of(borrow->entry), use->arg);
        return true;
    }
    struct mg__show show = {.vault = borrow->vault,
                            .entry = borrow->entry,
                            .thread = borrow->thread,
                            .fn = use->fn,
                            .arg = use->arg,
                            .result = use->result,
                            .page = page};
    const bool whole = mg__show(&show, data, size_of(borrow->entry));
    use->ran = show.ran;
    use->lost = show.lost;
    return whole;
}

static memguard_status outcome(bool ran, bool whole) {
    if (MG_UNLIKELY(!ran)) return mg__fail_plain(MEMGUARD_ERR_STALE);
    return MG_LIKELY(whole) ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_REVOKED);
}

static memguard_status fill_page(struct use *use, unsigned char *data) {
    struct mg__entry *entry = use->borrow.entry;
    if (MG_LIKELY(rest_of(entry) == MEMGUARD_SEALED)) return mg__unseal_body(use->borrow.vault, entry, data);
    memcpy(data, entry->body.data, size_of(entry));
    mg__arch_clear_registers();
    return MEMGUARD_OK;
}

/* The bytes are shown in a use page: no change of access, no system call. */
static memguard_status use_in_page(struct use *use, struct mg__use_page *page) {
    struct mg__vault *vault = use->borrow.vault;
    const size_t bytes = size_of(use->borrow.entry);
    unsigned char *data = mg__region_data(page->region, bytes);
    bool intact = true;
    const memguard_status status = fill_page(use, data);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) {
        mg__use_page_give(page, bytes);
        return status;
    }
    mg__use_page_show(page, mg__entry_id(use->borrow.entry));
    const bool whole = show(use, data, page);
    if (MG_UNLIKELY(use->lost != MEMGUARD_OK)) return use->lost;
    mg__use_page_end(page, !whole);
    if (MG_LIKELY(whole)) intact = mg__region_intact_near(page->region, bytes, NEAR_BYTES);
    mg__use_page_give(page, MG_LIKELY(intact) ? bytes : mg__sys_page());
    if (MG_UNLIKELY(!intact)) mg__corrupted(vault, bytes);
    return outcome(use->ran, whole);
}

/* The bytes are shown where a view would be. */
static memguard_status use_in_view(struct use *use) {
    unsigned char *data = NULL;
    memguard_status status = view_open(&use->borrow, &data);
    if (status != MEMGUARD_OK) return status;
    const bool whole = show(use, data, NULL);
    if (MG_UNLIKELY(use->lost != MEMGUARD_OK)) return use->lost;
    if (whole) status = view_close(use->borrow.vault, use->borrow.entry);
    return status != MEMGUARD_OK ? status : outcome(use->ran, whole);
}

/* All use pages are busy: a guarded slot will do, if there is one; else wait for a page, unless this thread itself
 * keeps others waiting. */
static memguard_status use_without_page(struct use *use) {
    struct mg__vault *vault = use->borrow.vault;
    const bool may_wait = !mg__thread_borrows(use->borrow.thread, NULL);
    const uint64_t until = mg__sys_now_ns() + USE_WAIT_NS;
    unsigned step = 0;
    /* A compact slot is not a region: it waits for a page in any case. */
    memguard_status status =
        rest_of(use->borrow.entry) == MEMGUARD_COMPACT ? MEMGUARD_ERR_LOCK_LIMIT : use_in_view(use);
    if (status != MEMGUARD_ERR_LOCK_LIMIT || use->ran) return status;
    mg__use_page_note_wait();
    do {
        struct mg__use_page *page = mg__use_page_take(vault->kind);
        if (page != NULL) return use_in_page(use, page);
        mg__sys_backoff(&step);
        if ((atomic_load(&use->borrow.entry->word) & MG_WORD_D) != 0) return mg__fail_plain(MEMGUARD_ERR_STALE);
        if (mg__call_is_awaited()) return BEGIN_AGAIN;
    } while (may_wait && mg__sys_now_ns() < until);
    return mg__fail_lock_limit(mg__sys_lock_limit(), mg__budget_in_use(), mg__sys_page(), 0);
}

static bool fits_page(const struct mg__entry *entry) {
    const uint32_t rest = rest_of(entry);
    const bool copied = rest == MEMGUARD_SEALED || (rest == MEMGUARD_COMPACT && !is_guarded(entry));
    return copied && size_of(entry) <= mg__sys_page();
}

static memguard_status use_pinned(struct use *use) {
    if (MG_UNLIKELY(!fits_page(use->borrow.entry))) return use_in_view(use);
    struct mg__use_page *page = mg__use_page_take(use->borrow.vault->kind);
    return MG_LIKELY(page != NULL) ? use_in_page(use, page) : use_without_page(use);
}

static memguard_status use_once(uint64_t id, struct use *use) {
    memguard_status status = begin(id, false, &use->borrow);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = use_pinned(use);
    if (MG_UNLIKELY(use->lost != MEMGUARD_OK)) return status;
    if (MG_UNLIKELY(status != MEMGUARD_OK && !use->ran)) mg__limits_refund(use->borrow.entry);
    const bool over = mg__limits_end(use->borrow.entry);
    const enum mg__unpin left = mg__entry_unpin(use->borrow.entry, false);
    mg__secret_after(use->borrow.entry, left);
    if (MG_UNLIKELY(over && left == MG_UNPINNED)) mg__limits_expire(id);
    after_end(use->borrow.thread);
    return status;
}

static memguard_status use_secret(uint64_t id, struct use *use) {
    unsigned step = 0;
    mg__entry_prefetch(id); /* its second line would come only after the pin, which waits for the first */
    use->borrow.thread = mg__thread_self();
    if (MG_UNLIKELY(use->borrow.thread == NULL)) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    for (;;) {
        const memguard_status status = use_once(id, use);
        if (MG_LIKELY(status != BEGIN_AGAIN)) return status;
        const memguard_status back = mg__call_nap(&step);
        if (back != MEMGUARD_OK) return back;
    }
}

memguard_status memguard_secret_use(memguard_secret secret, memguard_fn *fn, void *arg, int *result) {
    struct use use = {.fn = fn, .arg = arg, .result = result};
    MG_REFUSE_FORKED();
    if (MG_UNLIKELY(fn == NULL)) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    return use_secret(secret.id, &use);
}

void memguard_secret_prefetch(memguard_secret secret) { mg__entry_prefetch(secret.id); }

memguard_status mg__secret_use_within(memguard_secret secret, memguard_fn *fn, void *arg, int *result) {
    struct use use = {.fn = fn, .arg = arg, .result = result, .ours = true};
    return use_secret(secret.id, &use);
}

struct comparison {
    const void *other;
    size_t bytes;
};

static int differs(const void *bytes, size_t size, void *arg) {
    const struct comparison *comparison = arg;
    if (size != comparison->bytes) return 1;
    const unsigned difference = mg__differ(bytes, comparison->other, size);
    mg__arch_clear_registers();
    return difference != 0;
}

memguard_status memguard_secret_equal(memguard_secret secret, const void *other, size_t bytes) {
    struct comparison comparison = {other, bytes};
    int result = 1;
    MG_REFUSE_FORKED();
    if (other == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const memguard_status status = mg__secret_use_within(secret, differs, &comparison, &result);
    if (status != MEMGUARD_OK) return status;
    return result == 0 ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_MISMATCH);
}

/* ---- acquire ---- */

_Static_assert(MG_VIEW_FIRST *((1U << MG_VIEW_SEGMENTS) - 1) <= 1U << MG_VIEW_PLACE_BITS, "a place fits the pin");

static uint64_t low_bits(uint64_t value, unsigned bits) { return value & (((uint64_t)1 << bits) - 1); }

static memguard_status note_view(memguard_view *view, const struct borrow *borrow, uint32_t access) {
    uint32_t place = 0, serial = 0;
    if (MG_UNLIKELY(!mg__thread_note_view(borrow->thread, borrow->vault, &place, &serial)))
        return mg__budget_fail(MG_KIND_PLAIN, ENOMEM, borrow->thread->places * sizeof(struct mg__seat)); /* for seats */
    view->pin[1] = mg__view_pin(borrow->thread->number, access, place, serial);
    return MEMGUARD_OK;
}

static uint32_t view_access(const memguard_view *view) {
    return (uint32_t)low_bits(view->pin[1] >> (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS), MG_VIEW_ACCESS_BITS);
}

static uint32_t view_serial(const memguard_view *view) { return (uint32_t)low_bits(view->pin[1], MG_VIEW_SERIAL_BITS); }

static uint32_t view_place(const memguard_view *view) {
    return (uint32_t)low_bits(view->pin[1] >> MG_VIEW_SERIAL_BITS, MG_VIEW_PLACE_BITS);
}

static struct mg__thread *view_thread(const memguard_view *view) {
    return mg__thread_by_number(
        (uint32_t)(view->pin[1] >> (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS + MG_VIEW_ACCESS_BITS)));
}

/* The first release of a view finds its mark, every other one does not. */
static bool take_mark(const memguard_view *view, struct mg__thread *thread, const struct mg__vault *vault) {
    return mg__thread_drop_view(thread, vault, view_place(view), view_serial(view));
}

static void fill_view(memguard_view *view, const struct borrow *borrow, uint64_t id, unsigned char *data) {
    view->data = data;
    view->size = size_of(borrow->entry);
    view->pin[0] = id;
}

/* COMPACT and read-only MAPPED secrets lie open: there is nothing to open or to close for a reader. */
static bool lies_open(const struct mg__entry *entry) {
    const unsigned flags = mg__entry_flags(entry);
    if (rest_of(entry) == MEMGUARD_COMPACT) return true;
    return rest_of(entry) == MEMGUARD_MAPPED && (flags & (MG_ENTRY_WRITABLE | MG_ENTRY_FROZEN)) != MG_ENTRY_WRITABLE;
}

static inline unsigned char *lying_data(const struct mg__entry *entry, size_t bytes) {
    if (rest_of(entry) == MEMGUARD_COMPACT && !is_guarded(entry)) return entry->body.data;
    return mg__region_data(entry->body.region, bytes);
}

static memguard_status open_for_reading(struct borrow *borrow, unsigned char **data) {
    if (MG_LIKELY(lies_open(borrow->entry))) {
        *data = lying_data(borrow->entry, size_of(borrow->entry));
        return MG_LIKELY(mg__entry_hold(borrow->entry)) ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_STALE);
    }
    const memguard_status status = view_open(borrow, data);
    if (status != MEMGUARD_OK || mg__entry_hold(borrow->entry)) return status;
    const memguard_status closed = view_close(borrow->vault, borrow->entry);
    return closed != MEMGUARD_OK ? closed : mg__fail_plain(MEMGUARD_ERR_STALE);
}

/* Pins the entry and notes the view; what fails after it must undo both. */
static memguard_status begin_reading(uint64_t id, struct borrow *borrow, memguard_view *view) {
    const memguard_status status = begin(id, false, borrow);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    const memguard_status noted = note_view(view, borrow, MEMGUARD_READ);
    if (MG_LIKELY(noted == MEMGUARD_OK)) return noted;
    mg__limits_refund(borrow->entry);
    return refuse(borrow, false, noted);
}

static memguard_status acquire_read(uint64_t id, struct borrow *borrow, memguard_view *view) {
    unsigned char *data = NULL;
    memguard_status status = begin_reading(id, borrow, view);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = open_for_reading(borrow, &data);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) {
        (void)take_mark(view, borrow->thread, borrow->vault); /* ours alone so far */
        mg__limits_refund(borrow->entry);
        return refuse(borrow, false, status);
    }
    fill_view(view, borrow, id, data);
    if (lies_open(borrow->entry)) mg__light_consider(borrow->vault, borrow->entry);
    return MEMGUARD_OK;
}

static memguard_status open_for_writing(struct borrow *borrow, memguard_view *view, unsigned char **data) {
    if (mg__entry_has(borrow->entry, MG_ENTRY_FROZEN)) return mg__fail_plain(MEMGUARD_ERR_FROZEN);
    memguard_status status = mg__limits_begin(borrow->entry, true);
    if (status == MEMGUARD_ERR_EXPIRED) mg__secret_expire(borrow->entry);
    if (status != MEMGUARD_OK) return status;
    status = note_view(view, borrow, MEMGUARD_WRITE);
    if (status != MEMGUARD_OK) {
        mg__limits_refund(borrow->entry);
        return status;
    }
    status = mg__open(borrow->vault, borrow->entry, MG_ACCESS_WRITE, data);
    if (status == MEMGUARD_OK && !mg__entry_hold(borrow->entry)) {
        status = mg__close(borrow->vault, borrow->entry, false);
        if (status == MEMGUARD_OK) status = mg__fail_plain(MEMGUARD_ERR_STALE);
    }
    if (status == MEMGUARD_OK) return status;
    (void)take_mark(view, borrow->thread, borrow->vault); /* ours alone so far */
    mg__limits_refund(borrow->entry);
    return status;
}

static memguard_status acquire_write(uint64_t id, struct borrow *borrow, memguard_view *view) {
    unsigned char *data = NULL;
    memguard_status status = mg__secret_seize((memguard_secret){id}, &borrow->vault, &borrow->entry);
    if (status != MEMGUARD_OK) return status;
    status = open_for_writing(borrow, view, &data);
    if (status != MEMGUARD_OK) {
        mg__secret_after(borrow->entry, mg__entry_unseize(borrow->entry));
        return status;
    }
    fill_view(view, borrow, id, data);
    return MEMGUARD_OK;
}

static memguard_status acquire(uint64_t id, uint32_t access, struct borrow *borrow, memguard_view *view) {
    if (MG_LIKELY(access == MEMGUARD_READ)) return acquire_read(id, borrow, view);
    if (access == MEMGUARD_WRITE) return acquire_write(id, borrow, view);
    return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "access %u: READ or WRITE", access);
}

__attribute__((noinline)) static memguard_status acquire_heavily(uint64_t id, uint32_t access, memguard_view *view) {
    struct borrow borrow = {0};
    if (view == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *view = (memguard_view){0};
    MG_REFUSE_FORKED();
    borrow.thread = mg__thread_self();
    if (MG_UNLIKELY(borrow.thread == NULL)) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    const memguard_status status = acquire(id, access, &borrow, view);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) *view = (memguard_view){0};
    return status;
}

/* ---- light readers (light.h) ---- */

static bool is_suspect(const struct mg__entry *entry) { return mg__entry_has_mark(entry, MG_MARK_SUSPECT); }

/* What a pin would find, too, it finds again, and says it. */
static inline bool may_read(const struct mg__entry *entry, uint64_t id, const struct mg__vault **vault) {
    if (MG_UNLIKELY(!mg__light_fits(atomic_load_explicit(&entry->word, memory_order_acquire), id))) return false;
    *vault = mg__vault_of(entry);
    return MG_LIKELY(atomic_load(&(*vault)->gate) == MG_GATE_OPEN && !is_suspect(entry));
}

/* With the seat noted nothing of the entry changes until it is left. */
static inline void sit_down(struct mg__thread *thread, const struct mg__vault *vault, const struct mg__entry *entry,
                            memguard_view *view) {
    const uint32_t serial = thread->serial = (thread->serial + 1) & ((1U << MG_VIEW_SERIAL_BITS) - 1);
    const uint64_t mark = atomic_load_explicit(&vault->mark, memory_order_relaxed);
    atomic_store_explicit(&thread->next_seat->mark, MG_MARK_LIGHT | (uint64_t)serial << 32 | mark,
                          memory_order_relaxed);
    view->size = mg__entry_few_bytes(entry);
    view->data = lying_data(entry, view->size);
    view->pin[1] = thread->next_pin | serial;
}

/* It came in the way of somebody, or too late. */
__attribute__((noinline, cold)) static memguard_status get_up(struct mg__thread *thread, struct mg__entry *entry,
                                                              uint64_t id, memguard_view *view) {
    atomic_store(&thread->next_seat->read, 0);
    if (mg__light_is_awaited(entry, id)) mg__light_finish(entry, id);
    return acquire_heavily(id, MEMGUARD_READ, view);
}

/* The word fits, and the seat is free. */
static inline memguard_status acquire_lightly(uint64_t id, struct mg__thread *thread, struct mg__entry *entry,
                                              memguard_view *view) {
    const struct mg__vault *vault = NULL;
    atomic_store_explicit(&thread->next_seat->read, mg__read_of(id), memory_order_relaxed);
    mg__sys_fence_known_light();
    if (MG_UNLIKELY(!may_read(entry, id, &vault))) return get_up(thread, entry, id, view);
    view->pin[0] = id;
    sit_down(thread, vault, entry, view);
    return MEMGUARD_OK;
}

static bool may_read_lightly(const struct mg__entry *entry, uint64_t id, const struct mg__thread *thread) {
    return mg__light_fits(atomic_load_explicit(&entry->word, memory_order_relaxed), id) && mg__sys_fences_are_light() &&
           MG_LIKELY(!atomic_load_explicit(&thread->heavy, memory_order_relaxed));
}

__attribute__((noinline)) static memguard_status acquire_slowly(uint64_t id, uint32_t access, memguard_view *view) {
    struct mg__thread *thread = mg__thread_known();
    struct mg__entry *entry = mg__entry_at(id);
    if (view != NULL && access == MEMGUARD_READ && mg__sys_is_surely_owner() && thread != NULL && entry != NULL &&
        may_read_lightly(entry, id, thread) && mg__thread_find_seat(thread))
        return acquire_lightly(id, thread, entry, view);
    return acquire_heavily(id, access, view);
}

/* Only in a process without copiers: there a call notes when it begins and ends, which costs more than a pin. Here nothing is kept
 * across a call, so nothing is saved for one. */
memguard_status memguard_secret_acquire(memguard_secret secret, uint32_t access, memguard_view *view) {
    struct mg__thread *thread = mg__thread_known();
    struct mg__entry *entry = mg__entry_at(secret.id);
    if (MG_UNLIKELY(view == NULL || access != MEMGUARD_READ || !mg__sys_is_surely_owner() || thread == NULL ||
                    entry == NULL || !may_read_lightly(entry, secret.id, thread) || thread->next_seat == NULL ||
                    !mg__seat_is_free(thread->next_seat)))
        return acquire_slowly(secret.id, access, view);
    return acquire_lightly(secret.id, thread, entry, view);
}

/* ---- release ---- */

static memguard_status release_read(struct mg__vault *vault, struct mg__entry *entry, uint64_t id) {
    /* A reader of a MAPPED secret could not have written: nothing to look at, and one atomic step does. */
    const bool open = rest_of(entry) == MEMGUARD_MAPPED && lies_open(entry);
    bool whole = true;
    memguard_status status = MEMGUARD_OK;
    if (!open) {
        whole = mg__entry_unhold(entry);
        if (whole)
            status = rest_of(entry) == MEMGUARD_COMPACT ? mg__close(vault, entry, false) : view_close(vault, entry);
    }
    const bool over = mg__limits_end(entry);
    const enum mg__unpin left = mg__entry_unpin(entry, open);
    mg__secret_after(entry, left);
    if (MG_UNLIKELY(over && left == MG_UNPINNED)) mg__limits_expire(id);
    if (MG_UNLIKELY(!whole || left == MG_UNPINNED_REVOKED || left == MG_LAST_OF_REVOKED))
        return mg__fail_plain(MEMGUARD_ERR_REVOKED);
    return status;
}

static memguard_status release_write(struct mg__vault *vault, struct mg__entry *entry, uint64_t id) {
    memguard_status status = MEMGUARD_OK;
    const bool whole = mg__entry_unhold(entry);
    if (whole) status = mg__close(vault, entry, true);
    const bool over = mg__limits_end(entry);
    const enum mg__unpin left = mg__entry_unseize(entry);
    mg__secret_after(entry, left);
    if (over && left == MG_UNPINNED) mg__limits_expire(id);
    /* Destroyed meanwhile, or a purge is under way, has taken the key and will come here: there is nothing to keep. */
    if (left == MG_LAST_OF_DYING || status == MEMGUARD_ERR_STALE) status = MEMGUARD_OK;
    return whole ? status : mg__fail_plain(MEMGUARD_ERR_REVOKED);
}

/* The entry that a view pins, its mark taken; NULL when the view was released already, or was never one. */
static struct mg__entry *take_pin(const memguard_view *view, struct mg__thread *began) {
    struct mg__entry *entry = mg__entry_at(view->pin[0]);
    if (entry == NULL || began == NULL) return NULL;
    const uint64_t word = atomic_load(&entry->word);
    const bool fits = (word ^ view->pin[0]) >> 32 == 0 && (word & (MG_WORD_L | MG_WORD_S)) == MG_WORD_L;
    const struct mg__vault *vault = mg__vault_of(entry);
    return fits && vault != NULL && take_mark(view, began, vault) ? entry : NULL;
}

/* In a forked child: of a vault that is not here. */
static bool stayed_behind(uint64_t id) {
    const struct mg__entry *entry = mg__entry_at(id);
    return entry != NULL && mg__word_refusal(atomic_load(&entry->word), id) == MEMGUARD_ERR_FORKED;
}

/* A light reader's view, by whatever thread. */
static memguard_status release_light(memguard_view *view, struct mg__thread *began) {
    const uint64_t id = view->pin[0];
    struct mg__seat *seat = began == NULL ? NULL : mg__thread_seat(began, view_place(view));
    const uint64_t mark = seat == NULL ? 0 : atomic_load(&seat->mark);
    const bool fits = mark >> 32 == (MG_MARK_LIGHT >> 32 | view_serial(view));
    *view = (memguard_view){0};
    if (!fits) return mg__fail_plain(MEMGUARD_ERR_STALE);
    const memguard_status status = mg__light_release(began, seat, mark, id);
    after_end(began);
    mg__thread_settle(began);
    return status;
}

__attribute__((noinline)) static memguard_status release_slowly(memguard_view *view) {
    if (view == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (view->pin[0] == 0) return MEMGUARD_OK;
    MG_REFUSE_FORKED();
    const uint64_t id = view->pin[0];
    const bool writes = view_access(view) == MEMGUARD_WRITE;
    struct mg__thread *began = view_thread(view);
    if (MG_UNLIKELY(stayed_behind(id))) return mg__fail_plain(MEMGUARD_ERR_FORKED);
    if (view_access(view) == MG_VIEW_LIGHT) return release_light(view, began);
    struct mg__entry *entry = take_pin(view, began);
    *view = (memguard_view){0};
    if (MG_UNLIKELY(entry == NULL)) return mg__fail_plain(MEMGUARD_ERR_STALE);
    struct mg__vault *vault = mg__vault_of(entry);
    const memguard_status status = writes ? release_write(vault, entry, id) : release_read(vault, entry, id);
    after_end(began);
    mg__thread_settle(began);
    return status;
}

/* Of a light reader, by the thread that acquired it, in the seat that it took last. */
__attribute__((noinline, cold)) static memguard_status end_slowly(struct mg__thread *thread, struct mg__entry *entry,
                                                                  uint64_t id, memguard_status status) {
    if (mg__light_is_awaited(entry, id)) mg__light_finish(entry, id);
    after_end(thread);
    return status;
}

static inline memguard_status end_lightly(struct mg__thread *thread, struct mg__seat *seat, struct mg__entry *entry,
                                          uint64_t id, memguard_status status) {
    atomic_store_explicit(&seat->read, 0, memory_order_release);
    mg__sys_fence_known_light();
    if (MG_UNLIKELY(mg__light_is_awaited(entry, id) || atomic_load(&mg__purges_deferred) != 0))
        return end_slowly(thread, entry, id, status);
    return status;
}

/* What it means that canaries are broken, mg__close knows. */
__attribute__((noinline)) static memguard_status end_compact(struct mg__thread *thread, struct mg__seat *seat,
                                                             struct mg__entry *entry, uint64_t id) {
    const memguard_status status = mg__close(mg__vault_of(entry), entry, false);
    return end_lightly(thread, seat, entry, id, status);
}

/* The mark was taken back, but it was revoked, or another thread tries the same. */
__attribute__((noinline, cold)) static memguard_status release_again(memguard_view *view, struct mg__seat *seat,
                                                                     uint64_t mark) {
    const uint64_t read = mg__read_of(view->pin[0]);
    if (atomic_load(&seat->read) == read || mg__seat_decide(seat, read)) atomic_store(&seat->mark, mark);
    return release_slowly(view);
}

/* As memguard_secret_acquire: nothing is kept across a call. */
memguard_status memguard_view_release(memguard_view *view) {
    struct mg__thread *thread = mg__thread_known();
    if (MG_UNLIKELY(view == NULL || thread == NULL || !mg__sys_is_surely_owner() || !mg__sys_fences_are_light() ||
                    (view->pin[1] ^ thread->next_pin) >> MG_VIEW_SERIAL_BITS != 0))
        return release_slowly(view);
    const uint64_t id = view->pin[0], read = mg__read_of(id);
    struct mg__seat *seat = thread->next_seat;
    const uint64_t mark = atomic_load_explicit(&seat->mark, memory_order_relaxed);
    if (MG_UNLIKELY(mark >> 32 != (MG_MARK_LIGHT >> 32 | view_serial(view)) ||
                    atomic_load_explicit(&seat->read, memory_order_relaxed) != read))
        return release_slowly(view);
    struct mg__entry *entry = mg__entry_known((uint32_t)id);
    atomic_store_explicit(&seat->mark, 0, memory_order_relaxed);
    mg__sys_fence_known_light();
    if (MG_UNLIKELY(atomic_load_explicit(&seat->read, memory_order_relaxed) != read ||
                    (atomic_load_explicit(&entry->word, memory_order_acquire) & MG_WORD_R) != 0))
        return release_again(view, seat, mark);
    *view = (memguard_view){0};
    if (rest_of(entry) == MEMGUARD_COMPACT &&
        MG_UNLIKELY(is_guarded(entry) || !mg__compact_data_intact(entry->body.data, mg__entry_few_bytes(entry))))
        return end_compact(thread, seat, entry, id);
    return end_lightly(thread, seat, entry, id, MEMGUARD_OK);
}
