/* Without libargon2 there are no keys from passphrases. */
#include "kdf.h"

const bool kdf_is_built_in = false;

memguard_status kdf_derive(memguard_secret passphrase, const uint8_t salt[KDF_SALT_BYTES], memguard_secret key) {
    (void)passphrase, (void)salt, (void)key;
    return MEMGUARD_ERR_UNSUPPORTED;
}
