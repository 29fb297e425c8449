/* holder.h: how the demo and its three children talk. A child is this program started anew with the hidden verb
 * `__hold`; its standard input is a socket to the demo. First come the bytes of the secret (except for the environment
 * child, which finds them in its environment: the bad example), then commands; each is answered with one message. */
#ifndef MEMGUARD_HOLDER_H
#define MEMGUARD_HOLDER_H

#include <stdint.h>

#define HOLDER_VERB "__hold"
#define HOLDER_ENVIRONMENT "environment"
#define HOLDER_HEAP "heap"
#define HOLDER_VAULT "vault"
#define HOLDER_AGENT "agent" /* no child of these: an agent in the foreground that ends with the demo */
#define HOLDER_PLANT "plant" /* everywhere, for the trial of `memguard scan` */

enum { HOLDER_SECRET_BYTES = 32, HOLDER_CONTROL_BYTES = 16 };

/* Commands, and what a message begins with. */
enum {
    HOLDER_OPEN = 'o',    /* hold the secret open in a view; vault only */
    HOLDER_CLOSE = 'c',   /* release it */
    HOLDER_DESTROY = 'd', /* destroy the secret and the vault */
    HOLDER_READY = 'r',   /* the answer when the secret has arrived */
    HOLDER_FAILED = 'f',
};

struct holder_message {
    char what;      /* the command it answers, HOLDER_READY or HOLDER_FAILED */
    char text[247]; /* after HOLDER_FAILED: why, no secret bytes */
    uint64_t spot;  /* after HOLDER_OPEN: where the open secret lies */
};

#endif
