/* search.h: searches memory images, core files and drives of the guest, on the host.
 *
 * A needle is looked for as it is, reversed, in hex (both cases) and in base64 (three phases): every window of 8 bytes of these
 * strings at every byte of the image. Hits that follow one another are one run; a run counts when it shows 8 bytes of the needle
 * (16 hex digits, 12 of base64). Its length tells the windows of 16 and 32 bytes. */
#ifndef MEMGUARD_TESTS_GUEST_SEARCH_H
#define MEMGUARD_TESTS_GUEST_SEARCH_H

#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEARCH_WINDOW = 8, SEARCH_NEEDLES = 48, SEARCH_FILTER_BITS = 22, SEARCH_PLACES = 1 << 18 };

struct search_string {
    unsigned char *bytes;
    size_t size, least;
    int needle;
};
struct search_place {
    uint64_t window;
    uint32_t string, offset; /* string: one more than the number; 0: free */
};
struct search_found {
    unsigned runs, runs_16, runs_32;
    uint64_t first; /* where the first run lies in the image */
};
struct search {
    const char *names[SEARCH_NEEDLES];
    struct search_found found[SEARCH_NEEDLES];
    int needles;
    struct search_string strings[SEARCH_NEEDLES * 7];
    uint32_t string_count;
    struct search_place *places;
    unsigned char *filter;
    size_t windows;
};

static inline uint64_t search_load(const unsigned char *p) {
    uint64_t window;
    memcpy(&window, p, sizeof window);
    return window;
}
static inline uint64_t search_hash(uint64_t window) { return window * 0x9e3779b97f4a7c15U; }

static inline void search_begin(struct search *search) {
    memset(search, 0, sizeof *search);
    search->places = calloc(SEARCH_PLACES, sizeof *search->places);
    search->filter = calloc((size_t)1 << (SEARCH_FILTER_BITS - 3), 1);
    if (search->places == NULL || search->filter == NULL) abort();
}

static inline void search_end(struct search *search) {
    for (uint32_t i = 0; i < search->string_count; i++)
        free(search->strings[i].bytes);
    free(search->places);
    free(search->filter);
}

/* Takes over `bytes`. */
static inline void search_add_string(struct search *search, int needle, unsigned char *bytes, size_t size,
                                     size_t least) {
    const uint32_t number = search->string_count++;
    search->strings[number] = (struct search_string){bytes, size, least, needle};
    for (size_t at = 0; at + SEARCH_WINDOW <= size; at++) {
        const uint64_t window = search_load(bytes + at), hash = search_hash(window);
        uint64_t bit = hash >> (64 - SEARCH_FILTER_BITS), slot = hash >> 32 & (SEARCH_PLACES - 1);
        if (++search->windows > SEARCH_PLACES / 2) abort();
        search->filter[bit >> 3] |= (unsigned char)(1U << (bit & 7));
        while (search->places[slot].string != 0)
            slot = (slot + 1) & (SEARCH_PLACES - 1);
        search->places[slot] = (struct search_place){window, number + 1, (uint32_t)at};
    }
}

static inline unsigned char *search_hex(const unsigned char *bytes, size_t size, const char *digits) {
    unsigned char *text = malloc(2 * size);
    if (text == NULL) abort();
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = (unsigned char)digits[bytes[i] >> 4];
        text[2 * i + 1] = (unsigned char)digits[bytes[i] & 15];
    }
    return text;
}

/* Base64 of the bytes from `phase` on, whole groups only. */
static inline unsigned char *search_base64(const unsigned char *bytes, size_t size, size_t phase, size_t *length) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *text = malloc(size / 3 * 4 + 4);
    if (text == NULL) abort();
    *length = 0;
    for (size_t i = phase; i + 3 <= size; i += 3) {
        const unsigned group = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (unsigned shift = 24; shift != 0; shift -= 6)
            text[(*length)++] = (unsigned char)letters[group >> (shift - 6) & 63];
    }
    return text;
}

static inline void search_add_texts(struct search *search, int needle, const unsigned char *bytes, size_t size) {
    search_add_string(search, needle, search_hex(bytes, size, "0123456789abcdef"), 2 * size, 16);
    search_add_string(search, needle, search_hex(bytes, size, "0123456789ABCDEF"), 2 * size, 16);
    for (size_t phase = 0; phase < 3; phase++) {
        size_t length = 0;
        unsigned char *text = search_base64(bytes, size, phase, &length);
        search_add_string(search, needle, text, length, 12);
    }
}

