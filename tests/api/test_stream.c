/* Streams as a user sees them: what goes in comes out, in order and once; sizes, states, foreign and stale handles, locked, purged and
 * forked vaults, functions of the host that hold bytes. */
#include "support.h"

#include "memguard/stream.h"

enum { CHUNK = 256, MOST = 100000 };

static memguard_stream make(memguard_vault *vault, uint32_t chunk_bytes) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_stream stream = {0};
    options.chunk_bytes = chunk_bytes;
    CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_OK);
    CHECK(stream.id != 0);
    return stream;
}

static uint64_t size_of(memguard_stream stream) {
    uint64_t bytes = UINT64_MAX;
    CHECK_STATUS(memguard_stream_size(stream, &bytes), MEMGUARD_OK);
    return bytes;
}

/* The bytes of one long pattern: what is written next, what is read next. */
struct flow {
    memguard_stream stream;
    size_t written, read;
};

static int put(struct flow *flow, size_t bytes) {
    static unsigned char source[MOST];
    for (size_t i = 0; i < bytes; i++) source[i] = pattern_byte(5, flow->written + i);
    flow->written += bytes;
    return CHECK_STATUS(memguard_stream_write(flow->stream, source, bytes), MEMGUARD_OK);
}

static int continues(const unsigned char *bytes, size_t size, size_t at) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern_byte(5, at + i)) return 0;
    return 1;
}

static size_t get(struct flow *flow, size_t bytes) {
    static unsigned char buffer[MOST];
    size_t got = 0;
    const memguard_status status = memguard_stream_read(flow->stream, buffer, bytes, &got);
    CHECK_STATUS(status, flow->written == flow->read ? MEMGUARD_ERR_EMPTY : MEMGUARD_OK);
    CHECK((status == MEMGUARD_OK) == (got != 0));
    CHECK(continues(buffer, got, flow->read));
    flow->read += got;
    return got;
}

static void check_flow(uint32_t flags, uint32_t chunk_bytes) {
    static const size_t sizes[] = {1, 7, 255, 256, 257, 1000, 3, 16384, 20000, 1, 513, 70000};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    memguard_vault *vault = vault_with_flags(flags);
    struct flow flow = {make(vault, chunk_bytes), 0, 0};
    for (size_t round = 0; round < 40; round++) {
        put(&flow, sizes[round % SIZES]);
        CHECK(size_of(flow.stream) == flow.written - flow.read);
        const size_t wanted = sizes[(round * 5 + 3) % SIZES], there = flow.written - flow.read;
        CHECK(get(&flow, wanted) == (wanted < there ? wanted : there)); /* as many as are there */
    }
    while (flow.read < flow.written) CHECK(get(&flow, 999) != 0);
    CHECK(get(&flow, 1) == 0 && size_of(flow.stream) == 0);
    CHECK_STATUS(memguard_stream_destroy(&flow.stream), MEMGUARD_OK);
    vault_end(vault);
}

TEST(bytes_come_out_in_order_whatever_the_sizes) {
    check_flow(0, 0);
    check_flow(0, 64);
    check_flow(0, CHUNK);
    check_flow(0, 1 << 20);
}

TEST(bytes_come_out_in_order_in_a_strict_vault_and_without_a_thread) {
    check_flow(MEMGUARD_STRICT, CHUNK);
    check_flow(MEMGUARD_NO_THREAD, 0);
}

TEST(source_is_left_alone_and_what_was_written_is_there_at_once) {
    memguard_vault *vault = vault_make();
    memguard_stream stream = make(vault, CHUNK);
    unsigned char source[10], buffer[10];
    size_t got = 0;
    fill(source, sizeof source, 1);
    CHECK_STATUS(memguard_stream_write(stream, source, sizeof source), MEMGUARD_OK);
    CHECK(is_pattern(source, sizeof source, 1));
    CHECK_STATUS(memguard_stream_read(stream, buffer, sizeof buffer, &got), MEMGUARD_OK);
    CHECK(got == sizeof source && is_pattern(buffer, got, 1));
    vault_end(vault);
}

/* ---- the end ---- */

