/* Names: escaping and its reverse. */
#include "name.h"

#include <string.h>

static void put(struct name *name, char c) {
    name->full |= name->size == WIRE_NAME_MOST;
    if (name->full) return;
    name->text[name->size++] = c;
    name->text[name->size] = '\0';
}

void name_put(struct name *name, const char *text) {
    for (; *text != '\0'; text++)
        put(name, *text);
}

static bool is_plain(char c, const char *besides) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || (c != '\0' && strchr(besides, c) != NULL);
}

void name_put_escaped(struct name *name, const char *text, size_t size, const char *besides) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < size; i++)
        if (is_plain(text[i], besides)) {
            put(name, text[i]);
        } else {
            put(name, '=');
            put(name, digits[(unsigned char)text[i] >> 4]);
            put(name, digits[(unsigned char)text[i] & 15]);
        }
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool name_unescape(const char *from, const char *end, char *to) {
    for (; from < end; from++) {
        int byte = (unsigned char)*from;
        if (*from == '=') {
            if (end - from < 3 || digit(from[1]) < 0 || digit(from[2]) < 0) return false;
            byte = digit(from[1]) * 16 + digit(from[2]);
            if (byte < ' ' || byte == 0x7f) return false;
            from += 2;
        }
        *to++ = (char)byte;
    }
    *to = '\0';
    return true;
}
