/* Planting: ordinary writes of the forms, made in another way than the search reads them. The value is no secret: it is
 * drawn for the trial and means nothing. */
#define _GNU_SOURCE
#include "holder_plant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TEXT = 2 * HOLDER_SECRET_BYTES + 16 };

const struct plant plants[PLANTS] = {
    {"raw", "heap"},    {"reversed", "heap"}, {"hex", "heap"},       {"HEX", "heap"},      {"base64", "heap"},
    {"base64", "heap"}, {"base64", "heap"},   {"base64url", "heap"}, {"UTF-16LE", "heap"}, {"UTF-16BE", "heap"},
    {"raw", "data"},    {"raw", "memfd"},     {"raw", "stack"},
};

static uint8_t in_data[HOLDER_SECRET_BYTES] = {1};
static void *volatile kept[PLANTS];

static void write_base64(char *to, const uint8_t *from, size_t bytes, const char *last) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uint32_t pool = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < bytes; i++) {
        pool = pool << 8 | from[i];
        for (bits += 8; bits >= 6; bits -= 6) {
            uint32_t six = pool >> (bits - 6) & 63;
            *to++ = six < 62 ? letters[six] : last[six - 62];
        }
    }
}

/* `shift` other bytes in front. */
static void write_shifted(char *to, const uint8_t *secret, size_t shift, const char *last) {
    uint8_t wide[HOLDER_SECRET_BYTES + 4] = {'x', 'y'};
    memcpy(wide + shift, secret, HOLDER_SECRET_BYTES);
    write_base64(to, wide, HOLDER_SECRET_BYTES + shift + 1, last);
    memset(wide, 0, sizeof wide);
}

static void write_form(char *to, const uint8_t *secret, size_t which) {
    for (size_t i = 0; i < HOLDER_SECRET_BYTES; i++) {
        if (which == 0) to[i] = (char)secret[i];
        if (which == 1) to[HOLDER_SECRET_BYTES - 1 - i] = (char)secret[i];
        if (which == 2) snprintf(to + 2 * i, 3, "%02x", (unsigned)secret[i]);
        if (which == 3) snprintf(to + 2 * i, 3, "%02X", (unsigned)secret[i]);
        if (which == 8) to[2 * i] = (char)secret[i];
        if (which == 9) to[2 * i + 1] = (char)secret[i];
    }
    if (which >= 4 && which <= 6) write_shifted(to, secret, which - 4, "+/");
    if (which == 7) write_shifted(to, secret, 0, "-_");
}

static bool plant_in_heap(const uint8_t *secret) {
    for (size_t i = 0; i < 10; i++) {
        char *block = calloc(1, TEXT + 16);
        if (block == NULL) return false;
        kept[i] = block;
        write_form(block + 16, secret, i);
    }
    return true;
}

static bool plant_in_memfd(const uint8_t *secret) {
    int fd = memfd_create("planted", MFD_CLOEXEC);
    return fd >= 0 && write(fd, secret, HOLDER_SECRET_BYTES) == HOLDER_SECRET_BYTES;
}

bool plant_everywhere(const uint8_t secret[HOLDER_SECRET_BYTES], void (*then)(void *arg), void *arg) {
    volatile uint8_t on_stack[HOLDER_SECRET_BYTES];
    memcpy(in_data, secret, sizeof in_data);
    kept[PLANTS - 1] = in_data;
    if (!plant_in_heap(secret) || !plant_in_memfd(secret)) return false;
    for (size_t i = 0; i < sizeof on_stack; i++)
        on_stack[i] = secret[i];
    then(arg);
    return on_stack[0] == secret[0];
}
