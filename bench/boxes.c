/* Ciphers to compare with: libsodium's bare secretbox, and what other libraries have that is nearest to it, ChaCha20-Poly1305. Each at
 * its best: buffers are warm, the key is set up once, and what can be said once is said once. */
#include <sodium.h>
#include <stdlib.h>
#ifdef BENCH_HAVE_OPENSSL
#include <openssl/evp.h>
#endif
#ifdef BENCH_HAVE_GCRYPT
#include <gcrypt.h>
#endif
#ifdef BENCH_HAVE_BOTAN
#include <botan/ffi.h>
#endif

#include "bench.h"

enum { MAC = crypto_secretbox_MACBYTES, AEAD_NONCE = 12 };
_Static_assert(MAC == 16, "Poly1305 of the others has the same size");

static const unsigned char key[crypto_secretbox_KEYBYTES] = {1, 2, 3}, nonce[crypto_secretbox_NONCEBYTES] = {4, 5, 6};

static struct bench_box small = {.bytes = SMALL}, other = {.bytes = SMALL}, medium = {.bytes = MEDIUM},
                        large = {.bytes = LARGE};

/* ---- secretbox ---- */

const char *bench_box_start(void *arg) {
    struct bench_box *box = arg;
    if (box->plain != NULL) return NULL;
    box->plain = bench_contents();
    box->out = bench_malloc(box->bytes + MAC);
    box->sealed = bench_malloc(box->bytes + MAC);
    if (crypto_secretbox_easy(box->sealed, box->plain, box->bytes, nonce, key) != 0) bench_fail("secretbox_easy");
    return NULL;
}

void bench_run_open(size_t n, void *arg) {
    const struct bench_box *box = arg;
    const uint64_t expected = bench_fingerprint(box->plain, box->bytes);
    uint64_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (crypto_secretbox_open_easy(box->out, box->sealed, box->bytes + MAC, nonce, key) != 0)
            bench_fail("secretbox_open_easy");
        wrong |= bench_fingerprint(box->out, box->bytes) ^ expected;
    }
    if (wrong != 0) bench_fail("secretbox_open_easy gave other bytes");
}

void bench_run_seal(size_t n, void *arg) {
    const struct bench_box *box = arg;
    for (size_t i = 0; i < n; i++) {
        if (crypto_secretbox_easy(box->out, box->plain, box->bytes, nonce, key) != 0) bench_fail("secretbox_easy");
        bench_keep(box->out);
    }
    if (n != 0 && bench_fingerprint(box->out, box->bytes) != bench_fingerprint(box->sealed, box->bytes))
        bench_fail("secretbox_easy gave other bytes");
}

/* What a program without memguard has to do about a secret that it stores: place, fresh nonce, sealing, wiping. */
static void run_seal_by_hand(size_t n, void *arg) {
    const struct bench_box *box = arg;
    for (size_t i = 0; i < n; i++) {
        unsigned char *record = malloc(sizeof nonce + MAC + box->bytes);
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

#define OPEN(of)                                                                                                       \
    { .name = "secretbox_open_easy", .start = bench_box_start, .run = bench_run_open, .arg = &(of) }
#define SEAL(of)                                                                                                       \
    { .name = "secretbox_easy", .start = bench_box_start, .run = bench_run_seal, .arg = &(of) }

const struct bench_op bench_open_small = OPEN(small);
const struct bench_op bench_open_other = OPEN(other);
const struct bench_op bench_open_medium = OPEN(medium);
const struct bench_op bench_open_large = OPEN(large);
const struct bench_op bench_seal_small = SEAL(small);
const struct bench_op bench_seal_other = SEAL(other);
const struct bench_op bench_seal_medium = SEAL(medium);
const struct bench_op bench_seal_large = SEAL(large);
const struct bench_op bench_seal_by_hand = {
    .name = "malloc, nonce, secretbox, wipe", .start = bench_box_start, .run = run_seal_by_hand, .arg = &small};

/* ---- the others' ---- */

#if defined BENCH_HAVE_OPENSSL || defined BENCH_HAVE_GCRYPT || defined BENCH_HAVE_BOTAN
static void good(bool so, const char *what) {
    if (!so) bench_fail(what);
}

/* Plain bytes, and room for box and result; the box is made by each library itself. */
static bool is_new(struct bench_box *box) {
    if (box->plain != NULL) return false;
    (void)bench_box_start(box);
    return true;
}

static void check_opened(const struct bench_box *box, uint64_t wrong) {
    if (wrong != 0 || memcmp(box->out, box->plain, box->bytes) != 0) bench_fail("a box of a peer gave other bytes");
}
#endif

#ifdef BENCH_HAVE_OPENSSL
static const char *start_openssl(void *arg) {
    struct bench_box *box = arg;
    int written = 0, rest = 0;
    if (!is_new(box)) return NULL;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    good(cipher != NULL && EVP_EncryptInit_ex(cipher, EVP_chacha20_poly1305(), NULL, key, nonce) == 1, "EVP init");
    good(EVP_EncryptUpdate(cipher, box->sealed + MAC, &written, box->plain, (int)box->bytes) == 1 &&
             EVP_EncryptFinal_ex(cipher, box->sealed + MAC + written, &rest) == 1 &&
             EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, MAC, box->sealed) == 1,
         "EVP seal");
    good(EVP_DecryptInit_ex(cipher, EVP_chacha20_poly1305(), NULL, key, nonce) == 1, "EVP init");
    box->cipher = cipher;
    return NULL;
}

static void run_openssl(size_t n, void *arg) {
    const struct bench_box *box = arg;
    uint64_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        int written = 0, rest = 0;
        good(EVP_DecryptInit_ex(box->cipher, NULL, NULL, NULL, nonce) == 1 &&
                 EVP_CIPHER_CTX_ctrl(box->cipher, EVP_CTRL_AEAD_SET_TAG, MAC, box->sealed) == 1 &&
                 EVP_DecryptUpdate(box->cipher, box->out, &written, box->sealed + MAC, (int)box->bytes) == 1 &&
                 EVP_DecryptFinal_ex(box->cipher, box->out + written, &rest) == 1,
             "EVP open");
        wrong |= bench_fingerprint(box->out, box->bytes) ^ bench_fingerprint(box->plain, box->bytes);
    }
    check_opened(box, wrong);
}

