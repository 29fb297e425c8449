/* test_stream_io.c: streams and large secrets from and to descriptors, and the FILE face of streams. */
#define _GNU_SOURCE
#include "api/io_support.h"

#include <sys/mman.h>

static memguard_vault *vault;

static memguard_stream stream_make(uint32_t chunk_bytes) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_stream stream = {0};
    options.chunk_bytes = chunk_bytes;
    CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_OK);
    return stream;
}

static void stream_end(memguard_stream *stream) { CHECK_STATUS(memguard_stream_destroy(stream), MEMGUARD_OK); }

static uint64_t stream_bytes(memguard_stream stream) {
    uint64_t bytes = 0;
    CHECK_STATUS(memguard_stream_size(stream, &bytes), MEMGUARD_OK);
    return bytes;
}

/* Takes `size` bytes out; 1: they are the pattern from `from` on. */
static int gives_pattern(memguard_stream stream, size_t from, size_t size, uint32_t seed) {
    unsigned char *bytes = malloc(size);
    size_t got = 0, sum = 0;
    int right = 1;
    while (sum < size && memguard_stream_read(stream, bytes + sum, size - sum, &got) == MEMGUARD_OK) sum += got;
    for (size_t i = 0; i < sum; i++) right = right && bytes[i] == pattern_byte(seed, from + i);
    free(bytes);
    return right && sum == size;
}

static void put_pattern(memguard_stream stream, size_t size, uint32_t seed) {
    unsigned char *bytes = malloc(size);
    fill(bytes, size, seed);
    CHECK_STATUS(memguard_stream_write(stream, bytes, size), MEMGUARD_OK);
    free(bytes);
}

/* ---- fill and drain ------------------------------------------------------------------------------------ */

TEST(fill_moves_all_that_comes_from_descriptors_of_every_kind) {
    static const size_t sizes[] = {1, 100, 16383, 16384, 16385, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] * KINDS; i++) {
        const size_t size = sizes[i / KINDS];
        channel c = open_channel((enum kind)(i % KINDS));
        feeder f = {.descriptor = c.in, .bytes = size, .piece = size > 1000 ? 999 : 7, .seed = 3, .then_close = 1};
        memguard_stream stream = stream_make(i % 3 == 0 ? 0 : i % 3 == 1 ? 64 : 5000);
        uint64_t moved = 77;
        start_feeding(&f);
        CHECK_STATUS(memguard_stream_fill(stream, c.out, UINT64_MAX, &moved), MEMGUARD_OK);
        CHECK(moved == size && stream_bytes(stream) == size);
        CHECK(gives_pattern(stream, 0, size, 3));
        stop_feeding(&f);
        close_end(&c.out);
        stream_end(&stream);
    }
}

TEST(fill_stops_at_most_and_leaves_the_rest) {
    channel c = open_channel(PIPE);
    memguard_stream stream = stream_make(64);
    uint64_t moved = 0;
    unsigned char bytes[1000], left[1000];
    fill(bytes, sizeof bytes, 4);
    put_all(c.in, bytes, sizeof bytes);
    CHECK_STATUS(memguard_stream_fill(stream, c.out, 300, &moved), MEMGUARD_OK);
    CHECK(moved == 300 && stream_bytes(stream) == 300 && gives_pattern(stream, 0, 300, 4));
    CHECK(read(c.out, left, sizeof left) == 700 && memcmp(left, bytes + 300, 700) == 0);
    close_channel(&c), stream_end(&stream);
}

TEST(drain_tells_most_from_empty_from_the_end) {
    channel c = open_channel(NONBLOCKING_PIPE);
    memguard_stream stream = stream_make(100);
    uint64_t moved = 77;
    unsigned char bytes[1000];
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 10, &moved), MEMGUARD_ERR_EMPTY);
    CHECK(moved == 0);
    put_pattern(stream, 950, 5);
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 450, &moved), MEMGUARD_OK);
    CHECK(moved == 450 && read(c.out, bytes, sizeof bytes) == 450 && is_pattern(bytes, 450, 5));
    CHECK_STATUS(memguard_stream_drain(stream, c.in, UINT64_MAX, &moved), MEMGUARD_ERR_EMPTY);
    CHECK(moved == 500 && read(c.out, bytes, sizeof bytes) == 500);
    put_pattern(stream, 50, 6);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_drain(stream, c.in, UINT64_MAX, &moved), MEMGUARD_ERR_END);
    CHECK(moved == 50 && read(c.out, bytes, sizeof bytes) == 50 && is_pattern(bytes, 50, 6));
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 1, &moved), MEMGUARD_ERR_END);
    CHECK(moved == 0);
    close_channel(&c), stream_end(&stream);
}

