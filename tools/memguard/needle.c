/* Needles. A filter of one bit for each hash keeps almost all of memory away from the index, a table of places in the
 * text (open addressing, linear probing). Each window is in the filter twice, as it is and reversed, so that one look
 * serves both. Text is found by leaps: a run of m letters has one of them at every m-th place (R. S. Boyer, J S. Moore,
 * "A fast string searching algorithm", CACM 20(10), 1977). Hash: D. E. Knuth, TAOCP 3, 6.4. */
#define _GNU_SOURCE
#include "needle.h"

#include <endian.h>
#include <string.h>

enum { FILTER_LEAST_LOG2 = 15, FILTER_MOST_LOG2 = 25, SLOTS_LEAST_LOG2 = 8, FILTER_BITS_PER_BYTE = 64, SAME_MOST = 8 };

#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15) /* 2^64 / golden ratio */
#define SLOT_FACTOR UINT64_C(0xC2B2AE3D27D4EB4F) /* another odd one, so that slot and filter bit are apart */

const char *needle_form_name(unsigned form) {
    static const char *const names[] = {"raw", "reversed", "hex", "HEX", "base64", "base64url", "UTF-16LE", "UTF-16BE"};
    return form < sizeof names / sizeof names[0] ? names[form] : "?";
}

/* ---- words: 8 bytes, or the window if that is less, the first byte lowest ---- */

