/* test_codec.c: hex and base64 of secrets into secrets. */
#define _GNU_SOURCE
#include "api/support.h"

#include <memguard/codec.h>

static memguard_vault *vault;

static memguard_secret secret_of(const void *bytes, size_t size) {
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_copy(vault, bytes, size, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    return secret;
}

static void drop(memguard_secret *secret) {
    if (secret->id != 0) CHECK_STATUS(memguard_secret_destroy(secret), MEMGUARD_OK);
}

/* variant -1: hexadecimal. */
static memguard_status encode(memguard_secret secret, int variant, uint32_t flags, memguard_secret *out) {
    if (variant < 0) return memguard_hex_encode(secret, flags, out);
    return memguard_base64_encode(secret, (uint32_t)variant, flags, out);
}

static memguard_status decode(memguard_secret secret, int variant, uint32_t flags, memguard_secret *out) {
    if (variant < 0) return memguard_hex_decode(secret, flags, out);
    return memguard_base64_decode(secret, (uint32_t)variant, flags, out);
}

static void check_pair(int variant, const void *bytes, size_t size, const char *text) {
    memguard_secret plain = secret_of(bytes, size), written = {0}, written_text = secret_of(text, strlen(text)), read = {0};
    CHECK_STATUS(encode(plain, variant, 0, &written), MEMGUARD_OK);
    CHECK(holds(written, text, strlen(text)));
    CHECK_STATUS(decode(written_text, variant, 0, &read), MEMGUARD_OK);
    CHECK(holds(read, bytes, size));
    CHECK(holds(plain, bytes, size));
    drop(&plain), drop(&written), drop(&written_text), drop(&read);
}

TEST(base64_gives_the_vectors_of_rfc_4648) {
    static const struct {
        const char *bytes, *text, *bare;
    } vectors[] = {{"f", "Zg==", "Zg"},         {"fo", "Zm8=", "Zm8"},           {"foo", "Zm9v", "Zm9v"},
                   {"foob", "Zm9vYg==", "Zm9vYg"}, {"fooba", "Zm9vYmE=", "Zm9vYmE"}, {"foobar", "Zm9vYmFy", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const size_t size = strlen(vectors[i].bytes);
        check_pair(0, vectors[i].bytes, size, vectors[i].text);
        check_pair(MEMGUARD_BASE64_URL, vectors[i].bytes, size, vectors[i].text);
        check_pair(MEMGUARD_BASE64_NO_PADDING, vectors[i].bytes, size, vectors[i].bare);
        check_pair(MEMGUARD_BASE64_URL | MEMGUARD_BASE64_NO_PADDING, vectors[i].bytes, size, vectors[i].bare);
    }
}

TEST(the_alphabets_differ_where_rfc_4648_says) {
    static const unsigned char bytes[] = {0xfb, 0xff, 0xbf};
    check_pair(0, bytes, 3, "+/+/");
    check_pair(MEMGUARD_BASE64_URL, bytes, 3, "-_-_");
}

TEST(hex_gives_the_vectors_of_rfc_4648_in_lower_case) {
    static const unsigned char bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xab, 0xcd, 0xef, 0xff};
    check_pair(-1, "f", 1, "66");
    check_pair(-1, "foobar", 6, "666f6f626172");
    check_pair(-1, bytes, sizeof bytes, "00017f80abcdefff");
}

TEST(hex_is_read_in_both_cases) {
    static const unsigned char bytes[] = {0xab, 0xcd, 0xef};
    memguard_secret text = secret_of("AbcDEf", 6), out = {0};
    CHECK_STATUS(memguard_hex_decode(text, 0, &out), MEMGUARD_OK);
    CHECK(holds(out, bytes, 3));
    drop(&text), drop(&out);
}

TEST(every_size_comes_back_in_every_rest) {
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};
    static const size_t sizes[] = {1, 2, 3, 31, 32, 33, 63, 64, 65, 2047, 2048, 2049, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int variant = -1; variant < 4; variant++) {
            const uint32_t rest = rests[(i + (size_t)variant + 1) % 4];
            memguard_secret plain = secret_make(vault, sizes[i], rest, 5), text = {0}, back = {0};
            memguard_info info = MEMGUARD_INFO_INIT;
            CHECK_STATUS(encode(plain, variant, rest, &text), MEMGUARD_OK);
            CHECK_STATUS(decode(text, variant, rest | MEMGUARD_FROZEN, &back), MEMGUARD_OK);
            CHECK(holds_pattern(back, sizes[i], 5));
            CHECK_STATUS(memguard_secret_info(back, &info), MEMGUARD_OK);
            CHECK(info.bytes == sizes[i] && info.rest == rest && (info.flags & MEMGUARD_FROZEN) != 0);
            drop(&plain), drop(&text), drop(&back);
        }
    }
}