TEST(drain_writes_to_descriptors_of_every_kind) {
    for (int kind = 0; kind < KINDS; kind++) {
        enum { SIZE = 400000 };
        channel c = open_channel((enum kind)kind);
        memguard_stream stream = stream_make(kind % 2 == 0 ? 0 : 1000);
        drainer d = {.descriptor = c.out, .room = SIZE + 1, .slowly = kind >= 2};
        uint64_t moved = 0;
        put_pattern(stream, SIZE, 5);
        CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
        start_draining(&d);
        CHECK_STATUS(memguard_stream_drain(stream, c.in, UINT64_MAX, &moved), MEMGUARD_ERR_END);
        CHECK(moved == SIZE);
        close_end(&c.in);
        CHECK(stop_draining(&d, SIZE, 5));
        close_channel(&c), stream_end(&stream);
    }
}

TEST(errors_of_descriptors_are_told_with_what_was_moved) {
    channel c = open_channel(PIPE), closed = open_channel(PIPE);
    memguard_stream stream = stream_make(100);
    uint64_t moved = 77;
    CHECK_STATUS(memguard_stream_fill(stream, -1, 10, &moved), MEMGUARD_ERR_IO);
    CHECK(moved == 0 && last_os_error() == EBADF);
    CHECK_STATUS(memguard_stream_fill(stream, c.in, 10, &moved), MEMGUARD_ERR_IO);
    put_pattern(stream, 250, 5);
    moved = 77;
    close_end(&closed.out);
    CHECK_STATUS(memguard_stream_drain(stream, closed.in, 1000, &moved), MEMGUARD_ERR_IO);
    CHECK(moved == 0 && last_os_error() == EPIPE);
    CHECK(stream_bytes(stream) == 150); /* the piece is lost, the rest is not */
    CHECK(gives_pattern(stream, 100, 150, 5));
    close_channel(&c), close_channel(&closed), stream_end(&stream);
}

