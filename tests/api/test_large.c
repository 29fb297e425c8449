/* Large secrets as a user sees them: an array of bytes that is compared with a plain one, whatever is written where; sizes, states, foreign and
 * stale handles, locked, purged and forked vaults, functions of the host that hold bytes. */
#include "support.h"

#include "memguard/stream.h"

enum { MODEL = 300000 };

/* What the large secret must hold. */
struct model {
    memguard_large large;
    unsigned char *bytes;
    size_t size;
    uint32_t random;
};

static memguard_large make(memguard_vault *vault, uint64_t bytes, uint32_t chunk_bytes) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_large large = {0};
    options.chunk_bytes = chunk_bytes;
    CHECK_STATUS(memguard_large_create(vault, bytes, &options, &large), MEMGUARD_OK);
    return large;
}

static struct model begin(memguard_vault *vault, size_t bytes, uint32_t chunk_bytes) {
    struct model model = {make(vault, bytes, chunk_bytes), calloc(1, MODEL), bytes, 1};
    CHECK(model.bytes != NULL);
    return model;
}

static void end(struct model *model) {
    CHECK_STATUS(memguard_large_destroy(&model->large), MEMGUARD_OK);
    free(model->bytes);
}

static uint32_t draw(struct model *model, size_t below) {
    model->random = model->random * 1664525U + 1013904223U;
    return (uint32_t)((model->random >> 8) % below);
}

static int is_right(struct model *model, size_t offset, size_t bytes) {
    static unsigned char buffer[MODEL];
    return CHECK_STATUS(memguard_large_read_at(model->large, offset, buffer, bytes), MEMGUARD_OK) &&
           CHECK(memcmp(buffer, model->bytes + offset, bytes) == 0);
}

static void write_random(struct model *model, size_t offset, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) model->bytes[offset + i] = (unsigned char)draw(model, 256);
    CHECK_STATUS(memguard_large_write_at(model->large, offset, model->bytes + offset, bytes), MEMGUARD_OK);
}

static void resize(struct model *model, size_t bytes) {
    CHECK_STATUS(memguard_large_resize(model->large, bytes), MEMGUARD_OK);
    if (bytes < model->size) memset(model->bytes + bytes, 0, model->size - bytes);
    model->size = bytes;
    uint64_t told = 0;
    CHECK_STATUS(memguard_large_size(model->large, &told), MEMGUARD_OK);
    CHECK(told == bytes);
}

static void check_model(uint32_t flags, uint32_t chunk_bytes, size_t size, unsigned rounds) {
    memguard_vault *vault = vault_with_flags(flags);
    struct model model = begin(vault, size, chunk_bytes);
    is_right(&model, 0, size); /* zeros */
    for (unsigned round = 0; round < rounds; round++) {
        const size_t offset = draw(&model, model.size), most = model.size - offset;
        const size_t bytes = 1 + draw(&model, round % 3 == 0 ? most : (most < 100 ? most : 100));
        if (round % 2 == 0) write_random(&model, offset, bytes);
        if (!is_right(&model, draw(&model, offset + 1), bytes)) break;
        if (round % 16 == 15) resize(&model, 1 + draw(&model, MODEL));
    }
    is_right(&model, 0, model.size);
    end(&model);
    vault_end(vault);
}

TEST(bytes_are_those_of_an_array_whatever_is_written_where) {
    check_model(0, 64, 5000, 400);
    check_model(0, 1000, 100000, 400);
    check_model(0, 0, MODEL, 400);
    check_model(0, 1 << 20, MODEL, 100);
    check_model(0, 16384, 1, 100);
}

TEST(the_same_in_a_strict_vault_and_without_a_thread) {
    check_model(MEMGUARD_STRICT, 1000, 50000, 100);
    check_model(MEMGUARD_NO_THREAD, 4096, 50000, 100);
}

TEST(sizes_that_end_in_a_chunk_and_at_its_end) {
    memguard_vault *vault = vault_make();
    static const size_t sizes[] = {1, 255, 256, 257, 511, 512, 513};
    for (size_t i = 0; i < 7; i++) {
        struct model model = begin(vault, sizes[i], 256);
        write_random(&model, 0, sizes[i]);
        is_right(&model, 0, sizes[i]);
        for (size_t k = 0; k < 7; k++) {
            resize(&model, sizes[k]); /* bytes that come back are zero */
            is_right(&model, 0, sizes[k]);
            write_random(&model, sizes[k] - 1, 1);
        }
        is_right(&model, 0, model.size);
        end(&model);
    }
    vault_end(vault);
}

TEST(source_is_left_alone) {
    memguard_vault *vault = vault_make();
    memguard_large large = make(vault, 1000, 256);
    unsigned char source[700];
    fill(source, sizeof source, 3);
    CHECK_STATUS(memguard_large_write_at(large, 100, source, sizeof source), MEMGUARD_OK);
    CHECK(is_pattern(source, sizeof source, 3));
    vault_end(vault);
}

