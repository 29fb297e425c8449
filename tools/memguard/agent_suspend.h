/* agent_suspend.h: locks the agent before the machine sleeps (--lock-on-suspend). Must not know: sockets, passphrases. */
#ifndef MEMGUARD_AGENT_SUSPEND_H
#define MEMGUARD_AGENT_SUSPEND_H

#include <stdbool.h>

#include "wire.h"

/* Begins to watch; lock_keep has been called. False: said why it cannot be done here. */
bool suspend_watch(void);

enum wire_suspend suspend_state(void);

/* Ends what was started for it, for good. */
void suspend_end(void);

#endif
