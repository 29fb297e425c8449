/* test_seams.c: where parts meet: forks, purges and locks with streams, large secrets, input and output under way; and what of
 * one part another one must not show. Each test has a process of its own; its first call makes the vaults. */
#include "api/forks.h"

#include <fcntl.h>
#include <memguard/codec.h>
#include <memguard/io.h>
#include <memguard/process.h>
#include <memguard/stream.h>
#include <sys/resource.h>
#include <termios.h>

enum { CHUNK = 16384, HALF = 5000, PIECE = 100, CHILDREN = 20, MOST = 100000 };

static memguard_stream stream_make(memguard_vault *vault) {
    memguard_stream stream = {0};
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    return stream;
}

static void put(memguard_stream stream, size_t bytes, uint32_t seed) {
    unsigned char source[3 * CHUNK];
    fill(source, bytes, seed);
    CHECK_STATUS(memguard_stream_write(stream, source, bytes), MEMGUARD_OK);
}

static int gives(memguard_stream stream, size_t bytes, uint32_t seed) {
    unsigned char buffer[3 * CHUNK];
    size_t got = 0;
    memset(buffer, 0, bytes);
    return memguard_stream_read(stream, buffer, bytes, &got) == MEMGUARD_OK && got == bytes &&
           is_pattern(buffer, bytes, seed);
}

/* A call on a thread of its own, which is not heard of until it ends. */
typedef struct caller {
    estate *e;
    memguard_stream stream;
    memguard_secret secret;
    memguard_large large;
    int descriptor, other;
    atomic_int begun;
    memguard_status status;
    memguard_secret made;
    uint64_t moved;
} caller;

static pthread_t start(void *(*call)(void *), caller *c) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, call, c) == 0);
    CHECK(wait_for(&c->begun, 1));
    sleep_ms(100); /* then it waits inside the call, as far as can be told */
    return thread;
}

static void end(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* ---- forks while other threads wait in a call -------------------------------------------------------------- */

static int use_and_end(void *arg) {
    caller *c = arg;
    CHECK(all_hold(c->e, SEED));
    const memguard_report report = report_of(c->e->vault);
    CHECK(report.borrows == 0 && report.larges == 0);
    CHECK(report.secrets[MEMGUARD_CLOSED] == 2); /* those of the estate: none is being read any more */
    vault_end(c->e->vault);
    return 0;
}

static void *read_it_all(void *arg) {
    caller *c = arg;
    atomic_store(&c->begun, 1);
    c->status = memguard_secret_read_all(c->e->vault, c->descriptor, MOST, MEMGUARD_SEALED, &c->made);
    return NULL;
}

ALONE(a_fork_does_not_wait_for_a_read_that_waits_and_its_child_has_nothing_of_what_came) {
    unsigned char bytes[PIECE];
    caller c = {.e = estate_make()};
    c.descriptor = c.e->to_child[0];
    pthread_t thread = start(read_it_all, &c);
    fill(bytes, PIECE, SEED);
    CHECK(write(c.e->to_child[1], bytes, PIECE / 2) == PIECE / 2);
    sleep_ms(50);
    IN_CHILD(use_and_end, &c);
    CHECK(write(c.e->to_child[1], bytes + PIECE / 2, PIECE / 2) == PIECE / 2);
    CHECK(close(c.e->to_child[1]) == 0);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
    CHECK(holds_pattern(c.made, PIECE, SEED));
}

static ptrdiff_t read_slowly(void *buffer, size_t bytes, void *arg) {
    caller *c = arg;
    memset(buffer, 1, bytes);
    atomic_store(&c->begun, 1);
    CHECK(wait_for(&c->e->flag, 1));
    return (ptrdiff_t)bytes;
}

static void *read_from_slow_reader(void *arg) {
    caller *c = arg;
    c->status =
        memguard_secret_read_from(c->e->vault, read_slowly, c, MEMGUARD_UNTIL_FULL, PIECE, MEMGUARD_SEALED, &c->made);
    return NULL;
}

ALONE(a_fork_does_not_wait_for_a_reader_of_the_host) {
    caller c = {.e = estate_make()};
    pthread_t thread = start(read_from_slow_reader, &c);
    IN_CHILD(use_and_end, &c);
    atomic_store(&c.e->flag, 1);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
}

static void *fill_the_stream(void *arg) {
    caller *c = arg;
    atomic_store(&c->begun, 1);
    c->status = memguard_stream_fill(c->stream, c->descriptor, MOST, &c->moved);
    return NULL;
}

ALONE(a_fork_does_not_wait_for_stream_fill) {
    caller c = {.e = estate_make()};
    c.stream = stream_make(c.e->vault);
    c.descriptor = c.e->to_child[0];
    pthread_t thread = start(fill_the_stream, &c);
    IN_CHILD(use_and_end, &c);
    CHECK(write(c.e->to_child[1], "abc", 3) == 3 && close(c.e->to_child[1]) == 0);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
    CHECK(c.moved == 3);
}

static void *take_large(void *arg) {
    caller *c = arg;
    atomic_store(&c->begun, 1);
    c->status = memguard_large_from_fd(c->e->vault, c->descriptor, MOST, NULL, &c->large);
    return NULL;
}

ALONE(a_large_secret_that_is_being_read_does_not_outlive_its_reader_in_a_child) {
    unsigned char bytes[2 * CHUNK];
    caller c = {.e = estate_make()};
    c.descriptor = c.e->to_child[0];
    pthread_t thread = start(take_large, &c);
    fill(bytes, sizeof bytes, SEED);
    CHECK(write(c.e->to_child[1], bytes, sizeof bytes) == sizeof bytes);
    sleep_ms(100);
    IN_CHILD(use_and_end, &c);
    CHECK(close(c.e->to_child[1]) == 0);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
    uint64_t size = 0;
    CHECK_STATUS(memguard_large_size(c.large, &size), MEMGUARD_OK);
    CHECK(size == sizeof bytes && report_of(c.e->vault).larges == 1);
}

static void fill_pipe(int end) {
    static const char zeros[4096];
    CHECK(fcntl(end, F_SETFL, O_NONBLOCK) == 0);
    while (write(end, zeros, sizeof zeros) > 0) {
    }
    CHECK(fcntl(end, F_SETFL, 0) == 0);
}

static void *write_it(void *arg) {
    caller *c = arg;
    atomic_store(&c->begun, 1);
    c->status = memguard_secret_write(c->secret, c->descriptor);
    return NULL;
}

static void drain_pipe(int end) {
    char bytes[4096];
    CHECK(fcntl(end, F_SETFL, O_NONBLOCK) == 0);
    while (read(end, bytes, sizeof bytes) > 0) {
    }
}

ALONE(a_secret_that_is_being_written_is_not_borrowed_in_a_child) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        caller c = {.e = estate_make()};
        c.secret = rest % 2 == 0 ? c.e->secrets[rest] : c.e->longer[rest];
        c.descriptor = c.e->to_child[1];
        fill_pipe(c.descriptor);
        pthread_t thread = start(write_it, &c);
        IN_CHILD(use_and_end, &c);
        drain_pipe(c.e->to_child[0]);
        end(thread);
        CHECK_STATUS(c.status, MEMGUARD_OK);
        vault_end(c.e->vault);
    }
}

