/* test_scan_streams.c: the bytes of streams and large secrets are nowhere but in the chunk that is open, and that no longer than its lease; the keys
 * of chunks and their keystream are nowhere, ever. After each step the whole process is searched; see lab/scan.h. The scans of a stream's keys need
 * its inside: it is compiled into this program. */
#define _GNU_SOURCE
#include "lab/subject.h"

#include "core/stream.c"

enum { SIZES = 3, MOST = 20000, REPEATS = 2 };
static const size_t sizes[SIZES] = {50, 5000, MOST};

static memguard_vault *vault;
static unsigned char source[MOST];
static size_t size;
static unsigned scans, strays;

/* Plaintext must be in `home` and nowhere else (SCAN_USE_PAGE: but in the chunk from which it is shown), keys nowhere. */
static void look_for_all(const char *state, enum scan_place home) {
    static struct scan_result result;
    int bad = 0;
    scan_memory(&result);
    scans++;
    for (enum scan_column column = 0; column < SCAN_COLUMNS; column++) {
        const enum scan_place at = column == SCAN_P ? home : SCAN_NOWHERE;
        unsigned outside = scan_runs_outside(&result, column, at);
        if (at == SCAN_USE_PAGE) outside -= scan_runs_in(&result, column, SCAN_SLOT);
        bad |= outside != 0 || (at != SCAN_NOWHERE && scan_runs_in(&result, column, at) == 0);
    }
    if (!CHECK(!bad) && strays++ < 10) scan_print_hits(&result, state);
    scan_drop_registers();
}

/* A call of the library: it succeeds, and the registers are kept as it left them. */
#define CALL(call)                                                                                                     \
    do {                                                                                                               \
        const memguard_status status_ = (call);                                                                        \
        SCAN_REGISTERS_NOW(scans % SCAN_SNAPSHOTS);                                                                    \
        CHECK(status_ == MEMGUARD_OK);                                                                                 \
    } while (0)

static void draw(void) {
    (void)scan_draw(SCAN_P, size, size == 50 ? SCAN_ALL_FORMS : SCAN_SHORT_FORMS, source);
    scan_unname(SCAN_SOURCE);
    scan_name(SCAN_SOURCE, source, sizeof source);
    look_for_all("caller's buffer (control)", SCAN_SOURCE);
}

static void wipe_buffer(void) { scan_wipe(source, sizeof source); }

/* Where the chunks are that are open. */
static void name_windows(uint64_t id) {
    const struct mg__chunked *chunked = mg__entry_at(id)->body.chunked;
    scan_unname(SCAN_SLOT);
    for (int side = 0; side < MG_SIDES; side++) {
        const struct mg__region *region = chunked->windows[side].region;
        if (region != NULL) scan_name(SCAN_SLOT, region->base, region->bytes);
    }
}

static void end_leases(void) {
    (void)mg__windows_tend(mg__vault_find(vault), mg__sys_now_ns() + 3600000000000U);
    end_the_lease(vault);
}

/* ---- the keys of the first chunk, computed on the scanner's stack ---- */

struct finding {
    const struct stream *stream;
    int k, kc, object, subkey, keystream;
    size_t bytes;
};

static void body_chunk_keys(void *arg) {
    static const unsigned char zeros[64];
    struct finding *f = arg;
    const struct mg__coffer *coffer = coffer_of(vault);
    const uint32_t epoch = atomic_load(&coffer->current);
    const size_t bytes = coffer->policy.prekey_bytes;
    const unsigned char *x = mg__region_data(coffer->prekeys[epoch], bytes);
    const unsigned char *y = (const unsigned char *)coffer->page + epoch * (size_t)MG_KEY_BYTES; /* first in the page */
    const struct link *link = f->stream->head;
    unsigned char hash[32], key[32], kc[32], object[32], subkey[32], prefix[MG_PREFIX_BYTES], tail[8], block[64];
    mg__crypto_hash(hash, x, bytes);
    for (size_t i = 0; i < 32; i++) key[i] = (unsigned char)(y[i] ^ hash[i]);
    mg__crypto_derive(kc, MG_DERIVE_CHUNKS, key);
    mg__crypto_subkey(object, kc, f->stream->base.object);
    mg__prefix_bytes(link->prefix, prefix);
    mg__crypto_subkey(subkey, object, prefix);
    const uint64_t number = tail_of(f->stream->expected, link);
    for (size_t i = 0; i < 8; i++) tail[i] = (unsigned char)(number >> (8 * i));
    scan_set(f->k, 0, key, 32);
    scan_set(f->kc, 0, kc, 32);
    scan_set(f->object, 0, object, 32);
    scan_set(f->subkey, 0, subkey, 32);
    for (size_t at = 0; at < f->bytes; at += 64) {
        crypto_stream_salsa20_xor_ic(block, zeros, 64, tail, at / 64, subkey);
        scan_set(f->keystream, at, block, 64);
    }
}

static void find_chunk_keys(memguard_stream stream) {
    struct finding f = {.stream = stream_of(mg__entry_at(stream.id)->body.chunked), .bytes = 1024};
    f.k = scan_add(SCAN_K, 32, SCAN_ALL_FORMS);
    f.kc = scan_add(SCAN_KS, 32, SCAN_ALL_FORMS);
    f.object = scan_add(SCAN_S, 32, SCAN_ALL_FORMS);
    f.subkey = scan_add(SCAN_S, 32, SCAN_ALL_FORMS);
    f.keystream = scan_add(SCAN_STREAM, f.bytes, SCAN_SHORT_FORMS);
    scan_call(body_chunk_keys, &f);
    scan_index(f.k);
    scan_index(f.kc);
    scan_index(f.object);
    scan_index(f.subkey);
    scan_index(f.keystream);
}

