/* Streams and large secrets under many threads: every byte once, a write stays together, nothing is lost to locking, flushing, leases or purges. */
#include "support.h"

#include "memguard/stream.h"

enum { WRITERS = 4, READERS = 4, RECORDS = CHECK_SANITIZED ? 2000 : 10000, MOST_BATCH = 100, CHUNK = 256 };

/* Chunks hold whole records, and so does every operation. */
struct record {
    uint32_t writer, number, batch, left; /* left: records of the same write that follow */
};

struct traffic {
    memguard_vault *vault;
    memguard_stream stream;
    atomic_int writers_left, next_writer;
    atomic_uchar seen[WRITERS][RECORDS];
    atomic_size_t read;
};
static struct traffic traffic;

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* The vault is locked for moments: whoever is refused then comes again. */
static int is_refusal(memguard_status status) { return status == MEMGUARD_ERR_LOCKED || status == MEMGUARD_ERR_BUSY; }

static void *write_records(void *unused) {
    const uint32_t writer = (uint32_t)atomic_fetch_add(&traffic.next_writer, 1);
    struct record batch[MOST_BATCH];
    uint32_t random = writer + 1, number = 0;
    (void)unused;
    for (uint32_t id = 0; number < RECORDS; id++) {
        uint32_t count = 1 + next_random(&random) % (id % 4 == 0 ? MOST_BATCH : 5);
        if (count > RECORDS - number) count = RECORDS - number;
        for (uint32_t i = 0; i < count; i++) batch[i] = (struct record){writer, number + i, id, count - 1 - i};
        memguard_status status = MEMGUARD_OK;
        do {
            status = memguard_stream_write(traffic.stream, batch, count * sizeof *batch);
        } while (is_refusal(status));
        CHECK_STATUS(status, MEMGUARD_OK);
        number += count;
    }
    atomic_fetch_sub(&traffic.writers_left, 1);
    return NULL;
}

static int note_records(const void *bytes, size_t size, void *unused) {
    const struct record *records = bytes;
    (void)unused;
    CHECK(size % sizeof *records == 0);
    for (size_t i = 0; i < size / sizeof *records; i++) {
        struct record record;
        memcpy(&record, records + i, sizeof record);
        if (!CHECK(record.writer < WRITERS && record.number < RECORDS)) return 0;
        CHECK(atomic_fetch_add(&traffic.seen[record.writer][record.number], 1) == 0);
    }
    atomic_fetch_add(&traffic.read, size / sizeof *records);
    return 0;
}

static memguard_status take_some(uint32_t kind, size_t records) {
    struct record buffer[MOST_BATCH];
    memguard_secret secret = {0};
    size_t got = 0;
    memguard_status status = MEMGUARD_OK;
    if (kind < 4) {
        status = memguard_stream_read(traffic.stream, buffer, records * sizeof *buffer, &got);
        if (got != 0) note_records(buffer, got, NULL);
    } else if (kind < 7) {
        status = memguard_stream_use(traffic.stream, records * sizeof *buffer, note_records, NULL, NULL);
    } else {
        do {
            status = memguard_stream_next(traffic.stream, 0, &secret);
        } while (is_refusal(status));
        if (status != MEMGUARD_OK) return status;
        memguard_status used = MEMGUARD_OK;
        do {
            used = memguard_secret_use(secret, note_records, NULL, NULL);
        } while (is_refusal(used));
        CHECK_STATUS(used, MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    }
    return status;
}

static void *read_records(void *unused) {
    uint32_t random = 99;
    (void)unused;
    for (;;) {
        const memguard_status status = take_some(next_random(&random) % 8, 1 + next_random(&random) % MOST_BATCH);
        if (status == MEMGUARD_ERR_END) return NULL;
        if (status == MEMGUARD_ERR_EMPTY) sched_yield();
        if (status != MEMGUARD_OK && status != MEMGUARD_ERR_EMPTY && !is_refusal(status)) {
            CHECK_STATUS(status, MEMGUARD_OK);
            return NULL;
        }
    }
}

static void begin_traffic(uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_stream_options stream_options = MEMGUARD_STREAM_OPTIONS_INIT;
    options.flags = flags;
    options.lease_us = 200; /* so that it ends often */
    stream_options.chunk_bytes = CHUNK;
    memset(&traffic, 0, sizeof traffic);
    atomic_store(&traffic.writers_left, WRITERS);
    CHECK_STATUS(memguard_vault_create(&options, &traffic.vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_create(traffic.vault, &stream_options, &traffic.stream), MEMGUARD_OK);
}

static void end_traffic(void) {
    CHECK(atomic_load(&traffic.read) == (size_t)WRITERS * RECORDS);
    for (size_t i = 0; i < WRITERS; i++)
        for (size_t k = 0; k < RECORDS; k++)
            if (!CHECK(atomic_load(&traffic.seen[i][k]) == 1)) return;
    vault_end(traffic.vault);
}

static void lock_for_a_moment(void) {
    const memguard_status status = memguard_vault_lock(traffic.vault, right_kek);
    CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_BUSY));
    if (status == MEMGUARD_OK) CHECK_STATUS(memguard_vault_unlock(traffic.vault, right_kek), MEMGUARD_OK);
}

