/* io/codec: text of secrets, secrets of text. Contract: memguard/codec.h. The result is made on a bench in a protected page of
 * its own and copied from there into the new secret; a purge waits meanwhile.
 * Must not know: alphabets. */
#include <memguard/codec.h>

#include "core/origin.h"
#include "core/draft.h"
#include "crypto/codec.h"

struct conversion {
    memguard_secret secret;
    enum mg__codec codec;
    bool decode;
    uint32_t flags;
    memguard_secret *out;
    memguard_status status;
};

/* What runs on the bench. */
struct work {
    enum mg__codec codec;
    bool decode, well_formed;
    const unsigned char *from;
    size_t from_bytes;
    unsigned char *to;
    size_t to_bytes;
};

static void convert(void *arg) {
    struct work *work = arg;
    if (work->decode) {
        work->well_formed =
            mg__codec_decode(work->codec, work->to, (const char *)work->from, work->from_bytes, &work->to_bytes);
        return;
    }
    mg__codec_encode(work->codec, (char *)work->to, work->from, work->from_bytes);
    work->to_bytes = mg__codec_text_room(work->codec, work->from_bytes) - 1;
    work->well_formed = true;
}

static memguard_status keep(struct mg__vault *vault, const struct conversion *conversion, const struct work *work) {
    if (!work->well_formed || work->to_bytes == 0)
        return mg__fail(MEMGUARD_ERR_FORMAT, 0, "a text of %zu bytes is not well-formed", work->from_bytes);
    return memguard_secret_copy(mg__vault_token(vault), work->to, work->to_bytes, conversion->flags, conversion->out);
}

static memguard_status convert_into(struct mg__vault *vault, const struct conversion *conversion, struct work *work,
                                    struct mg__region *scratch, size_t room) {
    memguard_status status = mg__region_protect(scratch, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) return status;
    work->to = mg__region_data(scratch, room);
    status = mg__bench_call(vault->kind, convert, work, MG_BENCH_DEEP);
    return status == MEMGUARD_OK ? keep(vault, conversion, work) : status;
}

static memguard_status convert_shown(struct mg__vault *vault, const struct conversion *conversion, struct work *work) {
    struct mg__region *scratch = NULL;
    const size_t room = work->decode ? mg__codec_bytes_room(work->codec, work->from_bytes)
                                     : mg__codec_text_room(work->codec, work->from_bytes);
    if (room == 0) return mg__fail(MEMGUARD_ERR_FORMAT, 0, "a text of %zu bytes is too short", work->from_bytes);
    memguard_status status = mg__region_take(vault->kind, room, &scratch);
    if (status != MEMGUARD_OK) return status;
    status = convert_into(vault, conversion, work, scratch, room);
    mg__region_give(scratch, room);
    return status;
}

/* The secret is pinned, so its vault stays the same. */
static int show(const void *bytes, size_t size, void *arg) {
    struct conversion *conversion = arg;
    struct work work = {.codec = conversion->codec, .decode = conversion->decode, .from = bytes, .from_bytes = size};
    struct mg__vault *vault = mg__vault_of(mg__entry_at(conversion->secret.id));
    conversion->status = convert_shown(vault, conversion, &work);
    return 0;
}

static memguard_status run(struct conversion *conversion) {
    int ignored = 0;
    if (conversion->out == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    conversion->out->id = 0;
    memguard_status status = mg__secret_check_flags(conversion->flags);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    status = mg__secret_use_within(conversion->secret, show, conversion, &ignored);
    if (status == MEMGUARD_OK) return conversion->status;
    if (conversion->out->id != 0) { /* made, and then the borrow did not end well */
        const memguard_status destroyed = memguard_secret_destroy(conversion->out);
        (void)destroyed; /* STALE: a purge was first */
    }
    return status;
}

memguard_status memguard_hex_encode(memguard_secret secret, uint32_t flags, memguard_secret *out) {
    MG_ORIGIN();
    return run(&(struct conversion){secret, MG_CODEC_HEX, false, flags, out, MEMGUARD_OK});
}

memguard_status memguard_hex_decode(memguard_secret secret, uint32_t flags, memguard_secret *out) {
    MG_ORIGIN();
    return run(&(struct conversion){secret, MG_CODEC_HEX, true, flags, out, MEMGUARD_OK});
}

static memguard_status base64(memguard_secret secret, bool decode, uint32_t variant, uint32_t flags,
                              memguard_secret *out) {
    static const enum mg__codec codecs[] = {MG_CODEC_BASE64, MG_CODEC_BASE64_URL, MG_CODEC_BASE64_BARE,
                                            MG_CODEC_BASE64_URL_BARE};
    if (out != NULL) out->id = 0;
    if (variant >= sizeof codecs / sizeof codecs[0])
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown variant of base64: 0x%x", variant);
    return run(&(struct conversion){secret, codecs[variant], decode, flags, out, MEMGUARD_OK});
}

memguard_status memguard_base64_encode(memguard_secret secret, uint32_t variant, uint32_t flags, memguard_secret *out) {
    MG_ORIGIN();
    return base64(secret, false, variant, flags, out);
}

memguard_status memguard_base64_decode(memguard_secret secret, uint32_t variant, uint32_t flags, memguard_secret *out) {
    MG_ORIGIN();
    return base64(secret, true, variant, flags, out);
}