static memguard_status read_one(memguard_stream stream) {
    unsigned char byte = 0;
    size_t got = 7;
    const memguard_status status = memguard_stream_read(stream, &byte, 1, &got);
    CHECK(got == (status == MEMGUARD_OK ? 1 : 0));
    return status;
}

TEST(end_is_told_after_finish_only_and_for_ever) {
    memguard_vault *vault = vault_make();
    memguard_stream stream = make(vault, CHUNK);
    CHECK_STATUS(read_one(stream), MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_stream_write(stream, "ab", 2), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(stream, "c", 1), MEMGUARD_ERR_STATE);
    CHECK(size_of(stream) == 2);
    CHECK_STATUS(read_one(stream), MEMGUARD_OK);
    CHECK_STATUS(read_one(stream), MEMGUARD_OK);
    CHECK_STATUS(read_one(stream), MEMGUARD_ERR_END);
    CHECK_STATUS(read_one(stream), MEMGUARD_ERR_END);
    CHECK_STATUS(memguard_stream_use(stream, 1, show_nothing, NULL, NULL), MEMGUARD_ERR_END);
    memguard_secret secret = {1};
    CHECK_STATUS(memguard_stream_next(stream, 0, &secret), MEMGUARD_ERR_END);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_stream_write(stream, "c", 1), MEMGUARD_ERR_STATE);
    vault_end(vault);
}

TEST(end_of_an_empty_stream_and_of_one_of_whole_chunks) {
    memguard_vault *vault = vault_make();
    static unsigned char buffer[4 * CHUNK];
    size_t got = 0;
    memguard_stream empty = make(vault, CHUNK);
    CHECK_STATUS(memguard_stream_finish(empty), MEMGUARD_OK);
    CHECK_STATUS(read_one(empty), MEMGUARD_ERR_END);
    struct flow flow = {make(vault, CHUNK), 0, 0};
    put(&flow, 2 * CHUNK);
    CHECK_STATUS(memguard_stream_finish(flow.stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_read(flow.stream, buffer, sizeof buffer, &got), MEMGUARD_OK);
    CHECK(got == 2 * CHUNK && continues(buffer, got, 0));
    CHECK_STATUS(read_one(flow.stream), MEMGUARD_ERR_END);
    vault_end(vault);
}

/* ---- next, use, flush ---- */

TEST(next_gives_chunks_as_secrets_and_the_rest_of_one_that_was_begun) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};
    put(&flow, 4 * CHUNK + 50);
    get(&flow, 100);
    for (size_t i = 0; i < 5; i++) {
        const size_t size = i == 0 ? CHUNK - 100 : i == 4 ? 50 : CHUNK;
        unsigned char expected[CHUNK];
        memguard_secret secret = {0};
        for (size_t k = 0; k < size; k++) expected[k] = pattern_byte(5, flow.read + k);
        CHECK_STATUS(memguard_stream_next(flow.stream, rests[i % 4], &secret), MEMGUARD_OK);
        CHECK(holds(secret, expected, size));
        memguard_info info = MEMGUARD_INFO_INIT;
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.rest == rests[i % 4] && info.bytes == size);
        flow.read += size;
        CHECK(size_of(flow.stream) == flow.written - flow.read);
    }
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_stream_next(flow.stream, 0, &secret), MEMGUARD_ERR_EMPTY);
    vault_end(vault);
}

struct look {
    struct flow *flow;
    size_t size;
    int right, guarded;
};

static int look(const void *bytes, size_t size, void *arg) {
    struct look *look = arg;
    look->size = size;
    look->right = continues(bytes, size, look->flow->read);
    look->guarded = CHECK_SANITIZED || ends_at_guard(bytes, size);
    return 42;
}

static void check_use(memguard_vault *vault, uint32_t chunk_bytes, size_t bytes, size_t most) {
    struct flow flow = {make(vault, chunk_bytes), 0, 0};
    put(&flow, bytes);
    while (flow.read < flow.written) {
        struct look seen = {&flow, 0, 0, 0};
        const size_t in_chunk = chunk_bytes - flow.read % chunk_bytes, left = flow.written - flow.read;
        size_t expected = most < in_chunk ? most : in_chunk;
        if (expected > left) expected = left;
        int result = 0;
        if (!CHECK_STATUS(memguard_stream_use(flow.stream, most, look, &seen, &result), MEMGUARD_OK)) break;
        CHECK(result == 42 && seen.right && seen.guarded && seen.size == expected);
        flow.read += seen.size;
    }
    CHECK_STATUS(memguard_stream_use(flow.stream, most, look, NULL, NULL), MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_stream_destroy(&flow.stream), MEMGUARD_OK);
}