TEST(one_gibibyte_of_zeros_takes_next_to_no_memory) {
    memguard_vault *vault = vault_make();
    const uint64_t size = (uint64_t)1 << 30, before = status_bytes("VmRSS:");
    memguard_large large = make(vault, size, 0);
    unsigned char byte = 9;
    CHECK_STATUS(memguard_large_read_at(large, size - 1, &byte, 1), MEMGUARD_OK);
    CHECK(byte == 0);
    byte = 7;
    CHECK_STATUS(memguard_large_write_at(large, size / 2, &byte, 1), MEMGUARD_OK);
    byte = 0;
    CHECK_STATUS(memguard_large_read_at(large, size / 2, &byte, 1), MEMGUARD_OK);
    CHECK(byte == 7);
    CHECK(CHECK_SANITIZED || status_bytes("VmRSS:") - before < (8 << 20));
    vault_end(vault);
}

/* ---- use, each ---- */

struct look {
    const unsigned char *expected;
    size_t size;
    int right;
};

static int look(const void *bytes, size_t size, void *arg) {
    struct look *look = arg;
    look->right = size == look->size && memcmp(bytes, look->expected, size) == 0 && (CHECK_SANITIZED || ends_at_guard(bytes, size));
    return 11;
}

static void check_use(memguard_vault *vault, uint32_t chunk_bytes) {
    struct model model = begin(vault, 40000, chunk_bytes);
    write_random(&model, 0, 40000);
    for (unsigned i = 0; i < 60; i++) {
        const size_t bytes = 1 + draw(&model, chunk_bytes), offset = draw(&model, 40000 - bytes + 1);
        struct look seen = {model.bytes + offset, bytes, 0};
        int result = 0;
        CHECK_STATUS(memguard_large_use_at(model.large, offset, bytes, look, &seen, &result), MEMGUARD_OK);
        CHECK(result == 11 && seen.right);
    }
    CHECK_STATUS(memguard_large_use_at(model.large, 0, chunk_bytes + 1, look, NULL, NULL), MEMGUARD_ERR_SIZE);
    end(&model);
}

TEST(use_at_shows_any_range_of_up_to_a_chunk_at_a_guard) {
    memguard_vault *vault = vault_make();
    check_use(vault, 1000);
    check_use(vault, 16384);
    vault_end(vault);
}

struct walk {
    struct model *model;
    size_t at, stop;
    int right;
};

static int step(uint64_t offset, const void *bytes, size_t size, void *arg) {
    struct walk *walk = arg;
    walk->right = walk->right && offset == walk->at && memcmp(bytes, walk->model->bytes + walk->at, size) == 0;
    walk->at += size;
    return walk->at >= walk->stop ? 77 : 0;
}

TEST(each_visits_all_chunks_in_order_until_told_to_stop) {
    memguard_vault *vault = vault_make();
    struct model model = begin(vault, 10500, 1000);
    struct walk walk = {&model, 0, SIZE_MAX, 1};
    int result = 5;
    write_random(&model, 500, 9000);
    CHECK_STATUS(memguard_large_each(model.large, step, &walk, &result), MEMGUARD_OK);
    CHECK(walk.at == 10500 && walk.right && result == 0);
    walk = (struct walk){&model, 0, 2500, 1};
    CHECK_STATUS(memguard_large_each(model.large, step, &walk, &result), MEMGUARD_OK);
    CHECK(walk.at == 3000 && walk.right && result == 77);
    end(&model);
    vault_end(vault);
}

/* ---- arguments and handles ---- */

