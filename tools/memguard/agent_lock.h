/* agent_lock.h: locking the agent under a passphrase, and unlocking it. One at a time; a wrong passphrase puts the next
 * attempt off, longer each time, without making anybody wait. */
#ifndef MEMGUARD_AGENT_LOCK_H
#define MEMGUARD_AGENT_LOCK_H

#include <memguard.h>
#include <stdbool.h>

#include "wire.h"

/* Before the passphrase is asked for. LATER: *later_ms says when. */
enum wire_answer lock_may_be_tried(bool lock, uint64_t *later_ms);

enum wire_answer lock_store(memguard_secret passphrase);
enum wire_answer unlock_store(memguard_secret passphrase, uint64_t *later_ms);

/* For an agent that locks itself: keeps the key of the passphrase, and after each unlock that of the one given then, sealed in
 * the second vault until it is needed: whoever could open that one could open the first. Before clients come. */
memguard_status lock_keep(memguard_secret passphrase);

/* Locks under that key, and forgets it. Locked already: OK. */
memguard_status lock_now(void);

#endif
