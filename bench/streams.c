/* A stream next to bare secretbox: 64 MiB put in by 64 KiB and taken out by 1000 bytes, against the same bytes sealed and opened in chunks of the
 * same size, in buffers that are warm. */
#include <sodium.h>
#include <stdlib.h>

#include "bench.h"
#include "memguard/stream.h"

enum { TOTAL = 64 << 20, WRITE = 64 << 10, READ = 1000, CHUNK = 16384, SEALED = CHUNK + crypto_secretbox_MACBYTES };

static memguard_vault *vault;
static unsigned char *source, *sealed, out[CHUNK];
static unsigned char key[crypto_secretbox_KEYBYTES], nonce[crypto_secretbox_NONCEBYTES];

/* The boxes are there once, the first time they are needed. */
static void start(size_t n, void *arg) {
    (void)n, (void)arg;
    if (source != NULL) return;
    source = malloc(WRITE);
    sealed = malloc((size_t)TOTAL / CHUNK * SEALED);
    if (source == NULL || sealed == NULL) bench_fail("malloc");
    bench_fill(source, WRITE);
    memset(sealed, 1, (size_t)TOTAL / CHUNK * SEALED);
    bench_must(memguard_vault_create(NULL, &vault), "vault_create");
}

static void write_all(memguard_stream stream) {
    for (size_t at = 0; at < TOTAL; at += WRITE)
        bench_must(memguard_stream_write(stream, source, WRITE), "stream_write");
    bench_must(memguard_stream_finish(stream), "stream_finish");
}

static void read_all(memguard_stream stream) {
    size_t got = 0, all = 0;
    unsigned wrong = 0;
    memguard_status status = MEMGUARD_OK;
    while ((status = memguard_stream_read(stream, out, READ, &got)) == MEMGUARD_OK) {
        wrong |= (unsigned)(out[0] ^ source[all % WRITE]) | (unsigned)(out[got - 1] ^ source[(all + got - 1) % WRITE]);
        all += got;
    }
    if (status != MEMGUARD_ERR_END || all != TOTAL || wrong != 0) bench_fail("the stream gave other bytes");
}

static void run_stream(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        memguard_stream stream;
        bench_must(memguard_stream_create(vault, NULL, &stream), "stream_create");
        write_all(stream);
        read_all(stream);
        bench_must(memguard_stream_destroy(&stream), "stream_destroy");
    }
}

static void run_boxes(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        for (size_t chunk = 0; chunk < TOTAL / CHUNK; chunk++) {
            memcpy(nonce, &chunk, sizeof chunk);
            const unsigned char *plain = source + chunk * CHUNK % WRITE;
            if (crypto_secretbox_easy(sealed + chunk * SEALED, plain, CHUNK, nonce, key) != 0)
                bench_fail("secretbox_easy");
        }
        for (size_t chunk = 0; chunk < TOTAL / CHUNK; chunk++) {
            memcpy(nonce, &chunk, sizeof chunk);
            if (crypto_secretbox_open_easy(out, sealed + chunk * SEALED, SEALED, nonce, key) != 0)
                bench_fail("secretbox_open_easy");
            bench_keep(out);
        }
    }
}

const struct bench_op bench_stream = {.name = "stream", .run = run_stream, .before = start, .most = 1};
const struct bench_op bench_boxes = {.name = "secretbox, 16 KiB each", .run = run_boxes, .before = start, .most = 1};
