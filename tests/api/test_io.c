/* test_io.c: secrets from and to descriptors and readers: what comes, what is left, what an error leaves, and what signals, purges,
 * locks and cancellation do to those who wait. */
#define _GNU_SOURCE
#include "api/io_support.h"

#include <sys/mman.h>

static memguard_vault *vault;

static uint64_t secrets_alive(void) {
    const memguard_report report = report_of(vault);
    return report.secrets[0] + report.secrets[1] + report.secrets[2] + report.secrets[3];
}

/* ---- what comes ---------------------------------------------------------------------------------------- */

TEST(exact_gives_every_size_from_descriptors_of_every_kind) {
    static const size_t sizes[] = {1, 2, 100, 4095, 4096, 4097, 70000, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] * KINDS; i++) {
        const size_t size = sizes[i / KINDS];
        channel c = open_channel((enum kind)(i % KINDS));
        feeder f = {.descriptor = c.in, .bytes = size + 10, .piece = size, .seed = 3};
        memguard_secret secret = {0};
        start_feeding(&f);
        CHECK_STATUS(memguard_secret_read_exact(vault, c.out, size, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
        CHECK(holds_pattern(secret, size, 3));
        stop_feeding(&f);
        /* The ten bytes behind are still there. */
        unsigned char rest[20], all[10];
        CHECK(read(c.out, rest, sizeof rest) == 10);
        for (size_t at = 0; at < 10; at++) all[at] = pattern_byte(3, size + at);
        CHECK(memcmp(rest, all, 10) == 0);
        drop(&secret), close_channel(&c);
    }
}

TEST(all_gives_every_size_from_descriptors_that_stutter) {
    static const size_t sizes[] = {1, 2, 100, 4094, 4095, 4096, 4097, 8191, 8192, 8193, 20000, 300000};
    static const size_t pieces[] = {1, 7, 4096, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] * KINDS; i++) {
        const size_t size = sizes[i / KINDS], piece = size > 20000 ? 997 : pieces[i % 4];
        channel c = open_channel((enum kind)((i / 4 + i) % KINDS));
        feeder f = {.descriptor = c.in, .bytes = size, .piece = piece, .seed = 4, .then_close = 1};
        memguard_secret secret = {0};
        start_feeding(&f);
        CHECK_STATUS(memguard_secret_read_all(vault, c.out, size, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
        CHECK(holds_pattern(secret, size, 4));
        stop_feeding(&f);
        close_end(&c.out);
        drop(&secret);
    }
}

TEST(until_drops_the_delimiter_and_reads_nothing_behind_it) {
    for (int kind = 0; kind < KINDS; kind++) {
        channel c = open_channel((enum kind)kind);
        char rest[20] = {0};
        memguard_secret first = {0}, second = {0};
        put_text(c.in, "one\ntwo\nthree");
        CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', 100, 0, &first), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', 3, 0, &second), MEMGUARD_OK);
        CHECK(holds_text(first, "one") && holds_text(second, "two"));
        CHECK(read(c.out, rest, sizeof rest) == 5 && strcmp(rest, "three") == 0);
        drop(&first), drop(&second), close_channel(&c);
    }
}

TEST(until_takes_any_byte_as_delimiter_and_grows) {
    for (int delimiter = 0; delimiter < 256; delimiter += 51) {
        enum { SIZE = 9000 };
        char *line = malloc(SIZE + 1);
        memset(line, (delimiter + 1) & 255, SIZE);
        line[SIZE] = (char)delimiter;
        channel c = open_channel(PIPE);
        memguard_secret secret = {0};
        put_all(c.in, line, SIZE + 1);
        CHECK_STATUS(memguard_secret_read_until(vault, c.out, delimiter, SIZE, MEMGUARD_CLOSED, &secret), MEMGUARD_OK);
        CHECK(holds(secret, line, SIZE));
        free(line);
        drop(&secret), close_channel(&c);
    }
}

TEST(a_regular_file_is_left_at_the_right_place) {
    const int file = memfd_create("test", MFD_CLOEXEC);
    memguard_secret secret = {0};
    put_text(file, "user:password\nrest of it");
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    CHECK_STATUS(memguard_secret_read_exact(vault, file, 4, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "user") && lseek(file, 0, SEEK_CUR) == 4);
    drop(&secret);
    CHECK_STATUS(memguard_secret_read_until(vault, file, '\n', 100, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, ":password") && lseek(file, 0, SEEK_CUR) == 14);
    drop(&secret);
    CHECK_STATUS(memguard_secret_read_all(vault, file, 100, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "rest of it"));
    drop(&secret);
    close(file);
}

