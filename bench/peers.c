/* Memory for secrets to compare with: libsodium's guarded heap, the secure heaps of libgcrypt, OpenSSL and Botan, and a bare pair of
 * mprotect calls. Each peer is run at its best: heaps are empty, and the page that is flipped cannot merge with its neighbours. */
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

static unsigned char *pages[2]; /* one for each of two threads */
static unsigned char contents[SMALL];

void bench_write_and_look(void *p) {
    memcpy(p, contents, SMALL);
    bench_keep(p);
    if (bench_fingerprint(p, SMALL) != bench_fingerprint(contents, SMALL)) bench_fail("memory does not keep bytes");
}

static void run_sodium_malloc(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = sodium_malloc(SMALL);
        if (p == NULL) bench_fail("sodium_malloc");
        bench_write_and_look(p);
        sodium_free(p);
    }
}

static void run_flip(size_t n, void *arg) {
    const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *page = *(unsigned char **)arg;
    for (size_t i = 0; i < n; i++) {
        if (mprotect(page, bytes, PROT_READ | PROT_WRITE) != 0) bench_fail("mprotect");
        bench_write_and_look(page);
        if (mprotect(page, bytes, PROT_NONE) != 0) bench_fail("mprotect");
    }
}

/* A locked page between two that are not: flips of it neither merge nor split mappings. */
static unsigned char *make_page(void) {
    const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *area = mmap(NULL, 3 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) bench_fail("mmap");
    unsigned char *page = area + bytes;
    if (mprotect(page, bytes, PROT_READ | PROT_WRITE) != 0) bench_fail("mprotect");
    if (mlock(page, bytes) != 0) bench_fail("mlock");
    memset(page, 0, bytes);
    if (mprotect(page, bytes, PROT_NONE) != 0) bench_fail("mprotect");
    return page;
}

const struct bench_op bench_sodium_malloc = {.name = "sodium_malloc + free", .run = run_sodium_malloc};
const struct bench_op bench_flip = {.name = "mprotect pair + touch", .run = run_flip, .arg = &pages[0]};
const struct bench_op bench_flip_other = {.name = "mprotect pair + touch", .run = run_flip, .arg = &pages[1]};

/* ---- secure heaps ---- */

#ifdef BENCH_HAVE_GCRYPT
static void run_gcrypt(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = gcry_malloc_secure(SMALL);
        if (p == NULL) bench_fail("gcry_malloc_secure");
        bench_write_and_look(p);
        gcry_free(p);
    }
}

static bool gcrypt_is_secure(void) {
    if (gcry_check_version(NULL) == NULL || gcry_control(GCRYCTL_INIT_SECMEM, HEAP_BYTES, 0) != 0 ||
        gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0) != 0)
        return false;
    void *p = gcry_malloc_secure(SMALL);
    const bool secure = p != NULL && gcry_is_secure(p) != 0;
    gcry_free(p);
    return secure;
}

static const char *start_gcrypt(void *arg) {
    static int known = -1;
    (void)arg;
    if (known < 0) known = gcrypt_is_secure();
    return known != 0 ? NULL : "libgcrypt got no secure memory (ulimit -l)";
}

const struct bench_op bench_gcrypt = {.name = "gcry_malloc_secure + free", .start = start_gcrypt, .run = run_gcrypt};
#else
const struct bench_op bench_gcrypt = {.name = "libgcrypt is not built in"};
#endif

#ifdef BENCH_HAVE_OPENSSL
static void run_openssl(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = OPENSSL_secure_malloc(SMALL);
        if (p == NULL) bench_fail("OPENSSL_secure_malloc");
        bench_write_and_look(p);
        OPENSSL_secure_free(p);
    }
}

/* 2 would mean: a heap, but not locked. */
static bool openssl_is_secure(void) {
    if (CRYPTO_secure_malloc_init(HEAP_BYTES, HEAP_LEAST) != 1) return false;
    void *p = OPENSSL_secure_malloc(SMALL);
    const bool secure = p != NULL && CRYPTO_secure_allocated(p) != 0;
    OPENSSL_secure_free(p);
    return secure;
}

static const char *start_openssl(void *arg) {
    static int known = -1;
    (void)arg;
    if (known < 0) known = openssl_is_secure();
    return known != 0 ? NULL : "OpenSSL got no secure heap (ulimit -l)";
}

const struct bench_op bench_openssl = {
    .name = "OPENSSL_secure_malloc + free", .start = start_openssl, .run = run_openssl};
#else
const struct bench_op bench_openssl = {.name = "OpenSSL is not built in"};
#endif

#ifdef BENCH_HAVE_BOTAN
static void run_botan(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = bench_botan_malloc(SMALL);
        if (p == NULL) bench_fail("Botan's secure_allocator");
        bench_write_and_look(p);
        bench_botan_free(p, SMALL);
    }
}

const struct bench_op bench_botan = {.name = "Botan secure_allocator", .run = run_botan};
#else
const struct bench_op bench_botan = {.name = "Botan is not built in"};
#endif

void bench_peers_start(void) {
    if (sodium_init() < 0) bench_fail("sodium_init");
    bench_fill(contents, sizeof contents);
    pages[0] = make_page();
    pages[1] = make_page();
}
