/* Checks the picture of an address space and the line of progress (tools/memguard/picture*.c, progress.c): sizes,
 * places and counts against sums made here in another way, with mappings and names as an attacker would choose them;
 * the line on a terminal of its own under a clock that stands still. Built and run by test_picture.sh.
 * usage: picture_check FOLDER    some of the SVG images are left there */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "picture.h"
#include "progress.h"

enum { SPANS = 10000, HITS = 1000, TEXT = 1 << 22, LINES_WITHOUT_HITS = 64, SVG_HEIGHT = 4500 };

static const char *folder;
static struct picture_span spans[SPANS];
static struct picture_hit hits[HITS];
static struct picture picture = {"memory of process 1 (cat)", spans, 0, hits, 0};
static char text[TEXT];

/* ---- random pictures ---- */

static uint64_t state;

static uint64_t draw(void) { /* xorshift64 (Marsaglia) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t below(uint64_t limit) { return draw() % limit; }

static void draw_name(char *name, size_t bytes) {
    static const char *const hostile[] = {"</title><script>alert(1)</script>",
                                          "\033[2J\033]0;x\007",
                                          "a&b<c>d\"e'f",
                                          "]]>",
                                          "\xe2\x80\xae"
                                          "gpj.exe",
                                          "\xc2\x9b"
                                          "31m",
                                          "\xc0\xaf\xff\xfe",
                                          "two\nlines\r\tand more",
                                          "\\x41",
                                          "%s%n%s",
                                          "caf\xc3\xa9.so \xce\xb1\xce\xb2 \xd0\xb6",
                                          "\xe4\xbd\xa0\xe5\xa5\xbd",
                                          "a\xcc\x81",
                                          "\xc3",
                                          "",
                                          ": 1 bytes in 1 mappings"};
    memset(name, 0, bytes);
    switch (below(4)) {
    case 0:
        snprintf(name, bytes, "lib%u.so.%u", (unsigned)below(40), (unsigned)below(3));
        return;
    case 1:
        snprintf(name, bytes, "%s", below(2) != 0 ? "anonymous" : "[heap]");
        return;
    case 2:
        snprintf(name, bytes, "%s", hostile[below(sizeof hostile / sizeof hostile[0])]);
        return;
    default:
        for (size_t i = 0; i < bytes; i++) /* often without an end */
            name[i] = (char)(below(30) == 0 ? 0 : draw());
    }
}

static uint64_t draw_size(void) {
    switch (below(8)) {
    case 0:
        return 0;
    case 1:
        return draw();
    case 2:
        return below(5000);
    default:
        return (UINT64_C(1) << below(32)) & ~UINT64_C(4095);
    }
}

static void draw_span(struct picture_span *span, uint64_t *at) {
    switch (below(12)) {
    case 0:
        *at = draw() & 0x7fffffffffff;
        break;
    case 1:
        *at = draw();
        break;
    case 2:
        *at = UINT64_MAX - below(10000);
        break;
    case 3:
        *at -= below(1 << 20);
        break; /* overlaps what was there */
    case 4:
        *at += below(1 << 30);
        break;
    default:
        break;
    }
    uint64_t size = draw_size();
    span->start = *at;
    span->end = below(20) == 0 ? draw() : size > UINT64_MAX - *at ? UINT64_MAX : *at + size;
    span->read = below(3) != 0 ? size : below(2) != 0 ? draw() : size / 3;
    span->refused = below(3) == 0 ? draw() >> below(64) : 0;
    span->kind = (enum picture_kind)below(PICTURE_KINDS);
    draw_name(span->name, sizeof span->name);
    *at = span->end;
}

static void draw_picture(uint64_t seed, size_t most_spans, size_t most_hits) {
    uint64_t at = 0x555555554000;
    state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    picture.span_count = (size_t)below(most_spans + 1);
    picture.hit_count = (size_t)below(most_hits + 1);
    for (size_t i = 0; i < picture.span_count; i++)
        draw_span(&spans[i], &at);
    for (size_t i = 0; i < picture.hit_count; i++) {
        const struct picture_span *span = &spans[below(picture.span_count + 1) % SPANS];
        hits[i].address = below(5) == 0    ? draw()
                          : below(50) == 0 ? 0
                                           : span->start + (span->end - span->start) / (1 + below(9));
        hits[i].bytes = (uint32_t)(draw() >> below(64));
        draw_name(hits[i].what, sizeof hits[i].what);
    }
}

/* A picture written by hand begins with nothing. */
static void begin(void) {
    memset(spans, 0, sizeof spans);
    memset(hits, 0, sizeof hits);
    picture.span_count = picture.hit_count = 0;
}

static void add_span(uint64_t start, uint64_t bytes, enum picture_kind kind, const char *name, uint64_t refused) {
    struct picture_span *span = &spans[picture.span_count++];
    *span = (struct picture_span){
        .start = start, .end = start + bytes, .kind = kind, .read = bytes - refused, .refused = refused};
    snprintf(span->name, sizeof span->name, "%s", name);
}

static void add_hit(uint64_t address) {
    struct picture_hit *hit = &hits[picture.hit_count++];
    *hit = (struct picture_hit){.address = address, .bytes = 32, .what = "base64 somewhere"};
}

/* ---- what was drawn ---- */