/* ---- a terminal that stands still -------------------------------------------------------------------------- */

static void *ask(void *arg) {
    caller *c = arg;
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    options.text = "?";
    options.input = options.output = c->descriptor;
    options.flags = MEMGUARD_PROMPT_DESCRIPTORS;
    atomic_store(&c->begun, 1);
    c->status = memguard_prompt(c->e->vault, &options, MEMGUARD_SEALED, &c->made);
    return NULL;
}

static int open_terminal(int *slave) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(*slave >= 0);
    return master;
}

ALONE(a_fork_does_not_wait_for_a_terminal_that_stands_still_at_the_end_of_a_prompt) {
    char text = 0;
    caller c = {.e = estate_make()};
    const int master = open_terminal(&c.descriptor);
    pthread_t thread = start(ask, &c);
    CHECK(read(master, &text, 1) == 1 && text == '?');
    CHECK(tcflow(c.descriptor, TCOOFF) == 0);
    CHECK(write(master, "word\n", 5) == 5);
    sleep_ms(300);
    IN_CHILD(use_and_end, &c);
    CHECK(tcflow(c.descriptor, TCOON) == 0);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
    CHECK(holds(c.made, "word", 4));
}

ALONE(a_fork_does_not_wait_for_a_terminal_that_stands_still_at_the_beginning_of_a_prompt) {
    caller c = {.e = estate_make()};
    const int master = open_terminal(&c.descriptor);
    CHECK(tcflow(c.descriptor, TCOOFF) == 0);
    pthread_t thread = start(ask, &c);
    IN_CHILD(use_and_end, &c);
    CHECK(tcflow(c.descriptor, TCOON) == 0);
    CHECK(write(master, "word\n", 5) == 5);
    end(thread);
    CHECK_AMONG(c.status, ANY_OF(OK) | ANY_OF(ERR_SHORT));
}

/* ---- forks by functions that are shown bytes ------------------------------------------------------------------ */