static inline uint64_t load(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

static inline uint64_t hash_of(uint64_t word) { return word * HASH_FACTOR; }

/* ---- the blob ---- */

static size_t index_at(const struct needles *needles) { return (size_t)1 << (needles->filter_log2 - 3); }
static size_t text_at(const struct needles *needles) {
    return index_at(needles) + ((size_t)sizeof(uint32_t) << needles->slots_log2);
}

static unsigned log2_of(size_t least, unsigned from, unsigned to) {
    unsigned log2 = from;
    while (log2 < to && (size_t)1 << log2 < least)
        log2++;
    return log2;
}

size_t needle_plan(struct needles *needles, size_t text_bytes, size_t window) {
    *needles = (struct needles){.window = window, .text_most = text_bytes};
    needles->filter_log2 = log2_of(text_bytes * FILTER_BITS_PER_BYTE, FILTER_LEAST_LOG2, FILTER_MOST_LOG2);
    needles->slots_log2 = log2_of(2 * text_bytes, SLOTS_LEAST_LOG2, 31);
    return text_at(needles) + text_bytes;
}

/* A blob as the search sees it. */
struct view {
    const struct needles *needles;
    const uint8_t *blob, *mask; /* mask NULL: none */
    size_t index, text, window;
    uint64_t keep; /* the bits of a word that are in the window */
    unsigned filter_shift, slot_shift;
};

static inline uint8_t byte_at(const struct view *view, size_t at) {
    return view->mask == NULL ? view->blob[at] : view->blob[at] ^ view->mask[at];
}

static inline uint8_t text_byte(const struct view *view, size_t at) { return byte_at(view, view->text + at); }

static inline bool filter_has(const struct view *view, uint64_t word) {
    uint64_t bit = hash_of(word) >> view->filter_shift;
    return (byte_at(view, bit >> 3) >> (bit & 7)) & 1;
}

static uint64_t slot_of(const struct view *view, uint64_t word) {
    return ((word ^ word >> 29) * SLOT_FACTOR) >> view->slot_shift;
}

/* A place in the text plus one; 0: none. */
static uint32_t entry(const struct view *view, uint64_t slot) {
    uint32_t value = 0;
    for (size_t i = 0; i < sizeof value; i++)
        value |= (uint32_t)byte_at(view, view->index + slot * sizeof value + i) << (8 * i);
    return value;
}

static uint64_t text_word(const struct view *view, size_t at) {
    uint64_t word = 0;
    for (size_t i = 0; i < view->window; i++)
        word |= (uint64_t)text_byte(view, at + i) << (8 * i);
    return word;
}

static struct view view_of(const struct needles *needles, const uint8_t *blob) {
    return (struct view){
        .needles = needles,
        .blob = blob,
        .mask = needles->mask,
        .index = index_at(needles),
        .text = text_at(needles),
        .window = needles->window,
        .keep = UINT64_MAX >> (64 - 8 * needles->window),
        .filter_shift = 64 - needles->filter_log2,
        .slot_shift = 64 - needles->slots_log2,
    };
}

static uint64_t reversed(const struct view *view, uint64_t word) {
    return __builtin_bswap64(word) >> (64 - 8 * view->window);
}

/* ---- building ---- */

static void filter_add(const struct view *view, uint8_t *blob, uint64_t word) {
    uint64_t bit = hash_of(word) >> view->filter_shift;
    blob[bit >> 3] |= (uint8_t)(1u << (bit & 7));
}

/* The same window at several places: some of them are kept, of which the longest run is taken. More would make long
 * chains of a secret that repeats itself. */
static void index_add(const struct view *view, uint8_t *blob, uint64_t word, size_t at) {
    uint64_t mask = ((uint64_t)1 << view->needles->slots_log2) - 1, slot = slot_of(view, word);
    unsigned same = 0;
    for (uint32_t other; (other = entry(view, slot)) != 0; slot = (slot + 1) & mask)
        if (text_word(view, other - 1) == word && ++same == SAME_MOST) return;
    for (size_t i = 0; i < sizeof(uint32_t); i++)
        blob[view->index + slot * sizeof(uint32_t) + i] = (uint8_t)((at + 1) >> (8 * i));
}

static bool is_dull(const struct view *view, uint64_t word) {
    return word == ((word & 0xff) * UINT64_C(0x0101010101010101) & view->keep);
}

bool needle_add(struct needles *needles, uint8_t *blob, enum needle_kind kind, const char *name, const uint8_t *secret,
                size_t bytes) {
    size_t at = needles->text_bytes;
    if (bytes < needles->window || bytes > needles->text_most - at || needles->pieces == NEEDLE_PIECES) return false;
    const struct view view = view_of(needles, blob);
    memcpy(blob + view.text + at, secret, bytes);
    for (size_t i = at; i + view.window <= at + bytes; i++) {
        uint64_t word = text_word(&view, i);
        if (is_dull(&view, word)) {
            needles->dull++;
            continue;
        }
        filter_add(&view, blob, word);
        filter_add(&view, blob, reversed(&view, word));
        index_add(&view, blob, word, i);
        needles->windows++;
    }
    needles->piece[needles->pieces++] =
        (struct needle_piece){.at = (uint32_t)at, .length = (uint32_t)bytes, .kind = (uint8_t)kind, .name = name};
    needles->text_bytes += bytes;
    return true;
}

void needle_hide(struct needles *needles, uint8_t *hidden, const uint8_t *mask) {
    size_t bytes = text_at(needles) + needles->text_most;
    for (size_t i = 0; i < bytes; i++)
        hidden[i] = needles->blob[i] ^ mask[i];
    needles->blob = hidden;
    needles->mask = mask;
}

/* ---- searching ---- */

struct search {
    struct view view;
    const uint8_t *area;
    size_t bytes;
    needle_found *found;
    void *arg;
};

/* How many bytes at `from` in the area come next in the secret, forwards from the place `text` or backwards below it;
 * `stop` is where the piece ends. Source of the bytes: how the form is written. */
typedef size_t matcher(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop, size_t *end);

static size_t match_raw(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop,
                        size_t *end) {
    size_t at = from;
    (void)bits;
    while (at < search->bytes && text < stop && search->area[at] == text_byte(&search->view, text))
        at++, text++;
    *end = at;
    return at - from;
}

static size_t match_reversed(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop,
                             size_t *end) {
    size_t at = from;
    (void)bits;
    while (at < search->bytes && text > stop && search->area[at] == text_byte(&search->view, text - 1))
        at++, text--;
    *end = at;
    return at - from;
}

static size_t match_wide(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop,
                         size_t *end) {
    size_t at = from, length = 0;
    (void)bits;
    while (at + 1 < search->bytes && text < stop && search->area[at] == 0 &&
           search->area[at + 1] == text_byte(&search->view, text))
        at += 2, text++, length++;
    *end = at;
    return length;
}

/* Values of letters: hexadecimal in the low nibble if bit 4 is set; base64 of both alphabets in letters[].six. */
enum { IS_HEX = 16, IS_LETTER = 64, IS_BREAK = 128 };

static uint8_t hex_of(uint8_t c) {
    if (c >= '0' && c <= '9') return (uint8_t)(IS_HEX | (c - '0'));
    if (c >= 'a' && c <= 'f') return (uint8_t)(IS_HEX | (c - 'a' + 10));
    if (c >= 'A' && c <= 'F') return (uint8_t)(IS_HEX | (c - 'A' + 10));
    return 0;
}

static uint8_t six_bits_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return (uint8_t)(IS_LETTER | (c - 'A'));
    if (c >= 'a' && c <= 'z') return (uint8_t)(IS_LETTER | (c - 'a' + 26));
    if (c >= '0' && c <= '9') return (uint8_t)(IS_LETTER | (c - '0' + 52));
    if (c == '+' || c == '-') return IS_LETTER | 62;
    if (c == '/' || c == '_') return IS_LETTER | 63;
    return c == '\n' || c == '\r' ? IS_BREAK : 0;
}

