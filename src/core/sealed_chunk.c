/* See sealed_chunk.h. Must not know: the order of chunks, who reads and who writes what; how keys are assembled. */
#include "core/vault.h"

enum { LEAST_CHUNK = 64, MOST_CHUNK = 1 << 20, DEFAULT_CHUNK = 16384 };
enum { NEAR_BYTES = 512 }; /* of the pattern before bytes shown in a use page are checked after each use */
enum { SOON_NS = 100000 }; /* when to look again at a window whose side was busy */

/* ---- windows ---- */

static struct mg__window *window_of(struct mg__chunked *chunked, enum mg__side side) { return &chunked->windows[side]; }

unsigned char *mg__window_data(const struct mg__chunked *chunked, enum mg__side side) {
    return mg__region_data(chunked->windows[side].region, chunked->chunk_bytes);
}

memguard_status mg__window_open(struct mg__chunked *chunked, enum mg__side side) {
    struct mg__window *window = window_of(chunked, side);
    struct mg__region *region = NULL;
    if (MG_LIKELY(window->region != NULL)) return MEMGUARD_OK;
    memguard_status status = mg__region_take(chunked->vault->kind, chunked->chunk_bytes, &region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(region, MG_ACCESS_WRITE);
    if (status == MEMGUARD_OK)
        window->region = region;
    else
        mg__region_give(region, 0);
    return status;
}

void mg__window_blank(struct mg__chunked *chunked, enum mg__side side) {
    struct mg__window *window = window_of(chunked, side);
    window->used = 0;
    if (window->region != NULL) mg__canary_fill(mg__window_data(chunked, side), chunked->chunk_bytes);
}

void mg__window_close(struct mg__chunked *chunked, enum mg__side side) {
    struct mg__window *window = window_of(chunked, side);
    struct mg__region *region = window->region;
    if (region == NULL) return;
    window->region = NULL;
    window->used = 0;
    const bool intact = mg__region_intact(region, chunked->chunk_bytes);
    mg__region_give(region, intact ? chunked->chunk_bytes : region->bytes);
    if (!intact) mg__corrupted(chunked->vault, chunked->chunk_bytes);
}

/* Sealed where there is something to seal, then closed. Fails only without a key; then it stays as it is. */
static memguard_status put_away(struct mg__chunked *chunked, enum mg__side side) {
    const bool seals = side == MG_WRITING && chunked->kind->seal != NULL;
    const memguard_status status = seals ? chunked->kind->seal(chunked) : MEMGUARD_OK;
    if (status == MEMGUARD_OK) mg__window_close(chunked, side);
    return status;
}

/* ---- the list of open windows; its mutex is held ---- */

static void unlink_window(struct mg__windows *windows, struct mg__window *window) {
    struct mg__window *previous = window->previous, *next = window->next;
    if (previous != NULL)
        previous->next = next;
    else
        atomic_store_explicit(&windows->first, next, memory_order_relaxed);
    if (next != NULL)
        next->previous = previous;
    else
        windows->last = previous;
    atomic_store(&window->listed, false);
}

/* New ones come last, but for those of which the time had to be corrected. */
static void link_window(struct mg__windows *windows, struct mg__window *window, uint64_t look_ns) {
    struct mg__window *previous = windows->last;
    while (previous != NULL && previous->look_ns > look_ns)
        previous = previous->previous;
    struct mg__window *next =
        previous != NULL ? previous->next : atomic_load_explicit(&windows->first, memory_order_relaxed);
    window->look_ns = look_ns;
    window->previous = previous;
    window->next = next;
    if (previous != NULL)
        previous->next = window;
    else
        atomic_store_explicit(&windows->first, window, memory_order_relaxed);
    if (next != NULL)
        next->previous = window;
    else
        windows->last = window;
    atomic_store(&window->listed, true);
}

static void list(struct mg__window *window, uint64_t look_ns) {
    struct mg__windows *windows = &window->of->vault->windows;
    mg__mutex_lock(&windows->mutex);
    if (!atomic_load(&window->listed)) link_window(windows, window, look_ns);
    mg__mutex_unlock(&windows->mutex);
}

static void unlist(struct mg__window *window) {
    struct mg__windows *windows = &window->of->vault->windows;
    mg__mutex_lock(&windows->mutex);
    if (atomic_load(&window->listed)) unlink_window(windows, window);
    mg__mutex_unlock(&windows->mutex);
}

static bool keeps_open(const struct mg__chunked *chunked) {
    return !atomic_load_explicit(&chunked->vault->coffer.policy.strict, memory_order_relaxed);
}

/* A window that is not listed is closed when its side is left. */
void mg__window_fill(struct mg__chunked *chunked, enum mg__side side, size_t used) {
    struct mg__window *window = window_of(chunked, side);
    const bool first = window->used == 0;
    window->used = used;
    if (MG_LIKELY(!first) || !keeps_open(chunked)) return;
    const uint64_t due = mg__sys_now_ns() + chunked->vault->coffer.policy.lease_ns;
    atomic_store_explicit(&window->due_ns, due, memory_order_relaxed);
    if (MG_LIKELY(atomic_load(&window->listed))) return;
    list(window, due);
    mg__housekeeper_poke(due);
}

/* ---- the housekeeper's part ---- */

static enum mg__side side_of(const struct mg__window *window) {
    return window == &window->of->windows[MG_READING] ? MG_READING : MG_WRITING;
}

static bool is_dying(const struct mg__chunked *chunked) {
    return (atomic_load(&chunked->entry->word) & MG_WORD_D) != 0;
}

/* The side is taken. Gives when to look at the window again, 0 for not before it opens the next time. */
static uint64_t tend_taken(struct mg__window *window, uint64_t now_ns) {
    const uint64_t due = atomic_load_explicit(&window->due_ns, memory_order_relaxed);
    struct mg__chunked *chunked = window->of;
    const enum mg__side side = side_of(window);
    if (window->region == NULL) return 0;
    if (due > now_ns) return due;
    if (MG_LIKELY(put_away(chunked, side) == MEMGUARD_OK)) return 0;
    /* There is no key, but while a vault is being purged, and what is in it with it. */
    if (is_dying(chunked)) mg__window_close(chunked, side);
    return window->region == NULL ? 0 : now_ns + chunked->vault->coffer.policy.lease_ns;
}

/* The object is pinned, the window is not listed. */
static void tend_window(struct mg__window *window, uint64_t now_ns) {
    const uint64_t due = atomic_load_explicit(&window->due_ns, memory_order_relaxed);
    uint64_t again = now_ns + SOON_NS;
    if (due > now_ns) {
        list(window, due); /* it holds another chunk since; whoever is at it is left in peace */
    } else if (mg__mutex_try(&window->mutex)) {
        again = tend_taken(window, now_ns);
        if (again != 0) list(window, again);
        mg__mutex_unlock(&window->mutex);
    } else {
        /* Somebody is at it, and will see the wish when he leaves. If he has just looked: it is tried again soon. */
        atomic_store(&window->wanted, true);
        list(window, again);
    }
}

/* The first window whose time has come, with its object pinned; null: there is none, and *next_ns tells when there will
 * be. */
static struct mg__window *take_due(struct mg__windows *windows, uint64_t now_ns, uint64_t *next_ns) {
    struct mg__window *due = NULL;
    mg__mutex_lock(&windows->mutex);
    while (due == NULL) {
        struct mg__window *window = atomic_load_explicit(&windows->first, memory_order_relaxed);
        struct mg__entry *entry = NULL;
        *next_ns = window == NULL ? UINT64_MAX : window->look_ns;
        if (*next_ns > now_ns) break;
        unlink_window(windows, window);
        /* An object in the list exists: it leaves the list before it ends. One that somebody owns exclusively is just
         * being closed. */
        if (mg__entry_pin_object(window->of->id, window->of->kind->object, true, &entry) == MEMGUARD_OK)
            due = window;
        else
            link_window(windows, window, now_ns + SOON_NS);
    }
    mg__mutex_unlock(&windows->mutex);
    return due;
}

uint64_t mg__windows_tend(struct mg__vault *vault, uint64_t now_ns) {
    uint64_t next = UINT64_MAX;
    if (MG_LIKELY(atomic_load(&vault->windows.first) == NULL)) return next;
    for (struct mg__window *window; (window = take_due(&vault->windows, now_ns, &next)) != NULL;) {
        struct mg__chunked *chunked = window->of;
        tend_window(window, now_ns);
        mg__chunked_unpin(chunked);
    }
    return next;
}

/* ---- calls ---- */

memguard_status mg__chunked_pin(uint64_t id, enum mg__object object, struct mg__chunked **chunked) {
    struct mg__entry *entry = NULL;
    const memguard_status status = mg__entry_pin_object(id, object, false, &entry);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return mg__fail_plain(status);
    *chunked = entry->body.chunked;
    return MEMGUARD_OK;
}

void mg__chunked_unpin(struct mg__chunked *chunked) {
    struct mg__entry *entry = chunked->entry;
    mg__secret_after(entry, mg__entry_unpin(entry, false));
}

void mg__side_take(struct mg__chunked *chunked, enum mg__side side) {
    mg__mutex_lock(&window_of(chunked, side)->mutex);
}

void mg__side_leave(struct mg__chunked *chunked, enum mg__side side) {
    struct mg__window *window = window_of(chunked, side);
    const bool wanted = MG_UNLIKELY(atomic_load_explicit(&window->wanted, memory_order_relaxed)) &&
                        atomic_exchange(&window->wanted, false);
    if (window->region != NULL && (wanted || !atomic_load(&window->listed))) {
        const memguard_status status = put_away(chunked, side);
        if (status != MEMGUARD_OK) list(window, mg__sys_now_ns() + SOON_NS); /* the housekeeper tries again */
    }
    mg__mutex_unlock(&window->mutex);
}

memguard_status mg__chunked_begin(uint64_t id, enum mg__object object, enum mg__side side,
                                  struct mg__chunked **chunked) {
    memguard_status status = mg__chunked_pin(id, object, chunked);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    mg__side_take(*chunked, side);
    status = mg__gate_check((*chunked)->vault);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) mg__chunked_finish(*chunked, side);
    return status;
}

