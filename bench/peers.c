/* What memguard is compared with: libsodium's guarded heap and bare secretbox, the secure heaps of libgcrypt and OpenSSL, and a bare
 * pair of mprotect calls. Each peer is run at its best: buffers are warm, heaps are empty, and the page that is flipped cannot
 * merge with its neighbours. */
#define _GNU_SOURCE
#include <sodium.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef BENCH_HAVE_OPENSSL
#include <openssl/crypto.h>
#endif
#ifdef BENCH_HAVE_GCRYPT
#include <gcrypt.h>
#endif

#include "bench.h"

enum { HEAP_BYTES = 64 * 1024, HEAP_LEAST = 16 };

static unsigned char key[crypto_secretbox_KEYBYTES], nonce[crypto_secretbox_NONCEBYTES];
static unsigned char *page;

struct box {
    size_t bytes;
    unsigned char *plain, *sealed, *out;
};
static struct box small = {.bytes = SMALL}, other = {.bytes = SMALL}, medium = {.bytes = MEDIUM},
                  large = {.bytes = LARGE};

/* ---- secretbox ---- */

static void start_box(struct box *box) {
    box->plain = malloc(box->bytes);
    box->out = malloc(box->bytes + crypto_secretbox_MACBYTES);
    box->sealed = malloc(box->bytes + crypto_secretbox_MACBYTES);
    if (box->plain == NULL || box->out == NULL || box->sealed == NULL) bench_fail("malloc");
    bench_fill(box->plain, box->bytes);
    if (crypto_secretbox_easy(box->sealed, box->plain, box->bytes, nonce, key) != 0) bench_fail("secretbox_easy");
}

static void run_open(size_t n, void *arg) {
    const struct box *box = arg;
    const uint64_t expected = bench_fingerprint(box->plain, box->bytes);
    uint64_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (crypto_secretbox_open_easy(box->out, box->sealed, box->bytes + crypto_secretbox_MACBYTES, nonce, key) != 0)
            bench_fail("secretbox_open_easy");
        wrong |= bench_fingerprint(box->out, box->bytes) ^ expected;
    }
    if (wrong != 0) bench_fail("secretbox_open_easy gave other bytes");
}

static void run_seal(size_t n, void *arg) {
    const struct box *box = arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_secretbox_easy(box->out, box->plain, box->bytes, nonce, key) != 0) bench_fail("secretbox_easy");
        bench_keep(box->out);
    }
    if (bench_fingerprint(box->out, box->bytes) != bench_fingerprint(box->sealed, box->bytes))
        bench_fail("secretbox_easy gave other bytes");
}

/* What a program without memguard has to do about a secret that it stores: place, fresh nonce, sealing, wiping. */
static void run_seal_by_hand(size_t n, void *arg) {
    const struct box *box = arg;
    for (size_t i = 0; i < n; i++) {
        unsigned char *record = malloc(sizeof nonce + crypto_secretbox_MACBYTES + box->bytes);
        if (record == NULL) bench_fail("malloc");
        memcpy(box->out, box->plain, box->bytes);
        randombytes_buf(record, sizeof nonce);
        if (crypto_secretbox_easy(record + sizeof nonce, box->out, box->bytes, record, key) != 0)
            bench_fail("secretbox_easy");
        sodium_memzero(box->out, box->bytes);
        bench_keep(record);
        free(record);
    }
}

const struct bench_op bench_open_small = {.name = "secretbox_open_easy", .run = run_open, .arg = &small};
const struct bench_op bench_open_other = {.name = "secretbox_open_easy", .run = run_open, .arg = &other};
const struct bench_op bench_open_medium = {.name = "secretbox_open_easy", .run = run_open, .arg = &medium};
const struct bench_op bench_open_large = {.name = "secretbox_open_easy", .run = run_open, .arg = &large};
const struct bench_op bench_seal_small = {.name = "secretbox_easy", .run = run_seal, .arg = &small};
const struct bench_op bench_seal_medium = {.name = "secretbox_easy", .run = run_seal, .arg = &medium};
const struct bench_op bench_seal_large = {.name = "secretbox_easy", .run = run_seal, .arg = &large};
const struct bench_op bench_seal_by_hand = {
    .name = "malloc, nonce, secretbox, wipe", .run = run_seal_by_hand, .arg = &small};

/* ---- memory ---- */

