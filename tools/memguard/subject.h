/* subject.h: the demo's end of a child that holds a secret (holder.h): start it, hand the secret over, command it, keep
 * it still while it is looked at, end it. */
#ifndef MEMGUARD_SUBJECT_H
#define MEMGUARD_SUBJECT_H

#include <memguard.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct subject {
    const char *how; /* HOLDER_ENVIRONMENT, ... */
    pid_t pid;       /* 0: not started */
    int socket;
    uintptr_t spot; /* where the open secret lies there; 0: not open */
};

/* Starts it and gives it the secret. `control` is the positive control in hex. False: said why on standard error. */
bool subject_start(struct subject *subject, const char *how, const char *control, memguard_vault *vault,
                   memguard_secret secret);

/* Sends a command and waits for the answer. False: said why. */
bool subject_tell(struct subject *subject, char command);

/* Holds all its threads still, and lets them go. */
bool subject_freeze(const struct subject *subject);
void subject_thaw(const struct subject *subject);

/* Ends and reaps it. May be called twice. */
void subject_end(struct subject *subject);

#endif
