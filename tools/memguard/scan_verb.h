/* scan_verb.h: between the verb `scan` and its trial of itself. */
#ifndef MEMGUARD_SCAN_VERB_H
#define MEMGUARD_SCAN_VERB_H

#include <memguard.h>
#include <stdbool.h>

#include "scan_look.h"
#include "scan_secret.h"

/* The buffer that what is read passes through: in protected pages, as a scan that finds the secret has it there. */
struct passage {
    memguard_secret secret;
    memguard_view view;
};

bool passage_open(struct passage *passage, memguard_vault *vault);
void passage_close(struct passage *passage);

/* Looks at `pid`, or at the core file `core` if that is not -1, on a stack that is wiped afterwards. *look is to be ended
 * by look_end. False: it could not be begun; said why. */
bool scan_run(struct look *look, const struct sought *sought, const struct passage *passage, pid_t pid, int core);

/* `--self-test`: returns an exit code. */
int scan_trial(memguard_vault *vault);

#endif
