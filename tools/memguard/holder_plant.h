/* holder_plant.h: a secret left lying in every form that `memguard scan` knows, for its trial of itself. */
#ifndef MEMGUARD_HOLDER_PLANT_H
#define MEMGUARD_HOLDER_PLANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holder.h"

/* What is planted, beside the control in the command line and the environment. */
struct plant {
    const char *form, *place; /* as the scan names them */
};
enum { PLANTS = 13 };
extern const struct plant plants[PLANTS];

/* Plants `secret`, keeps it on the stack as well, and calls then(arg). */
bool plant_everywhere(const uint8_t secret[HOLDER_SECRET_BYTES], void (*then)(void *arg), void *arg);

#endif
