/* memguard/codec.h: secrets from and to hexadecimal and base64 text (RFC 4648), which is itself a secret.
 *
 * Which bytes there are has no influence on time or on the addresses used (libsodium's codecs, on a private stack that is wiped);
 * sizes, padding, and whether a text is well-formed are public. The rules at the top of memguard.h hold here.
 *
 * Common: *out is a new secret in the vault of `secret`, with `flags` as of the functions that make secrets; null after a
 * failure. `secret` is borrowed meanwhile and stays as it is. Errors of all: those of memguard_secret_use and
 * memguard_secret_create; of the decoders: FORMAT (nothing is made). */
#ifndef MEMGUARD_CODEC_H
#define MEMGUARD_CODEC_H

#include <memguard.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Twice as many bytes, in lower case. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_hex_encode(memguard_secret secret, uint32_t flags,
                                                                   memguard_secret *out);
/* Half as many bytes. Takes lower and upper case, and nothing else: an odd size or any other byte is ERR_FORMAT. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_hex_decode(memguard_secret secret, uint32_t flags,
                                                                   memguard_secret *out);

/* Variants of base64: 0, or a sum of these. */
enum {
    MEMGUARD_BASE64_URL = 1 << 0,       /* '-' and '_' in the place of '+' and '/' (RFC 4648, section 5) */
    MEMGUARD_BASE64_NO_PADDING = 1 << 1 /* no '=' at the end: neither written nor accepted */
};

MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_base64_encode(memguard_secret secret, uint32_t variant,
                                                                      uint32_t flags, memguard_secret *out);
/* Takes exactly what the encoder of the variant writes: no white space, no missing or superfluous padding, no bits left over. */
MEMGUARD_API MEMGUARD_MUST_USE memguard_status memguard_base64_decode(memguard_secret secret, uint32_t variant,
                                                                      uint32_t flags, memguard_secret *out);

#ifdef __cplusplus
}
#endif

#endif /* MEMGUARD_CODEC_H */
