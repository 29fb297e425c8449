/* The bytes are looked at where they lie, and go from there to the descriptor. */
#include "line.h"

#include <errno.h>
#include <memguard/io.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "ui.h"

enum shape { SHAPE_BARE, SHAPE_WHOLE, SHAPE_NO_LINE };

int line_allowed(void) {
    if (!isatty(STDOUT_FILENO)) return EXIT_GOOD;
    ui_error("refused: standard output is a terminal, which keeps what it shows");
    return EXIT_REFUSED;
}

static int shape(const void *bytes, size_t size, void *arg) {
    (void)arg;
    const char *newline = memchr(bytes, '\n', size);
    if (memchr(bytes, '\0', size) != NULL) return SHAPE_NO_LINE;
    if (newline == NULL) return SHAPE_BARE;
    return newline == (const char *)bytes + size - 1 ? SHAPE_WHOLE : SHAPE_NO_LINE;
}

static bool put(const char *text) {
    for (size_t left = strlen(text); left > 0;) {
        ssize_t put = write(STDOUT_FILENO, text, left);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            ui_error("standard output: %s", strerror(errno));
            return false;
        }
        text += put;
        left -= (size_t)put;
    }
    return true;
}

int line_write(const char *before, memguard_secret secret) {
    int kind = SHAPE_BARE;
    memguard_status status = memguard_secret_use(secret, shape, NULL, &kind);
    if (status == MEMGUARD_OK && kind == SHAPE_NO_LINE) {
        ui_error("the secret is not one line of text");
        return EXIT_BAD;
    }
    if (status == MEMGUARD_OK && !put(before)) return EXIT_BAD;
    if (status == MEMGUARD_OK) status = memguard_secret_write(secret, STDOUT_FILENO);
    if (status != MEMGUARD_OK) {
        ui_library_error("standard output", status);
        return EXIT_BAD;
    }
    return kind == SHAPE_WHOLE || put("\n") ? EXIT_GOOD : EXIT_BAD;
}
