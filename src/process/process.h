/* process: how the process ends: signals, crashes, exits, hardening. Arranges what core and sys offer.
 * Must not know: how handlers are installed, how pages are wiped. */
#ifndef MG_PROCESS_H
#define MG_PROCESS_H

#include <memguard/process.h>

#include "core/vault.h"

/* What handlers need: the mark that tells this process from its children, and which registers there are. Idempotent. */
MG_MUST_USE memguard_status mg__process_start(void);

#endif
