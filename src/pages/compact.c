/* Compact slots: many small plaintexts in one protected page, between canaries, with all bookkeeping out of band. An arena belongs to
 * one owner, so that its pages can be taken away together. A free slot holds the canary pattern everywhere.
 *
 *     | canary 16 | data | canary, directly behind the bytes, to the end of the slot |      data is 16-byte aligned
 *
 * Free slots of a class form a stack (R. K. Treiber, 1986) of numbers with a tag against ABA; pages and their bookkeeping are never
 * freed while the arena lives, so a late read of a link is harmless. Each thread keeps a few; few, since they lie in locked memory.
 * Must not know: what the bytes mean. */
#include "pages/compact.h"
#include "pages/canary.h"

#include <errno.h>
#include <stdlib.h>

enum {
    CANARY = 16,
    CLASSES = MG_COMPACT_LINES,
    PAGES_PER_BLOCK = 256,
    BLOCKS = 4096,
    LANES = MG_COMPACT_MOST / 16,
    KEPT_BYTES = 1024
};

static const uint16_t capacities[CLASSES] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, MG_COMPACT_MOST};

/* The smallest of these that fits, and the canary. */
const uint16_t mg__compact_ends[LANES + 1] = {
    32,   32,   48,   64,   80,   112,  112,  144,  144,  208,  208,  208,  208,  272, 272, 272,  272,
    400,  400,  400,  400,  400,  400,  400,  400,  528,  528,  528,  528,  528,  528, 528, 528,  784,
    784,  784,  784,  784,  784,  784,  784,  784,  784,  784,  784,  784,  784,  784, 784, 1040, 1040,
    1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040, 1040};

struct page {
    struct mg__region *region;
    uint16_t capacity;
    _Atomic uint32_t *next; /* per slot: number + 1 of the next free one, 0 at the end */
};

struct class_stack {
    _Alignas(MG_CACHE_LINE) _Atomic uint64_t head; /* tag << 32 | number + 1 */
};

struct mg__compact_arena {
    struct class_stack stacks[CLASSES];
    enum mg__kind kind;
    uint32_t kept[CLASSES]; /* how many slots a thread may keep */
    struct mg__mutex grow;
    _Atomic uint32_t pages;
    struct page *_Atomic blocks[BLOCKS];
};

/* A slot's number: page << 8 | slot. A page has at most 2^8 slots up to 12 KiB pages; larger ones are used in part. */
enum { SLOT_BITS = 8 };

const uint8_t mg__compact_classes[LANES + 1] = {0,  0,  1,  2,  3,  4,  4,  5,  5,  6,  6,  6,  6,  7,  7,  7,  7,
                                                8,  8,  8,  8,  8,  8,  8,  8,  9,  9,  9,  9,  9,  9,  9,  9,  10,
                                                10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11,
                                                11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11};

static struct page *page_of(const struct mg__compact_arena *arena, uint64_t number) {
    const uint64_t page = number >> SLOT_BITS;
    struct page *block = atomic_load_explicit(&arena->blocks[(page / PAGES_PER_BLOCK) % BLOCKS], memory_order_acquire);
    return &block[page % PAGES_PER_BLOCK];
}

static unsigned char *data_of(const struct page *page, uint64_t number) {
    const size_t slot = number & ((1U << SLOT_BITS) - 1);
    return page->region->base + slot * (page->capacity + 2U * CANARY) + CANARY;
}

static _Atomic uint32_t *link_of(const struct mg__compact_arena *arena, uint64_t number) {
    return &page_of(arena, number)->next[number & ((1U << SLOT_BITS) - 1)];
}

static void push(const struct mg__compact_arena *arena, struct class_stack *stack, uint64_t number) {
    _Atomic uint32_t *next = link_of(arena, number);
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_relaxed), wanted = 0;
    do {
        atomic_store_explicit(next, (uint32_t)head, memory_order_relaxed);
        wanted = (((head >> 32) + 1) << 32) | (number + 1);
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted, memory_order_release,
                                                    memory_order_relaxed));
}

static bool pop(const struct mg__compact_arena *arena, struct class_stack *stack, uint64_t *number) {
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_acquire), wanted = 0;
    do {
        if ((uint32_t)head == 0) return false;
        *number = (uint32_t)head - 1;
        wanted = (((head >> 32) + 1) << 32) | atomic_load_explicit(link_of(arena, *number), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted, memory_order_acquire,
                                                    memory_order_acquire));
    return true;
}

