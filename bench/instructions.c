/* Runs one operation of memguard n times, in one thread and without a clock in the way, so that a simulator can count instructions
 * exactly (scripts/check-instructions). Usage: instructions NAME N | instructions --list */
#include <memguard.h>
#include <memguard/stream.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 32, LONG_BYTES = 4096, STREAMED_BYTES = 1000 };

static memguard_vault *vault;
static memguard_secret sealed, sealed_long, closed, mapped, compact;
static memguard_stream stream;
static unsigned char contents[BYTES], long_contents[LONG_BYTES];

static void must(memguard_status status) {
    if (status == MEMGUARD_OK) return;
    fprintf(stderr, "instructions: %s\n", memguard_status_name(status));
    exit(1);
}

static int look(const void *bytes, size_t size, void *arg) {
    *(int *)arg += ((const unsigned char *)bytes)[size - 1];
    return 0;
}

static void use_of(memguard_secret secret) {
    int sum = 0;
    must(memguard_secret_use(secret, look, &sum, NULL));
}
static void use(void) { use_of(sealed); }
static void use_long(void) { use_of(sealed_long); }
static void use_compact(void) { use_of(compact); }

static void view_of(memguard_secret secret, uint32_t access) {
    memguard_view view;
    must(memguard_secret_acquire(secret, access, &view));
    must(memguard_view_release(&view));
}
static void read_sealed(void) { view_of(sealed, MEMGUARD_READ); }
static void read_closed(void) { view_of(closed, MEMGUARD_READ); }
static void read_mapped(void) { view_of(mapped, MEMGUARD_READ); }
static void read_compact(void) { view_of(compact, MEMGUARD_READ); }
static void write_closed(void) { view_of(closed, MEMGUARD_WRITE); }
static void write_mapped(void) { view_of(mapped, MEMGUARD_WRITE); }

static void copy_and_destroy(uint32_t rest) {
    memguard_secret secret;
    must(memguard_secret_copy(vault, contents, sizeof contents, rest, &secret));
    must(memguard_secret_destroy(&secret));
}
static void sealed_life(void) { copy_and_destroy(MEMGUARD_SEALED); }
static void closed_life(void) { copy_and_destroy(MEMGUARD_CLOSED); }
static void compact_life(void) { copy_and_destroy(MEMGUARD_COMPACT); }

static void create_and_destroy(uint32_t rest) {
    memguard_secret secret;
    must(memguard_secret_create(vault, BYTES, rest, &secret));
    must(memguard_secret_destroy(&secret));
}
static void closed_unopened(void) { create_and_destroy(MEMGUARD_CLOSED); }
static void compact_empty(void) { create_and_destroy(MEMGUARD_COMPACT); }

static void take_and_destroy(void) {
    memguard_secret secret;
    must(memguard_secret_take(vault, contents, sizeof contents, MEMGUARD_SEALED, &secret));
    must(memguard_secret_destroy(&secret));
}

static void through_stream(void) {
    size_t got = 0;
    must(memguard_stream_write(stream, long_contents, STREAMED_BYTES));
    must(memguard_stream_read(stream, long_contents, STREAMED_BYTES, &got));
}

static void equal(void) { must(memguard_secret_equal(sealed, contents, sizeof contents)); }

static const struct {
    const char *name;
    void (*run)(void);
} operations[] = {
    {"use", use},
    {"equal", equal},
    {"read_sealed", read_sealed},
    {"read_closed", read_closed},
    {"read_mapped", read_mapped},
    {"read_compact", read_compact},
    {"write_closed", write_closed},
    {"copy_destroy_sealed", sealed_life},
    {"copy_destroy_closed", closed_life},
    {"copy_destroy_compact", compact_life},
    {"create_destroy_closed", closed_unopened},
    {"create_destroy_compact", compact_empty},
    {"take_destroy_sealed", take_and_destroy},
    {"use_compact", use_compact},
    {"use_4096", use_long},
    {"write_mapped", write_mapped},
    {"stream_write_read_1000", through_stream},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

/* No thread, and a lease that no tick ends. */
static void start(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.flags = MEMGUARD_NO_THREAD;
    options.backend = MEMGUARD_BACKEND_LOCKED;
    options.lease_us = 1000000;
    must(memguard_vault_create(&options, &vault));
    must(memguard_vault_tick(vault, NULL));
    must(memguard_secret_copy(vault, contents, BYTES, MEMGUARD_SEALED, &sealed));
    must(memguard_secret_copy(vault, long_contents, LONG_BYTES, MEMGUARD_SEALED, &sealed_long));
    must(memguard_secret_copy(vault, contents, BYTES, MEMGUARD_CLOSED, &closed));
    must(memguard_secret_copy(vault, contents, BYTES, MEMGUARD_MAPPED, &mapped));
    must(memguard_secret_copy(vault, contents, BYTES, MEMGUARD_COMPACT, &compact));
    must(memguard_stream_create(vault, NULL, &stream));
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < OPERATIONS; i++)
            puts(operations[i].name);
        return 0;
    }
    if (argc != 3) return 2;
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (strcmp(argv[1], operations[i].name) != 0) continue;
        start();
        for (long n = strtol(argv[2], NULL, 10); n > 0; n--)
            operations[i].run();
        must(memguard_vault_destroy(&vault));
        return 0;
    }
    return 2;
}