TEST(use_shows_and_consumes_bytes_of_one_chunk_at_a_guard) {
    memguard_vault *vault = vault_make();
    check_use(vault, 256, 2000, 100);
    check_use(vault, 16384, 50000, 50000); /* longer than a page */
    check_use(vault, 16384, 50000, 5000);
    check_use(vault, 4096, 9000, 4096);
    vault_end(vault);
}

static int read_inside(const void *bytes, size_t size, void *arg) {
    struct flow *flow = arg;
    CHECK(continues(bytes, size, 0));
    flow->read = size;
    CHECK(get(flow, 10) == 10);
    CHECK_STATUS(memguard_stream_write(flow->stream, "x", 1), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_flush(flow->stream), MEMGUARD_OK);
    return 0;
}

TEST(function_shown_bytes_may_use_the_stream) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    put(&flow, 1000);
    CHECK_STATUS(memguard_stream_use(flow.stream, 50, read_inside, &flow, NULL), MEMGUARD_OK);
    CHECK(size_of(flow.stream) == 1000 - 50 - 10 + 1);
    vault_end(vault);
}

TEST(flush_changes_nothing_that_can_be_read) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    CHECK_STATUS(memguard_stream_flush(flow.stream), MEMGUARD_OK);
    for (size_t i = 0; i < 20; i++) {
        put(&flow, 100);
        CHECK_STATUS(memguard_stream_flush(flow.stream), MEMGUARD_OK);
        get(&flow, 30);
        CHECK_STATUS(memguard_stream_flush(flow.stream), MEMGUARD_OK);
    }
    while (flow.read < flow.written) get(&flow, 77);
    vault_end(vault);
}

/* ---- arguments and handles ---- */