TEST(what_is_not_well_formed_makes_nothing) {
    static const struct {
        int variant;
        const char *text;
    } bad[] = {{-1, "0"},   {-1, "abc"},     {-1, "0g"},    {-1, "0x"},     {-1, "ab cd"},  {-1, "abcd\n"},
               {-1, " abcd"}, {0, "Z"},       {0, "Zg"},     {0, "Zg="},     {0, "Zg==="},   {0, "Zg==Zg=="},
               {0, "Zh=="},   {0, "Zm9v\n"},  {0, "Zm 9v"},  {0, "-_-_"},    {0, "===="},    {0, "="},
               {1, "+/+/"},   {2, "Zg=="},    {2, "Zh"},     {2, "Z"},       {3, "Zm8="},    {0, "Zm9v="}};
    memguard_report before = report_of(vault);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memguard_secret text = secret_of(bad[i].text, strlen(bad[i].text)), out = {77};
        if (!CHECK_STATUS(decode(text, bad[i].variant, 0, &out), MEMGUARD_ERR_FORMAT)) printf("  '%s'\n", bad[i].text);
        CHECK(out.id == 0);
        CHECK(holds(text, bad[i].text, strlen(bad[i].text)));
        drop(&text);
    }
    CHECK(report_of(vault).secrets[0] == before.secrets[0]);
}

TEST(every_single_byte_is_told_apart) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = 0; c < 256; c++) {
        const char base64_text[4] = {'A', 'A', 'A', (char)c}, hex_text[2] = {'0', (char)c};
        const int is_base64 = (c != 0 && strchr(alphabet, c) != NULL) || c == '=';
        const int is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        memguard_secret base64_secret = secret_of(base64_text, 4), hex_secret = secret_of(hex_text, 2), out = {0};
        CHECK_STATUS(memguard_base64_decode(base64_secret, 0, 0, &out), is_base64 ? MEMGUARD_OK : MEMGUARD_ERR_FORMAT);
        drop(&out);
        CHECK_STATUS(memguard_hex_decode(hex_secret, 0, &out), is_hex ? MEMGUARD_OK : MEMGUARD_ERR_FORMAT);
        drop(&out);
        drop(&base64_secret), drop(&hex_secret);
    }
}

