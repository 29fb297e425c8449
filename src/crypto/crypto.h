/* crypto: sealing, hashing and key derivation over libsodium. The only room that includes <sodium.h>.
 * Must not know: vaults, handles, where keys are kept. Its functions expect to run on a bench: they leave keys, keystream and plaintext
 * in their frames and in registers, and whoever gave the bench wipes both. They allocate nothing and cannot fail for memory.
 *
 * Formats: sealed bytes are those of crypto_secretbox_easy: tag (16) | ciphertext; the nonce's first 16 bytes went into the subkey
 * by HSalsa20 (D. J. Bernstein, "Extending the Salsa20 nonce"), the last 8 are passed here. */
#ifndef MG_CRYPTO_H
#define MG_CRYPTO_H

#include "pages/bank.h"

enum { MG_KEY_BYTES = 32, MG_TAG_BYTES = 16, MG_PREFIX_BYTES = 16, MG_TAIL_BYTES = 8, MG_WRAP_BYTES = 24 + 16 + 32 };
enum { MG_DERIVE_SECRETS = 1, MG_DERIVE_CHUNKS = 2, MG_DERIVE_WRAP = 3 };

/* Starts libsodium and checks a known answer, which also binds every symbol used. Safe to call again. */
MG_MUST_USE memguard_status mg__crypto_start(void);

/* out = BLAKE2b-256(x) */
void mg__crypto_hash(unsigned char out[MG_KEY_BYTES], const unsigned char *x, size_t bytes);
/* out = crypto_kdf_derive_from_key(key, id, "memguard") */
void mg__crypto_derive(unsigned char out[MG_KEY_BYTES], uint64_t id, const unsigned char key[MG_KEY_BYTES]);
/* out = HSalsa20(key, prefix) */
void mg__crypto_subkey(unsigned char out[MG_KEY_BYTES], const unsigned char key[MG_KEY_BYTES],
                       const unsigned char prefix[MG_PREFIX_BYTES]);
/* sealed: MG_TAG_BYTES more than `bytes`; must not overlap plain. */
void mg__crypto_seal(unsigned char *sealed, const unsigned char *plain, size_t bytes,
                     const unsigned char tail[MG_TAIL_BYTES], const unsigned char subkey[MG_KEY_BYTES]);
/* false on a wrong tag: nothing is written then. */
MG_MUST_USE bool mg__crypto_unseal(unsigned char *plain, const unsigned char *sealed, size_t bytes,
                                   const unsigned char tail[MG_TAIL_BYTES], const unsigned char subkey[MG_KEY_BYTES]);
/* wrapped: nonce (24, given by the caller in its place) | secretbox(key) under KDF(kek, 3) */
void mg__crypto_wrap(unsigned char wrapped[MG_WRAP_BYTES], const unsigned char key[MG_KEY_BYTES],
                     const unsigned char kek[MG_KEY_BYTES]);
MG_MUST_USE bool mg__crypto_unwrap(unsigned char key[MG_KEY_BYTES], const unsigned char wrapped[MG_WRAP_BYTES],
                                   const unsigned char kek[MG_KEY_BYTES]);

#endif