static bool render(bool (*draw_it)(FILE *out, unsigned columns, bool colour), unsigned columns, bool colour) {
    memset(text, 0, 4096);
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    if (out == NULL) abort();
    bool good = draw_it(out, columns, colour);
    long length = ftell(out);
    fclose(out);
    text[length] = '\0';
    return good && length < TEXT - 1;
}

static bool draw_terminal(FILE *out, unsigned columns, bool colour) {
    return picture_print(&picture, out, columns, colour);
}
static bool draw_svg(FILE *out, unsigned columns, bool colour) {
    (void)columns, (void)colour;
    return picture_svg(&picture, out);
}
static bool print(unsigned columns, bool colour) { return render(draw_terminal, columns, colour); }
static bool svg(void) { return render(draw_svg, 0, false); }

static void use_locale(const char *name) { setenv("LC_ALL", name, 1); }

static bool has_utf8(void) {
    begin();
    use_locale("C.UTF-8");
    return print(80, false) && strstr(text, "\u2588") != NULL;
}

/* Decodes a character that the picture may show; 0: it may not. */
static unsigned character(const char **at, bool utf8) {
    const unsigned char *from = (const unsigned char *)*at;
    unsigned code = from[0], more = 0;
    if (code >= 0xe0 && code < 0xf0)
        code &= 15, more = 2;
    else if (code >= 0xc2 && code < 0xe0)
        code &= 31, more = 1;
    else if (code >= 0x80)
        return 0;
    for (unsigned i = 1; i <= more; i++) {
        if ((from[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (from[i] & 63);
    }
    *at += 1 + more;
    if (code < 0x80) return code >= 0x20 && code < 0x7f ? code : 0;
    if (!utf8) return 0;
    if (more == 1)
        return (code > 0xa0 && code < 0x250 && code != 0xad) ||
                       (code >= 0x370 && code < 0x500 && (code < 0x483 || code > 0x489))
                   ? code
                   : 0;
    return strchr("\u2588\u2591\u25c6\u2026\u2500", 0) != NULL &&
                   (code == 0x2588 || code == 0x2591 || code == 0x25c6 || code == 0x2026 || code == 0x2500)
               ? code
               : 0;
}

/* The columns of a line, or 9999 when it has in it what a picture must not write. Colour: only "set the look" (SGR),
 * and the line ends without any. */
static unsigned columns_of(const char *line, const char *end, bool utf8, bool colour) {
    unsigned columns = 0;
    bool coloured = false;
    while (line < end) {
        if (colour && line[0] == '\033' && line[1] == '[') {
            line += 2;
            coloured = strncmp(line, "0m", 2) != 0;
            line += strspn(line, "0123456789;");
            if (*line++ != 'm') return 9999;
        } else if (character(&line, utf8) != 0) {
            columns++;
        } else {
            return 9999;
        }
    }
    return coloured ? 9999 : columns;
}

static bool lines_fit(unsigned columns, bool utf8, bool colour) {
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        if (end == NULL || columns_of(line, end, utf8, colour) > columns) return false;
        line = end + 1;
    }
    return true;
}

static size_t lines_of(const char *from, const char *end) {
    size_t lines = 0;
    for (; from < end; from++)
        lines += *from == '\n';
    return lines;
}

static int by_number(const void *a, const void *b) {
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
    return (first > second) - (first < second);
}

static bool in_a_span(uint64_t address) {
    for (size_t i = 0; i < picture.span_count; i++)
        if (spans[i].start <= address && address < spans[i].end) return true;
    return false;
}

/* The last lines list every hit, by address. */
static bool hits_are_listed(void) {
    uint64_t addresses[HITS];
    char head[64], number[32];
    for (size_t i = 0; i < picture.hit_count; i++)
        addresses[i] = hits[i].address;
    qsort(addresses, picture.hit_count, sizeof *addresses, by_number);
    snprintf(head, sizeof head, "\nFound in %zu place%s:\n", picture.hit_count, picture.hit_count == 1 ? "" : "s");
    const char *line = strstr(text, picture.hit_count != 0 ? head : "\nFound nowhere in ");
    if (line == NULL) return false;
    if (picture.hit_count == 0) return lines_of(line + 1, line + strlen(line)) == 1;
    line += strlen(head);
    for (size_t i = 0; i < picture.hit_count; i++) {
        snprintf(number, sizeof number, "%0*" PRIx64 " ", addresses[picture.hit_count - 1] >> 48 != 0 ? 16 : 12,
                 addresses[i]);
        line += strspn(line, " ");
        bool none = addresses[i] == 0 && !in_a_span(0) && strncmp(line, "- ", 2) == 0;
        if (!none && strncmp(line, number, strlen(number)) != 0) return false;
        line = strchr(line, '\n') + 1;
    }
    return *line == '\0';
}

/* ---- sums, made in another way ---- */

typedef unsigned __int128 wide;

struct sums {
    wide bytes, read, refused;
    size_t mappings, hits;
};

static uint64_t capped(wide number) { return number > UINT64_MAX ? UINT64_MAX : (uint64_t)number; }

static struct sums expected(void) {
    struct sums sums = {.mappings = picture.span_count};
    for (size_t i = 0; i < picture.span_count; i++) {
        uint64_t bytes = spans[i].end < spans[i].start ? 0 : spans[i].end - spans[i].start;
        uint64_t read = spans[i].read > bytes ? bytes : spans[i].read;
        sums.bytes += bytes;
        sums.read += read;
        sums.refused += spans[i].refused > bytes - read ? bytes - read : spans[i].refused;
    }
    for (size_t i = 0; i < picture.hit_count; i++)
        sums.hits += in_a_span(hits[i].address);
    return sums;
}

/* Whether "15.6 MiB" at `shown` is `bytes`, cut off behind the last digit shown. */
static bool is_size(const char *shown, uint64_t bytes) {
    static const char units[] = "BKMGTPE";
    char *after;
    unsigned long whole = strtoul(shown, &after, 10), tenth = 0;
    bool digit = *after == '.';
    if (digit) tenth = strtoul(after + 1, &after, 10);
    const char *unit = strchr(units, after[1]);
    if (after == shown || *after != ' ' || unit == NULL || (after[1] != 'B' && strncmp(after + 2, "iB", 2) != 0))
        return false;
    wide one = (wide)1 << (10 * (unit - units)), ten = (wide)bytes * 10, low = ((wide)whole * 10 + tenth) * one;
    return low <= ten && ten < low + (digit ? one : one * 10) && (digit || whole >= 100 || unit == units || ten == low);
}

/* The sums in the head, in one line when it is long enough. */
static bool sums_are_shown(void) {
    struct sums sums = expected();
    char head[64];
    snprintf(head, sizeof head, "%zu mapping%s, ", sums.mappings, sums.mappings == 1 ? "" : "s");
    const char *at = strstr(text, head), *read = strstr(text, " read"), *refused = strstr(text, " refused by");
    if (at == NULL || read == NULL || refused == NULL) return false;
    while (read[-1] != ' ' || !isdigit((unsigned char)*read))
        read--;
    while (refused[-1] != ' ' || !isdigit((unsigned char)*refused))
        refused--;
    return is_size(at + strlen(head), capped(sums.bytes)) && is_size(read, capped(sums.read)) &&
           is_size(refused, capped(sums.refused));
}

/* The rows of the SVG tell exact numbers in their titles. */
static bool svg_adds_up(void) {
    struct sums sums = expected(), seen = {0};
    const char *end = strstr(text, "</title>"); /* of the image */
    while (end != NULL && (end = strstr(end + 1, "</title>")) != NULL) {
        uint64_t bytes, read, refused;
        size_t mappings, found;
        const char *at = end;
        while (at > text && strncmp(at, ": ", 2) != 0)
            at--;
        if (sscanf(at, ": %" SCNu64 " bytes in %zu mapping%*[s,] %" SCNu64 " read, %" SCNu64 " refused, found %zu<",
                   &bytes, &mappings, &read, &refused, &found) != 5)
            return false;
        seen.bytes += bytes, seen.read += read, seen.refused += refused, seen.mappings += mappings, seen.hits += found;
    }
    bool capped_row = sums.bytes > UINT64_MAX; /* then a row may be at the highest number */
    return seen.mappings == sums.mappings && seen.hits == sums.hits &&
           (capped_row || (seen.bytes == sums.bytes && seen.read == sums.read && seen.refused == sums.refused));
}

/* ---- XML ---- */

/* A small reader of XML, stricter than XML where the picture may be: tags balance, values are quoted, text has only the
 * entities that the picture uses, no comments, nothing that runs or loads. */
static bool is_xml(void) {
    char open[32][16];
    size_t depth = 0, roots = 0;
    const char *at = strstr(text, "?>\n");
    if (strncmp(text, "<?xml ", 6) != 0 || at == NULL) return false;
    for (at += 3; *at != '\0';) {
        if (*at == '\n') {
            at++;
        } else if (strncmp(at, "</", 2) == 0) {
            size_t length = strcspn(at + 2, ">");
            if (depth == 0 || strlen(open[depth - 1]) != length || strncmp(at + 2, open[--depth], length) != 0)
                return false;
            at += length + 3;
        } else if (*at == '<') {
            size_t length = strspn(++at, "abcdefghijklmnopqrstuvwxyz");
            if (length == 0 || length > 15 || depth == 32) return false;
            if (depth == 0) roots++;
            snprintf(open[depth++], 16, "%.*s", (int)length, at);
            if (strcmp(open[depth - 1], "script") == 0 || strcmp(open[depth - 1], "a") == 0) return false;
            at += length;
            while (*at == ' ') {
                size_t name = strspn(++at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
                if (*at == '/') break;
                if (name == 0 || strncmp(at, "on", 2) == 0 || strncmp(at, "href", 4) == 0 ||
                    strncmp(at + name, "=\"", 2) != 0)
                    return false;
                at += name + 2;
                at += strcspn(at, "\"<&");
                if (*at++ != '"') return false;
            }
            if (*at == '/') depth--, at++;
            if (*at++ != '>') return false;
        } else if (*at == '&') {
            static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
            size_t i = 0;
            while (i < 4 && strncmp(at, entities[i], strlen(entities[i])) != 0)
                i++;
            if (i == 4) return false;
            at += strlen(entities[i]);
        } else if (depth == 0 || character(&at, true) == 0) {
            return false;
        }
    }
    return depth == 0 && roots == 1;
}

struct label {
    int x, y, width;
};

/* Labels lie within the image and do not lie on each other. A character is 0.602 of 12 units wide in the widest of the
 * fonts; the title has another one. */
static bool labels_fit(void) {
    static struct label labels[4096];
    size_t count = 0;
    int height = 0;
    if (sscanf(strstr(text, " height=\""), " height=\"%d", &height) != 1 || height > SVG_HEIGHT) return false;
    for (const char *at = text; (at = strstr(at, "<text x=\"")) != NULL && count < 4096;) {
        struct label *label = &labels[count++];
        char classes[16] = "";
        int characters = 0;
        if (sscanf(at, "<text x=\"%d\" y=\"%d\" class=\"%15[^\"]", &label->x, &label->y, classes) < 2) return false;
        for (at = strchr(at, '>') + 1; *at != '<'; at++, characters++) {
            if (*at == '&')
                at = strchr(at, ';');
            else if (((unsigned char)at[1] & 0xc0) == 0x80)
                characters--;
        }
        label->width = classes[0] == 't' ? characters * 11 : (int)(characters * 0.602 * 12) + 1;
        if (strchr(classes, 'e') != NULL) label->x -= label->width;
        if (strchr(classes, 'm') != NULL) label->x -= label->width / 2;
        if (label->x < 10 || label->x + label->width > 950 || label->y > height - 10) return false;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct label *a = &labels[i], *b = &labels[k];
            if (abs(a->y - b->y) < 11 && a->x < b->x + b->width && b->x < a->x + a->width) return false;
        }
    return true;
}

static void save(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.svg", folder, name);
    FILE *file = fopen(path, "w");
    if (!CHECK(file != NULL)) return;
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

/* ---- tests of the picture ---- */

static bool utf8_here;

static void check_random(uint64_t seed, size_t most_spans, size_t most_hits) {
    static const unsigned widths[] = {0, 40, 41, 57, 72, 80, 96, 110, 133, 200, 250, 1000};
    unsigned columns = widths[seed % 12], real = columns < 40 ? 40 : columns > 250 ? 250 : columns;
    bool utf8 = utf8_here && seed % 3 != 0, colour = seed % 4 == 0;
    draw_picture(seed, most_spans, most_hits);
    use_locale(utf8 ? "C.UTF-8" : "C");
    int good = CHECK(print(columns, colour)) & CHECK(lines_fit(real, utf8, colour));
    good &= CHECK(print(columns, false)) & CHECK(hits_are_listed());
    good &= CHECK(picture.hit_count != 0 || lines_of(text, text + strlen(text)) <= LINES_WITHOUT_HITS);
    good &= CHECK(print(250, false)) & CHECK(sums_are_shown());
    good &= CHECK(svg()) & CHECK(is_xml()) & CHECK(svg_adds_up()) & CHECK(labels_fit());
    if (!good) printf("random picture %" PRIu64 "\n", seed);
    char name[32];
    snprintf(name, sizeof name, "random%" PRIu64, seed);
    if (seed % 20 == 0) save(name);
}

TEST(random_pictures_keep_their_lines_sums_and_hits) {
    for (uint64_t seed = 1; seed <= 200 && atomic_load(&check_bad) < 5; seed++)
        check_random(seed, seed % 5 == 0 ? 700 : 40, seed % 2 == 0 ? 0 : 60);
}

TEST(ten_thousand_mappings) {
    struct timespec from, to;
    check_random(1001, SPANS, 0);
    check_random(1002, SPANS, HITS);
    draw_picture(1003, 1, HITS);
    picture.span_count = SPANS;
    for (size_t i = 0; i < SPANS; i++)
        spans[i] = (struct picture_span){
            .start = i * 8192, .end = i * 8192 + 4096, .read = 4096, .kind = i % PICTURE_KINDS, .name = "x"};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    CHECK(print(80, false));
    CHECK(svg());
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    CHECK(to.tv_sec - from.tv_sec < 3); /* without care: minutes */
}

/* The row of a name: where its line begins, NULL: there is none. */
static const char *row_of(const char *name) {
    char begin_of_line[64];
    snprintf(begin_of_line, sizeof begin_of_line, "\n  %s ", name);
    const char *at = strstr(text, begin_of_line);
    return at != NULL ? at + 1 : NULL;
}

/* How many of `mark` there are in a line. */
static unsigned count_in_line(const char *line, const char *mark) {
    unsigned count = 0;
    const char *end = line != NULL ? strchr(line, '\n') : NULL;
    for (; end != NULL && line < end; line++)
        count += strncmp(line, mark, strlen(mark)) == 0;
    return count;
}

/* Each factor of 16 is as many cells more, from 4 KiB to 1 GiB. */
TEST(bars_are_on_a_log_scale) {
    static const struct {
        const char *name;
        unsigned shift;
    } sizes[] = {{"aaa", 12}, {"bbb", 16}, {"ccc", 20}, {"ddd", 24}, {"eee", 28}};
    unsigned before = 0, step = 0;
    begin();
    use_locale("C");
    for (size_t i = 0; i < 5; i++)
        add_span(0x10000000 * i * 4, UINT64_C(1) << sizes[i].shift, PICTURE_ANONYMOUS, sizes[i].name, 0);
    CHECK(print(120, false));
    CHECK(strstr(text, "log scale") != NULL && strstr(text, "64K") != NULL && strstr(text, "256M") != NULL);
    for (size_t i = 0; i < 5; i++) {
        unsigned cells = count_in_line(row_of(sizes[i].name), "#");
        CHECK(cells > before);
        if (i > 1) CHECK(abs((int)(cells - before) - (int)step) <= 1);
        step = cells - before;
        before = cells;
    }
    CHECK(count_in_line(row_of("aaa"), "#") >= 2);
}

TEST(little_that_was_refused_is_seen) {
    begin();
    use_locale("C");
    add_span(0x1000, UINT64_C(1) << 30, PICTURE_ANONYMOUS, "large", 4096);
    add_span(0x100000000, UINT64_C(1) << 20, PICTURE_REFUSED, "whole", UINT64_C(1) << 20);
    add_span(0x200000000, UINT64_C(1) << 20, PICTURE_ANONYMOUS, "none", 0);
    CHECK(print(80, false));
    CHECK(count_in_line(row_of("large"), "/") == 1);
    CHECK(count_in_line(row_of("whole"), "/") > 5 && count_in_line(row_of("whole"), "#") == 0);
    CHECK(count_in_line(row_of("none"), "/") == 0);
    CHECK(svg());
    CHECK(strstr(text, "1073741824 bytes in 1 mapping, 1073737728 read, 4096 refused, found 0") != NULL);
}

TEST(little_that_was_read_is_seen) {
    begin();
    use_locale("C");
    add_span(0x1000, UINT64_C(1) << 30, PICTURE_ANONYMOUS, "sparse", 0);
    spans[0].read = 4096;
    CHECK(print(80, false));
    CHECK(count_in_line(row_of("sparse"), "#") == 1);
}

/* What is in memory of a stack is at its end, where the first calls are. */
TEST(stacks_are_in_memory_at_their_end) {
    begin();
    use_locale("C");
    add_span(0x1000000, 1 << 20, PICTURE_STACK, "[stack]", 0);
    add_span(0x2000000, 1 << 20, PICTURE_HEAP, "[heap]", 0);
    spans[0].read = spans[1].read = 1 << 18;
    CHECK(print(80, false));
    const char *stack = row_of("[stack]"), *heap = row_of("[heap]");
    if (!CHECK(stack != NULL && heap != NULL)) return;
    CHECK(strcspn(stack, ".") < strcspn(stack, "#") && strcspn(heap, "#") < strcspn(heap, "."));
}

/* In a bar of n cells: the first, the one in the middle, the last. */
TEST(a_mark_is_at_its_place) {
    static const uint64_t places[] = {0, 1 << 19, (1 << 20) - 1};
    for (size_t i = 0; i < 3; i++) {
        begin();
        use_locale("C");
        add_span(0x1000000, 1 << 20, PICTURE_HEAP, "[heap]", 0);
        add_hit(0x1000000 + places[i]);
        CHECK(print(80, false));
        const char *row = row_of("[heap]");
        if (!CHECK(row != NULL)) return;
        size_t bar = strcspn(row, "#X"), cells = strspn(row + bar, "#X"), mark = strcspn(row + bar, "X");
        CHECK(mark == (i == 0 ? 0 : i == 1 ? cells / 2 : cells - 1));
        CHECK(count_in_line(row, "X 1") == 1);
    }
}

/* Of 100 mappings that touch and have the same name, three have hits. */
TEST(mappings_with_hits_have_rows_of_their_own) {
    begin();
    use_locale("C");
    for (unsigned i = 0; i < 100; i++)
        add_span(0x1000000 + i * 8192, 8192, PICTURE_ANONYMOUS, "anonymous", 0);
    add_hit(0x1000000 + 10 * 8192);
    add_hit(0x1000000 + 50 * 8192 + 8191);
    add_hit(0x1000000 + 50 * 8192 + 1);
    add_hit(0x1000000 + 99 * 8192 + 4096);
    CHECK(print(80, false));
    CHECK(row_of("anonymous x97") != NULL);
    unsigned rows = 0;
    for (const char *at = text; (at = strstr(at, "\n  anonymous ")) != NULL; at++)
        rows += at[13] != 'x';
    CHECK(rows == 3);
    CHECK(strstr(text, "  X 2\n") != NULL && hits_are_listed());
}

TEST(many_hits_do_not_make_an_endless_image) {
    begin();
    use_locale("C");
    for (unsigned i = 0; i < HITS; i++) {
        add_span(0x1000000 + i * 8192, 4096, PICTURE_ANONYMOUS, "anonymous", 0);
        add_hit(0x1000000 + i * 8192);
    }
    CHECK(svg() && is_xml() && svg_adds_up() && labels_fit());
    CHECK(strstr(text, ">and 760 more, ") != NULL);
    save("many");
    CHECK(print(80, false) && hits_are_listed());
}

TEST(a_hit_in_no_mapping_is_not_lost) {
    begin();
    use_locale("C");
    add_span(0x1000000, 8192, PICTURE_HEAP, "[heap]", 0);
    add_hit(0x1002000); /* one byte behind */
    add_hit(0);
    CHECK(print(80, false));
    CHECK(strstr(text, "\nin no mapping  X 2\n") != NULL && hits_are_listed());
    CHECK(count_in_line(row_of("[heap]"), "X") == 0);
    CHECK(svg());
    CHECK(strstr(text, "of which 2 in no mapping") != NULL);
}

/* The counts and sizes of the rows on the terminal, with names that can be read. */
TEST(rows_add_up) {
    unsigned mappings = 0;
    begin();
    use_locale("C");
    for (unsigned i = 0; i < 600; i++)
        add_span(0x10000000 + i * UINT64_C(0x100000), 4096 << i % 7, (enum picture_kind)(i % PICTURE_KINDS),
                 i % 3 != 0 ? "one" : "two", 0);
    CHECK(print(80, false));
    for (const char *line = text; (line = strchr(line, '\n')) != NULL && line[1] != '\0'; line++) {
        if (strncmp(line, "\n  ", 3) != 0 || !islower((unsigned char)line[3]) || strchr(line + 1, '#') == NULL)
            continue;
        const char *times = strstr(line, " x"), *end = strchr(line + 1, '\n');
        if (strncmp(line + 3, "one", 3) == 0 || strncmp(line + 3, "two", 3) == 0)
            mappings += times != NULL && times < end ? (unsigned)atoi(times + 2) : 1;
    }
    CHECK(mappings == 600);
    CHECK(sums_are_shown());
}

/* 300 libraries and 300 stacks: the largest of both are shown, the others counted. */
TEST(the_largest_of_each_kind_stay) {
    char name[40];
    unsigned shown[2] = {0, 0}, others = 0;
    begin();
    use_locale("C");
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "%s%03u", i % 2 != 0 ? "stack" : "lib", i);
        add_span(UINT64_C(0x7f0000000000) + i * UINT64_C(0x400000), 4096 + i * 4096,
                 i % 2 != 0 ? PICTURE_STACK : PICTURE_CODE, name, 0);
    }
    CHECK(print(80, false));
    for (const char *at = text; (at = strstr(at, "\n  lib")) != NULL; at++)
        shown[0]++;
    for (const char *at = text; (at = strstr(at, "\n  stack")) != NULL; at++)
        shown[1]++;
    for (const char *at = text; (at = strstr(at, "\n  (others) x")) != NULL; at++)
        others += (unsigned)atoi(at + 13);
    CHECK(shown[0] > 10 && shown[0] == shown[1] && others == 600 - 2 * shown[0]);
    CHECK(row_of("lib598") != NULL && row_of("stack599") != NULL && row_of("lib000") == NULL);
    CHECK(lines_of(text, text + strlen(text)) <= LINES_WITHOUT_HITS);
}

TEST(regions_are_told_apart) {
    begin();
    use_locale("C");
    add_span(0x555555554000, 8192, PICTURE_CODE, "cat", 0);
    add_span(0x555555756000, 0x21000, PICTURE_HEAP, "[heap]", 0);
    add_span(0x7ffff7d00000, 0x200000, PICTURE_CODE, "libc.so.6", 0);
    add_span(0x7ffff7f00000, 0x1000, PICTURE_REFUSED, "secretmem", 0x1000);
    add_span(0x7ffffffde000, 0x21000, PICTURE_STACK, "[stack]", 0);
    CHECK(print(80, false));
    CHECK(strstr(text, "\nprogram, heap  ") != NULL && strstr(text, "\nlibraries, hidden  ") != NULL);
    CHECK(strstr(text, "\nstack  132 KiB") != NULL && strstr(text, "-- 42.6 TiB unused --\n") != NULL);
}

TEST(names_are_cleaned) {
    begin();
    add_span(0x1000, 8192, PICTURE_FILE, "\033[31mred\n<&>", 0);
    use_locale("C");
    CHECK(print(80, false));
    CHECK(strstr(text, "\n  \\x1b[31mred\\x0a<&> ") != NULL);
    CHECK(svg());
    CHECK(strstr(text, "\\x1b[31mred\\x0a&lt;&amp;&gt;") != NULL && strchr(text, '\033') == NULL);
    add_span(0x10000, 8192, PICTURE_FILE, "caf\xc3\xa9\xe2\x80\xae", 0);
    CHECK(print(80, false));
    CHECK(strstr(text, "caf\\xc3\\xa9\\xe2\\x80\\xae") != NULL);
    if (!utf8_here) return;
    use_locale("C.UTF-8");
    CHECK(print(80, false));
    CHECK(strstr(text, "caf\xc3\xa9\\xe2\\x80\\xae") != NULL);
    begin();
    add_span(0x1000, 8192, PICTURE_FILE, "\xc2\xad\xc0\x81\xd2\x83\xc3",
             0); /* no letters: invisible, overlong, combining */
    memset(spans[0].name + 7, 'a', sizeof spans[0].name - 8);
    spans[0].name[sizeof spans[0].name - 1] = '\xc3'; /* half a letter; behind the name would be the other half */
    const size_t end = offsetof(struct picture_span, name) + sizeof spans[0].name;
    memset((char *)&spans[0] + end, 0xa9, sizeof spans[0] - end);
    CHECK(print(250, false) && lines_fit(250, true, false));
    CHECK(strstr(text, "\n  \\xc2\\xad\\xc0\\x81\\xd2\\x83\\xc3aaa") != NULL);
    CHECK(svg() && is_xml() && strstr(text, "aaa\\xc3:") != NULL);
}

TEST(nothing_at_all) {
    begin();
    use_locale("C");
    picture.title = NULL;
    CHECK(print(80, true) && lines_fit(80, false, true));
    CHECK(svg() && is_xml());
    picture.title = "<&\033\"";
    CHECK(print(80, false) && lines_fit(80, false, false));
    CHECK(svg() && is_xml());
    save("nothing");
    picture.title = "memory of process 1 (cat)";
}

TEST(a_full_disk_is_told) {
    begin();
    add_span(0x1000, 8192, PICTURE_FILE, "x", 0);
    FILE *full = fopen("/dev/full", "w");
    if (!CHECK(full != NULL)) return;
    CHECK(!picture_print(&picture, full, 80, false));
    CHECK(!picture_svg(&picture, full));
    fclose(full);
}

static int callocs_left = -1; /* -1: any number */
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes) {
    if (callocs_left == 0) return NULL;
    if (callocs_left > 0) callocs_left--;
    return __real_calloc(count, bytes);
}

TEST(without_memory_nothing_is_drawn) {
    unsigned failed = 0;
    begin();
    add_span(0x1000, 8192, PICTURE_FILE, "x", 0);
    for (int calls = 0; calls < 100; calls++) {
        callocs_left = calls;
        bool drawn = print(80, false);
        callocs_left = calls;
        CHECK(svg() == drawn);
        callocs_left = -1;
        if (drawn) break;
        failed++;
        CHECK(text[0] == '\0');
    }
    CHECK(failed == 4);
}

/* ---- a terminal and a clock ---- */

static uint64_t clock_ms; /* 0: the real one */
int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

int __wrap_clock_gettime(clockid_t id, struct timespec *now) {
    if (clock_ms == 0 || id != CLOCK_MONOTONIC) return __real_clock_gettime(id, now);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

enum { SCREEN = 256, END_MARK = 1 };

/* What standard error shows while it is a terminal of ours. */
static struct {
    int controller, terminal, kept;
    unsigned columns, at, draws;
    bool wrapped, strange;
    size_t bytes;
    char line[SCREEN + 1];
} screen;

static void resize(unsigned columns) {
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = 24};
    screen.columns = columns;
    if (ioctl(screen.terminal, TIOCSWINSZ, &size) != 0) abort();
}

static void open_screen(unsigned columns) {
    memset(&screen, 0, sizeof screen);
    memset(screen.line, ' ', SCREEN);
    screen.controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (screen.controller < 0 || grantpt(screen.controller) != 0 || unlockpt(screen.controller) != 0) abort();
    screen.terminal = open(ptsname(screen.controller), O_RDWR | O_NOCTTY | O_CLOEXEC);
    screen.kept = dup(STDERR_FILENO);
    if (screen.terminal < 0 || screen.kept < 0 || dup2(screen.terminal, STDERR_FILENO) < 0) abort();
    resize(columns);
    clock_ms = 5000;
}

static void show_byte(char byte) {
    screen.bytes++;
    if (byte == '\r') {
        screen.at = 0;
        screen.draws++;
    } else if (byte < 0x20 || byte > 0x7e) {
        screen.strange = true;
    } else {
        screen.line[screen.at++ % SCREEN] = byte;
        if (screen.at >= screen.columns) screen.wrapped = true;
    }
}

/* Takes all that was written: up to a mark that is written here. */
static void look(void) {
    char byte = END_MARK;
    if (write(screen.terminal, &byte, 1) != 1) abort();
    for (;;) {
        struct pollfd ready = {.fd = screen.controller, .events = POLLIN};
        if (poll(&ready, 1, 30000) != 1 || read(screen.controller, &byte, 1) != 1) abort();
        if (byte == END_MARK) return;
        show_byte(byte);
    }
}

static void close_screen(void) {
    look();
    clock_ms = 0;
    dup2(screen.kept, STDERR_FILENO);
    close(screen.kept);
    close(screen.terminal);
    close(screen.controller);
}

static bool is_blank(void) { return strspn(screen.line, " ") == SCREEN && screen.at == 0; }

static bool shows(const char *part) { return strstr(screen.line, part) != NULL; }

/* Steps of 10 ms up to `end` of `total`, in which `ms` go by. */
static void go_on(struct progress *progress, uint64_t from, uint64_t end, unsigned ms) {
    for (unsigned i = 10; i <= ms; i += 10) {
        clock_ms += 10;
        progress_step(progress, from + (uint64_t)((double)(end - from) * i / ms));
        if (i % 1000 == 0) look();
    }
}

TEST(a_short_job_shows_no_progress) {
    struct progress progress;
    open_screen(80);
    progress_begin(&progress, "searching", 1000000);
    go_on(&progress, 0, 1000000, 990);
    progress_end(&progress);
    close_screen();
    CHECK(screen.bytes == 0);
}

TEST(progress_tells_how_far_it_is) {
    struct progress progress;
    open_screen(80);
    progress_begin(&progress, "searching", UINT64_C(2000000000));
    go_on(&progress, 0, UINT64_C(1000000000), 10000);
    look();
    CHECK(shows("searching [") && shows("]  50%  100 MB/s  0:10 left"));
    size_t full = 0, empty = 0;
    for (const char *at = screen.line; *at != '\0'; at++)
        full += *at == '#', empty += *at == '.';
    CHECK(full > 10 && empty - full <= 1);
    CHECK(screen.draws > 80 && screen.draws <= 91);
    progress_end(&progress);
    close_screen();
    CHECK(is_blank() && !screen.wrapped && !screen.strange);
}

TEST(progress_fits_any_terminal) {
    static const unsigned widths[] = {2, 3, 10, 20, 25, 33, 40, 57, 80, 119, 120, 121, 250};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        struct progress progress;
        open_screen(widths[i]);
        progress_begin(&progress, "searching process 1234567", UINT64_C(3000000000000));
        go_on(&progress, 0, UINT64_C(1000000000), 3000);
        look();
        CHECK(widths[i] < 7 || shows("0%"));
        CHECK(widths[i] < 40 || shows("searching"));
        progress_end(&progress);
        close_screen();
        CHECK(is_blank() && !screen.wrapped && !screen.strange);
    }
}

