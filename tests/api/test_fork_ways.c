/* test_fork_ways.c: MEMGUARD_FORK_COPY: the ways in which processes come to be (fork in the midst of things, fork handlers, raw clone,
 * clone in the same memory, exec), too little lockable memory in the child, and a server that forks its workers. Each test has a
 * process of its own. */
#define _GNU_SOURCE
#include <sched.h>
#include <spawn.h>
#include <sys/socket.h>

#include "api/forks.h"

/* ---- lockable memory ------------------------------------------------------------------------------------- */

static int set_soft_memlock(rlim_t bytes) {
    struct rlimit limit = {0, 0};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return -1;
    limit.rlim_cur = bytes;
    return setrlimit(RLIMIT_MEMLOCK, &limit);
}

static int have_too_little(void *arg) {
    estate *e = arg;
    memguard_error error = MEMGUARD_ERROR_INIT;
    memguard_vault *vault = e->vault;
    CHECK(drop_memlock(8 << 20) == 0 && set_soft_memlock(page_bytes()) == 0);
    CHECK_STATUS(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCK_LIMIT);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.allowed_bytes == page_bytes() && error.needed_bytes > page_bytes());
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_LOCK_LIMIT);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_ERR_LOCK_LIMIT);
    /* A child of such a child is in the same state; and with enough of it both go on. */
    CHECK(set_soft_memlock(8 << 20) == 0);
    IN_CHILD(live_and_end, e);
    if (!CHECK_SANITIZED) CHECK(status_bytes("VmLck:") <= page_bytes());
    live(e);
    if (!CHECK_SANITIZED) CHECK(status_bytes("VmLck:") == report_of(e->vault).lock_in_use_bytes);
    vault_end(e->vault);
    return 0;
}

ALONE(without_enough_lockable_memory_a_child_is_told_so_until_it_has_it) {
    estate *e = estate_make_with(MEMGUARD_NO_THREAD); /* nothing is locked but by calls */
    IN_CHILD(have_too_little, e);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

static int be_locked(void *arg) {
    estate *e = arg;
    CHECK(status_bytes("VmLck:") == 0); /* locks are not inherited */
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_OK);
    CHECK(status_bytes("VmLck:") == report_of(e->vault).lock_in_use_bytes);
    CHECK(report_of(e->vault).lock_in_use_bytes != 0);
    return 0;
}

ALONE_UNLESS(the_pages_of_a_settled_child_are_locked, CHECK_SANITIZED,
             "sanitizers make mlock a call that does nothing") {
    estate *e = estate_make_with(MEMGUARD_NO_THREAD);
    memguard_vault *refused = vault_with_flags(MEMGUARD_NO_THREAD); /* its pages do not count in the child */
    IN_CHILD(be_locked, e);
    vault_end(refused);
    vault_end(e->vault);
}

/* Free pages do not keep a child from settling. */
static int live_on_less(void *arg) {
    estate *e = arg;
    CHECK(drop_memlock(report_of(e->vault).lock_in_use_bytes) == 0);
    CHECK(holds_pattern(e->secrets[0], SIZE, SEED));
    return 0;
}
static int settle_on_less(void *arg) {
    estate *e = arg;
    CHECK(drop_memlock(1 << 20) == 0);
    CHECK(holds_pattern(e->secrets[0], SIZE, SEED));
    CHECK(report_of(e->vault).lock_in_use_bytes <= 1 << 20);
    return 0;
}

ALONE(free_pages_are_let_go_where_a_child_may_lock_less) {
    memguard_secret many[400];
    estate *e = estate_make();
    for (int i = 0; i < 400; i++)
        many[i] = secret_make(e->vault, SIZE, MEMGUARD_CLOSED, 1);
    for (int i = 0; i < 400; i++)
        CHECK_STATUS(memguard_secret_destroy(&many[i]), MEMGUARD_OK);
    CHECK(report_of(e->vault).lock_in_use_bytes > 1 << 20);
    IN_CHILD(settle_on_less, e);
    IN_CHILD(live_on_less, e);
    vault_end(e->vault);
}