void mg__chunked_finish(struct mg__chunked *chunked, enum mg__side side) {
    mg__side_leave(chunked, side);
    mg__chunked_unpin(chunked);
}

/* ---- life ---- */

memguard_status mg__chunked_read_options(const memguard_stream_options *given, size_t *chunk_bytes) {
    memguard_stream_options options = {0};
    *chunk_bytes = DEFAULT_CHUNK;
    if (given == NULL) return MEMGUARD_OK;
    if (!mg__struct_is_known(given, given->size, sizeof(size_t), sizeof options))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0,
                        "options: size %zu is not a version of the struct, or its tail is not zero", given->size);
    memcpy(&options, given, mg__min_size(given->size, sizeof options));
    if (options.reserved != 0) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "a reserved field is not zero");
    if (options.chunk_bytes == 0) return MEMGUARD_OK;
    if (options.chunk_bytes < LEAST_CHUNK || options.chunk_bytes > MOST_CHUNK)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "chunk_bytes is %u: %d to %d", options.chunk_bytes, LEAST_CHUNK,
                        MOST_CHUNK);
    *chunk_bytes = options.chunk_bytes;
    return MEMGUARD_OK;
}

memguard_status mg__chunked_publish(memguard_vault *token, struct mg__chunked *chunked, size_t bytes, uint64_t *id) {
    const int error = mg__sys_random(chunked->object, sizeof chunked->object);
    memguard_status status =
        error == 0 ? MEMGUARD_OK : mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for an id (errno %d)", error);
    if (status == MEMGUARD_OK) status = mg__entry_begin(token, chunked->kind->object, &chunked->vault, &chunked->entry);
    if (status != MEMGUARD_OK) {
        chunked->kind->release(chunked);
        return status;
    }
    for (int side = 0; side < MG_SIDES; side++)
        chunked->windows[side].of = chunked;
    chunked->id = mg__entry_id(chunked->entry);
    chunked->entry->body.chunked = chunked;
    mg__entry_set_bytes(chunked->entry, bytes);
    return mg__entry_publish(chunked->vault, chunked->entry, id);
}

