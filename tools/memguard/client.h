/* client.h: talking to the agent. Every function says on standard error what went wrong and answers with the exit code that it
 * means (command.h), so that a verb returns it as it is. */
#ifndef MEMGUARD_CLIENT_H
#define MEMGUARD_CLIENT_H

#include <memguard.h>

#include "wire.h"

/* Makes this process undumpable and a vault for the secrets that pass through it. */
int client_vault(memguard_vault **vault);

/* The same, but the process's limits stay as they are, for a child that inherits them. */
int client_vault_beside_child(memguard_vault **vault);

/* Whether `name` may be a secret's; says what is wrong with it. */
bool client_name_is_good(const char *name);

/* One request without secret bytes. *reply is what came back (a frame in any case); *fd, if not null, the open connection when
 * there is more to read, else it is closed. */
int client_ask(const struct wire_frame *request, const char *name, struct wire_frame *reply, int *fd);

/* The same with the bytes of `secret` (their number is filled in). `start`: starts an agent when there is none. */
int client_give(struct wire_frame request, const char *name, memguard_secret secret, bool start,
                struct wire_frame *reply);

/* Shows `visit` what the agent holds, one after another. */
typedef void client_entry(const struct wire_frame *entry, const char *name, void *arg);
int client_list(client_entry *visit, void *arg);

/* Gets a secret from the agent straight into one of `vault`. `for_program`: it is handed on to a program, and not shown (see
 * --no-reveal). Counts as a use. */
int client_fetch(const char *name, bool for_program, memguard_vault *vault, memguard_secret *secret);

/* The same for a program, and the agent forgets it while it hands it out: of several at once, one gets it. When the sending fails in
 * the middle it is gone. */
int client_take(const char *name, memguard_vault *vault, memguard_secret *secret);

/* Asks the person at the terminal, without showing what is typed; `again`, if not null: a second time, to compare. */
int client_prompt(memguard_vault *vault, const char *text, const char *again, memguard_secret *secret);

/* Asks for a passphrase (twice: once more to compare) or reads a line of descriptor `fd`, if that is not -1. */
int client_passphrase(memguard_vault *vault, int fd, bool twice, memguard_secret *passphrase);

/* Says what an answer means, if it is not DONE. */
int client_explain(const struct wire_frame *reply, const char *name);

/* What the agent tells of itself. */
int client_status(struct wire_status *status);

/* Starts an agent if there is none. */
int client_need_agent(void);

/* Whether there may be one; says nothing when there is none. */
bool client_has_agent(void);

#endif