/* Where pages are short, `use` waits for one that another thread's `use` has: such a call lets a fork by. */
static void *use_compact(void *arg) {
    estate *e = arg;
    CHECK(holds_pattern(e->secrets[MEMGUARD_COMPACT], SIZE, SEED));
    return NULL;
}
static void *stay_in_use(void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_secret_use(e->secrets[0], stay, e, NULL), MEMGUARD_OK);
    return NULL;
}
static int use_compact_here(void *arg) {
    use_compact(arg);
    return 0;
}

ALONE(a_use_that_waits_for_a_page_does_not_hold_a_fork) {
    pthread_t users[64], waiter;
    int count = 0;
    CHECK(drop_memlock(96 * 1024) == 0);
    estate *e = calloc(1, sizeof *e);
    if (!CHECK(e != NULL)) return;
    e->vault = copied_vault();
    e->secrets[0] = secret_make(e->vault, SIZE, 0, SEED);
    e->secrets[MEMGUARD_COMPACT] = secret_make(e->vault, SIZE, MEMGUARD_COMPACT, SEED);
    /* Users come until one more has to wait. */
    for (uint64_t end = now_ms() + 10000; count < 64 && now_ms() < end && report_of(e->vault).use_waits == 0;) {
        atomic_store(&e->flag, 0);
        CHECK(pthread_create(&users[count++], NULL, stay_in_use, e) == 0);
        CHECK(wait_for(&e->flag, 1) || report_of(e->vault).use_waits != 0);
        if (count % 2 == 0 && pthread_create(&waiter, NULL, use_compact, e) == 0) {
            for (int i = 0; i < 20 && report_of(e->vault).use_waits == 0; i++)
                sleep_ms(1);
            if (report_of(e->vault).use_waits != 0) break;
            CHECK(pthread_join(waiter, NULL) == 0);
        }
    }
    CHECK(report_of(e->vault).use_waits != 0);
    IN_CHILD(use_compact_here, e); /* and the child is not refused */
    atomic_store(&e->flag, 2);
    CHECK(pthread_join(waiter, NULL) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_join(users[i], NULL) == 0);
    vault_end(e->vault);
}

/* ---- other ways to make processes ------------------------------------------------------------------------ */

static int be_a_clone(void *arg) {
    estate *e = arg;
    memguard_view view = {0};
    memguard_vault *vault = e->vault;
    FORKED(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL));
    FORKED(memguard_secret_acquire(e->secrets[1], MEMGUARD_READ, &view));
    FORKED(memguard_vault_destroy(&vault));
    CHECK(is_pattern(e->shown, SIZE, SEED)); /* stated, not wished: the copies are there */
    memguard_emergency_wipe();
    CHECK(!is_pattern(e->shown, SIZE, SEED));
    return 0;
}

static int be_a_child_of_a_clone(void *arg) {
    IN_CHILD(be_a_clone, arg);
    return be_a_clone(arg);
}