static memguard_status furnish(struct mg__compact_arena *arena, struct page *page, size_t slots) {
    page->next = calloc(slots, sizeof *page->next);
    if (page->next == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    memguard_status status = mg__region_take(arena->kind, mg__sys_page(), &page->region);
    if (status == MEMGUARD_OK) {
        status = mg__region_protect(page->region, MG_ACCESS_WRITE);
        if (status == MEMGUARD_OK) return status;
        mg__region_give(page->region, 0);
    }
    free((void *)page->next);
    page->next = NULL;
    page->region = NULL;
    return status;
}

static memguard_status add_block(struct mg__compact_arena *arena, uint32_t number) {
    if (number / PAGES_PER_BLOCK >= BLOCKS)
        return mg__fail(MEMGUARD_ERR_LIMIT, 0, "a vault has at most %d pages of compact secrets",
                        BLOCKS * PAGES_PER_BLOCK);
    if (atomic_load_explicit(&arena->blocks[number / PAGES_PER_BLOCK], memory_order_relaxed) != NULL)
        return MEMGUARD_OK;
    struct page *block = calloc(PAGES_PER_BLOCK, sizeof *block);
    if (block == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    atomic_store_explicit(&arena->blocks[number / PAGES_PER_BLOCK], block, memory_order_release);
    return MEMGUARD_OK;
}

/* One more page for a class; called with the mutex held. */
static memguard_status add_page(struct mg__compact_arena *arena, unsigned class) {
    const uint32_t number = atomic_load_explicit(&arena->pages, memory_order_relaxed);
    const size_t slots = mg__min_size(mg__sys_page() / (capacities[class] + 2U * CANARY), 1U << SLOT_BITS);
    memguard_status status = add_block(arena, number);
    if (status != MEMGUARD_OK) return status;
    struct page *page = page_of(arena, (uint64_t)number << SLOT_BITS);
    page->capacity = capacities[class];
    status = furnish(arena, page, slots);
    if (status != MEMGUARD_OK) return status;
    atomic_store_explicit(&arena->pages, number + 1, memory_order_release);
    for (size_t i = slots; i-- > 0;)
        push(arena, &arena->stacks[class], ((uint64_t)number << SLOT_BITS) | i);
    return MEMGUARD_OK;
}

/* About a kibibyte of each class, less where lockable memory is scarce. */
static void allow_to_keep(struct mg__compact_arena *arena) {
    const size_t bytes = mg__budget_share(8192, 0, KEPT_BYTES);
    for (unsigned class = 0; class < CLASSES; class ++) {
        const size_t slots = bytes / capacities[class];
        arena->kept[class] = slots > MG_COMPACT_KEPT ? MG_COMPACT_KEPT : slots < 1 ? 1 : (uint32_t)slots;
    }
}

memguard_status mg__compact_create(enum mg__kind kind, struct mg__compact_arena **arena) {
    int error = 0;
    size_t bytes = 0;
    if (!mg__round_up(sizeof **arena, mg__sys_page(), &bytes)) return mg__fail_plain(MEMGUARD_ERR_SIZE);
    *arena = mg__sys_map_table(bytes, &error);
    if (*arena == NULL) return mg__budget_fail(MG_KIND_PLAIN, error, bytes);
    (*arena)->kind = kind;
    allow_to_keep(*arena);
    return MEMGUARD_OK;
}

static void give_back(struct page *page) {
    mg__region_give(page->region, page->region->bytes);
    free((void *)page->next);
}

void mg__compact_destroy(struct mg__compact_arena *arena) {
    size_t bytes = 0;
    const uint32_t pages = atomic_load_explicit(&arena->pages, memory_order_acquire);
    for (uint32_t i = 0; i < pages; i++)
        give_back(page_of(arena, (uint64_t)i << SLOT_BITS));
    for (size_t i = 0; i < BLOCKS; i++) {
        struct page *block = atomic_load_explicit(&arena->blocks[i], memory_order_relaxed);
        if (block == NULL) break; /* they were made one after another */
        free(block);
    }
    /* The size was rounded once already, when the arena was made. */
    if (mg__round_up(sizeof *arena, mg__sys_page(), &bytes)) (void)mg__sys_unmap(arena, bytes);
}

bool mg__compact_revoke(struct mg__compact_arena *arena) {
    const uint32_t pages = atomic_load_explicit(&arena->pages, memory_order_acquire);
    bool taken = true;
    for (uint32_t i = 0; i < pages; i++)
        taken = mg__region_revoke(page_of(arena, (uint64_t)i << SLOT_BITS)->region) && taken;
    return taken;
}

size_t mg__compact_pages(const struct mg__compact_arena *arena) {
    return atomic_load_explicit(&arena->pages, memory_order_relaxed);
}

static memguard_status take_from_new_page(struct mg__compact_arena *arena, unsigned class, uint64_t *number) {
    memguard_status status = MEMGUARD_OK;
    mg__mutex_lock(&arena->grow);
    while (status == MEMGUARD_OK && !pop(arena, &arena->stacks[class], number))
        status = add_page(arena, class);
    mg__mutex_unlock(&arena->grow);
    return status;
}

/* ---- what a thread keeps ---- */

MG_THREAD struct mg__compact_cache *mg__my_compact;

/* The line for a class, taken over if it is empty. One in use is left to whoever uses it. */
static struct mg__compact_line *take_over(struct mg__compact_arena *arena, unsigned class) {
    struct mg__compact_line *line = mg__my_compact == NULL ? NULL : &mg__my_compact->lines[class];
    if (line == NULL || atomic_load_explicit(&line->count, memory_order_relaxed) != 0) return NULL;
    line->most = arena->kept[class];
    atomic_store_explicit(&line->arena, arena, memory_order_relaxed);
    return line;
}

/* `left` of them stay. */
static void move_out(struct mg__compact_arena *arena, unsigned class, struct mg__compact_line *line, uint32_t left) {
    for (uint32_t n = atomic_load_explicit(&line->count, memory_order_relaxed); n > left; n--) {
        atomic_store_explicit(&line->count, n - 1, memory_order_relaxed);
        push(arena, &arena->stacks[class], line->slots[n - 1].place);
    }
}

void mg__compact_give_back(struct mg__compact_cache *cache) {
    for (unsigned class = 0; class < CLASSES; class ++) {
        struct mg__compact_line *line = &cache->lines[class];
        move_out(atomic_load_explicit(&line->arena, memory_order_relaxed), class, line, 0);
    }
}

/* The count first: while there are slots of this arena in a line, nobody changes either. */
void mg__compact_forget(struct mg__compact_cache *cache, const struct mg__compact_arena *arena) {
    for (unsigned class = 0; class < CLASSES; class ++) {
        struct mg__compact_line *line = &cache->lines[class];
        if (atomic_load_explicit(&line->count, memory_order_acquire) == 0) continue;
        if (atomic_load_explicit(&line->arena, memory_order_relaxed) == arena)
            atomic_store_explicit(&line->count, 0, memory_order_relaxed);
    }
}

static inline void put(struct mg__compact_line *line, uint32_t count, struct mg__compact_slot slot) {
    line->slots[count] = (struct mg__compact_kept){~(uintptr_t)slot.data, slot.place};
    atomic_store_explicit(&line->count, count + 1, memory_order_release);
}

/* ---- slots ---- */

static MG_COLD memguard_status take_shared(struct mg__compact_arena *arena, unsigned class,
                                           struct mg__compact_slot *slot) {
    uint64_t number = 0;
    if (!pop(arena, &arena->stacks[class], &number)) {
        const memguard_status status = take_from_new_page(arena, class, &number);
        if (status != MEMGUARD_OK) return status;
    }
    slot->place = number;
    slot->data = data_of(page_of(arena, number), number);
    return MEMGUARD_OK;
}

memguard_status mg__compact_take(struct mg__compact_arena *arena, size_t bytes, struct mg__compact_slot *slot) {
    const unsigned class = mg__compact_class(bytes);
    struct mg__compact_line *line = mg__compact_line_of(mg__my_compact, arena, class);
    if (MG_UNLIKELY(!mg__compact_line_has_slots(line))) return take_shared(arena, class, slot);
    *slot = mg__compact_line_take(line);
    return MEMGUARD_OK;
}

bool mg__compact_intact(const struct mg__compact_slot *slot, size_t bytes) {
    return mg__compact_data_intact(slot->data, bytes);
}

/* The line is another's, or full: then half of it goes, too. */
static MG_COLD void give_shared(struct mg__compact_arena *arena, struct mg__compact_slot slot, unsigned class) {
    struct mg__compact_line *line = mg__compact_line_of(mg__my_compact, arena, class);
    if (line != NULL) move_out(arena, class, line, line->most / 2);
    if (line == NULL) line = take_over(arena, class);
    if (line != NULL)
        put(line, atomic_load_explicit(&line->count, memory_order_relaxed), slot);
    else
        push(arena, &arena->stacks[class], slot.place);
}

bool mg__compact_give(struct mg__compact_arena *arena, struct mg__compact_slot slot, size_t bytes) {
    const unsigned class = mg__compact_class(bytes);
    struct mg__compact_line *line = mg__compact_line_of(mg__my_compact, arena, class);
    if (MG_UNLIKELY(!mg__canary_end(slot.data, bytes, slot.data + mg__compact_ends[(bytes + 15) / 16]))) return false;
    const uint32_t count = line == NULL ? 0 : atomic_load_explicit(&line->count, memory_order_relaxed);
    if (MG_LIKELY(line != NULL && count < line->most))
        put(line, count, slot);
    else
        give_shared(arena, slot, class);
    return true;
}