void mg__chunked_end(struct mg__entry *entry) {
    struct mg__chunked *chunked = entry->body.chunked;
    for (int side = 0; side < MG_SIDES; side++) {
        unlist(&chunked->windows[side]);
        mg__window_close(chunked, (enum mg__side)side);
    }
    chunked->kind->release(chunked);
    mg__entry_free(entry);
}

memguard_status mg__chunked_put_away(struct mg__entry *entry) {
    struct mg__chunked *chunked = entry->body.chunked;
    memguard_status status = put_away(chunked, MG_READING);
    if (status == MEMGUARD_OK) status = put_away(chunked, MG_WRITING);
    return status;
}

static bool revoke_shown(struct mg__chunked *chunked) {
    bool taken = true;
    mg__mutex_lock(&chunked->shown_mutex);
    for (struct mg__shown *shown = chunked->shown; shown != NULL; shown = shown->next) {
        taken = mg__region_revoke(shown->region) && taken;
        atomic_store(&shown->revoked, true);
    }
    mg__mutex_unlock(&chunked->shown_mutex);
    return taken;
}

bool mg__chunked_take_away(struct mg__entry *entry) {
    struct mg__chunked *chunked = entry->body.chunked;
    for (int side = 0; side < MG_SIDES; side++) {
        mg__side_take(chunked, (enum mg__side)side); /* at the most the housekeeper is at it */
        mg__window_close(chunked, (enum mg__side)side);
        mg__mutex_unlock(&chunked->windows[side].mutex);
    }
    return revoke_shown(chunked);
}

