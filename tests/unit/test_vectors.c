/* The vectors of tests/vectors/keys.txt through the library's own functions, and its sealed bytes against crypto_secretbox_easy.
 * The file is looked for in the source tree that MEMGUARD_SOURCE names, or from the current folder. */
#include "white.h"

#include <sodium.h>

enum { MOST_BYTES = 256, PREKEY_BYTES = 4096, INDEX = 7, VERSION = 3 };

struct vector {
    char name[32];
    unsigned char bytes[MOST_BYTES];
    size_t count;
    int used;
};

static struct vector vectors[32];
static size_t vector_count;
static const unsigned char tail[MG_TAIL_BYTES] = {INDEX, 0, 0, 0, VERSION, 0, 0, 0};

/* ---- the file ---- */

static int nibble(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t read_hex(const char *text, unsigned char *bytes) {
    size_t n = 0;
    for (; n < MOST_BYTES && nibble(text[0]) >= 0 && nibble(text[1]) >= 0; text += 2)
        bytes[n++] = (unsigned char)(nibble(text[0]) * 16 + nibble(text[1]));
    return n;
}

static void read_line(char *line) {
    char *space = strchr(line, ' ');
    if (line[0] == '#' || space == NULL || vector_count == 32) return;
    struct vector *vector = &vectors[vector_count];
    *space = '\0';
    if (!CHECK(strlen(line) < sizeof vector->name)) return;
    strcpy(vector->name, line);
    vector->count = read_hex(space + 1, vector->bytes);
    if (CHECK(vector->count != 0)) vector_count++;
}

static FILE *open_vectors(void) {
    static const char file[] = "tests/vectors/keys.txt";
    const char *source = getenv("MEMGUARD_SOURCE");
    char path[4096];
    if (source == NULL) return fopen(file, "r");
    if (snprintf(path, sizeof path, "%s/%s", source, file) >= (int)sizeof path) return NULL;
    return fopen(path, "r");
}

TEST(vector_file_is_read) {
    char line[1024];
    FILE *in = open_vectors();
    if (!CHECK(in != NULL)) return;
    while (fgets(line, sizeof line, in) != NULL) read_line(line);
    fclose(in);
    CHECK(vector_count == 24);
}

/* The vector of a name, of that many bytes; zeros, and a failure, if there is none. */
static const unsigned char *vector(const char *name, size_t bytes) {
    static const unsigned char none[MOST_BYTES];
    for (size_t i = 0; i < vector_count; i++) {
        if (strcmp(vectors[i].name, name) != 0) continue;
        vectors[i].used = 1;
        return CHECK(vectors[i].count == bytes) ? vectors[i].bytes : none;
    }
    printf("no vector %s\n", name);
    CHECK(0 && "a vector is missing");
    return none;
}

static int is_vector(const unsigned char *bytes, const char *name, size_t count) {
    return memcmp(bytes, vector(name, count), count) == 0;
}

/* ---- the vectors ---- */

static void make_inputs(unsigned char x[PREKEY_BYTES], unsigned char x2[PREKEY_BYTES]) {
    for (size_t i = 0; i < PREKEY_BYTES; i++) {
        x[i] = (unsigned char)(7 * i + 3);
        x2[i] = (unsigned char)(13 * i + 5);
    }
}

static int is_counted_from(const unsigned char *bytes, size_t count, unsigned first) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != (unsigned char)(first + i)) return 0;
    return 1;
}

TEST(inputs_are_those_of_the_page_on_keys) {
    CHECK(is_counted_from(vector("y", 32), 32, 0x80));
    CHECK(is_counted_from(vector("kek", 32), 32, 0x20));
    CHECK(is_counted_from(vector("prefix", 16), 16, 0x40));
    CHECK(is_counted_from(vector("wrap_nonce", 24), 24, 0x60));
    CHECK(memcmp(vector("nonce", 24), vector("prefix", 16), 16) == 0);
    CHECK(memcmp(vector("nonce", 24) + 16, tail, sizeof tail) == 0);
}

TEST(hash_of_both_prekeys) {
    static unsigned char x[PREKEY_BYTES], x2[PREKEY_BYTES];
    unsigned char hash[MG_KEY_BYTES];
    make_inputs(x, x2);
    mg__crypto_hash(hash, x, sizeof x);
    CHECK(is_vector(hash, "h_x", 32));
    mg__crypto_hash(hash, x2, sizeof x2);
    CHECK(is_vector(hash, "h_x2", 32));
}

TEST(key_is_share_xor_hash_in_both_epochs) {
    unsigned char sum[4][MG_KEY_BYTES];
    for (size_t i = 0; i < MG_KEY_BYTES; i++) {
        sum[0][i] = (unsigned char)(vector("y", 32)[i] ^ vector("h_x", 32)[i]);
        sum[1][i] = (unsigned char)(vector("y2", 32)[i] ^ vector("h_x2", 32)[i]);
        sum[2][i] = (unsigned char)(vector("h_x", 32)[i] ^ vector("h_x2", 32)[i]);
        sum[3][i] = (unsigned char)(vector("y", 32)[i] ^ vector("d", 32)[i]);
    }
    CHECK(is_vector(sum[0], "K", 32));
    CHECK(is_vector(sum[1], "K", 32));
    CHECK(is_vector(sum[2], "d", 32));
    CHECK(is_vector(sum[3], "y2", 32));
}