TEST(arguments_are_checked) {
    memguard_vault *vault = vault_make();
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_stream stream = {7};
    static const uint32_t bad[] = {1, 63, (1 << 20) + 1, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        options.chunk_bytes = bad[i];
        CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_ERR_ARGUMENT);
        CHECK(stream.id == 0);
    }
    options.chunk_bytes = 0;
    options.reserved = 1;
    CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_ERR_ARGUMENT);
    options.reserved = 0;
    options.size = 1;
    CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_create(NULL, NULL, &stream), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_create(vault, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_create((memguard_vault *)(void *)&options, NULL, &stream), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    char byte = 'a';
    size_t got = 0;
    CHECK_STATUS(memguard_stream_write(stream, NULL, 1), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_write(stream, &byte, 0), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_stream_write(stream, &byte, MEMGUARD_SIZE_MAX + 1), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_stream_write(stream, &byte, 1), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_read(stream, NULL, 1, &got), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_read(stream, &byte, 1, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_read(stream, &byte, 0, &got), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_stream_next(stream, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    memguard_secret secret = {1};
    CHECK_STATUS(memguard_stream_next(stream, 1U << 20, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_stream_use(stream, 1, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_use(stream, 0, show_nothing, NULL, NULL), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_stream_size(stream, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_stream_destroy(NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK(size_of(stream) == 1); /* none of it changed anything */
    vault_end(vault);
}

static void check_all_are(memguard_stream stream, memguard_status expected) {
    unsigned char byte = 1;
    size_t got = 1;
    uint64_t bytes = 1;
    memguard_secret secret = {1};
    CHECK_STATUS(memguard_stream_write(stream, &byte, 1), expected);
    CHECK_STATUS(memguard_stream_read(stream, &byte, 1, &got), expected);
    CHECK(got == 0 && byte == 1);
    CHECK_STATUS(memguard_stream_next(stream, 0, &secret), expected);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_stream_use(stream, 1, show_nothing, NULL, NULL), expected);
    CHECK_STATUS(memguard_stream_flush(stream), expected);
    CHECK_STATUS(memguard_stream_finish(stream), expected);
    if (expected == MEMGUARD_ERR_LOCKED) {
        CHECK_STATUS(memguard_stream_size(stream, &bytes), MEMGUARD_OK);
        return;
    }
    CHECK_STATUS(memguard_stream_size(stream, &bytes), expected);
    CHECK(bytes == 0);
    CHECK_STATUS(memguard_stream_destroy(&stream), expected);
}

TEST(null_dead_and_made_up_handles_are_stale) {
    memguard_vault *vault = vault_make();
    memguard_stream stream = make(vault, 0), copy = stream;
    CHECK_STATUS(memguard_stream_write(stream, "abc", 3), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    CHECK(stream.id == 0);
    check_all_are(stream, MEMGUARD_ERR_STALE);
    check_all_are(copy, MEMGUARD_ERR_STALE);
    check_all_are((memguard_stream){UINT64_MAX}, MEMGUARD_ERR_STALE);
    vault_end(vault);
}

TEST(handles_of_other_kinds_are_stale_here_and_streams_are_elsewhere) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, 32, 0, 1);
    memguard_scope scope = {0};
    memguard_large large = {0};
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_create(vault, 100, NULL, &large), MEMGUARD_OK);
    check_all_are((memguard_stream){secret.id}, MEMGUARD_ERR_STALE);
    check_all_are((memguard_stream){scope.id}, MEMGUARD_ERR_STALE);
    check_all_are((memguard_stream){large.id}, MEMGUARD_ERR_STALE);
    memguard_stream stream = make(vault, 0);
    const memguard_secret as_secret = {stream.id};
    memguard_secret copy = as_secret;
    memguard_scope as_scope = {stream.id};
    memguard_view view;
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    CHECK_STATUS(memguard_secret_use(as_secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_acquire(as_secret, MEMGUARD_READ, &view), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_acquire(as_secret, MEMGUARD_WRITE, &view), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_rest(as_secret, MEMGUARD_CLOSED), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_limit(as_secret, &limits), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_ERR_STALE);
    CHECK_STATUS(life(as_secret), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_scope_destroy(&as_scope), MEMGUARD_ERR_STALE);
    CHECK(size_of(stream) == 0 && holds_pattern(secret, 32, 1));
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    vault_end(vault);
}

TEST(report_counts_streams_apart_from_secrets) {
    memguard_vault *vault = vault_make();
    memguard_stream stream = make(vault, 0), other = make(vault, 0);
    memguard_secret secret = secret_make(vault, 32, 0, 1);
    CHECK_STATUS(memguard_stream_write(stream, "abcd", 4), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(other, "abcd", 3), MEMGUARD_OK);
    memguard_report report = report_of(vault);
    CHECK(report.streams == 2 && report.stream_bytes == 7 && report.secrets[MEMGUARD_SEALED] == 1);
    CHECK(report.secret_bytes[MEMGUARD_SEALED] == 32 && report.larges == 0);
    CHECK_STATUS(memguard_stream_destroy(&other), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    report = report_of(vault);
    CHECK(report.streams == 1 && report.stream_bytes == 4 && report.secrets[MEMGUARD_SEALED] == 0);
    vault_end(vault);
}

/* ---- locked, purged, destroyed, forked ---- */

TEST(locked_vault_refuses_and_unlock_brings_everything_back) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    put(&flow, 1000);
    get(&flow, 300);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    check_all_are(flow.stream, MEMGUARD_ERR_LOCKED);
    CHECK(size_of(flow.stream) == 700);
    memguard_stream other = {1};
    CHECK_STATUS(memguard_stream_create(vault, NULL, &other), MEMGUARD_ERR_LOCKED);
    CHECK(other.id == 0);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    put(&flow, 500);
    while (flow.read < flow.written) get(&flow, 90);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_destroy(&flow.stream), MEMGUARD_OK);
    vault_end(vault);
}

TEST(purge_ends_streams_and_the_vault_makes_new_ones) {
    memguard_vault *vault = vault_make(), *bystander = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0}, other = {make(bystander, CHUNK), 0, 0};
    put(&flow, 1000);
    put(&other, 1000);
    get(&flow, 10);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    check_all_are(flow.stream, MEMGUARD_ERR_STALE);
    flow = (struct flow){make(vault, CHUNK), 0, 0};
    put(&flow, 1000);
    while (flow.read < flow.written) get(&flow, 300);
    while (other.read < other.written) get(&other, 300);
    vault_end(vault);
    check_all_are(flow.stream, MEMGUARD_ERR_STALE);
    vault_end(bystander);
}

struct holder {
    memguard_stream stream;
    memguard_vault *vault;
    size_t most;
    atomic_int holds, go_on, done;
    memguard_status status;
    const volatile unsigned char *bytes;
};

static int hold(const void *bytes, size_t size, void *arg) {
    struct holder *holder = arg;
    (void)size;
    holder->bytes = bytes;
    atomic_store(&holder->holds, 1);
    CHECK(wait_for(&holder->go_on, 1));
    return 0;
}

static void *hold_in_thread(void *arg) {
    struct holder *holder = arg;
    holder->status = memguard_stream_use(holder->stream, holder->most, hold, holder, NULL);
    atomic_store(&holder->done, 1);
    return NULL;
}

/* A thread holds bytes of the stream, shown in a use page or, longer, in a region of their own. */
static void check_revoked(uint32_t backend, size_t most) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    pthread_t thread;
    options.backend = backend;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    struct flow flow = {make(vault, 0), 0, 0};
    struct holder holder = {.stream = flow.stream, .vault = vault, .most = most};
    put(&flow, 50000);
    CHECK(pthread_create(&thread, NULL, hold_in_thread, &holder) == 0);
    CHECK(wait_for(&holder.holds, 1));
    CHECK(can_read((const void *)holder.bytes) == 1);
    CHECK_STATUS(memguard_vault_destroy(&(memguard_vault *){vault}), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_ERR_BUSY);
    CHECK(report_of(vault).borrows == 1);
    CHECK_STATUS(memguard_vault_purge(vault, 20), MEMGUARD_ERR_REVOKED);
    CHECK(can_read((const void *)holder.bytes) == 0); /* taken away, while the function runs on */
    check_all_are(flow.stream, MEMGUARD_ERR_STALE);
    CHECK(report_of(vault).revoked == 1 && report_of(vault).streams == 0);
    atomic_store(&holder.go_on, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(holder.status, MEMGUARD_ERR_REVOKED);
    flow = (struct flow){make(vault, 0), 0, 0};
    check_use(vault, 16384, 40000, most);
    vault_end(vault);
}

TEST(purge_takes_shown_bytes_away_from_a_thread_that_does_not_return) {
    check_revoked(MEMGUARD_BACKEND_AUTO, 100);
    check_revoked(MEMGUARD_BACKEND_AUTO, 16384);
    check_revoked(MEMGUARD_BACKEND_LOCKED, 100);
    check_revoked(MEMGUARD_BACKEND_LOCKED, 16384);
}

TEST(purge_waits_for_a_function_that_returns_in_time) {
    memguard_vault *vault = vault_make();
    pthread_t thread;
    struct flow flow = {make(vault, 0), 0, 0};
    struct holder holder = {.stream = flow.stream, .most = 9000};
    put(&flow, 20000);
    CHECK(pthread_create(&thread, NULL, hold_in_thread, &holder) == 0);
    CHECK(wait_for(&holder.holds, 1));
    atomic_store(&holder.go_on, 1);
    CHECK_STATUS(memguard_vault_purge(vault, 10000), MEMGUARD_OK);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(holder.status, MEMGUARD_OK);
    vault_end(vault);
}

static int purge_inside(const void *bytes, size_t size, void *arg) {
    struct holder *holder = arg;
    (void)size;
    holder->bytes = bytes;
    CHECK_STATUS(memguard_vault_purge(holder->vault, 0), MEMGUARD_OK);
    CHECK(can_read(bytes) == 1); /* one's own borrow: done when it ends */
    check_all_are(holder->stream, MEMGUARD_ERR_STALE);
    return 3;
}

TEST(purge_from_inside_is_done_when_the_function_returns) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, 0), 0, 0};
    struct holder holder = {.stream = flow.stream, .vault = vault};
    int result = 0;
    put(&flow, 40000);
    get(&flow, 10);
    CHECK_STATUS(memguard_stream_use(flow.stream, 16384, purge_inside, &holder, &result), MEMGUARD_OK);
    CHECK(result == 3 && report_of(vault).purges == 1 && report_of(vault).streams == 0);
    memguard_stream stream = make(vault, 0);
    CHECK_STATUS(memguard_stream_write(stream, "a", 1), MEMGUARD_OK);
    vault_end(vault);
}

static int destroy_inside(const void *bytes, size_t size, void *arg) {
    struct flow *flow = arg;
    memguard_stream stream = flow->stream;
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    CHECK(continues(bytes, size, flow->read)); /* it takes effect when this ends */
    check_all_are(flow->stream, MEMGUARD_ERR_STALE);
    return 0;
}

TEST(destroy_takes_effect_when_the_function_shown_bytes_returns) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    put(&flow, 1000);
    flow.read = get(&flow, 10);
    CHECK_STATUS(memguard_stream_use(flow.stream, 100, destroy_inside, &flow, NULL), MEMGUARD_OK);
    check_all_are(flow.stream, MEMGUARD_ERR_STALE);
    CHECK(report_of(vault).streams == 0);
    vault_end(vault);
}

