/* test_change.c: changes of rest, size and contents keep, cut, fill and compare as the header says, under one handle.
 * The last test compares long random sequences of changes with a plain model. */
#define _GNU_SOURCE
#include "api/support.h"

enum { KINDS = 5 };
static const uint32_t kinds[KINDS] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT,
                                      MEMGUARD_MAPPED | MEMGUARD_WRITABLE};
static const size_t sizes[] = {1, 31, 32, 100, 4095, 4096, 4097, 9000, 20000};
enum { SIZES = sizeof sizes / sizeof sizes[0], LARGEST = 20000 };

/* ---- rests --------------------------------------------------------------------------------------------- */

static int is_resting(memguard_secret secret, uint32_t kind) {
    memguard_info info = info_of(secret);
    return info.rest == (kind & MEMGUARD_REST_MASK) && (info.flags & MEMGUARD_WRITABLE) == (kind & MEMGUARD_WRITABLE);
}

static void change_rest(memguard_vault *vault, uint32_t from, uint32_t to, size_t size) {
    memguard_secret secret = secret_make(vault, size, from, 21), kept = secret;
    CHECK(is_resting(secret, from));
    CHECK_STATUS(memguard_secret_rest(secret, to), MEMGUARD_OK);
    int good = CHECK(is_resting(kept, to)) & CHECK(info_of(kept).bytes == size) & CHECK(holds_pattern(kept, size, 21));
    CHECK_STATUS(memguard_secret_rest(secret, to), MEMGUARD_OK); /* the same again */
    good &= CHECK(is_resting(kept, to)) & CHECK(holds_pattern(kept, size, 21));
    if (!good) printf("that was: from %u to %u, size %zu\n", from, to, size);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

TEST(every_rest_changes_into_every_other_and_keeps_the_bytes) {
    memguard_vault *vault = vault_make();
    for (int from = 0; from < KINDS; from++) {
        for (int to = 0; to < KINDS; to++) {
            for (size_t i = 0; i < SIZES; i++) change_rest(vault, kinds[from], kinds[to], sizes[i]);
        }
    }
    vault_end(vault);
}

TEST(a_change_of_rest_moves_the_secret_in_the_report) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 100, MEMGUARD_SEALED, 1);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK_STATUS(memguard_secret_rest(secret, rest), MEMGUARD_OK);
        memguard_report report = report_of(vault);
        for (uint32_t other = 0; other < RESTS; other++) {
            CHECK(report.secrets[other] == (other == rest ? 1U : 0U));
            CHECK(report.secret_bytes[other] == (other == rest ? 100U : 0U));
        }
    }
    vault_end(vault);
}

TEST(a_frozen_secret_stays_frozen_when_its_rest_changes) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 100, MEMGUARD_SEALED | MEMGUARD_FROZEN, 1);
    for (int kind = 0; kind < KINDS; kind++) {
        CHECK_STATUS(memguard_secret_rest(secret, kinds[kind]), MEMGUARD_OK);
        CHECK((info_of(secret).flags & MEMGUARD_FROZEN) != 0);
        CHECK_STATUS(memguard_secret_zero(secret), MEMGUARD_ERR_FROZEN);
        CHECK(holds_pattern(secret, 100, 1));
    }
    vault_end(vault);
}

/* Seal and Open of the Go library, with the pages looked at. */
TEST(sealing_an_open_secret_takes_its_pages_out_of_sight) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 100, MEMGUARD_MAPPED, 1);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    CHECK(can_read(place) == 1);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_SEALED), MEMGUARD_OK);
    CHECK(can_read(place) == 0);
    CHECK(holds_pattern(secret, 100, 1));
    vault_end(vault);
}

/* ---- sizes --------------------------------------------------------------------------------------------- */

static void resize_once(memguard_vault *vault, uint32_t kind, size_t from, size_t to) {
    static unsigned char model[LARGEST];
    memguard_secret secret = secret_make(vault, from, kind, 31);
    size_t least = from < to ? from : to;
    memset(model, 0, sizeof model);
    fill(model, least, 31);
    CHECK_STATUS(memguard_secret_resize(secret, to), MEMGUARD_OK);
    int good = CHECK(info_of(secret).bytes == to) & CHECK(is_resting(secret, kind)) & CHECK(holds(secret, model, to));
    CHECK_STATUS(memguard_secret_resize(secret, LARGEST), MEMGUARD_OK); /* what was cut off does not come back */
    good &= CHECK(holds(secret, model, LARGEST));
    if (!good) printf("that was: kind %u from %zu to %zu\n", kind, from, to);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

TEST(resize_cuts_and_fills_with_zeros_in_every_rest) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t from = 0; from < SIZES; from++) {
            for (size_t to = 0; to < SIZES; to++) resize_once(vault, kinds[kind], sizes[from], sizes[to]);
        }
    }
    vault_end(vault);
}

