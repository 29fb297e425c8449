/* Checks the search of the command (tools/memguard/needle.c and scan.c) against forms written here in another way:
 * every form is found, from 8 bytes on, across the edges of the buffer, with and without a mask; 7 bytes are not. Built
 * and run by test_needle.sh. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "needle.h"
#include "scan.h"

enum { SECRET = 32, AREA = 9000 };

static uint8_t secret[SECRET], blob[NEEDLE_SMALL_BLOB], hidden[NEEDLE_SMALL_BLOB], mask[NEEDLE_SMALL_BLOB];
static uint8_t area[AREA];
static struct needles needles;

static void draw(void *to, size_t bytes) {
    if (getrandom(to, bytes, 0) != (ssize_t)bytes) abort();
}

static void set_up(void) {
    memset(blob, 0, sizeof blob);
    CHECK(needle_plan(&needles, NEEDLE_SMALL_TEXT, NEEDLE_WINDOW) == sizeof blob);
    draw(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = secret[i] != 0 ? secret[i] : 1; /* see found() */
    draw(area, sizeof area);
    needles.blob = blob;
    CHECK(needle_add(&needles, blob, NEEDLE_SECRET, NULL, secret, sizeof secret));
}

/* Puts a text into the area, between zeros, which are in no form of the secret, so that no chance makes it longer. What
 * is found of the secret there, in bytes, when it is in the form that is expected. */
static size_t found(const void *text, size_t bytes, enum needle_form form) {
    struct needle_hit hits[NEEDLE_KINDS];
    memset(hits, 0, sizeof hits);
    memcpy(area + 1001, text, bytes);
    memset(area + 998, 0, 3);
    memset(area + 1001 + bytes, 0, 3);
    needle_search(&needles, area, sizeof area, hits);
    draw(area, sizeof area);
    return (hits[NEEDLE_SECRET].forms >> form & 1) != 0 ? hits[NEEDLE_SECRET].bytes : 0;
}

static size_t base64(const uint8_t *from, size_t bytes, const char *last_two, char *to) {
    char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t length = 0, bits = 0;
    unsigned pool = 0;
    memcpy(digits + 62, last_two, 2);
    for (size_t i = 0; i < bytes; i++) {
        pool = pool << 8 | from[i];
        for (bits += 8; bits >= 6; bits -= 6)
            to[length++] = digits[pool >> (bits - 6) & 63];
    }
    return length; /* only whole digits */
}

TEST(raw_and_reversed) {
    uint8_t reversed[SECRET];
    set_up();
    for (size_t i = 0; i < SECRET; i++)
        reversed[i] = secret[SECRET - 1 - i];
    CHECK(found(secret, SECRET, FORM_RAW) == SECRET);
    CHECK(found(reversed, SECRET, FORM_REVERSED) == SECRET);
    for (size_t at = 0; at + 8 <= SECRET; at++) {
        CHECK(found(secret + at, 8, FORM_RAW) == 8);
        CHECK(found(reversed + at, 8, FORM_REVERSED) == 8);
    }
    CHECK(found(secret + 3, 16, FORM_RAW) == 16);
}

TEST(hex) {
    char lower[2 * SECRET + 1], upper[2 * SECRET + 1];
    set_up();
    for (size_t i = 0; i < SECRET; i++) {
        snprintf(lower + 2 * i, 3, "%02x", (unsigned)secret[i]);
        snprintf(upper + 2 * i, 3, "%02X", (unsigned)secret[i]);
    }
    CHECK(found(lower, 2 * SECRET, FORM_HEX) == SECRET);
    CHECK(found(upper, 2 * SECRET, FORM_HEX_UPPER) == SECRET);
    CHECK(found(lower + 10, 16, FORM_HEX) == 8);
}

TEST(base64_at_every_shift) {
    uint8_t wide[SECRET + 8];
    char text[80];
    for (size_t shift = 0; shift < 6; shift++) {
        set_up();
        draw(wide, sizeof wide);
        memcpy(wide + shift, secret, SECRET);
        size_t length = base64(wide, shift + SECRET + 2, "+/", text);
        CHECK(found(text, length, FORM_BASE64) >= SECRET - 1);
        base64(wide, shift + SECRET + 2, "-_", text);
        CHECK(found(text, length, FORM_BASE64_URL) >= SECRET - 1);
    }
}