static uint8_t hex_values[256], six_values[256]; /* public */

static void make_values(void) {
    for (unsigned c = 0; c < 256; c++) {
        hex_values[c] = hex_of((uint8_t)c);
        six_values[c] = six_bits_of((uint8_t)c);
    }
}

static size_t match_hex(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop,
                        size_t *end) {
    size_t at = from, length = 0;
    (void)bits;
    for (; at + 1 < search->bytes && text < stop; at += 2, text++, length++) {
        unsigned high = hex_values[search->area[at]], low = hex_values[search->area[at + 1]];
        if ((high & low & IS_HEX) == 0 || ((high & 15) << 4 | (low & 15)) != text_byte(&search->view, text)) break;
    }
    *end = at;
    return length;
}

/* The letter before `from` has `bits` bits that belong to the next byte. Line ends are passed over. */
static size_t match_base64(const struct search *search, size_t from, unsigned bits, size_t text, size_t stop,
                           size_t *end) {
    uint32_t pool = bits != 0 ? six_values[search->area[from - 1]] & ((1u << bits) - 1) : 0;
    size_t length = 0;
    *end = from;
    for (size_t at = from; at < search->bytes && text < stop; at++) {
        unsigned value = six_values[search->area[at]];
        if (value == IS_BREAK) continue;
        if ((value & IS_LETTER) == 0) break;
        pool = pool << 6 | (value & 63);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        if (((pool >> bits) & 0xff) != text_byte(&search->view, text)) break;
        *end = at + 1;
        text++, length++;
    }
    return length;
}

static const struct needle_piece *piece_at(const struct needles *needles, size_t text) {
    for (size_t i = 0; i < needles->pieces; i++)
        if (text - needles->piece[i].at < needles->piece[i].length) return &needles->piece[i];
    return NULL;
}

/* The window `word` lies in the area from `at` to `end`, and `bits` bits of its last letter are of the byte behind it.
 * Finds its longest run and puts it into *find. False: it is in no secret. */