TEST(the_secret_rests_as_the_flags_say) {
    static const uint32_t flags[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_MAPPED | MEMGUARD_WRITABLE,
                                     MEMGUARD_COMPACT};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] * 2; i++) {
        const uint32_t wanted = flags[i / 2] | (i % 2 != 0 ? MEMGUARD_FROZEN : 0);
        for (size_t size = 8; size <= 8000; size *= 10) {
            memguard_secret secrets[3] = {{0}, {0}, {0}};
            memguard_info info = MEMGUARD_INFO_INIT;
            channel c = open_channel(PIPE);
            unsigned char bytes[8001];
            fill(bytes, size, 6);
            bytes[size] = 0;
            put_all(c.in, bytes, size), put_all(c.in, bytes, size + 1), put_all(c.in, bytes, size);
            close_end(&c.in);
            CHECK_STATUS(memguard_secret_read_exact(vault, c.out, size, wanted, &secrets[0]), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_read_until(vault, c.out, 0, size, wanted, &secrets[1]), MEMGUARD_OK);
            CHECK_STATUS(memguard_secret_read_all(vault, c.out, size, wanted, &secrets[2]), MEMGUARD_OK);
            for (int j = 0; j < 3; j++) {
                memguard_view view = {0};
                CHECK(holds_pattern(secrets[j], size, 6));
                CHECK_STATUS(memguard_secret_info(secrets[j], &info), MEMGUARD_OK);
                CHECK(info.rest == (wanted & MEMGUARD_REST_MASK) && info.flags == (wanted & ~(uint32_t)MEMGUARD_REST_MASK));
                CHECK_STATUS(memguard_secret_acquire(secrets[j], MEMGUARD_WRITE, &view),
                             i % 2 != 0 ? MEMGUARD_ERR_FROZEN : MEMGUARD_OK);
                CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
                drop(&secrets[j]);
            }
            close_channel(&c);
        }
    }
}

TEST(scopes_take_what_is_read_unless_it_is_kept) {
    channel c = open_channel(PIPE);
    memguard_secret secret = {0}, kept = {0};
    memguard_scope scope = {0};
    put_text(c.in, "onetwo");
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 3, 0, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 3, MEMGUARD_KEEP, &kept), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
    CHECK(holds_text(kept, "two"));
    drop(&kept), close_channel(&c);
}

/* ---- what does not come -------------------------------------------------------------------------------- */

TEST(a_short_input_gives_what_came) {
    for (int kind = 0; kind < KINDS; kind++) {
        channel c = open_channel((enum kind)kind);
        memguard_secret exact = {77}, line = {77};
        memguard_info info = MEMGUARD_INFO_INIT;
        put_text(c.in, "half");
        close_end(&c.in);
        CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 5000, MEMGUARD_COMPACT, &exact), MEMGUARD_ERR_SHORT);
        CHECK(holds_text(exact, "half"));
        CHECK_STATUS(memguard_secret_info(exact, &info), MEMGUARD_OK);
        CHECK(info.bytes == 4 && info.rest == MEMGUARD_COMPACT);
        CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', 9, 0, &line), MEMGUARD_ERR_SHORT);
        CHECK(line.id == 0);
        CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 9, 0, &line), MEMGUARD_ERR_SHORT);
        CHECK(line.id == 0);
        drop(&exact), close_channel(&c);
    }
}

TEST(an_end_before_the_delimiter_gives_what_came) {
    channel c = open_channel(PIPE);
    memguard_secret secret = {0};
    put_text(c.in, "half a line");
    close_end(&c.in);
    CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', 11, 0, &secret), MEMGUARD_ERR_SHORT);
    CHECK(holds_text(secret, "half a line"));
    drop(&secret), close_channel(&c);
}

TEST(nothing_is_told_from_little) {
    channel c = open_channel(PIPE);
    memguard_secret secret = {77};
    put_text(c.in, "\n");
    CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', 9, 0, &secret), MEMGUARD_ERR_EMPTY);
    CHECK(secret.id == 0);
    secret.id = 77;
    close_end(&c.in);
    CHECK_STATUS(memguard_secret_read_all(vault, c.out, 9, 0, &secret), MEMGUARD_ERR_EMPTY);
    CHECK(secret.id == 0);
    close_channel(&c);
}

