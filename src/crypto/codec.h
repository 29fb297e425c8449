/* crypto/codec: hexadecimal and base64 in constant time, by libsodium. To be run on a bench, like all of crypto: bytes stay in
 * frames and registers. Must not know: secrets, where text and bytes lie. Source: RFC 4648. */
#ifndef MG_CRYPTO_CODEC_H
#define MG_CRYPTO_CODEC_H

#include "base/base.h"

enum mg__codec { MG_CODEC_HEX, MG_CODEC_BASE64, MG_CODEC_BASE64_BARE, MG_CODEC_BASE64_URL, MG_CODEC_BASE64_URL_BARE };

/* How much room the text of `bytes` bytes takes: the text, and one byte behind it. */
size_t mg__codec_text_room(enum mg__codec codec, size_t bytes);
/* text: as many bytes as mg__codec_text_room says, of which the last one becomes zero. */
void mg__codec_encode(enum mg__codec codec, char *text, const unsigned char *bytes, size_t count);
/* At least as many bytes as a text can mean. */
size_t mg__codec_bytes_room(enum mg__codec codec, size_t text_bytes);
/* bytes: room for mg__codec_bytes_room. false: not in the format. */
MG_MUST_USE bool mg__codec_decode(enum mg__codec codec, unsigned char *bytes, const char *text, size_t text_bytes,
                                  size_t *count);

#endif