static bool look_up(const struct search *search, uint64_t word, enum needle_form form, matcher *match, size_t at,
                    size_t end, unsigned bits, struct needle_find *find) {
    const struct view *view = &search->view;
    uint64_t mask = ((uint64_t)1 << view->needles->slots_log2) - 1;
    find->bytes = 0;
    for (uint64_t slot = slot_of(view, word);; slot = (slot + 1) & mask) {
        uint32_t place = entry(view, slot);
        if (place-- == 0) break;
        if (text_word(view, place) != word) continue;
        const struct needle_piece *piece = piece_at(view->needles, place);
        if (piece == NULL) continue;
        size_t run_end, text = form == FORM_REVERSED ? place : place + view->window;
        size_t more =
            match(search, end, bits, text, form == FORM_REVERSED ? piece->at : piece->at + piece->length, &run_end);
        if (view->window + more <= find->bytes) continue;
        *find = (struct needle_find){.at = at,
                                     .span = (more != 0 ? run_end : end) - at,
                                     .from = (uint32_t)(form == FORM_REVERSED ? place - more : place),
                                     .bytes = (uint32_t)(view->window + more),
                                     .form = (uint8_t)form,
                                     .forms = (uint8_t)(1u << form),
                                     .piece = (uint16_t)(piece - view->needles->piece)};
    }
    return find->bytes != 0;
}

/* Where the next search for windows may begin that are not in the run just found. */
static size_t behind(const struct search *search, const struct needle_find *find) {
    return find->at + find->span - search->view.window + 1;
}

/* ---- bytes as they are, and reversed ---- */

static void try_bytes(const struct search *search, size_t at, uint64_t word, size_t next[2]) {
    struct needle_find find;
    size_t end = at + search->view.window;
    if (at >= next[0] && look_up(search, word, FORM_RAW, match_raw, at, end, 0, &find)) {
        search->found(&find, search->arg);
        next[0] = behind(search, &find);
    }
    if (at >= next[1] &&
        look_up(search, reversed(&search->view, word), FORM_REVERSED, match_reversed, at, end, 0, &find)) {
        search->found(&find, search->arg);
        next[1] = behind(search, &find);
    }
}

/* Memory is full of zeros: eight of them followed by eight are passed over. They are in no index. */
static void search_bytes(const struct search *search) {
    const struct view view = search->view;
    const uint8_t *area = search->area;
    size_t at = 0, next[2] = {0, 0};
    while (at + 16 <= search->bytes) {
        uint64_t word = load(area + at);
        if (word == 0 && load(area + at + 8) == 0) {
            at += 8;
            continue;
        }
        word &= view.keep;
        if (filter_has(&view, word)) try_bytes(search, at, word, next);
        at++;
    }
    for (; at + view.window <= search->bytes; at++) {
        uint64_t word = 0;
        for (size_t i = 0; i < view.window; i++)
            word |= (uint64_t)area[at + i] << (8 * i);
        if (filter_has(&view, word)) try_bytes(search, at, word, next);
    }
}

/* ---- hexadecimal and base64 ---- */

/* A run of letters, read from left to right: as hexadecimal, the last 16 of them, and as base64, the last bits. */
struct text {
    uint64_t hex, high, low;
    size_t hex_count, six_count;
    size_t hex_next, six_next; /* windows that end before these were in a run already */
};

/* Both names fit where no letter tells them apart. */
static void name_hex(const struct search *search, struct needle_find *find) {
    bool lower = false, upper = false;
    for (size_t i = 0; i < find->span; i++) {
        uint8_t c = search->area[find->at + i];
        lower |= c >= 'a';
        upper |= c >= 'A' && c < 'a';
    }
    find->form = upper && !lower ? FORM_HEX_UPPER : FORM_HEX;
    find->forms = (uint8_t)(upper == lower ? 1u << FORM_HEX | 1u << FORM_HEX_UPPER : 1u << find->form);
}

static void name_base64(const struct search *search, struct needle_find *find) {
    bool url = false, plain = false;
    for (size_t i = 0; i < find->span; i++) {
        uint8_t c = search->area[find->at + i];
        url |= c == '-' || c == '_';
        plain |= c == '+' || c == '/';
    }
    find->form = url && !plain ? FORM_BASE64_URL : FORM_BASE64;
    find->forms = (uint8_t)(url == plain ? 1u << FORM_BASE64 | 1u << FORM_BASE64_URL : 1u << find->form);
}