TEST(progress_follows_a_terminal_that_is_resized) {
    struct progress progress;
    open_screen(100);
    progress_begin(&progress, "searching", 4000);
    go_on(&progress, 0, 1000, 2000);
    look();
    CHECK(shows("25%"));
    memset(screen.line, ' ', SCREEN); /* what the terminal does with it is its own affair */
    resize(20);
    go_on(&progress, 1000, 2000, 2000);
    look();
    CHECK(shows("50%"));
    resize(60);
    go_on(&progress, 2000, 3000, 2000);
    look();
    CHECK(shows("75%") && shows("[#"));
    progress_end(&progress);
    close_screen();
    CHECK(is_blank() && !screen.wrapped && !screen.strange);
}

TEST(progress_takes_any_numbers) {
    static const uint64_t totals[] = {0, 1, 1000, UINT64_MAX}, dones[] = {0, 1, 5000, UINT64_MAX};
    for (size_t i = 0; i < 16; i++) {
        struct progress progress;
        open_screen(80);
        progress_begin(&progress, i % 2 != 0 ? "a\033[31m\n" : NULL, totals[i / 4]);
        clock_ms += 1500;
        progress_step(&progress, dones[i % 4]);
        look();
        CHECK(totals[i / 4] == 0 || dones[i % 4] < totals[i / 4] || shows("100%"));
        CHECK(totals[i / 4] == 0 ? shows(" MB") && !shows("%") : shows("%"));
        progress_step(&progress, 0); /* back */
        progress_end(&progress);
        progress_end(&progress);
        close_screen();
        CHECK(is_blank() && !screen.wrapped && !screen.strange);
    }
}

