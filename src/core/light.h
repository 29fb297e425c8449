/* core/light: READ borrows of secrets that lie open (COMPACT, read-only MAPPED), without an atomic read-modify-write.
 *
 * An entry that is read often gets V in its word. From then on a reader does not change the word: in a seat of its thread's record
 * it notes what it reads, and then looks at word and gate; whoever wants something of the entry changes the word (or the gate) and
 * then looks at the seats of all threads. One of the two sees the other (J. Dekker's way), by fences of which those who look at seats
 * pay for both (sys.h). A seat tells as much as a pin does:
 *
 *     read 0                 free                                       (or a borrow that has a pin: only `mark`)
 *     read set, mark 0       busy: the library comes or goes, and will be done soon
 *     read set, mark set     held: in the host's hands
 *
 *   seize    X and T, so that comers wait; fence; a seat that reads it: all is given back, BUSY. None: V goes, and the owner is alone
 *   destroy  D and a pin; fence; the pin goes. Whoever leaves a dying entry, whose pins are all gone, looks at the seats after he
 *            has left: who finds none ends it (mg__entry_finish)
 *   purge    closes the gate; fence: now all light readers of the vault are in sight, and there will be no more. It looks at all seats
 *            once a pass. What it takes away: R and a pin; fence; it waits until no seat is busy with such an entry
 *
 * A seat is its thread's: this changes it by plain stores. Another thread that releases the view must keep it from doing so at the
 * same time: it claims the seat, by a bit in `read`, fences, and sees whether the owner was first. An owner that finds the
 * claim has it decided by compare-and-swap. A thread whose views are often released by others goes back to pins.
 *
 * Must not know: how bodies are laid out, who purges. */
#ifndef MG_CORE_LIGHT_H
#define MG_CORE_LIGHT_H

#include "core/vault.h"

/* Bits of an id that no index reaches. In `read`, a complement, they are set; cleared they say: another thread tries to release it,
 * and: it does. */
enum { MG_READ_CLAIMED_BIT = 31, MG_READ_TAKEN_BIT = 30 };
#define MG_READ_CLAIMED ((uint64_t)1 << MG_READ_CLAIMED_BIT)
#define MG_READ_TAKEN ((uint64_t)1 << MG_READ_TAKEN_BIT)
#define MG_MARK_LIGHT ((uint64_t)1 << (32 + MG_VIEW_SERIAL_BITS)) /* in the mark of a light reader */

/* The complement, so that a sweep for lost secrets finds no handle here. */
static inline uint64_t mg__read_of(uint64_t id) { return ~id; }

/* Whether the word is that of the secret, and it may be read lightly. */
static inline bool mg__light_fits(uint64_t word, uint64_t id) {
    const uint64_t above = ~(uint64_t)UINT32_MAX;
    const uint64_t looked_at = above | MG_WORD_L | MG_WORD_V | MG_WORD_S | MG_WORD_X | MG_WORD_D | MG_WORD_R;
    return ((word ^ ((id & above) | MG_WORD_L | MG_WORD_V)) & looked_at) == 0;
}

/* After the seat was left, and a fence: true when this may have been the last that a dying entry waited for. */
static inline bool mg__light_is_awaited(struct mg__entry *entry, uint64_t id) {
    const uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
    return MG_UNLIKELY((word & MG_WORD_D) != 0) && (word ^ id) >> 32 == 0;
}
/* What must follow then. */
void mg__light_finish(struct mg__entry *entry, uint64_t id);

/* After the seat's owner has taken the mark back, and fenced, he finds another `read` than his. true: it was his to take back. */
bool mg__seat_decide(struct mg__seat *seat, uint64_t read);

/* A release by whatever thread, also of what was taken away. STALE: released already. */
MG_MUST_USE memguard_status mg__light_release(struct mg__thread *began, struct mg__seat *seat, uint64_t mark,
                                              uint64_t id);

/* A secret that lies open was read, with a pin: makes V when that happens often. */
void mg__light_consider(const struct mg__vault *vault, struct mg__entry *entry);

/* Whether a seat reads it, held or busy. */
MG_MUST_USE bool mg__light_any(uint64_t id);
/* How many hold it. */
uint32_t mg__light_count(uint64_t id);
/* How many of the vault's light readers hold something. */
uint32_t mg__light_count_in(const struct mg__vault *vault);
/* After X, T and a pin were set where V is: true: it has no light reader and will get none; V and the bits `gone` are cleared.
 * false: it has, and all was given back. */
MG_MUST_USE bool mg__light_expel(struct mg__entry *entry, uint64_t gone);

/* With the gate closed and fenced. Waits until no light reader of the vault is busy; true: one holds. */
MG_MUST_USE bool mg__light_settles_held(const struct mg__vault *vault);
/* Sets N in all entries of the vault that have light readers, and are not revoked. */
void mg__light_note_readers(const struct mg__vault *vault);
/* Takes that back, if it is there. Without it nobody reads the entry lightly, nor will. The word changes. */
MG_MUST_USE bool mg__light_was_noted(struct mg__entry *entry);
/* After R: waits until nobody is busy with what was revoked; how many hold it. */
uint32_t mg__light_count_revoked(const struct mg__vault *vault);

#endif