static int fork_inside(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    const pid_t child = fork();
    CHECK(child >= 0 && is_pattern(bytes, size, SEED));
    if (child != 0) CHECK(check_exited(end_of(child), 0));
    e->seed = child == 0 ? 1 : SEED; /* tells the caller which of the two it is */
    return 5;
}

static memguard_large large_make(memguard_vault *vault, size_t bytes) {
    unsigned char source[3 * CHUNK];
    memguard_large large = {0};
    fill(source, bytes, SEED);
    CHECK_STATUS(memguard_large_create(vault, bytes, NULL, &large), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_write_at(large, 0, source, bytes), MEMGUARD_OK);
    return large;
}

static void fork_inside_large_use(size_t bytes) {
    int result = 0;
    estate *e = estate_make();
    memguard_large large = large_make(e->vault, 2 * CHUNK);
    CHECK_STATUS(memguard_large_use_at(large, 0, bytes, fork_inside, e, &result), MEMGUARD_OK);
    CHECK(result == 5);
    CHECK_STATUS(memguard_large_use_at(large, 0, bytes, show_nothing, NULL, &result), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    CHECK(report_of(e->vault).borrows == 0);
    vault_end(e->vault);
    if (e->seed == 1) _exit(atomic_load(&check_bad) != 0);
}

ALONE(a_fork_inside_large_use_leaves_two_processes_that_both_end_it) {
    fork_inside_large_use(CHUNK);
    fork_inside_large_use(PIECE);
}

ALONE(a_fork_inside_stream_use_leaves_two_processes_that_both_end_it) {
    int result = 0;
    estate *e = estate_make();
    memguard_stream stream = stream_make(e->vault);
    put(stream, HALF, SEED);
    CHECK_STATUS(memguard_stream_flush(stream), MEMGUARD_OK);
    put(stream, HALF, SEED);
    CHECK_STATUS(memguard_stream_use(stream, HALF, fork_inside, e, &result), MEMGUARD_OK);
    CHECK(result == 5 && gives(stream, HALF, SEED));
    vault_end(e->vault);
    if (e->seed == 1) _exit(atomic_load(&check_bad) != 0);
}

static int refused(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    (void)bytes, (void)size;
    const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); /* no fork handlers: a child that is refused */
    if (child != 0) CHECK(check_exited(end_of((pid_t)child), 0));
    e->seed = child == 0 ? 1 : SEED;
    return 0;
}

ALONE_UNLESS(in_a_child_that_is_refused_stream_use_and_large_use_answer_forked, UNDER_TSAN, "a raw clone") {
    estate *e = estate_make();
    memguard_stream stream = stream_make(e->vault);
    memguard_large large = large_make(e->vault, 2 * CHUNK);
    put(stream, HALF, SEED);
    memguard_status status = memguard_stream_use(stream, HALF, refused, e, NULL);
    if (e->seed == 1) _exit(status != MEMGUARD_ERR_FORKED || memguard_stream_destroy(&stream) != MEMGUARD_ERR_FORKED);
    CHECK_STATUS(status, MEMGUARD_OK);
    status = memguard_large_use_at(large, 0, CHUNK, refused, e, NULL);
    if (e->seed == 1) _exit(status != MEMGUARD_ERR_FORKED || memguard_large_destroy(&large) != MEMGUARD_ERR_FORKED);
    CHECK_STATUS(status, MEMGUARD_OK);
    vault_end(e->vault);
}

static void *use_the_stream(void *arg) {
    caller *c = arg;
    c->status = memguard_stream_use(c->stream, CHUNK, stay, c->e, NULL);
    return NULL;
}

static int find_the_stream(void *arg) {
    caller *c = arg;
    CHECK(gives(c->stream, HALF, 7));
    CHECK(report_of(c->e->vault).borrows == 0);
    CHECK_STATUS(memguard_stream_destroy(&c->stream), MEMGUARD_OK);
    vault_end(c->e->vault);
    return 0;
}

ALONE(what_a_thread_of_the_parent_was_shown_of_a_stream_ends_in_a_child) {
    for (int longer = 0; longer < 2; longer++) {
        caller c = {.e = estate_make()};
        pthread_t thread;
        c.stream = stream_make(c.e->vault);
        put(c.stream, longer ? HALF : PIECE, 6);
        CHECK_STATUS(memguard_stream_flush(c.stream), MEMGUARD_OK);
        put(c.stream, HALF, 7);
        CHECK(pthread_create(&thread, NULL, use_the_stream, &c) == 0);
        CHECK(wait_for(&c.e->flag, 1));
        IN_CHILD(find_the_stream, &c);
        atomic_store(&c.e->flag, 2);
        end(thread);
        CHECK_STATUS(c.status, MEMGUARD_OK);
        CHECK(gives(c.stream, HALF, 7));
        vault_end(c.e->vault);
    }
}

