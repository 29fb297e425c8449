/* kdf.h: a key from a passphrase: Argon2id (RFC 9106). The build selects kdf_argon2.c, or kdf_none.c without libargon2. */
#ifndef MEMGUARD_KDF_H
#define MEMGUARD_KDF_H

#include <memguard.h>
#include <stdbool.h>

enum { KDF_SALT_BYTES = 16, KDF_KEY_BYTES = 32 };

extern const bool kdf_is_built_in;

/* Fills `key`, a secret of KDF_KEY_BYTES. ERR_UNSUPPORTED: not built in. */
memguard_status kdf_derive(memguard_secret passphrase, const uint8_t salt[KDF_SALT_BYTES], memguard_secret key);

#endif