TEST(child_of_a_fork_is_refused_and_the_parent_goes_on) {
    memguard_vault *vault = vault_make();
    struct flow flow = {make(vault, CHUNK), 0, 0};
    put(&flow, 1000);
    get(&flow, 10);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        atomic_store(&check_bad, 0);
        memguard_stream other = {0};
        check_all_are(flow.stream, MEMGUARD_ERR_FORKED);
        CHECK_STATUS(memguard_stream_create(vault, NULL, &other), MEMGUARD_ERR_FORKED);
        _exit(atomic_load(&check_bad) != 0);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && check_exited(status, 0));
    while (flow.read < flow.written) get(&flow, 300);
    vault_end(vault);
}

TEST(ten_thousand_streams_fit_next_to_the_default_limit) {
    memguard_vault *vault = vault_make();
    enum { STREAMS = 10000 };
    static memguard_stream streams[STREAMS];
    for (size_t i = 0; i < STREAMS; i++) streams[i] = make(vault, 64);
    for (size_t i = 0; i < STREAMS; i++) CHECK_STATUS(memguard_stream_write(streams[i], &i, sizeof i), MEMGUARD_OK);
    for (size_t i = 0; i < STREAMS; i++) {
        size_t value = 0, got = 0;
        CHECK_STATUS(memguard_stream_read(streams[i], &value, sizeof value, &got), MEMGUARD_OK);
        CHECK(got == sizeof value && value == i);
    }
    vault_end(vault);
}

