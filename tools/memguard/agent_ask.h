/* agent_ask.h: asking a person whether a secret may be used: by a program like ssh-askpass ($MEMGUARD_ASKPASS, else
 * $SSH_ASKPASS), or on the terminal of an agent in the foreground. One question at a time. Must not know: secrets. */
#ifndef MEMGUARD_AGENT_ASK_H
#define MEMGUARD_AGENT_ASK_H

#include <stdbool.h>

#include "agent_serve.h"

/* Once, before clients come. `terminal`: a descriptor of it, or -1. */
void ask_set_up(int terminal);

bool ask_is_possible(void);

/* DONE: yes. SAID_NO, NOBODY, BUSY (too many questions wait). Gives up when the client leaves. */
enum wire_answer ask_person(const struct serve_client *client, const char *name);

#endif
