/* demo.h: what the parts of `memguard demo` share: its state, and how the outcome is counted. */
#ifndef MEMGUARD_DEMO_H
#define MEMGUARD_DEMO_H

#include <memguard.h>
#include <stdbool.h>

#include "handoff.h"
#include "holder.h"
#include "keyfile.h"
#include "needle.h"
#include "scan.h"
#include "spawn.h"
#include "subject.h"

enum { DEMO_SHOWN = 48 }; /* characters of a program's output */

enum { DEMO_ENVIRONMENT, DEMO_HEAP, DEMO_VAULT, DEMO_SUBJECTS };

struct demo {
    memguard_vault *vault;
    uint32_t protections; /* obtained; MEMGUARD_PROTECT_* */
    struct key key;       /* secret.id 0: there is none */
    memguard_secret random;
    memguard_secret blob, buffer; /* the needles' bytes, and what scans read */
    struct needles needles;
    uint8_t control[HOLDER_CONTROL_BYTES]; /* no secret: what every scan must find */
    char control_hex[2 * HOLDER_CONTROL_BYTES + 1];
    struct subject subjects[DEMO_SUBJECTS];
    unsigned failures;  /* something is not as it must be, or void: a control was not found */
    unsigned unchecked; /* could not be checked */
    bool incomplete;    /* something of it the demo cannot do without */
};

/* Part 3: the three children and the table. False: it could not be done; said why. */
bool demo_look(struct demo *demo);

/* Part 4: the key goes to openssl and ssh-keygen. */
bool demo_hand_over(struct demo *demo);

/* Runs a program, its output to us: of that the begin of its first line, printable. Its exit code, SPAWN_KILLED, or
 * *error when it cannot be started. */
int demo_call(const struct spawn *what, char output[DEMO_SHOWN + 1], int *error);

/* Part 5: what is in `handoff` goes through an agent and the verb `exec`. */
void demo_exec(struct demo *demo, const struct handoff *handoff);

/* Part 6: a secret that reaches its limit. */
bool demo_expire(struct demo *demo);

/* Part 7: destroys everything and looks again. */
bool demo_look_again(struct demo *demo);

#endif