TEST(base64url_alone) {
    char text[80];
    set_up();
    memset(blob, 0, sizeof blob);
    needle_plan(&needles, NEEDLE_SMALL_TEXT, NEEDLE_WINDOW);
    for (size_t i = 0; i < sizeof secret; i++) /* '-' and '_' in every window */
        secret[i] = (uint8_t) "\xfb\xff\xbf"[i % 3];
    needles.blob = blob;
    CHECK(needle_add(&needles, blob, NEEDLE_SECRET, NULL, secret, sizeof secret));
    CHECK(found(text, base64(secret, SECRET, "-_", text), FORM_BASE64_URL) == SECRET - 1);
    CHECK(found(text, base64(secret, SECRET, "+/", text), FORM_BASE64) == SECRET - 1); /* half a byte is in no digit */
}

TEST(utf16) {
    uint8_t text[2 * SECRET];
    set_up();
    for (size_t i = 0; i < SECRET; i++) {
        text[2 * i] = secret[i];
        text[2 * i + 1] = 0;
    }
    CHECK(found(text, 2 * SECRET - 1, FORM_UTF16LE) == SECRET || found(text, 2 * SECRET - 1, FORM_UTF16BE) == SECRET);
    for (size_t at = 0; at + 8 <= SECRET; at++) {
        CHECK(found(text + 2 * at, 15, FORM_UTF16LE) == 8 || found(text + 2 * at, 15, FORM_UTF16BE) == 8);
        CHECK(found(text + 2 * at, 13, FORM_UTF16LE) == 0 && found(text + 2 * at, 13, FORM_UTF16BE) == 0);
    }
}

/* Zero bytes in the secret, at every place: not taken for emptiness. */
TEST(zeros_inside) {
    for (size_t zero = 0; zero + 6 <= SECRET; zero++) {
        uint8_t text[2 * SECRET] = {0};
        set_up();
        memset(secret + zero, 0, 6);
        memset(blob, 0, sizeof blob);
        needle_plan(&needles, NEEDLE_SMALL_TEXT, NEEDLE_WINDOW);
        needles.blob = blob;
        CHECK(needle_add(&needles, blob, NEEDLE_SECRET, NULL, secret, sizeof secret));
        for (size_t i = 0; i < SECRET; i++)
            text[2 * i] = secret[i];
        memset(area, 0, sizeof area);
        CHECK(found(secret, SECRET, FORM_RAW) == SECRET);
        memset(area, 0, sizeof area);
        CHECK(found(text, 2 * SECRET - 1, FORM_UTF16LE) == SECRET ||
              found(text, 2 * SECRET - 1, FORM_UTF16BE) == SECRET);
    }
}

/* 4 to 7 bytes: as a whole, in all forms. */
TEST(short_secrets) {
    for (size_t bytes = NEEDLE_LEAST; bytes < NEEDLE_WINDOW; bytes++) {
        uint8_t reversed[8], wide[16] = {0};
        char hex[20], text[20];
        set_up();
        memset(blob, 0, sizeof blob);
        CHECK(needle_plan(&needles, bytes, bytes) <= sizeof blob);
        needles.blob = blob;
        CHECK(needle_add(&needles, blob, NEEDLE_SECRET, NULL, secret, bytes));
        for (size_t i = 0; i < bytes; i++) {
            reversed[bytes - 1 - i] = wide[2 * i] = secret[i];
            snprintf(hex + 2 * i, 3, "%02x", (unsigned)secret[i]);
        }
        CHECK(found(secret, bytes, FORM_RAW) == bytes);
        CHECK(found(secret, bytes - 1, FORM_RAW) == 0);
        CHECK(found(reversed, bytes, FORM_REVERSED) == bytes);
        CHECK(found(hex, 2 * bytes, FORM_HEX) == bytes);
        CHECK(found(text, base64(secret, 9, "+/", text), FORM_BASE64) == bytes);
        CHECK(found(wide, 2 * bytes - 1, FORM_UTF16LE) == bytes || found(wide, 2 * bytes - 1, FORM_UTF16BE) == bytes);
    }
}