TEST(progress_leaves_nothing_of_a_longer_line) {
    struct progress progress;
    open_screen(80);
    progress_begin(&progress, "searching", 0);
    clock_ms += 1500;
    progress_step(&progress, UINT64_C(5000000000000));
    clock_ms += 10000000;
    progress_step(&progress, 7000000);
    look();
    CHECK(shows("searching 7 MB  0 MB/s    ") && strspn(strstr(screen.line, "MB/s") + 4, " ") > 100);
    progress_end(&progress);
    close_screen();
    CHECK(is_blank());
}

TEST(progress_is_for_terminals_only) {
    struct progress progress;
    int ends[2], kept = dup(STDERR_FILENO);
    char byte;
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 && kept >= 0)) return;
    dup2(ends[1], STDERR_FILENO);
    clock_ms = 5000;
    progress_begin(&progress, "searching", 1000);
    clock_ms += 5000;
    progress_step(&progress, 500);
    progress_end(&progress);
    clock_ms = 0;
    dup2(kept, STDERR_FILENO);
    close(kept);
    CHECK(read(ends[0], &byte, 1) < 0 && errno == EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

static void step_once(void) {
    struct progress progress;
    progress_begin(&progress, "searching", 1000);
    clock_ms += 5000;
    progress_step(&progress, 500);
}

/* A session with our terminal: its leader is in front, its child in a group of its own is not. */
static int a_job_behind(void *in_front) {
    if (setsid() < 0 || ioctl(STDERR_FILENO, TIOCSCTTY, 0) != 0) return 1;
    signal(SIGHUP, SIG_IGN);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (in_front == NULL && setpgid(0, 0) != 0) _exit(2);
        step_once();
        _exit(0);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 3;
}

TEST(progress_of_a_job_in_the_background_is_silent) {
    for (int in_front = 0; in_front < 2; in_front++) {
        open_screen(80);
        CHECK(check_exited(check_child(a_job_behind, in_front != 0 ? &in_front : NULL), 0));
        close_screen();
        CHECK((screen.bytes != 0) == (in_front != 0));
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    folder = argv[1];
    utf8_here = has_utf8();
    if (!utf8_here) printf("the locale C.UTF-8 is not here: ASCII only\n");
    RUN(random_pictures_keep_their_lines_sums_and_hits);
    RUN(ten_thousand_mappings);
    RUN(bars_are_on_a_log_scale);
    RUN(little_that_was_refused_is_seen);
    RUN(little_that_was_read_is_seen);
    RUN(stacks_are_in_memory_at_their_end);
    RUN(a_mark_is_at_its_place);
    RUN(mappings_with_hits_have_rows_of_their_own);
    RUN(many_hits_do_not_make_an_endless_image);
    RUN(a_hit_in_no_mapping_is_not_lost);
    RUN(rows_add_up);
    RUN(the_largest_of_each_kind_stay);
    RUN(regions_are_told_apart);
    RUN(names_are_cleaned);
    RUN(nothing_at_all);
    RUN(a_full_disk_is_told);
    RUN(without_memory_nothing_is_drawn);
    RUN(a_short_job_shows_no_progress);
    RUN(progress_tells_how_far_it_is);
    RUN(progress_fits_any_terminal);
    RUN(progress_follows_a_terminal_that_is_resized);
    RUN(progress_takes_any_numbers);
    RUN(progress_leaves_nothing_of_a_longer_line);
    RUN(progress_is_for_terminals_only);
    RUN(progress_of_a_job_in_the_background_is_silent);
    return check_end();
}