TEST(bad_arguments_move_nothing) {
    channel c = open_channel(NONBLOCKING_PIPE);
    memguard_stream stream = stream_make(100), null = {0};
    uint64_t moved = 77;
    CHECK_STATUS(memguard_stream_fill(stream, c.out, 0, &moved), MEMGUARD_ERR_SIZE);
    CHECK(moved == 0);
    CHECK_STATUS(memguard_stream_fill(stream, c.out, 1, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 0, &moved), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 1, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_fill(null, c.out, 1, &moved), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_stream_drain(null, c.in, 1, &moved), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_fill(stream, c.out, 1, &moved), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_stream_drain(stream, c.in, 1, &moved), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    put_text(c.in, "late");
    CHECK_STATUS(memguard_stream_fill(stream, c.out, 9, &moved), MEMGUARD_ERR_STATE);
    CHECK(moved == 0);
    close_channel(&c), stream_end(&stream);
}

/* ---- fill in a thread ---------------------------------------------------------------------------------- */

typedef struct filling {
    memguard_stream stream;
    memguard_vault *vault; /* not null: a large secret instead */
    memguard_large large;
    int descriptor;
    uint64_t moved;
    memguard_status status;
    atomic_int thread;
    pthread_t id;
} filling;

static void *fill_in_thread(void *arg) {
    filling *f = arg;
    atomic_store(&f->thread, (int)syscall(SYS_gettid));
    if (f->vault != NULL)
        f->status = memguard_large_from_fd(f->vault, f->descriptor, 1 << 20, NULL, &f->large);
    else
        f->status = memguard_stream_fill(f->stream, f->descriptor, UINT64_MAX, &f->moved);
    return NULL;
}

static void start_filling(filling *f) { CHECK(pthread_create(&f->id, NULL, fill_in_thread, f) == 0); }
static void stop_filling(filling *f) { CHECK(pthread_join(f->id, NULL) == 0); }

TEST(a_pump_through_a_stream_keeps_order_beside_its_reader) {
    enum { SIZE = 3000000 };
    channel in = open_channel(PIPE), out = open_channel(SOCKET);
    memguard_stream stream = stream_make(4096);
    feeder f = {.descriptor = in.in, .bytes = SIZE, .piece = 5000, .seed = 8, .then_close = 1};
    drainer d = {.descriptor = out.out, .room = SIZE + 1};
    filling filler = {.stream = stream, .descriptor = in.out};
    uint64_t moved = 0, sum = 0;
    start_feeding(&f), start_draining(&d), start_filling(&filler);
    while (sum < SIZE) {
        CHECK_AMONG(memguard_stream_drain(stream, out.in, 100000, &moved), ANY_OF(OK) | ANY_OF(ERR_EMPTY));
        sum += moved;
        if (moved == 0) sched_yield();
    }
    stop_filling(&filler), stop_feeding(&f);
    CHECK_STATUS(filler.status, MEMGUARD_OK);
    CHECK(filler.moved == SIZE && sum == SIZE);
    close_end(&out.in);
    CHECK(stop_draining(&d, SIZE, 8));
    close_end(&in.out), close_end(&out.out), stream_end(&stream);
}

TEST(destroying_the_stream_ends_who_waits_to_fill_it) {
    channel c = open_channel(PIPE);
    filling f = {.stream = stream_make(0), .descriptor = c.out};
    memguard_stream stream = f.stream;
    put_text(c.in, "some");
    start_filling(&f);
    CHECK(wait_until_asleep(&f.thread));
    stream_end(&stream);
    stop_filling(&f);
    CHECK_STATUS(f.status, MEMGUARD_ERR_STALE);
    CHECK(f.moved == 4);
    close_channel(&c);
}

TEST(a_purge_ends_who_waits_to_fill) {
    for (int large = 0; large < 2; large++) {
        memguard_vault *own = vault_make(), *shared = vault;
        channel c = open_channel(SOCKET);
        vault = own;
        filling f = {.stream = stream_make(0), .vault = large ? own : NULL, .descriptor = c.out};
        put_text(c.in, "some");
        start_filling(&f);
        CHECK(wait_until_asleep(&f.thread));
        CHECK_STATUS(memguard_vault_purge(own, 3600000), MEMGUARD_OK);
        stop_filling(&f);
        CHECK_STATUS(f.status, MEMGUARD_ERR_STALE);
        CHECK(f.large.id == 0);
        vault_end(own);
        vault = shared;
        close_channel(&c);
    }
}

typedef struct emptying {
    memguard_stream stream;
    int descriptor;
    uint64_t moved;
    memguard_status status;
    atomic_int thread;
    pthread_t id;
} emptying;

static void *drain_in_thread(void *arg) {
    emptying *e = arg;
    atomic_store(&e->thread, (int)syscall(SYS_gettid));
    e->status = memguard_stream_drain(e->stream, e->descriptor, UINT64_MAX, &e->moved);
    return NULL;
}

TEST(a_purge_ends_a_drain_that_nobody_takes) {
    for (int kind = 0; kind < KINDS; kind++) {
        memguard_vault *own = vault_make(), *shared = vault;
        channel c = open_channel((enum kind)kind);
        vault = own;
        emptying e = {.stream = stream_make(1 << 20), .descriptor = c.in};
        drainer d = {.descriptor = c.out, .room = 4 << 20};
        put_pattern(e.stream, 1 << 20, 9);
        CHECK(pthread_create(&e.id, NULL, drain_in_thread, &e) == 0);
        CHECK(wait_until_asleep(&e.thread));
        CHECK_AMONG(memguard_vault_purge(own, 0), ANY_OF(ERR_REVOKED) | ANY_OF(OK));
        start_draining(&d);
        CHECK(pthread_join(e.id, NULL) == 0);
        CHECK_AMONG(e.status, ANY_OF(ERR_REVOKED) | ANY_OF(ERR_STALE));
        CHECK(e.moved == 0);
        close_end(&c.in);
        CHECK(!stop_draining(&d, 1 << 20, 9));
        vault_end(own);
        vault = shared;
        close_channel(&c);
    }
}

/* ---- large secrets ------------------------------------------------------------------------------------- */

static memguard_large large_from(size_t size, uint64_t most, uint32_t chunk_bytes, memguard_status expected) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_large large = {77};
    channel c = open_channel((enum kind)(size % KINDS));
    feeder f = {.descriptor = c.in, .bytes = size, .piece = 3001, .seed = 2, .then_close = 1};
    options.chunk_bytes = chunk_bytes;
    start_feeding(&f);
    CHECK_STATUS(memguard_large_from_fd(vault, c.out, most, &options, &large), expected);
    close_end(&c.out);
    stop_feeding(&f);
    CHECK((expected == MEMGUARD_OK) == (large.id != 0));
    return large;
}