/* A secret of 100,000 bytes: any 8 of them. */
TEST(long_secret) {
    enum { LONG = 100000 };
    static uint8_t text[LONG];
    draw(text, sizeof text);
    struct needles many;
    size_t bytes = needle_plan(&many, LONG, NEEDLE_WINDOW);
    uint8_t *index = calloc(1, bytes);
    if (!CHECK(index != NULL)) return;
    CHECK(needle_add(&many, index, NEEDLE_SECRET, NULL, text, LONG));
    many.blob = index;
    for (size_t at = 0; at + 40 <= LONG; at += 997) {
        struct needle_hit hits[NEEDLE_KINDS] = {{0}};
        draw(area, sizeof area);
        memcpy(area + 4000, text + at, 8);
        area[3999] = area[4008] = (uint8_t)~text[at + 8];
        if (at > 0 && area[3999] == text[at - 1]) area[3999] ^= 1;
        needle_search(&many, area, sizeof area, hits);
        CHECK(hits[NEEDLE_SECRET].bytes == 8 && hits[NEEDLE_SECRET].forms == 1u << FORM_RAW);
    }
    free(index);
}

/* Bytes that are all the same are in no index. */
TEST(one_byte_repeated) {
    set_up();
    memset(blob, 0, sizeof blob);
    memset(secret + 8, 'a', 12);
    needle_plan(&needles, NEEDLE_SMALL_TEXT, NEEDLE_WINDOW);
    needles.blob = blob;
    CHECK(needle_add(&needles, blob, NEEDLE_SECRET, NULL, secret, sizeof secret));
    CHECK(needles.dull >= 5 && needles.windows + needles.dull == SECRET - 7);
    CHECK(found(secret + 8, 12, FORM_RAW) == 0);
    CHECK(found(secret + 7, 8, FORM_RAW) == 8);
}

/* Must not be found: 7 bytes, one bit wrong in every window, nothing at all. */
TEST(less_is_not_found) {
    uint8_t damaged[SECRET];
    set_up();
    CHECK(found(secret, 7, FORM_RAW) == 0);
    CHECK(found(secret + 20, 7, FORM_RAW) == 0);
    memcpy(damaged, secret, SECRET);
    for (size_t i = 0; i < SECRET; i += 7)
        damaged[i] ^= 1;
    CHECK(found(damaged, SECRET, FORM_RAW) == 0);
    CHECK(found("", 0, FORM_RAW) == 0);
}

TEST(masked) {
    set_up();
    draw(mask, sizeof mask);
    needle_hide(&needles, hidden, mask);
    memset(blob, 0, sizeof blob);
    CHECK(memmem(hidden, sizeof hidden, secret, 4) == NULL);
    CHECK(found(secret, SECRET, FORM_RAW) == SECRET);
    CHECK(found(secret + 11, 8, FORM_RAW) == 8);
    CHECK(found(secret, 7, FORM_RAW) == 0);
    mask[NEEDLE_SMALL_BLOB - NEEDLE_SMALL_TEXT + 3] ^= 1; /* a wrong mask: the first 4 bytes no longer match */
    CHECK(found(secret, 8, FORM_RAW) == 0);
}