/* The reader goes on in both. */
static ptrdiff_t fork_in_reader(void *buffer, size_t bytes, void *arg) {
    estate *e = arg;
    if (e->seed == SEED) {
        const pid_t child = fork();
        if (child != 0) CHECK(check_exited(end_of(child), 0));
        e->seed = child == 0 ? 1 : 2;
    }
    memset(buffer, (int)e->seed, bytes);
    return (ptrdiff_t)bytes;
}

ALONE(a_reader_that_forks_goes_on_in_both_processes) {
    estate *e = estate_make();
    unsigned char expected[PIECE];
    memguard_secret made = {0};
    CHECK_STATUS(memguard_secret_read_from(e->vault, fork_in_reader, e, MEMGUARD_UNTIL_FULL, PIECE, 0, &made),
                 MEMGUARD_OK);
    memset(expected, (int)e->seed, PIECE);
    CHECK(holds(made, expected, PIECE));
    vault_end(e->vault);
    if (e->seed == 1) _exit(atomic_load(&check_bad) != 0);
}

static int set_soft_memlock(rlim_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return -1;
    limit.rlim_cur = bytes;
    return setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* In the child nothing can be locked at first. */
static ptrdiff_t fork_without_memory(void *buffer, size_t bytes, void *arg) {
    estate *e = arg;
    const pid_t child = fork();
    if (child != 0) CHECK(check_exited(end_of(child), 0));
    e->seed = child == 0 ? 1 : 2;
    if (child == 0) CHECK(drop_memlock(8 << 20) == 0 && set_soft_memlock(page_bytes()) == 0);
    memset(buffer, 1, bytes);
    return (ptrdiff_t)bytes;
}

ALONE(a_reader_in_a_child_that_cannot_settle_at_first_leaves_nothing_borrowed) {
    estate *e = estate_make();
    memguard_secret made = {0};
    const memguard_status status =
        memguard_secret_read_from(e->vault, fork_without_memory, e, MEMGUARD_UNTIL_FULL, PIECE, 0, &made);
    if (e->seed == 2) return;
    CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT);
    CHECK(set_soft_memlock(8 << 20) == 0);
    vault_end(e->vault);
    _exit(atomic_load(&check_bad) != 0);
}

/* ---- the first call of a child comes from another thread than the one that forked ------------------------------- */

static void *look_at_all(void *arg) {
    CHECK(all_hold(arg, SEED));
    return NULL;
}

typedef struct scoped {
    estate *e;
    memguard_scope scope;
    memguard_secret secret;
    memguard_view view;
} scoped;

static int settle_by_another_thread(void *arg) {
    scoped *s = arg;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, look_at_all, s->e) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(holds_pattern(s->secret, SIZE, 8));
    give_back(&s->view);
    CHECK_STATUS(memguard_scope_destroy(&s->scope), MEMGUARD_OK);
    CHECK_STATUS(life(s->secret), MEMGUARD_ERR_STALE);
    return 0;
}

ALONE_UNLESS(scopes_of_the_thread_that_forked_stay_open_when_another_thread_calls_first, UNDER_TSAN,
             "children cannot start threads") {
    scoped s = {.e = estate_make()};
    CHECK_STATUS(memguard_scope_create(s.e->vault, &s.scope), MEMGUARD_OK);
    s.secret = secret_make(s.e->vault, SIZE, MEMGUARD_SEALED, 8);
    s.view = borrow(s.e->secrets[0], MEMGUARD_READ);
    IN_CHILD(settle_by_another_thread, &s);
}

static ptrdiff_t fork_and_let_another_call(void *buffer, size_t bytes, void *arg) {
    estate *e = arg;
    const pid_t child = fork();
    if (child != 0) CHECK(check_exited(end_of(child), 0));
    e->seed = child == 0 ? 1 : 2;
    if (child == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, look_at_all, e) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    memset(buffer, (int)e->seed, bytes);
    return (ptrdiff_t)bytes;
}

ALONE_UNLESS(what_the_thread_that_forked_is_reading_stays_when_another_thread_calls_first, UNDER_TSAN,
             "children cannot start threads") {
    estate *e = estate_make();
    unsigned char expected[PIECE];
    memguard_secret made = {0};
    CHECK_STATUS(
        memguard_secret_read_from(e->vault, fork_and_let_another_call, e, MEMGUARD_UNTIL_FULL, PIECE, 0, &made),
        MEMGUARD_OK);
    memset(expected, (int)e->seed, PIECE);
    CHECK(holds(made, expected, PIECE));
    vault_end(e->vault);
    if (e->seed == 1) _exit(atomic_load(&check_bad) != 0);
}

/* ---- what stayed in the parent --------------------------------------------------------------------------------- */