TEST(arguments_are_checked) {
    memguard_vault *vault = vault_make();
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_large large = {7};
    unsigned char bytes[16] = {0};
    CHECK_STATUS(memguard_large_create(vault, 0, NULL, &large), MEMGUARD_ERR_SIZE);
    CHECK(large.id == 0);
    CHECK_STATUS(memguard_large_create(vault, (uint64_t)MEMGUARD_SIZE_MAX + 1, NULL, &large), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_large_create(vault, UINT64_MAX, NULL, &large), MEMGUARD_ERR_SIZE);
    options.chunk_bytes = 64;
    CHECK_STATUS(memguard_large_create(vault, (uint64_t)1 << 39, &options, &large), MEMGUARD_ERR_SIZE); /* 2^33 chunks */
    options.chunk_bytes = 63;
    CHECK_STATUS(memguard_large_create(vault, 100, &options, &large), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_create(NULL, 100, NULL, &large), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_create(vault, 100, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_create(vault, 100, NULL, &large), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_read_at(large, 0, NULL, 1), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_write_at(large, 0, NULL, 1), MEMGUARD_ERR_ARGUMENT);
    static const struct {
        uint64_t offset;
        size_t bytes;
    } bad[] = {{0, 0}, {100, 1}, {95, 6}, {101, 1}, {UINT64_MAX, 1}, {UINT64_MAX - 3, 8}, {1, SIZE_MAX}, {0, 101}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(memguard_large_read_at(large, bad[i].offset, bytes, bad[i].bytes), MEMGUARD_ERR_SIZE);
        CHECK_STATUS(memguard_large_write_at(large, bad[i].offset, bytes, bad[i].bytes), MEMGUARD_ERR_SIZE);
        CHECK_STATUS(memguard_large_use_at(large, bad[i].offset, bad[i].bytes, show_nothing, NULL, NULL), MEMGUARD_ERR_SIZE);
    }
    CHECK_STATUS(memguard_large_use_at(large, 0, 1, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_each(large, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_size(large, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_chunk_bytes(large, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_large_resize(large, 0), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_large_resize(large, UINT64_MAX), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_large_destroy(NULL), MEMGUARD_ERR_ARGUMENT);
    size_t chunk_bytes = 0;
    CHECK_STATUS(memguard_large_chunk_bytes(large, &chunk_bytes), MEMGUARD_OK);
    CHECK(chunk_bytes == 16384);
    vault_end(vault);
}

static int no_step(uint64_t offset, const void *bytes, size_t size, void *arg) {
    (void)offset, (void)bytes, (void)size, (void)arg;
    CHECK(0 && "nothing may be shown");
    return 1;
}

static void check_all_are(memguard_large large, memguard_status expected) {
    unsigned char byte = 1;
    uint64_t bytes = 1;
    size_t chunk_bytes = 1;
    const memguard_status figures = expected == MEMGUARD_ERR_LOCKED ? MEMGUARD_OK : expected;
    CHECK_STATUS(memguard_large_read_at(large, 0, &byte, 1), expected);
    CHECK(byte == 1);
    CHECK_STATUS(memguard_large_write_at(large, 0, &byte, 1), expected);
    CHECK_STATUS(memguard_large_use_at(large, 0, 1, show_nothing, NULL, NULL), expected);
    CHECK_STATUS(memguard_large_each(large, no_step, NULL, NULL), expected);
    CHECK_STATUS(memguard_large_resize(large, 5), expected);
    CHECK_STATUS(memguard_large_size(large, &bytes), figures);
    CHECK_STATUS(memguard_large_chunk_bytes(large, &chunk_bytes), figures);
    if (figures != MEMGUARD_OK) {
        CHECK(bytes == 0 && chunk_bytes == 0);
        CHECK_STATUS(memguard_large_destroy(&large), expected);
    }
}

TEST(stale_and_foreign_handles_are_refused) {
    memguard_vault *vault = vault_make();
    memguard_large large = make(vault, 100, 0), copy = large;
    memguard_secret secret = secret_make(vault, 32, 0, 1), as_secret = {large.id};
    memguard_stream stream = {0}, as_stream = {large.id};
    uint64_t bytes = 0;
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    check_all_are((memguard_large){secret.id}, MEMGUARD_ERR_STALE);
    check_all_are((memguard_large){stream.id}, MEMGUARD_ERR_STALE);
    check_all_are((memguard_large){0}, MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_use(as_secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_destroy(&as_secret), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_stream_write(as_stream, "a", 1), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_stream_destroy(&as_stream), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_large_size(large, &bytes), MEMGUARD_OK);
    CHECK(bytes == 100);
    const memguard_report report = report_of(vault);
    CHECK(report.larges == 1 && report.large_bytes == 100 && report.streams == 1 && report.secrets[MEMGUARD_SEALED] == 1);
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    CHECK(large.id == 0);
    check_all_are(copy, MEMGUARD_ERR_STALE);
    vault_end(vault);
}

/* ---- locked, purged, destroyed, forked ---- */

TEST(locked_vault_refuses_and_unlock_brings_everything_back) {
    memguard_vault *vault = vault_make();
    struct model model = begin(vault, 50000, 1000);
    write_random(&model, 0, 50000);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    check_all_are(model.large, MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    is_right(&model, 0, 50000);
    write_random(&model, 100, 3000);
    is_right(&model, 0, 50000);
    end(&model);
    vault_end(vault);
}

struct holder {
    memguard_large large;
    memguard_vault *vault;
    size_t bytes;
    atomic_int holds, go_on;
    memguard_status status;
    const void *shown;
};

static int hold(const void *bytes, size_t size, void *arg) {
    struct holder *holder = arg;
    (void)size;
    holder->shown = bytes;
    atomic_store(&holder->holds, 1);
    CHECK(wait_for(&holder->go_on, 1));
    return 0;
}

static void *hold_in_thread(void *arg) {
    struct holder *holder = arg;
    holder->status = memguard_large_use_at(holder->large, 0, holder->bytes, hold, holder, NULL);
    return NULL;
}

static void check_revoked(size_t bytes) {
    memguard_vault *vault = vault_make();
    pthread_t thread;
    struct model model = begin(vault, 50000, 16384);
    write_random(&model, 0, 50000);
    struct holder holder = {.large = model.large, .bytes = bytes};
    CHECK(pthread_create(&thread, NULL, hold_in_thread, &holder) == 0);
    CHECK(wait_for(&holder.holds, 1));
    is_right(&model, 0, 50000); /* others go on meanwhile */
    write_random(&model, 0, 20000);
    CHECK_STATUS(memguard_vault_purge(vault, 10), MEMGUARD_ERR_REVOKED);
    CHECK(can_read(holder.shown) == 0);
    check_all_are(model.large, MEMGUARD_ERR_STALE);
    atomic_store(&holder.go_on, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(holder.status, MEMGUARD_ERR_REVOKED);
    free(model.bytes);
    check_use(vault, 16384);
    vault_end(vault);
}

TEST(purge_takes_shown_bytes_away_from_a_thread_that_does_not_return) {
    check_revoked(100);
    check_revoked(16384);
}

static int end_inside(uint64_t offset, const void *bytes, size_t size, void *arg) {
    struct holder *holder = arg;
    memguard_large copy = holder->large;
    (void)offset, (void)bytes, (void)size;
    CHECK_STATUS(memguard_large_destroy(&copy), MEMGUARD_OK);
    return 0;
}

TEST(destroy_from_inside_a_walk_ends_it) {
    memguard_vault *vault = vault_make();
    struct holder holder = {.large = make(vault, 50000, 1000)};
    CHECK_STATUS(memguard_large_each(holder.large, end_inside, &holder, NULL), MEMGUARD_ERR_STALE);
    check_all_are(holder.large, MEMGUARD_ERR_STALE);
    CHECK(report_of(vault).larges == 0);
    vault_end(vault);
}

TEST(child_of_a_fork_is_refused) {
    memguard_vault *vault = vault_make();
    memguard_large large = make(vault, 1000, 0);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        atomic_store(&check_bad, 0);
        memguard_large other = {0};
        check_all_are(large, MEMGUARD_ERR_FORKED);
        CHECK_STATUS(memguard_large_create(vault, 1, NULL, &other), MEMGUARD_ERR_FORKED);
        _exit(atomic_load(&check_bad) != 0);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && check_exited(status, 0));
    vault_end(vault);
}

/* 64 KiB of lockable memory: objects far larger than that. */
static int in_small_memory(void *unused) {
    (void)unused;
    if (drop_memlock(65536) != 0) return 1;
    memguard_vault *vault = vault_make();
    struct model model = begin(vault, 200000, 0);
    memguard_stream stream = {0};
    size_t got = 0;
    write_random(&model, 0, 200000);
    for (unsigned i = 0; i < 20; i++) write_random(&model, draw(&model, 199000), 1000);
    is_right(&model, 0, 200000);
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    for (size_t at = 0; at < 200000; at += 1000)
        CHECK_STATUS(memguard_stream_write(stream, model.bytes + at, 1000), MEMGUARD_OK);
    for (size_t at = 0; at < 200000; at += got) {
        unsigned char buffer[777];
        if (!CHECK_STATUS(memguard_stream_read(stream, buffer, sizeof buffer, &got), MEMGUARD_OK)) break;
        CHECK(memcmp(buffer, model.bytes + at, got) == 0);
    }
    end(&model);
    vault_end(vault);
    return 0;
}

TEST(objects_larger_than_all_lockable_memory) {
    if (CHECK_SANITIZED) SKIP("sanitizers make mlock do nothing");
    CHECK(check_exited(check_child(in_small_memory, NULL), 0));
}

int main(void) {
    RUN(objects_larger_than_all_lockable_memory); /* first: it forks */
    RUN(bytes_are_those_of_an_array_whatever_is_written_where);
    RUN(the_same_in_a_strict_vault_and_without_a_thread);
    RUN(sizes_that_end_in_a_chunk_and_at_its_end);
    RUN(source_is_left_alone);
    RUN(one_gibibyte_of_zeros_takes_next_to_no_memory);
    RUN(use_at_shows_any_range_of_up_to_a_chunk_at_a_guard);
    RUN(each_visits_all_chunks_in_order_until_told_to_stop);
    RUN(arguments_are_checked);
    RUN(stale_and_foreign_handles_are_refused);
    RUN(locked_vault_refuses_and_unlock_brings_everything_back);
    RUN(purge_takes_shown_bytes_away_from_a_thread_that_does_not_return);
    RUN(destroy_from_inside_a_walk_ends_it);
    RUN(child_of_a_fork_is_refused);
    return check_end();
}
