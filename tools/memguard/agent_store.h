/* agent_store.h: the secrets of the agent: names, and for each a handle into one vault, where the bytes lie sealed. A second
 * vault, which is never locked, is for passphrases and what is derived from them. Every function may be called from any
 * thread. Must not know: sockets. */
#ifndef MEMGUARD_AGENT_STORE_H
#define MEMGUARD_AGENT_STORE_H

#include <memguard.h>
#include <stdbool.h>

#include "wire.h"

enum { STORE_MOST = 1024, STORE_BYTES_MOST = 64 << 20 };

struct store_options {
    uint32_t backend;
    uint64_t ttl_ms; /* for secrets that are set without one; 0: none */
};

/* Makes the vaults. False: said why. */
bool store_open(const struct store_options *options);

memguard_vault *store_vault(void);
memguard_vault *store_work(void);

/* Keeps room for a secret that is on its way; to be given back, or used up by store_put. */
enum wire_answer store_reserve(uint64_t bytes);
void store_give_back(uint64_t bytes);

/* Sets the limits, and gives the secret its name, in place of an earlier one. Whatever happens it is the store's, or
 * destroyed, and the room that was reserved for it is used up. */
enum wire_answer store_put(const char *name, memguard_secret secret, const struct wire_frame *terms);

struct store_found {
    memguard_secret secret;
    uint64_t bytes;
    uint32_t flags; /* WIRE_CONFIRM, WIRE_NO_REVEAL */
};
enum wire_answer store_find(const char *name, struct store_found *found);

/* Forgets `name` if it still is this secret, which a borrow in progress outlives. False: somebody else was faster. */
bool store_take(const char *name, memguard_secret secret);

enum wire_answer store_remove(const char *name);
uint64_t store_remove_all(void);

/* Calls `entry` for each secret in the order of names; nothing is held meanwhile. False: no memory, or it said false. */
bool store_each(bool (*entry)(const struct wire_frame *frame, const char *name, void *arg), void *arg);

void store_describe(struct wire_status *status);

/* Destroys all secrets and keys; no later call finds any. Answers how many secrets there were. */
uint64_t store_purge(void);

/* ---- locking ---- */

/* From now on requests are answered with LOCKED, as if the vault were: so that those at work come to an end. */
void store_close(void);
void store_reopen(void);
bool store_is_locked(void);

/* What a status of the library means to a client. */
enum wire_answer store_answer(memguard_status status);

#endif