TEST(resize_to_wrong_sizes_is_refused_and_changes_nothing) {
    static const size_t wrong[] = {0, MEMGUARD_SIZE_MAX + 1, SIZE_MAX - 15, SIZE_MAX};
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        memguard_secret secret = secret_make(vault, 50, kinds[kind], 1);
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            CHECK_STATUS(memguard_secret_resize(secret, wrong[i]), MEMGUARD_ERR_SIZE);
        }
        CHECK(holds_pattern(secret, 50, 1));
    }
    vault_end(vault);
}

/* ---- contents ------------------------------------------------------------------------------------------ */

static void replace_once(memguard_vault *vault, uint32_t kind, size_t from, size_t to) {
    static unsigned char source[LARGEST + 1];
    memguard_secret secret = secret_make(vault, from, kind, 41), kept = secret;
    fill(source, to, 42);
    source[to] = 0x5a;
    CHECK_STATUS(memguard_secret_replace(secret, source, to), MEMGUARD_OK);
    CHECK(is_zero(source, to) && source[to] == 0x5a);
    CHECK(info_of(kept).bytes == to && is_resting(kept, kind) && holds_pattern(kept, to, 42));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
}

TEST(replace_gives_new_bytes_of_any_size_and_wipes_the_source) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t from = 0; from < SIZES; from += 2) {
            for (size_t to = 0; to < SIZES; to++) replace_once(vault, kinds[kind], sizes[from], sizes[to]);
        }
    }
    vault_end(vault);
}

TEST(replace_with_wrong_sizes_is_refused_and_wipes_nothing) {
    static const size_t wrong[] = {0, MEMGUARD_SIZE_MAX + 1, SIZE_MAX};
    unsigned char source[32];
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 50, 0, 1);
    fill(source, sizeof source, 2);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(memguard_secret_replace(secret, source, wrong[i]), MEMGUARD_ERR_SIZE);
        CHECK(is_pattern(source, sizeof source, 2));
    }
    CHECK(holds_pattern(secret, 50, 1));
    vault_end(vault);
}

enum { ROOM = 100, PIECE = 24, MARGIN = 8 };

static memguard_status put_at(int move, memguard_secret secret, size_t offset, void *source, size_t bytes) {
    return move ? memguard_secret_move_at(secret, offset, source, bytes)
                : memguard_secret_copy_at(secret, offset, source, bytes);
}

static void put_everywhere(memguard_vault *vault, uint32_t kind, int move) {
    unsigned char model[ROOM], source[MARGIN + PIECE + MARGIN], fresh[sizeof source];
    memguard_secret secret = secret_make(vault, ROOM, kind, 51);
    fill(model, ROOM, 51);
    for (size_t offset = 0; offset + PIECE <= ROOM; offset++) {
        fill(source, sizeof source, 1000 + (uint32_t)offset);
        memcpy(fresh, source, sizeof source);
        memcpy(model + offset, source + MARGIN, PIECE);
        if (!CHECK_STATUS(put_at(move, secret, offset, source + MARGIN, PIECE), MEMGUARD_OK)) return;
        if (move) memset(fresh + MARGIN, 0, PIECE); /* exactly these bytes are wiped, or none */
        if (!CHECK(memcmp(source, fresh, sizeof source) == 0) || !CHECK(holds(secret, model, ROOM))) return;
    }
}

TEST(copy_at_writes_at_every_offset_and_leaves_its_source) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) put_everywhere(vault, kinds[kind], 0);
    vault_end(vault);
}

TEST(move_at_writes_at_every_offset_and_wipes_exactly_its_source) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) put_everywhere(vault, kinds[kind], 1);
    vault_end(vault);
}

static void put_too_far(memguard_vault *vault, uint32_t kind, int move) {
    static const size_t wrong[][2] = {{ROOM - PIECE + 1, PIECE}, {ROOM, 1},           {ROOM + 1, 1},
                                      {0, ROOM + 1},             {SIZE_MAX, 1},       {SIZE_MAX - PIECE + 1, PIECE},
                                      {1, SIZE_MAX},             {SIZE_MAX, SIZE_MAX}, {ROOM, SIZE_MAX - ROOM + 1}};
    unsigned char source[ROOM + 1];
    memguard_secret secret = secret_make(vault, ROOM, kind, 61);
    fill(source, sizeof source, 62);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(put_at(move, secret, wrong[i][0], source, wrong[i][1]), MEMGUARD_ERR_SIZE);
        CHECK(is_pattern(source, sizeof source, 62));
        CHECK(holds_pattern(secret, ROOM, 61));
    }
}