static int large_gives(memguard_large large, size_t from, size_t size) {
    unsigned char *bytes = malloc(size);
    int right = memguard_large_read_at(large, from, bytes, size) == MEMGUARD_OK;
    for (size_t i = 0; i < size; i++) right = right && bytes[i] == pattern_byte(2, from + i);
    free(bytes);
    return right;
}

TEST(a_large_secret_comes_from_a_descriptor_whatever_its_size) {
    static const size_t sizes[] = {1, 99, 100, 101, 199, 200, 201, 12345, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t chunk_bytes = 0; chunk_bytes <= 5000; chunk_bytes += chunk_bytes == 0 ? 100 : 4900) {
            memguard_large large = large_from(sizes[i], sizes[i], chunk_bytes, MEMGUARD_OK);
            uint64_t bytes = 0;
            CHECK_STATUS(memguard_large_size(large, &bytes), MEMGUARD_OK);
            CHECK(bytes == sizes[i] && large_gives(large, 0, sizes[i]));
            CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
        }
    }
}

TEST(a_large_secret_has_its_limits) {
    (void)large_from(101, 100, 0, MEMGUARD_ERR_SIZE);
    (void)large_from(1000, 999, 100, MEMGUARD_ERR_SIZE);
    (void)large_from(0, 999, 100, MEMGUARD_ERR_EMPTY);
    (void)large_from(10, 0, 100, MEMGUARD_ERR_SIZE);
    (void)large_from(10, (uint64_t)MEMGUARD_SIZE_MAX + 1, 100, MEMGUARD_ERR_SIZE);
    (void)large_from(10, 10, 1, MEMGUARD_ERR_ARGUMENT);
    memguard_large large = {77};
    CHECK_STATUS(memguard_large_from_fd(vault, -1, 10, NULL, &large), MEMGUARD_ERR_IO);
    CHECK(large.id == 0 && last_os_error() == EBADF);
    CHECK_STATUS(memguard_large_from_fd(NULL, 0, 10, NULL, &large), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_from_fd(vault, 0, 10, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
}

TEST(any_range_of_a_large_secret_goes_to_a_descriptor) {
    enum { SIZE = 100000 };
    memguard_large large = large_from(SIZE, SIZE, 1000, MEMGUARD_OK);
    static const struct {
        uint64_t offset, bytes;
    } ranges[] = {{0, SIZE}, {0, 1}, {SIZE - 1, 1}, {999, 2}, {1000, 1000}, {500, 50000}, {77777, SIZE - 77777}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        channel c = open_channel((enum kind)(i % KINDS));
        drainer d = {.descriptor = c.out, .room = SIZE + 1};
        start_draining(&d);
        CHECK_STATUS(memguard_large_to_fd(large, ranges[i].offset, ranges[i].bytes, c.in), MEMGUARD_OK);
        close_end(&c.in);
        CHECK(pthread_join(d.thread, NULL) == 0);
        int right = d.got == ranges[i].bytes;
        for (size_t at = 0; right && at < d.got; at++) right = d.bytes[at] == pattern_byte(2, ranges[i].offset + at);
        CHECK(right);
        free(d.bytes), close_channel(&c);
    }
    static const struct {
        uint64_t offset, bytes;
    } bad[] = {{0, 0}, {0, SIZE + 1}, {SIZE, 1}, {UINT64_MAX, 2}, {1, UINT64_MAX}};
    channel c = open_channel(PIPE);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_STATUS(memguard_large_to_fd(large, bad[i].offset, bad[i].bytes, c.in), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_large_to_fd((memguard_large){0}, 0, 1, c.in), MEMGUARD_ERR_STALE);
    close_end(&c.out);
    CHECK_STATUS(memguard_large_to_fd(large, 0, SIZE, c.in), MEMGUARD_ERR_IO);
    CHECK(last_os_error() == EPIPE);
    CHECK(large_gives(large, 0, SIZE));
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    close_channel(&c);
}

/* ---- much of it ---------------------------------------------------------------------------------------- */

/* 32-bit words, each of which tells its place. */
static uint32_t word_at(uint64_t index) { return (uint32_t)(index * 2654435761U) ^ (uint32_t)(index >> 32); }

typedef struct flow {
    int descriptor;
    uint64_t bytes;
    int right;
    pthread_t thread;
} flow;

enum { BLOCK_WORDS = 16384 };

static void *feed_words(void *arg) {
    flow *f = arg;
    uint32_t *block = malloc(sizeof *block * BLOCK_WORDS);
    for (uint64_t at = 0; at < f->bytes / 4; at += BLOCK_WORDS) {
        for (uint64_t i = 0; i < BLOCK_WORDS; i++) block[i] = word_at(at + i);
        put_all(f->descriptor, block, sizeof *block * BLOCK_WORDS);
    }
    free(block);
    close_end(&f->descriptor);
    return NULL;
}

static void *drain_words(void *arg) {
    flow *f = arg;
    uint32_t *block = malloc(sizeof *block * BLOCK_WORDS);
    f->right = 1;
    for (uint64_t at = 0; at < f->bytes / 4; at += BLOCK_WORDS) {
        size_t got = 0;
        while (got < sizeof *block * BLOCK_WORDS) {
            const ssize_t piece = read(f->descriptor, (char *)block + got, sizeof *block * BLOCK_WORDS - got);
            if (piece <= 0) break;
            got += (size_t)piece;
        }
        for (uint64_t i = 0; i < BLOCK_WORDS; i++) f->right = f->right && block[i] == word_at(at + i);
    }
    free(block);
    return NULL;
}

/* Locked and protected memory of the process, in bytes. */
static uint64_t locked_bytes(void) { return report_of(vault).lock_in_use_bytes; }

static void check_random_places(memguard_large large, uint64_t bytes) {
    uint64_t place = 12345;
    for (int i = 0; i < 2000; i++) {
        uint32_t words[64];
        place = place * 6364136223846793005U + 1442695040888963407U;
        const uint64_t index = (place >> 20) % (bytes / 4 - 64);
        int right = memguard_large_read_at(large, index * 4, words, sizeof words) == MEMGUARD_OK;
        for (uint64_t j = 0; j < 64; j++) right = right && words[j] == word_at(index + j);
        if (!CHECK(right)) return;
    }
}

/* From a descriptor, read at random places, to a descriptor, with no more than a few chunks of plaintext at any time. */
static void move_much(uint64_t bytes) {
    channel in = open_channel(PIPE), out = open_channel(PIPE);
    flow feeding = {.descriptor = in.in, .bytes = bytes}, draining = {.descriptor = out.out, .bytes = bytes};
    memguard_large large = {0};
    const uint64_t before = locked_bytes();
    CHECK(pthread_create(&feeding.thread, NULL, feed_words, &feeding) == 0);
    CHECK_STATUS(memguard_large_from_fd(vault, in.out, bytes, NULL, &large), MEMGUARD_OK);
    CHECK(pthread_join(feeding.thread, NULL) == 0);
    check_random_places(large, bytes);
    CHECK(pthread_create(&draining.thread, NULL, drain_words, &draining) == 0);
    CHECK_STATUS(memguard_large_to_fd(large, 0, bytes, out.in), MEMGUARD_OK);
    CHECK(pthread_join(draining.thread, NULL) == 0);
    CHECK(draining.right);
    CHECK(locked_bytes() - before < 16 * 16384);
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    close_end(&in.out), close_channel(&out);
}

/* 1 GiB, where that is quick and there is room for it. */
static uint64_t how_much(void) {
    unsigned long long kilobytes = 0;
    char line[128];
    FILE *memory = fopen("/proc/meminfo", "r");
    while (memory != NULL && fgets(line, sizeof line, memory) != NULL)
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1) break;
    if (memory != NULL) fclose(memory);
#ifdef __OPTIMIZE__
    if (!CHECK_SANITIZED && kilobytes >= 4ULL << 20) return 1ULL << 30;
#endif
    return CHECK_SANITIZED ? 4ULL << 20 : 64ULL << 20;
}

TEST(much_is_moved_with_a_chunk_of_plaintext_at_a_time) {
    const uint64_t bytes = how_much();
    printf("%llu MiB\n", (unsigned long long)(bytes >> 20));
    move_much(bytes);
}

/* ---- the FILE face ------------------------------------------------------------------------------------- */

TEST(what_is_written_to_one_face_comes_out_of_the_other) {
    enum { SIZE = 100000 };
    memguard_stream stream = stream_make(1000);
    FILE *in = NULL, *out = NULL;
    unsigned char *bytes = malloc(SIZE), *back = malloc(SIZE);
    char line[100];
    fill(bytes, SIZE, 3);
    CHECK_STATUS(memguard_stream_open_file(stream, "w", &in), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_open_file(stream, "r", &out), MEMGUARD_OK);
    CHECK(fwrite(bytes, 1, SIZE, in) == SIZE && fprintf(in, "line %d\nanother\n", 7) == 15);
    CHECK(stream_bytes(stream) == SIZE + 15); /* no buffer in between */
    CHECK(fread(back, 1, SIZE, out) == SIZE && memcmp(back, bytes, SIZE) == 0);
    CHECK(fgets(line, sizeof line, out) != NULL && strcmp(line, "line 7\n") == 0);
    CHECK(stream_bytes(stream) == 8);
    CHECK(fgets(line, sizeof line, out) != NULL && strcmp(line, "another\n") == 0);
    errno = 0;
    CHECK(getc(out) == EOF && ferror(out) && errno == EAGAIN);
    clearerr(out);
    CHECK(fputs("x", in) >= 0 && getc(out) == 'x');
    CHECK(fclose(in) == 0);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK); /* closing a face had not */
    CHECK(getc(out) == EOF && feof(out) && !ferror(out));
    CHECK(fclose(out) == 0);
    free(bytes), free(back), stream_end(&stream);
}