TEST(bad_arguments_change_nothing) {
    memguard_secret secret = secret_of("ab", 2), out = {77}, null = {0};
    CHECK_STATUS(memguard_hex_encode(secret, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_hex_encode(secret, 1U << 20, &out), MEMGUARD_ERR_ARGUMENT);
    CHECK(out.id == 0);
    out.id = 77;
    CHECK_STATUS(memguard_base64_encode(secret, 4, 0, &out), MEMGUARD_ERR_ARGUMENT);
    CHECK(out.id == 0);
    CHECK_STATUS(memguard_base64_decode(secret, 4, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_hex_decode(null, 0, &out), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_base64_encode((memguard_secret){~0ULL}, 0, 0, &out), MEMGUARD_ERR_STALE);
    CHECK(holds(secret, "ab", 2));
    drop(&secret);
}

TEST(a_scope_takes_what_is_made_inside_it) {
    memguard_secret secret = secret_of("ab", 2), out = {0}, kept = {0};
    memguard_scope scope = {0};
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    CHECK_STATUS(memguard_hex_encode(secret, 0, &out), MEMGUARD_OK);
    CHECK_STATUS(memguard_hex_encode(secret, MEMGUARD_KEEP, &kept), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    CHECK_STATUS(life(out), MEMGUARD_ERR_STALE);
    CHECK(holds(kept, "6162", 4));
    drop(&secret), drop(&kept);
}

TEST(the_result_is_in_the_vault_of_the_secret) {
    memguard_vault *other = vault_make();
    memguard_secret secret = secret_make(other, 10, 0, 1), out = {0};
    CHECK_STATUS(memguard_hex_encode(secret, 0, &out), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK_STATUS(life(out), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_purge(other, 0), MEMGUARD_OK);
    CHECK_STATUS(life(out), MEMGUARD_ERR_STALE);
    vault_end(other);
}

TEST(a_locked_vault_refuses) {
    memguard_secret secret = secret_of("ab", 2), out = {0};
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_hex_encode(secret, 0, &out), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_hex_encode(secret, 0, &out), MEMGUARD_OK);
    drop(&secret), drop(&out);
}

/* ---- beside purges ------------------------------------------------------------------------------------- */

static atomic_int stop;

static void *convert_on(void *arg) {
    memguard_vault *target = arg;
    long *made = malloc(sizeof *made);
    *made = 0;
    while (!atomic_load(&stop)) {
        unsigned char bytes[3000];
        memguard_secret plain = {0}, text = {0}, back = {0};
        fill(bytes, sizeof bytes, 9);
        memguard_status status = memguard_secret_copy(target, bytes, sizeof bytes, 0, &plain);
        if (status == MEMGUARD_OK) status = memguard_base64_encode(plain, 0, MEMGUARD_CLOSED, &text);
        if (status == MEMGUARD_OK) status = memguard_base64_decode(text, 0, MEMGUARD_COMPACT, &back);
        /* Compared by the library: from a function of ours a purge may take the bytes away. */
        if (status == MEMGUARD_OK) status = memguard_secret_equal(back, bytes, sizeof bytes);
        CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_BUSY) | ANY_OF(ERR_REVOKED));
        *made += status == MEMGUARD_OK;
        ignore(memguard_secret_destroy(&plain)), ignore(memguard_secret_destroy(&text)), ignore(memguard_secret_destroy(&back));
    }
    return made;
}

TEST(purges_in_the_middle_never_show_half_of_it) {
    enum { THREADS = 3, PURGES = 100 };
    memguard_vault *target = vault_make();
    pthread_t threads[THREADS];
    long sum = 0;
    atomic_store(&stop, 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, convert_on, target) == 0);
    for (int i = 0; i < PURGES; i++) {
        CHECK_AMONG(memguard_vault_purge(target, i % 3 == 0 ? 0 : 5), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
        sleep_ms(2);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++) {
        void *made = NULL;
        pthread_join(threads[i], &made);
        sum += *(long *)made;
        free(made);
    }
    CHECK(sum > 0);
    CHECK_STATUS(memguard_vault_purge(target, 0), MEMGUARD_OK);
    CHECK(report_of(target).secrets[0] == 0);
    vault_end(target);
}

int main(void) {
    vault = vault_make();
    RUN(base64_gives_the_vectors_of_rfc_4648);
    RUN(the_alphabets_differ_where_rfc_4648_says);
    RUN(hex_gives_the_vectors_of_rfc_4648_in_lower_case);
    RUN(hex_is_read_in_both_cases);
    RUN(every_size_comes_back_in_every_rest);
    RUN(what_is_not_well_formed_makes_nothing);
    RUN(every_single_byte_is_told_apart);
    RUN(bad_arguments_change_nothing);
    RUN(a_scope_takes_what_is_made_inside_it);
    RUN(the_result_is_in_the_vault_of_the_secret);
    RUN(a_locked_vault_refuses);
    RUN(purges_in_the_middle_never_show_half_of_it);
    vault_end(vault);
    return check_end();
}