TEST(derived_keys) {
    unsigned char key[MG_KEY_BYTES];
    mg__crypto_derive(key, MG_DERIVE_SECRETS, vector("K", 32));
    CHECK(is_vector(key, "K_secrets", 32));
    mg__crypto_derive(key, MG_DERIVE_CHUNKS, vector("K", 32));
    CHECK(is_vector(key, "K_chunks", 32));
    mg__crypto_derive(key, MG_DERIVE_WRAP, vector("kek", 32));
    CHECK(is_vector(key, "W", 32));
    mg__crypto_subkey(key, vector("K_secrets", 32), vector("prefix", 16));
    CHECK(is_vector(key, "subkey", 32));
}

static void check_sealed(size_t bytes, const char *name) {
    unsigned char plain[100], sealed[100 + MG_TAG_BYTES], back[100];
    for (size_t i = 0; i < bytes; i++) plain[i] = (unsigned char)i;
    mg__crypto_seal(sealed, plain, bytes, tail, vector("subkey", 32));
    CHECK(is_vector(sealed, name, bytes + MG_TAG_BYTES));
    CHECK(mg__crypto_unseal(back, vector(name, bytes + MG_TAG_BYTES), bytes, tail, vector("subkey", 32)));
    CHECK(memcmp(back, plain, bytes) == 0);
}

TEST(sealed_1_byte) { check_sealed(1, "sealed_1"); }
TEST(sealed_32_bytes) { check_sealed(32, "sealed_32"); }
TEST(sealed_100_bytes) { check_sealed(100, "sealed_100"); }

/* Chunks: an 8-byte tail after one more HSalsa20, over the id of the object. */
static void check_chunk(size_t bytes, const unsigned char chunk_tail[MG_TAIL_BYTES], const char *name) {
    unsigned char key[MG_KEY_BYTES], subkey[MG_KEY_BYTES], plain[100], sealed[100 + MG_TAG_BYTES], back[100];
    for (size_t i = 0; i < bytes; i++) plain[i] = (unsigned char)i;
    mg__crypto_subkey(key, vector("K_chunks", 32), vector("object", 16));
    CHECK(is_vector(key, "K_object", 32));
    mg__crypto_subkey(subkey, key, vector("prefix", 16));
    CHECK(is_vector(subkey, "K_object_prefix", 32));
    mg__crypto_seal(sealed, plain, bytes, chunk_tail, subkey);
    CHECK(is_vector(sealed, name, bytes + MG_TAG_BYTES));
    CHECK(mg__crypto_unseal(back, vector(name, bytes + MG_TAG_BYTES), bytes, chunk_tail, subkey));
    CHECK(memcmp(back, plain, bytes) == 0);
}

TEST(chunks_of_a_stream_and_of_a_large_secret) {
    static const unsigned char last_of_stream[MG_TAIL_BYTES] = {5, 0, 0, 0, 0, 0, 0, 0x80};
    static const unsigned char of_large[MG_TAIL_BYTES] = {5, 0, 0, 0, VERSION, 0, 0, 0};
    CHECK(is_counted_from(vector("object", 16), 16, 0xa0));
    check_chunk(100, last_of_stream, "chunk_stream_100");
    check_chunk(0, last_of_stream, "chunk_stream_0");
    check_chunk(100, of_large, "chunk_large_100");
}

TEST(wrapped_key) {
    unsigned char wrapped[MG_WRAP_BYTES], key[MG_KEY_BYTES];
    memcpy(wrapped, vector("wrap_nonce", 24), 24);
    mg__crypto_wrap(wrapped, vector("K", 32), vector("kek", 32));
    CHECK(memcmp(wrapped, vector("wrap_nonce", 24), 24) == 0);
    CHECK(is_vector(wrapped + 24, "wrapped", 48));
    CHECK(mg__crypto_unwrap(key, wrapped, vector("kek", 32)));
    CHECK(is_vector(key, "K", 32));
}

TEST(every_vector_was_used) {
    for (size_t i = 0; i < vector_count; i++) {
        if (!CHECK(vectors[i].used)) printf("unused vector: %s\n", vectors[i].name);
    }
}

/* ---- refusal ---- */

TEST(wrapped_key_with_a_flipped_bit_is_refused) {
    unsigned char wrapped[MG_WRAP_BYTES], key[MG_KEY_BYTES];
    memcpy(wrapped, vector("wrap_nonce", 24), 24);
    memcpy(wrapped + 24, vector("wrapped", 48), 48);
    for (size_t bit = 0; bit < MG_WRAP_BYTES * 8; bit++) {
        fill(key, sizeof key, 9);
        wrapped[bit / 8] = (unsigned char)(wrapped[bit / 8] ^ 1U << bit % 8);
        CHECK(!mg__crypto_unwrap(key, wrapped, vector("kek", 32)));
        CHECK(memcmp(key, vector("K", 32), sizeof key) != 0);
        wrapped[bit / 8] = (unsigned char)(wrapped[bit / 8] ^ 1U << bit % 8);
    }
    CHECK(mg__crypto_unwrap(key, wrapped, vector("kek", 32)));
}

