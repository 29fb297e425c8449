/* marker.h: the bytes that the host looks for. Both sides derive them from a seed, at run time and one byte at a time: no window of
 * a marker is in a program, in a file, on a command line, on the console, or whole in a register. */
#ifndef MEMGUARD_TESTS_GUEST_MARKER_H
#define MEMGUARD_TESTS_GUEST_MARKER_H

#include <stddef.h>
#include <stdint.h>

enum { MARKER_BYTES = 64 };

/* Numbers of markers. The first four are those of the rests (MEMGUARD_SEALED ...). */
enum {
    MARKER_SEALED,
    MARKER_CLOSED,
    MARKER_MAPPED,
    MARKER_COMPACT,
    MARKER_USE,
    MARKER_BENCH,
    MARKER_CONTROL, /* in ordinary pages: it must be found */
    MARKER_PAD,     /* hides what the guest tells the host over the console */
    MARKERS
};

/* Byte `at` of a marker (a step of splitmix64, of which one byte is taken). */
static inline unsigned char marker_byte(uint64_t seed, unsigned number, size_t at) {
    uint64_t z = seed + 0x9e3779b97f4a7c15U * (((uint64_t)number << 32) + at + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (unsigned char)((z ^ (z >> 31)) >> 24);
}

/* Byte by byte into memory: a vector register full of them might be saved by the kernel. */
static inline void marker_write(void *to, size_t bytes, uint64_t seed, unsigned number) {
    volatile unsigned char *out = to;
    for (size_t i = 0; i < bytes; i++)
        out[i] = marker_byte(seed, number, i);
}

#endif
