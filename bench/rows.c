/* The table: what is compared with what, the bar and the aim. 32 bytes unless a title says otherwise. */
#include "bench.h"

enum { LONG_BATCH_US = 8000, THREADS_BATCH_US = 500, FLIPS_BATCH_US = 1000 };

#define HEADING(text)                                                                                                  \
    { .title = (text) }
/* Our time to the peer's; our speed to the peer's; our time. */
#define ROW(name, text, of_ours, of_peer, most, best)                                                                  \
    { .id = (name), .title = (text), .ours = &(of_ours), .peer = &(of_peer), .bar = (most), .aim = (best) }
#define SPEED(name, text, of_ours, of_peer, least, best)                                                               \
    {                                                                                                                  \
        .id = (name), .title = (text), .ours = &(of_ours), .peer = &(of_peer), .bar = (least), .aim = (best),          \
        .kind = BENCH_SPEED                                                                                            \
    }
#define SPEED_TWO(name, text, of_ours, of_peer, least, best, us)                                                       \
    {                                                                                                                  \
        .id = (name), .title = (text), .ours = &(of_ours), .peer = &(of_peer), .bar = (least), .aim = (best),          \
        .kind = BENCH_SPEED, .batch_us = (us)                                                                          \
    }
#define TIME(name, text, of_ours, most, best)                                                                          \
    { .id = (name), .title = (text), .ours = &(of_ours), .bar = (most), .aim = (best), .kind = BENCH_NS }

static struct bench_row rows[256] = {
    HEADING("sealed secrets"),
    ROW("use", "use, lease running", bench_use_small, bench_open_small, 0.75, 0.6),
    {.id = "use_with_leases",
     .title = "use, new leases every 2 ms included",
     .ours = &bench_use_small,
     .peer = &bench_open_small,
     .batch_us = LONG_BATCH_US},
    TIME("use_first", "use, first after a lease ended", bench_use_first, 20000, 12000),
    TIME("use_strict", "use, STRICT vault: no lease", bench_use_strict, 20000, 12000),
    ROW("use_4k", "use, 4 KiB", bench_use_medium, bench_open_medium, 0, 0),
    SPEED("use_1m", "use, 1 MiB: speed", bench_use_large, bench_open_large, 0.95, 1.0),
    ROW("take", "take", bench_take_small, bench_seal_small, 0.9, 0.75),
    ROW("take_4k", "take, 4 KiB", bench_take_medium, bench_seal_medium, 0, 0),
    SPEED("take_1m", "take, 1 MiB: speed", bench_take_large, bench_seal_large, 0.95, 1.0),
    ROW("take_destroy", "take + destroy", bench_take_destroy, bench_seal_by_hand, 0, 0),
    ROW("read_sealed", "READ view of a sealed secret", bench_read_sealed, bench_sodium_malloc, 1.0 / 4, 1.0 / 5),

    HEADING("closed secrets"),
    ROW("create_closed_flip", "CLOSED create + destroy, never opened", bench_create_closed, bench_flip, 1.25, 1.1),
    ROW("copy_closed_flip", "CLOSED copy + destroy: bytes written", bench_copy_closed, bench_flip, 1.25, 1.1),
    ROW("touch_closed_flip", "CLOSED create + WRITE view + destroy", bench_touch_closed, bench_flip, 0, 0),
    ROW("create_closed", "CLOSED create + destroy, never opened", bench_create_closed, bench_sodium_malloc, 1.0 / 8,
        1.0 / 12),
    ROW("copy_closed", "CLOSED copy + destroy: bytes written", bench_copy_closed, bench_sodium_malloc, 1.0 / 8,
        1.0 / 12),
    ROW("touch_closed", "CLOSED create + WRITE view + destroy", bench_touch_closed, bench_sodium_malloc, 0, 0),
    ROW("write_closed", "CLOSED WRITE view", bench_write_closed, bench_flip, 1.15, 1.05),
    ROW("read_closed", "CLOSED READ view", bench_read_closed, bench_flip, 0, 0),

    HEADING("mapped and compact secrets"),
    ROW("create_mapped", "MAPPED create + destroy", bench_create_mapped, bench_sodium_malloc, 0, 0),
    ROW("create_compact_gcrypt", "COMPACT create + destroy", bench_create_compact, bench_gcrypt, 0.35, 0.2),
    ROW("create_compact_openssl", "COMPACT create + destroy", bench_create_compact, bench_openssl, 0, 0),
    ROW("create_compact_botan", "COMPACT create + destroy", bench_create_compact, bench_botan, 0, 0),
    ROW("copy_compact_gcrypt", "COMPACT copy + destroy", bench_copy_compact, bench_gcrypt, 0, 0),
    ROW("copy_compact_openssl", "COMPACT copy + destroy", bench_copy_compact, bench_openssl, 0, 0),
    ROW("copy_compact_botan", "COMPACT copy + destroy", bench_copy_compact, bench_botan, 0, 0),
    TIME("read_mapped", "MAPPED READ view", bench_read_mapped, 8, 4),
    TIME("read_compact", "COMPACT READ view", bench_read_compact, 8, 4),
    TIME("read_mapped_two", "MAPPED READ view, 2 threads, 1 secret", bench_mapped_two_same, 60, 20),
    TIME("read_compact_two", "COMPACT READ view, 2 threads, 1 secret", bench_compact_two_same, 60, 20),

    HEADING("streams"),
    SPEED("stream_64m", "stream, 64 MiB: speed", bench_stream, bench_boxes, 0.8, 0.9),