const struct bench_op bench_aead_openssl = {
    .name = "OpenSSL chacha20-poly1305", .start = start_openssl, .run = run_openssl};
#else
const struct bench_op bench_aead_openssl = {.name = "OpenSSL is not built in"};
#endif

#ifdef BENCH_HAVE_GCRYPT
static const char *start_gcrypt(void *arg) {
    struct bench_box *box = arg;
    gcry_cipher_hd_t cipher = NULL;
    if (!is_new(box)) return NULL;
    (void)bench_gcrypt.start(NULL); /* the library must be set up; secure memory is not needed here */
    good(gcry_cipher_open(&cipher, GCRY_CIPHER_CHACHA20, GCRY_CIPHER_MODE_POLY1305, 0) == 0 &&
             gcry_cipher_setkey(cipher, key, sizeof key) == 0 && gcry_cipher_setiv(cipher, nonce, AEAD_NONCE) == 0 &&
             gcry_cipher_final(cipher) == 0 &&
             gcry_cipher_encrypt(cipher, box->sealed + MAC, box->bytes, box->plain, box->bytes) == 0 &&
             gcry_cipher_gettag(cipher, box->sealed, MAC) == 0,
         "gcry_cipher seal");
    box->cipher = cipher;
    return NULL;
}

static void run_gcrypt(size_t n, void *arg) {
    const struct bench_box *box = arg;
    uint64_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        good(gcry_cipher_setiv(box->cipher, nonce, AEAD_NONCE) == 0 && gcry_cipher_final(box->cipher) == 0 &&
                 gcry_cipher_decrypt(box->cipher, box->out, box->bytes, box->sealed + MAC, box->bytes) == 0 &&
                 gcry_cipher_checktag(box->cipher, box->sealed, MAC) == 0,
             "gcry_cipher open");
        wrong |= bench_fingerprint(box->out, box->bytes) ^ bench_fingerprint(box->plain, box->bytes);
    }
    check_opened(box, wrong);
}

const struct bench_op bench_aead_gcrypt = {
    .name = "libgcrypt chacha20-poly1305", .start = start_gcrypt, .run = run_gcrypt};
#else
const struct bench_op bench_aead_gcrypt = {.name = "libgcrypt is not built in"};
#endif

#ifdef BENCH_HAVE_BOTAN
/* One message from `in` to `out` as a whole; false on a wrong tag or another number of bytes. */
static bool botan_box(botan_cipher_t cipher, void *out, size_t out_bytes, const void *in, size_t in_bytes) {
    size_t written = 0, consumed = 0;
    return botan_cipher_start(cipher, nonce, AEAD_NONCE) == 0 &&
           botan_cipher_update(cipher, BOTAN_CIPHER_UPDATE_FLAG_FINAL, out, out_bytes, &written, in, in_bytes,
                               &consumed) == 0 &&
           written == out_bytes && consumed == in_bytes;
}

static const char *start_botan(void *arg) {
    struct bench_box *box = arg;
    botan_cipher_t seal = NULL, open = NULL;
    if (!is_new(box)) return NULL;
    good(botan_cipher_init(&seal, "ChaCha20Poly1305", BOTAN_CIPHER_INIT_FLAG_ENCRYPT) == 0 &&
             botan_cipher_set_key(seal, key, sizeof key) == 0 &&
             botan_box(seal, box->sealed, box->bytes + MAC, box->plain, box->bytes) && botan_cipher_destroy(seal) == 0,
         "botan_cipher seal");
    good(botan_cipher_init(&open, "ChaCha20Poly1305", BOTAN_CIPHER_INIT_FLAG_DECRYPT) == 0 &&
             botan_cipher_set_key(open, key, sizeof key) == 0,
         "botan_cipher open");
    box->cipher = open;
    return NULL;
}

static void run_botan(size_t n, void *arg) {
    const struct bench_box *box = arg;
    uint64_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        good(botan_box(box->cipher, box->out, box->bytes, box->sealed, box->bytes + MAC), "botan_cipher open");
        wrong |= bench_fingerprint(box->out, box->bytes) ^ bench_fingerprint(box->plain, box->bytes);
    }
    check_opened(box, wrong);
}

const struct bench_op bench_aead_botan = {.name = "Botan ChaCha20Poly1305", .start = start_botan, .run = run_botan};
#else
const struct bench_op bench_aead_botan = {.name = "Botan is not built in"};
#endif
