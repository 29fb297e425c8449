/* The primitives of which everything else is made, each alone: what a call that needs one of them cannot fall below. */
#define _GNU_SOURCE
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/membarrier.h>
#endif

#include "bench.h"

enum { PREKEY = 16384 };

static struct { _Alignas(BENCH_APART) _Atomic uint64_t it; } counters[2];
static unsigned char prekey[PREKEY], other[PREKEY];

static void run_clock(size_t n, void *arg) {
    uint64_t last = bench_now_ns();
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        const uint64_t now = bench_now_ns();
        if (now < last) bench_fail("the clock went backwards");
        last = now;
    }
}

static void run_random(size_t n, void *arg) {
    unsigned char bytes[SMALL];
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) bench_fail("getrandom");
        bench_keep(bytes);
    }
}

static void run_call(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++)
        if (syscall(SYS_getppid) < 0) bench_fail("getppid");
}

static void run_add(size_t n, void *arg) {
    _Atomic uint64_t *counter = arg;
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add_explicit(counter, 1, memory_order_acq_rel);
}

#ifdef SYS_membarrier /* its commands are an enum */
static const char *start_fence(void *arg) {
    (void)arg;
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 ? NULL : "no membarrier here";
}

static void run_fence(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++)
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) bench_fail("membarrier");
}

const struct bench_op bench_floor_fence = {.name = "membarrier", .start = start_fence, .run = run_fence};
#else
const struct bench_op bench_floor_fence = {.name = "no membarrier here"};
#endif

static void run_hash(size_t n, void *arg) {
    const size_t bytes = *(const size_t *)arg;
    unsigned char hash[32];
    for (size_t i = 0; i < n; i++) {
        if (crypto_generichash(hash, sizeof hash, prekey, bytes, NULL, 0) != 0) bench_fail("generichash");
        bench_keep(hash);
    }
}

static void run_copy(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        bench_keep(prekey);
        memcpy(other, prekey, PREKEY);
        bench_keep(other);
    }
}

static void run_expand(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_stream_chacha20(other, PREKEY, prekey, prekey + 32) != 0) bench_fail("stream_chacha20");
        bench_keep(other);
    }
}

static void run_subkey(size_t n, void *arg) {
    unsigned char key[crypto_core_hsalsa20_OUTPUTBYTES];
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_core_hsalsa20(key, prekey, prekey + 64, NULL) != 0) bench_fail("core_hsalsa20");
        bench_keep(key);
    }
}

static void run_block(size_t n, void *arg) {
    unsigned char block[64];
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_core_salsa20(block, prekey + 64, prekey, NULL) != 0) bench_fail("core_salsa20");
        bench_keep(block);
    }
}

static void run_tag(size_t n, void *arg) {
    unsigned char tag[crypto_onetimeauth_BYTES];
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_onetimeauth(tag, prekey, SMALL, prekey + 64) != 0) bench_fail("onetimeauth");
        bench_keep(tag);
    }
}

static void run_wipe(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        sodium_memzero(other, 2048);
        bench_keep(other);
    }
}

static size_t whole = PREKEY, little = 64;

const struct bench_op bench_floor_clock = {.name = "clock_gettime", .run = run_clock};
const struct bench_op bench_floor_random = {.name = "getrandom", .run = run_random};
const struct bench_op bench_floor_call = {.name = "getppid", .run = run_call};
const struct bench_op bench_floor_add = {.name = "atomic add", .run = run_add, .arg = &counters[0].it};
const struct bench_op bench_floor_add_other = {.name = "atomic add", .run = run_add, .arg = &counters[1].it};
const struct bench_op bench_floor_hash = {.name = "BLAKE2b", .run = run_hash, .arg = &whole};
const struct bench_op bench_floor_hash_small = {.name = "BLAKE2b", .run = run_hash, .arg = &little};
const struct bench_op bench_floor_copy = {.name = "memcpy", .run = run_copy};
const struct bench_op bench_floor_expand = {.name = "ChaCha20", .run = run_expand};
const struct bench_op bench_floor_subkey = {.name = "HSalsa20", .run = run_subkey};
const struct bench_op bench_floor_block = {.name = "Salsa20", .run = run_block};
const struct bench_op bench_floor_tag = {.name = "Poly1305", .run = run_tag};
const struct bench_op bench_floor_wipe = {.name = "sodium_memzero", .run = run_wipe};