TEST(what_does_not_fit_is_neither_written_nor_wiped) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        put_too_far(vault, kinds[kind], 0);
        put_too_far(vault, kinds[kind], 1);
    }
    vault_end(vault);
}

TEST(zero_makes_all_bytes_zero) {
    static const unsigned char zeros[LARGEST];
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < SIZES; i++) {
            memguard_secret secret = secret_make(vault, sizes[i], kinds[kind], 1);
            CHECK_STATUS(memguard_secret_zero(secret), MEMGUARD_OK);
            CHECK(holds(secret, zeros, sizes[i]) && is_resting(secret, kinds[kind]));
            CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
        }
    }
    vault_end(vault);
}

/* 1 when no 16 bytes in a row are those of `before`, or zero. */
typedef struct scrambled {
    const unsigned char *before;
    size_t size;
} scrambled;
static int show_scrambled(const void *bytes, size_t size, void *arg) {
    const scrambled *was = arg;
    const unsigned char *now = bytes;
    if (size != was->size) return 0;
    for (size_t at = 0; at + 16 <= size; at += 16) {
        if (memcmp(now + at, was->before + at, 16) == 0 || is_zero(now + at, 16)) return 0;
    }
    return 1;
}

TEST(scramble_changes_all_bytes_each_time) {
    static unsigned char before[LARGEST];
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        memguard_secret secret = secret_make(vault, LARGEST, kinds[kind], 1);
        fill(before, LARGEST, 1);
        for (int round = 0; round < 2; round++) {
            scrambled was = {before, LARGEST};
            int changed = 0;
            CHECK_STATUS(memguard_secret_scramble(secret), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_use(secret, show_scrambled, &was, &changed), MEMGUARD_OK);
            CHECK(changed == 1 && is_resting(secret, kinds[kind]));
            memguard_view view = borrow(secret, MEMGUARD_READ);
            memcpy(before, view.data, LARGEST);
            give_back(&view);
        }
    }
    vault_end(vault);
}

/* ---- comparison ---------------------------------------------------------------------------------------- */

static void compare_all(memguard_secret secret, size_t size) {
    static unsigned char other[LARGEST + 1];
    fill(other, sizeof other, 71);
    CHECK_STATUS(memguard_secret_equal(secret, other, size), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_equal(secret, other, size + 1), MEMGUARD_ERR_MISMATCH);
    if (size > 1) CHECK_STATUS(memguard_secret_equal(secret, other, size - 1), MEMGUARD_ERR_MISMATCH);
    const size_t places[] = {0, size / 2, size - 1};
    for (int i = 0; i < 3; i++) {
        other[places[i]] ^= 0x80;
        CHECK_STATUS(memguard_secret_equal(secret, other, size), MEMGUARD_ERR_MISMATCH);
        other[places[i]] ^= 0x80;
    }
    CHECK(is_pattern(other, sizeof other, 71));
}

TEST(equal_tells_equal_from_different_first_middle_last_byte_and_size) {
    memguard_vault *vault = vault_make();
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < SIZES; i++) {
            memguard_secret secret = secret_make(vault, sizes[i], kinds[kind], 71);
            compare_all(secret, sizes[i]);
            CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
        }
    }
    vault_end(vault);
}

/* ---- sequences against a model -------------------------------------------------------------------------- */

typedef struct model {
    memguard_secret secret;
    uint64_t random;
    size_t size;
    int frozen;
    uint32_t kind;
    unsigned char bytes[3 * 4096];
} model;

static uint32_t draw(model *m, uint32_t below) {
    m->random ^= m->random << 13, m->random ^= m->random >> 7, m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 32) % below;
}

static size_t draw_size(model *m) { return 1 + draw(m, draw(m, 2) == 0 ? 100 : sizeof m->bytes); }

static void step_resize(model *m) {
    size_t size = draw_size(m);
    if (!CHECK_STATUS(memguard_secret_resize(m->secret, size), m->frozen ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK)) return;
    if (m->frozen) return;
    if (size > m->size) memset(m->bytes + m->size, 0, size - m->size);
    m->size = size;
}