static void try_hex(const struct search *search, struct text *text, size_t at) {
    const struct view *view = &search->view;
    struct needle_find find;
    uint64_t word = reversed(view, text->hex & view->keep);
    if (!filter_has(view, word)) return;
    if (!look_up(search, word, FORM_HEX, match_hex, at + 1 - 2 * view->window, at + 1, 0, &find)) return;
    name_hex(search, &find);
    search->found(&find, search->arg);
    text->hex_next = find.at + find.span;
}

/* Where the letter is that is `count` letters before `end`. */
static size_t letters_back(const struct search *search, size_t end, size_t count) {
    while (count > 0)
        count -= six_values[search->area[--end]] != IS_BREAK;
    return end;
}

static void try_base64(const struct search *search, struct text *text, size_t at, unsigned bits) {
    const struct view *view = &search->view;
    struct needle_find find;
    uint64_t last = bits == 0 ? text->low : text->low >> bits | text->high << (64 - bits);
    uint64_t word = reversed(view, last & view->keep);
    if (!filter_has(view, word)) return;
    size_t from = letters_back(search, at + 1, (8 * view->window + bits + 5) / 6);
    if (!look_up(search, word, FORM_BASE64, match_base64, from, at + 1, bits, &find)) return;
    name_base64(search, &find);
    search->found(&find, search->arg);
    text->six_next = find.at + find.span;
}

static void read_letter(const struct search *search, struct text *text, size_t at) {
    const unsigned hex = hex_values[search->area[at]], six = six_values[search->area[at]];
    const size_t window = search->view.window;
    text->hex_count = (hex & IS_HEX) != 0 ? text->hex_count + 1 : 0;
    text->hex = text->hex << 4 | (hex & 15);
    if (text->hex_count >= 2 * window && at >= text->hex_next) try_hex(search, text, at);
    if (six == IS_BREAK) return;
    text->high = text->high << 6 | text->low >> 58;
    text->low = text->low << 6 | (six & 63);
    text->six_count++;
    for (unsigned bits = 0; bits < 6; bits += 2)
        if (6 * text->six_count >= 8 * window + bits && at >= text->six_next) try_base64(search, text, at, bits);
}

static void read_text(const struct search *search, size_t begin, size_t end) {
    struct text text = {0};
    for (size_t at = begin; at < end; at++)
        read_letter(search, &text, at);
    explicit_bzero(&text, sizeof text); /* it may hold bytes of a secret */
}

static void search_text(const struct search *search) {
    const size_t least = (8 * search->view.window + 5) / 6;
    size_t done = 0, probe = least - 1;
    while (probe < search->bytes) {
        if (six_values[search->area[probe]] == 0) {
            probe += least;
            continue;
        }
        size_t begin = probe, end = probe + 1;
        while (begin > done && six_values[search->area[begin - 1]] != 0)
            begin--;
        while (end < search->bytes && six_values[search->area[end]] != 0)
            end++;
        if (end - begin >= least) read_text(search, begin, end);
        done = end;
        probe = end + least;
    }
}

/* ---- UTF-16: a byte and a zero, or a zero and a byte ---- */

static bool is_zero(const struct search *search, size_t at) { return at < search->bytes && search->area[at] == 0; }

/* In the middle of a text it cannot be told which half comes first: then characters at even places are taken for
 * little endian. */
static void name_wide(const struct search *search, struct needle_find *find) {
    bool before = find->at > 0 && is_zero(search, find->at - 1), after = is_zero(search, find->at + find->span);
    bool big = before && !after;
    if (before && after) big = find->at % 2 != 0;
    find->form = big ? FORM_UTF16BE : FORM_UTF16LE;
    find->forms = (uint8_t)(1u << find->form);
}

