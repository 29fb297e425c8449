/* Facts: how they are filled, and how bytes from outside are made harmless. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"

__attribute__((format(printf, 2, 0))) static void format_text(char to[FACT_TEXT], const char *format, va_list arguments) {
    if (vsnprintf(to, FACT_TEXT, format, arguments) < 0) to[0] = '\0';
    fact_clean(to);
}

void fact_say(struct fact *fact, enum fact_state state, const char *meaning, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    format_text(fact->value, format, arguments);
    va_end(arguments);
    fact->state = state;
    snprintf(fact->meaning, sizeof fact->meaning, "%s", meaning);
}

void fact_fix(struct fact *fact, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    format_text(fact->fix, format, arguments);
    va_end(arguments);
}

void fact_unknown(struct fact *fact, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    format_text(fact->meaning, format, arguments);
    va_end(arguments);
    fact->state = FACT_UNKNOWN;
    fact->value[0] = fact->fix[0] = '\0';
}

const char *fact_state_name(enum fact_state state) {
    static const char *const names[FACT_STATES] = {"good", "bad", "doubt", "unknown"};
    return names[state];
}

/* How many bytes the UTF-8 character at `at` has (RFC 3629); 0: it is none, or one that a terminal obeys. */
static size_t character_bytes(const unsigned char *at) {
    if (at[0] < 0x80) return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    size_t bytes = at[0] >= 0xc2 && at[0] < 0xe0   ? 2
                   : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                   : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                   : 0;
    for (size_t i = 1; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80) return 0; /* the end of the string, too */
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    bool control = at[0] == 0xc2 && at[1] < 0xa0;
    /* U+200B to U+200F, U+2028 to U+202E, U+2066 to U+206F change the order of text, or hide in it. */
    bool turns =
        at[0] == 0xe2 && ((at[1] == 0x80 && ((at[2] >= 0x8b && at[2] <= 0x8f) || (at[2] >= 0xa8 && at[2] <= 0xae))) ||
                          (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xaf));
    return overlong || beyond || control || turns ? 0 : bytes;
}

void fact_clean(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at != '\0';) {
        size_t bytes = character_bytes(at);
        if (bytes == 0) *at = '?';
        at += bytes == 0 ? 1 : bytes;
    }
}
