/* story.h: what the host's tests share: one program of the guest in one state after another, its markers and keys as needles, and
 * what was found of them. The host derives the markers from the seed, and the keys from the shares that the guest tells. */
#ifndef MEMGUARD_TESTS_GUEST_STORY_H
#define MEMGUARD_TESTS_GUEST_STORY_H

#include <sodium.h>
#include <sys/random.h>

#include "guest/machine.h"
#include "guest/marker.h"
#include "guest/search.h"

/* Needles: first the markers by number. */
enum { STORY_X = MARKER_PAD, STORY_Y, STORY_HX, STORY_K, STORY_KS, STORY_S, STORY_NEEDLES };

static uint64_t story_seed;
static struct search story;
static char story_backend[16];

/* ---- needles ---- */

static inline void story_add_markers(void) {
    static const char *const names[] = {"sealed", "closed", "mapped", "compact", "use page", "bench", "ordinary page"};
    for (unsigned number = 0; number <= MARKER_CONTROL; number++) {
        unsigned char marker[MARKER_BYTES];
        marker_write(marker, sizeof marker, story_seed, number);
        search_add(&story, names[number], marker, sizeof marker);
    }
}

/* A line `bytes NAME HEX`: yields how many bytes there were, unmasked in `to`; 0 if it was another line. */
static inline size_t story_hear_bytes(const char *name, unsigned char *to, size_t most) {
    char start[32];
    size_t bytes = 0;
    snprintf(start, sizeof start, "bytes %s ", name);
    if (!machine_hear() || strncmp(machine.line, start, strlen(start)) != 0) return 0;
    const char *hex = machine.line + strlen(start);
    if (sodium_hex2bin(to, most, hex, strlen(hex), NULL, &bytes, NULL) != 0) return 0;
    for (size_t i = 0; i < bytes; i++)
        to[i] ^= marker_byte(story_seed, MARKER_PAD, i);
    return bytes;
}

/* The keys that follow from the shares (docs/KEYS.md), as needles. The sealed record proves that they are the right ones. */
static inline int story_add_keys(void) {
    unsigned char x[4096], y[32], nonce[24], sealed[16 + MARKER_BYTES], plain[MARKER_BYTES], marker[MARKER_BYTES];
    unsigned char hx[32], k[32], ks[32], s[32];
    const size_t x_bytes = story_hear_bytes("x", x, sizeof x), y_bytes = story_hear_bytes("y", y, sizeof y);
    const size_t nonce_bytes = story_hear_bytes("nonce", nonce, sizeof nonce);
    if (!CHECK(x_bytes == sizeof x && y_bytes == sizeof y && nonce_bytes == sizeof nonce)) return 0;
    if (!CHECK(story_hear_bytes("sealed", sealed, sizeof sealed) == sizeof sealed)) return 0;
    crypto_generichash(hx, sizeof hx, x, sizeof x, NULL, 0);
    for (size_t i = 0; i < sizeof k; i++)
        k[i] = (unsigned char)(y[i] ^ hx[i]);
    crypto_kdf_derive_from_key(ks, sizeof ks, 1, "memguard", k);
    crypto_core_hsalsa20(s, nonce, ks, NULL);
    marker_write(marker, sizeof marker, story_seed, MARKER_SEALED);
    if (!CHECK(crypto_secretbox_open_easy(plain, sealed, sizeof sealed, nonce, ks) == 0)) return 0;
    if (!CHECK(memcmp(plain, marker, sizeof plain) == 0)) return 0;
    search_add(&story, "x", x, sizeof x);
    search_add(&story, "y", y, sizeof y);
    search_add(&story, "H(x)", hx, sizeof hx);
    search_add(&story, "K", k, sizeof k);
    search_add(&story, "Ks", ks, sizeof ks);
    search_add(&story, "S", s, sizeof s);
    return CHECK(story.needles == STORY_NEEDLES);
}

