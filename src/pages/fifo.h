/* A bounded lock-free FIFO of regions for many producers and consumers (D. Vyukov's bounded MPMC queue, 2010). Zero
 * pages are a valid empty queue: sequence numbers are stored relative to the cell's index. Must not know: what a
 * region holds. */
#ifndef MG_PAGES_FIFO_H
#define MG_PAGES_FIFO_H

#include "pages/bank.h"

enum { MG_FIFO_CELLS = 1 << 16 }; /* more slots than a process usually has mappings for */

struct mg__fifo_cell {
    _Atomic uint64_t sequence;
    struct mg__region *region;
};

struct mg__fifo {
    _Atomic(struct mg__fifo_cell *) cells; /* null until started */
    _Alignas(MG_CACHE_LINE) _Atomic uint64_t head;
    _Alignas(MG_CACHE_LINE) _Atomic uint64_t tail;
};

MG_MUST_USE int mg__fifo_start(struct mg__fifo *fifo);
/* NULL when empty, when not started, or when whoever pushes what is next has not come to its end. */
struct mg__region *mg__fifo_pop(struct mg__fifo *fifo);
/* The same, but waits for such a one, who may have lost the processor. For a second at the most: it may be this very
 * thread, interrupted by a signal. */
struct mg__region *mg__fifo_pop_patiently(struct mg__fifo *fifo);
/* false when full. */
MG_MUST_USE bool mg__fifo_push(struct mg__fifo *fifo, struct mg__region *region);
/* Empty and not started again, whatever is in it. */
void mg__fifo_forget(struct mg__fifo *fifo);
size_t mg__fifo_count(const struct mg__fifo *fifo);

#endif
