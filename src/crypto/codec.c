/* See codec.h. Must not know: secrets, where text and bytes lie. */
#include "crypto/codec.h"

#include <sodium.h>

static int variant_of(enum mg__codec codec) {
    static const int variants[] = {0, sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
                                   sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING};
    return variants[codec];
}

size_t mg__codec_text_room(enum mg__codec codec, size_t bytes) {
    return codec == MG_CODEC_HEX ? bytes * 2 + 1 : sodium_base64_encoded_len(bytes, variant_of(codec));
}

/* Both write the text and a zero byte, and come back only when the room is as told. */
void mg__codec_encode(enum mg__codec codec, char *text, const unsigned char *bytes, size_t count) {
    const size_t room = mg__codec_text_room(codec, count);
    if (codec == MG_CODEC_HEX)
        (void)sodium_bin2hex(text, room, bytes, count);
    else
        (void)sodium_bin2base64(text, room, bytes, count, variant_of(codec));
}

size_t mg__codec_bytes_room(enum mg__codec codec, size_t text_bytes) {
    return codec == MG_CODEC_HEX ? text_bytes / 2 : text_bytes / 4 * 3 + text_bytes % 4;
}

/* libsodium 1.0.18 takes some bytes beyond ASCII for letters of base64 where char is signed. */
static bool is_ascii(const char *text, size_t bytes) {
    unsigned char seen = 0;
    for (size_t i = 0; i < bytes; i++)
        seen |= (unsigned char)text[i];
    return seen < 0x80;
}

bool mg__codec_decode(enum mg__codec codec, unsigned char *bytes, const char *text, size_t text_bytes, size_t *count) {
    const size_t room = mg__codec_bytes_room(codec, text_bytes);
    if (!is_ascii(text, text_bytes)) return false;
    /* Without a pointer to the end, anything that is left over is an error. */
    if (codec == MG_CODEC_HEX) return sodium_hex2bin(bytes, room, text, text_bytes, NULL, count, NULL) == 0;
    return sodium_base642bin(bytes, room, text, text_bytes, NULL, count, NULL, variant_of(codec)) == 0;
}