/* Adds a needle and yields its number. Long ones are looked for raw and reversed only. */
static inline int search_add(struct search *search, const char *name, const unsigned char *bytes, size_t size) {
    const int needle = search->needles++;
    unsigned char *raw = malloc(size), *reversed = malloc(size);
    if (needle >= SEARCH_NEEDLES || raw == NULL || reversed == NULL) abort();
    for (size_t i = 0; i < size; i++)
        reversed[size - 1 - i] = raw[i] = bytes[i];
    search->names[needle] = name;
    search_add_string(search, needle, raw, size, SEARCH_WINDOW);
    search_add_string(search, needle, reversed, size, SEARCH_WINDOW);
    if (size <= 64) search_add_texts(search, needle, bytes, size);
    return needle;
}

/* How far the run goes that begins at image[at]; 0: none. *string: of what. */
static inline size_t search_run_at(const struct search *search, const unsigned char *image, size_t size, size_t at,
                                   const struct search_string **string) {
    const uint64_t window = search_load(image + at), hash = search_hash(window);
    const uint64_t bit = hash >> (64 - SEARCH_FILTER_BITS);
    size_t longest = 0;
    if ((search->filter[bit >> 3] >> (bit & 7) & 1) == 0) return 0;
    for (uint64_t slot = hash >> 32 & (SEARCH_PLACES - 1); search->places[slot].string != 0;
         slot = (slot + 1) & (SEARCH_PLACES - 1)) {
        const struct search_place *place = &search->places[slot];
        const struct search_string *candidate = &search->strings[place->string - 1];
        size_t length = 0;
        if (place->window != window) continue;
        while (at + length < size && place->offset + length < candidate->size &&
               image[at + length] == candidate->bytes[place->offset + length])
            length++;
        if (length > longest) longest = length, *string = candidate;
    }
    return longest;
}

static inline void search_count(struct search *search, const struct search_string *string, size_t length, uint64_t at) {
    struct search_found *found = &search->found[string->needle];
    const size_t shown = length * SEARCH_WINDOW / string->least; /* of the needle */
    if (length < string->least) return;
    if (found->runs++ == 0) found->first = at;
    found->runs_16 += shown >= 16;
    found->runs_32 += shown >= 32;
}

/* Adds to what was found. base: where the image begins, for the report. */
static inline void search_area(struct search *search, const unsigned char *image, size_t size, uint64_t base) {
    for (size_t at = 0; at + SEARCH_WINDOW <= size;) {
        const struct search_string *string = NULL;
        const size_t length = search_run_at(search, image, size, at, &string);
        if (length != 0) search_count(search, string, length, base + at);
        at += length != 0 ? length - SEARCH_WINDOW + 1 : 1;
    }
}

static inline void search_forget(struct search *search) { memset(search->found, 0, sizeof search->found); }

/* Searches one image, from the beginning. */
static inline void search_image(struct search *search, const unsigned char *image, size_t size) {
    search_forget(search);
    search_area(search, image, size, 0);
}

/* The segments of one type (PT_NOTE: registers; PT_LOAD: memory) of a core file. Yields their number, -1 if it is no core. */
static inline int search_core(struct search *search, const unsigned char *core, size_t size, uint32_t type) {
    Elf64_Ehdr header;
    int segments = 0;
    search_forget(search);
    if (size < sizeof header) return -1;
    memcpy(&header, core, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type != ET_CORE) return -1;
    for (uint64_t i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr part;
        if (header.e_phoff + (i + 1) * sizeof part > size) return -1;
        memcpy(&part, core + header.e_phoff + i * sizeof part, sizeof part);
        if (part.p_type != type) continue;
        if (part.p_offset > size || part.p_filesz > size - part.p_offset) return -1; /* cut off */
        search_area(search, core + part.p_offset, part.p_filesz, type == PT_LOAD ? part.p_vaddr : part.p_offset);
        segments++;
    }
    return segments;
}

/* One line: NAME runs/of 16 bytes and more/of 32 bytes and more@place of the first. */
static inline void search_print(const struct search *search, const char *where) {
    printf("  %s:", where);
    for (int i = 0; i < search->needles; i++) {
        const struct search_found *found = &search->found[i];
        if (found->runs != 0)
            printf(" %s %u/%u/%u@0x%llx", search->names[i], found->runs, found->runs_16, found->runs_32,
                   (unsigned long long)found->first);
    }
    printf("\n");
}

#endif
