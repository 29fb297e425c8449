/* Streams from inside: chunks that were changed, swapped, repeated, left out or cut off; nonces; failures in the middle; the lease of open chunks. */
#include "chunks.h"

#include "core/stream.c"

enum { CHUNK = 256, MOST = 8192 };

static memguard_stream make(memguard_vault *vault) {
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    memguard_stream stream = {0};
    options.chunk_bytes = CHUNK;
    CHECK_STATUS(memguard_stream_create(vault, &options, &stream), MEMGUARD_OK);
    return stream;
}

static struct stream *inside(memguard_stream stream) { return stream_of(chunked_of(stream.id)); }

static void put(memguard_stream stream, size_t bytes, size_t at) {
    static unsigned char source[MOST];
    for (size_t i = 0; i < bytes; i++) source[i] = pattern_byte(5, at + i);
    CHECK_STATUS(memguard_stream_write(stream, source, bytes), MEMGUARD_OK);
}

static memguard_status get(memguard_stream stream, size_t bytes, size_t at, size_t *got) {
    static unsigned char buffer[MOST];
    memset(buffer, 0, sizeof buffer);
    const memguard_status status = memguard_stream_read(stream, buffer, bytes, got);
    for (size_t i = 0; i < *got; i++)
        if (!CHECK(buffer[i] == pattern_byte(5, at + i))) break;
    CHECK(is_all(buffer + *got, sizeof buffer - *got, 0)); /* nothing of what did not open */
    return status;
}

static void check_rest(memguard_stream stream, size_t at, size_t end, memguard_status last) {
    size_t got = 0;
    for (; at < end; at += got)
        if (!CHECK_STATUS(get(stream, 100, at, &got), MEMGUARD_OK)) return;
    CHECK_STATUS(get(stream, 100, at, &got), last);
}

static int show_none(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    CHECK(0 && "nothing may be shown");
    return 0;
}

/* Every way of reading answers AUTH, again and again, and counts; the stream does not move. */
static void check_refused(memguard_vault *vault, memguard_stream stream) {
    const uint64_t before = report_of(vault).auth_failures;
    uint64_t size = 0, again = 0;
    size_t got = 0;
    memguard_secret secret = {1};
    CHECK_STATUS(memguard_stream_size(stream, &size), MEMGUARD_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(get(stream, MOST, 0, &got), MEMGUARD_ERR_AUTH);
        CHECK_STATUS(get(stream, 1, 0, &got), MEMGUARD_ERR_AUTH);
        CHECK_STATUS(memguard_stream_use(stream, MOST, show_none, NULL, NULL), MEMGUARD_ERR_AUTH);
        CHECK_STATUS(memguard_stream_use(stream, 1, show_none, NULL, NULL), MEMGUARD_ERR_AUTH);
        CHECK_STATUS(memguard_stream_next(stream, 0, &secret), MEMGUARD_ERR_AUTH);
        CHECK(secret.id == 0);
    }
    CHECK_STATUS(memguard_stream_size(stream, &again), MEMGUARD_OK);
    CHECK(size == again && report_of(vault).auth_failures == before + 10);
    CHECK(inside(stream)->base.windows[MG_READING].used == 0);
}

/* ---- chunks that are not what they should be ---- */