/* Writes a secret to it and looks at it, as all peers' users would. */
static void write_and_look(void *p, const struct box *box) {
    memcpy(p, box->plain, SMALL);
    bench_keep(p);
    if (bench_fingerprint(p, SMALL) != bench_fingerprint(box->plain, SMALL)) bench_fail("memory does not keep bytes");
}

void bench_run_sodium_malloc(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = sodium_malloc(SMALL);
        if (p == NULL) bench_fail("sodium_malloc");
        write_and_look(p, &small);
        sodium_free(p);
    }
}

void bench_run_flip(size_t n, void *arg) {
    const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (mprotect(page, bytes, PROT_READ | PROT_WRITE) != 0) bench_fail("mprotect");
        write_and_look(page, &small);
        if (mprotect(page, bytes, PROT_NONE) != 0) bench_fail("mprotect");
    }
}

/* A locked page between two that are not: flips of it neither merge nor split mappings. */
static void start_page(void) {
    const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *area = mmap(NULL, 3 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) bench_fail("mmap");
    page = area + bytes;
    if (mprotect(page, bytes, PROT_READ | PROT_WRITE) != 0) bench_fail("mprotect");
    if (mlock(page, bytes) != 0) bench_fail("mlock");
    memset(page, 0, bytes);
    if (mprotect(page, bytes, PROT_NONE) != 0) bench_fail("mprotect");
}

const struct bench_op bench_sodium_malloc = {.name = "sodium_malloc + free", .run = bench_run_sodium_malloc};
const struct bench_op bench_flip = {.name = "mprotect pair + touch", .run = bench_run_flip};
const struct bench_op bench_sodium_malloc_busy = {.name = "sodium_malloc + free",
                                                  .run = bench_run_sodium_malloc,
                                                  .before = bench_busy_start,
                                                  .after = bench_busy_stop};
const struct bench_op bench_flip_busy = {
    .name = "mprotect pair + touch", .run = bench_run_flip, .before = bench_busy_start, .after = bench_busy_stop};

/* ---- secure heaps ---- */

#ifdef BENCH_HAVE_GCRYPT
static void run_gcrypt(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = gcry_malloc_secure(SMALL);
        if (p == NULL) bench_fail("gcry_malloc_secure");
        write_and_look(p, &small);
        gcry_free(p);
    }
}

static void start_gcrypt(void) {
    if (gcry_check_version(NULL) == NULL) bench_fail("gcry_check_version");
    if (gcry_control(GCRYCTL_INIT_SECMEM, HEAP_BYTES, 0) != 0) bench_fail("libgcrypt's secure memory");
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0) != 0) bench_fail("libgcrypt");
    void *p = gcry_malloc_secure(SMALL);
    if (p == NULL || gcry_is_secure(p) == 0) bench_fail("libgcrypt's secure memory");
    gcry_free(p);
}

const struct bench_op bench_gcrypt = {.name = "gcry_malloc_secure + free", .run = run_gcrypt};
#else
static void start_gcrypt(void) {}

const struct bench_op bench_gcrypt = {.name = "libgcrypt is not built in"};
#endif

#ifdef BENCH_HAVE_OPENSSL
static void run_openssl(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = OPENSSL_secure_malloc(SMALL);
        if (p == NULL) bench_fail("OPENSSL_secure_malloc");
        write_and_look(p, &small);
        OPENSSL_secure_free(p);
    }
}

/* 2 would mean: a heap, but not locked. */
static void start_openssl(void) {
    if (CRYPTO_secure_malloc_init(HEAP_BYTES, HEAP_LEAST) != 1) bench_fail("OpenSSL's secure heap");
    void *p = OPENSSL_secure_malloc(SMALL);
    if (p == NULL || CRYPTO_secure_allocated(p) == 0) bench_fail("OpenSSL's secure heap");
    OPENSSL_secure_free(p);
}

const struct bench_op bench_openssl = {.name = "OPENSSL_secure_malloc + free", .run = run_openssl};
#else
static void start_openssl(void) {}

const struct bench_op bench_openssl = {.name = "OpenSSL is not built in"};
#endif

void bench_peers_start(void) {
    if (sodium_init() < 0) bench_fail("sodium_init");
    randombytes_buf(key, sizeof key);
    randombytes_buf(nonce, sizeof nonce);
    start_box(&small);
    start_box(&other);
    start_box(&medium);
    start_box(&large);
    start_page();
    start_gcrypt();
    start_openssl();
}
