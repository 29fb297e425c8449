/* process/lost: what the list, the watch and the sweep share.
 * Must not know: how secrets are sealed. */
#ifndef MG_PROCESS_LOST_H
#define MG_PROCESS_LOST_H

#include "core/vault.h"

#include <memguard/process.h>

/* Whether the entry is a live secret of the vault that has a body; *word: what was seen. */
MG_MUST_USE bool mg__lost_is_secret(struct mg__entry *entry, const struct mg__vault *vault, uint64_t *word);
/* Describes the entry as it was seen with `word`; false: it has ended since. */
MG_MUST_USE bool mg__lost_describe(struct mg__entry *entry, const struct mg__vault *vault, uint64_t word,
                                   memguard_lost *lost);

#endif