TEST(chunk_with_any_byte_changed_does_not_open_and_is_kept) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    put(stream, 3 * CHUNK, 0);
    unsigned char *sealed = inside(stream)->head->sealed;
    for (size_t i = 0; i < CHUNK + MG_TAG_BYTES; i += 9) {
        sealed[i] ^= 0x10;
        check_refused(vault, stream);
        sealed[i] ^= 0x10;
    }
    check_rest(stream, 0, 3 * CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(bytes_before_a_changed_chunk_are_given_first) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    size_t got = 0;
    put(stream, 3 * CHUNK, 0);
    inside(stream)->head->next->sealed[0] ^= 1;
    CHECK_STATUS(get(stream, MOST, 0, &got), MEMGUARD_OK);
    CHECK(got == CHUNK);
    check_refused(vault, stream);
    inside(stream)->head->sealed[0] ^= 1;
    check_rest(stream, CHUNK, 3 * CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(chunk_read_in_part_and_changed_then_does_not_open_again) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    size_t got = 0;
    put(stream, CHUNK, 0);
    CHECK_STATUS(get(stream, 100, 0, &got), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_OK); /* the copy is wiped */
    inside(stream)->head->sealed[30] ^= 1;
    check_refused(vault, stream);
    inside(stream)->head->sealed[30] ^= 1;
    check_rest(stream, 100, CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static void swap_first_two(struct stream *stream) {
    struct link *first = stream->head, *second = first->next;
    first->next = second->next;
    second->next = first;
    stream->head = second;
    if (stream->tail == second) stream->tail = first;
}

TEST(swapped_chunks_do_not_open) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    put(stream, 3 * CHUNK, 0);
    swap_first_two(inside(stream));
    check_refused(vault, stream);
    swap_first_two(inside(stream));
    check_rest(stream, 0, 3 * CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(left_out_chunk_is_noticed) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    put(stream, 3 * CHUNK, 0);
    struct link *first = inside(stream)->head;
    inside(stream)->head = first->next;
    check_refused(vault, stream);
    inside(stream)->head = first;
    check_rest(stream, 0, 3 * CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static void exchange_sealed(struct link *a, struct link *b) {
    unsigned char sealed[CHUNK + MG_TAG_BYTES];
    memcpy(sealed, a->sealed, sizeof sealed);
    memcpy(a->sealed, b->sealed, sizeof sealed);
    memcpy(b->sealed, sealed, sizeof sealed);
}

TEST(chunk_repeated_or_of_another_stream_does_not_open) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault), other = make(vault);
    unsigned char sealed[CHUNK + MG_TAG_BYTES], right[CHUNK + MG_TAG_BYTES];
    size_t got = 0;
    put(stream, 2 * CHUNK, 0);
    put(other, 2 * CHUNK, 0);
    exchange_sealed(inside(stream)->head, inside(other)->head); /* the same place, the same bytes */
    check_refused(vault, stream);
    check_refused(vault, other);
    exchange_sealed(inside(stream)->head, inside(other)->head);
    memcpy(sealed, inside(stream)->head->sealed, sizeof sealed);
    CHECK_STATUS(get(stream, CHUNK, 0, &got), MEMGUARD_OK);
    memcpy(right, inside(stream)->head->sealed, sizeof right);
    memcpy(inside(stream)->head->sealed, sealed, sizeof sealed);
    check_refused(vault, stream);
    memcpy(inside(stream)->head->sealed, right, sizeof right);
    check_rest(stream, CHUNK, 2 * CHUNK, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- the end ---- */

TEST(stream_cut_off_at_its_end_is_not_a_shorter_one) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    for (size_t bytes = 2 * CHUNK; bytes <= 2 * CHUNK + 10; bytes += 10) {
        memguard_stream stream = make(vault);
        size_t got = 0;
        put(stream, bytes, 0);
        CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
        struct stream *s = inside(stream);
        struct link *second = s->head->next, *last = s->tail;
        if (!CHECK(second != NULL && second->next == last && last->last)) return;
        second->next = NULL; /* without the last chunk */
        CHECK_STATUS(get(stream, 2 * CHUNK, 0, &got), MEMGUARD_OK);
        CHECK(got == 2 * CHUNK);
        check_refused(vault, stream);
        s->head = s->tail = last;
        check_rest(stream, 2 * CHUNK, bytes, MEMGUARD_ERR_END);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(mark_of_the_last_chunk_cannot_be_forged_or_taken_off) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    put(stream, 2 * CHUNK, 0);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    struct stream *s = inside(stream);
    s->head->last = true;
    check_refused(vault, stream);
    s->head->last = false;
    check_rest(stream, 0, CHUNK, MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    stream = make(vault);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    inside(stream)->head->last = false;
    size_t got = 0;
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_ERR_AUTH);
    inside(stream)->head->last = true;
    inside(stream)->head->sealed[3] ^= 1;
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_ERR_AUTH);
    inside(stream)->head->sealed[3] ^= 1;
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_ERR_END);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- numbers and prefixes ---- */

TEST(chunks_of_several_prefixes_and_key_shares_open) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = make(vault);
    size_t at = 0;
    for (; at < 20 * CHUNK; at += CHUNK) {
        put(stream, CHUNK, at);
        CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK);
        if (at % (3 * CHUNK) == 0) sleep_ms(3); /* a new lease, which has the new prefix */
        if (at % (5 * CHUNK) == 0) CHECK_STATUS(rekey_now(&mg__vault_find(vault)->coffer), MEMGUARD_OK);
    }
    CHECK(inside(stream)->head->prefix != inside(stream)->tail->prefix);
    check_rest(stream, 0, at, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static void work_at_random(memguard_vault *vault) {
    memguard_stream stream = make(vault);
    uint32_t random = 1;
    size_t written = 0, read = 0, got = 0;
    for (unsigned i = 0; i < 4000; i++) {
        random = random * 1664525U + 1013904223U;
        const size_t bytes = 1 + (random >> 10) % (i % 7 == 0 ? 2000 : 90);
        if ((random >> 28) < 8) {
            put(stream, bytes, written);
            written += bytes;
        } else if ((random >> 28) == 8) {
            CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_OK);
        } else if (get(stream, bytes, read, &got) == MEMGUARD_OK) {
            read += got;
        }
    }
    struct stream *s = inside(stream);
    CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_OK);
    uint64_t links = 0;
    for (const struct link *link = s->head; link != NULL; link = link->next) links++;
    CHECK(s->next_number - s->expected == links);
    check_rest(stream, read, written, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
}

TEST(work_at_random_keeps_order) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0), *strict = make_vault(0, MEMGUARD_STRICT);
    for (int i = 0; i < 5; i++) work_at_random(vault);
    work_at_random(strict);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&strict), MEMGUARD_OK);
}

