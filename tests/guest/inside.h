/* inside.h: what the programs share that run in the guest: the console, and points at which the host looks.
 * Lines for the host begin with "@ "; all else is noise that the host shows when something fails. */
#ifndef MEMGUARD_TESTS_GUEST_INSIDE_H
#define MEMGUARD_TESTS_GUEST_INSIDE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/marker.h"

/* Says where the program is, and waits until the host has looked. Before that it sleeps: what the kernel saved of this thread's
 * registers when it last took the processor away, perhaps in the middle of a cipher call, is replaced by what is in them now. */
static inline void point(const char *name) {
    char go_on;
    usleep(5000);
    printf("@ at %s\n", name);
    fflush(stdout);
    if (read(STDIN_FILENO, &go_on, 1) != 1) _exit(90);
}

/* Ends the program where nothing can be shown any more. */
static inline void must(int good, const char *what) {
    if (good) return;
    printf("failed: %s (errno %d)\n", what, errno);
    fflush(stdout);
    _exit(91);
}

/* Tells the host bytes that must not be in any buffer: masked, in hex. */
static inline void tell_masked(const char *name, const void *p, size_t bytes, uint64_t seed) {
    const volatile unsigned char *from = p;
    printf("@ bytes %s ", name);
    for (size_t i = 0; i < bytes; i++)
        printf("%02x", (unsigned)(from[i] ^ marker_byte(seed, MARKER_PAD, i)));
    printf("\n");
    fflush(stdout);
}

/* errno of writing a text to a file, 0 when it went well. */
static inline int write_text(const char *path, const char *text) {
    const int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return errno;
    const ssize_t wrote = write(file, text, strlen(text));
    const int error = wrote == (ssize_t)strlen(text) ? 0 : errno;
    close(file);
    return error;
}

/* Ordinary pages full of the control marker. Nobody wipes them. */
static inline unsigned char *ordinary_pages(uint64_t seed) {
    enum { PAGES = 64, PAGE = 4096 };
    unsigned char *pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED, "mmap");
    for (size_t i = 0; i < PAGES; i++)
        marker_write(pages + i * PAGE, MARKER_BYTES, seed, MARKER_CONTROL);
    return pages;
}

#endif