static void flip_each_bit(size_t bytes) {
    static unsigned char plain[300], sealed[300 + MG_TAG_BYTES], back[300];
    fill(plain, bytes, 1);
    mg__crypto_seal(sealed, plain, bytes, tail, vector("subkey", 32));
    for (size_t bit = 0; bit < (bytes + MG_TAG_BYTES) * 8; bit++) {
        fill(back, bytes, 2);
        sealed[bit / 8] = (unsigned char)(sealed[bit / 8] ^ 1U << bit % 8);
        CHECK(!mg__crypto_unseal(back, sealed, bytes, tail, vector("subkey", 32)));
        CHECK(is_pattern(back, bytes, 2)); /* nothing written */
        sealed[bit / 8] = (unsigned char)(sealed[bit / 8] ^ 1U << bit % 8);
    }
    CHECK(mg__crypto_unseal(back, sealed, bytes, tail, vector("subkey", 32)) && is_pattern(back, bytes, 1));
}

TEST(flipped_bit_in_tag_or_ciphertext_is_refused_and_writes_nothing) {
    static const size_t sizes[] = {1, 31, 32, 33, 63, 64, 65, 100, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) flip_each_bit(sizes[i]);
}

TEST(wrong_nonce_tail_or_length_is_refused) {
    unsigned char plain[64], sealed[64 + MG_TAG_BYTES], back[64], other[MG_TAIL_BYTES];
    fill(plain, sizeof plain, 1);
    mg__crypto_seal(sealed, plain, sizeof plain, tail, vector("subkey", 32));
    for (size_t bit = 0; bit < sizeof other * 8; bit++) {
        memcpy(other, tail, sizeof other);
        other[bit / 8] = (unsigned char)(other[bit / 8] ^ 1U << bit % 8);
        CHECK(!mg__crypto_unseal(back, sealed, sizeof plain, other, vector("subkey", 32)));
    }
    for (size_t bytes = 1; bytes < sizeof plain; bytes++)
        CHECK(!mg__crypto_unseal(back, sealed, bytes, tail, vector("subkey", 32)));
}

/* ---- against libsodium ---- */

enum { LONGEST = 65536 };

static void compare_with_secretbox(size_t bytes) {
    static unsigned char plain[LONGEST], sealed[LONGEST + MG_TAG_BYTES + 1], expected[LONGEST + MG_TAG_BYTES], back[LONGEST + 1];
    unsigned char key[32], nonce[24], subkey[32];
    randombytes_buf(key, sizeof key);
    randombytes_buf(nonce, sizeof nonce);
    randombytes_buf(plain, bytes);
    sealed[bytes + MG_TAG_BYTES] = back[bytes] = 0xEE; /* nothing is written behind the end */
    CHECK(crypto_secretbox_easy(expected, plain, bytes, nonce, key) == 0);
    mg__crypto_subkey(subkey, key, nonce);
    mg__crypto_seal(sealed, plain, bytes, nonce + MG_PREFIX_BYTES, subkey);
    CHECK(memcmp(sealed, expected, bytes + MG_TAG_BYTES) == 0);
    CHECK(mg__crypto_unseal(back, expected, bytes, nonce + MG_PREFIX_BYTES, subkey));
    CHECK(memcmp(back, plain, bytes) == 0);
    CHECK(sealed[bytes + MG_TAG_BYTES] == 0xEE && back[bytes] == 0xEE);
}

TEST(sealed_bytes_are_those_of_secretbox_for_all_sizes) {
    for (size_t bytes = 1; bytes <= 300; bytes++) compare_with_secretbox(bytes);
    for (size_t bytes = 4095; bytes <= 4097; bytes++) compare_with_secretbox(bytes);
    compare_with_secretbox(LONGEST);
}

int main(void) {
    if (mg__bank_start() != MEMGUARD_OK || mg__crypto_start() != MEMGUARD_OK) return 1;
    RUN(vector_file_is_read);
    RUN(inputs_are_those_of_the_page_on_keys);
    RUN(hash_of_both_prekeys);
    RUN(key_is_share_xor_hash_in_both_epochs);
    RUN(derived_keys);
    RUN(sealed_1_byte);
    RUN(sealed_32_bytes);
    RUN(sealed_100_bytes);
    RUN(chunks_of_a_stream_and_of_a_large_secret);
    RUN(wrapped_key);
    RUN(every_vector_was_used);
    RUN(wrapped_key_with_a_flipped_bit_is_refused);
    RUN(flipped_bit_in_tag_or_ciphertext_is_refused_and_writes_nothing);
    RUN(wrong_nonce_tail_or_length_is_refused);
    RUN(sealed_bytes_are_those_of_secretbox_for_all_sizes);
    return check_end();
}
