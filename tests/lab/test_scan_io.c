/* test_scan_io.c: what was read, written, encoded, decoded or typed is in the secret's place and nowhere else in the process; see
 * lab/scan.h. The kernel's buffers are not seen. */
#define _GNU_SOURCE
#include "lab/subject.h"

#include <memguard/codec.h>
#include <memguard/io.h>
#include <poll.h>
#include <termios.h>

enum { MOST = 60000, LINE = 200 };

static memguard_vault *vault;
static memguard_secret secret;
static unsigned char source[MOST + 1];
static int needle;
static unsigned snapshot;

#define CALL(call)                                                                                                     \
    do {                                                                                                               \
        const memguard_status status_ = (call);                                                                        \
        SCAN_REGISTERS_NOW(snapshot++ % SCAN_SNAPSHOTS);                                                               \
        CHECK(status_ == MEMGUARD_OK);                                                                                 \
    } while (0)

/* Plaintext is in `place` and nowhere else (SCAN_NOWHERE: not at all). */
static void look_for_it(const char *state, enum scan_place place) {
    static struct scan_result result;
    scan_memory(&result);
    const unsigned outside = scan_runs_outside(&result, SCAN_P, place);
    if (!CHECK(outside == 0)) scan_print_hits(&result, state);
    CHECK(place == SCAN_NOWHERE || scan_runs_in(&result, SCAN_P, place) != 0);
    scan_drop_registers();
}

/* As sealed, and then where it lies open. */
static void look_at_secret(const char *state) {
    look_for_it(state, SCAN_NOWHERE);
    CALL(memguard_secret_rest(secret, MEMGUARD_CLOSED));
    const struct mg__region *region = mg__entry_at(secret.id)->body.region;
    scan_name(SCAN_SLOT, region->base, region->bytes);
    look_for_it(state, SCAN_SLOT);
    scan_unname(SCAN_SLOT);
}

static void end_secret(const char *state) {
    CALL(memguard_secret_destroy(&secret));
    look_for_it(state, SCAN_NOWHERE);
}

/* ---- descriptors ---- */

/* New plaintext comes out of the pipe's end, with `more` bytes behind it. */
static int pipe_of(size_t bytes, const char *more, unsigned forms) {
    int ends[2];
    if (!CHECK(pipe(ends) == 0)) return -1;
    scan_begin((forms == SCAN_ALL_FORMS ? 16 : 4) * bytes);
    needle = scan_draw(SCAN_P, bytes, forms, source);
    for (size_t i = 0; i < bytes; i++) /* no newline inside: a needle of one byte less is not worth the trouble */
        if (source[i] == '\n') source[i] = 'n';
    CHECK(write(ends[1], source, bytes) == (ssize_t)bytes && write(ends[1], more, strlen(more)) == (ssize_t)strlen(more));
    scan_wipe(source, sizeof source);
    CHECK(close(ends[1]) == 0);
    return ends[0];
}

static void read_and_look(size_t bytes) {
    int end = pipe_of(bytes, "", SCAN_SHORT_FORMS);
    CALL(memguard_secret_read_exact(vault, end, bytes, MEMGUARD_SEALED, &secret));
    look_at_secret("read exactly");
    end_secret("read exactly, destroyed");
    close(end);
    end = pipe_of(bytes, "", SCAN_SHORT_FORMS);
    CALL(memguard_secret_read_all(vault, end, MOST, MEMGUARD_SEALED, &secret));
    look_at_secret("read to the end");
    end_secret("read to the end, destroyed");
    close(end);
    end = pipe_of(bytes, "\n", SCAN_SHORT_FORMS);
    CALL(memguard_secret_read_until(vault, end, '\n', MOST, MEMGUARD_SEALED, &secret));
    look_at_secret("read to a delimiter");
    end_secret("read to a delimiter, destroyed");
    close(end);
}

TEST(what_was_read_is_in_its_place_alone) {
    static const size_t sizes[] = {32, 4096, 5000, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) read_and_look(sizes[i]);
}

TEST(what_was_refused_is_nowhere) {
    int end = pipe_of(MOST, "", SCAN_SHORT_FORMS);
    CHECK_STATUS(memguard_secret_read_all(vault, end, MOST - 1, MEMGUARD_SEALED, &secret), MEMGUARD_ERR_SIZE);
    SCAN_REGISTERS_NOW(0);
    look_for_it("too long", SCAN_NOWHERE);
    close(end);
    end = pipe_of(5000, "", SCAN_SHORT_FORMS);
    CHECK_STATUS(memguard_secret_read_until(vault, end, '\n', 4000, MEMGUARD_SEALED, &secret), MEMGUARD_ERR_SIZE);
    SCAN_REGISTERS_NOW(0);
    look_for_it("too long a line", SCAN_NOWHERE);
    close(end);
}

TEST(what_was_written_is_nowhere_else) {
    int ends[2];
    const int end = pipe_of(5000, "", SCAN_SHORT_FORMS);
    CALL(memguard_secret_read_all(vault, end, MOST, MEMGUARD_SEALED, &secret));
    if (!CHECK(pipe(ends) == 0)) return;
    CALL(memguard_secret_write(secret, ends[1]));
    look_at_secret("written");
    CHECK(read(ends[0], source, sizeof source) == 5000);
    scan_wipe(source, sizeof source);
    end_secret("written, destroyed");
    close(ends[0]), close(ends[1]), close(end);
}