/* ---- failures in the middle ---- */

/* A write, with 50 bytes open before it, of which call N fails: nothing of it is there, and it can be repeated. */
static void check_write_failures(memguard_vault *vault, size_t bytes) {
    static unsigned char source[MOST];
    int hit = 1;
    for (size_t i = 0; i < bytes; i++) source[i] = pattern_byte(5, 50 + i);
    for (unsigned at = 1; hit; at++) {
        memguard_stream stream = make(vault);
        uint64_t size = 0;
        put(stream, 50, 0);
        arm(MEMORY, at);
        const memguard_status status = memguard_stream_write(stream, source, bytes);
        hit = disarm();
        CHECK(status == MEMGUARD_OK || (hit && status == MEMGUARD_ERR_MEMORY));
        CHECK_STATUS(memguard_stream_size(stream, &size), MEMGUARD_OK);
        CHECK(size == (status == MEMGUARD_OK ? 50 + bytes : 50));
        if (status != MEMGUARD_OK) put(stream, bytes, 50);
        check_rest(stream, 0, 50 + bytes, MEMGUARD_ERR_EMPTY);
        CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    }
}

TEST(write_without_memory_changes_nothing) {
    memguard_vault *vault = make_still_vault(), *strict = make_vault(0, MEMGUARD_STRICT);
    static const size_t sizes[] = {1, CHUNK - 50, CHUNK, 5 * CHUNK + 3};
    for (size_t i = 0; i < 4; i++) {
        check_write_failures(vault, sizes[i]);
        check_write_failures(strict, sizes[i]);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&strict), MEMGUARD_OK);
}