TEST(a_face_outlives_its_stream_and_says_so) {
    memguard_stream stream = stream_make(0);
    FILE *in = NULL, *out = NULL;
    CHECK_STATUS(memguard_stream_open_file(stream, "w", &in), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_open_file(stream, "r", &out), MEMGUARD_OK);
    stream_end(&stream);
    errno = 0;
    CHECK(fwrite("abc", 1, 3, in) == 0 && ferror(in) && errno == EBADF);
    CHECK(getc(out) == EOF && ferror(out));
    CHECK(fclose(in) == 0 && fclose(out) == 0);
}

TEST(faces_of_nothing_are_refused) {
    memguard_stream stream = stream_make(0), null = {0};
    FILE *file = stdout;
    CHECK_STATUS(memguard_stream_open_file(stream, "rw", &file), MEMGUARD_ERR_ARGUMENT);
    CHECK(file == NULL);
    CHECK_STATUS(memguard_stream_open_file(stream, "a", &file), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_open_file(stream, NULL, &file), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_open_file(stream, "r", NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_open_file(null, "r", &file), MEMGUARD_ERR_STALE);
    stream_end(&stream);
}

int main(void) {
    vault = vault_make();
    RUN(fill_moves_all_that_comes_from_descriptors_of_every_kind);
    RUN(fill_stops_at_most_and_leaves_the_rest);
    RUN(drain_tells_most_from_empty_from_the_end);
    RUN(drain_writes_to_descriptors_of_every_kind);
    RUN(errors_of_descriptors_are_told_with_what_was_moved);
    RUN(bad_arguments_move_nothing);
    RUN(a_pump_through_a_stream_keeps_order_beside_its_reader);
    RUN(destroying_the_stream_ends_who_waits_to_fill_it);
    RUN(a_purge_ends_who_waits_to_fill);
    RUN(a_purge_ends_a_drain_that_nobody_takes);
    RUN(a_large_secret_comes_from_a_descriptor_whatever_its_size);
    RUN(a_large_secret_has_its_limits);
    RUN(any_range_of_a_large_secret_goes_to_a_descriptor);
    RUN(much_is_moved_with_a_chunk_of_plaintext_at_a_time);
    RUN(what_is_written_to_one_face_comes_out_of_the_other);
    RUN(a_face_outlives_its_stream_and_says_so);
    RUN(faces_of_nothing_are_refused);
    vault_end(vault);
    return check_end();
}