typedef struct left {
    estate *e;
    memguard_vault *vault; /* refuses */
    memguard_secret secret;
    memguard_stream stream;
    memguard_large large;
    int pipe[2];
} left;

static int no_chunk(uint64_t offset, const void *bytes, size_t size, void *arg) {
    (void)offset, (void)bytes, (void)size, (void)arg;
    return 0;
}

static void tell_no_one(const memguard_lost *lost, void *arg) {
    (void)lost, (void)arg;
    const int told = 1;
    CHECK(told == 0);
}

static void streams_answer_forked(const left *l) {
    unsigned char bytes[PIECE] = {0};
    memguard_stream stream = l->stream;
    memguard_secret secret = {0};
    uint64_t size = 0, moved = 0;
    size_t got = 0;
    FILE *file = NULL;
    FORKED(memguard_stream_create(l->vault, NULL, &stream));
    stream = l->stream;
    FORKED(memguard_stream_write(stream, bytes, PIECE));
    FORKED(memguard_stream_read(stream, bytes, PIECE, &got));
    FORKED(memguard_stream_next(stream, 0, &secret));
    FORKED(memguard_stream_use(stream, PIECE, show_nothing, NULL, NULL));
    FORKED(memguard_stream_flush(stream));
    FORKED(memguard_stream_finish(stream));
    FORKED(memguard_stream_size(stream, &size));
    FORKED(memguard_stream_fill(stream, l->pipe[0], PIECE, &moved));
    FORKED(memguard_stream_drain(stream, l->pipe[1], PIECE, &moved));
    FORKED(memguard_stream_open_file(stream, "r", &file));
    FORKED(memguard_stream_destroy(&stream));
}

static void larges_answer_forked(const left *l) {
    unsigned char bytes[PIECE] = {0};
    memguard_large large = l->large;
    uint64_t size = 0;
    size_t chunk = 0;
    FORKED(memguard_large_create(l->vault, PIECE, NULL, &large));
    FORKED(memguard_large_from_fd(l->vault, l->pipe[0], PIECE, NULL, &large));
    large = l->large;
    FORKED(memguard_large_size(large, &size));
    FORKED(memguard_large_chunk_bytes(large, &chunk));
    FORKED(memguard_large_resize(large, PIECE));
    FORKED(memguard_large_read_at(large, 0, bytes, PIECE));
    FORKED(memguard_large_write_at(large, 0, bytes, PIECE));
    FORKED(memguard_large_use_at(large, 0, PIECE, show_nothing, NULL, NULL));
    FORKED(memguard_large_each(large, no_chunk, NULL, NULL));
    FORKED(memguard_large_to_fd(large, 0, PIECE, l->pipe[1]));
    FORKED(memguard_large_destroy(&large));
}

static void the_vault_answers_forked(const left *l) {
    memguard_vault *vault = l->vault;
    memguard_secret secret = {0};
    memguard_report report = {.size = sizeof report};
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    options.input = l->pipe[0], options.output = l->pipe[1], options.flags = MEMGUARD_PROMPT_DESCRIPTORS;
    FORKED(memguard_vault_report(vault, &report));
    FORKED(memguard_vault_tick(vault, NULL));
    FORKED(memguard_vault_purge(vault, 0));
    FORKED(memguard_vault_lock(vault, right_kek));
    FORKED(memguard_vault_unlock(vault, right_kek));
    FORKED(memguard_vault_rewrap(vault, right_kek, wrong_kek));
    FORKED(memguard_vault_prepare(vault, PIECE, 1));
    FORKED(memguard_lost_list(vault, tell_no_one, NULL));
    FORKED(memguard_lost_sweep(vault, NULL, NULL));
    FORKED(memguard_secret_read_exact(vault, l->pipe[0], PIECE, 0, &secret));
    FORKED(memguard_prompt(vault, &options, 0, &secret));
    FORKED(memguard_hex_encode(l->secret, 0, &secret));
    FORKED(memguard_secret_write(l->secret, l->pipe[1]));
    FORKED(memguard_vault_destroy(&vault));
}

static int ask_for_what_stayed(void *arg) {
    const left *l = arg;
    CHECK(all_hold(l->e, SEED));
    streams_answer_forked(l);
    larges_answer_forked(l);
    the_vault_answers_forked(l);
    CHECK(all_hold(l->e, SEED));
    vault_end(l->e->vault);
    return 0;
}

static left leave(void) {
    left l = {.e = estate_make(), .vault = refusing_vault()};
    l.secret = secret_make(l.vault, SIZE, MEMGUARD_CLOSED, SEED);
    l.stream = stream_make(l.vault);
    l.large = large_make(l.vault, CHUNK);
    put(l.stream, CHUNK + HALF, SEED); /* with an open window */
    CHECK(pipe(l.pipe) == 0);
    return l;
}

