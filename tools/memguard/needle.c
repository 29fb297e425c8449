/* Needles: making the forms, and a search with a Bloom filter (two hashes of the first 8 bytes of every window) before
 * the comparison. The filter lets through one place in 200 by chance. Source: B.
 * Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970. */
#define _GNU_SOURCE
#include "needle.h"

#include <string.h>

enum { CHANCES = 64 };

#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15) /* 2^64 / golden ratio */

static const uint8_t no_mask[NEEDLE_BLOB_BYTES];

const char *needle_form_name(unsigned form) {
    static const char *const names[] = {"raw", "reversed", "hex", "HEX", "base64", "base64url"};
    return form < sizeof names / sizeof names[0] ? names[form] : "?";
}

/* ---- the forms ---- */

static void write_raw(uint8_t *to, const uint8_t *secret, size_t bytes) { memcpy(to, secret, bytes); }

static void write_reversed(uint8_t *to, const uint8_t *secret, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        to[i] = secret[bytes - 1 - i];
}

/* Arithmetic, not a table: an index would be a secret-dependent address. */
static uint8_t hex_digit(unsigned nibble, unsigned letter) {
    return (uint8_t)('0' + nibble + (((9u - nibble) >> 8) & (letter - '0' - 10u)));
}

static void write_hex(uint8_t *to, const uint8_t *secret, size_t bytes, unsigned letter) {
    for (size_t i = 0; i < bytes; i++) {
        to[2 * i] = hex_digit(secret[i] >> 4, letter);
        to[2 * i + 1] = hex_digit(secret[i] & 15, letter);
    }
}

static unsigned six_bits(const uint8_t *secret, size_t bytes, size_t bit) {
    size_t byte = bit / 8;
    unsigned pair = (unsigned)secret[byte] << 8 | (byte + 1 < bytes ? secret[byte + 1] : 0u);
    return (pair >> (10 - bit % 8)) & 63;
}

static unsigned select_if(unsigned condition, unsigned value) { return (0u - condition) & value; }

static uint8_t base64_digit(unsigned six, bool url) {
    unsigned digit = select_if(six < 26, 'A' + six) | select_if((six >= 26) & (six < 52), 'a' + six - 26) |
                     select_if((six >= 52) & (six < 62), '0' + six - 52) | select_if(six == 62, url ? '-' : '+') |
                     select_if(six == 63, url ? '_' : '/');
    return (uint8_t)digit;
}

/* The digits that depend on the secret alone when it begins in the middle of a longer text: their first bit is 0, 4
 * or 2. */
static size_t base64_length(size_t bytes, size_t first_bit) { return (8 * bytes - first_bit) / 6; }

static void write_base64(uint8_t *to, const uint8_t *secret, size_t bytes, size_t first_bit, bool url) {
    size_t length = base64_length(bytes, first_bit);
    for (size_t i = 0; i < length; i++)
        to[i] = base64_digit(six_bits(secret, bytes, first_bit + 6 * i), url);
}

/* ---- the filter ---- */

static uint64_t word_at(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t hash_of(uint64_t word) { return word * HASH_FACTOR; }

static unsigned first_bit_of(uint64_t hash) { return (unsigned)(hash >> 49); }
static unsigned second_bit_of(uint64_t hash) { return (unsigned)(hash >> 34) & (NEEDLE_FILTER_BYTES * 8 - 1); }

static void filter_set(uint8_t *filter, unsigned bit) { filter[bit >> 3] |= (uint8_t)(1u << (bit & 7)); }

static void filter_add(uint8_t *filter, const uint8_t *text, const struct needle_piece *piece) {
    for (size_t i = 0; i + piece->window <= piece->length; i++) {
        uint64_t hash = hash_of(word_at(text + piece->at + i));
        filter_set(filter, first_bit_of(hash));
        filter_set(filter, second_bit_of(hash));
    }
}

/* ---- building ---- */

/* Reserves `length` bytes of text as a new piece. NULL: no room. */
static struct needle_piece *new_piece(struct needles *needles, enum needle_kind kind, enum needle_form form,
                                      size_t length, size_t window) {
    if (needles->pieces == NEEDLE_PIECES || needles->text_bytes + length > NEEDLE_TEXT_BYTES) return NULL;
    struct needle_piece *piece = &needles->piece[needles->pieces++];
    *piece = (struct needle_piece){.at = (uint16_t)needles->text_bytes,
                                   .length = (uint16_t)length,
                                   .window = (uint8_t)window,
                                   .form = (uint8_t)form,
                                   .kind = (uint8_t)kind};
    needles->text_bytes += length;
    return piece;
}

static void write_form(uint8_t *to, enum needle_form form, size_t first_bit, const uint8_t *secret, size_t bytes) {
    switch (form) {
    case FORM_RAW:
        write_raw(to, secret, bytes);
        break;
    case FORM_REVERSED:
        write_reversed(to, secret, bytes);
        break;
    case FORM_HEX:
        write_hex(to, secret, bytes, 'a');
        break;
    case FORM_HEX_UPPER:
        write_hex(to, secret, bytes, 'A');
        break;
    case FORM_BASE64:
        write_base64(to, secret, bytes, first_bit, false);
        break;
    case FORM_BASE64_URL:
        write_base64(to, secret, bytes, first_bit, true);
        break;
    }
}

static bool add_form(struct needles *needles, uint8_t *blob, enum needle_kind kind, enum needle_form form,
                     size_t first_bit, const uint8_t *secret, size_t bytes) {
    size_t length = bytes, window = 8;
    if (form == FORM_HEX || form == FORM_HEX_UPPER) {
        length = 2 * bytes;
        window = 16;
    } else if (form == FORM_BASE64 || form == FORM_BASE64_URL) {
        length = base64_length(bytes, first_bit);
        window = 10;
    }
    if (length < window) return true;
    struct needle_piece *piece = new_piece(needles, kind, form, length, window);
    if (piece == NULL) return false;
    uint8_t *text = blob + NEEDLE_FILTER_BYTES;
    write_form(text + piece->at, form, first_bit, secret, bytes);
    filter_add(blob, text, piece);
    return true;
}

bool needle_add(struct needles *needles, uint8_t *blob, enum needle_kind kind, const uint8_t *secret, size_t bytes) {
    static const struct {
        enum needle_form form;
        size_t first_bit;
    } wanted[] = {
        {FORM_RAW, 0},    {FORM_REVERSED, 0}, {FORM_HEX, 0},        {FORM_HEX_UPPER, 0},  {FORM_BASE64, 0},
        {FORM_BASE64, 4}, {FORM_BASE64, 2},   {FORM_BASE64_URL, 0}, {FORM_BASE64_URL, 4}, {FORM_BASE64_URL, 2},
    };
    if (bytes < 8 || bytes > NEEDLE_BYTES_MAX) return false;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!add_form(needles, blob, kind, wanted[i].form, wanted[i].first_bit, secret, bytes)) return false;
    if (needles->kind_bytes[kind] < bytes) needles->kind_bytes[kind] = bytes;
    return true;
}