/* ---- streams: what is open of them is closed first ---- */

TEST(what_went_through_a_stream_is_nowhere) {
    int out[2];
    memguard_stream stream = {0};
    uint64_t moved = 0;
    const int end = pipe_of(MOST, "", SCAN_SHORT_FORMS);
    CALL(memguard_stream_create(vault, NULL, &stream));
    CALL(memguard_stream_fill(stream, end, UINT64_MAX, &moved));
    CHECK(moved == MOST);
    CALL(memguard_stream_flush(stream));
    look_for_it("filled", SCAN_NOWHERE);
    if (!CHECK(pipe(out) == 0)) return;
    CALL(memguard_stream_drain(stream, out[1], MOST, &moved));
    look_for_it("drained", SCAN_NOWHERE);
    CHECK(read(out[0], source, sizeof source) == MOST);
    scan_name(SCAN_SOURCE, source, sizeof source);
    look_for_it("drained (control)", SCAN_SOURCE);
    scan_unname(SCAN_SOURCE);
    scan_wipe(source, sizeof source);
    CALL(memguard_stream_destroy(&stream));
    look_for_it("stream destroyed", SCAN_NOWHERE);
    close(out[0]), close(out[1]), close(end);
}

/* ---- codecs: the needle is looked for in its encoded forms, too ---- */

TEST(what_was_encoded_and_decoded_is_nowhere_else) {
    for (size_t bytes = 32; bytes <= 5000; bytes += 4968) {
        for (int hex = 0; hex < 2; hex++) {
            const int end = pipe_of(bytes, "", SCAN_ALL_FORMS);
            memguard_secret text = {0}, back = {0};
            CALL(memguard_secret_read_all(vault, end, MOST, MEMGUARD_SEALED, &secret));
            CALL(hex ? memguard_hex_encode(secret, 0, &text) : memguard_base64_encode(secret, 0, 0, &text));
            look_for_it("encoded", SCAN_NOWHERE);
            CALL(hex ? memguard_hex_decode(text, 0, &back) : memguard_base64_decode(text, 0, 0, &back));
            look_for_it("decoded", SCAN_NOWHERE);
            CALL(memguard_secret_rest(text, MEMGUARD_CLOSED));
            const struct mg__region *region = mg__entry_at(text.id)->body.region;
            scan_name(SCAN_SLOT, region->base, region->bytes);
            look_for_it("text (control)", SCAN_SLOT);
            scan_unname(SCAN_SLOT);
            CALL(memguard_secret_destroy(&text));
            CALL(memguard_secret_destroy(&back));
            end_secret("encoded and decoded, destroyed");
            CHECK(benches_are_blank());
            close(end);
        }
    }
}

/* ---- the terminal ---- */

struct person {
    int master, stays; /* stays: a descriptor of the other side that is open all the time */
};

static void body_type(void *arg) {
    const struct person *person = arg;
    unsigned char line[LINE + 1];
    scan_get(needle, 0, line, LINE);
    line[LINE] = '\r';
    CHECK(write(person->master, line, sizeof line) == (ssize_t)sizeof line);
}

static void *type_when_asked(void *arg) {
    const struct person *person = arg;
    char shown[100];
    CHECK(read(person->master, shown, sizeof shown) == 5);
    scan_call(body_type, arg);
    return NULL;
}

static void body_make_printable(void *arg) {
    unsigned char line[LINE];
    (void)arg;
    CHECK(mg__sys_random(line, LINE) == 0);
    for (size_t i = 0; i < LINE; i++) line[i] = (unsigned char)(33 + line[i] % 90);
    scan_set(needle, 0, line, LINE);
}

TEST(what_was_typed_is_in_its_place_alone) {
    struct person person = {posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), -1};
    pthread_t thread;
    char name[64];
    CHECK(grantpt(person.master) == 0 && unlockpt(person.master) == 0 && ptsname_r(person.master, name, sizeof name) == 0);
    person.stays = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    const memguard_prompt_options options = {.size = sizeof options, .text = "Key: ", .input = person.stays,
                                             .output = person.stays, .flags = MEMGUARD_PROMPT_DESCRIPTORS};
    scan_begin(16 * LINE);
    needle = scan_add(SCAN_P, LINE, SCAN_ALL_FORMS);
    scan_call(body_make_printable, NULL);
    scan_index(needle);
    if (!CHECK(person.stays >= 0 && pthread_create(&thread, NULL, type_when_asked, &person) == 0)) return;
    CALL(memguard_prompt(vault, &options, MEMGUARD_SEALED, &secret));
    CHECK(pthread_join(thread, NULL) == 0);
    look_at_secret("typed");
    end_secret("typed, destroyed");
    close(person.stays), close(person.master);
}

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    why_not = CHECK_SANITIZED ? "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own" : scan_start();
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 4096);
    if (vault == NULL || !find_benches(MG_KIND_LOCKED, 2)) return 1;
    RUN(what_was_read_is_in_its_place_alone);
    RUN(what_was_refused_is_nowhere);
    RUN(what_was_written_is_nowhere_else);
    RUN(what_went_through_a_stream_is_nowhere);
    RUN(what_was_encoded_and_decoded_is_nowhere_else);
    RUN(what_was_typed_is_in_its_place_alone);
    return check_end();
}