ALONE(streams_of_a_vault_that_refuses_answer_forked_in_a_child_whatever_is_asked) {
    left l = leave();
    IN_CHILD(ask_for_what_stayed, &l);
    CHECK(gives(l.stream, CHUNK + HALF, SEED));
    vault_end(l.vault);
}

static int wipe_and_ask(void *arg) {
    left *l = arg;
    memguard_report report = {.size = sizeof report};
    CHECK(all_hold(l->e, SEED));
    memguard_emergency_wipe();
    FORKED(memguard_vault_report(l->vault, &report));
    FORKED(memguard_vault_purge(l->vault, 0));
    ignore(memguard_purge_all(0));
    sleep_ms(50); /* the housekeeper keeps away from them, too */
    return 0;
}

ALONE(an_emergency_wipe_in_a_child_leaves_alone_what_stayed_in_the_parent) {
    left l = leave();
    IN_CHILD(wipe_and_ask, &l);
    CHECK(gives(l.stream, CHUNK + HALF, SEED));
}

/* ---- a stream in parent and children ----------------------------------------------------------------------------- */

typedef struct shared_stream {
    memguard_vault *vault;
    memguard_stream stream;
    uint32_t number;
} shared_stream;

static int go_on_with_stream(void *arg) {
    shared_stream *s = arg;
    put(s->stream, 2 * CHUNK, 100 + s->number);
    CHECK(gives(s->stream, CHUNK + HALF, SEED));
    put(s->stream, HALF, 200 + s->number);
    sleep_ms(10); /* the child's own housekeeper seals it */
    CHECK(gives(s->stream, 2 * CHUNK, 100 + s->number) && gives(s->stream, HALF, 200 + s->number));
    CHECK(report_of(s->vault).auth_failures == 0);
    CHECK_STATUS(memguard_stream_destroy(&s->stream), MEMGUARD_OK);
    vault_end(s->vault);
    return 0;
}

ALONE(twenty_children_and_their_parent_go_on_with_one_stream_each_on_its_own) {
    shared_stream s = {.vault = copied_vault()};
    pid_t children[CHILDREN];
    s.stream = stream_make(s.vault);
    put(s.stream, CHUNK + HALF, SEED);
    for (s.number = 0; s.number < CHILDREN; s.number++)
        children[s.number] = start_child(go_on_with_stream, &s);
    put(s.stream, HALF, 3);
    for (int i = 0; i < CHILDREN; i++)
        CHECK(check_exited(end_of(children[i]), 0));
    CHECK(gives(s.stream, CHUNK + HALF, SEED) && gives(s.stream, HALF, 3));
    CHECK(report_of(s.vault).auth_failures == 0);
    vault_end(s.vault);
}

/* ---- purges while threads wait ------------------------------------------------------------------------------------ */

static int stay_revoked(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    (void)size;
    atomic_store(&e->flag, 1);
    for (uint64_t until = now_ms() + 10000; can_read(bytes) == 1 && now_ms() < until;)
        sleep_ms(1);
    CHECK(can_read(bytes) == 0);
    return 0;
}

static void *use_until_revoked(void *arg) {
    caller *c = arg;
    c->status = memguard_stream_use(c->stream, CHUNK, stay_revoked, c->e, NULL);
    return NULL;
}

ALONE(a_purge_takes_away_what_a_stream_shows) {
    for (int longer = 0; longer < 2; longer++) {
        caller c = {.e = estate_make()};
        pthread_t thread;
        c.stream = stream_make(c.e->vault);
        put(c.stream, longer ? HALF : PIECE, 6);
        put(c.stream, CHUNK, 6); /* with an open window */
        CHECK(pthread_create(&thread, NULL, use_until_revoked, &c) == 0);
        CHECK(wait_for(&c.e->flag, 1));
        CHECK_STATUS(memguard_vault_purge(c.e->vault, 10), MEMGUARD_ERR_REVOKED);
        end(thread);
        CHECK_STATUS(c.status, MEMGUARD_ERR_REVOKED);
        CHECK_STATUS(memguard_stream_flush(c.stream), MEMGUARD_ERR_STALE);
        memguard_report report = report_of(c.e->vault);
        CHECK(report.streams == 0 && report.stream_bytes == 0 && report.borrows == 0 && report.revoked == 1);
        vault_end(c.e->vault);
    }
}

ALONE(a_purge_does_not_wait_for_stream_fill_at_an_empty_pipe) {
    caller c = {.e = estate_make()};
    c.stream = stream_make(c.e->vault);
    c.descriptor = c.e->to_child[0];
    pthread_t thread = start(fill_the_stream, &c);
    CHECK_STATUS(memguard_vault_purge(c.e->vault, 60000), MEMGUARD_OK);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_ERR_STALE);
    vault_end(c.e->vault);
}