/* ---- one program ---- */

/* A fresh seed and its markers. */
static inline int story_reseed(void) {
    if (story.places != NULL) search_end(&story);
    search_begin(&story);
    if (!CHECK(getrandom(&story_seed, sizeof story_seed, 0) == (ssize_t)sizeof story_seed)) return 0;
    story_add_markers();
    return 1;
}

/* Starts `PROGRAM BACKEND ENDING`, up to where its keys are known. */
static inline int story_begin(const char *program, const char *backend, const char *ending) {
    char command[128];
    if (!machine_recover() || !story_reseed()) return 0;
    snprintf(command, sizeof command, "run /%s %s %s %llx", program, backend, ending, (unsigned long long)story_seed);
    machine_clear_log();
    if (!CHECK(machine_say(command)) || !CHECK(machine_hear())) return 0;
    if (!CHECK(sscanf(machine.line, "backend %15s", story_backend) == 1)) {
        machine.lost = 1;
        machine_print_log();
        return 0;
    }
    return story_add_keys();
}

/* 1: this place in the guest's memory is in a thread's registers, as the kernel saves them (Intel SDM volume 1, 13.4: FXSAVE area with
 * MXCSR and its mask, XSAVE header, upper halves). */
static inline int story_in_saved_registers(uint64_t at) {
    enum { MXCSR = 24, VECTORS = 160, HEADER = 512, END = HEADER + 64 + 256 };
    const uint64_t mxcsr = 0x0000ffff00001f80U;
    for (uint64_t base = at & ~(uint64_t)63; base + END > at && base >= 64; base -= 64) {
        const unsigned char *area = machine.ram.bytes + base;
        if (at >= base + VECTORS && base + END <= machine.ram.size && search_load(area + MXCSR) == mxcsr) return 1;
    }
    return 0;
}

/* Says of keys, which should be nowhere, whose the place is. */
static inline void story_attribute(void) {
    for (int i = STORY_HX; i < story.needles; i++)
        if (story.found[i].runs != 0)
            printf("  %s is in %s\n", story.names[i],
                   story_in_saved_registers(story.found[i].first) ? "a thread's registers, saved by the kernel"
                                                                  : "memory");
}

static inline void story_look(const char *where) {
    CHECK(machine_freeze());
    search_image(&story, machine.ram.bytes, machine.ram.size);
    search_print(&story, where);
    story_attribute();
    CHECK(machine_thaw());
}

static inline void story_look_at_drive(int drive, const char *where) {
    search_image(&story, machine.drives[drive].bytes, machine.drives[drive].size);
    search_print(&story, where);
}

static inline unsigned story_runs(int needle) { return story.found[needle].runs; }
static inline unsigned story_sum(int from, int to) {
    unsigned runs = 0;
    for (int i = from; i <= to; i++)
        runs += story.found[i].runs;
    return runs;
}
static inline unsigned story_plain_runs(void) { return story_sum(MARKER_SEALED, MARKER_BENCH); }
/* What must not be whole anywhere at any of our points. */
static inline unsigned story_keys_runs(void) { return story_sum(STORY_HX, STORY_S); }
static inline unsigned story_secret_runs(void) { return story_plain_runs() + story_sum(STORY_X, STORY_S); }

/* ---- the machine ---- */

static char story_folder[4096];

/* Arguments: the script that makes ready, the folder. NULL, or why there is no machine. */
static inline const char *story_prepare(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    signal(SIGPIPE, SIG_IGN);
    if (count != 3 || sodium_init() < 0) return "usage: test SCRIPT FOLDER";
    snprintf(story_folder, sizeof story_folder, "%s", words[2]);
    return machine_prepare(words[1], words[2]);
}

static inline int story_is_required(void) {
    const char *wish = getenv("MEMGUARD_GUEST");
    return wish != NULL && strcmp(wish, "required") == 0;
}

#endif