/* ---- one chunk ---- */

memguard_status mg__chunk_seal(struct mg__chunked *chunked, uint64_t tail, uint32_t *prefix, unsigned char *sealed,
                               const unsigned char *plain, size_t bytes) {
    struct mg__chunk_place place = {chunked->object, tail, *prefix};
    const memguard_status status = mg__coffer_seal_chunk(&chunked->vault->coffer, &place, sealed, plain, bytes);
    if (MG_LIKELY(status == MEMGUARD_OK)) *prefix = place.prefix;
    return mg__gate_explain(chunked->vault, status);
}

static void count_failure(struct mg__chunked *chunked) {
    atomic_fetch_add_explicit(&chunked->vault->auth_failures, 1, memory_order_relaxed);
}

memguard_status mg__chunk_unseal(struct mg__chunked *chunked, uint64_t tail, uint32_t prefix, unsigned char *plain,
                                 const unsigned char *sealed, size_t bytes) {
    const struct mg__chunk_place place = {chunked->object, tail, prefix};
    const memguard_status status = mg__coffer_unseal_chunk(&chunked->vault->coffer, &place, plain, sealed, bytes);
    if (MG_UNLIKELY(status == MEMGUARD_ERR_AUTH)) count_failure(chunked);
    return mg__gate_explain(chunked->vault, status);
}

memguard_status mg__chunk_missing(struct mg__chunked *chunked) {
    count_failure(chunked);
    return mg__fail(MEMGUARD_ERR_AUTH, 0, "a chunk that was sealed is not there any more");
}

/* ---- showing ---- */

memguard_status mg__viewer_begin(struct mg__viewer *viewer) {
    viewer->thread = mg__thread_self();
    return viewer->thread != NULL ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_MEMORY);
}