ALONE(a_purge_takes_away_what_is_being_written_to_a_full_pipe) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        caller c = {.e = estate_make()};
        c.secret = c.e->longer[rest];
        c.descriptor = c.e->to_child[1];
        fill_pipe(c.descriptor);
        pthread_t thread = start(write_it, &c);
        CHECK_STATUS(memguard_vault_purge(c.e->vault, 10), MEMGUARD_ERR_REVOKED);
        drain_pipe(c.e->to_child[0]);
        end(thread);
        CHECK_AMONG(c.status, ANY_OF(ERR_REVOKED) | ANY_OF(ERR_STALE));
        vault_end(c.e->vault);
    }
}

ALONE(a_purge_does_not_wait_for_a_prompt) {
    caller c = {.e = estate_make()};
    const int master = open_terminal(&c.descriptor);
    pthread_t thread = start(ask, &c);
    CHECK_STATUS(memguard_vault_purge(c.e->vault, 60000), MEMGUARD_OK);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_ERR_STALE);
    CHECK(close(master) == 0);
    vault_end(c.e->vault);
}

/* ---- locks ---------------------------------------------------------------------------------------------------------- */

ALONE(a_lock_closes_open_windows_and_what_was_in_them_is_there_after_the_unlock) {
    estate *e = estate_make();
    memguard_stream stream = stream_make(e->vault);
    memguard_large large = large_make(e->vault, 2 * CHUNK);
    unsigned char bytes[PIECE];
    put(stream, PIECE, SEED);
    CHECK_STATUS(memguard_large_read_at(large, 0, bytes, PIECE), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(e->vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_read_at(large, 0, bytes, PIECE), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_stream_write(stream, bytes, PIECE), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(e->vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_large_read_at(large, 0, bytes, PIECE), MEMGUARD_OK);
    CHECK(is_pattern(bytes, PIECE, SEED) && gives(stream, PIECE, SEED));
    vault_end(e->vault);
}

ALONE(a_lock_is_refused_while_a_stream_shows_bytes) {
    caller c = {.e = estate_make()};
    pthread_t thread;
    c.stream = stream_make(c.e->vault);
    put(c.stream, HALF, 6);
    CHECK(pthread_create(&thread, NULL, use_the_stream, &c) == 0);
    CHECK(wait_for(&c.e->flag, 1));
    CHECK_STATUS(memguard_vault_lock(c.e->vault, right_kek), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_vault_destroy(&c.e->vault), MEMGUARD_ERR_BUSY);
    atomic_store(&c.e->flag, 2);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_OK);
    vault_end(c.e->vault);
}

ALONE(a_vault_that_was_locked_has_nothing_left_to_seal) {
    memguard_vault *vault = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_CLOSED, SEED);
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    uint32_t next_ms = 0;
    limits.seal_ms = 10;
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    sleep_ms(30);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
        sleep_ms(60);
    }
    CHECK_STATUS(memguard_vault_tick(vault, &next_ms), MEMGUARD_OK);
    CHECK(next_ms > 1000); /* the housekeeper would look again and again */
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK(holds_pattern(secret, SIZE, SEED));
    vault_end(vault);
}

/* ---- what a crash says ------------------------------------------------------------------------------------------------ */

static int read_beyond(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return ((const volatile unsigned char *)bytes)[size];
}

static int crash_beside_a_stream(void *arg) {
    shared_stream *s = arg;
    CHECK(dup2((int)s->number, STDERR_FILENO) == STDERR_FILENO);
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
    ignore(memguard_stream_use(s->stream, PIECE, read_beyond, NULL, NULL));
    return 0;
}

ALONE_UNLESS(a_crash_beside_what_a_stream_shows_tells_no_wrong_size, UNDER_TSAN, "the sanitizer has a handler of its own before ours") {
    char words[200] = "";
    int ends[2];
    shared_stream s = {.vault = copied_vault()};
    s.stream = stream_make(s.vault);
    put(s.stream, 3 * PIECE, SEED);
    CHECK(pipe(ends) == 0);
    s.number = (uint32_t)ends[1];
    const int status = end_of(start_child(crash_beside_a_stream, &s));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    close(ends[1]);
    CHECK(read(ends[0], words, sizeof words - 1) >= 0);
    CHECK(strstr(words, "-byte") == NULL);
}

/* ---- what is being read is not a secret yet --------------------------------------------------------------------------- */

static void count_them(const memguard_lost *lost, void *count) {
    (void)lost;
    ++*(int *)count;
}

