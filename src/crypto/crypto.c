/* See crypto.h. Every primitive is libsodium's; here is only their arrangement.
 * Must not know: vaults, handles, where keys are kept. */
#include "crypto/crypto.h"

#include <sodium.h>

void mg__crypto_hash(unsigned char out[MG_KEY_BYTES], const unsigned char *x, size_t bytes) {
    (void)crypto_generichash(out, MG_KEY_BYTES, x, bytes, NULL, 0); /* fails only for impossible lengths */
}

void mg__crypto_derive(unsigned char out[MG_KEY_BYTES], uint64_t id, const unsigned char key[MG_KEY_BYTES]) {
    (void)crypto_kdf_derive_from_key(out, MG_KEY_BYTES, id, "memguard", key); /* fails only for impossible lengths */
}

void mg__crypto_subkey(unsigned char out[MG_KEY_BYTES], const unsigned char key[MG_KEY_BYTES],
                       const unsigned char prefix[MG_PREFIX_BYTES]) {
    (void)crypto_core_hsalsa20(out, prefix, key, NULL); /* always 0 */
}

enum { BLOCK = 64, HEAD = 32 }; /* block 0: one-time key (32), then keystream for the first 32 bytes */

/* Block 0 of the Salsa20 stream: the core's input is the nonce and a counter of 0. Half the time of
 * crypto_stream_salsa20. */
static void first_block(unsigned char block0[BLOCK], const unsigned char tail[MG_TAIL_BYTES],
                        const unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char input[16] = {0};
    memcpy(input, tail, MG_TAIL_BYTES);
    (void)crypto_core_salsa20(block0, input, subkey, NULL); /* always 0 */
}

static void xor_into(unsigned char *out, const unsigned char *in, const unsigned char *stream, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(in[i] ^ stream[i]);
}

static void apply_stream(unsigned char *out, const unsigned char *in, size_t bytes, const unsigned char *block0,
                         const unsigned char *tail, const unsigned char *subkey) {
    const size_t head = mg__min_size(bytes, HEAD);
    xor_into(out, in, block0 + HEAD, head);
    if (bytes > HEAD)
        (void)crypto_stream_salsa20_xor_ic(out + HEAD, in + HEAD, bytes - HEAD, tail, 1, subkey); /* always 0 */
}

void mg__crypto_seal(unsigned char *sealed, const unsigned char *plain, size_t bytes,
                     const unsigned char tail[MG_TAIL_BYTES], const unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char block0[BLOCK];
    first_block(block0, tail, subkey);
    apply_stream(sealed + MG_TAG_BYTES, plain, bytes, block0, tail, subkey);
    (void)crypto_onetimeauth(sealed, sealed + MG_TAG_BYTES, bytes, block0); /* always 0 */
}

bool mg__crypto_unseal(unsigned char *plain, const unsigned char *sealed, size_t bytes,
                       const unsigned char tail[MG_TAIL_BYTES], const unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char block0[BLOCK];
    first_block(block0, tail, subkey);
    if (crypto_onetimeauth_verify(sealed, sealed + MG_TAG_BYTES, bytes, block0) != 0) return false;
    apply_stream(plain, sealed + MG_TAG_BYTES, bytes, block0, tail, subkey);
    return true;
}

void mg__crypto_wrap(unsigned char wrapped[MG_WRAP_BYTES], const unsigned char key[MG_KEY_BYTES],
                     const unsigned char kek[MG_KEY_BYTES]) {
    unsigned char w[MG_KEY_BYTES];
    mg__crypto_derive(w, MG_DERIVE_WRAP, kek);
    (void)crypto_secretbox_easy(wrapped + 24, key, MG_KEY_BYTES, wrapped, w); /* fails only for impossible lengths */
}

bool mg__crypto_unwrap(unsigned char key[MG_KEY_BYTES], const unsigned char wrapped[MG_WRAP_BYTES],
                       const unsigned char kek[MG_KEY_BYTES]) {
    unsigned char w[MG_KEY_BYTES];
    mg__crypto_derive(w, MG_DERIVE_WRAP, kek);
    return crypto_secretbox_open_easy(key, wrapped + 24, MG_TAG_BYTES + MG_KEY_BYTES, wrapped, w) == 0;
}

/* Public test values only: this runs on the caller's stack. The answer is the start of `sealed_100` in
 * tests/vectors/keys.txt. */
static bool known_answer_is_right(void) {
    static const unsigned char expected[8] = {0x0d, 0xd4, 0x67, 0xc0, 0xb2, 0x3c, 0x18, 0x29};
    unsigned char x[4096], key[32], hash[32], prefix[16], subkey[32], plain[100], sealed[116], back[100];
    unsigned char wrapped[MG_WRAP_BYTES] = {0};
    const unsigned char tail[8] = {7, 0, 0, 0, 3, 0, 0, 0};
    for (size_t i = 0; i < sizeof x; i++)
        x[i] = (unsigned char)(i * 7 + 3);
    for (size_t i = 0; i < sizeof prefix; i++)
        prefix[i] = (unsigned char)(0x40 + i);
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (unsigned char)i;
    mg__crypto_hash(hash, x, sizeof x);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (unsigned char)(hash[i] ^ (0x80 + i));
    mg__crypto_wrap(wrapped, key, hash);
    if (!mg__crypto_unwrap(back, wrapped, hash) || mg__differ(back, key, sizeof key) != 0) return false;
    mg__crypto_derive(hash, MG_DERIVE_SECRETS, key);
    mg__crypto_subkey(subkey, hash, prefix);
    mg__crypto_seal(sealed, plain, sizeof plain, tail, subkey);
    return mg__crypto_unseal(back, sealed, sizeof plain, tail, subkey) && mg__differ(back, plain, sizeof plain) == 0 &&
           mg__differ(sealed, expected, sizeof expected) == 0;
}

static struct mg__mutex start_mutex;
static bool started;

memguard_status mg__crypto_start(void) {
    mg__mutex_lock(&start_mutex);
    const int cancel = mg__sys_cancel_off(); /* libsodium may open and read a device */
    if (!started) started = sodium_init() >= 0 && known_answer_is_right();
    mg__sys_cancel_restore(cancel);
    const bool ready = started;
    mg__mutex_unlock(&start_mutex);
    if (ready) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SYSTEM, 0, "libsodium did not start or gave a wrong answer to a known question");
}