static void check_traffic(uint32_t flags, int locks) {
    pthread_t writers[WRITERS], readers[READERS];
    begin_traffic(flags);
    for (size_t i = 0; i < WRITERS; i++) CHECK(pthread_create(&writers[i], NULL, write_records, NULL) == 0);
    for (size_t i = 0; i < READERS; i++) CHECK(pthread_create(&readers[i], NULL, read_records, NULL) == 0);
    while (atomic_load(&traffic.writers_left) != 0) {
        if (locks) lock_for_a_moment();
        CHECK_AMONG(memguard_stream_flush(traffic.stream), ANY_OF(OK));
        sleep_ms(1);
    }
    for (size_t i = 0; i < WRITERS; i++) CHECK(pthread_join(writers[i], NULL) == 0);
    CHECK_STATUS(memguard_stream_finish(traffic.stream), MEMGUARD_OK);
    for (size_t i = 0; i < READERS; i++) CHECK(pthread_join(readers[i], NULL) == 0);
    end_traffic();
}

TEST(every_byte_once_with_four_writers_and_four_readers) { check_traffic(0, 0); }
TEST(every_byte_once_in_a_strict_vault) { check_traffic(MEMGUARD_STRICT, 0); }
TEST(every_byte_once_while_the_vault_is_locked_and_unlocked) { check_traffic(0, 1); }

/* One reader sees the order: the records of a write follow one another, and those of a writer come in order. */
TEST(writes_of_many_writers_stay_together) {
    pthread_t writers[WRITERS];
    struct record record, last = {.left = 0};
    uint32_t next[WRITERS] = {0};
    begin_traffic(0);
    for (size_t i = 0; i < WRITERS; i++) CHECK(pthread_create(&writers[i], NULL, write_records, NULL) == 0);
    for (size_t n = 0; n < (size_t)WRITERS * RECORDS;) {
        size_t got = 0;
        const memguard_status status = memguard_stream_read(traffic.stream, &record, sizeof record, &got);
        if (status == MEMGUARD_ERR_EMPTY) {
            CHECK(last.left == 0); /* all of a write is there or none */
            sched_yield();
            continue;
        }
        if (!CHECK_STATUS(status, MEMGUARD_OK) || !CHECK(got == sizeof record && record.writer < WRITERS)) break;
        if (last.left != 0) CHECK(record.writer == last.writer && record.batch == last.batch && record.left == last.left - 1);
        CHECK(record.number == next[record.writer]++);
        last = record;
        n++;
    }
    for (size_t i = 0; i < WRITERS; i++) CHECK(pthread_join(writers[i], NULL) == 0);
    vault_end(traffic.vault);
}

/* ---- purges and destroys in the middle ---- */

struct target {
    memguard_vault *vault;
    _Atomic uint64_t stream, large;
    atomic_int stop;
};
static struct target target;

static int linger(const void *bytes, size_t size, void *arg) {
    volatile unsigned char sum = 0;
    (void)arg;
    for (size_t i = 0; i < size; i++) sum = (unsigned char)(sum + ((const unsigned char *)bytes)[i]);
    return 0;
}