TEST(too_much_is_refused_and_wiped) {
    static const size_t mosts[] = {1, 4, 4095, 4096, 4097, 10000};
    const uint64_t before = secrets_alive();
    for (size_t i = 0; i < sizeof mosts / sizeof mosts[0]; i++) {
        channel c = open_channel(PIPE);
        char all[10002];
        memguard_secret secret = {77};
        memset(all, 'x', sizeof all);
        put_all(c.in, all, mosts[i] + 1), put_text(c.in, "\nmore");
        CHECK_STATUS(memguard_secret_read_until(vault, c.out, '\n', mosts[i], 0, &secret), MEMGUARD_ERR_SIZE);
        CHECK(secret.id == 0);
        CHECK(read(c.out, all, sizeof all) == 5 && memcmp(all, "\nmore", 5) == 0);
        put_all(c.in, all, mosts[i] + 1);
        close_end(&c.in);
        secret.id = 77;
        CHECK_STATUS(memguard_secret_read_all(vault, c.out, mosts[i], 0, &secret), MEMGUARD_ERR_SIZE);
        CHECK(secret.id == 0);
        close_channel(&c);
    }
    CHECK(secrets_alive() == before);
}

TEST(errors_of_the_descriptor_are_told_and_nothing_is_made) {
    channel c = open_channel(PIPE);
    const int directory = open("/", O_RDONLY | O_CLOEXEC);
    const struct {
        int descriptor, error;
    } bad[] = {{-1, EBADF}, {c.in, EBADF}, {1000000, EBADF}, {directory, EISDIR}};
    const uint64_t before = secrets_alive();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memguard_secret secret = {77};
        CHECK_STATUS(memguard_secret_read_exact(vault, bad[i].descriptor, 9, 0, &secret), MEMGUARD_ERR_IO);
        CHECK(secret.id == 0 && last_os_error() == bad[i].error);
        CHECK_STATUS(memguard_secret_read_until(vault, bad[i].descriptor, 0, 9, 0, &secret), MEMGUARD_ERR_IO);
        CHECK_STATUS(memguard_secret_read_all(vault, bad[i].descriptor, 9, 0, &secret), MEMGUARD_ERR_IO);
    }
    CHECK(secrets_alive() == before);
    close(directory), close_channel(&c);
}

