/* name.h: names of secrets made of texts that may have any bytes: what a name may not have is written =XX (two hexadecimal digits,
 * as is '=' itself). */
#ifndef MEMGUARD_NAME_H
#define MEMGUARD_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

struct name {
    char text[WIRE_NAME_MOST + 1]; /* ends with a zero at any time */
    size_t size;
    bool full; /* something did not fit */
};

/* Adds a text as it is. */
void name_put(struct name *name, const char *text);

/* Adds `size` bytes; those that are no letters or digits, nor among `besides`, are escaped. */
void name_put_escaped(struct name *name, const char *text, size_t size, const char *besides);

/* The bytes of a part of a name. False: an escape is broken, or means a control character. `to`: as much room, and an end. */
bool name_unescape(const char *from, const char *end, char *to);

#endif