static void *work_at_target(void *seed) {
    uint32_t random = (uint32_t)(uintptr_t)seed;
    static const uint32_t allowed = ANY_OF(OK) | ANY_OF(ERR_STALE) | ANY_OF(ERR_EMPTY) | ANY_OF(ERR_REVOKED);
    unsigned char buffer[3000];
    while (atomic_load(&target.stop) == 0) {
        memguard_stream stream = {atomic_load(&target.stream)};
        memguard_large large = {atomic_load(&target.large)};
        memguard_secret secret = {0};
        size_t got = 0;
        const size_t bytes = 1 + next_random(&random) % sizeof buffer;
        memset(buffer, 1, sizeof buffer);
        switch (next_random(&random) % 9) {
        case 0: CHECK_AMONG(memguard_stream_read(stream, buffer, bytes, &got), allowed); break;
        case 1: CHECK_AMONG(memguard_stream_use(stream, bytes, linger, NULL, NULL), allowed); break;
        case 2: CHECK_AMONG(memguard_stream_next(stream, 0, &secret), allowed); break;
        case 3: CHECK_AMONG(memguard_stream_flush(stream), allowed); break;
        case 4: CHECK_AMONG(memguard_large_read_at(large, 5000, buffer, bytes), allowed); break;
        case 5: CHECK_AMONG(memguard_large_write_at(large, 7000, buffer, bytes), allowed); break;
        case 6: CHECK_AMONG(memguard_large_use_at(large, 6000, bytes, linger, NULL, NULL), allowed); break;
        default: CHECK_AMONG(memguard_stream_write(stream, buffer, bytes), allowed); break;
        }
    }
    return NULL;
}

static void renew(void) {
    memguard_stream stream = {0};
    memguard_large large = {0};
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    options.chunk_bytes = 4000; /* shown partly in use pages, partly in regions where a page is short of it */
    CHECK_STATUS(memguard_stream_create(target.vault, NULL, &stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_create(target.vault, 100000, &options, &large), MEMGUARD_OK);
    atomic_store(&target.stream, stream.id);
    atomic_store(&target.large, large.id);
}

TEST(purges_and_destroys_in_the_middle_of_everything) {
    pthread_t threads[6];
    target.vault = vault_make();
    renew();
    for (uintptr_t i = 0; i < 6; i++) CHECK(pthread_create(&threads[i], NULL, work_at_target, (void *)(i + 1)) == 0);
    for (int round = 0; round < 60; round++) {
        sleep_ms(5);
        if (round % 2 == 0) {
            CHECK_AMONG(memguard_vault_purge(target.vault, 60000), ANY_OF(OK));
            const memguard_report report = report_of(target.vault);
            CHECK(report.streams == 0 && report.larges == 0);
        } else {
            memguard_stream stream = {atomic_load(&target.stream)};
            memguard_large large = {atomic_load(&target.large)};
            CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
            CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
        }
        renew();
    }
    atomic_store(&target.stop, 1);
    for (size_t i = 0; i < 6; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    vault_end(target.vault);
}

/* ---- large secrets ---- */

enum { STAMP = 100, STAMPS = 50, ROUNDS = CHECK_SANITIZED ? 500 : 3000 };
static memguard_large shared;

/* Stamps lie across chunks; each is written and read as a whole. */
static void *stamp(void *seed) {
    uint32_t random = (uint32_t)(uintptr_t)seed;
    unsigned char bytes[STAMP];
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t at = (uint64_t)STAMP * (next_random(&random) % STAMPS);
        if (i % 2 == 0) {
            memset(bytes, (int)(next_random(&random) & 0xff), sizeof bytes);
            CHECK_STATUS(memguard_large_write_at(shared, at, bytes, sizeof bytes), MEMGUARD_OK);
        } else {
            CHECK_STATUS(memguard_large_read_at(shared, at, bytes, sizeof bytes), MEMGUARD_OK);
            CHECK(memcmp(bytes, bytes + 1, sizeof bytes - 1) == 0);
        }
    }
    return NULL;
}

TEST(writes_to_a_large_secret_are_seen_whole) {
    memguard_vault *vault = vault_make();
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    pthread_t threads[4];
    options.chunk_bytes = 64;
    CHECK_STATUS(memguard_large_create(vault, STAMP * STAMPS, &options, &shared), MEMGUARD_OK);
    for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, stamp, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    vault_end(vault);
}

int main(void) {
    RUN(every_byte_once_with_four_writers_and_four_readers);
    RUN(every_byte_once_in_a_strict_vault);
    RUN(every_byte_once_while_the_vault_is_locked_and_unlocked);
    RUN(writes_of_many_writers_stay_together);
    RUN(purges_and_destroys_in_the_middle_of_everything);
    RUN(writes_to_a_large_secret_are_seen_whole);
    return check_end();
}