int main(void) {
    RUN(bytes_come_out_in_order_whatever_the_sizes);
    RUN(bytes_come_out_in_order_in_a_strict_vault_and_without_a_thread);
    RUN(source_is_left_alone_and_what_was_written_is_there_at_once);
    RUN(end_is_told_after_finish_only_and_for_ever);
    RUN(end_of_an_empty_stream_and_of_one_of_whole_chunks);
    RUN(next_gives_chunks_as_secrets_and_the_rest_of_one_that_was_begun);
    RUN(use_shows_and_consumes_bytes_of_one_chunk_at_a_guard);
    RUN(function_shown_bytes_may_use_the_stream);
    RUN(flush_changes_nothing_that_can_be_read);
    RUN(arguments_are_checked);
    RUN(null_dead_and_made_up_handles_are_stale);
    RUN(handles_of_other_kinds_are_stale_here_and_streams_are_elsewhere);
    RUN(report_counts_streams_apart_from_secrets);
    RUN(locked_vault_refuses_and_unlock_brings_everything_back);
    RUN(purge_ends_streams_and_the_vault_makes_new_ones);
    RUN(purge_takes_shown_bytes_away_from_a_thread_that_does_not_return);
    RUN(purge_waits_for_a_function_that_returns_in_time);
    RUN(purge_from_inside_is_done_when_the_function_returns);
    RUN(destroy_takes_effect_when_the_function_shown_bytes_returns);
    RUN(child_of_a_fork_is_refused_and_the_parent_goes_on);
    RUN(ten_thousand_streams_fit_next_to_the_default_limit);
    return check_end();
}