ALONE(what_is_being_read_is_no_lost_secret) {
    int count = 0, at_end = 0;
    caller c = {.e = estate_make_with(MEMGUARD_TRACK)};
    c.descriptor = c.e->to_child[0];
    pthread_t thread = start(read_it_all, &c);
    CHECK(write(c.e->to_child[1], "abc", 3) == 3);
    sleep_ms(50);
    CHECK_STATUS(memguard_lost_list(c.e->vault, count_them, &count), MEMGUARD_OK);
    CHECK(count == 2 * RESTS);
    CHECK_STATUS(memguard_lost_watch(count_them, &at_end), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_purge(c.e->vault, 60000), MEMGUARD_OK);
    CHECK_STATUS(memguard_lost_watch(NULL, NULL), MEMGUARD_OK);
    CHECK(at_end == 2 * RESTS);
    end(thread);
    CHECK_STATUS(c.status, MEMGUARD_ERR_STALE);
    vault_end(c.e->vault);
}

/* ---- the sweep's function ------------------------------------------------------------------------------------------------ */

static void fork_when_told(const memguard_lost *lost, void *arg) {
    estate *e = arg;
    (void)lost;
    if (e->seed != SEED) return;
    const pid_t child = fork();
    if (child != 0) CHECK(check_exited(end_of(child), 0));
    e->seed = child == 0 ? 1 : 2;
}

__attribute__((noinline)) static void lose_one(memguard_vault *vault) {
    const memguard_secret lost = secret_make(vault, SIZE, MEMGUARD_CLOSED, SEED);
    CHECK(lost.id != 0);
}

ALONE_UNLESS(a_function_that_a_sweep_tells_may_fork, UNDER_TSAN, "the sanitizer holds back signals") {
    estate *e = estate_make();
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    lose_one(e->vault);
    options.fn = fork_when_told;
    options.arg = e;
    CHECK_STATUS(memguard_lost_sweep(e->vault, &options, NULL), MEMGUARD_OK);
    if (!CHECK(e->seed != SEED)) return;
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
    if (e->seed == 1) _exit(atomic_load(&check_bad) != 0);
}

int main(void) {
    RUN(a_fork_does_not_wait_for_a_read_that_waits_and_its_child_has_nothing_of_what_came);
    RUN(a_fork_does_not_wait_for_a_reader_of_the_host);
    RUN(a_fork_does_not_wait_for_stream_fill);
    RUN(a_large_secret_that_is_being_read_does_not_outlive_its_reader_in_a_child);
    RUN(a_secret_that_is_being_written_is_not_borrowed_in_a_child);
    RUN(a_fork_does_not_wait_for_a_terminal_that_stands_still_at_the_end_of_a_prompt);
    RUN(a_fork_does_not_wait_for_a_terminal_that_stands_still_at_the_beginning_of_a_prompt);
    RUN(a_fork_inside_large_use_leaves_two_processes_that_both_end_it);
    RUN(a_fork_inside_stream_use_leaves_two_processes_that_both_end_it);
    RUN(in_a_child_that_is_refused_stream_use_and_large_use_answer_forked);
    RUN(what_a_thread_of_the_parent_was_shown_of_a_stream_ends_in_a_child);
    RUN(a_reader_that_forks_goes_on_in_both_processes);
    RUN(a_reader_in_a_child_that_cannot_settle_at_first_leaves_nothing_borrowed);
    RUN(scopes_of_the_thread_that_forked_stay_open_when_another_thread_calls_first);
    RUN(what_the_thread_that_forked_is_reading_stays_when_another_thread_calls_first);
    RUN(streams_of_a_vault_that_refuses_answer_forked_in_a_child_whatever_is_asked);
    RUN(an_emergency_wipe_in_a_child_leaves_alone_what_stayed_in_the_parent);
    RUN(twenty_children_and_their_parent_go_on_with_one_stream_each_on_its_own);
    RUN(a_purge_takes_away_what_a_stream_shows);
    RUN(a_purge_does_not_wait_for_stream_fill_at_an_empty_pipe);
    RUN(a_purge_takes_away_what_is_being_written_to_a_full_pipe);
    RUN(a_purge_does_not_wait_for_a_prompt);
    RUN(a_lock_closes_open_windows_and_what_was_in_them_is_there_after_the_unlock);
    RUN(a_lock_is_refused_while_a_stream_shows_bytes);
    RUN(a_vault_that_was_locked_has_nothing_left_to_seal);
    RUN(a_crash_beside_what_a_stream_shows_tells_no_wrong_size);
    RUN(what_is_being_read_is_no_lost_secret);
    RUN(a_function_that_a_sweep_tells_may_fork);
    return check_end();
}
