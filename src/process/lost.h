/* process/lost: what the list, the watch and the sweep share.
 * Must not know: how secrets are sealed. */
#ifndef MG_PROCESS_LOST_H
#define MG_PROCESS_LOST_H

#include "core/vault.h"

#include <memguard/process.h>

/* STALE, or FORKED: the vault stayed in the parent. */
MG_MUST_USE memguard_status mg__lost_find(const memguard_vault *token, const struct mg__vault **vault);
/* Calls the host's function, for which forks do not wait. FORKED: this is a child in which the vault is not. */
MG_MUST_USE memguard_status mg__lost_tell(const struct mg__vault *vault, memguard_lost_fn *fn,
                                          const memguard_lost *lost, void *arg);
/* Whether the entry is a live secret of the vault that has a body, and whose handle somebody may know; *word: what was
 * seen. */
MG_MUST_USE bool mg__lost_is_secret(struct mg__entry *entry, const struct mg__vault *vault, uint64_t *word);
/* Describes the entry as it was seen with `word`; false: it has ended since. */
MG_MUST_USE bool mg__lost_describe(struct mg__entry *entry, const struct mg__vault *vault, uint64_t word,
                                   memguard_lost *lost);

#endif