TEST(bad_arguments_read_nothing) {
    channel c = open_channel(NONBLOCKING_PIPE);
    memguard_secret secret = {77};
    char left[10];
    put_text(c.in, "abc");
    CHECK_STATUS(memguard_secret_read_exact(NULL, c.out, 1, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 1, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 1, 1U << 20, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 1, MEMGUARD_WRITABLE, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 0, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, MEMGUARD_SIZE_MAX + 1, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_secret_read_all(vault, c.out, 0, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_secret_read_until(vault, c.out, 256, 9, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_read_until(vault, c.out, -1, 9, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_read_until(vault, c.out, 0, MEMGUARD_SIZE_MAX + 1, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_secret_read_from(vault, NULL, NULL, MEMGUARD_UNTIL_END, 9, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    memguard_vault *gone = vault_make(), *token = gone;
    vault_end(gone);
    CHECK_STATUS(memguard_secret_read_exact(token, c.out, 1, 0, &secret), MEMGUARD_ERR_STALE);
    CHECK(read(c.out, left, sizeof left) == 3);
    close_channel(&c);
}

TEST(a_locked_vault_reads_nothing) {
    channel c = open_channel(NONBLOCKING_PIPE);
    memguard_secret secret = {0};
    char left[10];
    put_text(c.in, "abc");
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_read_exact(vault, c.out, 1, 0, &secret), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK(read(c.out, left, sizeof left) == 3);
    close_channel(&c);
}

/* ---- readers of the host ------------------------------------------------------------------------------- */

typedef struct script {
    const char *text;
    size_t at, piece;
    ptrdiff_t end; /* what it returns behind the text */
    int calls;
    size_t largest;
} script;

static ptrdiff_t recite(void *buffer, size_t size, void *arg) {
    script *s = arg;
    size_t piece = strlen(s->text) - s->at;
    s->calls++;
    s->largest = size > s->largest ? size : s->largest;
    if (piece == 0) return s->end;
    piece = piece < s->piece ? piece : s->piece;
    piece = piece < size ? piece : size;
    CHECK(is_zero(buffer, size)); /* nothing of ours is shown to it */
    memcpy(buffer, s->text + s->at, piece);
    s->at += piece;
    return (ptrdiff_t)piece;
}

TEST(a_reader_is_as_good_as_a_descriptor) {
    for (size_t piece = 1; piece < 20; piece += 6) {
        script all = {.text = "hello, world", .piece = piece}, line = all, full = all, lacking = all;
        memguard_secret secret = {0};
        CHECK_STATUS(memguard_secret_read_from(vault, recite, &all, MEMGUARD_UNTIL_END, 12, 0, &secret), MEMGUARD_OK);
        CHECK(holds_text(secret, "hello, world"));
        drop(&secret);
        CHECK_STATUS(memguard_secret_read_from(vault, recite, &line, ',', 12, 0, &secret), MEMGUARD_OK);
        CHECK(holds_text(secret, "hello") && line.at == 6 && line.largest == 1);
        drop(&secret);
        CHECK_STATUS(memguard_secret_read_from(vault, recite, &full, MEMGUARD_UNTIL_FULL, 4, 0, &secret), MEMGUARD_OK);
        CHECK(holds_text(secret, "hell") && full.at == 4 && full.largest == 4);
        drop(&secret);
        CHECK_STATUS(memguard_secret_read_from(vault, recite, &lacking, MEMGUARD_UNTIL_FULL, 13, 0, &secret),
                     MEMGUARD_ERR_SHORT);
        CHECK(holds_text(secret, "hello, world"));
        drop(&secret);
    }
}

TEST(a_reader_that_fails_or_lies_makes_nothing) {
    static const ptrdiff_t answers[] = {-EPERM, -EINTR, -EAGAIN, -1000000, PTRDIFF_MIN, 100, PTRDIFF_MAX};
    static const int errors[] = {EPERM, EINTR, EAGAIN, EIO, EIO, EIO, EIO};
    const uint64_t before = secrets_alive();
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        script s = {.text = "abc", .piece = 2, .end = answers[i]};
        memguard_secret secret = {77};
        CHECK_STATUS(memguard_secret_read_from(vault, recite, &s, MEMGUARD_UNTIL_FULL, 9, 0, &secret), MEMGUARD_ERR_IO);
        CHECK(secret.id == 0 && last_os_error() == errors[i] && s.calls == 3);
    }
    CHECK(secrets_alive() == before);
}

static ptrdiff_t nest(void *buffer, size_t size, void *arg) {
    script inner = {.text = "inner", .piece = 2};
    memguard_secret secret = {0};
    CHECK(size == 5);
    CHECK_STATUS(memguard_secret_read_from(vault, recite, &inner, MEMGUARD_UNTIL_END, 9, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "inner"));
    drop(&secret);
    memcpy(buffer, arg, 5);
    return 5;
}

TEST(a_reader_may_call_the_library) {
    char outer[] = "outer";
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_read_from(vault, nest, outer, MEMGUARD_UNTIL_FULL, 5, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "outer"));
    drop(&secret);
}

static ptrdiff_t purge_inside(void *buffer, size_t size, void *arg) {
    CHECK_STATUS(memguard_vault_purge(arg, 0), MEMGUARD_OK); /* is put off until we return */
    memset(buffer, 'x', size);
    return (ptrdiff_t)size;
}

TEST(a_purge_inside_a_reader_comes_when_it_returns) {
    memguard_vault *own = vault_make();
    memguard_secret secret = {77};
    CHECK_STATUS(memguard_secret_read_from(own, purge_inside, own, MEMGUARD_UNTIL_FULL, 5, 0, &secret), MEMGUARD_ERR_STALE);
    CHECK(secret.id == 0 && report_of(own).purges == 1);
    script s = {.text = "again", .piece = 9};
    CHECK_STATUS(memguard_secret_read_from(own, recite, &s, MEMGUARD_UNTIL_FULL, 5, 0, &secret), MEMGUARD_OK);
    drop(&secret);
    vault_end(own);
}

static ptrdiff_t fork_inside(void *buffer, size_t size, void *arg) {
    *(pid_t *)arg = fork();
    if (*(pid_t *)arg != 0) memset(buffer, 'x', size);
    return (ptrdiff_t)size;
}

TEST(a_reader_that_returns_in_a_child_is_refused_there) {
    pid_t child = -1;
    int state = -1;
    memguard_secret secret = {0};
    const memguard_status status = memguard_secret_read_from(vault, fork_inside, &child, MEMGUARD_UNTIL_FULL, 5, 0, &secret);
    if (child == 0) _exit(status == MEMGUARD_ERR_FORKED ? 33 : 1);
    CHECK_STATUS(status, MEMGUARD_OK);
    CHECK(child > 0 && waitpid(child, &state, 0) == child && check_exited(state, 33));
    drop(&secret);
}

/* ---- a reading thread, and what happens to it ---------------------------------------------------------- */

typedef struct reading {
    memguard_vault *vault;
    int descriptor, until;
    size_t bytes;
    memguard_secret secret;
    memguard_status status;
    atomic_int thread, done;
    pthread_t id;
} reading;

static void *read_in_thread(void *arg) {
    reading *r = arg;
    atomic_store(&r->thread, (int)syscall(SYS_gettid));
    if (r->until >= 0)
        r->status = memguard_secret_read_until(r->vault, r->descriptor, r->until, r->bytes, MEMGUARD_KEEP, &r->secret);
    else if (r->until == MEMGUARD_UNTIL_END)
        r->status = memguard_secret_read_all(r->vault, r->descriptor, r->bytes, MEMGUARD_KEEP, &r->secret);
    else
        r->status = memguard_secret_read_exact(r->vault, r->descriptor, r->bytes, MEMGUARD_KEEP, &r->secret);
    atomic_store(&r->done, 1);
    return NULL;
}

static void start_reading(reading *r) { CHECK(pthread_create(&r->id, NULL, read_in_thread, r) == 0); }
static void stop_reading(reading *r) { CHECK(pthread_join(r->id, NULL) == 0); }

static atomic_int handled;
static void count_signal(int signal) {
    (void)signal;
    atomic_fetch_add(&handled, 1);
}

TEST(signals_do_not_break_reading_off) {
    struct sigaction action = {.sa_handler = count_signal}, before; /* no SA_RESTART */
    CHECK(sigaction(SIGUSR1, &action, &before) == 0);
    for (int kind = 0; kind < KINDS; kind++) {
        enum { SIZE = 3000 };
        channel c = open_channel((enum kind)kind);
        reading r = {.vault = vault, .descriptor = c.out, .until = MEMGUARD_UNTIL_FULL, .bytes = SIZE};
        unsigned char bytes[SIZE];
        fill(bytes, SIZE, 8);
        start_reading(&r);
        for (size_t at = 0; at < SIZE; at += 100) {
            put_all(c.in, bytes + at, 100);
            pthread_kill(r.id, SIGUSR1);
            sleep_ms(1);
        }
        stop_reading(&r);
        CHECK_STATUS(r.status, MEMGUARD_OK);
        CHECK(holds_pattern(r.secret, SIZE, 8));
        drop(&r.secret), close_channel(&c);
    }
    CHECK(atomic_load(&handled) > 0);
    CHECK(sigaction(SIGUSR1, &before, NULL) == 0);
}

TEST(a_purge_ends_those_who_wait_and_waits_for_none) {
    for (int kind = 0; kind < KINDS; kind++) {
        memguard_vault *own = vault_make();
        channel c = open_channel((enum kind)kind);
        reading r = {.vault = own, .descriptor = c.out, .until = '\n', .bytes = 100};
        put_text(c.in, "half a li");
        start_reading(&r);
        CHECK(wait_until_asleep(&r.thread));
        CHECK_STATUS(memguard_vault_purge(own, 3600000), MEMGUARD_OK); /* nothing is borrowed: it must not wait an hour */
        stop_reading(&r); /* comes back although nothing comes any more */
        CHECK_STATUS(r.status, MEMGUARD_ERR_STALE);
        CHECK(r.secret.id == 0);
        vault_end(own);
        close_channel(&c);
    }
}

TEST(a_vault_can_end_while_someone_waits_for_input) {
    memguard_vault *own = vault_make();
    channel c = open_channel(PIPE);
    reading r = {.vault = own, .descriptor = c.out, .until = '\n', .bytes = 100};
    put_text(c.in, "half a li");
    start_reading(&r);
    CHECK(wait_until_asleep(&r.thread));
    vault_end(own);
    stop_reading(&r);
    CHECK_STATUS(r.status, MEMGUARD_ERR_STALE);
    close_channel(&c);
}

TEST(a_lock_seals_what_came_and_reading_goes_on_after_it) {
    memguard_vault *own = vault_make();
    channel c = open_channel(PIPE);
    reading r = {.vault = own, .descriptor = c.out, .until = '\n', .bytes = 100}, locked = r;
    put_text(c.in, "half a li");
    start_reading(&r);
    CHECK(wait_until_asleep(&r.thread));
    CHECK_STATUS(memguard_vault_lock(own, right_kek), MEMGUARD_OK);
    CHECK(report_of(own).secrets[MEMGUARD_SEALED] == 1 && report_of(own).secrets[MEMGUARD_CLOSED] == 0);
    CHECK_STATUS(memguard_vault_unlock(own, right_kek), MEMGUARD_OK);
    put_text(c.in, "ne\n");
    stop_reading(&r);
    CHECK_STATUS(r.status, MEMGUARD_OK);
    CHECK(holds_text(r.secret, "half a line"));
    put_text(c.in, "half a li");
    start_reading(&locked);
    CHECK(wait_until_asleep(&locked.thread));
    CHECK_STATUS(memguard_vault_lock(own, right_kek), MEMGUARD_OK);
    put_text(c.in, "ne\n");
    stop_reading(&locked);
    CHECK_STATUS(locked.status, MEMGUARD_ERR_LOCKED);
    CHECK(locked.secret.id == 0);
    vault_end(own);
    close_channel(&c);
}

TEST(waiting_is_not_idling) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *own = NULL;
    memguard_info info = MEMGUARD_INFO_INIT;
    options.idle_ms = 60;
    CHECK_STATUS(memguard_vault_create(&options, &own), MEMGUARD_OK);
    channel c = open_channel(PIPE);
    reading r = {.vault = own, .descriptor = c.out, .until = '\n', .bytes = 100};
    put_text(c.in, "half a li");
    start_reading(&r);
    CHECK(wait_until_asleep(&r.thread));
    sleep_ms(300);
    put_text(c.in, "ne\n");
    stop_reading(&r);
    CHECK_STATUS(r.status, MEMGUARD_OK);
    sleep_ms(300); /* but the secret then has the vault's limit */
    CHECK_STATUS(memguard_secret_info(r.secret, &info), MEMGUARD_ERR_EXPIRED);
    vault_end(own);
    close_channel(&c);
}

/* What a reader of the host does with the kernel's help alone may be taken away at any time. */
static ptrdiff_t read_raw(void *buffer, size_t size, void *arg) {
    const reading *r = arg;
    const long got = syscall(SYS_read, r->descriptor, buffer, size);
    return got < 0 ? -errno : got;
}

static void *read_from_in_thread(void *arg) {
    reading *r = arg;
    atomic_store(&r->thread, (int)syscall(SYS_gettid));
    r->status = memguard_secret_read_from(r->vault, read_raw, r, r->until, r->bytes, MEMGUARD_KEEP, &r->secret);
    return NULL;
}

TEST(a_purge_covers_pages_that_a_system_call_is_writing_to) {
    memguard_vault *own = vault_make();
    channel c = open_channel(PIPE);
    reading r = {.vault = own, .descriptor = c.out, .until = MEMGUARD_UNTIL_FULL, .bytes = 9};
    put_text(c.in, "half");
    CHECK(pthread_create(&r.id, NULL, read_from_in_thread, &r) == 0);
    CHECK(wait_until_asleep(&r.thread)); /* in read(2), with the page as its target */
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    put_text(c.in, "other");
    stop_reading(&r);
    CHECK_STATUS(r.status, MEMGUARD_ERR_STALE);
    CHECK(r.secret.id == 0 && report_of(own).secrets[MEMGUARD_CLOSED] == 0);
    vault_end(own);
    close_channel(&c);
}

TEST(reading_is_no_cancellation_point) {
    channel c = open_channel(PIPE);
    reading r = {.vault = vault, .descriptor = c.out, .until = MEMGUARD_UNTIL_END, .bytes = 100};
    start_reading(&r);
    CHECK(wait_until_asleep(&r.thread));
    CHECK(pthread_cancel(r.id) == 0);
    put_text(c.in, "some"), sleep_ms(5), put_text(c.in, "thing");
    close_end(&c.in);
    stop_reading(&r);
    CHECK(atomic_load(&r.done) == 1);
    CHECK_STATUS(r.status, MEMGUARD_OK);
    CHECK(holds_text(r.secret, "something"));
    drop(&r.secret), close_channel(&c);
}

TEST(readers_beside_purges_give_whole_secrets_or_none) {
    enum { THREADS = 4, ROUNDS = 30, SIZE = 20000 };
    memguard_vault *own = vault_make();
    for (int round = 0; round < ROUNDS; round++) {
        reading readings[THREADS];
        feeder feeders[THREADS];
        channel channels[THREADS];
        for (int i = 0; i < THREADS; i++) {
            channels[i] = open_channel((enum kind)i);
            readings[i] = (reading){.vault = own, .descriptor = channels[i].out, .until = MEMGUARD_UNTIL_END, .bytes = SIZE};
            feeders[i] = (feeder){.descriptor = channels[i].in, .bytes = SIZE, .piece = 999, .seed = 2, .then_close = 1};
            start_feeding(&feeders[i]);
            start_reading(&readings[i]);
        }
        if (round % 3 != 0) sleep_ms((unsigned)round % 4);
        CHECK_AMONG(memguard_vault_purge(own, round % 2 == 0 ? 0 : 2), ANY_OF(OK) | ANY_OF(ERR_REVOKED));
        for (int i = 0; i < THREADS; i++) {
            stop_reading(&readings[i]);
            CHECK_AMONG(readings[i].status, ANY_OF(OK) | ANY_OF(ERR_STALE));
            if (readings[i].status == MEMGUARD_OK) /* made before the purge, or after it */
                CHECK(life(readings[i].secret) == MEMGUARD_ERR_STALE || holds_pattern(readings[i].secret, SIZE, 2));
            close_end(&channels[i].out); /* the feeder must not wait for a reader that was purged */
            stop_feeding(&feeders[i]);
            if (readings[i].secret.id != 0) ignore(memguard_secret_destroy(&readings[i].secret));
        }
    }
    vault_end(own);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

TEST(write_gives_all_bytes_to_descriptors_of_every_kind) {
    static const size_t sizes[] = {1, 100, 4096, 5000, 70000, 1 << 20};
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] * KINDS; i++) {
        const size_t size = sizes[i / KINDS];
        channel c = open_channel((enum kind)(i % KINDS));
        memguard_secret secret = secret_make(vault, size, rests[(i / KINDS + i) % 4], 7);
        drainer d = {.descriptor = c.out, .room = size + 1, .slowly = i % 3 == 0};
        start_draining(&d);
        CHECK_STATUS(memguard_secret_write(secret, c.in), MEMGUARD_OK);
        close_end(&c.in);
        CHECK(stop_draining(&d, size, 7));
        CHECK(holds_pattern(secret, size, 7));
        drop(&secret), close_channel(&c);
    }
}

TEST(write_to_nobody_is_an_error_and_no_signal) {
    sigset_t pending;
    for (int kind = 0; kind < KINDS; kind++) {
        channel c = open_channel((enum kind)kind);
        memguard_secret secret = secret_make(vault, 100, 0, 7);
        close_end(&c.out);
        CHECK_STATUS(memguard_secret_write(secret, c.in), MEMGUARD_ERR_IO);
        CHECK(last_os_error() == EPIPE);
        CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
        drop(&secret), close_channel(&c);
    }
}

TEST(a_signal_that_was_pending_before_stays) {
    sigset_t pipe_alone, before, pending;
    const struct timespec at_once = {0, 0};
    channel c = open_channel(PIPE);
    memguard_secret secret = secret_make(vault, 100, 0, 7);
    close_end(&c.out);
    sigemptyset(&pipe_alone), sigaddset(&pipe_alone, SIGPIPE);
    CHECK(pthread_sigmask(SIG_BLOCK, &pipe_alone, &before) == 0);
    CHECK_STATUS(memguard_secret_write(secret, c.in), MEMGUARD_ERR_IO);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
    CHECK(raise(SIGPIPE) == 0);
    CHECK_STATUS(memguard_secret_write(secret, c.in), MEMGUARD_ERR_IO);
    CHECK(sigtimedwait(&pipe_alone, NULL, &at_once) == SIGPIPE);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    drop(&secret), close_channel(&c);
}

TEST(errors_of_writing_are_told_and_the_secret_stays) {
    channel c = open_channel(PIPE);
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    const struct {
        int descriptor, error;
    } bad[] = {{-1, EBADF}, {c.out, EBADF}, {1000000, EBADF}, {full, ENOSPC}};
    memguard_secret secret = secret_make(vault, 100, 0, 7);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(memguard_secret_write(secret, bad[i].descriptor), MEMGUARD_ERR_IO);
        CHECK(last_os_error() == bad[i].error);
    }
    CHECK(holds_pattern(secret, 100, 7));
    CHECK_STATUS(memguard_secret_write((memguard_secret){0}, c.in), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_write(secret, c.in), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    close(full), drop(&secret), close_channel(&c);
}

typedef struct writing {
    memguard_secret secret;
    int descriptor;
    memguard_status status;
    atomic_int thread;
    pthread_t id;
} writing;

static void *write_in_thread(void *arg) {
    writing *w = arg;
    atomic_store(&w->thread, (int)syscall(SYS_gettid));
    w->status = memguard_secret_write(w->secret, w->descriptor);
    return NULL;
}

TEST(signals_do_not_break_writing_off) {
    struct sigaction action = {.sa_handler = count_signal}, before;
    CHECK(sigaction(SIGUSR1, &action, &before) == 0);
    for (int kind = 0; kind < KINDS; kind++) {
        enum { SIZE = 600000 };
        channel c = open_channel((enum kind)kind);
        writing w = {.secret = secret_make(vault, SIZE, 0, 8), .descriptor = c.in};
        drainer d = {.descriptor = c.out, .room = SIZE};
        CHECK(pthread_create(&w.id, NULL, write_in_thread, &w) == 0);
        CHECK(wait_until_asleep(&w.thread)); /* it is full */
        for (int i = 0; i < 20; i++) pthread_kill(w.id, SIGUSR1), sleep_ms(1);
        start_draining(&d);
        for (int i = 0; i < 20; i++) pthread_kill(w.id, SIGUSR1), sched_yield();
        CHECK(pthread_join(w.id, NULL) == 0);
        CHECK_STATUS(w.status, MEMGUARD_OK);
        CHECK(stop_draining(&d, SIZE, 8));
        drop(&w.secret), close_channel(&c);
    }
    CHECK(sigaction(SIGUSR1, &before, NULL) == 0);
}

TEST(a_purge_ends_a_write_that_nobody_takes) {
    for (int kind = 0; kind < KINDS; kind++) {
        memguard_vault *own = vault_make();
        channel c = open_channel((enum kind)kind);
        writing w = {.secret = secret_make(own, 1 << 20, 0, 8), .descriptor = c.in};
        drainer d = {.descriptor = c.out, .room = 2 << 20};
        CHECK(pthread_create(&w.id, NULL, write_in_thread, &w) == 0);
        CHECK(wait_until_asleep(&w.thread));
        /* Where the system call itself waits, the page is taken away; where we wait, we notice. */
        CHECK_AMONG(memguard_vault_purge(own, 0), ANY_OF(ERR_REVOKED) | ANY_OF(OK));
        start_draining(&d);
        CHECK(pthread_join(w.id, NULL) == 0);
        CHECK_AMONG(w.status, ANY_OF(ERR_REVOKED) | ANY_OF(ERR_STALE));
        close_end(&c.in);
        CHECK(!stop_draining(&d, 1 << 20, 8)); /* not all of it came */
        vault_end(own);
        close_channel(&c);
    }
}

int main(void) {
    vault = vault_make();
    RUN(exact_gives_every_size_from_descriptors_of_every_kind);
    RUN(all_gives_every_size_from_descriptors_that_stutter);
    RUN(until_drops_the_delimiter_and_reads_nothing_behind_it);
    RUN(until_takes_any_byte_as_delimiter_and_grows);
    RUN(a_regular_file_is_left_at_the_right_place);
    RUN(the_secret_rests_as_the_flags_say);
    RUN(scopes_take_what_is_read_unless_it_is_kept);
    RUN(a_short_input_gives_what_came);
    RUN(an_end_before_the_delimiter_gives_what_came);
    RUN(nothing_is_told_from_little);
    RUN(too_much_is_refused_and_wiped);
    RUN(errors_of_the_descriptor_are_told_and_nothing_is_made);
    RUN(bad_arguments_read_nothing);
    RUN(a_locked_vault_reads_nothing);
    RUN(a_reader_is_as_good_as_a_descriptor);
    RUN(a_reader_that_fails_or_lies_makes_nothing);
    RUN(a_reader_may_call_the_library);
    RUN(a_purge_inside_a_reader_comes_when_it_returns);
    RUN(a_reader_that_returns_in_a_child_is_refused_there);
    RUN(signals_do_not_break_reading_off);
    RUN(a_purge_ends_those_who_wait_and_waits_for_none);
    RUN(a_vault_can_end_while_someone_waits_for_input);
    RUN(a_lock_seals_what_came_and_reading_goes_on_after_it);
    RUN(waiting_is_not_idling);
    RUN(a_purge_covers_pages_that_a_system_call_is_writing_to);
    RUN(reading_is_no_cancellation_point);
    RUN(readers_beside_purges_give_whole_secrets_or_none);
    RUN(write_gives_all_bytes_to_descriptors_of_every_kind);
    RUN(write_to_nobody_is_an_error_and_no_signal);
    RUN(a_signal_that_was_pending_before_stays);
    RUN(errors_of_writing_are_told_and_the_secret_stays);
    RUN(signals_do_not_break_writing_off);
    RUN(a_purge_ends_a_write_that_nobody_takes);
    vault_end(vault);
    return check_end();
}
