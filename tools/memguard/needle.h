/* needle.h: what a scan looks for: any 8 bytes in a row of secrets, in several written forms.
 *
 * Only the plain bytes are kept, with an index of their windows. The forms are not made: the search reads memory in each
 * of them instead (what could be hexadecimal is read as that, and so on), and looks what comes out up in one index.
 *
 * An index of a secret is as secret as itself. Both lie in one flat *blob*, which belongs in a view of a vault, or, where
 * there is no vault any more, in ordinary memory XORed with a random mask: the search reads every byte of it through
 * the mask, so that the plain bytes are nowhere but in registers. The struct beside it holds sizes and places only. */
#ifndef MEMGUARD_NEEDLE_H
#define MEMGUARD_NEEDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whose bytes: the secret, the demo's key, and a value that is no secret and must be found (the positive control). */
enum needle_kind { NEEDLE_SECRET, NEEDLE_KEY, NEEDLE_CONTROL, NEEDLE_KINDS };

enum needle_form {
    FORM_RAW,
    FORM_REVERSED,
    FORM_HEX,
    FORM_HEX_UPPER,
    FORM_BASE64,
    FORM_BASE64_URL,
    FORM_UTF16LE,
    FORM_UTF16BE,
    NEEDLE_FORMS
};

enum {
    NEEDLE_WINDOW = 8,     /* so many bytes in a row are a hit */
    NEEDLE_LEAST = 4,      /* bytes of a secret, which is then found only as a whole */
    NEEDLE_MOST = 1 << 20, /* text bytes in all */
    NEEDLE_PIECES = 40,
    NEEDLE_LONGEST = 64,     /* of a window in any form; a search area should overlap the one before by as much */
    NEEDLE_SMALL_TEXT = 128, /* a plan for so many bytes has a blob of NEEDLE_SMALL_BLOB */
    NEEDLE_SMALL_BLOB = 4096 + 4 * 256 + NEEDLE_SMALL_TEXT,
};

/* One run of secret bytes. */
struct needle_piece {
    uint32_t at, length; /* in the text */
    uint8_t kind;
    const char *name; /* of a part of a key; may be NULL */
};

struct needles {
    const uint8_t *blob; /* [secret] or masked: filter, index, text */
    const uint8_t *mask; /* NULL: none */
    size_t window, text_most, text_bytes;
    unsigned filter_log2, slots_log2; /* bits of the filter, entries of the index */
    size_t pieces;
    size_t windows, dull; /* in the index; left out of it, as they are one byte repeated */
    struct needle_piece piece[NEEDLE_PIECES];
};

/* A run that was found. */
struct needle_find {
    size_t at, span;      /* in the area, in bytes of it */
    uint32_t from, bytes; /* which of the secret, in its text */
    uint8_t form, forms;  /* how it is written; a bit for all forms that it can be taken for */
    uint16_t piece;
};

typedef void needle_found(const struct needle_find *find, void *arg);

/* The best that was found of one kind. */
struct needle_hit {
    size_t bytes; /* of the secret, in a row; 0: nothing */
    uint8_t form;
    uint8_t forms; /* bit set: all forms that were seen */
};

/* Begins: room for pieces of `text_bytes` (up to NEEDLE_MOST) in all; `window`: NEEDLE_WINDOW, or the size of one shorter secret.
 * Returns the size of the blob. */
size_t needle_plan(struct needles *needles, size_t text_bytes, size_t window);

/* Adds `bytes` (the window at least) at `secret` to `blob` (zero at first, not masked). False when there is no more
 * room. */
bool needle_add(struct needles *needles, uint8_t *blob, enum needle_kind kind, const char *name, const uint8_t *secret,
                size_t bytes);

/* Masks: hidden[i] = blob[i] XOR mask[i], byte by byte, and makes `needles` refer to both. */
void needle_hide(struct needles *needles, uint8_t *hidden, const uint8_t *mask);

/* Searches an area: tells each run, as long as it is. */
void needle_find(const struct needles *needles, const uint8_t *area, size_t bytes, needle_found *found, void *arg);

/* The same; improves `hits[NEEDLE_KINDS]`. */
void needle_search(const struct needles *needles, const uint8_t *area, size_t bytes, struct needle_hit *hits);

/* "raw", "reversed", "hex", ... */
const char *needle_form_name(unsigned form);

#endif
