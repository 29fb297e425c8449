/* See fifo.h. A cell's sequence is its turn: equal to the position when it may be filled, one more when it may be
 * emptied. */
#include "pages/fifo.h"

int mg__fifo_start(struct mg__fifo *fifo) {
    int error = 0;
    if (atomic_load(&fifo->cells) == NULL)
        atomic_store(&fifo->cells, mg__sys_map_sparse_table(sizeof(struct mg__fifo_cell) * MG_FIFO_CELLS, &error));
    return error;
}

static struct mg__fifo_cell *cell_at(struct mg__fifo *fifo, uint64_t position) {
    return &atomic_load_explicit(&fifo->cells, memory_order_acquire)[position & (MG_FIFO_CELLS - 1)];
}

static int64_t turn(struct mg__fifo_cell *cell, uint64_t position) {
    const uint64_t relative = atomic_load_explicit(&cell->sequence, memory_order_acquire);
    return (int64_t)(relative + (position & (MG_FIFO_CELLS - 1)) - position);
}

static void pass_turn(struct mg__fifo_cell *cell, uint64_t position, uint64_t sequence) {
    atomic_store_explicit(&cell->sequence, sequence - (position & (MG_FIFO_CELLS - 1)), memory_order_release);
}

bool mg__fifo_push(struct mg__fifo *fifo, struct mg__region *region) {
    uint64_t position = atomic_load_explicit(&fifo->tail, memory_order_relaxed);
    for (;;) {
        struct mg__fifo_cell *cell = cell_at(fifo, position);
        const int64_t ahead = turn(cell, position);
        if (ahead < 0) return false;
        if (ahead > 0) {
            position = atomic_load_explicit(&fifo->tail, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&fifo->tail, &position, position + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            cell->region = region;
            pass_turn(cell, position, position + 1);
            return true;
        }
    }
}

struct mg__region *mg__fifo_pop(struct mg__fifo *fifo) {
    if (MG_UNLIKELY(atomic_load_explicit(&fifo->cells, memory_order_acquire) == NULL)) return NULL;
    uint64_t position = atomic_load_explicit(&fifo->head, memory_order_relaxed);
    for (;;) {
        struct mg__fifo_cell *cell = cell_at(fifo, position);
        const int64_t ahead = turn(cell, position) - 1;
        if (ahead < 0) return NULL;
        if (ahead > 0) {
            position = atomic_load_explicit(&fifo->head, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&fifo->head, &position, position + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            struct mg__region *region = cell->region;
            pass_turn(cell, position, position + MG_FIFO_CELLS);
            return region;
        }
    }
}

enum { MOST_STEPS = 2000 }; /* about a second */

struct mg__region *mg__fifo_pop_patiently(struct mg__fifo *fifo) {
    struct mg__region *region = NULL;
    unsigned step = 0;
    while ((region = mg__fifo_pop(fifo)) == NULL && mg__fifo_count(fifo) != 0 && step < MOST_STEPS)
        mg__sys_backoff(&step);
    return region;
}

void mg__fifo_forget(struct mg__fifo *fifo) {
    struct mg__fifo_cell *cells = atomic_exchange(&fifo->cells, NULL);
    atomic_store(&fifo->head, 0);
    atomic_store(&fifo->tail, 0);
    if (cells != NULL) (void)mg__sys_unmap(cells, sizeof *cells * MG_FIFO_CELLS); /* at worst address space stays */
}

size_t mg__fifo_count(const struct mg__fifo *fifo) {
    const uint64_t head = atomic_load_explicit(&fifo->head, memory_order_relaxed);
    const uint64_t tail = atomic_load_explicit(&fifo->tail, memory_order_relaxed);
    return tail > head ? (size_t)(tail - head) : 0;
}