static void by_raw_clone(int (*fn)(void *), void *arg) {
    fflush(stdout);
    const pid_t child = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    if (child == 0) {
        alarm(20);
        atomic_store(&check_bad, 0);
        fn(arg);
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    CHECK(check_exited(end_of(child), 0));
}

ALONE(a_raw_clone_is_refused_and_can_wipe_what_it_has) {
    estate *e = estate_make();
    memguard_view view = borrow(e->secrets[MEMGUARD_MAPPED], MEMGUARD_READ);
    e->shown = view.data;
    by_raw_clone(be_a_clone, e);
    by_raw_clone(be_a_child_of_a_clone, e);
    CHECK(is_pattern(view.data, SIZE, SEED));
    give_back(&view);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

static int work_in_shared_memory(void *arg) {
    estate *e = arg;
    e->seed = (uint32_t)holds_pattern(e->secrets[0], SIZE, SEED);
    unsigned char bytes[SIZE];
    fill(bytes, SIZE, OTHER_SEED);
    e->status = memguard_secret_replace(e->secrets[0], bytes, SIZE);
    return 0;
}

ALONE_UNLESS(a_clone_in_the_same_memory_is_as_the_calling_thread, UNDER_TSAN,
             "it keeps books about threads of its own") {
    static _Alignas(16) unsigned char stack[256 * 1024];
    estate *e = estate_make();
    for (int i = 0; i < 3; i++) {
        const pid_t child = clone(work_in_shared_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, e);
        CHECK(check_exited(end_of(child), 0));
        CHECK(e->seed == (i == 0));
        CHECK_STATUS(e->status, MEMGUARD_OK);
        CHECK(holds_pattern(e->secrets[0], SIZE, OTHER_SEED));
    }
    IN_CHILD(use_compact_here, e);
    vault_end(e->vault);
}

static void *use_all_the_time(void *arg) {
    estate *e = arg;
    while (atomic_load(&e->flag) == 0)
        for (uint32_t rest = 0; rest < RESTS; rest++)
            CHECK(holds_pattern(e->secrets[rest], SIZE, SEED));
    return NULL;
}

static void run_true(int way) {
    char program[] = "true";
    char *arguments[] = {program, NULL};
    pid_t child = -1;
    if (way == 0) CHECK(posix_spawnp(&child, "true", NULL, NULL, arguments, environ) == 0);
    if (way == 1) child = vfork();
    if (way == 2) child = fork();
    if (child == 0) {
        execvp("true", arguments);
        _exit(1);
    }
    CHECK(check_exited(end_of(child), 0));
}

ALONE(programs_are_started_as_ever) {
    pthread_t thread;
    estate *e = estate_make();
    CHECK(pthread_create(&thread, NULL, use_all_the_time, e) == 0);
    for (int i = 0; i < 30; i++)
        if (i % 3 != 1 || !CHECK_SANITIZED) run_true(i % 3); /* vfork and sanitizers: their stacks are shared, too */
    atomic_store(&e->flag, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    vault_end(e->vault);
}

/* ---- handlers of the host -------------------------------------------------------------------------------- */

static estate *handled;
static memguard_vault *hidden;
static atomic_int handlers_ran, refused_in_child;

static void call_from_handler(void) {
    memguard_secret secret = secret_make(handled->vault, LONG_SIZE, MEMGUARD_CLOSED, 3);
    CHECK(holds_pattern(secret, LONG_SIZE, 3));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    CHECK(all_hold(handled, SEED));
    const size_t fresh_size = (size_t)(64 + atomic_load(&handlers_ran)) * LONG_SIZE; /* of which none is kept ready */
    memguard_secret hidden_secret = {0}; /* secretmem is made, which forks must not see half done */
    const memguard_status status = memguard_secret_create(hidden, fresh_size, MEMGUARD_CLOSED, &hidden_secret);
    CHECK_AMONG(status, ANY_OF(OK) | ANY_OF(ERR_FORKED));
    if (status == MEMGUARD_OK) CHECK_STATUS(memguard_secret_destroy(&hidden_secret), MEMGUARD_OK);
    atomic_fetch_add(&handlers_ran, 1);
}
static void call_early_in_child(void) {
    if (life(handled->secrets[0]) == MEMGUARD_ERR_FORKED) atomic_fetch_add(&refused_in_child, 1);
}

static int count_handlers(void *arg) {
    CHECK(atomic_load(&handlers_ran) == 3 && atomic_load(&refused_in_child) == 1);
    live(arg);
    return 0;
}

ALONE(fork_handlers_of_the_host_may_call) {
    CHECK(pthread_atfork(call_from_handler, call_from_handler, call_early_in_child) == 0); /* before the first vault */
    handled = NULL;
    estate *e = calloc(1, sizeof *e);
    if (!CHECK(e != NULL)) return;
    hidden = refusing_vault();
    e->vault = copied_vault();
    estate_fill(e);
    handled = e;
    CHECK(pthread_atfork(call_from_handler, call_from_handler, call_from_handler) == 0);
    pid_t child = start_child(count_handlers, e); /* two before, one in the child */
    CHECK(check_exited(end_of(child), 0));
    CHECK(atomic_load(&handlers_ran) == 4);
    vault_end(e->vault);
    vault_end(hidden);
}

/* ---- forks in the midst of things ------------------------------------------------------------------------ */

enum { BUSY_THREADS = 8 };
static estate *busy;
static memguard_vault *busy_refused;
static atomic_int busy_over;

static void be_busy_once(uint32_t number, uint32_t round) {
    const uint32_t rest = (number + round) % RESTS;
    CHECK(holds_pattern(busy->secrets[rest], SIZE, SEED));
    memguard_secret mine = secret_make(round % 4 == 0 ? busy_refused : busy->vault, SIZE, rest, number);
    memguard_view view = borrow(mine, round % 2 ? MEMGUARD_READ : MEMGUARD_WRITE);
    CHECK(is_pattern(view.data, SIZE, number));
    give_back(&view);
    CHECK_STATUS(memguard_secret_rest(mine, (rest + round) % RESTS), MEMGUARD_OK);
    CHECK(holds_pattern(mine, SIZE, number));
    if (memguard_secret_acquire(busy->longer[rest], MEMGUARD_READ, &view) == MEMGUARD_OK) {
        CHECK(is_pattern(view.data, LONG_SIZE, SEED));
        give_back(&view);
    }
    CHECK_STATUS(memguard_secret_destroy(&mine), MEMGUARD_OK);
}

static void *be_busy(void *number) {
    for (uint32_t round = 0; !atomic_load(&busy_over); round++)
        be_busy_once((uint32_t)(uintptr_t)number, round);
    return NULL;
}

static int live_after_a_busy_fork(void *arg) {
    estate *e = arg;
    CHECK(all_hold(e, SEED));
    memguard_secret fresh = secret_make(e->vault, SIZE, MEMGUARD_COMPACT, 1);
    CHECK(holds_pattern(fresh, SIZE, 1));
    be_busy_once(3, 1);
    CHECK_AMONG(memguard_vault_purge(e->vault, 0),
                ANY_OF(OK) | ANY_OF(ERR_REVOKED)); /* views of threads that are not here */
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret_make(e->vault, SIZE, MEMGUARD_CLOSED, 1), SIZE, 1));
    vault_end(e->vault);
    return 0;
}

static int fork_often(estate *e, int forks) {
    for (int i = 0; i < forks; i++)
        if (!IN_CHILD(live_after_a_busy_fork, e)) return 0;
    return 1;
}

static void *fork_often_too(void *arg) {
    fork_often(arg, CHECK_SANITIZED ? 5 : 50);
    return NULL;
}

/* gcc 12's AddressSanitizer does not let go of its allocator's locks in a child. */
#define ASAN_LOCKS                                                                                                     \
    (CHECK_SANITIZED && !UNDER_TSAN), "forks among threads that allocate: this sanitizer keeps locks of theirs"

ALONE_UNLESS(two_hundred_forks_among_eight_busy_threads_give_whole_children, ASAN_LOCKS) {
    pthread_t threads[BUSY_THREADS], forker;
    busy = estate_make();
    busy_refused = refusing_vault();
    for (uintptr_t i = 0; i < BUSY_THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, be_busy, (void *)i) == 0);
    CHECK(pthread_create(&forker, NULL, fork_often_too, busy) == 0); /* two forks at a time */
    fork_often(busy, CHECK_SANITIZED ? 10 : 150);
    CHECK(pthread_join(forker, NULL) == 0);
    atomic_store(&busy_over, 1);
    for (int i = 0; i < BUSY_THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(all_hold(busy, SEED));
    vault_end(busy->vault);
    vault_end(busy_refused);
}

/* Threads that make their first call, and vaults that come and go, while forks happen. */
static void *come_and_go(void *arg) {
    (void)arg;
    for (uint32_t round = 0; !atomic_load(&busy_over); round++) {
        memguard_vault *vault = round % 2 ? refusing_vault() : copied_vault();
        memguard_scope scope = {0};
        CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
        CHECK(holds_pattern(secret_make(vault, SIZE, round % RESTS, 2), SIZE, 2));
        if (round % 3 == 0) CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
        CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
        vault_end(vault);
    }
    return NULL;
}

static void *visit_once(void *arg) {
    (void)arg;
    be_busy_once(5, 1);
    return NULL;
}

static void *visit(void *arg) {
    (void)arg;
    while (!atomic_load(&busy_over)) {
        pthread_t thread;
        if (CHECK(pthread_create(&thread, NULL, visit_once, NULL) == 0)) CHECK(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static int check_alone(void *arg) {
    estate *e = arg;
    CHECK(all_hold(e, SEED));
    CHECK_AMONG(memguard_vault_purge(e->vault, 0),
                ANY_OF(OK) | ANY_OF(ERR_REVOKED)); /* views of threads that are not here */
    vault_end(e->vault);
    return 0;
}

ALONE_UNLESS(forks_while_threads_and_vaults_come_and_go, ASAN_LOCKS) {
    pthread_t comer, visitor;
    busy = estate_make();
    busy_refused = refusing_vault();
    CHECK(pthread_create(&comer, NULL, come_and_go, NULL) == 0);
    CHECK(pthread_create(&visitor, NULL, visit, NULL) == 0);
    for (int i = 0; i < (CHECK_SANITIZED ? 10 : 100); i++)
        if (!IN_CHILD(check_alone, busy)) break;
    atomic_store(&busy_over, 1);
    CHECK(pthread_join(comer, NULL) == 0);
    CHECK(pthread_join(visitor, NULL) == 0);
    vault_end(busy->vault);
    vault_end(busy_refused);
}

/* ---- signal handlers that fork ----------------------------------------------------------------------------- */

static estate *signalled;
static atomic_int refused_children, served_children, odd_children;

/* Where it interrupted a call of ours the child is refused; else it goes on. It does not return into what it interrupted. */
static void fork_in_handler(int number) {
    (void)number;
    const pid_t child = fork();
    if (child == 0) _exit((int)life(signalled->secrets[0]));
    const int status = end_of(child);
    if (check_exited(status, MEMGUARD_OK))
        atomic_fetch_add(&served_children, 1);
    else if (check_exited(status, MEMGUARD_ERR_FORKED))
        atomic_fetch_add(&refused_children, 1);
    else
        atomic_fetch_add(&odd_children, 1);
}

static int forked_in_handlers(void) {
    return atomic_load(&served_children) + atomic_load(&refused_children) + atomic_load(&odd_children);
}

/* Uses alone: fork(3) waits for locks of malloc, which a maker of secrets calls. */
ALONE_UNLESS(signal_handlers_that_fork_neither_hang_nor_get_half_done_copies, CHECK_SANITIZED,
             "sanitizers put signals off, and have locks of their own") {
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    const struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t timer;
    signalled = estate_make();
    CHECK(all_hold(signalled, SEED));
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
    for (uint64_t end = now_ms() + 20000; forked_in_handlers() < 200 && now_ms() < end;)
        for (uint32_t rest = 0; rest < RESTS; rest++)
            if (!CHECK(holds_pattern(signalled->secrets[rest], SIZE, SEED))) return;
    CHECK(timer_delete(timer) == 0);
    CHECK(forked_in_handlers() >= 200 && atomic_load(&odd_children) == 0);
    CHECK(atomic_load(&refused_children) > 0); /* it did hit calls */
    CHECK(all_hold(signalled, SEED));
    vault_end(signalled->vault);
}

/* ---- a server that forks its workers --------------------------------------------------------------------- */

enum { WORKERS = 8, REQUESTS = 1000, KEY_BYTES = 32 };

typedef struct signing {
    uint64_t message, mac;
} signing;

/* In the shape of HMAC, with a toy for the hash: keyed twice, inside and out. */
static uint64_t toy_hash(uint64_t state, const unsigned char *bytes, size_t size, unsigned char pad) {
    for (size_t i = 0; i < size; i++)
        state = (state ^ (bytes[i] ^ pad)) * 1099511628211U;
    return state;
}
static int sign(const void *key, size_t size, void *arg) {
    signing *s = arg;
    uint64_t inner = toy_hash(14695981039346656037U, key, size, 0x36);
    inner = toy_hash(inner, (const unsigned char *)&s->message, sizeof s->message, 0);
    s->mac = toy_hash(14695981039346656037U, key, size, 0x5C);
    s->mac = toy_hash(s->mac, (const unsigned char *)&inner, sizeof inner, 0);
    return 0;
}

typedef struct server {
    memguard_vault *vault;
    memguard_secret key;
    int ends[WORKERS][2];
    int worker;
} server;

static void keep_session(server *s, memguard_secret sessions[16], uint64_t request) {
    memguard_secret *session = &sessions[request % 16];
    if (session->id != 0) {
        CHECK(holds_pattern(*session, SIZE, (uint32_t)request - 16));
        CHECK_STATUS(memguard_secret_destroy(session), MEMGUARD_OK);
    }
    *session = secret_make(s->vault, SIZE, request % RESTS, (uint32_t)request);
}

static int serve(void *arg) {
    server *s = arg;
    memguard_secret sessions[16] = {{0}};
    const int end = s->ends[s->worker][1];
    signing request = {0, 0};
    uint64_t served = 0;
    for (; read(end, &request.message, sizeof request.message) == sizeof request.message; served++) {
        CHECK_STATUS(memguard_secret_use(s->key, sign, &request, NULL), MEMGUARD_OK);
        keep_session(s, sessions, served);
        if (!CHECK(write(end, &request.mac, sizeof request.mac) == sizeof request.mac)) break;
    }
    CHECK(served == REQUESTS);
    vault_end(s->vault);
    return 0;
}

static void ask_all(server *s, uint64_t number) {
    for (int i = 0; i < WORKERS; i++) {
        const uint64_t message = number * WORKERS + (uint64_t)i;
        CHECK(write(s->ends[i][0], &message, sizeof message) == sizeof message);
    }
    for (int i = 0; i < WORKERS; i++) {
        signing mine = {number * WORKERS + (uint64_t)i, 0};
        uint64_t mac = 0;
        CHECK(read(s->ends[i][0], &mac, sizeof mac) == sizeof mac);
        CHECK_STATUS(memguard_secret_use(s->key, sign, &mine, NULL), MEMGUARD_OK);
        CHECK(mac == mine.mac && mac != 0);
    }
}

ALONE_UNLESS(a_server_with_eight_forked_workers_signs_and_keeps_sessions, ASAN_LOCKS) {
    server s = {.vault = copied_vault()};
    pid_t workers[WORKERS];
    CHECK_STATUS(memguard_secret_random(s.vault, KEY_BYTES, 0, &s.key), MEMGUARD_OK);
    for (s.worker = 0; s.worker < WORKERS; s.worker++) {
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s.ends[s.worker]) == 0);
        workers[s.worker] = start_child(serve, &s);
        close(s.ends[s.worker][1]);
    }
    for (uint64_t i = 0; i < REQUESTS && atomic_load(&check_bad) == 0; i++)
        ask_all(&s, i);
    for (int i = 0; i < WORKERS; i++)
        CHECK(shutdown(s.ends[i][0], SHUT_RDWR) == 0);
    for (int i = 0; i < WORKERS; i++)
        CHECK(check_exited(end_of(workers[i]), 0));
    vault_end(s.vault);
}

int main(void) {
    RUN(without_enough_lockable_memory_a_child_is_told_so_until_it_has_it);
    RUN(the_pages_of_a_settled_child_are_locked);
    RUN(free_pages_are_let_go_where_a_child_may_lock_less);
    RUN(a_use_that_waits_for_a_page_does_not_hold_a_fork);
    RUN(a_raw_clone_is_refused_and_can_wipe_what_it_has);
    RUN(a_clone_in_the_same_memory_is_as_the_calling_thread);
    RUN(programs_are_started_as_ever);
    RUN(fork_handlers_of_the_host_may_call);
    RUN(two_hundred_forks_among_eight_busy_threads_give_whole_children);
    RUN(forks_while_threads_and_vaults_come_and_go);
    RUN(signal_handlers_that_fork_neither_hang_nor_get_half_done_copies);
    RUN(a_server_with_eight_forked_workers_signs_and_keeps_sessions);
    return check_end();
}
