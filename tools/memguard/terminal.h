/* terminal.h: words, which are not secret, to and from the person at the controlling terminal. */
#ifndef MEMGUARD_TERMINAL_H
#define MEMGUARD_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* The text without what would do something to a terminal: control characters but newlines become '?'. Returns `to`. */
char *terminal_clean(const char *text, char *to, size_t size);

/* Shows a text, which is cleaned. False: there is no terminal; said so. */
bool terminal_show(const char *text);

/* Shows a text and reads a line, which the terminal shows, without its end. False: said why. */
bool terminal_ask(const char *text, char *answer, size_t size);

#endif