/* What no system does while there is a key: then numbers are burnt, and readers find a gap, not a repeated nonce. */
TEST(write_whose_sealing_fails_leaves_nothing_readable_of_it) {
    memguard_vault *vault = make_still_vault();
    static unsigned char source[5 * CHUNK];
    for (unsigned at = 1; at <= 4; at++) {
        memguard_stream stream = make(vault);
        size_t got = 0;
        put(stream, 50, 0);
        fill(source, sizeof source, 9);
        arm(SEALING, at);
        CHECK_STATUS(memguard_stream_write(stream, source, sizeof source), MEMGUARD_ERR_STATE);
        CHECK(disarm());
        put(stream, 100, 50);
        CHECK_STATUS(get(stream, MOST, 0, &got), at == 1 ? MEMGUARD_OK : MEMGUARD_ERR_AUTH);
        CHECK(got == (at == 1 ? 150 : 0));
        CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(finish_and_flush_that_fail_can_be_repeated) {
    memguard_vault *vault = make_still_vault();
    memguard_stream stream = make(vault), empty = make(vault);
    put(stream, 50, 0);
    arm(SEALING, 1);
    CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_ERR_STATE);
    arm(SEALING, 1);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_ERR_STATE);
    arm(MEMORY, 1);
    CHECK_STATUS(memguard_stream_finish(empty), MEMGUARD_ERR_MEMORY);
    CHECK(disarm());
    put(stream, 50, 50);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_finish(empty), MEMGUARD_OK);
    check_rest(stream, 0, 100, MEMGUARD_ERR_END);
    check_rest(empty, 0, 0, MEMGUARD_ERR_END);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(create_without_memory_makes_nothing) {
    memguard_vault *vault = make_vault(MEMGUARD_BACKEND_AUTO, 0);
    memguard_stream stream = {1};
    arm(MEMORY, 1);
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_ERR_MEMORY);
    CHECK(disarm() && stream.id == 0 && report_of(vault).streams == 0);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- the lease of what is open ---- */