static void step_replace(model *m) {
    static unsigned char source[sizeof m->bytes];
    size_t size = draw_size(m);
    uint32_t seed = draw(m, 1000);
    fill(source, size, seed);
    CHECK_STATUS(memguard_secret_replace(m->secret, source, size), m->frozen ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK);
    CHECK(is_zero(source, size));
    if (m->frozen) return;
    fill(m->bytes, size, seed);
    m->size = size;
}

static void step_put(model *m) {
    unsigned char source[64];
    size_t size = 1 + draw(m, sizeof source), offset = draw(m, (uint32_t)m->size + 8);
    int move = (int)draw(m, 2), fits = offset <= m->size && size <= m->size - offset;
    fill(source, size, draw(m, 1000));
    if (fits && !m->frozen) memcpy(m->bytes + offset, source, size);
    memguard_status status = put_at(move, m->secret, offset, source, size);
    if (fits) {
        CHECK_STATUS(status, m->frozen ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK);
    } else { /* both are true of a frozen one */
        CHECK_AMONG(status, ANY_OF(ERR_SIZE) | (m->frozen ? ANY_OF(ERR_FROZEN) : 0));
    }
}

static void step_view(model *m) {
    memguard_view view = {0};
    memguard_status status = memguard_secret_acquire(m->secret, MEMGUARD_WRITE, &view);
    if (!CHECK_STATUS(status, m->frozen ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK) || m->frozen) return;
    CHECK(view.size == m->size && memcmp(view.data, m->bytes, m->size) == 0);
    size_t at = draw(m, (uint32_t)m->size);
    ((unsigned char *)view.data)[at] ^= 0x11;
    m->bytes[at] ^= 0x11;
    give_back(&view);
}

static void step_rest(model *m) {
    m->kind = kinds[draw(m, KINDS)];
    CHECK_STATUS(memguard_secret_rest(m->secret, m->kind), MEMGUARD_OK);
}

static void step_freeze(model *m) {
    m->frozen = draw(m, 3) == 0;
    CHECK_STATUS(m->frozen ? memguard_secret_freeze(m->secret) : memguard_secret_melt(m->secret), MEMGUARD_OK);
}

static void step_zero(model *m) {
    CHECK_STATUS(memguard_secret_zero(m->secret), m->frozen ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK);
    if (!m->frozen) memset(m->bytes, 0, m->size);
}

static void (*const steps[])(model *) = {step_resize, step_replace, step_put,    step_put, step_view,
                                         step_rest,   step_rest,    step_freeze, step_zero};

static int agrees(model *m) {
    memguard_info info = info_of(m->secret);
    return info.bytes == m->size && ((info.flags & MEMGUARD_FROZEN) != 0) == m->frozen &&
           is_resting(m->secret, m->kind) && holds(m->secret, m->bytes, m->size);
}

TEST(random_sequences_of_changes_agree_with_a_plain_model) {
    static model m;
    const int rounds = CHECK_SANITIZED ? 4000 : 30000;
    memguard_vault *vault = vault_make();
    m.random = 0x9e3779b97f4a7c15U;
    m.size = 10;
    m.secret = secret_make(vault, m.size, MEMGUARD_SEALED, 1);
    fill(m.bytes, m.size, 1);
    for (int round = 0; round < rounds; round++) {
        uint32_t step = draw(&m, sizeof steps / sizeof steps[0]);
        steps[step](&m);
        if (CHECK(agrees(&m))) continue;
        printf("that was: round %d, step %u\n", round, step);
        break;
    }
    vault_end(vault);
}

int main(void) {
    RUN(every_rest_changes_into_every_other_and_keeps_the_bytes);
    RUN(a_change_of_rest_moves_the_secret_in_the_report);
    RUN(a_frozen_secret_stays_frozen_when_its_rest_changes);
    RUN(sealing_an_open_secret_takes_its_pages_out_of_sight);
    RUN(resize_cuts_and_fills_with_zeros_in_every_rest);
    RUN(resize_to_wrong_sizes_is_refused_and_changes_nothing);
    RUN(replace_gives_new_bytes_of_any_size_and_wipes_the_source);
    RUN(replace_with_wrong_sizes_is_refused_and_wipes_nothing);
    RUN(copy_at_writes_at_every_offset_and_leaves_its_source);
    RUN(move_at_writes_at_every_offset_and_wipes_exactly_its_source);
    RUN(what_does_not_fit_is_neither_written_nor_wiped);
    RUN(zero_makes_all_bytes_zero);
    RUN(scramble_changes_all_bytes_each_time);
    RUN(equal_tells_equal_from_different_first_middle_last_byte_and_size);
    RUN(random_sequences_of_changes_agree_with_a_plain_model);
    return check_end();
}