/* Every second byte from `begin` on is a character, the others are zero. */
static void read_wide(const struct search *search, size_t begin, size_t end) {
    const struct view *view = &search->view;
    uint64_t word = 0;
    size_t count = 0, next = 0;
    for (size_t at = begin; at < end; at += 2) {
        word = word >> 8 | (uint64_t)search->area[at] << (8 * view->window - 8);
        if (++count < view->window || at < next || !filter_has(view, word)) continue;
        struct needle_find find;
        if (!look_up(search, word, FORM_UTF16LE, match_wide, at + 2 - 2 * view->window, at + 1, 0, &find)) continue;
        find.span = 2 * (size_t)find.bytes - 1;
        name_wide(search, &find);
        search->found(&find, search->arg);
        next = find.at + find.span;
    }
}

/* The stretch around `at` in which every second byte is zero, from the byte beside `at` on. Ends where so many zeros
 * follow that no window reaches over them. Returns its end. */
static size_t wide_around(const struct search *search, size_t at, size_t done) {
    size_t begin = at, end = at + 1, zeros = 0;
    while (begin >= done + 2 && search->area[begin - 1] == 0 && zeros < NEEDLE_WINDOW) {
        begin -= 2;
        zeros = search->area[begin] == 0 ? zeros + 1 : 0;
    }
    zeros = 0;
    while (end + 1 < search->bytes && search->area[end] == 0 && zeros < NEEDLE_WINDOW) {
        zeros = search->area[end + 1] == 0 ? zeros + 1 : 0;
        end += 2;
    }
    read_wide(search, begin, end);
    return end;
}

#define EVEN_BYTES UINT64_C(0x00ff00ff00ff00ff)

/* A whole window is 15 bytes long: it has one of the words at every eighth place. */
static void search_wide(const struct search *search) {
    size_t done[2] = {0, 0};
    uint64_t before = 0;
    for (size_t at = 0; at + 8 <= search->bytes; at += 8) {
        uint64_t word = load(search->area + at);
        bool edge = word == 0 && (before != 0 || (at + 16 <= search->bytes && load(search->area + at + 8) != 0));
        before = word;
        if (word == 0 && !edge) continue;
        if ((word & ~EVEN_BYTES) == 0 && at >= done[0]) done[0] = wide_around(search, at, done[0]);
        if ((word & EVEN_BYTES) == 0 && at >= done[1]) done[1] = wide_around(search, at + 1, done[1]);
    }
}

/* A short secret is looked for at every place. */
static void search_wide_short(const struct search *search) {
    const size_t window = search->view.window;
    for (size_t at = 0; at + 2 * window - 1 <= search->bytes; at++) {
        size_t zeros = 0;
        while (zeros < window - 1 && search->area[at + 1 + 2 * zeros] == 0)
            zeros++;
        if (zeros == window - 1) read_wide(search, at, at + 2 * window - 1);
    }
}

/* ---- all of it ---- */

void needle_find(const struct needles *needles, const uint8_t *area, size_t bytes, needle_found *found, void *arg) {
    struct search search = {view_of(needles, needles->blob), area, bytes, found, arg};
    if (six_values['A'] == 0) make_values();
    search_bytes(&search);
    search_text(&search);
    if (needles->window == NEEDLE_WINDOW)
        search_wide(&search);
    else
        search_wide_short(&search);
}

struct fold {
    const struct needles *needles;
    struct needle_hit *hits;
};

static void note_hit(const struct needle_find *find, void *arg) {
    const struct fold *fold = arg;
    struct needle_hit *hit = &fold->hits[fold->needles->piece[find->piece].kind];
    hit->forms |= find->forms;
    if (find->bytes <= hit->bytes) return;
    hit->bytes = find->bytes;
    hit->form = find->form;
}

void needle_search(const struct needles *needles, const uint8_t *area, size_t bytes, struct needle_hit *hits) {
    struct fold fold = {needles, hits};
    needle_find(needles, area, bytes, note_hit, &fold);
}