TEST(open_chunks_are_closed_when_nobody_calls) {
    memguard_vault *vault = make_quiet_vault(0, 0, 2000);
    memguard_stream stream = make(vault);
    size_t got = 0;
    put(stream, CHUNK + 50, 0);
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_OK);
    CHECK(closes(stream.id, MG_READING) && closes(stream.id, MG_WRITING));
    CHECK(inside(stream)->tail->bytes == 50 && inside(stream)->offset == 10);
    put(stream, 30, CHUNK + 50);
    check_rest(stream, 10, CHUNK + 80, MEMGUARD_ERR_EMPTY);
    CHECK(closes(stream.id, MG_READING));
    CHECK(atomic_load(&mg__vault_find(vault)->windows.first) == NULL);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(open_chunks_of_many_streams_are_closed) {
    memguard_vault *vault = make_quiet_vault(MEMGUARD_BACKEND_LOCKED, 0, 100000);
    memguard_stream streams[100];
    for (size_t i = 0; i < 100; i++) {
        streams[i] = make(vault);
        put(streams[i], 50, 0);
    }
    for (size_t i = 0; i < 100; i += 3) CHECK_STATUS(memguard_stream_destroy(&streams[i]), MEMGUARD_OK);
    for (size_t i = 0; i < 100; i++)
        if (streams[i].id != 0) CHECK(closes(streams[i].id, MG_WRITING));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(side_that_is_busy_when_its_time_comes_closes_when_it_is_left) {
    memguard_vault *vault = make_quiet_vault(0, MEMGUARD_NO_THREAD, 100);
    memguard_stream stream = make(vault);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    put(stream, 50, 0);
    struct mg__chunked *chunked = chunked_of(stream.id);
    mg__side_take(chunked, MG_WRITING);
    const uint64_t late = mg__sys_now_ns() + 1000000000U, next = mg__windows_tend(mg__vault_find(vault), late);
    CHECK(next > late && next <= late + 1000000 && chunked->windows[MG_WRITING].region != NULL);
    mg__side_leave(chunked, MG_WRITING);
    CHECK(chunked->windows[MG_WRITING].region == NULL && inside(stream)->head->bytes == 50);
    CHECK(mg__windows_tend(mg__vault_find(vault), late + 1000000) == UINT64_MAX);
    check_rest(stream, 0, 50, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(tick_closes_what_is_due_and_tells_when_to_come_again) {
    memguard_vault *vault = make_quiet_vault(0, MEMGUARD_NO_THREAD, 200000);
    memguard_stream stream = make(vault);
    uint32_t next_ms = 0;
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    put(stream, 50, 0);
    CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
    CHECK(next_ms <= 201);
    while (is_window_open(stream.id, MG_WRITING)) {
        sleep_ms(next_ms < 50 ? next_ms : 50);
        CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
    }
    CHECK(inside(stream)->head->bytes == 50);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static void check_nothing_open_after_calls(uint32_t flags) {
    memguard_vault *vault = make_quiet_vault(0, flags, 1000000);
    memguard_stream stream = make(vault);
    size_t got = 0;
    put(stream, CHUNK + 50, 0);
    CHECK(!is_window_open(stream.id, MG_WRITING) && inside(stream)->tail->bytes == 50);
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_OK);
    CHECK(!is_window_open(stream.id, MG_READING));
    check_rest(stream, 10, CHUNK + 50, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(nothing_stays_open_in_a_strict_vault_or_without_anyone_to_close_it) {
    check_nothing_open_after_calls(MEMGUARD_STRICT);
    check_nothing_open_after_calls(MEMGUARD_NO_THREAD);
}

TEST(flush_lock_and_finish_close_what_is_open) {
    memguard_vault *vault = make_still_vault();
    memguard_stream stream = make(vault);
    size_t got = 0;
    for (int i = 0; i < 2; i++) {
        put(stream, CHUNK + 50, 0);
        CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_OK);
        CHECK(is_window_open(stream.id, MG_WRITING) && is_window_open(stream.id, MG_READING));
        CHECK_STATUS(i == 0 ? memguard_stream_flush(stream) : memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
        CHECK(!is_window_open(stream.id, MG_WRITING) && !is_window_open(stream.id, MG_READING));
        if (i == 1) CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
        check_rest(stream, 10, CHUNK + 50, MEMGUARD_ERR_EMPTY);
    }
    put(stream, 50, 0);
    CHECK_STATUS(memguard_stream_finish(stream), MEMGUARD_OK);
    CHECK(!is_window_open(stream.id, MG_WRITING));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

struct holder {
    memguard_stream stream;
    atomic_int holds, go_on;
};

static int hold(const void *bytes, size_t size, void *arg) {
    struct holder *holder = arg;
    (void)bytes, (void)size;
    atomic_store(&holder->holds, 1);
    while (atomic_load(&holder->go_on) == 0) sleep_ms(1);
    return 0;
}

static void *hold_in_thread(void *arg) {
    struct holder *holder = arg;
    const memguard_status status = memguard_stream_use(holder->stream, 10, hold, holder, NULL);
    return (void *)(intptr_t)status;
}

static int has_open_window(struct mg__chunked *chunked) {
    int open = 0;
    for (int side = 0; side < MG_SIDES; side++) {
        mg__mutex_lock(&chunked->windows[side].mutex);
        open |= chunked->windows[side].region != NULL;
        mg__mutex_unlock(&chunked->windows[side].mutex);
    }
    return open;
}

/* Ends a stream of which another thread is shown bytes: it lives until that thread's function returns, what is open does not. */
static void check_end_while_held(bool by_purge) {
    memguard_vault *vault = by_purge ? make_still_vault() : make_quiet_vault(0, 0, 50000);
    memguard_stream stream = make(vault);
    struct holder holder = {.stream = stream};
    pthread_t thread;
    void *status = NULL;
    put(stream, CHUNK + 50, 0);
    CHECK(pthread_create(&thread, NULL, hold_in_thread, &holder) == 0);
    while (atomic_load(&holder.holds) == 0) sleep_ms(1);
    struct mg__chunked *chunked = chunked_of(stream.id);
    put(stream, 1, CHUNK + 50);
    if (by_purge) {
        CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_ERR_REVOKED);
    } else {
        CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
        for (int i = 0; i < 10000 && has_open_window(chunked); i++) sleep_ms(1);
    }
    CHECK(!has_open_window(chunked));
    atomic_store(&holder.go_on, 1);
    CHECK(pthread_join(thread, &status) == 0);
    CHECK((memguard_status)(intptr_t)status == (by_purge ? MEMGUARD_ERR_REVOKED : MEMGUARD_OK));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(purge_closes_what_is_open_before_it_returns) { check_end_while_held(true); }
TEST(destroyed_stream_that_is_held_keeps_its_lease) { check_end_while_held(false); }

/* A window that cannot be had: what does not fill a chunk is sealed at once. */
static struct mg__sys_table real;
static int no_protect(void *address, size_t bytes, int access) {
    (void)address, (void)bytes, (void)access;
    errno = ENOMEM;
    return -1;
}

TEST(write_needs_no_protected_page_when_there_is_none) {
    memguard_vault *vault = make_still_vault();
    memguard_stream stream = make(vault);
    size_t got = 0;
    put(stream, CHUNK, 0);
    real = mg__sys_table;
    mg__sys_table.mprotect = no_protect;
    put(stream, 50, CHUNK);
    put(stream, CHUNK + 50, CHUNK + 50);
    CHECK_STATUS(get(stream, 10, 0, &got), MEMGUARD_ERR_MEMORY); /* a part of a chunk needs one */
    CHECK_STATUS(get(stream, CHUNK, 0, &got), MEMGUARD_OK);
    mg__sys_table = real;
    check_rest(stream, CHUNK, 2 * CHUNK + 100, MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(no_nonce_came_twice_in_all_this) { check_nonces(10000); }

int main(void) {
    RUN(chunk_with_any_byte_changed_does_not_open_and_is_kept);
    RUN(bytes_before_a_changed_chunk_are_given_first);
    RUN(chunk_read_in_part_and_changed_then_does_not_open_again);
    RUN(swapped_chunks_do_not_open);
    RUN(left_out_chunk_is_noticed);
    RUN(chunk_repeated_or_of_another_stream_does_not_open);
    RUN(stream_cut_off_at_its_end_is_not_a_shorter_one);
    RUN(mark_of_the_last_chunk_cannot_be_forged_or_taken_off);
    RUN(chunks_of_several_prefixes_and_key_shares_open);
    RUN(work_at_random_keeps_order);
    RUN(write_without_memory_changes_nothing);
    RUN(write_whose_sealing_fails_leaves_nothing_readable_of_it);
    RUN(finish_and_flush_that_fail_can_be_repeated);
    RUN(create_without_memory_makes_nothing);
    RUN(open_chunks_are_closed_when_nobody_calls);
    RUN(open_chunks_of_many_streams_are_closed);
    RUN(side_that_is_busy_when_its_time_comes_closes_when_it_is_left);
    RUN(tick_closes_what_is_due_and_tells_when_to_come_again);
    RUN(nothing_stays_open_in_a_strict_vault_or_without_anyone_to_close_it);
    RUN(flush_lock_and_finish_close_what_is_open);
    RUN(purge_closes_what_is_open_before_it_returns);
    RUN(destroyed_stream_that_is_held_keeps_its_lease);
    RUN(write_needs_no_protected_page_when_there_is_none);
    RUN(no_nonce_came_twice_in_all_this);
    return check_end();
}