/* ---- lives ---- */

static memguard_stream make(void) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_stream stream = {0};
    options.chunk_bytes = size == MOST ? 0 : 4096;
    CALL(memguard_stream_create(vault, &options, &stream));
    return stream;
}

static int look_inside(const void *bytes, size_t count, void *id) {
    const uintptr_t page = mg__sys_page(), from = (uintptr_t)bytes & ~(page - 1);
    name_windows(*(const uint64_t *)id);
    scan_unname(SCAN_USE_PAGE);
    scan_name(SCAN_USE_PAGE, (const void *)from, ((uintptr_t)bytes + count - from + page - 1) & ~(page - 1));
    look_for_all("inside use (control)", SCAN_USE_PAGE);
    return 0;
}

static void fill_stream(memguard_stream stream) {
    draw();
    CALL(memguard_stream_write(stream, source, size));
    wipe_buffer();
}

/* Reads a little, so that a chunk is open. */
static void open_reader(memguard_stream stream) {
    size_t got = 0;
    CALL(memguard_stream_read(stream, source, 20, &got));
    wipe_buffer();
    name_windows(stream.id);
    look_for_all("read in part (control)", SCAN_SLOT);
}

static void life_of_a_stream(int leased) {
    memguard_stream stream = make();
    memguard_secret secret = {0};
    size_t got = 0;
    fill_stream(stream);
    if (leased) {
        name_windows(stream.id);
        look_for_all("written, the rest open (control)", SCAN_SLOT);
        CALL(memguard_stream_flush(stream));
    }
    look_for_all("flushed", SCAN_NOWHERE);
    find_chunk_keys(stream);
    look_for_all("flushed; the keys, too", SCAN_NOWHERE);
    if (leased) open_reader(stream);
    end_leases();
    look_for_all("lease ended", SCAN_NOWHERE);
    CALL(memguard_stream_use(stream, MOST, look_inside, &stream.id, NULL));
    look_for_all("used", SCAN_NOWHERE);
    fill_stream(stream);
    CALL(memguard_stream_next(stream, MEMGUARD_SEALED, &secret));
    CALL(memguard_secret_destroy(&secret));
    while (memguard_stream_read(stream, source, 700, &got) == MEMGUARD_OK) {
    }
    wipe_buffer();
    look_for_all("read to the end", SCAN_NOWHERE);
    CALL(memguard_stream_destroy(&stream));
}

static void life_ends(void) {
    memguard_stream stream = make();
    fill_stream(stream);
    open_reader(stream);
    CALL(memguard_stream_destroy(&stream));
    look_for_all("destroyed while open", SCAN_NOWHERE);
    stream = make();
    fill_stream(stream);
    CALL(memguard_vault_lock(vault, source));
    look_for_all("locked while open", SCAN_NOWHERE);
    CALL(memguard_vault_unlock(vault, source));
    open_reader(stream);
    CALL(memguard_vault_purge(vault, 0));
    look_for_all("purged while open", SCAN_NOWHERE);
}

static void life_of_a_large_secret(int leased) {
    memguard_large large = {0};
    CALL(memguard_large_create(vault, 60000, NULL, &large));
    draw();
    CALL(memguard_large_write_at(large, 10000, source, size));
    wipe_buffer();
    if (leased) {
        name_windows(large.id);
        look_for_all("written at a place (control)", SCAN_SLOT);
    }
    end_leases();
    look_for_all("lease of the large one ended", SCAN_NOWHERE);
    CALL(memguard_large_use_at(large, 10000, size < 16384 ? size : 16384, look_inside, &large.id, NULL));
    end_leases();
    look_for_all("shown at a place", SCAN_NOWHERE);
    CALL(memguard_large_read_at(large, 10000, source, size));
    wipe_buffer();
    CALL(memguard_large_destroy(&large));
    look_for_all("large one destroyed", SCAN_NOWHERE);
}

static void check_lives(uint32_t flags) {
    for (unsigned i = 0; i < REPEATS * SIZES; i++) {
        size = sizes[i % SIZES];
        scan_begin(200000);
        vault = make_vault(i % 2 == 0 ? MEMGUARD_BACKEND_LOCKED : MEMGUARD_BACKEND_PLAIN, flags, 4096);
        if (vault == NULL || !find_benches(mg__vault_find(vault)->kind, 2)) return;
        life_of_a_stream(flags == MEMGUARD_NO_THREAD);
        life_of_a_large_secret(flags == MEMGUARD_NO_THREAD);
        if (flags == MEMGUARD_NO_THREAD) life_ends();
        CHECK(benches_are_blank());
        CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
        look_for_all("vault destroyed", SCAN_NOWHERE);
    }
}

TEST(no_bytes_of_streams_and_large_secrets_are_astray) { check_lives(MEMGUARD_NO_THREAD); }
TEST(no_bytes_of_streams_and_large_secrets_are_astray_without_a_lease) { check_lives(MEMGUARD_STRICT); }

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    if (CHECK_SANITIZED) why_not = "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own";
    if (why_not == NULL) why_not = scan_start();
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    name_own_stack();
    RUN(no_bytes_of_streams_and_large_secrets_are_astray);
    RUN(no_bytes_of_streams_and_large_secrets_are_astray_without_a_lease);
    printf("%u scans, %u with strays\n", scans, strays);
    return check_end();
}