/* A file with the secret at every place around the edge of a small buffer. */
TEST(across_the_edge) {
    static uint8_t buffer[SCAN_BUFFER_LEAST];
    char path[40];
    set_up();
    int fd = memfd_create("edge", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct scan_job job = {&needles, buffer, sizeof buffer, 0, NULL};
    for (size_t at = SCAN_BUFFER_LEAST - 100; at < SCAN_BUFFER_LEAST + 100; at++) {
        struct scan_result result;
        draw(area, sizeof area);
        memcpy(area + at, secret, SECRET);
        CHECK(pwrite(fd, area, sizeof area, 0) == (ssize_t)sizeof area);
        scan_file(path, &job, &result);
        CHECK(result.complete && result.read_bytes == sizeof area);
        CHECK(result.hit[NEEDLE_SECRET].bytes == SECRET);
    }
    close(fd);
}

/* Our own memory: found in a page without any rights, attributed; a page that is not there is no clean page. */
TEST(memory) {
    static uint8_t buffer[16384];
    struct scan_result result;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    set_up();
    draw(mask, sizeof mask);
    needle_hide(&needles, hidden, mask);
    memset(blob, 0, sizeof blob);
    char *map = mmap(NULL, 1024 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(map != MAP_FAILED)) return;
    for (size_t i = 0; i < SECRET; i++)
        map[600 * page - 16 + i] = (char)secret[i];
    memset(secret, 0, sizeof secret);
    CHECK(mprotect(map, 1024 * page, PROT_NONE) == 0);
    const struct scan_job job = {&needles, buffer, sizeof buffer, 0, NULL};
    scan_memory(getpid(), &job, &result);
    CHECK(result.complete);
    CHECK(result.hit[NEEDLE_SECRET].bytes == SECRET);
    munmap(map, 1024 * page);
    memset(buffer, 0, sizeof buffer);
    scan_memory(getpid(), &job, &result);
    CHECK(result.complete && result.read_bytes > 0);
    CHECK(result.hit[NEEDLE_SECRET].bytes == 0);
}

TEST(what_is_not_there) {
    static uint8_t buffer[16384];
    struct scan_result result;
    set_up();
    const struct scan_job job = {&needles, buffer, sizeof buffer, 0, NULL};
    scan_file("/nonexistent", &job, &result);
    CHECK(!result.complete && result.os_error == ENOENT);
    scan_memory(0x3fffffff, &job, &result); /* no such process */
    CHECK(!result.complete && result.os_error != 0);
    scan_process_file(0x3fffffff, "environ", &job, &result);
    CHECK(!result.complete && result.os_error != 0);
}

/* Zeros and other repetitions must not cost more than other memory, whatever bits of the filter they fall on. */
TEST(repetitions_are_cheap) {
    static uint8_t zeros[1 << 18];
    struct needle_hit hits[NEEDLE_KINDS];
    struct timespec begin, end;
    memset(hits, 0, sizeof hits);
    set_up();
    memset(blob, 0xff, 4096); /* the filter lets everything through */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    needle_search(&needles, zeros, sizeof zeros, hits);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    CHECK(end.tv_sec - begin.tv_sec < 2 && hits[NEEDLE_SECRET].bytes == 0); /* without care: many seconds */
    CHECK((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 < 100);
    CHECK(found(secret, SECRET, FORM_RAW) == SECRET);
}

TEST(limits) {
    set_up();
    CHECK(!needle_add(&needles, blob, NEEDLE_KEY, NULL, secret, 7));
    CHECK(needle_add(&needles, blob, NEEDLE_KEY, NULL, secret, SECRET));
    CHECK(needle_add(&needles, blob, NEEDLE_KEY, NULL, secret, SECRET));
    CHECK(!needle_add(&needles, blob, NEEDLE_CONTROL, NULL, secret, SECRET + 1)); /* more than there is room */
    CHECK(needle_add(&needles, blob, NEEDLE_CONTROL, NULL, secret, SECRET));
    CHECK(!needle_add(&needles, blob, NEEDLE_CONTROL, NULL, secret, 8)); /* full */
}

int main(void) {
    RUN(raw_and_reversed);
    RUN(hex);
    RUN(base64_at_every_shift);
    RUN(base64url_alone);
    RUN(utf16);
    RUN(zeros_inside);
    RUN(short_secrets);
    RUN(long_secret);
    RUN(one_byte_repeated);
    RUN(less_is_not_found);
    RUN(masked);
    RUN(across_the_edge);
    RUN(memory);
    RUN(what_is_not_there);
    RUN(repetitions_are_cheap);
    RUN(limits);
    return check_end();
}
