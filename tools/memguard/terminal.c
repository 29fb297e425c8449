/* The terminal's own line discipline does the editing. */
#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "ui.h"

enum { SHOWN_MOST = 1024 };

/* The control characters from 0x80 on are two bytes in UTF-8, 0xc2 and that. */
static bool is_control(const char *at) {
    unsigned char c = (unsigned char)at[0], next = c == '\0' ? 0 : (unsigned char)at[1];
    return (c < ' ' && c != '\n') || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

char *terminal_clean(const char *text, char *to, size_t size) {
    size_t count = 0;
    for (; text[count] != '\0' && count + 1 < size; count++)
        to[count] = is_control(text + count) ? '?' : text[count];
    to[count] = '\0';
    return to;
}

static int show(const char *text) {
    char shown[SHOWN_MOST];
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    terminal_clean(text, shown, sizeof shown);
    if (fd >= 0) tcflush(fd, TCIFLUSH); /* what was typed before a question answers nothing */
    size_t size = strlen(shown);
    if (fd >= 0 && write(fd, shown, size) == (ssize_t)size) return fd;
    ui_error("nobody can be asked: the terminal: %s", strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

bool terminal_show(const char *text) {
    int fd = show(text);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static bool read_line(int fd, char *answer, size_t size) {
    size_t count = 0;
    char c = '\0';
    while (c != '\n') {
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got != 1) return false;
        if (c != '\n' && count + 1 < size) answer[count++] = c;
    }
    answer[count] = '\0';
    return true;
}

bool terminal_ask(const char *text, char *answer, size_t size) {
    int fd = show(text);
    if (fd < 0) return false;
    bool good = read_line(fd, answer, size);
    close(fd);
    if (!good) ui_error("the terminal gave no answer");
    return good;
}
