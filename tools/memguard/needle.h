/* needle.h: what a scan looks for: secrets in several written forms, found by any 8 bytes of them in a row.
 *
 * The forms of a secret are as secret as itself, and so is an index of them. Both lie in one flat *blob*, which belongs
 * in a view of a vault, or, where there is no vault any more, in ordinary memory XORed with a random mask: the search
 * reads every byte of it through the mask, so that the plain bytes are nowhere but in registers. The struct beside it
 * holds sizes and places only. */
#ifndef MEMGUARD_NEEDLE_H
#define MEMGUARD_NEEDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whose bytes: the random secret, the key, and a value that is no secret and must be found (the positive control). */
enum needle_kind { NEEDLE_SECRET, NEEDLE_KEY, NEEDLE_CONTROL, NEEDLE_KINDS };

enum needle_form { FORM_RAW, FORM_REVERSED, FORM_HEX, FORM_HEX_UPPER, FORM_BASE64, FORM_BASE64_URL };

enum {
    NEEDLE_FILTER_BYTES = 4096,
    NEEDLE_TEXT_BYTES = 2048,
    NEEDLE_BLOB_BYTES = NEEDLE_FILTER_BYTES + NEEDLE_TEXT_BYTES,
    NEEDLE_PIECES = 40,
    NEEDLE_LONGEST = 64, /* of a piece; a search area should overlap the one before by as much */
    NEEDLE_BYTES_MAX = 32,
};

/* One text to look for. */
struct needle_piece {
    uint16_t at, length; /* in the text part of the blob */
    uint8_t window;      /* so many in a row are a hit: 8 bytes of the secret (7.5 for base64) */
    uint8_t form, kind;
};

struct needles {
    const uint8_t *blob; /* [secret] or masked */
    const uint8_t *mask; /* NULL: none */
    size_t pieces, text_bytes;
    size_t kind_bytes[NEEDLE_KINDS]; /* the longest hit there can be */
    struct needle_piece piece[NEEDLE_PIECES];
};

/* The best that was found of one kind. */
struct needle_hit {
    size_t bytes; /* of the secret, in a row; 0: nothing */
    uint8_t form;
    uint8_t forms; /* bit set: all forms that were seen */
};

/* Adds all forms of the `bytes` (8 to NEEDLE_BYTES_MAX) at `secret` to `blob` (NEEDLE_BLOB_BYTES, zero at first, not
 * masked). False when there is no more room. */
bool needle_add(struct needles *needles, uint8_t *blob, enum needle_kind kind, const uint8_t *secret, size_t bytes);

/* Masks: hidden[i] = blob[i] XOR mask[i], byte by byte, and makes `needles` refer to both. */
void needle_hide(struct needles *needles, uint8_t *hidden, const uint8_t *mask);

/* Searches an area; improves `hits[NEEDLE_KINDS]`. */
void needle_search(const struct needles *needles, const uint8_t *area, size_t bytes, struct needle_hit *hits);

/* "raw", "reversed", "hex", ... */
const char *needle_form_name(unsigned form);

#endif