memguard_status mg__shown_take(const struct mg__chunked *chunked, size_t bytes, struct mg__shown *shown) {
    const enum mg__kind kind = chunked->vault->kind;
    *shown = (struct mg__shown){.bytes = bytes};
    if (bytes <= mg__sys_page()) shown->page = mg__use_page_take(kind);
    if (shown->page != NULL) return MEMGUARD_OK;
    memguard_status status = mg__region_take(kind, bytes, &shown->region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(shown->region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) mg__region_give(shown->region, 0);
    return status;
}

unsigned char *mg__shown_data(const struct mg__shown *shown) {
    return mg__region_data(shown->page != NULL ? shown->page->region : shown->region, shown->bytes);
}

static void drop(struct mg__shown *shown, size_t data_bytes) {
    if (shown->page != NULL)
        mg__use_page_give(shown->page, data_bytes);
    else
        mg__region_give(shown->region, data_bytes);
}

void mg__shown_drop(struct mg__shown *shown) { drop(shown, shown->bytes); }

/* From here on a purge may take the bytes away. */
static void announce(struct mg__chunked *chunked, struct mg__shown *shown) {
    if (shown->page != NULL) {
        mg__use_page_show(shown->page, chunked->id);
        return;
    }
    mg__mutex_lock(&chunked->shown_mutex);
    shown->next = chunked->shown;
    chunked->shown = shown;
    mg__mutex_unlock(&chunked->shown_mutex);
}

/* Its mutex is held, or nobody else is here. */
static void unlink_shown(struct mg__chunked *chunked, const struct mg__shown *shown) {
    struct mg__shown **link = &chunked->shown;
    while (*link != shown)
        link = &(*link)->next;
    *link = shown->next;
}

/* From here on no more. revoked: it does so, or has done; waits until that is over. */
static void withdraw(struct mg__chunked *chunked, struct mg__shown *shown, bool revoked) {
    unsigned step = 0;
    if (shown->page != NULL) {
        mg__use_page_end(shown->page, revoked);
        return;
    }
    while (revoked && !atomic_load(&shown->revoked))
        mg__sys_backoff(&step);
    mg__mutex_lock(&chunked->shown_mutex);
    unlink_shown(chunked, shown);
    mg__mutex_unlock(&chunked->shown_mutex);
}

/* ---- showing, in a forked child ---- */

struct mg__region *mg__shown_region(const struct mg__shown *shown) {
    return shown == NULL ? NULL : shown->region;
}

static struct mg__region *left; /* regions that showed bytes to threads which are not here */

void mg__shown_leave(struct mg__chunked *chunked, struct mg__shown *shown) {
    unlink_shown(chunked, shown);
    shown->region->next = left;
    left = shown->region;
}

void mg__shown_take_back(void) {
    while (left != NULL) {
        struct mg__region *region = left;
        left = region->next;
        mg__region_give(region, region->bytes);
    }
}

static bool is_intact(const struct mg__shown *shown) {
    if (shown->page != NULL) return mg__region_intact_near(shown->page->region, shown->bytes, NEAR_BYTES);
    return mg__region_intact(shown->region, shown->bytes);
}

static memguard_status show(struct mg__chunked *chunked, struct mg__shown *shown, const struct mg__viewer *viewer,
                            memguard_status *lost) {
    struct mg__show call = {.vault = chunked->vault,
                            .entry = chunked->entry,
                            .thread = viewer->thread,
                            .fn = viewer->fn,
                            .arg = viewer->arg,
                            .result = viewer->result,
                            .page = shown->page,
                            .shown = shown->page != NULL ? NULL : shown};
    announce(chunked, shown);
    const bool whole = mg__show(&call, mg__shown_data(shown), shown->bytes);
    *lost = call.lost;
    if (MG_UNLIKELY(*lost != MEMGUARD_OK)) return *lost;
    withdraw(chunked, shown, !whole);
    const bool intact = !whole || is_intact(shown);
    drop(shown, intact ? shown->bytes : (shown->page != NULL ? mg__sys_page() : shown->region->bytes));
    if (MG_UNLIKELY(!intact)) mg__corrupted(chunked->vault, shown->bytes);
    if (!call.ran) return mg__fail_plain(MEMGUARD_ERR_STALE);
    return whole ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_REVOKED);
}

memguard_status mg__shown_show(struct mg__chunked *chunked, struct mg__shown *shown, const struct mg__viewer *viewer) {
    memguard_status lost = MEMGUARD_OK;
    const memguard_status status = show(chunked, shown, viewer, &lost);
    if (MG_UNLIKELY(lost != MEMGUARD_OK)) return lost;
    mg__chunked_unpin(chunked);
    /* A purge that was asked for from inside fn may be waiting for this end. */
    if (MG_UNLIKELY(atomic_load(&mg__purges_deferred) != 0)) mg__purge_resume(viewer->thread);
    return status;
}