    HEADING("vaults"),
    ROW("vault", "vault create + destroy", bench_vault, bench_sodium_malloc, 15, 8),

    HEADING("two threads, speed against one thread"),
    SPEED_TWO("use_two", "use, a secret each", bench_use_two, bench_use_small, 1.9, 1.98, THREADS_BATCH_US),
    SPEED_TWO("use_two_same", "use, the same secret", bench_use_two_same, bench_use_small, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("open_two", "secretbox_open_easy", bench_open_two, bench_open_small, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("take_two", "take", bench_take_two, bench_take_small, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("seal_two", "secretbox_easy", bench_seal_two, bench_seal_small, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("mapped_two", "MAPPED READ view, a secret each", bench_mapped_two, bench_read_mapped, 0, 0,
              THREADS_BATCH_US),
    SPEED_TWO("compact_two", "COMPACT READ view, a secret each", bench_compact_two, bench_read_compact, 0, 0,
              THREADS_BATCH_US),
    SPEED_TWO("copy_compact_two", "COMPACT copy + destroy", bench_copy_compact_two, bench_copy_compact, 0, 0,
              THREADS_BATCH_US),
    SPEED_TWO("gcrypt_two", "gcry_malloc_secure + free", bench_gcrypt_two, bench_gcrypt, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("openssl_two", "OPENSSL_secure_malloc + free", bench_openssl_two, bench_openssl, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("botan_two", "Botan secure_allocator", bench_botan_two, bench_botan, 0, 0, THREADS_BATCH_US),
    SPEED_TWO("copy_closed_two", "CLOSED copy + destroy", bench_copy_closed_two, bench_copy_closed, 0, 0,
              FLIPS_BATCH_US),
    SPEED_TWO("read_sealed_two", "READ view of a sealed secret", bench_read_sealed_two, bench_read_sealed, 0, 0,
              FLIPS_BATCH_US),
    SPEED_TWO("sodium_malloc_two", "sodium_malloc + free", bench_sodium_malloc_two, bench_sodium_malloc, 0, 0,
              FLIPS_BATCH_US),
    SPEED_TWO("flip_two", "mprotect pair + touch", bench_flip_two, bench_flip, 0, 0, FLIPS_BATCH_US),

    HEADING("beside a busy thread, against alone"),
    ROW("use_busy", "use", bench_use_busy, bench_use_small, 1.1, 1.03),
    ROW("open_busy", "secretbox_open_easy", bench_open_busy, bench_open_small, 0, 0),
    ROW("take_busy", "take", bench_take_busy, bench_take_small, 0, 0),
    ROW("read_compact_busy", "COMPACT READ view", bench_read_compact_busy, bench_read_compact, 0, 0),
    ROW("copy_compact_busy", "COMPACT copy + destroy", bench_copy_compact_busy, bench_copy_compact, 0, 0),
    ROW("read_sealed_busy", "READ view of a sealed secret", bench_read_sealed_busy, bench_read_sealed, 0, 0),
    ROW("copy_closed_busy", "CLOSED copy + destroy", bench_copy_closed_busy, bench_copy_closed, 0, 0),
    ROW("sodium_malloc_busy", "sodium_malloc + free", bench_sodium_malloc_busy, bench_sodium_malloc, 0, 0),
    ROW("flip_busy", "mprotect pair + touch", bench_flip_busy, bench_flip, 0, 0),
    ROW("closed_sodium_busy", "CLOSED copy + destroy: libsodium's", bench_copy_closed_busy, bench_sodium_malloc_busy, 0,
        0),

    HEADING("floors: what a call is made of"),
    TIME("floor_clock", "read the clock", bench_floor_clock, 0, 0),
    TIME("floor_add", "atomic add", bench_floor_add, 0, 0),
    TIME("floor_add_two", "atomic add, 2 threads, a word each", bench_floor_add_two, 0, 0),
    TIME("floor_add_two_same", "atomic add, 2 threads, 1 word", bench_floor_add_two_same, 0, 0),
    TIME("floor_subkey", "HSalsa20: subkey", bench_floor_subkey, 0, 0),
    TIME("floor_block", "Salsa20: a block", bench_floor_block, 0, 0),
    TIME("floor_tag", "Poly1305: 32 bytes", bench_floor_tag, 0, 0),
    TIME("floor_wipe", "wipe 2 KiB", bench_floor_wipe, 0, 0),
    TIME("floor_hash", "BLAKE2b: 16 KiB", bench_floor_hash, 0, 0),
    TIME("floor_hash_small", "BLAKE2b: 64 bytes", bench_floor_hash_small, 0, 0),
    TIME("floor_expand", "ChaCha20: 16 KiB", bench_floor_expand, 0, 0),
    TIME("floor_copy", "copy 16 KiB", bench_floor_copy, 0, 0),
    TIME("floor_call", "a system call (getppid)", bench_floor_call, 0, 0),
    TIME("floor_random", "getrandom: 32 bytes", bench_floor_random, 0, 0),
    TIME("floor_fence", "membarrier", bench_floor_fence, 0, 0),
    TIME("floor_flip", "mprotect pair + touch", bench_flip, 0, 0),
    TIME("floor_flip_busy", "mprotect pair + touch, busy thread", bench_flip_busy, 0, 0),

    HEADING("by size"),
};

const struct bench_row *bench_rows(size_t *count) {
    static size_t known;
    if (known == 0) {
        while (rows[known].title != NULL)
            known++;
        bench_size_rows(rows + known);
        known += SIZE_ROWS;
    }
    *count = known;
    return rows;
}