void needle_hide(struct needles *needles, uint8_t *hidden, const uint8_t *mask) {
    for (size_t i = 0; i < NEEDLE_BLOB_BYTES; i++)
        hidden[i] = needles->blob[i] ^ mask[i];
    needles->blob = hidden;
    needles->mask = mask;
}

/* ---- searching ---- */

/* Words that the filter let through by chance. Memory is full of repetitions: without this a page of zeros could cost a
 * comparison with everything at each of its bytes. */
struct chances {
    uint64_t known; /* bit i: word[i] holds one */
    uint64_t word[CHANCES];
};

struct search {
    const uint8_t *filter, *filter_mask, *text, *text_mask;
    struct needle_hit *hits;
    struct chances chances;
};

static inline bool filter_has(const struct search *search, unsigned bit) {
    return ((search->filter[bit >> 3] ^ search->filter_mask[bit >> 3]) >> (bit & 7)) & 1;
}

static size_t common_length(const struct search *search, size_t at, size_t most, const uint8_t *area, size_t bytes) {
    size_t limit = most < bytes ? most : bytes, length = 0;
    while (length < limit && (search->text[at + length] ^ search->text_mask[at + length]) == area[length])
        length++;
    return length;
}

static size_t secret_bytes(unsigned form, size_t length) {
    if (form == FORM_HEX || form == FORM_HEX_UPPER) return length / 2;
    if (form == FORM_BASE64 || form == FORM_BASE64_URL) return (6 * length + 7) / 8;
    return length;
}

static void note_hit(struct needle_hit *hit, unsigned form, size_t bytes) {
    hit->forms |= (uint8_t)(1u << form);
    if (bytes <= hit->bytes) return;
    hit->bytes = bytes;
    hit->form = (uint8_t)form;
}

/* True when there is a window of the piece here. */
static bool compare_piece(struct search *search, const struct needle_piece *piece, const uint8_t *area, size_t bytes) {
    bool any = false;
    for (size_t i = 0; i + piece->window <= piece->length; i++) {
        size_t length = common_length(search, (size_t)piece->at + i, (size_t)piece->length - i, area, bytes);
        if (length < 8) continue;
        any = true;
        if (length >= piece->window)
            note_hit(&search->hits[piece->kind], piece->form, secret_bytes(piece->form, length));
    }
    return any;
}

static bool passes_filter(const struct search *search, uint64_t hash) {
    return filter_has(search, first_bit_of(hash)) && filter_has(search, second_bit_of(hash));
}

/* The filter lets the word at `area` through: is it more than chance? */
static void look_closely(struct search *search, const struct needles *needles, uint64_t hash, const uint8_t *area,
                         size_t bytes) {
    struct chances *chances = &search->chances;
    uint64_t word = word_at(area);
    unsigned slot = (unsigned)(hash >> 20) % CHANCES;
    if ((chances->known >> slot & 1) != 0 && chances->word[slot] == word) return;
    bool any = false;
    for (size_t i = 0; i < needles->pieces; i++)
        any |= compare_piece(search, &needles->piece[i], area, bytes);
    if (any) return;
    chances->known |= UINT64_C(1) << slot;
    chances->word[slot] = word;
}

void needle_search(const struct needles *needles, const uint8_t *area, size_t bytes, struct needle_hit *hits) {
    const uint8_t *mask = needles->mask != NULL ? needles->mask : no_mask;
    struct search search = {
        .filter = needles->blob,
        .filter_mask = mask,
        .text = needles->blob + NEEDLE_FILTER_BYTES,
        .text_mask = mask + NEEDLE_FILTER_BYTES,
        .hits = hits,
    };
    for (size_t i = 0; i + 8 <= bytes; i++) {
        uint64_t hash = hash_of(word_at(area + i));
        if (passes_filter(&search, hash)) look_closely(&search, needles, hash, area + i, bytes - i);
    }
    explicit_bzero(&search, sizeof search); /* a word may hold 7 bytes of a secret */
}
