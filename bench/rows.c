/* The table: what is compared with what, and the ratio that is wanted. 32 bytes unless a title says otherwise. */
#include "bench.h"

#define HEADING(title)                                                                                                 \
    { NULL, title, NULL, NULL, 0, 0 }

enum { LONG_BATCH_US = 8000, THREADS_BATCH_US = 4000 };

const struct bench_row bench_rows[] = {
    HEADING("sealed secrets"),
    {"use", "use, lease running", &bench_use_small, &bench_open_small, 1.0, 0},
    {"use_with_leases", "use, new leases every 2 ms included", &bench_use_small, &bench_open_small, 0, LONG_BATCH_US},
    {"use_first", "use, first after a lease ended", &bench_use_first, &bench_open_small, 0, 0},
    {"use_strict", "use, STRICT vault: no lease", &bench_use_strict, &bench_open_small, 0, 0},
    {"use_4k", "use, 4 KiB", &bench_use_medium, &bench_open_medium, 0, 0},
    {"use_1m", "use, 1 MiB", &bench_use_large, &bench_open_large, 0, 0},
    {"take", "take", &bench_take_small, &bench_seal_small, 0, 0},
    {"take_4k", "take, 4 KiB", &bench_take_medium, &bench_seal_medium, 0, 0},
    {"take_1m", "take, 1 MiB", &bench_take_large, &bench_seal_large, 0, 0},
    {"take_destroy", "take + destroy", &bench_take_destroy, &bench_seal_by_hand, 0, 0},
    {"read_sealed", "READ acquire + release", &bench_read_sealed, &bench_sodium_malloc, 0, 0},

    HEADING("closed secrets"),
    {"create_closed", "(a) create + destroy: never opened", &bench_create_closed, &bench_sodium_malloc, 1.0 / 6, 0},
    {"copy_closed", "(b) copy + destroy: bytes written", &bench_copy_closed, &bench_sodium_malloc, 1.0 / 6, 0},
    {"touch_closed", "(c) create + WRITE view + destroy", &bench_touch_closed, &bench_sodium_malloc, 1.0 / 6, 0},
    {"create_closed_flip", "(a) again", &bench_create_closed, &bench_flip, 0, 0},
    {"copy_closed_flip", "(b) again", &bench_copy_closed, &bench_flip, 0, 0},
    {"touch_closed_flip", "(c) again", &bench_touch_closed, &bench_flip, 0, 0},
    {"write_closed", "WRITE acquire + release", &bench_write_closed, &bench_flip, 0, 0},
    {"read_closed", "READ acquire + release", &bench_read_closed, &bench_flip, 0, 0},

    HEADING("mapped and compact secrets"),
    {"create_mapped", "MAPPED create + destroy", &bench_create_mapped, &bench_sodium_malloc, 0, 0},
    {"create_compact_gcrypt", "COMPACT create + destroy", &bench_create_compact, &bench_gcrypt, 0, 0},
    {"create_compact_openssl", "COMPACT create + destroy", &bench_create_compact, &bench_openssl, 0, 0},
    {"copy_compact_gcrypt", "COMPACT copy + destroy", &bench_copy_compact, &bench_gcrypt, 0, 0},
    {"copy_compact_openssl", "COMPACT copy + destroy", &bench_copy_compact, &bench_openssl, 0, 0},
    {"read_mapped", "MAPPED READ acquire + release", &bench_read_mapped, NULL, 0, 0},
    {"read_compact", "COMPACT READ acquire + release", &bench_read_compact, NULL, 0, 0},

    HEADING("streams"),
    {"stream_64m", "64 MiB in by 64 KiB, out by 1000 bytes", &bench_stream, &bench_boxes, 1.25, 0},

    HEADING("vaults"),
    {"vault", "vault create + destroy, beside others", &bench_vault, &bench_sodium_malloc, 0, 0},

    HEADING("two threads (0.50: twice the work in the same time)"),
    {"use_two", "use by 2 threads, a secret each", &bench_use_two, &bench_use_small, 0, THREADS_BATCH_US},
    {"use_two_same", "use by 2 threads, the same secret", &bench_use_two_same, &bench_use_small, 0, THREADS_BATCH_US},
    {"open_two", "secretbox_open_easy by 2 threads", &bench_open_two, &bench_open_small, 0, THREADS_BATCH_US},
    {"use_busy", "use beside a busy thread", &bench_use_busy, &bench_use_small, 0, 0},
    {"copy_closed_busy", "CLOSED (b) beside a busy thread", &bench_copy_closed_busy, &bench_sodium_malloc_busy, 0, 0},
    {"copy_closed_busy_flip", "CLOSED (b) beside a busy thread", &bench_copy_closed_busy, &bench_flip_busy, 0, 0},
};
const size_t bench_row_count = sizeof bench_rows / sizeof bench_rows[0];
